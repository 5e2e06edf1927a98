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
}

/// Why a reader leaves a stream for now.
struct Later;

/// A place in a shard.
struct Iterator {
    token: String,
    /// It starts at the last record that was read, which comes again.
    repeats: bool,
}

impl Reader {
    /// A reader that has read nothing.
    pub fn new(sim: Arc<Sim>, steady: bool) -> Self {
        Self { sim, streams: BTreeMap::new(), iterators: BTreeMap::new(), late: BTreeMap::new(), steady }
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
            let text = format!("{arn} was listed before and is not any more");
            self.sim.notice(Violation::new("a stream that was seen stays", text));
        }
        for arn in arns {
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
            }
            stream.shards.push(shard);
        }
        broken.extend(before.iter().map(|gone| format!("{} is not listed any more", gone.id)));
        for text in broken {
            self.sim.notice(Violation::new("a shard that was shown stays", format!("{arn}: {text}")));
        }
    }

    /// Pages of one shard, until nothing more comes for now.
    async fn read(&mut self, arn: &str, id: &str) -> Result<(), Later> {
        let at = (arn.to_owned(), id.to_owned());
        loop {
            let shard = self.shard(arn, id);
            if shard.finished {
                return Ok(());
            }
            let last = shard.records.last();
            let from = match self.iterators.remove(&at) {
                Some(iterator) => iterator,
                None => self.iterator(arn, id, last.map(|record| record.number.as_str())).await?,
            };
            let (mut changes, next) = self.page(arn, &from.token).await?;
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
                self.iterators.insert(at.clone(), Iterator { token, repeats: false });
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
            let next = Some(self.token(request).await?);
            let (arn, shard, answered) = (arn.to_owned(), id.to_owned(), self.sim.tick());
            self.late.insert(at, LateRead { arn, shard, invoked, answered, next, records: Vec::new() });
            return Ok(());
        };
        let Some(token) = late.next.clone() else { return Ok(()) };
        let (changes, next) = self.page(arn, &token).await?;
        if let Some(late) = self.late.get_mut(&at) {
            late.records.extend(changes);
            late.next = next;
        }
        Ok(())
    }

    async fn page(&self, arn: &str, token: &str) -> Result<(Vec<Change>, Option<String>), Later> {
        let mut request = json!({"ShardIterator": token});
        if self.sim.dice().percent(60) {
            request["Limit"] = json!(self.sim.dice().between(1, 7));
        }
        let reply = self.ask("GetRecords", request).await;
        let body = reply.map_err(|failure| self.failed("GetRecords", failure))?;
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

    async fn iterator(&self, arn: &str, shard: &str, last: Option<&str>) -> Result<Iterator, Later> {
        let mut request = json!({"StreamArn": arn, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"});
        let repeats = last.is_some() && self.sim.dice().percent(50);
        if let Some(number) = last {
            let kind = if repeats { "AT_SEQUENCE_NUMBER" } else { "AFTER_SEQUENCE_NUMBER" };
            request["ShardIteratorType"] = json!(kind);
            request["SequenceNumber"] = json!(number);
        }
        Ok(Iterator { token: self.token(request).await?, repeats })
    }

    async fn token(&self, request: Value) -> Result<String, Later> {
        let reply = self.ask("GetShardIterator", request).await;
        let body = reply.map_err(|failure| self.failed("GetShardIterator", failure))?;
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
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
