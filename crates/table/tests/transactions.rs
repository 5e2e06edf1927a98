//! Transactions over the model engine and the simulated runtime: money that is moved is never made or lost, whatever
//! breaks, and the largest transaction commits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_catalog::{KeyAttribute, KeyKind, KeySchema, Snapshot, StreamView, TableDefinition};
use headwater_expression::{Condition, Kind, Substitutions, Update};
use headwater_log::{Change, Defined, Definition, Log, PageLimit, ReadFrom, Settings};
use headwater_storage::embedded::{self, IndexKind};
use headwater_storage::files::faulty::Faulty;
use headwater_storage::memory::{Faults, Model, Settings as Engine};
use headwater_table::{
    Action, Refusal, Row, Token, TransactAction, TransactRefusal, Transacted, Write, schema, transact,
};
use headwater_types::key::ItemKey;
use headwater_types::limits::{ITEM_SIZE_BYTES_MAX, QUEUE_BYTES_MAX, TRANSACTION_ACTIONS_MAX};
use headwater_types::runtime::simulated::World;
use headwater_types::{AttributeValue, Clock, HashKey, Item, Millis, Number, Runtime, Scope};

struct Create(&'static str);

impl Definition for Create {
    type Answer = Arc<TableDefinition>;

    fn decide(&mut self, _catalog: &Snapshot, _now: Millis) -> Defined<Self::Answer> {
        let hash = KeyAttribute { name: "p".to_owned(), kind: KeyKind::N };
        let table = Box::new(TableDefinition::new(scope(), self.0, KeySchema { hash, range: None }));
        Defined::Change(vec![Change::Create { table, stream: Some(StreamView::NewAndOldImages) }])
    }

    fn answer(&mut self, catalog: &Snapshot) -> Self::Answer {
        catalog.table(&scope(), self.0).expect("just created").clone()
    }
}

fn scope() -> Scope {
    Scope::new("000000000000", "eu-west-1")
}

async fn open(model: &Model, runtime: &Runtime) -> Arc<Log> {
    let clock = Clock::new(runtime.clone(), Millis(0));
    let cell = model.node(runtime.clone(), clock.clone(), FAULTS);
    let settings = Settings { background: false, ..Settings::default() };
    Log::open(cell, runtime.clone(), clock, settings).await.expect("opens")
}

const FAULTS: Faults = Faults { slow: 3_000, slow_max: Duration::from_millis(1), full: 200, ..Faults::NONE };

fn n(number: i64) -> AttributeValue {
    AttributeValue::N(Number::from(number))
}

fn item(attributes: &[(&str, AttributeValue)]) -> Item {
    attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

/// An account's table: even and odd ones lie apart.
fn table_of(tables: &[Arc<TableDefinition>; 2], account: i64) -> &TableDefinition {
    &tables[usize::from(account % 2 == 1)]
}

fn key(table: &TableDefinition, account: i64) -> (ItemKey, Item) {
    let item = item(&[("p", n(account))]);
    (schema::key_of(&table.key_schema, &item).expect("a key"), item)
}

/// An update, under a condition if there is one, with `:v` for the number.
fn update(table: &TableDefinition, account: i64, text: &str, condition: Option<&str>, value: i64) -> TransactAction {
    let values = BTreeMap::from([(":v".to_owned(), n(value))]);
    let mut substitutions = Substitutions::new(None, Some(values)).expect("good values");
    let update = Update::parse(text, &mut substitutions).expect("an update");
    let condition = condition.map(|text| Condition::parse(Kind::Condition, text, &mut substitutions).expect("one"));
    let (key, key_item) = key(table, account);
    TransactAction::write(table, &key, key_item, Action::Update(Some(update)), condition)
}

const ACCOUNTS: i64 = 8;
const MONEY: i64 = 20;

fn balances(log: &Log, tables: &[Arc<TableDefinition>; 2]) -> Vec<i64> {
    let of = |account| {
        let table = table_of(tables, account);
        (table.id, key(table, account).0)
    };
    let keys: Vec<_> = (0..ACCOUNTS).map(of).collect();
    let rows = transact::get(log, &keys).expect("read");
    rows.into_iter().map(|row| balance(row.as_ref())).collect()
}

fn balance(row: Option<&Row>) -> i64 {
    match row.map(|row| row.item().expect("an item")).and_then(|item| item.get("money").cloned()) {
        Some(AttributeValue::N(number)) => number.to_string().parse().expect("a whole number"),
        other => panic!("no money: {other:?}"),
    }
}

/// Moves money; what was moved, per token.
async fn move_money(log: Arc<Log>, tables: [Arc<TableDefinition>; 2], runtime: Runtime, number: u64) -> (u64, u64) {
    let (mut moved, mut refused) = (0, 0);
    for turn in 0..40_u64 {
        let from = (runtime.random() % ACCOUNTS as u64) as i64;
        let to = (from + 1 + (runtime.random() % (ACCOUNTS as u64 - 1)) as i64) % ACCOUNTS;
        let amount = 1 + (runtime.random() % 15) as i64;
        let token = Token { name: HashKey::of(&[number as u8, turn as u8]), request: HashKey::of(b"same") };
        // Every second one is asked for twice under its token.
        for _ in 0..=turn % 2 {
            let take = update(table_of(&tables, from), from, "SET money = money - :v", Some("money >= :v"), amount);
            let give = update(table_of(&tables, to), to, "SET money = money + :v", None, amount);
            match transact::transact(&log, vec![take, give], Some(token)).await {
                Ok(Transacted::Done(written)) => {
                    assert_eq!(written.len(), 2);
                    moved += 1;
                }
                Ok(Transacted::Replayed(sizes)) => assert!(sizes.iter().all(|size| *size > 0)),
                Err(TransactRefusal::Canceled(refusals)) => {
                    assert!(matches!(refusals[..], [Some(Refusal::ConditionFailed { .. }), None]), "{refusals:?}");
                    refused += 1;
                }
                Err(TransactRefusal::Log(headwater_log::Error::Full)) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        runtime.sleep(Duration::from_micros(runtime.random() % 800)).await;
    }
    (moved, refused)
}

#[test]
fn money_is_moved_never_made_or_lost() {
    let (mut moved, mut refused) = (0, 0);
    for (engine, nodes) in [(Engine::OWN, 1), (Engine::SHARED, 2)] {
        for seed in 0..10 {
            let (a, b) = transfers(engine, nodes, seed);
            (moved, refused) = (moved + a, refused + b);
        }
    }
    println!("{moved} transfers done, {refused} refused");
    assert!(moved > 0 && refused > 0);
}

fn transfers(engine: Engine, nodes: u64, seed: u64) -> (u64, u64) {
    let world = World::new(seed);
    let outer = world.clone();
    outer.run(async move {
        let model = Model::new(world.node(99), engine);
        let mut logs = Vec::new();
        for node in 1..=nodes {
            logs.push(open(&model, &world.node(node)).await);
        }
        let log = logs[0].clone();
        let tables = [log.define(Create("even")).await.expect("made"), log.define(Create("odd")).await.expect("made")];
        for account in 0..ACCOUNTS {
            let table = table_of(&tables, account);
            loop {
                let (key, key_item) = key(table, account);
                let put = Action::Put(Row::new(&item(&[("p", n(account)), ("money", n(MONEY))])));
                let write = Write::new(table, &key, key_item, put, None);
                if headwater_table::write(&log, write).await.is_ok() {
                    break;
                }
            }
        }
        let runtime = world.node(50);
        let clients = (0..6_u64).map(|number| {
            let log = logs[(number % nodes) as usize].clone();
            runtime.spawn(move_money(log, tables.clone(), world.node(60 + number), number))
        });
        let clients: Vec<_> = clients.collect();
        for _ in 0..100 {
            let seen = balances(&logs[(runtime.random() % nodes) as usize], &tables);
            assert_eq!(seen.iter().sum::<i64>(), ACCOUNTS * MONEY, "seed {seed}: {seen:?}");
            assert!(seen.iter().all(|money| *money >= 0), "seed {seed}: {seen:?}");
            runtime.sleep(Duration::from_micros(300)).await;
        }
        let (mut moved, mut refused) = (0, 0);
        for client in clients {
            let (a, b) = client.await.expect("ends");
            (moved, refused) = (moved + a, refused + b);
        }
        assert_eq!(balances(&log, &tables).iter().sum::<i64>(), ACCOUNTS * MONEY, "seed {seed}");
        // Two records for each that was done, one for each account.
        let records: usize = tables.iter().map(|table| records(&log, table)).sum();
        assert_eq!(records as u64, 2 * moved + ACCOUNTS as u64, "seed {seed}");
        (moved, refused)
    })
}

fn records(log: &Log, table: &TableDefinition) -> usize {
    let stream = table.stream.expect("a stream");
    let limit = PageLimit { records: 1_000_000, bytes: usize::MAX };
    let shards = log.shards(stream).expect("shards");
    let of = |uid| log.page(stream, uid, ReadFrom::Horizon, limit).expect("a page").records.len();
    shards.shards().iter().map(|shard| of(shard.uid)).sum()
}

/// A store over a modelled disk: one in memory keeps nothing over a start.
async fn store(files: &Arc<Faulty>, runtime: &Runtime) -> Arc<Log> {
    let clock = Clock::new(runtime.clone(), Millis(0));
    let settings = embedded::Settings::on(files.clone(), "data", IndexKind::OrderedMap);
    let (cell, _) = embedded::open(settings, runtime.clone(), clock.clone()).await.expect("opens");
    let settings = Settings { background: false, ..Settings::default() };
    Log::open(cell, runtime.clone(), clock, settings).await.expect("opens")
}

#[test]
fn the_largest_transaction_commits() {
    let world = World::new(3);
    let inner = world.clone();
    world.run(async move {
        let (files, runtime) = (Arc::new(Faulty::new()), inner.node(1));
        let log = store(&files, &runtime).await;
        let table = log.define(Create("large")).await.expect("made");
        let accounts = 0..TRANSACTION_ACTIONS_MAX as i64;
        // As large as an item may be, with a number of three digits.
        let large = AttributeValue::S("x".repeat(ITEM_SIZE_BYTES_MAX - 32));
        for account in accounts.clone() {
            let (key, key_item) = key(&table, account);
            let put = Action::Put(Row::new(&item(&[("p", n(account)), ("money", n(100)), ("text", large.clone())])));
            headwater_table::write(&log, Write::new(&table, &key, key_item, put, None)).await.expect("put");
        }
        let actions = accounts.clone().map(|account| update(&table, account, "SET money = money + :v", None, 7));
        let done = transact::transact(&log, actions.collect(), None).await;
        let Ok(Transacted::Done(written)) = done else { panic!("{done:?}") };
        let images: usize = written.iter().map(|written| written.new.as_ref().map_or(0, Row::size_bytes)).sum();
        assert!(images * 3 > QUEUE_BYTES_MAX, "the plan is larger than all that waits may be: {images}");
        drop(written);
        log.close().await.expect("closes");
        drop(log);
        let log = store(&files, &runtime).await;
        for account in accounts {
            let row = headwater_table::get(&log, table.id, &key(&table, account).0).expect("read");
            assert_eq!(balance(row.as_ref()), 107, "it is there after a start, too");
        }
        assert_eq!(records(&log, &table), 2 * TRANSACTION_ACTIONS_MAX);
    });
}
