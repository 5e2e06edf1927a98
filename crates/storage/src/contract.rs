//! The cell: an ordered key space and a log with one commit order. What every engine promises.
//!
//! ```text
//! commit(batch of plans) -> per plan: committed(numbers) | fenced(heads that moved)
//!                           or for the whole batch: full | unknown(ask `resolve`) | closed
//!
//!   position:   ... 41        42        43        44
//!                    |         |         |         |
//!               published   durable   written   numbered      (never the other way round)
//! ```
//! One batch is one *group*: it takes one position, and readers see all of it or nothing.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use headwater_types::{BoxFuture, Position, SequenceNumber, ShardUid};
use tokio::sync::watch;

use crate::error::Error;

/// Names the head of a key range or of a definition: eight bits of kind, 120 bits of identity (see [`crate::keyspace`]).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HeadKey(pub u128);

/// The version of a key range, and what is counted beside it. A head that was never written is all zeros.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Head {
    /// Raised by one by every plan that moves the head.
    pub version: u64,
    /// The last sequence number taken under this head.
    pub number: SequenceNumber,
    /// Items in the range.
    pub items: i64,
    /// Bytes of the items in the range.
    pub bytes: i64,
}

/// What a plan does to a head. A head stands at most once in a plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeadUse {
    /// Which head.
    pub key: HeadKey,
    /// The version that the plan builds on; another one fences the plan. Zero: the head must not exist.
    pub expected: u64,
    /// Compared only, moved, or removed.
    pub change: HeadChange,
}

/// The change of one head by one plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HeadChange {
    /// The range was only read.
    Compare,
    /// The range is written: its version rises by one.
    Move {
        /// Change of the item count.
        items: i64,
        /// Change of the byte count.
        bytes: i64,
        /// Takes one sequence number that no record bears (closing or opening a shard), before any record of the plan.
        /// A group with such a plan is durable before it is published, relaxed or not: who sees a shard's end sees all
        /// of its records, and no crash opens it again.
        take: bool,
        /// Heads of the same plan, by index into [`Plan::heads`] and all lower than this one's index: numbers taken
        /// under this head from now on are greater than any taken under those (a child's head above its parents').
        above: Vec<u16>,
    },
    /// The range ends; a later head of the same key starts again at zero.
    Remove,
}

/// One change of the ordered key space.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// The whole key, prefix included. An index entry's has up to some 6 KB: more than the index of a database may take, and
    /// in order all the same.
    pub key: Bytes,
    /// The value; `None` deletes the key.
    pub value: Option<Bytes>,
    /// Writes a number that only the commit knows into the value.
    pub stamp: Option<Stamp>,
}

/// Where a sequence number taken by this plan is written, as eight big-endian bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// Index into [`Plan::heads`]: the number that its `take` took.
    pub head: u16,
    /// Byte offset in the value.
    pub offset: u32,
}

/// A log record without its number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Index into [`Plan::heads`]: the moved head that numbers it.
    pub head: u16,
    /// The open shard it goes to.
    pub shard: ShardUid,
    /// What the log's owner wants to find there again.
    pub payload: Bytes,
}

/// What one command does: all of it or nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// Every range that was read or is written.
    pub heads: Vec<HeadUse>,
    /// Changes of the key space; a later one of the same key wins.
    pub writes: Vec<Write>,
    /// Records, in order.
    pub records: Vec<Record>,
}

impl Plan {
    /// Whether the plan closes or opens a shard.
    pub fn takes_a_number(&self) -> bool {
        self.heads.iter().any(|used| matches!(used.change, HeadChange::Move { take: true, .. }))
    }

    /// About how many bytes the plan takes in a group.
    pub fn size_bytes(&self) -> usize {
        let writes: usize = self.writes.iter().map(|w| w.key.len() + w.value.as_ref().map_or(0, Bytes::len) + 16).sum();
        let records: usize = self.records.iter().map(|r| r.payload.len() + 32).sum();
        writes + records + self.heads.len() * 48
    }
}

/// Names a batch once and for all, so that an unknown outcome can be asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BatchId(pub u128);

