//! Rows of definitions: their keys and their stored form.

use bytes::Bytes;
use headwater_storage::keyspace::prefix;
use headwater_types::{Millis, Scope, StreamUid, TableId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::data_stream::DataStreamDefinition;
use crate::resource::{StreamDefinition, TableDefinition};

const TABLE: u8 = b'T';
const STREAM: u8 = b'S';
const DATA_STREAM: u8 = b'K';

/// A stored definition that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadRow {
    /// The row's key in hexadecimal digits.
    pub key: String,
    /// What is wrong.
    pub reason: String,
}

impl std::fmt::Display for BadRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "row {} cannot be read: {}", self.key, self.reason)
    }
}

impl std::error::Error for BadRow {}

impl BadRow {
    /// A complaint about the row under `key`.
    pub fn new(key: &[u8], reason: impl std::fmt::Display) -> Self {
        let key = key.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { key, reason: reason.to_string() }
    }
}

/// Key of a table's row.
pub fn table_key(id: TableId) -> Bytes {
    key(TABLE, id.0)
}

/// Key of a stream's row.
pub fn stream_key(uid: StreamUid) -> Bytes {
    key(STREAM, uid.0)
}

/// Key of a data stream's row.
pub fn data_stream_key(id: TableId) -> Bytes {
    key(DATA_STREAM, id.0)
}

/// Keys between which all data streams' rows lie.
pub fn data_stream_rows() -> (Bytes, Bytes) {
    rows(DATA_STREAM)
}

/// Stored form of a data stream.
pub fn encode_data_stream(stream: &DataStreamDefinition) -> Bytes {
    encode(stream)
}

/// Keys between which all tables' rows lie.
pub fn table_rows() -> (Bytes, Bytes) {
    rows(TABLE)
}

/// Keys between which all streams' rows lie.
pub fn stream_rows() -> (Bytes, Bytes) {
    rows(STREAM)
}

/// Stored form of a table.
pub fn encode_table(table: &TableDefinition) -> Bytes {
    encode(table)
}

/// Stored form of a stream.
pub fn encode_stream(stream: &StreamDefinition) -> Bytes {
    encode(stream)
}

/// Reads a row back. Errors: [`BadRow`] names its key.
pub fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, BadRow> {
    serde_json::from_slice(value).map_err(|error| BadRow::new(key, error))
}

fn key(kind: u8, id: u64) -> Bytes {
    let mut key = Vec::with_capacity(10);
    key.extend([prefix::DEFINITION, kind]);
    key.extend(id.to_be_bytes());
    key.into()
}

fn rows(kind: u8) -> (Bytes, Bytes) {
    (vec![prefix::DEFINITION, kind].into(), vec![prefix::DEFINITION, kind + 1].into())
}

pub(crate) fn encode(row: &impl Serialize) -> Bytes {
    serde_json::to_vec(row).expect("definitions have string keys and no failing parts").into()
}

/// How a newtype over a number stands in a row.
macro_rules! numbered {
    ($module:ident, $maybe:ident, $type:ident, $number:ty) => {
        pub(crate) mod $module {
            use super::*;
            pub fn serialize<S: Serializer>(value: &$type, to: S) -> Result<S::Ok, S::Error> {
                value.0.serialize(to)
            }
            pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<$type, D::Error> {
                <$number>::deserialize(from).map($type)
            }
        }
        #[allow(dead_code, reason = "not every identity is optional somewhere")]
        pub(crate) mod $maybe {
            use super::*;
            pub fn serialize<S: Serializer>(value: &Option<$type>, to: S) -> Result<S::Ok, S::Error> {
                value.map(|v| v.0).serialize(to)
            }
            pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<$type>, D::Error> {
                Ok(Option::<$number>::deserialize(from)?.map($type))
            }
        }
    };
}

numbered!(table_id, maybe_table, TableId, u64);
numbered!(stream_uid, maybe_stream, StreamUid, u64);
numbered!(millis, maybe_millis, Millis, i64);

pub(crate) mod scope {
    use super::*;
    pub fn serialize<S: Serializer>(value: &Scope, to: S) -> Result<S::Ok, S::Error> {
        (&*value.account, &*value.region).serialize(to)
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Scope, D::Error> {
        let (account, region) = <(String, String)>::deserialize(from)?;
        Ok(Scope::new(&account, &region))
    }
}
