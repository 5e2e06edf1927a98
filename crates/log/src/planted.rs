//! Bugs of known classes, for the checkers to find. Without the feature `planted-bugs` nothing of them is compiled in.
//!
//! [`PlantedBug::NumberBeforeCommit`]: the rival pattern of drawing a number from a counter, then committing. A record's
//! place in the log is its drawn number, kept behind its payload; two commits can overtake each other, so a reader at the
//! tail passes a number that appears only later.
//!
//! [`PlantedBug::EntryForgotten`]: entries of indexes are made and never removed.
//!
//! [`PlantedBug::NoOpRecorded`], [`PlantedBug::PendingShown`], [`PlantedBug::TrimEarly`]: one check is left out, where the
//! check is made. [`PlantedBug::ChildBeforeClose`]: the closing of a parent is cut off the commit that opens its children.
//!
//! [`PlantedBug::MergeHalfClosed`]: the same of a merge's second parent alone.
//!
//! [`PlantedBug::TornAppend`], [`PlantedBug::FirstShardTakesAll`]: the records of one append are parted, or kept together
//! where they should not be. [`PlantedBug::RetentionRevives`]: what is hidden is not noted when the retention changes. The
//! rest of data streams is in `operations`, which asks [`Log::planted`](crate::Log::planted).
//!
//! [`PlantedBug::TornTransaction`] and [`PlantedBug::TokenApart`]: a plan is cut in parts, each committed after the other.

#[cfg(feature = "planted-bugs")]
pub(crate) use apart::*;
#[cfg(feature = "planted-bugs")]
pub(crate) use late::*;
#[cfg(feature = "planted-bugs")]
pub(crate) use numbers::*;

#[cfg(feature = "planted-bugs")]
mod late {
    use bytes::Bytes;
    use headwater_storage::contract::Write;
    use headwater_storage::{Batch, BatchId, Plan};
    use headwater_types::{HashKey, SequenceNumber, TableId};

    use crate::error::Error;
    use crate::open::{Log, Shared};
    use crate::settings::PlantedBug;
    use crate::shard::{ENDING_AT, OPENED_AT, ShardRow};

    /// Takes the writes that close shards out of a plan of lineage.
    pub(crate) fn cut_closings(bug: Option<PlantedBug>, plan: &mut Plan) -> Vec<Write> {
        let count = |of: fn(&Write) -> bool| plan.writes.iter().filter(|write| of(write)).count();
        let (opened, closed) = (count(opens), count(closes));
        match bug {
            Some(PlantedBug::ChildBeforeClose) if opened > 0 => {
                let (closings, rest) = std::mem::take(&mut plan.writes).into_iter().partition(closes);
                plan.writes = rest;
                closings
            }
            Some(PlantedBug::MergeHalfClosed) if opened > 0 && closed > opened => {
                let last = plan.writes.iter().rposition(closes);
                last.map(|last| plan.writes.remove(last)).into_iter().collect()
            }
            Some(_) | None => Vec::new(),
        }
    }

    fn stamped(write: &Write, offset: u32) -> bool {
        write.stamp.is_some_and(|stamp| stamp.offset == offset) && ShardRow::decode(&write.key, value(write)).is_ok()
    }

    fn opens(write: &Write) -> bool {
        stamped(write, OPENED_AT)
    }

    fn closes(write: &Write) -> bool {
        stamped(write, ENDING_AT)
    }

    fn value(write: &Write) -> &[u8] {
        write.value.as_deref().unwrap_or_default()
    }

    impl Shared {
        /// Closes parents a little after their children were opened.
        pub(crate) async fn close_late(&self, closings: Vec<Write>) -> Result<(), Error> {
            self.runtime.sleep(std::time::Duration::from_millis(2)).await;
            let writes: Vec<Write> =
                closings.into_iter().filter_map(|write| self.closed(write).ok().flatten()).collect();
            if !writes.is_empty() {
                let plan = Plan { writes, ..Plan::default() };
                let id = BatchId(self.runtime.random_u128());
                drop(self.cell.commit(Batch { id, plans: vec![plan] }).await);
            }
            Ok(())
        }

