//! Kinesis Data Streams for DynamoDB: moves a table's changes into a data stream.
//!
//! ```text
//! positions ─► page of each ─► render ─► rate of the target's shards ─► records + position in one commit
//!                                 │              └ refused: what comes before it goes, the rest later
//!                                 └ larger than the stream takes: passed over, counted
//! ```
//! A change that is too old to be kept for longer ends the destination: what it has not sent is counted as lost. Each
//! position moves by itself, so a shard of the target that takes nothing delays only what feeds it.

mod disturb;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use headwater_catalog::{
    DataStreamDefinition, DestinationState, KinesisDestination, TableDefinition, TableState, Tally,
};
use headwater_log::{Append, Change, Defined, Definition, DestinationChange, Log, MoverPosition, PageLimit, ShardList};
use headwater_table::replica;
use headwater_types::limits::{MOVER_HOLD_MS, STREAM_RETENTION_MS};
use headwater_types::{HashKey, Millis, SequenceNumber, ShardUid, StreamUid, TableId};

pub use self::disturb::Disturbance;
pub use self::watch::{Event, Events, Happening};
pub(crate) use self::watch::{Stall, Watch};
use crate::step::Failure;

/// One step of one position: records and bytes read, and bytes appended. Source: ours.
const PAGE: PageLimit = PageLimit { records: 500, bytes: 1 << 20 };
/// Unit: bytes of rendered records; one record fits always.
const STEP_BYTES_MAX: usize = 4 << 20;
/// After this age a change is given up: the retention of a stream, and as long again. Unit: ms of store time.
pub const GIVEN_UP_AFTER_MS: i64 = STREAM_RETENTION_MS + MOVER_HOLD_MS;

/// Whether a shard of a data stream takes a record of so many bytes now.
pub type Throttle = Arc<dyn Fn(StreamUid, ShardUid, usize) -> bool + Send + Sync>;

/// What a step of a destination did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Moved {
    pub tally: Tally,
    pub throttled: u64,
    pub duplicates: u64,
    pub more: bool,
}

impl Moved {
    fn and(self, other: Self) -> Self {
        Self {
            tally: self.tally + other.tally,
            throttled: self.throttled + other.throttled,
            duplicates: self.duplicates + other.duplicates,
            more: self.more || other.more,
        }
    }

    fn has_passed(&self) -> bool {
        self.tally != Tally::default()
    }
}

/// What a mover works with.
pub(crate) struct Mover<'a> {
    pub log: &'a Log,
    pub table: &'a Arc<TableDefinition>,
    pub destination: &'a KinesisDestination,
    pub throttle: Option<&'a Throttle>,
    pub disturbance: Option<Disturbance>,
    pub watch: &'a Watch,
    #[cfg(feature = "planted-bugs")]
    pub planted: Option<headwater_table::planted::PlantedBug>,
}

/// Where the records go, at one look.
struct Target {
    stream: Arc<DataStreamDefinition>,
    shards: ShardList,
}

