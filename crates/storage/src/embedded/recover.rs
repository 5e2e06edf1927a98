//! The start: find where the log ends, make everything up to there durable, bring the index up to it.
//!
//! ```text
//!   index:   ───────────── flush point F
//!   log:     ── … ─────────┼──────────── proven synced P ── ok ── ok ─╳ bad      L = last whole group before it
//!                          └ replayed ────────────────────────────┘
//!                                                        └ copied ┘ to a new segment of a raised generation
//! ```
//! A bad group ends the log, unless a later readable group of this generation claims that its position was synced: then
//! acknowledged bytes are damaged, and the store is not opened. The new segment's header says where the old one ended;
//! what follows there is never read again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};

use bytes::Bytes;
use headwater_types::{Clock, Millis, Position, Runtime};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::engine::{Applying, Counters, Engine};
use super::frame::{decode, decode_horizons};
use super::front::Front;
use super::heads::Heads;
use super::index::{Index, Lsm, OrderedMap};
use super::log_index::{Entry, LogIndex, Segment};
use super::rows;
use super::segment::{
    BLOCK, End, GROUP_HEADER, GroupHeader, GroupKind, SegmentHeader, SegmentId, corrupt, payload_checksum,
};
use super::snapshots::Snapshots;
use super::space::Space;
use super::store::Store;
use super::upkeep::Upkeep;
use super::writer::Writer;
use super::{IndexKind, Recovered, Settings};
use crate::error::{Error, Kind};
use crate::files::{File, Files, Lock, TEMPORARY, read_exactly, write_whole};

/// The reserve, where none is set.
const RESERVE_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// A segment as it lies on the disk.
struct Found {
    header: SegmentHeader,
    path: PathBuf,
    file: Arc<dyn File>,
    /// Whole groups in order; only of segments that are scanned.
    groups: Vec<(GroupHeader, u64)>,
}

/// Opens a locked directory.
pub(super) fn open(
    settings: Settings,
    runtime: Runtime,
    clock: Clock,
    lock: Box<dyn Lock>,
) -> Result<(Arc<Engine>, Recovered), Error> {
    let start = clock.monotonic();
    let (files, directory) = (settings.files.clone(), settings.directory.clone());
    let mut store = Store::find(&*files, &directory, &runtime)?;
    let folder = directory.join("log");
    make_folder(&*files, &folder)?;
    let mut found = find_segments(&*files, &folder, &store)?;
    let index = open_index(&settings)?;
    let at_flush = rows::read(&*index)?;
    let flushed = at_flush.flush_point.unwrap_or_default();
    check_beginning(&found, flushed, &folder, at_flush.flush_point.is_some())?;
    let mut recovered = Recovered { segments: found.len() as u64, created: !store.begun, ..Recovered::default() };
    let end = scan(&mut found, flushed, &mut recovered)?;

    let newest = found.last();
    let last_group = newest.and_then(|found| found.groups.last());
    recovered.position =
        last_group.map_or(newest.map_or(flushed, |found| found.header.previous.position), |(group, _)| group.position);
    let mark = newest.map_or(Millis(0), |found| {
        found.groups.iter().map(|(group, _)| group.mark).fold(found.header.mark, Millis::max)
    });
    clock.raise(mark);
    let now = clock.store();
    let header = SegmentHeader {
        store: store.id,
        id: newest.map_or(SegmentId(1), |found| found.header.id.next()),
        generation: newest.map_or(1, |found| found.header.generation + 1),
        mark: Millis(now.0 + settings.time_reserve.as_millis() as i64),
        synced: recovered.position,
        previous: end,
    };
    let copies = copy(&found, &header)?;
    recovered.groups_copied = copies.groups.len() as u64;
    let path = folder.join(header.id.file_name());
    let mut parts: Vec<&[u8]> = vec![&copies.first];
    parts.extend(copies.bytes.iter().map(Vec::as_slice));
    let file = write_whole(&*files, &path, &parts).map_err(|error| unreadable(&path, error))?;
    if !store.begun {
        store.begun = true;
        store.write(&*files, &directory)?;
    }
    // What was copied counts from here on as the newest segment's.
    if let Some(last) = found.last_mut() {
        last.groups.retain(|(group, _)| group.offset < end.offset);
    }
    found.push(Found { header: header.clone(), path, file, groups: copies.groups });
    let engine = build(settings, runtime, clock.clone(), lock, &found, copies.end, index, mark)?;
    engine.load(&at_flush, flushed);
    engine.replay(&found, flushed, &mut recovered)?;
    *engine.front.lock() = Front::new(&header, copies.end, engine.heads.newest(), &engine.settings);
    recovered.milliseconds = (clock.monotonic() - start).as_millis() as u64;
    Ok((engine, recovered))
}

