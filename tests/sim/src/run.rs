//! One seed: a world, its nodes and clients, a calm end, and the judgement.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use headwater_types::Runtime;
use headwater_types::runtime::simulated::World;
use serde_json::json;
use tokio::sync::watch;

use headwater_catalog::TimeToLiveState;

use crate::admin::Admin;
use crate::check::{self, Checked};
use crate::client::{Client, Sim};
use crate::cluster::{CONTROL, Cluster, Fared};
use crate::data_streams::Workload;
use crate::history::{End, Event, History, Key, Life, Violation};
use crate::plan::{Dice, Mode, OPERATIONS_MIN, Plan, TablePlan};
use crate::planted::Bug;
use crate::protocol;
use crate::reader::Reader;
use crate::replication::plan::replicates;
use crate::server::scope;
use crate::spec::{Action, Answer, Item, Operation};
use crate::{direct, expiry, held, ledger, replication, structures};

/// Steps of a run; one of a few hundred requests takes a few hundred thousand.
const STEPS_MAX: u64 = 20_000_000;
/// The same with a planted bug: what it has broken may keep a run from its end, and the hunt goes on with the next seed.
const HUNT_STEPS_MAX: u64 = 1_500_000;

/// What one seed came to.
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The mode.
    pub mode: Mode,
    /// Hash over every step and every answer.
    pub trace: u64,
    /// Steps taken.
    pub steps: u64,
    /// Operations on items.
    pub operations: u64,
    /// Of these, answered.
    pub acknowledged: u64,
    /// How the nodes fared.
    pub fared: Fared,
    /// What was checked.
    pub checked: Checked,
    /// Broken promises.
    pub violations: Vec<Violation>,
    /// What was seen.
    pub history: History,
}

/// Runs one seed. A panic anywhere in it is a violation.
pub fn run(seed: u64, mode: Mode, bug: Option<Bug>) -> Outcome {
    let world = World::new(seed);
    world.limit_steps(if bug.is_some() { HUNT_STEPS_MAX } else { STEPS_MAX });
    let dice = Dice(world.node(CONTROL));
    let plan = Plan::draw(mode, &dice, replicates(seed));
    let cluster = Cluster::new(&world, &plan, bug);
    let mut history = History::default();
    history.relaxed = mode == Mode::Relaxed;
    history.data.relaxed = history.relaxed;
    let sim = Arc::new(Sim::new(cluster.clone(), plan, history));
    let main = scenario(sim.clone());
    let ended = catch_unwind(AssertUnwindSafe(|| world.run(main)));
    // What unwound may still be borrowed by tasks: they go first.
    let _ = catch_unwind(AssertUnwindSafe(|| world.end()));
    let fared = cluster.fared();
    let mut history = std::mem::take(&mut *sim.history.lock());
    history.replication = std::mem::take(&mut sim.replicas.lock().seen);
    let (checked, mut violations) = match ended {
        Ok(()) => check::all(&history),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let violation = Violation::new("nothing panics", text.unwrap_or_else(|| "a panic".to_owned()));
            (Checked::default(), [vec![violation], history.noticed.clone()].concat())
        }
    };
    violations.dedup();
    let acknowledged = history.events.iter().filter(|event| event.end != End::Lost).count() as u64;
    Outcome {
        seed,
        mode,
        trace: world.trace(),
        steps: world.steps(),
        operations: history.operations(),
        acknowledged,
        fared,
        checked,
        violations,
        history,
    }
}

