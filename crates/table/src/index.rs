//! Index entries: what they hold, where they lie in storage, and what changing an item does to them.
//!
//! ```text
//! entry of an index   = INDEX | table (8) | index (4) | placement (16) | partition parts | sort parts | key of the item
//! entry of the expiry = INDEX | table (8) | index (4) | second (8) | placement (16) | key of the item
//! key of the item     = its partition part, its sort part
//! ```
//! Placement is the hash of the partition parts, as of items. An entry's value is the row of the projected item; it always
//! has the index's and the table's key attributes. Entries are a function of the item alone, so they commit with it.

use bytes::Bytes;
use headwater_catalog::{IndexDefinition, IndexKind, KeyAttribute, Projected, TableDefinition};
use headwater_log::{Log, TableSize};
use headwater_storage::contract::Direction;
use headwater_storage::keyspace::prefix;
use headwater_types::key::encode_part;
use headwater_types::limits::{PARTITION_KEY_BYTES_MAX, SORT_KEY_BYTES_MAX};
use headwater_types::stored::{Corrupt, StoredItem};
use headwater_types::{AttributeValue, HashKey, Item, TableId};

use crate::read::ReadError;
use crate::row::Row;
use crate::schema::type_code;
use crate::ttl;

/// Bytes of an item's storage key before its parts.
const PARTS_AT: usize = 9 + 16;

/// Why an item cannot be in a table with these indexes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IndexKeyError {
    /// The index.
    pub index: String,
    /// Its key attribute.
    pub attribute: String,
    /// What is wrong.
    pub fault: IndexKeyFault,
}

/// What is wrong with an index key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IndexKeyFault {
    /// The attribute has another type than the index says.
    WrongType {
        /// Type code of the index.
        expected: &'static str,
        /// Type code of the value.
        actual: &'static str,
    },
    /// The value is an empty string or binary.
    Empty {
        /// A binary, not a string.
        binary: bool,
    },
    /// The value is longer than a key may be.
    TooLong {
        /// A sort key, not a partition key.
        range: bool,
    },
}

/// An entry: where it lies, and the projected item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its key.
    pub key: Bytes,
    /// The item as the index holds it.
    pub row: Row,
}

/// Changes of the key space: a key with its new value, or `None` when it goes.
pub type Changes = Vec<(Bytes, Option<Bytes>)>;

/// What writing to an index costs and changes.
#[derive(Clone, PartialEq, Debug)]
pub struct IndexUse {
    /// Name of the index.
    pub index: String,
    /// A local index, not a global one.
    pub local: bool,
    /// Size of the entry before. Unit: bytes.
    pub old: Option<usize>,
    /// Size of the entry after. Unit: bytes.
    pub new: Option<usize>,
    /// The entry stays at its place.
    pub same_key: bool,
}

/// What all entries of an index begin with: thirteen bytes.
pub fn index_prefix(table: TableId, index: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(96);
    bytes.push(prefix::INDEX);
    bytes.extend(table.0.to_be_bytes());
    bytes.extend(index.to_be_bytes());
    bytes
}

/// Holds an item's attributes to the keys of all indexes that are maintained; an absent attribute is fine.
///
/// Order: of several indexes the first by name is told. Source: dynamodb-conformance (observed on AWS: transactIndexKeys).
pub fn check(table: &TableDefinition, item: &Row) -> Result<Result<(), IndexKeyError>, Corrupt> {
    let stored = item.stored()?;
    let mut first: Option<IndexKeyError> = None;
    for index in table.maintained() {
        if first.as_ref().is_some_and(|first| first.index <= index.name) {
            continue;
        }
        for (at, attribute) in index.keys().enumerate() {
            let Some(value) = stored.get(&attribute.name)? else { continue };
            if let Some(fault) = fault(attribute, &value.decode()?, at >= index.hash.len()) {
                let (index, attribute) = (index.name.clone(), attribute.name.clone());
                first = Some(IndexKeyError { index, attribute, fault });
                break;
            }
        }
    }
    Ok(first.map_or(Ok(()), Err))
}

/// What keeps a value from being the key of an index.
pub fn fault(attribute: &KeyAttribute, value: &AttributeValue, range: bool) -> Option<IndexKeyFault> {
    let (expected, actual) = (type_code(attribute.kind), value.type_code());
    let longest = if range { SORT_KEY_BYTES_MAX } else { PARTITION_KEY_BYTES_MAX };
    match value {
        _ if expected != actual => Some(IndexKeyFault::WrongType { expected, actual }),
        AttributeValue::S(text) if text.is_empty() => Some(IndexKeyFault::Empty { binary: false }),
        AttributeValue::B(bytes) if bytes.is_empty() => Some(IndexKeyFault::Empty { binary: true }),
        value if value.size_bytes() > longest => Some(IndexKeyFault::TooLong { range }),
        _ => None,
    }
}

/// Where the entries with these values of the partition key, and of the first sort key attributes, begin.
pub fn parts_prefix(table: TableId, index: u32, hash: &[AttributeValue], range: &[AttributeValue]) -> Option<Vec<u8>> {
    let mut parts = Vec::with_capacity(64);
    if !hash.iter().all(|value| encode_part(value, &mut parts)) {
        return None;
    }
    let place = HashKey::of(&parts);
    if !range.iter().all(|value| encode_part(value, &mut parts)) {
        return None;
    }
    let mut key = index_prefix(table, index);
    key.extend(place.0.to_be_bytes());
    key.extend(parts);
    Some(key)
}

