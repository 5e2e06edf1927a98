//! The rewriting itself, one window at a time, and the moment when readers go over to the run.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use headwater_types::{Position, ShardUid};

use super::choice::{Bounds, Item, choose};
use super::manifest::{Replaced, Run};
use super::run::{Header, Written, file_name, write};
use super::{Archive, Class, Manifest, unreadable};
use crate::embedded::Planted;
use crate::embedded::engine::Engine;
use crate::embedded::frame::RECORD_HEADER;
use crate::embedded::log_index::{Place, Sealed, Segment};
use crate::embedded::segment::{BLOCK, End, SegmentHeader, SegmentId};
use crate::error::{Error, Kind};
use crate::files::read_exactly;

/// A rewriting that found no room is tried again after this.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Room that is left beside a run: for the list of runs and what comes meanwhile. Unit: bytes.
const ROOM_BESIDE: u64 = 64 * 1024;
/// Most files that a rewriting by chance takes.
const CHANCE_MAX: u64 = 4;

/// A durable run that readers do not read yet.
pub(super) struct Replacing {
    /// Snapshots up to this one may read below the horizons that the run was made with.
    mark: u64,
    old: Vec<Arc<Segment>>,
    run: Option<(Arc<Segment>, Vec<ShardUid>)>,
}

impl Engine {
    /// One step of giving space back: ends a replacement that waited for snapshots, removes what nobody wants from the
    /// oldest end, rewrites what is mostly unwanted. Blocks.
    pub(in crate::embedded) fn tidy(&self) -> Result<(), Error> {
        self.tidy_locked(&mut self.archive.lock())
    }

    /// The same where nothing waits for a disk, at once, by whoever is here.
    pub(in crate::embedded) fn tidy_inline(&self) {
        self.upkeep.lock().sweep = true;
        while self.upkeep.lock().sweep {
            // Whoever holds it looks again when he is done.
            let Some(mut archive) = self.archive.try_lock() else { return };
            while std::mem::take(&mut self.upkeep.lock().sweep) {
                if let Err(error) = self.tidy_locked(&mut archive) {
                    tracing::error!(%error, "memory of the log is not given back");
                }
            }
        }
    }

    fn tidy_locked(&self, archive: &mut Archive) -> Result<(), Error> {
        if !self.finish_replacing(archive)? {
            return Ok(());
        }
        self.sweep(archive)?;
        let closed = !self.volatile && self.front.lock().closed.is_some();
        if closed || archive.again.is_some_and(|again| self.clock.monotonic() < again) {
            return Ok(());
        }
        let Some(old) = self.choose()? else { return Ok(()) };
        match self.rewrite(archive, old) {
            Err(error) if error.kind == Kind::Full => {
                tracing::warn!(%error, "there is no room for an archive run: it is tried again");
                archive.again = Some(self.clock.monotonic() + TRY_AGAIN);
                self.tidy_later();
                Ok(())
            }
            Err(error) => Err(error),
            Ok(()) => {
                self.upkeep.lock().sweep = true;
                self.finish_replacing(archive).map(drop)
            }
        }
    }

    fn tidy_later(&self) {
        let (engine, runtime) = (self.me.clone(), self.runtime.clone());
        drop(self.runtime.spawn(async move {
            runtime.sleep(TRY_AGAIN).await;
            if let Some(engine) = engine.upgrade() {
                engine.upkeep.lock().sweep = true;
                engine.kick();
            }
        }));
    }

    /// The next files to rewrite together.
    fn choose(&self) -> Result<Option<Vec<Arc<Segment>>>, Error> {
        let (first, flushed) = (self.snapshots.first(), self.flushed());
        let (noted, writing) = self.growing();
        let files = self.log.segments();
        let mut items = Vec::with_capacity(files.len());
        for file in &files {
            // What lies before the first one that is shown is being removed.
            let rests = file.id >= first && file.id < noted && file.id != writing && file.last() <= flushed;
            let mut item = Item { size: file.end(), wanted: 0, run: file.run.is_some(), movable: rests };
            if rests {
                let wanted = self.wanted(file)?;
                (item.wanted, item.movable) = (wanted.unwrap_or(0), wanted.is_some());
            }
            items.push(item);
        }
        let by_chance = std::mem::take(&mut self.upkeep.lock().by_chance);
        let chance = by_chance.then(|| chance(&items, self.runtime.random())).flatten();
        let bounds = Bounds { percent: self.settings.archive_below_percent, full: self.settings.segment_bytes };
        let window = chance.or_else(|| choose(&items, bounds));
        Ok(window.map(|window| files[window].to_vec()))
    }

