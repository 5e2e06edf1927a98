//! Keys of items: what the schema asks of them, and where they lie in storage.

use bytes::Bytes;
use headwater_catalog::{KeyAttribute, KeyKind, KeySchema};
use headwater_storage::keyspace::prefix;
use headwater_types::key::ItemKey;
use headwater_types::limits::{PARTITION_KEY_BYTES_MAX, SORT_KEY_BYTES_MAX};
use headwater_types::stored::Corrupt;
use headwater_types::{AttributeValue, Item, TableId};

use crate::row::Row;

/// Why a key does not fit its schema.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyError {
    /// A put item lacks a key attribute.
    Missing {
        /// The attribute.
        name: String,
    },
    /// A put item's key attribute has another type.
    WrongType {
        /// The attribute.
        name: String,
        /// What the schema says.
        expected: KeyKind,
        /// Type code of what was given.
        actual: &'static str,
    },
    /// A key attribute is an empty string or binary.
    Empty {
        /// The attribute.
        name: String,
        /// A binary, not a string.
        binary: bool,
    },
    /// A key value is longer than allowed.
    TooLong {
        /// The sort key, not the partition key.
        range: bool,
    },
    /// A given key has too many or too few attributes, or one of a wrong type.
    Mismatch,
}

/// Type code of a key attribute.
pub fn type_code(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::S => "S",
        KeyKind::N => "N",
        KeyKind::B => "B",
    }
}

/// The key of an item that is put.
pub fn item_key(schema: &KeySchema, item: &Item) -> Result<ItemKey, KeyError> {
    let range = schema.range.as_ref().and_then(|attribute| item.get(&attribute.name));
    put_key(schema, item.get(&schema.hash.name), range)
}

/// The same of an item as it is stored.
pub fn row_key(schema: &KeySchema, row: &Row) -> Result<Result<ItemKey, KeyError>, Corrupt> {
    let stored = row.stored()?;
    let value = |attribute: &KeyAttribute| stored.get(&attribute.name)?.map(|value| value.decode()).transpose();
    let hash = value(&schema.hash)?;
    let range = schema.range.as_ref().map(value).transpose()?.flatten();
    Ok(put_key(schema, hash.as_ref(), range.as_ref()))
}

fn put_key(
    schema: &KeySchema,
    hash: Option<&AttributeValue>,
    range: Option<&AttributeValue>,
) -> Result<ItemKey, KeyError> {
    let hash = put_value(&schema.hash, hash)?;
    let range = schema.range.as_ref().map(|attribute| put_value(attribute, range)).transpose()?;
    let values = [(Some(hash), &schema.hash), (range, schema.range.as_ref().unwrap_or(&schema.hash))];
    for (value, attribute) in values {
        value.map_or(Ok(()), |value| check_empty(attribute, value))?;
    }
    key(hash, range)
}

/// The key given for a read, an update or a deletion: exactly the key attributes.
pub fn key_of(schema: &KeySchema, given: &Item) -> Result<ItemKey, KeyError> {
    let value = |attribute: &KeyAttribute| match given.get(&attribute.name) {
        Some(value) if value.type_code() == type_code(attribute.kind) => Ok(value),
        _ => Err(KeyError::Mismatch),
    };
    let hash = value(&schema.hash)?;
    let range = schema.range.as_ref().map(value).transpose()?;
    if given.len() != 1 + usize::from(range.is_some()) {
        return Err(KeyError::Mismatch);
    }
    check_empty(&schema.hash, hash)?;
    if let (Some(attribute), Some(value)) = (&schema.range, range) {
        check_empty(attribute, value)?;
    }
    key(hash, range)
}

/// Holds the values that a query compares with key attributes to what a key may be, in order of the attributes.
///
/// Errors: `Empty`, `TooLong`; types are held to the schema before.
pub fn check_queried<'a>(
    values: impl IntoIterator<Item = (&'a KeyAttribute, &'a AttributeValue)>,
    range: bool,
) -> Result<(), KeyError> {
    values.into_iter().try_for_each(|(attribute, value)| {
        check_empty(attribute, value)?;
        let longest = if range { SORT_KEY_BYTES_MAX } else { PARTITION_KEY_BYTES_MAX };
        if value.size_bytes() > longest { Err(KeyError::TooLong { range }) } else { Ok(()) }
    })
}

fn put_value<'a>(attribute: &KeyAttribute, value: Option<&'a AttributeValue>) -> Result<&'a AttributeValue, KeyError> {
    let Some(value) = value else {
        return Err(KeyError::Missing { name: attribute.name.clone() });
    };
    if value.type_code() == type_code(attribute.kind) {
        return Ok(value);
    }
    Err(KeyError::WrongType { name: attribute.name.clone(), expected: attribute.kind, actual: value.type_code() })
}

fn check_empty(attribute: &KeyAttribute, value: &AttributeValue) -> Result<(), KeyError> {
    let binary = match value {
        AttributeValue::S(text) if text.is_empty() => false,
        AttributeValue::B(bytes) if bytes.is_empty() => true,
        _ => return Ok(()),
    };
    Err(KeyError::Empty { name: attribute.name.clone(), binary })
}

fn key(hash: &AttributeValue, range: Option<&AttributeValue>) -> Result<ItemKey, KeyError> {
    if hash.size_bytes() > PARTITION_KEY_BYTES_MAX {
        return Err(KeyError::TooLong { range: false });
    }
    if range.is_some_and(|range| range.size_bytes() > SORT_KEY_BYTES_MAX) {
        return Err(KeyError::TooLong { range: true });
    }
    ItemKey::new(hash, range).ok_or(KeyError::Mismatch)
}

/// The key attributes of an item or image.
pub fn keys_of(schema: &KeySchema, item: &Item) -> Item {
    let attributes = std::iter::once(&schema.hash).chain(&schema.range);
    attributes.filter_map(|a| Some((a.name.clone(), item.get(&a.name)?.clone()))).collect()
}

/// The same of an item as it is stored.
pub fn keys_of_row(schema: &KeySchema, row: &Row) -> Result<Item, Corrupt> {
    let stored = row.stored()?;
    let mut keys = Item::default();
    for attribute in std::iter::once(&schema.hash).chain(&schema.range) {
        if let Some(value) = stored.get(&attribute.name)? {
            keys.insert(attribute.name.clone(), value.decode()?);
        }
    }
    Ok(keys)
}

/// What all of a table's item keys begin with: nine bytes.
pub fn table_prefix(table: TableId) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    bytes.push(prefix::ITEM);
    bytes.extend(table.0.to_be_bytes());
    bytes
}

/// Where an item lies in storage.
pub fn storage_key(table: TableId, key: &ItemKey) -> Bytes {
    let mut bytes = table_prefix(table);
    bytes.extend_from_slice(&key.bytes);
    bytes.into()
}

/// The key attributes behind a storage key.
pub fn key_item(schema: &KeySchema, storage_key: &[u8]) -> Option<Item> {
    let (hash, range) = ItemKey::decode(storage_key.get(9..)?)?;
    let mut item = Item::default();
    item.insert(schema.hash.name.clone(), hash);
    if let (Some(attribute), Some(value)) = (&schema.range, range) {
        item.insert(attribute.name.clone(), value);
    }
    Some(item)
}
