//! A node's committer: drains the queue into groups, commits them, ends their plans.
//!
//! ```text
//! queue ─► drain (find partition, open shard, heads) ─► commit ─► settle ─► published values: pending ones retire, plans end
//!            │ stale view: taken back                                  └─► fenced, full: wait until nothing is in flight,
//!            └ alone: waits until nothing is in flight                      reload heads, raise views, take plans back
//! ```
//! No timers: a group is what waits while others are in flight, once it is as many plans as they are or they are done. So no
//! sync is spent on the first few that come while many more are on their way. Expected versions are the node's known
//! ones advanced by its own commits under way; they are reloaded only while nothing is in flight.

mod alone;
mod group;

use std::collections::{BTreeSet, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use headwater_storage::{Batch, BatchId, CommitError, Error as StorageError, Kind, Outcome};
use headwater_types::hash::FixedMap;
use headwater_types::{BoxFuture, SequenceNumber, ShardUid, TableId};

use crate::completion::End;
use crate::error::Error;
use crate::lineage::{self, Known};
use crate::open::Shared;
use crate::queue::{Alone, Entry, Planned};
use group::Group;

/// The one task that commits.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    known: FixedMap<TableId, Known>,
    in_flight: VecDeque<InFlight>,
    in_flight_max: usize,
    /// Tables whose heads or plans turned out other than believed. While there are any, nothing is submitted.
    doubtful: BTreeSet<TableId>,
    /// Plans that were not done and are taken back once their tables' views are raised.
    undone: Vec<Planned>,
}

/// A group handed to the cell.
struct InFlight {
    id: BatchId,
    plans: Vec<Planned>,
    shards: Vec<ShardUid>,
    outcome: BoxFuture<'static, Result<Vec<Outcome>, CommitError>>,
}

/// What became of a batch, once it is known.
enum Fate {
    Outcomes(Vec<Outcome>),
    NotDone,
    Full,
    Closed,
}

/// What woke the committer.
enum Event {
    Outcome(Result<Vec<Outcome>, CommitError>),
    Queue,
}

/// What the queue's front allows.
enum Next {
    Group(Group),
    Alone(Alone),
    /// Nothing until something in flight has ended, or something comes in.
    Wait,
}

impl Committer {
    pub fn new(shared: Arc<Shared>) -> Self {
        let in_flight_max = shared.cell.groups_in_flight_max().max(1);
        Self {
            shared,
            known: FixedMap::default(),
            in_flight: VecDeque::new(),
            in_flight_max,
            doubtful: BTreeSet::new(),
            undone: Vec::new(),
        }
    }

    /// Runs until the log is finished and everything queued is done, or until the cell closes.
    pub async fn run(mut self) {
        if let Err(error) = self.work().await {
            tracing::error!(%error, "the log is closed: its committer failed");
        }
        // Dropping ends whatever is left.
    }

    async fn work(&mut self) -> Result<(), Error> {
        loop {
            while self.in_flight.len() < self.in_flight_max {
                match self.next()? {
                    Next::Group(group) => self.submit(group),
                    Next::Alone(alone) => self.alone(alone).await?,
                    Next::Wait => break,
                }
            }
            if self.in_flight.is_empty() && self.shared.queue.is_finishing() && self.shared.queue.is_empty() {
                return Ok(());
            }
            match self.event().await {
                Event::Queue => {}
                Event::Outcome(outcome) => {
                    let group = self.in_flight.pop_front().expect("the outcome is the first group's");
                    self.settle(group, outcome).await?;
                }
            }
        }
    }

    /// Waits for the first group in flight or, while more may be submitted, for the queue.
    async fn event(&mut self) -> Event {
        let may_submit = self.in_flight.len() < self.in_flight_max && !self.in_doubt();
        let blocked = self.shared.queue.alone_is_next() && !self.in_flight.is_empty();
        let wants_queue = may_submit && !blocked;
        let shared = self.shared.clone();
        let mut changed = pin!(shared.queue.changed());
        let mut first = self.in_flight.front_mut().map(|group| group.outcome.as_mut());
        poll_fn(|context| {
            if let Some(outcome) = &mut first
                && let Poll::Ready(outcome) = outcome.as_mut().poll(context)
            {
                return Poll::Ready(Event::Outcome(outcome));
            }
            if (wants_queue || first.is_none()) && changed.as_mut().poll(context).is_ready() {
                return Poll::Ready(Event::Queue);
            }
            Poll::Pending
        })
        .await
    }

    fn next(&mut self) -> Result<Next, Error> {
        loop {
            if self.in_doubt() {
                if !self.in_flight.is_empty() {
                    return Ok(Next::Wait);
                }
                self.reconsider()?;
            }
            let in_flight = self.in_flight.iter().map(|group| group.plans.len()).sum();
            if !self.shared.queue.has_or_wants(in_flight) {
                return Ok(Next::Wait);
            }
            let group = self.drain()?;
            if !group.is_empty() {
                return Ok(Next::Group(group));
            }
            if !self.in_flight.is_empty() {
                return Ok(Next::Wait);
            }
            if !self.in_doubt() {
                return Ok(match self.shared.queue.pop_if(|entry| matches!(entry, Entry::Alone(_))) {
                    Some(Entry::Alone(alone)) => Next::Alone(alone),
                    Some(Entry::Plan(_)) | None => Next::Wait,
                });
            }
        }
    }

