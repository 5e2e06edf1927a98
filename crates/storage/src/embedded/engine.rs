//! The committer: three stages that overlap, and the state they share.
//!
//! ```text
//! commit() ── number, frame ──▶ queue ── write, sync ──▶ queue ── apply, publish, answer ── rotate?
//!             (front.rs, in the                (writer.rs, one                (here, one task; large groups
//!              order of the calls)              blocking job at a time)        by several jobs, split by key)
//! ```
//! Each stage keeps the order of the one before. The queues are bounded by whoever calls `commit`: it hands in no more
//! than `groups_in_flight_max` batches without an answer.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use headwater_types::{BoxFuture, Clock, Millis, Position, Runtime};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use xxhash_rust::xxh3::xxh3_64;

use super::archive::Archive;
use super::front::{Answer, Front, Group};
use super::heads::Heads;
use super::index::Index;
use super::log_index::{Entry, LogIndex};
use super::segment::{GroupKind, SegmentId};
use super::snapshots::Snapshots;
use super::space::Space;
use super::store::Store;
use super::upkeep::Upkeep;
use super::view::View;
use super::writer::Writer;
use super::{Planted, Settings};
use crate::contract::{Batch, BatchId, Cell, CommitError, Copied, Horizon, Outcome, Snapshot, Stats, Target, Write};
use crate::error::{Error, Kind};
use crate::files::{Files, Lock};

/// Groups with more writes are applied by several jobs.
const WRITES_INLINE_MAX: usize = 128;
/// Jobs that share a large group.
const APPLY_JOBS: u64 = 2;

/// An open store.
pub(super) struct Engine {
    pub(super) me: Weak<Engine>,
    pub(super) settings: Settings,
    pub(super) runtime: Runtime,
    pub(super) clock: Clock,
    pub(super) files: Arc<dyn Files>,
    /// Of the segments.
    pub(super) folder: PathBuf,
    /// Nothing outlives the process: every stage runs inside `commit`.
    pub(super) volatile: bool,
    pub(super) index: Arc<dyn Index>,
    pub(super) heads: Heads,
    pub(super) log: LogIndex,
    pub(super) snapshots: Snapshots,
    pub(super) front: Mutex<Front>,
    pub(super) writer: Mutex<Writer>,
    pub(super) applying: Mutex<Applying>,
    pub(super) upkeep: Mutex<Upkeep>,
    /// Held by whoever removes or rewrites files of the log.
    pub(super) archive: Mutex<Archive>,
    pub(super) space: Space,
    /// Newest position known synced.
    pub(super) synced: AtomicU64,
    /// Newest store time that is safe to show: a synced group reserves it.
    pub(super) marked: AtomicI64,
    pub(super) failed: AtomicBool,
    /// The segment of the newest group that was noted in the log's index.
    pub(super) noted: AtomicU64,
    pub(super) sync_due: AtomicBool,
    pub(super) statement_due: AtomicBool,
    pub(super) published: watch::Sender<Position>,
    pub(super) log_shown: watch::Sender<Position>,
    /// Tasks under way.
    pub(super) busy: watch::Sender<u32>,
    /// Raised by every flush, and when the engine fails.
    pub(super) progress: watch::Sender<u64>,
    pub(super) counters: Counters,
    pub(super) lock: Mutex<Option<Box<dyn Lock>>>,
    pub(super) mark_at_open: Millis,
    pub(super) store: Store,
    /// One copy is made at a time.
    pub(super) copying: tokio::sync::Mutex<()>,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) groups: AtomicU64,
    pub(super) plans: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// Segments that archive runs have replaced.
    pub(super) archived: AtomicU64,
}

/// Durable groups that are not applied yet.
#[derive(Default)]
pub(super) struct Applying {
    pub(super) groups: VecDeque<Group>,
    pub(super) running: bool,
}

/// The handle that callers hold.
pub(super) struct Embedded(pub(super) Arc<Engine>);

