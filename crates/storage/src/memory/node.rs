//! One process's handle on the model: the way of a group from the queue to its answer, with faults between the steps.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use headwater_types::{BoxFuture, Clock, Millis, Position, Runtime};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use super::faults::{Faults, Step, strikes};
use super::view::View;
use super::{Model, Settings};
use crate::contract::{Batch, BatchId, Cell, CommitError, HeadChange, Horizon, Outcome, Plan, Snapshot, Stats};
use crate::error::{Error, Kind};
use crate::keyspace::is_partition_head;

type Answer = Result<Vec<Outcome>, CommitError>;

/// A handle for one node; what `Cell` promises is in the contract.
pub struct Node(Arc<Inner>);

struct Inner {
    model: Model,
    runtime: Runtime,
    clock: Clock,
    generation: u64,
    faults: Mutex<Faults>,
    queue: Mutex<Queue>,
    idle: watch::Sender<bool>,
    crashed: watch::Sender<bool>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Handed in by callers that still wait.
    in_flight: usize,
    working: bool,
    closed: bool,
    sync_due: bool,
    /// Groups that began, for faults at a given one.
    groups: u64,
}

struct Waiting {
    batch: Batch,
    answer: oneshot::Sender<Answer>,
}

/// One batch's place among those in flight; a caller that goes away gives it up.
struct InFlight(Arc<Inner>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.queue.lock().in_flight -= 1;
    }
}

/// What becomes of a batch whose answer is lost.
enum Loss {
    AfterCommit,
    BeforeCommit,
    Late,
}

impl Node {
    pub(super) fn new(model: Model, runtime: Runtime, clock: Clock, faults: Faults, generation: u64) -> Self {
        Self(Arc::new(Inner {
            model,
            runtime,
            clock,
            generation,
            faults: Mutex::new(faults),
            queue: Mutex::new(Queue::default()),
            idle: watch::Sender::new(true),
            crashed: watch::Sender::new(false),
        }))
    }

    /// Replaces the faults; what struck already stays.
    pub fn set_faults(&self, faults: Faults) {
        *self.0.faults.lock() = faults;
    }

    /// Becomes true when the node has stopped for ever (a failed sync included) and waits to be killed.
    pub fn crashed(&self) -> watch::Receiver<bool> {
        self.0.crashed.subscribe()
    }
}

impl Cell for Node {
    fn commit(&self, batch: Batch) -> BoxFuture<'static, Answer> {
        let inner = self.0.clone();
        let (answer, answered) = oneshot::channel();
        let start = {
            let mut queue = inner.queue.lock();
            if queue.closed {
                return Box::pin(async { Err(CommitError::Closed(closed())) });
            }
            queue.in_flight += 1;
            assert!(queue.in_flight <= inner.groups_in_flight_max(), "more batches in flight than the engine allows");
            queue.waiting.push_back(Waiting { batch, answer });
            !std::mem::replace(&mut queue.working, true)
        };
        if start {
            inner.idle.send_replace(false);
            drop(inner.runtime.spawn(inner.clone().work()));
        }
        let waits = InFlight(inner);
        Box::pin(async move {
            let answer = answered.await.unwrap_or_else(|_| Err(CommitError::Closed(closed())));
            drop(waits);
            answer
        })
    }

    fn resolve(&self, batch: BatchId) -> BoxFuture<'static, Result<Option<Vec<Outcome>>, Error>> {
        let inner = self.0.clone();
        Box::pin(async move {
            inner.pause().await;
            let rate = inner.faults.lock().resolve_unavailable;
            if strikes(&inner.runtime, rate) {
                return Err(Error::new(Kind::Unavailable, "the model is out of reach for a moment"));
            }
            if inner.outlived() {
                pending::<()>().await;
            }
            Ok(inner.model.0.state.lock().resolve(batch))
        })
    }

    fn groups_in_flight_max(&self) -> usize {
        self.0.groups_in_flight_max()
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        self.0.show_time();
        Arc::new(View::new(self.0.model.clone()))
    }

    fn published(&self) -> watch::Receiver<Position> {
        self.0.model.0.published.subscribe()
    }

    fn log_shown(&self) -> watch::Receiver<Position> {
        let model = &self.0.model.0;
        if self.0.settings().shared { model.published.subscribe() } else { model.log_shown.subscribe() }
    }

    fn trim(&self, horizons: &[Horizon]) -> Result<(), Error> {
        if self.0.queue.lock().closed {
            return Err(closed());
        }
        if self.0.settings().relaxed {
            self.0.make_durable();
        }
        self.0.model.0.state.lock().trim(horizons);
        Ok(())
    }

    fn store_time_mark(&self) -> Millis {
        self.0.model.0.state.lock().mark()
    }

    fn stats(&self) -> Stats {
        self.0.model.0.state.lock().stats()
    }

    fn close(&self) -> BoxFuture<'static, Result<(), Error>> {
        let inner = self.0.clone();
        inner.queue.lock().closed = true;
        Box::pin(async move {
            let mut idle = inner.idle.subscribe();
            // The sender is in `inner`: the wait ends by the value alone.
            let _ = idle.wait_for(|idle| *idle).await;
            if !inner.outlived() {
                inner.make_durable();
            }
            Ok(())
        })
    }
}

