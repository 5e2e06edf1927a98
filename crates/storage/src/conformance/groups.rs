//! Atomicity and numbering of one batch.

use bytes::Bytes;
use headwater_types::SequenceNumber;

use super::{Bench, compares, delete, head, moves, numbers_of, put, record, simple, takes};
use crate::contract::{Head, HeadChange, HeadUse, Plan, Stamp};

pub(super) async fn a_plan_changes_keys_heads_and_log_at_once(bench: &Bench) {
    let counted = HeadChange::Move { items: 2, bytes: 30, take: false, above: Vec::new() };
    let plan = Plan {
        heads: vec![HeadUse { key: head(1), expected: 0, change: counted }],
        writes: vec![put("a", "one"), put("b", "two")],
        records: vec![record(0, 7, "first"), record(0, 7, "second")],
    };
    let (taken, numbers) = bench.committed(plan).await;
    assert!(taken.is_empty());
    assert_eq!(numbers.len(), 2);
    let snapshot = bench.cell().snapshot();
    assert_eq!(bench.get("a").as_deref(), Some(&b"one"[..]));
    assert_eq!(bench.get("b").as_deref(), Some(&b"two"[..]));
    let expected = Head { version: 1, number: numbers[1], items: 2, bytes: 30 };
    assert_eq!(snapshot.head(head(1)).expect("head is read"), expected);
    assert_eq!(snapshot.head(head(2)).expect("head is read"), Head::default(), "never written: all zeros");
    let log = bench.log(7);
    assert_eq!(log.iter().map(|r| r.number).collect::<Vec<_>>(), numbers);
    assert_eq!(log[1].payload, Bytes::from_static(b"second"));

    let taken_back = HeadChange::Move { items: -1, bytes: -10, take: false, above: Vec::new() };
    let heads = vec![HeadUse { key: head(1), expected: 1, change: taken_back }];
    bench.committed(Plan { heads, writes: vec![delete("a")], records: Vec::new() }).await;
    assert_eq!(bench.get("a"), None);
    let now = bench.cell().snapshot().head(head(1)).expect("head is read");
    assert_eq!((now.version, now.number, now.items, now.bytes), (2, numbers[1], 1, 20));
}

pub(super) async fn a_later_plan_of_a_batch_builds_on_an_earlier_one(bench: &Bench) {
    let plans = vec![simple(1, 0, "k", "v0"), simple(1, 1, "k", "v1"), simple(1, 2, "k", "v2")];
    let outcomes = bench.commit(plans).await;
    let numbers: Vec<SequenceNumber> = outcomes.iter().flat_map(|outcome| numbers_of(outcome).1).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "numbers follow the order of the plans: {numbers:?}");
    assert_eq!(bench.get("k").as_deref(), Some(&b"v2"[..]));
    assert_eq!(bench.log(1).len(), 3);
    assert_eq!(bench.cell().snapshot().head(head(1)).expect("head is read").version, 3);
}

pub(super) async fn numbers_rise_and_every_record_gets_its_own(bench: &Bench) {
    let mut all = Vec::new();
    for version in 0..50 {
        let records = (0..version % 4).map(|i| record(0, 1, format!("{version}.{i}"))).collect();
        let plan = Plan { heads: vec![moves(head(1), version)], writes: Vec::new(), records };
        all.extend(bench.committed(plan).await.1);
    }
    assert!(all.is_sorted_by(|a, b| a < b));
    assert_eq!(bench.log(1).iter().map(|r| r.number).collect::<Vec<_>>(), all);
    // A run over the 16-bit counter of a millisecond still rises.
    let records = (0..70_000).map(|_| record(0, 1, "")).collect();
    let (_, many) = bench.committed(Plan { heads: vec![moves(head(1), 50)], writes: Vec::new(), records }).await;
    assert!(many.is_sorted_by(|a, b| a < b) && all.last() < many.first());
}

pub(super) async fn a_taken_number_comes_before_the_records_of_its_plan(bench: &Bench) {
    let (_, before) = bench.committed(simple(1, 0, "k", "v")).await;
    let plan = Plan {
        heads: vec![takes(head(1), 1, &[])],
        writes: Vec::new(),
        records: vec![record(0, 1, "after the number"), record(0, 1, "and another")],
    };
    let (taken, numbers) = bench.committed(plan).await;
    assert_eq!(taken.len(), 1);
    assert!(before[0] < taken[0] && taken[0] < numbers[0] && numbers[0] < numbers[1]);
    assert_eq!(bench.log(1).len(), 3, "a taken number has no record");
}