impl Mover<'_> {
    /// One step of every position of the destination.
    pub async fn step(&self) -> Result<Moved, Failure> {
        let positions = self.log.positions(self.destination.incarnation)?;
        let open: Vec<&MoverPosition> = positions.iter().filter(|position| !position.is_done).collect();
        if open.is_empty() {
            return self.finish().await;
        }
        if self.destination.failure.is_some() {
            return self.count_lost(&open).await;
        }
        let Some(target) = self.target()? else { return self.wait_for_target().await };
        let mut moved = Moved::default();
        for step in join_all(open.iter().map(|position| self.move_one(position, &target))).await {
            match step? {
                Some(step) => moved = moved.and(step),
                None => return self.fail("changes were older than they are kept").await,
            }
        }
        if moved.has_passed() {
            self.watch.goes_on(self.log, self.table, self.destination);
        } else if moved.throttled > 0 {
            self.watch.stalls(self.log, self.table, self.destination, Stall::Throttled);
        }
        Ok(moved)
    }

    /// The data stream of the destination's name, when it takes records: whichever it is by now.
    fn target(&self) -> Result<Option<Target>, Failure> {
        let catalog = self.log.catalog()?;
        let found = catalog.data_stream(&self.table.scope, &self.destination.stream);
        let Some(stream) = found.filter(|stream| stream.state.serves()).cloned() else { return Ok(None) };
        let shards = self.log.shards(stream.uid)?;
        Ok(Some(Target { stream, shards }))
    }

    /// There is nothing to send to: what waits is given up when it is too old, or when its table goes.
    async fn wait_for_target(&self) -> Result<Moved, Failure> {
        self.watch.stalls(self.log, self.table, self.destination, Stall::NoTarget);
        if self.table.state == TableState::Deleting {
            return self.fail("the table was deleted, and there was no stream to send its changes to").await;
        }
        let oldest = self.log.oldest_unmoved(self.destination.incarnation)?;
        if oldest.is_some_and(|oldest| is_overdue(oldest, self.log.clock().store())) {
            return self.fail("changes were older than they are kept, and there was no stream to send them to").await;
        }
        Ok(Moved::default())
    }

    /// One step of one position; none when what comes next is too old.
    async fn move_one(&self, position: &MoverPosition, target: &Target) -> Result<Option<Moved>, Failure> {
        let page = self.log.source_page(position, PAGE)?;
        let now = self.log.clock().store();
        if page.records.first().is_some_and(|first| is_overdue(first.number.at(), now)) {
            return Ok(None);
        }
        let mut batch = Batch::default();
        let most = usize::try_from(target.stream.max_record_kib).unwrap_or_default() << 10;
        let mut moved = Moved::default();
        let mut passed = 0;
        for record in &page.records {
            let replica =
                replica::render(self.table, position.shard, record, self.destination.precision).map_err(|error| {
                    Failure::Passing(format!("a change of {} cannot be read: {error:?}", self.table.name))
                })?;
            if replica.data.len() > most {
                tracing::warn!(
                    table = %self.table.name,
                    bytes = replica.data.len(),
                    "a change is not replicated: its record exceeds the maximum of the stream"
                );
                moved.tally.oversized += 1;
            } else {
                let bytes = replica.partition_key.len() + replica.data.len();
                if !batch.records.is_empty() && batch.bytes + bytes > STEP_BYTES_MAX {
                    break;
                }
                let hash = HashKey::of(replica.partition_key.as_bytes());
                if !self.is_taken(target, hash, bytes) {
                    moved.throttled += 1;
                    break;
                }
                let payload = headwater_log::data_record::encode(&replica.partition_key, replica.data.as_bytes());
                batch.bytes += bytes;
                batch.records.push((record.number, Append { hash, payload }));
                moved.tally.sent += 1;
            }
            batch.after = record.number;
            passed += 1;
        }
        let passed_all = passed == page.records.len();
        let ended = page.ended && passed_all;
        if passed == 0 && !ended {
            return Ok(Some(moved));
        }
        if passed == 0 {
            batch.after = position.after;
        }
        moved.more = moved.throttled == 0;
        let records = batch.appends(self.disturbance, &mut moved);
        let step =
            headwater_log::Step { target: target.stream.id, records, after: batch.after, tally: moved.tally, ended };
        let done = self.commit(position, step).await?;
        Ok(Some(if done { moved } else { Moved { more: true, ..Moved::default() } }))
    }

    fn is_taken(&self, target: &Target, hash: HashKey, bytes: usize) -> bool {
        let Some(throttle) = self.throttle else { return true };
        let holds = |range: (u128, u128)| range.0 <= hash.0 && hash.0 <= range.1;
        let open = target.shards.shards().iter().find(|shard| shard.ending.is_none() && holds(shard.hash_range));
        open.is_none_or(|shard| throttle(target.stream.uid, shard.uid, bytes))
    }

    async fn commit(&self, position: &MoverPosition, step: headwater_log::Step) -> Result<bool, Failure> {
        #[cfg(feature = "planted-bugs")]
        if self.planted == Some(headwater_table::planted::PlantedBug::CursorApart) && !step.records.is_empty() {
            let (target, records) = (step.target, step.records.clone());
            let done = self.log.replicate(self.table.id, position, headwater_log::Step { records: Vec::new(), ..step });
            if !done.await? {
                return Ok(false);
            }
            self.log.runtime().sleep(Duration::from_millis(20)).await;
            self.log.append(target, records).await?;
            return Ok(true);
        }
        match self.log.replicate(self.table.id, position, step).await {
            // The target went, or its table did: the next look tells.
            Err(headwater_log::Error::NoTable(_)) => Ok(false),
            other => Ok(other?),
        }
    }

    /// Passes over what is not sent any more.
    async fn count_lost(&self, open: &[&MoverPosition]) -> Result<Moved, Failure> {
        let mut moved = Moved { more: true, ..Moved::default() };
        for position in open {
            let page = self.log.source_page(position, PAGE)?;
            let after = page.records.last().map_or(position.after, |last| last.number);
            if page.records.is_empty() && !page.ended {
                continue;
            }
            let tally = Tally { lost: page.records.len() as u64, ..Tally::default() };
            let step = headwater_log::Step { target: TableId(0), records: Vec::new(), after, tally, ended: page.ended };
            if self.log.replicate(self.table.id, position, step).await? {
                moved.tally = moved.tally + tally;
            }
        }
        Ok(moved)
    }

    /// All that was committed before the end of the destination has been passed.
    async fn finish(&self) -> Result<Moved, Failure> {
        if self.destination.state != DestinationState::Disabling {
            return Ok(Moved::default());
        }
        let change = DestinationChange::Finish { incarnation: self.destination.incarnation };
        self.log.define(End { table: self.table.id, change }).await?;
        Ok(Moved { more: true, ..Moved::default() })
    }

    async fn fail(&self, reason: &str) -> Result<Moved, Failure> {
        let incarnation = self.destination.incarnation;
        let change = DestinationChange::Fail { incarnation, reason: reason.to_owned() };
        self.log.define(End { table: self.table.id, change }).await?;
        Ok(Moved { more: true, ..Moved::default() })
    }
}

