//! Shards' logs: pages, tails, trim.

use std::sync::Arc;

use headwater_types::{SequenceNumber, ShardUid};
use tokio::sync::Semaphore;

use super::{Bench, head, is_fenced, moves, record, simple};
use crate::contract::{From, Horizon, LogRecord, PageLimit, Plan};

const EVERYTHING: PageLimit = PageLimit { records: usize::MAX, bytes: usize::MAX };

pub(super) async fn a_page_holds_what_its_limits_allow(bench: &Bench) {
    let payloads = [100, 50, 50, 0, 300, 10].map(|size| vec![b'x'; size]);
    let records = payloads.iter().map(|payload| record(0, 1, payload)).collect();
    bench.committed(Plan { heads: vec![moves(head(1), 0)], writes: Vec::new(), records }).await;
    let snapshot = bench.cell().snapshot();
    let page = |records: usize, bytes: usize, from: From| -> Vec<LogRecord> {
        snapshot.read_log(ShardUid(1), from, PageLimit { records, bytes }).expect("log is read")
    };
    let start = From::At(SequenceNumber::ZERO);
    assert_eq!(page(3, usize::MAX, start).len(), 3);
    assert_eq!(page(0, usize::MAX, start).len(), 0);
    assert_eq!(page(10, 200, start).len(), 4, "200 bytes and an empty record fit, the next one crosses");
    assert_eq!(page(10, 199, start).len(), 2);
    assert_eq!(page(10, 1, start).len(), 1, "a first record is given whatever its size");
    // Page by page, whatever the limits: every record once, in order.
    for (records, bytes) in [(1, 1), (2, usize::MAX), (10, 120), (10, 1)] {
        let mut from = start;
        let mut sizes = Vec::new();
        loop {
            let next = page(records, bytes, from);
            let Some(last) = next.last() else { break };
            from = From::After(last.number);
            sizes.extend(next.iter().map(|r| r.payload.len()));
        }
        assert_eq!(sizes, [100, 50, 50, 0, 300, 10], "pages of {records} records, {bytes} bytes");
    }
}

pub(super) async fn reading_starts_at_or_after_a_number(bench: &Bench) {
    let mut numbers = Vec::new();
    for version in 0..10 {
        numbers.extend(bench.committed(simple(1, version, "k", &version.to_string())).await.1);
    }
    let snapshot = bench.cell().snapshot();
    let first = |from: From| {
        snapshot.read_log(ShardUid(1), from, EVERYTHING).expect("log is read").first().map(|record| record.number)
    };
    for (index, number) in numbers.iter().enumerate() {
        assert_eq!(first(From::At(*number)), Some(*number));
        assert_eq!(first(From::After(*number)), numbers.get(index + 1).copied());
        assert_eq!(first(From::After(SequenceNumber(number.0 - 1))), Some(*number));
        assert_eq!(first(From::At(SequenceNumber(number.0 + 1))), numbers.get(index + 1).copied());
    }
    assert_eq!(first(From::At(SequenceNumber(u64::MAX))), None);
}

pub(super) async fn shards_are_read_apart_and_an_unknown_shard_is_empty(bench: &Bench) {
    for version in 0..30 {
        // One head may number several shards, one after another: a partition whose shard rolled over.
        let records = vec![record(0, 10 + version % 3, version.to_string())];
        bench.committed(Plan { heads: vec![moves(head(1), version)], writes: Vec::new(), records }).await;
    }
    for shard in 10..13 {
        let seen: Vec<String> =
            bench.log(shard).iter().map(|r| String::from_utf8_lossy(&r.payload).into_owned()).collect();
        let expected: Vec<String> = (0..30).filter(|v| 10 + v % 3 == shard).map(|v| v.to_string()).collect();
        assert_eq!(seen, expected);
    }
    assert!(bench.log(13).is_empty());
}

