//! The one task that runs a node's jobs.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::select;
use headwater_log::Log;
use headwater_types::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::job::{Kind, Progress, jobs};
use crate::step::{Failure, Step, cursor, step};

/// How jobs are run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Settings {
    /// Most rows that one step of a job reads or writes.
    pub rows_per_step: usize,
    /// Rows of all jobs together. Unit: 1/s of system time; zero: unbounded.
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
}

impl Jobs {
    /// Starts the jobs of a log.
    pub fn start(log: Arc<Log>, settings: Settings) -> Arc<Self> {
        let runtime = log.runtime().clone();
        let shared = Arc::new(Shared {
            log,
            settings,
            held: AtomicBool::new(false),
            filled: AtomicU64::new(0),
            swept: AtomicU64::new(0),
            expired: AtomicU64::new(0),
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

    /// What has been done.
    pub fn totals(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let shared = &self.shared;
        Totals { filled: read(&shared.filled), swept: read(&shared.swept), expired: read(&shared.expired) }
    }

    /// How far the jobs of the moment have come. Empty when the store cannot be read.
    pub fn progress(&self) -> Vec<Progress> {
        let log = &self.shared.log;
        let Ok(catalog) = log.catalog() else { return Vec::new() };
        let progress = jobs(&catalog).into_iter().map(|job| {
            let index = job.table.indexes.iter().find(|index| index.id == job.index).map(|index| index.name.clone());
            let items = cursor(log, &job).map_or(0, |cursor| cursor.items);
            Progress { kind: job.kind, table: job.table.name.clone(), index, items }
        });
        progress.collect()
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
        for job in jobs(&catalog) {
            let made = step(&self.log, &job, &self.settings).await?;
            let counter = match job.kind {
                Kind::Fill => &self.filled,
                Kind::Sweep => &self.swept,
                Kind::Expire => &self.expired,
            };
            counter.fetch_add(made.rows, Ordering::Relaxed);
            done = Step { rows: done.rows + made.rows, more: done.more || made.more };
        }
        Ok(done)
    }

    /// How long to wait after `rows` rows so that the rate is kept.
    fn pause(&self, rows: u64) -> Duration {
        match self.settings.rows_per_second {
            0 => Duration::ZERO,
            rate => Duration::from_micros(rows.saturating_mul(1_000_000) / rate),
        }
    }
}

async fn run(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let mut catalog = shared.log.catalog_changes();
    while !*stopped.borrow_and_update() {
        let wait = match shared.pass().await {
            Ok(done) if done.more => Some(shared.pause(done.rows)),
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
                drop(select(stop, select(changed, sleep)).await);
            }
        }
    }
}
