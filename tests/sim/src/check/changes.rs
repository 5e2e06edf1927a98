//! Records: each committed change has exactly one, in order, and the table is the fold of its stream.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::Checked;
use crate::check::timeline::{Timeline, Window, timelines, window};
use crate::history::{ChangeKind, End, Event, History, Key, LateRead, StreamRead, Violation};
use crate::spec::{self, Action, Answer, Item};

const ORDER: &str = "an item's records follow one another without a break";
const ONCE: &str = "each committed change has exactly one record";
const FOLD: &str = "the table is the fold of its stream";

/// Writes by their number.
pub(super) fn writes(history: &History) -> BTreeMap<u64, &Event> {
    let writes = history.events.iter().filter(|event| event.operation.id != 0);
    writes.map(|event| (event.operation.id, event)).collect()
}

pub(super) fn check(history: &History, checked: &mut Checked, found: &mut Vec<Violation>) {
    let writes = writes(history);
    let mut authors: BTreeSet<u64> = BTreeSet::new();
    for stream in history.streams.values() {
        let window = window(history, stream);
        let timelines = timelines(stream, window.is_some_and(|window| window.from_birth));
        for late in history.late.iter().filter(|late| late.arn == stream.arn) {
            from_newest(late, stream, &timelines, &writes, found);
        }
        checked.traced += judge(history, stream, window, &timelines, &writes, &mut authors, found);
    }
}

/// A stream that is no table's own, on in a time of its own: the same of its records. How many were traced.
pub(crate) fn of_stream(
    history: &History,
    stream: &StreamRead,
    window: Option<Window>,
    authors: &mut BTreeSet<u64>,
    found: &mut Vec<Violation>,
) -> u64 {
    judge(history, stream, window, &timelines(stream, false), &writes(history), authors, found)
}

fn judge(
    history: &History,
    stream: &StreamRead,
    window: Option<Window>,
    timelines: &BTreeMap<Key, Timeline<'_>>,
    writes: &BTreeMap<u64, &Event>,
    authors: &mut BTreeSet<u64>,
    found: &mut Vec<Violation>,
) -> u64 {
    let mut traced = 0;
    for (key, timeline) in timelines {
        for text in &timeline.breaks {
            found.push(Violation::at(ORDER, key, format!("{}: {text}", stream.arn)));
        }
        for id in trace(key, timeline, writes, found) {
            traced += 1;
            if !authors.insert(id) {
                found.push(Violation::at(ONCE, key, format!("write #{id} has two records")));
            }
        }
        removals(history, key, timeline, found);
    }
    if let Some(window) = window {
        if !history.relaxed {
            nothing_missing(history, stream, window, timelines, found);
        }
        fold(history, stream, window, timelines, found);
    }
    traced
}

/// Traces records back to their writes: the write explains the step, its answer fits, and real time is kept.
fn trace(key: &Key, timeline: &Timeline<'_>, writes: &BTreeMap<u64, &Event>, found: &mut Vec<Violation>) -> Vec<u64> {
    let mut traced = Vec::new();
    let mut newest_call = 0;
    for (index, placed) in timeline.records.iter().enumerate() {
        let (Some(Some(before)), Some(Some(after))) = (timeline.states.get(index), timeline.states.get(index + 1))
        else {
            continue;
        };
        if after.is_none() {
            continue;
        }
        let number = &placed.change.number;
        let Some(event) = spec::author(before, after).and_then(|id| writes.get(&id)) else {
            let text = format!("no write explains {number}: {before:?} to {after:?}");
            found.push(Violation::at(ONCE, key, text));
            continue;
        };
        let (expected, answer) = spec::apply(before, &event.operation);
        let answered = match &event.end {
            End::Answered(seen) => *seen == answer,
            End::NoTable => false,
            End::Lost => true,
        };
        if event.key != *key || expected != *after || !answered {
            let Event { operation, end, .. } = event;
            let text = format!("{number} goes from {before:?} to {after:?}, its write is {operation:?} -> {end:?}");
            found.push(Violation::at("a record is what its write did and was answered", key, text));
        }
        if event.answered < newest_call {
            let text =
                format!("{number}: its write #{} was answered before an earlier record's began", event.operation.id);
            found.push(Violation::at("an item's records are in the order of its writes", key, text));
        }
        newest_call = newest_call.max(event.invoked);
        traced.push(event.operation.id);
    }
    traced
}

