//! The checkers: each takes the history of one run and names every promise it finds broken.

pub(crate) mod changes;
mod items;
mod ledger;
mod shards;
#[cfg(test)]
mod tests;
pub(crate) mod timeline;
mod trimming;
mod wholes;

use crate::data_streams::history::Counts;
use crate::history::{Directed, History, Violation};
use crate::replication::history::Counts as Replicated;
use crate::structures::Compared;
use crate::{data_streams, replication};

/// Of what clients notice themselves, what must not be even where a crash takes answers back.
const RELAXED_TOO: [&str; 10] = [
    "a snapshot that is held does not change",
    "an order to expire iterators holds",
    "a run meets enough",
    "every request is answered",
    "no child is shown before its parent's end",
    "AT_SEQUENCE_NUMBER gives that record first",
    "a record is as its view says",
    "a reader at the end has everything",
    "what a snapshot holds beside the items follows from the items",
    "the service deletes what has expired and nothing else",
];

/// How much was checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Checked {
    /// Items whose operations were put into an order.
    pub items: u64,
    /// Operations in them.
    pub operations: u64,
    /// Items for which the search was given up.
    pub undecided: u64,
    /// Stream records.
    pub records: u64,
    /// Records traced back to the write that made them.
    pub traced: u64,
    /// Queries found whole in the order of the stream.
    pub wholes: u64,
    /// Shards.
    pub shards: u64,
    /// Transactions of several items.
    pub transactions: u64,
    /// Reads of what they wrote.
    pub looks: u64,
    /// Requests sent again under their token.
    pub repeated: u64,
    /// What was compared in snapshots.
    pub compared: Compared,
    /// Items that the service deleted because they had expired.
    pub expired: u64,
    /// Records that were trimmed in time.
    pub trimmed: u64,
    /// Snapshots that were held and asked again; of these, behind which the node had gone on.
    pub held: (u64, u64),
    /// Partitions that nodes split by themselves.
    pub own_splits: u64,
    /// Segments that nodes rewrote into archive runs.
    pub archived: u64,
    /// What happened to shards and the clock because the run wanted it.
    pub directed: Directed,
    /// Shards that were rolled over, by whomever.
    pub rolled_over: u64,
    /// Shards that were split, by whomever.
    pub split: u64,
    /// Data streams.
    pub data: Counts,
    /// Tables that were replicated to data streams.
    pub replicated: Replicated,
}

impl Checked {
    /// Adds another run's figures.
    pub fn add(&mut self, other: Self) {
        self.items += other.items;
        self.operations += other.operations;
        self.undecided += other.undecided;
        self.records += other.records;
        self.traced += other.traced;
        self.wholes += other.wholes;
        self.shards += other.shards;
        self.transactions += other.transactions;
        self.looks += other.looks;
        self.repeated += other.repeated;
        self.compared.add(other.compared);
        self.expired += other.expired;
        self.trimmed += other.trimmed;
        self.directed.splits += other.directed.splits;
        self.directed.roll_overs += other.directed.roll_overs;
        self.directed.jumps += other.directed.jumps;
        self.directed.freezes += other.directed.freezes;
        self.directed.trims += other.directed.trims;
        self.directed.expiries += other.directed.expiries;
        self.held = (self.held.0 + other.held.0, self.held.1 + other.held.1);
        self.own_splits += other.own_splits;
        self.archived += other.archived;
        self.rolled_over += other.rolled_over;
        self.split += other.split;
        self.data.add(other.data);
        self.replicated.add(other.replicated);
    }
}

/// Runs every checker.
pub fn all(history: &History) -> (Checked, Vec<Violation>) {
    let (compared, expired, directed) = (history.compared, history.expired, history.directed);
    let mut checked = Checked { compared, expired, directed, ..Checked::default() };
    checked.held = (history.held, history.outlived);
    checked.own_splits = history.lives.values().map(|life| life.splits).sum();
    checked.archived = history.lives.values().map(|life| life.archived).sum();
    let mut found = history.noticed.clone();
    if history.relaxed {
        found.retain(|violation| RELAXED_TOO.contains(&violation.check));
    } else {
        items::check(history, &mut checked, &mut found);
        wholes::check(history, &mut checked, &mut found);
    }
    found.extend(history.data.noticed.iter().cloned());
    checked.data = data_streams::check::all(&history.data, &mut found);
    checked.replicated = replication::check::all(history, &mut found);
    ledger::check(history, &mut checked, &mut found);
    shards::check(history, &mut checked, &mut found);
    trimming::check(history, &mut checked, &mut found);
    changes::check(history, &mut checked, &mut found);
    (checked, found)
}
