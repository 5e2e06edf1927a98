//! Items over the model engine and the simulated runtime: random commands against a plain map, the stream's fold, pages.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_catalog::{KeyAttribute, KeyKind, KeySchema, Snapshot, StreamView, TableDefinition};
use headwater_expression::{RangeCondition, Substitutions, Update};
use headwater_log::{Change, Defined, Definition, Log, PageLimit, ReadFrom, Settings};
use headwater_storage::memory::{self, Faults, Model};
use headwater_table::query::Shown;
use headwater_table::{
    Action, ChangeRecord, EventName, Page, Query, Refusal, Row, Scan, Source, Write, change, schema,
};
use headwater_types::runtime::simulated::World;
use headwater_types::{AttributeValue, Clock, Item, Millis, Number, Runtime, Scope};

struct Create(StreamView);

impl Definition for Create {
    type Answer = Arc<TableDefinition>;

    fn decide(&mut self, _catalog: &Snapshot, _now: Millis) -> Defined<Self::Answer> {
        let key = |name: &str, kind| KeyAttribute { name: name.to_owned(), kind };
        let keys = KeySchema { hash: key("pk", KeyKind::S), range: Some(key("sk", KeyKind::N)) };
        let table = Box::new(TableDefinition::new(scope(), "items", keys));
        Defined::Change(vec![Change::Create { table, stream: Some(self.0) }])
    }

    fn answer(&mut self, catalog: &Snapshot) -> Self::Answer {
        catalog.table(&scope(), "items").expect("just created").clone()
    }
}

fn scope() -> Scope {
    Scope::new("000000000000", "eu-west-1")
}

struct Table {
    log: Arc<Log>,
    definition: Arc<TableDefinition>,
    runtime: Runtime,
}

impl Table {
    async fn create(runtime: Runtime, model: Model, view: StreamView) -> Self {
        let clock = Clock::new(runtime.clone(), Millis(0));
        let cell = model.node(runtime.clone(), clock.clone(), Faults::NONE);
        let settings = Settings { background: false, ..Settings::default() };
        let log = Log::open(cell, runtime.clone(), clock, settings).await.expect("opens");
        let definition = log.define(Create(view)).await.expect("is created");
        Self { log, definition, runtime }
    }

    fn dice(&self, sides: u64) -> u64 {
        self.runtime.random() % sides
    }

    async fn write(&self, key: Item, action: Action) -> Result<headwater_table::Written, Refusal> {
        let item_key = schema::key_of(&self.definition.key_schema, &key).expect("a key");
        headwater_table::write(&self.log, Write::new(&self.definition, &item_key, key, action, None)).await
    }

    fn scan(&self, segment: Option<(u32, u32)>, limit: Option<usize>) -> Vec<Item> {
        let mut items = Vec::new();
        let mut start = None;
        loop {
            let shown = Shown { limit, ..Shown::default() };
            let source = Source::table(&self.definition);
            let page = headwater_table::scan(&self.log, &source, &Scan { segment, start, shown }).expect("scans");
            items.extend(page.rows.iter().map(|row| row.item().expect("an item")));
            let Some(last) = page.last_key else { return items };
            start = Some(Source::table(&self.definition).position(&last).expect("a key"));
        }
    }

    fn query(&self, pk: &str, range: Option<RangeCondition>, forward: bool, limit: Option<usize>) -> Vec<Item> {
        let mut items = Vec::new();
        let mut start = None;
        loop {
            let (hash, shown) = (s(pk), Shown { limit, ..Shown::default() });
            let query = Query { hash: vec![hash], equal: Vec::new(), range: range.clone(), forward, start, shown };
            let source = Source::table(&self.definition);
            let page: Page = headwater_table::query(&self.log, &source, &query).expect("queries");
            items.extend(page.rows.iter().map(|row| row.item().expect("an item")));
            let Some(last) = page.last_key else { return items };
            start = Some(Source::table(&self.definition).position(&last).expect("a key"));
        }
    }

    fn records(&self) -> Vec<ChangeRecord> {
        let stream = self.definition.stream.expect("a stream");
        let catalog = self.log.catalog().expect("a catalog");
        let definition = catalog.stream(stream).expect("listed");
        let limit = PageLimit { records: 1_000_000, bytes: usize::MAX };
        let shards = self.log.shards(stream).expect("shards");
        let pages = shards.shards().iter().map(|shard| {
            let page = self.log.page(stream, shard.uid, ReadFrom::Horizon, limit).expect("a page");
            page.records.iter().map(|r| change::render(definition, shard.uid, r).expect("a record")).collect::<Vec<_>>()
        });
        pages.flatten().collect()
    }
}

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn n(number: i64) -> AttributeValue {
    AttributeValue::N(Number::from(number))
}

