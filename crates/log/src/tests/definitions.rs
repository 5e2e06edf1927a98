//! Changes of definitions, alone and against the load.

use std::sync::Arc;
use std::time::Duration;

use headwater_catalog::{BillingMode, StreamState, StreamView, TableState, Throughput};
use headwater_storage::memory::{Faults, Settings as Engine};
use headwater_types::TableId;
use headwater_types::runtime::simulated::World;

use super::checks::{check_lineage, read_stream};
use super::commands::{Count, CreateTable, Deed, Just, Retag, count, scope, touch};
use super::harness::{Cluster, quiet};
use crate::{Change, Error, Log, Settings};

async fn table(log: &Log, name: &'static str, stream: Option<StreamView>) -> TableId {
    log.define(CreateTable(name, stream)).await.expect("made").expect("new")
}

async fn add(log: &Log, table: TableId, key: u64) -> Result<u64, Error> {
    Ok(log.execute(Count::new(table, Deed::Add, &[key], key)).await?.counts[0])
}

#[test]
fn a_table_is_made_with_partitions_shards_and_a_label_and_goes_with_its_items() {
    let world = World::new(3);
    let inner = world.clone();
    world.run(async move {
        let cluster = Cluster::start(&inner, Engine::OWN, 1, quiet()).await;
        let log = cluster.log(0);
        let id = table(&log, "t", Some(StreamView::KeysOnly)).await;
        assert_eq!(log.define(CreateTable("t", None)).await.expect("answers"), None, "the name is taken");
        let catalog = log.catalog().expect("known");
        let definition = catalog.table(&scope(), "t").expect("there").clone();
        assert_eq!((definition.state, definition.id), (TableState::Active, id));
        let uid = definition.stream.expect("on");
        let label = catalog.stream(uid).expect("there").label.clone();
        assert!(label.starts_with("2026-01-01T00:00:00."), "{label}");
        assert_eq!(definition.latest_stream_label.as_deref(), Some(&*label));
        let shards = log.shards(uid).expect("listed");
        assert_eq!(shards.shards().len(), 4);
        for key in 0..20 {
            add(&log, id, key).await.expect("added");
        }
        let size = log.size(id).expect("known");
        assert_eq!((size.items, size.bytes, size.partitions), (20, 160, 4));

        log.define(Just(vec![Change::Delete { table: id }])).await.expect("dropped");
        assert!(matches!(add(&log, id, 1).await, Err(Error::NoTable(_))));
        let catalog = log.catalog().expect("known");
        assert!(catalog.table(&scope(), "t").is_none());
        let stream = catalog.stream(uid).expect("stays readable");
        assert_eq!((stream.state, stream.closed.is_some()), (StreamState::Disabled, true));
        let read = read_stream(&log, uid);
        assert!(read.values().all(|(shard, _)| shard.ending.is_some() && shard.closed.is_some()));
        assert_eq!(
            read.values().map(|(_, records)| records.len()).sum::<usize>(),
            20,
            "no record of the dropped items"
        );
        let again = table(&log, "t", Some(StreamView::KeysOnly)).await;
        assert_ne!(again, id, "identities are never given again");
        let labels: Vec<_> =
            log.catalog().expect("known").streams(&scope(), Some("t"), None).map(|s| s.label.clone()).collect();
        assert!(labels.len() == 2 && labels[0] < labels[1], "{labels:?}");

        let retained = log.retain().await.expect("swept");
        assert_eq!(retained.rows, 20);
        let left = (0..20).filter(|key| log.snapshot().get(&touch(id, *key).key).expect("readable").is_some()).count();
        assert_eq!(left, 0);
        assert_eq!(log.retain().await.expect("nothing left").rows, 0);
    });
}

#[test]
fn provisioned_tables_start_with_what_their_throughput_asks_for() {
    let world = World::new(3);
    let inner = world.clone();
    world.run(async move {
        let log = Cluster::start(&inner, Engine::OWN, 1, quiet()).await.log(0);
        let id = table(&log, "a", None).await;
        let mut wanted = Box::new((**log.catalog().expect("known").table_by_id(id).expect("there")).clone());
        (wanted.name, wanted.billing) = ("b".into(), BillingMode::Provisioned);
        wanted.throughput = Throughput { read_units: 10, write_units: 2_500 };
        let stream = Some(StreamView::KeysOnly);
        log.define(Just(vec![Change::Create { table: wanted, stream }])).await.expect("made");
        let catalog = log.catalog().expect("known");
        let made = catalog.table(&scope(), "b").expect("there");
        assert_eq!(log.size(made.id).expect("known").partitions, 3);
        check_lineage(log.shards(made.stream.expect("on")).expect("listed").shards());
    });
}

