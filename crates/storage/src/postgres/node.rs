//! One process's handle on the cell.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use headwater_types::{BoxFuture, Clock, Millis, Position, Runtime};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};

use super::commit::{Done, Failure, StoreTime};
use super::connection::{Connections, translated};
use super::snapshot::{Reader, View};
use super::{Settings, outcome, schema, upkeep};
use crate::contract::{Batch, BatchId, Cell, CommitError, Horizon, Outcome, Snapshot, Stats};
use crate::error::{Error, Kind};

/// How often a batch that the server rolled back for the sake of another one is sent again before its id is asked for.
const TRIES: usize = 10;

type Answer = Result<Vec<Outcome>, CommitError>;

/// A node's handle on a cell; what `Cell` promises is in the contract.
pub struct Postgres(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub settings: Settings,
    pub connections: Connections,
    clock: Clock,
    /// Names this handle among those that have the cell open.
    pub node: [u8; 16],
    queue: Mutex<Queue>,
    idle: watch::Sender<bool>,
    pub pins: Mutex<Pins>,
    pub published: watch::Sender<Position>,
    /// This node has committed: other nodes are to be told.
    pub tell: Notify,
    /// Another node has committed, it says.
    pub told: Arc<Notify>,
    mark: AtomicI64,
    pub counters: Counters,
}

/// How often what happened since a handle was opened.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Figures {
    /// Plans that were fenced.
    pub fenced: u64,
    /// Batches whose answer was lost.
    pub unknown: u64,
    /// Questions of readers, each a round trip to the server.
    pub questions: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    fenced: AtomicU64,
    unknown: AtomicU64,
    groups: AtomicU64,
    plans: AtomicU64,
    bytes: AtomicU64,
    pub log_bytes: AtomicU64,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    working: bool,
    closed: bool,
}

struct Waiting {
    batch: Batch,
    answer: oneshot::Sender<Answer>,
}

/// Positions that snapshots of this node show.
#[derive(Default)]
pub(super) struct Pins {
    held: BTreeMap<Position, usize>,
    known: Position,
}

impl Pins {
    pub fn pin(&mut self, position: Position) {
        self.known = self.known.max(position);
        *self.held.entry(position).or_default() += 1;
    }

    /// Pins the newest position that was seen: what is asked for now is no older.
    pub fn pin_known(&mut self) -> Position {
        self.pin(self.known);
        self.known
    }

    pub fn unpin(&mut self, position: Position) {
        if let Some(count) = self.held.get_mut(&position) {
            *count -= 1;
            if *count == 0 {
                self.held.remove(&position);
            }
        }
    }

    /// No snapshot of this node, present or to come, shows an older position.
    pub fn oldest(&self) -> Position {
        self.held.keys().next().copied().unwrap_or(self.known)
    }
}

impl Postgres {
    /// Opens the cell for one process, and makes it when it is not there. As many processes may as like.
    ///
    /// Errors: `Invalid` for an address or a schema that is none, or a cell of another layout; `Unavailable` when the
    ///         database cannot be reached for as long as the settings say.
    pub async fn open(settings: Settings, runtime: Runtime, clock: Clock) -> Result<Arc<Self>, Error> {
        schema::check_name(&settings.schema)?;
        let inner = Arc::new(Inner {
            connections: Connections::new(&settings)?,
            settings,
            clock,
            node: runtime.random_u128().to_be_bytes(),
            queue: Mutex::new(Queue::default()),
            idle: watch::Sender::new(true),
            pins: Mutex::new(Pins::default()),
            published: watch::Sender::new(Position::default()),
            tell: Notify::new(),
            told: Arc::new(Notify::new()),
            mark: AtomicI64::new(0),
            counters: Counters::default(),
        });
        let opening = inner.clone();
        inner.on_own_threads(async move { opening.start().await }).await?;
        upkeep::spawn(&inner);
        Ok(Arc::new(Self(inner)))
    }

    /// What was counted so far.
    pub fn figures(&self) -> Figures {
        let counters = &self.0.counters;
        Figures {
            fenced: counters.fenced.load(Ordering::Relaxed),
            unknown: counters.unknown.load(Ordering::Relaxed),
            questions: self.0.connections.questions.load(Ordering::Relaxed),
        }
    }

    /// Removes what no snapshot of any node can show, without waiting for the time to do so.
    pub async fn vacuum(&self) -> Result<(), Error> {
        let inner = self.0.clone();
        self.0.on_own_threads(async move { upkeep::vacuum_now(&inner).await }).await
    }
}

