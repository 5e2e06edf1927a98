//! Planted bugs: each breaks one promise in the production code, and the checkers have to find it.

use std::process::ExitCode;

use headwater_delivery::Settings as JobSettings;
use headwater_log::Settings;
use headwater_storage::embedded as storage;

use crate::data_streams::check as data;
use crate::plan::{Mode, Plan};
use crate::replication::check as replication;
use crate::run::run;

/// A bug to switch on; the code for it is there only with the feature `planted-bugs`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// The log draws numbers before the commit: readers at the tail miss records.
    NumberBeforeCommit,
    /// The engine answers after the write: a crash takes answers back.
    AckBeforeSync,
    /// The engine leaves out the sync.
    NoSync,
    /// An item in one group, its record in the next: a crash parts them.
    RecordApartFromItem,
    /// The index closes a part between two halves of a group: a flush keeps one of them.
    RotateInsideGroup,
    /// What a Query read stays in memory though an item of it was written since.
    RangeKept,
    /// A transaction is committed as one plan per item.
    TornTransaction,
    /// A token is committed after what was done under it.
    TokenApart,
    /// The old entry of a changed item stays in its index.
    EntryForgotten,
    /// A backfill writes the entry of the item that it scanned, not of the item as it is.
    BackfillStale,
    /// What had expired when it was looked for is deleted without another look.
    TtlBlind,
    /// A backfill commits its cursor before the entries that it stands for.
    CursorApart,
    /// A write that leaves the item equal has a record.
    NoOpRecorded,
    /// A read shows what is not durable yet.
    PendingShown,
    /// Children are there before their parent is closed.
    ChildBeforeClose,
    /// Records go after half of the retention.
    TrimEarly,
    /// A data stream's merged shard is there before its second parent is closed.
    MergeHalfClosed,
    /// Half of PutRecords is committed apart from the other half.
    TornPutRecords,
    /// PutRecords puts all into the shard of the first.
    WrongShard,
    /// A longer retention shows again what a shorter one hid.
    RetentionRevives,
    /// A subscription goes on one record late.
    SubscriptionSkips,
    /// A subscription goes on one record early.
    SubscriptionRepeats,
    /// A merged shard's end names its child only if it is the first parent.
    ChildOfFirstParent,
    /// A replication commits its position before the records that it stands for.
    PositionApart,
}

impl Bug {
    /// Every bug.
    pub const ALL: [Self; 24] = [
        Self::NumberBeforeCommit,
        Self::AckBeforeSync,
        Self::NoSync,
        Self::RecordApartFromItem,
        Self::RotateInsideGroup,
        Self::RangeKept,
        Self::TornTransaction,
        Self::TokenApart,
        Self::EntryForgotten,
        Self::BackfillStale,
        Self::TtlBlind,
        Self::CursorApart,
        Self::NoOpRecorded,
        Self::PendingShown,
        Self::ChildBeforeClose,
        Self::TrimEarly,
        Self::MergeHalfClosed,
        Self::TornPutRecords,
        Self::WrongShard,
        Self::RetentionRevives,
        Self::SubscriptionSkips,
        Self::SubscriptionRepeats,
        Self::ChildOfFirstParent,
        Self::PositionApart,
    ];

    /// Where it can show itself.
    pub fn mode(self) -> Mode {
        match self.in_storage() {
            Some(_) => Mode::Embedded,
            None => Mode::Memory,
        }
    }

    /// What it is to the engine.
    pub fn in_storage(self) -> Option<storage::Planted> {
        match self {
            Self::AckBeforeSync => Some(storage::Planted::AckBeforeSync),
            Self::NoSync => Some(storage::Planted::NoSync),
            Self::RecordApartFromItem => Some(storage::Planted::RecordApartFromItem),
            Self::RotateInsideGroup => Some(storage::Planted::RotateInsideGroup),
            Self::RangeKept => Some(storage::Planted::RangeKept),
            _ => None,
        }
    }

    /// Promises of which one must be found broken: the bug's own harm, not a side effect of how it is planted.
    pub fn breaks(self) -> &'static [&'static str] {
        const SERIAL: &str = "operations on an item are strictly serialisable";
        const TAIL: &str = "a reader at the tail misses nothing and nothing it saw disappears";
        const ONCE: &str = "each committed change has exactly one record";
        const FOLD: &str = "the table is the fold of its stream";
        match self {
            Self::NumberBeforeCommit => &[TAIL],
            Self::AckBeforeSync | Self::NoSync => &[SERIAL, TAIL, ONCE],
            Self::RecordApartFromItem => &[ONCE, FOLD],
            Self::RotateInsideGroup => &[SERIAL, ONCE, FOLD],
            Self::RangeKept => &[SERIAL],
            Self::TornTransaction => {
                &["a transaction is whole", "transactions and single operations are strictly serialisable"]
            }
            Self::TokenApart => &["a request is done once under its token"],
            Self::EntryForgotten | Self::BackfillStale => {
                &["what a snapshot holds beside the items follows from the items"]
            }
            Self::TtlBlind => &["the service deletes what has expired and nothing else"],
            Self::CursorApart => &["what a snapshot holds beside the items follows from the items"],
            Self::NoOpRecorded => &["an item's records follow one another without a break", ONCE],
            Self::PendingShown => &[SERIAL],
            Self::ChildBeforeClose => &[
                "no child is shown before its parent's end",
                "a shard that was shown stays",
                "parents come before their children",
            ],
            Self::TrimEarly => &["nothing is trimmed early", "nothing ends before its time", TAIL],
            Self::MergeHalfClosed => &[data::LINEAGE],
            Self::TornPutRecords => &[data::WHOLE],
            Self::WrongShard => &[data::PLACE],
            Self::RetentionRevives => &[data::LATE],
            Self::SubscriptionSkips | Self::SubscriptionRepeats => &[data::PUSHED],
            Self::ChildOfFirstParent => &[data::CHILDREN],
            Self::PositionApart => &[replication::EXACT, replication::ONCE],
        }
    }
}

