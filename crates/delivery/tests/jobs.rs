//! Jobs over the model engine and the simulated runtime: indexes made and removed while writers run, crashes in the middle,
//! expiry in store time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_catalog::{
    IndexDefinition, IndexKind, IndexState, KeyAttribute, KeyKind, KeySchema, Projected, Snapshot, StreamView,
    TableDefinition, TimeToLiveState,
};
use headwater_delivery::{Jobs, Settings as JobSettings};
use headwater_log::{Change, Defined, Definition, IndexChange, Log, PageLimit, ReadFrom, Settings};
use headwater_storage::contract::Direction;
use headwater_storage::memory::{self, Faults, Model};
use headwater_table::change::Origin;
use headwater_table::query::Shown;
use headwater_table::{Action, Query, Row, Scan, Source, Write, change, index, schema};
use headwater_types::runtime::simulated::World;
use headwater_types::{AttributeValue, Clock, Item, Millis, Number, Runtime, Scope};

struct Just(Vec<Change>);

impl Definition for Just {
    type Answer = Arc<TableDefinition>;

    fn decide(&mut self, _catalog: &Snapshot, _now: Millis) -> Defined<Self::Answer> {
        Defined::Change(self.0.clone())
    }

    fn answer(&mut self, catalog: &Snapshot) -> Self::Answer {
        catalog.table(&scope(), "items").expect("it exists").clone()
    }
}

fn scope() -> Scope {
    Scope::new("000000000000", "eu-west-1")
}

fn key(name: &str, kind: KeyKind) -> KeyAttribute {
    KeyAttribute { name: name.to_owned(), kind }
}

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn n(number: i64) -> AttributeValue {
    AttributeValue::N(Number::from(number))
}

/// A node's log and its jobs, which move only when a test says so.
struct Node {
    log: Arc<Log>,
    jobs: Arc<Jobs>,
}

impl Node {
    async fn open(runtime: &Runtime, model: &Model) -> Self {
        let clock = Clock::new(runtime.clone(), Millis(0));
        let cell = model.node(runtime.clone(), clock.clone(), Faults::NONE);
        let settings = Settings { background: false, ..Settings::default() };
        let log = Log::open(cell, runtime.clone(), clock, settings).await.expect("opens");
        let settings = JobSettings { rows_per_step: 3, background: false, ..JobSettings::default() };
        Self { jobs: Jobs::start(log.clone(), settings), log }
    }

    async fn create(&self) -> Arc<TableDefinition> {
        let keys = KeySchema { hash: key("pk", KeyKind::S), range: Some(key("sk", KeyKind::N)) };
        let mut table = TableDefinition::new(scope(), "items", keys);
        let range = vec![key("l", KeyKind::S)];
        let mut local = IndexDefinition::new("local", IndexKind::Local, vec![key("pk", KeyKind::S)], range);
        local.projected = Projected::KeysOnly;
        table.indexes.push(local);
        let stream = Some(StreamView::NewAndOldImages);
        self.log.define(Just(vec![Change::Create { table: Box::new(table), stream }])).await.expect("is created")
    }

    async fn change(&self, change: IndexChange) -> Arc<TableDefinition> {
        let table = self.table().id;
        self.log.define(Just(vec![Change::Index { table, change }])).await.expect("is changed")
    }

    fn table(&self) -> Arc<TableDefinition> {
        self.log.catalog().expect("a catalog").table(&scope(), "items").expect("it exists").clone()
    }

    async fn put(&self, item: Item) {
        let table = self.table();
        let key = schema::item_key(&table.key_schema, &item).expect("a key");
        let key_item = schema::keys_of(&table.key_schema, &item);
        headwater_table::write(&self.log, Write::new(&table, &key, key_item, Action::Put(Row::new(&item)), None))
            .await
            .expect("put");
    }

    async fn delete(&self, item: &Item) {
        let table = self.table();
        let key = schema::item_key(&table.key_schema, item).expect("a key");
        let key_item = schema::keys_of(&table.key_schema, item);
        headwater_table::write(&self.log, Write::new(&table, &key, key_item, Action::Delete, None))
            .await
            .expect("gone");
    }

    fn items(&self, index: Option<&str>) -> Vec<Item> {
        let table = self.table();
        let source = Source { index: index.and_then(|name| table.index(name)), ..Source::table(&table) };
        let scan = Scan { segment: None, start: None, shown: Shown::default() };
        decoded(&headwater_table::scan(&self.log, &source, &scan).expect("scans").rows)
    }

    /// Passes until nothing is left to be done.
    async fn finish(&self) {
        while self.jobs.pass().await.expect("a pass") {}
    }
}

