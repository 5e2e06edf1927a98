//! Data streams: appending, splits, merges, resharding, retention, deletion.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use headwater_catalog::{DataStreamDefinition, DataStreamState, Snapshot as Catalog, StreamMode};
use headwater_storage::memory::{Faults, Settings as Engine};
use headwater_types::runtime::simulated::World;
use headwater_types::{HashKey, Millis, ShardUid, StreamUid, TableId};

use super::checks::{PAGE, check_lineage, read_shard, read_stream};
use super::commands::{Just, scope};
use super::harness::{Cluster, quiet};
use crate::{Append, Appended, Change, Defined, Definition, Error, Log, ReadError, ReadFrom, Settings, Start};

const HOUR: Duration = Duration::from_secs(3_600);

/// Makes a data stream; an error when the name is taken.
pub(super) struct Make(pub &'static str, pub StreamMode, pub usize);

impl Definition for Make {
    type Answer = (TableId, StreamUid);

    fn decide(&mut self, _catalog: &Catalog, _now: Millis) -> Defined<Self::Answer> {
        let mut stream = DataStreamDefinition::new(scope(), self.0);
        stream.mode = self.1;
        Defined::Change(vec![Change::CreateDataStream { stream: Box::new(stream), shards: self.2 }])
    }

    fn answer(&mut self, catalog: &Catalog) -> Self::Answer {
        let stream = catalog.data_stream(&scope(), self.0).expect("just made");
        (stream.id, stream.uid)
    }
}

fn definition(log: &Log, id: TableId) -> DataStreamDefinition {
    (**log.catalog().expect("known").data_stream_by_id(id).expect("there")).clone()
}

pub(super) fn records(from: u64, count: u64) -> Vec<Append> {
    let record = |at: u64| Append { hash: hash(at), payload: Bytes::copy_from_slice(&at.to_be_bytes()) };
    (from..from + count).map(record).collect()
}

fn hash(at: u64) -> HashKey {
    HashKey(u128::from(at.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64)
}

/// Every record of the stream along its lineage, by payload, with where it stands; panics on one that is there twice.
pub(super) fn all(log: &Log, uid: StreamUid) -> BTreeMap<u64, Appended> {
    let mut found = BTreeMap::new();
    for (shard, (info, records)) in read_stream(log, uid) {
        for record in records {
            let at = u64::from_be_bytes(record.payload[..].try_into().expect("eight bytes"));
            assert!(info.hash_range.0 <= hash(at).0 && hash(at).0 <= info.hash_range.1, "in a shard of its hash");
            assert_eq!(found.insert(at, Appended { shard, number: record.number }), None, "{at} is there twice");
        }
    }
    found
}

async fn one(world: &World, shards: usize, settings: Settings) -> (Cluster, TableId, StreamUid) {
    let cluster = Cluster::start(world, Engine::OWN, 1, settings).await;
    let (id, uid) = cluster.log(0).define(Make("s", StreamMode::Provisioned, shards)).await.expect("made");
    (cluster, id, uid)
}

#[test]
fn records_stand_where_the_answer_says_over_splits_and_merges() {
    let world = World::new(1);
    let inner = world.clone();
    world.run(async move {
        let (cluster, id, uid) = one(&inner, 2, quiet()).await;
        let log = cluster.log(0);
        let mut expected = BTreeMap::new();
        let mut put = async |from: u64| {
            let appended = log.append(id, records(from, 50)).await.expect("appended");
            assert_eq!(appended.len(), 50);
            expected.extend((from..).zip(appended));
        };
        put(0).await;
        let open = |index: usize| log.shards(uid).expect("listed").shards()[index].uid;
        log.define(Just(vec![Change::SplitShard { id, shard: open(0), at: 1 << 125 }])).await.expect("split");
        put(100).await;
        // The upper child and the other shard of the beginning lie side by side.
        let merge = Change::MergeShards { id, first: open(1), second: open(3) };
        log.define(Just(vec![merge])).await.expect("merged");
        put(200).await;
        let list = log.shards(uid).expect("listed");
        check_lineage(list.shards());
        assert_eq!(list.shards().iter().map(|shard| shard.index).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        let merged = list.by_index(4).expect("made");
        assert_eq!(merged.parent_indexes, [1, 3], "in the order they were named");
        assert_eq!(merged.hash_range, (1 << 125, u128::MAX));
        for parent in &merged.parents {
            let ending = list.shards().iter().find(|shard| shard.uid == *parent).and_then(|shard| shard.ending);
            assert!(ending.expect("closed") < merged.starting, "above both parents' ends");
        }
        assert_eq!(all(&log, uid), expected);
        for (refused, why) in [
            (Change::SplitShard { id, shard: merged.uid, at: 1 << 125 }, "at its first hash"),
            (Change::SplitShard { id, shard: list.shards()[0].uid, at: 5 }, "closed"),
            (Change::MergeShards { id, first: merged.uid, second: merged.uid }, "with itself"),
        ] {
            assert!(matches!(log.define(Just(vec![refused])).await, Err(Error::Invalid(_))), "{why}");
        }
        assert!(matches!(log.append(TableId(77), records(0, 1)).await, Err(Error::NoTable(_))));
    });
}

#[test]
fn a_reshard_ends_with_even_ranges_and_loses_nothing() {
    for (seed, from, to) in [(1, 1, 4), (2, 4, 3), (3, 3, 7), (4, 7, 2), (5, 2, 1), (6, 5, 5), (7, 64, 100)] {
        let world = World::new(seed);
        let inner = world.clone();
        world.run(async move {
            let settings = Settings { short_states: Duration::from_millis(20), ..quiet() };
            let (cluster, id, uid) = one(&inner, from, settings).await;
            let (log, client) = (cluster.log(0), cluster.client(1));
            while definition(&log, id).state != DataStreamState::Active {
                assert!(matches!(log.append(id, records(0, 1)).await, Err(Error::NoTable(_))), "not yet usable");
                client.sleep(Duration::from_millis(5)).await;
            }
            log.define(Just(vec![Change::Reshard { id, shards: to }])).await.expect("begun");
            let (mut expected, mut at) = (BTreeMap::new(), 0);
            while definition(&log, id).state != DataStreamState::Active {
                let appended = log.append(id, records(at, 10)).await.expect("appended meanwhile");
                expected.extend((at..).zip(appended));
                at += 10;
                client.sleep(Duration::from_millis(1)).await;
            }
            assert!(at > 0 && definition(&log, id).target_shards.is_none());
            let list = log.shards(uid).expect("listed");
            check_lineage(list.shards());
            let open: Vec<_> = list.shards().iter().filter(|shard| shard.ending.is_none()).collect();
            assert_eq!(open.len(), to, "{from} to {to}");
            let width = |shard: &&crate::ShardInfo| shard.hash_range.1 - shard.hash_range.0;
            let (least, most) = (open.iter().map(width).min(), open.iter().map(width).max());
            assert!(most.expect("some") - least.expect("some") <= to as u128, "even ranges");
            assert_eq!(all(&log, uid), expected);
        });
    }
}

#[test]
fn a_reshard_goes_on_after_a_crash() {
    let world = World::new(8);
    let inner = world.clone();
    world.run(async move {
        let settings = Settings { short_states: Duration::from_millis(20), ..quiet() };
        let (cluster, id, uid) = one(&inner, 16, settings).await;
        cluster.client(1).sleep(Duration::from_secs(1)).await;
        cluster.log(0).define(Just(vec![Change::Reshard { id, shards: 5 }])).await.expect("begun");
        cluster.restart(0).await;
        let log = cluster.log(0);
        cluster.client(1).sleep(Duration::from_secs(1)).await;
        let list = log.shards(uid).expect("listed");
        check_lineage(list.shards());
        assert_eq!(list.shards().iter().filter(|shard| shard.ending.is_none()).count(), 5);
        assert_eq!(definition(&log, id).state, DataStreamState::Active);
    });
}

#[test]
fn retention_is_the_streams_own_and_what_is_hidden_stays_hidden() {
    let world = World::new(9);
    let inner = world.clone();
    world.run(async move {
        let (cluster, id, uid) = one(&inner, 1, quiet()).await;
        let log = cluster.log(0);
        let shard = log.shards(uid).expect("listed").shards()[0].uid;
        let retain_for = async |hours: i64| {
            let stream = DataStreamDefinition { retention_hours: hours, ..definition(&log, id) };
            log.define(Just(vec![Change::UpdateDataStream { stream: Box::new(stream) }])).await.expect("changed");
        };
        let seen = |log: &Log| match log.page(uid, shard, ReadFrom::Horizon, PAGE) {
            Ok(page) => page.records.len(),
            Err(ReadError::NoShard) => 0,
            Err(error) => panic!("{error:?}"),
        };
        log.append(id, records(0, 1)).await.expect("appended");
        log.clock().advance(23 * HOUR);
        assert_eq!(seen(&log), 1);
        log.clock().advance(2 * HOUR);
        assert_eq!(seen(&log), 0, "a day is over");
        retain_for(48).await;
        assert_eq!(seen(&log), 0, "a longer retention brings nothing back");
        log.append(id, records(1, 1)).await.expect("appended");
        // A year, with passes of trimming.
        retain_for(8_760).await;
        for _ in 0..12 {
            log.clock().advance(30 * 24 * HOUR);
            log.retain().await.expect("retained");
        }
        assert_eq!(seen(&log), 1);
        let at = Millis(log.clock().store().0 - 1_000);
        log.append(id, records(2, 1)).await.expect("appended");
        let from = log.start(uid, shard, Start::AtTime(at)).expect("a start");
        assert_eq!(log.page(uid, shard, from, PAGE).expect("a page").records.len(), 1, "only what is younger");
        assert_eq!(log.start(uid, shard, Start::AtTime(Millis(0))).expect("a start"), ReadFrom::Horizon);
        retain_for(24).await;
        assert_eq!(seen(&log), 1, "a shorter one hides at once");
        retain_for(8_760).await;
        assert_eq!(seen(&log), 1, "for good");
        // A closed shard is listed as long as its stream's retention.
        log.define(Just(vec![Change::SplitShard { id, shard, at: 1 << 127 }])).await.expect("split");
        log.clock().advance(200 * 24 * HOUR);
        log.retain().await.expect("retained");
        assert_eq!((log.shards(uid).expect("listed").shards().len(), seen(&log)), (3, 1));
        log.clock().advance(200 * 24 * HOUR);
        assert_eq!((log.shards(uid).expect("listed").shards().len(), seen(&log)), (2, 0));
    });
}

#[test]
fn a_deleted_stream_leaves_nothing_behind() {
    let world = World::new(10);
    let inner = world.clone();
    world.run(async move {
        let (cluster, id, uid) = one(&inner, 3, quiet()).await;
        let log = cluster.log(0);
        log.append(id, records(0, 30)).await.expect("appended");
        let shards: Vec<ShardUid> = log.shards(uid).expect("listed").shards().iter().map(|shard| shard.uid).collect();
        log.define(Just(vec![Change::DeleteDataStream { id }])).await.expect("deleted");
        assert!(matches!(log.append(id, records(0, 1)).await, Err(Error::NoTable(_))));
        assert!(matches!(log.page(uid, shards[0], ReadFrom::Horizon, PAGE), Err(ReadError::NoShard)));
        assert_eq!(log.shards(uid).expect("listed").shards().len(), 0);
        let retained = log.retain().await.expect("retained");
        assert_eq!(retained.shards, 3);
        assert_eq!(log.retain().await.expect("retained").shards, 0);
        let (again, other) = log.define(Make("s", StreamMode::OnDemand, 4)).await.expect("made again");
        assert!(again != id && other != uid, "identities are never given again");
        assert_eq!(log.shards(other).expect("listed").shards().len(), 4);
    });
}

#[test]
fn an_on_demand_stream_grows_with_what_is_put_and_a_provisioned_one_does_not() {
    for (mode, grows) in [(StreamMode::OnDemand, true), (StreamMode::Provisioned, false)] {
        let world = World::new(11);
        let inner = world.clone();
        world.run(async move {
            let settings = Settings { split_writes_per_second: 100, ..Settings::default() };
            let cluster = Cluster::start(&inner, Engine::OWN, 1, settings).await;
            let log = cluster.log(0);
            let (id, uid) = log.define(Make("s", mode, 2)).await.expect("made");
            let mut expected = BTreeMap::new();
            for turn in 0..200 {
                let appended = log.append(id, records(turn * 30, 30)).await.expect("appended");
                expected.extend((turn * 30..).zip(appended));
                log.runtime().sleep(Duration::from_millis(100)).await;
            }
            let list = log.shards(uid).expect("listed");
            let open = list.shards().iter().filter(|shard| shard.ending.is_none()).count();
            // 300 a second: more than half of what four shards take, not of what eight take.
            assert_eq!((open, log.lived().scalings), if grows { (8, 2) } else { (2, 0) });
            assert_eq!(all(&log, uid), expected);
        });
    }
}

#[test]
fn several_nodes_append_to_one_stream_while_its_shards_change() {
    let (mut appended, mut fenced) = (0, 0);
    for seed in 0..30 {
        let world = World::new(seed);
        let inner = world.clone();
        let (written, lost) = world.run(async move {
            let cluster = Cluster::start(&inner, Engine::SHARED, 2, quiet()).await;
            let (id, uid) = cluster.log(0).define(Make("s", StreamMode::Provisioned, 2)).await.expect("made");
            cluster.set_faults(Faults { slow: 3_000, slow_max: Duration::from_millis(2), ..Faults::NONE });
            let writers: Vec<_> = (0..4_u64)
                .map(|writer| {
                    let (log, client) = (cluster.log((writer % 2) as usize), cluster.client(writer));
                    client.clone().spawn(async move {
                        let mut all = BTreeMap::new();
                        for turn in 0..20 {
                            let from = writer * 1_000 + turn * 10;
                            let appended = log.append(id, records(from, 10)).await.expect("appended");
                            all.extend((from..).zip(appended));
                        }
                        all
                    })
                })
                .collect();
            for shards in [4, 3, 6] {
                cluster.log(1).define(Just(vec![Change::Reshard { id, shards }])).await.expect("resharded");
            }
            let mut expected = BTreeMap::new();
            for writer in writers {
                expected.extend(writer.await.expect("ends"));
            }
            for node in 0..2 {
                assert_eq!(all(&cluster.log(node), uid), expected, "seed {seed}");
            }
            (expected.len(), cluster.counts().fenced)
        });
        appended += written;
        fenced += lost;
    }
    println!("{appended} records appended, {fenced} plans fenced");
    assert!(appended == 30 * 800 && fenced > 0);
}

#[test]
fn records_of_one_append_are_in_order_within_their_shard() {
    let world = World::new(12);
    let inner = world.clone();
    world.run(async move {
        let (cluster, id, uid) = one(&inner, 1, quiet()).await;
        let log = cluster.log(0);
        let appended = log.append(id, records(0, 500)).await.expect("appended");
        assert!(appended.is_sorted_by(|a, b| a.number < b.number));
        let list = log.shards(uid).expect("listed");
        let read: Vec<_> = read_shard(&log, uid, &list.shards()[0]).iter().map(|record| record.number).collect();
        assert_eq!(read, appended.iter().map(|each| each.number).collect::<Vec<_>>());
    });
}

/// Goal: who waits at the tail is woken as soon as a record can be read: with a cell that answers before it syncs too.
#[test]
fn readers_at_the_tail_are_woken_when_what_was_answered_early_is_synced() {
    let mut early = 0;
    for engine in [Engine::OWN, Engine::RELAXED] {
        let world = World::new(13);
        let inner = world.clone();
        early += world.run(async move {
            let cluster = Cluster::start(&inner, engine, 1, quiet()).await;
            let (id, uid) = cluster.log(0).define(Make("s", StreamMode::Provisioned, 1)).await.expect("made");
            let log = cluster.log(0);
            let shard = log.shards(uid).expect("listed").shards()[0].clone();
            let mut early = 0;
            for at in 0..100 {
                let mut changed = log.changed(shard.uid);
                log.append(id, records(at, 1)).await.expect("appended");
                while read_shard(&log, uid, &shard).len() as u64 <= at {
                    early += 1;
                    let late = pin!(log.runtime().sleep(Duration::from_secs(1)));
                    let woken = matches!(select(pin!(changed.changed()), late).await, Either::Left(_));
                    assert!(woken, "record {at} was not announced");
                }
            }
            early
        });
    }
    println!("{early} times a record was not there when its put was answered");
    assert!(early > 0);
}
