//! Shards that split and roll over by themselves, on one node and two.

use std::sync::Arc;
use std::time::Duration;

use headwater_catalog::StreamView;
use headwater_storage::memory::Settings as Engine;
use headwater_types::runtime::simulated::World;
use headwater_types::{Millis, StreamUid, TableId};

use super::checks::read_stream;
use super::commands::{Count, CreateTable, Deed};
use super::harness::Cluster;
use crate::{Lived, Log, Settings};

const HOUR: Duration = Duration::from_secs(3_600);

async fn made(log: &Log, view: Option<StreamView>) -> (TableId, Option<StreamUid>) {
    let table = log.define(CreateTable("t", view)).await.expect("made").expect("new");
    (table, log.catalog().expect("known").table_by_id(table).and_then(|table| table.stream))
}

/// Writes so many times a second for so long, to keys below `keys`, in turns on all nodes; how many writes.
async fn drive(cluster: &Cluster, table: TableId, per_second: u64, seconds: u64, keys: u64) -> u64 {
    let client = cluster.client(1);
    let pause = Duration::from_micros(1_000_000 / per_second);
    for at in 0..per_second * seconds {
        let log: Arc<Log> = cluster.log(at as usize % cluster.len());
        let work = async move { log.execute(Count::new(table, Deed::Add, &[at * 7 % keys], 0)).await.expect("added") };
        // Nobody waits for it: the pace is the clock's.
        drop(client.spawn(work));
        client.sleep(pause).await;
    }
    client.sleep(Duration::from_secs(2)).await;
    per_second * seconds
}

fn lived(cluster: &Cluster) -> Lived {
    (0..cluster.len()).map(|at| cluster.log(at).lived()).fold(Lived::default(), |sum, each| Lived {
        hot_splits: sum.hot_splits + each.hot_splits,
        size_splits: sum.size_splits + each.size_splits,
        roll_overs: sum.roll_overs + each.roll_overs,
        scalings: sum.scalings + each.scalings,
    })
}

#[test]
fn a_hot_table_splits_until_no_partition_is_hot_and_no_record_is_lost() {
    for nodes in [1, 2] {
        let world = World::new(nodes);
        let inner = world.clone();
        world.run(async move {
            let settings = Settings { on_demand_partitions: 1, split_writes_per_second: 20, ..Settings::default() };
            let engine = if nodes == 1 { Engine::OWN } else { Engine::SHARED };
            let cluster = Cluster::start(&inner, engine, nodes as usize, settings).await;
            let log = cluster.log(0);
            let (table, stream) = made(&log, Some(StreamView::KeysOnly)).await;
            let writes = drive(&cluster, table, 100, 60, 500).await;
            let partitions = log.partitions(table).expect("readable");
            let splits = lived(&cluster).hot_splits;
            println!("{nodes} nodes: {writes} writes, {splits} splits, {} partitions", partitions.len());
            assert_eq!(partitions.len() as u64, splits + 1);
            // A hundred writes a second over twenty each: at least five; halves of halves: rarely more than sixteen.
            assert!((5..=16).contains(&partitions.len()), "{}", partitions.len());
            let shards = read_stream(&log, stream.expect("on"));
            assert_eq!(shards.values().map(|(_, records)| records.len() as u64).sum::<u64>(), writes);
            drive(&cluster, table, 2, 120, 500).await;
            assert_eq!(log.partitions(table).expect("readable").len(), partitions.len(), "cold, it stays as it is");
            assert!(log.partitions(table).expect("readable").iter().all(|each| each.writes_per_second < 20.0));
        });
    }
}

#[test]
fn one_hot_item_never_splits() {
    let world = World::new(3);
    let inner = world.clone();
    world.run(async move {
        let settings = Settings { on_demand_partitions: 1, split_writes_per_second: 20, ..Settings::default() };
        let cluster = Cluster::start(&inner, Engine::OWN, 1, settings).await;
        let (table, _) = made(&cluster.log(0), Some(StreamView::KeysOnly)).await;
        let writes = drive(&cluster, table, 50, 600, 1).await;
        let info = cluster.log(0).partitions(table).expect("readable");
        println!("{writes} writes of one item in ten minutes, {} partitions", info.len());
        assert_eq!((info.len(), lived(&cluster)), (1, Lived::default()));
    });
}

