//! The aggregated records of the Kinesis Producer Library (KPL): many user records in the data of one Kinesis record.
//!
//! Owns the format: `F3 89 9A C2`, a protobuf message with its keys in two tables, and the MD5 of the message's bytes.
//! In: the data of one record, or user records. Out: user records that borrow from that data, or the data of one record.
//! Never: talks to a server, knows a sequence number, or depends on a room of Headwater; a server stores aggregates
//! untouched, readers unpack them. User records of one Kinesis record are told apart by their place in it, from 0 on:
//! their sub-sequence numbers.
//!
//! ```
//! use headwater_aggregation::{Aggregator, UserRecord, decode};
//!
//! let mut aggregator = Aggregator::new();
//! aggregator.add(&UserRecord::new("meter-7", b"20.5"));
//! aggregator.add(&UserRecord::new("meter-8", b"19.0"));
//! let data = aggregator.finish();
//!
//! let aggregate = decode(&data)?.expect("made as an aggregate");
//! let keys: Vec<&str> = aggregate.records().map(|record| record.partition_key).collect();
//! assert_eq!(keys, ["meter-7", "meter-8"]);
//! # Ok::<(), headwater_aggregation::Error>(())
//! ```

mod aggregate;
mod aggregator;
mod hash;
mod protobuf;

pub use aggregate::{Aggregate, Error, Records, decode};
pub use aggregator::Aggregator;
pub use hash::hash_key;

/// What an aggregate begins with.
///
/// Source: "KPL Aggregated Record Format", amazon-kinesis-producer.
pub const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];

/// The MD5 that an aggregate ends with.
///
/// Unit:   bytes.
/// Source: "KPL Aggregated Record Format", amazon-kinesis-producer.
pub const DIGEST_BYTES: usize = 16;

/// One record as its producer wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRecord<'a> {
    /// Its partition key.
    pub partition_key: &'a str,
    /// Shape: a decimal number below 2^128, in place of the partition key's hash.
    pub explicit_hash_key: Option<&'a str>,
    /// Its data, possibly none.
    pub data: &'a [u8],
    /// Keys and values that no known producer writes; kept so that nothing is lost.
    pub tags: Vec<(&'a str, Option<&'a str>)>,
}

impl<'a> UserRecord<'a> {
    /// A record without explicit hash key and tags.
    #[must_use]
    pub fn new(partition_key: &'a str, data: &'a [u8]) -> Self {
        Self { partition_key, explicit_hash_key: None, data, tags: Vec::new() }
    }
}
