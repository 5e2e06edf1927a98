//! What must happen in every run, at set parts of its requests: kills, splits, jumps of store time.
//!
//! Store time jumps by less than the retention at a time, and before the next jump one reader, the *keeper*, has read all
//! there is. So it has seen every record, though others have found some of them trimmed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use headwater_types::{HashKey, SequenceNumber};
use serde_json::json;

use crate::client::Sim;
use crate::data_streams::poller::Poller;
use crate::history::Violation;
use crate::reader::Reader;
use crate::server::scope;

/// Kills of a run, at least.
pub const KILLS_MIN: u64 = 3;
/// Splits of a run, at least.
pub const SPLITS_MIN: u64 = 2;

/// Long enough for whatever a lost request still does: no fault keeps one that long.
const SETTLED: Duration = Duration::from_secs(5);

/// Waits until so much of all requests has been made. Unit of `part`: percent.
pub async fn part_done(sim: &Sim, part: u64) {
    let mark = sim.plan.clients * sim.plan.requests * part / 100;
    // The sender lives as long as the run.
    let _ = sim.progress.subscribe().wait_for(|made| *made >= mark).await;
}

/// Kills nodes and splits partitions.
pub async fn kills_and_splits(sim: Arc<Sim>) {
    for part in [8, 20, 35, 50, 65, 80] {
        part_done(&sim, part).await;
        if part % 4 == 0 {
            sim.cluster.strike();
        }
        if part % 5 == 0 {
            split_something(&sim).await;
        }
    }
    while sim.history.lock().directed.splits < SPLITS_MIN {
        split_something(&sim).await;
    }
    for _ in 0..KILLS_MIN {
        sim.cluster.strike();
        sim.cluster.control().sleep(Duration::from_millis(50)).await;
    }
}

/// Splits some table, if there is one before long.
async fn split_something(sim: &Sim) {
    for _ in 0..100 {
        let table = sim.dice().pick(&sim.plan.tables).name.clone();
        if reshape(sim, &table, true).await {
            return;
        }
        sim.cluster.control().sleep(Duration::from_millis(5)).await;
    }
}

/// Lets store time jump, and stand still now and then; gives the keepers of tables' streams and of data streams.
pub async fn keep_time(sim: Arc<Sim>) -> (Reader, Poller) {
    let mut keeper = Reader::keeper(sim.clone());
    let mut of_data = Poller::new(sim.clone(), "keeper", true);
    for jump in 0..sim.plan.jumps {
        part_done(&sim, 5 + jump * 90 / sim.plan.jumps).await;
        let (least, most) = sim.plan.jump;
        let by = Duration::from_millis(sim.dice().between(least.as_millis() as u64, most.as_millis() as u64));
        let freeze = sim.dice().percent(25);
        let quiet = sim.tokens.write().await;
        if freeze && move_clock(&sim, Move::Freeze).await {
            sim.history.lock().directed.freezes += 1;
        }
        if move_clock(&sim, Move::Advance(by)).await {
            sim.history.lock().directed.jumps += 1;
        } else {
            // The node is gone, and what it asked for may still come: the keeper looks after that.
            sim.cluster.control().sleep(SETTLED).await;
        }
        drop(quiet);
        keeper.pass().await;
        of_data.pass().await;
        if sim.plan.aged {
            trim_something(&sim, &keeper).await;
        }
        expire_iterators(&sim, &keeper).await;
        while freeze && !move_clock(&sim, Move::Release).await {
            sim.cluster.control().sleep(Duration::from_millis(5)).await;
        }
    }
    (keeper, of_data)
}

/// Trims a shard of some stream by order, up to a record that the keeper has read.
async fn trim_something(sim: &Sim, keeper: &Reader) {
    let enabled = keeper.streams.values().filter(|stream| stream.enabled);
    let shards = enabled.flat_map(|stream| stream.shards.iter().map(move |shard| (stream, shard)));
    let full: Vec<_> = shards.filter(|(_, shard)| !shard.lost && !shard.records.is_empty()).collect();
    if full.is_empty() {
        return;
    }
    let (stream, shard) = sim.dice().pick(&full);
    let upto = sim.dice().pick(&shard.records).number.clone();
    let Some(number) = upto.get(1..).and_then(|digits| digits.parse::<u64>().ok()) else { return };
    let place = (stream.arn.clone(), shard.id.clone());
    {
        let mut history = sim.history.lock();
        let ordered = history.ordered.entry(place.clone()).or_default();
        ordered.may = ordered.may.clone().max(upto.clone());
    }
    let server = sim.some_server().await;
    let (log, table, id) = (server.log.clone(), stream.table.clone(), shard.id.clone());
    let done = server.runtime.spawn(async move {
        let uid = log.catalog().ok()?.table(&scope(), &table)?.stream?;
        let shard = log.shards(uid).ok()?.by_id(&id)?.uid;
        log.trim(uid, Some(shard), SequenceNumber(number + 1)).await.ok()
    });
    let done = done.await;
    let mut history = sim.history.lock();
    history.count("(trim)", if done.is_ok() { "answered" } else { "lost" });
    if let Ok(Some(_)) = done {
        let ordered = history.ordered.entry(place).or_default();
        ordered.must = ordered.must.clone().max(upto);
        history.directed.trims += 1;
    }
}

