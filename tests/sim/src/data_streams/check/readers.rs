//! Readers beside what there is: nothing missed, nothing twice, begun where they asked to.

use super::super::history::{Began, PutEnd, Record, ShardSeen, StreamKey, View};
use super::{Checks, FROM, ONCE, PUSHED, STAYS, TAIL, met};
use crate::reader::SLACK_MS;

impl Checks<'_> {
    /// One reader's view of a stream.
    pub(super) fn reader(&mut self, key: &StreamKey, view: &View) {
        let is_there = self.seen.left.contains_key(key);
        let midway = view.shards.values().filter(|shard| shard.began != Began::Oldest).count();
        self.counts.midway += midway as u64;
        for (id, shard) in &view.shards {
            if !is_there {
                self.prefix(key, id, shard, view);
                continue;
            }
            let whole = self.seen.truth.get(key).and_then(|truth| truth.shards.get(id));
            let Some(whole) = whole else {
                // What nothing was read of may have been taken back by a crash.
                if !self.seen.relaxed || !shard.records.is_empty() {
                    self.add(STAYS, key, format!("{} saw {id}, which is no longer there", view.reader));
                }
                continue;
            };
            let count = if view.pushed { &mut self.counts.pushed } else { &mut self.counts.polled };
            *count += shard.records.len() as u64;
            if let Some((check, text)) = self.differs(key, view, shard, whole) {
                self.add(check, key, format!("{} at {id}: {text}", view.reader));
            }
        }
    }

    /// The first place at which a reader saw something else than what is there.
    fn differs(
        &self,
        key: &StreamKey,
        view: &View,
        shard: &ShardSeen,
        whole: &ShardSeen,
    ) -> Option<(&'static str, String)> {
        let check = if view.pushed { PUSHED } else { TAIL };
        let trimmed = |record: &Record, at: i64| record.at <= self.seen.may_be_gone(key, at) + SLACK_MS;
        let mut next = 0;
        for (count, record) in shard.records.iter().enumerate() {
            let Some(found) = whole.records.iter().skip(next).position(|other| other.number == record.number) else {
                return Some((check, format!("it saw {record:?}, which is not there behind {next} others")));
            };
            let skipped = &whole.records[next..next + found];
            let wrong = if count == 0 {
                self.began_wrong(shard.began, skipped, Some(record), &trimmed, record.seen)
            } else {
                skipped.iter().find(|other| !trimmed(other, record.seen)).map(|other| (check, other))
            };
            if let Some((check, other)) = wrong {
                return Some((check, format!("before {record:?} it missed {other:?}, begun at {:?}", shard.began)));
            }
            next += found + 1;
        }
        let rest = &whole.records[next..];
        let complete = shard.children.is_some() || view.pushed && shard.gone.is_none();
        if complete && whole.gone.is_none() && !rest.is_empty() {
            let at = if view.pushed { self.seen.looked.1 } else { shard.read };
            let wrong = if shard.records.is_empty() {
                self.began_wrong(shard.began, rest, None, &trimmed, at)
            } else {
                rest.iter().find(|other| !trimmed(other, at)).map(|other| (check, other))
            };
            return wrong.map(|(check, other)| {
                let text = format!("it ended, children {:?}, and missed {other:?}", shard.children);
                (check, text)
            });
        }
        None
    }

    /// What was left out before the first record, or the first record itself, does not fit the beginning.
    fn began_wrong<'r>(
        &self,
        began: Began,
        skipped: &'r [Record],
        first: Option<&'r Record>,
        trimmed: &impl Fn(&Record, i64) -> bool,
        at: i64,
    ) -> Option<(&'static str, &'r Record)> {
        let put = |record: &Record| self.puts.get(&record.id).map(|(put, _)| *put);
        let wrong = match began {
            Began::Oldest => skipped.iter().find(|other| !trimmed(other, at)),
            Began::Newest(asked, answered) => {
                let newer = |other: &&Record| put(other).is_some_and(|put| put.invoked > answered);
                let older = |first: &&Record| put(first).is_some_and(|put| put.answered < asked);
                skipped.iter().find(newer).or(first.filter(older))
            }
            Began::Moment(from) => {
                let missed = |other: &&Record| other.at >= from && !trimmed(other, at);
                skipped.iter().find(missed).or(first.filter(|first| first.at < from))
            }
        };
        wrong.map(|record| (FROM, record))
    }

    /// Of a stream that is deleted: what was acknowledged below the last record that was read was read too.
    fn prefix(&mut self, key: &StreamKey, id: &str, shard: &ShardSeen, view: &View) {
        let Some(last) = shard.records.last() else { return };
        if self.seen.relaxed || shard.began != Began::Oldest {
            return;
        }
        let seen = self.seen;
        let trimmed = seen.may_be_gone(key, last.seen);
        for put in seen.puts.iter().filter(|put| put.name == key.0) {
            let mut others = seen.lives.iter().filter(|(other, _)| other.0 == key.0 && *other != key);
            let PutEnd::Placed(places) = &put.end else { continue };
            if others.any(|(_, life)| met(life, put)) {
                continue;
            }
            for (entry, (in_shard, number)) in put.entries.iter().zip(places) {
                let due = in_shard == id && *number <= last.number && trimmed < key.1;
                if due && !shard.records.iter().any(|record| record.id == entry.id) {
                    self.add(ONCE, key, format!("{} missed #{} of {put:?} in {id}", view.reader, entry.id));
                }
            }
        }
    }
}
