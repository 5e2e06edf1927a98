//! Clients: each asks one request after another of whatever node it meets, and writes down what it saw.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use headwater_api::Api;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{RwLock, watch};

use crate::cluster::Cluster;
use crate::history::{End, Event, History, Key, Violation, Whole};
use crate::plan::{Dice, OPERATIONS_MIN, Plan, TablePlan};
use crate::protocol;
use crate::replication::keeper::Keeper;
use crate::server::{self, Failure, Server};
use crate::spec::{Action, Answer, Condition, Item, Operation, Returns};

/// What clients, readers and changers of tables share.
pub struct Sim {
    /// The nodes.
    pub cluster: Arc<Cluster>,
    /// What the seed decided.
    pub plan: Plan,
    /// What everybody saw.
    pub history: Mutex<History>,
    /// Requests that clients have made.
    pub progress: watch::Sender<u64>,
    /// How far the writers of data streams are.
    pub streams: Streams,
    /// What was seen of replications; locked by who waits for nothing meanwhile.
    pub replicas: Mutex<Keeper>,
    /// Held for reading while a token is in use, for writing while store time jumps: a token lives ten minutes of it.
    pub tokens: RwLock<()>,
    /// The newest store time that any node has shown. Unit: ms.
    pub store_time: AtomicI64,
}

/// How far the writers of data streams are.
pub struct Streams {
    /// Requests that they have made.
    pub made: watch::Sender<u64>,
}

/// Longest wait for an answer from a node that lives; no fault keeps one that long.
const PATIENCE: Duration = Duration::from_secs(300);

impl Sim {
    /// Draws for clients.
    pub fn dice(&self) -> &Dice {
        &self.cluster.dice
    }

    /// What is shared before anything has happened.
    pub fn new(cluster: Arc<Cluster>, plan: Plan, history: History) -> Self {
        let replicas = Mutex::new(Keeper::new(plan.mode));
        Self {
            cluster,
            plan,
            replicas,
            history: Mutex::new(history),
            progress: watch::Sender::new(0),
            streams: Streams { made: watch::Sender::new(0) },
            tokens: RwLock::new(()),
            store_time: AtomicI64::new(0),
        }
    }

    /// The newest store time that any node has shown. Unit: ms.
    pub fn store_time(&self) -> i64 {
        for server in self.cluster.up() {
            self.store_time.fetch_max(server.log.clock().store().0, Ordering::Relaxed);
        }
        self.store_time.load(Ordering::Relaxed)
    }

    /// The next moment.
    pub fn tick(&self) -> u64 {
        self.history.lock().tick()
    }

    /// Notes a broken promise.
    pub fn notice(&self, violation: Violation) {
        self.history.lock().noticed.push(violation);
    }

    /// One request of some node; waits for one to be up.
    pub async fn ask(&self, operation: &'static str, body: Value, hang_up: Option<Duration>) -> Result<Value, Failure> {
        let server = self.some_server().await;
        self.ask_of(&server, operation, body, hang_up).await
    }

    /// One request of this node.
    pub async fn ask_of(
        &self,
        server: &Arc<Server>,
        operation: &'static str,
        body: Value,
        hang_up: Option<Duration>,
    ) -> Result<Value, Failure> {
        self.ask_api(server, server::api_of(operation), operation, body, hang_up).await
    }

    /// One request of this node to one of its APIs.
    pub async fn ask_api(
        &self,
        server: &Arc<Server>,
        api: Api,
        operation: &'static str,
        body: Value,
        hang_up: Option<Duration>,
    ) -> Result<Value, Failure> {
        let asked = Box::pin(server.request(api, operation, body.clone(), hang_up));
        let reply = match select(asked, self.cluster.control().sleep(PATIENCE)).await {
            Either::Left((reply, _)) => reply,
            Either::Right(_) => {
                let text = format!("{operation} {body} has no answer after {PATIENCE:?}");
                self.notice(Violation::new("every request is answered", text));
                Err(Failure::Lost)
            }
        };
        // The node may be down before anybody asks for the time.
        self.store_time.fetch_max(server.log.clock().store().0, Ordering::Relaxed);
        let end = match &reply {
            Ok(_) => "answered",
            Err(Failure::Refused { name, .. }) => name,
            Err(Failure::Lost) => "lost",
            Err(Failure::Down) => "down",
        };
        self.history.lock().count(operation, end);
        let seen = format!("{operation} {reply:?}");
        self.cluster
            .world
            .note(seen.bytes().fold(0, |hash: u64, byte| hash.wrapping_mul(31).wrapping_add(byte.into())));
        reply
    }

