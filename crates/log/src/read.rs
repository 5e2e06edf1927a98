//! Reading a shard: where an iterator starts, and pages.
//!
//! A page, the shard's end and its horizon come from one snapshot, so a page never ends a shard whose last records it
//! does not show.

use headwater_storage::Snapshot;
use headwater_storage::contract::{From, LogRecord, PageLimit};
use headwater_storage::keyspace::partition_head;
use headwater_types::{Millis, SequenceNumber, ShardUid, StreamUid};
use tokio::sync::watch;

use crate::error::Error;
use crate::iterator::{self, IteratorError, ShardIterator};
use crate::open::{Log, Shared};
use crate::shard::{ShardRow, shard_key};
use crate::stream::{self, ShardList};

/// Where a client asks to start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// At the oldest record there is.
    TrimHorizon,
    /// After the newest.
    Latest,
    /// At this number.
    AtNumber(SequenceNumber),
    /// After this number.
    AfterNumber(SequenceNumber),
    /// At the first record of this moment or later; at the oldest there is when that one is younger.
    AtTime(Millis),
}

/// Where a page starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadFrom {
    /// At the horizon, wherever it is when the page is read.
    Horizon,
    /// At this number.
    At(SequenceNumber),
    /// After this number.
    After(SequenceNumber),
    /// After this number, which was the newest when the position was given: nothing between it and the horizon was
    /// missed, as an iterator's life is shorter than the retention.
    Tail(SequenceNumber),
}

/// One page of a shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// By rising number.
    pub records: Vec<LogRecord>,
    /// Where the next page starts; `None` once a closed shard has been read to its end.
    pub next: Option<ReadFrom>,
}

/// Why a shard cannot be read.
#[derive(Debug)]
pub enum ReadError {
    /// There is no such shard, or no longer.
    NoShard,
    /// The position lies before the horizon.
    Trimmed,
    /// The log's or the engine's error.
    Log(Error),
}

impl<E: Into<Error>> std::convert::From<E> for ReadError {
    fn from(error: E) -> Self {
        Self::Log(error.into())
    }
}

impl Log {
    /// A stream's shards at one snapshot; those closed longer ago than the retention are left out.
    pub fn shards(&self, stream: StreamUid) -> Result<ShardList, Error> {
        let shared = &*self.shared;
        stream::list(&*shared.cell.snapshot(), stream, shared.clock.store(), shared.retention_ms(stream))
    }

    /// Where an iterator of this kind starts.
    ///
    /// Errors: `NoShard`; `Trimmed` when a number lies before the horizon.
    /// Source: "GetShardIterator", DynamoDB Streams API reference.
    pub fn start(&self, stream: StreamUid, shard: ShardUid, start: Start) -> Result<ReadFrom, ReadError> {
        let shared = &*self.shared;
        let snapshot = shared.cell.snapshot();
        let (row, horizon) = shared.shard(&*snapshot, stream, shard)?;
        match start {
            Start::TrimHorizon => Ok(ReadFrom::Horizon),
            Start::Latest => {
                let newest = match row.ending {
                    Some(ending) => ending,
                    None => snapshot.head(partition_head(row.partition)).map_err(Error::from)?.number,
                };
                Ok(ReadFrom::Tail(newest))
            }
            Start::AtTime(at) if SequenceNumber::floor(at) < horizon => Ok(ReadFrom::Horizon),
            Start::AtTime(at) => Ok(ReadFrom::At(SequenceNumber::floor(at))),
            Start::AtNumber(number) if number < horizon => Err(ReadError::Trimmed),
            Start::AfterNumber(number) if next(number) < horizon => Err(ReadError::Trimmed),
            Start::AtNumber(number) => Ok(ReadFrom::At(number)),
            Start::AfterNumber(number) => Ok(ReadFrom::After(number)),
        }
    }

