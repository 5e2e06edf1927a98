//! Split, roll-over, positions, iterators, waking.

use std::time::Duration;

use headwater_catalog::StreamView;
use headwater_storage::memory::{Faults, Settings as Engine};
use headwater_types::runtime::simulated::World;
use headwater_types::{HashKey, SequenceNumber, ShardUid, StreamUid, TableId, limits};

use super::checks::{PAGE, check_lineage, histories, read_shard};
use super::commands::{Count, CreateTable, Deed};
use super::harness::{Cluster, quiet, until};
use crate::{Error, IteratorError, Log, ReadError, ReadFrom, Settings, Start};

async fn one_shard(world: &World) -> (Cluster, TableId, StreamUid) {
    let settings = Settings { on_demand_partitions: 1, ..quiet() };
    let cluster = Cluster::start(world, Engine::OWN, 1, settings).await;
    let log = cluster.log(0);
    let table = log.define(CreateTable("t", Some(StreamView::KeysOnly))).await.expect("made").expect("new");
    let stream = log.catalog().expect("known").table_by_id(table).and_then(|t| t.stream).expect("on");
    (cluster, table, stream)
}

async fn add(log: &Log, table: TableId, key: u64) -> SequenceNumber {
    let count = Count::new(table, Deed::Add, &[key], log.runtime().random());
    log.execute(count).await.expect("added").numbers[0]
}

fn shard(log: &Log, stream: StreamUid, at: usize) -> ShardUid {
    log.shards(stream).expect("listed").shards()[at].uid
}

#[test]
fn a_roll_over_continues_in_one_child_and_a_split_in_two() {
    let world = World::new(1);
    let inner = world.clone();
    world.run(async move {
        let (cluster, table, stream) = one_shard(&inner).await;
        let log = cluster.log(0);
        for key in 0..10 {
            add(&log, table, key).await;
        }
        log.roll_over(table, HashKey(5)).await.expect("rolled over");
        for key in 0..10 {
            add(&log, table, key).await;
        }
        let middle = HashKey(1 << 127);
        log.split(table, middle).await.expect("split");
        for key in 0..10 {
            add(&log, table, key).await;
        }
        assert!(matches!(log.split(table, middle).await, Err(Error::Invalid(_))), "already a first hash");
        let list = log.shards(stream).expect("listed");
        check_lineage(list.shards());
        let [a, b, c, d] = list.shards() else { panic!("four shards, not {}", list.shards().len()) };
        assert_eq!((&b.parents[..], &b.parent_ids[..]), (&[a.uid][..], &[a.id.clone()][..]));
        assert_eq!((&c.parents[..], &d.parents[..]), (&[b.uid][..], &[b.uid][..]));
        assert_eq!((c.hash_range, d.hash_range), ((0, middle.0 - 1), (middle.0, u128::MAX)));
        assert_eq!(list.children(&a.id).iter().map(|s| s.uid).collect::<Vec<_>>(), [b.uid]);
        assert_eq!(list.children(&b.id).len(), 2);
        assert_eq!(list.children(&c.id).len(), 0);
        assert_eq!(list.by_id(&c.id).map(|s| s.uid), Some(c.uid));
        assert_eq!(list.after(Some(&b.id)).len(), 2);
        assert_eq!(list.after(Some("shardId-00000000000000000000-00000000")).len(), 4);
        assert_eq!(list.after(Some(&d.id)).len(), 0);
        let lengths: Vec<_> = list.shards().iter().map(|shard| read_shard(&log, stream, shard).len()).collect();
        assert_eq!((lengths[0], lengths[1], lengths[2] + lengths[3]), (10, 10, 10));
        assert!(lengths[2] > 0 && lengths[3] > 0);
        let steps = histories(&log, table, stream);
        assert!(steps.len() == 10 && steps.values().all(|steps| steps.len() == 3));
        assert_eq!(log.size(table).expect("known").partitions, 2);
        // The parent's head is removed by retention; nothing else changes.
        log.retain().await.expect("retained");
        add(&log, table, 1).await;
        assert_eq!(log.size(table).expect("known").items, 10);
    });
}

#[test]
fn splits_and_roll_overs_take_back_no_plan_on_one_node() {
    let world = World::new(9);
    let inner = world.clone();
    world.run(async move {
        let (cluster, table, stream) = one_shard(&inner).await;
        cluster.set_faults(Faults { slow: 8_000, slow_max: Duration::from_millis(3), ..Faults::NONE });
        let runtime = cluster.client(1);
        let clients: Vec<_> = (0..20)
            .map(|key| {
                let log = cluster.log(0);
                runtime.spawn(async move {
                    for _ in 0..20 {
                        add(&log, table, key % 7).await;
                    }
                })
            })
            .collect();
        for at in 1..10u128 {
            cluster.log(0).split(table, HashKey(at << 124)).await.expect("split");
            cluster.log(0).roll_over(table, HashKey(at << 124)).await.expect("rolled over");
        }
        for client in clients {
            client.await.expect("ends");
        }
        assert_eq!(cluster.counts().fenced, 0);
        let steps = histories(&cluster.log(0), table, stream);
        assert_eq!(steps.values().map(Vec::len).sum::<usize>(), 400);
        assert_eq!(cluster.log(0).shards(stream).expect("listed").shards().len(), 1 + 9 * 3);
    });
}

