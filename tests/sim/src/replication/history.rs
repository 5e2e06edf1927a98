//! What was seen of replications.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use headwater_types::{SequenceNumber, ShardUid, StreamUid, TableId};
use serde_json::Value;

use crate::figures::figures;
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

figures! {
    /// How often something happened.
    pub struct Counts {
        /// Destinations that were enabled.
        enabled: "destinations enabled",
        /// Destinations that were disabled.
        disabled: "disabled",
        /// Precisions that were changed.
        updated: "precisions changed",
        /// Times of destinations that were judged as a whole.
        judged: "judged as a whole",
        /// Those that were not: a target went with records that nobody saw.
        unseen: UNSEEN,
        /// Times that the table's own stream was switched on or off under a destination.
        switched: "streams switched meanwhile",
        /// Tables that were deleted under a destination.
        gone: GONE,
        /// Destinations that gave changes up, or may have when they went with their table.
        given_up: GIVEN_UP,
        /// Changes that targets were found to hold.
        replicated: "changes replicated",
        /// Of these, of tables that clients read and write.
        traced: "of clients",
        /// Of these, of transactions and single updates of the ledger.
        transacted: "of transactions",
        /// Of these, deletions of what had expired.
        expired: "of expired items",
        /// Changes that were seen before they were sent.
        waited: STRICT,
        /// Targets made.
        targets: "targets made",
        /// Of these, under a name that another had.
        again: "made again",
        /// Shards of targets that continue others.
        continued: "their shards split and merged",
        /// UpdateShardCount of targets that was done.
        reshards: "their reshards",
        /// Times that a shard of a target took no more.
        throttled: "throttled",
        /// Nodes that went while changes were on their way.
        crashes: "nodes lost with changes on their way",
        /// Looks at what targets hold and positions say.
        looks: "looks at positions and targets",
        /// Of these, the first after a node's start.
        starts: "looks after a start",
        /// Changes that a client read from the targets in the end.
        read: "changes read by a client",
    }
}

const UNSEEN: &str = "not judged";
const GONE: &str = "tables deleted meanwhile";
const GIVEN_UP: &str = "given up";
/// Figures that may be zero: targets whose logs were trimmed before they were looked at once more; what takes a table that is
/// deleted, and with it its target, or 48 hours without one.
pub const RARE: [&str; 3] = [UNSEEN, GONE, GIVEN_UP];
/// A figure of looks that compare positions, where what a node shows is durable.
pub const STRICT: &str = "seen before they were sent";
