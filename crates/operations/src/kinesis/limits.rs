//! The service's limits on how fast data streams are used, for who wants to meet them (`--aws-limits`).
//!
//! A bucket holds a second's worth and fills with system time. Calls and records are counted when they come. Bytes are taken
//! whole while anything is left, and the debt is worked off before the next ones: so a record of the greatest size fits,
//! and a page of 10 MB keeps its shard's readers waiting for the rest of five seconds.

use std::collections::VecDeque;

use headwater_api::kinesis::errors;
use headwater_api::{Call, Error};
use headwater_types::hash::FixedMap;
use headwater_types::{Clock, Millis, ShardUid, StreamUid};
use parking_lot::Mutex;

use super::name::shard_id;
use crate::rate::Bucket;

/// Put into one shard. Unit: records/s. Source: "Quotas and limits", Kinesis developer guide.
pub const RECORDS_PER_SECOND: f64 = 1_000.0;
/// Put into one shard, partition keys counted. Unit: bytes/s. Source: as above.
pub const BYTES_PER_SECOND: f64 = 1_048_576.0;
/// GetRecords of one shard. Unit: 1/s. Source: as above.
pub const READS_PER_SECOND: f64 = 5.0;
/// Given by GetRecords of one shard. Unit: bytes/s. Source: as above.
pub const READ_BYTES_PER_SECOND: f64 = 2.0 * 1_048_576.0;
/// GetShardIterator of one shard. Unit: 1/s. Source: as above.
pub const ITERATORS_PER_SECOND: f64 = 5.0;
/// DescribeStream of one stream. Unit: 1/s. Source: as above, where it is an account's.
pub const DESCRIBES_PER_SECOND: f64 = 10.0;
/// UpdateShardCount of one stream within [`DAY_MS`]. Source: "UpdateShardCount", Kinesis API reference.
pub const SCALINGS_PER_DAY: usize = 10;
/// UpdateStreamMode of one stream within [`DAY_MS`]. Source: "UpdateStreamMode", Kinesis API reference.
pub const MODES_PER_DAY: usize = 2;
/// Unit: ms of store time.
const DAY_MS: i64 = 86_400_000;
/// Buckets that are full again are forgotten once there are so many.
const BUCKETS_MAX: usize = 10_000;

/// What has been done lately, per shard and stream.
pub(crate) struct Limits {
    clock: Clock,
    shards: Mutex<FixedMap<(StreamUid, ShardUid), Shard>>,
    streams: Mutex<FixedMap<StreamUid, Stream>>,
}

#[derive(Clone, Copy)]
struct Shard {
    records: Bucket,
    bytes: Bucket,
    reads: Bucket,
    read_bytes: Bucket,
    iterators: Bucket,
}

impl Shard {
    fn full(at: std::time::Duration) -> Self {
        Self {
            records: Bucket::full(RECORDS_PER_SECOND, at),
            bytes: Bucket::full(BYTES_PER_SECOND, at),
            reads: Bucket::full(READS_PER_SECOND, at),
            read_bytes: Bucket::full(READ_BYTES_PER_SECOND, at),
            iterators: Bucket::full(ITERATORS_PER_SECOND, at),
        }
    }

    fn buckets(&mut self) -> [&mut Bucket; 5] {
        [&mut self.records, &mut self.bytes, &mut self.reads, &mut self.read_bytes, &mut self.iterators]
    }

    fn fill(&mut self, at: std::time::Duration) {
        self.buckets().into_iter().for_each(|bucket| bucket.fill(at));
    }

    /// A record is put, when there is room for it.
    fn put(&mut self, bytes: usize) -> bool {
        let allowed = self.records.left >= 1.0 && self.bytes.left > 0.0;
        if allowed {
            self.records.left -= 1.0;
            self.bytes.left -= bytes as f64;
        }
        allowed
    }

    fn is_full(&mut self) -> bool {
        self.buckets().iter().all(|bucket| bucket.is_full())
    }
}

struct Stream {
    describes: Bucket,
    scalings: VecDeque<Millis>,
    modes: VecDeque<Millis>,
}

/// A shard as it is used and as its refusals name it.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Its stream.
    pub stream: StreamUid,
    /// Its stream's name.
    pub name: &'a str,
    /// It.
    pub shard: ShardUid,
    /// Its place in its stream.
    pub index: u32,
}

impl Limits {
    pub fn new(clock: Clock) -> Self {
        Self { clock, shards: Mutex::default(), streams: Mutex::default() }
    }

    /// Counts a record that is put. Errors: ProvisionedThroughputExceededException.
    pub fn put(&self, call: &Call, place: Place<'_>, bytes: usize) -> Result<(), Error> {
        self.with(call, place, |shard| shard.put(bytes))
    }

    /// Counts a record that is put by ourselves; whether its shard takes it.
    pub fn takes(&self, stream: StreamUid, shard: ShardUid, bytes: usize) -> bool {
        self.taken((stream, shard), |shard| shard.put(bytes))
    }

