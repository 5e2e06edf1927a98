//! One sending at one durable moment: the target holds exactly what its positions have passed.

use std::collections::BTreeMap;

use headwater_catalog::{KinesisDestination, TableDefinition, Tally};
use headwater_log::{Log, MoverPosition, PageLimit};
use headwater_table::replica::event_id;
use headwater_types::{SequenceNumber, ShardUid};

use super::check::{EXACT, UNASKED};
use super::history::Sending;
use super::keeper::Unreadable;
use crate::history::Violation;

const ALL: PageLimit = PageLimit { records: usize::MAX, bytes: usize::MAX };

/// Compares one sending with the definitions and positions of the snapshot that its targets were read at.
pub(super) struct Judge<'a> {
    pub log: &'a Log,
    pub sending: &'a mut Sending,
    /// What the node shows is durable.
    pub strict: bool,
    /// The target has been there since the last look: nothing can have been given up for want of it.
    pub steady: bool,
    /// Changes seen before they were sent.
    pub waited: u64,
    pub noticed: Vec<Violation>,
}

impl Judge<'_> {
    /// Whether changes are on their way.
    pub fn judge(&mut self, tables: &[TableDefinition]) -> Result<bool, Unreadable> {
        let id = self.sending.id;
        let found = tables.iter().find(|table| id.map_or(table.name == self.sending.table, |id| table.id == id));
        self.sending.is_on = false;
        let Some(table) = found else {
            // Before anybody saw it, there is nothing that it could have lost.
            if id.is_some() {
                self.gone();
            }
            return Ok(false);
        };
        if let Some(running) = table.destination() {
            return self.running(table, running);
        }
        let own = table.destinations.iter().find(|one| self.is_own(one));
        if let Some(over) = own {
            (self.sending.incarnation, self.sending.id) = (Some(over.incarnation), Some(table.id));
            self.sending.lost |= over.failure.is_some();
            if self.strict {
                self.exact(table, over, &[], over.tally)?;
                self.sending.is_over = true;
            }
        }
        Ok(false)
    }

    /// Whether a destination that is over is the one of this time.
    fn is_own(&self, one: &KinesisDestination) -> bool {
        match self.sending.incarnation {
            Some(known) => known == one.incarnation,
            None => one.stream == self.sending.stream && Some(one.incarnation) > self.sending.after,
        }
    }

    fn running(&mut self, table: &TableDefinition, running: &KinesisDestination) -> Result<bool, Unreadable> {
        if self.strict && self.sending.incarnation.is_some_and(|known| known != running.incarnation) {
            self.broken(UNASKED, format!("{running:?} is on"));
            return Ok(false);
        }
        (self.sending.incarnation, self.sending.id) = (Some(running.incarnation), Some(table.id));
        self.sending.is_on = running.state.wants_log();
        self.sending.lost |= running.failure.is_some();
        if !self.strict {
            return Ok(self.log.oldest_unmoved(running.incarnation)?.is_some());
        }
        let positions = self.log.positions(running.incarnation)?;
        let tally = positions.iter().fold(Tally::default(), |sum, position| sum + position.tally);
        self.exact(table, running, &positions, tally)?;
        Ok(!self.sending.waiting.is_empty())
    }

    fn exact(
        &mut self,
        table: &TableDefinition,
        destination: &KinesisDestination,
        positions: &[MoverPosition],
        tally: Tally,
    ) -> Result<(), Unreadable> {
        let held = self.sending.records.len() as u64;
        if tally.sent != held && !self.sending.unseen {
            self.broken(
                EXACT,
                format!("the positions say that {} changes were sent, its targets held {held}", tally.sent),
            );
        }
        if destination.failure.is_some() {
            // What was not sent is given up.
            self.sending.waiting.clear();
            return Ok(());
        }
        self.scan(table, positions)?;
        self.passed(positions);
        Ok(())
    }

    /// Changes behind the positions that were not seen before: none of them was sent.
    fn scan(&mut self, table: &TableDefinition, positions: &[MoverPosition]) -> Result<(), Unreadable> {
        for position in positions.iter().filter(|position| !position.is_done) {
            let scanned = self.sending.scanned.get(&position.shard).copied().unwrap_or_default();
            let mut from = position.clone();
            from.after = from.after.max(scanned);
            for record in self.log.source_page(&from, ALL)?.records {
                let id = event_id(table, position.shard, record.number);
                if self.sending.sent.contains(&id) {
                    self.broken(EXACT, format!("{id} was sent, and {position:?} has not passed {:?}", record.number));
                }
                self.waited += 1;
                self.sending.waiting.insert((position.shard, record.number), id);
                self.sending.scanned.insert(position.shard, record.number);
            }
        }
        Ok(())
    }

    /// Changes that the positions have passed meanwhile: all of them were sent.
    fn passed(&mut self, positions: &[MoverPosition]) {
        let at: BTreeMap<ShardUid, SequenceNumber> =
            positions.iter().map(|position| (position.shard, position.after)).collect();
        let has_passed = |shard: &ShardUid, number: &SequenceNumber| at.get(shard).is_none_or(|after| number <= after);
        let Sending { waiting, sent, .. } = &mut *self.sending;
        let mut missing = None;
        waiting.retain(|(shard, number), id| {
            let passed = has_passed(shard, number);
            if passed && !sent.contains(id) {
                missing.get_or_insert(format!("{id}, {number:?} of {shard:?}, was passed and is in no target"));
            }
            !passed
        });
        if let Some(text) = missing.filter(|_| !self.sending.unseen) {
            self.broken(EXACT, text);
        }
    }

    /// The table has gone: before that all was sent, unless there was no target.
    fn gone(&mut self) {
        let missing = self.sending.waiting.values().find(|id| !self.sending.sent.contains(*id)).cloned();
        let excused = self.sending.unseen || self.sending.lost;
        if let Some(id) = missing.filter(|_| self.strict && self.steady && !excused) {
            self.broken(EXACT, format!("{id} was not sent before its table went, and its target was there"));
        }
        self.sending.waiting.clear();
        self.sending.lost |= !self.steady || !self.strict;
        self.sending.is_over = self.strict;
    }

    fn broken(&mut self, check: &'static str, text: String) {
        if !std::mem::replace(&mut self.sending.broken, true) {
            let Sending { table, stream, incarnation, .. } = &*self.sending;
            let text = format!("{table} to {stream} ({incarnation:?}): {text}");
            self.noticed.push(Violation::new(check, text));
        }
    }
}
