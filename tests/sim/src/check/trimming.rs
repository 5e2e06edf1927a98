//! Retention: what somebody finds who comes in the end, beside what a reader has read who was there all the time.

use crate::check::Checked;
use crate::history::{History, ShardRead, StreamRead, Violation};
use crate::reader::{KEPT_MS, SLACK_MS, shown_at};

const EARLY: &str = "nothing is trimmed early";
const LATE: &str = "nothing is shown late";
const SUFFIX: &str = "what is left is what was there, from the horizon on";

pub(super) fn check(history: &History, checked: &mut Checked, found: &mut Vec<Violation>) {
    if history.looked == (0, 0) {
        // A history made by hand, at no store time; a run always has its last look.
        return;
    }
    for (arn, kept) in &history.streams {
        let left = history.left.get(arn);
        for shard in &kept.shards {
            let rest = left.and_then(|left| left.shards.iter().find(|rest| rest.id == shard.id));
            checked.trimmed += judge(history, kept, shard, rest, found);
        }
    }
    for (arn, left) in &history.left {
        for shard in left.shards.iter().filter(|shard| !is_in(history.streams.get(arn), shard)) {
            found.push(Violation::new(SUFFIX, format!("{arn} {}: it was never there before", shard.id)));
        }
    }
}

fn is_in(stream: Option<&StreamRead>, shard: &ShardRead) -> bool {
    stream.is_some_and(|stream| stream.shards.iter().any(|kept| kept.id == shard.id))
}

/// Compares one shard with what is left of it; how many records are gone.
fn judge(
    history: &History,
    stream: &StreamRead,
    kept: &ShardRead,
    left: Option<&ShardRead>,
    found: &mut Vec<Violation>,
) -> u64 {
    let (before, after) = history.looked;
    let may_go = |at: i64| at + KEPT_MS <= after + SLACK_MS;
    let must_go = |at: i64| at + KEPT_MS < before - SLACK_MS;
    let closed = kept.ending.as_deref().map(shown_at);
    let ordered = history.ordered.get(&(stream.arn.clone(), kept.id.clone())).cloned().unwrap_or_default();
    let mut add = |check: &'static str, text: String| {
        found.push(Violation::new(check, format!("{} {} at {before}..{after}: {text}", stream.arn, kept.id)));
    };
    let Some(left) = left else {
        if !closed.is_some_and(may_go) {
            add(EARLY, format!("the shard is gone, closed: {closed:?}"));
        }
        return kept.records.len() as u64;
    };
    if closed.is_some_and(must_go) {
        add(LATE, format!("the shard is listed, closed: {closed:?}"));
    }
    let gone = kept.records.len().saturating_sub(left.records.len());
    let (gone, rest) = kept.records.split_at(gone);
    if rest != left.records {
        add(SUFFIX, format!("{} records of {} are others", left.records.len(), kept.records.len()));
    }
    if let Some(record) = gone.iter().find(|r| !may_go(shown_at(&r.number)) && r.number > ordered.may) {
        add(EARLY, format!("{} is gone", record.number));
    }
    if let Some(record) = left.records.iter().find(|r| must_go(shown_at(&r.number)) || r.number <= ordered.must) {
        add(LATE, format!("{} is shown", record.number));
    }
    gone.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Change, ChangeKind};

    const HOUR: i64 = 3_600_000;
    const NOW: i64 = 1_000 * HOUR;

    fn number(at: i64) -> String {
        format!("1{:020}", (at as u64) << 16)
    }

    fn record(at: i64) -> Change {
        let event_id = at.to_string();
        Change {
            event_id,
            number: number(at),
            kind: ChangeKind::Insert,
            pk: "a".into(),
            sk: None,
            old: None,
            new: None,
        }
    }

    fn stream(id: &str, closed: Option<i64>, records: &[i64]) -> StreamRead {
        let shard = ShardRead {
            id: id.into(),
            parent: None,
            starting: number(1),
            ending: closed.map(number),
            records: records.iter().map(|at| record(*at)).collect(),
            finished: closed.is_some(),
            lost: false,
        };
        let (arn, table, view) = ("arn".to_owned(), "t".to_owned(), "KEYS_ONLY".to_owned());
        StreamRead { arn, table, view, enabled: true, seen_enabled: None, shards: vec![shard] }
    }

    fn found(kept: StreamRead, left: Option<StreamRead>) -> (u64, Vec<&'static str>) {
        let (mut history, mut checked, mut found) = (History::default(), Checked::default(), Vec::new());
        history.looked = (NOW, NOW + 10);
        history.streams.insert("arn".into(), kept);
        history.left.extend(left.map(|left| ("arn".to_owned(), left)));
        check(&history, &mut checked, &mut found);
        (checked.trimmed, found.iter().map(|violation| violation.check).collect())
    }

    #[test]
    fn what_goes_early_stays_late_or_changes_is_found() {
        let old = NOW - 25 * HOUR;
        let (young, edge) = (NOW - 23 * HOUR, NOW - 24 * HOUR);
        let kept = || stream("s", None, &[old, edge, young]);
        assert_eq!(found(kept(), Some(stream("s", None, &[young]))), (2, vec![]));
        assert_eq!(found(kept(), Some(stream("s", None, &[edge, young]))), (1, vec![]));
        assert_eq!(found(kept(), Some(stream("s", None, &[]))), (3, vec![EARLY]));
        assert_eq!(found(kept(), Some(kept())), (0, vec![LATE]));
        assert_eq!(found(kept(), Some(stream("s", None, &[young, young]))).1, [SUFFIX]);
        assert_eq!(found(kept(), None).1, [EARLY], "an open shard never goes");
        let closed = |at| stream("s", Some(at), &[old]);
        assert_eq!(found(closed(old), None), (1, vec![]));
        assert_eq!(found(closed(young), None).1, [EARLY]);
        assert_eq!(found(closed(old), Some(stream("s", Some(old), &[]))).1, [LATE]);
        assert_eq!(found(closed(young), Some(stream("s", Some(young), &[]))), (1, vec![]));
        assert_eq!(found(kept(), Some(stream("other", None, &[]))).1, [EARLY, SUFFIX]);
    }
}