fn make_folder(files: &dyn Files, folder: &Path) -> Result<(), Error> {
    files.create_dir(folder).map_err(|error| unreadable(folder, error))?;
    let above = folder.parent().unwrap_or(Path::new("."));
    files.sync_dir(above).map_err(|error| unreadable(above, error))
}

/// All segments by id, their headers read and their order checked.
fn find_segments(files: &dyn Files, folder: &Path, store: &Store) -> Result<Vec<Found>, Error> {
    let mut ids = Vec::new();
    for name in files.list(folder).map_err(|error| unreadable(folder, error))? {
        let path = folder.join(&name);
        match SegmentId::parse(&name) {
            Some(id) => ids.push(id),
            None if name.ends_with(TEMPORARY) => files.remove(&path).map_err(|error| unreadable(&path, error))?,
            None => return Err(corrupt(&path, 0, "this file is no segment of the log")),
        }
    }
    ids.sort_unstable();
    let mut found: Vec<Found> = Vec::with_capacity(ids.len());
    for id in ids {
        let path = folder.join(id.file_name());
        let file = files.open(&path).map_err(|error| unreadable(&path, error))?;
        let mut block = vec![0; BLOCK as usize];
        let read = file.read_at(&mut block, 0).map_err(|error| unreadable(&path, error))?;
        block.truncate(read);
        let header = SegmentHeader::decode(&block, &path, store.id, id)?;
        if let Some(before) = found.last() {
            if before.header.id.next() != id {
                let missing = folder.join(before.header.id.next().file_name());
                return Err(corrupt(&missing, 0, "this segment of the log is missing"));
            }
            if header.previous.segment != before.header.id || header.generation < before.header.generation {
                return Err(corrupt(&path, 0, "the segment does not follow the one before it"));
            }
        }
        found.push(Found { header, path, file, groups: Vec::new() });
    }
    if found.is_empty() && store.begun {
        return Err(corrupt(folder, 0, "the log of this store is missing"));
    }
    Ok(found)
}

fn open_index(settings: &Settings) -> Result<Arc<dyn Index>, Error> {
    let folder = settings.directory.join("index");
    if settings.files.volatile() {
        return Ok(Arc::new(OrderedMap::volatile()));
    }
    match settings.index {
        IndexKind::OrderedMap => Ok(Arc::new(OrderedMap::open(settings.files.clone(), &folder)?)),
        IndexKind::Lsm => {
            let table_bytes = (settings.memtable_bytes() / 2).clamp(256 * 1024, 64 * 1024 * 1024);
            let index = Lsm::open(&folder, settings.memory_bytes / 2, table_bytes)?;
            // The tree syncs what is in its folder, not the folder's own name.
            settings.files.sync_dir(&settings.directory).map_err(|error| unreadable(&settings.directory, error))?;
            Ok(Arc::new(index))
        }
    }
}

/// The log must reach back to the flush point.
fn check_beginning(found: &[Found], flushed: Position, folder: &Path, has_index: bool) -> Result<(), Error> {
    let Some(first) = found.first() else {
        if has_index {
            return Err(corrupt(folder, 0, "the log of this store is missing, its index is not"));
        }
        return Ok(());
    };
    if first.header.previous.position > flushed {
        let (from, upto) = (first.header.previous.position.0 + 1, flushed.0);
        let what = format!("the log begins at position {from}, but the index holds positions up to {upto} only");
        return Err(corrupt(&first.path, 0, &what));
    }
    Ok(())
}

