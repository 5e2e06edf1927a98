//! Who makes and changes data streams: one for each name, one change after another.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::ask::{Described, NOT_FOUND, arn, may_pass};
use super::check::VALID;
use super::history::{Life, Listed, Retention, StreamKey};
use super::plan::StreamPlan;
use crate::client::Sim;
use crate::replication::plan::TARGETS;
use crate::server::Failure;

/// Long enough for whatever a lost request still does: no fault keeps one that long.
const SETTLED: Duration = Duration::from_secs(5);
/// A stream is made again so much later than it was made: numbers name the second. Unit: ms of store time.
const AGAIN_MS: i64 = 6_000;
/// No more open shards than these.
const OPEN_MAX: usize = 8;

/// Changes one stream.
pub struct Admin {
    sim: Arc<Sim>,
    stream: StreamPlan,
    known: Option<Described>,
    created: i64,
    /// Movers put into it, and nobody reads it with the others: it is counted elsewhere.
    is_target: bool,
}

impl Admin {
    /// For a stream that does not exist yet.
    pub fn new(sim: Arc<Sim>, stream: StreamPlan) -> Self {
        let is_target = stream.name.starts_with(TARGETS);
        Self { sim, stream, known: None, created: i64::MIN, is_target }
    }

    /// Makes the stream and its consumers; afterwards they exist.
    pub async fn create(&mut self) {
        if self.known.is_some() {
            return;
        }
        while self.known.is_none() {
            // While store time stands still, nobody could tell the two apart.
            while !self.is_target && self.sim.store_time() < self.created.saturating_add(AGAIN_MS) {
                self.sim.cluster.control().sleep(Duration::from_millis(50)).await;
            }
            let mut body = json!({"StreamName": self.stream.name});
            match self.stream.shards {
                Some(count) => body["ShardCount"] = json!(count),
                None => body["StreamModeDetails"] = json!({"StreamMode": "ON_DEMAND"}),
            }
            let (asked, before) = (self.sim.tick(), self.sim.store_time());
            // Made before, by a request whose answer was lost, counts as made.
            self.ask("CreateStream", body, &["ResourceInUseException"]).await;
            self.known = self.sim.described(&self.stream.name).await;
            let Some(Described { created, hours }) = self.known else { continue };
            self.created = created;
            if self.is_target {
                continue;
            }
            let key = self.key();
            self.sim.data(|seen| {
                if !seen.lives.contains_key(&key) {
                    seen.counts.streams += 1;
                }
                let life = seen.lives.entry(key).or_default();
                if life.retentions.is_empty() {
                    let retentions = vec![Retention { hours, may: before.min(created), must: created }];
                    *life = Life { asked, retentions, ..Life::default() };
                }
                life.deleted = None;
            });
        }
        for number in 0..self.stream.consumers {
            self.register(number).await;
        }
    }

    /// Makes the planned changes, at moments of no account.
    pub async fn run(mut self) {
        for _ in 0..self.stream.changes {
            let longest = Duration::from_millis(30) + self.sim.plan.data.pause_max * 3;
            let pause = self.sim.dice().time(longest);
            self.sim.cluster.control().sleep(pause).await;
            self.step().await;
        }
        self.rest().await;
    }

    /// Makes one change.
    pub async fn step(&mut self) {
        self.look().await;
        if self.known.is_none() {
            self.create().await;
        }
        match self.sim.dice().below(100) {
            // Consumers and retention are others' concern.
            0..35 if self.is_target => self.split().await,
            35..70 if self.is_target => self.merge().await,
            _ if self.is_target => self.reshard().await,
            // Where records are trimmed, more depends on it.
            _ if self.sim.plan.aged && self.sim.dice().percent(30) => self.retain().await,
            0..30 if self.stream.shards.is_some() => self.split().await,
            30..58 if self.stream.shards.is_some() => self.merge().await,
            58..68 if self.stream.shards.is_some() => self.reshard().await,
            68..85 => self.retain().await,
            85..92 => self.register_again().await,
            92..100 if self.stream.deletes => self.delete().await,
            _ => self.retain().await,
        }
    }

    /// Makes the stream again if it is not there: nobody changes it any more.
    pub async fn rest(&mut self) {
        self.look().await;
        self.create().await;
    }

    /// Where a crash takes changes back, what was known is looked at again.
    async fn look(&mut self) {
        if self.sim.data(|seen| seen.relaxed) {
            self.known = self.sim.described(&self.stream.name).await;
        }
    }

    fn key(&self) -> StreamKey {
        (self.stream.name.clone(), self.created)
    }

    /// Asks for a change; whether it was answered. When not, all is over that it may still do. `met`: refusals that do.
    async fn ask(&self, operation: &'static str, body: Value, met: &[&str]) -> bool {
        match self.sim.kinesis(operation, body.clone(), None).await {
            Ok(_) => return true,
            Err(failure) => {
                let expected = matches!(&failure, Failure::Refused { name, .. } if met.contains(name));
                // What a crash takes back was seen before.
                let taken_back = self.sim.data(|seen| seen.relaxed);
                if !expected && !may_pass(&failure) && !taken_back {
                    self.sim.broken(VALID, format!("{operation} {body} answers {failure:?}"));
                }
                if !may_pass(&failure) {
                    return false;
                }
            }
        }
        self.sim.cluster.control().sleep(SETTLED).await;
        false
    }

    async fn open(&self) -> Vec<Listed> {
        let mut open = self.sim.shards(&self.stream.name).await;
        open.retain(|shard| shard.ending.is_none());
        open.sort_by_key(|shard| shard.range.0);
        open
    }

