//! Partitions of a table and the shards on them: opening, closing, roll-over and split, each a part of one plan.
//!
//! ```text
//! roll-over:  partition 7 ─ shard a ─┤E(a) < S(b)├─ shard b ─►        split:  partition 7 ─ shard a ─┤E(a)┬─ 8 ─ shard b ─►
//!                                                                                                        └─ 9 ─ shard c ─►
//! ```
//! A shard's end and its children's start are numbers taken in the same commit, the children's above the parent's.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes};
use headwater_catalog::{BadRow, Identities};
use headwater_storage::contract::Direction;
use headwater_storage::keyspace::{lineage_head, partition_head, prefix, table_head};
use headwater_storage::{HeadKey, Plan, Snapshot};
use headwater_types::{HashKey, Millis, Runtime, SequenceNumber, ShardUid, StreamUid, TableId};

use crate::draft::Draft;
use crate::error::Error;
use crate::shard::{ENDING_AT, OPENED_AT, ShardName, ShardRow, shard_key};
use crate::stream;

/// The head of the counters of identities; streams' identities start at one.
pub(crate) const IDENTITY_HEAD: HeadKey = lineage_head(StreamUid(0));

const PARTITION: u8 = b'P';
const RETIRED: u8 = b'R';
const DEAD_TABLE: u8 = b'D';
const DEAD_STREAM: u8 = b'E';
const FORMAT: u8 = 0;

/// A hash range of a table's items, and the shard that takes its records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Partition {
    pub id: u64,
    /// First and last hash, both included.
    pub range: (u128, u128),
    /// Absent while nothing wants the log.
    pub shard: Option<ShardUid>,
    /// Version of its head, own commits under way counted.
    pub version: u64,
}

/// What a committer knows of a table's heads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Known {
    /// Version of the definition.
    pub version: u64,
    /// By rising range, without gaps.
    pub partitions: Vec<Partition>,
}

/// What a table holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TableSize {
    /// Items.
    pub items: i64,
    /// Unit: bytes of items, by the service's size rules.
    pub bytes: i64,
    /// Partitions.
    pub partitions: usize,
}

impl Known {
    /// Which partition holds a hash.
    pub fn find(&self, hash: HashKey) -> Option<usize> {
        self.partitions.partition_point(|partition| partition.range.0 <= hash.0).checked_sub(1)
    }

    /// The partition that holds a hash.
    pub fn at(&self, hash: HashKey) -> Option<&Partition> {
        self.partitions.get(self.find(hash)?)
    }
}

/// A table's partitions and versions; `None` when there is no such table.
pub(crate) fn load(snapshot: &dyn Snapshot, table: TableId) -> Result<Option<Known>, Error> {
    let version = snapshot.head(table_head(table))?.version;
    if version == 0 {
        return Ok(None);
    }
    Ok(Some(Known { version, partitions: partitions(snapshot, table)? }))
}

/// A table's partitions by rising range.
pub(crate) fn partitions(snapshot: &dyn Snapshot, table: TableId) -> Result<Vec<Partition>, Error> {
    let (start, end) = (partition_key(table, 0), partition_key(TableId(table.0 + 1), 0));
    let mut partitions = Vec::new();
    for entry in snapshot.scan(&start, &end, Direction::Forward) {
        let (key, value) = entry?;
        let mut partition = decode(&key, &value).ok_or_else(|| BadRow::new(&key, "not a partition of this format"))?;
        partition.version = snapshot.head(partition_head(partition.id))?.version;
        partitions.push(partition);
    }
    Ok(partitions)
}

/// Items and bytes of a table.
pub(crate) fn size(snapshot: &dyn Snapshot, table: TableId) -> Result<TableSize, Error> {
    let mut size = TableSize::default();
    for partition in partitions(snapshot, table)? {
        let head = snapshot.head(partition_head(partition.id))?;
        size.items += head.items;
        size.bytes += head.bytes;
        size.partitions += 1;
    }
    Ok(size)
}

/// Equal ranges that tile the hashes.
pub(crate) fn tile(count: usize) -> Vec<(u128, u128)> {
    let count = count.max(1) as u128;
    let width = if count == 1 { 0 } else { u128::MAX / count + 1 };
    let start = |at: u128| at * width;
    (0..count).map(|at| (start(at), if at + 1 == count { u128::MAX } else { start(at + 1) - 1 })).collect()
}