    /// Counts a GetRecords. Errors: ProvisionedThroughputExceededException.
    pub fn read(&self, call: &Call, place: Place<'_>) -> Result<(), Error> {
        self.with(call, place, |shard| {
            let allowed = shard.reads.left >= 1.0 && shard.read_bytes.left > 0.0;
            if allowed {
                shard.reads.left -= 1.0;
            }
            allowed
        })
    }

    /// Counts what a GetRecords has given.
    pub fn gave(&self, place: Place<'_>, bytes: usize) {
        if let Some(shard) = self.shards.lock().get_mut(&(place.stream, place.shard)) {
            shard.read_bytes.left -= bytes as f64;
        }
    }

    /// Counts a GetShardIterator. Errors: ProvisionedThroughputExceededException.
    pub fn iterator(&self, call: &Call, place: Place<'_>) -> Result<(), Error> {
        self.with(call, place, |shard| {
            let allowed = shard.iterators.left >= 1.0;
            if allowed {
                shard.iterators.left -= 1.0;
            }
            allowed
        })
    }

    fn with(&self, call: &Call, place: Place<'_>, take: impl FnOnce(&mut Shard) -> bool) -> Result<(), Error> {
        if self.taken((place.stream, place.shard), take) { Ok(()) } else { Err(exceeded(call, place)) }
    }

    fn taken(&self, of: (StreamUid, ShardUid), take: impl FnOnce(&mut Shard) -> bool) -> bool {
        let at = self.clock.monotonic();
        let mut shards = self.shards.lock();
        if shards.len() >= BUCKETS_MAX {
            shards.retain(|_, shard| {
                shard.fill(at);
                !shard.is_full()
            });
        }
        let shard = shards.entry(of).or_insert_with(|| Shard::full(at));
        shard.fill(at);
        take(shard)
    }

    /// Counts a DescribeStream. Errors: LimitExceededException (text unverified).
    pub fn describe(&self, call: &Call, stream: StreamUid, name: &str) -> Result<(), Error> {
        let at = self.clock.monotonic();
        self.stream(stream, |stream| {
            stream.describes.fill(at);
            let allowed = stream.describes.left >= 1.0;
            if allowed {
                stream.describes.left -= 1.0;
                return Ok(());
            }
            let account = &call.principal.account;
            Err(errors::limit_exceeded(format!("Rate exceeded for stream {name} under account {account}.")))
        })
    }

    /// Counts an UpdateShardCount. Errors: LimitExceededException (text unverified).
    pub fn scale(&self, stream: StreamUid, name: &str) -> Result<(), Error> {
        let now = self.clock.store();
        self.stream(stream, |stream| daily(&mut stream.scalings, now, SCALINGS_PER_DAY, "UpdateShardCount", name))
    }

    /// Counts an UpdateStreamMode. Errors: LimitExceededException (text unverified).
    pub fn mode(&self, stream: StreamUid, name: &str) -> Result<(), Error> {
        let now = self.clock.store();
        self.stream(stream, |stream| daily(&mut stream.modes, now, MODES_PER_DAY, "UpdateStreamMode", name))
    }

    fn stream(&self, uid: StreamUid, take: impl FnOnce(&mut Stream) -> Result<(), Error>) -> Result<(), Error> {
        let (at, now) = (self.clock.monotonic(), self.clock.store());
        let mut streams = self.streams.lock();
        if streams.len() >= BUCKETS_MAX {
            streams.retain(|_, stream| {
                stream.describes.fill(at);
                forget(&mut stream.scalings, now);
                forget(&mut stream.modes, now);
                !stream.describes.is_full() || !stream.scalings.is_empty() || !stream.modes.is_empty()
            });
        }
        let new = || Stream {
            describes: Bucket::full(DESCRIBES_PER_SECOND, at),
            scalings: VecDeque::new(),
            modes: VecDeque::new(),
        };
        take(streams.entry(uid).or_insert_with(new))
    }
}

/// Forgets what was a day ago.
fn forget(past: &mut VecDeque<Millis>, now: Millis) {
    past.retain(|at| now.0 - at.0 < DAY_MS);
}

fn daily(past: &mut VecDeque<Millis>, now: Millis, most: usize, operation: &str, stream: &str) -> Result<(), Error> {
    forget(past, now);
    if past.len() < most {
        past.push_back(now);
        return Ok(());
    }
    Err(errors::limit_exceeded(format!(
        "{operation} may be called at most {most} times in a rolling 24-hour period for stream {stream}."
    )))
}

/// Source: "PutRecords", Kinesis API reference shows the text.
fn exceeded(call: &Call, place: Place<'_>) -> Error {
    errors::provisioned_throughput_exceeded(format!(
        "Rate exceeded for shard {} in stream {} under account {}.",
        shard_id(place.index),
        place.name,
        call.principal.account
    ))
}

#[cfg(test)]
mod tests;
