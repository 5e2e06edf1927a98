//! Reading single items from the published state.

use headwater_log::Log;
use headwater_storage as storage;
use headwater_types::TableId;
use headwater_types::key::ItemKey;
use headwater_types::stored::Corrupt;

use crate::row::Row;
use crate::schema::storage_key;

/// Why a read has no answer.
#[derive(Debug)]
pub enum ReadError {
    /// The engine's error.
    Storage(storage::Error),
    /// Stored bytes are not an item.
    Corrupt,
}

impl From<storage::Error> for ReadError {
    fn from(error: storage::Error) -> Self {
        Self::Storage(error)
    }
}

impl From<Corrupt> for ReadError {
    fn from(_: Corrupt) -> Self {
        Self::Corrupt
    }
}

/// The item at a key, as of the newest published state.
pub fn get(log: &Log, table: TableId, key: &ItemKey) -> Result<Option<Row>, ReadError> {
    let key_of = storage_key(table, key);
    #[cfg(feature = "planted-bugs")]
    if let Some(pending) = log.planted_pending(table, key.hash, &key_of) {
        return Ok(pending.map(Row::from_stored));
    }
    Ok(log.snapshot().get(&key_of)?.map(Row::from_stored))
}