/// Changes of partitions and shards that one plan makes on top of one snapshot.
pub(crate) struct Lineage<'a> {
    pub draft: Draft,
    pub snapshot: &'a dyn Snapshot,
    pub ids: Identities,
    pub now: Millis,
    pub runtime: &'a Runtime,
    /// The newest shard's creation time, per stream.
    newest: BTreeMap<StreamUid, Millis>,
    /// The next shard's place among all shards of its stream, where shards are named by it.
    counted: BTreeMap<StreamUid, u32>,
}

impl<'a> Lineage<'a> {
    pub fn new(snapshot: &'a dyn Snapshot, now: Millis, runtime: &'a Runtime) -> Result<Self, Error> {
        let ids = Identities::decode(snapshot.get(&Identities::key())?.as_deref())?;
        Ok(Self {
            draft: Draft::default(),
            snapshot,
            ids,
            now,
            runtime,
            newest: BTreeMap::new(),
            counted: BTreeMap::new(),
        })
    }

    /// The plan, with the identities it used.
    pub fn finish(mut self) -> Result<Plan, Error> {
        let version = self.snapshot.head(IDENTITY_HEAD)?.version;
        self.draft.moved(IDENTITY_HEAD, version);
        self.draft.put(Identities::key(), self.ids.encode());
        Ok(self.draft.into_plan())
    }

    /// Makes a partition.
    pub fn create(&mut self, range: (u128, u128)) -> Partition {
        Partition { id: self.ids.partition(), range, shard: None, version: 0 }
    }

    /// Opens a shard on a partition that has none; `children_of` names what it continues and the heads that numbered it.
    pub fn open(
        &mut self,
        table: TableId,
        stream: StreamUid,
        partition: &mut Partition,
        children_of: &[(ShardName, u16)],
    ) -> Result<(), Error> {
        self.open_after(table, stream, partition, children_of, None)
    }

    /// As `open`; `before` is the shard of another lineage that the partition's log was in until this plan.
    pub fn open_after(
        &mut self,
        table: TableId,
        stream: StreamUid,
        partition: &mut Partition,
        children_of: &[(ShardName, u16)],
        before: Option<ShardUid>,
    ) -> Result<(), Error> {
        let head = self.draft.moved(partition_head(partition.id), partition.version);
        self.draft.take(head);
        for (_, parent) in children_of.iter().filter(|(_, parent)| *parent != head) {
            self.draft.above(head, *parent);
        }
        let suffix = match self.counted.get_mut(&stream) {
            Some(next) => {
                *next += 1;
                *next - 1
            }
            None => self.runtime.random() as u32,
        };
        let above = children_of.iter().map(|(parent, _)| second_after(parent.created)).max();
        let name = ShardName { uid: self.ids.shard(), created: self.created(stream, above)?, suffix };
        let row = ShardRow {
            name,
            opened: SequenceNumber::ZERO,
            ending: None,
            closed: None,
            horizon: SequenceNumber::ZERO,
            hash_range: partition.range,
            partition: partition.id,
            before,
            parents: children_of.iter().map(|(parent, _)| *parent).collect(),
        };
        self.draft.put_stamped(shard_key(stream, name.uid), row.encode(), head, OPENED_AT);
        partition.shard = Some(name.uid);
        self.put(table, partition);
        self.move_lineage(stream)
    }

    /// Closes a partition's open shard: its name and the head that numbered it, or `None` when there was none.
    ///
    /// Order: every number it ever gave is at most the ending that the commit stamps.
    pub fn close(
        &mut self,
        table: TableId,
        stream: StreamUid,
        partition: &mut Partition,
    ) -> Result<Option<(ShardName, u16)>, Error> {
        let Some(shard) = partition.shard.take() else { return Ok(None) };
        let head = self.draft.moved(partition_head(partition.id), partition.version);
        self.draft.take(head);
        let key = shard_key(stream, shard);
        let row = self.snapshot.get(&key)?.ok_or_else(|| BadRow::new(&key, "an open shard has no row"))?;
        let row = ShardRow { closed: Some(self.now), ..ShardRow::decode(&key, &row)? };
        let name = row.name;
        self.draft.put_stamped(key, row.encode(), head, ENDING_AT);
        self.put(table, partition);
        self.move_lineage(stream)?;
        Ok(Some((name, head)))
    }

    /// Takes a partition's log from one lineage to another, which goes on where the first ends; either may be none.
    pub fn hand_over(
        &mut self,
        table: TableId,
        from: Option<StreamUid>,
        to: Option<StreamUid>,
        partition: &mut Partition,
    ) -> Result<(), Error> {
        let closed = from.map(|from| self.close(table, from, partition)).transpose()?.flatten();
        let before = closed.map(|(name, _)| name.uid);
        to.map_or(Ok(()), |to| self.open_after(table, to, partition, &[], before))
    }

