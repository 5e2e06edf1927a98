//! The index: the newest values of the key space up to a flush point, without a journal of its own.
//!
//! ```text
//! apply(N) ── active ── rotate ── sealed ── flush ── on disk        the flush point is a key in the last of them
//! ```
//! What was applied after the flush point comes back from the log. Readers always name a position; versions that a
//! registered snapshot may see are kept.

mod cached;
mod lsm;
mod ordered_map;

use bytes::Bytes;
use headwater_types::Position;

pub(super) use cached::Cached;
pub(super) use lsm::Lsm;
pub(super) use ordered_map::OrderedMap;

use crate::contract::{Direction, Entries, Write};
use crate::error::Error;

/// What the engine asks of an index.
pub(super) trait Index: Send + Sync + 'static {
    /// A key's value as of a position.
    fn get(&self, key: &[u8], at: Position) -> Result<Option<Bytes>, Error>;
    /// Keys in `start..end` as of a position.
    fn scan(&self, start: &[u8], end: &[u8], direction: Direction, at: Position) -> Entries<'_>;
    /// Takes writes of one group over, to be seen from `at` on; a later one of the same key wins. Called for rising
    /// positions; several threads may share one group if no two of them write the same key. No snapshot is older than
    /// `oldest`.
    fn apply(&self, at: Position, oldest: Position, writes: &mut dyn Iterator<Item = &Write>);
    /// Bytes taken since the last rotation.
    fn active_bytes(&self) -> u64;
    /// Closes the active part; what is applied from now on belongs to the next one.
    fn rotate(&self);
    /// Makes every closed part durable. No snapshot is older than `oldest`.
    ///
    /// Errors: `Full`: nothing is lost and a later try may succeed. Others: what the disk holds is not known.
    fn flush(&self, oldest: Position) -> Result<(), Error>;
    /// Rewrites a part of what is on disk, if that is worth it; whether it did.
    fn compact(&self, oldest: Position) -> Result<bool, Error>;
    /// Whether an older snapshot than the newest flushed position forbids to flush while a compaction runs.
    fn flush_apart(&self) -> bool;
}
