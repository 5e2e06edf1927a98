//! Heads compared: what fences a plan and what a fenced plan does not do.

use super::{Bench, compares, head, is_fenced, moves, numbers_of, put, record, simple};
use crate::contract::{Outcome, Plan};

pub(super) async fn a_moved_head_fences_a_plan(bench: &Bench) {
    bench.committed(simple(1, 0, "k", "first")).await;
    for stale in [0, 2, u64::MAX] {
        let outcomes = bench.commit(vec![simple(1, stale, "k", "stale")]).await;
        assert_eq!(outcomes, [Outcome::Fenced { heads: vec![head(1)] }], "expected {stale}, is 1");
    }
    assert_eq!(bench.get("k").as_deref(), Some(&b"first"[..]));
    let reader = Plan { heads: vec![moves(head(2), 0), compares(head(1), 0)], ..Plan::default() };
    assert_eq!(bench.commit(vec![reader]).await, [Outcome::Fenced { heads: vec![head(1)] }]);
    bench.committed(simple(1, 1, "k", "second")).await;
}

pub(super) async fn a_compared_head_is_not_moved(bench: &Bench) {
    bench.committed(simple(1, 0, "k", "v")).await;
    for version in 0..3 {
        let heads = vec![compares(head(1), 1), compares(head(8), 0), moves(head(2), version)];
        bench.committed(Plan { heads, ..Plan::default() }).await;
    }
    let snapshot = bench.cell().snapshot();
    assert_eq!(snapshot.head(head(1)).expect("head is read").version, 1);
    assert_eq!(snapshot.head(head(8)).expect("head is read").version, 0);
    assert_eq!(snapshot.head(head(2)).expect("head is read").version, 3);
}

pub(super) async fn a_fenced_plan_leaves_no_trace(bench: &Bench) {
    let (_, numbers) = bench.committed(simple(1, 0, "k", "v")).await;
    let before = bench.cell().snapshot().head(head(1)).expect("head is read");
    let plan = Plan {
        heads: vec![moves(head(1), 1), moves(head(2), 5)],
        writes: vec![put("k", "fenced"), put("other", "fenced")],
        records: vec![record(0, 1, "fenced"), record(1, 2, "fenced")],
    };
    let outcomes = bench.commit(vec![plan]).await;
    assert_eq!(outcomes, [Outcome::Fenced { heads: vec![head(2)] }], "only the head that differs is named");
    for reopened in [false, true] {
        if reopened {
            bench.reopen().await;
        }
        assert_eq!(bench.get("k").as_deref(), Some(&b"v"[..]));
        assert_eq!(bench.get("other"), None);
        assert_eq!(bench.log(1).iter().map(|r| r.number).collect::<Vec<_>>(), numbers);
        assert!(bench.log(2).is_empty());
        let snapshot = bench.cell().snapshot();
        assert_eq!(snapshot.head(head(1)).expect("head is read"), before);
        assert_eq!(snapshot.head(head(2)).expect("head is read").version, 0);
    }
}

pub(super) async fn a_plan_that_builds_on_a_fenced_one_is_fenced(bench: &Bench) {
    bench.committed(simple(1, 0, "k", "v")).await;
    bench.committed(simple(2, 0, "k2", "v")).await;
    let two = |a: u64, version_a: u64, b: u64, version_b: u64| Plan {
        heads: vec![moves(head(a), version_a), moves(head(b), version_b)],
        ..Plan::default()
    };
    let plans = vec![
        // Stale: head 1 is at 1.
        two(1, 0, 2, 1),
        // Expects what the first would have made of head 1, which another writer happened to make of it: fenced all
        // the same, for it was planned on the first one's values.
        two(1, 1, 3, 0),
        // Builds on the second by head 3, though that head's version is as expected: zero.
        two(3, 0, 4, 0),
        simple(4, 1, "k4", "late"),
    ];
    let outcomes = bench.commit(plans).await;
    assert!(outcomes.iter().all(is_fenced), "{outcomes:?}");
    let snapshot = bench.cell().snapshot();
    for (number, version) in [(1, 1), (2, 1), (3, 0), (4, 0)] {
        assert_eq!(snapshot.head(head(number)).expect("head is read").version, version, "head {number}");
    }
    assert_eq!(bench.get("k4"), None);
}

pub(super) async fn an_unrelated_plan_of_the_same_batch_is_committed(bench: &Bench) {
    let plans = vec![
        simple(1, 0, "a", "kept"),
        simple(2, 9, "b", "fenced"),
        simple(3, 0, "c", "kept"),
        simple(1, 1, "a", "kept too"),
        simple(2, 10, "b", "fenced too"),
    ];
    let outcomes = bench.commit(plans).await;
    assert_eq!(outcomes.iter().map(is_fenced).collect::<Vec<_>>(), [false, true, false, false, true]);
    assert_eq!(bench.get("a").as_deref(), Some(&b"kept too"[..]));
    assert_eq!(bench.get("b"), None);
    assert_eq!(bench.get("c").as_deref(), Some(&b"kept"[..]));
    assert!(bench.log(2).is_empty());
}

pub(super) async fn of_two_that_race_for_a_head_one_wins(bench: &Bench) {
    for version in 0..20 {
        let plans = ["left", "right"].map(|side| simple(1, version, "k", side));
        let futures = if bench.cell().groups_in_flight_max() > 1 {
            let racing = plans.map(|plan| bench.cell().commit(bench.batch(vec![plan])));
            let mut outcomes = Vec::new();
            for commit in racing {
                outcomes.extend(commit.await.expect("the batch has outcomes"));
            }
            outcomes
        } else {
            bench.commit(plans.to_vec()).await
        };
        assert_eq!(futures.iter().map(is_fenced).collect::<Vec<_>>(), [false, true]);
        numbers_of(&futures[0]);
        assert_eq!(bench.get("k").as_deref(), Some(&b"left"[..]));
    }
}
