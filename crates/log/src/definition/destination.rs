//! Changes of where a table's changes are replicated. The commit that enables a destination says where it starts, the one
//! that disables it where it ends; what lies between is a mover's, which ends it by a change of its own.

use bytes::Bytes;
use headwater_catalog::{DestinationState, KinesisDestination, Precision, TableDefinition, Tally};
use headwater_storage::keyspace::position_head;
use headwater_types::{ShardUid, StreamUid, TableId};

use super::Work;
use crate::error::Error;
use crate::positions;

/// Why a destination fails that is enabled for a stream that takes no records.
const NOT_ACTIVE: &str = "the Kinesis data stream is not ACTIVE";

/// One change of a table's destination.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DestinationChange {
    /// Starts to replicate what is committed from now on. It fails when the data stream takes no records in the end.
    Enable {
        /// Name of the data stream, of the table's account and Region.
        stream: String,
        /// What records say of their times.
        precision: Option<Precision>,
    },
    /// Changes what records say of their times.
    Update {
        /// From now on.
        precision: Precision,
    },
    /// Stops: what is committed from now on is not replicated, what was before is.
    Disable,
    /// All that was committed before it was disabled has been replicated.
    Finish {
        /// Which.
        incarnation: StreamUid,
    },
    /// Stops for good, as `Disable` does; what has not been replicated is passed over, counted as lost.
    Fail {
        /// Which.
        incarnation: StreamUid,
        /// Why.
        reason: String,
    },
}

