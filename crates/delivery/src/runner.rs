//! The one task that runs a node's jobs.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::select;
use headwater_catalog::{DestinationState, Tally};
use headwater_log::Log;
use headwater_types::{BoxFuture, StreamUid};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::job::{Job, Kind, Progress, Subject, jobs};
use crate::replication::{Disturbance, Events, Moved, Mover, Throttle, Watch};
use crate::step::{Failure, Step, cursor, step};

/// How long a replication waits for a shard at its limit: what it fills by then goes in one commit. Unit: system time.
const THROTTLED_PAUSE: Duration = Duration::from_millis(20);

/// How jobs are run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Settings {
    /// Most rows that one step of a job reads or writes.
    pub rows_per_step: usize,
    /// Rows of all jobs together but replications. Unit: 1/s of system time; zero: unbounded.
    pub rows_per_second: u64,
    /// How often expiry is looked at when nothing else is to be done. Unit: system time.
    pub idle: Duration,
    /// Steps are made in the background; otherwise only [`Jobs::pass`] makes them.
    pub background: bool,
    /// A bug to be found.
    #[cfg(feature = "planted-bugs")]
    pub planted: Option<headwater_table::planted::PlantedBug>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rows_per_step: 128,
            rows_per_second: 20_000,
            idle: Duration::from_millis(500),
            background: true,
            #[cfg(feature = "planted-bugs")]
            planted: None,
        }
    }
}

/// What a node's jobs have done since it started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Items entered into indexes.
    pub filled: u64,
    /// Entries removed with their index.
    pub swept: u64,
    /// Items deleted because they had expired.
    pub expired: u64,
    /// Changes sent to data streams.
    pub replicated: u64,
    /// Changes left out because their record is larger than their stream takes.
    pub oversized: u64,
    /// Changes given up.
    pub lost: u64,
    /// Times that a shard at its limit took no more.
    pub throttled: u64,
    /// Records sent twice because that was asked for.
    pub duplicates: u64,
}

/// What jobs need of others, handed in when they are wired.
#[derive(Clone, Default)]
pub struct Doors {
    /// The rates of data streams' shards, when they are limited.
    pub throttle: Option<Throttle>,
    /// Who is told what happens to replications.
    pub events: Option<Events>,
}

/// How a replication is getting on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replication {
    /// Name of the table.
    pub table: String,
    /// Name of the data stream.
    pub stream: String,
    /// State.
    pub state: DestinationState,
    /// What it has done so far.
    pub tally: Tally,
    /// Age of the oldest change not sent yet. Unit: ms of store time.
    pub lag_ms: i64,
}

/// A node's jobs. On a cell with several nodes each runs them all: steps are idempotent, and of two the later is fenced.
pub struct Jobs {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    task: Mutex<Option<BoxFuture<'static, ()>>>,
}

struct Shared {
    log: Arc<Log>,
    settings: Settings,
    held: AtomicBool,
    filled: AtomicU64,
    swept: AtomicU64,
    expired: AtomicU64,
    replicated: Replicated,
    doors: Doors,
    watch: Watch,
    disturbance: Mutex<Option<Disturbance>>,
}

#[derive(Default)]
struct Replicated {
    sent: AtomicU64,
    oversized: AtomicU64,
    lost: AtomicU64,
    throttled: AtomicU64,
    duplicates: AtomicU64,
}

impl Jobs {
    /// Starts the jobs of a log.
    pub fn start(log: Arc<Log>, settings: Settings) -> Arc<Self> {
        Self::start_with(log, settings, Doors::default())
    }