    /// Bytes of records in a file that are still wanted; `None`: it is damaged, and left as it is.
    pub(in crate::embedded) fn wanted(&self, segment: &Segment) -> Result<Option<u64>, Error> {
        if segment.is_left() {
            return Ok(None);
        }
        match self.log.wanted(segment, &self.snapshots) {
            Ok(wanted) => Ok(Some(wanted)),
            Err(error) if error.kind == Kind::Corrupt => {
                leave(segment, &error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes the run and the list that names it. Errors: `Full`: nothing has changed.
    fn rewrite(&self, archive: &mut Archive, old: Vec<Arc<Segment>>) -> Result<(), Error> {
        let (horizons, mark) = self.snapshots.mark();
        self.sync_reasons()?;
        let places = match self.log.places(&old, &horizons) {
            Err((file, error)) if error.kind == Kind::Corrupt => {
                leave(&old[file], &error);
                return Ok(());
            }
            places => places.map_err(|(_, error)| error)?,
        };
        let (Some(oldest), Some(newest)) = (old.first(), old.last()) else { return Ok(()) };
        let (first, last) = (oldest.id, newest.through);
        self.has_room(archive, &places)?;
        let header = Header { store: archive.store, number: archive.next, class: Class::DAY, first, last };
        archive.next = archive.next.next();
        let mut manifest = archive.manifest.clone();
        let before = self.end_before(archive, oldest)?;
        let position = old.iter().map(|segment| segment.last()).fold(Position(0), Position::max);
        let written = match self.write_run(archive, &header, &places, &old) {
            // The file that it was found in is left as it is.
            Err(error) if error.kind == Kind::Corrupt => return Ok(()),
            written => written?,
        };
        let run = written.as_ref().map(|run| Run { number: header.number, class: header.class, end: run.end });
        manifest.add(Replaced { first, last, before, position, run });
        manifest.next = archive.next;
        let horizons = horizons.iter().map(|(shard, below)| (*shard, *below));
        manifest.horizons = horizons.filter(|(shard, _)| self.log.holds(*shard)).collect();
        manifest.horizons.sort_unstable();
        if let Err(error) = self.write_manifest(archive, manifest) {
            if let (Kind::Full, Some(run)) = (error.kind, &written) {
                self.throw_away(&run.path);
            }
            return Err(error);
        }
        let run = written.map(|Written { path, footer, end, .. }| {
            let run = Some(header.number);
            let sealed = Sealed { id: first, through: last, path, run, seed: header.seed(), end, last: position };
            let numbers = footer.values().flatten().map(|entry| entry.number);
            let numbers = numbers.clone().min().zip(numbers.max());
            (Arc::new(Segment::sealed(sealed, numbers)), footer.into_keys().collect())
        });
        archive.replacing = Some(Replacing { mark, old, run });
        Ok(())
    }

    /// A run must not take the room that a flush needs to give more back. Errors: full.
    fn has_room(&self, archive: &Archive, places: &[Place]) -> Result<(), Error> {
        let bytes: u64 = places.iter().map(|place| place.entry.size()).sum();
        let needed = bytes + (places.len() * RECORD_HEADER) as u64 + ROOM_BESIDE;
        // A disk that cannot say what is free is taken as large enough: the write itself will tell.
        if self.files.free_bytes(&archive.folder).unwrap_or(u64::MAX) >= needed {
            return Ok(());
        }
        let what = format!("{}: less than {needed} bytes are free", archive.folder.display());
        Err(Error::new(Kind::Full, what))
    }

    /// Where the segment before a file ended.
    fn end_before(&self, archive: &Archive, segment: &Segment) -> Result<End, Error> {
        if segment.run.is_some() {
            return Ok(archive.manifest.end_before(segment.id).expect("the list holds every run"));
        }
        let path = &segment.path;
        let io = |error| unreadable(path, error);
        let file = self.files.open(path).map_err(io)?;
        let block = read_exactly(&*file, 0, BLOCK as usize).map_err(io)?;
        Ok(SegmentHeader::decode(&block, path, archive.store, segment.id)?.previous)
    }

    /// The run, durable; none of no records. Errors: nothing of it stays; corrupt: a file that it reads is left as it is.
    fn write_run(
        &self,
        archive: &Archive,
        header: &Header,
        places: &[Place],
        old: &[Arc<Segment>],
    ) -> Result<Option<Written>, Error> {
        if places.is_empty() {
            return Ok(None);
        }
        let path = archive.folder.join(file_name(header.number));
        let io = |error| unreadable(&path, error);
        let mut read = |part: &[Place]| {
            self.log.gather(old, part).map_err(|(file, error)| {
                if error.kind == Kind::Corrupt {
                    leave(&old[file], &error);
                }
                error
            })
        };
        let mut make = || {
            let run = write(&*self.files, path.clone(), header, places, &mut read)?;
            if self.settings.planted == Some(Planted::FreeBeforeRun) {
                // The bug: what the run replaces is gone before the run is sure to stay.
                let segments = old.iter().filter(|segment| segment.run.is_none());
                segments.for_each(|segment| self.throw_away(&segment.path));
                self.files.sync_dir(&self.folder).map_err(io)?;
            }
            run.file.sync_data().map_err(io)?;
            self.files.sync_dir(&archive.folder).map_err(io)?;
            Ok(run)
        };
        make().map(Some).inspect_err(|_: &Error| self.throw_away(&path))
    }

    /// Makes a list the one that counts, here and on the disk.
    pub(in crate::embedded) fn write_manifest(
        &self,
        archive: &mut Archive,
        mut manifest: Manifest,
    ) -> Result<(), Error> {
        manifest.forget_before(self.log.oldest().map_or(SegmentId(0), |oldest| oldest.id));
        if !self.volatile {
            manifest.write(&*self.files, &archive.folder, archive.store)?;
        }
        archive.manifest = manifest;
        Ok(())
    }

    /// Takes away a file that counts no more; the next start sees to one that stays.
    fn throw_away(&self, path: &Path) {
        if let Err(error) = self.files.remove(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %path.display(), "a file that counts no more stays until the next start");
        }
    }

    /// Lets readers go over to the run and removes what it replaces, unless a snapshot from before is held; whether
    /// nothing waits any more.
    fn finish_replacing(&self, archive: &mut Archive) -> Result<bool, Error> {
        let Some(replacing) = archive.replacing.take() else { return Ok(true) };
        if !self.snapshots.passed(replacing.mark) {
            self.upkeep.lock().pinned = true;
            // The last one may have been dropped before it was noted that it is waited for.
            if !self.snapshots.passed(replacing.mark) {
                archive.replacing = Some(replacing);
                return Ok(false);
            }
        }
        let Replacing { old, run, .. } = replacing;
        let empty = self.log.replace(&old, run)?;
        self.snapshots.forget(SegmentId(0), &empty);
        self.upkeep.lock().note_horizons(empty);
        self.remove(&archive.folder, &old)?;
        let segments = old.iter().filter(|segment| segment.run.is_none()).count() as u64;
        self.counters.archived.fetch_add(segments, Ordering::Relaxed);
        Ok(true)
    }

    fn remove(&self, archive: &Path, old: &[Arc<Segment>]) -> Result<(), Error> {
        for segment in old {
            match self.files.remove(&segment.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unreadable(&segment.path, error)),
                Ok(()) | Err(_) => {}
            }
        }
        let runs = old.iter().any(|segment| segment.run.is_some());
        let segments = old.iter().any(|segment| segment.run.is_none());
        for (folder, removed) in [(&*self.folder, segments), (archive, runs)] {
            // The list may forget what it replaced only when it cannot come back.
            if removed {
                self.files.sync_dir(folder).map_err(|error| unreadable(folder, error))?;
            }
        }
        Ok(())
    }

    /// Removes a run at the oldest end of the log that nobody wants.
    pub(in crate::embedded) fn remove_run(&self, archive: &mut Archive, run: &Arc<Segment>) -> Result<(), Error> {
        let mut manifest = archive.manifest.clone();
        manifest.replaced.retain(|each| each.first != run.id);
        self.write_manifest(archive, manifest)?;
        self.remove(&archive.folder, std::slice::from_ref(run))
    }
}

fn leave(segment: &Segment, error: &Error) {
    tracing::error!(%error, "a part of the log is damaged: it is left as it is");
    segment.leave();
}

/// A few movable files in a row, by a throw of dice.
fn chance(items: &[Item], dice: u64) -> Option<Range<usize>> {
    let movable: Vec<usize> = (0..items.len()).filter(|at| items[*at].movable).collect();
    let start = *movable.get((dice >> 8) as usize % movable.len().max(1))?;
    let length = 1 + (dice % CHANCE_MAX) as usize;
    let row = items[start..].iter().take(length).take_while(|item| item.movable).count();
    Some(start..start + row)
}
