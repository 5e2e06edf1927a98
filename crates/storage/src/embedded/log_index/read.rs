//! Reading records: a page of one shard.

use std::sync::Arc;

use bytes::Bytes;
use headwater_types::hash::FixedMap;
use headwater_types::{Position, SequenceNumber, ShardUid};

use super::footer::{decode_entries, read_footer_header};
use super::{Entry, Footer, LogIndex, Segment, unreadable};
use crate::contract::{From, LogRecord, PageLimit};
use crate::embedded::archive::RunNumber;
use crate::embedded::bytes::{Cut, Reader};
use crate::embedded::frame::{RECORD_HEADER, record_checksum, take_record_header};
use crate::embedded::segment::{SegmentId, corrupt};
use crate::embedded::snapshots::Shown;
use crate::error::Error;
use crate::files::{File, read_exactly};

/// Records closer than this are read together. Unit: bytes.
const GAP_MAX: u64 = 16 * 1024;
/// Most bytes of one read, unless a single record is larger.
const READ_MAX: u64 = 1024 * 1024;
/// Sealed segments that stay open with their footers.
const OPEN_MAX: usize = 128;
/// Records in the footers that are kept, unless a single footer has more: 32 bytes each.
const OPEN_ENTRIES_MAX: usize = 1 << 20;

/// Sealed segments that stay open, the least used ones forgotten first.
#[derive(Default)]
pub(super) struct OpenSegments {
    known: FixedMap<SegmentId, OpenSegment>,
    entries: usize,
    clock: u64,
}

struct OpenSegment {
    /// A run and the first segment that it replaces bear one id.
    run: Option<RunNumber>,
    file: Arc<dyn File>,
    footer: Arc<Footer>,
    entries: usize,
    /// The clock when it was last asked for.
    used: u64,
}

impl LogIndex {
    /// A page of a shard's records, as a snapshot shows them.
    pub(in crate::embedded) fn read(
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
            wanted.limit.records -= entries.len();
            let entries: Vec<_> = entries.into_iter().map(|entry| (shard, entry)).collect();
            read_records(&*file, &segment, &entries, &mut |_, entry, record| {
                page.push(LogRecord { number: entry.number, payload: record.slice(RECORD_HEADER..) });
            })?;
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

    pub(super) fn opened(&self, segment: &Segment) -> Result<(Arc<dyn File>, Arc<Footer>), Error> {
        if let Some(replaced) = segment.state.read().replaced.clone() {
            return Ok(replaced);
        }
        if let Some(open) = self.open.lock().get(segment.id, segment) {
            return Ok(open);
        }
        let end = segment.state.read().end;
        let file = match self.files.open(&segment.path) {
            Ok(file) => file,
            // It may have been replaced and removed since.
            Err(error) => {
                let replaced = segment.state.read().replaced.clone();
                return replaced.ok_or_else(|| unreadable(&segment.path, error));
            }
        };
        let damaged = || corrupt(&segment.path, end, "the segment's footer is damaged");
        let (header, entries_at) = read_footer_header(&*file, end).ok_or_else(damaged)?;
        let entries = read_exactly(&*file, entries_at, header.entries_length as usize)
            .map_err(|error| unreadable(&segment.path, error))?;
        if !header.entries_hold(&entries, segment.seed) {
            return Err(damaged());
        }
        let footer = Arc::new(decode_entries(&entries).map_err(|Cut| damaged())?);
        self.open.lock().put(segment, file.clone(), footer.clone());
        if segment.state.read().replaced.is_some() {
            // Replaced meanwhile: its file shall not stay open for ever.
            self.open.lock().forget(segment.id);
        }
        Ok((file, footer))
    }
}

impl OpenSegments {
    fn get(&mut self, id: SegmentId, segment: &Segment) -> Option<(Arc<dyn File>, Arc<Footer>)> {
        self.clock += 1;
        let open = self.known.get_mut(&id).filter(|open| open.run == segment.run)?;
        open.used = self.clock;
        Some((open.file.clone(), open.footer.clone()))
    }

    pub(super) fn put(&mut self, segment: &Segment, file: Arc<dyn File>, footer: Arc<Footer>) {
        self.clock += 1;
        self.forget(segment.id);
        let entries = footer.values().map(Vec::len).sum();
        self.entries += entries;
        self.known.insert(segment.id, OpenSegment { run: segment.run, file, footer, entries, used: self.clock });
        while self.known.len() > OPEN_MAX || (self.entries > OPEN_ENTRIES_MAX && self.known.len() > 1) {
            let oldest = self.known.iter().min_by_key(|(_, open)| open.used).map(|(id, _)| *id);
            oldest.into_iter().for_each(|id| self.forget(id));
        }
    }

    pub(super) fn forget(&mut self, id: SegmentId) {
        if let Some(open) = self.known.remove(&id) {
            self.entries -= open.entries;
        }
    }

    pub(super) fn retain(&mut self, keeps: impl Fn(SegmentId) -> bool) {
        self.known.retain(|id, _| keeps(*id));
        self.entries = self.known.values().map(|open| open.entries).sum();
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

/// Reads records, those that lie close to each other at once, and hands each one over whole, its header included.
pub(super) fn read_records(
    file: &dyn File,
    segment: &Segment,
    wanted: &[(ShardUid, Entry)],
    take: &mut dyn FnMut(ShardUid, &Entry, Bytes),
) -> Result<(), Error> {
    let mut rest = wanted;
    while let Some((_, first)) = rest.first() {
        let mut end = first.end();
        let close = rest.iter().skip(1).take_while(|(_, entry)| {
            let joins = entry.offset <= end + GAP_MAX && entry.end() - first.offset <= READ_MAX;
            if joins {
                end = entry.end();
            }
            joins
        });
        let count = 1 + close.count();
        let bytes = read_exactly(file, first.offset, (end - first.offset) as usize)
            .map_err(|error| unreadable(&segment.path, error))?;
        let bytes = Bytes::from(bytes);
        for (shard, entry) in &rest[..count] {
            let at = (entry.offset - first.offset) as usize;
            let record = bytes.slice(at..at + entry.size() as usize);
            if !is_whole(&record, *shard, entry) {
                return Err(corrupt(&segment.path, entry.offset, "the record is damaged"));
            }
            take(*shard, entry, record);
        }
        rest = &rest[count..];
    }
    Ok(())
}

fn is_whole(record: &Bytes, shard: ShardUid, entry: &Entry) -> bool {
    let mut reader = Reader::new(record);
    let Ok((found_shard, number, length, checksum)) = take_record_header(&mut reader) else { return false };
    let Ok(payload) = reader.take(length as usize) else { return false };
    found_shard == shard && number == entry.number && length == entry.length && checksum == record_checksum(payload)
}