    /// Starts the jobs of a log that work with others.
    pub fn start_with(log: Arc<Log>, settings: Settings, doors: Doors) -> Arc<Self> {
        let runtime = log.runtime().clone();
        let shared = Arc::new(Shared {
            log,
            settings,
            held: AtomicBool::new(false),
            filled: AtomicU64::new(0),
            swept: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            replicated: Replicated::default(),
            watch: Watch::new(doors.events.clone()),
            doors,
            disturbance: Mutex::new(None),
        });
        let (stop, stopped) = watch::channel(false);
        let task: Option<BoxFuture<'static, ()>> = settings.background.then(|| {
            let running = runtime.spawn(run(shared.clone(), stopped));
            let ended: BoxFuture<'static, ()> = Box::pin(async move {
                // A task that panicked has said so; there is nothing to take over.
                let _ = running.await;
            });
            ended
        });
        Arc::new(Self { shared, stop, task: Mutex::new(task) })
    }

    /// One step of every job. True when there may be more to do at once.
    ///
    /// Errors: the log's; a step that failed is made again at the next pass.
    pub async fn pass(&self) -> Result<bool, String> {
        match self.shared.pass().await {
            Ok(step) => Ok(step.more),
            Err(Failure::Closed) => Err("the log is closed".to_owned()),
            Err(Failure::Passing(reason)) => Err(reason),
        }
    }

    /// Holds all jobs where they are, or lets them go on: a fault that a test switches.
    pub fn hold(&self, held: bool) {
        self.shared.held.store(held, Ordering::Release);
    }

    /// Disturbs what is replicated from now on, as the service may; or no longer.
    pub fn disturb(&self, disturbance: Option<Disturbance>) {
        *self.shared.disturbance.lock() = disturbance;
    }

    /// What has been done.
    pub fn totals(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let shared = &self.shared;
        let replicated = &shared.replicated;
        Totals {
            filled: read(&shared.filled),
            swept: read(&shared.swept),
            expired: read(&shared.expired),
            replicated: read(&replicated.sent),
            oversized: read(&replicated.oversized),
            lost: read(&replicated.lost),
            throttled: read(&replicated.throttled),
            duplicates: read(&replicated.duplicates),
        }
    }

    /// How far the jobs of the moment have come. Empty when the store cannot be read.
    pub fn progress(&self) -> Vec<Progress> {
        let log = &self.shared.log;
        let Ok(catalog) = log.catalog() else { return Vec::new() };
        let progress = jobs(&catalog).into_iter().map(|job| {
            let (index, items) = match &job.subject {
                Subject::Index { index, .. } => {
                    let named = job.table.indexes.iter().find(|one| one.id == *index).map(|one| one.name.clone());
                    (named, cursor(log, &job, *index).map_or(0, |cursor| cursor.items))
                }
                Subject::Destination(of) => (None, tally(log, of.incarnation).sent),
            };
            Progress { kind: job.kind, table: job.table.name.clone(), index, items }
        });
        progress.collect()
    }

    /// How the replications of the moment are getting on. Empty when the store cannot be read.
    pub fn replications(&self) -> Vec<Replication> {
        let log = &self.shared.log;
        let Ok(catalog) = log.catalog() else { return Vec::new() };
        let now = log.clock().store();
        let running = catalog.all_tables().filter_map(|table| Some((table, table.destination()?)));
        let replications = running.map(|(table, destination)| {
            let oldest = log.oldest_unmoved(destination.incarnation).ok().flatten();
            Replication {
                table: table.name.clone(),
                stream: destination.stream.clone(),
                state: destination.state,
                tally: tally(log, destination.incarnation),
                lag_ms: oldest.map_or(0, |oldest| (now.0 - oldest.0).max(0)),
            }
        });
        replications.collect()
    }

    /// Makes no further step and waits for the one being made.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let task = self.task.lock().take();
        if let Some(task) = task {
            task.await;
        }
    }
}