impl Inner {
    /// Connections belong to the engine's own threads, whoever asks.
    async fn on_own_threads<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        self.connections.runtime.spawn(work).await.unwrap_or_else(|_| Err(closed()))
    }

    async fn start(self: &Arc<Self>) -> Result<(), Error> {
        let give_up = self.connections.runtime.monotonic() + self.settings.patience;
        loop {
            match self.start_once().await {
                Ok(started) => return started,
                Err(error)
                    if super::connection::is_passing(&error) && self.connections.runtime.monotonic() < give_up =>
                {
                    self.connections.runtime.sleep(std::time::Duration::from_millis(50)).await;
                }
                Err(error) => return Err(translated(error)),
            }
        }
    }

    async fn start_once(&self) -> Result<Result<(), Error>, tokio_postgres::Error> {
        let client = self.connections.connect().await?;
        schema::make(&client, &self.settings.schema).await?;
        if let Err(error) = schema::check_layout(&client).await? {
            return Ok(Err(error));
        }
        // Stated before any snapshot is taken.
        let joined = "INSERT INTO nodes (id, pin) SELECT $1::bytea, position FROM cell ON CONFLICT (id) DO NOTHING";
        client.execute(joined, &[&self.node.as_slice()]).await?;
        let row = client.query_one("SELECT position, mark FROM cell", &[]).await?;
        self.publish(Position(row.get::<_, i64>(0) as u64));
        self.mark.fetch_max(row.get(1), Ordering::AcqRel);
        Ok(Ok(()))
    }

    /// The newest position there is.
    pub async fn newest(&self) -> Result<Position, Error> {
        let ask = |reader: Arc<Reader>| async move {
            let row = reader.client.query_one(&reader.position, &[]).await?;
            Ok(Ok(Position(row.get::<_, i64>(0) as u64)))
        };
        let position = self.connections.read(ask).await?;
        self.publish(position);
        Ok(position)
    }

    /// Raises what this node knows to be published.
    pub fn publish(&self, position: Position) {
        let mut pins = self.pins.lock();
        pins.known = pins.known.max(position);
        drop(pins);
        self.published.send_if_modified(|published| {
            let rises = *published < position;
            *published = position.max(*published);
            rises
        });
    }

    pub fn is_closed(&self) -> bool {
        self.queue.lock().closed
    }

    /// Store time is the database's clock and the offset that users have moved it by: the nodes' own clocks may differ.
    fn store_time(&self) -> StoreTime {
        let state = self.clock.state();
        if state.frozen { StoreTime::Frozen(state.store) } else { StoreTime::Ahead(state.offset_ms) }
    }

    async fn work(self: Arc<Self>) {
        loop {
            let next = {
                let mut queue = self.queue.lock();
                let next = queue.waiting.pop_front();
                queue.working = next.is_some();
                next
            };
            let Some(Waiting { batch, answer }) = next else {
                self.idle.send_replace(true);
                return;
            };
            let outcomes = self.commit(&batch).await;
            // Whoever asked may be gone: the group stands all the same.
            let _ = answer.send(outcomes.map_err(CommitError::from));
        }
    }

    async fn commit(&self, batch: &Batch) -> Result<Vec<Outcome>, Failure> {
        let (time, draws) = (self.store_time(), self.settings.draws_before_commit());
        let mut tries = 0;
        let done = loop {
            match self.connections.commit(batch, time, draws).await {
                Err(Failure::Again) if tries < TRIES => tries += 1,
                done => break done,
            }
        };
        if matches!(done, Err(Failure::Again | Failure::Unknown(_))) {
            self.counters.unknown.fetch_add(1, Ordering::Relaxed);
        }
        let Done { outcomes, position, mark, plans } = done?;
        let fenced = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Fenced { .. })).count();
        self.counters.fenced.fetch_add(fenced as u64, Ordering::Relaxed);
        if let Some(position) = position {
            self.counters.groups.fetch_add(1, Ordering::Relaxed);
            self.counters.plans.fetch_add(plans, Ordering::Relaxed);
            let bytes: usize = batch.plans.iter().map(|plan| plan.size_bytes()).sum();
            self.counters.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            self.mark.fetch_max(mark.0, Ordering::AcqRel);
            self.publish(position);
            self.tell.notify_one();
        }
        Ok(outcomes)
    }

    /// Inserts the id: it was there, then the outcomes are too; or it was not, then it never will be by that batch. While a
    /// transaction with the id is under way somewhere, the server lets this one wait for its end.
    async fn resolve(self: Arc<Self>, id: BatchId) -> Result<Option<Vec<Outcome>>, Error> {
        let key = id.0.to_be_bytes();
        let client = self.connections.connect().await.map_err(translated)?;
        let void = "INSERT INTO batches (id) VALUES ($1::bytea) ON CONFLICT DO NOTHING";
        if client.execute(void, &[&key.as_slice()]).await.map_err(translated)? == 1 {
            return Ok(None);
        }
        let found = "SELECT outcomes, (SELECT position FROM cell) FROM batches WHERE id = $1::bytea";
        let row = client.query_one(found, &[&key.as_slice()]).await.map_err(translated)?;
        // Answered after it is published here.
        self.publish(Position(row.get::<_, i64>(1) as u64));
        row.get::<_, Option<&[u8]>>(0).map(outcome::decode).transpose()
    }

    async fn trim(self: Arc<Self>, horizons: Vec<Horizon>) -> Result<(), Error> {
        let shards: Vec<i64> = horizons.iter().map(|horizon| horizon.shard.0 as i64).collect();
        let below = |horizon: &Horizon| i64::try_from(horizon.below.0).unwrap_or(i64::MAX);
        let numbers: Vec<i64> = horizons.iter().map(below).collect();
        // A position of its own: snapshots taken before go on seeing what later ones do not. Stating it twice is harmless,
        // so it may be sent again after a failure.
        let ask = |reader: Arc<Reader>| {
            let (shards, numbers) = (shards.clone(), numbers.clone());
            async move {
                let state = "WITH moved AS (UPDATE cell SET position = position + 1 RETURNING position)
                    INSERT INTO horizons (shard, position, below)
                    SELECT s, moved.position, max(b) FROM moved, unnest($1::bigint[], $2::bigint[]) AS n (s, b)
                    GROUP BY s, moved.position RETURNING position";
                let rows = reader.client.query(state, &[&shards, &numbers]).await?;
                Ok(Ok(rows.first().map(|row| Position(row.get::<_, i64>(0) as u64))))
            }
        };
        if let Some(position) = self.connections.read(ask).await? {
            self.publish(position);
            self.tell.notify_one();
        }
        Ok(())
    }

    async fn leave(self: Arc<Self>) -> Result<(), Error> {
        let ask = |reader: Arc<Reader>| {
            let node = self.node;
            async move {
                reader.client.execute("DELETE FROM nodes WHERE id = $1::bytea", &[&node.as_slice()]).await?;
                Ok(Ok(()))
            }
        };
        self.connections.read(ask).await
    }
}

