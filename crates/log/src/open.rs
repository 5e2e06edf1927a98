//! A node's log: opening, what its parts share, definition changes, closing.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::select;
use headwater_catalog::{Identities, Incarnation, Snapshot as Catalog};
use headwater_storage::contract::Write;
use headwater_storage::keyspace::CATALOG_HEAD;
use headwater_storage::{Batch, BatchId, Cell, CommitError, HeadChange, HeadUse, Plan, Snapshot};
use headwater_types::{BoxFuture, Clock, HashKey, Millis, Runtime, TableId};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::committer::Committer;
use crate::definition::{self, Change, Defined, Definition};
use crate::error::Error;
use crate::flow::Flow;
use crate::heat::Heat;
use crate::life;
use crate::lineage::{self, IDENTITY_HEAD, TableSize};
use crate::locks::{Keys, Ticket};
use crate::notify::Notify;
use crate::queue::{Alone, AloneEnd, Entry, Queue, Work};
use crate::retention::Retained;
use crate::settings::Settings;
use crate::views::Views;

/// How often the background task trims. Unit: system time.
const RETAIN_EVERY: Duration = Duration::from_secs(30);

/// A node's log: the commit path, the lineage, readers' positions, over one cell.
///
/// Dropping it lets what is queued be done; [`Log::close`] waits for that.
pub struct Log {
    pub(crate) shared: Arc<Shared>,
    committer: Mutex<Option<BoxFuture<'static, ()>>>,
    /// Its other end goes with the committer.
    committing: watch::Receiver<()>,
}

/// What a node's tasks share.
pub(crate) struct Shared {
    pub cell: Arc<dyn Cell>,
    pub runtime: Runtime,
    pub clock: Clock,
    pub settings: Settings,
    /// Whether other nodes may move heads.
    pub is_shared: bool,
    pub incarnation: Incarnation,
    pub keys: Keys,
    pub views: Views,
    pub queue: Queue,
    pub notify: Notify,
    pub heat: Heat,
    pub flow: Flow,
    pub lived: life::Counters,
    pub trimmed_once: AtomicBool,
    next_ticket: AtomicU64,
    #[cfg(feature = "planted-bugs")]
    pub drawn: crate::planted::Counter,
}

