//! An ordered map in memory with a version per snapshot: behind `--in-memory`, and, with its parts written through the
//! file layer, behind the simulator, which so meets rotation, flush and recovery under its own schedules.
//!
//! On disk: `run-<n>` files (what one flush took over, sorted) and `manifest` (which of them count, in order). Both are
//! written whole under another name, synced, renamed.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use headwater_types::Position;
use parking_lot::{Mutex, RwLock};
use xxhash_rust::xxh3::xxh3_64;

use super::Index;
use crate::contract::{Direction, Entries, Write};
use crate::embedded::bytes::{Cut, Reader, put_u32, put_u64};
use crate::embedded::segment::corrupt;
use crate::error::{Error, Kind};
use crate::files::{Files, TEMPORARY, read_exactly, write_whole};

/// Runs that are merged into one.
const RUNS_MAX: usize = 6;
/// Entries of one visit to the map: its lock is never held between two calls.
const PAGE: usize = 64;
/// Bytes counted for each entry beside key and value.
const ENTRY_BYTES: u64 = 48;
const DELETED: u32 = u32::MAX;

type Part = BTreeMap<Bytes, Option<Bytes>>;

pub(crate) struct OrderedMap {
    state: RwLock<State>,
    disk: Option<Mutex<Runs>>,
}

#[derive(Default)]
struct State {
    map: BTreeMap<Bytes, Vec<(Position, Option<Bytes>)>>,
    /// Keys with versions that nobody will see once `Position` is the oldest that anyone sees.
    stale: VecDeque<(Position, Bytes)>,
    active: Part,
    active_bytes: u64,
    sealed: Vec<Arc<Part>>,
}

struct Runs {
    files: Arc<dyn Files>,
    folder: PathBuf,
    numbers: Vec<u64>,
    next: u64,
}

impl OrderedMap {
    /// A map that keeps nothing; of a copy it takes over what the folder says, and the folder is emptied.
    pub(crate) fn volatile(files: Arc<dyn Files>, folder: &Path) -> Result<Self, Error> {
        let map = Self { disk: None, ..Self::open(files.clone(), folder)? };
        let io = |error| unreadable(folder, error);
        for name in files.list(folder).map_err(io)? {
            files.remove(&folder.join(name)).map_err(io)?;
        }
        Ok(map)
    }

    /// Loads what the last flush kept. Errors: corrupt, naming the file.
    pub(crate) fn open(files: Arc<dyn Files>, folder: &Path) -> Result<Self, Error> {
        let io = |error| unreadable(folder, error);
        files.create_dir(folder).map_err(io)?;
        let mut runs = Runs { files, folder: folder.to_owned(), numbers: Vec::new(), next: 1 };
        let mut state = State::default();
        runs.read_manifest()?;
        for number in &runs.numbers {
            for (key, value) in runs.read_run(*number)? {
                match value {
                    Some(value) => state.map.insert(key, vec![(Position(0), Some(value))]),
                    None => state.map.remove(&key),
                };
            }
        }
        runs.clean()?;
        Ok(Self { state: RwLock::new(state), disk: Some(Mutex::new(runs)) })
    }

    fn page(
        &self,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
        at: Position,
    ) -> (Vec<(Bytes, Bytes)>, Option<Bytes>) {
        let state = self.state.read();
        let entries = state.map.range::<[u8], _>(range);
        let mut page = Vec::with_capacity(PAGE);
        let mut last = None;
        let mut take = |(key, versions): (&Bytes, &Vec<(Position, Option<Bytes>)>)| {
            if let Some(value) = visible(versions, at) {
                page.push((key.clone(), value.clone()));
            }
            last = Some(key.clone());
        };
        match direction {
            Direction::Forward => entries.take(PAGE).for_each(&mut take),
            Direction::Backward => entries.rev().take(PAGE).for_each(&mut take),
        }
        (page, last)
    }
}

fn visible(versions: &[(Position, Option<Bytes>)], at: Position) -> Option<&Bytes> {
    versions.iter().rev().find(|(position, _)| *position <= at).and_then(|(_, value)| value.as_ref())
}

impl State {
    fn put(&mut self, at: Position, oldest: Position, write: &Write) {
        let versions = self.map.entry(write.key.clone()).or_default();
        match versions.last_mut() {
            Some((position, value)) if *position == at => *value = write.value.clone(),
            Some(_) | None => versions.push((at, write.value.clone())),
        }
        prune(versions, oldest);
        if versions.len() > 1 || write.value.is_none() {
            self.stale.push_back((at, write.key.clone()));
        }
    }

    /// Looks again at some keys whose old versions may have lost their last reader.
    fn sweep(&mut self, oldest: Position, most: usize) {
        for _ in 0..most {
            match self.stale.front() {
                Some((at, _)) if *at <= oldest => {}
                Some(_) | None => return,
            }
            let Some((_, key)) = self.stale.pop_front() else { return };
            if let Some(versions) = self.map.get_mut(&key) {
                prune(versions, oldest);
                if matches!(versions.as_slice(), [(at, None)] if *at <= oldest) {
                    self.map.remove(&key);
                }
            }
        }
    }
}

