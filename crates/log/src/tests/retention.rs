//! Trimming by store time.

use std::time::Duration;

use headwater_catalog::StreamView;
use headwater_storage::memory::Settings as Engine;
use headwater_types::runtime::simulated::World;
use headwater_types::{HashKey, SequenceNumber, StreamUid, TableId};

use super::checks::{PAGE, read_stream};
use super::commands::{Count, CreateTable, Deed, Just, scope};
use super::harness::{Cluster, quiet};
use crate::{Change, Log, ReadError, ReadFrom, Retained, Settings, Start};

const HOUR: Duration = Duration::from_secs(3_600);

async fn one_shard(world: &World) -> (Cluster, TableId, StreamUid) {
    let settings = Settings { on_demand_partitions: 1, ..quiet() };
    let cluster = Cluster::start(world, Engine::OWN, 1, settings).await;
    let log = cluster.log(0);
    let table = log.define(CreateTable("t", Some(StreamView::KeysOnly))).await.expect("made").expect("new");
    let stream = log.catalog().expect("known").table_by_id(table).and_then(|t| t.stream).expect("on");
    (cluster, table, stream)
}

async fn add(log: &Log, table: TableId) -> SequenceNumber {
    log.execute(Count::new(table, Deed::Add, &[1], 0)).await.expect("added").numbers[0]
}

#[test]
fn records_are_shown_for_the_retention_and_not_longer() {
    let world = World::new(1);
    let inner = world.clone();
    world.run(async move {
        let (cluster, table, stream) = one_shard(&inner).await;
        let log = cluster.log(0);
        let uid = log.shards(stream).expect("listed").shards()[0].uid;
        let first = add(&log, table).await;
        log.clock().advance(12 * HOUR);
        let second = add(&log, table).await;
        let tail = log.page(stream, uid, ReadFrom::Horizon, PAGE).expect("readable");
        assert_eq!(tail.records.len(), 2);
        log.clock().advance(12 * HOUR - Duration::from_secs(60));
        assert_eq!(log.retain().await.expect("retained"), Retained::default(), "nothing is trimmed early");
        assert_eq!(log.page(stream, uid, ReadFrom::Horizon, PAGE).expect("readable").records.len(), 2);
        log.clock().advance(Duration::from_secs(180));

        // Not shown any more, whether or not it is trimmed yet.
        for _ in 0..2 {
            let page = log.page(stream, uid, ReadFrom::Horizon, PAGE).expect("readable");
            assert_eq!(page.records.iter().map(|r| r.number).collect::<Vec<_>>(), [second]);
            for start in [Start::AtNumber(first), Start::AfterNumber(first)] {
                assert!(matches!(log.start(stream, uid, start), Err(ReadError::Trimmed)));
            }
            assert!(matches!(log.page(stream, uid, ReadFrom::After(first), PAGE), Err(ReadError::Trimmed)));
            assert!(log.start(stream, uid, Start::AtNumber(second)).is_ok());
            log.retain().await.expect("retained");
        }
        assert_eq!(log.retain().await.expect("retained").trimmed, 0, "nothing left to trim");
        let kept = PAGE;
        let held = log.snapshot().read_log(uid, headwater_storage::contract::From::At(SequenceNumber::ZERO), kept);
        assert_eq!(held.expect("readable").len(), 1, "the record is gone from the cell too");

        // A reader that waits at the tail of a quiet shard misses nothing and meets no error.
        let at_tail = tail.next.expect("open");
        log.clock().advance(48 * HOUR);
        log.retain().await.expect("retained");
        assert_eq!(log.page(stream, uid, at_tail, PAGE).expect("readable").records, []);
        let third = add(&log, table).await;
        let page = log.page(stream, uid, at_tail, PAGE).expect("readable");
        assert_eq!(page.records.iter().map(|r| r.number).collect::<Vec<_>>(), [third]);
    });
}

#[test]
fn closed_shards_stay_listed_for_the_retention_and_children_keep_the_parents_id() {
    let world = World::new(2);
    let inner = world.clone();
    world.run(async move {
        let (cluster, table, stream) = one_shard(&inner).await;
        let log = cluster.log(0);
        add(&log, table).await;
        log.roll_over(table, HashKey(0)).await.expect("rolled over");
        let parent = log.shards(stream).expect("listed").shards()[0].clone();
        log.clock().advance(24 * HOUR - Duration::from_secs(1));
        log.retain().await.expect("retained");
        assert_eq!(log.shards(stream).expect("listed").shards().len(), 2, "listed though empty");
        log.clock().advance(Duration::from_secs(1));
        assert_eq!(log.shards(stream).expect("listed").shards().len(), 1);
        let retained = log.retain().await.expect("retained");
        assert_eq!((retained.shards, retained.streams), (1, 0));
        assert!(matches!(log.page(stream, parent.uid, ReadFrom::Horizon, PAGE), Err(ReadError::NoShard)));
        let child = log.shards(stream).expect("listed").shards()[0].clone();
        assert_eq!(child.parent_ids, [parent.id]);
        assert_eq!(log.retain().await.expect("retained").shards, 0);
        // Ids still rise after the older shard is gone.
        log.roll_over(table, HashKey(0)).await.expect("rolled over");
        assert_eq!(read_stream(&log, stream).len(), 2);
    });
}