impl Log {
    /// Opens the log of a cell: makes a new store's identity, loads the catalog, ends interrupted states, starts the
    /// committer.
    pub async fn open(
        cell: Arc<dyn Cell>,
        runtime: Runtime,
        clock: Clock,
        settings: Settings,
    ) -> Result<Arc<Self>, Error> {
        clock.raise(cell.store_time_mark());
        let incarnation = incarnation(&*cell, &runtime).await?;
        let background = settings.background;
        let shared = Arc::new(Shared {
            is_shared: cell.groups_in_flight_max() <= 1,
            queue: Queue::new(settings.queue_bytes_max),
            heat: Heat::new(settings.split_writes_per_second),
            flow: Flow::default(),
            cell,
            runtime,
            settings,
            incarnation,
            keys: Keys::new(),
            views: Views::new(clock.clone()),
            clock,
            notify: Notify::default(),
            lived: life::Counters::default(),
            trimmed_once: AtomicBool::new(false),
            next_ticket: AtomicU64::new(1),
            #[cfg(feature = "planted-bugs")]
            drawn: crate::planted::Counter::default(),
        });
        shared.views.refresh(&*shared.cell.snapshot())?;
        let (running, committing) = watch::channel(());
        let committer = Committer::new(shared.clone());
        let ended = shared.runtime.spawn(async move {
            let _running = running;
            committer.run().await;
        });
        let ended: BoxFuture<'static, ()> = Box::pin(async move {
            // A committer that panicked has closed the queue as well.
            let _ = ended.await;
        });
        let log = Arc::new(Self { shared, committer: Mutex::new(Some(ended)), committing });
        log.shared.finish().await?;
        drop(log.shared.runtime.spawn(watch_log(Arc::downgrade(&log.shared))));
        if background {
            drop(log.shared.runtime.spawn(keep_retention(Arc::downgrade(&log.shared))));
            drop(log.shared.runtime.spawn(life::live(Arc::downgrade(&log.shared))));
        }
        Ok(log)
    }

    /// All definitions, the newest there are when this is called.
    pub fn catalog(&self) -> Result<Arc<Catalog>, Error> {
        self.shared.catalog()
    }

    /// Raised with every change of definitions that this node gets to know.
    pub fn catalog_changes(&self) -> watch::Receiver<u64> {
        self.shared.views.changes()
    }

    /// The newest published state, for reads.
    pub fn snapshot(&self) -> Arc<dyn Snapshot> {
        self.shared.cell.snapshot()
    }

    /// Raised after every commit that readers can see.
    pub fn published(&self) -> watch::Receiver<headwater_types::Position> {
        self.shared.cell.published()
    }

    /// The clock that the log goes by.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// The runtime that the log's tasks run on.
    pub fn runtime(&self) -> &Runtime {
        &self.shared.runtime
    }

    /// How much a table holds.
    pub fn size(&self, table: TableId) -> Result<TableSize, Error> {
        lineage::size(&*self.shared.cell.snapshot(), table)
    }

    /// Changes definitions: alone in its group, in the same order as all commands.
    ///
    /// Errors: `Full`, `Closed`, `NoTable`, `Invalid` when the changes make no sense, and the engine's.
    /// Order:  when the answer comes, every later [`Log::catalog`] includes the change, and no plan made under the old
    ///         definitions will be committed.
    pub async fn define<D: Definition>(&self, change: D) -> Result<D::Answer, Error> {
        self.shared.define_with_states(change).await
    }

    /// Splits the partition that holds `at` in two, with its open shard: `[start, at - 1]` and `[at, end]`.
    ///
    /// Errors: `Invalid` when `at` is the partition's first hash.
    pub async fn split(&self, table: TableId, at: HashKey) -> Result<(), Error> {
        self.shared.alone(Work::Split { table, at, only: None }).await.map(drop)
    }

    /// Closes the open shard of the partition that holds `at` and opens its one child.
    ///
    /// Errors: `Invalid` when the table has no stream.
    pub async fn roll_over(&self, table: TableId, at: HashKey) -> Result<(), Error> {
        self.shared.alone(Work::RollOver { table, at, only: None }).await.map(drop)
    }

    /// One pass of trimming, as the background task makes them.
    pub async fn retain(&self) -> Result<Retained, Error> {
        self.shared.retain().await
    }

    /// Takes no more commands, waits for what is queued, closes the cell.
    pub async fn close(&self) -> Result<(), Error> {
        self.shared.queue.finish();
        let committer = self.committer.lock().take();
        if let Some(ended) = committer {
            ended.await;
        }
        Ok(self.shared.cell.close().await?)
    }

    /// Ends when nothing is committed any more: after [`Log::close`], or because the cell has failed, which it tells only
    /// when it is written to. Whoever has not asked for the one knows that it was the other.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut committing = self.committing.clone();
        async move { while committing.changed().await.is_ok() {} }
    }

    /// How many keys are locked or pending.
    #[cfg(test)]
    pub(crate) fn busy_keys(&self) -> usize {
        self.shared.keys.len()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.queue.finish();
    }
}

impl Shared {
    pub fn ticket(&self) -> Ticket {
        Ticket(self.next_ticket.fetch_add(1, Ordering::Relaxed))
    }

    /// All definitions; on a shared cell those of other nodes too.
    pub fn catalog(&self) -> Result<Arc<Catalog>, Error> {
        if self.is_shared {
            self.views.refresh(&*self.cell.snapshot())?;
        }
        Ok(self.views.catalog())
    }

    /// Does work that is alone in its group.
    pub async fn alone(&self, work: Work) -> Result<AloneEnd, Error> {
        let place = self.queue.reserve(0).await?;
        let (reply, end) = oneshot::channel();
        self.queue.push(Entry::Alone(Alone { work, reply, place }));
        end.await.unwrap_or(Err(Error::Closed))
    }

    /// Changes definitions.
    pub async fn define<D: Definition>(&self, mut change: D) -> Result<D::Answer, Error> {
        Ok(self.define_once(&mut change).await?.0)
    }

    /// Changes definitions, and sees to it that short states end.
    pub(crate) async fn define_with_states<D: Definition>(self: &Arc<Self>, mut change: D) -> Result<D::Answer, Error> {
        let (answer, changed) = self.define_once(&mut change).await?;
        if changed && self.settings.short_states.is_zero() {
            self.finish().await?;
        } else if changed {
            let (shared, runtime) = (Arc::downgrade(self), self.runtime.clone());
            let pause = self.settings.short_states;
            drop(self.runtime.spawn(async move {
                runtime.sleep(pause).await;
                let Some(shared) = shared.upgrade() else { return };
                if let Err(error) = shared.finish().await {
                    tracing::warn!(%error, "short states are not ended");
                }
            }));
        }
        Ok(answer)
    }

