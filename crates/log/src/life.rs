//! The life of shards: a partition that stays hot or grows large is split, a shard that is old is rolled over to one child.
//!
//! Each look is cheap: heat is looked at where something is written, age when the next shard may be due. What it comes to
//! is work alone in its group, and only while what was looked at is still so: two nodes that look at the same time do it
//! once.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::select;
use headwater_catalog::{DataStreamDefinition, DataStreamState, Snapshot as Catalog, StreamMode};
use headwater_storage::Snapshot;
use headwater_storage::keyspace::partition_head;
use headwater_types::{HashKey, Millis, ShardUid, StreamUid, TableId};

use crate::definition::{Change, Defined, Definition};
use crate::error::Error;
use crate::heat::Hot;
use crate::lineage::{self, Partition};
use crate::open::{Log, Shared};
use crate::queue::{AloneEnd, Work};
use crate::shard::{ShardRow, shard_key};

/// How often heat is looked at. Unit: system time.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A partition of a table, as it is now.
#[derive(Clone, PartialEq, Debug)]
pub struct PartitionInfo {
    /// Identity inside the cell; never reused.
    pub id: u64,
    /// First and last hash key, both included.
    pub hash_range: (u128, u128),
    /// The open shard; none while nothing wants the log.
    pub shard: Option<ShardUid>,
    /// Items; estimated after a split, exact in the sum over the table.
    pub items: i64,
    /// Unit: bytes of items; estimated as the items are.
    pub bytes: i64,
    /// Writes per second in the last second, this node's view.
    pub writes_per_second: f64,
}

/// What happened to shards by themselves since this node started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lived {
    /// Partitions split because they were hot.
    pub hot_splits: u64,
    /// Partitions split because they were large.
    pub size_splits: u64,
    /// Shards rolled over because they were old.
    pub roll_overs: u64,
    /// On-demand data streams whose shards were doubled.
    pub scalings: u64,
}

/// The counters behind [`Lived`].
#[derive(Default)]
pub(crate) struct Counters {
    hot_splits: AtomicU64,
    size_splits: AtomicU64,
    roll_overs: AtomicU64,
    scalings: AtomicU64,
}

impl Log {
    /// A table's partitions by rising hash range. Empty when there is no such table.
    pub fn partitions(&self, table: TableId) -> Result<Vec<PartitionInfo>, Error> {
        let snapshot = self.shared.cell.snapshot();
        let info = |partition: &Partition| {
            let head = snapshot.head(partition_head(partition.id))?;
            Ok(PartitionInfo {
                id: partition.id,
                hash_range: partition.range,
                shard: partition.shard,
                items: head.items,
                bytes: head.bytes,
                writes_per_second: self.shared.heat.rate(partition.id),
            })
        };
        lineage::partitions(&*snapshot, table)?.iter().map(info).collect()
    }

    /// As [`Log::split`], only while it is this partition that holds `at`; false when it is another by now.
    pub async fn split_partition(&self, table: TableId, at: HashKey, partition: u64) -> Result<bool, Error> {
        let work = Work::Split { table, at, only: Some(partition) };
        Ok(self.shared.alone(work).await? == AloneEnd::Done)
    }

    /// As [`Log::roll_over`], only while this shard is the open one; false when it is closed by now.
    pub async fn roll_over_shard(&self, table: TableId, at: HashKey, shard: ShardUid) -> Result<bool, Error> {
        let work = Work::RollOver { table, at, only: Some(shard) };
        Ok(self.shared.alone(work).await? == AloneEnd::Done)
    }

    /// What happened to shards by themselves since this node started.
    pub fn lived(&self) -> Lived {
        let (read, counters) = (|counter: &AtomicU64| counter.load(Ordering::Relaxed), &self.shared.lived);
        Lived {
            hot_splits: read(&counters.hot_splits),
            size_splits: read(&counters.size_splits),
            roll_overs: read(&counters.roll_overs),
            scalings: read(&counters.scalings),
        }
    }
}

