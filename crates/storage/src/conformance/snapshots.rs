//! Snapshots: stable, whole, in order.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_types::{SequenceNumber, ShardUid};

use super::{Bench, delete, head, moves, put, record, simple, whole_key};
use crate::contract::{Direction, From, Horizon, PageLimit, Plan, Snapshot, Write};

/// Everything that can be asked of a snapshot here, to compare two moments.
fn everything(snapshot: &dyn Snapshot) -> String {
    let entries: Vec<_> = snapshot
        .scan(&whole_key(""), &[crate::keyspace::prefix::ITEM + 1], Direction::Forward)
        .collect::<Result<_, _>>()
        .expect("scan succeeds");
    let limit = PageLimit { records: usize::MAX, bytes: usize::MAX };
    let log = snapshot.read_log(ShardUid(1), From::At(SequenceNumber::ZERO), limit).expect("log is read");
    let got = snapshot.get(&whole_key("k3")).expect("get succeeds");
    let head = snapshot.head(head(1)).expect("head is read");
    format!("{:?} {entries:?} {log:?} {got:?} {head:?}", snapshot.position())
}

pub(super) async fn a_snapshot_stays_the_same_across_later_commits(bench: &Bench) {
    let mut held: Vec<(Arc<dyn Snapshot>, String)> = Vec::new();
    for version in 0..200u64 {
        let key = format!("k{}", version % 7);
        let write = if version % 5 == 4 { delete(&key) } else { put(&key, version.to_string()) };
        let records = vec![record(0, 1, version.to_string())];
        bench.committed(Plan { heads: vec![moves(head(1), version)], writes: vec![write], records }).await;
        if version % 10 == 3 {
            let snapshot = bench.cell().snapshot();
            let seen = everything(&*snapshot);
            held.push((snapshot, seen));
        }
    }
    for (snapshot, seen) in &held {
        assert_eq!(everything(&**snapshot), *seen);
    }
    let distinct: std::collections::BTreeSet<_> = held.iter().map(|(_, seen)| seen).collect();
    assert_eq!(distinct.len(), held.len(), "every snapshot shows another moment");
}

pub(super) async fn a_snapshot_stays_the_same_across_a_trim(bench: &Bench) {
    for version in 0..40 {
        bench.committed(simple(1, version, "k3", &version.to_string())).await;
    }
    let snapshot = bench.cell().snapshot();
    let seen = everything(&*snapshot);
    let horizon = Horizon { shard: ShardUid(1), below: SequenceNumber(u64::MAX) };
    bench.cell().trim(&[horizon]).expect("trim succeeds");
    for version in 40..60 {
        bench.committed(simple(1, version, "k3", &version.to_string())).await;
        assert_eq!(everything(&*snapshot), seen);
    }
}

pub(super) async fn a_scan_gives_the_keys_between_its_bounds_in_order(bench: &Bench) {
    let keys: Vec<String> = (0..300).map(|i| format!("{i:03}")).collect();
    let writes = keys.iter().rev().map(|key| put(key, key)).collect();
    bench.committed(Plan { heads: vec![moves(head(1), 0)], writes, records: Vec::new() }).await;
    // A second group deletes every third, so that a scan must step over them.
    let writes = keys.iter().step_by(3).map(|key| delete(key)).collect();
    bench.committed(Plan { heads: vec![moves(head(1), 1)], writes, records: Vec::new() }).await;
    let left: Vec<&String> = keys.iter().enumerate().filter(|(i, _)| i % 3 != 0).map(|(_, key)| key).collect();
    let snapshot = bench.cell().snapshot();
    for (start, end) in
        [("", "~"), ("100", "200"), ("1005", "1999"), ("000", "001"), ("200", "100"), ("5", "5"), ("299", "~")]
    {
        let inside: Vec<_> = left.iter().filter(|key| start <= key.as_str() && key.as_str() < end).collect();
        for direction in [Direction::Forward, Direction::Backward] {
            let mut found: Vec<String> = snapshot
                .scan(&whole_key(start), &whole_key(end), direction)
                .map(|entry| {
                    let (key, value) = entry.expect("scan succeeds");
                    assert_eq!(key[1..], value[..]);
                    String::from_utf8(value.to_vec()).expect("text was written")
                })
                .collect();
            if direction == Direction::Backward {
                found.reverse();
            }
            assert!(found.iter().eq(inside.iter().copied().copied()), "{start}..{end} {direction:?}: {found:?}");
        }
    }
    let first_three = snapshot.scan(&whole_key(""), &whole_key("~"), Direction::Backward).take(3).count();
    assert_eq!(first_three, 3, "a scan may be left early");
}

