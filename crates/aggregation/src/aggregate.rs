//! Decoding: is it an aggregate, which user records does it hold, does it belong to a shard?

use std::fmt;
use std::ops::RangeInclusive;
use std::str;

use crate::hash::{digest, hash_key};
use crate::protobuf::{Fields, Malformed, Value};
use crate::{DIGEST_BYTES, MAGIC, UserRecord};

/// Why data that says it is an aggregate, with a right digest, holds no readable user records.
///
/// KCL logs such a record and hands on what came before the fault; here the caller decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A user record names a place that its table of keys does not have.
    NoSuchKey {
        /// The user record's place.
        record: usize,
        /// The place it names.
        key: u64,
    },
    /// A key or a tag is not UTF-8.
    NotText,
    /// An explicit hash key is not a decimal number below 2^128.
    HashKey {
        /// The user record's place.
        record: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchKey { record, key } => {
                write!(formatter, "user record {record} names key {key}, not in its table")
            }
            Self::NotText => formatter.write_str("a key or a tag is not text"),
            Self::HashKey { record } => {
                write!(formatter, "the explicit hash key of user record {record} is no hash key")
            }
        }
    }
}

impl std::error::Error for Error {}

/// The user records that one Kinesis record carries; every one of them has been checked.
#[derive(Clone, Debug)]
pub struct Aggregate<'a> {
    message: &'a [u8],
    partition_keys: Vec<&'a str>,
    explicit_hash_keys: Vec<&'a str>,
    count: usize,
}

/// Reads the data of a Kinesis record; none when it is an ordinary record.
///
/// Shape:  the data → its user records, borrowed; beside them, memory for the tables of keys only.
/// Errors: a right digest over user records that cannot be read. Data without the magic, with a wrong digest, or whose
///         message lacks what the format requires is an ordinary record, as KCL takes it.
/// Source: "KPL Aggregated Record Format", amazon-kinesis-producer; observed: `AggregationTest` of the Java suite.
pub fn decode(data: &[u8]) -> Result<Option<Aggregate<'_>>, Error> {
    let Some(body) = data.strip_prefix(&MAGIC) else { return Ok(None) };
    let Some((message, tail)) = body.split_last_chunk::<DIGEST_BYTES>() else { return Ok(None) };
    // KCL wants a message of one byte at least.
    if message.is_empty() || digest(message) != *tail {
        return Ok(None);
    }
    let Ok(tables) = Tables::read(message) else { return Ok(None) };
    let aggregate = Aggregate {
        message,
        partition_keys: as_texts(tables.partition_keys)?,
        explicit_hash_keys: as_texts(tables.explicit_hash_keys)?,
        count: tables.records,
    };
    aggregate.check()?;
    Ok(Some(aggregate))
}

impl<'a> Aggregate<'a> {
    /// How many user records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none: such an aggregate is legal and yields nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The user records.
    ///
    /// Order:  as their producer added them; a record's place is its sub-sequence number.
    #[must_use]
    pub fn records(&self) -> Records<'a, '_> {
        Records { aggregate: self, fields: Fields::of(self.message) }
    }

    /// Whether all user records belong to a shard with this range of hash keys.
    ///
    /// A consumer drops an aggregate of which one user record does not: it was made before a split or a merge that its
    /// producer had not yet noticed, and the producer writes its records again.
    ///
    /// Source: observed: KCL 3.5.1 `AggregatorUtil`, `AggregationTest` of the Java suite.
    #[must_use]
    pub fn lies_within(&self, range: &RangeInclusive<u128>) -> bool {
        self.records().all(|record| {
            let key = match record.explicit_hash_key {
                None => Some(hash_key(record.partition_key)),
                Some(explicit) => parsed(explicit),
            };
            key.is_some_and(|key| range.contains(&key))
        })
    }

    fn check(&self) -> Result<(), Error> {
        let mut fields = Fields::of(self.message);
        let mut place = 0;
        while let Some(raw) = next_record(&mut fields) {
            let record = self.resolve(&raw, place)?;
            if record.explicit_hash_key.is_some_and(|key| parsed(key).is_none()) {
                return Err(Error::HashKey { record: place });
            }
            place += 1;
        }
        Ok(())
    }