async fn scenario(sim: Arc<Sim>) {
    let control = sim.cluster.control();
    sim.cluster.start();
    let mut admins = Vec::new();
    for table in &sim.plan.tables {
        let mut admin = Admin::new(sim.clone(), table.clone());
        admin.create().await;
        admins.push(admin);
    }
    // What they wrote is read at the end only: where it may be trimmed by then, they stay away.
    let others = if sim.plan.aged { 0 } else { 1 };
    if others > 0 {
        ledger::create(&sim).await;
        expiry::create(&sim).await;
    }
    let mut replication = replication::Workload::start(&sim, others > 0).await;
    let mut data = Workload::start(&sim).await;
    let stop = watch::Sender::new(false);
    let watcher = control.spawn(watch_structures(sim.clone(), stop.subscribe()));
    let holders: Vec<_> = (0..2).map(|_| control.spawn(held::hold(sim.clone(), stop.subscribe()))).collect();
    let ledgers: Vec<_> = (0..3 * others).map(|_| control.spawn(ledger::client(sim.clone(), 40))).collect();
    let expiries: Vec<_> = (0..2 * others).map(|_| control.spawn(expiry::client(sim.clone(), 30))).collect();
    let director = control.spawn(direct::kills_and_splits(sim.clone()));
    let keeper = control.spawn(direct::keep_time(sim.clone()));
    let mut readers = Vec::new();
    for number in 0..sim.plan.readers {
        let reader = Reader::new(sim.clone(), false);
        readers.push((number, control.spawn(reader.follow(stop.subscribe()))));
    }
    let clients: Vec<_> =
        (0..sim.plan.clients).map(|number| control.spawn(Client::new(sim.clone(), number).run())).collect();
    let admins: Vec<_> = admins.into_iter().map(|admin| control.spawn(admin.run())).collect();
    for client in clients {
        client.await.expect("a client ends");
    }
    for admin in admins {
        admin.await.expect("an admin ends");
    }
    director.await.expect("the director ends");
    let (keeper, of_data) = keeper.await.expect("the keepers end");
    for client in ledgers {
        client.await.expect("a client of the ledger ends");
    }
    for client in expiries {
        client.await.expect("a client of the expiry ends");
    }
    stop.send_replace(true);
    watcher.await.expect("the watcher ends");
    for holder in holders {
        holder.await.expect("a holder of snapshots ends");
    }
    for (number, reader) in readers {
        let (streams, late) = reader.await.expect("a reader ends");
        let tails = streams.into_iter().map(|(arn, stream)| ((number, arn), stream));
        let mut history = sim.history.lock();
        history.tails.extend(tails);
        history.late.extend(late);
    }
    replication.work_ends().await;
    data.work_ends().await;
    sim.cluster.calm().await;
    Workload::flood(&sim).await;
    data.polling_ends(&sim).await;
    // What hung-up clients and dead nodes left on its way ends before the last look.
    control.sleep(Duration::from_secs(if sim.dice().percent(30) { 65 } else { 5 })).await;
    if sim.dice().percent(70) {
        sim.cluster.restart().await;
    }
    replication.last_look(&sim).await;
    last_look(&sim, &control, keeper).await;
    data.last_look(&sim, of_data).await;
    rich_enough(&sim);
}

/// A run that meets no crash and no split proves little.
fn rich_enough(sim: &Sim) {
    let (crashes, history) = (sim.cluster.fared().crashes, sim.history.lock());
    let (operations, splits) = (history.operations(), history.directed.splits);
    drop(history);
    if operations < OPERATIONS_MIN || crashes < direct::KILLS_MIN || splits < direct::SPLITS_MIN {
        let text = format!("{operations} operations, {crashes} crashes, {splits} splits");
        sim.notice(Violation::new("a run meets enough", text));
    }
}

/// Compares what snapshots hold beside the items with the items, at moments of no account.
async fn watch_structures(sim: Arc<Sim>, stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let pause = sim.dice().time(Duration::from_millis(30) + sim.plan.pause_max);
        sim.cluster.control().sleep(pause).await;
        compare_structures(&sim);
    }
}

/// Compares the newest snapshot of every node that is up.
fn compare_structures(sim: &Sim) {
    for server in sim.cluster.up() {
        let (compared, wrong) = structures::compare(&*server.log.snapshot());
        let lived = server.log.lived();
        let archived = server.cell.stats().segments_archived;
        let life = Life { splits: lived.hot_splits + lived.size_splits, archived };
        {
            let mut history = sim.history.lock();
            history.lives.insert(server.number, life);
            history.compared.add(compared);
        }
        for text in wrong {
            sim.notice(Violation::new("what a snapshot holds beside the items follows from the items", text));
        }
    }
}