    /// Some node that is up.
    pub async fn some_server(&self) -> Arc<Server> {
        loop {
            if let Some(server) = self.cluster.any() {
                return server;
            }
            self.cluster.control().sleep(Duration::from_millis(1)).await;
        }
    }

    /// Asks again until there is an answer; for requests without effect.
    pub async fn insist(&self, operation: &'static str, body: Value) -> Result<Value, Failure> {
        loop {
            match self.ask(operation, body.clone(), None).await {
                Err(Failure::Lost | Failure::Down) => {}
                Err(Failure::Refused { name, .. }) if protocol::may_be_met(name) => {}
                reply => return reply,
            }
            self.cluster.control().sleep(Duration::from_millis(1)).await;
        }
    }
}

/// One client.
pub struct Client {
    sim: Arc<Sim>,
    name: String,
    /// What it saw last, to build conditions that can hold.
    seen: BTreeMap<Key, Option<Item>>,
}

impl Client {
    /// A client with nothing seen yet.
    pub fn new(sim: Arc<Sim>, number: u64) -> Self {
        Self { sim, name: format!("c{number}"), seen: BTreeMap::new() }
    }

    /// Asks all its requests.
    pub async fn run(mut self) {
        let mut made = 0;
        // A run of few items needs more requests for as many operations.
        while made < self.sim.plan.requests || self.sim.history.lock().operations() < OPERATIONS_MIN {
            made += 1;
            let pause = self.dice().time(self.sim.plan.pause_max);
            if !pause.is_zero() {
                self.sim.cluster.control().sleep(pause).await;
            }
            let plan = self.sim.plan.clone();
            let table = self.dice().pick(&plan.tables);
            match self.dice().below(100) {
                0..70 => self.one(table).await,
                70..78 => self.query(table).await,
                78..84 => self.scan(table).await,
                84..92 => self.batch_write(table).await,
                _ => self.batch_get(table).await,
            }
            self.sim.progress.send_modify(|made| *made += 1);
        }
    }

    fn dice(&self) -> &Dice {
        &self.sim.cluster.dice
    }

    fn key(&self, table: &TablePlan) -> Key {
        let keys = table.keys();
        // The first is hot.
        if self.dice().percent(20) { keys[0].clone() } else { self.dice().pick(&keys).clone() }
    }

    fn operation(&self, key: &Key) -> Operation {
        let dice = self.dice();
        let action = match dice.below(100) {
            0..25 => return Operation::plain(0, Action::Read),
            25..45 => Action::Put,
            45..55 => Action::Set,
            55..67 => Action::Count,
            67..75 => Action::Mark,
            75..80 => Action::Unmark,
            80..85 => Action::Touch,
            _ => Action::Delete,
        };
        let last = self.seen.get(key).cloned().flatten().unwrap_or_default();
        let condition = match dice.below(10) {
            0..5 => Condition::Always,
            5 => Condition::Exists,
            6 => Condition::Missing,
            7 | 8 => last.w.map_or(Condition::Always, Condition::WrittenBy),
            _ => Condition::Below(last.n.unwrap_or(0) + dice.below(3) as i64),
        };
        let is_update = !matches!(action, Action::Put | Action::Delete);
        let returns = match dice.below(if is_update { 4 } else { 3 }) {
            0 => Returns::Nothing,
            1 | 2 => Returns::Old,
            _ => Returns::New,
        };
        let id = self.sim.history.lock().id();
        Operation { id, action, condition, returns, shows_refusal: dice.percent(50) }
    }

    fn hang_up(&self) -> Option<Duration> {
        let impatient = self.dice().below(10_000) < self.sim.plan.hang_up;
        impatient.then(|| self.dice().time(Duration::from_millis(4)))
    }

    fn padding(&self) -> usize {
        self.dice().below(self.sim.plan.padding_max) as usize
    }

    fn event(&self, key: &Key, operation: Operation, invoked: u64, end: End) -> Event {
        let answered = if end == End::Lost { u64::MAX } else { self.sim.tick() };
        Event { client: self.name.clone(), key: key.clone(), operation, invoked, answered, end }
    }

