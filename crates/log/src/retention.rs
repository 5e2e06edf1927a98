//! Trimming by store time: horizons rise, old shards and streams go, rows of dropped tables are swept away.
//!
//! ```text
//! 1. store the horizons ─► 2. tell the cell ─► 3. remove what is wholly behind them
//! ```
//! What a mover still wants stays in the cell, behind a horizon that hides it from everybody else.
//!
//! In this order nobody ever meets a gap that no stored horizon explains; a crash in between repeats the rest.

use std::sync::atomic::Ordering;
use std::time::Duration;

use headwater_catalog::Snapshot as Catalog;
use headwater_storage::contract::{Direction, From, Horizon, PageLimit};
use headwater_storage::keyspace::{lineage_head, partition_head, prefix, token_head, token_key};
use headwater_storage::{Plan, Snapshot};
use headwater_types::hash::FixedMap;
use headwater_types::{HashKey, Millis, SequenceNumber, ShardUid, StreamUid, TableId};

use crate::definition::{Change, Defined, Definition};
use crate::draft::Draft;
use crate::error::Error;
use crate::lineage;
use crate::open::Shared;
use crate::positions;
use crate::queue::{AloneEnd, Work};
use crate::shard::{ShardRow, shard_key};
use crate::stream;

/// A horizon is stored again once it has risen by this much. Unit: ms of store time.
const HORIZON_STEP_MS: i64 = 60_000;
/// Most steps in one commit.
const STEPS_MAX: usize = 500;
/// Most rows of a dropped table removed in one commit.
const SWEEP_ROWS_MAX: usize = 1_000;
/// Most tokens looked through at once, and the pause before the next ones.
const TOKENS_AT_ONCE: usize = 1_000;
const TOKENS_PAUSE: Duration = Duration::from_millis(1);
/// What one pass of trimming did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retained {
    /// Shards whose horizon was raised.
    pub trimmed: usize,
    /// Shards that are gone.
    pub shards: usize,
    /// Streams that are gone.
    pub streams: usize,
    /// Idempotency tokens that were forgotten.
    pub tokens: usize,
    /// Rows of dropped tables that are gone.
    pub rows: usize,
}

/// One change of rows by retention.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TrimStep {
    /// Raises a shard's horizon.
    Horizon { stream: StreamUid, shard: ShardUid, below: SequenceNumber },
    /// Removes the row of a shard that is trimmed altogether.
    Drop { stream: StreamUid, shard: ShardUid },
    /// Removes the head of a partition that was split or dropped.
    Retire { partition: u64 },
    /// Forgets an idempotency token whose time is over.
    Token { hash: HashKey },
    /// Removes some rows of a dropped table.
    Sweep { table: TableId },
    /// Forgets a dropped data stream when its shards' rows are gone.
    Bury { stream: StreamUid },
    /// Removes some entries of an index that nobody reads or maintains any more.
    SweepIndex { table: TableId, index: u32 },
}

/// Makes the plan of retention's steps; those that no longer apply are left out.
pub(crate) fn plan(steps: &[TrimStep], snapshot: &dyn Snapshot, now: Millis) -> Result<Plan, Error> {
    let mut draft = Draft::default();
    for step in steps {
        match *step {
            TrimStep::Horizon { stream, shard, below } => raise(&mut draft, snapshot, stream, shard, below)?,
            TrimStep::Drop { stream, shard } => {
                let key = shard_key(stream, shard);
                let row = snapshot.get(&key)?.map(|row| ShardRow::decode(&key, &row)).transpose()?;
                if row.is_some_and(|row| row.horizon == SequenceNumber::ALL) {
                    draft.moved(lineage_head(stream), snapshot.head(lineage_head(stream))?.version);
                    draft.delete(key);
                }
            }
            TrimStep::Retire { partition } => {
                let head = partition_head(partition);
                let version = snapshot.head(head)?.version;
                if version != 0 {
                    draft.removed(head, version);
                }
                draft.delete(lineage::retired_key(partition));
            }
            TrimStep::Token { hash } => forget_token(&mut draft, snapshot, hash, now)?,
            TrimStep::Sweep { table } => {
                let rows = rows_of(snapshot, table)?;
                if rows.is_empty() {
                    draft.delete(lineage::dead_table_key(table));
                }
                rows.into_iter().for_each(|key| draft.delete(key));
            }
            TrimStep::Bury { stream } => {
                if stream::rows(snapshot, stream)?.is_empty() {
                    draft.removed(lineage_head(stream), snapshot.head(lineage_head(stream))?.version);
                    draft.delete(lineage::dead_stream_key(stream));
                }
            }
            TrimStep::SweepIndex { table, index } => {
                entries_of(snapshot, table, index)?.into_iter().for_each(|key| draft.delete(key));
            }
        }
    }
    Ok(draft.into_plan())
}

