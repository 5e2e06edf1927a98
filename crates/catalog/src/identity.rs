//! What a store is and which identities it has given: its incarnation, its seal key, its counters.

use bytes::Bytes;
use headwater_storage::keyspace::prefix;
use headwater_types::{ShardUid, StreamUid, TableId};
use serde::{Deserialize, Serialize};

use crate::writer::{BadRow, decode, encode};

/// Which store this is; a restored copy is another one, so that tokens of the original are told from its own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Incarnation {
    /// Drawn at random when the store is made or restored.
    pub id: u64,
    /// Key of the seal on shard iterators.
    pub seal_key: [u8; 32],
    /// The name of the cell that it was drawn for, high half first: in a copy of that cell it no longer holds.
    #[serde(default)]
    pub cell: (u64, u64),
}

/// The next identities to give; none is ever given twice.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Identities {
    next_table: u64,
    next_stream: u64,
    next_shard: u64,
    next_partition: u64,
}

impl Default for Identities {
    fn default() -> Self {
        Self { next_table: 1, next_stream: 1, next_shard: 1, next_partition: 1 }
    }
}

impl Identities {
    /// Key of the counters' row.
    pub fn key() -> Bytes {
        Bytes::from_static(&[prefix::STORE, b'C'])
    }

    /// Stored form.
    pub fn encode(&self) -> Bytes {
        encode(self)
    }

    /// Reads the row; an absent one is a new store's.
    pub fn decode(value: Option<&[u8]>) -> Result<Self, BadRow> {
        value.map_or(Ok(Self::default()), |value| decode(&Self::key(), value))
    }

    /// A new table's identity.
    pub fn table(&mut self) -> TableId {
        TableId(take(&mut self.next_table))
    }

    /// A new stream's identity.
    pub fn stream(&mut self) -> StreamUid {
        StreamUid(take(&mut self.next_stream))
    }

    /// A new shard's identity. Order: a shard made later has a greater one.
    pub fn shard(&mut self) -> ShardUid {
        ShardUid(take(&mut self.next_shard))
    }

    /// A new partition's identity.
    pub fn partition(&mut self) -> u64 {
        take(&mut self.next_partition)
    }
}

impl Incarnation {
    /// Whether it was drawn for this cell.
    pub fn is_of(&self, cell: u128) -> bool {
        self.cell == halves(cell)
    }

    /// A new one. Shape: identity, seal key and the name of the cell it is for.
    pub fn new(id: u64, seal_key: [u8; 32], cell: u128) -> Self {
        Self { id, seal_key, cell: halves(cell) }
    }

    /// Key of the incarnation's row.
    pub fn key() -> Bytes {
        Bytes::from_static(&[prefix::STORE, b'I'])
    }

    /// Stored form.
    pub fn encode(&self) -> Bytes {
        encode(self)
    }

    /// Reads the row.
    pub fn decode(value: &[u8]) -> Result<Self, BadRow> {
        decode(&Self::key(), value)
    }
}

fn halves(cell: u128) -> (u64, u64) {
    ((cell >> 64) as u64, cell as u64)
}

fn take(next: &mut u64) -> u64 {
    *next += 1;
    *next - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incarnation_holds_for_one_cell() {
        let cell = u128::MAX - 5;
        let made = Incarnation::new(7, [1; 32], cell);
        let again = Incarnation::decode(&made.encode()).expect("readable");
        assert!(again == made && again.is_of(cell));
        assert!(!again.is_of(cell - 1) && !again.is_of(cell >> 64));
    }

    #[test]
    fn identities_survive_the_store_and_are_never_given_twice() {
        let mut ids = Identities::decode(None).expect("new");
        let first = (ids.table(), ids.stream(), ids.shard(), ids.partition());
        let mut again = Identities::decode(Some(&ids.encode())).expect("readable");
        assert_eq!(again, ids);
        assert_ne!((again.table(), again.stream(), again.shard(), again.partition()), first);
        assert!(Identities::decode(Some(b"{}")).is_err());
    }
}
