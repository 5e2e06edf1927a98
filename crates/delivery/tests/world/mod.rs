//! A node with a table, a data stream and a mover, and the judge of what the mover does.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use headwater_catalog::{
    DataStreamDefinition, KeyAttribute, KeyKind, KeySchema, KinesisDestination, Precision, Snapshot, StreamView,
    TableDefinition, Tally,
};
use headwater_delivery::{Doors, Happening, Jobs, Settings as JobSettings};
use headwater_log::{Change, Defined, Definition, DestinationChange, Log, PageLimit, ReadFrom, Settings, data_record};
use headwater_storage::Cell;
use headwater_storage::embedded::{self, IndexKind};
use headwater_storage::files::faulty::{Faulty, Survival};
use headwater_storage::memory::{self, Faults, Model};
use headwater_table::{Action, Row, Write, schema};
use headwater_types::runtime::simulated::World;
use headwater_types::{AttributeValue, Clock, HashKey, Item, Millis, Number, Runtime, Scope};
use parking_lot::Mutex;

pub const TARGET: &str = "target";
const ITEMS: u64 = 12;
const ALL: PageLimit = PageLimit { records: 100_000, bytes: usize::MAX };

pub fn scope() -> Scope {
    Scope::new("000000000000", "eu-west-1")
}

struct Just(Vec<Change>);

impl Definition for Just {
    type Answer = ();

    fn decide(&mut self, _catalog: &Snapshot, _now: Millis) -> Defined<()> {
        Defined::Change(std::mem::take(&mut self.0))
    }

    fn answer(&mut self, _catalog: &Snapshot) {}
}

/// What outlives a node.
#[derive(Clone)]
enum Engine {
    /// The model.
    Model(Model),
    /// The embedded engine on a disk that loses, tears and reorders what was not synced.
    Files(Faulty, Box<embedded::Settings>),
}

impl Engine {
    /// Small segments and parts, so that they are closed, flushed, trimmed and archived within a run.
    fn files() -> Self {
        let faulty = Faulty::new();
        let settings = embedded::Settings {
            memtable_bytes: Some(16 << 10),
            segment_bytes: 16 << 10,
            replay_bytes_max: 64 << 10,
            reserve_bytes: Some(64 << 10),
            rotate_one_in: Some(5),
            archive_one_in: Some(2),
            ..embedded::Settings::on(Arc::new(faulty.clone()), "data", IndexKind::OrderedMap)
        };
        Self::Files(faulty, Box::new(settings))
    }

    async fn cell(&self, runtime: &Runtime, clock: &Clock) -> Arc<dyn Cell> {
        match self {
            Self::Model(model) => model.node(runtime.clone(), clock.clone(), Faults::NONE),
            Self::Files(_, settings) => {
                let opening = embedded::open((**settings).clone(), runtime.clone(), clock.clone());
                runtime.spawn(opening).await.expect("goes on").expect("the store opens").0
            }
        }
    }

    /// The process is gone, and the machine lost its power.
    fn lose_power(&self, dice: u64) {
        match self {
            Self::Model(_) => {}
            Self::Files(faulty, _) => faulty.crash(match dice % 3 {
                0 => Survival::Nothing,
                1 => Survival::Everything,
                _ => Survival::Torn(dice),
            }),
        }
    }
}

/// One node at a time; a crash kills it and opens the next.
pub struct Lab {
    world: World,
    /// Draws what happens; no crash ends it.
    chance: Runtime,
    engine: Engine,
    number: u64,
    planted: bool,
    pub log: Arc<Log>,
    pub jobs: Arc<Jobs>,
    /// Whether the target's shards refuse most of what comes.
    refuses: Arc<AtomicBool>,
    throttled: Arc<AtomicU64>,
    happened: Arc<Mutex<Vec<Happening>>>,
}

impl Lab {
    pub async fn open(world: &World, planted: bool) -> Self {
        Self::on(world, Engine::Model(Model::new(world.node(999), memory::Settings::OWN)), planted).await
    }

    /// On files that lose what was not synced.
    pub async fn open_on_files(world: &World, planted: bool) -> Self {
        Self::on(world, Engine::files(), planted).await
    }

