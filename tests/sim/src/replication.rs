//! Tables replicated to data streams by the movers of the same nodes, and what must hold of what arrives.
//!
//! ```text
//! clients, ledger, expiry ─► tables ─► movers ─► targets ─► keeper: looks at durable moments ─► check
//! destinations (one admin per table): enabled, precision changed, disabled ──┘   ▲
//! targets (one admin per name): made, split, merged, resharded, refusing, deleted ┘
//! ```

pub mod admin;
pub mod check;
pub mod history;
mod judge;
pub mod keeper;
pub mod plan;
pub mod protocol;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use headwater_delivery::{Doors, Throttle};
use headwater_log::Log;
use headwater_operations::Operations;
use headwater_types::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::watch;

use self::admin::Destinations;
use self::check::{ENDS, SHOWN};
use self::keeper::SYNCED;
use crate::client::Sim;
use crate::data_streams::admin::Admin;
use crate::history::Violation;
use crate::plan::Plan;
use crate::server::{Server, scope};
use crate::{expiry, ledger};

/// Looks at whether all is replicated, ten a second.
const LOOKS_MAX: usize = 3_000;

/// What a node's movers are wired to, as the server wires them: the limits of shards, and whoever makes shards refuse.
pub fn doors(plan: &Plan, log: &Arc<Log>, refuses: &Arc<AtomicBool>) -> Doors {
    let Some(replication) = &plan.replication else { return Doors::default() };
    let limits = Operations::new(log.clone()).with_aws_limits(replication.limited).throttle();
    let (refuses, runtime) = (refuses.clone(), log.runtime().clone());
    let throttle: Throttle = Arc::new(move |stream, shard, bytes| {
        let takes = !refuses.load(Ordering::Relaxed) || runtime.random().is_multiple_of(3);
        takes && limits.as_ref().is_none_or(|limits| limits(stream, shard, bytes))
    });
    Doors { throttle: Some(throttle), events: None }
}

/// Everybody at work on destinations and targets.
pub struct Workload {
    workers: Vec<BoxFuture<'static, ()>>,
    stop: watch::Sender<bool>,
}

impl Workload {
    /// Makes the targets and sets everybody to work. `others`: the ledger and the expiry are there, and replicated throughout.
    pub async fn start(sim: &Arc<Sim>, others: bool) -> Self {
        let mut workload = Self { workers: Vec::new(), stop: watch::Sender::new(false) };
        let Some(plan) = sim.plan.replication.clone() else { return workload };
        let control = sim.cluster.control();
        let mut spawn = |work: BoxFuture<'static, ()>| {
            let ended = control.spawn(work);
            workload.workers.push(Box::pin(async move { ended.await.expect("a worker ends") }));
        };
        let mut admins = Vec::new();
        for stream in plan.targets {
            let mut admin = Admin::new(sim.clone(), stream.clone());
            admin.create().await;
            admins.push((admin, stream));
        }
        if others {
            for table in ledger::TABLES.into_iter().chain([expiry::TABLE]) {
                Destinations::new(sim.clone(), table).insist().await;
            }
        }
        for (admin, stream) in admins {
            spawn(Box::pin(admin::targets(sim.clone(), admin, stream)));
        }
        for table in &sim.plan.tables {
            spawn(Box::pin(Destinations::new(sim.clone(), &table.name).run(plan.changes)));
        }
        spawn(Box::pin(watch(sim.clone(), workload.stop.subscribe())));
        workload
    }

    /// Waits until nobody changes a destination or a target any more. The clients have ended.
    pub async fn work_ends(&mut self) {
        let watcher = self.workers.pop();
        for worker in self.workers.drain(..) {
            worker.await;
        }
        self.stop.send_replace(true);
        if let Some(watcher) = watcher {
            watcher.await;
        }
    }

    /// Waits until all is replicated, in calm, and reads the targets as a client does.
    pub async fn last_look(self, sim: &Arc<Sim>) {
        if sim.plan.replication.is_none() {
            return;
        }
        sim.cluster.refuse_replicas(false);
        for _ in 0..LOOKS_MAX {
            look(sim);
            let up = sim.cluster.up();
            if !up.is_empty() && up.iter().all(|server| sim.replicas.lock().is_drained(server)) {
                break;
            }
            sim.cluster.control().sleep(Duration::from_millis(100)).await;
        }
        let server = sim.some_server().await;
        let (drained, replications) = (sim.replicas.lock().is_drained(&server), server.jobs.replications());
        if !drained {
            broken(sim, ENDS, format!("{replications:?} after {LOOKS_MAX} looks"));
        }
        sim.cluster.control().sleep(SYNCED).await;
        look(sim);
        sim.replicas.lock().settle();
        look(sim);
        // What the nodes counted that are still up.
        sim.replicas.lock().calm();
        for stream in sim.plan.replication.iter().flat_map(|plan| &plan.targets) {
            read(sim, &server, &stream.name).await;
        }
    }
}