/// Verifies every group that may be replayed, and finds the proven end of the newest segment.
fn scan(found: &mut [Found], flushed: Position, recovered: &mut Recovered) -> Result<End, Error> {
    let ends: Vec<End> = found.iter().skip(1).map(|next| next.header.previous).collect();
    for (segment, end) in found.iter_mut().zip(&ends) {
        if end.position > flushed {
            segment.scan(Some(*end), recovered)?;
        }
    }
    let Some(last) = found.last_mut() else { return Ok(End::default()) };
    let end = last.scan(None, recovered)?;
    if end.position < flushed {
        let what =
            format!("the log ends at position {}, but the index holds positions up to {}", end.position.0, flushed.0);
        return Err(corrupt(&last.path, end.offset, &what));
    }
    let claims = last.groups.iter().map(|(group, _)| group.synced);
    let proven = claims.fold(last.header.synced.max(flushed), Position::max);
    let mut end = last.beginning();
    // Not behind a last statement: it was never synced, and may be in the page cache only.
    let kept = last.groups.iter().filter(|(group, _)| group.kind != GroupKind::Statement && group.position <= proven);
    for (group, checksum) in kept {
        end.offset = group.offset + group.size();
        (end.position, end.checksum) = (group.position, *checksum);
    }
    Ok(end)
}

impl Found {
    /// The point before its first group.
    fn beginning(&self) -> End {
        End { segment: self.header.id, offset: BLOCK, ..self.header.previous }
    }

    /// Reads groups up to a known end, or up to the first that is not whole.
    fn scan(&mut self, until: Option<End>, recovered: &mut Recovered) -> Result<End, Error> {
        let length = self.file.len().map_err(|error| unreadable(&self.path, error))?;
        let mut end = self.beginning();
        while until.is_none_or(|until| end.offset < until.offset) {
            if end.offset >= length {
                break;
            }
            let Some((group, checksum)) = self.group_at(&end, length)? else { break };
            recovered.bytes += group.size();
            end.offset += group.size();
            (end.position, end.checksum) = (group.position, checksum);
            self.groups.push((group, checksum));
        }
        match until {
            Some(until) if until != end => {
                let what = format!("the group of position {} is damaged", end.position.0 + 1);
                Err(corrupt(&self.path, end.offset, &what))
            }
            Some(_) => Ok(end),
            None => self.check_end(&end, length).map(|()| end),
        }
    }

    /// The group that starts at a point, if it is whole and follows what came before.
    fn group_at(&self, at: &End, length: u64) -> Result<Option<(GroupHeader, u64)>, Error> {
        let Some((group, checksum)) = self.header_at(at.offset)? else { return Ok(None) };
        let position = match group.kind {
            GroupKind::Statement => at.position,
            GroupKind::Plans | GroupKind::Horizons => Position(at.position.0 + 1),
        };
        let payload_at = at.offset + GROUP_HEADER as u64;
        let follows = group.previous == at.checksum && group.position == position;
        if !follows || payload_at + u64::from(group.length) > length {
            return Ok(None);
        }
        let payload = self.payload(&group)?;
        let whole = payload_checksum(&payload, self.header.seed()) == group.payload_checksum;
        Ok(whole.then_some((group, checksum)))
    }

    fn header_at(&self, offset: u64) -> Result<Option<(GroupHeader, u64)>, Error> {
        let mut bytes = [0; GROUP_HEADER];
        self.file.read_at(&mut bytes, offset).map_err(|error| unreadable(&self.path, error))?;
        Ok(GroupHeader::decode(&bytes, self.header.seed(), self.header.generation, offset))
    }

    fn payload(&self, group: &GroupHeader) -> Result<Bytes, Error> {
        let at = group.offset + GROUP_HEADER as u64;
        let payload = read_exactly(&*self.file, at, group.length as usize);
        payload.map(Bytes::from).map_err(|error| unreadable(&self.path, error))
    }

    /// The log may end here only if nothing behind says that more was synced.
    fn check_end(&self, end: &End, length: u64) -> Result<(), Error> {
        let missing = Position(end.position.0 + 1);
        let mut offset = end.offset + BLOCK;
        while offset < length {
            if let Some((group, _)) = self.header_at(offset)?
                && group.synced >= missing
            {
                let what = format!(
                    "the group of position {} is damaged: a later group, at offset {offset}, states that position {} was synced",
                    missing.0, group.synced.0
                );
                return Err(corrupt(&self.path, end.offset, &what));
            }
            offset += BLOCK;
        }
        Ok(())
    }
}

