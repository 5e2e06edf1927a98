//! Hand-made histories: a good one passes, and each way to break it is found by the right checker.

use std::collections::BTreeMap;

use super::all;
use crate::history::{
    Change, ChangeKind, End, Event, History, Key, LateRead, ShardRead, StreamRead, TableChange, TableEvent, Whole,
};
use crate::spec::{Action, Answer, Item, Operation, Returns};

const ARN: &str = "arn:aws:dynamodb:us-east-1:000000000000:table/t/stream/1";

fn key() -> Key {
    Key { table: "t".into(), pk: "a".into(), sk: None }
}

fn item(w: u64, n: i64) -> Option<Item> {
    Some(Item { w: Some(w), m: None, n: Some(n) })
}

fn event(at: u64, operation: Operation, answer: Answer) -> Event {
    let end = End::Answered(answer);
    Event { client: "c1".into(), key: key(), operation, invoked: at, answered: at + 1, end }
}

fn number(n: u64) -> String {
    format!("1{n:020}")
}

fn record(n: u64, kind: ChangeKind, old: Option<Item>, new: Option<Item>) -> Change {
    let event_id = format!("e{n}");
    Change { event_id, number: number(n), kind, pk: "a".into(), sk: None, old: Some(old), new: Some(new) }
}

/// Create with a stream; put #1, count #2, delete #3, put #4 across a split; a query between.
fn good() -> History {
    let mut history = History::default();
    history.tables.push(TableEvent {
        table: "t".into(),
        change: TableChange::Create,
        invoked: 1,
        known: 2,
        done: true,
        stream: Some(ARN.into()),
    });
    let returning_old = Operation { returns: Returns::Old, ..Operation::plain(3, Action::Delete) };
    history.events = vec![
        event(10, Operation::plain(1, Action::Put), Answer::Done(None)),
        event(20, Operation::plain(2, Action::Count), Answer::Done(None)),
        event(30, returning_old, Answer::Done(Some(item(2, 1)))),
        event(40, Operation::plain(4, Action::Put), Answer::Done(None)),
        event(50, Operation::plain(0, Action::Read), Answer::Item(item(4, 0))),
    ];
    let seen = [(None, item(2, 1).unwrap())].into();
    history.wholes = vec![Whole { table: "t".into(), pk: "a".into(), invoked: 25, answered: 28, items: seen }];
    let shard = |id: &str, parent: Option<&str>, range: (u64, Option<u64>), records: Vec<Change>| ShardRead {
        id: id.into(),
        parent: parent.map(Into::into),
        starting: number(range.0),
        ending: range.1.map(number),
        records,
        finished: range.1.is_some(),
        lost: false,
    };
    let parent = vec![
        record(101, ChangeKind::Insert, None, item(1, 0)),
        record(102, ChangeKind::Modify, item(1, 0), item(2, 1)),
    ];
    let child =
        vec![record(112, ChangeKind::Remove, item(2, 1), None), record(113, ChangeKind::Insert, None, item(4, 0))];
    let stream = StreamRead {
        arn: ARN.into(),
        table: "t".into(),
        view: "NEW_AND_OLD_IMAGES".into(),
        enabled: true,
        seen_enabled: Some(2),
        shards: vec![shard("s1", None, (100, Some(110)), parent), shard("s2", Some("s1"), (111, None), child)],
    };
    history.tails = BTreeMap::from([((0, ARN.into()), stream.clone())]);
    history.streams = BTreeMap::from([(ARN.into(), stream)]);
    history.items = BTreeMap::from([("t".into(), BTreeMap::from([(key(), item(4, 0).unwrap())]))]);
    history
}

/// Breaks the good history and returns which checks complain.
fn broken(breaks: impl FnOnce(&mut History)) -> Vec<&'static str> {
    let mut history = good();
    breaks(&mut history);
    let mut found: Vec<&'static str> = all(&history).1.iter().map(|violation| violation.check).collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn shard(history: &mut History, index: usize) -> &mut ShardRead {
    &mut history.streams.get_mut(ARN).unwrap().shards[index]
}

#[test]
fn a_good_history_passes_and_is_counted() {
    let (checked, found) = all(&good());
    assert_eq!(found, []);
    assert_eq!((checked.items, checked.records, checked.traced, checked.wholes, checked.shards), (1, 4, 3, 1, 2));
    assert_eq!(checked.undecided, 0);
}

#[test]
fn a_missing_record_is_found() {
    let found = broken(|history| {
        shard(history, 1).records.pop();
        history.tails.clear();
    });
    assert!(found.contains(&"each committed change has exactly one record"), "{found:?}");
    assert!(found.contains(&"the table is the fold of its stream"), "{found:?}");
}

#[test]
fn a_record_of_an_unwritten_change_is_found() {
    let found = broken(|history| {
        history.events.retain(|event| event.operation.id != 2);
        history.tails.clear();
    });
    assert!(found.contains(&"each committed change has exactly one record"), "{found:?}");
}

#[test]
fn a_record_twice_is_found() {
    let found = broken(|history| {
        let again = Change { number: number(109), event_id: "e9".into(), ..shard(history, 0).records[1].clone() };
        shard(history, 0).records.push(again);
        history.tails.clear();
    });
    assert!(found.contains(&"an item's records follow one another without a break"), "{found:?}");
}

#[test]
fn records_out_of_order_are_found() {
    let found = broken(|history| {
        shard(history, 0).records.swap(0, 1);
        history.tails.clear();
    });
    assert!(found.contains(&"sequence numbers rise within a shard and its range"), "{found:?}");
    assert!(found.contains(&"an item's records follow one another without a break"), "{found:?}");
}

