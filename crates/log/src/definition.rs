//! Changes of definitions: create, update, delete tables, switch streams on and off, each one commit with its shards.

mod data_stream;
mod destination;
mod index;

use std::collections::{BTreeMap, BTreeSet};

use headwater_catalog::resource::stream_label;
use headwater_catalog::{
    BillingMode, ConsumerDefinition, DataStreamDefinition, DestinationState, IndexState, Snapshot as Catalog,
    StreamDefinition, StreamState, StreamView, TableDefinition, TableState, writer,
};
use headwater_storage::keyspace::{CATALOG_HEAD, lineage_head, partition_head, table_head};
use headwater_storage::{Plan, Snapshot};
use headwater_types::ids::uuid_text;
use headwater_types::{Millis, Runtime, ShardUid, StreamUid, TableId, limits};

pub use self::destination::DestinationChange;
pub use self::index::IndexChange;
use crate::error::Error;
use crate::lineage::{self, Lineage, Partition};
use crate::settings::Settings;

/// Most partitions of a new table: what one commit carries with ease.
const PARTITIONS_MAX: i64 = 4_096;

/// A change of definitions, decided on the catalog it is committed on.
pub trait Definition: Send {
    /// What the caller gets.
    type Answer: Send;

    /// Decides: pure, no I/O. Called again when another change of definitions came first.
    fn decide(&mut self, catalog: &Catalog, now: Millis) -> Defined<Self::Answer>;

    /// Makes the answer from a catalog that includes the change, once it is durable.
    fn answer(&mut self, catalog: &Catalog) -> Self::Answer;
}

/// What a change of definitions comes to.
#[derive(Debug)]
pub enum Defined<A> {
    /// Nothing changes: a refusal, or it is so already.
    Answer(A),
    /// These changes, all or none.
    Change(Vec<Change>),
}

/// One change of definitions.
#[derive(Clone, PartialEq, Debug)]
pub enum Change {
    /// Makes a table, its partitions and, if asked for, its stream. Identity, uuid, creation time, state, version and
    /// stream fields are set here.
    Create {
        /// The definition.
        table: Box<TableDefinition>,
        /// The stream's view, when it starts with one.
        stream: Option<StreamView>,
    },
    /// Replaces what is recorded of a table: billing, throughput, class, protection, tags, and what has no behaviour.
    /// Identity, name, key, partitions, streams, indexes and expiry stay. The table is UPDATING for a short while.
    Update {
        /// The definition.
        table: Box<TableDefinition>,
    },
    /// As `Update`, at once: the table's state stays what it is, a short one included.
    Record {
        /// The definition.
        table: Box<TableDefinition>,
    },
    /// Starts a new stream.
    EnableStream {
        /// Whose.
        table: TableId,
        /// What its records show.
        view: StreamView,
    },
    /// Ends the stream: its shards are closed and stay readable for the retention.
    DisableStream {
        /// Whose.
        table: TableId,
    },
    /// Drops a table and ends its stream. One with a destination is DELETING until that has sent all.
    Delete {
        /// Which.
        table: TableId,
    },
    /// Changes an index or the expiry of a table.
    Index {
        /// Whose.
        table: TableId,
        /// What changes.
        change: IndexChange,
    },
    /// Changes where a table's changes are replicated.
    Destination {
        /// Whose.
        table: TableId,
        /// What changes.
        change: DestinationChange,
    },
    /// Ends a short state of a table or a data stream; done by the log itself.
    Finish {
        /// Whose.
        id: TableId,
    },
    /// Makes a data stream and its shards. Identities, creation time, state and version are set here.
    CreateDataStream {
        /// The definition.
        stream: Box<DataStreamDefinition>,
        /// How many shards, of even ranges.
        shards: usize,
    },
    /// Replaces what is recorded of a data stream: mode, retention, encryption, size of records, monitoring, tags,
    /// consumers. Identity, name, shards and a reshard under way stay. It is UPDATING for a short while.
    UpdateDataStream {
        /// The definition.
        stream: Box<DataStreamDefinition>,
    },
    /// As `UpdateDataStream`, at once: the stream's state stays what it is.
    RecordDataStream {
        /// The definition.
        stream: Box<DataStreamDefinition>,
    },
    /// Drops a data stream with its records.
    DeleteDataStream {
        /// Which.
        id: TableId,
    },
    /// Closes an open shard and opens two children on `[start, at - 1]` and `[at, end]`.
    SplitShard {
        /// Whose.
        id: TableId,
        /// Which.
        shard: ShardUid,
        /// First hash key of the upper child.
        at: u128,
    },
    /// Closes two open shards of adjacent ranges and opens one child on both.
    MergeShards {
        /// Whose.
        id: TableId,
        /// The child's first parent.
        first: ShardUid,
        /// The child's second parent.
        second: ShardUid,
    },
    /// Splits and merges, step by step, until the open shards are so many, of even ranges. The stream is UPDATING all the
    /// time; the steps are the log's own and go on after a restart.
    Reshard {
        /// Whose.
        id: TableId,
        /// How many.
        shards: usize,
    },
    /// Replaces what Kinesis's operations record of a table's stream, at once.
    RecordStream {
        /// Which.
        stream: StreamUid,
        /// Registered consumers.
        consumers: Vec<ConsumerDefinition>,
        /// Tags.
        tags: BTreeMap<String, String>,
    },
    /// Forgets a stream whose retention is over; done by the log itself.
    Forget {
        /// Which.
        stream: StreamUid,
    },
}

