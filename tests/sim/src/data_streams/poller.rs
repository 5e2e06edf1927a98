//! Readers that poll, as KCL does: they know only what ListStreams, ListShards and the ends of shards tell them, and read
//! both parents of a shard before it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::ask::{NOT_FOUND, may_pass};
use super::check::{CHILDREN, FROM, RECORD, TILE, TIME, VALID};
use super::history::{Began, Child, HOUR_MS, Listed, Record, StreamKey, View};
use super::protocol;
use super::view::{Broken, hole, one_moment};
use crate::client::Sim;
use crate::reader::SLACK_MS;
use crate::replication::plan::TARGETS;
use crate::server::Failure;

/// How long an iterator lives. Unit: ms.
const LIFE_MS: i64 = 300_000;
/// Pages of a shard at one pass of a reader that is in no hurry.
const PAGES_MAX: usize = 40;

/// Reads every data stream.
pub struct Poller {
    sim: Arc<Sim>,
    name: String,
    /// It begins with the oldest record, reads all there is, and asks until it is answered.
    steady: bool,
    /// What it has read.
    pub views: BTreeMap<StreamKey, View>,
    tokens: BTreeMap<(StreamKey, String), Token>,
}

/// A place in a shard.
struct Token {
    text: String,
    /// It starts at the last record that was read, which comes again.
    repeats: bool,
    /// Store time before it was asked for. Unit: ms.
    given: i64,
}

/// Why a reader leaves a stream for now.
struct Later;

impl Poller {
    /// A reader at the tail, or one that reads all there is.
    pub fn new(sim: Arc<Sim>, name: impl Into<String>, steady: bool) -> Self {
        Self { sim, name: name.into(), steady, views: BTreeMap::new(), tokens: BTreeMap::new() }
    }

    /// Follows all streams until told to stop.
    pub async fn follow(mut self, mut stop: watch::Receiver<bool>) -> BTreeMap<StreamKey, View> {
        while !*stop.borrow_and_update() {
            self.pass().await;
            let pause = self.sim.dice().time(Duration::from_millis(100) + self.sim.plan.data.pause_max);
            self.sim.cluster.control().sleep(pause).await;
        }
        self.views
    }

    /// One look at every stream and every shard of it.
    pub async fn pass(&mut self) {
        let Ok(body) = self.ask("ListStreams", json!({})).await else { return };
        let names = protocol::all(&body["StreamNames"], |name| Ok(protocol::text(name))).unwrap_or_default();
        // What movers put is read by itself.
        for name in names.into_iter().filter(|name| !name.starts_with(TARGETS)) {
            // One stream that has to wait does not stop the others.
            let _ = self.stream(&name).await;
        }
    }

    async fn ask(&self, operation: &'static str, body: Value) -> Result<Value, Failure> {
        if self.steady {
            return self.sim.kinesis_insist(operation, body).await;
        }
        let hang_up = self.sim.dice().percent(2).then(|| self.sim.dice().time(Duration::from_millis(1)));
        self.sim.kinesis(operation, body, hang_up).await
    }

    fn broken(&self, broken: Broken, key: &StreamKey) {
        for (check, text) in broken {
            self.sim.broken(check, format!("{} of {key:?}: {text}", self.name));
        }
    }

    /// Whether it is still this stream that the name stands for.
    async fn is_still(&self, key: &StreamKey) -> bool {
        let deletes = self.sim.plan.data.streams.iter().any(|stream| stream.name == key.0 && stream.deletes);
        // Where a crash takes the making of a stream back, another may come.
        let certain = !deletes && !self.sim.data(|seen| seen.relaxed);
        certain || self.sim.described(&key.0).await.is_some_and(|described| described.created == key.1)
    }

    async fn stream(&mut self, name: &str) -> Result<(), Later> {
        let described = self.sim.described(name).await.ok_or(Later)?;
        let key = (name.to_owned(), described.created);
        match self.views.get(&key).is_some_and(|view| !view.shards.is_empty()) {
            false => self.begin(&key).await?,
            true if self.steady || self.sim.dice().percent(35) => self.list(&key).await?,
            true => {}
        }
        // The end of a shard makes its children ready.
        loop {
            let ready = self.views.get(&key).map(View::ready).unwrap_or_default();
            self.begin_shards(&key, &ready).await?;
            let mut ended = false;
            for id in &ready {
                ended |= self.read(&key, id).await.unwrap_or(false);
            }
            if !ended {
                return Ok(());
            }
        }
    }

