//! Which faults strike, how often, and how often they did.

use std::time::Duration;

use headwater_types::Runtime;

/// A place in a group's way at which a node can stop for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Step {
    /// Handed in, nothing done.
    Taken,
    /// Numbered and written, not durable. (On a shared cell: sent to the database, not committed.)
    Written,
    /// Durable, not published. (On a shared cell the same as published.)
    Durable,
    /// Published, not answered.
    Published,
}

impl Step {
    /// Every step in order.
    pub const ALL: [Self; 4] = [Self::Taken, Self::Written, Self::Durable, Self::Published];
}

/// Rates of faults. Unit: strikes per 10,000 chances; all draws come from the node's runtime.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Stops the node at a step; one chance per step of a group.
    pub crash: u32,
    /// Stops the node at this step of the group with this number (from one, counted per node).
    pub crash_at: Option<(Step, u64)>,
    /// Waits before a step; one chance per step.
    pub slow: u32,
    /// Longest wait of a slow step.
    pub slow_max: Duration,
    /// Refuses a batch: no space.
    pub full: u32,
    /// Loses a batch's answer: done, not done, or done later unless asked for first.
    pub unknown: u32,
    /// Makes `resolve` fail once.
    pub resolve_unavailable: u32,
    /// Another writer moves one of a batch's partition heads first, changing nothing else (shared cells only).
    pub conflicting: u32,
    /// A sync fails: the node closes itself, and what was not durable is lost at the next start (own cells only).
    pub sync_failed: u32,
}

impl Faults {
    /// None at all.
    pub const NONE: Self = Self {
        crash: 0,
        crash_at: None,
        slow: 0,
        slow_max: Duration::ZERO,
        full: 0,
        unknown: 0,
        resolve_unavailable: 0,
        conflicting: 0,
        sync_failed: 0,
    };
}

/// How often each fault struck.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Nodes stopped at a step.
    pub crashes: u64,
    /// Plans fenced, whatever the reason.
    pub fenced: u64,
    /// Answers lost.
    pub unknown: u64,
    /// Of these, the ones whose batch committed all the same.
    pub unknown_committed: u64,
    /// Batches refused for space.
    pub full: u64,
    /// Heads moved by the conflicting writer.
    pub conflicting: u64,
    /// Failed syncs.
    pub sync_failed: u64,
    /// Groups taken back at a start because they were not durable.
    pub groups_lost: u64,
}

/// Whether a fault of this rate strikes now. Draws only when it may, so that a rate of zero costs no randomness.
pub(super) fn strikes(runtime: &Runtime, rate: u32) -> bool {
    rate > 0 && runtime.random() % 10_000 < u64::from(rate)
}
