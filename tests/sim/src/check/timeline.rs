//! One item's life as a stream tells it.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Change, ChangeKind, History, Key, StreamRead, TableChange, TableEvent};
use crate::spec::Item;

/// A record in its place.
#[derive(Clone)]
pub(super) struct Placed<'a> {
    /// Index of the shard in the stream.
    pub shard: usize,
    /// The record.
    pub change: &'a Change,
}

/// The records of one item along the lineage, and its state around each.
pub(super) struct Timeline<'a> {
    /// In order.
    pub records: Vec<Placed<'a>>,
    /// One more than records; `None`: no image tells.
    pub states: Vec<Option<Option<Item>>>,
    /// Where two images, or an image and a kind, do not agree.
    pub breaks: Vec<String>,
}

/// What is known for certain about when a stream was on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// It was switched on in the commit that created its table.
    pub from_birth: bool,
    /// From this moment on it was on for sure.
    pub from: u64,
    /// Up to this moment it was on for sure.
    pub to: u64,
}

/// When the stream was on. `None`: nobody who would know saw it.
pub(super) fn window(history: &History, stream: &StreamRead) -> Option<Window> {
    let on = |event: &&TableEvent| {
        let switches = matches!(event.change, TableChange::Create | TableChange::Enable);
        switches && event.done && event.stream.as_deref() == Some(&stream.arn)
    };
    let on = history.tables.iter().find(on)?;
    let off = |event: &&TableEvent| {
        let switches = matches!(event.change, TableChange::Delete | TableChange::Disable);
        switches && event.table == stream.table && event.invoked > on.invoked
    };
    let to = history.tables.iter().filter(off).map(|event| event.invoked).min().unwrap_or(u64::MAX);
    Some(Window { from_birth: on.change == TableChange::Create, from: on.known, to })
}

/// The timelines of every item that the stream names.
pub(super) fn timelines(stream: &StreamRead, from_birth: bool) -> BTreeMap<Key, Timeline<'_>> {
    let mut records: BTreeMap<Key, Vec<Placed<'_>>> = BTreeMap::new();
    for (shard, read) in stream.shards.iter().enumerate() {
        for change in &read.records {
            let key = Key { table: stream.table.clone(), pk: change.pk.clone(), sk: change.sk.clone() };
            records.entry(key).or_default().push(Placed { shard, change });
        }
    }
    records.into_iter().map(|(key, records)| (key, timeline(stream, records, from_birth))).collect()
}

fn timeline<'a>(stream: &StreamRead, records: Vec<Placed<'a>>, from_birth: bool) -> Timeline<'a> {
    let mut states: Vec<Option<Option<Item>>> = vec![None; records.len() + 1];
    let mut breaks = Vec::new();
    if from_birth {
        states[0] = Some(None);
    }
    let mut learn = |slot: &mut Option<Option<Item>>, state: &Option<Item>, by: &str| match slot {
        Some(known) if known != state => breaks.push(format!("{by}: {known:?} before, {state:?} now")),
        _ => *slot = Some(state.clone()),
    };
    for (index, placed) in records.iter().enumerate() {
        let Change { number, kind, old, new, .. } = placed.change;
        if let Some(old) = old {
            learn(&mut states[index], old, &format!("old image of {number}"));
        }
        if *kind == ChangeKind::Insert {
            learn(&mut states[index], &None, &format!("kind of {number}"));
        }
        if let Some(new) = new {
            learn(&mut states[index + 1], new, &format!("new image of {number}"));
        }
        if *kind == ChangeKind::Remove {
            learn(&mut states[index + 1], &None, &format!("kind of {number}"));
        }
    }
    for (index, pair) in records.windows(2).enumerate() {
        let [before, after] = pair else { continue };
        if before.shard != after.shard && !is_ancestor(stream, before.shard, after.shard) {
            let (from, to) = (&stream.shards[before.shard].id, &stream.shards[after.shard].id);
            breaks.push(format!("record {} is in {to}, which does not descend from {from}", index + 1));
        }
        let present = |kind: ChangeKind| kind != ChangeKind::Remove;
        let (kind, next) = (before.change.kind, after.change.kind);
        if present(kind) == (next == ChangeKind::Insert) {
            breaks.push(format!("{:?} of {} is followed by {next:?}", kind, before.change.number));
        }
    }
    for (index, placed) in records.iter().enumerate() {
        if let (Some(before), Some(after)) = (&states[index], &states[index + 1]) {
            let fits = match placed.change.kind {
                ChangeKind::Insert => before.is_none() && after.is_some(),
                ChangeKind::Modify => before.is_some() && after.is_some() && before != after,
                ChangeKind::Remove => before.is_some() && after.is_none(),
            };
            if !fits {
                let Change { number, kind, .. } = placed.change;
                breaks.push(format!("{number} is {kind:?} from {before:?} to {after:?}"));
            }
        }
    }
    Timeline { records, states, breaks }
}

fn is_ancestor(stream: &StreamRead, ancestor: usize, shard: usize) -> bool {
    let mut seen = BTreeSet::new();
    let mut at = shard;
    while seen.insert(at) {
        if at == ancestor {
            return true;
        }
        let Some(parent) = &stream.shards[at].parent else { return false };
        let Some(next) = stream.shards.iter().position(|shard| shard.id == *parent) else { return false };
        at = next;
    }
    false
}
