//! Several nodes on one cell: what each may rely on of the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_types::{SequenceNumber, ShardUid};

use super::{Bench, head, is_fenced, numbers_of, simple, whole_key};
use crate::contract::{Cell, CommitError, From, Horizon, LogRecord, Outcome, PageLimit, Snapshot};

fn log(snapshot: &dyn Snapshot, shard: u64) -> Vec<LogRecord> {
    let limit = PageLimit { records: usize::MAX, bytes: usize::MAX };
    snapshot.read_log(ShardUid(shard), From::At(SequenceNumber::ZERO), limit).expect("log is read")
}

fn version(cell: &dyn Cell, number: u64) -> u64 {
    cell.snapshot().head(head(number)).expect("head is read").version
}

async fn commit(bench: &Bench, cell: &dyn Cell, number: u64, expected: u64, text: &str) -> Outcome {
    let batch = bench.batch(vec![simple(number, expected, "k", text)]);
    let outcomes = cell.commit(batch).await.expect("the batch has outcomes");
    outcomes.into_iter().next().expect("one outcome per plan")
}

pub(super) async fn what_one_node_was_answered_every_node_sees(bench: &Bench) {
    let nodes = [bench.cell(), bench.another().await, bench.another().await];
    for version in 0..30 {
        let writer = &nodes[version as usize % 3];
        let outcome = commit(bench, &**writer, 1, version, &version.to_string()).await;
        let (_, numbers) = numbers_of(&outcome);
        for node in &nodes {
            let snapshot = node.snapshot();
            assert_eq!(snapshot.head(head(1)).expect("head is read").version, version + 1);
            let value = snapshot.get(&whole_key("k")).expect("get succeeds");
            assert_eq!(value.as_deref(), Some(version.to_string().as_bytes()));
            assert_eq!(log(&*snapshot, 1).last().map(|record| record.number), numbers.last().copied());
        }
    }
}

pub(super) async fn nodes_that_race_for_a_head_fence_each_other_and_lose_nothing(bench: &Bench) {
    const WRITES: u64 = 20;
    let mut writers = Vec::new();
    for node in 0..3 {
        let cell = if node == 0 { bench.cell() } else { bench.another().await };
        // As many batches as all writers' tries may take.
        let ids: Vec<_> = (0..WRITES * 200).map(|_| bench.runtime.random_u128()).collect();
        writers.push(bench.runtime.spawn(async move {
            let (mut given, mut ids) = (BTreeMap::new(), ids.into_iter());
            for at in 0..WRITES {
                let text = format!("{node}.{at}");
                loop {
                    let plans = vec![simple(1, version(&*cell, 1), "k", &text)];
                    let id = crate::BatchId(ids.next().expect("someone always gets on"));
                    let outcomes = cell.commit(crate::Batch { id, plans }).await.expect("the batch has outcomes");
                    if !is_fenced(&outcomes[0]) {
                        given.insert(numbers_of(&outcomes[0]).1[0], text);
                        break;
                    }
                }
            }
            given
        }));
    }
    let mut all = BTreeMap::new();
    for writer in writers {
        all.extend(writer.await.expect("a writer ends"));
    }
    let found = log(&*bench.cell().snapshot(), 1);
    let found: BTreeMap<_, _> =
        found.into_iter().map(|r| (r.number, String::from_utf8_lossy(&r.payload).into_owned())).collect();
    assert_eq!(found.len() as u64, 3 * WRITES);
    assert_eq!(found, all, "each write once, under the number that was answered");
}

pub(super) async fn an_outcome_can_be_asked_for_on_another_node(bench: &Bench) {
    let other = bench.another().await;
    for version in 0..10 {
        let plans =
            vec![simple(1, version, "k", "kept"), simple(2, 99, "k", "fenced"), simple(1, version, "k", "late")];
        let batch = bench.batch(plans);
        let id = batch.id;
        let outcomes = bench.cell().commit(batch).await.expect("the batch has outcomes");
        for cell in [&other, &bench.cell()] {
            assert_eq!(cell.resolve(id).await.expect("resolve succeeds").as_ref(), Some(&outcomes));
        }
    }
}

pub(super) async fn a_batch_that_was_asked_for_in_vain_never_commits(bench: &Bench) {
    let other = bench.another().await;
    for version in 0..10 {
        let batch = bench.batch(vec![simple(1, version, "k", "never")]);
        let id = batch.id;
        assert_eq!(other.resolve(id).await.expect("resolve succeeds"), None);
        let answer = bench.cell().commit(batch).await;
        assert!(matches!(answer, Err(CommitError::Unknown)), "{answer:?}");
        assert_eq!(bench.cell().resolve(id).await.expect("resolve succeeds"), None, "what resolve said stays true");
        assert!(!is_fenced(&commit(bench, &*other, 1, version, "kept").await));
    }
    assert_eq!(log(&*other.snapshot(), 1).len(), 10);
}

pub(super) async fn a_snapshot_of_one_node_stays_the_same_while_another_writes_and_trims(bench: &Bench) {
    let other = bench.another().await;
    for version in 0..20 {
        commit(bench, &*other, 1, version, &version.to_string()).await;
    }
    let snapshot = bench.cell().snapshot();
    let look = |snapshot: &Arc<dyn Snapshot>| {
        let value = snapshot.get(&whole_key("k")).expect("get succeeds");
        (value, snapshot.head(head(1)).expect("head is read"), log(&**snapshot, 1), snapshot.position())
    };
    let seen = look(&snapshot);
    for version in 20..40 {
        commit(bench, &*other, 1, version, &version.to_string()).await;
        if version % 5 == 0 {
            let below = seen.2[(version - 20) as usize].number;
            other.trim(&[Horizon { shard: ShardUid(1), below }]).expect("trim succeeds");
        }
        assert_eq!(look(&snapshot), seen);
    }
}

pub(super) async fn the_watch_of_one_node_is_raised_by_another(bench: &Bench) {
    let other = bench.another().await;
    let mut published = bench.cell().published();
    for version in 0..20 {
        published.borrow_and_update();
        commit(bench, &*other, 1, version, "v").await;
        let newest = other.snapshot().position();
        published.wait_for(|position| *position >= newest).await.expect("the cell is open");
    }
}

pub(super) async fn numbers_and_positions_rise_from_node_to_node(bench: &Bench) {
    let nodes = [bench.cell(), bench.another().await];
    let (mut number, mut position) = (SequenceNumber::ZERO, bench.cell().snapshot().position());
    for version in 0..40 {
        let node = &nodes[(version % 2) as usize];
        let (_, numbers) = numbers_of(&commit(bench, &**node, 1, version, "v").await);
        assert!(numbers[0] > number);
        number = numbers[0];
        let now = nodes[(version as usize + 1) % 2].snapshot().position();
        assert!(now > position, "a group takes a position of its own");
        position = now;
    }
}
