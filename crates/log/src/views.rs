//! What a node believes about definitions: the catalog snapshot, and per table (definition, view).
//!
//! A view is the number of a stretch of time in which a node's belief about a table's ranges held. It is raised when the
//! belief turned out wrong (a head had moved, a plan failed, the definition changed): all that was planned under an older
//! view is taken back, and pending values of an older view are void.
//!
//! Rule: a view may be raised only while none of this node's groups with that table is in flight, or together with a
//! definition that another node committed (which fences such a group, or comes after it in the commit order). Then
//! whoever plans under the new view finds in the published snapshot all that was committed under the old one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;
use headwater_catalog::snapshot::Rows;
use headwater_catalog::{DataStreamDefinition, Snapshot as Catalog, StoreTime, TableDefinition, writer};
use headwater_storage::contract::Direction;
use headwater_storage::keyspace::CATALOG_HEAD;
use headwater_storage::{Error as StorageError, Snapshot};
use headwater_types::hash::FixedMap;
use headwater_types::{Clock, TableId};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::error::Error;

/// What has partitions: a table or a data stream.
#[derive(Clone)]
pub(crate) enum Owner {
    Table(Arc<TableDefinition>),
    DataStream(Arc<DataStreamDefinition>),
}

impl Owner {
    fn id(&self) -> TableId {
        match self {
            Self::Table(table) => table.id,
            Self::DataStream(stream) => stream.id,
        }
    }

    /// Version of its definition.
    pub fn version(&self) -> u64 {
        match self {
            Self::Table(table) => table.version,
            Self::DataStream(stream) => stream.version,
        }
    }
}

/// A table's or data stream's definition and the view it belongs to.
pub(crate) struct TableView {
    pub definition: Owner,
    pub view: u64,
}

type Tables = FixedMap<TableId, Arc<ArcSwap<TableView>>>;

/// A node's beliefs, read by every planner.
pub(crate) struct Views {
    catalog: ArcSwap<Catalog>,
    tables: ArcSwap<Tables>,
    clock: Clock,
    /// The count under which shard iterators are given now.
    iterators: AtomicU32,
    /// Held while anything above is changed.
    changing: Mutex<()>,
    /// Version of the catalog, for those who wait for changes of it.
    version: watch::Sender<u64>,
}

impl Views {
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            iterators: AtomicU32::new(0),
            version: watch::Sender::new(0),
            catalog: ArcSwap::from_pointee(Catalog::default()),
            tables: ArcSwap::from_pointee(Tables::default()),
            changing: Mutex::new(()),
        }
    }

    /// The catalog as this node knows it.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.load_full()
    }

    /// The count under which shard iterators are given now; those of an earlier one are expired.
    pub fn iterators(&self) -> u32 {
        self.iterators.load(Ordering::Acquire)
    }

    /// Raised with every newer catalog that this node gets to know.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// A table's definition and view.
    pub fn table(&self, table: TableId) -> Option<Arc<TableView>> {
        self.tables.load().get(&table).map(|slot| slot.load_full())
    }

    /// Raises a table's view.
    pub fn raise(&self, table: TableId) {
        let _changing = self.changing.lock();
        if let Some(slot) = self.tables.load().get(&table) {
            let old = slot.load_full();
            slot.store(Arc::new(TableView { definition: old.definition.clone(), view: old.view + 1 }));
        }
    }

    /// Takes over the definitions of `snapshot`, and what it keeps of the clock, if they are newer than what is known.
    /// Tables whose definition changed get a new view.
    pub fn refresh(&self, snapshot: &dyn Snapshot) -> Result<(), Error> {
        let version = snapshot.head(CATALOG_HEAD)?.version;
        if version <= self.catalog.load().version() {
            return Ok(());
        }
        let _changing = self.changing.lock();
        let old = self.catalog.load_full();
        if version <= old.version() {
            return Ok(());
        }
        let new = Arc::new(load(snapshot, version, &old)?);
        let time = StoreTime::decode(snapshot.get(&StoreTime::key())?.as_deref())?;
        self.clock.set(time.offset_ms, time.frozen());
        self.iterators.store(time.iterators, Ordering::Release);
        // Tables first: who finds a name in the new catalog must find its view.
        self.tables.store(Arc::new(self.slots(&new)));
        self.catalog.store(new);
        self.version.send_replace(version);
        Ok(())
    }

    fn slots(&self, catalog: &Catalog) -> Tables {
        let old = self.tables.load();
        let mut slots = Tables::default();
        let tables = catalog.all_tables().map(|table| Owner::Table(table.clone()));
        let streams = catalog.all_data_streams().map(|stream| Owner::DataStream(stream.clone()));
        for definition in tables.chain(streams) {
            let id = definition.id();
            let slot = match old.get(&id) {
                Some(slot) => {
                    let known = slot.load_full();
                    if known.definition.version() != definition.version() {
                        slot.store(Arc::new(TableView { definition, view: known.view + 1 }));
                    }
                    slot.clone()
                }
                None => Arc::new(ArcSwap::from_pointee(TableView { definition, view: 1 })),
            };
            slots.insert(id, slot);
        }
        slots
    }
}

fn load(snapshot: &dyn Snapshot, version: u64, previous: &Catalog) -> Result<Catalog, Error> {
    let mut failed: Option<StorageError> = None;
    let mut all = Rows::default();
    let kinds = [
        (writer::table_rows(), &mut all.tables),
        (writer::stream_rows(), &mut all.streams),
        (writer::data_stream_rows(), &mut all.data_streams),
    ];
    for ((start, end), rows) in kinds {
        for entry in snapshot.scan(&start, &end, Direction::Forward) {
            match entry {
                Ok(row) => rows.push(row),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
    }
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(Catalog::build(version, all, previous)?),
    }
}