#[test]
fn a_dropped_tables_stream_is_forgotten_after_its_retention() {
    let world = World::new(3);
    let inner = world.clone();
    world.run(async move {
        let (cluster, table, stream) = one_shard(&inner).await;
        let log = cluster.log(0);
        add(&log, table).await;
        log.define(Just(vec![Change::Delete { table }])).await.expect("dropped");
        log.clock().advance(23 * HOUR);
        log.retain().await.expect("retained");
        assert_eq!(log.catalog().expect("known").streams(&scope(), Some("t"), None).count(), 1);
        assert_eq!(read_stream(&log, stream).values().map(|(_, records)| records.len()).sum::<usize>(), 1);
        log.clock().advance(HOUR);
        let retained = log.retain().await.expect("retained");
        assert_eq!((retained.shards, retained.streams), (1, 1));
        assert_eq!(log.catalog().expect("known").streams(&scope(), None, None).count(), 0);
        assert_eq!(log.retain().await.expect("retained"), Retained::default());
    });
}

#[test]
fn a_horizon_never_falls_through_a_restart() {
    let world = World::new(4);
    let inner = world.clone();
    world.run(async move {
        let (cluster, table, stream) = one_shard(&inner).await;
        let uid = cluster.log(0).shards(stream).expect("listed").shards()[0].uid;
        let first = add(&cluster.log(0), table).await;
        cluster.log(0).clock().advance(25 * HOUR);
        cluster.log(0).retain().await.expect("retained");
        cluster.restart(0).await;
        let log = cluster.log(0);
        assert!(matches!(log.start(stream, uid, Start::AtNumber(first)), Err(ReadError::Trimmed)));
        assert_eq!(log.page(stream, uid, ReadFrom::Horizon, PAGE).expect("readable").records, []);
    });
}

#[test]
fn a_trim_on_request_takes_what_is_below_and_nothing_else() {
    let world = World::new(6);
    let inner = world.clone();
    world.run(async move {
        let (cluster, table, stream) = one_shard(&inner).await;
        let log = cluster.log(0);
        let uid = log.shards(stream).expect("listed").shards()[0].uid;
        let numbers = [add(&log, table).await, add(&log, table).await, add(&log, table).await];
        assert_eq!(log.trim(stream, None, numbers[0]).await.expect("trimmed"), 1, "a horizon, though nothing goes");
        assert_eq!(log.page(stream, uid, ReadFrom::Horizon, PAGE).expect("readable").records.len(), 3);
        assert_eq!(log.trim(stream, Some(uid), numbers[1]).await.expect("trimmed"), 1);
        assert_eq!(log.trim(stream, Some(uid), numbers[1]).await.expect("trimmed"), 0, "it is so already");
        let left = log.page(stream, uid, ReadFrom::Horizon, PAGE).expect("readable").records;
        assert_eq!(left.iter().map(|record| record.number).collect::<Vec<_>>(), numbers[1..]);
        assert!(matches!(log.start(stream, uid, Start::AtNumber(numbers[0])), Err(ReadError::Trimmed)));
        // Who has read the last trimmed record has missed nothing, unless another lay in between.
        let before = SequenceNumber(numbers[1].0 - 1);
        assert!(log.start(stream, uid, Start::AfterNumber(before)).is_ok());
        assert!(log.page(stream, uid, ReadFrom::After(before), PAGE).is_ok());
        assert_eq!(log.trim(stream, None, SequenceNumber(u64::MAX)).await.expect("trimmed"), 1);
        assert_eq!(log.page(stream, uid, ReadFrom::Horizon, PAGE).expect("readable").records, []);
        let later = add(&log, table).await;
        let page = log.page(stream, uid, ReadFrom::Horizon, PAGE).expect("readable");
        assert_eq!(
            page.records.iter().map(|record| record.number).collect::<Vec<_>>(),
            [later],
            "what comes later stays"
        );
        assert!(log.trim(stream, Some(headwater_types::ShardUid(99)), later).await.is_err());

        // Iterators given so far end; new ones are good, and a restart keeps both so.
        let old = log.seal(&log.iterator(stream, uid, ReadFrom::Horizon, 60_000), "");
        log.expire_iterators().await.expect("expired");
        let new = log.seal(&log.iterator(stream, uid, ReadFrom::Horizon, 60_000), "");
        drop(log);
        cluster.restart(0).await;
        assert!(matches!(cluster.log(0).unseal(&old), Err(crate::IteratorError::Expired { .. })));
        assert!(cluster.log(0).unseal(&new).is_ok());
    });
}