fn broken(sim: &Sim, check: &'static str, text: String) {
    sim.replicas.lock().seen.noticed.push(Violation::new(check, text));
}

/// Looks at moments of no account.
async fn watch(sim: Arc<Sim>, stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let pause = sim.dice().time(Duration::from_millis(8) + sim.plan.pause_max / 8);
        sim.cluster.control().sleep(pause).await;
        look(&sim);
    }
}

/// One look at some node that is up: they all show one durable state. False: none is up, or it cannot be read.
pub fn look(sim: &Sim) -> bool {
    let up = sim.cluster.up();
    let numbers: Vec<u64> = up.iter().map(|server| server.number).collect();
    let mut replicas = sim.replicas.lock();
    replicas.up(&numbers);
    !up.is_empty() && replicas.look(sim.dice().pick(&up).as_ref())
}

/// Reads a target from its beginning and compares it with what looks have found in it.
async fn read(sim: &Arc<Sim>, server: &Server, name: &str) {
    let catalog = server.log.catalog().ok();
    let Some(uid) = catalog.and_then(|catalog| catalog.data_stream(&scope(), name).map(|stream| stream.uid)) else {
        return broken(sim, SHOWN, format!("{name} is not there in the end"));
    };
    let Ok(listed) = server.log.shards(uid) else { return };
    for shard in listed.shards() {
        let id = format!("shardId-{:012}", shard.index);
        let given = given(sim, name, &id).await;
        let replicas = sim.replicas.lock();
        let found = replicas.read_of(uid).remove(&shard.uid).unwrap_or_default();
        let found: Vec<&str> = found.iter().map(|placed| placed.replica.change.event_id.as_str()).collect();
        // What is too old is no longer shown.
        let fits = if sim.plan.aged { ends_with(&found, &given) } else { found == given };
        drop(replicas);
        if fits {
            sim.replicas.lock().seen.counts.read += given.len() as u64;
        } else {
            broken(sim, SHOWN, format!("{id} of {name} gives {given:?}"));
        }
    }
}

fn ends_with(found: &[&str], given: &[String]) -> bool {
    found.len() >= given.len() && found[found.len() - given.len()..].iter().eq(given)
}

/// The event ids of all that GetRecords gives of a shard, in order.
async fn given(sim: &Arc<Sim>, stream: &str, shard: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let start = json!({"StreamName": stream, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"});
    let Ok(answer) = sim.kinesis_insist("GetShardIterator", start).await else { return ids };
    let mut iterator = answer.get("ShardIterator").cloned();
    while let Some(position) = iterator {
        let Ok(page) = sim.kinesis_insist("GetRecords", json!({"ShardIterator": position})).await else { break };
        let records = page["Records"].as_array().map(Vec::as_slice).unwrap_or_default();
        iterator = page.get("NextShardIterator").filter(|_| !records.is_empty()).cloned();
        ids.extend(records.iter().map(|record| {
            let data = record["Data"].as_str().and_then(|data| STANDARD.decode(data).ok()).unwrap_or_default();
            let body: Value = serde_json::from_slice(&data).unwrap_or_default();
            body["eventID"].as_str().unwrap_or_default().to_owned()
        }));
    }
    ids
}
