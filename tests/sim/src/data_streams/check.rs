//! What must hold of data streams: each put is there once, whole, in order, in its shard; readers see it so.

mod readers;
#[cfg(test)]
mod tests;
mod trimming;

use std::collections::BTreeMap;

use headwater_log::sequence::kinesis as sequence;

use super::history::{Child, Counts, Entry, Life, Put, PutEnd, Record, Seen, ShardSeen, StreamKey, View};
use crate::history::Violation;

/// Acknowledged puts are there once, unknown ones at most once, others never.
pub const ONCE: &str = "each acknowledged put is in its data stream once";
/// A request of several records is done or not.
pub const WHOLE: &str = "the records of one request are all there or none is";
/// What was answered before something was asked for lies before it.
pub const ORDER: &str = "records of a data stream are in the order of their puts";
/// Records lie where their hash says and where the answer said.
pub const PLACE: &str = "a record lies in the shard of its hash key";
/// Parents and children.
pub const LINEAGE: &str = "parents end before their children begin";
/// Open shards.
pub const TILE: &str = "open shards of a data stream tile the hash keys";
/// Streams and shards that were shown.
pub const STAYS: &str = "a shard of a data stream that was shown stays";
/// ChildShards.
pub const CHILDREN: &str = "the end of a shard names its children, and nothing else does";
/// Polling.
pub const TAIL: &str = "a reader of a data stream misses nothing and sees nothing twice";
/// Pushing.
pub const PUSHED: &str = "a subscriber is pushed everything once";
/// Beginnings.
pub const FROM: &str = "a reader begins where it asked to";
/// Trimming.
pub const EARLY: &str = "nothing of a data stream is trimmed early";
/// Trimming.
pub const LATE: &str = "nothing of a data stream is shown late";
/// Refusals and ends.
pub const TIME: &str = "nothing of a data stream ends before its time";
/// Answers.
pub const VALID: &str = "a valid request on a data stream is served";
/// Answers.
pub const RECORD: &str = "what is read of a data stream can be understood";

/// Records by their number in the run.
type Puts<'a> = BTreeMap<u64, (&'a Put, &'a Entry)>;

/// Runs every check; how much there was.
pub fn all(seen: &Seen, found: &mut Vec<Violation>) -> Counts {
    let puts: Puts<'_> =
        seen.puts.iter().flat_map(|put| put.entries.iter().map(move |entry| (entry.id, (put, entry)))).collect();
    let mut checks = Checks { seen, puts, counts: seen.counts, found };
    checks.counts.puts = seen.puts.len() as u64;
    checks.counts.acknowledged = seen.puts.iter().filter(|put| matches!(put.end, PutEnd::Placed(_))).count() as u64;
    checks.counts.unknown = seen.puts.iter().filter(|put| put.end == PutEnd::Lost).count() as u64;
    checks.counts.scalings = seen.grown.values().sum();
    checks.there();
    for (key, view) in seen.truth.iter().chain(seen.views.iter().map(|(key, view)| (key, view))) {
        checks.contents(key, view);
    }
    checks.same();
    for (key, left) in &seen.left {
        if let Some(truth) = seen.truth.get(key) {
            checks.stream(key, truth);
            checks.trimming(key, truth, left);
        }
    }
    for (key, view) in &seen.views {
        checks.reader(key, view);
    }
    checks.counts
}

struct Checks<'a> {
    seen: &'a Seen,
    puts: Puts<'a>,
    counts: Counts,
    found: &'a mut Vec<Violation>,
}

impl<'a> Checks<'a> {
    fn add(&mut self, check: &'static str, key: &StreamKey, text: impl AsRef<str>) {
        self.found.push(Violation::new(check, format!("{} of {}: {}", key.0, key.1, text.as_ref())));
    }

    /// A stream that was made and not deleted is there in the end.
    fn there(&mut self) {
        if self.seen.relaxed || self.seen.looked == (0, 0) {
            return;
        }
        for (key, life) in &self.seen.lives {
            if life.deleted.is_none() && !self.seen.left.contains_key(key) {
                self.add(STAYS, key, format!("it is gone: {life:?}"));
            }
        }
    }