/// Makes the plan of `changes`, decided on `catalog`, on top of `snapshot`, which must be as new as the catalog.
pub(crate) fn plan(
    changes: &[Change],
    catalog: &Catalog,
    snapshot: &dyn Snapshot,
    now: Millis,
    runtime: &Runtime,
    settings: &Settings,
) -> Result<Plan, Error> {
    let lineage = Lineage::new(snapshot, now, runtime)?;
    let (tables, streams, fresh) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let data_streams = BTreeMap::new();
    let mut work = Work { catalog, lineage, settings, tables, streams, data_streams, fresh };
    for change in changes {
        work.apply(change)?;
    }
    work.finish()
}

/// Tables and data streams in a short state, or whose shards are being changed; a table that is gone as long as a stream of
/// it is in one.
pub(crate) fn unfinished(catalog: &Catalog) -> BTreeSet<TableId> {
    let index_waits = |table: &TableDefinition| table.indexes.iter().any(|index| index.state.end() != index.state);
    let destination_waits = |table: &TableDefinition| {
        let is_short = |state| matches!(state, DestinationState::Enabling | DestinationState::Updating);
        table.destination().is_some_and(|destination| is_short(destination.state))
    };
    // The end of its destination is what a table being deleted waits for.
    let is_drained = |table: &TableDefinition| table.state != TableState::Deleting || table.destination().is_none();
    let waits = |table: &TableDefinition| {
        table.state != TableState::Active && is_drained(table) || index_waits(table) || destination_waits(table)
    };
    let tables = catalog.all_tables().filter(|table| waits(table)).map(|table| table.id);
    let streams = catalog.all_streams().filter(|stream| stream.is_unfinished()).map(|stream| stream.table);
    let data_streams = catalog.all_data_streams().filter(|stream| stream.is_unfinished()).map(|stream| stream.id);
    tables.chain(streams).chain(data_streams).collect()
}

/// Definitions being changed; `None` stands for one that goes.
struct Work<'a> {
    catalog: &'a Catalog,
    lineage: Lineage<'a>,
    settings: &'a Settings,
    tables: BTreeMap<TableId, Option<TableDefinition>>,
    streams: BTreeMap<StreamUid, Option<StreamDefinition>>,
    data_streams: BTreeMap<TableId, Option<DataStreamDefinition>>,
    /// Partitions of tables made here.
    fresh: BTreeMap<TableId, Vec<Partition>>,
}