/// Settings of a node's log.
pub fn log_settings(bug: Option<Bug>, plan: &Plan) -> Settings {
    let planted = match bug {
        Some(Bug::NumberBeforeCommit) => Some(headwater_log::PlantedBug::NumberBeforeCommit),
        Some(Bug::TornTransaction) => Some(headwater_log::PlantedBug::TornTransaction),
        Some(Bug::TokenApart) => Some(headwater_log::PlantedBug::TokenApart),
        Some(Bug::EntryForgotten) => Some(headwater_log::PlantedBug::EntryForgotten),
        Some(Bug::NoOpRecorded) => Some(headwater_log::PlantedBug::NoOpRecorded),
        Some(Bug::PendingShown) => Some(headwater_log::PlantedBug::PendingShown),
        Some(Bug::ChildBeforeClose) => Some(headwater_log::PlantedBug::ChildBeforeClose),
        Some(Bug::TrimEarly) => Some(headwater_log::PlantedBug::TrimEarly),
        Some(Bug::MergeHalfClosed) => Some(headwater_log::PlantedBug::MergeHalfClosed),
        Some(Bug::TornPutRecords) => Some(headwater_log::PlantedBug::TornAppend),
        Some(Bug::WrongShard) => Some(headwater_log::PlantedBug::FirstShardTakesAll),
        Some(Bug::RetentionRevives) => Some(headwater_log::PlantedBug::RetentionRevives),
        Some(Bug::SubscriptionSkips) => Some(headwater_log::PlantedBug::SubscriptionSkips),
        Some(Bug::SubscriptionRepeats) => Some(headwater_log::PlantedBug::SubscriptionRepeats),
        Some(Bug::ChildOfFirstParent) => Some(headwater_log::PlantedBug::ChildOfFirstParent),
        Some(_) | None => None,
    };
    Settings {
        on_demand_partitions: plan.partitions,
        split_writes_per_second: plan.split_writes,
        partition_bytes_max: plan.partition_bytes,
        open_shards_max: 12,
        planted,
        ..Settings::default()
    }
}

/// Settings of a node's jobs: small steps, so that crashes meet them in the middle.
pub fn job_settings(bug: Option<Bug>) -> JobSettings {
    let planted = match bug {
        Some(Bug::BackfillStale) => Some(headwater_table::planted::PlantedBug::BackfillStale),
        Some(Bug::TtlBlind) => Some(headwater_table::planted::PlantedBug::TtlBlind),
        // One switch for all that a job's cursor may be apart from.
        Some(Bug::CursorApart | Bug::PositionApart) => Some(headwater_table::planted::PlantedBug::CursorApart),
        Some(_) | None => None,
    };
    // What one lost step leaves out is soon written again by the clients: this bug needs a step that covers a table.
    let rows_per_step = if bug == Some(Bug::CursorApart) { 64 } else { 2 };
    JobSettings { rows_per_step, rows_per_second: 400, planted, ..JobSettings::default() }
}

/// Looks for each bug, or for the one that is named, in at most `seeds_max` seeds; a bug that is not found is a failure.
pub fn hunt(seeds_max: u64, only: Option<&str>) -> ExitCode {
    if !cfg!(feature = "planted-bugs") {
        println!("built without the feature planted-bugs: there is nothing to find");
        return ExitCode::FAILURE;
    }
    let mut code = ExitCode::SUCCESS;
    // A bug may end in a panic: what it says is printed once, by this function.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let bugs: Vec<Bug> =
        Bug::ALL.into_iter().filter(|bug| only.is_none_or(|name| name == format!("{bug:?}"))).collect();
    if bugs.is_empty() {
        println!("there is no such bug: {only:?}");
        return ExitCode::FAILURE;
    }
    for bug in bugs {
        let mode = bug.mode().name();
        let found = (1..=seeds_max).find_map(|seed| {
            let outcome = run(seed, bug.mode(), Some(bug));
            let own = outcome.violations.iter().find(|violation| bug.breaks().contains(&violation.check)).cloned();
            own.map(|violation| (seed, violation))
        });
        match found {
            Some((seed, violation)) => {
                let text: String = violation.text.chars().take(200).collect();
                println!("{bug:?}: found by seed {seed} in mode {mode}: {}: {text}", violation.check);
            }
            None => {
                println!("{bug:?}: NOT found in {seeds_max} seeds of mode {mode}");
                code = ExitCode::FAILURE;
            }
        }
    }
    std::panic::set_hook(hook);
    code
}
