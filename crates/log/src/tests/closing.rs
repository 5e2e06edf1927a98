//! Stops: an ordered one, a failed sync, a dropped log.

use std::time::Duration;

use headwater_catalog::StreamView;
use headwater_storage::memory::{Faults, Settings as Engine};
use headwater_types::TableId;
use headwater_types::runtime::simulated::World;

use super::checks::histories;
use super::commands::{Count, Counted, CreateTable, Deed, Retag};
use super::harness::{Cluster, quiet};
use crate::{Error, Log};

const SLOW: Faults = Faults { slow: 5_000, slow_max: Duration::from_millis(2), ..Faults::NONE };

async fn add(log: &Log, table: TableId, key: u64) -> Result<Counted, Error> {
    log.execute(Count::new(table, Deed::Add, &[key], key)).await
}

#[test]
fn closing_waits_for_what_is_queued_and_refuses_what_comes_later() {
    for seed in 0..30 {
        let world = World::new(seed);
        let inner = world.clone();
        let (done, refused) = world.run(async move {
            let cluster = Cluster::start(&inner, Engine::OWN, 1, quiet()).await;
            let log = cluster.log(0);
            let table = log.define(CreateTable("t", Some(StreamView::KeysOnly))).await.expect("made").expect("new");
            let stream = log.catalog().expect("known").table_by_id(table).and_then(|t| t.stream).expect("on");
            cluster.set_faults(SLOW);
            let runtime = cluster.client(1);
            let clients: Vec<_> = (0..30)
                .map(|key| {
                    let (log, inner) = (log.clone(), runtime.clone());
                    runtime.spawn(async move {
                        inner.sleep(Duration::from_micros(inner.random() % 4_000)).await;
                        add(&log, table, key % 7).await
                    })
                })
                .collect();
            runtime.sleep(Duration::from_millis(2)).await;
            log.close().await.expect("closes");
            let (mut done, mut refused) = (0, 0);
            for client in clients {
                match client.await.expect("ends") {
                    Ok(_) => done += 1,
                    Err(Error::Closed) => refused += 1,
                    Err(error) => panic!("unexpected: {error}"),
                }
            }
            assert!(matches!(add(&log, table, 1).await, Err(Error::Closed)));
            assert!(matches!(log.define(Retag(table)).await, Err(Error::Closed)));
            assert_eq!(log.busy_keys(), 0);
            drop(log);
            cluster.set_faults(Faults::NONE);
            cluster.restart(0).await;
            let found: usize = histories(&cluster.log(0), table, stream).values().map(Vec::len).sum();
            assert_eq!(found, done, "exactly what was answered is there");
            (done, refused)
        });
        assert!(done > 0 && refused > 0, "{done} {refused}");
    }
}

#[test]
fn a_failed_sync_ends_everything_with_closed_and_loses_nothing_that_was_answered() {
    let (mut failed, mut answered) = (0, 0);
    for seed in 0..30 {
        let world = World::new(seed);
        let inner = world.clone();
        let (struck, done) = world.run(async move {
            let cluster = Cluster::start(&inner, Engine::OWN, 1, quiet()).await;
            let log = cluster.log(0);
            let table = log.define(CreateTable("t", Some(StreamView::KeysOnly))).await.expect("made").expect("new");
            let stream = log.catalog().expect("known").table_by_id(table).and_then(|t| t.stream).expect("on");
            cluster.set_faults(Faults { sync_failed: 500, ..SLOW });
            let runtime = cluster.client(1);
            let clients: Vec<_> = (0..10)
                .map(|key| {
                    let log = log.clone();
                    runtime.spawn(async move {
                        let mut done = 0;
                        while done < 20 && add(&log, table, key % 3).await.is_ok() {
                            done += 1;
                        }
                        done
                    })
                })
                .collect();
            let mut done = 0;
            for client in clients {
                done += client.await.expect("ends");
            }
            let struck = cluster.counts().sync_failed;
            assert_eq!(struck > 0, done < 200);
            if struck > 0 {
                assert!(matches!(add(&log, table, 1).await, Err(Error::Closed)));
                assert!(matches!(log.split(table, headwater_types::HashKey(9)).await, Err(Error::Closed)));
            }
            drop(log);
            cluster.set_faults(Faults::NONE);
            cluster.restart(0).await;
            let found: usize = histories(&cluster.log(0), table, stream).values().map(Vec::len).sum();
            assert!(found >= done, "{done} were answered, {found} are there");
            (struck, done)
        });
        (failed, answered) = (failed + struck, answered + done);
    }
    println!("failed syncs: {failed} in 30 runs, {answered} changes answered");
    assert!(failed > 5);
}
