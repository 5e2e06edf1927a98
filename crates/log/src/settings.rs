//! What can be set of the log.

use std::time::Duration;

use headwater_types::limits;

/// Settings of a node's log.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Partitions of a new on-demand table.
    pub on_demand_partitions: usize,
    /// How long CREATING, UPDATING, DELETING, ENABLING and DISABLING are shown, in system time. Zero: a change of
    /// definitions is final in its one commit and those states are never seen.
    pub short_states: Duration,
    /// How long records and closed shards are kept. Unit: ms of store time.
    pub retention_ms: i64,
    /// Whether a task trims in the background; without it only [`crate::Log::retain`] does.
    pub background: bool,
    /// Bytes of plans that may wait for their commit.
    pub queue_bytes_max: usize,
    /// Bytes after which a group is closed.
    pub group_bytes_max: usize,
    /// A bug to switch on; needs the feature `planted-bugs`.
    pub planted: Option<PlantedBug>,
}

/// Bugs that the checkers must find.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlantedBug {
    /// Numbers are drawn before the commit: a tailing reader misses records whose commit was overtaken.
    NumberBeforeCommit,
    /// A command is committed as one plan per key, one after the other: a reader, a crash or another node finds half of it.
    TornTransaction,
    /// An idempotency token is committed in a batch of its own, after what was done under it: whoever asks again after a
    /// crash, or because the client hung up in between, does it twice.
    TokenApart,
    /// The old entry of a changed item stays in its index.
    EntryForgotten,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            on_demand_partitions: limits::ON_DEMAND_PARTITIONS,
            short_states: Duration::ZERO,
            retention_ms: limits::STREAM_RETENTION_MS,
            background: true,
            queue_bytes_max: limits::QUEUE_BYTES_MAX,
            group_bytes_max: limits::GROUP_BYTES_MAX,
            planted: None,
        }
    }
}
