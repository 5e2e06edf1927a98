//! The embedded engine: append-only segments that are stream log and write-ahead log at once, an index without a journal.
//!
//! ```text
//! directory/  LOCK   STORE   log/0000…01.segment …   archive/MANIFEST 0000…00.run …   index/…
//!
//! commit ─▶ segment (synced) ─▶ index in memory ─▶ published ─▶ answered
//!                                └── rotated, flushed; what was not comes back from the segments
//! ```

mod archive;
mod bytes;
mod copy;
mod engine;
mod frame;
mod front;
mod heads;
mod index;
mod lock;
mod log_index;
mod recover;
mod rows;
mod segment;
mod snapshots;
mod space;
mod store;
mod upkeep;
mod view;
mod writer;

pub use copy::restore;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use headwater_types::{Clock, Position, Runtime};

use crate::contract::Cell;
use crate::error::{Error, Kind};
use crate::files::Files;
use crate::files::disk::Disk;
use crate::files::memory::Memory;

/// When a commit is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// After its sync.
    Strict,
    /// After its write; the sync follows within the interval, and only then do readers of the log see its records.
    Relaxed {
        /// Longest time between write and sync.
        interval: Duration,
    },
}

/// What stands behind the index interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IndexKind {
    /// An LSM tree; it opens its files itself, so the directory is one of the real file system.
    Lsm,
    /// An ordered map in memory; its parts go through the file layer, unless that is volatile.
    OrderedMap,
}

/// Bugs that tests must find. They do something only where the feature `planted-bugs` is compiled in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Planted {
    /// Answers and publishes after the write; the sync comes later.
    AckBeforeSync,
    /// Leaves out the sync of the log.
    NoSync,
    /// A plan's items in one group, its records in the next.
    RecordApartFromItem,
    /// Closes the active part of the index between two halves of a group.
    RotateInsideGroup,
    /// Removes segments before the archive run that replaces them is durable.
    FreeBeforeRun,
    /// A range of the index stays kept in memory though an item in it was written.
    RangeKept,
}

/// How a store is opened.
#[derive(Clone)]
pub struct Settings {
    /// The disk.
    pub files: Arc<dyn Files>,
    /// The store's folder; made if need be.
    pub directory: PathBuf,
    /// What stands behind the index interface.
    pub index: IndexKind,
    /// When a commit is answered.
    pub durability: Durability,
    /// Memory for block cache (three eighths), ranges read again (an eighth), index parts (an eighth each, up to three) and
    /// footers. Unit: bytes.
    pub memory_bytes: u64,
    /// The size of an index part in memory, if not derived from `memory_bytes`. Unit: bytes.
    pub memtable_bytes: Option<u64>,
    /// Values from this size on are kept in files of their own, apart from their keys; absent: all stay with their keys.
    /// A store stays as it was made. For measurements: decision 0009 says why no build of the server sets it. Unit: bytes.
    pub separate_values_from: Option<u32>,
    /// A segment is closed before it grows beyond this; a larger group has one of its own. Unit: bytes.
    pub segment_bytes: u64,
    /// The index is flushed at least once in this many bytes of log, which bounds a start after a crash. Unit: bytes.
    pub replay_bytes_max: u64,
    /// Room that is kept free for flush and trim; absent: the larger of two gigabytes and a twentieth of what is free.
    pub reserve_bytes: Option<u64>,
    /// Batches that may be handed in without an answer.
    pub groups_in_flight_max: usize,
    /// How long the queue is dry before an empty group states what is synced.
    pub idle_statement: Duration,
    /// How far ahead store time is reserved: a start after a crash may find store time ahead by this much.
    pub time_reserve: Duration,
    /// Rotates after one in so many groups, by chance. For tests.
    pub rotate_one_in: Option<u64>,
    /// A sealed and flushed segment (an archive run too) is rewritten when less than this part of its bytes is still
    /// wanted by a shard. Unit: hundredths.
    pub archive_below_percent: u64,
    /// Rewrites some segments, wanted or not, after one in so many flushes, by chance. For tests.
    pub archive_one_in: Option<u64>,
    /// A bug to be found.
    pub planted: Option<Planted>,
}

impl Settings {
    /// A store on the real disk.
    pub fn on_disk(directory: impl Into<PathBuf>) -> Self {
        Self::on(Arc::new(Disk::default()), directory, IndexKind::Lsm)
    }

    /// A store that ends with the process.
    pub fn in_memory() -> Self {
        Self::on(Arc::new(Memory::default()), "memory", IndexKind::OrderedMap)
    }

    /// A store on any disk.
    pub fn on(files: Arc<dyn Files>, directory: impl Into<PathBuf>, index: IndexKind) -> Self {
        Self {
            files,
            directory: directory.into(),
            index,
            durability: Durability::Strict,
            memory_bytes: 512 * 1024 * 1024,
            memtable_bytes: None,
            separate_values_from: None,
            segment_bytes: 64 * 1024 * 1024,
            replay_bytes_max: 512 * 1024 * 1024,
            reserve_bytes: None,
            groups_in_flight_max: 4,
            idle_statement: Duration::from_millis(20),
            time_reserve: Duration::from_secs(1),
            rotate_one_in: None,
            archive_below_percent: 50,
            archive_one_in: None,
            planted: None,
        }
    }

    fn memtable_bytes(&self) -> u64 {
        let derived = (self.memory_bytes / 8).clamp(1024 * 1024, 128 * 1024 * 1024);
        self.memtable_bytes.unwrap_or(derived)
    }
}

/// What the start found and did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Recovered {
    /// The store is new.
    pub created: bool,
    /// The last position kept.
    pub position: Position,
    /// Groups that were applied again because the index had not flushed them.
    pub groups_replayed: u64,
    /// Groups that were copied because nothing proved that they were synced.
    pub groups_copied: u64,
    /// Segments found.
    pub segments: u64,
    /// Archive runs found.
    pub archive_runs: u64,
    /// Log bytes that were read and verified.
    pub bytes: u64,
    /// How long it took.
    pub milliseconds: u64,
}

/// Opens a store, making it if the directory is empty, and raises the clock to the newest time that was shown.
///
/// Errors: `Unavailable` when another process has it open; `Corrupt`, naming file and offset, when files are damaged,
/// foreign or another build's. Nothing is lost by a refusal.
pub async fn open(settings: Settings, runtime: Runtime, clock: Clock) -> Result<(Arc<dyn Cell>, Recovered), Error> {
    let settings = if cfg!(feature = "planted-bugs") { settings } else { Settings { planted: None, ..settings } };
    let lock = lock::take(&settings, &runtime).await?;
    let engine = {
        let runtime = runtime.clone();
        runtime.clone().blocking(move || recover::open(settings, runtime, clock, lock)).await
    };
    let lost = |lost| Error::new(Kind::Closed, "the start was lost").because(lost);
    let (engine, recovered) = engine.map_err(lost)??;
    Ok((Arc::new(engine::Embedded(engine)), recovered))
}
