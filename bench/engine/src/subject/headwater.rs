//! The product's embedded engine: each change a plan that builds on its partition's head, the log's horizons raised as
//! records get old.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use headwater_storage::contract::{Batch, BatchId, Cell, HeadChange, HeadUse, Horizon, Outcome, Plan, Record, Write};
use headwater_storage::embedded::{self, Settings};
use headwater_storage::keyspace::{partition_head, table_head};
use headwater_types::runtime::tokio_runtime;
use headwater_types::{Clock, Millis, Runtime, SequenceNumber, ShardUid, TableId};

use super::{Committed, Opening, Subject, numbered};
use crate::data::{Change, Group, Shape};

/// Horizons are raised no more often than this, as the server's retention does not raise them with every commit.
const TRIM_EVERY: Duration = Duration::from_secs(5);

pub(super) struct Headwater {
    cell: Arc<dyn Cell>,
    runtime: Runtime,
    clock: Clock,
    shape: Shape,
    state: Mutex<State>,
}

struct State {
    /// Of each partition's head, all groups handed in counted.
    versions: Vec<u64>,
    /// When which change was handed in: the first of a group.
    times: VecDeque<(u64, Millis)>,
    trimmed_at: Millis,
}

pub(super) async fn open(folder: &Path, opening: &Opening, separated_from: Option<u32>) -> Result<Headwater> {
    let runtime = tokio_runtime::on(tokio::runtime::Handle::current());
    let clock = Clock::new(runtime.clone(), Millis::default());
    let settings = Settings {
        memory_bytes: opening.memory_bytes,
        separate_values_from: separated_from,
        ..Settings::on_disk(folder)
    };
    let (cell, recovered) = embedded::open(settings, runtime.clone(), clock.clone()).await?;
    ensure!(recovered.created, "the folder is not new");
    let versions = vec![0; opening.shape.shards as usize];
    let state = State { versions, times: VecDeque::new(), trimmed_at: clock.store() };
    Ok(Headwater { cell, runtime, clock, shape: opening.shape, state: Mutex::new(state) })
}

impl Headwater {
    fn plan(&self, change: Change, versions: &mut [u64]) -> Plan {
        let shard = self.shape.shard(change.item);
        let version = &mut versions[shard as usize];
        let new = i64::from(change.version == 1);
        let moved =
            HeadChange::Move { items: new, bytes: new * self.shape.item_bytes as i64, take: false, above: vec![] };
        let heads = vec![
            HeadUse { key: table_head(TableId(1)), expected: 0, change: HeadChange::Compare },
            HeadUse { key: partition_head(shard), expected: *version, change: moved },
        ];
        *version += 1;
        let write = |(key, value)| Write { key, value, stamp: None };
        Plan {
            heads,
            writes: self.shape.rows(change).into_iter().map(write).collect(),
            records: vec![Record { head: 1, shard: ShardUid(shard), payload: self.shape.record(change) }],
        }
    }

    /// Raises all horizons to when the oldest change that is still wanted was handed in.
    fn trim(&self, state: &mut State, group: &Group) -> Result<()> {
        let now = self.clock.store();
        state.times.push_back((group.first, now));
        let Some(wanted) = group.first.checked_sub(self.shape.keep_records) else { return Ok(()) };
        if now < state.trimmed_at.plus(TRIM_EVERY) {
            return Ok(());
        }
        state.trimmed_at = now;
        while state.times.get(1).is_some_and(|(first, _)| *first <= wanted) {
            state.times.pop_front();
        }
        let Some((_, since)) = state.times.front() else { return Ok(()) };
        let below = SequenceNumber::floor(*since);
        let horizons: Vec<Horizon> =
            (0..self.shape.shards).map(|shard| Horizon { shard: ShardUid(shard), below }).collect();
        Ok(self.cell.trim(&horizons)?)
    }
}

impl Subject for Headwater {
    fn commit(&self, group: Group) -> Committed {
        let mut state = self.state.lock().expect("no holder panics");
        let trimmed = self.trim(&mut state, &group);
        let plans: Vec<Plan> = numbered(&group).map(|(_, change)| self.plan(change, &mut state.versions)).collect();
        let done = self.cell.commit(Batch { id: BatchId(self.runtime.random_u128()), plans });
        drop(state);
        Box::pin(async move {
            trimmed?;
            match done.await {
                Ok(outcomes) if outcomes.iter().all(|each| matches!(each, Outcome::Committed { .. })) => Ok(()),
                Ok(_) => bail!("a plan was fenced, though nobody else writes"),
                Err(error) => bail!("a group was not committed: {error:?}"),
            }
        })
    }

    fn in_flight_max(&self) -> usize {
        self.cell.groups_in_flight_max()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.cell.snapshot().get(key)?)
    }

    fn close(&self) -> Committed {
        let done = self.cell.close();
        Box::pin(async move { Ok(done.await?) })
    }
}