impl Cell for Embedded {
    fn commit(&self, batch: Batch) -> BoxFuture<'static, Answer> {
        self.0.commit(batch)
    }

    /// A commit of this engine never ends unknown: it is answered, or the cell is closed and the next start says what
    /// was kept. So what is asked for is a batch that never came: nothing.
    ///
    /// Errors: invalid for a batch that was handed in lately: its outcome is in its answer.
    fn resolve(&self, batch: BatchId) -> BoxFuture<'static, Result<Option<Vec<Outcome>>, Error>> {
        let known = self.0.front.lock().knows(batch);
        let invalid = || Error::new(Kind::Invalid, "the outcome of this batch is in its answer");
        Box::pin(async move { if known { Err(invalid()) } else { Ok(None) } })
    }

    fn groups_in_flight_max(&self) -> usize {
        self.0.settings.groups_in_flight_max
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        self.0.view()
    }

    fn published(&self) -> watch::Receiver<Position> {
        self.0.published.subscribe()
    }

    fn log_shown(&self) -> watch::Receiver<Position> {
        self.0.log_shown.subscribe()
    }

    fn trim(&self, horizons: &[Horizon]) -> Result<(), Error> {
        self.0.trim(horizons)
    }

    fn store_time_mark(&self) -> Millis {
        self.0.mark_at_open
    }

    fn stats(&self) -> Stats {
        let counters = &self.0.counters;
        let segments = self.0.log.segments();
        let runs = || segments.iter().filter(|segment| segment.run.is_some());
        Stats {
            groups: counters.groups.load(Ordering::Relaxed),
            plans: counters.plans.load(Ordering::Relaxed),
            syncs: counters.syncs.load(Ordering::Relaxed),
            log_bytes_written: counters.bytes.load(Ordering::Relaxed),
            log_bytes_on_disk: segments.iter().map(|segment| segment.end()).sum(),
            archive_runs: runs().count() as u64,
            archive_bytes: runs().map(|run| run.end()).sum(),
            segments_archived: counters.archived.load(Ordering::Relaxed),
        }
    }

    fn identity(&self) -> u128 {
        self.0.store.name
    }

    fn copy_to(&self, target: Target) -> BoxFuture<'static, Result<Copied, Error>> {
        Box::pin(self.0.clone().copy_to(target))
    }

    fn close(&self) -> BoxFuture<'static, Result<(), Error>> {
        let engine = self.0.clone();
        engine.front.lock().closed.get_or_insert_with(|| "the cell is closed".into());
        // A task of its own: whoever asked may go away.
        let runtime = engine.runtime.clone();
        let done = runtime.spawn(async move { engine.stop().await });
        Box::pin(async move { done.await.unwrap_or_else(|lost| Err(closed("the cell was stopped").because(lost))) })
    }
}