    /// Each record of a view: who put it, and where it may lie.
    fn contents(&mut self, key: &StreamKey, view: &View) {
        let mut ids: BTreeMap<u64, &str> = BTreeMap::new();
        for (id, shard) in &view.shards {
            for record in &shard.records {
                if let Some(other) = ids.insert(record.id, id) {
                    self.add(ONCE, key, format!("#{} is in {other} and again in {id} at {}", record.id, record.number));
                }
                if let Some((check, text)) = self.misplaced(key, id, shard, record) {
                    self.add(check, key, format!("{} saw {record:?} in {id}: {text}", view.reader));
                }
            }
        }
    }

    fn misplaced(
        &self,
        key: &StreamKey,
        id: &str,
        shard: &ShardSeen,
        record: &Record,
    ) -> Option<(&'static str, String)> {
        let Some((put, entry)) = self.puts.get(&record.id) else { return Some((ONCE, "nobody put it".to_owned())) };
        if (&put.name, &put.writer, &entry.key) != (&key.0, &record.writer, &record.key) {
            return Some((ONCE, format!("{put:?} is another")));
        }
        match &put.end {
            PutEnd::NoStream => return Some((ONCE, "it was refused".to_owned())),
            PutEnd::Placed(places) => {
                let at = put.entries.iter().position(|other| other.id == record.id);
                let place = at.and_then(|at| places.get(at));
                if place.is_none_or(|(in_shard, number)| (&**in_shard, number) != (id, &record.number)) {
                    return Some((PLACE, format!("it was answered to be at {place:?}")));
                }
            }
            PutEnd::Lost => {}
        }
        let range = shard.listed.as_ref().map(|listed| listed.range).or(shard.named.as_ref().map(|named| named.range));
        if range.is_none_or(|(start, end)| entry.hash < start || end < entry.hash) {
            return Some((PLACE, format!("its hash is {:x}, the shard's {range:x?}", entry.hash)));
        }
        let arrived = sequence::parse(&record.number).ok().map(|number| number.number.at().0);
        if arrived != Some(record.at) {
            return Some((RECORD, format!("its number says that it arrived at {arrived:?}")));
        }
        let listed = shard.listed.as_ref()?;
        // All numbers have 56 digits: as texts they are in the order of numbers.
        let outside =
            record.number <= listed.starting || listed.ending.as_ref().is_some_and(|end| record.number > *end);
        outside.then(|| (LINEAGE, format!("it lies outside of {listed:?}")))
    }

    /// All readers of a stream were given the same records at the same places.
    fn same(&mut self) {
        let mut places: BTreeMap<(&StreamKey, &str, &str), u64> = BTreeMap::new();
        let mut broken = Vec::new();
        for (key, view) in self.seen.truth.iter().chain(self.seen.views.iter().map(|(key, view)| (key, view))) {
            for (id, record) in view.shards.iter().flat_map(|(id, shard)| shard.records.iter().map(move |r| (id, r))) {
                let other = *places.entry((key, id, &record.number)).or_insert(record.id);
                if other != record.id {
                    broken.push((key, format!("{id} {}: #{other}, for {} #{}", record.number, view.reader, record.id)));
                }
            }
        }
        for (key, text) in broken {
            self.add(TAIL, key, text);
        }
    }

    /// A stream that is there: complete, whole, in order, its lineage as its ends tell it.
    fn stream(&mut self, key: &StreamKey, truth: &View) {
        let records =
            || truth.shards.iter().flat_map(|(id, shard)| shard.records.iter().map(move |record| (id, record)));
        let there: BTreeMap<u64, &str> = records().map(|(id, record)| (record.id, id.as_str())).collect();
        self.counts.records += there.len() as u64;
        self.complete(key, &there);
        let mut lines: BTreeMap<(&str, u128), Vec<&Record>> = BTreeMap::new();
        for (id, record) in records() {
            let Some((_, entry)) = self.puts.get(&record.id) else { continue };
            lines.entry((id, 0)).or_default().push(record);
            // Of one hash along the lineage.
            lines.entry(("", entry.hash)).or_default().push(record);
        }
        for ((id, hash), mut line) in lines {
            line.sort_by(|a, b| a.number.cmp(&b.number));
            if let Some(text) = self.disorder(&line) {
                self.add(ORDER, key, format!("{id} {hash:x}: {text}"));
            }
        }
        self.lineage(key, truth);
    }

