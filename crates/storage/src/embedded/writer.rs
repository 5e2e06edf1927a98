//! The second stage: framed groups to the disk, in order, one sync for all that wait.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use headwater_types::{Millis, Position};
use parking_lot::MutexGuard;

use super::engine::{Engine, answer_all, closed};
use super::front::{Frame, Front, Group};
use super::log_index::Segment;
use super::segment::{BLOCK, GroupKind, SegmentHeader, SegmentId, seed};
use super::{Durability, Planted};
use crate::contract::{CommitError, Plan};
use crate::error::{Error, Kind};
use crate::files::{File, write_whole};

/// The end of the log that grows.
pub(super) struct Writer {
    pub(super) file: Arc<dyn File>,
    pub(super) segment: Arc<Segment>,
    /// The last position in the file.
    pub(super) written: Position,
    /// The newest mark in the file.
    pub(super) mark: Millis,
    /// Something is written and not synced.
    pub(super) dirty: bool,
    /// So is a statement: it may be lost, but not where a later header counts it in.
    pub(super) stated: bool,
    /// A sync failed: a later one that succeeds proves nothing of what was written before.
    pub(super) poisoned: bool,
}

/// What became of a turn of writing.
enum Written {
    /// Nothing is queued any more.
    All,
    /// Planted: groups were handed on before they were synced.
    TooEarlyTold,
}

/// Groups that could not be written, and those before them that could.
pub(super) struct Failed {
    written: Vec<Group>,
    failed: Vec<Group>,
    error: Error,
    /// The segment that is written to now: the first of the failed groups may have opened it.
    segment: SegmentId,
}

impl Engine {
    /// Starts the stage if it does not run; takes the front's lock so that nothing comes between.
    pub(super) fn start_writing(self: &Arc<Self>, mut front: MutexGuard<'_, Front>) {
        if front.queue.is_empty() || std::mem::replace(&mut front.writing, true) {
            return;
        }
        drop(front);
        self.start(self.clone().write_all());
    }

    async fn write_all(self: Arc<Self>) {
        loop {
            let engine = self.clone();
            match self.runtime.blocking(move || engine.write_queued()).await {
                Ok(Written::All) => return self.state_later(),
                Ok(Written::TooEarlyTold) => {
                    let engine = self.clone();
                    // The bug: whoever waited has his answer already.
                    let _ = self.runtime.blocking(move || engine.sync_log()).await;
                }
                Err(_) => return self.fail("a task that writes was lost"),
            }
        }
    }

    /// Writes what is queued, and what was queued meanwhile: between two writes the disk waits for nobody. Blocks.
    fn write_queued(self: &Arc<Self>) -> Written {
        loop {
            let groups: Vec<Group> = {
                let mut front = self.front.lock();
                let groups = front.queue.drain(..).collect::<Vec<_>>();
                front.writing = !groups.is_empty();
                groups
            };
            if groups.is_empty() {
                return Written::All;
            }
            match self.write(groups) {
                Ok(written) => self.recycle_and_hand_on(written),
                Err(failed) => self.take_back(failed),
            }
            if self.settings.planted == Some(Planted::AckBeforeSync) {
                return Written::TooEarlyTold;
            }
        }
    }

    fn recycle_and_hand_on(self: &Arc<Self>, mut groups: Vec<Group>) {
        {
            let mut front = self.front.lock();
            let frames = groups.iter_mut().filter_map(|group| group.frame.as_mut());
            frames.for_each(|frame| front.recycle(std::mem::take(&mut frame.bytes)));
        }
        self.hand_on(groups);
    }

    /// Groups that found no room are taken back as if they had never come; any other failure ends the cell.
    fn take_back(self: &Arc<Self>, failed: Failed) {
        let Failed { written, failed, error, segment } = failed;
        if error.kind != Kind::Full {
            self.fail(&error.to_string());
            answer_all(failed, || CommitError::Closed(closed(&error.to_string())));
            return self.hand_on(written);
        }
        let mut failed = failed;
        {
            let mut front = self.front.lock();
            failed.extend(front.queue.drain(..));
            front.take_back(&failed, segment);
        }
        self.space.note_full();
        self.recycle_and_hand_on(written);
        answer_all(failed, || CommitError::Full(Error::new(Kind::Full, error.message.clone())));
    }

