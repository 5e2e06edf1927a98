//! Writers: each puts one request after the other and writes down what it was answered.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::ask::{NOT_FOUND, may_pass};
use super::check::VALID;
use super::history::{Entry, Put, PutEnd};
use super::plan::StreamPlan;
use super::protocol;
use crate::client::Sim;
use crate::plan::Mode;
use crate::server::Failure;

/// Records of one request of a flood, and requests of it: four a second, for eight seconds. On each of two nodes, and even
/// if each takes a while, it is more than an on-demand stream's first four shards are made for.
const FLOOD: (u64, u64) = (24, 32);

/// One writer of a stream.
pub struct Writer {
    sim: Arc<Sim>,
    stream: StreamPlan,
    name: String,
    /// The newest number it was given.
    last: Option<String>,
}

impl Writer {
    /// A writer that has put nothing.
    pub fn new(sim: Arc<Sim>, stream: StreamPlan, number: u64) -> Self {
        let name = format!("{}-w{number}", stream.name);
        Self { sim, stream, name, last: None }
    }

    /// Puts all it has to put.
    pub async fn run(mut self) {
        for _ in 0..self.stream.requests {
            let pause = self.sim.dice().time(self.sim.plan.data.pause_max);
            if !pause.is_zero() {
                self.sim.cluster.control().sleep(pause).await;
            }
            let several = self.sim.dice().percent(45).then(|| self.sim.dice().between(1, 8));
            let padding = self.sim.dice().below(self.sim.plan.data.padding_max + 1) as usize;
            self.put(several, padding).await;
            self.sim.streams.made.send_modify(|made| *made += 1);
        }
    }

    /// Puts so much and for so long that an on-demand stream grows.
    pub async fn flood(mut self) {
        for _ in 0..FLOOD.1 {
            self.sim.cluster.control().sleep(Duration::from_millis(250)).await;
            self.put(Some(FLOOD.0), 0).await;
            for server in self.sim.cluster.up() {
                self.sim.data(|seen| seen.grown.insert(server.number, server.log.lived().scalings));
            }
        }
    }

    fn entry(&self) -> Entry {
        let dice = self.sim.dice();
        let key = format!("k{}", dice.below(self.stream.keys));
        let mut hash = protocol::hash(&key);
        if dice.percent(15) {
            let drawn = u128::from(dice.0.random()) << 64 | u128::from(dice.0.random());
            hash = *dice.pick(&[0, u128::MAX, drawn, drawn]);
        }
        Entry { id: self.sim.history.lock().id(), key, hash }
    }

    /// One request: of several records, or of one.
    async fn put(&mut self, several: Option<u64>, padding: usize) {
        let entries: Vec<Entry> = (0..several.unwrap_or(1)).map(|_| self.entry()).collect();
        let records: Vec<Value> = entries.iter().map(|entry| protocol::entry(&self.name, entry, padding)).collect();
        let (operation, mut body) = match (several, records.first()) {
            (None, Some(record)) => ("PutRecord", record.clone()),
            _ => ("PutRecords", json!({"Records": records})),
        };
        body["StreamName"] = json!(self.stream.name);
        // Nodes whose clocks are apart do not know each other's newest moments.
        let together = self.sim.plan.mode != Mode::TwoNodes && !self.stream.deletes;
        if operation == "PutRecord" && together && self.sim.dice().percent(10) {
            body["SequenceNumberForOrdering"] = json!(self.last);
        }
        let impatient = self.sim.dice().below(10_000) < self.sim.plan.data.hang_up;
        let hang_up = impatient.then(|| self.sim.dice().time(Duration::from_millis(4)));
        let server = self.sim.some_server().await;
        let invoked = self.sim.tick();
        let reply = self.sim.kinesis_of(&server, operation, body, hang_up).await;
        let end = self.end(operation, entries.len(), reply);
        let answered = if end == PutEnd::Lost { u64::MAX } else { self.sim.tick() };
        let (name, writer) = (self.stream.name.clone(), self.name.clone());
        self.sim.data(|seen| seen.puts.push(Put { name, writer, invoked, answered, entries, end }));
    }

    fn end(&mut self, operation: &'static str, count: usize, reply: Result<Value, Failure>) -> PutEnd {
        match reply {
            Ok(body) => {
                let placed = |body: &Value| (protocol::text(&body["ShardId"]), protocol::text(&body["SequenceNumber"]));
                let places: Vec<_> = match body["Records"].as_array() {
                    Some(records) => records.iter().map(placed).collect(),
                    None => vec![placed(&body)],
                };
                let named =
                    places.len() == count && places.iter().all(|(shard, number)| shard.len() * number.len() > 0);
                if !named {
                    self.sim.broken(VALID, format!("{operation} of {count} records answers {body}"));
                    return PutEnd::Lost;
                }
                self.last = places.last().map(|(_, number)| number.clone());
                PutEnd::Placed(places)
            }
            Err(Failure::Refused { name: NOT_FOUND, .. }) => PutEnd::NoStream,
            Err(failure) => {
                if !may_pass(&failure) {
                    self.sim.broken(VALID, format!("{operation} answers {failure:?}"));
                }
                PutEnd::Lost
            }
        }
    }
}
