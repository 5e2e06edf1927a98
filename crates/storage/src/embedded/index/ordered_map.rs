//! An ordered map in memory with a version per snapshot: behind `--in-memory`, and, with its parts written through the
//! file layer, behind the simulator, which so meets rotation, flush and recovery under its own schedules.
//!
//! On disk: `run-<n>` files (what one flush took over, sorted) and `manifest` (which of them count, in order). Both are
//! written whole under another name, synced, renamed.

mod runs;
mod versions;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use headwater_types::Position;
use parking_lot::{Mutex, RwLock};

use super::Index;
use crate::contract::{Direction, Entries, Write};
use crate::error::Error;
use crate::files::Files;
use runs::{Runs, unreadable};
use versions::Versions;

/// Entries of one visit to the map: its lock is never held between two calls.
const PAGE: usize = 64;
/// Bytes counted for each entry beside key and value.
const ENTRY_BYTES: u64 = 48;

type Part = BTreeMap<Bytes, Option<Bytes>>;

pub(crate) struct OrderedMap {
    state: RwLock<State>,
    disk: Option<Mutex<Runs>>,
}

#[derive(Default)]
struct State {
    map: Versions,
    active: Part,
    active_bytes: u64,
    sealed: Vec<Arc<Part>>,
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
        let mut state = State::default();
        let mut load = |key, value| state.map.put(Position(0), Position(0), &Write { key, value, stamp: None });
        let runs = Runs::open(files, folder, &mut load)?;
        state.map.sweep(Position(0), usize::MAX);
        Ok(Self { state: RwLock::new(state), disk: Some(Mutex::new(runs)) })
    }
}

impl Index for OrderedMap {
    fn get(&self, key: &[u8], at: Position) -> Result<Option<Bytes>, Error> {
        Ok(self.state.read().map.get(key, at).cloned())
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
            state.map.put(at, oldest, write);
            if self.disk.is_some() {
                let value_bytes = write.value.as_ref().map_or(0, Bytes::len);
                state.active_bytes += (write.key.len() + value_bytes) as u64 + ENTRY_BYTES;
                state.active.insert(write.key.clone(), write.value.clone());
            }
            count += 1;
        }
        state.map.sweep(oldest, 2 * count + 2);
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
            let (page, last) = self.map.state.read().map.page((low, high), self.direction, self.at, PAGE);
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