#[test]
fn records_against_real_time_are_found() {
    let found = broken(|history| {
        // Two blind writes whose records stand the other way round.
        history.events[0].operation = Operation::plain(1, Action::Set);
        history.events[1].operation = Operation::plain(2, Action::Set);
        let set = |w: u64| Some(Item { w: Some(w), m: None, n: None });
        let records = &mut shard(history, 0).records;
        *records = vec![record(101, ChangeKind::Insert, None, set(2)), record(102, ChangeKind::Modify, set(2), set(1))];
        history.tails.clear();
    });
    assert!(found.contains(&"an item's records are in the order of its writes"), "{found:?}");
}

#[test]
fn a_tail_that_missed_or_saw_too_much_is_found() {
    const TAIL: &str = "a reader at the tail misses nothing and nothing it saw disappears";
    let missed = broken(|history| {
        history.tails.get_mut(&(0, ARN.into())).unwrap().shards[0].records.remove(0);
    });
    assert_eq!(missed, [TAIL]);
    let too_much = broken(|history| {
        let ghost = record(114, ChangeKind::Modify, item(4, 0), item(9, 0));
        history.tails.get_mut(&(0, ARN.into())).unwrap().shards[1].records.push(ghost);
    });
    assert_eq!(too_much, [TAIL]);
    let behind = broken(|history| {
        history.tails.get_mut(&(0, ARN.into())).unwrap().shards[1].records.clear();
    });
    assert_eq!(behind, [] as [&str; 0], "a reader of an open shard may be behind");
}

#[test]
fn a_child_below_its_parent_or_of_an_open_parent_is_found() {
    let below = broken(|history| shard(history, 1).starting = number(105));
    assert!(below.contains(&"parents come before their children"), "{below:?}");
    let open = broken(|history| {
        shard(history, 0).ending = None;
        shard(history, 0).finished = false;
    });
    assert!(open.contains(&"parents come before their children"), "{open:?}");
    let order = broken(|history| history.streams.get_mut(ARN).unwrap().shards.swap(0, 1));
    assert!(order.contains(&"parents come before their children"), "{order:?}");
}

#[test]
fn an_item_that_jumps_between_unrelated_shards_is_found() {
    let found = broken(|history| shard(history, 1).parent = None);
    assert!(found.contains(&"an item's records follow one another without a break"), "{found:?}");
}

#[test]
fn a_lost_acknowledged_write_is_found() {
    let found = broken(|history| {
        // As after a crash that took the last put back, stream and table alike.
        shard(history, 1).records.pop();
        history.tails.clear();
        history.items.insert("t".into(), BTreeMap::new());
        history.events[4].end = End::Answered(Answer::Item(None));
    });
    assert!(found.contains(&"operations on an item are strictly serialisable"), "{found:?}");
    assert!(found.contains(&"each committed change has exactly one record"), "{found:?}");
}

#[test]
fn an_answer_that_is_not_in_the_history_is_found() {
    let found = broken(|history| {
        history.events[2].end = End::Answered(Answer::Done(Some(item(1, 0))));
    });
    assert!(found.contains(&"operations on an item are strictly serialisable"), "{found:?}");
}

#[test]
fn a_torn_or_stale_query_is_found() {
    const MOMENT: &str = "an answer shows one moment";
    let stale = broken(|history| {
        history.wholes[0].items = [(None, item(1, 0).unwrap())].into();
    });
    assert_eq!(stale, [MOMENT]);
    let future = broken(|history| history.wholes[0].items = [(None, item(4, 0).unwrap())].into());
    assert_eq!(future, [MOMENT]);
}

#[test]
fn a_table_that_is_not_found_although_it_exists_is_found() {
    let found = broken(|history| history.events[4].end = End::NoTable);
    assert_eq!(found, ["a table that exists is found"]);
    let found = broken(|history| history.tables[0].done = false);
    assert!(found.contains(&"a table that does not exist answers nothing"), "{found:?}");
}

#[test]
fn a_number_that_is_none_and_an_event_id_twice_are_found() {
    let found = broken(|history| {
        shard(history, 1).records[1].number = "017".into();
        history.tails.clear();
    });
    assert!(found.contains(&"sequence numbers rise within a shard and its range"), "{found:?}");
    let found = broken(|history| {
        shard(history, 1).records[1].event_id = "e101".into();
        history.tails.clear();
    });
    assert_eq!(found, ["an event id names one record"]);
}

#[test]
fn a_reader_from_the_newest_record_is_judged() {
    const LATEST: &str = "LATEST starts at the newest record";
    let late = |from: u64, records: fn(&ShardRead) -> Vec<Change>| {
        broken(|history| {
            let records = records(shard(history, 1));
            let (arn, shard) = (ARN.to_owned(), "s2".to_owned());
            history.late.push(LateRead {
                arn,
                shard,
                invoked: from,
                answered: from + 1,
                next: Some("i".into()),
                stopped: false,
                records,
            });
        })
    };
    assert_eq!(late(35, |shard| vec![shard.records[1].clone()]), [] as [&str; 0]);
    assert_eq!(late(45, |shard| vec![shard.records[1].clone()]), [LATEST], "answered before it was asked for");
    assert_eq!(late(35, |shard| vec![shard.records[1].clone(), shard.records[0].clone()]), [LATEST]);
    assert_eq!(late(35, |_| vec![record(120, ChangeKind::Insert, None, item(4, 0))]), [LATEST]);
}