/// Plans that are committed as one group.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Drawn at random by the committer.
    pub id: BatchId,
    /// In order: a later plan may build on an earlier one (its expected versions count the earlier one's moves).
    pub plans: Vec<Plan>,
}

/// What became of one plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Durable and published.
    Committed {
        /// One per head whose `take` was set, in order of the heads.
        taken: Vec<SequenceNumber>,
        /// One per record, in order.
        numbers: Vec<SequenceNumber>,
    },
    /// Nothing of it was done.
    Fenced {
        /// The heads whose version was another than expected, or that an earlier fenced plan of the batch would have
        /// moved.
        heads: Vec<HeadKey>,
    },
}

/// Why a batch as a whole has no outcomes.
#[derive(Debug)]
pub enum CommitError {
    /// The disk is full; nothing was done, and a later try may succeed.
    Full(Error),
    /// The answer was lost: only [`Cell::resolve`] knows.
    Unknown,
    /// The cell is closed (a failed sync, a stop); what was not published may or may not be found at the next start.
    Closed(Error),
}

/// Where reading of a shard's log starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum From {
    /// The first record whose number is at least this.
    At(SequenceNumber),
    /// The first record whose number is greater than this.
    After(SequenceNumber),
}

/// Bounds of a page; the record that crosses `bytes` is left out unless it is the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageLimit {
    /// Most records.
    pub records: usize,
    /// Most payload bytes.
    pub bytes: usize,
}

/// A committed record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogRecord {
    /// Its number.
    pub number: SequenceNumber,
    /// Its payload.
    pub payload: Bytes,
}

/// Order of a scan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Ascending keys.
    Forward,
    /// Descending keys.
    Backward,
}

/// Entries of a scan: `(key, value)` or what stopped it.
pub type Entries<'a> = Box<dyn Iterator<Item = Result<(Bytes, Bytes), Error>> + Send + 'a>;

/// The whole cell at one position. Cheap to take; holding one pins what it needs.
///
/// Errors: an engine that reaches for its data over a network answers `Unavailable` when it cannot be reached for longer
///         than it waits by itself, or when it gave up holding what this snapshot pins; another answer never.
/// Order: the same snapshot gives the same answers for as long as it lives, across flush, compaction and trim, and on a
///        cell of several nodes across whatever other nodes do.
pub trait Snapshot: Send + Sync {
    /// The position it shows. Rises with every group of the cell; nothing else is to be read out of it (which groups lie
    /// between two positions, or how many), for an engine may commit unrelated heads side by side.
    fn position(&self) -> Position;
    /// A key's value.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error>;
    /// Keys in `start..end` (end excluded), in order.
    fn scan(&self, start: &[u8], end: &[u8], direction: Direction) -> Entries<'_>;
    /// A head; all zeros if it was never written or is removed.
    fn head(&self, key: HeadKey) -> Result<Head, Error>;
    /// A page of a shard's records by rising number. An unknown shard has none.
    ///
    /// Order: only records that are synced are shown, whatever the durability setting; no record ever appears below one
    /// that was shown.
    fn read_log(&self, shard: ShardUid, from: From, limit: PageLimit) -> Result<Vec<LogRecord>, Error>;
}

/// What is no longer wanted of a shard's log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Horizon {
    /// The shard.
    pub shard: ShardUid,
    /// Records below this number may go; a number beyond all drops the shard.
    pub below: SequenceNumber,
}

/// Figures of an engine, for metrics and bounds in tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Groups committed since open.
    pub groups: u64,
    /// Plans committed since open.
    pub plans: u64,
    /// Syncs of log files since open.
    pub syncs: u64,
    /// Bytes appended to log files since open, padding included.
    pub log_bytes_written: u64,
    /// Bytes of log files on disk now, those that only hold what is still wanted of others included.
    pub log_bytes_on_disk: u64,
    /// Files now that hold what is still wanted of log files that were given back.
    pub archive_runs: u64,
    /// Their bytes; a part of `log_bytes_on_disk`.
    pub archive_bytes: u64,
    /// Log files given back since open because what was wanted of them was moved.
    pub segments_archived: u64,
}

/// Where a copy goes: a folder that is new or empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// On the disk that the cell itself is on; in memory, if that is where it is.
    Same(PathBuf),
    /// In the machine's file system, wherever the cell is.
    Disk(PathBuf),
}

