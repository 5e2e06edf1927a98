//! Encoding: user records into the data of one Kinesis record.

use std::collections::BTreeMap;

use crate::hash::digest;
use crate::protobuf::{bytes_bytes, number_bytes, put_bytes, put_number};
use crate::{DIGEST_BYTES, MAGIC, UserRecord};

/// Collects user records for one Kinesis record.
///
/// The Kinesis record's own partition key decides on its shard. It is the caller's business to give the first user record's,
/// and to put only records together that belong to one shard: readers drop an aggregate that mixes shards.
#[derive(Clone, Debug, Default)]
pub struct Aggregator {
    partition_keys: Table,
    explicit_hash_keys: Table,
    records: Vec<u8>,
    count: usize,
}

impl Aggregator {
    /// An aggregator without records.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many user records it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What `finish` would give.
    ///
    /// Unit:   bytes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        MAGIC.len() + self.partition_keys.bytes + self.explicit_hash_keys.bytes + self.records.len() + DIGEST_BYTES
    }

    /// What `finish` would give after one more record: a limit can be kept before it is passed.
    ///
    /// Unit:   bytes.
    #[must_use]
    pub fn size_with_bytes(&self, record: &UserRecord<'_>) -> usize {
        let (partition_key, more) = self.partition_keys.would(record.partition_key);
        let explicit = record.explicit_hash_key.map(|key| self.explicit_hash_keys.would(key));
        let mut within = number_bytes(partition_key) + bytes_bytes(record.data.len());
        within += explicit.map_or(0, |(place, _)| number_bytes(place));
        within += record.tags.iter().map(|tag| bytes_bytes(encoded_tag(tag).len())).sum::<usize>();
        self.size_bytes() + more + explicit.map_or(0, |(_, more)| more) + bytes_bytes(within)
    }

    /// Adds a record; its sub-sequence number is the count of those before it.
    pub fn add(&mut self, record: &UserRecord<'_>) {
        let mut encoded = Vec::with_capacity(record.data.len() + 16);
        put_number(&mut encoded, 1, self.partition_keys.place(record.partition_key));
        if let Some(key) = record.explicit_hash_key {
            put_number(&mut encoded, 2, self.explicit_hash_keys.place(key));
        }
        put_bytes(&mut encoded, 3, record.data);
        for tag in &record.tags {
            put_bytes(&mut encoded, 4, &encoded_tag(tag));
        }
        put_bytes(&mut self.records, 3, &encoded);
        self.count += 1;
    }

    /// The data of a Kinesis record that carries all user records.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        let mut data = Vec::with_capacity(self.size_bytes());
        data.extend_from_slice(&MAGIC);
        for (field, table) in [(1, &self.partition_keys), (2, &self.explicit_hash_keys)] {
            for key in &table.keys {
                put_bytes(&mut data, field, key.as_bytes());
            }
        }
        data.extend_from_slice(&self.records);
        let (_, message) = data.split_at(MAGIC.len());
        let digest = digest(message);
        data.extend_from_slice(&digest);
        data
    }
}

/// Keys that are written once and named by their places.
#[derive(Clone, Debug, Default)]
struct Table {
    keys: Vec<String>,
    places: BTreeMap<String, u64>,
    bytes: usize,
}

impl Table {
    /// The place that a key has or would get, and by how many bytes the table would grow.
    fn would(&self, key: &str) -> (u64, usize) {
        match self.places.get(key) {
            Some(place) => (*place, 0),
            None => (self.keys.len() as u64, bytes_bytes(key.len())),
        }
    }

    fn place(&mut self, key: &str) -> u64 {
        let (place, more) = self.would(key);
        if more > 0 {
            self.bytes += more;
            self.keys.push(key.to_owned());
            self.places.insert(key.to_owned(), place);
        }
        place
    }
}

fn encoded_tag((key, value): &(&str, Option<&str>)) -> Vec<u8> {
    let mut encoded = Vec::new();
    put_bytes(&mut encoded, 1, key.as_bytes());
    if let Some(value) = value {
        put_bytes(&mut encoded, 2, value.as_bytes());
    }
    encoded
}
