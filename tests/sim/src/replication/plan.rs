//! What a seed decides about the replication of tables to data streams.

use crate::data_streams::plan::StreamPlan;
use crate::plan::Dice;

/// How the names of data streams begin that tables are replicated to; readers of data streams leave them alone.
pub const TARGETS: &str = "target-";

/// Whether the tables of this seed are replicated: one seed in four, as all that is written is then written twice.
pub fn replicates(seed: u64) -> bool {
    seed.is_multiple_of(4)
}

/// The replication of a run.
#[derive(Clone, Debug)]
pub struct ReplicationPlan {
    /// The data streams that tables are replicated to: nobody but movers puts into them.
    pub targets: Vec<StreamPlan>,
    /// Changes of each table's destination.
    pub changes: u64,
    /// The service's limits hold for the shards of targets.
    pub limited: bool,
}

impl ReplicationPlan {
    /// What the seed behind `dice` decides.
    pub fn draw(dice: &Dice) -> Self {
        Self {
            targets: (0..dice.between(1, 2)).map(|index| target(index, dice)).collect(),
            changes: dice.between(3, 8),
            limited: dice.percent(40),
        }
    }
}

fn target(index: u64, dice: &Dice) -> StreamPlan {
    StreamPlan {
        name: format!("{TARGETS}{index}"),
        shards: Some(dice.between(1, 3)),
        writers: 0,
        requests: 0,
        keys: 0,
        changes: dice.between(6, 14),
        // Deleted more often than other data streams, by whoever changes targets.
        deletes: false,
        consumers: 0,
    }
}
