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

mod scan;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};

use headwater_types::{Clock, Millis, Position, Runtime};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::archive::Archive;
use super::engine::{Applying, Counters, Engine};
use super::frame::{decode, decode_horizons};
use super::front::Front;
use super::heads::Heads;
use super::index::{Cached, Index, Lsm, OrderedMap};
use super::log_index::{Entry, LogIndex, Sealed, Segment};
use super::rows;
use super::segment::{
    BLOCK, BLOCK_IN_MEMORY, End, GROUP_HEADER, GroupHeader, GroupKind, SegmentHeader, SegmentId, corrupt,
};
use super::snapshots::Snapshots;
use super::space::Space;
use super::store::Store;
use super::upkeep::Upkeep;
use super::writer::Writer;
use super::{IndexKind, Planted, Recovered, Settings};
use crate::error::{Error, Kind};
use crate::files::{Files, Lock, write_whole};
use scan::{Found, copy, remove_replaced, scan};
pub(super) use scan::{ends, find_segments};

/// The reserve, where none is set.
const RESERVE_BYTES: u64 = 2 * 1024 * 1024 * 1024;

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
    let (archive, runs) = Archive::open(&*files, &directory, &store)?;
    let mut found = find_segments(&*files, &folder, &store, &archive.manifest)?;
    let index = open_index(&settings)?;
    let at_flush = rows::read(&*index)?;
    let flushed = at_flush.flush_point.unwrap_or_default();
    check_beginning(&found, flushed, &folder, at_flush.flush_point.is_some())?;
    let mut recovered = Recovered {
        segments: found.len() as u64,
        archive_runs: runs.len() as u64,
        created: !store.begun,
        ..Recovered::default()
    };
    let end = scan(&mut found, &archive.manifest, flushed, &mut recovered)?;

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
        block: if files.volatile() { BLOCK_IN_MEMORY } else { BLOCK },
        generation: newest.map_or(1, |found| found.header.generation + 1),
        mark: Millis(now.0 + settings.time_reserve.as_millis() as i64),
        synced: recovered.position,
        previous: end,
    };
    let copies = copy(&found, &header)?;
    recovered.groups_copied = copies.groups.len() as u64;
    remove_replaced(&*files, &folder, &archive.manifest)?;
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
    let engine = build(settings, runtime, clock.clone(), lock, &found, copies.end, index, mark, store, archive)?;
    engine.load(&at_flush, flushed, runs.first());
    engine.replay(&found, runs, flushed, &mut recovered)?;
    engine.raise_archived();
    *engine.front.lock() = Front::new(&header, copies.end, engine.heads.newest(), &engine.settings);
    recovered.milliseconds = (clock.monotonic() - start).as_millis() as u64;
    Ok((engine, recovered))
}

pub(super) fn make_folder(files: &dyn Files, folder: &Path) -> Result<(), Error> {
    files.create_dir(folder).map_err(|error| unreadable(folder, error))?;
    let above = folder.parent().unwrap_or(Path::new("."));
    files.sync_dir(above).map_err(|error| unreadable(above, error))
}

fn open_index(settings: &Settings) -> Result<Arc<dyn Index>, Error> {
    let folder = settings.directory.join("index");
    if settings.files.volatile() {
        return Ok(cached(settings, OrderedMap::volatile(settings.files.clone(), &folder)?));
    }
    let index: Arc<dyn Index> = match settings.index {
        IndexKind::OrderedMap => cached(settings, OrderedMap::open(settings.files.clone(), &folder)?),
        IndexKind::Lsm => {
            let table_bytes = settings.memtable_bytes().clamp(256 * 1024, 64 * 1024 * 1024);
            let blocks_bytes = settings.memory_bytes / 8 * 3;
            cached(settings, Lsm::open(&folder, blocks_bytes, table_bytes, settings.separate_values_from)?)
        }
    };
    // A process that was killed may have left names that are seen and not durable; segments are removed by what they say.
    for names in [&folder, &settings.directory] {
        settings.files.sync_dir(names).map_err(|error| unreadable(names, error))?;
    }
    Ok(index)
}

