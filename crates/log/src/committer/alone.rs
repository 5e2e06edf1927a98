//! Work that is alone in its group: changes of definitions and of lineage, retention's rows.
//!
//! It runs while nothing is in flight, on a snapshot that therefore shows all of this node's commits.

use headwater_storage::{Batch, BatchId, Outcome, Plan, Snapshot};
use headwater_types::TableId;

use super::{Committer, Fate};
use crate::definition::{self, Change};
use crate::error::Error;
use crate::lineage::{self, Known, Lineage};
use crate::queue::{Alone, AloneEnd, Work};
use crate::{retention, store_time};

/// A plan alone in its group.
struct Prepared {
    plan: Plan,
    after: After,
}

/// What the committer knows once the plan is durable.
enum After {
    /// Definitions changed: these tables are read again.
    Tables(Vec<TableId>),
    /// A table's partitions changed.
    Partitions { table: TableId, before: Known, after: Known },
    /// Nothing that plans depend on.
    Nothing,
}

impl Committer {
    pub(super) async fn alone(&mut self, alone: Alone) -> Result<(), Error> {
        let Alone { work, reply, place } = alone;
        let end = self.alone_end(&work).await;
        let closed = matches!(end, Err(Error::Closed));
        // Who asked may be gone: the work is done all the same.
        let _ = reply.send(end);
        drop(place);
        if closed { Err(Error::Closed) } else { Ok(()) }
    }

    async fn alone_end(&mut self, work: &Work) -> Result<AloneEnd, Error> {
        loop {
            let snapshot = self.shared.cell.snapshot();
            self.shared.views.refresh(&*snapshot)?;
            let Some(Prepared { plan, after }) = self.prepare(work, &*snapshot)? else {
                return Ok(AloneEnd::TakenBack);
            };
            #[cfg(feature = "planted-bugs")]
            let (plan, closings) = {
                let mut plan = plan;
                let closings = crate::planted::cut_closings(self.shared.settings.planted, &mut plan);
                (plan, closings)
            };
            if plan.heads.is_empty() && plan.writes.is_empty() {
                return Ok(AloneEnd::Done);
            }
            let id = BatchId(self.shared.runtime.random_u128());
            let outcome = self.shared.cell.commit(Batch { id, plans: vec![plan] }).await;
            match self.resolve(id, outcome).await? {
                Fate::Outcomes(outcomes) => {
                    if let Some(Outcome::Committed { .. }) = outcomes.first() {
                        self.apply(after)?;
                        #[cfg(feature = "planted-bugs")]
                        self.shared.close_late(closings).await?;
                        return Ok(AloneEnd::Done);
                    }
                    tracing::debug!("work alone in its group was fenced");
                }
                Fate::NotDone => {}
                Fate::Full => return Err(Error::Full),
                Fate::Closed => return Err(Error::Closed),
            }
        }
    }

    /// Makes the plan; `None` when what the work was decided on is no longer so.
    fn prepare(&self, work: &Work, snapshot: &dyn Snapshot) -> Result<Option<Prepared>, Error> {
        let shared = &*self.shared;
        let (now, runtime) = (shared.clock.store(), &shared.runtime);
        let catalog = shared.views.catalog();
        let prepared = match work {
            Work::Define { based_on, .. } if *based_on != catalog.version() => return Ok(None),
            Work::Define { changes, .. } => {
                let plan = definition::plan(changes, &catalog, snapshot, now, runtime, &shared.settings)?;
                let changed = changes.iter().filter_map(changed_table);
                Prepared { plan, after: After::Tables(changed.collect()) }
            }
            Work::Split { table, at, only } => {
                let stream = catalog.table_by_id(*table).ok_or(Error::NoTable(*table))?.log_lineage();
                let before = lineage::load(snapshot, *table)?.ok_or(Error::NoTable(*table))?;
                if only.is_some_and(|only| before.at(*at).is_none_or(|partition| partition.id != only)) {
                    return Ok(None);
                }
                let mut lineage = Lineage::new(snapshot, now, runtime)?;
                let after = lineage.split(*table, stream, &before, *at)?;
                Prepared { plan: lineage.finish()?, after: After::Partitions { table: *table, before, after } }
            }
            Work::RollOver { table, at, only } => {
                let definition = catalog.table_by_id(*table).ok_or(Error::NoTable(*table))?;
                let no_stream = || Error::Invalid("the table has no stream".to_owned());
                let stream = definition.stream.ok_or_else(no_stream)?;
                let before = lineage::load(snapshot, *table)?.ok_or(Error::NoTable(*table))?;
                if only.is_some() && before.at(*at).is_none_or(|partition| partition.shard != *only) {
                    return Ok(None);
                }
                let mut lineage = Lineage::new(snapshot, now, runtime)?;
                let after = lineage.roll_over(*table, stream, &before, *at)?;
                Prepared { plan: lineage.finish()?, after: After::Partitions { table: *table, before, after } }
            }
            Work::Time(change) => {
                let plan = store_time::plan(*change, snapshot, catalog.version(), now)?;
                Prepared { plan, after: After::Tables(Vec::new()) }
            }
            Work::Trim(steps) => Prepared { plan: retention::plan(steps, snapshot, now)?, after: After::Nothing },
        };
        Ok(Some(prepared))
    }

    fn apply(&mut self, after: After) -> Result<(), Error> {
        match after {
            After::Tables(tables) => {
                let snapshot = self.shared.cell.snapshot();
                self.shared.views.refresh(&*snapshot)?;
                for table in tables {
                    self.load(&*snapshot, table)?;
                    if self.shared.is_shared {
                        // A planner may have met the new definition before this, and another node may have written
                        // between its read and this load.
                        self.shared.views.raise(table);
                    }
                }
                self.shared.notify.raise_all();
            }
            After::Partitions { table, before, after } => {
                // Plans that wait stay good, unless another node wrote since they were made.
                if self.known.get(&table) == Some(&before) {
                    self.known.insert(table, after);
                } else {
                    self.known.remove(&table);
                }
                self.shared.notify.raise_all();
            }
            After::Nothing => {}
        }
        Ok(())
    }
}

/// The table that a change is about, when it exists already.
fn changed_table(change: &Change) -> Option<TableId> {
    match change {
        Change::Create { .. }
        | Change::Forget { .. }
        | Change::CreateDataStream { .. }
        | Change::RecordStream { .. } => None,
        Change::UpdateDataStream { stream } | Change::RecordDataStream { stream } => Some(stream.id),
        Change::Update { table } | Change::Record { table } => Some(table.id),
        Change::EnableStream { table, .. }
        | Change::DisableStream { table }
        | Change::Delete { table }
        | Change::Index { table, .. }
        | Change::Destination { table, .. } => Some(*table),
        Change::Finish { id }
        | Change::DeleteDataStream { id }
        | Change::SplitShard { id, .. }
        | Change::MergeShards { id, .. }
        | Change::Reshard { id, .. } => Some(*id),
    }
}
