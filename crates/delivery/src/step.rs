//! The steps of the jobs: each is bounded, and leaves the store whole.

use futures_util::future::join_all;
use headwater_log::{Change, Defined, Definition, Error, Log};
use headwater_storage::keyspace::job_key;
use headwater_table::backfill::{self, Filled};
#[cfg(feature = "planted-bugs")]
use headwater_table::planted::PlantedBug;
use headwater_table::{ReadError, Refusal, ttl};
use headwater_types::{Millis, TableId};

use crate::job::{Cursor, Job, Kind, jobs};
use crate::runner::Settings;

/// What a step did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Step {
    /// Items entered, removed entries or deleted items: what the rate is counted in.
    pub rows: u64,
    /// There may be more to do at once.
    pub more: bool,
}

/// Why a step failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The log is closed.
    Closed,
    /// Anything else: it is tried again later.
    Passing(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Closed => Self::Closed,
            other => Self::Passing(other.to_string()),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::Passing(format!("{error:?}"))
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Log(error) => error.into(),
            other => Self::Passing(format!("{other:?}")),
        }
    }
}

/// Does one step of a job.
pub(crate) async fn step(log: &Log, job: &Job, settings: &Settings) -> Result<Step, Failure> {
    match job.kind {
        Kind::Fill => fill(log, job, settings).await,
        Kind::Sweep => sweep(log, job).await,
        Kind::Expire => expire(log, job, settings).await,
    }
}

/// How far a job has come.
pub(crate) fn cursor(log: &Log, job: &Job) -> Result<Cursor, Failure> {
    let row = log.snapshot().get(&job_key(job.table.id, job.index)).map_err(Error::from)?;
    let torn = || Failure::Passing("the row of a job is none".to_owned());
    row.map_or(Ok(Cursor::default()), |row| Cursor::decode(&row).ok_or_else(torn))
}

async fn fill(log: &Log, job: &Job, settings: &Settings) -> Result<Step, Failure> {
    let before = cursor(log, job)?;
    let Some(page) = backfill::page(log, &job.table, before.last.as_deref(), settings.rows_per_step)? else {
        finish(log, job).await?;
        return Ok(Step { rows: 0, more: true });
    };
    #[cfg(feature = "planted-bugs")]
    let page = {
        let mut page = page;
        if settings.planted == Some(PlantedBug::BackfillStale) {
            page.keep_scanned(log);
            log.runtime().sleep(std::time::Duration::from_millis(10)).await;
        }
        page
    };
    let items = page.items() as u64;
    let after = Cursor { items: before.items + items, last: Some(page.last.clone()) };
    let row = (job_key(job.table.id, job.index), after.encode());
    #[cfg(feature = "planted-bugs")]
    let page = {
        let mut page = page;
        if settings.planted == Some(PlantedBug::CursorApart) {
            page.only_cursor = true;
            backfill::fill(log, &page, job.index, row.clone()).await?;
            log.runtime().sleep(std::time::Duration::from_millis(100)).await;
            page.only_cursor = false;
        }
        page
    };
    match backfill::fill(log, &page, job.index, row).await? {
        Filled::Entries(_) => Ok(Step { rows: items, more: true }),
        Filled::Over => Ok(Step::default()),
    }
}

async fn sweep(log: &Log, job: &Job) -> Result<Step, Failure> {
    let rows = log.sweep_index(job.table.id, job.index).await?;
    if rows == 0 {
        finish(log, job).await?;
    }
    Ok(Step { rows: rows as u64, more: true })
}

/// Deletes what has expired, oldest first, side by side: each waits for its own commit.
async fn expire(log: &Log, job: &Job, settings: &Settings) -> Result<Step, Failure> {
    let expired = ttl::expired(log, &job.table, log.clock().store(), settings.rows_per_step)?;
    #[cfg(feature = "planted-bugs")]
    let expired = {
        let mut expired = expired;
        if settings.planted == Some(PlantedBug::TtlBlind) {
            expired.iter_mut().for_each(|item| item.blind = true);
            log.runtime().sleep(std::time::Duration::from_millis(10)).await;
        }
        expired
    };
    let deletions = expired.into_iter().map(|expired| ttl::expire(log, expired));
    let mut deleted = 0;
    for deletion in join_all(deletions).await {
        deleted += u64::from(deletion?);
    }
    Ok(Step { rows: deleted, more: deleted > 0 })
}

async fn finish(log: &Log, job: &Job) -> Result<(), Failure> {
    let (table, kind, index) = (job.table.id, job.kind, job.index);
    Ok(log.define(Finish { table, kind, index }).await?)
}

/// Ends a job that the catalog still says is to be done.
struct Finish {
    table: TableId,
    kind: Kind,
    index: u32,
}

impl Definition for Finish {
    type Answer = ();

    fn decide(&mut self, catalog: &headwater_catalog::Snapshot, _now: Millis) -> Defined<()> {
        let same = |job: &Job| (job.table.id, job.kind, job.index) == (self.table, self.kind, self.index);
        match jobs(catalog).into_iter().find(same) {
            Some(job) => Defined::Change(vec![Change::Index { table: self.table, change: job.end }]),
            None => Defined::Answer(()),
        }
    }

    fn answer(&mut self, _catalog: &headwater_catalog::Snapshot) {}
}
