//! Registered consumers: each is pushed every shard of a stream, parents before children, and subscribes again whenever a
//! subscription ends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::ask::{NOT_FOUND, arn, may_pass};
use super::check::{CHILDREN, FROM, PUSHED, RECORD, TIME, VALID};
use super::history::{Record, StreamKey, View};
use super::plan::StreamPlan;
use super::protocol;
use super::push::Pushed;
use super::view::one_moment;
use crate::client::Sim;
use crate::reader::SLACK_MS;
use crate::server::{Failure, Server};

/// A second subscription is refused so long after the first began. Unit: system time.
const HELD: Duration = Duration::from_secs(5);
/// How long a subscription lives. Unit: ms of store time.
const LIFE_MS: i64 = 300_000;
/// An event comes every five seconds; nothing in a run takes longer than the rest.
const SILENCE_MAX: Duration = Duration::from_secs(12);
const IN_USE: &str = "ResourceInUseException";

/// One consumer of one stream.
pub struct Subscriber {
    sim: Arc<Sim>,
    stream: StreamPlan,
    consumer: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    views: std::collections::BTreeMap<StreamKey, View>,
    /// Shards that it is subscribed to.
    running: BTreeSet<(StreamKey, String)>,
    /// Where a subscription said that the next one begins.
    continuations: std::collections::BTreeMap<(StreamKey, String), String>,
}

/// A subscription under way.
struct Session {
    key: StreamKey,
    id: String,
    consumer_arn: String,
    server: Arc<Server>,
    /// It starts at the last record that was pushed, which comes again.
    repeats: bool,
    /// Store time before it was asked for. Unit: ms.
    given: i64,
    /// System time before it was asked for, and when it was answered.
    asked: Duration,
    begun: Duration,
    /// Somebody else has subscribed, or tried to.
    has_rival: bool,
    /// Somebody else has taken over.
    is_taken: bool,
    /// Deregistrations that had been asked for before.
    deregistered: u64,
}

impl Subscriber {
    /// A consumer that was pushed nothing yet.
    pub fn new(sim: Arc<Sim>, stream: StreamPlan, number: u64) -> Arc<Self> {
        Arc::new(Self { sim, stream, consumer: format!("fan-{number}"), state: Mutex::default() })
    }

    /// Follows the stream until told to stop.
    pub async fn follow(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow_and_update() {
            // What it is subscribed to tells it of children; now and then it looks at a list all the same.
            if !self.is_busy() || self.sim.dice().percent(4) {
                self.look().await;
            }
            let pause = self.sim.dice().time(Duration::from_millis(80) + self.sim.plan.data.pause_max / 3);
            self.sim.cluster.control().sleep(pause).await;
        }
    }

    /// What it was pushed so far.
    pub fn views(&self) -> Vec<(StreamKey, View)> {
        self.state.lock().views.clone().into_iter().collect()
    }

    fn broken(&self, key: &StreamKey, check: &'static str, text: impl AsRef<str>) {
        self.sim.broken(check, format!("{} of {key:?}: {}", self.consumer, text.as_ref()));
    }

    /// Whether it is subscribed to every shard that is ready.
    fn is_busy(&self) -> bool {
        let state = self.state.lock();
        let Some((key, view)) = state.views.last_key_value() else { return false };
        view.ready().into_iter().all(|id| state.running.contains(&(key.clone(), id))) && !state.running.is_empty()
    }

    /// Lists the shards and subscribes to those that are ready.
    async fn look(self: &Arc<Self>) {
        let Some(described) = self.sim.described(&self.stream.name).await else { return };
        let key = (self.stream.name.clone(), described.created);
        let Some(consumer_arn) = self.consumer_arn().await else { return };
        let list = self.sim.shards(&self.stream.name).await;
        let now = self.sim.described(&self.stream.name).await;
        if list.is_empty() || now.is_none_or(|now| now.created != key.1) {
            return;
        }
        for (check, text) in one_moment(&list) {
            self.broken(&key, check, text);
        }
        let (at, forgiving) = (self.sim.store_time(), self.sim.data(|seen| seen.relaxed));
        let (broken, ready) = {
            let mut state = self.state.lock();
            let view = state.views.entry(key.clone()).or_insert_with(|| View::new(&self.consumer, true));
            let broken = if view.shards.is_empty() {
                view.begin(list, super::history::Began::Oldest);
                Vec::new()
            } else {
                view.list(list, at, forgiving)
            };
            (broken, view.ready())
        };
        for (check, text) in broken {
            self.broken(&key, check, text);
        }
        for id in ready {
            if self.state.lock().running.insert((key.clone(), id.clone())) {
                let (own, key, consumer_arn) = (self.clone(), key.clone(), consumer_arn.clone());
                drop(self.sim.cluster.control().spawn(async move {
                    own.subscribe(&key, &id, &consumer_arn).await;
                    own.state.lock().running.remove(&(key, id));
                }));
            }
        }
    }