fn item(attributes: &[(&str, AttributeValue)]) -> Item {
    attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn key(pk: u64, sk: u64) -> Item {
    item(&[("pk", s(&format!("p{pk}"))), ("sk", n(sk as i64 - 5))])
}

fn with_table<F>(seed: u64, view: StreamView, main: impl FnOnce(Table) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let world = World::new(seed);
    let (runtime, model) = (world.node(1), Model::new(world.node(99), memory::Settings::OWN));
    world.run(async move { main(Table::create(runtime, model, view).await).await });
}

/// A random command on one of a few keys; returns what the key holds afterwards.
async fn command(table: &Table, before: Option<&Item>, key: &Item) -> Option<Item> {
    let with = |name: &str, value: i64| {
        let mut changed = before.cloned().unwrap_or_else(|| key.clone());
        changed.insert(name.to_owned(), n(value));
        changed
    };
    let value = table.dice(3) as i64;
    let (action, after) = match table.dice(5) {
        0 => (Action::Delete, None),
        1 => {
            let mut put = key.clone();
            put.insert("v".to_owned(), n(value));
            (Action::Put(Row::new(&put)), Some(put))
        }
        2 => (update("SET u = :v", value), Some(with("u", value))),
        3 => {
            let after = before.cloned().map(|mut item| {
                item.remove("u");
                item
            });
            (update("REMOVE u", value), after)
        }
        _ => (Action::Update(None), Some(before.cloned().unwrap_or_else(|| key.clone()))),
    };
    let written = table.write(key.clone(), action).await.expect("is written");
    assert_eq!(written.old.map(|row| row.item().expect("an item")).as_ref(), before);
    assert_eq!(written.new.map(|row| row.item().expect("an item")), after);
    assert_eq!(written.number.is_some(), before != after.as_ref(), "a record if and only if something changed");
    after
}

fn update(text: &str, value: i64) -> Action {
    let values = text.contains(":v").then(|| BTreeMap::from([(":v".to_owned(), n(value))]));
    let mut substitutions = Substitutions::new(None, values).expect("fit");
    Action::Update(Some(Update::parse(text, &mut substitutions).expect("an update")))
}

#[test]
fn random_commands_leave_what_a_plain_map_leaves_and_the_stream_tells_them_all() {
    for seed in 0..20 {
        with_table(seed, StreamView::NewAndOldImages, async move |table: Table| {
            let mut model: BTreeMap<String, Item> = BTreeMap::new();
            let mut histories: BTreeMap<String, Vec<Option<Item>>> = BTreeMap::new();
            for _ in 0..200 {
                let key = key(table.dice(4), table.dice(3));
                let name = format!("{key:?}");
                let after = command(&table, model.get(&name), &key).await;
                if after.as_ref() != model.get(&name) {
                    histories.entry(name.clone()).or_default().push(after.clone());
                }
                match after {
                    Some(item) => drop(model.insert(name, item)),
                    None => drop(model.remove(&name)),
                }
            }
            let mut scanned = table.scan(None, None);
            let mut expected: Vec<Item> = model.into_values().collect();
            let order = |item: &Item| format!("{item:?}");
            scanned.sort_by_key(order);
            expected.sort_by_key(order);
            assert_eq!(scanned, expected);
            let size = table.log.size(table.definition.id).expect("a size");
            assert_eq!(size.items, expected.len() as i64);
            assert_eq!(size.bytes, expected.iter().map(|item| item.size_bytes() as i64).sum::<i64>());
            let mut told: BTreeMap<String, Vec<Option<Item>>> = BTreeMap::new();
            let mut ids = std::collections::BTreeSet::new();
            for record in table.records() {
                let kind = match (&record.old_image, &record.new_image) {
                    (None, Some(_)) => EventName::Insert,
                    (Some(_), Some(_)) => EventName::Modify,
                    _ => EventName::Remove,
                };
                assert_eq!(record.event_name, kind);
                assert!(ids.insert(record.event_id));
                told.entry(format!("{:?}", record.keys)).or_default().push(record.new_image);
            }
            assert!(ids.len() > 50, "only {} records", ids.len());
            assert_eq!(told, histories);
        });
    }
}

#[test]
fn pages_of_any_size_show_the_same_items_in_the_same_order() {
    with_table(1, StreamView::KeysOnly, async |table: Table| {
        for pk in 0..6 {
            for sk in 0..12 {
                let mut put = key(pk, sk);
                put.insert("filler".to_owned(), s(&"x".repeat(table.dice(50) as usize)));
                table.write(key(pk, sk), Action::Put(Row::new(&put))).await.expect("is written");
            }
        }
        let all = table.scan(None, None);
        assert_eq!(all.len(), 72);
        for limit in [1, 2, 5, 71, 72, 73] {
            assert_eq!(table.scan(None, Some(limit)), all, "limit {limit}");
        }
        for of in [1, 3, 7, 1_000_000] {
            let mut segments: BTreeMap<u32, Vec<Item>> = BTreeMap::new();
            for item in &all {
                let source = Source::table(&table.definition);
                let position = source.position(item).expect("a key");
                segments.entry(source.segment_of(&position, of)).or_default().push(item.clone());
            }
            for (segment, items) in &segments {
                assert_eq!(&table.scan(Some((*segment, of)), Some(2)), items, "segment {segment} of {of}");
            }
            let joined: Vec<Item> = segments.into_values().flatten().collect();
            assert_eq!(joined, all, "segments follow the scan's order");
        }
        let mut ranges = vec![None];
        for bound in [-5, -1, 0, 3, 6, 7] {
            use RangeCondition::{Between, Equal, Greater, GreaterOrEqual, Less, LessOrEqual};
            let one =
                [Equal(n(bound)), Less(n(bound)), LessOrEqual(n(bound)), Greater(n(bound)), GreaterOrEqual(n(bound))];
            ranges.extend(one.map(Some));
            ranges.push(Some(Between(n(bound), n(3))));
        }
        let mut compared = 0;
        for range in ranges {
            let whole = table.query("p3", None, true, None);
            let passes = |item: &&Item| range.as_ref().is_none_or(|range| range.accepts(&item["sk"]));
            let expected: Vec<Item> = whole.iter().filter(passes).cloned().collect();
            let backward: Vec<Item> = expected.iter().rev().cloned().collect();
            for limit in [None, Some(1), Some(4)] {
                assert_eq!(table.query("p3", range.clone(), true, limit), expected, "{range:?}");
                assert_eq!(table.query("p3", range.clone(), false, limit), backward, "{range:?}");
                compared += expected.len();
            }
        }
        assert!(compared > 300, "only {compared} items compared");
    });
}

#[test]
fn records_have_the_sizes_that_were_seen_of_the_service() {
    with_table(2, StreamView::NewAndOldImages, async |table: Table| {
        // Keys are 2 + 4 and 2 + 2 bytes here; the service's three examples have one key attribute.
        let fred = item(&[("pk", s("Fred")), ("sk", n(1))]);
        let named = item(&[("pk", s("Fred")), ("sk", n(1)), ("name", s("Fred"))]);
        table.write(fred.clone(), Action::Put(Row::new(&fred))).await.expect("is written");
        table.write(fred.clone(), Action::Put(Row::new(&named))).await.expect("is written");
        table.write(fred.clone(), Action::Delete).await.expect("is written");
        let sizes: Vec<usize> = table.records().iter().map(|record| record.size_bytes).collect();
        let (keys, image) = (fred.size_bytes(), named.size_bytes());
        assert_eq!((keys, image), (10, 18));
        assert_eq!(sizes, [keys + keys, keys + image + keys, keys + image]);
    });
}

#[test]
fn an_item_may_have_four_hundred_kilobytes_and_not_one_byte_more() {
    with_table(3, StreamView::KeysOnly, async |table: Table| {
        let (key, mut put) = (key(0, 0), key(0, 0));
        put.insert("filler".to_owned(), s(""));
        let room = 409_600 - put.size_bytes();
        put.insert("filler".to_owned(), s(&"x".repeat(room)));
        table.write(key.clone(), Action::Put(Row::new(&put))).await.expect("fits");
        let grown = table.write(key.clone(), update("SET u = :v", 1)).await;
        assert!(matches!(grown, Err(Refusal::ItemTooLarge { update: true })), "{grown:?}");
        put.insert("filler".to_owned(), s(&"x".repeat(room + 1)));
        let put = table.write(key, Action::Put(Row::new(&put))).await;
        assert!(matches!(put, Err(Refusal::ItemTooLarge { update: false })), "{put:?}");
    });
}