fn raise(
    draft: &mut Draft,
    snapshot: &dyn Snapshot,
    stream: StreamUid,
    shard: ShardUid,
    below: SequenceNumber,
) -> Result<(), Error> {
    let key = shard_key(stream, shard);
    let Some(row) = snapshot.get(&key)? else { return Ok(()) };
    let row = ShardRow::decode(&key, &row)?;
    if row.horizon < below {
        draft.moved(lineage_head(stream), snapshot.head(lineage_head(stream))?.version);
        draft.put(key, ShardRow { horizon: below, ..row }.encode());
    }
    Ok(())
}

/// Removes a token and its head, unless it was used again meanwhile.
fn forget_token(draft: &mut Draft, snapshot: &dyn Snapshot, hash: HashKey, now: Millis) -> Result<(), Error> {
    let (key, head) = (token_key(hash), token_head(hash.0));
    if snapshot.get(&key)?.is_some_and(|value| token_is_over(&value, now)) {
        draft.removed(head, snapshot.head(head)?.version);
        draft.delete(key);
    }
    Ok(())
}

/// Whether a token's time is over; a value that says no time never was a token's.
fn token_is_over(value: &[u8], now: Millis) -> bool {
    value.first_chunk::<8>().is_none_or(|end| i64::from_be_bytes(*end) <= now.0)
}

/// Looks through some tokens from `start` on for those whose time is over; where to go on, if there may be more.
fn tokens_over(
    snapshot: &dyn Snapshot,
    start: &[u8],
    now: Millis,
    over: &mut Vec<HashKey>,
) -> Result<Option<Vec<u8>>, Error> {
    let mut next = None;
    let tokens = snapshot.scan(start, &[prefix::TOKEN + 1], Direction::Forward).take(TOKENS_AT_ONCE);
    for (at, entry) in tokens.enumerate() {
        let (key, value) = entry?;
        if let (Some(hash), true) = (key.get(1..).and_then(|hash| hash.first_chunk::<16>()), token_is_over(&value, now))
        {
            over.push(HashKey(u128::from_be_bytes(*hash)));
        }
        if at + 1 == TOKENS_AT_ONCE {
            next = Some([&key[..], &[0]].concat());
        }
    }
    Ok(next)
}

/// Some keys of an index's entries.
fn entries_of(snapshot: &dyn Snapshot, table: TableId, index: u32) -> Result<Vec<bytes::Bytes>, Error> {
    let bound = |index: u32| [&[prefix::INDEX], &table.0.to_be_bytes()[..], &index.to_be_bytes()[..]].concat();
    let entries = snapshot.scan(&bound(index), &bound(index + 1), Direction::Forward).take(SWEEP_ROWS_MAX);
    entries.map(|entry| Ok(entry?.0)).collect()
}

/// Some keys of items, index entries and jobs of a table.
fn rows_of(snapshot: &dyn Snapshot, table: TableId) -> Result<Vec<bytes::Bytes>, Error> {
    let mut keys = Vec::new();
    for kind in [prefix::ITEM, prefix::INDEX, prefix::JOB] {
        let bound = |id: u64| [&[kind], id.to_be_bytes().as_slice()].concat();
        let (start, end) = (bound(table.0), bound(table.0 + 1));
        for entry in snapshot.scan(&start, &end, Direction::Forward).take(SWEEP_ROWS_MAX - keys.len()) {
            keys.push(entry?.0);
        }
    }
    Ok(keys)
}

