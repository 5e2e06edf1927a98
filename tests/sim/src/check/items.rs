//! Items: one order of all operations explains every answer; a table is there when it is, and is not when it is not.

use crate::check::Checked;
use crate::history::{End, History, TableChange, Violation};
use crate::linearize::{self, Verdict};
use crate::spec::Action;

/// Steps of the search for one item; far beyond what a history of a few hundred operations takes.
const STEPS_MAX: usize = 4_000_000;

pub(super) fn check(history: &History, checked: &mut Checked, found: &mut Vec<Violation>) {
    for key in history.keys() {
        let calls = history.calls(key);
        checked.items += 1;
        checked.operations += calls.len() as u64;
        match linearize::check(&calls, STEPS_MAX) {
            Verdict::Linearizable => {}
            Verdict::Undecided => checked.undecided += 1,
            Verdict::Impossible { longest } => {
                let open = (0..calls.len()).filter(|call| !longest.contains(call) && calls[*call].answer.is_some());
                let first = open.min_by_key(|call| calls[*call].answered);
                let stuck = first.map(|call| format!("{:?}", calls[call]));
                let placed = longest.len();
                let text = format!(
                    "no order of the {} operations on {key} explains their answers; {placed} could be placed, then {}",
                    calls.len(),
                    stuck.unwrap_or_default()
                );
                found.push(Violation::at("operations on an item are strictly serialisable", key, text));
            }
        }
    }
    tables_exist_when_they_do(history, found);
}

/// Times in which a table surely exists, or surely does not: `(from, to, exists)`.
fn certain(history: &History, table: &str) -> Vec<(u64, u64, bool)> {
    let changes = |event: &&crate::history::TableEvent| {
        event.table == table && matches!(event.change, TableChange::Create | TableChange::Delete)
    };
    let events: Vec<_> = history.tables.iter().filter(changes).collect();
    let mut times = Vec::new();
    let mut exists = false;
    let mut from = 0;
    for event in events {
        times.push((from, event.invoked, exists));
        if event.done {
            exists = event.change == TableChange::Create;
        }
        from = event.known;
    }
    times.push((from, u64::MAX, exists));
    times
}

fn tables_exist_when_they_do(history: &History, found: &mut Vec<Violation>) {
    let tables: std::collections::BTreeSet<&str> = history.tables.iter().map(|event| event.table.as_str()).collect();
    for table in tables {
        let times = certain(history, table);
        for event in history.events.iter().filter(|event| event.key.table == table) {
            let within = |exists: bool| {
                times.iter().any(|(from, to, is)| *is == exists && *from <= event.invoked && event.answered <= *to)
            };
            let text = format!("{}..{} {:?} -> {:?}", event.invoked, event.answered, event.operation, event.end);
            match &event.end {
                End::NoTable if within(true) => {
                    found.push(Violation::at("a table that exists is found", &event.key, text));
                }
                End::Answered(_) if within(false) && event.operation.action != Action::Wipe => {
                    found.push(Violation::at("a table that does not exist answers nothing", &event.key, text));
                }
                _ => {}
            }
        }
    }
}
