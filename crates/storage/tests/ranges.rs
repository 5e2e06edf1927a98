//! Ranges that are kept in memory (decision 0010), under threads that read and write the same ones: at every snapshot a scan
//! answers what the single keys answer, which are never kept.
#![allow(clippy::unwrap_used, reason = "a test may end here")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use headwater_storage::contract::{
    Batch, BatchId, Cell, Direction, HeadChange, HeadUse, Outcome, Plan, Snapshot, Write,
};
use headwater_storage::embedded::{self, Planted, Settings};
use headwater_storage::keyspace::{partition_head, prefix};
use headwater_types::runtime::tokio_runtime;
use headwater_types::{Clock, Millis, Runtime};

/// Each with a writer of its own.
const PARTITIONS: u64 = 4;
const ROWS: u64 = 6;
const COMMITS: u64 = 1_500;
const READERS: u64 = 3;
/// Snapshots that a reader holds while others write.
const HELD: usize = 8;

fn key(partition: u64, row: u64) -> Bytes {
    format!("{}{partition}/{row}", char::from(prefix::ITEM)).into()
}

/// Sets or deletes the rows of a partition that a number names by its bits.
fn plan(partition: u64, version: u64) -> Plan {
    let named = |row: &u64| version.is_multiple_of(3) || version >> row & 1 == 1;
    let value = |row: u64| (!(version + row).is_multiple_of(5)).then(|| Bytes::from(format!("{version}")));
    let change = HeadChange::Move { items: 0, bytes: 0, take: false, above: Vec::new() };
    Plan {
        heads: vec![HeadUse { key: partition_head(partition), expected: version, change }],
        writes: (0..ROWS)
            .filter(named)
            .map(|row| Write { key: key(partition, row), value: value(row), stamp: None })
            .collect(),
        records: Vec::new(),
    }
}

async fn write(cell: Arc<dyn Cell>, runtime: Runtime, partition: u64) {
    for version in 0..COMMITS {
        let batch = Batch { id: BatchId(runtime.random_u128()), plans: vec![plan(partition, version)] };
        let outcomes = cell.commit(batch).await.unwrap();
        assert!(matches!(outcomes[..], [Outcome::Committed { .. }]), "{outcomes:?}");
    }
}

#[derive(Default, Debug)]
struct Seen {
    scans: u64,
    rows: u64,
    /// Scans that did not answer what the keys do.
    differing: u64,
}

fn compare(snapshot: &dyn Snapshot, partition: u64, direction: Direction, seen: &mut Seen) {
    let mut scanned: Vec<(Bytes, Bytes)> =
        snapshot.scan(&key(partition, 0), &key(partition, ROWS), direction).map(Result::unwrap).collect();
    if direction == Direction::Backward {
        scanned.reverse();
    }
    let keys = (0..ROWS).map(|row| key(partition, row));
    let got: Vec<(Bytes, Bytes)> =
        keys.filter_map(|key| snapshot.get(&key).unwrap().map(|value| (key, value))).collect();
    seen.scans += 1;
    seen.rows += got.len() as u64;
    seen.differing += u64::from(scanned != got);
}

/// Reads the newest state, and now and then an older one, until the writers are done.
fn read(cell: &dyn Cell, done: &AtomicBool, reader: u64) -> Seen {
    let (mut seen, mut held, mut at) = (Seen::default(), Vec::new(), reader);
    while !done.load(Ordering::Relaxed) {
        at += 1;
        let direction = if at.is_multiple_of(3) { Direction::Backward } else { Direction::Forward };
        let snapshot = cell.snapshot();
        compare(&*snapshot, at % PARTITIONS, direction, &mut seen);
        if at.is_multiple_of(7) {
            // Begun and left, while the range is written.
            let (start, end) = (key(at % PARTITIONS, 0), key(at % PARTITIONS, ROWS));
            drop(snapshot.scan(&start, &end, direction).next());
            held.push(snapshot);
        }
        if held.len() > HELD {
            let oldest = held.remove(0);
            (0..PARTITIONS).for_each(|partition| compare(&*oldest, partition, direction, &mut seen));
        }
    }
    seen
}

fn run(settings: Settings) -> Seen {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let runtime = tokio_runtime::on(tokio.handle().clone());
    tokio.block_on(async move {
        let clock = Clock::new(runtime.clone(), Millis::default());
        let (cell, _) = embedded::open(settings, runtime.clone(), clock).await.unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..READERS)
            .map(|reader| {
                let (cell, done) = (cell.clone(), done.clone());
                runtime.blocking(move || read(&*cell, &done, reader))
            })
            .collect();
        let writers = (0..PARTITIONS).map(|partition| runtime.spawn(write(cell.clone(), runtime.clone(), partition)));
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        done.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        for reader in readers {
            let Seen { scans, rows, differing } = reader.await.unwrap();
            all = Seen { scans: all.scans + scans, rows: all.rows + rows, differing: all.differing + differing };
        }
        cell.close().await.unwrap();
        all
    })
}

fn on_disk(folder: &tempfile::TempDir) -> Settings {
    let settings = Settings::on_disk(folder.path().join("data"));
    Settings { reserve_bytes: Some(0), memory_bytes: 16 << 20, rotate_one_in: Some(50), ..settings }
}

#[test]
fn a_scan_answers_what_the_keys_do_in_memory_and_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    for (place, settings) in [("memory", Settings::in_memory()), ("disk", on_disk(&folder))] {
        let seen = run(settings);
        println!("{place}: {} commits, {seen:?}", PARTITIONS * COMMITS);
        assert!(seen.differing == 0 && seen.scans > 1_000 && seen.rows > 1_000, "{place}: {seen:?}");
    }
}

#[test]
fn a_range_that_stays_though_it_was_written_is_found() {
    let folder = tempfile::tempdir().unwrap();
    for (place, settings) in [("memory", Settings::in_memory()), ("disk", on_disk(&folder))] {
        let seen = run(Settings { planted: Some(Planted::RangeKept), ..settings });
        println!("{place}, planted: {seen:?}");
        assert!(seen.differing > 0, "{place}: {seen:?}");
    }
}