/// What a pass is to do.
#[derive(Default)]
struct Pass {
    raises: Vec<TrimStep>,
    horizons: Vec<Horizon>,
    drops: Vec<TrimStep>,
    streams: Vec<StreamUid>,
    buried: Vec<TrimStep>,
    /// From where on movers want shards.
    held: FixedMap<ShardUid, SequenceNumber>,
}

impl Shared {
    /// How long a stream's records and closed shards are kept. Unit: ms of store time.
    pub(crate) fn retention_ms(&self, stream: StreamUid) -> i64 {
        let catalog = self.views.catalog();
        catalog.data_stream_by_uid(stream).map_or(self.settings.retention_ms, |stream| stream.retention_ms())
    }

    /// One pass of trimming at the present store time.
    pub(crate) async fn retain(&self) -> Result<Retained, Error> {
        let now = self.clock.store();
        let (snapshot, catalog) = (self.cell.snapshot(), self.catalog()?);
        let pass = self.look(&*snapshot, &catalog, now)?;
        let (trimmed, shards) = (pass.raises.len(), pass.drops.len());
        self.steps(pass.raises).await?;
        if !pass.horizons.is_empty() {
            self.cell.trim(&pass.horizons)?;
        }
        self.steps(pass.drops).await?;
        let mut streams = 0;
        for stream in pass.streams {
            streams += usize::from(self.define(Forget(stream)).await?);
        }
        self.steps(pass.buried).await?;
        let retired = lineage::retired(&*snapshot, STEPS_MAX)?;
        self.steps(retired.into_iter().map(|partition| TrimStep::Retire { partition }).collect()).await?;
        let tokens = self.forget_tokens(now).await?;
        let mut rows = 0;
        for table in lineage::dead_tables(&*snapshot, STEPS_MAX)? {
            rows += self.sweep(table).await?;
        }
        Ok(Retained { trimmed, shards, streams, tokens, rows })
    }

    /// Forgets idempotency tokens whose time is over; how many. Every SDK sends one with every transaction, so there may be
    /// very many: some are looked through at once, then it is others' turn.
    async fn forget_tokens(&self, now: Millis) -> Result<usize, Error> {
        let (mut start, mut over, mut forgotten) = (Some(vec![prefix::TOKEN]), Vec::new(), 0);
        while let Some(from) = start {
            start = tokens_over(&*self.cell.snapshot(), &from, now, &mut over)?;
            if over.len() >= STEPS_MAX || start.is_none() {
                forgotten += over.len();
                let steps = over.drain(..).map(|hash| TrimStep::Token { hash });
                self.steps(steps.collect()).await?;
            }
            if start.is_some() {
                self.runtime.sleep(TOKENS_PAUSE).await;
            }
        }
        Ok(forgotten)
    }

    fn look(&self, snapshot: &dyn Snapshot, catalog: &Catalog, now: Millis) -> Result<Pass, Error> {
        // What an earlier run stored but perhaps never told the cell is told once more.
        let first = !self.trimmed_once.swap(true, Ordering::AcqRel);
        let mut pass = Pass { held: positions::held(snapshot, catalog)?, ..Pass::default() };
        for definition in catalog.all_streams() {
            let retention_ms = self.trimmed_after(definition.uid);
            let replicated = catalog.table_by_id(definition.table).is_some_and(|table| !table.destinations.is_empty());
            let again = first || replicated;
            let all_gone = look_at(snapshot, definition.uid, now, retention_ms, again, &mut pass)?;
            if all_gone && definition.closed.is_some_and(|closed| closed.0 + retention_ms <= now.0) {
                pass.streams.push(definition.uid);
            }
        }
        // Nobody but a mover reads these.
        for internal in catalog.all_tables().filter_map(|table| table.internal) {
            look_at(snapshot, internal, now, 0, true, &mut pass)?;
        }
        for definition in catalog.all_data_streams() {
            look_at(snapshot, definition.uid, now, self.trimmed_after(definition.uid), first, &mut pass)?;
        }
        for stream in lineage::dead_streams(snapshot, STEPS_MAX)? {
            look_at(snapshot, stream, now, 0, first, &mut pass)?;
            pass.buried.push(TrimStep::Bury { stream });
        }
        Ok(pass)
    }

