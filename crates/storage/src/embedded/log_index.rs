//! Where a shard's records are: in memory for the segment that grows, by footers for sealed ones.
//!
//! Kept in memory for every segment: its range of numbers; for every shard: which segments hold records of it. Footers
//! (per shard: numbers, positions, places) are read when they are asked for and kept while there is room.

mod footer;
mod segment_set;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use headwater_types::hash::FixedMap;
use headwater_types::{Position, SequenceNumber, ShardUid};
use parking_lot::{Mutex, RwLock};

use super::bytes::{Cut, Reader};
use super::frame::{RECORD_HEADER, record_checksum, take_record_header};
use super::segment::{FOOTER_HEADER, SegmentId, corrupt, encode_footer};
use super::snapshots::Shown;
use crate::contract::{From, LogRecord, PageLimit};
use crate::error::{Error, Kind};
use crate::files::{File, Files, read_exactly};
pub(super) use footer::{Entry, Footer};
use footer::{decode_entries, decode_summary, encode_entries, read_footer_header};
use segment_set::SegmentSet;

/// Records closer than this are read together. Unit: bytes.
const GAP_MAX: u64 = 16 * 1024;
/// Most bytes of one read, unless a single record is larger.
const READ_MAX: u64 = 1024 * 1024;
/// Sealed segments that stay open with their footers.
const OPEN_MAX: usize = 128;

/// What is kept of a segment.
pub(super) struct Segment {
    pub(super) id: SegmentId,
    pub(super) path: PathBuf,
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

#[derive(Default)]
struct OpenSegments {
    known: FixedMap<SegmentId, OpenSegment>,
    clock: u64,
}

struct OpenSegment {
    file: Arc<dyn File>,
    footer: Arc<Footer>,
    /// The clock when it was last asked for.
    used: u64,
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
        let growing = Some((file, Footer::new()));
        Self { id, path, seed, state: RwLock::new(SegmentState { growing, numbers: None, end, last }) }
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
        let SegmentState { growing, numbers, .. } = &mut *state;
        let Some((_, footer)) = growing else { return new };
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
        for shard in shards {
            state.shards.entry(shard).or_default().insert(segment.id);
        }
        state.segments.insert(segment.id, segment);
    }

    /// Takes a sealed segment in by the summary of its footer; false when there is no whole footer.
    pub(super) fn insert_sealed(
        &self,
        id: SegmentId,
        path: PathBuf,
        seed: u64,
        end: u64,
        last: Position,
    ) -> Result<bool, Error> {
        let file = self.files.open(&path).map_err(|error| unreadable(&path, error))?;
        let Some((header, _)) = read_footer_header(&*file, end) else { return Ok(false) };
        let start = end + FOOTER_HEADER as u64;
        let Ok(summary) = read_exactly(&*file, start, header.summary_length as usize) else { return Ok(false) };
        if !header.summary_holds(&summary, seed) {
            return Ok(false);
        }
        let Ok((numbers, shards)) = decode_summary(&summary) else { return Ok(false) };
        let state = SegmentState { growing: None, numbers, end, last };
        let segment = Arc::new(Segment { id, path, seed, state: RwLock::new(state) });
        let mut state = self.state.write();
        for shard in shards {
            state.shards.entry(shard).or_default().insert(id);
        }
        state.segments.insert(id, segment);
        Ok(true)
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
        self.open.lock().put(segment.id, file, footer);
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

    /// The last number of each shard in a segment.
    pub(super) fn last_numbers(&self, segment: &Segment) -> Result<Vec<(ShardUid, SequenceNumber)>, Error> {
        let last = |footer: &Footer| {
            let shards = footer.iter().filter_map(|(shard, entries)| Some((*shard, entries.last()?.number)));
            shards.collect()
        };
        if let Some((_, footer)) = &segment.state.read().growing {
            return Ok(last(footer));
        }
        Ok(last(&self.opened(segment)?.1))
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
        self.open.lock().known.retain(|id, _| *id >= first);
        empty
    }

    /// A page of a shard's records, as a snapshot shows them.
    pub(super) fn read(
        &self,
        shown: &Shown,
        shard: ShardUid,
        from: From,
        limit: PageLimit,
    ) -> Result<Vec<LogRecord>, Error> {
        let horizon = shown.horizons.get(&shard).copied().unwrap_or_default();
        let start = match from {
            From::At(number) => number,
            From::After(number) => SequenceNumber(number.0.saturating_add(1)),
        };
        if matches!(from, From::After(SequenceNumber(u64::MAX))) || limit.records == 0 {
            return Ok(Vec::new());
        }
        let mut wanted = Wanted { start: start.max(horizon), limit, upto: shown.log, bytes: 0, full: false };
        let mut page = Vec::new();
        for segment in self.holding(shown, shard, wanted.start) {
            let (file, entries) = self.entries(&segment, shard, &mut wanted)?;
            read_records(&*file, &segment, shard, &entries, &mut page)?;
            wanted.limit.records -= entries.len();
            if wanted.full || wanted.limit.records == 0 {
                break;
            }
        }
        Ok(page)
    }

    fn holding(&self, shown: &Shown, shard: ShardUid, start: SequenceNumber) -> Vec<Arc<Segment>> {
        let state = self.state.read();
        let Some(set) = state.shards.get(&shard) else { return Vec::new() };
        let segments = set.from(shown.first).filter_map(|id| state.segments.get(&id));
        segments.filter(|segment| segment.covers(start)).cloned().collect()
    }

    fn entries(
        &self,
        segment: &Segment,
        shard: ShardUid,
        wanted: &mut Wanted,
    ) -> Result<(Arc<dyn File>, Vec<Entry>), Error> {
        if let Some((file, footer)) = &segment.state.read().growing {
            return Ok((file.clone(), wanted.choose(footer.get(&shard))));
        }
        let (file, footer) = self.opened(segment)?;
        Ok((file, wanted.choose(footer.get(&shard))))
    }

    fn opened(&self, segment: &Segment) -> Result<(Arc<dyn File>, Arc<Footer>), Error> {
        if let Some(open) = self.open.lock().get(segment.id) {
            return Ok(open);
        }
        let end = segment.state.read().end;
        let file = self.files.open(&segment.path).map_err(|error| unreadable(&segment.path, error))?;
        let damaged = || corrupt(&segment.path, end, "the segment's footer is damaged");
        let (header, entries_at) = read_footer_header(&*file, end).ok_or_else(damaged)?;
        let entries = read_exactly(&*file, entries_at, header.entries_length as usize)
            .map_err(|error| unreadable(&segment.path, error))?;
        if !header.entries_hold(&entries, segment.seed) {
            return Err(damaged());
        }
        let footer = Arc::new(decode_entries(&entries).map_err(|Cut| damaged())?);
        self.open.lock().put(segment.id, file.clone(), footer.clone());
        Ok((file, footer))
    }
}

impl OpenSegments {
    fn get(&mut self, id: SegmentId) -> Option<(Arc<dyn File>, Arc<Footer>)> {
        self.clock += 1;
        let open = self.known.get_mut(&id)?;
        open.used = self.clock;
        Some((open.file.clone(), open.footer.clone()))
    }