    async fn split(&self) {
        let open = self.open().await;
        if open.is_empty() || open.len() >= OPEN_MAX {
            return;
        }
        let shard = self.sim.dice().pick(&open);
        let (start, end) = shard.range;
        let drawn = u128::from(self.sim.dice().0.random()) << 64 | u128::from(self.sim.dice().0.random());
        let Some(at) = end.checked_sub(start + 3).map(|width| start + 2 + drawn % (width + 1)) else { return };
        let body = json!({
            "StreamName": self.stream.name, "ShardToSplit": shard.id, "NewStartingHashKey": at.to_string(),
        });
        self.ask("SplitShard", body, &["ResourceInUseException"]).await;
    }

    async fn merge(&self) {
        let open = self.open().await;
        if open.len() < 2 {
            return self.split().await;
        }
        let at = self.sim.dice().below(open.len() as u64 - 1) as usize;
        let body = json!({
            "StreamName": self.stream.name, "ShardToMerge": open[at].id, "AdjacentShardToMerge": open[at + 1].id,
        });
        self.ask("MergeShards", body, &["ResourceInUseException"]).await;
    }

    async fn reshard(&self) {
        let open = self.open().await.len() as u64;
        let most = (open * 2).min(OPEN_MAX as u64);
        let target = self.sim.dice().between(open.div_ceil(2).min(most), most);
        let body = json!({
            "StreamName": self.stream.name, "TargetShardCount": target, "ScalingType": "UNIFORM_SCALING",
        });
        // Where a resharding goes on that a dead node began, the number of shards is another by now.
        let met = ["ResourceInUseException", "LimitExceededException"];
        if open > 0 && self.ask("UpdateShardCount", body, &met).await {
            if self.is_target {
                self.sim.replicas.lock().seen.counts.reshards += 1;
            } else {
                self.sim.data(|seen| seen.counts.reshards += 1);
            }
        }
    }

    /// Another retention; one that was lowered is raised again at once now and then.
    async fn retain(&mut self) {
        let Some(now) = self.known.map(|known| known.hours) else { return };
        let hours = *self.sim.dice().pick(&[24, 24, 30, 36, 48, 60, 96]);
        self.retain_for(now, hours).await;
        if hours < now && self.known.is_some_and(|known| known.hours == hours) && self.sim.dice().percent(60) {
            self.retain_for(hours, 96).await;
        }
    }

    async fn retain_for(&mut self, now: i64, hours: i64) {
        let raised = hours > now;
        let operation = if raised { "IncreaseStreamRetentionPeriod" } else { "DecreaseStreamRetentionPeriod" };
        let body = json!({"StreamName": self.stream.name, "RetentionPeriodHours": hours});
        // Readers may meet it before it is answered.
        let (key, may) = (self.key(), self.sim.store_time());
        let retention = Retention { hours, may, must: i64::MAX };
        self.sim.data(|seen| seen.lives.entry(key.clone()).or_default().retentions.push(retention));
        let answered = self.ask(operation, body, &["ResourceInUseException"]).await;
        if !answered {
            self.known = self.sim.described(&self.stream.name).await;
        } else if let Some(known) = &mut self.known {
            known.hours = hours;
        }
        let done = self.known.is_some_and(|known| known.hours == hours) && hours != now;
        let must = self.sim.store_time();
        self.sim.data(|seen| {
            let counts = &mut seen.counts;
            *(if raised { &mut counts.raised } else { &mut counts.lowered }) += u64::from(done);
            let retentions = &mut seen.lives.entry(key).or_default().retentions;
            if !done {
                retentions.pop();
            } else if let Some(last) = retentions.last_mut() {
                last.must = must;
            }
        });
    }

    async fn register(&self, number: u64) {
        let body = json!({"StreamARN": arn(&self.stream.name), "ConsumerName": format!("fan-{number}")});
        while !self.ask("RegisterStreamConsumer", body.clone(), &["ResourceInUseException", NOT_FOUND]).await {
            let there = self.sim.kinesis_insist("DescribeStreamConsumer", body.clone()).await.is_ok();
            if there || self.sim.described(&self.stream.name).await.is_none() {
                return;
            }
        }
    }

    async fn register_again(&self) {
        let number = self.sim.dice().below(self.stream.consumers);
        let body = json!({"StreamARN": arn(&self.stream.name), "ConsumerName": format!("fan-{number}")});
        self.sim.data(|seen| *seen.deregistered.entry(self.stream.name.clone()).or_default() += 1);
        self.ask("DeregisterStreamConsumer", body, &["ResourceInUseException", NOT_FOUND]).await;
        self.register(number).await;
    }

    /// Deletes the stream; it is there no more afterwards, unless a fault was in the way.
    pub async fn delete(&mut self) {
        let (key, asked) = (self.key(), self.sim.tick());
        if !self.is_target {
            self.sim.data(|seen| {
                seen.lives.entry(key.clone()).or_default().deleting.get_or_insert(asked);
            });
        }
        let body = json!({"StreamName": self.stream.name, "EnforceConsumerDeletion": true});
        self.ask("DeleteStream", body, &[NOT_FOUND]).await;
        self.known = self.sim.described(&self.stream.name).await;
        if self.known.is_none() && !self.is_target {
            let gone = self.sim.tick();
            self.sim.data(|seen| {
                seen.counts.deleted += 1;
                seen.lives.entry(key).or_default().deleted = Some(gone);
            });
        }
    }
}