    /// After how long a stream's records are trimmed.
    fn trimmed_after(&self, stream: StreamUid) -> i64 {
        let retention_ms = self.retention_ms(stream);
        #[cfg(feature = "planted-bugs")]
        if self.settings.planted == Some(crate::settings::PlantedBug::TrimEarly) {
            return retention_ms / 2;
        }
        retention_ms
    }

    pub(crate) async fn steps(&self, steps: Vec<TrimStep>) -> Result<(), Error> {
        for steps in steps.chunks(STEPS_MAX) {
            self.alone(Work::Trim(steps.to_vec())).await?;
        }
        Ok(())
    }

    /// Removes a dropped table's rows, a bounded number per commit.
    async fn sweep(&self, table: TableId) -> Result<usize, Error> {
        let mut swept = 0;
        loop {
            let rows = rows_of(&*self.cell.snapshot(), table)?.len();
            let end = self.alone(Work::Trim(vec![TrimStep::Sweep { table }])).await?;
            debug_assert_eq!(end, AloneEnd::Done, "retention's steps are never taken back");
            if rows == 0 {
                return Ok(swept);
            }
            swept += rows;
        }
    }
}

impl crate::open::Log {
    /// Removes some entries of an index that is being removed, a bounded number in one commit; how many. None left: zero.
    ///
    /// Order: the index's definition says that it goes, or is gone, so nobody writes entries any more.
    pub async fn sweep_index(&self, table: TableId, index: u32) -> Result<usize, Error> {
        let shared = &*self.shared;
        let rows = entries_of(&*shared.cell.snapshot(), table, index)?.len();
        if rows > 0 {
            shared.alone(Work::Trim(vec![TrimStep::SweepIndex { table, index }])).await?;
        }
        Ok(rows)
    }
}

/// What is to be done about a stream's shards; whether all of them are gone. `again`: the cell is told of horizons that are
/// stored already, too.
fn look_at(
    snapshot: &dyn Snapshot,
    stream: StreamUid,
    now: Millis,
    retention_ms: i64,
    again: bool,
    pass: &mut Pass,
) -> Result<bool, Error> {
    let mut all_gone = true;
    for row in stream::rows(snapshot, stream)? {
        let shard = row.name.uid;
        let held = pass.held.get(&shard).copied();
        let gone = held.is_none() && row.is_gone_at(now, retention_ms);
        // Beyond this number movers want it.
        let most = held.unwrap_or(SequenceNumber::ALL);
        all_gone &= gone;
        let below = if gone { SequenceNumber::ALL } else { row.horizon_at(now, retention_ms) };
        if gone {
            pass.drops.push(TrimStep::Drop { stream, shard });
        }
        if row.horizon < below && (gone || worth_raising(snapshot, &row, below)?) {
            pass.raises.push(TrimStep::Horizon { stream, shard, below });
            pass.horizons.push(Horizon { shard, below: below.min(most) });
        } else if gone || (again && row.horizon > SequenceNumber::ZERO) {
            pass.horizons.push(Horizon { shard, below: row.horizon.min(most) });
        }
    }
    Ok(all_gone)
}

/// Whether there is anything to trim, and enough time has passed to write a row for it.
fn worth_raising(snapshot: &dyn Snapshot, row: &ShardRow, below: SequenceNumber) -> Result<bool, Error> {
    if below.at().0 - row.horizon.at().0 < HORIZON_STEP_MS {
        return Ok(false);
    }
    let one = PageLimit { records: 1, bytes: 1 };
    let first = snapshot.read_log(row.name.uid, From::At(row.horizon), one)?;
    Ok(first.first().is_some_and(|record| record.number < below))
}

/// Removes a stream whose shards are gone; answers whether it was still there.
struct Forget(StreamUid);

impl Definition for Forget {
    type Answer = bool;

    fn decide(&mut self, catalog: &Catalog, _now: Millis) -> Defined<bool> {
        match catalog.stream(self.0) {
            Some(_) => Defined::Change(vec![Change::Forget { stream: self.0 }]),
            None => Defined::Answer(false),
        }
    }

    fn answer(&mut self, _catalog: &Catalog) -> bool {
        true
    }
}
