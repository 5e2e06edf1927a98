//! The memory engine: the conformance suite, and what its faults do and do not do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_storage::conformance::{self, Store};
use headwater_storage::contract::{
    Batch, BatchId, Cell, CommitError, From, HeadChange, HeadUse, Horizon, Outcome, PageLimit, Plan, Record, Write,
};
use headwater_storage::keyspace::partition_head;
use headwater_storage::memory::{Faults, Model, Node, Settings, Step};
use headwater_types::runtime::simulated::World;
use headwater_types::{BoxFuture, Clock, Millis, Runtime, SequenceNumber, ShardUid};

const DATABASE: u64 = 99;
const SLOW: Faults = Faults { slow: 3_000, slow_max: Duration::from_millis(5), ..Faults::NONE };

struct MemoryStore {
    model: Model,
    runtime: Runtime,
    faults: Faults,
}

impl Store for MemoryStore {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Cell>> {
        let node = open(&self.model, &self.runtime, self.faults);
        Box::pin(async move { node as Arc<dyn Cell> })
    }
}

fn open(model: &Model, runtime: &Runtime, faults: Faults) -> Arc<Node> {
    model.node(runtime.clone(), Clock::new(runtime.clone(), Millis::default()), faults)
}

fn conforms(seed: u64, settings: Settings, faults: Faults) -> (conformance::Report, u64) {
    let world = World::new(seed);
    let (runtime, database) = (world.node(1), world.node(DATABASE));
    let report = world.run(async move {
        let new_store = || -> Box<dyn Store> {
            let model = Model::new(database.clone(), settings);
            Box::new(MemoryStore { model, runtime: runtime.clone(), faults })
        };
        conformance::all(&runtime, &new_store).await
    });
    (report, world.trace())
}

#[test]
fn the_model_of_one_node_conforms() {
    let (report, _) = conforms(1, Settings::OWN, Faults::NONE);
    println!("own cell: {report:?}");
    for seed in 2..6 {
        assert_eq!(conforms(seed, Settings::OWN, SLOW).0.promises, report.promises);
    }
}

#[test]
fn the_model_of_several_nodes_conforms() {
    let (report, _) = conforms(1, Settings::SHARED, Faults::NONE);
    println!("shared cell: {report:?}");
    for seed in 2..6 {
        assert_eq!(conforms(seed, Settings::SHARED, SLOW).0.promises, report.promises);
    }
}

#[test]
fn several_nodes_of_the_model_keep_what_is_promised_to_them() {
    for seed in 1..6 {
        let world = World::new(seed);
        let (runtime, database) = (world.node(1), world.node(DATABASE));
        let report = world.run(async move {
            let new_store = || -> Box<dyn Store> {
                let model = Model::new(database.clone(), Settings::SHARED);
                Box::new(MemoryStore { model, runtime: runtime.clone(), faults: SLOW })
            };
            conformance::several_nodes(&runtime, &new_store).await
        });
        assert!(report.promises == 7 && report.batches > 100, "{report:?}");
    }
}

#[test]
fn one_seed_gives_one_schedule() {
    assert_eq!(conforms(7, Settings::OWN, SLOW), conforms(7, Settings::OWN, SLOW));
    assert_ne!(conforms(7, Settings::OWN, SLOW).1, conforms(8, Settings::OWN, SLOW).1);
}

fn plan(number: u64, expected: u64, value: &str) -> Plan {
    let change = HeadChange::Move { items: 1, bytes: 1, take: false, above: Vec::new() };
    let payload = Bytes::copy_from_slice(value.as_bytes());
    Plan {
        heads: vec![HeadUse { key: partition_head(number), expected, change }],
        writes: vec![Write { key: key(value), value: Some(payload.clone()), stamp: None }],
        records: vec![Record { head: 0, shard: ShardUid(number), payload }],
    }
}

fn key(value: &str) -> Bytes {
    format!("\u{10}{value}").into()
}

fn batch(runtime: &Runtime, plan: Plan) -> Batch {
    Batch { id: BatchId(runtime.random_u128()), plans: vec![plan] }
}

fn log(cell: &dyn Cell, shard: u64) -> Vec<String> {
    let limit = PageLimit { records: usize::MAX, bytes: usize::MAX };
    let page = cell.snapshot().read_log(ShardUid(shard), From::At(SequenceNumber::ZERO), limit).expect("a page");
    page.iter().map(|record| String::from_utf8(record.payload.to_vec()).expect("text")).collect()
}

fn version(cell: &dyn Cell, number: u64) -> u64 {
    cell.snapshot().head(partition_head(number)).expect("a head").version
}