    /// Nothing that was acknowledged is missing, nothing is there in part.
    fn complete(&mut self, key: &StreamKey, there: &BTreeMap<u64, &str>) {
        let seen = self.seen;
        for put in seen.puts.iter().filter(|put| put.name == key.0) {
            let missing = put.entries.iter().filter(|entry| !there.contains_key(&entry.id)).count();
            if missing > 0 && missing < put.entries.len() {
                self.add(WHOLE, key, format!("{missing} records are missing of {put:?}"));
            }
            let only_this = |life: (&StreamKey, &Life)| life.0 == key || life.0.0 != key.0 || !met(life.1, put);
            let acknowledged = matches!(put.end, PutEnd::Placed(_)) && !seen.relaxed;
            if acknowledged && missing > 0 && seen.lives.iter().all(only_this) {
                self.add(ONCE, key, format!("{missing} records are missing of {put:?}"));
            }
        }
    }

    /// Whether a record lies before one that was answered before it was asked for, or a request's are out of order.
    fn disorder(&self, line: &[&Record]) -> Option<String> {
        let mut newest: Option<(u64, &Record)> = None;
        for (record, put) in line.iter().filter_map(|record| Some((*record, self.puts.get(&record.id)?.0))) {
            if let Some((asked, before)) = newest.filter(|(asked, _)| put.answered < *asked) {
                return Some(format!(
                    "#{} was answered at {} and lies behind #{}, asked for at {asked}",
                    record.id, put.answered, before.id
                ));
            }
            if newest.is_none_or(|(asked, _)| put.invoked > asked) {
                newest = Some((put.invoked, record));
            }
        }
        let of_one = |pair: &[&Record]| {
            let put = |record: &Record| self.puts.get(&record.id).map(|(put, _)| put.entries[0].id);
            put(pair[0]) == put(pair[1]) && pair[0].id > pair[1].id
        };
        let pair = line.windows(2).find(|pair| of_one(pair))?;
        Some(format!("#{} lies before #{} of the same request", pair[0].id, pair[1].id))
    }

    fn lineage(&mut self, key: &StreamKey, truth: &View) {
        let mut broken = Vec::new();
        for (id, shard) in &truth.shards {
            let last = |parent: &String| truth.shards.get(parent).and_then(|parent| parent.records.last());
            for parent in shard.parents().iter().filter_map(last) {
                if shard.records.first().is_some_and(|first| first.number <= parent.number) {
                    broken.push((LINEAGE, format!("{id} begins below its parent's {parent:?}")));
                }
            }
            self.counts.merges += u64::from(shard.parents().len() == 2);
            let Some(listed) = &shard.listed else {
                if shard.gone.is_none() {
                    broken.push((CHILDREN, format!("{:?} is named and never listed", shard.named)));
                }
                continue;
            };
            if listed.ending.is_some() != shard.children.is_some() && shard.gone.is_none() {
                broken.push((CHILDREN, format!("{listed:?} ends with {:?}", shard.children)));
            }
            let kin = truth.shards.values().filter_map(|child| child.listed.as_ref());
            let mut kin: Vec<Child> = kin
                .filter(|child| child.parents.contains(id))
                .map(|child| Child { id: child.id.clone(), parents: child.parents.clone(), range: child.range })
                .collect();
            let Some(mut named) = shard.children.clone() else { continue };
            kin.sort();
            named.sort();
            self.counts.splits += u64::from(kin.len() == 2);
            if kin != named {
                broken.push((CHILDREN, format!("{id} ends with {named:?}, listed are {kin:?}")));
            }
        }
        for (check, text) in broken {
            self.add(check, key, text);
        }
    }
}

/// Whether a put may have met a stream.
fn met(life: &Life, put: &Put) -> bool {
    life.asked <= put.answered && life.deleted.is_none_or(|deleted| put.invoked <= deleted)
}
