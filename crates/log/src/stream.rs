//! A stream's shards, at one snapshot.

use std::collections::BTreeSet;

use headwater_storage::Snapshot;
use headwater_storage::contract::Direction;
use headwater_types::{Millis, ShardUid, StreamUid};

use crate::error::Error;
use crate::shard::{ShardInfo, ShardName, ShardRow, shard_rows};

/// The shards of a stream that are listed at one moment.
///
/// Order: by id, which is the order of creation. One list is one snapshot: no child before its parent's end, no closed
/// parent without its children.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ShardList(Vec<ShardInfo>);

impl FromIterator<ShardInfo> for ShardList {
    /// Order: by id, as they are given.
    fn from_iter<I: IntoIterator<Item = ShardInfo>>(shards: I) -> Self {
        Self(shards.into_iter().collect())
    }
}

impl ShardList {
    /// All of them.
    pub fn shards(&self) -> &[ShardInfo] {
        &self.0
    }

    /// A shard by its id.
    pub fn by_id(&self, id: &str) -> Option<&ShardInfo> {
        let at = self.0.binary_search_by(|shard| shard.id.as_str().cmp(id)).ok()?;
        self.0.get(at)
    }

    /// The shards whose ids follow `id`, which need not exist.
    pub fn after(&self, id: Option<&str>) -> &[ShardInfo] {
        let at = id.map_or(0, |id| self.0.partition_point(|shard| shard.id.as_str() <= id));
        self.0.get(at..).unwrap_or_default()
    }

    /// A data stream's shard by its place among all shards that the stream ever had.
    pub fn by_index(&self, index: u32) -> Option<&ShardInfo> {
        let at = self.0.binary_search_by_key(&index, |shard| shard.index).ok()?;
        self.0.get(at)
    }

    /// A shard by its identity.
    pub fn by_uid(&self, uid: ShardUid) -> Option<&ShardInfo> {
        let at = self.0.binary_search_by_key(&uid, |shard| shard.uid).ok()?;
        self.0.get(at)
    }

    /// A table's shards as Kinesis's operations show them.
    ///
    /// Shape: known by a place, as a data stream's are: here their identities, which rise with creation (a store would need
    ///        four thousand million shards to give one twice). What was closed without children is open: nothing comes any
    ///        more, but no reader is sent on to a child that there is not.
    #[must_use]
    pub fn of_table_for_kinesis(mut self) -> Self {
        let parents: BTreeSet<ShardUid> = self.0.iter().flat_map(|shard| shard.parents.iter().copied()).collect();
        for shard in &mut self.0 {
            shard.index = shard.uid.0 as u32;
            shard.parent_indexes = shard.parents.iter().map(|parent| parent.0 as u32).collect();
            if !parents.contains(&shard.uid) {
                (shard.ending, shard.closed) = (None, None);
            }
        }
        self
    }

    /// The direct children of a shard.
    pub fn children(&self, id: &str) -> Vec<&ShardInfo> {
        self.0.iter().filter(|shard| shard.parent_ids.iter().any(|parent| parent == id)).collect()
    }
}

/// Reads a stream's rows; those that are no longer listed at `now` are left out.
pub(crate) fn list(
    snapshot: &dyn Snapshot,
    stream: StreamUid,
    now: Millis,
    retention_ms: i64,
) -> Result<ShardList, Error> {
    let rows = rows(snapshot, stream)?;
    let listed = rows.iter().filter(|row| !row.is_gone_at(now, retention_ms));
    Ok(listed.map(ShardRow::info).collect())
}

/// All stored rows of a stream's shards, by rising identity.
pub(crate) fn rows(snapshot: &dyn Snapshot, stream: StreamUid) -> Result<Vec<ShardRow>, Error> {
    let (start, end) = shard_rows(stream);
    let mut rows = Vec::new();
    for entry in snapshot.scan(&start, &end, Direction::Forward) {
        let (key, value) = entry?;
        rows.push(ShardRow::decode(&key, &value)?);
    }
    close_together(&mut rows);
    Ok(rows)
}

/// Shards that were merged are closed at one moment, the last one's: their endings are numbers of two heads, which may lie
/// apart where nodes' clocks do, and in between nobody would cover the first one's hash keys.
fn close_together(rows: &mut [ShardRow]) {
    for child in 0..rows.len() {
        if rows[child].parents.len() < 2 {
            continue;
        }
        let place = |parent: &ShardName| rows.binary_search_by_key(&parent.uid, |row| row.name.uid).ok();
        let merged: Vec<usize> = rows[child].parents.iter().filter_map(place).collect();
        let last = merged.iter().filter_map(|at| rows[*at].closed_at()).max();
        merged.into_iter().for_each(|at| rows[at].closed = last);
    }
}

/// The newest shard's name.
pub(crate) fn newest(snapshot: &dyn Snapshot, stream: StreamUid) -> Result<Option<ShardName>, Error> {
    let (start, end) = shard_rows(stream);
    match snapshot.scan(&start, &end, Direction::Backward).next() {
        Some(entry) => {
            let (key, value) = entry?;
            Ok(Some(ShardRow::decode(&key, &value)?.name))
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use headwater_types::SequenceNumber;

    use super::*;

    #[test]
    fn merged_shards_are_closed_at_one_moment() {
        let name = |uid| ShardName { uid: ShardUid(uid), created: Millis(5), suffix: uid as u32 };
        let row = |uid, parents: &[u64], ending: Option<i64>| ShardRow {
            name: name(uid),
            opened: SequenceNumber::ZERO,
            ending: ending.map(|at| SequenceNumber::floor(Millis(at))),
            closed: ending.map(|_| Millis(20)),
            horizon: SequenceNumber::ZERO,
            hash_range: (0, 1),
            partition: uid,
            before: None,
            parents: parents.iter().map(|uid| name(*uid)).collect(),
        };
        // The second's head was numbered by a node whose clock goes before.
        let rows = [row(1, &[], Some(20)), row(2, &[], Some(90)), row(3, &[], Some(30)), row(4, &[1, 2], Some(90))];
        let mut rows = [&rows[..], &[row(5, &[4], None), row(6, &[3], None)]].concat();
        close_together(&mut rows);
        let closed: Vec<Option<i64>> = rows.iter().map(|row| row.info().closed.map(|at| at.0)).collect();
        assert_eq!(closed, [Some(90), Some(90), Some(30), Some(90), None, None]);
        assert!(rows.iter().all(|row| !row.is_gone_at(Millis(39), 10)) && !rows[0].is_gone_at(Millis(99), 10));
    }
}