fn decoded(rows: &[Row]) -> Vec<Item> {
    rows.iter().map(|row| row.item().expect("an item")).collect()
}

fn item(number: i64, extra: &[(&str, AttributeValue)]) -> Item {
    let mut item = Item::default();
    item.insert("pk".to_owned(), s(&format!("p{}", number % 3)));
    item.insert("sk".to_owned(), n(number));
    extra.iter().for_each(|(name, value)| drop(item.insert((*name).to_owned(), value.clone())));
    item
}

fn global() -> IndexDefinition {
    let (hash, range) = (vec![key("a", KeyKind::S), key("b", KeyKind::N)], vec![key("c", KeyKind::S)]);
    let mut index = IndexDefinition::new("global", IndexKind::Global, hash, range);
    index.projected = Projected::Include(vec!["shown".to_owned()]);
    index
}

fn create_global() -> IndexChange {
    IndexChange::Create { index: Box::new(global()), attributes: Vec::new() }
}

/// What the global index is to hold of these items.
fn expected(items: &[Item]) -> Vec<Item> {
    let in_it = items.iter().filter(|item| {
        matches!(
            ["a", "b", "c"].map(|name| item.get(name)),
            [Some(AttributeValue::S(_)), Some(AttributeValue::N(_)), Some(AttributeValue::S(_))]
        )
    });
    let shown = ["pk", "sk", "a", "b", "c", "shown"];
    in_it
        .map(|item| {
            item.0
                .iter()
                .filter(|(name, _)| shown.contains(&name.as_str()))
                .map(|(n, v)| (n.clone(), v.clone()))
                .collect()
        })
        .collect()
}

fn sorted(mut items: Vec<Item>) -> Vec<Item> {
    items.sort_by_key(|item| format!("{item:?}"));
    items
}

fn random_item(runtime: &Runtime) -> Item {
    let dice = |sides: u64| (runtime.random() % sides) as i64;
    let mut item = item(dice(30), &[("shown", n(dice(5))), ("hidden", n(dice(5)))]);
    for (name, value) in [("a", s("x")), ("b", n(dice(2))), ("c", s(&format!("c{}", dice(9)))), ("l", s("l"))] {
        if dice(4) > 0 {
            item.insert(name.to_owned(), value);
        }
    }
    item
}

#[test]
fn an_index_made_under_writes_and_crashes_holds_what_the_items_say() {
    let mut filled = 0;
    for seed in 0..20 {
        let world = World::new(seed);
        let (runtime, model) = (world.node(1), Model::new(world.node(99), memory::Settings::OWN));
        filled += world.run(async move {
            let mut node = Node::open(&runtime, &model).await;
            node.create().await;
            for _ in 0..60 {
                node.put(random_item(&runtime)).await;
            }
            node.change(create_global()).await;
            let mut steps = 0;
            while node.table().index("global").expect("it is there").state != IndexState::Active {
                let now: BTreeMap<_, _> =
                    sorted(expected(&node.items(None))).into_iter().map(|i| (format!("{i:?}"), i)).collect();
                assert!(node.items(Some("global")).iter().all(|entry| now.contains_key(&format!("{entry:?}"))));
                match runtime.random() % 4 {
                    0 => node.put(random_item(&runtime)).await,
                    1 => node.delete(&random_item(&runtime)).await,
                    2 if steps % 5 == 0 => {
                        drop(node);
                        node = Node::open(&runtime, &model).await;
                    }
                    _ => drop(node.jobs.pass().await.expect("a pass")),
                }
                steps += 1;
                assert!(steps < 1_000, "the index is never filled");
            }
            assert_eq!(sorted(node.items(Some("global"))), sorted(expected(&node.items(None))));
            let table = node.table();
            let source = Source { index: table.index("global"), ..Source::table(&table) };
            let query = Query {
                hash: vec![s("x"), n(1)],
                equal: Vec::new(),
                range: None,
                forward: false,
                start: None,
                shown: Shown::default(),
            };
            let found = decoded(&headwater_table::query(&node.log, &source, &query).expect("queries").rows);
            let of_key = expected(&node.items(None)).into_iter().filter(|item| item.get("b") == Some(&n(1)));
            assert_eq!(sorted(found.clone()), sorted(of_key.collect()));
            let order: Vec<_> = found.iter().map(|item| format!("{:?}", item.get("c"))).collect();
            assert!(order.windows(2).all(|pair| pair[0] >= pair[1]), "by falling sort key");
            let id = table.index("global").expect("it is there").id;
            let size = index::size(&node.log, table.id, id).expect("a size");
            assert_eq!(size.items as usize, node.items(Some("global")).len());

            node.change(IndexChange::Delete { index: id }).await;
            node.put(random_item(&runtime)).await;
            node.finish().await;
            assert!(node.table().index("global").is_none());
            let (start, end) = (index::index_prefix(table.id, id), index::index_prefix(table.id, id + 1));
            assert_eq!(node.log.snapshot().scan(&start, &end, Direction::Forward).count(), 0);
            let local = node.items(None).iter().filter(|item| item.contains_key("l")).count();
            assert_eq!(node.items(Some("local")).len(), local);
            for (_, of) in by_partition(&node.items(None)) {
                let key = schema::item_key(&table.key_schema, &of[0]).expect("a key");
                let kept = headwater_table::collection::size(&node.log, &table, &key).expect("a size");
                assert_eq!(kept as usize, collection(&of), "the collection's size");
            }
            node.jobs.totals().filled
        });
    }
    println!("20 seeds, {filled} items entered");
    assert!(filled > 0);
}