    /// All shards that a filter chooses; whether they came in one answer.
    async fn shards(&self, key: &StreamKey, filter: Option<Value>) -> Result<(Vec<Listed>, bool), Later> {
        let mut request = json!({"StreamName": key.0});
        if let Some(filter) = filter {
            request["ShardFilter"] = filter;
        }
        if self.sim.dice().percent(25) {
            request["MaxResults"] = json!(self.sim.dice().between(1, 3));
        }
        let (mut all, mut pages) = (Vec::new(), 0);
        loop {
            let body = match self.ask("ListShards", request.clone()).await {
                Ok(body) => body,
                Err(failure) => return Err(self.refused(key, None, "ListShards", None, failure)),
            };
            let page = protocol::all(&body["Shards"], protocol::listed);
            all.extend(page.map_err(|text| self.unreadable(&text))?);
            pages += 1;
            match body.get("NextToken") {
                Some(token) => request = json!({"NextToken": token}),
                None => return Ok((all, pages == 1)),
            }
        }
    }

    fn unreadable(&self, text: &str) -> Later {
        self.sim.broken(RECORD, format!("{}: {text}", self.name));
        Later
    }

    /// The first look at a stream: where to begin, and on which shards.
    async fn begin(&mut self, key: &StreamKey) -> Result<(), Later> {
        // No node's clock is behind it, and it is not before the stream.
        let moment = self.sim.store_time() - SLACK_MS - self.sim.dice().below(4_000) as i64;
        let kinds = if moment < key.1 { 6 } else { 8 };
        let kind = if self.steady { 0 } else { self.sim.dice().below(kinds) };
        let (filter, began) = match kind {
            0..3 => (None, Began::Oldest),
            3 => (Some(json!({"Type": "AT_TRIM_HORIZON"})), Began::Oldest),
            4 | 5 => (Some(json!({"Type": "AT_LATEST"})), Began::Newest(0, 0)),
            _ => (Some(json!({"Type": "AT_TIMESTAMP", "Timestamp": protocol::moment(moment)})), Began::Moment(moment)),
        };
        let filtered = filter.is_some();
        let (list, whole) = self.shards(key, filter).await?;
        if !self.is_still(key).await {
            return Err(Later);
        }
        if filtered
            && whole
            && let Some(text) = hole(list.iter())
        {
            self.broken(vec![(TILE, format!("open at {began:?}: {text}"))], key);
        }
        if !filtered && whole {
            self.looked(key, &list);
        }
        let mut view = View::new(&self.name, false);
        view.begin(list, began);
        self.views.insert(key.clone(), view);
        Ok(())
    }

    async fn list(&mut self, key: &StreamKey) -> Result<(), Later> {
        let (list, whole) = self.shards(key, None).await?;
        if !self.is_still(key).await {
            return Err(Later);
        }
        if whole {
            self.looked(key, &list);
        }
        let (now, forgiving) = (self.sim.store_time(), self.sim.data(|seen| seen.relaxed));
        let broken = self.views.get_mut(key).map(|view| view.list(list, now, forgiving)).unwrap_or_default();
        self.broken(broken, key);
        Ok(())
    }

    fn looked(&self, key: &StreamKey, list: &[Listed]) {
        self.broken(one_moment(list), key);
        self.sim.data(|seen| seen.counts.lists += 1);
    }

    /// Gets an iterator for each shard that has none.
    async fn begin_shards(&mut self, key: &StreamKey, ready: &[String]) -> Result<(), Later> {
        let mut fresh = Vec::new();
        for id in ready {
            if self.tokens.contains_key(&(key.clone(), id.clone())) {
                continue;
            }
            if let Some(token) = self.token(key, id).await {
                fresh.push((id.clone(), token));
            }
        }
        if !fresh.is_empty() && !self.is_still(key).await {
            return Err(Later);
        }
        self.tokens.extend(fresh.into_iter().map(|(id, token)| ((key.clone(), id), token)));
        Ok(())
    }