    /// Takes one page of a shard's records.
    ///
    /// Shape:  `next` is `None` at the end of a closed shard, in the same page as its last records.
    /// Unit:   the limit counts records and payload bytes.
    /// Errors: `NoShard`; `Trimmed` when the position lies before the horizon.
    /// Order:  by number, each record once; no record ever appears before a position that was passed.
    pub fn page(
        &self,
        stream: StreamUid,
        shard: ShardUid,
        from: ReadFrom,
        limit: PageLimit,
    ) -> Result<Page, ReadError> {
        let shared = &*self.shared;
        let snapshot = shared.cell.snapshot();
        let (row, horizon) = shared.shard(&*snapshot, stream, shard)?;
        let start = match from {
            ReadFrom::Horizon => From::At(horizon),
            ReadFrom::At(number) if number < horizon => return Err(ReadError::Trimmed),
            ReadFrom::After(number) if next(number) < horizon => return Err(ReadError::Trimmed),
            ReadFrom::At(number) => From::At(number),
            ReadFrom::After(number) => From::After(number),
            ReadFrom::Tail(number) if number < horizon => From::At(horizon),
            ReadFrom::Tail(number) => From::After(number),
        };
        let records = shared.read_log(&*snapshot, shard, start, limit)?;
        let passed = match (records.last(), start) {
            (Some(last), _) => last.number,
            (None, From::After(number)) => number,
            (None, From::At(number)) => SequenceNumber(number.0.saturating_sub(1)),
        };
        let one = PageLimit { records: 1, bytes: 1 };
        let more = !records.is_empty()
            && (records.len() >= limit.records && row.ending.is_none()
                || !shared.read_log(&*snapshot, shard, From::After(passed), one)?.is_empty());
        let next = match (more, row.ending) {
            (true, _) => Some(ReadFrom::After(passed)),
            (false, None) => Some(ReadFrom::Tail(passed)),
            (false, Some(_)) => None,
        };
        Ok(Page { records, next })
    }

    /// An iterator at a position, with its end. Unit: `life_ms` in store time.
    pub fn iterator(&self, stream: StreamUid, shard: ShardUid, from: ReadFrom, life_ms: i64) -> ShardIterator {
        let expires = Millis(self.shared.clock.store().0 + life_ms);
        ShardIterator { stream, shard, from, expires, given: self.shared.views.iterators() }
    }

    /// Seals an iterator behind a readable prefix that the seal covers (`{stream ARN}|1|`, or nothing).
    pub fn seal(&self, iterator: &ShardIterator, prefix: &str) -> String {
        iterator::seal(&self.shared.incarnation, iterator, prefix)
    }

    /// Opens a sealed iterator, prefix included.
    pub fn unseal(&self, token: &str) -> Result<ShardIterator, IteratorError> {
        let shared = &*self.shared;
        iterator::unseal(&shared.incarnation, token, shared.clock.store(), shared.views.iterators())
    }

    /// A receiver that is marked changed when readers can see something new of a shard, or it is closed.
    ///
    /// Order: subscribe, then read, then wait: what the read did not see wakes the wait.
    pub fn changed(&self, shard: ShardUid) -> watch::Receiver<u64> {
        self.shared.notify.subscribe(shard)
    }
}

/// The first number that a reader who has read up to `number` has not seen: its position.
fn next(number: SequenceNumber) -> SequenceNumber {
    SequenceNumber(number.0.saturating_add(1))
}

impl Shared {
    /// A listed shard's row and its horizon now.
    fn shard(
        &self,
        snapshot: &dyn Snapshot,
        stream: StreamUid,
        shard: ShardUid,
    ) -> Result<(ShardRow, SequenceNumber), ReadError> {
        let key = shard_key(stream, shard);
        let row = snapshot.get(&key).map_err(Error::from)?.ok_or(ReadError::NoShard)?;
        let row = ShardRow::decode(&key, &row)?;
        let (now, retention_ms) = (self.clock.store(), self.retention_ms(stream));
        if row.is_gone_at(now, retention_ms) {
            return Err(ReadError::NoShard);
        }
        let horizon = row.horizon_at(now, retention_ms);
        Ok((row, horizon))
    }

    pub(crate) fn read_log(
        &self,
        snapshot: &dyn Snapshot,
        shard: ShardUid,
        from: From,
        limit: PageLimit,
    ) -> Result<Vec<LogRecord>, Error> {
        #[cfg(feature = "planted-bugs")]
        if self.settings.planted == Some(crate::settings::PlantedBug::NumberBeforeCommit) {
            return crate::planted::read_log(snapshot, shard, from, limit);
        }
        Ok(snapshot.read_log(shard, from, limit)?)
    }
}
