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
    /// Writes per second above which, for five seconds, a partition is split. Unit: system time; zero: never.
    pub split_writes_per_second: u64,
    /// A partition that holds more is split. Unit: bytes of items.
    pub partition_bytes_max: i64,
    /// Partitions of a table beyond which none is split by itself.
    pub open_shards_max: usize,
    /// After how long an open shard is replaced by one child, give or take a tenth. Unit: ms of store time.
    pub shard_life_ms: i64,
    /// Whether tasks trim, split and roll over in the background; without them only [`crate::Log::retain`],
    /// [`crate::Log::split`] and [`crate::Log::roll_over`] do.
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
    /// A write that leaves the item equal is a change all the same: its record says so.
    NoOpRecorded,
    /// A read shows a value that is not durable yet.
    PendingShown,
    /// Children are opened in one commit, their parent is closed in the next.
    ChildBeforeClose,
    /// Records are trimmed after half of the retention.
    TrimEarly,
    /// A merge closes its second parent in the commit after the one that opens the child.
    MergeHalfClosed,
    /// The records of one append are committed in two plans, one after the other.
    TornAppend,
    /// The records of one append all go to the shard of the first.
    FirstShardTakesAll,
    /// A longer retention shows again what a shorter one hid.
    RetentionRevives,
    /// A subscription that goes on after a number leaves the next record out.
    SubscriptionSkips,
    /// A subscription that goes on after a number begins with it.
    SubscriptionRepeats,
    /// The end of a merged shard names its child only if it is the child's first parent.
    ChildOfFirstParent,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            on_demand_partitions: limits::ON_DEMAND_PARTITIONS,
            short_states: Duration::ZERO,
            retention_ms: limits::STREAM_RETENTION_MS,
            split_writes_per_second: limits::PARTITION_WRITE_UNITS as u64,
            partition_bytes_max: limits::PARTITION_BYTES_MAX,
            open_shards_max: limits::OPEN_SHARDS_MAX,
            shard_life_ms: limits::SHARD_LIFE_MS,
            background: true,
            queue_bytes_max: limits::QUEUE_BYTES_MAX,
            group_bytes_max: limits::GROUP_BYTES_MAX,
            planted: None,
        }
    }
}