/// Goal: a crash at a step keeps exactly what was durable before it, whole.
#[test]
fn a_crash_at_any_step_keeps_what_was_durable_and_nothing_else() {
    for settings in [Settings::OWN, Settings::SHARED] {
        for step in Step::ALL {
            let mut kept_ever = [false, false];
            for seed in 0..20 {
                let world = World::new(seed);
                let (runtime, database, killer) = (world.node(1), world.node(DATABASE), world.clone());
                let next = world.node(2);
                let kept = world.run(async move {
                    let model = Model::new(database, settings);
                    let node = open(&model, &runtime, Faults { crash_at: Some((step, 3)), ..Faults::NONE });
                    for version in 0..2 {
                        let text = version.to_string();
                        node.commit(batch(&runtime, plan(1, version, &text))).await.unwrap();
                    }
                    let mut crashed = node.crashed();
                    drop(node.commit(batch(&runtime, plan(1, 2, "2"))));
                    crashed.wait_for(|crashed| *crashed).await.unwrap();
                    killer.kill(1);
                    next.sleep(Duration::from_millis(50)).await;
                    let again = open(&model, &next, Faults::NONE);
                    let kept = version(&*again, 1) == 3;
                    assert_eq!(version(&*again, 1), if kept { 3 } else { 2 });
                    assert_eq!(log(&*again, 1).len(), if kept { 3 } else { 2 }, "head and log agree");
                    assert_eq!(again.snapshot().get(&key("2")).unwrap().is_some(), kept, "head and keys agree");
                    assert_eq!(model.counts().crashes, 1);
                    again.commit(batch(&next, plan(1, if kept { 3 } else { 2 }, "on"))).await.unwrap();
                    kept
                });
                kept_ever[usize::from(kept)] = true;
            }
            let expected = match (settings.shared, step) {
                (_, Step::Taken) | (false, Step::Written) => [true, false],
                (true, Step::Written) => [true, true],
                (_, Step::Durable | Step::Published) => [false, true],
            };
            assert_eq!(kept_ever, expected, "[lost, kept] at {step:?}, shared {}", settings.shared);
        }
    }
}

/// Goal: relaxed answers can be taken back by a crash, what a log reader saw never.
#[test]
fn relaxed_crashes_take_back_answers_but_never_what_a_log_reader_saw() {
    let (mut lost, mut kept) = (0, 0);
    for seed in 0..40 {
        let world = World::new(seed);
        let (runtime, database, killer) = (world.node(1), world.node(DATABASE), world.clone());
        let next = world.node(2);
        let (answered, seen, left) = world.run(async move {
            let model = Model::new(database, Settings::RELAXED);
            let node = open(&model, &runtime, SLOW);
            for version in 0..30 {
                let text = version.to_string();
                node.commit(batch(&runtime, plan(1, version, &text))).await.unwrap();
            }
            let (answered, seen) = (version(&*node, 1), log(&*node, 1));
            killer.kill(1);
            drop(node);
            let again = open(&model, &next, Faults::NONE);
            assert_eq!(version(&*again, 1) as usize, log(&*again, 1).len());
            assert_eq!(model.counts().groups_lost, 30 - version(&*again, 1));
            (answered, seen, log(&*again, 1))
        });
        assert_eq!(answered, 30);
        assert!(left.starts_with(&seen), "a reader was shown what is gone");
        lost += 30 - left.len();
        kept += left.len();
    }
    assert!(lost > 0 && kept > 0, "lost {lost}, kept {kept}");
}

/// Goal: no record goes for a reason that a crash takes back: what was published before a trim is durable after it.
#[test]
fn no_record_goes_for_a_reason_that_a_relaxed_crash_takes_back() {
    let world = World::new(1);
    let (runtime, database, killer, next) = (world.node(1), world.node(DATABASE), world.clone(), world.node(2));
    world.run(async move {
        let model = Model::new(database, Settings::RELAXED);
        let node = open(&model, &runtime, Faults::NONE);
        node.commit(batch(&runtime, plan(1, 0, "moved"))).await.unwrap();
        // Syncs it.
        runtime.sleep(Settings::RELAXED.sync_interval).await;
        assert_eq!(log(&*node, 1).len(), 1);
        node.commit(batch(&runtime, plan(2, 0, "position"))).await.unwrap();
        node.trim(&[Horizon { shard: ShardUid(1), below: SequenceNumber(u64::MAX) }]).unwrap();
        killer.kill(1);
        drop(node);
        let again = open(&model, &next, Faults::NONE);
        assert_eq!((log(&*again, 1).len(), version(&*again, 2)), (0, 1), "the record is gone, and why is not");
    });
}

