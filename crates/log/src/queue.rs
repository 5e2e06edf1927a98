//! The committer's queue: in order, bounded by bytes.
//!
//! A place is reserved before a command decides, so that nothing waits between deciding and enqueuing. The place counts
//! what was read and what the command announced; it is given back when the plan has ended, so plans in flight count too.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use headwater_storage::HeadKey;
use headwater_types::{HashKey, ShardUid, TableId};
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use crate::command::{Effect, Few};
use crate::completion::{Completion, End};
use crate::definition::Change;
use crate::error::Error;
use crate::retention::TrimStep;
use crate::store_time::TimeChange;

/// What a place counts beside the bytes of keys and values. Unit: bytes.
const PLACE_BYTES: usize = 256;

/// A decided plan.
pub(crate) struct Planned {
    /// Tables with the view and the definition's version it was decided under.
    pub tables: Few<PlannedTable>,
    pub touches: Vec<PlannedTouch>,
    /// A mover's positions.
    pub own: Vec<OwnHead>,
    pub size_bytes: usize,
    pub completion: Arc<Completion>,
    /// Held until the plan has ended.
    pub _place: OwnedSemaphorePermit,
}

#[derive(Clone, Copy)]
pub(crate) struct PlannedTable {
    pub table: TableId,
    pub view: u64,
    pub version: u64,
}

/// One key of a plan.
pub(crate) struct PlannedTouch {
    /// None for a token.
    pub table: Option<TableId>,
    /// Version that a token's own head had when it was read.
    pub version: u64,
    pub hash: HashKey,
    /// Empty when a record is appended to a data stream.
    pub key: Bytes,
    pub effect: Effect,
}

/// A row with a head of its own, which fences the plan if it was moved since it was read.
pub(crate) struct OwnHead {
    pub head: HeadKey,
    /// Zero: the row is new.
    pub expected: u64,
    pub key: Bytes,
    /// None: the row goes, and its head.
    pub value: Option<Bytes>,
}

/// Work that is alone in its group.
pub(crate) struct Alone {
    pub work: Work,
    pub reply: oneshot::Sender<Result<AloneEnd, Error>>,
    pub place: OwnedSemaphorePermit,
}

/// How work alone in its group ended, when it did not fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AloneEnd {
    /// Durable; the catalog and the lineage that readers see include it.
    Done,
    /// What it was decided on is no longer so: decide again.
    TakenBack,
}

/// Kinds of work that are alone in their group.
#[derive(Clone)]
pub(crate) enum Work {
    /// A change of definitions decided on this version of the catalog.
    Define { changes: Vec<Change>, based_on: u64 },
    /// Splits the partition that holds `at`, which becomes the first hash of the upper half; only while it is this one.
    Split { table: TableId, at: HashKey, only: Option<u64> },
    /// Replaces the open shard of the partition that holds `at`; only while it is this one.
    RollOver { table: TableId, at: HashKey, only: Option<ShardUid> },
    /// Moves the store's clock.
    Time(TimeChange),
    /// Retention's rows.
    Trim(Vec<TrimStep>),
}

pub(crate) enum Entry {
    Plan(Planned),
    Alone(Alone),
}

pub(crate) struct Queue {
    entries: Mutex<Entries>,
    /// Wakes the committer.
    wake: Notify,
    room: Arc<Semaphore>,
    room_bytes: usize,
}

#[derive(Default)]
struct Entries {
    waiting: VecDeque<Entry>,
    /// So many entries wake the committer; it sleeps over fewer.
    wanted: usize,
    /// No entry comes in any more.
    closed: bool,
}

impl Queue {
    pub fn new(room_bytes: usize) -> Self {
        let room_bytes = room_bytes.clamp(PLACE_BYTES, u32::MAX as usize);
        let room = Arc::new(Semaphore::new(room_bytes));
        Self { entries: Mutex::default(), wake: Notify::new(), room, room_bytes }
    }

    /// Waits for a place, in order of asking. Errors: `Closed`.
    pub async fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
        let bytes = (bytes + PLACE_BYTES).min(self.room_bytes) as u32;
        match self.room.clone().try_acquire_many_owned(bytes) {
            Ok(place) => Ok(place),
            Err(_) => self.room.clone().acquire_many_owned(bytes).await.map_err(|_| Error::Closed),
        }
    }

    /// Puts an entry at the end. After [`Queue::close`] it ends at once.
    pub fn push(&self, entry: Entry) {
        let mut entries = self.entries.lock();
        if entries.closed {
            drop(entries);
            entry.end_closed();
            return;
        }
        entries.waiting.push_back(entry);
        let are_enough = entries.waiting.len() >= entries.wanted;
        drop(entries);
        if are_enough {
            self.wake.notify_one();
        }
    }

    /// Whether so many entries wait; if not, the committer is woken once they do.
    pub fn has_or_wants(&self, wanted: usize) -> bool {
        let mut entries = self.entries.lock();
        entries.wanted = wanted;
        entries.waiting.len() >= wanted
    }

    /// Takes the first entry if `wanted` wants it.
    pub fn pop_if(&self, wanted: impl FnOnce(&Entry) -> bool) -> Option<Entry> {
        let mut entries = self.entries.lock();
        if entries.waiting.front().is_some_and(wanted) { entries.waiting.pop_front() } else { None }
    }

    /// Whether the first entry is work that is alone in its group.
    pub fn alone_is_next(&self) -> bool {
        matches!(self.entries.lock().waiting.front(), Some(Entry::Alone(_)))
    }

    pub fn is_empty(&self) -> bool {
        self.entries.lock().waiting.is_empty()
    }

    /// Waits for an entry or for [`Queue::finish`]; the one committer waits here.
    pub async fn changed(&self) {
        self.wake.notified().await;
    }

    /// Gives no more places; those given may still be used.
    pub fn finish(&self) {
        self.room.close();
        self.wake.notify_one();
    }

    pub fn is_finishing(&self) -> bool {
        self.room.is_closed()
    }

    /// Ends everything that waits and that is still to come.
    pub fn close(&self) {
        self.room.close();
        let waiting = {
            let mut entries = self.entries.lock();
            entries.closed = true;
            std::mem::take(&mut entries.waiting)
        };
        for entry in waiting {
            entry.end_closed();
        }
        self.wake.notify_one();
    }
}

impl Entry {
    fn end_closed(self) {
        match self {
            Self::Plan(plan) => plan.completion.end(End::Closed, Vec::new()),
            Self::Alone(alone) => {
                // Who asked may be gone.
                let _ = alone.reply.send(Err(Error::Closed));
            }
        }
    }
}