/// Groups of the newest segment beyond its proven end, framed again for the next.
struct Copies {
    first: Vec<u8>,
    bytes: Vec<Vec<u8>>,
    groups: Vec<(GroupHeader, u64)>,
    end: End,
}

fn copy(found: &[Found], header: &SegmentHeader) -> Result<Copies, Error> {
    let mut end = End { segment: header.id, offset: BLOCK, ..header.previous };
    let mut copies = Copies { first: header.encode(), bytes: Vec::new(), groups: Vec::new(), end };
    let Some(last) = found.last() else { return Ok(copies) };
    let seed = header.seed();
    let beyond = last.groups.iter().map(|(group, _)| group).filter(|group| group.position > header.previous.position);
    for group in beyond.filter(|group| group.kind != GroupKind::Statement) {
        let payload = last.payload(group)?;
        let copied = GroupHeader {
            payload_checksum: payload_checksum(&payload, seed),
            previous: end.checksum,
            generation: header.generation,
            synced: header.previous.position,
            offset: end.offset,
            ..*group
        };
        let mut bytes = vec![0; GROUP_HEADER];
        bytes.extend_from_slice(&payload);
        let checksum = copied.encode(&mut bytes, seed);
        bytes.resize(copied.size() as usize, 0);
        end = End { offset: end.offset + copied.size(), position: copied.position, checksum, ..end };
        copies.bytes.push(bytes);
        copies.groups.push((copied, checksum));
    }
    copies.end = end;
    Ok(copies)
}

/// The engine with an empty index and nothing taken yet.
#[allow(clippy::too_many_arguments, reason = "the parts of an engine, called once")]
fn build(
    settings: Settings,
    runtime: Runtime,
    clock: Clock,
    lock: Box<dyn Lock>,
    found: &[Found],
    end: End,
    index: Arc<dyn Index>,
    mark: Millis,
) -> Result<Arc<Engine>, Error> {
    let newest = found.last().expect("the new segment is there");
    let header = &newest.header;
    let files = settings.files.clone();
    let folder = settings.directory.join("log");
    let segment = Arc::new(Segment::growing(
        header.id,
        newest.path.clone(),
        header.seed(),
        newest.file.clone(),
        end.offset,
        end.position,
    ));
    let reserve = match settings.reserve_bytes {
        Some(bytes) => bytes,
        None if files.volatile() => 0,
        None => files.free_bytes(&folder).map_or(RESERVE_BYTES, |free| RESERVE_BYTES.max(free / 20)),
    };
    let first = found.first().map_or(header.id, |first| first.header.id);
    let writer = Writer {
        file: newest.file.clone(),
        segment,
        written: end.position,
        mark: header.mark,
        dirty: false,
        stated: false,
    };
    Ok(Arc::new_cyclic(|me| Engine {
        me: me.clone(),
        runtime,
        clock,
        folder,
        volatile: files.volatile(),
        index,
        heads: Heads::default(),
        log: LogIndex::new(files.clone()),
        snapshots: Snapshots::new(Position(0), first, super::snapshots::Horizons::default()),
        front: Mutex::new(Front::new(header, end, Default::default(), &settings)),
        writer: Mutex::new(writer),
        applying: Mutex::new(Applying::default()),
        upkeep: Mutex::new(Upkeep::default()),
        space: Space::new(reserve),
        synced: AtomicU64::new(end.position.0),
        marked: AtomicI64::new(header.mark.0),
        failed: AtomicBool::new(false),
        sync_due: AtomicBool::new(false),
        statement_due: AtomicBool::new(false),
        published: watch::Sender::new(end.position),
        busy: watch::Sender::new(0),
        progress: watch::Sender::new(0),
        counters: Counters::default(),
        lock: Mutex::new(Some(lock)),
        mark_at_open: mark,
        files,
        settings,
    }))
}

impl Engine {
    /// Takes over what the index says of the flush point.
    fn load(&self, at_flush: &rows::Found, flushed: Position) {
        self.heads.load(flushed, at_flush.heads.iter().copied());
        self.snapshots.raise(&at_flush.horizons);
        self.snapshots.publish(flushed);
        self.upkeep.lock().flushed = flushed;
    }

