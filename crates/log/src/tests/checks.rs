//! Checks on a stream's whole log and its lineage.

use std::collections::{BTreeMap, BTreeSet};

use headwater_types::{SequenceNumber, ShardUid, StreamUid, TableId};

use super::commands::{Step, count, touch};
use crate::{Log, LogRecord, PageLimit, ReadFrom, ShardInfo};

pub(super) const PAGE: PageLimit = PageLimit { records: 7, bytes: 1 << 20 };

/// Every record of a shard, by paging; panics unless numbers rise and lie within the shard's own.
pub(super) fn read_shard(log: &Log, stream: StreamUid, shard: &ShardInfo) -> Vec<LogRecord> {
    let (mut from, mut all) = (ReadFrom::Horizon, Vec::<LogRecord>::new());
    loop {
        let page = log.page(stream, shard.uid, from, PAGE).expect("readable");
        let empty = page.records.is_empty();
        all.extend(page.records);
        match page.next {
            Some(next) if !(empty && shard.ending.is_none()) => from = next,
            _ => break,
        }
    }
    assert!(all.is_sorted_by(|a, b| a.number < b.number), "numbers rise within a shard");
    assert!(all.first().is_none_or(|first| first.number >= shard.starting), "a record below its shard's start");
    let ending = shard.ending.unwrap_or(SequenceNumber(u64::MAX));
    assert!(all.last().is_none_or(|last| last.number <= ending), "a record above its shard's end");
    all
}

/// The shards of a stream with their records; panics unless parents end before children start and open shards tile.
pub(super) fn read_stream(log: &Log, stream: StreamUid) -> BTreeMap<ShardUid, (ShardInfo, Vec<LogRecord>)> {
    let list = log.shards(stream).expect("listed");
    check_lineage(list.shards());
    let read = list.shards().iter().map(|shard| (shard.uid, (shard.clone(), read_shard(log, stream, shard))));
    read.collect()
}

/// Panics unless one list of shards is whole: ids in order, no child before its parent's end, open shards tile the
/// hashes, no closed shard that something follows is without children.
pub(super) fn check_lineage(shards: &[ShardInfo]) {
    assert!(shards.is_sorted_by(|a, b| a.id < b.id && a.created < b.created), "ids rise in order of creation");
    let by_uid: BTreeMap<ShardUid, &ShardInfo> = shards.iter().map(|shard| (shard.uid, shard)).collect();
    for shard in shards {
        for parent in shard.parents.iter().filter_map(|parent| by_uid.get(parent)) {
            let ending = parent.ending.expect("a child is listed only after its parent's end");
            assert!(ending < shard.starting, "a child starts above its parent's end");
            let (outer, inner) = if shard.parents.len() == 1 { (*parent, shard) } else { (shard, *parent) };
            assert!(outer.hash_range.0 <= inner.hash_range.0 && inner.hash_range.1 <= outer.hash_range.1);
        }
    }
    let mut open: Vec<_> = shards.iter().filter(|shard| shard.ending.is_none()).map(|shard| shard.hash_range).collect();
    if open.is_empty() {
        return;
    }
    open.sort_unstable();
    assert_eq!((open[0].0, open[open.len() - 1].1), (0, u128::MAX), "open shards cover the hashes");
    assert!(open.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0), "open shards do not overlap");
    let parents: BTreeSet<ShardUid> = shards.iter().flat_map(|shard| shard.parents.iter().copied()).collect();
    for shard in shards.iter().filter(|shard| shard.ending.is_some()) {
        assert!(parents.contains(&shard.uid), "a closed shard of a living stream has children");
    }
}

/// Each key's steps in order along the lineage; panics unless every step continues the one before, and the table holds
/// what the last one left.
pub(super) fn histories(log: &Log, table: TableId, stream: StreamUid) -> BTreeMap<u64, Vec<Step>> {
    let mut histories: BTreeMap<u64, Vec<Step>> = BTreeMap::new();
    // Shards in order of creation: a parent comes before its children.
    for (shard, records) in read_stream(log, stream).into_values() {
        for record in records {
            let step = Step::decode(&record.payload);
            let hash = touch(table, step.key).hash.0;
            assert!(shard.hash_range.0 <= hash && hash <= shard.hash_range.1, "a record in a shard of its range");
            histories.entry(step.key).or_default().push(step);
        }
    }
    let snapshot = log.snapshot();
    for (key, steps) in &histories {
        let mut last = Step { key: *key, old: 0, new: 0, tag: 0, version: 0 };
        for step in steps {
            assert_eq!(step.old, last.new, "key {key}: each record continues the one before");
            assert!(step.version >= last.version, "key {key}: no plan of an older definition after a newer one's");
            last = *step;
        }
        let stored = snapshot.get(&touch(table, *key).key).expect("readable");
        assert_eq!(count(stored.as_ref()), last.new, "key {key}: the table is the fold of its stream");
    }
    let size = log.size(table).expect("known");
    assert_eq!(size.items, histories.len() as i64, "item counts follow the items");
    assert_eq!(size.bytes, 8 * size.items);
    histories
}
