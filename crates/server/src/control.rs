//! Moving what users of the real service cannot: the clock, shards, retention, iterators, faults, copies of the store.
//!
//! The handle is for Rust in the same process; [`http`] serves it on the admin address under `/v1/`, to whoever knows the
//! token; `headwater ctl` is the command over that. What makes no sense is refused with a reason, and nothing changes.

mod data_streams;
pub(crate) mod http;
mod names;
mod shards;
mod view;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use headwater_delivery::{Disturbance, Jobs};
use headwater_log::{Error, Log, sequence};
use headwater_types::{HashKey, Millis, SequenceNumber, TableId};
use headwater_wire::{FaultRule, FaultState, Faults};

use crate::fork::{ForkInfo, Forks, SnapshotReport};
use crate::lifecycle::Addresses;

pub use self::names::Names;
use self::names::Target;
pub use self::view::{ClockView, HeatView, Refused, ReplicationView, SequenceRange, ShardView, Shards, StreamView};

/// A handle on a running server's clock, shards, faults and copies. Clones share it.
#[derive(Clone)]
pub struct Control {
    log: Arc<Log>,
    forks: Arc<Forks>,
    faults: Arc<Faults>,
    jobs: Arc<Jobs>,
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
    pub(crate) fn new(log: Arc<Log>, forks: Arc<Forks>, faults: Arc<Faults>, jobs: Arc<Jobs>) -> Self {
        Self { log, forks, faults, jobs }
    }

    /// Store time and system time.
    pub fn clock(&self) -> ClockView {
        self.log.clock_state().into()
    }

    /// Moves store time ahead, a frozen one too. It never goes back, and the move outlives a restart.
    ///
    /// Errors: less than a millisecond, beyond the year 9999.
    /// Order:  records, shards and streams whose time is over by then are gone when the answer comes. What else waits for
    ///         a moment (roll-over, expiry of items) has been woken and follows.
    pub async fn advance(&self, by: Duration) -> Result<ClockView, Refused> {
        let clock = self.log.advance_clock(by).await?;
        // The background task trims too, but some moment later: a test would see the one or the other.
        if let Err(error) = self.log.retain().await {
            tracing::warn!(%error, "trimming after the clock was moved failed; the background task tries again");
        }
        Ok(clock.into())
    }

    /// Moves store time ahead to a moment, as [`Control::advance`] does.
    ///
    /// Errors: a moment that store time has passed, or is at; beyond the year 9999.
    pub async fn advance_to(&self, at: Millis) -> Result<ClockView, Refused> {
        let now = self.clock();
        let by = u64::try_from(at.0.saturating_sub(now.store_ms)).ok().filter(|by| *by > 0);
        let past = || Refused::invalid(format!("store time is {} already, and never goes back", now.store_time));
        self.advance(Duration::from_millis(by.ok_or_else(past)?)).await
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
        streams.extend(catalog.all_data_streams().map(|stream| StreamView::of_data(stream)));
        streams.sort_by(|a, b| a.arn.cmp(&b.arn));
        Ok(streams)
    }