pub(super) async fn a_tailing_reader_sees_no_gap_under_concurrent_committers(bench: &Bench) {
    const WRITERS: u64 = 6;
    const BATCHES: u64 = 40;
    let permits = Arc::new(Semaphore::new(bench.cell().groups_in_flight_max()));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (cell, permits) = (bench.cell(), permits.clone());
            let batches: Vec<_> = (0..BATCHES)
                .map(|version| {
                    let text = format!("{writer}.{version}");
                    // Two of a writer's own shard, and one of a shard that all writers share by a common head's turn.
                    bench.batch(vec![
                        simple(writer, 2 * version, &text, &text),
                        simple(writer, 2 * version + 1, &text, &text),
                    ])
                })
                .collect();
            bench.runtime.spawn(async move {
                for batch in batches {
                    let permit = permits.clone().acquire_owned().await.expect("the semaphore stays open");
                    let outcomes = cell.commit(batch).await.expect("the batch has outcomes");
                    assert!(!outcomes.iter().any(is_fenced));
                    drop(permit);
                }
            })
        })
        .collect();
    let tail = {
        let cell = bench.cell();
        bench.runtime.spawn(async move {
            let mut published = cell.published();
            let mut seen: Vec<Vec<LogRecord>> = vec![Vec::new(); WRITERS as usize];
            while seen.iter().any(|shard| shard.len() < 2 * BATCHES as usize) {
                let snapshot = cell.snapshot();
                for (shard, records) in seen.iter_mut().enumerate() {
                    let last = records.last().map_or(SequenceNumber::ZERO, |record| record.number);
                    let limit = PageLimit { records: 3, bytes: usize::MAX };
                    let page = snapshot.read_log(ShardUid(shard as u64), From::After(last), limit);
                    records.extend(page.expect("log is read"));
                }
                let behind = seen.iter().enumerate().any(|(shard, records)| {
                    let last = records.last().map_or(SequenceNumber::ZERO, |record| record.number);
                    let limit = PageLimit { records: 1, bytes: usize::MAX };
                    let rest = snapshot.read_log(ShardUid(shard as u64), From::After(last), limit);
                    !rest.expect("log is read").is_empty()
                });
                if !behind && seen.iter().any(|shard| shard.len() < 2 * BATCHES as usize) {
                    published.changed().await.expect("the cell is open");
                }
            }
            seen
        })
    };
    for writer in writers {
        writer.await.expect("the writer ends");
    }
    for (shard, records) in tail.await.expect("the reader ends").iter().enumerate() {
        assert_eq!(*records, bench.log(shard as u64), "the tail of shard {shard} is not its log");
        assert!(records.is_sorted_by(|a, b| a.number < b.number));
        let texts: Vec<_> =
            records.iter().map(|record| String::from_utf8_lossy(&record.payload).into_owned()).collect();
        let expected: Vec<_> = (0..2 * BATCHES).map(|i| format!("{shard}.{}", i / 2)).collect();
        assert_eq!(texts, expected);
    }
}

pub(super) async fn what_lies_above_a_horizon_survives_a_trim(bench: &Bench) {
    let mut numbers = Vec::new();
    for version in 0..20 {
        numbers.extend(bench.committed(simple(1, version, "k", &version.to_string())).await.1);
        bench.committed(simple(2, version, "other", &version.to_string())).await;
    }
    let horizon = Horizon { shard: ShardUid(1), below: numbers[12] };
    let unknown = Horizon { shard: ShardUid(99), below: SequenceNumber(u64::MAX) };
    bench.cell().trim(&[horizon, unknown]).expect("trim succeeds");
    bench.cell().trim(&[Horizon { below: numbers[3], ..horizon }]).expect("a lower horizon changes nothing");
    for reopened in [false, true] {
        if reopened {
            bench.reopen().await;
        }
        let kept: Vec<_> = bench.log(1).iter().map(|record| record.number).filter(|n| *n >= numbers[12]).collect();
        assert_eq!(kept, numbers[12..]);
        assert_eq!(bench.log(2).len(), 20, "another shard keeps all");
        assert_eq!(bench.get("k").as_deref(), Some(&b"19"[..]), "keys are no part of the log");
    }
    let (_, after) = bench.committed(simple(1, 20, "k", "after")).await;
    assert!(after[0] > numbers[19]);
}
