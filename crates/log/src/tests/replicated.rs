//! The log of a table that is replicated: it goes on whatever happens to the table's stream, and nobody sees how.

use headwater_catalog::{DataStreamDefinition, DestinationState, Snapshot as Catalog, StreamView};
use headwater_storage::memory::Settings as Engine;
use headwater_types::runtime::simulated::World;
use headwater_types::{HashKey, Millis, StreamUid, TableId};

use super::checks::{check_lineage, read_stream};
use super::commands::{Count, CreateTable, Deed, Just, scope};
use super::harness::{Cluster, quiet};
use crate::{Change, Defined, Definition, DestinationChange, Error, Log, MoverPosition, PageLimit, Step};

const ALL: PageLimit = PageLimit { records: 1_000, bytes: 1 << 20 };

struct Target;

impl Definition for Target {
    type Answer = TableId;

    fn decide(&mut self, _catalog: &Catalog, _now: Millis) -> Defined<TableId> {
        let stream = DataStreamDefinition::new(scope(), "target");
        Defined::Change(vec![Change::CreateDataStream { stream: Box::new(stream), shards: 1 }])
    }

    fn answer(&mut self, catalog: &Catalog) -> TableId {
        catalog.data_stream(&scope(), "target").expect("made").id
    }
}

async fn table(log: &Log, name: &'static str, stream: Option<StreamView>) -> TableId {
    log.define(CreateTable(name, stream)).await.expect("made").expect("the name is free")
}

async fn define(log: &Log, change: Change) -> Result<(), Error> {
    log.define(Just(vec![change])).await.map(drop)
}

async fn change(log: &Log, table: TableId, change: DestinationChange) -> Result<(), Error> {
    define(log, Change::Destination { table, change }).await
}

fn enable() -> DestinationChange {
    DestinationChange::Enable { stream: "target".to_owned(), precision: None }
}

fn mover(log: &Log, table: TableId) -> StreamUid {
    let catalog = log.catalog().expect("known");
    catalog.table_by_id(table).expect("there").destination().expect("on").incarnation
}

/// Moves all positions to the ends of what there is, without sending anything; how many records were passed.
async fn drain(log: &Log, table: TableId, mover: StreamUid) -> u64 {
    let mut passed = 0;
    loop {
        let positions = log.positions(mover).expect("readable");
        let mut moved = false;
        for position in positions.iter().filter(|position| !position.is_done) {
            let page = log.source_page(position, ALL).expect("readable");
            if page.records.is_empty() && !page.ended {
                continue;
            }
            passed += page.records.len() as u64;
            assert!(step(log, table, position, &page.records, page.ended).await, "nothing else moves it");
            moved = true;
        }
        if !moved {
            return passed;
        }
    }
}

async fn step(log: &Log, table: TableId, position: &MoverPosition, records: &[crate::LogRecord], ended: bool) -> bool {
    let after = records.last().map_or(position.after, |last| last.number);
    let step = Step { target: TableId(0), records: Vec::new(), after, tally: Default::default(), ended };
    log.replicate(table, position, step).await.expect("moved")
}

#[test]
fn the_log_goes_on_while_the_stream_is_switched_and_its_readers_see_their_own_shards_only() {
    let world = World::new(3);
    let inner = world.clone();
    world.run(async move {
        let log = Cluster::start(&inner, Engine::OWN, 1, quiet()).await.log(0);
        log.define(Target).await.expect("made");
        let id = table(&log, "t", None).await;
        let write = async |key: u64| {
            let counted = log.execute(Count::new(id, Deed::Add, &[key], 1)).await.expect("added");
            counted.numbers.len() as u64
        };
        assert_eq!(write(1).await, 0, "nothing wants the log");
        change(&log, id, enable()).await.expect("on");
        let mover = mover(&log, id);
        let mut written = 0;
        for (round, toggle) in (0_u64..6).zip([true, false].into_iter().cycle()) {
            for key in 0..20 {
                written += write(key).await;
            }
            let on = Change::EnableStream { table: id, view: StreamView::KeysOnly };
            define(&log, if toggle { on } else { Change::DisableStream { table: id } }).await.expect("switched");
            let catalog = log.catalog().expect("known");
            let definition = catalog.table_by_id(id).expect("there");
            if let Some(stream) = definition.stream {
                let list = log.shards(stream).expect("listed");
                check_lineage(list.shards());
                assert!(list.shards().iter().all(|shard| shard.parents.is_empty()), "born with the stream");
            }
            log.split(id, HashKey((u128::from(round) + 1) << 120)).await.expect("split");
        }
        assert_eq!(written, 120, "every change has a record");
        let streams: Vec<StreamUid> = log.catalog().expect("known").all_streams().map(|stream| stream.uid).collect();
        let shown: usize =
            streams.iter().flat_map(|uid| read_stream(&log, *uid)).map(|(_, (_, records))| records.len()).sum();
        assert_eq!((streams.len(), shown), (3, 60), "half of the changes were made while a stream was on");
        assert_eq!(drain(&log, id, mover).await, written);

        change(&log, id, DestinationChange::Disable).await.expect("off");
        assert_eq!(write(1).await, 0, "nothing wants the log any more");
        assert_eq!(drain(&log, id, mover).await, 0);
        assert!(log.positions(mover).expect("readable").iter().all(|position| position.is_done));
        change(&log, id, DestinationChange::Finish { incarnation: mover }).await.expect("over");
        let state = log.catalog().expect("known").table_by_id(id).expect("there").destinations[0].state;
        assert_eq!(state, DestinationState::Disabled);
        assert!(log.positions(mover).expect("readable").is_empty());
    });
}

#[test]
fn it_starts_and_ends_where_the_commits_of_its_definition_lie() {
    let world = World::new(4);
    let inner = world.clone();
    world.run(async move {
        let log = Cluster::start(&inner, Engine::OWN, 1, quiet()).await.log(0);
        log.define(Target).await.expect("made");
        let id = table(&log, "t", Some(StreamView::KeysOnly)).await;
        let write = async |keys: std::ops::Range<u64>| {
            for key in keys {
                log.execute(Count::new(id, Deed::Add, &[key], 1)).await.expect("added");
            }
        };
        write(0..30).await;
        change(&log, id, enable()).await.expect("on");
        assert!(matches!(change(&log, id, enable()).await, Err(Error::Invalid(_))), "one at a time");
        let mover = mover(&log, id);
        write(0..17).await;
        log.roll_over(id, HashKey(0)).await.expect("rolled over");
        write(0..5).await;
        change(&log, id, DestinationChange::Disable).await.expect("off");
        write(0..30).await;
        log.roll_over(id, HashKey(0)).await.expect("rolled over");
        write(0..30).await;
        assert_eq!(drain(&log, id, mover).await, 22, "what was committed in between, in whatever shard");
    });
}

#[test]
fn a_step_on_an_old_position_or_definition_does_nothing() {
    let world = World::new(5);
    let inner = world.clone();
    world.run(async move {
        let log = Cluster::start(&inner, Engine::OWN, 1, quiet()).await.log(0);
        log.define(Target).await.expect("made");
        let id = table(&log, "t", None).await;
        change(&log, id, enable()).await.expect("on");
        let mover = mover(&log, id);
        let old = log.positions(mover).expect("readable");
        assert!(step(&log, id, &old[0], &[], false).await);
        assert!(!step(&log, id, &old[0], &[], false).await, "another node was faster");
        assert!(step(&log, id, &old[1], &[], false).await);
    });
}