#[test]
fn positions_start_where_they_say_and_a_closed_shard_ends() {
    let world = World::new(2);
    let inner = world.clone();
    world.run(async move {
        let (cluster, table, stream) = one_shard(&inner).await;
        let log = cluster.log(0);
        let uid = shard(&log, stream, 0);
        let mut numbers = Vec::new();
        for _ in 0..20 {
            numbers.push(add(&log, table, 1).await);
        }
        let from = |start| log.start(stream, uid, start).expect("a position");
        let first = |start| {
            let page = log.page(stream, uid, from(start), PAGE).expect("readable");
            page.records.first().map(|record| record.number)
        };
        assert_eq!(first(Start::TrimHorizon), Some(numbers[0]));
        assert_eq!(first(Start::AtNumber(numbers[3])), Some(numbers[3]));
        assert_eq!(first(Start::AfterNumber(numbers[3])), Some(numbers[4]));
        let starting = log.shards(stream).expect("listed").shards()[0].starting;
        assert_eq!(first(Start::AtNumber(starting)), Some(numbers[0]));
        assert_eq!(first(Start::Latest), None);
        let latest = from(Start::Latest);
        let next = add(&log, table, 1).await;
        let page = log.page(stream, uid, latest, PAGE).expect("readable");
        assert_eq!(page.records.iter().map(|r| r.number).collect::<Vec<_>>(), [next]);
        assert_eq!(page.next, Some(ReadFrom::Tail(next)));

        log.roll_over(table, HashKey(0)).await.expect("rolled over");
        let (mut from, mut pages, mut read) = (Some(ReadFrom::Horizon), 0, 0);
        while let Some(position) = from {
            let page = log.page(stream, uid, position, PAGE).expect("readable");
            assert!(!page.records.is_empty(), "the end comes with the last records");
            (from, pages, read) = (page.next, pages + 1, read + page.records.len());
        }
        assert_eq!((pages, read), (3, 21), "21 records in pages of 7");
        let end = log.start(stream, uid, Start::Latest).expect("a position");
        assert_eq!(log.page(stream, uid, end, PAGE).expect("readable").next, None);
        let unknown = log.page(stream, ShardUid(99), ReadFrom::Horizon, PAGE);
        assert!(matches!(unknown, Err(ReadError::NoShard)));
        let other_stream = log.page(StreamUid(99), uid, ReadFrom::Horizon, PAGE);
        assert!(matches!(other_stream, Err(ReadError::NoShard)));
    });
}

#[test]
fn iterators_outlive_a_restart_and_expire_by_store_time() {
    let world = World::new(2);
    let inner = world.clone();
    let token = world.run(async move {
        let (cluster, table, stream) = one_shard(&inner).await;
        add(&cluster.log(0), table, 1).await;
        let (log, uid) = (cluster.log(0), shard(&cluster.log(0), stream, 0));
        let iterator = log.iterator(stream, uid, ReadFrom::Horizon, limits::STREAM_ITERATOR_LIFE_MS);
        let token = log.seal(&iterator, "arn|1|");
        drop(log);
        cluster.restart(0).await;
        let log = cluster.log(0);
        assert_eq!(log.unseal(&token), Ok(iterator));
        log.clock().advance(Duration::from_secs(15 * 60 - 1));
        assert_eq!(log.unseal(&token), Ok(iterator));
        log.clock().advance(Duration::from_secs(1));
        assert!(matches!(log.unseal(&token), Err(IteratorError::Expired { .. })));
        token
    });
    let other = World::new(77);
    let inner = other.clone();
    other.run(async move {
        let log = one_shard(&inner).await.0.log(0);
        assert_eq!(log.unseal(&token), Err(IteratorError::Foreign));
    });
}

#[test]
fn readers_are_woken_by_records_and_by_the_end() {
    for engine in [Engine::OWN, Engine::SHARED] {
        let world = World::new(4);
        let inner = world.clone();
        world.run(async move {
            let cluster = Cluster::start(&inner, engine, if engine.shared { 2 } else { 1 }, quiet()).await;
            let reader = cluster.log(0);
            let writer = cluster.log(cluster.len() - 1);
            let table = reader.define(CreateTable("t", Some(StreamView::KeysOnly))).await.expect("made").expect("new");
            let stream = reader.catalog().expect("known").table_by_id(table).and_then(|t| t.stream).expect("on");
            let _ = writer.catalog().expect("known");
            let runtime = cluster.client(1);
            let touched = super::commands::touch(table, 1).hash;
            let list = reader.shards(stream).expect("listed");
            let home = list.shards().iter().find(|s| s.hash_range.0 <= touched.0 && touched.0 <= s.hash_range.1);
            let mut changed = reader.changed(home.expect("tiles").uid);
            let short = Duration::from_millis(5);
            assert!(until(&runtime, short, changed.changed()).await.is_none(), "nothing new yet");
            add(&writer, table, 1).await;
            assert!(until(&runtime, short, changed.changed()).await.is_some());
            changed.mark_unchanged();
            writer.roll_over(table, touched).await.expect("rolled over");
            assert!(until(&runtime, short, changed.changed()).await.is_some());
        });
    }
}