    /// Takes a number of its own under a partition's head: what is committed before lies below, what comes after above.
    pub fn mark(&mut self, partition: &Partition) -> u16 {
        let head = self.draft.moved(partition_head(partition.id), partition.version);
        self.draft.take(head);
        head
    }

    /// Ends a partition. Its head goes now, or, when it numbered a shard's end in this plan, at the next trimming.
    pub fn end(&mut self, table: TableId, partition: &Partition, closed: bool) {
        let head = partition_head(partition.id);
        if closed {
            self.draft.put(retired_key(partition.id), Bytes::new());
        } else {
            self.draft.removed(head, partition.version);
        }
        self.draft.delete(partition_key(table, partition.range.0));
    }

    /// Writes a partition's row.
    pub fn put(&mut self, table: TableId, partition: &Partition) {
        self.draft.put(partition_key(table, partition.range.0), encode(partition));
    }

    /// Rows of a table that is gone are swept away later.
    pub fn bury(&mut self, table: TableId) {
        self.draft.put(dead_table_key(table), Bytes::new());
    }

    /// Replaces the open shard of the partition that holds `at` by one child. Gives what is known afterwards.
    pub fn roll_over(&mut self, table: TableId, stream: StreamUid, known: &Known, at: HashKey) -> Result<Known, Error> {
        let mut after = known.clone();
        let partition = partition_at(&mut after, at)?;
        let parent = self.close(table, stream, partition)?;
        let parent = parent.ok_or_else(|| Error::Invalid("the partition has no open shard".to_owned()))?;
        self.open(table, stream, partition, &[parent])?;
        partition.version += 1;
        Ok(after)
    }

    /// Splits the partition that holds `at`, the first hash of the upper half. Gives what is known afterwards.
    pub fn split(
        &mut self,
        table: TableId,
        stream: Option<StreamUid>,
        known: &Known,
        at: HashKey,
    ) -> Result<Known, Error> {
        let mut after = known.clone();
        let parent = partition_at(&mut after, at)?;
        let (start, end) = parent.range;
        if at.0 == start {
            return Err(Error::Invalid("a partition cannot be split at its first hash".to_owned()));
        }
        let counts = self.snapshot.head(partition_head(parent.id))?;
        let mut parents = Vec::new();
        if let Some(stream) = stream {
            parents.extend(self.close(table, stream, parent)?);
        }
        if !parents.is_empty() {
            let head = partition_head(parent.id);
            self.draft.moved_by(head, parent.version, -counts.items, -counts.bytes);
        }
        self.end(table, parent, !parents.is_empty());
        let children = [(start, at.0 - 1), (at.0, end)];
        let upper = ((end - at.0) as f64 + 1.0) / ((end - start) as f64 + 1.0);
        let shares = shares(counts.items, counts.bytes, upper);
        let mut made = Vec::with_capacity(2);
        for (range, (items, bytes)) in children.into_iter().zip(shares) {
            let mut child = self.create(range);
            self.draft.moved_by(partition_head(child.id), 0, items, bytes);
            match stream.filter(|_| !parents.is_empty()) {
                Some(stream) => self.open(table, stream, &mut child, &parents)?,
                None => self.put(table, &child),
            }
            child.version = 1;
            made.push(child);
        }
        let place = after.find(at).unwrap_or_default();
        after.partitions.splice(place..=place, made);
        Ok(after)
    }

    /// Merges the partitions that begin at `first` and `second`, which must lie side by side; the shard on `first` is the
    /// child's first parent. Gives what is known afterwards.
    pub fn merge(
        &mut self,
        table: TableId,
        stream: StreamUid,
        known: &Known,
        first: u128,
        second: u128,
    ) -> Result<Known, Error> {
        let mut after = known.clone();
        let place = after.find(HashKey(first.min(second))).unwrap_or_default();
        let Some([lower, upper]) = after.partitions.get(place..place + 2) else {
            return Err(Error::Invalid("there are no two shards side by side".to_owned()));
        };
        if (lower.range.0, upper.range.0) != (first.min(second), first.max(second)) {
            return Err(Error::Invalid("the shards do not lie side by side".to_owned()));
        }
        let range = (lower.range.0, upper.range.1);
        let mut merged = [lower.clone(), upper.clone()];
        if first > second {
            merged.reverse();
        }
        let (mut parents, mut items, mut bytes) = (Vec::with_capacity(2), 0, 0);
        for partition in &mut merged {
            let head = partition_head(partition.id);
            let counts = self.snapshot.head(head)?;
            let parent = self.close(table, stream, partition)?;
            parents.push(parent.ok_or_else(|| Error::Invalid("a shard to be merged is not open".to_owned()))?);
            self.draft.moved_by(head, partition.version, -counts.items, -counts.bytes);
            self.end(table, partition, true);
            (items, bytes) = (items + counts.items, bytes + counts.bytes);
        }
        let mut child = self.create(range);
        self.draft.moved_by(partition_head(child.id), 0, items, bytes);
        self.open(table, stream, &mut child, &parents)?;
        child.version = 1;
        after.partitions.splice(place..place + 2, [child]);
        Ok(after)
    }