/// A reader from the newest record on sees all that was asked for after its iterator was given, and nothing that was
/// answered before it was asked for.
fn from_newest(
    late: &LateRead,
    stream: &StreamRead,
    timelines: &BTreeMap<Key, Timeline<'_>>,
    writes: &BTreeMap<u64, &Event>,
    found: &mut Vec<Violation>,
) {
    let Some(place) = stream.shards.iter().position(|shard| shard.id == late.shard) else { return };
    let shard = &stream.shards[place];
    let first = late.records.first().and_then(|first| shard.records.iter().position(|record| record == first));
    let start = match (first, &late.next) {
        (Some(start), _) => start,
        // It read a closed shard to the end and saw nothing.
        (None, None) if late.records.is_empty() => shard.records.len(),
        (None, Some(_)) if late.records.is_empty() => return,
        (None, _) => usize::MAX,
    };
    let mut add = |text: String| {
        let text = format!("{} {} from {}..{}: {text}", late.arn, late.shard, late.invoked, late.answered);
        found.push(Violation::new("LATEST starts at the newest record", text));
    };
    let seen = shard.records.get(start..start.saturating_add(late.records.len()));
    if seen != Some(&late.records[..]) || late.next.is_none() && start + late.records.len() != shard.records.len() {
        return add(format!("{} records from place {start} are not what is there", late.records.len()));
    }
    let mut call_of: BTreeMap<&str, &Event> = BTreeMap::new();
    for timeline in timelines.values() {
        for (placed, states) in timeline.records.iter().zip(timeline.states.windows(2)) {
            // A number is one shard's own: another shard may give the same.
            if placed.shard == place
                && let [Some(before), Some(after)] = states
                && let Some(event) = spec::author(before, after).and_then(|id| writes.get(&id))
            {
                call_of.insert(&placed.change.number, event);
            }
        }
    }
    for (index, record) in shard.records.iter().enumerate() {
        let Some(event) = call_of.get(record.number.as_str()) else { continue };
        if index < start && event.invoked > late.answered {
            add(format!("{} is newer and was left out", record.number));
        }
        if (start..start + late.records.len()).contains(&index) && event.answered < late.invoked {
            add(format!("{} is older and was shown", record.number));
        }
    }
}

/// Removals cannot be traced by what they leave; they are counted against the deletions that were asked for.
fn removals(history: &History, key: &Key, timeline: &Timeline<'_>, found: &mut Vec<Violation>) {
    let removed = timeline.records.iter().filter(|placed| placed.change.kind == ChangeKind::Remove).count();
    let asked = history.events.iter().filter(|event| {
        let refused = matches!(event.end, End::NoTable | End::Answered(Answer::Refused(_)));
        event.key == *key && event.operation.action == Action::Delete && !refused
    });
    let asked = asked.count();
    if removed > asked {
        found.push(Violation::at(ONCE, key, format!("{removed} REMOVE records, {asked} deletions")));
    }
}

/// Whether an answered operation changed its item for sure, and what a deletion removed.
fn effect(event: &Event) -> Option<Option<&Item>> {
    let End::Answered(Answer::Done(given)) = &event.end else { return None };
    match event.operation.action {
        Action::Put | Action::Set | Action::Count | Action::Mark | Action::Unmark => Some(None),
        Action::Delete => given.as_ref()?.as_ref().map(Some),
        Action::Read | Action::Touch | Action::Wipe => None,
    }
}

/// Every change that was surely made while the stream was surely on has its record.
fn nothing_missing(
    history: &History,
    stream: &StreamRead,
    window: Window,
    timelines: &BTreeMap<Key, Timeline<'_>>,
    found: &mut Vec<Violation>,
) {
    let mut surely: BTreeMap<&Key, usize> = BTreeMap::new();
    let inside = history
        .events
        .iter()
        .filter(|event| event.key.table == stream.table && event.invoked > window.from && event.answered < window.to);
    for event in inside {
        let Some(removed) = effect(event) else { continue };
        *surely.entry(&event.key).or_default() += 1;
        let Some(timeline) = timelines.get(&event.key) else { continue };
        let told = timeline.states.iter().all(Option::is_some);
        let has_record = timeline.states.windows(2).any(|states| match (states, removed) {
            ([Some(before), Some(None)], Some(item)) => before.as_ref() == Some(item),
            ([Some(before), Some(after)], None) => spec::author(before, after) == Some(event.operation.id),
            _ => false,
        });
        if told && !has_record {
            let text = format!("{:?} at {} has no record in {}", event.operation, event.invoked, stream.arn);
            found.push(Violation::at(ONCE, &event.key, text));
        }
    }
    for (key, changes) in surely {
        let records = timelines.get(key).map_or(0, |timeline| timeline.records.len());
        if records < changes {
            let text = format!("{changes} changes for sure, {records} records in {}", stream.arn);
            found.push(Violation::at(ONCE, key, text));
        }
    }
}

fn fold(
    history: &History,
    stream: &StreamRead,
    window: Window,
    timelines: &BTreeMap<Key, Timeline<'_>>,
    found: &mut Vec<Violation>,
) {
    let Some(items) = history.items.get(&stream.table).filter(|_| stream.enabled) else { return };
    for (key, timeline) in timelines {
        let last = timeline.states.last().cloned().flatten();
        let item = items.get(key).cloned();
        if last.as_ref().is_some_and(|last| *last != item) {
            let text = format!("the stream ends with {last:?}, the table holds {item:?}");
            found.push(Violation::at(FOLD, key, text));
        }
    }
    if window.from_birth {
        for (key, item) in items.iter().filter(|(key, _)| !timelines.contains_key(*key)) {
            let text = format!("{} says nothing of {item:?}", stream.arn);
            found.push(Violation::at(FOLD, key, text));
        }
    }
}
