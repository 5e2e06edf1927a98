//! Changes of data streams and of their shards.

use headwater_catalog::{DataStreamDefinition, DataStreamState};
use headwater_types::{HashKey, ShardUid, TableId};

use super::Work;
use crate::error::Error;
use crate::lineage::{self, Known, Partition};

/// Most shards that one step of a reshard closes.
const STEP_SHARDS_MAX: usize = 256;

impl Work<'_> {
    pub(super) fn create_data_stream(&mut self, wanted: &DataStreamDefinition, shards: usize) -> Result<(), Error> {
        if self.catalog.data_stream(&wanted.scope, &wanted.name).is_some() {
            return Err(Error::Invalid(format!("stream {} exists", wanted.name)));
        }
        let mut stream = wanted.clone();
        (stream.id, stream.uid) = (self.lineage.ids.table(), self.lineage.ids.stream());
        stream.created = self.lineage.now;
        stream.state = if self.is_slow() { DataStreamState::Creating } else { DataStreamState::Active };
        (stream.target_shards, stream.version) = (None, 0);
        let (id, uid) = (stream.id, stream.uid);
        self.lineage.count_shards(uid)?;
        for range in even(shards) {
            let mut partition = self.lineage.create(range);
            self.lineage.open(id, uid, &mut partition, &[])?;
        }
        self.data_streams.insert(id, Some(stream));
        Ok(())
    }

    pub(super) fn update_data_stream(&mut self, wanted: &DataStreamDefinition, shown: bool) -> Result<(), Error> {
        let slow = self.is_slow();
        let stream = self.data_stream(wanted.id)?;
        let (uid, retention_ms) = (stream.uid, stream.retention_ms());
        *stream = DataStreamDefinition {
            id: stream.id,
            uid: stream.uid,
            scope: stream.scope.clone(),
            name: stream.name.clone(),
            created: stream.created,
            state: stream.state,
            target_shards: stream.target_shards,
            version: stream.version,
            ..wanted.clone()
        };
        if shown && stream.state == DataStreamState::Active {
            stream.state = DataStreamState::Updating;
        }
        if !slow {
            stream.finish_consumers();
        }
        #[cfg(feature = "planted-bugs")]
        if self.settings.planted == Some(crate::settings::PlantedBug::RetentionRevives) {
            return Ok(());
        }
        // What a longer retention would show again is over for good.
        if wanted.retention_ms() != retention_ms { self.lineage.fix_horizons(uid, retention_ms) } else { Ok(()) }
    }

    /// Drops a data stream at once, or shows it as DELETING first: nothing is put into it or read from it any more.
    pub(super) fn delete_data_stream(&mut self, id: TableId) -> Result<(), Error> {
        if self.is_slow() {
            self.data_stream(id)?.state = DataStreamState::Deleting;
            return Ok(());
        }
        self.drop_data_stream(id)
    }

    fn drop_data_stream(&mut self, id: TableId) -> Result<(), Error> {
        let uid = self.data_stream(id)?.uid;
        for partition in lineage::partitions(self.lineage.snapshot, id)? {
            self.lineage.end(id, &partition, false);
        }
        self.lineage.bury_stream(uid)?;
        self.data_streams.insert(id, None);
        Ok(())
    }

    pub(super) fn split_shard(&mut self, id: TableId, shard: ShardUid, at: u128) -> Result<(), Error> {
        let (uid, known) = self.reshaped(id)?;
        let parent = open_shard(&known, shard)?;
        if at <= parent.range.0 || at > parent.range.1 {
            return Err(Error::Invalid("a shard is split inside its range".to_owned()));
        }
        self.lineage.split(id, Some(uid), &known, HashKey(at))?;
        Ok(())
    }

    pub(super) fn merge_shards(&mut self, id: TableId, first: ShardUid, second: ShardUid) -> Result<(), Error> {
        let (uid, known) = self.reshaped(id)?;
        let (first, second) = (open_shard(&known, first)?, open_shard(&known, second)?);
        self.lineage.merge(id, uid, &known, first.range.0, second.range.0)?;
        Ok(())
    }

    pub(super) fn reshard(&mut self, id: TableId, shards: usize) -> Result<(), Error> {
        let stream = self.data_stream(id)?;
        stream.target_shards = Some(shards.max(1));
        stream.state = DataStreamState::Updating;
        Ok(())
    }

    pub(super) fn finish_data_stream(&mut self, id: TableId) -> Result<(), Error> {
        let stream = self.data_stream(id)?;
        stream.finish_consumers();
        match (stream.state, stream.target_shards) {
            (DataStreamState::Deleting, _) => self.drop_data_stream(id),
            (_, Some(shards)) => self.reshard_step(id, shards),
            (_, None) => {
                stream.state = DataStreamState::Active;
                Ok(())
            }
        }
    }

    /// One commit of a reshard: first shards are cut where the even ranges begin, then those inside one range are merged.
    /// Every shard is closed at most once in a step.
    fn reshard_step(&mut self, id: TableId, shards: usize) -> Result<(), Error> {
        let (uid, mut known) = self.known(id)?;
        self.lineage.count_shards(uid)?;
        let ranges = even(shards);
        let cuts = cuts(&known, &ranges);
        for at in &cuts {
            known = self.lineage.split(id, Some(uid), &known, HashKey(*at))?;
        }
        if !cuts.is_empty() {
            return Ok(());
        }
        let pairs = pairs(&known, &ranges);
        for (lower, upper) in &pairs {
            known = self.lineage.merge(id, uid, &known, *lower, *upper)?;
        }
        if pairs.is_empty() {
            let stream = self.data_stream(id)?;
            (stream.target_shards, stream.state) = (None, DataStreamState::Active);
        }
        Ok(())
    }

    /// A data stream whose shards are about to change: its lineage and its partitions.
    fn reshaped(&mut self, id: TableId) -> Result<(headwater_types::StreamUid, Known), Error> {
        let slow = self.is_slow();
        let stream = self.data_stream(id)?;
        if slow {
            stream.state = DataStreamState::Updating;
        }
        let found = self.known(id)?;
        self.lineage.count_shards(found.0)?;
        Ok(found)
    }

    fn known(&mut self, id: TableId) -> Result<(headwater_types::StreamUid, Known), Error> {
        let uid = self.data_stream(id)?.uid;
        let known = lineage::load(self.lineage.snapshot, id)?.ok_or(Error::NoTable(id))?;
        Ok((uid, known))
    }

    /// The data stream as changed so far.
    fn data_stream(&mut self, id: TableId) -> Result<&mut DataStreamDefinition, Error> {
        let catalog = self.catalog;
        let found = || catalog.data_stream_by_id(id).map(|stream| (**stream).clone());
        self.data_streams.entry(id).or_insert_with(found).as_mut().ok_or(Error::NoTable(id))
    }
}

