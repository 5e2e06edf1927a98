//! The service's rate limits on reading streams, for who wants to meet them (`--aws-limits`).
//!
//! A bucket holds a second's worth and fills with system time. Calls are counted when they come, bytes when they have been
//! given: a page larger than what is left is given whole, and the debt is worked off before the next one.

use headwater_api::Error;
use headwater_types::hash::FixedMap;
use headwater_types::{Clock, ShardUid, StreamUid};
use parking_lot::Mutex;

use crate::rate::Bucket;

/// GetRecords of one shard. Unit: 1/s. Source: two readers, each five: "Best practices", DynamoDB Streams guide, for the
/// two; aws-sdk-java-v2 issue 470 for the five (unverified).
pub const READS_PER_SECOND: f64 = 10.0;
/// Records of one shard. Unit: bytes/s. Source: two readers, each 2 MB/s, as above (unverified).
pub const BYTES_PER_SECOND: f64 = 4.0 * 1_048_576.0;
/// DescribeStream of one stream. Unit: 1/s. Source: "DescribeStream", DynamoDB Streams API reference.
pub const DESCRIBES_PER_SECOND: f64 = 10.0;
/// Buckets that are full again are forgotten once there are so many.
const BUCKETS_MAX: usize = 10_000;

/// What has been read lately, per shard and stream.
pub(crate) struct Limits {
    clock: Clock,
    shards: Mutex<FixedMap<(StreamUid, ShardUid), Reads>>,
    streams: Mutex<FixedMap<StreamUid, Bucket>>,
}

#[derive(Clone, Copy)]
struct Reads {
    calls: Bucket,
    bytes: Bucket,
}

impl Limits {
    pub fn new(clock: Clock) -> Self {
        Self { clock, shards: Mutex::default(), streams: Mutex::default() }
    }

    /// Counts a GetRecords. Errors: ThrottlingException when the shard was read too often, or too much of it.
    pub fn read(&self, stream: StreamUid, shard: ShardUid) -> Result<(), Error> {
        let at = self.clock.monotonic();
        let mut shards = self.shards.lock();
        if shards.len() >= BUCKETS_MAX {
            shards.retain(|_, reads| {
                reads.calls.fill(at);
                reads.bytes.fill(at);
                !reads.calls.is_full() || !reads.bytes.is_full()
            });
        }
        let new = || Reads { calls: Bucket::full(READS_PER_SECOND, at), bytes: Bucket::full(BYTES_PER_SECOND, at) };
        let reads = shards.entry((stream, shard)).or_insert_with(new);
        reads.calls.fill(at);
        reads.bytes.fill(at);
        if reads.calls.left < 1.0 || reads.bytes.left <= 0.0 {
            return Err(throttled());
        }
        reads.calls.left -= 1.0;
        Ok(())
    }

    /// Counts what a GetRecords has given.
    pub fn gave(&self, stream: StreamUid, shard: ShardUid, bytes: usize) {
        if let Some(reads) = self.shards.lock().get_mut(&(stream, shard)) {
            reads.bytes.left -= bytes as f64;
        }
    }

    /// Counts a DescribeStream. Errors: ThrottlingException when the stream was described too often.
    pub fn describe(&self, stream: StreamUid) -> Result<(), Error> {
        let at = self.clock.monotonic();
        let mut streams = self.streams.lock();
        if streams.len() >= BUCKETS_MAX {
            streams.retain(|_, calls| {
                calls.fill(at);
                !calls.is_full()
            });
        }
        let calls = streams.entry(stream).or_insert_with(|| Bucket::full(DESCRIBES_PER_SECOND, at));
        calls.fill(at);
        if calls.left < 1.0 {
            return Err(throttled());
        }
        calls.left -= 1.0;
        Ok(())
    }
}

/// Source: aws-sdk-java-v2 issue 470 shows the text, under a code that the streams' model does not have.
fn throttled() -> Error {
    Error::throttling("Rate exceeded")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use headwater_types::Millis;
    use headwater_types::runtime::simulated::World;

    use super::*;

    const STREAM: StreamUid = StreamUid(1);
    const SHARD: ShardUid = ShardUid(2);

    #[test]
    fn each_limit_holds_at_its_value_and_one_beyond() {
        let world = World::new(1);
        let runtime = world.node(1);
        world.run(async move {
            let clock = Clock::new(runtime.clone(), Millis(0));
            let limits = Limits::new(clock.clone());
            let mut counted = 0;
            let reads = || (0..READS_PER_SECOND as u32 + 1).map(|_| limits.read(STREAM, SHARD).is_ok());
            let mut expected = vec![true; READS_PER_SECOND as usize];
            expected.push(false);
            for _ in 0..3 {
                assert_eq!(reads().collect::<Vec<_>>(), expected);
                counted += expected.len();
                // Store time is another: a jump in it gives nothing back.
                clock.advance(Duration::from_secs(3_600));
                assert!(limits.read(STREAM, SHARD).is_err());
                assert!(limits.read(STREAM, ShardUid(3 + counted as u64)).is_ok(), "another shard has its own");
                runtime.sleep(Duration::from_millis(1_001)).await;
            }
            let described = (0..=DESCRIBES_PER_SECOND as u32).map(|_| limits.describe(STREAM).is_ok());
            assert_eq!(described.collect::<Vec<_>>(), expected);
            runtime.sleep(Duration::from_millis(101)).await;
            assert!(limits.describe(STREAM).is_ok() && limits.describe(STREAM).is_err(), "one each tenth of a second");

            // Exactly a second's bytes still leave nothing; one page beyond is given, and paid for.
            limits.read(STREAM, SHARD).expect("within");
            limits.gave(STREAM, SHARD, BYTES_PER_SECOND as usize - 1);
            limits.read(STREAM, SHARD).expect("a byte is left");
            limits.gave(STREAM, SHARD, 1 + BYTES_PER_SECOND as usize);
            assert!(limits.read(STREAM, SHARD).is_err());
            runtime.sleep(Duration::from_millis(990)).await;
            assert!(limits.read(STREAM, SHARD).is_err(), "the debt is a second's");
            runtime.sleep(Duration::from_millis(20)).await;
            assert!(limits.read(STREAM, SHARD).is_ok());
            println!("{counted} reads counted");
        });
    }

    #[test]
    fn idle_buckets_are_forgotten() {
        let world = World::new(2);
        let runtime = world.node(1);
        world.run(async move {
            let limits = Limits::new(Clock::new(runtime.clone(), Millis(0)));
            for shard in 0..BUCKETS_MAX as u64 {
                limits.read(STREAM, ShardUid(shard)).expect("within");
                limits.describe(StreamUid(shard)).expect("within");
            }
            runtime.sleep(Duration::from_secs(2)).await;
            limits.read(STREAM, SHARD).expect("within");
            limits.describe(STREAM).expect("within");
            assert_eq!((limits.shards.lock().len(), limits.streams.lock().len()), (1, 1));
        });
    }
}
