//! Every key prefix and head kind, and the room that owns it. Two rooms never share one.

use bytes::Bytes;
use headwater_types::{HashKey, ShardUid, StreamUid, TableId};

use crate::contract::HeadKey;

/// Prefixes of the ordered key space: the first byte of every key.
pub mod prefix {
    /// The engine's own keys: flush point, heads. Owner: storage.
    pub const ENGINE: u8 = 0x00;
    /// Counters of identities, store incarnation, seal keys. Owner: catalog.
    pub const STORE: u8 = 0x01;
    /// Definitions of tables and streams. Owner: catalog.
    pub const DEFINITION: u8 = 0x02;
    /// Partitions and shards. Owner: log.
    pub const LINEAGE: u8 = 0x03;
    /// Items: `ITEM | table id (8) | placement hash (16) | partition key | sort key`. Owner: table.
    pub const ITEM: u8 = 0x10;
    /// Index entries: `INDEX | table id (8) | index id (4) | …`; index 0: sizes of item collections. Owner: table.
    pub const INDEX: u8 = 0x11;
    /// Idempotency tokens: `TOKEN | hash (16)` → `store time of its end (8) | …`. Owner: table; ended by log.
    pub const TOKEN: u8 = 0x12;
    /// Durable jobs and their cursors: `JOB | table id (8) | index id (4)`. Owner: delivery.
    pub const JOB: u8 = 0x20;
    /// Positions of movers in the logs of tables: `MOVER | kind (1) | incarnation (8) | …`. Owner: log.
    pub const MOVER: u8 = 0x21;
}

/// Where an idempotency token lies, by the hash of all that names it.
pub fn token_key(hash: HashKey) -> Bytes {
    [&[prefix::TOKEN], &hash.0.to_be_bytes()[..]].concat().into()
}

/// Where the job of a table's index keeps its cursor; index numbers are never reused, so this names one run of it.
pub fn job_key(table: TableId, index: u32) -> Bytes {
    [&[prefix::JOB], &table.0.to_be_bytes()[..], &index.to_be_bytes()[..]].concat().into()
}

/// Kinds of heads: the top byte of a [`HeadKey`].
mod kind {
    pub const CATALOG: u8 = 1;
    pub const TABLE: u8 = 2;
    pub const PARTITION: u8 = 3;
    pub const LINEAGE: u8 = 4;
    pub const TOKEN: u8 = 5;
    pub const MOVER: u8 = 6;
}

/// The head of the list of all definitions: moved by every definition change.
pub const CATALOG_HEAD: HeadKey = head(kind::CATALOG, 0);

/// The head of one table's definition: compared by every plan of the table, moved by a change of its definition.
pub const fn table_head(table: TableId) -> HeadKey {
    head(kind::TABLE, table.0 as u128)
}

/// The head of one partition (a hash range of a table's items): moved by every write into it.
pub const fn partition_head(partition: u64) -> HeadKey {
    head(kind::PARTITION, partition as u128)
}

/// Whether a head is a partition's: the only kind that other nodes move all the time.
pub const fn is_partition_head(key: HeadKey) -> bool {
    key.0 >> 120 == kind::PARTITION as u128
}

/// The head of a table's lineage: moved by every split, roll-over, opening and closing of its shards.
pub const fn lineage_head(stream: StreamUid) -> HeadKey {
    head(kind::LINEAGE, stream.0 as u128)
}

/// The head of an idempotency token, by 120 bits of its hash.
pub const fn token_head(hash: u128) -> HeadKey {
    head(kind::TOKEN, hash >> 8)
}

/// The head of a mover's position in a shard, by 56 bits of the mover's incarnation: moved by every step.
pub const fn position_head(mover: StreamUid, shard: ShardUid) -> HeadKey {
    head(kind::MOVER, ((mover.0 as u128) << 64) | shard.0 as u128)
}

const fn head(kind: u8, identity: u128) -> HeadKey {
    HeadKey(((kind as u128) << 120) | (identity & (u128::MAX >> 8)))
}
