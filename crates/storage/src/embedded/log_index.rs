//! Where a shard's records are: in memory for the segment that grows, by footers for sealed ones and for archive runs.
//!
//! Kept in memory for every segment: its range of numbers; for every shard: which segments hold records of it. Footers
//! (per shard: numbers, positions, places) are read when they are asked for and kept while there is room. An archive run
//! stands where the first of the segments stood that it replaces, so a shard's records rise from each to the next.

mod footer;
mod gather;
mod read;
mod segment_set;
mod wanted;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_types::hash::FixedMap;
use headwater_types::{Position, SequenceNumber, ShardUid};
use parking_lot::{Mutex, RwLock};

use super::archive::RunNumber;
use super::segment::{FOOTER_HEADER, SegmentId, encode_footer};
use crate::error::{Error, Kind};
use crate::files::{File, Files, read_exactly};
pub(super) use footer::{Entry, Footer, encode_entries};
use footer::{Share, Summary, decode_summary, read_footer_header, shares};
pub(super) use gather::{Place, parts};
use read::OpenSegments;
use segment_set::SegmentSet;

/// What is kept of a segment, or of an archive run in the place of segments.
pub(super) struct Segment {
    /// Of the first one that a run replaces.
    pub(super) id: SegmentId,
    /// The last one that it stands for: a run's may be a later one than its own.
    pub(super) through: SegmentId,
    pub(super) path: PathBuf,
    /// Present: an archive run.
    pub(super) run: Option<RunNumber>,
    seed: u64,
    state: RwLock<SegmentState>,
}

struct SegmentState {
    /// Present until the footer is on disk.
    growing: Option<(Arc<dyn File>, Footer)>,
    numbers: Option<(SequenceNumber, SequenceNumber)>,
    /// Where its last group ends, and its footer starts.
    end: u64,
    /// Position of its last group.
    last: Position,
    /// Bytes of records that were wanted when it was last looked at, and whether that may have changed.
    wanted: u64,
    stale: bool,
    /// Something in it cannot be read: it stays as it is.
    damaged: bool,
    /// Replaced: whoever was about to read it goes on with this.
    replaced: Option<(Arc<dyn File>, Arc<Footer>)>,
}

impl SegmentState {
    fn new(end: u64, last: Position) -> Self {
        Self { growing: None, numbers: None, end, last, wanted: 0, stale: true, damaged: false, replaced: None }
    }
}

/// A sealed file to be taken in.
pub(super) struct Sealed {
    pub(super) id: SegmentId,
    pub(super) through: SegmentId,
    pub(super) path: PathBuf,
    pub(super) run: Option<RunNumber>,
    /// Of its checksums.
    pub(super) seed: u64,
    /// Where its footer starts.
    pub(super) end: u64,
    pub(super) last: Position,
}

/// All segments.
pub(super) struct LogIndex {
    files: Arc<dyn Files>,
    /// Footers are written one at a time: a segment may be sealed for a copy before its turn.
    sealing: Mutex<()>,
    state: RwLock<State>,
    open: Mutex<OpenSegments>,
}

#[derive(Default)]
struct State {
    segments: BTreeMap<SegmentId, Arc<Segment>>,
    shards: FixedMap<ShardUid, SegmentSet>,
}

impl Segment {
    /// A segment whose records are all in memory.
    pub(super) fn growing(
        id: SegmentId,
        path: PathBuf,
        seed: u64,
        file: Arc<dyn File>,
        end: u64,
        last: Position,
    ) -> Self {
        let state = SegmentState { growing: Some((file, Footer::new())), ..SegmentState::new(end, last) };
        Self { id, through: id, path, run: None, seed, state: RwLock::new(state) }
    }

    /// A sealed file whose footer says this.
    pub(super) fn sealed(sealed: Sealed, numbers: Option<(SequenceNumber, SequenceNumber)>) -> Self {
        let Sealed { id, through, path, run, seed, end, last } = sealed;
        let state = SegmentState { numbers, ..SegmentState::new(end, last) };
        Self { id, through, path, run, seed, state: RwLock::new(state) }
    }

    /// Position of its last group.
    pub(super) fn last(&self) -> Position {
        self.state.read().last
    }

    /// Where its last group ends. Unit: bytes.
    pub(super) fn end(&self) -> u64 {
        self.state.read().end
    }

    /// Notes a group without records.
    pub(super) fn extend(&self, position: Position, end: u64) {
        let mut state = self.state.write();
        (state.last, state.end) = (position, end);
    }

    /// Notes a group and its records.
    pub(super) fn add(
        &self,
        position: Position,
        end: u64,
        records: impl Iterator<Item = (ShardUid, Entry)>,
    ) -> Vec<ShardUid> {
        let mut state = self.state.write();
        state.end = end;
        state.last = position;
        let mut new = Vec::new();
        let SegmentState { growing, numbers, stale, .. } = &mut *state;
        let Some((_, footer)) = growing else { return new };
        *stale = true;
        for (shard, entry) in records {
            let (low, high) = numbers.unwrap_or((entry.number, entry.number));
            *numbers = Some((low.min(entry.number), high.max(entry.number)));
            let entries = footer.entry(shard).or_default();
            if entries.is_empty() {
                new.push(shard);
            }
            entries.push(entry);
        }
        new
    }

