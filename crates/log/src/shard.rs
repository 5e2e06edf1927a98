//! A shard: its stored row and what readers are told of it.

use bytes::{BufMut, Bytes};
use headwater_catalog::BadRow;
use headwater_storage::keyspace::prefix;
use headwater_types::{Millis, SequenceNumber, ShardUid, StreamUid};

use crate::error::Error;

/// A shard as a reader sees it, at one snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShardInfo {
    /// Identity inside the cell. Order: a shard made later has a greater one.
    pub uid: ShardUid,
    /// Identity for clients: `shardId-{20 digits of ms}-{8 hex digits}`; lexical order is the order of creation.
    pub id: String,
    /// In a data stream: its place among all shards that the stream ever had, by which clients know it.
    pub index: u32,
    /// What it continues: none, one (split, roll-over) or two (merge).
    pub parents: Vec<ShardUid>,
    /// Their ids; a parent that is gone keeps its id here.
    pub parent_ids: Vec<String>,
    /// In a data stream: their places.
    pub parent_indexes: Vec<u32>,
    /// First and last hash key, both included.
    pub hash_range: (u128, u128),
    /// Not above its first record's number, and above every parent's `ending`.
    pub starting: SequenceNumber,
    /// Not below its last record's number; absent while it is open.
    pub ending: Option<SequenceNumber>,
    /// Store time in the id; rises strictly within a stream.
    pub created: Millis,
    /// Store time of closing.
    pub closed: Option<Millis>,
}

/// The name part of a shard, which its children keep when it is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ShardName {
    pub uid: ShardUid,
    pub created: Millis,
    /// Drawn at random; in a data stream the shard's place among all that the stream ever had.
    pub suffix: u32,
}

/// A shard's stored row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ShardRow {
    pub name: ShardName,
    /// The number taken when it was opened; its own numbers lie above.
    pub opened: SequenceNumber,
    /// The number taken when it was closed.
    pub ending: Option<SequenceNumber>,
    pub closed: Option<Millis>,
    /// Records below are trimmed. Order: never falls.
    pub horizon: SequenceNumber,
    pub hash_range: (u128, u128),
    /// The partition whose head numbers it.
    pub partition: u64,
    /// The shard of another lineage of its table that it continues, which its readers are not told of.
    pub before: Option<ShardUid>,
    pub parents: Vec<ShardName>,
}

const FORMAT: u8 = 0;
/// As `FORMAT`, with the shard of another lineage behind the partition.
const FORMAT_BEFORE: u8 = 1;
/// Where the opening number is stamped.
pub(crate) const OPENED_AT: u32 = 1;
/// Where the closing number is stamped.
pub(crate) const ENDING_AT: u32 = 9;
const SHARD: u8 = b'S';

impl ShardRow {
    pub fn encode(&self) -> Bytes {
        let mut row = Vec::with_capacity(98 + 20 * self.parents.len());
        row.put_u8(if self.before.is_some() { FORMAT_BEFORE } else { FORMAT });
        row.put_u64(self.opened.0);
        row.put_u64(self.ending.map_or(0, |number| number.0));
        row.put_i64(self.closed.map_or(0, |at| at.0));
        row.put_u64(self.horizon.0);
        row.put_u128(self.hash_range.0);
        row.put_u128(self.hash_range.1);
        row.put_u64(self.partition);
        if let Some(before) = self.before {
            row.put_u64(before.0);
        }
        for name in std::iter::once(&self.name).chain(&self.parents) {
            row.put_u64(name.uid.0);
            row.put_i64(name.created.0);
            row.put_u32(name.suffix);
        }
        row.into()
    }

    pub fn decode(key: &[u8], mut row: &[u8]) -> Result<Self, Error> {
        Self::parse(&mut row).ok_or_else(|| BadRow::new(key, "not a shard of this format").into())
    }

    fn parse(row: &mut &[u8]) -> Option<Self> {
        let [format] = take::<1>(row)?;
        if format != FORMAT && format != FORMAT_BEFORE {
            return None;
        }
        let opened = SequenceNumber(number(row)?);
        let ending = Some(number(row)?).filter(|n| *n != 0).map(SequenceNumber);
        let closed = Some(number(row)? as i64).filter(|at| *at != 0).map(Millis);
        let horizon = SequenceNumber(number(row)?);
        let hash_range = (u128::from_be_bytes(take(row)?), u128::from_be_bytes(take(row)?));
        let partition = number(row)?;
        let before = if format == FORMAT_BEFORE { Some(ShardUid(number(row)?)) } else { None };
        let name = ShardName::parse(row)?;
        let mut parents = Vec::new();
        while !row.is_empty() {
            parents.push(ShardName::parse(row)?);
        }
        Some(Self { name, opened, ending, closed, horizon, hash_range, partition, before, parents })
    }

    /// All shards that it continues, of whatever lineage.
    pub fn continues(&self) -> impl Iterator<Item = ShardUid> {
        self.parents.iter().map(|parent| parent.uid).chain(self.before)
    }