fn cached<I: Index>(settings: &Settings, index: I) -> Arc<dyn Index> {
    let index = Cached::new(index, settings.memory_bytes / 8);
    match settings.planted {
        Some(Planted::RangeKept) => Arc::new(index.forgetting_no_item()),
        _ => Arc::new(index),
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
    for (before, after) in found.iter().zip(found.iter().skip(1)) {
        let (archived, upto) = (after.header.previous.position, flushed.0);
        if before.header.id.next() != after.header.id && archived > flushed {
            let what = format!(
                "the log is archived up to position {}, but the index holds positions up to {upto} only",
                archived.0
            );
            return Err(corrupt(&after.path, 0, &what));
        }
    }
    if first.header.previous.position > flushed {
        let (from, upto) = (first.header.previous.position.0 + 1, flushed.0);
        let what = format!("the log begins at position {from}, but the index holds positions up to {upto} only");
        return Err(corrupt(&first.path, 0, &what));
    }
    Ok(())
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
    store: Store,
    archive: Archive,
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
        poisoned: false,
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
        archive: Mutex::new(archive),
        space: Space::new(reserve),
        synced: AtomicU64::new(end.position.0),
        marked: AtomicI64::new(header.mark.0),
        failed: AtomicBool::new(false),
        noted: AtomicU64::new(header.id.0),
        sync_due: AtomicBool::new(false),
        statement_due: AtomicBool::new(false),
        published: watch::Sender::new(end.position),
        log_shown: watch::Sender::new(end.position),
        busy: watch::Sender::new(0),
        progress: watch::Sender::new(0),
        counters: Counters::default(),
        lock: Mutex::new(Some(lock)),
        mark_at_open: mark,
        store,
        copying: tokio::sync::Mutex::new(()),
        files,
        settings,
    }))
}

impl Engine {
    /// Takes over what the index says of the flush point.
    fn load(&self, at_flush: &rows::Found, flushed: Position, run: Option<&Sealed>) {
        self.heads.load(flushed, at_flush.heads.iter().copied());
        self.snapshots.raise(&at_flush.horizons);
        self.snapshots.publish(flushed);
        self.upkeep.lock().flushed = flushed;
        if let Some(run) = run {
            self.snapshots.show_from(run.id);
        }
    }

    /// Takes over the horizons that the runs were made with: what lies below them is partly gone.
    fn raise_archived(&self) {
        let mut horizons = self.archive.lock().manifest.horizons.clone();
        horizons.retain(|(shard, _)| self.log.holds(*shard));
        let raised = self.snapshots.raise(&horizons);
        self.upkeep.lock().note_horizons(raised.iter().map(|(shard, _)| *shard));
    }

    /// Registers every segment and applies every group beyond the flush point.
    fn replay(
        self: &Arc<Self>,
        found: &[Found],
        runs: Vec<Sealed>,
        flushed: Position,
        recovered: &mut Recovered,
    ) -> Result<(), Error> {
        let ends = ends(found, &self.archive.lock().manifest);
        let writer = self.writer.lock().segment.clone();
        let mut runs = runs.into_iter().peekable();
        for (segment, end) in found.iter().zip(ends.into_iter().map(Some).chain([None])) {
            while let Some(run) = runs.next_if(|run| run.id < segment.header.id) {
                let (path, end) = (run.path.clone(), run.end);
                if !self.log.insert_sealed(run)? {
                    return Err(corrupt(&path, end, "the archive run's footer is damaged"));
                }
            }
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
        if end.position <= flushed {
            let (path, through, run) = (path.clone(), id, None);
            let sealed = Sealed { id, through, path, run, seed, end: end.offset, last: end.position };
            if self.log.insert_sealed(sealed)? {
                return Ok(None);
            }
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
        let end = group.offset + group.size(found.header.block);
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