impl Work<'_> {
    pub(super) fn change_destination(&mut self, id: TableId, change: &DestinationChange) -> Result<(), Error> {
        match change {
            DestinationChange::Enable { stream, precision } => self.enable_destination(id, stream, *precision),
            DestinationChange::Update { precision } => {
                let state = if self.is_slow() { DestinationState::Updating } else { DestinationState::Active };
                let destination = running(self.table(id)?)?;
                (destination.precision, destination.state) = (Some(*precision), state);
                Ok(())
            }
            DestinationChange::Disable => self.disable_destination(id),
            DestinationChange::Finish { incarnation } => self.end_destination(id, *incarnation),
            DestinationChange::Fail { incarnation, reason } => {
                let destination = incarnated(self.table(id)?, *incarnation)?;
                destination.failure = Some(reason.clone());
                if destination.state.wants_log() { self.disable_destination(id) } else { Ok(()) }
            }
        }
    }

    fn enable_destination(&mut self, id: TableId, stream: &str, precision: Option<Precision>) -> Result<(), Error> {
        let (slow, now, catalog) = (self.is_slow(), self.lineage.now, self.catalog);
        let incarnation = self.lineage.ids.stream();
        let table = self.table(id)?;
        if table.destination().is_some() {
            return Err(Error::Invalid(format!("table {} has a destination", table.name)));
        }
        // Without short states it is known at once whether the target takes records.
        let fails = !slow && catalog.data_stream(&table.scope, stream).is_none_or(|stream| !stream.state.serves());
        let state = match (slow, fails) {
            (true, _) => DestinationState::Enabling,
            (false, true) => DestinationState::EnableFailed,
            (false, false) => DestinationState::Active,
        };
        table.destinations.retain(|destination| destination.stream != *stream);
        table.destinations.push(KinesisDestination {
            incarnation,
            stream: stream.to_owned(),
            precision,
            state,
            enabled: now,
            tally: Tally::default(),
            failure: fails.then(|| NOT_ACTIVE.to_owned()),
        });
        if fails {
            return Ok(());
        }
        let (on, known) = (table.stream, table.internal);
        let internal = known.unwrap_or_else(|| self.lineage.ids.stream());
        self.table(id)?.internal = Some(internal);
        let lineage = on.unwrap_or(internal);
        for partition in &mut self.partitions(id)? {
            if on.is_none() {
                self.lineage.open(id, lineage, partition, &[])?;
            }
            let head = self.lineage.mark(partition);
            let shard = partition.shard.ok_or_else(|| Error::Invalid("a partition has no open shard".to_owned()))?;
            let (key, row) = positions::start(incarnation, lineage, shard);
            self.lineage.draft.moved(position_head(incarnation, shard), 0);
            self.lineage.draft.put_stamped(key, row, head, positions::AFTER_AT);
        }
        Ok(())
    }

    /// Ends a destination's short state.
    pub(super) fn settle_destination(&mut self, id: TableId) -> Result<(), Error> {
        let catalog = self.catalog;
        let table = self.table(id)?;
        let scope = table.scope.clone();
        let Ok(destination) = running(table) else { return Ok(()) };
        let target = catalog.data_stream(&scope, &destination.stream);
        match destination.state {
            DestinationState::Enabling if target.is_none_or(|target| !target.state.serves()) => {
                destination.failure = Some(NOT_ACTIVE.to_owned());
                let incarnation = destination.incarnation;
                self.end_destination(id, incarnation)
            }
            DestinationState::Enabling | DestinationState::Updating => {
                destination.state = DestinationState::Active;
                Ok(())
            }
            DestinationState::Active
            | DestinationState::Disabling
            | DestinationState::Disabled
            | DestinationState::EnableFailed => Ok(()),
        }
    }

    /// From this commit on nothing is replicated. Shards that are open for the destination alone are closed; in the others
    /// its end is marked.
    fn disable_destination(&mut self, id: TableId) -> Result<(), Error> {
        let (on, internal) = (self.table(id)?.stream, self.table(id)?.internal);
        let destination = running(self.table(id)?)?;
        destination.state = DestinationState::Disabling;
        let incarnation = destination.incarnation;
        for partition in &mut self.partitions(id)? {
            if on.is_none() {
                self.lineage.hand_over(id, internal, None, partition)?;
            } else if let Some(shard) = partition.shard {
                let head = self.lineage.mark(partition);
                let key = positions::ending_key(incarnation, shard);
                self.lineage.draft.put_stamped(key, Bytes::from_static(&[0; 8]), head, 0);
            }
        }
        Ok(())
    }

    /// The table goes: nothing is committed to it any more, so closing its shards says where its destination ends.
    pub(super) fn disable_with_table(&mut self, id: TableId) -> Result<(), Error> {
        let table = self.table(id)?;
        let (on, internal) = (table.stream, table.internal);
        let wanted = table.log_lineage();
        if let Ok(destination) = running(table)
            && destination.state.wants_log()
        {
            destination.state = DestinationState::Disabling;
        }
        if on.is_none() && wanted.is_some() {
            for partition in &mut self.partitions(id)? {
                self.lineage.hand_over(id, internal, None, partition)?;
            }
        }
        Ok(())
    }

    /// A destination is over, with its positions: disabled, or failed if it says why.
    fn end_destination(&mut self, id: TableId, incarnation: StreamUid) -> Result<(), Error> {
        let snapshot = self.lineage.snapshot;
        let moved = positions::positions(snapshot, incarnation)?;
        let tally = moved.iter().fold(Tally::default(), |sum, position| sum + position.tally);
        let (on, internal) = (self.table(id)?.stream, self.table(id)?.internal);
        let destination = incarnated(self.table(id)?, incarnation)?;
        let closes = destination.state.wants_log() && on.is_none();
        let is_failed = destination.failure.is_some();
        destination.state = if is_failed { DestinationState::EnableFailed } else { DestinationState::Disabled };
        destination.tally = tally;
        let (keys, heads) = positions::all_rows(snapshot, incarnation)?;
        keys.into_iter().for_each(|key| self.lineage.draft.delete(key));
        for (shard, version) in heads {
            self.remove_position(incarnation, shard, version);
        }
        if closes {
            for partition in &mut self.partitions(id)? {
                self.lineage.hand_over(id, internal, None, partition)?;
            }
        }
        Ok(())
    }

    fn remove_position(&mut self, incarnation: StreamUid, shard: ShardUid, version: u64) {
        self.lineage.draft.removed(position_head(incarnation, shard), version);
    }
}

/// The destination that is not over, if it is this one.
fn incarnated(table: &mut TableDefinition, incarnation: StreamUid) -> Result<&mut KinesisDestination, Error> {
    let found = running(table)?;
    if found.incarnation == incarnation {
        return Ok(found);
    }
    Err(Error::Invalid("another destination was enabled meanwhile".to_owned()))
}

/// The table's destination that is not over.
fn running(table: &mut TableDefinition) -> Result<&mut KinesisDestination, Error> {
    let found = table.destinations.iter_mut().find(|destination| !destination.state.is_over());
    found.ok_or_else(|| Error::Invalid("the table has no destination".to_owned()))
}