impl Work<'_> {
    fn apply(&mut self, change: &Change) -> Result<(), Error> {
        match change {
            Change::Create { table, stream } => self.create(table, *stream),
            Change::Update { table } if self.is_slow() => self.update(table, Some(TableState::Updating)),
            Change::Update { table } | Change::Record { table } => self.update(table, None),
            Change::EnableStream { table, view } => self.enable(*table, *view),
            Change::DisableStream { table } => self.disable(*table),
            Change::Delete { table } if self.is_slow() || self.is_replicated(*table) => self.begin_delete(*table),
            Change::Delete { table } => self.delete(*table),
            Change::Destination { table, change } => self.change_destination(*table, change),
            Change::Index { table, change } => self.change_index(*table, change),
            Change::Finish { id } if self.catalog.data_stream_by_id(*id).is_some() => self.finish_data_stream(*id),
            Change::Finish { id } => self.finish_states(*id),
            Change::CreateDataStream { stream, shards } => self.create_data_stream(stream, *shards),
            Change::UpdateDataStream { stream } => self.update_data_stream(stream, self.is_slow()),
            Change::RecordDataStream { stream } => self.update_data_stream(stream, false),
            Change::DeleteDataStream { id } => self.delete_data_stream(*id),
            Change::SplitShard { id, shard, at } => self.split_shard(*id, *shard, *at),
            Change::MergeShards { id, first, second } => self.merge_shards(*id, *first, *second),
            Change::Reshard { id, shards } => self.reshard(*id, *shards),
            Change::RecordStream { stream, consumers, tags } => self.record_stream(*stream, consumers, tags),
            Change::Forget { stream } => self.forget(*stream),
        }
    }

    fn create(&mut self, wanted: &TableDefinition, stream: Option<StreamView>) -> Result<(), Error> {
        if self.catalog.table(&wanted.scope, &wanted.name).is_some() {
            return Err(Error::Invalid(format!("table {} exists", wanted.name)));
        }
        let mut table = wanted.clone();
        table.id = self.lineage.ids.table();
        table.table_uuid = uuid_text(self.lineage.runtime.random_u128());
        table.created = self.lineage.now;
        table.state = if self.is_slow() { TableState::Creating } else { TableState::Active };
        (table.stream, table.latest_stream, table.latest_stream_label) = (None, None, None);
        table.version = 0;
        for (index, number) in table.indexes.iter_mut().zip(1..) {
            (index.id, index.state) = (number, IndexState::Active);
        }
        table.last_index = table.indexes.len() as u32;
        (table.time_to_live, table.time_to_live_changed) = (None, None);
        (table.destinations, table.internal) = (Vec::new(), None);
        let id = table.id;
        for range in lineage::tile(partitions_of(&table, self.settings)) {
            let partition = self.lineage.create(range);
            self.lineage.draft.moved(partition_head(partition.id), 0);
            self.lineage.put(id, &partition);
            self.fresh.entry(id).or_default().push(partition);
        }
        self.tables.insert(id, Some(table));
        stream.map_or(Ok(()), |view| self.enable(id, view))
    }

    fn update(&mut self, wanted: &TableDefinition, state: Option<TableState>) -> Result<(), Error> {
        let table = self.table(wanted.id)?;
        *table = TableDefinition {
            id: table.id,
            scope: table.scope.clone(),
            name: table.name.clone(),
            table_uuid: table.table_uuid.clone(),
            key_schema: table.key_schema.clone(),
            created: table.created,
            state: state.unwrap_or(table.state),
            stream: table.stream,
            latest_stream: table.latest_stream,
            latest_stream_label: table.latest_stream_label.clone(),
            indexes: table.indexes.clone(),
            last_index: table.last_index,
            time_to_live: table.time_to_live.clone(),
            time_to_live_changed: table.time_to_live_changed,
            destinations: table.destinations.clone(),
            internal: table.internal,
            version: table.version,
            ..wanted.clone()
        };
        Ok(())
    }

    fn enable(&mut self, id: TableId, view: StreamView) -> Result<(), Error> {
        let (slow, now) = (self.is_slow(), self.lineage.now);
        let uid = self.lineage.ids.stream();
        let table = self.table(id)?;
        if table.stream.is_some() {
            return Err(Error::Invalid(format!("table {} has an enabled stream", table.name)));
        }
        let internal = table.log_lineage();
        let (scope, name, key_schema) = (table.scope.clone(), table.name.clone(), table.key_schema.clone());
        let mut stream = StreamDefinition {
            uid,
            table: id,
            table_name: name,
            scope,
            label: String::new(),
            view,
            key_schema,
            state: if slow { StreamState::Enabling } else { StreamState::Enabled },
            created: now,
            closed: None,
            consumers: Vec::new(),
            tags: BTreeMap::new(),
        };
        stream.label = stream_label(stream.created);
        // Labels name streams: two of one table name within a millisecond must differ.
        while self.catalog.stream_by_arn(&stream.arn()).is_some() {
            stream.created = Millis(stream.created.0 + 1);
            stream.label = stream_label(stream.created);
        }
        let table = self.table(id)?;
        (table.stream, table.latest_stream) = (Some(uid), Some(uid));
        table.latest_stream_label = Some(stream.label.clone());
        if slow && table.state == TableState::Active {
            table.state = TableState::Updating;
        }
        self.streams.insert(uid, Some(stream));
        for partition in &mut self.partitions(id)? {
            self.lineage.hand_over(id, internal, Some(uid), partition)?;
        }
        Ok(())
    }

    fn disable(&mut self, id: TableId) -> Result<(), Error> {
        let (slow, now) = (self.is_slow(), self.lineage.now);
        let table = self.table(id)?;
        let Some(uid) = table.stream.take() else {
            return Err(Error::Invalid(format!("table {} has no stream", table.name)));
        };
        let internal = table.log_lineage();
        if slow && table.state == TableState::Active {
            table.state = TableState::Updating;
        }
        let stream = self.stream(uid)?;
        stream.state = if slow { StreamState::Disabling } else { StreamState::Disabled };
        stream.closed = Some(now);
        for partition in &mut self.partitions(id)? {
            self.lineage.hand_over(id, Some(uid), internal, partition)?;
        }
        Ok(())
    }

    /// Shows the table as DELETING: nothing writes to it any more, its stream is closed.
    fn begin_delete(&mut self, id: TableId) -> Result<(), Error> {
        self.disable_with_table(id)?;
        if self.table(id)?.stream.is_some() {
            self.disable(id)?;
        }
        self.table(id)?.state = TableState::Deleting;
        Ok(())
    }

    fn delete(&mut self, id: TableId) -> Result<(), Error> {
        let stream = self.table(id)?.stream;
        let mut partitions = self.partitions(id)?;
        if stream.is_some() {
            self.disable(id)?;
        }
        for partition in &mut partitions {
            let closed = stream.is_some() && partition.shard.take().is_some();
            self.lineage.end(id, partition, closed);
        }
        if let Some(internal) = self.table(id)?.internal {
            self.lineage.bury_stream(internal)?;
        }
        self.lineage.bury(id);
        self.tables.insert(id, None);
        Ok(())
    }

    fn finish_states(&mut self, id: TableId) -> Result<(), Error> {
        let of_table = self.catalog.all_streams().filter(|stream| stream.table == id);
        let streams: Vec<StreamUid> = of_table.map(|stream| stream.uid).collect();
        for uid in streams {
            let stream = self.stream(uid)?;
            stream.state = stream.state.end();
            stream.finish_consumers();
        }
        if self.catalog.table_by_id(id).is_none() {
            return Ok(());
        }
        self.settle_destination(id)?;
        let table = self.table(id)?;
        for index in &mut table.indexes {
            index.state = index.state.end();
        }
        match table.state {
            TableState::Deleting if table.destination().is_some() => Ok(()),
            TableState::Deleting => self.delete(id),
            state => {
                table.state = state.end().unwrap_or(state);
                Ok(())
            }
        }
    }

    fn record_stream(
        &mut self,
        uid: StreamUid,
        consumers: &[ConsumerDefinition],
        tags: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let slow = self.is_slow();
        let stream = self.stream(uid)?;
        (stream.consumers, stream.tags) = (consumers.to_vec(), tags.clone());
        if !slow {
            stream.finish_consumers();
        }
        Ok(())
    }

    fn forget(&mut self, uid: StreamUid) -> Result<(), Error> {
        self.stream(uid)?;
        self.streams.insert(uid, None);
        let head = lineage_head(uid);
        self.lineage.draft.removed(head, self.lineage.snapshot.head(head)?.version);
        Ok(())
    }

    fn finish(mut self) -> Result<Plan, Error> {
        let snapshot = self.lineage.snapshot;
        let draft = &mut self.lineage.draft;
        draft.moved(CATALOG_HEAD, self.catalog.version());
        for (id, table) in std::mem::take(&mut self.tables) {
            let expected = snapshot.head(table_head(id))?.version;
            match table {
                Some(table) => {
                    draft.moved(table_head(id), expected);
                    let table = TableDefinition { version: expected + 1, ..table };
                    draft.put(writer::table_key(id), writer::encode_table(&table));
                }
                None => {
                    draft.removed(table_head(id), expected);
                    draft.delete(writer::table_key(id));
                }
            }
        }
        for (id, stream) in std::mem::take(&mut self.data_streams) {
            let expected = snapshot.head(table_head(id))?.version;
            match stream {
                Some(stream) => {
                    draft.moved(table_head(id), expected);
                    let stream = DataStreamDefinition { version: expected + 1, ..stream };
                    draft.put(writer::data_stream_key(id), writer::encode_data_stream(&stream));
                }
                None => {
                    draft.removed(table_head(id), expected);
                    draft.delete(writer::data_stream_key(id));
                }
            }
        }
        for (uid, stream) in std::mem::take(&mut self.streams) {
            match stream {
                Some(stream) => draft.put(writer::stream_key(uid), writer::encode_stream(&stream)),
                None => draft.delete(writer::stream_key(uid)),
            }
        }
        self.lineage.finish()
    }

    /// Whether something is still being sent of a table, or wants to be.
    fn is_replicated(&self, id: TableId) -> bool {
        self.catalog.table_by_id(id).is_some_and(|table| table.destination().is_some())
    }

    fn is_slow(&self) -> bool {
        !self.settings.short_states.is_zero()
    }

    /// The table as changed so far.
    fn table(&mut self, id: TableId) -> Result<&mut TableDefinition, Error> {
        let catalog = self.catalog;
        let table = self.tables.entry(id).or_insert_with(|| catalog.table_by_id(id).map(|table| (**table).clone()));
        table.as_mut().ok_or(Error::NoTable(id))
    }

    fn stream(&mut self, uid: StreamUid) -> Result<&mut StreamDefinition, Error> {
        let catalog = self.catalog;
        let stream = self.streams.entry(uid).or_insert_with(|| catalog.stream(uid).map(|stream| (**stream).clone()));
        stream.as_mut().ok_or_else(|| Error::Invalid(format!("no stream with identity {}", uid.0)))
    }

    fn partitions(&self, id: TableId) -> Result<Vec<Partition>, Error> {
        match self.fresh.get(&id) {
            Some(partitions) => Ok(partitions.clone()),
            None => lineage::partitions(self.lineage.snapshot, id),
        }
    }
}