    /// New shards of the stream are counted: each is named by its place among all that the stream ever had.
    pub fn count_shards(&mut self, stream: StreamUid) -> Result<(), Error> {
        if !self.counted.contains_key(&stream) {
            // The newest shard is an open one, so its row is there as long as the stream is.
            let last = stream::newest(self.snapshot, stream)?;
            self.counted.insert(stream, last.map_or(0, |last| last.suffix + 1));
        }
        Ok(())
    }

    /// Stores what the retention hides now, so that a longer one does not show it again.
    pub fn fix_horizons(&mut self, stream: StreamUid, retention_ms: i64) -> Result<(), Error> {
        for row in stream::rows(self.snapshot, stream)? {
            let gone = row.is_gone_at(self.now, retention_ms);
            let horizon = if gone { SequenceNumber::ALL } else { row.horizon_at(self.now, retention_ms) };
            if horizon > row.horizon {
                self.draft.put(shard_key(stream, row.name.uid), ShardRow { horizon, ..row }.encode());
            }
        }
        self.move_lineage(stream)
    }

    /// All of a data stream's records are over; its rows are swept away later.
    pub fn bury_stream(&mut self, stream: StreamUid) -> Result<(), Error> {
        for row in stream::rows(self.snapshot, stream)? {
            let row = ShardRow { horizon: SequenceNumber::ALL, ..row };
            self.draft.put(shard_key(stream, row.name.uid), row.encode());
        }
        self.draft.put(dead_stream_key(stream), Bytes::new());
        self.move_lineage(stream)
    }

    /// Creation time of a new shard: it rises strictly within the stream, so that ids sort by it, and is not below `above`.
    fn created(&mut self, stream: StreamUid, above: Option<Millis>) -> Result<Millis, Error> {
        let last = match self.newest.get(&stream) {
            Some(last) => Some(*last),
            None => stream::newest(self.snapshot, stream)?.map(|newest| newest.created),
        };
        let created = last.map_or(self.now, |last| self.now.max(Millis(last.0 + 1)));
        let created = above.map_or(created, |above| created.max(above));
        self.newest.insert(stream, created);
        Ok(created)
    }

    fn move_lineage(&mut self, stream: StreamUid) -> Result<(), Error> {
        let head = lineage_head(stream);
        self.draft.moved(head, self.snapshot.head(head)?.version);
        Ok(())
    }
}

/// Numbers as Kinesis shows them, also those of tables' streams, lead with the second of their shard's creation: a child's
/// must be a later one than its parents'.
fn second_after(parent: Millis) -> Millis {
    Millis((parent.0.div_euclid(1_000) + 1) * 1_000)
}

fn partition_at(known: &mut Known, at: HashKey) -> Result<&mut Partition, Error> {
    let found = known.find(at);
    let partition = found.and_then(|found| known.partitions.get_mut(found));
    partition.ok_or_else(|| Error::Invalid("the table has no partitions".to_owned()))
}

/// How many items and bytes the lower and the upper half of a split are taken to have; their sums stay exact.
fn shares(items: i64, bytes: i64, upper: f64) -> [(i64, i64); 2] {
    let share = |count: i64| ((count as f64 * upper) as i64).clamp(0, count.max(0));
    let (items_above, bytes_above) = (share(items), share(bytes));
    [(items - items_above, bytes - bytes_above), (items_above, bytes_above)]
}

pub(crate) fn partition_key(table: TableId, start: u128) -> Bytes {
    let mut key = Vec::with_capacity(26);
    key.extend([prefix::LINEAGE, PARTITION]);
    key.extend(table.0.to_be_bytes());
    key.extend(start.to_be_bytes());
    key.into()
}