/// Expires all iterators by order, and looks whether one of before is.
async fn expire_iterators(sim: &Arc<Sim>, keeper: &Reader) {
    let shards = keeper.streams.values().flat_map(|stream| stream.shards.iter().map(move |shard| (stream, shard)));
    let listed: Vec<_> = shards.filter(|(_, shard)| !shard.lost).collect();
    if listed.is_empty() || sim.dice().percent(50) {
        return;
    }
    let (stream, shard) = sim.dice().pick(&listed);
    let request = json!({"StreamArn": stream.arn, "ShardId": shard.id, "ShardIteratorType": "TRIM_HORIZON"});
    let Ok(token) = keeper.token(request).await else { return };
    let order = {
        let mut history = sim.history.lock();
        history.expiries.push((sim.store_time.load(Ordering::Relaxed), i64::MAX));
        history.expiries.len() - 1
    };
    let server = sim.some_server().await;
    let log = server.log.clone();
    let done = server.runtime.spawn(async move { log.expire_iterators().await.is_ok() }).await.unwrap_or(false);
    if !done {
        // The node is gone, and what it was asked for may still come.
        sim.cluster.control().sleep(SETTLED).await;
    }
    let now = sim.store_time();
    sim.history.lock().expiries[order].1 = now;
    if !done {
        return;
    }
    sim.history.lock().directed.expiries += 1;
    let answer = sim.ask_of(&server, "GetRecords", json!({"ShardIterator": token}), None).await;
    if let Ok(body) = answer {
        let text = format!("an iterator of before still answers {body}");
        sim.notice(Violation::new("an order to expire iterators holds", text));
    }
}

/// Lets store time jump once; true when it is known to have.
pub async fn jump(sim: &Sim, by: Duration) -> bool {
    let _quiet = sim.tokens.write().await;
    move_clock(sim, Move::Advance(by)).await
}

#[derive(Clone, Copy)]
enum Move {
    Advance(Duration),
    Freeze,
    Release,
}

/// Moves the clock through some node; false when it died first: then nobody knows.
async fn move_clock(sim: &Sim, change: Move) -> bool {
    let server = sim.some_server().await;
    let log = server.log.clone();
    let done = server.runtime.spawn(async move {
        let moved = match change {
            Move::Advance(by) => log.advance_clock(by).await,
            Move::Freeze => log.freeze_clock().await,
            Move::Release => log.release_clock().await,
        };
        moved.is_ok()
    });
    let done = done.await;
    sim.history.lock().count("(clock)", if done.is_ok() { "answered" } else { "lost" });
    done.unwrap_or(false)
}

/// Splits a partition or rolls its shard over; no API offers it, and it may be refused. True when it was done.
pub async fn reshape(sim: &Sim, table: &str, split: bool) -> bool {
    let server = sim.some_server().await;
    let at = HashKey(u128::from(sim.dice().0.random()) << 64 | u128::from(sim.dice().0.random()));
    let (log, name) = (server.log.clone(), table.to_owned());
    // On the node's own runtime: its death ends this too.
    let done = server.runtime.spawn(async move {
        let Ok(catalog) = log.catalog() else { return false };
        let Some(id) = catalog.table(&scope(), &name).map(|table| table.id) else { return false };
        // Refused, taken back, without a stream: nothing to note, the table goes on.
        if split { log.split(id, at).await.is_ok() } else { log.roll_over(id, at).await.is_ok() }
    });
    let done = done.await;
    let mut history = sim.history.lock();
    history.count(if split { "(split)" } else { "(roll over)" }, if done.is_ok() { "answered" } else { "lost" });
    let done = done.unwrap_or(false);
    history.directed.splits += u64::from(done && split);
    history.directed.roll_overs += u64::from(done && !split);
    done
}
