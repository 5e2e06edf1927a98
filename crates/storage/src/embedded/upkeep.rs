//! Work beside the commits: sealing segments, flushing and compacting the index, giving space back.
//!
//! Rotation is a step of the last stage, after a whole group is applied and published and before anything of the next:
//! so a closed part of the index ends at a position, and the rows written last into it (heads, horizons, the flush point)
//! speak of exactly that position. There is one closed part at a time.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use headwater_types::{Position, SequenceNumber, ShardUid};

use super::archive::Archive;
use super::engine::{Engine, closed};
use super::log_index::Segment;
use super::rows;
use super::segment::SegmentId;
use crate::contract::{Horizon, Write};
use crate::error::{Error, Kind};

/// A flush that found no room is tried again after this.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What is to be done, and what is under way.
#[derive(Default)]
pub(super) struct Upkeep {
    running: bool,
    seals: VecDeque<Arc<Segment>>,
    /// The end of the closed part of the index.
    pub(super) rotated: Option<Position>,
    /// Every position up to this one is in the index on disk.
    pub(super) flushed: Position,
    /// Log bytes when the index was last rotated.
    bytes_at_rotation: u64,
    compact: bool,
    compacting: bool,
    /// Space may be given back.
    pub(super) sweep: bool,
    /// What could be removed waits for a snapshot to be dropped.
    pub(super) pinned: bool,
    /// Something is to be archived whether or not it pays.
    pub(super) by_chance: bool,
    /// Horizons that are not in the index yet.
    horizons: BTreeSet<ShardUid>,
}

enum Job {
    Seal(Arc<Segment>),
    Flush,
    Sweep,
}

impl Upkeep {
    /// Horizons that the next rotation writes down.
    pub(super) fn note_horizons(&mut self, shards: impl IntoIterator<Item = ShardUid>) {
        self.horizons.extend(shards);
    }
}

impl Engine {
    pub(super) fn trim(self: &Arc<Self>, horizons: &[Horizon]) -> Result<(), Error> {
        let wanted: Vec<(ShardUid, SequenceNumber)> = horizons.iter().map(|each| (each.shard, each.below)).collect();
        let raised = {
            let mut front = self.front.lock();
            if let Some(reason) = &front.closed {
                return Err(closed(reason));
            }
            let raised = self.snapshots.raise(&wanted);
            if !raised.is_empty() && !self.volatile {
                self.upkeep.lock().note_horizons(raised.iter().map(|(shard, _)| *shard));
                front.raise_horizons(self.clock.store(), self.synced(), &raised);
                self.start_writing(front);
            }
            raised
        };
        self.log.touch(&raised);
        if self.volatile {
            self.tidy_inline();
            return Ok(());
        }
        self.upkeep.lock().sweep = true;
        self.kick();
        Ok(())
    }

    pub(super) fn seal_later(self: &Arc<Self>, id: SegmentId) {
        if let Some(segment) = self.log.segment(id)
            && !self.volatile
        {
            self.upkeep.lock().seals.push_back(segment);
            self.kick();
        }
    }

    /// A snapshot was dropped.
    pub(super) fn released(self: &Arc<Self>) {
        let waits = {
            let mut upkeep = self.upkeep.lock();
            upkeep.sweep |= upkeep.pinned;
            std::mem::take(&mut upkeep.pinned)
        };
        if waits && self.volatile {
            self.tidy_inline();
        } else if waits {
            self.kick();
        }
    }

    pub(super) fn rotation_due(&self) -> bool {
        let upkeep = self.upkeep.lock();
        if upkeep.rotated.is_some() || self.volatile {
            return false;
        }
        let log = self.counters.bytes.load(std::sync::atomic::Ordering::Relaxed) - upkeep.bytes_at_rotation;
        drop(upkeep);
        let by_chance = self.settings.rotate_one_in.is_some_and(|of| self.runtime.random().is_multiple_of(of.max(1)));
        by_chance
            || log >= self.settings.replay_bytes_max
            || self.index.active_bytes() >= self.settings.memtable_bytes()
    }

    pub(super) fn rotate_if_due(self: &Arc<Self>, at: Position) {
        if self.rotation_due() && self.upkeep.lock().flushed < at {
            self.rotate(at);
            self.kick();
        }
    }

