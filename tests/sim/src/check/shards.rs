//! Shards and their logs: numbers, lineage, and that what a reader at the tail saw is what is there.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::Checked;
use crate::history::{Change, History, ShardRead, StreamRead, Violation};
use crate::reader::{KEPT_MS, SLACK_MS, shown_at};

pub(super) fn check(history: &History, checked: &mut Checked, found: &mut Vec<Violation>) {
    let mut event_ids = BTreeSet::new();
    for stream in history.streams.values() {
        checked.shards += stream.shards.len() as u64;
        let children =
            |shard: &ShardRead| stream.shards.iter().filter(|s| s.parent.as_ref() == Some(&shard.id)).count();
        for shard in &stream.shards {
            match children(shard) {
                0 => {}
                1 => checked.rolled_over += 1,
                _ => checked.split += 1,
            }
        }
        lineage(stream, found);
        for shard in &stream.shards {
            checked.records += shard.records.len() as u64;
            numbers(stream, shard, found);
            for record in &shard.records {
                if !event_ids.insert(record.event_id.as_str()) {
                    let text = format!("{} stands on two records, one in {}", record.event_id, shard.id);
                    found.push(Violation::new("an event id names one record", text));
                }
            }
        }
    }
    for ((_, arn), tail) in &history.tails {
        match history.streams.get(arn) {
            Some(stream) => tail_is_prefix(tail, stream, history, found),
            // A definition that was not synced may go, as long as nothing of it was read.
            None if history.relaxed && tail.shards.iter().all(|shard| shard.records.is_empty()) => {}
            None => found.push(Violation::new("a stream that was seen stays", format!("{arn} is gone"))),
        }
    }
}

/// The number as clients compare it; `None` when it is not one.
pub(super) fn parsed(number: &str) -> Option<u128> {
    let digits = (21..=40).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    if digits && !number.starts_with('0') { number.parse().ok() } else { None }
}

fn numbers(stream: &StreamRead, shard: &ShardRead, found: &mut Vec<Violation>) {
    let mut add = |text: String| {
        let place = format!("{} {}: {text}", stream.arn, shard.id);
        found.push(Violation::new("sequence numbers rise within a shard and its range", place));
    };
    let mut last = None;
    let starting = parsed(&shard.starting);
    let ending = shard.ending.as_deref().map(parsed);
    if starting.is_none() || ending == Some(None) {
        add(format!("range {}..{:?} is not of numbers", shard.starting, shard.ending));
    }
    for record in &shard.records {
        let number = parsed(&record.number);
        if number.is_none() {
            add(format!("{} is no sequence number", record.number));
        }
        if number <= last {
            add(format!("{} comes after {last:?}", record.number));
        }
        // Some(number) and Some(bound): both are known by now or were named above.
        if number < starting || ending.is_some_and(|ending| number > ending) {
            add(format!("{} lies outside {}..{:?}", record.number, shard.starting, shard.ending));
        }
        last = number;
    }
    if shard.finished != shard.ending.is_some() {
        add(format!("closed: {}, end reached: {}", shard.ending.is_some(), shard.finished));
    }
}

fn lineage(stream: &StreamRead, found: &mut Vec<Violation>) {
    let mut add = |text: String| found.push(Violation::new("parents come before their children", text));
    let mut seen: BTreeMap<&str, &ShardRead> = BTreeMap::new();
    let listed: BTreeSet<&str> = stream.shards.iter().map(|shard| shard.id.as_str()).collect();
    for shard in &stream.shards {
        if let Some(parent) = shard.parent.as_deref().filter(|parent| listed.contains(parent)) {
            match seen.get(parent).map(|parent| parent.ending.as_deref()) {
                None => add(format!("{} is listed before its parent {parent}", shard.id)),
                Some(None) => add(format!("{} has a parent that is open: {parent}", shard.id)),
                Some(Some(ending)) if parsed(ending) >= parsed(&shard.starting) => {
                    add(format!("{} starts at {}, its parent ends at {ending}", shard.id, shard.starting));
                }
                Some(Some(_)) => {}
            }
        }
        if seen.insert(&shard.id, shard).is_some() {
            add(format!("{} is listed twice", shard.id));
        }
    }
    let open = stream.shards.iter().filter(|shard| shard.ending.is_none()).count();
    if stream.enabled != (open > 0) {
        add(format!("{} is enabled: {}, with {open} open shards", stream.arn, stream.enabled));
    }
}

/// Nothing that was shown is gone, nothing appeared behind what was shown, and nothing was skipped.
fn tail_is_prefix(tail: &StreamRead, stream: &StreamRead, history: &History, found: &mut Vec<Violation>) {
    for shard in tail.shards.iter().filter(|shard| !history.relaxed || !shard.records.is_empty()) {
        let Some(whole) = stream.shards.iter().find(|whole| whole.id == shard.id) else {
            let text = format!("{} of {} is no longer listed", shard.id, stream.arn);
            found.push(Violation::new("a shard that was shown stays", text));
            continue;
        };
        // What had been trimmed before it came is not missed.
        let came = match shard.records.first() {
            Some(first) => whole.records.iter().position(|record| record.number == first.number).unwrap_or(0),
            None if shard.finished => whole.records.len(),
            None => 0,
        };
        // Nor is what was trimmed by order: an iterator at the tail passes over it, as it is younger than the retention.
        let ordered = history.ordered.get(&(stream.arn.clone(), shard.id.clone()));
        let by_order = |record: &Change| ordered.is_some_and(|ordered| record.number <= ordered.may);
        let may_go = |number: &str| shown_at(number) + KEPT_MS <= history.looked.1 + SLACK_MS;
        let missed = whole.records.iter().take(came);
        let too_early = missed.into_iter().position(|record| !may_go(&record.number) && !by_order(record));
        let differs = too_early.map(|at| (at, None)).or_else(|| differs(shard, &whole.records, came, by_order));
        if let Some((at, seen)) = differs {
            let there = whole.records.get(at);
            let text = format!(
                "{} at {at}: a reader at the tail saw {seen:?}, there is {there:?}, trimmed by order {ordered:?}",
                shard.id
            );
            found.push(Violation::new("a reader at the tail misses nothing and nothing it saw disappears", text));
        }
    }
}

/// The first place from `came` on at which a reader saw something else than what is there, and what it saw.
fn differs<'a>(
    shard: &'a ShardRead,
    there: &[Change],
    came: usize,
    by_order: impl Fn(&Change) -> bool,
) -> Option<(usize, Option<&'a Change>)> {
    let mut at = came;
    for seen in &shard.records {
        while there.get(at).is_some_and(|record| record != seen && by_order(record)) {
            at += 1;
        }
        if there.get(at) != Some(seen) {
            return Some((at, Some(seen)));
        }
        at += 1;
    }
    let rest = there.get(at..).unwrap_or_default().iter().position(|record| !by_order(record));
    rest.filter(|_| shard.finished).map(|more| (at + more, None))
}