    /// Registers every segment and applies every group beyond the flush point.
    fn replay(self: &Arc<Self>, found: &[Found], flushed: Position, recovered: &mut Recovered) -> Result<(), Error> {
        let ends = found.iter().skip(1).map(|next| next.header.previous);
        let writer = self.writer.lock().segment.clone();
        for (segment, end) in found.iter().zip(ends.map(Some).chain([None])) {
            let known = match end {
                None => writer.clone(),
                Some(end) => match self.register(segment, end, flushed, recovered)? {
                    Some(growing) => growing,
                    None => continue,
                },
            };
            self.log.insert(known.clone());
            let groups = if segment.groups.is_empty() {
                self.rescanned(segment, end, recovered)?
            } else {
                segment.groups.clone()
            };
            for (group, _) in &groups {
                self.replay_group(segment, &known, group, flushed, recovered)?;
            }
            if end.is_some()
                && let Err(error) = self.log.seal(&known)
            {
                tracing::warn!(%error, "a segment stays without its footer");
            }
        }
        let last = self.synced();
        self.snapshots.publish(last);
        self.snapshots.synced(last);
        Ok(())
    }

    /// A sealed segment by its footer: `None`. Otherwise one that is filled from its groups.
    fn register(
        &self,
        found: &Found,
        end: End,
        flushed: Position,
        _recovered: &Recovered,
    ) -> Result<Option<Arc<Segment>>, Error> {
        let (id, path, seed) = (found.header.id, found.path.clone(), found.header.seed());
        if end.position <= flushed && self.log.insert_sealed(id, path.clone(), seed, end.offset, end.position)? {
            return Ok(None);
        }
        Ok(Some(Arc::new(Segment::growing(id, path, seed, found.file.clone(), end.offset, end.position))))
    }

    /// Groups of a segment that lies before the flush point and lost its footer.
    fn rescanned(
        &self,
        found: &Found,
        end: Option<End>,
        recovered: &mut Recovered,
    ) -> Result<Vec<(GroupHeader, u64)>, Error> {
        let Some(end) = end else { return Ok(Vec::new()) };
        let mut again = Found {
            header: found.header.clone(),
            path: found.path.clone(),
            file: found.file.clone(),
            groups: Vec::new(),
        };
        again.scan(Some(end), recovered)?;
        Ok(again.groups)
    }

    fn replay_group(
        self: &Arc<Self>,
        found: &Found,
        segment: &Segment,
        group: &GroupHeader,
        flushed: Position,
        recovered: &mut Recovered,
    ) -> Result<(), Error> {
        let payload = found.payload(group)?;
        let damaged = |_| corrupt(&found.path, group.offset, "the group's frames do not fit");
        let end = group.offset + group.size();
        match group.kind {
            GroupKind::Statement => {}
            GroupKind::Horizons => {
                if group.position > flushed {
                    let raised = self.snapshots.raise(&decode_horizons(&payload).map_err(damaged)?);
                    self.upkeep.lock().note_horizons(raised.iter().map(|(shard, _)| *shard));
                }
            }
            GroupKind::Plans => {
                let redo = decode(&payload, group.plans).map_err(damaged)?;
                let base = group.offset + GROUP_HEADER as u64;
                let position = group.position;
                let records = redo.records.iter().map(|at| {
                    let offset = base + at.offset;
                    (at.shard, Entry { number: at.number, position, offset, length: at.length })
                });
                self.log.add(segment, position, end, records);
                if position > flushed {
                    let oldest = self.snapshots.published();
                    self.index.apply(position, oldest, &mut redo.writes.iter());
                    self.heads.apply(position, oldest, &redo.heads);
                }
            }
        }
        if group.kind != GroupKind::Statement && group.position > flushed {
            recovered.groups_replayed += 1;
            self.snapshots.publish(group.position);
            if !self.volatile && self.index.active_bytes() >= self.settings.memtable_bytes() {
                self.rotate(group.position);
                self.flush()?;
            }
        }
        segment.extend(group.position, end);
        Ok(())
    }
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    let kind = if error.kind() == std::io::ErrorKind::StorageFull { Kind::Full } else { Kind::Unavailable };
    Error::new(kind, format!("{}: cannot be read or written", path.display())).because(error)
}