/// Looks again and again, until the log is dropped or closed.
pub(crate) async fn live(shared: Weak<Shared>) {
    let mut life = Life::default();
    let opened = shared.upgrade().map(|shared| (shared.runtime.clone(), shared.clock.changes()));
    let Some((runtime, mut clock)) = opened else { return };
    loop {
        drop(select(pin!(clock.changed()), runtime.sleep(LOOK_EVERY)).await);
        let Some(shared) = shared.upgrade() else { return };
        match life.look(&shared).await {
            Ok(()) => {}
            Err(Error::Closed) => return,
            Err(error) => tracing::warn!(%error, "shards stay as they are: a look at them failed"),
        }
    }
}

/// What is known from look to look.
#[derive(Default)]
struct Life {
    /// No shard is due before this store time.
    next_due: Option<Millis>,
    /// Partitions were looked at that nobody writes to.
    looked_at_all: bool,
}

impl Life {
    async fn look(&mut self, shared: &Arc<Shared>) -> Result<(), Error> {
        let now = shared.clock.store();
        if self.next_due.is_none_or(|due| due <= now) {
            self.next_due = Some(roll_over_old(shared, now).await?);
        }
        if !self.looked_at_all {
            for table in shared.catalog()?.all_tables() {
                for partition in lineage::partitions(&*shared.cell.snapshot(), table.id)? {
                    split_large(shared, table.id, &partition).await?;
                }
            }
            self.looked_at_all = true;
        }
        split_warm(shared).await?;
        scale_on_demand(shared).await
    }
}

/// Doubles the shards of on-demand data streams into which more is put than half of what their shards are made for.
///
/// Source: "On-demand mode", Kinesis developer guide: capacity is kept at twice the peak.
async fn scale_on_demand(shared: &Arc<Shared>) -> Result<(), Error> {
    let per_shard = shared.settings.split_writes_per_second / 2;
    if per_shard == 0 {
        return Ok(());
    }
    let (at, catalog) = (shared.clock.monotonic(), shared.catalog()?);
    for id in shared.flow.streams() {
        let Some(stream) = catalog.data_stream_by_id(id) else {
            shared.flow.forget(id);
            continue;
        };
        let open = lineage::partitions(&*shared.cell.snapshot(), id)?.len();
        let busy = shared.flow.is_busy(id, at, per_shard.saturating_mul(open as u64));
        let wanted = (open * 2).min(shared.settings.open_shards_max.max(open));
        if busy && stream.mode == StreamMode::OnDemand && stream.target_shards.is_none() && wanted > open {
            shared.flow.forget(id);
            shared.define_with_states(Scale { id, wanted }).await?;
            shared.lived.scalings.fetch_add(1, Ordering::Relaxed);
            tracing::info!(stream = id.0, shards = wanted, "an on-demand stream is scaled up");
        }
    }
    Ok(())
}

/// Scales a data stream, while it is on demand and nothing else is under way.
struct Scale {
    id: TableId,
    wanted: usize,
}

impl Definition for Scale {
    type Answer = ();

    fn decide(&mut self, catalog: &Catalog, _now: Millis) -> Defined<()> {
        let fits = |stream: &DataStreamDefinition| {
            stream.mode == StreamMode::OnDemand && stream.state == DataStreamState::Active
        };
        match catalog.data_stream_by_id(self.id) {
            Some(stream) if fits(stream) => Defined::Change(vec![Change::Reshard { id: self.id, shards: self.wanted }]),
            Some(_) | None => Defined::Answer(()),
        }
    }

    fn answer(&mut self, _catalog: &Catalog) {}
}

/// Splits what is written to and hot or large.
async fn split_warm(shared: &Shared) -> Result<(), Error> {
    let at = shared.clock.monotonic();
    for (table, id) in shared.heat.warm() {
        let snapshot = shared.cell.snapshot();
        let version = snapshot.head(partition_head(id))?.version;
        let hot = shared.heat.look(id, at, version);
        let large = snapshot.head(partition_head(id))?.bytes > shared.settings.partition_bytes_max;
        if hot.is_none() && !large {
            continue;
        }
        let partitions = lineage::partitions(&*snapshot, table)?;
        let Some(partition) = partitions.iter().find(|partition| partition.id == id) else {
            shared.heat.forget(id);
            continue;
        };
        match hot {
            Some(Hot { at, .. }) if partitions.len() < shared.settings.open_shards_max && at.0 > partition.range.0 => {
                let done = shared.alone(Work::Split { table, at, only: Some(id) }).await;
                if counted(done, &shared.lived.hot_splits)? {
                    tracing::info!(table = table.0, partition = id, "a hot partition was split");
                    shared.heat.forget(id);
                }
            }
            _ => split_large(shared, table, partition).await?,
        }
    }
    Ok(())
}