    async fn one(&mut self, table: &TablePlan) {
        let key = self.key(table);
        let operation = self.operation(&key);
        let (name, body) = protocol::request(table, &key, &operation, self.padding());
        let server = self.sim.some_server().await;
        let invoked = self.sim.tick();
        let reply = self.sim.ask_of(&server, name, body, self.hang_up()).await;
        let end = match protocol::end(&operation, reply) {
            Ok(end) => end,
            Err(text) => {
                self.sim.notice(Violation::at("a valid request is served", &key, text));
                End::Lost
            }
        };
        match &end {
            End::Answered(Answer::Item(item) | Answer::Done(Some(item)) | Answer::Refused(Some(item))) => {
                self.seen.insert(key.clone(), item.clone());
            }
            End::Answered(_) | End::NoTable | End::Lost => {}
        }
        if operation.action == Action::Read && end == End::Lost {
            return;
        }
        let event = self.event(&key, operation, invoked, end);
        self.sim.history.lock().note(event);
    }

    /// Adds what one answer showed of several items: each as a read of its own.
    fn reads(&mut self, keys: impl IntoIterator<Item = Key>, items: &BTreeMap<Key, Item>, invoked: u64) -> u64 {
        let answered = self.sim.tick();
        for key in keys {
            let item = items.get(&key).cloned();
            self.seen.insert(key.clone(), item.clone());
            let (client, operation) = (self.name.clone(), Operation::plain(0, Action::Read));
            let end = End::Answered(Answer::Item(item));
            self.sim.history.lock().note(Event { client, key, operation, invoked, answered, end });
        }
        answered
    }

    fn refusal(&self, table: &TablePlan, what: &str, failure: Failure) {
        let met = |name: &str| name == "ResourceNotFoundException" || protocol::may_be_met(name);
        if let Failure::Refused { name, body } = failure
            && !met(name)
        {
            let text = format!("{what} on {} is refused: {name} {body}", table.name);
            self.sim.notice(Violation::new("a valid request is served", text));
        }
    }

    async fn query(&mut self, table: &TablePlan) {
        let pk = self.key(table).pk;
        let forward = self.dice().percent(50);
        let limit = self.dice().percent(25).then(|| self.dice().between(1, 2));
        let mut request = json!({
            "TableName": table.name,
            "ConsistentRead": true,
            "ScanIndexForward": forward,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": protocol::value(table.pk, &pk)},
        });
        if let Some(limit) = limit {
            request["Limit"] = json!(limit);
        }
        loop {
            let server = self.sim.some_server().await;
            let invoked = self.sim.tick();
            let body = match self.sim.ask_of(&server, "Query", request.clone(), self.hang_up()).await {
                Ok(body) => body,
                Err(failure) => return self.refusal(table, "a Query", failure),
            };
            let Some(items) = self.page(table, &body) else { return };
            let order: Vec<&Key> = items.iter().map(|(key, _)| key).collect();
            self.in_order(table, &order, forward);
            let items: BTreeMap<Key, Item> = items.into_iter().collect();
            let last = body.get("LastEvaluatedKey").cloned();
            let whole = last.is_none() && request.get("ExclusiveStartKey").is_none();
            let shown: Vec<Key> = if whole {
                table.keys().into_iter().filter(|key| key.pk == pk).collect()
            } else {
                items.keys().cloned().collect()
            };
            let answered = self.reads(shown, &items, invoked);
            if whole {
                let items = items.into_iter().map(|(key, item)| (key.sk, item)).collect();
                let (table, pk) = (table.name.clone(), pk.clone());
                self.sim.history.lock().wholes.push(Whole { table, pk, invoked, answered, items });
            }
            match last {
                Some(last) => request["ExclusiveStartKey"] = last,
                None => return,
            }
        }
    }

    async fn scan(&mut self, table: &TablePlan) {
        let limit = self.dice().percent(30).then(|| self.dice().between(1, 3));
        let mut request = json!({"TableName": table.name, "ConsistentRead": true});
        if let Some(limit) = limit {
            request["Limit"] = json!(limit);
        }
        let mut pages: Vec<Key> = Vec::new();
        loop {
            let server = self.sim.some_server().await;
            let invoked = self.sim.tick();
            let body = match self.sim.ask_of(&server, "Scan", request.clone(), self.hang_up()).await {
                Ok(body) => body,
                Err(failure) => return self.refusal(table, "a Scan", failure),
            };
            let Some(items) = self.page(table, &body) else { return };
            pages.extend(items.iter().map(|(key, _)| key.clone()));
            let items: BTreeMap<Key, Item> = items.into_iter().collect();
            let last = body.get("LastEvaluatedKey").cloned();
            let whole = last.is_none() && request.get("ExclusiveStartKey").is_none();
            let shown: Vec<Key> = if whole { table.keys() } else { items.keys().cloned().collect() };
            self.reads(shown, &items, invoked);
            match last {
                Some(last) => request["ExclusiveStartKey"] = last,
                None => break,
            }
        }
        let count = pages.len();
        pages.sort();
        pages.dedup();
        if pages.len() != count {
            let text = format!("a Scan of {} by {limit:?} gave an item twice", table.name);
            self.sim.notice(Violation::new("a scan gives each item once", text));
        }
    }

