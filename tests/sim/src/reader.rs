//! Readers of streams: they know only what ListStreams tells them, and follow every shard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::client::Sim;
use crate::history::{Change, LateRead, ShardRead, StreamRead, Violation};
use crate::protocol;
use crate::server::Failure;

/// Reads every stream, from the first record of every shard.
pub struct Reader {
    sim: Arc<Sim>,
    /// What it has read, by ARN.
    pub streams: BTreeMap<String, StreamRead>,
    /// Where it goes on, by stream and shard.
    iterators: BTreeMap<(String, String), Iterator>,
    /// Shards it reads a second time, from the newest record on.
    late: BTreeMap<(String, String), LateRead>,
    /// A reader of a calm end takes no holidays and asks until it is answered.
    steady: bool,
    /// It has read everything in time: what it has not read is still there.
    keeper: bool,
    /// Shards that it goes on with at their horizon: where it stood lies behind that, and nothing in between.
    at_horizon: BTreeSet<(String, String)>,
}

/// Why a reader leaves a stream for now.
struct Later;

/// A place in a shard.
struct Iterator {
    token: String,
    /// It starts at the last record that was read, which comes again.
    repeats: bool,
    /// Store time before it was asked for.
    given: i64,
}

/// How long an iterator lives. Unit: ms.
const LIFE_MS: i64 = 15 * 60_000;
/// How long records and closed shards are kept. Unit: ms.
pub const KEPT_MS: i64 = 24 * 3_600_000;
/// How far nodes' clocks, and what was seen of them, may be apart. Unit: ms.
pub const SLACK_MS: i64 = 5_000;

/// Store time of a sequence number, as it is shown. Unit: ms.
pub fn shown_at(number: &str) -> i64 {
    let number = number.get(1..).and_then(|digits| digits.parse::<u64>().ok()).unwrap_or_default();
    (number >> 16) as i64
}

impl Reader {
    /// A reader that has read nothing.
    pub fn new(sim: Arc<Sim>, steady: bool) -> Self {
        let (streams, iterators, late) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { sim, streams, iterators, late, steady, keeper: false, at_horizon: BTreeSet::new() }
    }

    /// A reader that has read everything before it is trimmed.
    pub fn keeper(sim: Arc<Sim>) -> Self {
        Self { keeper: true, ..Self::new(sim, true) }
    }

    /// Follows all streams until told to stop.
    pub async fn follow(mut self, mut stop: watch::Receiver<bool>) -> (BTreeMap<String, StreamRead>, Vec<LateRead>) {
        while !*stop.borrow_and_update() {
            self.pass().await;
            let pause = self.sim.dice().time(Duration::from_millis(10) + self.sim.plan.pause_max / 2);
            self.sim.cluster.control().sleep(pause).await;
        }
        (self.streams, self.late.into_values().collect())
    }

    /// One look at every stream and every shard of it.
    pub async fn pass(&mut self) {
        let Ok(arns) = self.list().await else { return };
        let known: Vec<String> = self.streams.keys().cloned().collect();
        for arn in known.iter().filter(|arn| !arns.contains(arn)) {
            let stream = &self.streams[arn];
            if !stream.enabled && stream.shards.iter().all(|shard| self.may_be_gone(shard)) {
                continue;
            }
            let text = format!("{arn} was listed before and is not any more");
            self.sim.notice(Violation::new("a stream that was seen stays", text));
        }
        for arn in arns {
            // What happened to be described a day ago says nothing of now.
            if self.describe(&arn).await.is_err() {
                continue;
            }
            let shards: Vec<String> = self.streams[&arn].shards.iter().map(|shard| shard.id.clone()).collect();
            for shard in shards {
                // One shard that has to wait does not stop the others.
                let _ = self.read(&arn, &shard).await;
                if !self.steady {
                    let _ = self.read_late(&arn, &shard).await;
                }
            }
        }
    }

    async fn ask(&self, operation: &'static str, body: Value) -> Result<Value, Failure> {
        if self.steady {
            return self.sim.insist(operation, body).await;
        }
        let hang_up = self.sim.dice().percent(2).then(|| self.sim.dice().time(Duration::from_millis(1)));
        self.sim.ask(operation, body, hang_up).await
    }

    fn failed(&self, what: &str, failure: Failure) -> Later {
        if let Failure::Refused { name, body } = failure
            && !protocol::may_be_met(name)
            // Its last shard went between the list and the look.
            && !(self.sim.plan.aged && what == "DescribeStream" && name == "ResourceNotFoundException")
        {
            let text = format!("{what} is refused: {name} {body}");
            self.sim.notice(Violation::new("a valid request of a reader is served", text));
        }
        Later
    }