    fn put(&mut self, id: SegmentId, file: Arc<dyn File>, footer: Arc<Footer>) {
        self.clock += 1;
        self.known.insert(id, OpenSegment { file, footer, used: self.clock });
        if self.known.len() > OPEN_MAX {
            let oldest = self.known.iter().min_by_key(|(_, open)| open.used).map(|(id, _)| *id);
            oldest.map(|id| self.known.remove(&id));
        }
    }
}

/// What is still missing of a page.
struct Wanted {
    start: SequenceNumber,
    limit: PageLimit,
    upto: Position,
    bytes: usize,
    full: bool,
}

impl Wanted {
    fn choose(&mut self, entries: Option<&Vec<Entry>>) -> Vec<Entry> {
        let entries = entries.map_or(&[][..], Vec::as_slice);
        let first = entries.partition_point(|entry| entry.number < self.start);
        let mut chosen = Vec::new();
        for entry in entries[first..].iter().take(self.limit.records) {
            let length = entry.length as usize;
            let any = self.bytes > 0 || !chosen.is_empty();
            if entry.position > self.upto || (any && self.bytes + length > self.limit.bytes) {
                self.full = true;
                break;
            }
            self.bytes += length;
            chosen.push(*entry);
        }
        chosen
    }
}

/// Reads records that lie close to each other at once.
fn read_records(
    file: &dyn File,
    segment: &Segment,
    shard: ShardUid,
    entries: &[Entry],
    page: &mut Vec<LogRecord>,
) -> Result<(), Error> {
    let end_of = |entry: &Entry| entry.offset + RECORD_HEADER as u64 + u64::from(entry.length);
    let mut rest = entries;
    while let Some(first) = rest.first() {
        let mut end = end_of(first);
        let close = rest.iter().skip(1).take_while(|entry| {
            let joins = entry.offset <= end + GAP_MAX && end_of(entry) - first.offset <= READ_MAX;
            if joins {
                end = end_of(entry);
            }
            joins
        });
        let count = 1 + close.count();
        let bytes = read_exactly(file, first.offset, (end - first.offset) as usize)
            .map_err(|error| unreadable(&segment.path, error))?;
        let bytes = Bytes::from(bytes);
        for entry in &rest[..count] {
            let at = (entry.offset - first.offset) as usize;
            let record = take_record(&bytes.slice(at..), shard, entry)
                .ok_or_else(|| corrupt(&segment.path, entry.offset, "the record is damaged"))?;
            page.push(record);
        }
        rest = &rest[count..];
    }
    Ok(())
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

fn take_record(bytes: &Bytes, shard: ShardUid, entry: &Entry) -> Option<LogRecord> {
    let mut reader = Reader::new(bytes);
    let (found_shard, number, length, checksum) = take_record_header(&mut reader).ok()?;
    let payload = bytes.slice_ref(reader.take(length as usize).ok()?);
    let whole = found_shard == shard
        && number == entry.number
        && length == entry.length
        && checksum == record_checksum(&payload);
    whole.then_some(LogRecord { number, payload })
}

fn unreadable(path: &std::path::Path, error: io::Error) -> Error {
    let kind = if error.kind() == io::ErrorKind::StorageFull { Kind::Full } else { Kind::Unavailable };
    Error::new(kind, format!("{}: the segment cannot be read or written", path.display())).because(error)
}