/// Splits a partition in the middle of its range when it holds more than a partition may.
async fn split_large(shared: &Shared, table: TableId, partition: &Partition) -> Result<(), Error> {
    let snapshot = shared.cell.snapshot();
    if snapshot.head(partition_head(partition.id))?.bytes <= shared.settings.partition_bytes_max {
        return Ok(());
    }
    let count = lineage::partitions(&*snapshot, table)?.len();
    let (start, end) = partition.range;
    if count >= shared.settings.open_shards_max || start == end {
        return Ok(());
    }
    let at = HashKey(start + (end - start) / 2 + 1);
    let done = shared.alone(Work::Split { table, at, only: Some(partition.id) }).await;
    if counted(done, &shared.lived.size_splits)? {
        tracing::info!(table = table.0, partition = partition.id, "a large partition was split");
        shared.heat.forget(partition.id);
    }
    Ok(())
}

/// Rolls over every shard whose life is over; before which store time none will be due again.
async fn roll_over_old(shared: &Shared, now: Millis) -> Result<Millis, Error> {
    let life_ms = shared.settings.shard_life_ms;
    // A shard that is opened later is due later than this.
    let mut next_due = Millis(now.0.saturating_add(life_of(life_ms, 0)));
    for table in shared.catalog()?.all_tables() {
        let Some(stream) = table.stream else { continue };
        for partition in lineage::partitions(&*shared.cell.snapshot(), table.id)? {
            let Some(shard) = partition.shard else { continue };
            let Some(due) = due(&*shared.cell.snapshot(), stream, shard, life_ms)? else { continue };
            if due > now {
                next_due = next_due.min(due);
                continue;
            }
            let at = HashKey(partition.range.0);
            let done = shared.alone(Work::RollOver { table: table.id, at, only: Some(shard) }).await;
            counted(done, &shared.lived.roll_overs)?;
        }
    }
    Ok(next_due)
}

/// When an open shard's life is over.
fn due(snapshot: &dyn Snapshot, stream: StreamUid, shard: ShardUid, life_ms: i64) -> Result<Option<Millis>, Error> {
    let key = shard_key(stream, shard);
    let Some(row) = snapshot.get(&key)? else { return Ok(None) };
    let name = ShardRow::decode(&key, &row)?.name;
    Ok(Some(Millis(name.created.0.saturating_add(life_of(life_ms, name.suffix)))))
}

/// A shard's life: nine to eleven tenths of the usual one, by what its name was drawn as, so that shards of one table do
/// not end all at once.
fn life_of(life_ms: i64, drawn: u32) -> i64 {
    let tenth = life_ms / 10;
    let more = i128::from(2 * tenth) * i128::from(drawn) / i128::from(u32::MAX);
    (life_ms - tenth).saturating_add(more as i64)
}

/// Counts work that was done. What came too late, or makes no sense any more, is no failure.
fn counted(end: Result<AloneEnd, Error>, counter: &AtomicU64) -> Result<bool, Error> {
    match end {
        Ok(AloneEnd::Done) => {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok(true)
        }
        Ok(AloneEnd::TakenBack) | Err(Error::Invalid(_) | Error::NoTable(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::life_of;

    #[test]
    fn lives_differ_by_a_tenth_to_each_side() {
        let hour = 3_600_000;
        assert_eq!(life_of(4 * hour, 0), 4 * hour - 24 * 60_000);
        assert_eq!(life_of(4 * hour, u32::MAX), 4 * hour + 24 * 60_000);
        assert!((0..100).map(|at| life_of(4 * hour, at << 25)).is_sorted());
        assert_eq!(life_of(i64::MAX, u32::MAX), i64::MAX);
    }
}
