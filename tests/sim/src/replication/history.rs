//! What was seen of replications.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use headwater_types::{SequenceNumber, ShardUid, StreamUid, TableId};
use serde_json::Value;

use crate::history::{Change, Violation};

/// A change as a target holds it.
#[derive(Clone, PartialEq, Debug)]
pub struct Replica {
    /// The change; its number is the record's in the target.
    pub change: Change,
    /// The table that it names.
    pub table: String,
    /// It says that the service made it.
    pub by_service: bool,
    /// What it says of its precision.
    pub precision: Option<String>,
    /// Old and new image as they are, where the workload writes other attributes than the checkers know.
    pub images: Option<(Value, Value)>,
}

/// A change in its place.
#[derive(Clone, PartialEq, Debug)]
pub struct Placed {
    /// The data stream.
    pub target: StreamUid,
    /// Its shard.
    pub shard: ShardUid,
    /// Its number there.
    pub number: SequenceNumber,
    /// The change.
    pub replica: Replica,
}

/// One time of a table's destination: from its enabling to its end.
#[derive(Clone, Default, Debug)]
pub struct Sending {
    /// The table's name.
    pub table: String,
    /// Which table of that name.
    pub id: Option<TableId>,
    /// The destination's incarnation, once anybody saw it.
    pub incarnation: Option<StreamUid>,
    /// The data stream's name.
    pub stream: String,
    /// The newest incarnation that there was before it.
    pub after: Option<StreamUid>,
    /// When it was asked for.
    pub asked: u64,
    /// When it was on for sure.
    pub known: Option<u64>,
    /// When its end was first asked for.
    pub off: Option<u64>,
    /// The precisions that were asked for, or none.
    pub precisions: BTreeSet<Option<String>>,
    /// What was found of it, in the order it was found.
    pub records: Vec<Placed>,
    /// The event ids of these.
    pub sent: BTreeSet<String>,
    /// Changes of the table that its positions have not passed, by shard and number: their event ids.
    pub waiting: BTreeMap<(ShardUid, SequenceNumber), String>,
    /// How far each shard of the table was looked at.
    pub scanned: BTreeMap<ShardUid, SequenceNumber>,
    /// It is on, as of the last look.
    pub is_on: bool,
    /// It is over, as of some look.
    pub is_over: bool,
    /// Changes of it were given up, or may have been.
    pub lost: bool,
    /// A target may have gone with records that nobody saw.
    pub unseen: bool,
    /// It was found to break a promise: what follows from that is not told.
    pub broken: bool,
}

impl fmt::Display for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, stream, incarnation, asked, known, off, is_on, is_over, lost, unseen, broken, .. } = self;
        write!(f, "of {table} to {stream} ({incarnation:?}): asked for at {asked}, on from {known:?} to {off:?}, ")?;
        write!(f, "{} changes, {} waiting; ", self.records.len(), self.waiting.len())?;
        write!(f, "on: {is_on}, over: {is_over}, lost: {lost}, unseen: {unseen}, broken: {broken}")
    }
}

/// Everything that was seen of replications in one run.
#[derive(Default)]
pub struct Seen {
    /// In the order of their enabling.
    pub sendings: Vec<Sending>,
    /// What was noticed at once.
    pub noticed: Vec<Violation>,
    /// How often something happened.
    pub counts: Counts,
}

/// How often something happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Destinations that were enabled.
    pub enabled: u64,
    /// Destinations that were disabled.
    pub disabled: u64,
    /// Precisions that were changed.
    pub updated: u64,
    /// Times of destinations that were judged as a whole.
    pub judged: u64,
    /// Those that were not: a target went with records that nobody saw.
    pub unseen: u64,
    /// Times that the table's own stream was switched on or off under a destination.
    pub switched: u64,
    /// Tables that were deleted under a destination.
    pub gone: u64,
    /// Destinations that gave changes up, or may have when they went with their table.
    pub given_up: u64,
    /// Changes that targets were found to hold.
    pub replicated: u64,
    /// Of these, of tables that clients read and write.
    pub traced: u64,
    /// Of these, of transactions and single updates of the ledger.
    pub transacted: u64,
    /// Of these, deletions of what had expired.
    pub expired: u64,
    /// Changes that were seen before they were sent.
    pub waited: u64,
    /// Targets made.
    pub targets: u64,
    /// Of these, under a name that another had.
    pub again: u64,
    /// Shards of targets that continue others.
    pub continued: u64,
    /// UpdateShardCount of targets that was done.
    pub reshards: u64,
    /// Times that a shard of a target took no more.
    pub throttled: u64,
    /// Nodes that went while changes were on their way.
    pub crashes: u64,
    /// Looks at what targets hold and positions say.
    pub looks: u64,
    /// Of these, the first after a node's start.
    pub starts: u64,
    /// Changes that a client read from the targets in the end.
    pub read: u64,
}

impl Counts {
    /// Adds another run's figures.
    pub fn add(&mut self, other: Self) {
        for (sum, (_, more)) in self.figures_mut().into_iter().zip(other.figures()) {
            *sum += more;
        }
    }

    /// All figures with their names.
    pub fn figures(mut self) -> Vec<(&'static str, u64)> {
        let figures = self.figures_mut();
        NAMES.into_iter().zip(figures.map(|figure| *figure)).collect()
    }

    fn figures_mut(&mut self) -> [&mut u64; NAMES.len()] {
        [
            &mut self.enabled,
            &mut self.disabled,
            &mut self.updated,
            &mut self.judged,
            &mut self.unseen,
            &mut self.switched,
            &mut self.gone,
            &mut self.given_up,
            &mut self.replicated,
            &mut self.traced,
            &mut self.transacted,
            &mut self.expired,
            &mut self.waited,
            &mut self.targets,
            &mut self.again,
            &mut self.continued,
            &mut self.reshards,
            &mut self.throttled,
            &mut self.crashes,
            &mut self.looks,
            &mut self.starts,
            &mut self.read,
        ]
    }
}

/// The figures' names, in order.
const NAMES: [&str; 22] = [
    "destinations enabled",
    "disabled",
    "precisions changed",
    "judged as a whole",
    UNSEEN,
    "streams switched meanwhile",
    GONE,
    GIVEN_UP,
    "changes replicated",
    "of clients",
    "of transactions",
    "of expired items",
    STRICT,
    "targets made",
    "made again",
    "their shards split and merged",
    "their reshards",
    "throttled",
    "nodes lost with changes on their way",
    "looks at positions and targets",
    "looks after a start",
    "changes read by a client",
];

const UNSEEN: &str = "not judged";
const GONE: &str = "tables deleted meanwhile";
const GIVEN_UP: &str = "given up";
/// Figures that may be zero: targets whose logs were trimmed before they were looked at once more; what takes a table that is
/// deleted, and with it its target, or 48 hours without one.
pub const RARE: [&str; 3] = [UNSEEN, GONE, GIVEN_UP];
/// A figure of looks that compare positions, where what a node shows is durable.
pub const STRICT: &str = "seen before they were sent";
