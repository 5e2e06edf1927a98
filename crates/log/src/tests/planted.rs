//! The checkers find what they must.

use std::time::Duration;

use headwater_catalog::StreamView;
use headwater_storage::memory::Settings as Engine;
use headwater_types::runtime::simulated::World;

use super::checks::PAGE;
use super::commands::{Count, CreateTable, Deed};
use super::harness::{Cluster, quiet};
use crate::{PlantedBug, ReadFrom, Settings};

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