/// What a step appends.
#[derive(Default)]
struct Batch {
    records: Vec<(SequenceNumber, Append)>,
    bytes: usize,
    after: SequenceNumber,
}

impl Batch {
    fn appends(&mut self, disturbance: Option<Disturbance>, moved: &mut Moved) -> Vec<Append> {
        let records = std::mem::take(&mut self.records);
        match disturbance {
            Some(disturbance) => {
                let before = records.len();
                let disturbed = disturbance.apply(records);
                moved.duplicates += (disturbed.len() - before) as u64;
                disturbed
            }
            None => records.into_iter().map(|(_, append)| append).collect(),
        }
    }
}

fn is_overdue(committed: Millis, now: Millis) -> bool {
    now.0 - committed.0 > GIVEN_UP_AFTER_MS
}

/// Ends a destination, or begins to, while it is still the one that was looked at.
struct End {
    table: TableId,
    change: DestinationChange,
}

impl Definition for End {
    type Answer = ();

    fn decide(&mut self, catalog: &headwater_catalog::Snapshot, _now: Millis) -> Defined<()> {
        let of = match &self.change {
            DestinationChange::Finish { incarnation } | DestinationChange::Fail { incarnation, .. } => *incarnation,
            DestinationChange::Enable { .. } | DestinationChange::Update { .. } | DestinationChange::Disable => {
                return Defined::Answer(());
            }
        };
        let found = catalog.table_by_id(self.table).and_then(|table| table.destination());
        match found.filter(|found| found.incarnation == of) {
            Some(_) => Defined::Change(vec![Change::Destination { table: self.table, change: self.change.clone() }]),
            None => Defined::Answer(()),
        }
    }

    fn answer(&mut self, _catalog: &headwater_catalog::Snapshot) {}
}

/// How long a stall of a kind lasts before it is told. Unit: system time. Source: ours.
pub(crate) const THROTTLED_TOLD: Duration = Duration::from_secs(5);