    /// The shards of a table's newest stream, or of the stream or data stream that is named.
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
        if target.is_data_stream() {
            data_streams::split(&self.log, target, partition.shard, at).await?;
            return self.heat(names);
        }
        if !self.log.split_partition(table, HashKey(at), partition.id).await? {
            return Err(Refused::conflict("the partition was split by something else at the same time"));
        }
        self.heat(names)
    }

    /// Merges two open shards of a data stream: `names.shard`, and the one that begins where it ends.
    ///
    /// Shape:  the shards, or partitions, that there are afterwards.
    /// Errors: no data stream or one that is not ACTIVE, no such shards, closed ones, no neighbours.
    pub async fn merge(&self, names: &Names, with: Option<&str>) -> Result<Vec<HeatView>, Refused> {
        let target = self.target(names)?;
        if !target.is_data_stream() {
            return Err(Refused::invalid("shards of a DynamoDB stream never merge"));
        }
        let (Some(shard), Some(with)) = (&names.shard, with) else {
            return Err(Refused::invalid("name two neighbours: a shard, and the one that it is merged with"));
        };
        data_streams::merge(&self.log, target, shard, with).await?;
        self.heat(names)
    }

    /// Replaces an open shard by one child, or all open shards of the stream.
    ///
    /// Shape:  how many.
    /// Errors: no such shard, a closed one, a table without a stream, a data stream.
    pub async fn roll_over(&self, names: &Names) -> Result<usize, Refused> {
        let target = self.target(names)?;
        if target.is_data_stream() {
            return Err(Refused::invalid("shards of a data stream never roll over"));
        }
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
        let target = self.target(names)?;
        let stream = target.stream()?;
        let shard = names.shard.as_deref().map(|id| shards::by_id(&self.log, &target, id)).transpose()?;
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

    /// Adds a fault: calls that it applies to are hit from now on, until it is removed or the server ends.
    ///
    /// Errors: a rule that makes no sense.
    pub fn add_fault(&self, rule: FaultRule) -> Result<FaultState, Refused> {
        self.faults.add(rule).map_err(Refused::invalid)
    }

    /// Faults that stand, and what they have done. Order: as added.
    pub fn faults(&self) -> Vec<FaultState> {
        self.faults.list()
    }

    /// Removes a fault.
    ///
    /// Errors: none of that id stands.
    pub fn remove_fault(&self, id: u64) -> Result<(), Refused> {
        let removed = self.faults.remove(id);
        if removed { Ok(()) } else { Err(Refused::not_found(format!("no fault {id}"))) }
    }

    /// Removes all faults; how many there were.
    pub fn clear_faults(&self) -> usize {
        self.faults.clear()
    }

    /// Replications of tables to data streams that are on, and how far behind they are.
    pub fn replications(&self) -> Vec<ReplicationView> {
        self.jobs.replications().into_iter().map(ReplicationView::of).collect()
    }

    /// Lets replications repeat and reorder records from now on, as the service may; none: no longer.
    ///
    /// Errors: shares above 100 percent.
    pub fn disturb(&self, disturbance: Option<Disturbance>) -> Result<(), Refused> {
        if disturbance.is_some_and(|wanted| wanted.duplicates > 100 || wanted.reorders > 100) {
            return Err(Refused::invalid("duplicates and reorders are shares of at most 100 percent"));
        }
        self.jobs.disturb(disturbance);
        Ok(())
    }

    /// Copies the store to a folder that is new or empty: see [`Forks::snapshot`].
    pub async fn snapshot(&self, directory: &Path) -> Result<SnapshotReport, Refused> {
        self.forks.snapshot(directory).await
    }

    /// Starts another server on a copy of the store: see [`Forks::fork`].
    pub async fn fork(&self, directory: Option<PathBuf>) -> Result<Addresses, Refused> {
        self.forks.fork(directory).await
    }

    /// Starts another server on a copy of a snapshot: see [`Forks::restore`].
    pub async fn restore(&self, snapshot: PathBuf, directory: Option<PathBuf>) -> Result<Addresses, Refused> {
        self.forks.restore(snapshot, directory).await
    }

    /// Forks that run, oldest first.
    pub async fn forks(&self) -> Vec<ForkInfo> {
        self.forks.list().await
    }

    /// Stops a fork, named by where it serves DynamoDB: see [`Forks::end_fork`].
    pub async fn end_fork(&self, dynamodb: SocketAddr) -> Result<(), Refused> {
        self.forks.end_fork(dynamodb).await
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

/// Reads where a trim ends: a sequence number as clients see it, of either kind of stream.
fn number(text: &str) -> Option<SequenceNumber> {
    let of_data = || sequence::kinesis::parse(text).ok().map(|seen| seen.number);
    sequence::parse(text).ok().or_else(of_data)
}
