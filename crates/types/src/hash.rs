//! Placement hashes, and hash maps whose order does not change from run to run.
#![allow(clippy::disallowed_types, reason = "the one place where the standard maps get their fixed hasher")]

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use md5::{Digest, Md5};
use xxhash_rust::xxh3::xxh3_64;

/// A hash map with a fixed hasher: the same insertions give the same iteration order in every run.
pub type FixedMap<K, V> = HashMap<K, V, BuildHasherDefault<FixedHasher>>;

/// A hash set with a fixed hasher.
pub type FixedSet<K> = HashSet<K, BuildHasherDefault<FixedHasher>>;

/// Where a key lies on the circle of 2^128 places: MD5, as Kinesis places partition keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HashKey(pub u128);

impl HashKey {
    /// The place of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(u128::from_be_bytes(Md5::digest(bytes).into()))
    }
}

/// A hasher without a random seed: xxh3 for bytes, a multiplicative step for integers.
#[derive(Default)]
pub struct FixedHasher(u64);

/// An odd constant with well-mixed bits (2^64 divided by the golden ratio).
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for FixedHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.write_u64(xxh3_64(bytes));
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(MIX);
    }

    fn write_u128(&mut self, value: u128) {
        self.write_u64(value as u64);
        self.write_u64((value >> 64) as u64);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_md5() {
        assert_eq!(HashKey::of(b"").0, 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e);
    }
}