/// Waits until no index and no expiry is under way.
async fn jobs_end(sim: &Sim, control: &Runtime) {
    for _ in 0..600 {
        let unfinished = sim.cluster.up().iter().any(|server| {
            let catalog = server.log.catalog();
            catalog.is_ok_and(|catalog| {
                catalog.all_tables().any(|table| {
                    let expiry = table.time_to_live.as_ref().is_some_and(|t| t.state != TimeToLiveState::Enabled);
                    expiry || table.indexes.iter().any(|index| !index.state.serves())
                })
            })
        });
        if !unfinished {
            return;
        }
        control.sleep(Duration::from_millis(100)).await;
    }
    sim.notice(Violation::new("a job comes to its end", "an index or an expiry is under way after a minute"));
}

/// Reads everything that is there in the end.
async fn last_look(sim: &Arc<Sim>, control: &Runtime, mut keeper: Reader) {
    jobs_end(sim, control).await;
    compare_structures(sim);
    if !sim.plan.aged {
        ledger::last_look(sim).await;
        let expired = expiry::last_look(sim).await;
        sim.history.lock().expired = expired;
    }
    for table in &sim.plan.tables {
        let items = scan(sim, table).await;
        sim.history.lock().items.insert(table.name.clone(), items);
        shards_tile(sim, table);
    }
    keeper.pass().await;
    // A second pass finds nothing new: nobody writes any more.
    let records = |reader: &Reader| -> usize {
        reader.streams.values().flat_map(|stream| &stream.shards).map(|shard| shard.records.len()).sum()
    };
    let read = records(&keeper);
    control.sleep(Duration::from_millis(100)).await;
    keeper.pass().await;
    if records(&keeper) != read {
        let text = format!("{read} records at first, {} later", records(&keeper));
        sim.notice(Violation::new("a reader at the end has everything", text));
    }
    let before = sim.store_time();
    let mut newcomer = Reader::new(sim.clone(), true);
    newcomer.pass().await;
    let looked = (before, sim.store_time());
    let mut history = sim.history.lock();
    (history.streams, history.left, history.looked) = (keeper.streams, newcomer.streams, looked);
}

/// All items of a table, each noted as a read.
async fn scan(sim: &Arc<Sim>, table: &TablePlan) -> BTreeMap<Key, Item> {
    let invoked = sim.tick();
    let request = json!({"TableName": table.name, "ConsistentRead": true});
    let body = match sim.insist("Scan", request).await {
        Ok(body) => body,
        Err(failure) => {
            let text = format!("the last Scan of {} answers {failure:?}", table.name);
            sim.notice(Violation::new("a table that exists is found", text));
            return BTreeMap::new();
        }
    };
    let mut items = BTreeMap::new();
    for item in body["Items"].as_array().map(Vec::as_slice).unwrap_or_default() {
        match (protocol::key_of(&table.name, item), protocol::item(item)) {
            (Ok(key), Ok(item)) => drop(items.insert(key, item)),
            (key, item) => sim.notice(Violation::new("a page can be read", format!("{key:?} {item:?}"))),
        }
    }
    let answered = sim.tick();
    for key in table.keys() {
        let end = End::Answered(Answer::Item(items.get(&key).cloned()));
        let operation = Operation::plain(0, Action::Read);
        let client = "last".to_owned();
        sim.history.lock().note(Event { client, key, operation, invoked, answered, end });
    }
    items
}

/// The open shards of an enabled stream cover every hash once.
fn shards_tile(sim: &Arc<Sim>, table: &TablePlan) {
    for server in sim.cluster.up() {
        let Ok(catalog) = server.log.catalog() else { continue };
        let Some(stream) = catalog.table(&scope(), &table.name).and_then(|table| table.stream) else { continue };
        let Ok(list) = server.log.shards(stream) else { continue };
        let mut open: Vec<(u128, u128)> =
            list.shards().iter().filter(|shard| shard.ending.is_none()).map(|shard| shard.hash_range).collect();
        open.sort_unstable();
        let from_start = open.first().is_some_and(|(start, _)| *start == 0);
        let to_end = open.last().is_some_and(|(_, end)| *end == u128::MAX);
        let seamless =
            open.windows(2).all(|pair| matches!(pair, [(_, end), (start, _)] if end.checked_add(1) == Some(*start)));
        if !(from_start && to_end && seamless) {
            let text = format!("{} has the open shards {open:x?}", table.name);
            sim.notice(Violation::new("open shards tile the hash keys", text));
        }
    }
}
