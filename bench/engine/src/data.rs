//! What is written: items of random bytes, their index entries and records, all made anew from (item, version), so that
//! whatever is read can be compared.

use bytes::Bytes;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

/// Of the one table.
const TABLE: u64 = 1;
/// As the product's keys begin: see `headwater_storage::keyspace::prefix`.
const ITEM: u8 = 0x10;
const INDEX: u8 = 0x11;
/// Keys and names beside the images in a record, and the attributes' names in a KEYS_ONLY entry.
const RECORD_OVERHEAD: usize = 40;
const ENTRY_VALUE: usize = 40;

/// How large everything is.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Items in the end.
    pub items: u64,
    /// Bytes of an item's value.
    pub item_bytes: usize,
    /// KEYS_ONLY indexes; an overwrite moves the entry in each.
    pub indexes: u32,
    /// Shards, each with a head of its own.
    pub shards: u64,
    /// Records of the newest so many changes are kept, older ones trimmed.
    pub keep_records: u64,
}

/// One command: an item goes from one version to the next.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// Which item.
    pub item: u64,
    /// Its version from now on, from one on; zero: absent.
    pub version: u16,
}

/// Changes committed together.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// In order; no item twice.
    pub changes: Vec<Change>,
    /// Number of the first change, counted over everything.
    pub first: u64,
    /// Records that are no longer wanted: item and number.
    pub trimmed: Vec<(u64, u64)>,
}

/// A change of the key space.
pub type Row = (Bytes, Option<Bytes>);

/// The hash that places an item.
pub fn placement(item: u64) -> u128 {
    xxh3_128(&item.to_be_bytes())
}

impl Shape {
    /// The shard that an item's changes go to.
    pub fn shard(&self, item: u64) -> u64 {
        (((placement(item) >> 64) * u128::from(self.shards)) >> 64) as u64
    }

    /// Everything a change writes but its record.
    pub fn rows(&self, change: Change) -> Vec<Row> {
        let Change { item, version } = change;
        let mut rows = Vec::with_capacity(1 + 2 * self.indexes as usize);
        rows.push((item_key(item), Some(self.value(item, version))));
        for index in 0..self.indexes {
            if version > 1 {
                rows.push((entry_key(index, item, version - 1), None));
            }
            rows.push((entry_key(index, item, version), Some(noise(item, version, ENTRY_VALUE))));
        }
        rows
    }

    /// An item's bytes.
    pub fn value(&self, item: u64, version: u16) -> Bytes {
        noise(item, version, self.item_bytes)
    }

    /// What goes to the log: the new image, and the old one if there is one.
    pub fn record(&self, change: Change) -> Bytes {
        let images = if change.version > 1 { 2 } else { 1 };
        noise(change.item, change.version, RECORD_OVERHEAD + images * self.item_bytes)
    }

    /// Bytes that a change asks to be kept: keys, values and the record.
    pub fn logical_bytes(&self, change: Change) -> u64 {
        let length = |(key, value): &Row| key.len() + value.as_ref().map_or(0, Bytes::len);
        let rows: usize = self.rows(change).iter().map(length).sum();
        (rows + self.record(change).len()) as u64
    }
}

/// `ITEM | table | placement hash | key`.
pub fn item_key(item: u64) -> Bytes {
    let mut key = Vec::with_capacity(36);
    key.push(ITEM);
    key.extend(TABLE.to_be_bytes());
    push_key(&mut key, item);
    key.into()
}

/// `INDEX | table | index | hash of the indexed value | the indexed value | placement hash | key`.
pub fn entry_key(index: u32, item: u64, version: u16) -> Bytes {
    let mut key = Vec::with_capacity(80);
    key.push(INDEX);
    key.extend(TABLE.to_be_bytes());
    key.extend(index.to_be_bytes());
    let indexed = xxh3_64_with_seed(&item.to_be_bytes(), u64::from(version) << 32 | u64::from(index));
    key.extend(xxh3_128(&indexed.to_be_bytes()).to_be_bytes());
    key.extend(indexed.to_be_bytes());
    push_key(&mut key, item);
    key.into()
}

/// `shard | number`, for engines whose log is part of their key space.
pub fn record_key(shard: u64, number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&shard.to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

fn push_key(into: &mut Vec<u8>, item: u64) {
    into.extend(placement(item).to_be_bytes());
    into.extend(item.to_be_bytes());
    into.extend([0, 0]);
}

/// Bytes that do not compress, the same each time.
fn noise(item: u64, version: u16, length: usize) -> Bytes {
    let mut state = item ^ u64::from(version).rotate_left(48);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend(mixed(&mut state).to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

/// The next of a sequence of numbers that look random (splitmix64).
pub fn mixed(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overwrite_takes_away_what_the_version_before_has_entered() {
        let shape = Shape { items: 10, item_bytes: 200, indexes: 5, shards: 4_096, keep_records: 10 };
        let first = shape.rows(Change { item: 7, version: 1 });
        let second = shape.rows(Change { item: 7, version: 2 });
        assert_eq!((first.len(), second.len()), (6, 11));
        let entered =
            |rows: &[Row]| rows.iter().skip(1).filter(|row| row.1.is_some()).map(|row| row.0.clone()).collect();
        let removed: Vec<Bytes> = second.iter().filter(|row| row.1.is_none()).map(|row| row.0.clone()).collect();
        let (before, after): (Vec<Bytes>, Vec<Bytes>) = (entered(&first), entered(&second));
        assert_eq!(before, removed);
        assert!(after.iter().all(|key| !before.contains(key)));
        assert!((0..1_000).all(|item| shape.shard(item) < shape.shards));
    }
}