    async fn on(world: &World, engine: Engine, planted: bool) -> Self {
        let chance = world.node(1_000);
        let (refuses, throttled) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let happened = Arc::default();
        let (log, jobs) = start(world, &engine, 1, planted, &refuses, &throttled, &chance, &happened).await;
        let (world, number) = (world.clone(), 1);
        Self { world, chance, engine, number, planted, log, jobs, refuses, throttled, happened }
    }

    pub fn dice(&self, sides: u64) -> u64 {
        self.chance.random() % sides
    }

    pub fn happened(&self) -> Vec<Happening> {
        self.happened.lock().clone()
    }

    pub fn throttled(&self) -> u64 {
        self.throttled.load(Ordering::Relaxed)
    }

    pub fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::Relaxed);
    }

    pub async fn define(&self, change: Change) {
        self.log.define(Just(vec![change])).await.expect("a definition");
    }

    pub async fn advance(&self, by: Duration) {
        self.log.advance_clock(by).await.expect("moved");
        self.log.retain().await.expect("trimmed");
    }

    pub async fn create(&self, stream: Option<StreamView>) {
        let hash = KeyAttribute { name: "id".into(), kind: KeyKind::N };
        let table = TableDefinition::new(scope(), "items", KeySchema { hash, range: None });
        self.define(Change::Create { table: Box::new(table), stream }).await;
    }

    pub async fn create_target(&self, shards: usize) {
        let stream = DataStreamDefinition::new(scope(), TARGET);
        self.define(Change::CreateDataStream { stream: Box::new(stream), shards }).await;
    }

    fn target(&self) -> Arc<DataStreamDefinition> {
        self.log.catalog().expect("a catalog").data_stream(&scope(), TARGET).expect("it is there").clone()
    }

    pub async fn delete_target(&self) {
        self.define(Change::DeleteDataStream { id: self.target().id }).await;
    }

    pub fn table(&self) -> Arc<TableDefinition> {
        self.log.catalog().expect("a catalog").table(&scope(), "items").expect("it is there").clone()
    }

    pub fn destination(&self) -> KinesisDestination {
        self.table().destinations.first().expect("it was enabled").clone()
    }

    pub async fn enable(&self, precision: Option<Precision>) {
        self.change(DestinationChange::Enable { stream: TARGET.to_owned(), precision }).await;
    }

    pub async fn change(&self, change: DestinationChange) {
        self.define(Change::Destination { table: self.table().id, change }).await;
    }

    async fn put(&self, item: Item) {
        let table = self.table();
        let key = schema::item_key(&table.key_schema, &item).expect("a key");
        let key_item = schema::keys_of(&table.key_schema, &item);
        let write = Write::new(&table, &key, key_item, Action::Put(Row::new(&item)), None);
        headwater_table::write(&self.log, write).await.expect("put");
    }

    /// Changes an item.
    pub async fn write(&self, judge: &mut Judge, is_replicated: bool) {
        let item = self.dice(ITEMS);
        let number = judge.next(item, is_replicated);
        self.put(numbered(item, number)).await;
    }

    pub async fn put_large(&self) {
        let mut item = numbered(99, 1);
        item.insert("text".to_owned(), AttributeValue::S("\u{1}".repeat(390_000)));
        self.put(item).await;
    }

    pub async fn put_expiring(&self) {
        let mut item = numbered(1, 1);
        let at = self.log.clock().store().seconds() + 60;
        item.insert("ttl".to_owned(), AttributeValue::N(Number::from(at)));
        self.put(item).await;
    }

    /// A pass of the jobs.
    pub async fn pass(&self) {
        self.jobs.pass().await.expect("a pass");
    }

    /// A pass that the node does not survive: it is killed somewhere in it, or right after.
    pub async fn pass_and_crash(&mut self) {
        let time = Duration::from_micros(self.dice(60_000));
        until(&self.chance, time, self.jobs.pass()).await;
        self.crash().await;
    }

    async fn crash(&mut self) {
        self.world.kill(self.number);
        self.engine.lose_power(self.chance.random());
        self.number += 1;
        let (log, jobs) = start(
            &self.world,
            &self.engine,
            self.number,
            self.planted,
            &self.refuses,
            &self.throttled,
            &self.chance,
            &self.happened,
        )
        .await;
        (self.log, self.jobs) = (log, jobs);
    }

    /// Splits a partition, or rolls its shard over; false when there is nothing of that kind to do.
    pub async fn split_or_roll_over(&self) -> bool {
        let table = self.table();
        let partitions = self.log.partitions(table.id).expect("partitions");
        let one = &partitions[self.dice(partitions.len() as u64) as usize];
        let (start, end) = one.hash_range;
        if self.dice(2) == 0 && table.stream.is_some() {
            self.log.roll_over(table.id, HashKey(start)).await.expect("rolled over");
            return true;
        }
        if partitions.len() >= 12 {
            return false;
        }
        self.log.split(table.id, HashKey(start + (end - start) / 2 + 1)).await.expect("split");
        true
    }

    pub async fn toggle_stream(&self) {
        let table = self.table();
        self.define(match table.stream {
            Some(_) => Change::DisableStream { table: table.id },
            None => Change::EnableStream { table: table.id, view: StreamView::KeysOnly },
        })
        .await;
    }

    /// Splits or merges shards of the target.
    pub async fn reshard(&self) -> bool {
        let target = self.target();
        let list = self.log.shards(target.uid).expect("shards");
        let mut open: Vec<_> = list.shards().iter().filter(|shard| shard.ending.is_none()).collect();
        open.sort_by_key(|shard| shard.hash_range.0);
        let at = self.dice(open.len() as u64) as usize;
        let (start, end) = open[at].hash_range;
        let change = match open.get(at + 1) {
            Some(upper) if self.dice(2) == 0 => {
                Change::MergeShards { id: target.id, first: open[at].uid, second: upper.uid }
            }
            _ if open.len() < 8 => {
                let at_hash = start + (end - start) / 2 + 1;
                Change::SplitShard { id: target.id, shard: open[at].uid, at: at_hash }
            }
            _ => return false,
        };
        self.define(change).await;
        true
    }

    /// Passes until all is sent, judged after every one.
    pub async fn finish(&self, judge: &mut Judge) -> Result<(), String> {
        while self.jobs.pass().await.expect("a pass") {
            judge.look(self)?;
        }
        judge.look(self)
    }

    /// The target's records along its lineage, of each shard in order: children come after their parents.
    pub fn read_json(&self) -> Vec<serde_json::Value> {
        let target = self.target();
        let mut found = Vec::new();
        for shard in self.log.shards(target.uid).expect("shards").shards() {
            let page = self.log.page(target.uid, shard.uid, ReadFrom::Horizon, ALL).expect("a page");
            for record in page.records {
                let (key, data) = data_record::decode(&record.payload).expect("a record");
                let hash = HashKey::of(key.as_bytes());
                assert!(shard.hash_range.0 <= hash.0 && hash.0 <= shard.hash_range.1, "in the shard of its key");
                found.push(serde_json::from_slice(&data).expect("JSON"));
            }
        }
        found
    }

    /// The same as (item, number of the change).
    pub fn read_target(&self) -> Vec<(u64, u64)> {
        let number = |record: &serde_json::Value, pointer: &str| {
            let text = record.pointer(pointer).and_then(serde_json::Value::as_str);
            text.and_then(|text| text.parse().ok()).expect("a number")
        };
        let of = |record: &serde_json::Value| {
            (number(record, "/dynamodb/Keys/id/N"), number(record, "/dynamodb/NewImage/n/N"))
        };
        self.read_json().iter().map(of).collect()
    }

    fn tally(&self) -> Tally {
        let destination = self.destination();
        if destination.state.is_over() {
            return destination.tally;
        }
        let positions = self.log.positions(destination.incarnation).expect("positions");
        positions.iter().fold(Tally::default(), |sum, position| sum + position.tally)
    }
}

