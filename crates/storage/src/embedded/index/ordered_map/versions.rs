//! Keys with their versions in memory: found by their hash, walked in their order.
//!
//! ```text
//! by hash  ──┐
//! in order ──┼─► slot: key, versions (oldest first)
//! stale    ──┘
//! ```
//! The order alone would do, but a look at one key through it waits for memory at every step, and a put of a key that is
//! there looks several times.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use bytes::Bytes;
use hashbrown::HashTable;
use headwater_types::Position;
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use crate::contract::{Direction, Write};

/// Tables by hash, a power of two: one that grows moves its own share of the keys only, while all others wait.
const TABLES: usize = 64;
/// Slots that are made at once; none is ever moved.
const CHUNK: usize = 1024;

/// A slot's number.
type At = u32;

pub(super) struct Versions {
    slots: Slots,
    by_hash: Box<[HashTable<At>]>,
    in_order: BTreeMap<Bytes, At>,
    /// Slots with versions that nobody will see once `Position` is the oldest that anyone sees. One may have been given to
    /// another key since: then it is looked at in vain.
    stale: VecDeque<(Position, At)>,
}

#[derive(Default)]
struct Slot {
    /// Empty while the slot is free.
    key: Bytes,
    /// Oldest first; most keys have one, and a second one while the last group is looked at.
    versions: SmallVec<[Version; 2]>,
}

/// From when on, and the value; none where the key is deleted.
type Version = (Position, Option<Bytes>);

impl Default for Versions {
    fn default() -> Self {
        let by_hash = (0..TABLES).map(|_| HashTable::new()).collect();
        Self { slots: Slots::default(), by_hash, in_order: BTreeMap::new(), stale: VecDeque::new() }
    }
}

impl Versions {
    /// A key's value as of a position.
    pub fn get(&self, key: &[u8], at: Position) -> Option<&Bytes> {
        visible(&self.slots.get(self.find(xxh3_64(key), key)?).versions, at)
    }

    /// Takes a write; no version is older than what somebody at `oldest` may see.
    pub fn put(&mut self, at: Position, oldest: Position, write: &Write) {
        let hash = xxh3_64(&write.key);
        let slot_at = self.find(hash, &write.key).unwrap_or_else(|| self.add(hash, write.key.clone()));
        let versions = &mut self.slots.get_mut(slot_at).versions;
        match versions.last_mut() {
            Some((position, value)) if *position == at => *value = write.value.clone(),
            Some(_) | None => versions.push((at, write.value.clone())),
        }
        prune(versions, oldest);
        if versions.len() > 1 || write.value.is_none() {
            self.stale.push_back((at, slot_at));
        }
    }

    /// Looks again at some keys whose old versions may have lost their last reader.
    pub fn sweep(&mut self, oldest: Position, most: usize) {
        for _ in 0..most {
            match self.stale.front() {
                Some((at, _)) if *at <= oldest => {}
                Some(_) | None => return,
            }
            let Some((_, slot_at)) = self.stale.pop_front() else { return };
            let slot = self.slots.get_mut(slot_at);
            prune(&mut slot.versions, oldest);
            if matches!(slot.versions.as_slice(), [(at, None)] if *at <= oldest) {
                self.remove(slot_at);
            }
        }
    }