#[test]
fn a_stream_switched_off_stays_readable_and_a_new_one_starts_without_parents() {
    let world = World::new(5);
    let inner = world.clone();
    world.run(async move {
        let log = Cluster::start(&inner, Engine::OWN, 1, quiet()).await.log(0);
        let id = table(&log, "t", Some(StreamView::NewImage)).await;
        let first = log.catalog().expect("known").table_by_id(id).and_then(|t| t.stream).expect("on");
        add(&log, id, 1).await.expect("added");
        let refused = log.define(Just(vec![Change::EnableStream { table: id, view: StreamView::KeysOnly }])).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
        log.define(Just(vec![Change::DisableStream { table: id }])).await.expect("off");
        let definition = log.catalog().expect("known").table_by_id(id).cloned().expect("there");
        assert_eq!((definition.stream, definition.latest_stream), (None, Some(first)));
        let answer = log.execute(Count::new(id, Deed::Add, &[1], 7)).await.expect("added");
        assert_eq!((answer.counts[0], answer.numbers.len()), (2, 0), "no record while nothing wants the log");
        log.define(Just(vec![Change::EnableStream { table: id, view: StreamView::KeysOnly }])).await.expect("on");
        let second = log.catalog().expect("known").table_by_id(id).and_then(|t| t.stream).expect("on");
        assert_ne!(first, second);
        add(&log, id, 1).await.expect("added");
        let records = |uid| read_stream(&log, uid).values().map(|(_, records)| records.len()).sum::<usize>();
        assert_eq!((records(first), records(second)), (1, 1));
        assert!(log.shards(second).expect("listed").shards().iter().all(|shard| shard.parents.is_empty()));
        let newest = log.shards(first).expect("listed").shards().iter().filter_map(|shard| shard.ending).max();
        assert!(newest.is_some());
    });
}

#[test]
fn short_states_are_shown_and_end_also_after_a_kill() {
    let world = World::new(5);
    let inner = world.clone();
    world.run(async move {
        let settings = Settings { short_states: Duration::from_millis(20), ..quiet() };
        let cluster = Cluster::start(&inner, Engine::OWN, 1, settings).await;
        let runtime = cluster.client(0);
        let state = |name| cluster.log(0).catalog().expect("known").table(&scope(), name).map(|t| t.state);
        let id = table(&cluster.log(0), "t", Some(StreamView::NewImage)).await;
        let uid = cluster.log(0).catalog().expect("known").table_by_id(id).and_then(|t| t.stream).expect("on");
        let stream = |cluster: &Cluster| cluster.log(0).catalog().expect("known").stream(uid).map(|s| s.state);
        assert_eq!((state("t"), stream(&cluster)), (Some(TableState::Creating), Some(StreamState::Enabling)));
        runtime.sleep(Duration::from_millis(30)).await;
        assert_eq!((state("t"), stream(&cluster)), (Some(TableState::Active), Some(StreamState::Enabled)));
        cluster.log(0).define(Just(vec![Change::DisableStream { table: id }])).await.expect("off");
        assert_eq!((state("t"), stream(&cluster)), (Some(TableState::Updating), Some(StreamState::Disabling)));
        let definition = || cluster.log(0).catalog().expect("known").table_by_id(id).cloned().expect("there");
        let mut tagged = Box::new((*definition()).clone());
        tagged.tags.insert("a".into(), "b".into());
        cluster.log(0).define(Just(vec![Change::Record { table: tagged.clone() }])).await.expect("tagged");
        assert_eq!((state("t"), definition().tags.len()), (Some(TableState::Updating), 1), "a short state stays");
        cluster.restart(0).await;
        assert_eq!((state("t"), stream(&cluster)), (Some(TableState::Active), Some(StreamState::Disabled)));
        let definition = || cluster.log(0).catalog().expect("known").table_by_id(id).cloned().expect("there");
        tagged.tags.clear();
        cluster.log(0).define(Just(vec![Change::Record { table: tagged }])).await.expect("untagged");
        assert_eq!((state("t"), definition().tags.len()), (Some(TableState::Active), 0), "none begins");
        cluster.log(0).define(Just(vec![Change::Delete { table: id }])).await.expect("deleting");
        assert_eq!(state("t"), Some(TableState::Deleting));
        runtime.sleep(Duration::from_millis(30)).await;
        assert_eq!(state("t"), None);
    });
}

#[test]
fn definitions_of_one_node_are_seen_by_the_other_at_once() {
    for seed in 0..20 {
        let world = World::new(seed);
        let inner = world.clone();
        world.run(async move {
            let cluster = Cluster::start(&inner, Engine::SHARED, 2, quiet()).await;
            cluster.set_faults(Faults {
                slow: 5_000,
                slow_max: Duration::from_millis(2),
                unknown: 500,
                ..Faults::NONE
            });
            let (a, b) = (cluster.log(0), cluster.log(1));
            let id = table(&a, "t", Some(StreamView::KeysOnly)).await;
            assert!(b.catalog().expect("known").table(&scope(), "t").is_some());
            assert_eq!(add(&b, id, 1).await.expect("added"), 1);
            assert_eq!(add(&a, id, 1).await.expect("added"), 2);
            // Both change the definition at the same time: neither change is lost.
            let runtime = cluster.client(1);
            let changes: Vec<_> = (0..10)
                .map(|at| {
                    let log: Arc<Log> = cluster.log(at % 2);
                    runtime.spawn(async move { log.define(Retag(id)).await.expect("defined") })
                })
                .collect();
            let mut answers = Vec::new();
            for change in changes {
                answers.push(change.await.expect("ends").expect("there"));
            }
            assert_eq!(b.catalog().expect("known").table_by_id(id).map(|t| Retag::count(t)), Some(10));
            a.define(Just(vec![Change::Delete { table: id }])).await.expect("dropped");
            assert!(b.catalog().expect("known").table(&scope(), "t").is_none());
            let gone = add(&b, id, 1).await;
            assert!(matches!(gone, Err(Error::NoTable(_))), "{gone:?}");
            assert_eq!(count(b.snapshot().get(&touch(id, 1).key).expect("readable").as_ref()), 2);
        });
    }
}