/// What a copy is and took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Copied {
    /// It holds every group up to this one and nothing after it.
    pub position: Position,
    /// Files that it shares with the original: they never change.
    pub links: u64,
    /// Files of its own.
    pub copies: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Whether files that never change had to be copied too, because the target's file system takes no links from here.
    pub without_links: bool,
}

/// An ordered key space and a log with one commit order.
///
/// Dropping the last handle without [`Cell::close`] is a crash as far as the engine is concerned, and safe.
pub trait Cell: Send + Sync + 'static {
    /// Commits a batch as one group. Takes its place in the commit order when *called* (not when first polled); the
    /// future may be dropped without effect on the group.
    ///
    /// Shape:  batch → one outcome per plan. A plan is fenced when a head it names has another version than expected, or
    ///         when an earlier fenced plan of the batch would have moved one of them.
    /// Unit:   numbers are in store time: on a cell of several nodes that of one clock, the database's, moved by what the
    ///         store's clock was moved by, so that nodes whose wall clocks differ do not spread over each other's times.
    /// Errors: [`CommitError`].
    /// Order:  the outcome is given after the group is durable (relaxed: written) and published.
    fn commit(&self, batch: Batch) -> BoxFuture<'static, Result<Vec<Outcome>, CommitError>>;

    /// What became of a batch whose outcome was unknown: its outcomes, or `None` when it was not and never will be
    /// committed; a batch handed in afterwards under that id is answered [`CommitError::Unknown`].
    ///
    /// Order: the same answer on every node and for as long as anyone may ask: before the asking node's next batch, and at
    ///        least for a day.
    fn resolve(&self, batch: BatchId) -> BoxFuture<'static, Result<Option<Vec<Outcome>>, Error>>;

    /// How many batches may be handed in before the first one's outcome is known. One where other nodes can move heads.
    fn groups_in_flight_max(&self) -> usize;

    /// The newest published state. On a cell of several nodes: at least all that any node was answered before the call.
    ///
    /// An engine that has to ask for it and gets no answer gives a snapshot whose every read is the error.
    fn snapshot(&self) -> Arc<dyn Snapshot>;

    /// Raised after every group is published, and on a cell of several nodes some time after another node's.
    fn published(&self) -> watch::Receiver<Position>;

    /// Raised when readers of the log see more though no outcome of this node's says so: records that were acknowledged
    /// before they were synced, and on a cell of several nodes another node's.
    fn log_shown(&self) -> watch::Receiver<Position>;

    /// States what is no longer wanted of the log; space is given back when and as the engine can. Snapshots taken
    /// before may still see the records. Of a shard, nothing above its horizon ever goes, and what goes goes from the
    /// lowest number on: after a crash a horizon may be lower than stated here, but there is no gap. Nothing goes before
    /// all is durable that was published at the call, since the horizons may rest on it.
    fn trim(&self, horizons: &[Horizon]) -> Result<(), Error>;

    /// The newest store time that an earlier run may have shown: the clock is raised to it before use.
    fn store_time_mark(&self) -> headwater_types::Millis;

    /// Figures.
    fn stats(&self) -> Stats;

    /// Names this store among its copies: drawn when it is made, and again for every copy. Zero where there are none.
    fn identity(&self) -> u128 {
        0
    }

    /// Copies the whole cell, as it is at one position, to a folder that opens as a store of its own; nothing that either
    /// does from then on is seen by the other.
    ///
    /// Errors: `Invalid` when the engine has no copies, or the folder is used; `Full`; the engine's. Nothing is left of a
    ///         copy that failed.
    /// Order:  every commit that was answered before the call is in it; it is durable when it is answered. Commits go on
    ///         meanwhile.
    fn copy_to(&self, _target: Target) -> BoxFuture<'static, Result<Copied, Error>> {
        Box::pin(async { Err(Error::new(crate::error::Kind::Invalid, "this engine makes no copies of its store")) })
    }

    /// Waits for what is under way, flushes and releases the files. Later calls answer [`CommitError::Closed`].
    fn close(&self) -> BoxFuture<'static, Result<(), Error>>;
}