#[allow(clippy::too_many_arguments, reason = "what outlives a node is handed to the next")]
async fn start(
    world: &World,
    engine: &Engine,
    number: u64,
    planted: bool,
    refuses: &Arc<AtomicBool>,
    throttled: &Arc<AtomicU64>,
    chance: &Runtime,
    happened: &Arc<Mutex<Vec<Happening>>>,
) -> (Arc<Log>, Arc<Jobs>) {
    let runtime = world.node(number);
    let clock = Clock::new(runtime.clone(), Millis(0));
    let cell = engine.cell(&runtime, &clock).await;
    let settings = Settings { background: false, on_demand_partitions: 2, ..Settings::default() };
    let log = Log::open(cell, runtime, clock, settings).await.expect("opens");
    let (refuses, throttled, chance) = (refuses.clone(), throttled.clone(), chance.clone());
    let throttle = move |_, _, _| {
        let takes = !refuses.load(Ordering::Relaxed) || chance.random().is_multiple_of(3);
        throttled.fetch_add(u64::from(!takes), Ordering::Relaxed);
        takes
    };
    let happened = happened.clone();
    let events = move |event: &headwater_delivery::Event| happened.lock().push(event.happening);
    let doors = Doors { throttle: Some(Arc::new(throttle)), events: Some(Arc::new(events)) };
    let settings = JobSettings {
        background: false,
        #[cfg(feature = "planted-bugs")]
        planted: planted.then_some(headwater_table::planted::PlantedBug::CursorApart),
        ..JobSettings::default()
    };
    let _ = planted;
    (log.clone(), Jobs::start_with(log, settings, doors))
}