fn prune(versions: &mut Vec<(Position, Option<Bytes>)>, oldest: Position) {
    let seen = versions.iter().rposition(|(position, _)| *position <= oldest).unwrap_or(0);
    versions.drain(..seen);
}

impl Index for OrderedMap {
    fn get(&self, key: &[u8], at: Position) -> Result<Option<Bytes>, Error> {
        Ok(self.state.read().map.get(key).and_then(|versions| visible(versions, at)).cloned())
    }

    fn scan(&self, start: &[u8], end: &[u8], direction: Direction, at: Position) -> Entries<'_> {
        let (start, end) = (Bytes::copy_from_slice(start), Bytes::copy_from_slice(end));
        let done = start >= end;
        Box::new(Scan { map: self, start, end, direction, at, last: None, page: Vec::new().into_iter(), done })
    }

    fn apply(&self, at: Position, oldest: Position, writes: &mut dyn Iterator<Item = &Write>) {
        let mut state = self.state.write();
        let mut count = 0;
        for write in writes {
            state.put(at, oldest, write);
            if self.disk.is_some() {
                let value_bytes = write.value.as_ref().map_or(0, Bytes::len);
                state.active_bytes += (write.key.len() + value_bytes) as u64 + ENTRY_BYTES;
                state.active.insert(write.key.clone(), write.value.clone());
            }
            count += 1;
        }
        state.sweep(oldest, 2 * count + 2);
    }

    fn active_bytes(&self) -> u64 {
        self.state.read().active_bytes
    }

    fn rotate(&self) {
        let mut state = self.state.write();
        let part = std::mem::take(&mut state.active);
        state.active_bytes = 0;
        if !part.is_empty() {
            state.sealed.push(Arc::new(part));
        }
    }

    fn flush(&self, _oldest: Position) -> Result<(), Error> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let sealed = self.state.read().sealed.clone();
        let mut merged: BTreeMap<&Bytes, Option<&Bytes>> = BTreeMap::new();
        for part in &sealed {
            merged.extend(part.iter().map(|(key, value)| (key, value.as_ref())));
        }
        if !merged.is_empty() {
            disk.lock().add(merged.into_iter())?;
        }
        self.state.write().sealed.drain(..sealed.len());
        Ok(())
    }

    fn compact(&self, _oldest: Position) -> Result<bool, Error> {
        let Some(disk) = &self.disk else { return Ok(false) };
        disk.lock().merge()
    }

    fn flush_apart(&self) -> bool {
        false
    }
}

struct Scan<'a> {
    map: &'a OrderedMap,
    start: Bytes,
    end: Bytes,
    direction: Direction,
    at: Position,
    last: Option<Bytes>,
    page: std::vec::IntoIter<(Bytes, Bytes)>,
    done: bool,
}

impl Iterator for Scan<'_> {
    type Item = Result<(Bytes, Bytes), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.page.next() {
                return Some(Ok(entry));
            }
            if self.done {
                return None;
            }
            let (mut low, mut high) = (Bound::Included(&self.start[..]), Bound::Excluded(&self.end[..]));
            match (&self.last, self.direction) {
                (Some(last), Direction::Forward) => low = Bound::Excluded(&last[..]),
                (Some(last), Direction::Backward) => high = Bound::Excluded(&last[..]),
                (None, _) => {}
            }
            if crossed(low, high) {
                return None;
            }
            let (page, last) = self.map.page((low, high), self.direction, self.at);
            self.done = last.is_none();
            self.last = last.or(self.last.take());
            self.page = page.into_iter();
        }
    }
}

/// Whether nothing can lie between the bounds; the map takes such a range as a mistake.
fn crossed(low: Bound<&[u8]>, high: Bound<&[u8]>) -> bool {
    match (low, high) {
        (Bound::Included(low), Bound::Excluded(high)) | (Bound::Excluded(low), Bound::Excluded(high)) => low >= high,
        _ => false,
    }
}

