//! The ranges that are kept: disjoint, in the order of their keys, the longest unused ones going first.
//!
//! A range is entered before its rows are read and taken out by the first write to one of its keys, so what is read too
//! late is not kept. It is entered only by a reader who sees all that was ever applied: a write that he does not see would
//! have gone by already.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Bound, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use headwater_types::Position;
use parking_lot::RwLock;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Bytes counted for a range beside its rows, and for each row beside key and value.
const RANGE_BYTES: usize = 320;
const ROW_BYTES: usize = 8;
/// Places that remember which ranges were asked for.
const ASKED: usize = 1 << 14;
/// Of what such a place holds: how often the range is to be asked for in vain. It was larger than what is kept, or was not
/// read to its end.
const IN_VAIN: u32 = 15;

/// What a range held.
pub(super) struct Kept {
    since: Position,
    /// Keys and values, row after row.
    data: Bytes,
    /// Where each row's key and value end in it.
    ends: Box<[(u32, u32)]>,
    used: AtomicBool,
}

impl Kept {
    fn new(since: Position, rows: &[(Bytes, Bytes)]) -> Self {
        let mut data = BytesMut::with_capacity(rows.iter().map(|(key, value)| key.len() + value.len()).sum());
        let ends = rows.iter().map(|(key, value)| {
            data.put_slice(key);
            let key_end = data.len() as u32;
            data.put_slice(value);
            (key_end, data.len() as u32)
        });
        let ends = ends.collect();
        Self { since, data: data.freeze(), ends, used: AtomicBool::new(true) }
    }

    fn start(&self, at: usize) -> u32 {
        at.checked_sub(1).map_or(0, |before| self.ends[before].1)
    }

    /// A key and its value.
    pub(super) fn row(&self, at: usize) -> (Bytes, Bytes) {
        let (start, (key_end, end)) = (self.start(at) as usize, self.ends[at]);
        (self.data.slice(start..key_end as usize), self.data.slice(key_end as usize..end as usize))
    }

    /// Which rows lie between two keys.
    pub(super) fn between(&self, start: &[u8], end: &[u8]) -> Range<usize> {
        self.first_from(start)..self.first_from(end)
    }

    fn first_from(&self, bound: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if &self.data[self.start(middle) as usize..self.ends[middle].0 as usize] < bound {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn bytes(&self) -> usize {
        self.data.len() + self.ends.len() * ROW_BYTES
    }
}

struct Slot {
    id: u64,
    end: Bytes,
    /// None while its rows are read.
    kept: Option<Arc<Kept>>,
}

impl Slot {
    fn bytes(&self) -> usize {
        RANGE_BYTES + self.kept.as_ref().map_or(0, |kept| kept.bytes())
    }
}

/// The right to fill a range once.
pub(super) struct Ticket {
    start: Bytes,
    /// None once it is used or void.
    id: Option<u64>,
    asked: (usize, u32),
    since: Position,
}

impl Ticket {
    pub(super) fn is_over(&self) -> bool {
        self.id.is_none()
    }
}

#[derive(Default)]
struct State {
    slots: BTreeMap<Bytes, Slot>,
    /// Filled ranges in the order in which they are looked at when room is needed.
    queue: VecDeque<(Bytes, u64)>,
    bytes: usize,
    last_id: u64,
}

impl State {
    /// The range that holds a key.
    fn around(&self, key: &[u8]) -> Option<(&Bytes, &Slot)> {
        let (start, slot) = self.slots.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back()?;
        (key < &slot.end[..]).then_some((start, slot))
    }

    /// A new range whose rows are yet to be read: its id; none while others are being read in it.
    fn enter(&mut self, start: &Bytes, end: &[u8]) -> Option<u64> {
        if !self.make_way(start, end) {
            return None;
        }
        self.last_id += 1;
        let slot = Slot { id: self.last_id, end: Bytes::copy_from_slice(end), kept: None };
        self.bytes += slot.bytes();
        self.slots.insert(start.clone(), slot);
        Some(self.last_id)
    }

    /// Takes this range out, unless another has come in its place.
    fn leave(&mut self, start: &[u8], id: u64) {
        if self.slots.get(start).is_some_and(|slot| slot.id == id) {
            self.remove(start);
        }
    }

    fn remove(&mut self, start: &[u8]) {
        if let Some(slot) = self.slots.remove(start) {
            self.bytes -= slot.bytes();
        }
    }

    /// Makes room for a range; false while others are being read in it.
    fn make_way(&mut self, start: &[u8], end: &[u8]) -> bool {
        let first = self.around(start).map_or_else(|| Bytes::copy_from_slice(start), |(first, _)| first.clone());
        let over = (Bound::Included(&first[..]), Bound::Excluded(end));
        if self.slots.range::<[u8], _>(over).any(|(_, slot)| slot.kept.is_none()) {
            return false;
        }
        let over: Vec<Bytes> = self.slots.range::<[u8], _>(over).map(|(start, _)| start.clone()).collect();
        over.iter().for_each(|start| self.remove(start));
        true
    }

    /// Lets ranges go that nobody used since they were last looked at, until there is room.
    fn evict(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max {
            let Some((start, id)) = self.queue.pop_front() else { return };
            let Some(kept) = self.slots.get(&start).filter(|slot| slot.id == id).and_then(|slot| slot.kept.as_ref())
            else {
                continue;
            };
            if kept.used.swap(false, Ordering::Relaxed) {
                self.queue.push_back((start, id));
            } else {
                self.remove(&start);
            }
        }
    }

    /// Forgets the places of ranges that are gone, once they are the most.
    fn tidy(&mut self) {
        if self.queue.len() > 2 * self.slots.len() + 64 {
            let slots = &self.slots;
            self.queue.retain(|(start, id)| slots.get(start).is_some_and(|slot| slot.id == *id));
        }
    }
}

pub(super) struct Ranges {
    bytes_max: usize,
    /// The highest position of which writes may be applied by now.
    begun: AtomicU64,
    /// How many ranges there are: writers look no further while there is none.
    count: AtomicUsize,
    state: RwLock<State>,
    /// Which ranges were asked for, by their hash: what is asked for but once is not kept.
    asked: Box<[AtomicU32]>,
    #[cfg(test)]
    found: AtomicU64,
}

impl Ranges {
    pub(super) fn new(bytes_max: usize) -> Self {
        let asked = (0..ASKED).map(|_| AtomicU32::new(0)).collect();
        Self {
            bytes_max,
            begun: AtomicU64::new(0),
            count: AtomicUsize::new(0),
            state: RwLock::default(),
            asked,
            #[cfg(test)]
            found: AtomicU64::new(0),
        }
    }

    /// How many ranges there are, also those that are being read, and their bytes.
    #[cfg(test)]
    pub(super) fn counted(&self) -> (usize, usize) {
        let state = self.state.read();
        assert_eq!(state.bytes, state.slots.values().map(Slot::bytes).sum::<usize>());
        (state.slots.len(), state.bytes)
    }

    /// How often a kept range was found.
    #[cfg(test)]
    pub(super) fn found(&self) -> u64 {
        self.found.load(Ordering::Relaxed)
    }

    /// The largest range that is kept. Unit: bytes of keys and values.
    pub(super) fn bytes_max(&self) -> usize {
        (self.bytes_max / 64).min(256 << 10)
    }

    /// A kept range around this one that holds at a position.
    pub(super) fn find(&self, start: &[u8], end: &[u8], at: Position) -> Option<Arc<Kept>> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let state = self.state.read();
        let (_, slot) = state.around(start)?;
        let kept = slot.kept.as_ref().filter(|kept| end <= &slot.end[..] && kept.since <= at)?;
        kept.used.store(true, Ordering::Relaxed);
        #[cfg(test)]
        self.found.fetch_add(1, Ordering::Relaxed);
        Some(kept.clone())
    }

    /// The right to fill a range with what is read at a position, if it is worth it and the position is the newest.
    pub(super) fn admit(&self, start: &[u8], end: &[u8], at: Position) -> Option<Ticket> {
        if start >= end || self.begun.load(Ordering::Relaxed) > at.0 {
            return None;
        }
        let (place, tag) = asked(start, end);
        let before = self.asked[place].load(Ordering::Relaxed);
        if before != tag {
            let is_again = before & !IN_VAIN == tag;
            self.asked[place].store(if is_again { before - 1 } else { tag }, Ordering::Relaxed);
            return None;
        }
        let start = Bytes::copy_from_slice(start);
        let id = self.change(|state| state.enter(&start, end))?;
        // A writer either comes after this and finds the range, or is found here.
        if self.begun.load(Ordering::SeqCst) > at.0 {
            self.change(|state| state.leave(&start, id));
            return None;
        }
        Some(Ticket { start, id: Some(id), asked: (place, tag), since: at })
    }

    /// Changes which ranges there are, and says how many.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.write();
        let changed = change(&mut state);
        self.count.store(state.slots.len(), Ordering::SeqCst);
        changed
    }