    async fn list(&self) -> Result<Vec<String>, Later> {
        let mut arns = Vec::new();
        let mut request = json!({});
        if self.sim.dice().percent(50) {
            request["Limit"] = json!(self.sim.dice().between(1, 3));
        }
        loop {
            let body = self.ask("ListStreams", request.clone()).await.map_err(|f| self.failed("ListStreams", f))?;
            let page = body["Streams"].as_array().map(Vec::as_slice).unwrap_or_default();
            arns.extend(page.iter().filter_map(|stream| stream["StreamArn"].as_str().map(str::to_owned)));
            match body.get("LastEvaluatedStreamArn") {
                Some(last) => request["ExclusiveStartStreamArn"] = last.clone(),
                None => break,
            }
        }
        // The ledger's and the expiry's streams are judged by themselves.
        arns.retain(|arn| arn.contains(":table/table-"));
        Ok(arns)
    }

    async fn describe(&mut self, arn: &str) -> Result<(), Later> {
        let mut request = json!({"StreamArn": arn});
        if self.sim.dice().percent(40) {
            request["Limit"] = json!(self.sim.dice().between(1, 3));
        }
        let mut listed: Vec<ShardRead> = Vec::new();
        loop {
            let reply = self.ask("DescribeStream", request.clone()).await;
            let body = reply.map_err(|failure| self.failed("DescribeStream", failure))?;
            let stream = &body["StreamDescription"];
            let page: Vec<ShardRead> =
                stream["Shards"].as_array().map(Vec::as_slice).unwrap_or_default().iter().map(shard).collect();
            self.one_snapshot(arn, &page);
            listed.extend(page);
            let entry = self.streams.entry(arn.to_owned()).or_insert_with(|| StreamRead {
                arn: arn.to_owned(),
                table: text(&stream["TableName"]),
                view: text(&stream["StreamViewType"]),
                enabled: false,
                seen_enabled: None,
                shards: Vec::new(),
            });
            entry.enabled = stream["StreamStatus"] == "ENABLED";
            match stream.get("LastEvaluatedShardId") {
                Some(last) => request["ExclusiveStartShardId"] = last.clone(),
                None => break,
            }
        }
        self.merge(arn, listed);
        Ok(())
    }

    /// One answer is one moment: no child beside a parent that is still open.
    fn one_snapshot(&self, arn: &str, page: &[ShardRead]) {
        let open: BTreeSet<&str> = page.iter().filter(|s| s.ending.is_none()).map(|s| s.id.as_str()).collect();
        for child in page {
            if child.parent.as_deref().is_some_and(|parent| open.contains(parent)) {
                let text = format!("{arn}: {} is listed while its parent is open", child.id);
                self.sim.notice(Violation::new("no child is shown before its parent's end", text));
            }
        }
    }

    fn merge(&mut self, arn: &str, listed: Vec<ShardRead>) {
        let (aged, keeper, now) = (self.sim.plan.aged, self.keeper, self.sim.store_time());
        let Some(stream) = self.streams.get_mut(arn) else { return };
        let mut broken = Vec::new();
        let mut before = std::mem::take(&mut stream.shards);
        for mut shard in listed {
            if let Some(at) = before.iter().position(|known| known.id == shard.id) {
                let known = before.swap_remove(at);
                let closed_otherwise = known.ending.is_some() && known.ending != shard.ending;
                if closed_otherwise || known.parent != shard.parent || known.starting != shard.starting {
                    broken.push(format!("{known:?} is now {shard:?}"));
                }
                shard.records = known.records;
                shard.finished = known.finished;
                shard.lost = known.lost;
            }
            stream.shards.push(shard);
        }
        for mut gone in before {
            let closed = gone.ending.as_deref().map(shown_at);
            // Who was away for a day has not seen it close.
            let unseen = closed.is_none() && aged && !keeper;
            if closed.is_none_or(|closed| now < closed + KEPT_MS - SLACK_MS) && !gone.lost && !unseen {
                broken
                    .push(format!("{} is not listed any more at {now}, closed: {closed:?}, keeper: {keeper}", gone.id));
            }
            gone.lost = true;
            stream.shards.push(gone);
        }
        stream.shards.sort_by(|a, b| a.id.cmp(&b.id));
        for text in broken {
            self.sim.notice(Violation::new("a shard that was shown stays", format!("{arn}: {text}")));
        }
    }