impl Cell for Postgres {
    fn commit(&self, batch: Batch) -> BoxFuture<'static, Answer> {
        let (answer, answered) = oneshot::channel();
        let start = {
            let mut queue = self.0.queue.lock();
            if queue.closed {
                return Box::pin(async { Err(CommitError::Closed(closed())) });
            }
            queue.waiting.push_back(Waiting { batch, answer });
            !std::mem::replace(&mut queue.working, true)
        };
        if start {
            self.0.idle.send_replace(false);
            drop(self.0.connections.runtime.spawn(self.0.clone().work()));
        }
        Box::pin(async move { answered.await.unwrap_or(Err(CommitError::Unknown)) })
    }

    fn resolve(&self, batch: BatchId) -> BoxFuture<'static, Result<Option<Vec<Outcome>>, Error>> {
        let inner = self.0.clone();
        Box::pin(async move { inner.on_own_threads(inner.clone().resolve(batch)).await })
    }

    fn groups_in_flight_max(&self) -> usize {
        1
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        Arc::new(View::newest(self.0.clone()))
    }

    fn published(&self) -> watch::Receiver<Position> {
        self.0.published.subscribe()
    }

    fn log_shown(&self) -> watch::Receiver<Position> {
        self.0.published.subscribe()
    }

    fn trim(&self, horizons: &[Horizon]) -> Result<(), Error> {
        if self.0.is_closed() {
            return Err(closed());
        }
        self.0.connections.block(self.0.clone().trim(horizons.to_vec()))
    }

    fn store_time_mark(&self) -> Millis {
        Millis(self.0.mark.load(Ordering::Acquire))
    }

    fn stats(&self) -> Stats {
        let counters = &self.0.counters;
        let groups = counters.groups.load(Ordering::Relaxed);
        Stats {
            groups,
            plans: counters.plans.load(Ordering::Relaxed),
            // One per commit, done by the server.
            syncs: groups,
            log_bytes_written: counters.bytes.load(Ordering::Relaxed),
            log_bytes_on_disk: counters.log_bytes.load(Ordering::Relaxed),
            ..Stats::default()
        }
    }

    fn close(&self) -> BoxFuture<'static, Result<(), Error>> {
        let inner = self.0.clone();
        let was_closed = std::mem::replace(&mut inner.queue.lock().closed, true);
        Box::pin(async move {
            let mut idle = inner.idle.subscribe();
            // The sender is in `inner`: the wait ends by the value alone.
            let _ = idle.wait_for(|idle| *idle).await;
            if !was_closed {
                inner.on_own_threads(inner.clone().leave()).await?;
            }
            Ok(())
        })
    }
}

fn closed() -> Error {
    Error::new(Kind::Closed, "the cell is closed")
}