    async fn consumer_arn(&self) -> Option<String> {
        let body = json!({"StreamARN": arn(&self.stream.name), "ConsumerName": self.consumer});
        match self.sim.kinesis_insist("DescribeStreamConsumer", body.clone()).await {
            Ok(answer) => answer["ConsumerDescription"]["ConsumerARN"].as_str().map(str::to_owned),
            Err(_) => {
                // A crash has taken it back: its registration was answered before it was synced.
                if self.sim.data(|seen| seen.relaxed) {
                    drop(self.sim.kinesis("RegisterStreamConsumer", body, None).await);
                }
                None
            }
        }
    }

    /// Where the next subscription begins; whether the last record comes again.
    fn position(&self, key: &StreamKey, id: &str) -> (Value, bool) {
        let state = self.state.lock();
        let shard = state.views.get(key).and_then(|view| view.shards.get(id));
        let last = shard.and_then(|shard| shard.records.last()).map(|record| record.number.clone());
        let continuation = state.continuations.get(&(key.clone(), id.to_owned())).cloned();
        let after = |number: String| json!({"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": number});
        match (continuation, last, self.sim.dice().below(4)) {
            (Some(continuation), _, 0..2) | (Some(continuation), None, _) => (after(continuation), false),
            (_, Some(last), 0..3) => (after(last), false),
            (_, Some(last), _) => (json!({"Type": "AT_SEQUENCE_NUMBER", "SequenceNumber": last}), true),
            (None, None, _) => (json!({"Type": "TRIM_HORIZON"}), false),
        }
    }

    async fn subscribe(&self, key: &StreamKey, id: &str, consumer_arn: &str) {
        let server = self.sim.some_server().await;
        let (position, repeats) = self.position(key, id);
        let request = json!({"ConsumerARN": consumer_arn, "ShardId": id, "StartingPosition": position});
        let control = self.sim.cluster.control();
        let (given, asked) = (self.sim.store_time(), control.monotonic());
        let mut session = Session {
            key: key.clone(),
            id: id.to_owned(),
            consumer_arn: consumer_arn.to_owned(),
            server: server.clone(),
            repeats,
            given,
            asked,
            begun: asked,
            has_rival: false,
            is_taken: false,
            deregistered: 0,
        };
        match server.subscribe(request).await {
            Ok(events) => {
                session.begun = control.monotonic();
                session.deregistered = self.deregistered();
                self.sim.data(|seen| seen.counts.subscriptions += 1);
                self.sim.history.lock().count("SubscribeToShard", "answered");
                self.consume(&mut session, events).await;
            }
            Err(Failure::Refused { name: IN_USE, .. }) => {
                // Its last subscription began a moment ago, or the consumer goes away.
                control.sleep(Duration::from_millis(700)).await;
            }
            Err(failure) if may_pass(&failure) => control.sleep(Duration::from_millis(5)).await,
            Err(failure) => {
                self.gone(&session, &failure);
                control.sleep(Duration::from_millis(20)).await;
            }
        }
    }

    fn deregistered(&self) -> u64 {
        self.sim.data(|seen| seen.deregistered.get(&self.stream.name).copied().unwrap_or_default())
    }

    /// A subscription was refused or ended because something is not there: it must have been taken away.
    fn gone(&self, session: &Session, failure: &Failure) {
        let (key, now) = (&session.key, self.sim.store_time());
        let name = match failure {
            Failure::Refused { name, .. } => *name,
            Failure::Lost | Failure::Down => return,
        };
        let taken_away = self.sim.data(|seen| seen.relaxed || seen.is_deleting(key)) || self.deregistered() > 0;
        let old = now - key.1 >= 24 * super::history::HOUR_MS - SLACK_MS;
        if !matches!(name, NOT_FOUND | "InvalidArgumentException") {
            self.broken(key, VALID, format!("SubscribeToShard answers {failure:?}"));
        } else if !taken_away && !old {
            self.broken(key, TIME, format!("{}: a subscription answers {failure:?}", session.id));
        }
        if old && !taken_away {
            let mut state = self.state.lock();
            if let Some(shard) = state.views.get_mut(key).and_then(|view| view.shards.get_mut(&session.id)) {
                shard.gone.get_or_insert(now);
            }
        }
    }

    /// Reads what is pushed until the subscription ends, in whatever way.
    async fn consume(&self, session: &mut Session, mut events: mpsc::Receiver<Pushed>) {
        let control = self.sim.cluster.control();
        loop {
            let pushed = match select(Box::pin(events.recv()), control.sleep(SILENCE_MAX)).await {
                Either::Left((pushed, _)) => pushed,
                Either::Right(_) => {
                    self.broken(&session.key, PUSHED, format!("{}: nothing comes for {SILENCE_MAX:?}", session.id));
                    return;
                }
            };
            match pushed {
                // The node has died.
                None => return self.sim.data(|seen| seen.counts.lost += 1),
                Some(Pushed::Event(event)) => {
                    if self.event(session, &event) {
                        return;
                    }
                }
                Some(Pushed::Failed { name, body }) => return self.failed(session, &name, &body),
                Some(Pushed::End) => return self.ended(session),
            }
            if self.sim.dice().percent(3) {
                // It goes away.
                return;
            }
            if self.sim.dice().percent(10) {
                control.sleep(self.sim.dice().time(Duration::from_millis(50))).await;
            }
            if self.sim.dice().percent(15) {
                self.rival(session).await;
            }
        }
    }