    /// GetShardIterator: behind what was read, or where the reader began.
    async fn token(&mut self, key: &StreamKey, id: &str) -> Option<Token> {
        let shard = self.views.get(key)?.shards.get(id)?;
        let (began, starting) = (shard.began, shard.listed.as_ref().map(|listed| listed.starting.clone()));
        let last = shard.records.last().map(|record| record.number.clone());
        let repeats = last.is_some() && self.sim.dice().percent(50);
        let request = match (last, began) {
            (Some(last), _) => {
                let kind = if repeats { "AT_SEQUENCE_NUMBER" } else { "AFTER_SEQUENCE_NUMBER" };
                json!({"ShardIteratorType": kind, "StartingSequenceNumber": last})
            }
            (None, Began::Oldest) => match starting.filter(|_| self.sim.dice().percent(30)) {
                Some(starting) => {
                    let kind = *self.sim.dice().pick(&["AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"]);
                    json!({"ShardIteratorType": kind, "StartingSequenceNumber": starting})
                }
                None => json!({"ShardIteratorType": "TRIM_HORIZON"}),
            },
            (None, Began::Newest(..)) => json!({"ShardIteratorType": "LATEST"}),
            (None, Began::Moment(at)) => {
                json!({"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": protocol::moment(at)})
            }
        };
        let mut request = request;
        (request["StreamName"], request["ShardId"]) = (json!(key.0), json!(id));
        let (given, invoked) = (self.sim.store_time(), self.sim.tick());
        let text = match self.ask("GetShardIterator", request).await {
            Ok(body) => protocol::text(&body["ShardIterator"]),
            Err(failure) => {
                self.stopped(key, id, "GetShardIterator", None, failure);
                return None;
            }
        };
        let answered = self.sim.tick();
        let shard = self.views.get_mut(key)?.shards.get_mut(id)?;
        if shard.records.is_empty() && matches!(shard.began, Began::Newest(..)) {
            shard.began = Began::Newest(invoked, answered);
        }
        Some(Token { text, repeats, given })
    }

    /// Pages of one shard, until nothing more comes for now; whether its end was reached.
    async fn read(&mut self, key: &StreamKey, id: &str) -> Result<bool, Later> {
        for _ in 0..if self.steady { usize::MAX } else { PAGES_MAX } {
            let Some(from) = self.tokens.remove(&(key.clone(), id.to_owned())) else { return Ok(false) };
            let given = self.sim.store_time();
            let mut request = json!({"ShardIterator": from.text});
            if self.sim.dice().percent(60) {
                request["Limit"] = json!(self.sim.dice().between(1, 12));
            }
            let body = match self.ask("GetRecords", request).await {
                Ok(body) => body,
                Err(failure) => {
                    self.stopped(key, id, "GetRecords", Some(from.given), failure);
                    let again = self.steady && self.views.get(key).is_some_and(|view| view.shards[id].gone.is_none());
                    if again && self.sim.described(&key.0).await.is_some_and(|now| now.created == key.1) {
                        self.begin_shards(key, &[id.to_owned()]).await?;
                        continue;
                    }
                    return Err(Later);
                }
            };
            let now = self.sim.store_time();
            let (records, children) = self.page(key, id, &body, now)?;
            let records = if from.repeats { self.without_last(key, id, records, now) } else { records };
            let (empty, ended) = (records.is_empty() && !from.repeats, children.is_some());
            let broken = self.views.get_mut(key).map(|view| view.take(id, records, children, now));
            self.broken(broken.unwrap_or_default(), key);
            // Now and then it forgets where it was and goes on by the last number, as after a checkpoint.
            if let Some(token) = body["NextShardIterator"].as_str().filter(|_| !self.sim.dice().percent(10)) {
                let token = Token { text: token.to_owned(), repeats: false, given };
                self.tokens.insert((key.clone(), id.to_owned()), token);
            } else if !ended && !empty {
                self.begin_shards(key, &[id.to_owned()]).await?;
            }
            if ended || empty {
                return Ok(ended);
            }
        }
        Ok(false)
    }

