//! The one log and the one shard model: commands, key locks, the committer, lineage, reading, iterators, retention.
//!
//! Owns: the commit path (lock, read, decide, queue, commit, answer), partitions and their shards, order of records,
//! sealed iterators, trimming. In: commands and definition changes from `table` and `operations`; a `storage` cell.
//! Out: answers that survive, catalog snapshots, pages of records. Never: item formats, API shapes, a second lineage.
//!
//! ```text
//! execute ─► lock keys ─► read (pending, then snapshot) ─► room in the queue ─► decide ─┬─► publish pending, enqueue ─► unlock
//!    ▲                                                                                  └─► (answer only) ─► unlock
//!    └──────────── taken back: fenced, or built on what was ◄── committer ◄── wait for what the answer is based on
//! ```

mod append;
mod command;
mod committer;
mod completion;
pub mod data_record;
mod definition;
mod draft;
mod error;
mod execute;
mod flow;
mod heat;
mod iterator;
mod life;
mod lineage;
mod locks;
mod notify;
mod open;
mod pending;
mod planted;
mod positions;
mod queue;
mod read;
mod retention;
pub mod sequence;
mod settings;
mod shard;
mod store_time;
mod stream;
mod trim;
mod views;

#[cfg(test)]
mod tests;

pub use append::{Append, Appended};
pub use command::{Command, Decision, Effect, Touch, ValueChange, View};
pub use definition::{Change, Defined, Definition, DestinationChange, IndexChange};
pub use error::Error;
pub use headwater_storage::contract::{LogRecord, PageLimit};
pub use iterator::{IteratorError, ShardIterator};
pub use life::{Lived, PartitionInfo};
pub use lineage::TableSize;
pub use open::Log;
pub use positions::{MoverPosition, SourcePage, Step};
pub use read::{Page, ReadError, ReadFrom, Start};
pub use retention::Retained;
pub use settings::{PlantedBug, Settings};
pub use shard::ShardInfo;
pub use stream::ShardList;
