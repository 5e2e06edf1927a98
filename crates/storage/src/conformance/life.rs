//! Opening, closing, callers that go away.

use headwater_types::{Millis, SequenceNumber};

use super::{Bench, delete, head, is_fenced, moves, numbers_of, put, record, simple};
use crate::contract::{BatchId, CommitError, Plan};
use crate::error::Kind;

pub(super) async fn a_closed_store_opens_again_with_everything(bench: &Bench) {
    let mut version = 0;
    let mut numbers: Vec<SequenceNumber> = Vec::new();
    for round in 0..4u64 {
        for i in 0..30u64 {
            let key = format!("k{}", i % 10);
            let write = if i % 10 == round { delete(&key) } else { put(&key, format!("{round}.{i}")) };
            let plan = Plan {
                heads: vec![moves(head(1), version)],
                writes: vec![write],
                records: vec![record(0, 1, format!("{round}.{i}"))],
            };
            numbers.extend(bench.committed(plan).await.1);
            version += 1;
        }
        let before = bench.cell().snapshot().head(head(1)).expect("head is read");
        let position = bench.cell().snapshot().position();
        bench.reopen().await;
        assert_eq!(bench.cell().snapshot().head(head(1)).expect("head is read"), before);
        assert!(bench.cell().snapshot().position() >= position, "positions do not fall over a restart");
        assert_eq!(bench.log(1).iter().map(|record| record.number).collect::<Vec<_>>(), numbers);
        for i in 0..10u64 {
            let expected = (i != round).then(|| format!("{round}.{}", 20 + i));
            let found = bench.get(&format!("k{i}")).map(|value| String::from_utf8_lossy(&value).into_owned());
            assert_eq!(found, expected, "k{i} after round {round}");
        }
    }
    bench.reopen().await;
    assert_eq!(bench.log(1).len(), numbers.len(), "opened twice without a write between");
}

pub(super) async fn numbers_go_on_rising_after_a_reopen(bench: &Bench) {
    // Ahead of the clock by more than a millisecond's counter.
    let records = (0..70_000).map(|_| record(0, 1, "")).collect();
    let (_, before) = bench.committed(Plan { heads: vec![moves(head(1), 0)], writes: Vec::new(), records }).await;
    bench.reopen().await;
    assert!(bench.cell().store_time_mark() <= Millis(i64::MAX / 2));
    let (_, after) = bench.committed(simple(1, 1, "k", "v")).await;
    assert!(before.last() < after.first());
}

pub(super) async fn groups_commit_in_the_order_of_the_calls(bench: &Bench) {
    let most = bench.cell().groups_in_flight_max().min(8) as u64;
    let mut version = 0;
    for _ in 0..20 {
        // Each group builds on the one before, whose outcome is not known yet.
        let called: Vec<_> = (0..most)
            .map(|i| bench.cell().commit(bench.batch(vec![simple(1, version + i, "k", &(version + i).to_string())])))
            .collect();
        version += most;
        // Waiting for the last first changes nothing.
        let mut numbers = Vec::new();
        for commit in called.into_iter().rev() {
            let outcomes = commit.await.expect("the batch has outcomes");
            numbers.push(numbers_of(&outcomes[0]).1[0]);
        }
        assert!(numbers.is_sorted_by(|a, b| a > b), "{numbers:?}");
    }
    let texts: Vec<_> = bench.log(1).iter().map(|r| String::from_utf8_lossy(&r.payload).into_owned()).collect();
    assert_eq!(texts, (0..version).map(|v| v.to_string()).collect::<Vec<_>>());
}

pub(super) async fn a_dropped_commit_future_still_commits(bench: &Bench) {
    for version in 0..10 {
        // Never polled at all.
        drop(bench.cell().commit(bench.batch(vec![simple(1, 2 * version, "k", "dropped")])));
        let mut published = bench.cell().published();
        while bench.cell().snapshot().head(head(1)).expect("head is read").version < 2 * version + 1 {
            published.changed().await.expect("the cell is open");
        }
        bench.committed(simple(1, 2 * version + 1, "k", "kept")).await;
    }
    assert_eq!(bench.log(1).len(), 20);
}

pub(super) async fn a_closed_cell_answers_closed(bench: &Bench) {
    let cell = bench.cell();
    let last = cell.commit(bench.batch(vec![simple(1, 0, "k", "in time")]));
    cell.close().await.expect("a clean stop succeeds");
    assert!(!last.await.expect("what was handed in before is committed").iter().any(is_fenced));
    let late = cell.commit(bench.batch(vec![simple(1, 1, "k", "late")])).await;
    assert!(matches!(late, Err(CommitError::Closed(error)) if error.kind == Kind::Closed));
    cell.close().await.expect("closing twice is no error");
    drop(cell);
    bench.reopen().await;
    assert_eq!(bench.get("k").as_deref(), Some(&b"in time"[..]));
}

pub(super) async fn positions_rise_and_the_watch_is_raised(bench: &Bench) {
    let mut published = bench.cell().published();
    let mut last = bench.cell().snapshot().position();
    assert_eq!(*published.borrow_and_update(), last);
    for version in 0..20 {
        bench.committed(simple(1, version, "k", "v")).await;
        let position = bench.cell().snapshot().position();
        assert!(position > last, "a group takes a position of its own");
        assert!(published.has_changed().expect("the cell is open"));
        assert_eq!(*published.borrow_and_update(), position, "answered after it is published");
        last = position;
    }
}

pub(super) async fn an_id_that_was_never_handed_in_resolves_to_nothing(bench: &Bench) {
    bench.committed(simple(1, 0, "k", "v")).await;
    let stranger = BatchId(bench.runtime.random_u128());
    assert_eq!(bench.cell().resolve(stranger).await.expect("resolve succeeds"), None);
}
