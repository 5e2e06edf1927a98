//! Draining the queue into a group: partitions, open shards and heads are found here, not when a plan is made, so that
//! splits and roll-overs fence nobody.

use headwater_storage::contract::{Record, Write};
use headwater_storage::keyspace::{partition_head, table_head, token_head};
use headwater_storage::{HeadChange, HeadUse, Plan};
use headwater_types::hash::FixedMap;
use headwater_types::{ShardUid, TableId};

use super::Committer;
use crate::command::{Effect, ValueChange};
use crate::error::Error;
use crate::heat::Written;
use crate::lineage::Known;
use crate::queue::{Entry, Planned, PlannedTouch};

/// A group to be committed.
#[derive(Default)]
pub(super) struct Group {
    pub plans: Vec<Planned>,
    pub batch: Vec<Plan>,
    /// Shards that get records; may repeat.
    pub shards: Vec<ShardUid>,
    /// What is written where.
    pub written: Vec<Written>,
    size_bytes: usize,
}

impl Group {
    pub fn is_empty(&self) -> bool {
        self.plans.is_empty()
    }
}

/// What is to become of a plan at the front of the queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    /// Made under a view that is over.
    Stale,
    /// It goes back, and others may have built on it, or the node's knowledge is behind: views are to be raised first.
    Doubtful,
}

impl Committer {
    /// Takes plans from the queue until the group is full, the queue is empty, or something must be done first.
    pub(super) fn drain(&mut self) -> Result<Group, Error> {
        let most = self.shared.settings.group_bytes_max;
        let mut group = Group::default();
        loop {
            let fits = |entry: &Entry| match entry {
                Entry::Plan(plan) => group.plans.is_empty() || group.size_bytes + plan.size_bytes <= most,
                Entry::Alone(_) => false,
            };
            let Some(Entry::Plan(mut plan)) = self.shared.queue.pop_if(fits) else { break };
            match self.judge(&plan)? {
                Verdict::Good => {
                    group.size_bytes += plan.size_bytes;
                    let built = build(&mut self.known, &mut plan, &mut group.shards, &mut group.written);
                    group.batch.push(built);
                    group.plans.push(plan);
                }
                Verdict::Stale => self.take_back(plan),
                Verdict::Doubtful => {
                    self.undo(plan);
                    break;
                }
            }
        }
        Ok(group)
    }

    fn judge(&mut self, plan: &Planned) -> Result<Verdict, Error> {
        let (mut stale, mut current) = (false, false);
        for planned in &plan.tables {
            if !self.known.contains_key(&planned.table) {
                self.learn(planned.table)?;
            }
            let Some(view) = self.shared.views.table(planned.table) else {
                stale = true;
                continue;
            };
            if view.view != planned.view {
                stale = true;
                continue;
            }
            current = true;
            match self.known.get(&planned.table) {
                Some(known) if known.version == planned.version => {}
                // The planner knows a newer definition than the committer, or the table is gone.
                Some(_) | None => return Ok(Verdict::Doubtful),
            }
        }
        Ok(match (stale, current) {
            (false, _) => Verdict::Good,
            (true, false) => Verdict::Stale,
            // Later plans may have built on its values in the tables whose view still holds.
            (true, true) => Verdict::Doubtful,
        })
    }

    /// Loads the heads of a table that was not written before; none of its plans is in flight.
    fn learn(&mut self, table: TableId) -> Result<(), Error> {
        let snapshot = self.shared.cell.snapshot();
        self.load(&*snapshot, table)?;
        if self.shared.is_shared {
            // Another node may have written between a planner's read and this load.
            self.shared.views.raise(table);
        }
        Ok(())
    }
}