impl Engine {
    fn commit(self: &Arc<Self>, batch: Batch) -> BoxFuture<'static, Answer> {
        if let Err(error) = self.admit() {
            return Box::pin(async { Err(CommitError::Full(error)) });
        }
        let (answer, answered) = oneshot::channel();
        let mut front = self.front.lock();
        if let Some(reason) = &front.closed {
            let error = closed(reason);
            return Box::pin(async { Err(CommitError::Closed(error)) });
        }
        front.commit(batch, self.clock.store(), self.synced(), answer);
        if self.volatile {
            self.finish_inline(&mut front);
        } else {
            self.start_writing(front);
        }
        let engine = Arc::downgrade(self);
        Box::pin(async move {
            match answered.await {
                Ok(answer) => answer,
                Err(_) => Err(CommitError::Closed(why_closed(&engine))),
            }
        })
    }

    /// All stages at once, under the front's lock: nothing here waits for a disk.
    pub(super) fn finish_inline(self: &Arc<Self>, front: &mut Front) {
        while let Some(mut group) = front.queue.pop_front() {
            match self.write(vec![group]) {
                Ok(mut written) => group = written.pop().expect("what was handed in comes back"),
                Err(_) => unreachable!("memory neither fails nor fills"),
            }
            if let Some(frame) = &mut group.frame {
                front.recycle(std::mem::take(&mut frame.bytes));
            }
            let oldest = self.snapshots.oldest();
            self.index.apply(group.position, oldest, &mut writes(&group));
            let opens = group.frame.as_ref().is_some_and(|frame| frame.opens.is_some());
            self.note(&group, oldest);
            self.publish(group);
            if opens {
                self.tidy_inline();
            }
        }
    }

    /// The newest published state.
    pub(super) fn view(self: &Arc<Self>) -> Arc<View> {
        let engine = self.clone();
        self.snapshots.take(|shown, pin| Arc::new(View::new(engine, shown, pin)))
    }

    pub(super) fn synced(&self) -> Position {
        Position(self.synced.load(Ordering::Acquire))
    }

    pub(super) fn reserve_ms(&self) -> i64 {
        self.settings.time_reserve.as_millis() as i64
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Starts a task that `close` waits for.
    pub(super) fn start(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        self.busy.send_modify(|busy| *busy += 1);
        let engine = self.clone();
        drop(self.runtime.spawn(async move {
            task.await;
            engine.busy.send_modify(|busy| *busy -= 1);
        }));
    }

    /// Nothing is taken any more, and what waits is answered: what the disk holds is known at the next start only.
    pub(super) fn fail(&self, reason: &str) {
        tracing::error!(reason, "the cell is closed after a failure");
        self.failed.store(true, Ordering::Release);
        let waiting: Vec<Group> = {
            let mut front = self.front.lock();
            front.closed = Some(reason.into());
            front.queue.drain(..).collect()
        };
        answer_all(waiting, || CommitError::Closed(closed(reason)));
        self.progress.send_modify(|progress| *progress += 1);
    }

    /// Hands durable groups to the last stage.
    pub(super) fn hand_on(self: &Arc<Self>, groups: Vec<Group>) {
        let start = {
            let mut applying = self.applying.lock();
            applying.groups.extend(groups);
            !applying.groups.is_empty() && !std::mem::replace(&mut applying.running, true)
        };
        if start {
            self.start(self.clone().apply_all());
        }
    }

    async fn apply_all(self: Arc<Self>) {
        loop {
            let group = {
                let mut applying = self.applying.lock();
                let group = applying.groups.pop_front();
                applying.running = group.is_some();
                group
            };
            let Some(group) = group else { return };
            let position = group.position;
            let Some(group) = self.apply(group).await else { return self.fail("a task that applies was lost") };
            self.publish(group);
            self.rotate_if_due(position);
            self.stall().await;
        }
    }

    async fn apply(self: &Arc<Self>, group: Group) -> Option<Group> {
        let oldest = self.snapshots.oldest();
        let count: usize = group.plans.iter().map(|plan| plan.writes.len()).sum();
        if self.settings.planted == Some(Planted::RotateInsideGroup) && count > 1 && self.rotation_due() {
            self.index.apply(group.position, oldest, &mut writes(&group).take(count / 2));
            self.rotate(group.position);
            self.index.apply(group.position, oldest, &mut writes(&group).skip(count / 2));
            self.note(&group, oldest);
            return Some(group);
        }
        if count <= WRITES_INLINE_MAX {
            self.index.apply(group.position, oldest, &mut writes(&group));
            self.note(&group, oldest);
            return Some(group);
        }
        let group = Arc::new(group);
        let jobs: Vec<_> = (0..APPLY_JOBS)
            .map(|share| {
                let (engine, group) = (self.clone(), group.clone());
                self.runtime.blocking(move || {
                    let mine = |write: &&Write| xxh3_64(&write.key) % APPLY_JOBS == share;
                    engine.index.apply(group.position, oldest, &mut writes(&group).filter(mine));
                })
            })
            .collect();
        for job in jobs {
            job.await.ok()?;
        }
        self.note(&group, oldest);
        Arc::into_inner(group)
    }

    /// Heads, records and sealed segments of an applied group.
    fn note(self: &Arc<Self>, group: &Group, oldest: Position) {
        self.heads.apply(group.position, oldest, &group.heads);
        let Some(frame) = &group.frame else { return };
        let segment = self.log.segment(frame.segment).expect("a written segment is known");
        let position = group.position;
        let records = group
            .records
            .iter()
            .map(|at| (at.shard, Entry { number: at.number, position, offset: at.offset, length: at.length }));
        self.log.add(&segment, position, frame.end.offset, records);
        // Everything of the segments before is noted: they can be sealed.
        let before = self.noted.swap(frame.segment.0, Ordering::AcqRel);
        (before..frame.segment.0).for_each(|id| self.seal_later(SegmentId(id)));
    }

    /// Shows a group and answers.
    fn publish(&self, group: Group) {
        if let Some(frame) = &group.frame
            && frame.kind != GroupKind::Statement
        {
            self.snapshots.publish(group.position);
            self.counters.groups.fetch_add(1, Ordering::Relaxed);
            self.counters.plans.fetch_add(group.plans.len() as u64, Ordering::Relaxed);
            self.published.send_replace(group.position);
        }
        if let Some(answer) = group.answer {
            // Whoever asked may be gone: the group stands all the same.
            let _ = answer.send(Ok(group.outcomes));
        }
    }

    /// Waits while the index takes much more than it flushes. Not where the disk is full: what was taken is answered, and
    /// what comes is refused.
    async fn stall(&self) {
        let mut progress = self.progress.subscribe();
        while self.must_stall() {
            if progress.changed().await.is_err() {
                return;
            }
        }
    }

    fn must_stall(&self) -> bool {
        let waits = self.upkeep.lock().rotated.is_some();
        waits
            && !self.has_failed()
            && !self.space.is_low()
            && self.index.active_bytes() > 3 * self.settings.memtable_bytes()
    }

    async fn stop(self: Arc<Self>) -> Result<(), Error> {
        let mut busy = self.busy.subscribe();
        // The sender is in `self`: the wait ends by the value alone.
        let _ = busy.wait_for(|busy| *busy == 0).await;
        let engine = self.clone();
        let last = self.runtime.blocking(move || engine.finish()).await;
        self.lock.lock().take();
        last.unwrap_or_else(|lost| Err(closed("the last flush was lost").because(lost)))
    }

    /// The clean end: everything synced and stated, the index flushed.
    fn finish(self: &Arc<Self>) -> Result<(), Error> {
        if self.volatile || self.has_failed() || self.lock.lock().is_none() {
            return Ok(());
        }
        self.write_last()?;
        let published = self.snapshots.published();
        if self.upkeep.lock().rotated.is_some() {
            self.flush()?;
        }
        self.rotate(published);
        self.flush()
    }

    pub(super) fn release(self: &Arc<Self>, pin: u64) {
        self.snapshots.release(pin);
        self.released();
    }
}

/// Writes of a group's plans, in order.
fn writes(group: &Group) -> impl Iterator<Item = &Write> {
    group.plans.iter().flat_map(|plan| &plan.writes)
}

/// Answers groups that came to nothing.
pub(super) fn answer_all(groups: Vec<Group>, error: impl Fn() -> CommitError) {
    for answer in groups.into_iter().filter_map(|group| group.answer) {
        // Whoever asked may be gone.
        let _ = answer.send(Err(error()));
    }
}

pub(super) fn closed(reason: &str) -> Error {
    Error::new(Kind::Closed, reason)
}

fn why_closed(engine: &Weak<Engine>) -> Error {
    let reason = engine.upgrade().and_then(|engine| engine.front.lock().closed.clone());
    closed(&reason.unwrap_or_else(|| "the cell is gone".into()))
}
