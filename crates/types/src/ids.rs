//! Newtypes of what is numbered: tables, streams, shards, records, commits.

use std::fmt;
use std::sync::Arc;

use crate::time::Millis;

/// A table's identity inside a cell; never reused, so rows of a dropped table can be told from those of its successor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TableId(pub u64);

/// A stream's identity inside a cell (a table's stream, later a Kinesis stream); never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamUid(pub u64);

/// A shard's identity inside a cell; never reused. The ids that clients see are rendered from it by `log`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardUid(pub u64);

/// How far a cell's one commit order has come: the number of a committed group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Position(pub u64);

/// A record's number: 48 bits of store-time milliseconds and a 16-bit counter.
///
/// Order: strictly increasing within a shard and from every parent to its children; nothing is promised across shards.
/// Given at commit, so a number that anyone has seen belongs to a durable record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SequenceNumber(pub u64);

impl SequenceNumber {
    /// Smaller than every number that is ever given.
    pub const ZERO: Self = Self(0);
    /// Beyond every number: as a horizon, all is trimmed.
    pub const ALL: Self = Self(u64::MAX);

    /// The smallest number of a millisecond.
    pub fn floor(at: Millis) -> Self {
        Self((at.0.max(0) as u64) << 16)
    }

    /// The number that follows `self` at `now`; a full counter runs over into the milliseconds.
    pub fn next(self, now: Millis) -> Self {
        Self((self.0 + 1).max(Self::floor(now).0))
    }

    /// Store time at which the number was given.
    pub fn at(self) -> Millis {
        Millis((self.0 >> 16) as i64)
    }
}

/// Who owns a resource: resources of two accounts or Regions never meet.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Scope {
    /// Twelve digits.
    pub account: Arc<str>,
    /// `us-east-1`, or whatever the signature's scope says.
    pub region: Arc<str>,
}

impl Scope {
    /// A scope from its two names.
    pub fn new(account: &str, region: &str) -> Self {
        Self { account: account.into(), region: region.into() }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.region, self.account)
    }
}

/// These bits as a UUID of version 4.
pub fn uuid_text(bits: u128) -> String {
    let bits = (bits & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_have_their_version_and_variant() {
        assert_eq!(uuid_text(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid_text(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn numbers_rise_within_and_across_milliseconds() {
        let first = SequenceNumber::ZERO.next(Millis(1_000));
        assert_eq!(first, SequenceNumber(1_000 << 16));
        assert_eq!(first.next(Millis(1_000)).0, first.0 + 1);
        assert_eq!(first.next(Millis(900)).0, first.0 + 1, "a clock that falls back changes nothing");
        let full = SequenceNumber((1_000 << 16) | 0xffff);
        assert_eq!(full.next(Millis(1_000)).at(), Millis(1_001), "a full counter raises the milliseconds");
    }
}
