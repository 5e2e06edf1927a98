//! Queries: what one answer shows is one moment in the order of the stream, and not one from before it was asked.

use std::collections::BTreeMap;

use crate::check::Checked;
use crate::check::changes::writes;
use crate::check::shards::parsed;
use crate::check::timeline::{Timeline, timelines, window};
use crate::history::{History, Key, Violation, Whole};
use crate::spec::{self, Item};

type State = BTreeMap<Option<String>, Item>;

/// One change of a partition key's items: when its write was asked and answered, and what is there after it.
struct Step {
    invoked: u64,
    answered: u64,
    after: State,
}

pub(super) fn check(history: &History, checked: &mut Checked, found: &mut Vec<Violation>) {
    for stream in history.streams.values() {
        let Some(window) = window(history, stream).filter(|window| window.from_birth) else { continue };
        let timelines = timelines(stream, true);
        let mut steps: BTreeMap<&str, Option<Vec<Step>>> = BTreeMap::new();
        let inside = history
            .wholes
            .iter()
            .filter(|whole| whole.table == stream.table && whole.invoked > window.from && whole.answered < window.to);
        for whole in inside {
            let steps = steps.entry(&whole.pk).or_insert_with(|| ordered(history, &whole.pk, &timelines));
            let Some(steps) = steps else { continue };
            checked.wholes += 1;
            if let Err(text) = fits(whole, steps) {
                let key = Key { table: whole.table.clone(), pk: whole.pk.clone(), sk: None };
                let key = timelines.keys().find(|k| k.pk == key.pk).cloned().unwrap_or(key);
                found.push(Violation::at("an answer shows one moment", &key, text));
            }
        }
    }
}

/// The changes of one partition key in the order of their numbers; `None` when images are missing.
fn ordered(history: &History, pk: &str, timelines: &BTreeMap<Key, Timeline<'_>>) -> Option<Vec<Step>> {
    let writes = writes(history);
    let mut changes = Vec::new();
    for (key, timeline) in timelines.iter().filter(|(key, _)| key.pk == pk) {
        for (index, placed) in timeline.records.iter().enumerate() {
            let before = timeline.states.get(index)?.as_ref()?;
            let after = timeline.states.get(index + 1)?.as_ref()?;
            let author = spec::author(before, after).and_then(|id| writes.get(&id));
            let (invoked, answered) = author.map_or((0, u64::MAX), |event| (event.invoked, event.answered));
            changes.push((parsed(&placed.change.number)?, &key.sk, after, invoked, answered));
        }
    }
    changes.sort_by_key(|(number, ..)| *number);
    let mut state = State::new();
    let mut steps = vec![Step { invoked: 0, answered: 0, after: State::new() }];
    for (_, sk, after, invoked, answered) in changes {
        match after {
            Some(item) => state.insert(sk.clone(), item.clone()),
            None => state.remove(sk),
        };
        steps.push(Step { invoked, answered, after: state.clone() });
    }
    Some(steps)
}

fn fits(whole: &Whole, steps: &[Step]) -> Result<(), String> {
    let earliest = steps.iter().rposition(|step| step.answered < whole.invoked).unwrap_or(0);
    let latest = steps.iter().position(|step| step.invoked > whole.answered).unwrap_or(steps.len());
    let moments = steps.get(earliest..latest).unwrap_or_default();
    if moments.iter().any(|step| step.after == whole.items) {
        return Ok(());
    }
    let elsewhere = steps.iter().position(|step| step.after == whole.items);
    let Whole { table, pk, invoked, answered, items } = whole;
    Err(format!(
        "a query of {table}/{pk} at {invoked}..{answered} shows {items:?}: \
         not a moment of {earliest}..{latest} of {} (it is moment {elsewhere:?})",
        steps.len()
    ))
}
