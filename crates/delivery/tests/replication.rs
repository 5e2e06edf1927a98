//! Replication on the simulated runtime, over the model and over the embedded engine on a faulty disk: crashes at random
//! points, a target that is resharded, throttled, deleted and made again, a stream that is switched under the destination.
//!
//! The judge: every change has a number of its own among the changes of its item. At every durable point the target holds of
//! each item a prefix of its changes, each once, in order, and altogether as many as the saved positions say.

mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use headwater_catalog::{DestinationState, Precision, StreamView};
use headwater_delivery::{Disturbance, GIVEN_UP_AFTER_MS, Happening};
use headwater_log::{Change, DestinationChange, IndexChange};
use headwater_types::HashKey;
use headwater_types::runtime::simulated::World;

use world::{Judge, Lab, TARGET};

/// What one seed did, so that a run that did nothing shows.
#[derive(Clone, Copy, Default, Debug)]
struct Did {
    changes: u64,
    crashes: u64,
    splits: u64,
    reshards: u64,
    toggles: u64,
    targets: u64,
    looks: u64,
    throttled: u64,
}

impl std::ops::AddAssign for Did {
    fn add_assign(&mut self, other: Self) {
        self.changes += other.changes;
        self.crashes += other.crashes;
        self.splits += other.splits;
        self.reshards += other.reshards;
        self.toggles += other.toggles;
        self.targets += other.targets;
        self.looks += other.looks;
        self.throttled += other.throttled;
    }
}

/// Seeds of each engine, enough for every kind of step to occur many times; they take most of this file's time.
const SEEDS: u64 = 6;

async fn seed(world: World, on_files: bool, planted: bool) -> Result<Did, String> {
    let mut did = Did::default();
    let mut lab = if on_files { Lab::open_on_files(&world, planted).await } else { Lab::open(&world, planted).await };
    lab.create(Some(StreamView::KeysOnly).filter(|_| lab.dice(2) == 0)).await;
    lab.create_target(2).await;
    let mut judge = Judge::default();
    // Not replicated: it was committed before.
    lab.write(&mut judge, false).await;
    lab.enable(None).await;
    for _ in 0..220 {
        match lab.dice(40) {
            0..=17 => {
                lab.write(&mut judge, true).await;
                did.changes += 1;
            }
            18..=26 => lab.pass().await,
            27 => drop(lab.log.retain().await.expect("trimmed")),
            28..=30 => {
                lab.pass_and_crash().await;
                did.crashes += 1;
            }
            31..=32 => did.splits += u64::from(lab.split_or_roll_over().await),
            33..=34 => {
                lab.toggle_stream().await;
                did.toggles += 1;
            }
            35..=37 => did.reshards += u64::from(lab.reshard().await),
            38 => {
                let refuses = lab.dice(2) == 0;
                lab.refuse(refuses);
            }
            _ => {
                judge.look(&lab)?;
                judge.forget_target(&lab);
                lab.delete_target().await;
                lab.write(&mut judge, true).await;
                lab.pass().await;
                lab.create_target(1 + lab.dice(3) as usize).await;
                (did.changes, did.targets) = (did.changes + 1, did.targets + 1);
            }
        }
        judge.look(&lab)?;
        did.looks += 1;
    }
    lab.refuse(false);
    if lab.dice(2) == 0 {
        lab.change(DestinationChange::Disable).await;
        // Committed afterwards: not replicated.
        lab.write(&mut judge, false).await;
        lab.write(&mut judge, false).await;
        lab.finish(&mut judge).await?;
        if lab.destination().state != DestinationState::Disabled {
            return Err(format!("the destination is {:?}", lab.destination().state));
        }
    } else {
        lab.finish(&mut judge).await?;
    }
    judge.look_at_end(&lab)?;
    did.throttled = lab.throttled();
    Ok(did)
}

fn run(number: u64, on_files: bool, planted: bool) -> Result<Did, String> {
    let world = World::new(number);
    world.run(seed(world.clone(), on_files, planted)).map_err(|why| format!("seed {number}: {why}"))
}