        /// The row with an ending right below its first child's start.
        fn closed(&self, write: Write) -> Result<Option<Write>, Error> {
            let row = ShardRow::decode(&write.key, value(&write))?;
            let snapshot = self.cell.snapshot();
            let (start, end) = (write.key.get(..10).unwrap_or_default(), [0xff_u8; 18]);
            let end = [start, &end[..8]].concat();
            for entry in snapshot.scan(start, &end, headwater_storage::contract::Direction::Forward) {
                let (key, value) = entry?;
                let child = ShardRow::decode(&key, &value)?;
                if child.parents.iter().any(|parent| parent.uid == row.name.uid) {
                    let ending = Some(SequenceNumber(child.opened.0 - 1));
                    let value = ShardRow { ending, ..row }.encode();
                    return Ok(Some(Write { key: write.key, value: Some(value), stamp: None }));
                }
            }
            Ok(None)
        }
    }

    impl Log {
        /// A value that is on its way to the disk; none when there is none, or the bug is not switched on.
        pub fn planted_pending(&self, table: TableId, hash: HashKey, key: &Bytes) -> Option<Option<Bytes>> {
            if self.shared.settings.planted != Some(PlantedBug::PendingShown) {
                return None;
            }
            let view = self.shared.views.table(table)?.view;
            let touch = crate::command::Touch { table: Some(table), hash, key: key.clone() };
            match self.shared.keys.base(&touch, view) {
                crate::pending::Base::Pending(pending) => Some(pending.value),
                crate::pending::Base::Published => None,
            }
        }
    }
}

#[cfg(feature = "planted-bugs")]
mod appends {
    use headwater_types::TableId;

    use crate::append::{Append, Appended};
    use crate::error::Error;
    use crate::open::Log;
    use crate::settings::PlantedBug;

    impl Log {
        /// The bug that is switched on.
        pub fn planted(&self) -> Option<PlantedBug> {
            self.shared.settings.planted
        }

        /// Appends as the bug that is switched on does.
        pub(crate) async fn append_badly(
            &self,
            stream: TableId,
            mut records: Vec<Append>,
        ) -> Result<Vec<Appended>, Error> {
            match (self.planted(), records.first().map(|first| first.hash)) {
                (Some(PlantedBug::TornAppend), Some(_)) if records.len() > 1 => {
                    let rest = records.split_off(records.len() / 2);
                    let mut appended = self.append_together(stream, records).await?;
                    appended.extend(self.append_together(stream, rest).await?);
                    Ok(appended)
                }
                (Some(PlantedBug::FirstShardTakesAll), Some(hash)) => {
                    records.iter_mut().for_each(|record| record.hash = hash);
                    self.append_together(stream, records).await
                }
                _ => self.append_together(stream, records).await,
            }
        }
    }
}

#[cfg(feature = "planted-bugs")]
mod apart {
    use std::sync::Arc;

    use headwater_types::SequenceNumber;
    use tokio::sync::OwnedSemaphorePermit;

    use crate::command::{Effect, Few, Touch, ValueChange};
    use crate::completion::{Completion, End};
    use crate::error::Error;
    use crate::execute::Read;
    use crate::open::Shared;
    use crate::queue::{Entry, Planned};
    use crate::settings::PlantedBug;

    /// The touches of each part, in the order in which the parts are committed.
    pub(crate) fn parts(bug: Option<PlantedBug>, touches: &[Touch], effects: &[Effect]) -> Option<Vec<Vec<usize>>> {
        let writes = |at: &usize| effects.get(*at).is_some_and(|effect| effect.value != ValueChange::Unchanged);
        let written: Vec<usize> = (0..touches.len()).filter(writes).collect();
        match bug? {
            PlantedBug::TornTransaction if written.len() > 1 => Some(written.into_iter().map(|at| vec![at]).collect()),
            PlantedBug::TokenApart => {
                let (items, tokens): (Vec<usize>, Vec<usize>) =
                    written.into_iter().partition(|at| touches.get(*at).is_some_and(|touch| touch.table.is_some()));
                (!tokens.is_empty() && !items.is_empty()).then(|| vec![items, tokens])
            }
            _ => None,
        }
    }

    /// Leaves the old entries of changed items in their indexes.
    pub(crate) fn forget(bug: Option<PlantedBug>, effects: &mut [Effect]) {
        if bug == Some(PlantedBug::EntryForgotten) {
            effects.iter_mut().for_each(|effect| effect.entries.retain(|(_, value)| value.is_some()));
        }
    }