pub(super) async fn children_are_numbered_above_their_parents(bench: &Bench) {
    // The parent runs ahead of the clock: only the rule keeps its children above it.
    let records = (0..70_000).map(|_| record(0, 1, "")).collect();
    bench.committed(Plan { heads: vec![moves(head(1), 0)], writes: Vec::new(), records }).await;
    bench.committed(simple(4, 0, "second parent", "v")).await;
    let plan = Plan {
        heads: vec![
            takes(head(1), 1, &[]),
            takes(head(4), 1, &[]),
            takes(head(2), 0, &[0, 1]),
            takes(head(3), 0, &[0]),
        ],
        writes: Vec::new(),
        records: vec![record(2, 2, "first of a child")],
    };
    let (taken, numbers) = bench.committed(plan).await;
    assert_eq!(taken.len(), 4);
    assert!(taken[2] > taken[0] && taken[2] > taken[1] && taken[3] > taken[0] && numbers[0] > taken[2], "{taken:?}");
    // A head that takes nothing in that plan is above its parents all the same.
    let above = HeadChange::Move { items: 0, bytes: 0, take: false, above: vec![0] };
    let heads = vec![compares(head(2), 1), HeadUse { key: head(9), expected: 0, change: above }];
    bench.committed(Plan { heads, ..Plan::default() }).await;
    let (_, later) = bench.committed(simple(9, 1, "k", "v")).await;
    assert!(later[0] > numbers[0], "a child's first number is above its parent's last");
}

pub(super) async fn a_taken_number_is_stamped_into_the_value(bench: &Bench) {
    let mut first = put("one", [b'.'; 20]);
    first.stamp = Some(Stamp { head: 0, offset: 4 });
    let mut second = put("two", [b'.'; 8]);
    second.stamp = Some(Stamp { head: 1, offset: 0 });
    let heads = vec![takes(head(1), 0, &[]), takes(head(2), 0, &[0])];
    let (taken, _) = bench.committed(Plan { heads, writes: vec![first, second], records: Vec::new() }).await;
    let one = bench.get("one").expect("it was written");
    assert_eq!(&one[4..12], &taken[0].0.to_be_bytes());
    assert!(one[..4].iter().chain(&one[12..]).all(|byte| *byte == b'.'), "nothing else of the value changes");
    assert_eq!(&bench.get("two").expect("it was written")[..], &taken[1].0.to_be_bytes());
    bench.reopen().await;
    assert_eq!(bench.get("one"), Some(one), "a stamp survives a restart");
}

pub(super) async fn a_removed_head_starts_again_at_zero(bench: &Bench) {
    bench.committed(simple(1, 0, "k", "v")).await;
    let remove = HeadUse { key: head(1), expected: 1, change: HeadChange::Remove };
    bench.committed(Plan { heads: vec![remove], ..Plan::default() }).await;
    assert_eq!(bench.cell().snapshot().head(head(1)).expect("head is read"), Head::default());
    bench.committed(Plan { heads: vec![moves(head(1), 0)], ..Plan::default() }).await;
    assert_eq!(bench.cell().snapshot().head(head(1)).expect("head is read").version, 1);
}

pub(super) async fn the_last_write_of_a_key_wins(bench: &Bench) {
    let writes = vec![put("k", "1"), delete("k"), put("k", "3"), put("gone", "1"), delete("gone")];
    bench.committed(Plan { heads: vec![moves(head(1), 0)], writes, records: Vec::new() }).await;
    assert_eq!(bench.get("k").as_deref(), Some(&b"3"[..]));
    assert_eq!(bench.get("gone"), None);
}

pub(super) async fn large_values_and_many_plans_fit_into_one_batch(bench: &Bench) {
    let large = vec![b'x'; 3 << 20];
    let mut plans: Vec<Plan> = (0..500).map(|i| simple(i, 0, &format!("k{i}"), "v")).collect();
    plans.push(Plan {
        heads: vec![moves(head(1_000), 0)],
        writes: vec![put("large", &large), put("empty", "")],
        records: vec![record(0, 1_000, &large), record(0, 1_000, "")],
    });
    for outcome in bench.commit(plans).await {
        numbers_of(&outcome);
    }
    assert_eq!(bench.get("large").map(|v| v.len()), Some(large.len()));
    assert_eq!(bench.get("empty").as_deref(), Some(&b""[..]), "an empty value is not an absent one");
    assert_eq!(bench.log(1_000).iter().map(|r| r.payload.len()).collect::<Vec<_>>(), [large.len(), 0]);
    assert_eq!(bench.get("k499").as_deref(), Some(&b"v"[..]));
}