#[test]
fn every_change_is_sent_once_and_in_order_whatever_happens() {
    let mut did = Did::default();
    for number in 0..SEEDS {
        did += run(number, false, false).expect("the target holds a prefix of the source");
        did += run(number, true, false).expect("the target holds a prefix of the source");
    }
    println!("{SEEDS} seeds on each of two engines: {did:?}");
    assert!(did.changes > 500 && did.crashes > 50 && did.splits > 25 && did.reshards > 25 && did.looks > 1_000);
    assert!(did.toggles > 25 && did.targets > 10 && did.throttled > 0);
}

#[cfg(feature = "planted-bugs")]
#[test]
fn a_position_saved_apart_from_its_effect_is_found() {
    let found = (0..SEEDS).filter_map(|number| run(number, number % 2 == 0, true).err()).collect::<Vec<_>>();
    println!("found in {} of {SEEDS} seeds: {}", found.len(), found.first().map_or("", String::as_str));
    assert!(!found.is_empty());
}

#[test]
fn a_disturbed_replication_repeats_and_reorders_and_loses_nothing() {
    let world = World::new(5);
    let inner = world.clone();
    let (distinct, records, late) = world.run(async move {
        let lab = Lab::open(&inner, false).await;
        lab.create(None).await;
        lab.create_target(1).await;
        lab.enable(None).await;
        lab.jobs.disturb(Some(Disturbance { seed: 3, duplicates: 20, reorders: 20 }));
        let mut judge = Judge::default();
        for _ in 0..300 {
            lab.write(&mut judge, true).await;
        }
        while lab.jobs.pass().await.expect("a pass") {}
        let read = lab.read_target();
        let mut last = BTreeMap::new();
        let mut late = 0;
        let mut distinct = std::collections::BTreeSet::new();
        for (item, number) in &read {
            late += u64::from(last.insert(*item, *number).is_some_and(|before| before > *number));
            distinct.insert((*item, *number));
        }
        assert_eq!(distinct.len(), judge.sent(), "nothing is lost");
        (distinct.len(), read.len(), late)
    });
    println!("{distinct} changes as {records} records, {late} behind a later one of their item");
    assert!(records > distinct && late > 0);
}

#[test]
fn too_large_a_record_is_passed_over_and_counted() {
    let world = World::new(6);
    let inner = world.clone();
    world.run(async move {
        let lab = Lab::open(&inner, false).await;
        lab.create(None).await;
        lab.create_target(1).await;
        lab.enable(Some(Precision::Microsecond)).await;
        let mut judge = Judge::default();
        lab.write(&mut judge, true).await;
        // 390 KB of text that JSON writes six times as long, before and after.
        lab.put_large().await;
        lab.write(&mut judge, true).await;
        lab.finish(&mut judge).await.expect("the others are sent");
        judge.look_at_end(&lab).expect("in order");
        let replication = lab.jobs.replications().pop().expect("one");
        assert_eq!((replication.tally.sent, replication.tally.oversized, replication.lag_ms), (2, 1, 0));
        assert_eq!(lab.jobs.totals().oversized, 1);
    });
}

#[test]
fn what_is_too_old_is_given_up_counted_and_told() {
    let world = World::new(7);
    let inner = world.clone();
    world.run(async move {
        let lab = Lab::open(&inner, false).await;
        lab.create(Some(StreamView::KeysOnly)).await;
        lab.create_target(1).await;
        lab.enable(None).await;
        let mut judge = Judge::default();
        lab.write(&mut judge, true).await;
        lab.finish(&mut judge).await.expect("sent");
        lab.delete_target().await;
        for _ in 0..5 {
            lab.write(&mut judge, true).await;
        }
        lab.pass().await;
        // Clients see none of them any more; the mover still does.
        lab.advance(Duration::from_secs(25 * 3_600)).await;
        lab.pass().await;
        assert_eq!(lab.destination().state, DestinationState::Active);
        let oldest = lab.log.oldest_unmoved(lab.destination().incarnation).expect("readable");
        assert!(oldest.is_some(), "what the mover has not passed is kept");
        lab.advance(Duration::from_millis(GIVEN_UP_AFTER_MS as u64)).await;
        while lab.jobs.pass().await.expect("a pass") {}
        let destination = lab.destination();
        assert_eq!((destination.state, destination.tally.lost), (DestinationState::EnableFailed, 5));
        let happened = lab.happened();
        println!("{happened:?}");
        let expected = [Happening::Started, Happening::Stalled, Happening::Lost, Happening::Stopped];
        assert_eq!(happened, expected);
        lab.create_target(1).await;
        lab.enable(None).await;
        lab.write(&mut judge, true).await;
        while lab.jobs.pass().await.expect("a pass") {}
        assert_eq!(lab.read_target().len(), 1, "enabled again, it starts anew");
    });
}