    impl Shared {
        /// Commits the parts of a plan one after the other; the records' numbers, or none if a part was taken back.
        pub(crate) async fn commit_apart(
            &self,
            touches: &[Touch],
            read: Read,
            mut effects: Vec<Effect>,
            parts: Vec<Vec<usize>>,
            mut place: OwnedSemaphorePermit,
        ) -> Result<Option<Vec<SequenceNumber>>, Error> {
            let mut numbers = Vec::new();
            for part in parts {
                let own: Vec<Touch> = part.iter().filter_map(|at| touches.get(*at).cloned()).collect();
                let of_part = Read {
                    tables: read.tables.clone(),
                    table_of: part.iter().filter_map(|at| read.table_of.get(*at).copied()).collect(),
                    versions: part.iter().filter_map(|at| read.versions.get(*at).copied()).collect(),
                    values: Few::new(),
                    waits: Vec::new(),
                };
                let done = part.iter().filter_map(|at| effects.get_mut(*at).map(std::mem::take)).collect();
                let completion = Arc::new(Completion::default());
                let planned = self.publish(&own, &of_part, done, &completion);
                self.queue.push(Entry::Plan(Planned {
                    tables: of_part.planned_tables(),
                    touches: planned,
                    own: Vec::new(),
                    size_bytes: 0,
                    completion: completion.clone(),
                    _place: place.split(1).expect("a place counts more than a plan has keys"),
                }));
                match completion.wait().await {
                    End::Committed => numbers.extend(completion.numbers()),
                    End::TakenBack => return Ok(None),
                    End::Full => return Err(Error::Full),
                    End::Closed => return Err(Error::Closed),
                }
            }
            Ok(Some(numbers))
        }
    }
}

#[cfg(feature = "planted-bugs")]
mod numbers {
    use std::time::Duration;

    use bytes::Bytes;
    use headwater_storage::Snapshot;
    use headwater_storage::contract::{From, LogRecord, PageLimit};
    use headwater_types::{Clock, Runtime, SequenceNumber, ShardUid};
    use parking_lot::Mutex;

    use crate::command::Effect;
    use crate::error::Error;
    use crate::settings::{PlantedBug, Settings};

    /// The counter that numbers are drawn from before their commit.
    #[derive(Default)]
    pub(crate) struct Counter(Mutex<SequenceNumber>);

    impl Counter {
        /// Draws a number for a command, a moment before it commits.
        pub async fn draw(&self, settings: &Settings, clock: &Clock, runtime: &Runtime) -> Option<SequenceNumber> {
            if settings.planted != Some(PlantedBug::NumberBeforeCommit) {
                return None;
            }
            let number = {
                let mut last = self.0.lock();
                *last = last.next(clock.store());
                *last
            };
            runtime.sleep(Duration::from_micros(runtime.random() % 2_000)).await;
            Some(number)
        }
    }

    /// Writes the drawn number behind each record's payload.
    pub(crate) fn mark(effects: &mut [Effect], drawn: Option<SequenceNumber>) {
        let Some(drawn) = drawn else { return };
        for record in effects.iter_mut().filter_map(|effect| effect.record.as_mut()) {
            *record = Bytes::from([record, drawn.0.to_be_bytes().as_slice()].concat());
        }
    }

    /// A page in order of the drawn numbers.
    pub(crate) fn read_log(
        snapshot: &dyn Snapshot,
        shard: ShardUid,
        from: From,
        limit: PageLimit,
    ) -> Result<Vec<LogRecord>, Error> {
        let all = PageLimit { records: usize::MAX, bytes: usize::MAX };
        let mut records = snapshot.read_log(shard, From::At(SequenceNumber::ZERO), all)?;
        for record in &mut records {
            let at = record.payload.len().saturating_sub(8);
            let drawn = record.payload.split_off(at);
            if let Ok(drawn) = drawn.as_ref().try_into() {
                record.number = SequenceNumber(u64::from_be_bytes(drawn));
            }
        }
        records.sort_by_key(|record| record.number);
        records.retain(|record| match from {
            From::At(number) => record.number >= number,
            From::After(number) => record.number > number,
        });
        records.truncate(limit.records);
        Ok(records)
    }
}