    /// Pages of one shard, until nothing more comes for now.
    async fn read(&mut self, arn: &str, id: &str) -> Result<(), Later> {
        let at = (arn.to_owned(), id.to_owned());
        loop {
            let shard = self.shard(arn, id);
            if shard.finished || shard.lost {
                return Ok(());
            }
            let last = shard.records.last().filter(|_| !self.at_horizon.remove(&at));
            let from = match self.iterators.remove(&at) {
                Some(iterator) => iterator,
                None => match self.iterator(arn, id, last.map(|record| record.number.as_str())).await {
                    Ok(iterator) => iterator,
                    Err(failure) => {
                        let later = self.stopped(arn, &shard, "GetShardIterator", None, failure);
                        if self.at_horizon.contains(&at) {
                            continue;
                        }
                        return Err(later);
                    }
                },
            };
            let given = self.sim.store_time();
            let (mut changes, next) = match self.page(arn, &from.token).await {
                Ok(page) => page,
                Err(failure) => {
                    let expired = matches!(failure, Failure::Refused { name: "ExpiredIteratorException", .. });
                    let later = self.stopped(arn, &shard, "GetRecords", Some(from.given), failure);
                    if expired && self.steady || self.at_horizon.contains(&at) {
                        continue;
                    }
                    return Err(later);
                }
            };
            if from.repeats {
                if changes.first() != last {
                    let text = format!("{arn} {id}: at {last:?} the first record is {:?}", changes.first());
                    self.sim.notice(Violation::new("AT_SEQUENCE_NUMBER gives that record first", text));
                }
                changes.drain(..changes.len().min(1));
            }
            let none = changes.is_empty();
            if let Some(stream) = self.streams.get_mut(arn)
                && let Some(shard) = stream.shards.iter_mut().find(|shard| shard.id == id)
            {
                shard.records.extend(changes);
                shard.finished = next.is_none();
            }
            // Now and then it forgets where it was and goes on by the last number, as after a checkpoint.
            if let Some(token) = next
                && !self.sim.dice().percent(10)
            {
                self.iterators.insert(at.clone(), Iterator { token, repeats: false, given });
            }
            if none && !from.repeats {
                return Ok(());
            }
        }
    }

    /// The same shard from the newest record on, begun at a moment of no account.
    async fn read_late(&mut self, arn: &str, id: &str) -> Result<(), Later> {
        let at = (arn.to_owned(), id.to_owned());
        let Some(late) = self.late.get(&at) else {
            if !self.sim.dice().percent(10) {
                return Ok(());
            }
            let invoked = self.sim.tick();
            let request = json!({"StreamArn": arn, "ShardId": id, "ShardIteratorType": "LATEST"});
            let token = self.token(request).await;
            let next = Some(token.map_err(|failure| self.late_failed("GetShardIterator", failure))?);
            let (arn, shard, answered) = (arn.to_owned(), id.to_owned(), self.sim.tick());
            self.late.insert(at, LateRead { arn, shard, invoked, answered, next, stopped: false, records: Vec::new() });
            return Ok(());
        };
        let Some(token) = late.next.clone().filter(|_| !late.stopped) else { return Ok(()) };
        let (changes, next) = match self.page(arn, &token).await {
            Ok(page) => page,
            Err(failure) => {
                if let Some(late) = self.late.get_mut(&at) {
                    late.stopped = matches!(failure, Failure::Refused { .. });
                }
                return Err(self.late_failed("GetRecords", failure));
            }
        };
        if let Some(late) = self.late.get_mut(&at) {
            late.records.extend(changes);
            late.next = next;
        }
        Ok(())
    }

    /// A late reader does not begin again: what time has ended stays unread.
    fn late_failed(&self, what: &str, failure: Failure) -> Later {
        match failure {
            Failure::Refused {
                name: "ExpiredIteratorException" | "TrimmedDataAccessException" | "ResourceNotFoundException",
                ..
            } => Later,
            failure => self.failed(what, failure),
        }
    }

    /// Whether a closed shard, or what a reader comes for in it, may be gone by now.
    fn may_be_gone(&self, shard: &ShardRead) -> bool {
        let closed = shard.ending.as_deref().map(shown_at);
        closed.is_some_and(|closed| self.sim.store_time() >= closed + KEPT_MS - SLACK_MS)
    }

