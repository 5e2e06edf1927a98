//! What is printed: figures per mode, and a violation with the history around it.

use std::fmt::Write;
use std::time::Duration;

use crate::check::Checked;
use crate::cluster::Fared;
use crate::history::Directed;
use crate::plan::Mode;
use crate::replication::history::{RARE, STRICT};
use crate::run::Outcome;
use crate::structures::Compared;

/// Lines of an item's history that are shown.
const LINES_MAX: usize = 60;
/// Violations that are shown in full.
const SHOWN_MAX: usize = 6;

/// Sums over the seeds of one mode.
pub struct Total {
    mode: Mode,
    /// Seeds run.
    pub seeds: u64,
    /// Seeds run twice, for the same trace.
    pub repeated: u64,
    operations: u64,
    acknowledged: u64,
    steps: u64,
    trace: u64,
    fared: Fared,
    checked: Checked,
}

impl Total {
    /// Nothing yet.
    pub fn new(mode: Mode) -> Self {
        let (fared, checked) = (Fared::default(), Checked::default());
        Self { mode, seeds: 0, repeated: 0, operations: 0, acknowledged: 0, steps: 0, trace: 0, fared, checked }
    }

    /// Adds a seed.
    pub fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.operations += outcome.operations;
        self.acknowledged += outcome.acknowledged;
        self.steps += outcome.steps;
        self.trace = self.trace.rotate_left(1) ^ outcome.trace;
        self.fared.crashes += outcome.fared.crashes;
        self.fared.opened += outcome.fared.opened;
        self.fared.fenced += outcome.fared.fenced;
        self.fared.unknown += outcome.fared.unknown;
        self.fared.full += outcome.fared.full;
        self.fared.replayed += outcome.fared.replayed;
        self.fared.copied += outcome.fared.copied;
        self.checked.add(outcome.checked);
    }

    /// All lines. `took`: real time.
    pub fn lines(&self, took: Duration) -> String {
        let (line, seconds) = (self.line(), took.as_secs_f64());
        format!("{line} in {seconds:.1} s\n{}\n{}", self.data_line(), self.replication_line())
    }

    fn line(&self) -> String {
        let Self { seeds, repeated, operations, acknowledged, steps, trace, .. } = self;
        let Fared { crashes, fenced, unknown, full, opened, replayed, copied } = self.fared;
        let Checked { items, operations: ordered, undecided, records, traced, wholes, shards, .. } = self.checked;
        let Checked { transactions, looks, repeated: again, compared, expired, .. } = self.checked;
        let Checked { trimmed, directed, rolled_over, split, .. } = self.checked;
        let Checked { held: (held, outlived), own_splits, archived, .. } = self.checked;
        let Directed { jumps, freezes, trims, expiries, .. } = directed;
        let Compared { snapshots, entries, filling } = compared;
        format!(
            "{:<10} seeds {seeds} (run twice: {repeated}), steps {steps}, operations {operations}, acknowledged {acknowledged}; \
             crashes {crashes}, starts {opened}, fenced {fenced}, unknown {unknown}, full {full}, \
             groups replayed {replayed}, copied {copied}; \
             checked: items {items}, operations ordered {ordered}, undecided {undecided}, records {records}, \
             traced {traced}, shards {shards}, whole queries {wholes}; \
             transactions {transactions}, sent again {again}, looks {looks}; snapshots {snapshots}, entries {entries}, \
             indexes being filled {filling}, held {held}, outlived {outlived}; expired {expired}; \
             shards split {split}, by themselves {own_splits}, rolled over {rolled_over}, clock jumps {jumps}, \
             freezes {freezes}, records trimmed {trimmed}, trims by order {trims}, expiries of iterators {expiries}, \
             segments archived {archived}; trace {trace:016x}",
            self.mode.name(),
        )
    }

    /// A line about data streams.
    fn data_line(&self) -> String {
        let figures = self.checked.data.figures().into_iter().map(|(name, figure)| format!("{name} {figure}"));
        format!("{:<10} data streams: {}", self.mode.name(), figures.collect::<Vec<_>>().join(", "))
    }

    /// A line about replications.
    fn replication_line(&self) -> String {
        let figures = self.checked.replicated.figures().into_iter().map(|(name, figure)| format!("{name} {figure}"));
        format!("{:<10} replication: {}", self.mode.name(), figures.collect::<Vec<_>>().join(", "))
    }

    /// Figures that must not be zero after so many seeds: a simulation without faults or records proves nothing.
    pub fn empty(&self) -> Vec<&'static str> {
        let mut figures = vec![
            ("operations", self.operations),
            ("acknowledged", self.acknowledged),
            ("crashes", self.fared.crashes),
            ("records", self.checked.records),
            ("traced records", self.checked.traced),
            ("transactions", self.checked.transactions),
            ("requests sent again", self.checked.repeated),
            ("reads of transactions", self.checked.looks),
            ("entries in snapshots", self.checked.compared.entries),
            ("indexes being filled", self.checked.compared.filling),
            ("expired items", self.checked.expired),
            ("splits", self.checked.split),
            ("roll-overs", self.checked.rolled_over),
            ("clock jumps", self.checked.directed.jumps),
            ("splits of their own", self.checked.own_splits),
            ("held snapshots that were outlived", self.checked.held.1),
            ("expiries of iterators", self.checked.directed.expiries),
        ];
        let trimmed = |name: &str| self.mode == Mode::Relaxed && name == "records trimmed";
        figures.extend(self.checked.data.figures().into_iter().filter(|(name, _)| !trimmed(name)));
        let may_be_zero = |name: &str| RARE.contains(&name) || self.mode == Mode::Relaxed && name == STRICT;
        figures.extend(self.checked.replicated.figures().into_iter().filter(|(name, _)| !may_be_zero(name)));
        if self.mode != Mode::Relaxed {
            figures.push(("trimmed records", self.checked.trimmed));
            figures.push(("trims by order", self.checked.directed.trims));
            figures.push(("frozen clocks", self.checked.directed.freezes));
            figures.push(("whole queries", self.checked.wholes));
        }
        if self.mode == Mode::TwoNodes {
            figures.push(("fenced", self.fared.fenced));
            figures.push(("unknown", self.fared.unknown));
        }
        if self.mode == Mode::Embedded {
            figures.push(("groups replayed", self.fared.replayed));
            figures.push(("groups copied", self.fared.copied));
            figures.push(("archived segments", self.checked.archived));
        }
        // Where half of an item's answers are lost the search may give up; two items in a hundred are too many.
        figures.push(("settled orders", u64::from(self.checked.undecided * 50 <= self.checked.items)));
        figures.into_iter().filter(|(_, figure)| *figure == 0).map(|(name, _)| name).collect()
    }
}

/// A seed's violations, with the history of what they are about.
pub fn violations(outcome: &Outcome) -> String {
    let mut text = String::new();
    let Outcome { seed, mode, violations, history, .. } = outcome;
    let _ = writeln!(text, "seed {seed} in mode {} breaks {} promises:", mode.name(), violations.len());
    for violation in violations.iter().take(SHOWN_MAX) {
        let _ = writeln!(text, "- {}: {}", violation.check, violation.text);
    }
    let mut shown = Vec::new();
    for key in violations.iter().filter_map(|violation| violation.about.as_ref()).take(SHOWN_MAX) {
        if shown.len() < 2 && !shown.contains(&key) {
            text.push_str(&history.excerpt(key, LINES_MAX));
            shown.push(key);
        }
    }
    for sending in &history.replication.sendings {
        let _ = writeln!(text, "replication {sending}");
    }
    let _ = writeln!(text, "requests: {:?}", history.requests);
    let _ = writeln!(text, "again: headwater-sim --mode {} --start {seed} --seeds 1", mode.name());
    text
}