#[test]
fn a_large_partition_splits_without_traffic_up_to_the_bound_of_shards() {
    let world = World::new(4);
    let inner = world.clone();
    world.run(async move {
        let settings = Settings { on_demand_partitions: 1, ..Settings::default() };
        let cluster = Cluster::start(&inner, Engine::OWN, 1, settings.clone()).await;
        let (table, _) = made(&cluster.log(0), None).await;
        drive(&cluster, table, 100, 5, 500).await;
        let size = cluster.log(0).size(table).expect("readable");
        assert_eq!((size.partitions, size.items), (1, 500));
        // Nobody writes any more; the bound is lowered and the node starts again.
        for (bound, most, expected) in [(size.bytes / 3, 64, 4), (1, 6, 6)] {
            let settings = Settings { partition_bytes_max: bound, open_shards_max: most, ..settings.clone() };
            cluster.set_settings(settings);
            for _ in 0..8 {
                cluster.restart(0).await;
                cluster.client(2).sleep(Duration::from_secs(2)).await;
            }
            let after = cluster.log(0).size(table).expect("readable");
            assert_eq!((after.partitions, after.items, after.bytes), (expected, size.items, size.bytes));
        }
    });
}

#[test]
fn old_shards_roll_over_once_each_with_and_without_traffic() {
    for nodes in [1, 2] {
        let world = World::new(5);
        let inner = world.clone();
        world.run(async move {
            let engine = if nodes == 1 { Engine::OWN } else { Engine::SHARED };
            let cluster = Cluster::start(&inner, engine, nodes, Settings::default()).await;
            let log = cluster.log(0);
            let (table, stream) = made(&log, Some(StreamView::KeysOnly)).await;
            let (client, stream) = (cluster.client(1), stream.expect("on"));
            log.advance_clock(HOUR * 3 + HOUR / 2).await.expect("moved");
            client.sleep(Duration::from_secs(5)).await;
            assert_eq!(lived(&cluster).roll_overs, 0, "nothing is nine tenths of four hours old");
            drive(&cluster, table, 10, 2, 50).await;
            log.advance_clock(HOUR).await.expect("moved");
            client.sleep(Duration::from_secs(5)).await;
            assert_eq!(lived(&cluster).roll_overs, 4, "each shard once, whoever looks");
            let list = log.shards(stream).expect("listed");
            assert_eq!(list.shards().len(), 8);
            for parent in list.shards().iter().filter(|shard| shard.ending.is_some()) {
                let children = list.children(&parent.id);
                assert_eq!(children.len(), 1);
                assert_eq!(children[0].hash_range, parent.hash_range);
            }
            assert_eq!(read_stream(&log, stream).values().map(|(_, records)| records.len()).sum::<usize>(), 20);
            // A jump over many lives fires once: closed shards older than the retention are gone.
            log.advance_clock(100 * HOUR).await.expect("moved");
            client.sleep(Duration::from_secs(60)).await;
            assert_eq!(lived(&cluster).roll_overs, 8);
            assert_eq!(log.shards(stream).expect("listed").shards().len(), 8, "four closed, four open");
        });
    }
}

#[test]
fn the_clock_that_users_move_is_every_nodes_and_survives() {
    let world = World::new(6);
    let inner = world.clone();
    world.run(async move {
        let cluster = Cluster::start(&inner, Engine::SHARED, 2, Settings::default()).await;
        let client = cluster.client(1);
        let start = cluster.log(0).clock_state();
        let ahead = cluster.log(0).advance_clock(25 * HOUR).await.expect("moved");
        assert_eq!((ahead.offset_ms, ahead.frozen), (90_000_000, false));
        assert!(ahead.store.0 >= start.store.0 + 90_000_000 && ahead.system.0 < start.system.0 + 60_000);
        cluster.log(1).catalog().expect("known");
        assert!(cluster.log(1).clock_state().store.0 >= ahead.store.0, "the other node follows");

        let frozen = cluster.log(1).freeze_clock().await.expect("frozen");
        client.sleep(HOUR).await;
        assert_eq!(cluster.log(1).clock_state().store, frozen.store);
        cluster.restart(1).await;
        let after = cluster.log(1).clock_state();
        assert!(after.frozen && after.store.0 - frozen.store.0 < 60_000, "{frozen:?} {after:?}");
        let moved = cluster.log(1).advance_clock(HOUR).await.expect("moved");
        assert_eq!(moved.store, Millis(after.store.0 + 3_600_000), "a frozen clock can be moved");
        // Definitions and their short states do not wait for store time.
        made(&cluster.log(1), Some(StreamView::KeysOnly)).await;

        let released = cluster.log(1).release_clock().await.expect("released");
        assert!(!released.frozen && released.offset_ms == 93_600_000, "{released:?}");
        assert!(released.store.0 >= moved.store.0 + 3_500_000, "it makes up for what it has missed");
        for wrong in [Duration::ZERO, Duration::from_micros(999), Duration::from_secs(10_000 * 366 * 86_400)] {
            assert!(cluster.log(1).advance_clock(wrong).await.is_err());
        }
        assert_eq!(cluster.log(1).clock_state().offset_ms, 93_600_000);
    });
}