/// Keys that differ only far behind what the index of a database may hold of them, and some that are each other's start.
pub(super) async fn long_keys_keep_their_order(bench: &Bench) {
    let noise: Vec<u8> = (0..700).flat_map(|_| bench.runtime.random().to_be_bytes()).collect();
    let key = |parts: &[&[u8]]| Bytes::from([&[crate::keyspace::prefix::ITEM], parts.concat().as_slice()].concat());
    let mut keys = Vec::new();
    for tail in 0..500u64 {
        let bytes = tail.to_be_bytes();
        keys.push(key(&[&noise[..5_000], &(tail * 7_919 % 500).to_be_bytes()]));
        keys.push(key(&[&noise[..1_990 + (tail as usize % 20)], &bytes[6..]]));
        keys.push(key(&[&noise[..5_000 + (tail as usize)]]));
    }
    keys.sort();
    keys.dedup();
    for (version, chunk) in keys.chunks(300).enumerate() {
        let put = |key: &Bytes| Write { key: key.clone(), value: Some(key.slice(key.len() - 8..)), stamp: None };
        let writes = chunk.iter().rev().map(put).collect();
        bench.committed(Plan { heads: vec![moves(head(1), version as u64)], writes, records: Vec::new() }).await;
    }
    let snapshot = bench.cell().snapshot();
    let scan = |start: &[u8], end: &[u8], direction| -> Vec<Bytes> {
        snapshot.scan(start, end, direction).map(|entry| entry.expect("scan succeeds").0).collect()
    };
    let all = [crate::keyspace::prefix::ITEM + 1];
    assert!(scan(&whole_key(""), &all, Direction::Forward) == keys, "forward");
    assert!(scan(&whole_key(""), &all, Direction::Backward).into_iter().rev().eq(keys.iter().cloned()), "backward");
    assert!(scan(&keys[500], &keys[900], Direction::Forward) == keys[500..900], "between two long keys");
    for key in keys.iter().step_by(37) {
        assert_eq!(snapshot.get(key).expect("get succeeds"), Some(key.slice(key.len() - 8..)));
    }
}

pub(super) async fn a_group_is_seen_whole_or_not_at_all(bench: &Bench) {
    const GROUPS: u64 = 60;
    let cell = bench.cell();
    let writer = {
        let cell = cell.clone();
        let batches: Vec<_> = (0..GROUPS)
            .map(|group| {
                let plans = (0..8).map(|part| simple(part, group, &format!("part{part}"), &group.to_string()));
                bench.batch(plans.collect())
            })
            .collect();
        let runtime = bench.runtime.clone();
        bench.runtime.spawn(async move {
            for batch in batches {
                cell.commit(batch).await.expect("the batch has outcomes");
                // An engine may commit without ever waiting: the reader gets its turn all the same.
                runtime.sleep(Duration::from_micros(1)).await;
            }
        })
    };
    let mut published = cell.published();
    let mut looks = 0u64;
    loop {
        let snapshot = cell.snapshot();
        let seen: Vec<_> = (0..8)
            .map(|part| {
                let value = snapshot.get(&whole_key(&format!("part{part}"))).expect("get succeeds");
                let version = snapshot.head(head(part)).expect("head is read").version;
                let limit = PageLimit { records: usize::MAX, bytes: usize::MAX };
                let from = From::At(SequenceNumber::ZERO);
                let records = snapshot.read_log(ShardUid(part), from, limit).expect("log is read").len() as u64;
                (value, version, records)
            })
            .collect();
        looks += 1;
        assert!(seen.iter().all(|part| *part == seen[0]), "parts of two groups in one snapshot: {seen:?}");
        let (_, version, records) = &seen[0];
        assert!(records <= version, "a record without its group");
        if *version == GROUPS {
            break;
        }
        published.changed().await.expect("the cell is open");
    }
    writer.await.expect("the writer ends");
    assert!(looks > 5, "only {looks} looks");
}
