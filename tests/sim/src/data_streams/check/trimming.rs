//! Retention: what somebody finds who comes in the end, beside what a reader has read who was there all the time.

use super::super::history::{ShardSeen, StreamKey, View};
use super::{Checks, EARLY, LATE, TAIL};
use crate::reader::SLACK_MS;

impl Checks<'_> {
    pub(super) fn trimming(&mut self, key: &StreamKey, kept: &View, left: &View) {
        let (before, after) = self.seen.looked;
        let may = self.seen.may_be_gone(key, after).saturating_add(SLACK_MS);
        let must = match self.seen.lives.get(key) {
            Some(life) if !self.seen.relaxed => life.must_be_gone(before).saturating_sub(SLACK_MS),
            Some(_) | None => i64::MIN,
        };
        for (id, shard) in &kept.shards {
            let closed = closed_at(kept, id);
            let Some(rest) = left.shards.get(id) else {
                if closed.is_none_or(|closed| closed > may) {
                    self.add(EARLY, key, format!("{id} is gone, closed: {closed:?}, what may go: {may}"));
                }
                self.counts.trimmed += shard.records.len() as u64;
                continue;
            };
            if closed.is_some_and(|closed| closed < must) {
                self.add(LATE, key, format!("{id} is listed, closed: {closed:?}, what must go: {must}"));
            }
            self.judge(key, id, shard, rest, (may, must));
        }
        for id in left.shards.keys().filter(|id| !kept.shards.contains_key(*id)) {
            self.add(TAIL, key, format!("{id} was never there before"));
        }
    }

    fn judge(&mut self, key: &StreamKey, id: &str, kept: &ShardSeen, left: &ShardSeen, (may, must): (i64, i64)) {
        let gone = kept.records.len().saturating_sub(left.records.len());
        let (gone, rest) = kept.records.split_at(gone);
        let same = rest.iter().zip(&left.records).all(|(a, b)| (&a.number, a.id) == (&b.number, b.id));
        if rest.len() != left.records.len() || !same {
            let text = format!("{id}: {} records of {} are others", left.records.len(), kept.records.len());
            self.add(TAIL, key, text);
        }
        if let Some(record) = gone.iter().find(|record| record.at > may) {
            self.add(EARLY, key, format!("{id}: {record:?} is gone, what may go: {may}"));
        }
        if let Some(record) = left.records.iter().find(|record| record.at < must) {
            self.add(LATE, key, format!("{id}: {record:?} is shown, what must go: {must}"));
        }
        self.counts.trimmed += gone.len() as u64;
    }
}

/// When a shard was closed, by its children's first numbers. Unit: ms of store time.
fn closed_at(view: &View, id: &str) -> Option<i64> {
    let listed = view.shards.values().filter_map(|shard| shard.listed.as_ref());
    listed.filter(|child| child.parents.iter().any(|parent| parent == id)).map(|child| child.opened).min()
}