fn encode(partition: &Partition) -> Bytes {
    let mut row = Vec::with_capacity(33);
    row.put_u8(FORMAT);
    row.put_u64(partition.id);
    row.put_u128(partition.range.1);
    row.put_u64(partition.shard.map_or(0, |shard| shard.0));
    row.into()
}

fn decode(key: &[u8], row: &[u8]) -> Option<Partition> {
    let start = u128::from_be_bytes(key.get(10..)?.try_into().ok()?);
    let (format, row) = row.split_first()?;
    let (id, row) = row.split_first_chunk()?;
    let (end, row) = row.split_first_chunk()?;
    let shard = u64::from_be_bytes(row.try_into().ok()?);
    (*format == FORMAT).then(|| Partition {
        id: u64::from_be_bytes(*id),
        range: (start, u128::from_be_bytes(*end)),
        shard: (shard != 0).then_some(ShardUid(shard)),
        version: 0,
    })
}

/// Key of the note that a partition's head is to be removed.
pub(crate) fn retired_key(partition: u64) -> Bytes {
    noted(RETIRED, partition)
}

/// Key of the note that a table's rows are to be swept away.
pub(crate) fn dead_table_key(table: TableId) -> Bytes {
    noted(DEAD_TABLE, table.0)
}

/// Identities noted for retirement (partitions) or sweeping (tables).
pub(crate) fn retired(snapshot: &dyn Snapshot, most: usize) -> Result<Vec<u64>, Error> {
    notes(snapshot, RETIRED, most)
}

/// Tables noted for sweeping.
pub(crate) fn dead_tables(snapshot: &dyn Snapshot, most: usize) -> Result<Vec<TableId>, Error> {
    Ok(notes(snapshot, DEAD_TABLE, most)?.into_iter().map(TableId).collect())
}

/// Key of the note that a data stream's shards are to be swept away.
pub(crate) fn dead_stream_key(stream: StreamUid) -> Bytes {
    noted(DEAD_STREAM, stream.0)
}

/// Data streams noted for sweeping.
pub(crate) fn dead_streams(snapshot: &dyn Snapshot, most: usize) -> Result<Vec<StreamUid>, Error> {
    Ok(notes(snapshot, DEAD_STREAM, most)?.into_iter().map(StreamUid).collect())
}

fn notes(snapshot: &dyn Snapshot, kind: u8, most: usize) -> Result<Vec<u64>, Error> {
    let mut ids = Vec::new();
    for entry in snapshot.scan(&[prefix::LINEAGE, kind], &[prefix::LINEAGE, kind + 1], Direction::Forward).take(most) {
        let (key, _) = entry?;
        let id = key.get(2..).and_then(|id| id.try_into().ok()).map(u64::from_be_bytes);
        ids.push(id.ok_or_else(|| BadRow::new(&key, "not an identity"))?);
    }
    Ok(ids)
}

fn noted(kind: u8, id: u64) -> Bytes {
    let mut key = Vec::with_capacity(10);
    key.extend([prefix::LINEAGE, kind]);
    key.extend(id.to_be_bytes());
    key.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_tile_the_hashes() {
        for count in [1, 2, 3, 4, 7, 64, 1_000] {
            let ranges = tile(count);
            assert_eq!((ranges.len(), ranges[0].0, ranges[count - 1].1), (count, 0, u128::MAX));
            assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0 && pair[0].0 <= pair[0].1), "{count}");
        }
    }

    #[test]
    fn partitions_are_found_by_hash_and_rows_survive() {
        let partitions = tile(4).into_iter().zip(10..);
        let partitions = partitions.map(|(range, id)| Partition { id, range, shard: Some(ShardUid(id)), version: 0 });
        let known = Known { version: 1, partitions: partitions.collect() };
        for (at, partition) in known.partitions.iter().enumerate() {
            assert_eq!(known.find(HashKey(partition.range.0)), Some(at));
            assert_eq!(known.find(HashKey(partition.range.1)), Some(at));
            let key = partition_key(TableId(1), partition.range.0);
            assert_eq!(decode(&key, &encode(partition)).as_ref(), Some(partition));
            assert_eq!(decode(&key, &encode(partition)[..20]), None);
        }
    }

    #[test]
    fn shares_of_a_split_add_up() {
        for (items, bytes, upper) in [(0, 0, 0.5), (1, 1, 0.5), (101, 9_999, 0.3), (5, 7, 1.0), (i64::MAX, 3, 0.999)] {
            let [(a, b), (c, d)] = shares(items, bytes, upper);
            assert_eq!((a + c, b + d), (items, bytes));
            assert!(a >= 0 && b >= 0 && c >= 0 && d >= 0);
        }
    }
}