#[test]
fn a_deleted_and_made_again_target_gets_the_backlog() {
    let world = World::new(8);
    let inner = world.clone();
    world.run(async move {
        let lab = Lab::open(&inner, false).await;
        lab.create(None).await;
        lab.create_target(1).await;
        lab.enable(None).await;
        let mut judge = Judge::default();
        lab.delete_target().await;
        for _ in 0..5 {
            lab.write(&mut judge, true).await;
        }
        lab.pass().await;
        lab.advance(Duration::from_secs(30 * 3_600)).await;
        lab.create_target(2).await;
        lab.finish(&mut judge).await.expect("sent");
        assert_eq!(lab.read_target().len(), 5);
        assert_eq!(lab.happened(), [Happening::Started, Happening::Stalled, Happening::Recovered]);
    });
}

#[test]
fn a_table_that_goes_is_drained_first() {
    let world = World::new(9);
    let inner = world.clone();
    let (drained, dropped) = world.run(async move {
        let mut counts = [0, 0];
        for (at, with_target) in [true, false].into_iter().enumerate() {
            let lab = Lab::open(&inner, false).await;
            lab.create(Some(StreamView::NewImage).filter(|_| with_target)).await;
            lab.create_target(1).await;
            lab.enable(None).await;
            let mut judge = Judge::default();
            for _ in 0..7 {
                lab.write(&mut judge, true).await;
            }
            if !with_target {
                lab.delete_target().await;
            }
            let table = lab.table().id;
            lab.define(Change::Delete { table }).await;
            while lab.jobs.pass().await.expect("a pass") {}
            assert!(lab.log.catalog().expect("a catalog").table_by_id(table).is_none(), "it is gone");
            lab.log.retain().await.expect("what is left goes");
            let data_stream = lab.log.catalog().expect("a catalog").data_stream(&world::scope(), TARGET).cloned();
            counts[at] = data_stream.map_or(0, |_| lab.read_target().len());
            let lost = lab.happened().contains(&Happening::Lost);
            assert_eq!(lost, !with_target);
            assert_eq!(lab.jobs.totals().lost, if with_target { 0 } else { 7 });
        }
        (counts[0], counts[1])
    });
    assert_eq!((drained, dropped), (7, 0));
}

#[test]
fn expired_items_are_sent_as_the_services_doing() {
    let world = World::new(10);
    let inner = world.clone();
    world.run(async move {
        let lab = Lab::open(&inner, false).await;
        lab.create(None).await;
        lab.create_target(1).await;
        lab.enable(None).await;
        let table = lab.table().id;
        let change = IndexChange::EnableTimeToLive { attribute: "ttl".to_owned() };
        lab.define(Change::Index { table, change }).await;
        lab.put_expiring().await;
        lab.log.split(table, HashKey(1 << 100)).await.expect("split");
        while lab.jobs.pass().await.expect("a pass") {}
        lab.advance(Duration::from_secs(120)).await;
        while lab.jobs.pass().await.expect("a pass") {}
        let records: Vec<serde_json::Value> = lab.read_json();
        let names: Vec<&str> = records.iter().filter_map(|record| record["eventName"].as_str()).collect();
        assert_eq!(names, ["INSERT", "REMOVE"]);
        let service = serde_json::json!({ "principalId": "dynamodb.amazonaws.com", "type": "Service" });
        assert_eq!(records[1]["userIdentity"], service);
        assert!(records[0]["userIdentity"].is_null());
    });
}