fn by_partition(items: &[Item]) -> BTreeMap<String, Vec<Item>> {
    let mut parts: BTreeMap<String, Vec<Item>> = BTreeMap::new();
    for item in items {
        parts.entry(format!("{:?}", item.get("pk"))).or_default().push(item.clone());
    }
    parts
}

/// Bytes of items and of their local entries (keys only).
fn collection(items: &[Item]) -> usize {
    let entry = |item: &Item| {
        let kept: Item = item
            .0
            .iter()
            .filter(|(n, _)| ["pk", "sk", "l"].contains(&n.as_str()))
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect();
        if item.contains_key("l") { kept.size_bytes() } else { 0 }
    };
    items.iter().map(|item| item.size_bytes() + entry(item)).sum()
}

#[test]
fn what_has_expired_goes_once_and_nothing_else() {
    let mut deleted = 0;
    for seed in 0..20 {
        let world = World::new(seed);
        let (runtime, model) = (world.node(1), Model::new(world.node(99), memory::Settings::OWN));
        deleted += world.run(async move {
            let node = Node::open(&runtime, &model).await;
            let table = node.create().await;
            let now = node.log.clock().store().seconds();
            let at = |seconds: i64| ("ttl", n(now + seconds));
            for number in 0..10 {
                node.put(item(number, &[at(60 + number)])).await;
            }
            node.put(item(10, &[("ttl", s("soon"))])).await;
            node.put(item(11, &[at(-6 * 365 * 86_400)])).await;
            node.put(item(12, &[("ttl", n(-5))])).await;
            node.put(item(13, &[])).await;
            node.change(IndexChange::EnableTimeToLive { attribute: "ttl".to_owned() }).await;
            node.finish().await;
            assert_eq!(node.table().time_to_live.as_ref().map(|t| t.state), Some(TimeToLiveState::Enabled));
            assert_eq!(node.items(None).len(), 14, "nothing has expired yet");
            node.log.clock().advance(Duration::from_secs(65));
            // Made newer before the job comes by.
            node.put(item(0, &[at(500)])).await;
            node.put(item(1, &[])).await;
            node.finish().await;
            let left: Vec<i64> =
                (0..14).filter(|number| node.items(None).iter().any(|i| i.get("sk") == Some(&n(*number)))).collect();
            assert_eq!(left, [0, 1, 5, 6, 7, 8, 9, 10, 11, 12, 13], "items 2, 3 and 4 have expired");
            let catalog = node.log.catalog().expect("a catalog");
            let uid = table.stream.expect("a stream");
            let stream = catalog.stream(uid).expect("listed");
            let limit = PageLimit { records: 1_000, bytes: usize::MAX };
            let mut by_service = 0;
            for shard in node.log.shards(uid).expect("shards").shards() {
                for record in node.log.page(uid, shard.uid, ReadFrom::Horizon, limit).expect("a page").records {
                    let record = change::render(stream, shard.uid, &record).expect("a record");
                    by_service += usize::from(record.origin == Origin::TimeToLive);
                }
            }
            assert_eq!(by_service, 3, "a record of the service for each");
            node.change(IndexChange::DisableTimeToLive).await;
            node.log.clock().advance(Duration::from_secs(1_000));
            node.finish().await;
            assert!(node.table().time_to_live.is_none());
            assert_eq!(node.items(None).len(), 11);
            node.jobs.totals().expired
        });
    }
    println!("20 seeds, {deleted} items deleted");
    assert_eq!(deleted, 60);
}
