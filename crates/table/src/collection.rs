//! Item collections: all items of one partition key in a table with local indexes and in those indexes; their size is
//! kept, shown and bounded.
//!
//! ```text
//! INDEX | table (8) | 0 (4) | placement (16) | partition part  ->  size (8, little-endian)
//! ```
//! It is a key like an item's, locked and read with it: writers of one collection plan one after the other.
//!
//! Source: "Item collections in DynamoDB", developer guide.

use bytes::Bytes;
use headwater_catalog::TableDefinition;
use headwater_log::{Effect, Touch, ValueChange};
use headwater_types::key::{ItemKey, decode_part};
use headwater_types::limits::COLLECTION_BYTES_MAX;
use headwater_types::stored::Corrupt;

use crate::index::{IndexUse, index_prefix};
use crate::row::Row;

/// Bytes of an item's storage key before its place.
const PLACE_AT: usize = 9;

/// The touch of an item's collection, where the table has local indexes.
pub(crate) fn touch(table: &TableDefinition, item: &Touch) -> Option<Touch> {
    if !table.has_collections() {
        return None;
    }
    let place_and_parts = item.key.get(PLACE_AT..)?;
    let (_, sort) = decode_part(place_and_parts.get(16..)?)?;
    let partition = place_and_parts.get(..place_and_parts.len() - sort.len())?;
    let mut key = index_prefix(table.id, 0);
    key.extend_from_slice(partition);
    Some(Touch { table: item.table, hash: item.hash, key: key.into() })
}

/// The size of the collection that `key` is of; zero when there is none. Unit: bytes.
pub fn size(log: &headwater_log::Log, table: &TableDefinition, key: &ItemKey) -> Result<i64, crate::ReadError> {
    let item = Touch { table: Some(table.id), hash: key.hash, key: crate::schema::storage_key(table.id, key) };
    let Some(touch) = touch(table, &item) else { return Ok(0) };
    Ok(stored(log.snapshot().get(&touch.key)?.as_ref())?)
}

/// A stored size.
pub(crate) fn stored(value: Option<&Bytes>) -> Result<i64, Corrupt> {
    value.map_or(Ok(0), |bytes| bytes.first_chunk::<8>().map(|size| i64::from_le_bytes(*size)).ok_or(Corrupt))
}

/// How much a change of an item from `old` to `new`, with these changes of local indexes, adds. Unit: bytes.
pub(crate) fn growth(old: Option<&Row>, new: Option<&Row>, uses: &[IndexUse]) -> i64 {
    let size = |row: Option<&Row>| row.map_or(0, |row| row.size_bytes() as i64);
    let entries = uses.iter().filter(|used| used.local);
    let entries: i64 = entries.map(|used| used.new.unwrap_or(0) as i64 - used.old.unwrap_or(0) as i64).sum();
    size(new) - size(old) + entries
}

/// Whether a collection may change from `before` to `after`: one over the bound only shrinks.
pub(crate) fn fits(before: i64, after: i64) -> bool {
    after <= COLLECTION_BYTES_MAX || after <= before
}

/// The effect on the touch of a collection.
pub(crate) fn effect(after: i64) -> Effect {
    let value = match after {
        ..=0 => ValueChange::Delete,
        size => ValueChange::Put(Bytes::copy_from_slice(&size.to_le_bytes())),
    };
    Effect { value, ..Effect::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_grows_to_its_bound_and_shrinks_from_beyond_it() {
        let most = COLLECTION_BYTES_MAX;
        assert!(fits(0, most) && fits(most - 1, most));
        assert!(!fits(most, most + 1) && !fits(most - 1, most + 1));
        assert!(fits(most + 10, most + 5) && fits(most + 10, most + 10));
    }
}