/// Turns a good plan into what the cell commits, and counts its moves as done.
fn build(
    known: &mut FixedMap<TableId, Known>,
    planned: &mut Planned,
    shards: &mut Vec<ShardUid>,
    written: &mut Vec<Written>,
) -> Plan {
    let mut plan = Plan::default();
    plan.heads.reserve(planned.tables.len() + planned.touches.len());
    for table in &planned.tables {
        let head = table_head(table.table);
        plan.heads.push(HeadUse { key: head, expected: table.version, change: HeadChange::Compare });
    }
    let mut placed = Vec::new();
    for touch in &mut planned.touches {
        let Some(id) = touch.table else {
            build_token(touch, &mut plan);
            continue;
        };
        let table = known.get_mut(&id).expect("a good plan's tables are known");
        let found = table.find(touch.hash).and_then(|at| table.partitions.get_mut(at));
        let partition = found.expect("partitions tile the hashes");
        let key = partition_head(partition.id);
        let at = plan.heads.iter().position(|head| head.key == key).unwrap_or_else(|| {
            plan.heads.push(HeadUse { key, expected: partition.version, change: HeadChange::Compare });
            plan.heads.len() - 1
        });
        let effect = std::mem::take(&mut touch.effect);
        if !writes(&effect) {
            continue;
        }
        let is_append = touch.key.is_empty();
        if !is_append {
            written.push((id, partition.id, touch.hash));
        }
        let head = plan.heads.get_mut(at).expect("just found");
        match &mut head.change {
            HeadChange::Move { items, bytes, .. } => {
                *items += effect.items;
                *bytes += effect.bytes;
            }
            change @ (HeadChange::Compare | HeadChange::Remove) => {
                let (items, bytes) = (effect.items, effect.bytes);
                *change = HeadChange::Move { items, bytes, take: false, above: Vec::new() };
                partition.version += 1;
            }
        }
        if let (Some(payload), Some(shard)) = (effect.record, partition.shard) {
            let head = u16::try_from(at).expect("a plan has fewer than 65,536 heads");
            plan.records.push(Record { head, shard, payload });
            if shards.last() != Some(&shard) {
                shards.push(shard);
            }
            if is_append {
                placed.push(shard);
            }
        }
        let value = match effect.value {
            ValueChange::Unchanged => None,
            ValueChange::Put(value) => Some(Some(value)),
            ValueChange::Delete => Some(None),
        };
        let own = value.map(|value| Write { key: touch.key.clone(), value, stamp: None });
        let entries = effect.entries.into_iter().map(|(key, value)| Write { key, value, stamp: None });
        plan.writes.extend(own.into_iter().chain(entries));
    }
    for own in std::mem::take(&mut planned.own) {
        let moved = HeadChange::Move { items: 0, bytes: 0, take: false, above: Vec::new() };
        let change = if own.value.is_some() { moved } else { HeadChange::Remove };
        plan.heads.push(HeadUse { key: own.head, expected: own.expected, change });
        plan.writes.push(Write { key: own.key, value: own.value, stamp: None });
    }
    if !placed.is_empty() {
        planned.completion.place(placed);
    }
    plan
}

/// A token's key and its own head, compared with what the planner read: another node may have used it meanwhile.
fn build_token(touch: &mut PlannedTouch, plan: &mut Plan) {
    let effect = std::mem::take(&mut touch.effect);
    let change = match effect.value {
        ValueChange::Unchanged => HeadChange::Compare,
        ValueChange::Put(value) => {
            plan.writes.push(Write { key: touch.key.clone(), value: Some(value), stamp: None });
            HeadChange::Move { items: 0, bytes: 0, take: false, above: Vec::new() }
        }
        // Its key and its head go together, which only retention sees to.
        ValueChange::Delete => HeadChange::Compare,
    };
    plan.heads.push(HeadUse { key: token_head(touch.hash.0), expected: touch.version, change });
}

/// Whether an effect changes its range; otherwise the range was only read.
fn writes(effect: &Effect) -> bool {
    effect.value != ValueChange::Unchanged
        || effect.record.is_some()
        || !effect.entries.is_empty()
        || (effect.items, effect.bytes) != (0, 0)
}