/// Where the entry of an item lies, by the attributes of both keys; `None` when one lacks or cannot be a key.
pub fn position(table: &TableDefinition, index: &IndexDefinition, keys: &Item) -> Option<Bytes> {
    let values = |attributes: &[KeyAttribute]| {
        attributes.iter().map(|attribute| keys.get(&attribute.name).cloned()).collect::<Option<Vec<_>>>()
    };
    let mut key = parts_prefix(table.id, index.id, &values(&index.hash)?, &values(&index.range)?)?;
    for attribute in table.keys() {
        if !encode_part(keys.get(&attribute.name)?, &mut key) {
            return None;
        }
    }
    Some(key.into())
}

/// The entry of an item in an index; `None` when the item is not in it.
pub fn entry(
    table: &TableDefinition,
    index: &IndexDefinition,
    storage_key: &[u8],
    row: &Row,
) -> Result<Option<Entry>, Corrupt> {
    let stored = row.stored()?;
    let (Some(hash), Some(range)) = (values(&index.hash, false, &stored)?, values(&index.range, true, &stored)?) else {
        return Ok(None);
    };
    let mut key = parts_prefix(table.id, index.id, &hash, &range).ok_or(Corrupt)?;
    key.extend(storage_key.get(PARTS_AT..).ok_or(Corrupt)?);
    Ok(Some(Entry { key: key.into(), row: projected(table, index, row)? }))
}

/// Values of an index's key attributes; `None` when one lacks or, in an item older than the index, cannot be a key.
fn values(
    attributes: &[KeyAttribute],
    range: bool,
    stored: &StoredItem<'_>,
) -> Result<Option<Vec<AttributeValue>>, Corrupt> {
    let mut values = Vec::with_capacity(attributes.len());
    for attribute in attributes {
        let Some(value) = stored.get(&attribute.name)? else { return Ok(None) };
        let value = value.decode()?;
        if fault(attribute, &value, range).is_some() {
            return Ok(None);
        }
        values.push(value);
    }
    Ok(Some(values))
}

fn projected(table: &TableDefinition, index: &IndexDefinition, row: &Row) -> Result<Row, Corrupt> {
    let included: &[String] = match &index.projected {
        Projected::All => return Ok(row.clone()),
        Projected::KeysOnly => &[],
        Projected::Include(names) => names,
    };
    let mut item = row.item()?;
    let keys: Vec<&str> = table.keys().chain(index.keys()).map(|attribute| attribute.name.as_str()).collect();
    item.0.retain(|name, _| keys.contains(&name.as_str()) || included.contains(name));
    Ok(Row::new(&item))
}

/// What changing an item from `old` to `new` does to the entries of all indexes, the hidden one of the expiry included.
///
/// Shape: changes of the key space, and per index that is touched what it means for units.
pub fn changes(
    table: &TableDefinition,
    storage_key: &[u8],
    old: Option<&Row>,
    new: Option<&Row>,
) -> Result<(Changes, Vec<IndexUse>), Corrupt> {
    let (mut changes, mut uses) = (Changes::new(), Vec::new());
    for index in table.maintained() {
        let of = |row: Option<&Row>| row.map_or(Ok(None), |row| entry(table, index, storage_key, row));
        let (before, after) = (of(old)?, of(new)?);
        if before == after {
            continue;
        }
        let size = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.row.size_bytes());
        let same_key = matches!((&before, &after), (Some(a), Some(b)) if a.key == b.key);
        let local = index.kind == IndexKind::Local;
        let (index, old, new) = (index.name.clone(), size(&before), size(&after));
        uses.push(IndexUse { index, local, old, new, same_key });
        if let Some(entry) = before.filter(|_| !same_key) {
            changes.push((entry.key, None));
        }
        changes.extend(after.map(|entry| (entry.key, Some(entry.row.bytes().clone()))));
    }
    changes.extend(ttl::changes(table, storage_key, old, new)?);
    Ok((changes, uses))
}

/// The key attributes of an entry's item: the index's and the table's.
pub fn keys_of(table: &TableDefinition, index: &IndexDefinition, item: &Item) -> Item {
    let attributes = index.keys().chain(table.keys());
    attributes.filter_map(|a| Some((a.name.clone(), item.get(&a.name)?.clone()))).collect()
}

/// Entries counted one by one before the rest is estimated.
const COUNTED_MAX: usize = 10_000;

/// How much an index holds: exact up to 10,000 entries, beyond that estimated from the part of the placements that the
/// first 10,000 take (entries lie by the hash of their partition key).
pub fn size(log: &Log, table: TableId, index: u32) -> Result<TableSize, ReadError> {
    let (start, end) = (index_prefix(table, index), index_prefix(table, index + 1));
    let mut size = TableSize::default();
    let snapshot = log.snapshot();
    for (count, entry) in snapshot.scan(&start, &end, Direction::Forward).enumerate() {
        let (key, value) = entry?;
        if count >= COUNTED_MAX {
            let place = key.get(start.len()..).and_then(|rest| rest.first_chunk::<8>()).ok_or(ReadError::Corrupt)?;
            let part = (u64::from_be_bytes(*place) as f64 / u64::MAX as f64).max(f64::EPSILON);
            let whole = |counted: i64| (counted as f64 / part) as i64;
            return Ok(TableSize { items: whole(size.items), bytes: whole(size.bytes), ..size });
        }
        size.items += 1;
        size.bytes += Row::from_stored(value).size_bytes() as i64;
    }
    Ok(size)
}