    /// Closes the active part of the index at a position: everything up to it is applied, nothing after it is.
    pub(super) fn rotate(&self, at: Position) {
        let oldest = self.snapshots.oldest();
        let mut rows: Vec<Write> =
            self.heads.take_dirty(oldest).iter().map(|(key, head)| rows::head(*key, *head)).collect();
        let dirty = std::mem::take(&mut self.upkeep.lock().horizons);
        let horizons = self.snapshots.horizons();
        rows.extend(dirty.into_iter().map(|shard| rows::horizon(shard, horizons.get(&shard).copied())));
        rows.push(rows::flush_point(at));
        self.index.apply(at, oldest, &mut rows.iter());
        self.index.rotate();
        let mut upkeep = self.upkeep.lock();
        upkeep.rotated = Some(at);
        upkeep.bytes_at_rotation = self.counters.bytes.load(std::sync::atomic::Ordering::Relaxed);
    }

    /// Starts whatever can be done now.
    pub(super) fn kick(self: &Arc<Self>) {
        let (work, compact) = {
            let mut upkeep = self.upkeep.lock();
            let work = !upkeep.running && self.next(&mut upkeep, false).is_some();
            upkeep.running |= work;
            let compact = upkeep.compact && !upkeep.compacting && !self.has_failed();
            upkeep.compacting |= compact;
            (work, compact)
        };
        if work {
            self.start(self.clone().work());
        }
        if compact {
            self.start(self.clone().compact());
        }
    }

    /// The next job; taken off the list if asked.
    fn next(&self, upkeep: &mut Upkeep, take: bool) -> Option<Job> {
        if self.has_failed() {
            return None;
        }
        if let Some(segment) = upkeep.seals.front().cloned() {
            take.then(|| upkeep.seals.pop_front());
            return Some(Job::Seal(segment));
        }
        if let Some(at) = upkeep.rotated {
            // A compaction chose what it may drop by the snapshots held when it began; a part that is newer than a held
            // snapshot must not get into its choice.
            let apart = upkeep.compacting && self.index.flush_apart() && at > self.snapshots.oldest();
            if !apart {
                return Some(Job::Flush);
            }
        }
        if upkeep.sweep {
            upkeep.sweep = !take;
            return Some(Job::Sweep);
        }
        None
    }

    async fn work(self: Arc<Self>) {
        loop {
            let job = {
                let mut upkeep = self.upkeep.lock();
                let job = self.next(&mut upkeep, true);
                upkeep.running = job.is_some();
                job
            };
            let Some(job) = job else { return };
            let engine = self.clone();
            let done = self.runtime.blocking(move || engine.perform(&job)).await;
            match done {
                Ok(Ok(())) => {}
                Ok(Err(error)) if error.kind == Kind::Full => {
                    self.upkeep.lock().running = false;
                    tracing::warn!(%error, "the disk is full: upkeep waits");
                    // Who stalls for this flush would wait as long as there is no room.
                    self.space.note_full();
                    self.progress.send_modify(|progress| *progress += 1);
                    return self.try_again();
                }
                Ok(Err(error)) => return self.fail(&error.to_string()),
                Err(_) => return self.fail("a task of the upkeep was lost"),
            }
            self.kick();
        }
    }

    fn perform(self: &Arc<Self>, job: &Job) -> Result<(), Error> {
        match job {
            Job::Seal(segment) => {
                if let Err(error) = self.log.seal(segment) {
                    // Nothing but memory is lost: what the footer would say is still there, and in the groups.
                    tracing::warn!(%error, "a segment stays without its footer");
                }
                Ok(())
            }
            Job::Flush => self.flush(),
            Job::Sweep => {
                // What found no room is to be tried again.
                self.tidy().inspect_err(|_| self.upkeep.lock().sweep = true)
            }
        }
    }

    fn try_again(self: &Arc<Self>) {
        let (engine, runtime) = (self.me.clone(), self.runtime.clone());
        drop(self.runtime.spawn(async move {
            runtime.sleep(TRY_AGAIN).await;
            if let Some(engine) = engine.upgrade() {
                engine.kick();
            }
        }));
    }