fn numbered(item: u64, number: u64) -> Item {
    let n = |number: u64| AttributeValue::N(Number::from(number as i64));
    [("id".to_owned(), n(item)), ("n".to_owned(), n(number))].into_iter().collect()
}

async fn until<T>(runtime: &Runtime, time: Duration, work: impl Future<Output = T>) {
    let (mut work, mut end) = (pin!(work), runtime.sleep(time));
    poll_fn(|context| {
        if work.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        end.as_mut().poll(context)
    })
    .await;
}

/// What was changed, and what the target has had of it.
#[derive(Default)]
pub struct Judge {
    /// Numbers of each item's changes that are to be sent, in order.
    wanted: BTreeMap<u64, Vec<u64>>,
    last: BTreeMap<u64, u64>,
    /// What earlier targets, which are gone, held of each item.
    earlier: BTreeMap<u64, Vec<u64>>,
}

impl Judge {
    fn next(&mut self, item: u64, is_replicated: bool) -> u64 {
        let number = self.last.entry(item).or_default();
        *number += 1;
        if is_replicated {
            self.wanted.entry(item).or_default().push(*number);
        }
        *number
    }

    /// How many changes are to be sent.
    pub fn sent(&self) -> usize {
        self.wanted.values().map(Vec::len).sum()
    }

    fn held(&self, lab: &Lab) -> BTreeMap<u64, Vec<u64>> {
        let mut held = self.earlier.clone();
        for (item, number) in lab.read_target() {
            held.entry(item).or_default().push(number);
        }
        held
    }

    /// The target is about to be deleted.
    pub fn forget_target(&mut self, lab: &Lab) {
        self.earlier = self.held(lab);
    }

    /// The target holds of each item a prefix of its changes, and altogether what the positions say.
    pub fn look(&self, lab: &Lab) -> Result<(), String> {
        let held = self.held(lab);
        for (item, numbers) in &held {
            let wanted = self.wanted.get(item).map(Vec::as_slice).unwrap_or_default();
            if !wanted.starts_with(numbers) {
                return Err(format!("item {item}: {numbers:?} are no prefix of {wanted:?}"));
            }
        }
        let (records, sent) = (held.values().map(Vec::len).sum::<usize>(), lab.tally().sent);
        if records as u64 != sent {
            return Err(format!("the positions say {sent} changes, the target holds {records}"));
        }
        Ok(())
    }

    /// The target holds all there is to be sent.
    pub fn look_at_end(&self, lab: &Lab) -> Result<(), String> {
        self.look(lab)?;
        let held: usize = self.held(lab).values().map(Vec::len).sum();
        if held == self.sent() {
            return Ok(());
        }
        Err(format!("{held} of {} changes were sent", self.sent()))
    }
}