impl Shared {
    /// One step of every job.
    async fn pass(&self) -> Result<Step, Failure> {
        let mut done = Step::default();
        if self.held.load(Ordering::Acquire) {
            return Ok(done);
        }
        let catalog = self.log.catalog()?;
        self.watch.look(&catalog);
        let mut failed = None;
        for job in jobs(&catalog) {
            match self.one(&job).await {
                Ok(made) => {
                    done.rows += made.rows;
                    done.more |= made.more;
                    done.waits |= made.waits;
                }
                Err(Failure::Closed) => return Err(Failure::Closed),
                // The others go on.
                Err(failure) => drop(failed.get_or_insert(failure)),
            }
        }
        failed.map_or(Ok(done), Err)
    }

    /// One step of one job.
    async fn one(&self, job: &Job) -> Result<Step, Failure> {
        let index = match &job.subject {
            Subject::Index { index, .. } => *index,
            Subject::Destination(destination) => {
                let mover = Mover {
                    log: &self.log,
                    table: &job.table,
                    destination,
                    throttle: self.doors.throttle.as_ref(),
                    disturbance: *self.disturbance.lock(),
                    watch: &self.watch,
                    #[cfg(feature = "planted-bugs")]
                    planted: self.settings.planted,
                };
                let moved = mover.step().await?;
                self.replicated.count(&moved);
                return Ok(Step { rows: 0, more: moved.more, waits: moved.throttled > 0 });
            }
        };
        let made = step(&self.log, job, index, &self.settings).await?;
        let counter = match job.kind {
            Kind::Fill => &self.filled,
            Kind::Sweep => &self.swept,
            Kind::Expire => &self.expired,
            Kind::Replicate => return Ok(made),
        };
        counter.fetch_add(made.rows, Ordering::Relaxed);
        Ok(made)
    }

    /// Whether commits of others may bring work at once.
    fn replicates(&self) -> bool {
        let of = |catalog: &headwater_catalog::Snapshot| jobs(catalog).iter().any(|job| job.kind == Kind::Replicate);
        self.log.catalog().is_ok_and(|catalog| of(&catalog))
    }

    /// How long to wait after `rows` rows so that the rate is kept.
    fn pause(&self, rows: u64) -> Duration {
        match self.settings.rows_per_second {
            0 => Duration::ZERO,
            rate => Duration::from_micros(rows.saturating_mul(1_000_000) / rate),
        }
    }
}

impl Replicated {
    fn count(&self, moved: &Moved) {
        for (counter, count) in [
            (&self.sent, moved.tally.sent),
            (&self.oversized, moved.tally.oversized),
            (&self.lost, moved.tally.lost),
            (&self.throttled, moved.throttled),
            (&self.duplicates, moved.duplicates),
        ] {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }
}

/// What a replication has done so far; nothing when the store cannot be read.
fn tally(log: &Log, incarnation: StreamUid) -> Tally {
    let positions = log.positions(incarnation).unwrap_or_default();
    positions.iter().fold(Tally::default(), |sum, position| sum + position.tally)
}

async fn run(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let mut catalog = shared.log.catalog_changes();
    let mut published = shared.log.published();
    while !*stopped.borrow_and_update() {
        // What is committed from here on wakes a replication that has nothing to do.
        published.mark_unchanged();
        let wait = match shared.pass().await {
            Ok(done) if done.more => Some(shared.pause(done.rows)),
            Ok(done) if done.waits => Some(THROTTLED_PAUSE),
            Ok(_) => None,
            Err(Failure::Closed) => return,
            Err(Failure::Passing(reason)) => {
                tracing::warn!(reason, "a background job waits: its step failed");
                None
            }
        };
        let sleep = shared.log.runtime().sleep(wait.unwrap_or(shared.settings.idle));
        let stop = pin!(stopped.changed());
        match wait {
            Some(Duration::ZERO) => {}
            Some(_) => drop(select(stop, sleep).await),
            None => {
                let changed = pin!(catalog.changed());
                if shared.replicates() {
                    let committed = pin!(published.changed());
                    drop(select(stop, select(committed, select(changed, sleep))).await);
                } else {
                    drop(select(stop, select(changed, sleep)).await);
                }
            }
        }
    }
}