    /// A read was refused: by time, which is checked to be so, or for no reason.
    fn stopped(&mut self, arn: &str, shard: &ShardRead, what: &str, given: Option<i64>, failure: Failure) -> Later {
        let Failure::Refused { name, .. } = &failure else { return Later };
        let now = self.sim.store_time();
        let last = shard.records.last().map(|record| shown_at(&record.number));
        let in_time = match *name {
            "ExpiredIteratorException" => {
                given.is_some_and(|given| now >= given + LIFE_MS - SLACK_MS || self.expired_by_order(given))
            }
            "TrimmedDataAccessException" => {
                last.is_some_and(|last| now >= last + KEPT_MS - SLACK_MS) || self.trimmed_by_order(arn, shard)
            }
            "ResourceNotFoundException" => self.may_be_gone(shard),
            _ => return self.failed(what, failure),
        };
        if !in_time {
            let text = format!("{arn} {}: {what} answers {name} at {now}, given {given:?}, last {last:?}", shard.id);
            self.sim.notice(Violation::new("nothing ends before its time", text));
        }
        if *name == "ExpiredIteratorException" {
            return Later;
        }
        if self.keeper && *name == "TrimmedDataAccessException" {
            self.at_horizon.insert((arn.to_owned(), shard.id.clone()));
            return Later;
        }
        if let Some(own) = self.streams.get_mut(arn).and_then(|s| s.shards.iter_mut().find(|own| own.id == shard.id)) {
            own.lost = true;
        }
        Later
    }

    /// Whether an order to expire iterators was under way after this one was given.
    fn expired_by_order(&self, given: i64) -> bool {
        self.sim.history.lock().expiries.iter().any(|(_, done)| given <= done.saturating_add(SLACK_MS))
    }

    /// Whether an order to trim may have taken what comes behind the last record that was read, or this one itself.
    fn trimmed_by_order(&self, arn: &str, shard: &ShardRead) -> bool {
        let history = self.sim.history.lock();
        let ordered = history.ordered.get(&(arn.to_owned(), shard.id.clone()));
        let last = shard.records.last().map(|record| record.number.as_str()).unwrap_or_default();
        ordered.is_some_and(|ordered| ordered.may.as_str() >= last)
    }

    async fn page(&self, arn: &str, token: &str) -> Result<(Vec<Change>, Option<String>), Failure> {
        let mut request = json!({"ShardIterator": token});
        if self.sim.dice().percent(60) {
            request["Limit"] = json!(self.sim.dice().between(1, 7));
        }
        let body = self.ask("GetRecords", request).await?;
        let view = self.streams.get(arn).map(|stream| stream.view.clone()).unwrap_or_default();
        let mut changes = Vec::new();
        for record in body["Records"].as_array().map(Vec::as_slice).unwrap_or_default() {
            match protocol::change(record, &view) {
                Ok(change) => changes.push(change),
                Err(text) => self.sim.notice(Violation::new("a record is as its view says", text)),
            }
        }
        Ok((changes, body.get("NextShardIterator").and_then(Value::as_str).map(str::to_owned)))
    }

    fn shard(&self, arn: &str, id: &str) -> ShardRead {
        let shards = &self.streams[arn].shards;
        shards.iter().find(|shard| shard.id == id).cloned().expect("a shard that was listed")
    }

    async fn iterator(&self, arn: &str, shard: &str, last: Option<&str>) -> Result<Iterator, Failure> {
        let mut request = json!({"StreamArn": arn, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"});
        let repeats = last.is_some() && self.sim.dice().percent(50);
        if let Some(number) = last {
            let kind = if repeats { "AT_SEQUENCE_NUMBER" } else { "AFTER_SEQUENCE_NUMBER" };
            request["ShardIteratorType"] = json!(kind);
            request["SequenceNumber"] = json!(number);
        }
        let given = self.sim.store_time();
        Ok(Iterator { token: self.token(request).await?, repeats, given })
    }

    /// What GetShardIterator gives.
    pub async fn token(&self, request: Value) -> Result<String, Failure> {
        let body = self.ask("GetShardIterator", request).await?;
        Ok(text(&body["ShardIterator"]))
    }
}

fn shard(body: &Value) -> ShardRead {
    let range = &body["SequenceNumberRange"];
    ShardRead {
        id: text(&body["ShardId"]),
        parent: body["ParentShardId"].as_str().map(str::to_owned),
        starting: text(&range["StartingSequenceNumber"]),
        ending: range["EndingSequenceNumber"].as_str().map(str::to_owned),
        records: Vec::new(),
        finished: false,
        lost: false,
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
