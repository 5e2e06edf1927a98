//! Changes of a table's indexes and of its expiry. What takes long (entering items of before, removing entries) is left to
//! jobs, which end it by a change of their own.

use headwater_catalog::{AttributeDefinition, IndexDefinition, IndexState, TableState, TimeToLive, TimeToLiveState};
use headwater_storage::keyspace::job_key;
use headwater_types::TableId;

use super::Work;
use crate::error::Error;

/// One change of a table's indexes or its expiry.
#[derive(Clone, PartialEq, Debug)]
pub enum IndexChange {
    /// Makes an index. Writers maintain it from this commit on; items of before are entered by a job.
    Create {
        /// The definition; number and state are set here.
        index: Box<IndexDefinition>,
        /// The table's attribute definitions from now on.
        attributes: Vec<AttributeDefinition>,
    },
    /// Replaces what is recorded of an index: throughput and what has no behaviour. Name, keys and projection stay, and the
    /// table is not seen to change.
    Update {
        /// The definition.
        index: Box<IndexDefinition>,
    },
    /// Ends an index: it is neither read nor maintained any more; its entries are removed by a job.
    Delete {
        /// Its number.
        index: u32,
    },
    /// Ends the job of an index: one that was being filled is usable, one that was being removed is gone.
    Finish {
        /// Its number.
        index: u32,
    },
    /// Switches expiry on, by this attribute.
    EnableTimeToLive {
        /// Name of the attribute.
        attribute: String,
    },
    /// Switches expiry off.
    DisableTimeToLive,
    /// Ends the job of the expiry: its order is whole, or gone.
    FinishTimeToLive,
}

impl Work<'_> {
    pub(super) fn change_index(&mut self, table: TableId, change: &IndexChange) -> Result<(), Error> {
        match change {
            IndexChange::Create { index, attributes } => self.create_index(table, index, attributes),
            IndexChange::Update { index } => self.update_index(table, index),
            IndexChange::Delete { index } => self.delete_index(table, *index),
            IndexChange::Finish { index } => self.finish_index(table, *index),
            IndexChange::EnableTimeToLive { attribute } => self.enable_time_to_live(table, attribute),
            IndexChange::DisableTimeToLive => self.disable_time_to_live(table),
            IndexChange::FinishTimeToLive => self.finish_time_to_live(table),
        }
    }

    fn create_index(
        &mut self,
        id: TableId,
        wanted: &IndexDefinition,
        attributes: &[AttributeDefinition],
    ) -> Result<(), Error> {
        let slow = self.is_slow();
        let table = self.table(id)?;
        if table.index(&wanted.name).is_some() {
            return Err(Error::Invalid(format!("table {} has an index {}", table.name, wanted.name)));
        }
        table.last_index += 1;
        let state = if slow { IndexState::Creating } else { IndexState::Backfilling };
        table.indexes.push(IndexDefinition { id: table.last_index, state, ..wanted.clone() });
        table.attributes = attributes.to_vec();
        self.updating(id)
    }

    fn update_index(&mut self, id: TableId, wanted: &IndexDefinition) -> Result<(), Error> {
        let slow = self.is_slow();
        let index = self.index(id, wanted.id)?;
        let state = match index.state {
            IndexState::Active if slow => IndexState::Updating,
            state => state,
        };
        *index = IndexDefinition {
            id: index.id,
            name: index.name.clone(),
            kind: index.kind,
            hash: index.hash.clone(),
            range: index.range.clone(),
            projected: index.projected.clone(),
            state,
            ..wanted.clone()
        };
        Ok(())
    }

    fn delete_index(&mut self, id: TableId, number: u32) -> Result<(), Error> {
        self.index(id, number)?.state = IndexState::Deleting;
        self.lineage.draft.delete(job_key(id, number));
        self.updating(id)
    }

    fn finish_index(&mut self, id: TableId, number: u32) -> Result<(), Error> {
        let index = self.index(id, number)?;
        match index.state {
            IndexState::Backfilling => index.state = IndexState::Active,
            IndexState::Deleting => {
                let table = self.table(id)?;
                table.indexes.retain(|index| index.id != number);
                let used: Vec<String> = table.keys().map(|key| key.name.clone()).collect();
                let of_indexes = table.indexes.iter().flat_map(|index| index.keys().map(|key| key.name.clone()));
                let used: Vec<String> = used.into_iter().chain(of_indexes).collect();
                table.attributes.retain(|attribute| used.contains(&attribute.name));
            }
            state => return Err(Error::Invalid(format!("an index that is {state:?} has no job to end"))),
        }
        self.lineage.draft.delete(job_key(id, number));
        Ok(())
    }

    fn enable_time_to_live(&mut self, id: TableId, attribute: &str) -> Result<(), Error> {
        let now = self.lineage.now;
        let table = self.table(id)?;
        if table.time_to_live.is_some() {
            return Err(Error::Invalid(format!("expiry of table {} is not off", table.name)));
        }
        table.last_index += 1;
        let state = TimeToLiveState::Enabling;
        let (attribute, index) = (attribute.to_owned(), table.last_index);
        table.time_to_live = Some(TimeToLive { attribute, index, state });
        table.time_to_live_changed = Some(now);
        Ok(())
    }

    fn disable_time_to_live(&mut self, id: TableId) -> Result<(), Error> {
        let now = self.lineage.now;
        let table = self.table(id)?;
        table.time_to_live_changed = Some(now);
        let expiry = table.time_to_live.as_mut().ok_or_else(no_expiry)?;
        expiry.state = TimeToLiveState::Disabling;
        let index = expiry.index;
        self.lineage.draft.delete(job_key(id, index));
        Ok(())
    }

    fn finish_time_to_live(&mut self, id: TableId) -> Result<(), Error> {
        let table = self.table(id)?;
        let expiry = table.time_to_live.as_mut().ok_or_else(no_expiry)?;
        let index = expiry.index;
        match expiry.state {
            TimeToLiveState::Enabling => expiry.state = TimeToLiveState::Enabled,
            TimeToLiveState::Disabling => table.time_to_live = None,
            TimeToLiveState::Enabled => return Err(Error::Invalid("expiry has no job to end".to_owned())),
        }
        self.lineage.draft.delete(job_key(id, index));
        Ok(())
    }

    fn index(&mut self, id: TableId, number: u32) -> Result<&mut IndexDefinition, Error> {
        let table = self.table(id)?;
        let index = table.indexes.iter_mut().find(|index| index.id == number);
        index.ok_or_else(|| Error::Invalid(format!("no index with number {number}")))
    }

    /// Shows the table as UPDATING for a short while.
    fn updating(&mut self, id: TableId) -> Result<(), Error> {
        let slow = self.is_slow();
        let table = self.table(id)?;
        if slow && table.state == TableState::Active {
            table.state = TableState::Updating;
        }
        Ok(())
    }
}

fn no_expiry() -> Error {
    Error::Invalid("expiry is off".to_owned())
}
