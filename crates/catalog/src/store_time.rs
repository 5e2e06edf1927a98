//! What a store keeps of its clock.

use bytes::Bytes;
use headwater_storage::keyspace::prefix;
use headwater_types::Millis;
use serde::{Deserialize, Serialize};

use crate::writer::{BadRow, decode, encode};

/// How far store time is ahead of system time, and whether it stands still.
///
/// Order: part of the catalog; every change of it moves the catalog's version, so every node gets to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StoreTime {
    /// Unit: ms. Order: never falls.
    pub offset_ms: i64,
    /// Where it stands still, in ms since the epoch; none while it runs.
    pub frozen_ms: Option<i64>,
    /// Shard iterators given under an earlier count are expired. Order: never falls.
    pub iterators: u32,
}

impl StoreTime {
    /// Key of its row.
    pub fn key() -> Bytes {
        Bytes::from_static(&[prefix::STORE, b'K'])
    }

    /// Stored form.
    pub fn encode(&self) -> Bytes {
        encode(self)
    }

    /// Reads the row; an absent one is a store's whose clock was never moved.
    pub fn decode(value: Option<&[u8]>) -> Result<Self, BadRow> {
        value.map_or(Ok(Self::default()), |value| decode(&Self::key(), value))
    }

    /// Where it stands still.
    pub fn frozen(&self) -> Option<Millis> {
        self.frozen_ms.map(Millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back() {
        for row in [StoreTime::default(), StoreTime { offset_ms: 90_000_000, frozen_ms: Some(7), iterators: 3 }] {
            assert_eq!(StoreTime::decode(Some(&row.encode())).expect("readable"), row);
        }
        assert_eq!(StoreTime::decode(None).expect("new"), StoreTime::default());
        assert!(StoreTime::decode(Some(b"{")).is_err());
    }
}
