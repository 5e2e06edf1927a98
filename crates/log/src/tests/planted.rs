//! The checkers find what they must.

use std::time::Duration;

use headwater_catalog::StreamView;
use headwater_storage::memory::{Faults, Settings as Engine};
use headwater_types::runtime::simulated::World;

use super::checks::PAGE;
use super::commands::{Count, CreateTable, Deed, count, touch};
use super::harness::{Cluster, quiet, until};
use super::tokens::Once;
use crate::{PlantedBug, ReadFrom, Settings};

const SLOW: Faults = Faults { slow: 5_000, slow_max: Duration::from_millis(2), ..Faults::NONE };

/// How many of 200 records a reader at the tail misses.
fn missed(seed: u64, planted: Option<PlantedBug>) -> usize {
    let world = World::new(seed);
    let inner = world.clone();
    world.run(async move {
        let settings = Settings { on_demand_partitions: 1, planted, ..quiet() };
        let cluster = Cluster::start(&inner, Engine::OWN, 1, settings).await;
        let log = cluster.log(0);
        let table = log.define(CreateTable("t", Some(StreamView::KeysOnly))).await.expect("made").expect("new");
        let stream = log.catalog().expect("known").table_by_id(table).and_then(|t| t.stream).expect("on");
        let uid = log.shards(stream).expect("listed").shards()[0].uid;
        let runtime = cluster.client(1);
        let clients: Vec<_> = (0..10)
            .map(|key| {
                let log = cluster.log(0);
                runtime.spawn(async move {
                    for _ in 0..20 {
                        log.execute(Count::new(table, Deed::Add, &[key], key)).await.expect("added");
                    }
                })
            })
            .collect();
        let (mut from, mut read, mut quiet_rounds) = (ReadFrom::Horizon, 0, 0);
        while quiet_rounds < 20 {
            let page = log.page(stream, uid, from, PAGE).expect("readable");
            quiet_rounds = if page.records.is_empty() { quiet_rounds + 1 } else { 0 };
            read += page.records.len();
            from = page.next.expect("open");
            runtime.sleep(Duration::from_micros(500)).await;
        }
        for client in clients {
            client.await.expect("ends");
        }
        200 - read
    })
}

#[test]
fn numbers_drawn_before_the_commit_lose_records_for_a_tailing_reader() {
    let sum = |planted| (0..10).map(|seed| missed(seed, planted)).sum::<usize>();
    let (sound, planted) = (sum(None), sum(Some(PlantedBug::NumberBeforeCommit)));
    println!("missed of 2,000 records: {sound} as built, {planted} with numbers drawn before the commit");
    assert_eq!(sound, 0);
    assert!(planted > 0);
}

/// How many of a reader's looks find counters apart that every command raises together.
fn torn(seed: u64, planted: Option<PlantedBug>) -> usize {
    let world = World::new(seed);
    let inner = world.clone();
    world.run(async move {
        let cluster = Cluster::start(&inner, Engine::OWN, 1, Settings { planted, ..quiet() }).await;
        cluster.set_faults(SLOW);
        let log = cluster.log(0);
        let table = log.define(CreateTable("t", None)).await.expect("made").expect("new");
        let writer = cluster.log(0);
        let writing = cluster.client(1).spawn(async move {
            for tag in 0..50 {
                writer.execute(Count::new(table, Deed::Add, &[1, 2, 3], tag)).await.expect("added");
            }
        });
        let (runtime, mut torn) = (cluster.client(2), 0);
        for _ in 0..200 {
            let snapshot = log.snapshot();
            let counts = [1, 2, 3].map(|key| count(snapshot.get(&touch(table, key).key).expect("read").as_ref()));
            torn += usize::from(counts.iter().any(|count| *count != counts[0]));
            runtime.sleep(Duration::from_micros(200)).await;
        }
        writing.await.expect("ends");
        torn
    })
}

#[test]
fn a_transaction_in_one_plan_per_item_is_seen_in_half() {
    let sum = |planted| (0..10).map(|seed| torn(seed, planted)).sum::<usize>();
    let (sound, planted) = (sum(None), sum(Some(PlantedBug::TornTransaction)));
    println!("halves seen: {sound} as built, {planted} with one plan per item");
    assert_eq!(sound, 0);
    assert!(planted > 0);
}

/// How many commands too many are done when clients hang up and ask again under the same token.
fn repeated(seed: u64, planted: Option<PlantedBug>) -> u64 {
    let world = World::new(seed);
    let inner = world.clone();
    world.run(async move {
        let cluster = Cluster::start(&inner, Engine::OWN, 1, Settings { planted, ..quiet() }).await;
        cluster.set_faults(SLOW);
        let log = cluster.log(0);
        let table = log.define(CreateTable("t", None)).await.expect("made").expect("new");
        let runtime = cluster.client(1);
        for token in 0..50 {
            let patience = Duration::from_micros(runtime.random() % 2_000);
            let _ = until(&runtime, patience, log.execute(Once::new(table, 1, token))).await;
            log.execute(Once::new(table, 1, token)).await.expect("done once");
        }
        count(log.snapshot().get(&touch(table, 1).key).expect("read").as_ref()) - 50
    })
}

#[test]
fn a_token_apart_from_what_is_done_under_it_lets_it_be_done_twice() {
    let sum = |planted| (0..10).map(|seed| repeated(seed, planted)).sum::<u64>();
    let (sound, planted) = (sum(None), sum(Some(PlantedBug::TokenApart)));
    println!("done once too often, of 500: {sound} as built, {planted} with the token apart");
    assert_eq!(sound, 0);
    assert!(planted > 0);
}