    /// The items of a page; `None` when it cannot be read, which is noted.
    fn page(&self, table: &TablePlan, body: &Value) -> Option<Vec<(Key, Item)>> {
        let items = body["Items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let parsed: Result<Vec<_>, String> =
            items.iter().map(|item| Ok((protocol::key_of(&table.name, item)?, protocol::item(item)?))).collect();
        match parsed {
            Ok(items) => Some(items),
            Err(text) => {
                self.sim.notice(Violation::new("a page can be read", text));
                None
            }
        }
    }

    fn in_order(&self, table: &TablePlan, keys: &[&Key], forward: bool) {
        let all: Vec<Key> = table.keys();
        // The plan lists sort keys in their order (numbers by value, one digit apart; the rest by bytes).
        let mut places: Vec<_> = keys.iter().map(|key| all.iter().position(|other| other == *key)).collect();
        if !forward {
            places.reverse();
        }
        if !places.is_sorted_by(|a, b| a < b) {
            let text = format!("{keys:?}, forward: {forward}");
            self.sim.notice(Violation::new("a query is in order of the sort key", text));
        }
    }

    async fn batch_write(&mut self, table: &TablePlan) {
        let mut keys = table.keys();
        let mut writes: Vec<(Key, Operation)> = Vec::new();
        for _ in 0..self.dice().between(1, 4).min(keys.len() as u64) {
            let key = keys.swap_remove(self.dice().below(keys.len() as u64) as usize);
            let action = if self.dice().percent(70) { Action::Put } else { Action::Delete };
            let id = self.sim.history.lock().id();
            writes.push((key, Operation::plain(id, action)));
        }
        let requests: Vec<Value> = writes
            .iter()
            .map(|(key, operation)| match operation.action {
                Action::Put => {
                    let item = protocol::put_item(table, key, operation.id, self.padding());
                    json!({"PutRequest": {"Item": item}})
                }
                _ => json!({"DeleteRequest": {"Key": protocol::key(table, key)}}),
            })
            .collect();
        let body = json!({"RequestItems": {table.name.clone(): requests}});
        let server = self.sim.some_server().await;
        let invoked = self.sim.tick();
        let reply = self.sim.ask_of(&server, "BatchWriteItem", body, self.hang_up()).await;
        // What was left undone may be told; what was refused as a whole may be done in part.
        let all_done =
            reply.as_ref().is_ok_and(|body| body["UnprocessedItems"].as_object().is_none_or(|u| u.is_empty()));
        if let Err(failure) = reply {
            self.refusal(table, "a BatchWriteItem", failure);
        }
        for (key, operation) in writes {
            let end = if all_done { End::Answered(Answer::Done(None)) } else { End::Lost };
            let event = self.event(&key, operation, invoked, end);
            self.sim.history.lock().note(event);
        }
    }

    async fn batch_get(&mut self, table: &TablePlan) {
        let mut keys = table.keys();
        let mut asked = Vec::new();
        for _ in 0..self.dice().between(1, 4).min(keys.len() as u64) {
            asked.push(keys.swap_remove(self.dice().below(keys.len() as u64) as usize));
        }
        let wanted: Vec<Value> = asked.iter().map(|key| protocol::key(table, key)).collect();
        let body = json!({"RequestItems": {table.name.clone(): {"Keys": wanted, "ConsistentRead": true}}});
        let server = self.sim.some_server().await;
        let invoked = self.sim.tick();
        let body = match self.sim.ask_of(&server, "BatchGetItem", body, self.hang_up()).await {
            Ok(body) => body,
            Err(failure) => return self.refusal(table, "a BatchGetItem", failure),
        };
        let found = json!({"Items": body["Responses"][&table.name]});
        if body["UnprocessedKeys"].as_object().is_some_and(|keys| !keys.is_empty()) {
            return;
        }
        let Some(items) = self.page(table, &found) else { return };
        self.reads(asked, &items.into_iter().collect(), invoked);
    }
}
