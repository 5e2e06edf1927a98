//! Moving what users of the real service cannot: the clock, shards, retention, iterators.
//!
//! The handle is for Rust in the same process; [`http`] serves it on the admin address under `/v1/`, to whoever knows the
//! token; `headwater ctl` is the command over that. What makes no sense is refused with a reason, and nothing changes.

pub(crate) mod http;
mod names;
mod shards;
mod view;

use std::sync::Arc;
use std::time::Duration;

use headwater_log::{Error, Log, sequence};
use headwater_types::{HashKey, SequenceNumber, TableId};

pub use self::names::Names;
use self::names::Target;
pub use self::view::{ClockView, HeatView, Refused, SequenceRange, ShardView, Shards, StreamView};

/// A handle on a running server's clock and shards. Clones share it.
#[derive(Clone)]
pub struct Control {
    log: Arc<Log>,
}

/// Where a trim ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Before {
    /// Everything there is.
    All,
    /// Records below this number.
    Number(SequenceNumber),
}

impl Control {
    pub(crate) fn new(log: Arc<Log>) -> Self {
        Self { log }
    }

    /// Store time and system time.
    pub fn clock(&self) -> ClockView {
        self.log.clock_state().into()
    }

    /// Moves store time ahead, a frozen one too. It never goes back, and the move outlives a restart.
    ///
    /// Errors: less than a millisecond, beyond the year 9999.
    pub async fn advance(&self, by: Duration) -> Result<ClockView, Refused> {
        Ok(self.log.advance_clock(by).await?.into())
    }

    /// Stops store time until it is released, over restarts too.
    pub async fn freeze(&self) -> Result<ClockView, Refused> {
        Ok(self.log.freeze_clock().await?.into())
    }

    /// Lets store time go on, as far ahead of system time as before.
    pub async fn release(&self) -> Result<ClockView, Refused> {
        Ok(self.log.release_clock().await?.into())
    }

    /// Every stream of the server, by ARN.
    pub fn streams(&self) -> Result<Vec<StreamView>, Refused> {
        let catalog = self.log.catalog()?;
        let mut streams: Vec<StreamView> = catalog.all_streams().map(|stream| StreamView::of(stream)).collect();
        streams.sort_by(|a, b| a.arn.cmp(&b.arn));
        Ok(streams)
    }

    /// The shards of a table's newest stream, or of the stream that is named.
    pub fn shards(&self, names: &Names) -> Result<Shards, Refused> {
        shards::list(&self.log, &self.target(names)?)
    }

    /// How hot a table's partitions are, with or without a stream.
    pub fn heat(&self, names: &Names) -> Result<Vec<HeatView>, Refused> {
        let table = self.target(names)?.table()?;
        let partitions = self.log.partitions(table)?;
        Ok(partitions.iter().map(HeatView::of).collect())
    }

    /// Splits a partition with its open shard in two: the one of the shard that is named, the one that holds `at`, or the
    /// hottest. Without `at` it is cut in the middle.
    ///
    /// Shape:  the shards, or partitions, that there are afterwards.
    /// Errors: no such shard, a closed one, a range of a single hash, a cut at the first hash.
    pub async fn split(&self, names: &Names, at: Option<u128>) -> Result<Vec<HeatView>, Refused> {
        let target = self.target(names)?;
        let table = target.table()?;
        let partitions = self.log.partitions(table)?;
        let partition = shards::partition(&self.log, &target, &partitions, names.shard.as_deref(), at)?;
        let (start, end) = partition.hash_range;
        if start == end {
            return Err(Refused::invalid("a range of a single hash cannot be split"));
        }
        let at = at.unwrap_or(start + (end - start) / 2 + 1);
        if at == start {
            return Err(Refused::invalid("a partition cannot be split at its first hash: nothing would lie below it"));
        }
        if !self.log.split_partition(table, HashKey(at), partition.id).await? {
            return Err(Refused::conflict("the partition was split by something else at the same time"));
        }
        self.heat(names)
    }

    /// Replaces an open shard by one child, or all open shards of the stream.
    ///
    /// Shape:  how many.
    /// Errors: no such shard, a closed one, a table without a stream.
    pub async fn roll_over(&self, names: &Names) -> Result<usize, Refused> {
        let target = self.target(names)?;
        let table = target.table()?;
        let partitions = self.log.partitions(table)?;
        let wanted = match &names.shard {
            Some(id) => vec![shards::partition(&self.log, &target, &partitions, Some(id), None)?],
            None => partitions.iter().collect(),
        };
        let mut rolled = 0;
        for partition in wanted {
            let shard = partition.shard.ok_or_else(|| Refused::invalid("the table has no stream: no shard is open"))?;
            let at = HashKey(partition.hash_range.0);
            rolled += usize::from(self.log.roll_over_shard(table, at, shard).await?);
        }
        Ok(rolled)
    }

    /// Trims a stream's records, or those of one shard, though they are younger than the retention.
    ///
    /// Shape: how many shards lost something.
    pub async fn trim(&self, names: &Names, before: Before) -> Result<usize, Refused> {
        let stream = self.target(names)?.stream()?;
        let shard = names.shard.as_deref().map(|id| shards::by_id(&self.log, stream, id)).transpose()?;
        let below = match before {
            Before::All => SequenceNumber(u64::MAX),
            Before::Number(number) => number,
        };
        Ok(self.log.trim(stream, shard, below).await?)
    }

    /// Lets every shard iterator that was given so far be expired.
    pub async fn expire_iterators(&self) -> Result<(), Refused> {
        Ok(self.log.expire_iterators().await?)
    }

    fn target(&self, names: &Names) -> Result<Target, Refused> {
        names::find(&*self.log.catalog()?, names)
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(_) | Error::TooLarge { .. } => Self::invalid(error.to_string()),
            Error::NoTable(TableId(_)) => Self::not_found(error.to_string()),
            Error::Full | Error::Closed | Error::Storage(_) => Self::unavailable(error.to_string()),
        }
    }
}

/// Reads where a trim ends: a sequence number as clients see it.
fn number(text: &str) -> Option<SequenceNumber> {
    sequence::parse(text).ok()
}