    /// Takes an event; true at the end of the shard.
    fn event(&self, session: &mut Session, event: &Value) -> bool {
        let (key, id) = (session.key.clone(), session.id.clone());
        let now = self.sim.store_time();
        let records = protocol::all(&event["Records"], |record| protocol::record(record, now));
        let children = protocol::all(&event["ChildShards"], protocol::child);
        let (mut records, children) = match (records, children) {
            (Ok(records), Ok(children)) => (records, children),
            (Err(text), _) | (_, Err(text)) => {
                self.broken(&key, RECORD, text);
                return true;
            }
        };
        let continuation = event["ContinuationSequenceNumber"].as_str().map(str::to_owned);
        if continuation.is_none() == children.is_empty() {
            let text = format!("{id}: an event goes on at {continuation:?}, with the children {children:?}");
            self.broken(&key, CHILDREN, text);
        }
        let mut state = self.state.lock();
        let Some(view) = state.views.get_mut(&key) else { return true };
        if std::mem::take(&mut session.repeats) {
            let last = view.shards.get(&id).and_then(|shard| shard.records.last());
            if let Some(text) = without_last(&mut records, last, &self.sim, &key, now) {
                self.broken(&key, FROM, format!("{id}: {text}"));
            }
        }
        let ends = continuation.is_none();
        let broken = view.take(&id, records, ends.then_some(children), now);
        if let Some(continuation) = continuation {
            state.continuations.insert((key.clone(), id), continuation);
        }
        drop(state);
        for (check, text) in broken {
            self.broken(&key, check, text);
        }
        ends
    }

    /// The last frame is an error.
    fn failed(&self, session: &Session, name: &str, body: &Value) {
        let (key, id) = (&session.key, &session.id);
        match name {
            IN_USE if session.has_rival => self.sim.data(|seen| seen.counts.takeovers += 1),
            "InternalFailureException" => {}
            NOT_FOUND => {
                let failure = Failure::Refused { name: NOT_FOUND, body: body.clone() };
                self.gone(session, &failure);
            }
            _ => self.broken(key, TIME, format!("{id}: a subscription ends with {name} {body}")),
        }
    }

    /// A clean end: five minutes are over, or the node stops.
    fn ended(&self, session: &Session) {
        // By its own node's clock too: nobody else may have seen that move before the node died.
        let now = self.sim.store_time().max(session.server.log.clock().store().0);
        if now >= session.given + LIFE_MS - SLACK_MS {
            self.sim.data(|seen| seen.counts.over += 1);
        } else if !self.sim.cluster.is_calm() {
            let text = format!("{}: a subscription of {} ends at {now}", session.id, session.given);
            self.broken(&session.key, TIME, text);
        }
    }

    /// Somebody subscribes to the same shard under the same name: refused at first, later it takes over.
    async fn rival(&self, session: &mut Session) {
        let control = self.sim.cluster.control();
        let request = json!({
            "ConsumerARN": session.consumer_arn, "ShardId": session.id, "StartingPosition": {"Type": "LATEST"},
        });
        let now = control.monotonic();
        let late = now >= session.begun + HELD;
        if session.is_taken || !late && self.sim.dice().percent(70) {
            return;
        }
        session.has_rival = true;
        let reply = session.server.subscribe(request).await;
        let early = control.monotonic() < session.asked + HELD;
        match reply {
            Ok(mut events) => {
                if early {
                    self.broken(&session.key, TIME, format!("{}: taken over within five seconds", session.id));
                }
                session.is_taken = true;
                drop(events.recv().await);
            }
            Err(Failure::Refused { name: IN_USE, .. }) if late && self.deregistered() == session.deregistered => {
                self.broken(&session.key, TIME, format!("{}: not taken over after five seconds", session.id));
            }
            Err(Failure::Refused { name: IN_USE, .. }) => self.sim.data(|seen| seen.counts.early += 1),
            Err(_) => {}
        }
    }
}

/// From AT_SEQUENCE_NUMBER on the record of that number comes first, unless it was trimmed.
fn without_last(
    records: &mut Vec<Record>,
    last: Option<&Record>,
    sim: &Sim,
    key: &StreamKey,
    now: i64,
) -> Option<String> {
    let (Some(last), first) = (last, records.first()) else { return None };
    if first.is_some_and(|first| (&first.number, first.id) == (&last.number, last.id)) {
        records.remove(0);
        return None;
    }
    let trimmed = last.at <= sim.data(|seen| seen.may_be_gone(key, now)) + SLACK_MS;
    (!trimmed).then(|| format!("at {last:?} the first record is {first:?}"))
}