    /// Some entries of a range as of a position, and the last key that was looked at.
    pub fn page(
        &self,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
        at: Position,
        most: usize,
    ) -> (Vec<(Bytes, Bytes)>, Option<Bytes>) {
        let entries = self.in_order.range::<[u8], _>(range);
        let mut page = Vec::with_capacity(most);
        let mut last = None;
        let mut take = |(key, slot_at): (&Bytes, &At)| {
            if let Some(value) = visible(&self.slots.get(*slot_at).versions, at) {
                page.push((key.clone(), value.clone()));
            }
            last = Some(key.clone());
        };
        match direction {
            Direction::Forward => entries.take(most).for_each(&mut take),
            Direction::Backward => entries.rev().take(most).for_each(&mut take),
        }
        (page, last)
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<At> {
        self.by_hash[table_of(hash)].find(hash, |at| self.slots.get(*at).key == key).copied()
    }

    fn add(&mut self, hash: u64, key: Bytes) -> At {
        let slot_at = self.slots.take(key.clone());
        let slots = &self.slots;
        self.by_hash[table_of(hash)].insert_unique(hash, slot_at, |at| xxh3_64(&slots.get(*at).key));
        self.in_order.insert(key, slot_at);
        slot_at
    }

    fn remove(&mut self, slot_at: At) {
        let key = self.slots.free(slot_at);
        let hash = xxh3_64(&key);
        if let Ok(found) = self.by_hash[table_of(hash)].find_entry(hash, |at| *at == slot_at) {
            found.remove();
        }
        self.in_order.remove(&key);
    }
}

fn table_of(hash: u64) -> usize {
    // The table itself goes by the other bits.
    (hash >> 32) as usize % TABLES
}

fn visible(versions: &[Version], at: Position) -> Option<&Bytes> {
    versions.iter().rev().find(|(position, _)| *position <= at).and_then(|(_, value)| value.as_ref())
}

fn prune(versions: &mut SmallVec<[Version; 2]>, oldest: Position) {
    let seen = versions.iter().rposition(|(position, _)| *position <= oldest).unwrap_or(0);
    versions.drain(..seen);
}

/// Slots in chunks; numbers of free ones are given again.
#[derive(Default)]
struct Slots {
    chunks: Vec<Vec<Slot>>,
    free: Vec<At>,
}

impl Slots {
    fn get(&self, at: At) -> &Slot {
        &self.chunks[at as usize / CHUNK][at as usize % CHUNK]
    }

    fn get_mut(&mut self, at: At) -> &mut Slot {
        &mut self.chunks[at as usize / CHUNK][at as usize % CHUNK]
    }

    /// A slot for a new key.
    fn take(&mut self, key: Bytes) -> At {
        if let Some(at) = self.free.pop() {
            self.get_mut(at).key = key;
            return at;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let whole = (self.chunks.len() - 1) * CHUNK;
        let chunk = self.chunks.last_mut().expect("one was made");
        chunk.push(Slot { key, versions: SmallVec::new() });
        At::try_from(whole + chunk.len() - 1).expect("four thousand million keys do not fit into memory")
    }

    /// Gives a slot back; the key it had.
    fn free(&mut self, at: At) -> Bytes {
        self.free.push(at);
        std::mem::take(self.get_mut(at)).key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(key: u32, value: Option<u32>) -> Write {
        let bytes = |number: u32| Bytes::copy_from_slice(&number.to_be_bytes());
        Write { key: bytes(key), value: value.map(bytes), stamp: None }
    }

    /// Keys come, change and go while somebody still looks at an older state; a plain map says what is there.
    #[test]
    fn keys_are_found_both_ways_and_slots_are_given_again() {
        let mut versions = Versions::default();
        let mut plain: BTreeMap<Bytes, Bytes> = BTreeMap::new();
        let mut random = 7u32;
        let mut looked = 0;
        for at in 1..60_000u32 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let one = write((random >> 8) % 5_000, (random >> 28 != 0).then_some(at));
            let before = plain.get(&one.key).cloned();
            let (now, then) = (Position(u64::from(at)), Position(u64::from(at) - 1));
            versions.put(now, then, &one);
            versions.sweep(then, 4);
            assert_eq!(versions.get(&one.key, then), before.as_ref());
            match &one.value {
                Some(value) => plain.insert(one.key.clone(), value.clone()),
                None => plain.remove(&one.key),
            };
            assert_eq!(versions.get(&one.key, now), one.value.as_ref());
            looked += 1;
        }
        let end = Position(60_000);
        versions.sweep(end, usize::MAX);
        let (page, _) = versions.page((Bound::Unbounded, Bound::Unbounded), Direction::Forward, end, 10_000);
        assert!(page.into_iter().eq(plain.clone()));
        assert!(plain.iter().all(|(key, value)| versions.get(key, end) == Some(value)));
        let hashed: usize = versions.by_hash.iter().map(HashTable::len).sum();
        assert_eq!((hashed, versions.in_order.len(), versions.stale.len()), (plain.len(), plain.len(), 0));
        let slots: usize = versions.slots.chunks.iter().map(Vec::len).sum();
        assert!(slots <= 5_002 && slots - versions.slots.free.len() == plain.len(), "{slots} slots");
        println!("{looked} writes, {} keys left, {slots} slots", plain.len());
        assert!(looked > 0 && !plain.is_empty());
    }
}