    /// Keeps the rows of a range, in the order of their keys, unless one of them was written since.
    pub(super) fn keep(&self, ticket: &mut Ticket, rows: &[(Bytes, Bytes)]) {
        let Some(id) = ticket.id.take() else { return };
        let kept = Arc::new(Kept::new(ticket.since, rows));
        self.change(|state| {
            let Some(slot) = state.slots.get_mut(&ticket.start).filter(|slot| slot.id == id) else { return };
            state.bytes += kept.bytes();
            slot.kept = Some(kept);
            state.queue.push_back((ticket.start.clone(), id));
            state.evict(self.bytes_max);
            state.tidy();
        });
    }

    /// Gives a range up that is not worth it: it is larger than what is kept, or nobody reads it to its end.
    pub(super) fn refuse(&self, ticket: &mut Ticket) {
        let Some(id) = ticket.id.take() else { return };
        let (place, tag) = ticket.asked;
        self.asked[place].store(tag | IN_VAIN, Ordering::Relaxed);
        self.change(|state| state.leave(&ticket.start, id));
    }

    /// Writes of a position are about to be applied.
    pub(super) fn clearing(&self, at: Position) -> Clearing<'_> {
        self.begun.fetch_max(at.0, Ordering::SeqCst);
        Clearing { ranges: self, is_idle: self.count.load(Ordering::SeqCst) == 0 }
    }
}

/// Takes ranges out whose keys are written.
pub(super) struct Clearing<'a> {
    ranges: &'a Ranges,
    /// There was no range, and whoever enters one from now on reads at this position or later, or is turned away.
    is_idle: bool,
}

impl Clearing<'_> {
    pub(super) fn of(&self, key: &[u8]) {
        if self.is_idle || self.ranges.state.read().around(key).is_none() {
            return;
        }
        self.ranges.change(|state| {
            if let Some(start) = state.around(key).map(|(start, _)| start.clone()) {
                state.remove(&start);
            }
        });
    }
}

/// Where it is remembered that a range was asked for, and as what.
fn asked(start: &[u8], end: &[u8]) -> (usize, u32) {
    let hash = xxh3_64_with_seed(end, xxh3_64(start));
    (hash as usize % ASKED, (hash >> 32) as u32 & !IN_VAIN)
}