    /// Writes groups and, unless relaxed, syncs them. Blocks.
    pub(super) fn write(self: &Arc<Self>, groups: Vec<Group>) -> Result<Vec<Group>, Failed> {
        let mut writer = self.writer.lock();
        if writer.poisoned
            && let Err(error) = self.sync(&mut writer)
        {
            return Err(Failed { written: Vec::new(), failed: groups, error, segment: writer.segment.id });
        }
        let mut late = false;
        for index in 0..groups.len() {
            let Some(frame) = groups.get(index).and_then(|group| group.frame.as_ref()) else { continue };
            let written = self.write_frame(&mut writer, frame);
            if let Err(error) = written {
                return Err(self.cut_back(&mut writer, groups, index, error));
            }
            let group = &groups[index];
            writer.written = writer.written.max(group.position);
            writer.mark = writer.mark.max(group.mark);
            // A statement may be lost: what it says stays true.
            match frame.kind {
                GroupKind::Statement => writer.stated = true,
                GroupKind::Plans | GroupKind::Horizons => writer.dirty = true,
            }
            // Relaxed or not, no time is shown that a start after a crash could show again, and no shard's end before
            // all of its records.
            late |= group.mark.0 - self.reserve_ms() > self.marked.load(Ordering::Acquire);
            late |= group.plans.iter().any(Plan::takes_a_number);
        }
        self.space.wrote(&*self.files, &self.folder, &self.clock, bytes_of(&groups));
        // Memory has nothing to sync; and one planted bug tells everyone too early.
        if self.volatile || self.settings.planted == Some(Planted::AckBeforeSync) {
            self.note_synced(&writer);
        } else if matches!(self.settings.durability, Durability::Strict) || late {
            if let Err(error) = self.sync(&mut writer) {
                return Err(Failed { written: Vec::new(), failed: groups, error, segment: writer.segment.id });
            }
        } else {
            self.sync_later();
        }
        Ok(groups)
    }

    fn write_frame(self: &Arc<Self>, writer: &mut Writer, frame: &Frame) -> Result<(), Error> {
        if let Some(header) = &frame.opens {
            self.open_segment(writer, header)?;
        }
        debug_assert_eq!(writer.segment.id, frame.segment);
        writer.file.write_at(&frame.bytes, frame.offset).map_err(|error| self.failed("write", writer, error))?;
        self.counters.bytes.fetch_add(frame.bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// The next segment: only once all before it is synced, since its header says so.
    fn open_segment(self: &Arc<Self>, writer: &mut Writer, header: &SegmentHeader) -> Result<(), Error> {
        writer.dirty |= writer.stated;
        self.sync(writer)?;
        let path = self.folder.join(header.id.file_name());
        let file = write_whole(&*self.files, &path, &[&header.encode()])
            .map_err(|error| self.failed("make the next segment after", writer, error))?;
        self.counters.syncs.fetch_add(2, Ordering::Relaxed);
        self.counters.bytes.fetch_add(BLOCK, Ordering::Relaxed);
        let seed = seed(header.store, header.id, header.generation);
        let last = header.previous.position;
        let segment = Arc::new(Segment::growing(header.id, path, seed, file.clone(), BLOCK, last));
        self.log.insert(segment.clone());
        (writer.file, writer.segment) = (file, segment);
        Ok(())
    }

    /// After a failed write: what was written before it is synced, what was half written is cut off.
    fn cut_back(&self, writer: &mut Writer, groups: Vec<Group>, index: usize, error: Error) -> Failed {
        let mut written = groups;
        let failed = written.split_off(index);
        let segment = writer.segment.id;
        if error.kind != Kind::Full {
            let failed = [written, failed].into_iter().flatten().collect();
            return Failed { written: Vec::new(), failed, error, segment };
        }
        let offset = failed.first().and_then(|group| group.frame.as_ref()).map(|frame| (frame.segment, frame.offset));
        let cut = || {
            if let Some((of, offset)) = offset
                && of == segment
                && writer.file.len()? > offset
            {
                writer.file.set_len(offset)?;
                writer.dirty = true;
            }
            Ok(())
        };
        let mut cut = cut;
        let done = cut().map_err(|error: io::Error| self.failed("cut", writer, error));
        match done.and_then(|()| self.sync(writer)) {
            Ok(()) => Failed { written, failed, error, segment },
            Err(error) => {
                let failed = [written, failed].into_iter().flatten().collect();
                Failed { written: Vec::new(), failed, error, segment }
            }
        }
    }

    /// Syncs what is written, whoever asks. Blocks.
    pub(super) fn sync_log(&self) -> Result<(), Error> {
        let mut writer = self.writer.lock();
        self.sync(&mut writer)
    }

    fn sync(&self, writer: &mut Writer) -> Result<(), Error> {
        let what = || format!("{}: the sync failed", writer.segment.path.display());
        if writer.poisoned {
            return Err(Error::new(Kind::Closed, what()));
        }
        if writer.dirty {
            if self.settings.planted != Some(Planted::NoSync) {
                self.counters.syncs.fetch_add(1, Ordering::Relaxed);
                // Nothing is known after a failure, whatever the reason: never full, always the end. Noted before the
                // writer is given up: another group may be waiting for it.
                if let Err(error) = writer.file.sync_data() {
                    let error = Error::new(Kind::Closed, what()).because(error);
                    writer.poisoned = true;
                    return Err(error);
                }
            }
            (writer.dirty, writer.stated) = (false, false);
        }
        self.note_synced(writer);
        Ok(())
    }

    fn note_synced(&self, writer: &Writer) {
        self.synced.fetch_max(writer.written.0, Ordering::AcqRel);
        self.marked.fetch_max(writer.mark.0, Ordering::AcqRel);
        if self.snapshots.synced(writer.written) {
            // Not a new position, but readers of the log see more at it.
            self.published.send_modify(|_| {});
            self.log_shown.send_replace(writer.written);
        }
    }

    fn failed(&self, what: &str, writer: &Writer, error: io::Error) -> Error {
        let path = writer.segment.path.display();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Error::new(Kind::Full, format!("{path}: the disk is full")).because(error)
            }
            _ => Error::new(Kind::Closed, format!("{path}: could not {what} the segment")).because(error),
        }
    }