/// Goal: an unknown outcome is resolved once and for all, and a batch that was asked for in vain never commits.
#[test]
fn an_unknown_batch_is_committed_or_never_will_be() {
    let (mut committed, mut never) = (0, 0);
    for seed in 0..60 {
        let world = World::new(seed);
        let (runtime, database) = (world.node(1), world.node(DATABASE));
        let (done, counts) = world.run(async move {
            let model = Model::new(database, Settings::SHARED);
            let node = open(&model, &runtime, Faults { unknown: 10_000, resolve_unavailable: 3_000, ..SLOW });
            let batch = batch(&runtime, plan(1, 0, "x"));
            let id = batch.id;
            assert!(matches!(node.commit(batch).await, Err(CommitError::Unknown)));
            runtime.sleep(Duration::from_micros(runtime.random() % 15_000)).await;
            let outcome = loop {
                if let Ok(outcome) = node.resolve(id).await {
                    break outcome;
                }
            };
            runtime.sleep(Duration::from_millis(50)).await;
            assert_eq!(version(&*node, 1), u64::from(outcome.is_some()), "what resolve said stays true");
            loop {
                if let Ok(again) = node.resolve(id).await {
                    assert_eq!(again, outcome);
                    break;
                }
            }
            (outcome.is_some(), model.counts())
        });
        assert_eq!(counts.unknown, 1);
        assert_eq!(counts.unknown_committed, u64::from(done));
        if done { committed += 1 } else { never += 1 }
    }
    assert!(committed > 5 && never > 5, "committed {committed}, never {never}");
}

/// Goal: two nodes that write one range fence each other and lose nothing: each retries with the head it finds.
#[test]
fn two_nodes_on_one_cell_fence_each_other_and_lose_no_write() {
    let mut totals = (0, 0);
    for seed in 0..10 {
        let world = World::new(seed);
        let (database, nodes) = (world.node(DATABASE), [world.node(1), world.node(2)]);
        let (counts, records) = world.run(async move {
            let model = Model::new(database, Settings::SHARED);
            let mut writers = Vec::new();
            for (index, runtime) in nodes.into_iter().enumerate() {
                let node = open(&model, &runtime, Faults { conflicting: 500, ..SLOW });
                let inner = runtime.clone();
                writers.push(runtime.spawn(async move {
                    let mut numbers = BTreeMap::new();
                    for i in 0..25 {
                        let text = format!("{index}.{i}");
                        loop {
                            let expected = version(&*node, 1);
                            let outcomes = node.commit(batch(&inner, plan(1, expected, &text))).await.unwrap();
                            if let Outcome::Committed { numbers: given, .. } = &outcomes[0] {
                                numbers.insert(given[0], text);
                                break;
                            }
                        }
                    }
                    (node, numbers)
                }));
            }
            let mut all = BTreeMap::new();
            let mut last = None;
            for writer in writers {
                let (node, numbers) = writer.await.unwrap();
                all.extend(numbers);
                last = Some(node);
            }
            let log = log(&*last.unwrap(), 1);
            assert_eq!(log, all.into_values().collect::<Vec<_>>(), "each write once, in order of the numbers");
            (model.counts(), log.len())
        });
        assert_eq!(records, 50);
        totals.0 += counts.fenced;
        totals.1 += counts.conflicting;
    }
    assert!(totals.0 > 20 && totals.1 > 5, "fenced and conflicting: {totals:?}");
}

#[test]
fn a_full_disk_refuses_and_a_failed_sync_closes() {
    let world = World::new(3);
    let (runtime, database, next) = (world.node(1), world.node(DATABASE), world.node(2));
    world.run(async move {
        let model = Model::new(database, Settings::OWN);
        let node = open(&model, &runtime, Faults { full: 10_000, ..Faults::NONE });
        let refused = node.commit(batch(&runtime, plan(1, 0, "x"))).await;
        assert!(matches!(refused, Err(CommitError::Full(_))));
        node.set_faults(Faults::NONE);
        node.commit(batch(&runtime, plan(1, 0, "x"))).await.unwrap();
        node.set_faults(Faults { sync_failed: 10_000, ..Faults::NONE });
        let unsynced = node.commit(batch(&runtime, plan(1, 1, "y"))).await;
        assert!(matches!(unsynced, Err(CommitError::Closed(_))));
        let later = node.commit(batch(&runtime, plan(1, 1, "z"))).await;
        assert!(matches!(later, Err(CommitError::Closed(_))));
        assert_eq!(log(&*node, 1), ["x"], "what was not synced is not shown");
        let again = open(&model, &next, Faults::NONE);
        assert_eq!((version(&*again, 1), log(&*again, 1)), (1, vec!["x".to_owned()]));
        // The handle of the process before does nothing more: its commit never ends.
        node.set_faults(Faults::NONE);
    });
}