    /// What a page holds. An end names children; what is no end names none.
    fn page(
        &self,
        key: &StreamKey,
        id: &str,
        body: &Value,
        now: i64,
    ) -> Result<(Vec<Record>, Option<Vec<Child>>), Later> {
        let records = protocol::all(&body["Records"], |record| protocol::record(record, now));
        let records = records.map_err(|text| self.unreadable(&text))?;
        let children = protocol::all(&body["ChildShards"], protocol::child).map_err(|text| self.unreadable(&text))?;
        let ends = body["NextShardIterator"].is_null();
        self.sim.data(|seen| {
            seen.counts.pages += 1;
            seen.counts.ends += u64::from(ends);
        });
        if ends == children.is_empty() {
            let text = format!("{id}: a page ends: {ends}, with the children {children:?}");
            self.broken(vec![(CHILDREN, text)], key);
        }
        Ok((records, ends.then_some(children)))
    }

    /// A page from AT_SEQUENCE_NUMBER on: the record of that number comes first, unless it was trimmed.
    fn without_last(&self, key: &StreamKey, id: &str, mut records: Vec<Record>, now: i64) -> Vec<Record> {
        let last = self.views.get(key).and_then(|view| view.shards.get(id)?.records.last());
        let first = records.first();
        if first.map(|first| (&first.number, first.id)) == last.map(|last| (&last.number, last.id)) {
            records.remove(0);
        } else if last.is_some_and(|last| last.at > self.sim.data(|seen| seen.may_be_gone(key, now)) + SLACK_MS) {
            let text = format!("{id}: at {last:?} the first record is {first:?}");
            self.broken(vec![(FROM, text)], key);
        }
        records
    }

    /// A shard could not be read on: because of time or of the stream's end, or for no reason.
    fn stopped(&mut self, key: &StreamKey, id: &str, what: &str, given: Option<i64>, failure: Failure) {
        let gone = matches!(&failure, Failure::Refused { name: NOT_FOUND, .. });
        let _ = self.refused(key, Some(id), what, given, failure);
        if gone && let Some(shard) = self.views.get_mut(key).and_then(|view| view.shards.get_mut(id)) {
            shard.gone.get_or_insert(self.sim.store_time());
        }
    }

    fn refused(&self, key: &StreamKey, id: Option<&str>, what: &str, given: Option<i64>, failure: Failure) -> Later {
        let Failure::Refused { name, .. } = &failure else { return Later };
        let now = self.sim.store_time();
        // What a crash takes back was shown before.
        let forgiving = self.sim.data(|seen| seen.relaxed || seen.is_deleting(key));
        let in_time = match *name {
            "ExpiredIteratorException" => {
                let by_order = |given: i64| {
                    let history = self.sim.history.lock();
                    history.expiries.iter().any(|(_, done)| given <= done.saturating_add(SLACK_MS))
                };
                given.is_some_and(|given| now >= given + LIFE_MS - SLACK_MS || by_order(given))
            }
            // Tokens of a list live as long.
            "ExpiredNextTokenException" => self.sim.plan.jumps > 0 || self.sim.plan.data.slow,
            NOT_FOUND => forgiving || id.is_some_and(|id| self.may_be_gone(key, id, now)),
            "InvalidArgumentException" => forgiving,
            _ => may_pass(&failure),
        };
        if !in_time {
            let known = matches!(*name, "ExpiredIteratorException" | NOT_FOUND);
            let text = format!("{id:?}: {what} answers {failure:?} at {now}, given {given:?}");
            self.broken(vec![(if known { TIME } else { VALID }, text)], key);
        }
        Later
    }

    /// Whether a shard may have been closed for its stream's retention.
    fn may_be_gone(&self, key: &StreamKey, id: &str, now: i64) -> bool {
        let opened = self.views.get(key).and_then(|view| view.shards.get(id)?.opened());
        // It was closed after it was opened; when, nobody may know who was not there.
        let horizon = self.sim.data(|seen| seen.may_be_gone(key, now));
        now - key.1 >= 24 * HOUR_MS - SLACK_MS && opened.is_none_or(|opened| opened <= horizon + SLACK_MS)
    }
}
