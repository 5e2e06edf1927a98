//! How much of a file is still wanted, and the swap of segments for an archive run.

use std::sync::Arc;

use headwater_types::{SequenceNumber, ShardUid};

use super::{LogIndex, Segment, Share, read_summary, shares, unreadable};
use crate::embedded::segment::corrupt;
use crate::embedded::snapshots::Snapshots;
use crate::error::{Error, Kind};

impl Segment {
    /// Leaves it alone from now on: something in it cannot be read.
    pub(in crate::embedded) fn leave(&self) {
        self.state.write().damaged = true;
    }

    pub(in crate::embedded) fn is_left(&self) -> bool {
        self.state.read().damaged
    }

    fn low(&self) -> Option<SequenceNumber> {
        self.state.read().numbers.map(|(low, _)| low)
    }
}

impl LogIndex {
    /// Bytes of records that are still wanted, their headers included: of each shard all that the file holds, as long as
    /// its last one there is not below the shard's horizon.
    pub(in crate::embedded) fn wanted(&self, segment: &Segment, snapshots: &Snapshots) -> Result<u64, Error> {
        {
            let mut state = segment.state.write();
            if !state.stale {
                return Ok(state.wanted);
            }
            // Before the horizons are read: one that rises meanwhile makes it stale again.
            state.stale = false;
        }
        let shares = self.shares(segment).inspect_err(|_| segment.state.write().stale = true)?;
        let horizons = snapshots.horizons();
        let is_wanted = |share: &&Share| horizons.get(&share.shard).is_none_or(|below| share.last >= *below);
        let wanted = shares.iter().filter(is_wanted).map(|share| share.bytes).sum();
        segment.state.write().wanted = wanted;
        Ok(wanted)
    }

    fn shares(&self, segment: &Segment) -> Result<Vec<Share>, Error> {
        let end = {
            let state = segment.state.read();
            if let Some((_, footer)) = &state.growing {
                return Ok(shares(footer).collect());
            }
            state.end
        };
        let file = self.files.open(&segment.path).map_err(|error| unreadable(&segment.path, error))?;
        let summary = read_summary(&*file, end, segment.seed);
        let (_, shares) = summary.ok_or_else(|| corrupt(&segment.path, end, "the footer is damaged"))?;
        Ok(shares)
    }

    /// Horizons have risen: less may be wanted of files that hold older records.
    pub(in crate::embedded) fn touch(&self, raised: &[(ShardUid, SequenceNumber)]) {
        let state = self.state.read();
        let Some(highest) = raised.iter().map(|(_, below)| *below).max() else { return };
        let older = state.segments.values().filter_map(|segment| Some((segment, segment.low()?)));
        let older: Vec<_> = older.filter(|(_, low)| *low < highest).collect();
        let mut stale = vec![false; older.len()];
        for (shard, below) in raised {
            let Some(set) = state.shards.get(shard) else { continue };
            for ((segment, low), stale) in older.iter().zip(&mut stale) {
                *stale |= low < below && set.contains(segment.id);
            }
        }
        for ((segment, _), _) in older.iter().zip(stale).filter(|(_, stale)| *stale) {
            segment.state.write().stale = true;
        }
    }

    /// Whether any file holds records of a shard.
    pub(in crate::embedded) fn holds(&self, shard: ShardUid) -> bool {
        self.state.read().shards.contains_key(&shard)
    }

    /// Puts a run (nothing, if nothing is wanted) in the place of files that follow each other; shards that have no
    /// record left. Who was about to read one of the old ones can go on: they stay open in his hands.
    pub(in crate::embedded) fn replace(
        &self,
        old: &[Arc<Segment>],
        run: Option<(Arc<Segment>, Vec<ShardUid>)>,
    ) -> Result<Vec<ShardUid>, Error> {
        for segment in old {
            if segment.state.read().growing.is_some() {
                continue;
            }
            match self.opened(segment) {
                Ok(open) => segment.state.write().replaced = Some(open),
                // What could not be read then cannot be read now either.
                Err(error) if error.kind == Kind::Corrupt => {}
                Err(error) => return Err(error),
            }
        }
        let mut state = self.state.write();
        for segment in old {
            state.segments.remove(&segment.id);
            self.open.lock().forget(segment.id);
        }
        let mut empty = Vec::new();
        let kept = |shard: &ShardUid| run.as_ref().is_some_and(|(_, shards)| shards.binary_search(shard).is_ok());
        state.shards.retain(|shard, set| {
            let mut none = false;
            for segment in old {
                none |= set.contains(segment.id) && set.remove(segment.id);
            }
            if none && !kept(shard) {
                empty.push(*shard);
            }
            !none
        });
        if let Some((run, shards)) = run {
            self.put(&mut state, run, shards.into_iter());
        }
        Ok(empty)
    }
}