    /// Below this number nothing is shown at store time `now`.
    pub fn horizon_at(&self, now: Millis, retention_ms: i64) -> SequenceNumber {
        self.horizon.max(SequenceNumber::floor(Millis(now.0 - retention_ms)))
    }

    /// Whether it was closed so long ago, or its stream was deleted, that it is no longer listed.
    pub fn is_gone_at(&self, now: Millis, retention_ms: i64) -> bool {
        self.horizon == SequenceNumber::ALL || self.closed_at().is_some_and(|closed| closed.0 + retention_ms <= now.0)
    }

    /// When it was closed. A node that decided on it before it knew of a jump of store time has noted a time before the
    /// jump; the number was given after.
    pub fn closed_at(&self) -> Option<Millis> {
        let given = self.ending.map_or(Millis(0), SequenceNumber::at);
        self.closed.map(|closed| closed.max(given))
    }

    pub fn info(&self) -> ShardInfo {
        ShardInfo {
            uid: self.name.uid,
            id: self.name.id(),
            index: self.name.suffix,
            parent_indexes: self.parents.iter().map(|parent| parent.suffix).collect(),
            parents: self.parents.iter().map(|parent| parent.uid).collect(),
            parent_ids: self.parents.iter().map(ShardName::id).collect(),
            hash_range: self.hash_range,
            starting: SequenceNumber(self.opened.0 + 1),
            ending: self.ending,
            created: self.name.created,
            closed: self.closed_at(),
        }
    }
}

impl ShardName {
    /// Source: observed on the service: `shardId-00000001573689847184-864758bb`.
    pub fn id(&self) -> String {
        format!("shardId-{:020}-{:08x}", self.created.0, self.suffix)
    }

    fn parse(row: &mut &[u8]) -> Option<Self> {
        let uid = ShardUid(number(row)?);
        let created = Millis(number(row)? as i64);
        Some(Self { uid, created, suffix: u32::from_be_bytes(take(row)?) })
    }
}

/// Key of a shard's row.
pub(crate) fn shard_key(stream: StreamUid, shard: ShardUid) -> Bytes {
    let mut key = Vec::with_capacity(18);
    key.extend([prefix::LINEAGE, SHARD]);
    key.extend(stream.0.to_be_bytes());
    key.extend(shard.0.to_be_bytes());
    key.into()
}

/// Keys between which a stream's shards lie.
pub(crate) fn shard_rows(stream: StreamUid) -> (Bytes, Bytes) {
    (shard_key(stream, ShardUid(0)), shard_key(StreamUid(stream.0 + 1), ShardUid(0)))
}

fn take<const N: usize>(row: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = row.split_first_chunk::<N>()?;
    *row = rest;
    Some(*head)
}

fn number(row: &mut &[u8]) -> Option<u64> {
    take(row).map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_survive_and_stamps_hit_their_fields() {
        let name = |uid| ShardName { uid: ShardUid(uid), created: Millis(1_573_689_847_184), suffix: 0x8647_58bb };
        let mut row = ShardRow {
            name: name(7),
            opened: SequenceNumber(5),
            ending: None,
            closed: Some(Millis(9)),
            horizon: SequenceNumber(3),
            hash_range: (1, u128::MAX),
            partition: 4,
            before: None,
            parents: vec![name(1), name(2)],
        };
        let key = shard_key(StreamUid(1), ShardUid(7));
        let bytes = row.encode();
        assert_eq!(ShardRow::decode(&key, &bytes).expect("readable"), row);
        let mut stamped = bytes.to_vec();
        stamped[OPENED_AT as usize..][..8].copy_from_slice(&11u64.to_be_bytes());
        stamped[ENDING_AT as usize..][..8].copy_from_slice(&12u64.to_be_bytes());
        (row.opened, row.ending) = (SequenceNumber(11), Some(SequenceNumber(12)));
        assert_eq!(ShardRow::decode(&key, &stamped).expect("readable"), row);
        let switched = ShardRow { before: Some(ShardUid(5)), parents: Vec::new(), ..row.clone() };
        assert_eq!(ShardRow::decode(&key, &switched.encode()).expect("readable"), switched);
        assert!(switched.info().parents.is_empty() && switched.continues().eq([ShardUid(5)]));
        assert_eq!(row.info().id, "shardId-00000001573689847184-864758bb");
        let jumped = ShardRow { ending: Some(SequenceNumber::floor(Millis(1_000))), ..row.clone() };
        assert_eq!(jumped.info().closed, Some(Millis(1_000)), "noted at 9, before a jump, numbered after it");
        assert!(!jumped.is_gone_at(Millis(1_009), 10) && jumped.is_gone_at(Millis(1_010), 10));
        for cut in [0, 1, 40, bytes.len() - 1] {
            assert!(ShardRow::decode(&key, &bytes[..cut]).is_err(), "{cut}");
        }
    }
}