    /// Whether something is to be read again and taken back before anything else is submitted.
    fn in_doubt(&self) -> bool {
        !self.doubtful.is_empty() || !self.undone.is_empty()
    }

    fn submit(&mut self, group: Group) {
        let id = BatchId(self.shared.runtime.random_u128());
        let Group { plans, batch, shards, written, .. } = group;
        self.shared.heat.note(&written);
        let outcome = self.shared.cell.commit(Batch { id, plans: batch });
        self.in_flight.push_back(InFlight { id, plans, shards, outcome });
    }

    /// Ends the plans of a group whose outcome came.
    async fn settle(&mut self, group: InFlight, outcome: Result<Vec<Outcome>, CommitError>) -> Result<(), Error> {
        let InFlight { id, plans, mut shards, .. } = group;
        match self.resolve(id, outcome).await? {
            Fate::Outcomes(outcomes) => {
                self.shared.notify.raise(&mut shards);
                for (plan, outcome) in plans.into_iter().zip(outcomes) {
                    match outcome {
                        Outcome::Committed { numbers, .. } => self.committed(plan, numbers),
                        Outcome::Fenced { heads } => {
                            tracing::debug!(heads = heads.len(), "a plan was fenced");
                            self.undo(plan);
                        }
                    }
                }
            }
            Fate::NotDone => plans.into_iter().for_each(|plan| self.undo(plan)),
            Fate::Full => {
                for plan in plans {
                    self.doubtful.extend(plan.tables.iter().map(|planned| planned.table));
                    self.retire(&plan);
                    plan.completion.end(End::Full, Vec::new());
                }
            }
            Fate::Closed => {
                plans.into_iter().for_each(|plan| plan.completion.end(End::Closed, Vec::new()));
                return Err(Error::Closed);
            }
        }
        Ok(())
    }

    /// Asks until the outcome of a batch is known; nothing is submitted meanwhile.
    async fn resolve(&mut self, id: BatchId, outcome: Result<Vec<Outcome>, CommitError>) -> Result<Fate, Error> {
        match outcome {
            Ok(outcomes) => return Ok(Fate::Outcomes(outcomes)),
            Err(CommitError::Full(error)) => {
                tracing::warn!(%error, "a group was refused: the disk is full");
                return Ok(Fate::Full);
            }
            Err(CommitError::Closed(error)) => {
                tracing::error!(%error, "the cell is closed");
                return Ok(Fate::Closed);
            }
            Err(CommitError::Unknown) => {}
        }
        let mut pause = Duration::from_millis(1);
        loop {
            match self.shared.cell.resolve(id).await {
                Ok(Some(outcomes)) => return Ok(Fate::Outcomes(outcomes)),
                Ok(None) => return Ok(Fate::NotDone),
                Err(error) if is_passing(&error) => {
                    tracing::warn!(%error, "the outcome of a group is still unknown");
                    self.shared.runtime.sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
                Err(error) => {
                    tracing::error!(%error, "the outcome of a group stays unknown");
                    return Ok(Fate::Closed);
                }
            }
        }
    }

    fn committed(&mut self, plan: Planned, numbers: Vec<SequenceNumber>) {
        self.retire(&plan);
        plan.completion.end(End::Committed, numbers);
    }

    /// A plan was not done: what its tables' heads are is to be read again, and all that built on it goes back too.
    fn undo(&mut self, plan: Planned) {
        self.doubtful.extend(plan.tables.iter().map(|planned| planned.table));
        self.undone.push(plan);
    }

    /// Reloads what is known of doubtful tables, voids what was planned on it, gives undone plans back in their order.
    fn reconsider(&mut self) -> Result<(), Error> {
        debug_assert!(self.in_flight.is_empty(), "heads are reloaded only while nothing is in flight");
        let snapshot = self.shared.cell.snapshot();
        self.shared.views.refresh(&*snapshot)?;
        for table in std::mem::take(&mut self.doubtful) {
            self.load(&*snapshot, table)?;
            // After loading: who sees the new view reads a snapshot at least as new as the heads.
            self.shared.views.raise(table);
        }
        for plan in std::mem::take(&mut self.undone) {
            self.take_back(plan);
        }
        Ok(())
    }

    fn load(&mut self, snapshot: &dyn headwater_storage::Snapshot, table: TableId) -> Result<(), Error> {
        match lineage::load(snapshot, table)? {
            Some(known) => self.known.insert(table, known),
            None => self.known.remove(&table),
        };
        Ok(())
    }

    fn take_back(&self, plan: Planned) {
        self.retire(&plan);
        plan.completion.end(End::TakenBack, Vec::new());
    }

    fn retire(&self, plan: &Planned) {
        for touch in &plan.touches {
            self.shared.keys.retire(touch.hash, &touch.key, &plan.completion);
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        // Nobody is left to end these: a stop, a failure, or the process dies.
        self.shared.queue.close();
        let in_flight = std::mem::take(&mut self.in_flight).into_iter().flat_map(|group| group.plans);
        for plan in in_flight.chain(std::mem::take(&mut self.undone)) {
            plan.completion.end(End::Closed, Vec::new());
        }
    }
}

fn is_passing(error: &StorageError) -> bool {
    match error.kind {
        Kind::Conflict | Kind::Unavailable | Kind::Full => true,
        Kind::Corrupt | Kind::Closed | Kind::Invalid => false,
    }
}