    /// Makes the closed part of the index durable, the log up to its end first. Blocks.
    pub(super) fn flush(self: &Arc<Self>) -> Result<(), Error> {
        let Some(at) = self.upkeep.lock().rotated else { return Ok(()) };
        if self.synced() < at {
            self.sync_log()?;
        }
        self.index.flush(self.snapshots.oldest())?;
        {
            let mut upkeep = self.upkeep.lock();
            upkeep.rotated = None;
            upkeep.flushed = at;
            upkeep.sweep = true;
            upkeep.compact = true;
        }
        let chance = self.settings.archive_one_in.is_some_and(|of| self.runtime.random().is_multiple_of(of.max(1)));
        self.upkeep.lock().by_chance |= chance;
        self.progress.send_modify(|progress| *progress += 1);
        Ok(())
    }

    /// One step; the next starts from the beginning, so that a flush that has to go apart gets its turn.
    async fn compact(self: Arc<Self>) {
        let engine = self.clone();
        let done = self.runtime.blocking(move || engine.index.compact(engine.snapshots.oldest())).await;
        let more = match done {
            Ok(Ok(more)) => more && self.front.lock().closed.is_none(),
            Ok(Err(error)) if error.kind == Kind::Full => {
                tracing::warn!(%error, "the disk is full: compaction waits for the next flush");
                false
            }
            Ok(Err(error)) => {
                self.fail(&error.to_string());
                false
            }
            Err(_) => false,
        };
        {
            let mut upkeep = self.upkeep.lock();
            upkeep.compact = more;
            upkeep.compacting = false;
        }
        self.kick();
    }

    /// Every position up to this one is in the index on disk.
    pub(super) fn flushed(&self) -> Position {
        if self.volatile { Position(u64::MAX) } else { self.upkeep.lock().flushed }
    }

    /// The segments whose last position and records are not known yet: this one and later ones, since groups of the one
    /// before may wait to be applied until a group of this one is noted; and the one that is written to.
    pub(super) fn growing(&self) -> (SegmentId, SegmentId) {
        (SegmentId(self.noted.load(Ordering::Acquire)), self.writer.lock().segment.id)
    }

    /// Removes files from the oldest on that nothing needs: flushed, below every horizon, held by no snapshot. Blocks.
    pub(super) fn sweep(&self, archive: &mut Archive) -> Result<(), Error> {
        while let Some(segment) = self.log.oldest() {
            let (noted, writing) = self.growing();
            let grows = segment.id >= noted || segment.id == writing;
            if grows || segment.last() > self.flushed() || self.is_wanted(&segment)? {
                return Ok(());
            }
            self.sync_reasons()?;
            let first = segment.through.next();
            self.snapshots.forget(first, &[]);
            if self.snapshots.oldest_segment() < first {
                self.upkeep.lock().pinned = true;
                // The last one may have been dropped before it was noted that it is waited for.
                if self.snapshots.oldest_segment() < first {
                    return Ok(());
                }
            }
            if segment.run.is_some() {
                self.remove_run(archive, &segment)?;
            } else {
                self.remove_segment(&segment)?;
            }
            let empty = self.log.remove_before(first);
            self.snapshots.forget(first, &empty);
            self.upkeep.lock().note_horizons(empty);
        }
        Ok(())
    }

    /// Syncs all that was published before now, and with it what every horizon of now rests on: who stated it may have read
    /// what is only written yet, and must not come back without it and want what is gone. Blocks.
    pub(super) fn sync_reasons(&self) -> Result<(), Error> {
        if self.volatile { Ok(()) } else { self.sync_log() }
    }

    /// Whether anything in a file is wanted; what cannot be read is left as it is.
    fn is_wanted(&self, segment: &Segment) -> Result<bool, Error> {
        Ok(self.wanted(segment)?.is_none_or(|wanted| wanted > 0))
    }

    fn remove_segment(&self, segment: &Segment) -> Result<(), Error> {
        let remove = || {
            self.files.remove(&segment.path)?;
            // One by one, so that a crash never leaves an older segment without the ones after it.
            self.files.sync_dir(&self.folder)
        };
        remove().map_err(|error| {
            let what = format!("{}: the segment cannot be removed", segment.path.display());
            Error::new(Kind::Unavailable, what).because(error)
        })
    }
}

/// A row that the engine writes for itself.
pub(super) fn row(key: Vec<u8>, value: Option<Vec<u8>>) -> Write {
    Write { key: Bytes::from(key), value: value.map(Bytes::from), stamp: None }
}