    fn covers(&self, start: SequenceNumber) -> bool {
        self.state.read().numbers.is_some_and(|(_, high)| high >= start)
    }
}

impl LogIndex {
    pub(super) fn new(files: Arc<dyn Files>) -> Self {
        Self { files, sealing: Mutex::default(), state: RwLock::default(), open: Mutex::default() }
    }

    /// Takes a segment in; they come in order.
    pub(super) fn insert(&self, segment: Arc<Segment>) {
        let mut state = self.state.write();
        let shards: Vec<ShardUid> = match &segment.state.read().growing {
            Some((_, footer)) => footer.keys().copied().collect(),
            None => Vec::new(),
        };
        self.put(&mut state, segment, shards.into_iter());
    }

    /// Takes a sealed file in by the summary of its footer; false when there is no whole footer.
    pub(super) fn insert_sealed(&self, sealed: Sealed) -> Result<bool, Error> {
        let file = self.files.open(&sealed.path).map_err(|error| unreadable(&sealed.path, error))?;
        let Some((numbers, shares)) = read_summary(&*file, sealed.end, sealed.seed) else { return Ok(false) };
        let segment = Arc::new(Segment::sealed(sealed, numbers));
        self.put(&mut self.state.write(), segment, shares.into_iter().map(|share| share.shard));
        Ok(true)
    }

    fn put(&self, state: &mut State, segment: Arc<Segment>, shards: impl Iterator<Item = ShardUid>) {
        for shard in shards {
            state.shards.entry(shard).or_default().insert(segment.id);
        }
        state.segments.insert(segment.id, segment);
    }

    pub(super) fn segment(&self, id: SegmentId) -> Option<Arc<Segment>> {
        self.state.read().segments.get(&id).cloned()
    }

    /// Notes a group of the segment that grows.
    pub(super) fn add(
        &self,
        segment: &Segment,
        position: Position,
        end: u64,
        records: impl Iterator<Item = (ShardUid, Entry)>,
    ) {
        let new = segment.add(position, end, records);
        if !new.is_empty() {
            let mut state = self.state.write();
            for shard in new {
                state.shards.entry(shard).or_default().insert(segment.id);
            }
        }
    }

    /// Writes the footer behind the last group and lets go of what it holds. Without a footer the segment stays in
    /// memory and is scanned at the next start.
    pub(super) fn seal(&self, segment: &Segment) -> Result<(), Error> {
        let _turn = self.sealing.lock();
        let (file, footer, end) = {
            let state = segment.state.read();
            let Some((file, footer)) = &state.growing else { return Ok(()) };
            (file.clone(), Arc::new(footer.clone()), state.end)
        };
        let (summary, entries) = encode_entries(&footer);
        let bytes = encode_footer(&summary, &entries, segment.seed);
        let write = || {
            // A copy of the store may share the file: what is sealed is never written to again.
            if file.len()? == end + bytes.len() as u64 && read_exactly(&*file, end, bytes.len())? == bytes {
                return Ok(());
            }
            // What lies behind the last group is a group that was never acknowledged: it goes.
            file.set_len(end)?;
            file.write_at(&bytes, end)?;
            file.sync_data()
        };
        write().map_err(|error| unreadable(&segment.path, error))?;
        self.open.lock().put(segment, file, footer);
        segment.state.write().growing = None;
        Ok(())
    }

    /// Segments before the one that grows, oldest first.
    pub(super) fn oldest(&self) -> Option<Arc<Segment>> {
        self.state.read().segments.values().next().cloned()
    }

    /// Segments in order.
    pub(super) fn segments(&self) -> Vec<Arc<Segment>> {
        self.state.read().segments.values().cloned().collect()
    }

    /// Forgets segments before `first`; the shards that have none left.
    pub(super) fn remove_before(&self, first: SegmentId) -> Vec<ShardUid> {
        let mut state = self.state.write();
        state.segments = state.segments.split_off(&first);
        let mut empty = Vec::new();
        state.shards.retain(|shard, set| {
            let none = set.cut(first);
            if none {
                empty.push(*shard);
            }
            !none
        });
        self.open.lock().retain(|id| id >= first);
        empty
    }
}

/// The summary of a file's footer, if it is whole.
fn read_summary(file: &dyn File, end: u64, seed: u64) -> Option<Summary> {
    let (header, _) = read_footer_header(file, end)?;
    let summary = read_exactly(file, end + FOOTER_HEADER as u64, header.summary_length as usize).ok()?;
    if !header.summary_holds(&summary, seed) {
        return None;
    }
    decode_summary(&summary).ok()
}

/// Whether a file has its whole footer behind the last group.
pub(super) fn is_sealed(file: &dyn File, end: u64, seed: u64) -> bool {
    let Some((header, entries_at)) = read_footer_header(file, end) else { return false };
    let start = end + FOOTER_HEADER as u64;
    let Ok(summary) = read_exactly(file, start, header.summary_length as usize) else { return false };
    let Ok(entries) = read_exactly(file, entries_at, header.entries_length as usize) else { return false };
    let ends = entries_at + header.entries_length;
    header.summary_holds(&summary, seed)
        && header.entries_hold(&entries, seed)
        && file.len().is_ok_and(|len| len == ends)
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    let kind = if error.kind() == io::ErrorKind::StorageFull { Kind::Full } else { Kind::Unavailable };
    Error::new(kind, format!("{}: the segment cannot be read or written", path.display())).because(error)
}