impl Runs {
    fn run_path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("run-{number:016x}"))
    }

    fn manifest_path(&self) -> PathBuf {
        self.folder.join("manifest")
    }

    fn add<'a>(&mut self, entries: impl Iterator<Item = (&'a Bytes, Option<&'a Bytes>)>) -> Result<(), Error> {
        let number = self.write_run(entries)?;
        self.numbers.push(number);
        if let Err(error) = self.write_manifest() {
            self.numbers.pop();
            return Err(error);
        }
        Ok(())
    }

    fn write_run<'a>(&mut self, entries: impl Iterator<Item = (&'a Bytes, Option<&'a Bytes>)>) -> Result<u64, Error> {
        let mut bytes = Vec::new();
        for (key, value) in entries {
            put_u32(&mut bytes, key.len() as u32);
            put_u32(&mut bytes, value.map_or(DELETED, |value| value.len() as u32));
            bytes.extend_from_slice(key);
            bytes.extend_from_slice(value.map_or(&[][..], |value| value));
        }
        let checksum = xxh3_64(&bytes).to_le_bytes();
        let number = self.next;
        self.next += 1;
        let path = self.run_path(number);
        write_whole(&*self.files, &path, &[&bytes, &checksum]).map_err(|error| unreadable(&path, error))?;
        Ok(number)
    }

    fn write_manifest(&self) -> Result<(), Error> {
        let mut bytes = Vec::new();
        self.numbers.iter().for_each(|number| put_u64(&mut bytes, *number));
        let checksum = xxh3_64(&bytes).to_le_bytes();
        let path = self.manifest_path();
        write_whole(&*self.files, &path, &[&bytes, &checksum]).map_err(|error| unreadable(&path, error))?;
        Ok(())
    }

    /// All bytes of a file without the checksum at its end; `None` when there is no such file.
    fn read_checked(&self, path: &Path) -> Result<Option<Bytes>, Error> {
        let io = |error| unreadable(path, error);
        let file = match self.files.open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        let length = file.len().map_err(io)? as usize;
        let mut bytes = read_exactly(&*file, 0, length).map_err(io)?;
        let checksum = bytes.split_off(length.saturating_sub(8));
        if xxh3_64(&bytes).to_le_bytes()[..] != checksum[..] {
            return Err(corrupt(path, 0, "its checksum does not match"));
        }
        Ok(Some(bytes.into()))
    }

    fn read_manifest(&mut self) -> Result<(), Error> {
        let path = self.manifest_path();
        let Some(bytes) = self.read_checked(&path)? else { return Ok(()) };
        let mut reader = Reader::new(&bytes);
        while !reader.is_done() {
            let number = reader.u64().map_err(|Cut| corrupt(&path, reader.position() as u64, "it is cut off"))?;
            self.numbers.push(number);
        }
        Ok(())
    }

    fn read_run(&self, number: u64) -> Result<Part, Error> {
        let path = self.run_path(number);
        let missing = || corrupt(&path, 0, "the manifest names this run and it is missing");
        let bytes = self.read_checked(&path)?.ok_or_else(missing)?;
        let mut reader = Reader::new(&bytes);
        let mut part = Part::new();
        let mut next = || -> Result<Option<(Bytes, Option<Bytes>)>, Cut> {
            if reader.is_done() {
                return Ok(None);
            }
            let (key, value) = (reader.u32()?, reader.u32()?);
            let key = bytes.slice_ref(reader.take(key as usize)?);
            let value = match value {
                DELETED => None,
                length => Some(bytes.slice_ref(reader.take(length as usize)?)),
            };
            Ok(Some((key, value)))
        };
        while let Some((key, value)) = next().map_err(|Cut| corrupt(&path, 0, "an entry is cut off"))? {
            part.insert(key, value);
        }
        Ok(part)
    }

    /// Throws away what no manifest names.
    fn clean(&mut self) -> Result<(), Error> {
        let io = |error| unreadable(&self.folder, error);
        for name in self.files.list(&self.folder).map_err(io)? {
            let number = name.strip_prefix("run-").and_then(|digits| u64::from_str_radix(digits, 16).ok());
            let known = name == "manifest" || number.is_some_and(|number| self.numbers.contains(&number));
            match number {
                Some(number) => self.next = self.next.max(number + 1),
                None if known || name.ends_with(TEMPORARY) => {}
                None => return Err(corrupt(&self.folder.join(&name), 0, "this file is none of the index")),
            }
            if !known {
                self.files.remove(&self.folder.join(&name)).map_err(io)?;
            }
        }
        Ok(())
    }

    fn merge(&mut self) -> Result<bool, Error> {
        if self.numbers.len() < RUNS_MAX {
            return Ok(false);
        }
        let mut merged = Part::new();
        for number in &self.numbers {
            merged.extend(self.read_run(*number)?);
        }
        merged.retain(|_, value| value.is_some());
        let number = self.write_run(merged.iter().map(|(key, value)| (key, value.as_ref())))?;
        let old = std::mem::replace(&mut self.numbers, vec![number]);
        if let Err(error) = self.write_manifest() {
            self.numbers = old;
            return Err(error);
        }
        for number in old {
            let path = self.run_path(number);
            self.files.remove(&path).map_err(|error| unreadable(&path, error))?;
        }
        Ok(true)
    }
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    let kind = if error.kind() == io::ErrorKind::StorageFull { Kind::Full } else { Kind::Unavailable };
    Error::new(kind, format!("{}: the index cannot be read or written", path.display())).because(error)
}