fn open_shard(known: &Known, shard: ShardUid) -> Result<&Partition, Error> {
    let found = known.partitions.iter().find(|partition| partition.shard == Some(shard));
    found.ok_or_else(|| Error::Invalid("the shard is not open".to_owned()))
}

/// Even ranges that tile the hash keys.
///
/// Source: observed on the service: each is 2^128 / `count` wide, rounded down; the last takes what is left.
fn even(count: usize) -> Vec<(u128, u128)> {
    let count = count.max(1) as u128;
    // 2^128 is one more than the greatest number that fits.
    let width = if count == 1 { 0 } else { u128::MAX / count + u128::from(u128::MAX % count == count - 1) };
    let end = |at: u128| if at + 1 == count { u128::MAX } else { (at + 1) * width - 1 };
    (0..count).map(|at| (at * width, end(at))).collect()
}

/// Where shards are cut next: each that reaches over the beginning of a range, at the middle one of those it reaches over.
fn cuts(known: &Known, ranges: &[(u128, u128)]) -> Vec<u128> {
    let inside = |partition: &Partition| {
        let (start, end) = partition.range;
        let from = ranges.partition_point(|range| range.0 <= start);
        let to = ranges.partition_point(|range| range.0 <= end);
        ranges.get(from..to).and_then(|inside| inside.get(inside.len() / 2)).map(|range| range.0)
    };
    known.partitions.iter().filter_map(inside).take(STEP_SHARDS_MAX).collect()
}

/// Neighbours inside one range, by the beginnings of theirs.
fn pairs(known: &Known, ranges: &[(u128, u128)]) -> Vec<(u128, u128)> {
    let range_of = |partition: &Partition| ranges.partition_point(|range| range.0 <= partition.range.0);
    let (mut pairs, mut at) = (Vec::new(), 0);
    while let (Some(lower), Some(upper)) = (known.partitions.get(at), known.partitions.get(at + 1)) {
        if pairs.len() * 2 >= STEP_SHARDS_MAX {
            break;
        }
        let is_pair = range_of(lower) == range_of(upper);
        if is_pair {
            pairs.push((lower.range.0, upper.range.0));
        }
        at += if is_pair { 2 } else { 1 };
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_ranges_are_as_wide_as_the_service_makes_them() {
        let third = 113_427_455_640_312_821_154_458_202_477_256_070_485_u128;
        assert_eq!(even(3), [(0, third - 1), (third, 2 * third - 1), (2 * third, u128::MAX)]);
        assert_eq!(even(1), [(0, u128::MAX)]);
        assert_eq!(even(2), [(0, u128::MAX >> 1), (1 << 127, u128::MAX)]);
        for count in [4, 5, 7, 100, 10_000] {
            let ranges = even(count);
            assert_eq!((ranges.len(), ranges[0].0, ranges[count - 1].1), (count, 0, u128::MAX));
            assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0 && pair[0].0 <= pair[0].1), "{count}");
        }
    }
}
