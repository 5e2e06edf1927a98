//! The steps of the jobs: each is bounded, and leaves the store whole.

use futures_util::future::join_all;
use headwater_log::{Change, Defined, Definition, Error, Log};
use headwater_storage::keyspace::job_key;
use headwater_table::backfill::{self, Filled};
#[cfg(feature = "planted-bugs")]
use headwater_table::planted::PlantedBug;
use headwater_table::{ReadError, Refusal, ttl};
use headwater_types::{Millis, TableId};

use crate::job::{Cursor, Job, Kind, Subject, jobs};
use crate::runner::Settings;

/// What a step did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Step {
    /// Items entered, removed entries or deleted items: what the rate is counted in.
    pub rows: u64,
    /// There may be more to do at once.
    pub more: bool,
    /// There is more to do, and not at once: somebody else is at a limit.
    pub waits: bool,
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

/// Does one step of a job on an index.
pub(crate) async fn step(log: &Log, job: &Job, index: u32, settings: &Settings) -> Result<Step, Failure> {
    match job.kind {
        Kind::Fill => fill(log, job, index, settings).await,
        Kind::Sweep => sweep(log, job, index).await,
        Kind::Expire => expire(log, job, settings).await,
        Kind::Replicate => Ok(Step::default()),
    }
}

/// How far a job has come.
pub(crate) fn cursor(log: &Log, job: &Job, index: u32) -> Result<Cursor, Failure> {
    let row = log.snapshot().get(&job_key(job.table.id, index)).map_err(Error::from)?;
    let torn = || Failure::Passing("the row of a job is none".to_owned());
    row.map_or(Ok(Cursor::default()), |row| Cursor::decode(&row).ok_or_else(torn))
}

async fn fill(log: &Log, job: &Job, index: u32, settings: &Settings) -> Result<Step, Failure> {
    let before = cursor(log, job, index)?;
    let Some(page) = backfill::page(log, &job.table, before.last.as_deref(), settings.rows_per_step)? else {
        finish(log, job, index).await?;
        return Ok(Step { rows: 0, more: true, waits: false });
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
    let row = (job_key(job.table.id, index), after.encode());
    #[cfg(feature = "planted-bugs")]
    let page = {
        let mut page = page;
        if settings.planted == Some(PlantedBug::CursorApart) {
            page.only_cursor = true;
            backfill::fill(log, &page, index, row.clone()).await?;
            log.runtime().sleep(std::time::Duration::from_millis(100)).await;
            page.only_cursor = false;
        }
        page
    };
    match backfill::fill(log, &page, index, row).await? {
        Filled::Entries(_) => Ok(Step { rows: items, more: true, waits: false }),
        Filled::Over => Ok(Step::default()),
    }
}

async fn sweep(log: &Log, job: &Job, index: u32) -> Result<Step, Failure> {
    let rows = log.sweep_index(job.table.id, index).await?;
    if rows == 0 {
        finish(log, job, index).await?;
    }
    Ok(Step { rows: rows as u64, more: true, waits: false })
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
    Ok(Step { rows: deleted, more: deleted > 0, waits: false })
}

async fn finish(log: &Log, job: &Job, index: u32) -> Result<(), Failure> {
    let (table, kind) = (job.table.id, job.kind);
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
        let same = |job: Job| match job.subject {
            Subject::Index { index, end } => {
                ((job.table.id, job.kind, index) == (self.table, self.kind, self.index)).then_some(end)
            }
            Subject::Destination(_) => None,
        };
        match jobs(catalog).into_iter().find_map(same) {
            Some(change) => Defined::Change(vec![Change::Index { table: self.table, change }]),
            None => Defined::Answer(()),
        }
    }

    fn answer(&mut self, _catalog: &headwater_catalog::Snapshot) {}
}