    /// Relaxed: a sync within the interval.
    fn sync_later(self: &Arc<Self>) {
        let Durability::Relaxed { interval } = self.settings.durability else { return };
        if self.sync_due.swap(true, Ordering::AcqRel) {
            return;
        }
        let (engine, runtime) = (self.me.clone(), self.runtime.clone());
        // Not counted as busy: `close` does not wait for it but syncs itself.
        drop(self.runtime.spawn(async move {
            runtime.sleep(interval).await;
            let Some(engine) = engine.upgrade() else { return };
            engine.sync_due.store(false, Ordering::Release);
            let syncing = engine.clone();
            match runtime.blocking(move || syncing.sync_log()).await {
                Ok(Ok(())) => engine.state_later(),
                Ok(Err(error)) => engine.fail(&error.to_string()),
                Err(_) => {}
            }
        }));
    }

    /// The queue ran dry: unless something comes soon, an empty group states what is synced.
    fn state_later(self: &Arc<Self>) {
        let unstated = |engine: &Self| {
            let front = engine.front.lock();
            front.closed.is_none() && front.stated < engine.synced() && front.queue.is_empty() && !front.writing
        };
        if !unstated(self) || self.statement_due.swap(true, Ordering::AcqRel) {
            return;
        }
        let (engine, runtime) = (self.me.clone(), self.runtime.clone());
        let wait = self.settings.idle_statement;
        drop(self.runtime.spawn(async move {
            runtime.sleep(wait).await;
            let Some(engine) = engine.upgrade() else { return };
            engine.statement_due.store(false, Ordering::Release);
            if unstated(&engine) {
                let mut front = engine.front.lock();
                front.state_synced(engine.clock.store(), engine.synced());
                engine.start_writing(front);
            }
        }));
    }

    /// At the clean end: everything synced, and a synced group that says so.
    pub(super) fn write_last(self: &Arc<Self>) -> Result<(), Error> {
        self.sync_log()?;
        let groups: Vec<Group> = {
            let mut front = self.front.lock();
            front.state_synced(self.clock.store(), self.synced());
            front.queue.drain(..).collect()
        };
        self.write(groups).map_err(|failed| failed.error)?;
        self.writer.lock().dirty = true;
        self.sync_log()
    }
}

fn bytes_of(groups: &[Group]) -> u64 {
    let frames = groups.iter().filter_map(|group| group.frame.as_ref());
    frames.map(|frame| frame.bytes.len() as u64).sum()
}