impl Inner {
    fn settings(&self) -> Settings {
        self.model.0.settings
    }

    fn groups_in_flight_max(&self) -> usize {
        if self.settings().shared { 1 } else { self.settings().groups_in_flight_max }
    }

    /// Whether a later process took the cell over.
    fn outlived(&self) -> bool {
        self.model.0.state.lock().generation() != self.generation
    }

    /// Remembers the newest store time that anyone may have seen.
    fn show_time(&self) -> Millis {
        let now = self.clock.store();
        self.model.0.state.lock().raise_mark(now);
        now
    }

    /// Works the queue off. On a cell of its own it takes several batches at once: one sync serves them all.
    async fn work(self: Arc<Self>) {
        loop {
            let taken: Vec<Waiting> = {
                let mut queue = self.queue.lock();
                let all = queue.waiting.len();
                let most = if self.settings().shared { all.min(1) } else { all };
                let taken: Vec<Waiting> = queue.waiting.drain(..most).collect();
                queue.working = !taken.is_empty();
                taken
            };
            if taken.is_empty() {
                self.idle.send_replace(true);
                return;
            }
            if self.settings().shared {
                for waiting in taken {
                    self.commit_shared(waiting).await;
                }
            } else {
                self.commit_own(taken).await;
            }
        }
    }

    /// Numbers and writes each batch, syncs once, publishes and answers in order.
    async fn commit_own(self: &Arc<Self>, taken: Vec<Waiting>) {
        let mut written: Vec<(Position, Waiting, Vec<Outcome>)> = Vec::new();
        for waiting in taken {
            let group = self.begin();
            self.step(Step::Taken, group).await;
            if self.refused() {
                self.answer(waiting, Err(CommitError::Full(Error::new(Kind::Full, "no space (injected)"))));
                continue;
            }
            let (position, outcomes) = self.write(&waiting.batch);
            written.push((position, waiting, outcomes));
            self.step(Step::Written, group).await;
        }
        let group = self.queue.lock().groups;
        let closes = |waiting: &Waiting| waiting.batch.plans.iter().any(Plan::takes_a_number);
        let relaxed = self.settings().relaxed && !written.iter().any(|(_, waiting, _)| closes(waiting));
        if relaxed {
            self.sync_later();
        } else if !self.sync() {
            return;
        }
        self.step(Step::Durable, group).await;
        for (position, waiting, outcomes) in written {
            self.publish(position);
            self.step(Step::Published, group).await;
            self.answer(waiting, Ok(outcomes));
        }
    }

    /// One atomic step: numbered, durable and published together, as a database commits.
    async fn commit_shared(&self, waiting: Waiting) {
        let group = self.begin();
        self.step(Step::Taken, group).await;
        if self.refused() {
            return self.answer(waiting, Err(CommitError::Full(Error::new(Kind::Full, "no space (injected)"))));
        }
        let unknown = self.faults.lock().unknown;
        let loss = strikes(&self.runtime, unknown).then(|| match self.runtime.random() % 3 {
            0 => Loss::AfterCommit,
            1 => Loss::BeforeCommit,
            _ => Loss::Late,
        });
        self.pause().await;
        if self.stops(Step::Written, group) {
            // The batch is on its way: the database may still do it, long after this node is dead.
            if self.runtime.random().is_multiple_of(2) {
                self.commit_late(waiting.batch.clone());
            }
            return pending().await;
        }
        self.conflict(&waiting.batch);
        let outcomes = match loss {
            None => self.commit_now(&waiting.batch),
            Some(Loss::AfterCommit) => {
                if self.commit_now(&waiting.batch).is_some() {
                    self.model.count(|counts| counts.unknown_committed += 1);
                }
                None
            }
            Some(Loss::BeforeCommit) => None,
            Some(Loss::Late) => {
                self.commit_late(waiting.batch.clone());
                None
            }
        };
        self.step(Step::Durable, group).await;
        self.step(Step::Published, group).await;
        match outcomes {
            Some(outcomes) => self.answer(waiting, Ok(outcomes)),
            None => {
                self.model.count(|counts| counts.unknown += 1);
                self.answer(waiting, Err(CommitError::Unknown));
            }
        }
    }

    /// `None` when the id was asked for in vain before: then the batch is never committed.
    fn commit_now(&self, batch: &Batch) -> Option<Vec<Outcome>> {
        commit_at_once(&self.model, batch, self.show_time())
    }

    /// The answer is gone but the database still works on the batch, whether or not this node lives on.
    fn commit_late(&self, batch: Batch) {
        let (model, clock, runtime) = (self.model.clone(), self.clock.clone(), self.model.0.runtime.clone());
        let wait = Duration::from_micros(runtime.random() % 20_000);
        drop(self.model.0.runtime.spawn(async move {
            runtime.sleep(wait).await;
            if commit_at_once(&model, &batch, clock.store()).is_some() {
                model.count(|counts| counts.unknown_committed += 1);
            }
        }));
    }