    /// Ends all short states: one commit each, several where a data stream's shards are changed step by step.
    async fn finish(&self) -> Result<(), Error> {
        for id in definition::unfinished(&*self.catalog()?) {
            while definition::unfinished(&*self.catalog()?).contains(&id) {
                self.define(Finish(id)).await?;
            }
        }
        Ok(())
    }

    async fn define_once<D: Definition>(&self, change: &mut D) -> Result<(D::Answer, bool), Error> {
        loop {
            let catalog = self.catalog()?;
            let changes = match change.decide(&catalog, self.clock.store()) {
                Defined::Answer(answer) => return Ok((answer, false)),
                Defined::Change(changes) => changes,
            };
            match self.alone(Work::Define { changes, based_on: catalog.version() }).await? {
                AloneEnd::Done => return Ok((change.answer(&self.views.catalog()), true)),
                AloneEnd::TakenBack => {}
            }
        }
    }
}

/// Ends the short states of a table or a data stream.
struct Finish(TableId);

impl Definition for Finish {
    type Answer = ();

    fn decide(&mut self, catalog: &Catalog, _now: Millis) -> Defined<()> {
        if definition::unfinished(catalog).contains(&self.0) {
            Defined::Change(vec![Change::Finish { id: self.0 }])
        } else {
            Defined::Answer(())
        }
    }

    fn answer(&mut self, _catalog: &Catalog) {}
}

/// Reads the store's identity; makes one for a new store and for a copy, before anything of it is served.
async fn incarnation(cell: &dyn Cell, runtime: &Runtime) -> Result<Incarnation, Error> {
    loop {
        let snapshot = cell.snapshot();
        let found = snapshot.get(&Incarnation::key())?.map(|row| Incarnation::decode(&row)).transpose()?;
        let is_new = found.is_none();
        match found {
            Some(found) if found.is_of(cell.identity()) => return Ok(found),
            Some(_) => tracing::info!("the store is a copy: iterators of the original are expired"),
            None => {
                debug_assert_eq!(snapshot.head(CATALOG_HEAD)?.version, 0, "a store with definitions has an identity");
            }
        }
        let mut seal_key = [0; 32];
        for part in seal_key.chunks_mut(8) {
            part.copy_from_slice(&runtime.random().to_be_bytes());
        }
        let made = Incarnation::new(runtime.random(), seal_key, cell.identity());
        let change = HeadChange::Move { items: 0, bytes: 0, take: false, above: Vec::new() };
        let write = |key: Bytes, value: Bytes| Write { key, value: Some(value), stamp: None };
        let mut writes = vec![write(Incarnation::key(), made.encode())];
        if is_new {
            writes.push(write(Identities::key(), Identities::default().encode()));
        }
        let expected = snapshot.head(IDENTITY_HEAD)?.version;
        drop(snapshot);
        let heads = vec![HeadUse { key: IDENTITY_HEAD, expected, change }];
        let plan = Plan { heads, writes, records: Vec::new() };
        let id = BatchId(runtime.random_u128());
        // Committed by us or by another node: the row is read at the next turn.
        match cell.commit(Batch { id, plans: vec![plan] }).await {
            Ok(_) => {}
            Err(CommitError::Unknown) => drop(cell.resolve(id).await?),
            Err(CommitError::Full(_)) => return Err(Error::Full),
            Err(CommitError::Closed(_)) => return Err(Error::Closed),
        }
    }
}

/// Wakes readers of what no outcome tells: another node's records, and those that were answered before they were synced.
async fn watch_log(shared: Weak<Shared>) {
    let Some(mut shown) = shared.upgrade().map(|shared| shared.cell.log_shown()) else { return };
    while shown.changed().await.is_ok() {
        let Some(shared) = shared.upgrade() else { return };
        shared.notify.raise_all();
    }
}

async fn keep_retention(shared: Weak<Shared>) {
    let opened = shared.upgrade().map(|shared| (shared.runtime.clone(), shared.clock.changes()));
    let Some((runtime, mut clock)) = opened else { return };
    loop {
        let moved = pin!(clock.changed());
        drop(select(moved, runtime.sleep(RETAIN_EVERY)).await);
        let Some(shared) = shared.upgrade() else { return };
        match shared.retain().await {
            Ok(_) => {}
            Err(Error::Closed) => return,
            Err(error) => tracing::warn!(%error, "trimming waits: it failed"),
        }
    }
}