    fn resolve(&self, raw: &Raw<'a>, place: usize) -> Result<UserRecord<'a>, Error> {
        let named = |table: &[&'a str], key: u64| {
            let found = usize::try_from(key).ok().and_then(|key| table.get(key).copied());
            found.ok_or(Error::NoSuchKey { record: place, key })
        };
        let explicit_hash_key = raw.explicit_hash_key.map(|key| named(&self.explicit_hash_keys, key)).transpose()?;
        let tags = raw.tags.iter().map(|(key, value)| Ok((as_text(key)?, value.map(as_text).transpose()?)));
        Ok(UserRecord {
            partition_key: named(&self.partition_keys, raw.partition_key)?,
            explicit_hash_key,
            data: raw.data,
            tags: tags.collect::<Result<_, Error>>()?,
        })
    }
}

/// The user records of an aggregate, one after the other.
#[derive(Clone, Debug)]
pub struct Records<'a, 'b> {
    aggregate: &'b Aggregate<'a>,
    fields: Fields<'a>,
}

impl<'a> Iterator for Records<'a, '_> {
    type Item = UserRecord<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        // The whole message has been checked: it neither ends early nor names a key that is not there.
        let raw = next_record(&mut self.fields)?;
        self.aggregate.resolve(&raw, 0).ok()
    }
}

/// What a first pass over a message finds; the tables may come after the records that name them.
#[derive(Default)]
struct Tables<'a> {
    partition_keys: Vec<&'a [u8]>,
    explicit_hash_keys: Vec<&'a [u8]>,
    records: usize,
}

impl<'a> Tables<'a> {
    fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut found = Self::default();
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            match (field, value) {
                (1, Value::Bytes(key)) => found.partition_keys.push(key),
                (2, Value::Bytes(key)) => found.explicit_hash_keys.push(key),
                (3, Value::Bytes(record)) => {
                    Raw::read(record)?;
                    found.records += 1;
                }
                // Fields of a later version.
                _ => {}
            }
        }
        Ok(found)
    }
}

/// A user record with places of keys instead of keys.
struct Raw<'a> {
    partition_key: u64,
    explicit_hash_key: Option<u64>,
    data: &'a [u8],
    tags: Vec<(&'a [u8], Option<&'a [u8]>)>,
}

impl<'a> Raw<'a> {
    fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let (mut partition_key, mut explicit_hash_key, mut data, mut tags) = (None, None, None, Vec::new());
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            match (field, value) {
                (1, Value::Varint(key)) => partition_key = Some(key),
                (2, Value::Varint(key)) => explicit_hash_key = Some(key),
                (3, Value::Bytes(bytes)) => data = Some(bytes),
                (4, Value::Bytes(tag)) => tags.push(tag_of(tag)?),
                _ => {}
            }
        }
        let (Some(partition_key), Some(data)) = (partition_key, data) else { return Err(Malformed) };
        Ok(Self { partition_key, explicit_hash_key, data, tags })
    }
}

fn tag_of(message: &[u8]) -> Result<(&[u8], Option<&[u8]>), Malformed> {
    let (mut key, mut value) = (None, None);
    let mut fields = Fields::of(message);
    while let Some((field, found)) = fields.next()? {
        match (field, found) {
            (1, Value::Bytes(bytes)) => key = Some(bytes),
            (2, Value::Bytes(bytes)) => value = Some(bytes),
            _ => {}
        }
    }
    Ok((key.ok_or(Malformed)?, value))
}

/// The next user record of a message that has been read once without fault.
fn next_record<'a>(fields: &mut Fields<'a>) -> Option<Raw<'a>> {
    while let Ok(Some((field, value))) = fields.next() {
        if let (3, Value::Bytes(record)) = (field, value) {
            return Raw::read(record).ok();
        }
    }
    None
}

fn as_text(bytes: &[u8]) -> Result<&str, Error> {
    str::from_utf8(bytes).map_err(|_| Error::NotText)
}

fn as_texts(keys: Vec<&[u8]>) -> Result<Vec<&str>, Error> {
    keys.into_iter().map(as_text).collect()
}

fn parsed(explicit_hash_key: &str) -> Option<u128> {
    // Rust takes a sign in front; the service does not.
    explicit_hash_key.starts_with(|first: char| first.is_ascii_digit()).then(|| explicit_hash_key.parse().ok())?
}