/// How many partitions a new table starts with.
///
/// Source: "Burst and adaptive capacity", DynamoDB developer guide, for what one partition carries.
fn partitions_of(table: &TableDefinition, settings: &Settings) -> usize {
    let parts = |units: i64, each: i64| units.max(0).div_euclid(each) + i64::from(units.max(0) % each != 0);
    match table.billing {
        BillingMode::PayPerRequest => settings.on_demand_partitions.max(1),
        BillingMode::Provisioned => {
            let writes = parts(table.throughput.write_units, limits::PARTITION_WRITE_UNITS);
            let reads = parts(table.throughput.read_units, limits::PARTITION_READ_UNITS);
            writes.max(reads).clamp(1, PARTITIONS_MAX) as usize
        }
    }
}

#[cfg(test)]
mod tests {
    use headwater_catalog::{KeyAttribute, KeyKind, KeySchema, Throughput};
    use headwater_types::Scope;

    use super::*;

    #[test]
    fn partitions_follow_from_billing_and_throughput() {
        let key_schema = KeySchema { hash: KeyAttribute { name: "id".into(), kind: KeyKind::S }, range: None };
        let mut table = TableDefinition::new(Scope::new("000000000000", "a"), "t", key_schema);
        let settings = Settings::default();
        assert_eq!(partitions_of(&table, &settings), limits::ON_DEMAND_PARTITIONS);
        table.billing = BillingMode::Provisioned;
        for (read_units, write_units, partitions) in
            [(1, 1, 1), (3_000, 1_000, 1), (3_001, 1, 2), (1, 1_001, 2), (30_000, 5_000, 10), (i64::MAX, 0, 4_096)]
        {
            table.throughput = Throughput { read_units, write_units };
            assert_eq!(partitions_of(&table, &settings), partitions, "{read_units} {write_units}");
        }
    }
}
