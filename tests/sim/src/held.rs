//! Snapshots held for a while: one position, one answer, whatever is flushed, compacted, rewritten and trimmed meanwhile.

use std::sync::Arc;
use std::time::Duration;

use headwater_log::Log;
use headwater_storage::Snapshot;
use headwater_storage::contract::{Direction, From, PageLimit};
use headwater_types::{Position, Runtime, SequenceNumber, ShardUid};
use tokio::sync::watch;

use crate::client::Sim;
use crate::history::Violation;
use crate::plan::Mode;

/// Everything at once: pages are not what is looked at here.
const ALL: PageLimit = PageLimit { records: usize::MAX, bytes: usize::MAX };

/// What a snapshot answers: how many rows and records, and a hash over them in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Answer {
    rows: u64,
    records: u64,
    hash: u64,
}

impl Answer {
    fn take(&mut self, bytes: &[u8]) {
        let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        self.hash = bytes.iter().fold(self.hash.rotate_left(5), fold);
    }
}

/// `None` when the snapshot cannot be read at this moment: a fault on the disk.
fn answer(snapshot: &dyn Snapshot, shards: &[ShardUid]) -> Option<Answer> {
    let mut answer = Answer::default();
    for entry in snapshot.scan(&[], &[0xff; 64], Direction::Forward) {
        let (key, value) = entry.ok()?;
        answer.take(&key);
        answer.take(&value);
        answer.rows += 1;
    }
    for shard in shards {
        for record in snapshot.read_log(*shard, From::At(SequenceNumber::ZERO), ALL).ok()? {
            answer.take(&record.number.0.to_be_bytes());
            answer.take(&record.payload);
            answer.records += 1;
        }
    }
    Some(answer)
}

/// Holds one snapshot after the other while the run lasts, each for a time of no account.
pub async fn hold(sim: Arc<Sim>, stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let server = sim.some_server().await;
        let pause = sim.dice().time(Duration::from_millis(500) + sim.plan.pause_max * 5);
        // Where an answer comes before its sync, a snapshot shows a record only once it is synced: its log grows.
        let with_log = sim.plan.mode != Mode::Relaxed;
        // A task of the node: what it holds goes when the node dies, as in a process.
        let (log, runtime) = (server.log.clone(), server.runtime.clone());
        let held = server.runtime.spawn(async move { held(&log, &runtime, pause, with_log).await });
        let Ok(Some(held)) = held.await else {
            sim.cluster.control().sleep(Duration::from_millis(1)).await;
            continue;
        };
        if held.first != held.again {
            let text = format!("position {:?} answers {:?}, then {:?}", held.position, held.first, held.again);
            sim.notice(Violation::new("a snapshot that is held does not change", text));
        }
        let mut history = sim.history.lock();
        history.held += 1;
        history.outlived += u64::from(held.outlived);
    }
}

struct Held {
    position: Position,
    first: Answer,
    again: Answer,
    /// The node has gone on meanwhile.
    outlived: bool,
}

async fn held(log: &Log, runtime: &Runtime, pause: Duration, with_log: bool) -> Option<Held> {
    let snapshot = log.snapshot();
    let shards = if with_log { shards(log) } else { Vec::new() };
    let first = answer(&*snapshot, &shards)?;
    runtime.sleep(pause).await;
    let again = answer(&*snapshot, &shards)?;
    let position = snapshot.position();
    Some(Held { position, first, again, outlived: log.snapshot().position() != position })
}

fn shards(log: &Log) -> Vec<ShardUid> {
    let Ok(catalog) = log.catalog() else { return Vec::new() };
    let streams = catalog.all_tables().filter_map(|table| table.stream);
    let lists = streams.filter_map(|stream| log.shards(stream).ok());
    lists.flat_map(|list| list.shards().iter().map(|shard| shard.uid).collect::<Vec<_>>()).collect()
}