    /// Another writer is faster on one of the batch's partitions.
    fn conflict(&self, batch: &Batch) {
        let rate = self.faults.lock().conflicting;
        if !strikes(&self.runtime, rate) {
            return;
        }
        let moved = batch.plans.iter().flat_map(|plan| &plan.heads);
        let keys: Vec<_> = moved
            .filter(|used| matches!(used.change, HeadChange::Move { .. }) && is_partition_head(used.key))
            .map(|used| used.key)
            .collect();
        if keys.is_empty() {
            return;
        }
        let key = keys[(self.runtime.random() % keys.len() as u64) as usize];
        let published = {
            let mut state = self.model.0.state.lock();
            if !state.bump(key) {
                return;
            }
            state.sync();
            let written = state.written();
            state.publish(written);
            written
        };
        self.model.0.published.send_replace(published);
        self.model.count(|counts| counts.conflicting += 1);
    }

    fn write(&self, batch: &Batch) -> (Position, Vec<Outcome>) {
        let now = self.show_time();
        let mut state = self.model.0.state.lock();
        let outcomes = state.write(batch, now).expect("a batch id is used once");
        let position = state.written();
        drop(state);
        count_fenced(&self.model, &outcomes);
        (position, outcomes)
    }

    /// Makes everything written durable; false when that failed, which closes the node.
    fn sync(&self) -> bool {
        let rate = self.faults.lock().sync_failed;
        if strikes(&self.runtime, rate) {
            self.model.count(|counts| counts.sync_failed += 1);
            self.crashed.send_replace(true);
            let mut queue = self.queue.lock();
            queue.closed = true;
            // Dropping what waits answers it: closed.
            queue.waiting.clear();
            return false;
        }
        self.model.0.state.lock().sync();
        true
    }

    fn sync_later(self: &Arc<Self>) {
        if std::mem::replace(&mut self.queue.lock().sync_due, true) {
            return;
        }
        let inner = self.clone();
        let most = self.settings().sync_interval.as_micros().max(1) as u64;
        let wait = Duration::from_micros(self.runtime.random() % most);
        drop(self.runtime.spawn(async move {
            inner.runtime.sleep(wait).await;
            inner.queue.lock().sync_due = false;
            inner.make_durable();
        }));
    }

    fn make_durable(&self) {
        make_durable(&self.model, self.generation);
    }

    fn publish(&self, position: Position) {
        self.model.0.state.lock().publish(position);
        self.model.0.published.send_replace(position);
    }

    fn answer(&self, waiting: Waiting, answer: Answer) {
        // Whoever asked may be gone: the group stands all the same.
        let _ = waiting.answer.send(answer);
    }

    fn refused(&self) -> bool {
        let rate = self.faults.lock().full;
        let full = strikes(&self.runtime, rate);
        if full {
            self.model.count(|counts| counts.full += 1);
        }
        full
    }

    fn begin(&self) -> u64 {
        let mut queue = self.queue.lock();
        queue.groups += 1;
        queue.groups
    }

    /// A place to be slow at, or to stop for ever.
    async fn step(&self, step: Step, group: u64) {
        self.pause().await;
        if self.stops(step, group) {
            pending::<()>().await;
        }
    }

    fn stops(&self, step: Step, group: u64) -> bool {
        let faults = *self.faults.lock();
        let here = faults.crash_at == Some((step, group)) || strikes(&self.runtime, faults.crash);
        if here && !self.crashed.send_replace(true) {
            self.model.count(|counts| counts.crashes += 1);
        }
        here || self.outlived()
    }

    async fn pause(&self) {
        let faults = *self.faults.lock();
        if strikes(&self.runtime, faults.slow) {
            let wait = self.runtime.random() % faults.slow_max.as_micros().max(1) as u64;
            self.runtime.sleep(Duration::from_micros(wait)).await;
        }
    }
}

fn commit_at_once(model: &Model, batch: &Batch, now: Millis) -> Option<Vec<Outcome>> {
    let (published, outcomes) = {
        let mut state = model.0.state.lock();
        let outcomes = state.write(batch, now)?;
        state.sync();
        let written = state.written();
        state.publish(written);
        (written, outcomes)
    };
    count_fenced(model, &outcomes);
    model.0.published.send_replace(published);
    Some(outcomes)
}

fn make_durable(model: &Model, generation: u64) {
    let published = {
        let mut state = model.0.state.lock();
        if state.generation() != generation || state.durable() == state.written() {
            return;
        }
        state.sync();
        state.published()
    };
    // Not a new position, but readers of the log see more at it.
    model.0.published.send_replace(published);
    model.0.log_shown.send_replace(published);
}

fn count_fenced(model: &Model, outcomes: &[Outcome]) {
    let fenced = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Fenced { .. })).count();
    model.count(|counts| counts.fenced += fenced as u64);
}

fn closed() -> Error {
    Error::new(Kind::Closed, "the cell is closed")
}
