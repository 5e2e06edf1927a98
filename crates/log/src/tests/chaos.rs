//! Many clients on few keys, on one to three nodes, with every fault the model has: nothing is lost, doubled, reordered
//! or answered and then gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use headwater_storage::memory::{Counts, Faults, Settings as Engine};
use headwater_types::runtime::simulated::World;
use headwater_types::{HashKey, Runtime, ShardUid, StreamUid, TableId};
use parking_lot::Mutex;

use super::checks::{PAGE, check_lineage, histories};
use super::commands::{Count, Counted, CreateTable, Deed, Retag, Step, Toggle, count, scope, touch};
use super::harness::{Cluster, quiet, until};
use crate::{Error, Log, ReadFrom, Settings, ShardList};

pub(super) const CLIENTS: u64 = 8;
const OPERATIONS: u64 = 25;
const KEYS: u64 = 5;
/// Two keys that are only ever counted together.
const PAIR: [u64; 2] = [100, 101];
/// Keys from here on belong to a second table, whose stream goes on and off.
const OTHER: u64 = 1_000;
/// Two keys of two tables that are only ever counted together.
const TWINS: [u64; 2] = [200, OTHER + 200];

/// What is known of an operation that may have changed something.
#[derive(Clone, Debug)]
struct Done {
    tag: u64,
    keys: Vec<u64>,
    /// Absent when the client never learned.
    answer: Option<Counted>,
}

#[derive(Default)]
pub(super) struct Seen {
    done: Vec<Done>,
    /// Per key, the greatest count any answer showed.
    shown: BTreeMap<u64, u64>,
    retags: u64,
    retags_maybe: u64,
    /// What a tailing reader saw of each shard.
    tailed: BTreeMap<ShardUid, Vec<u64>>,
    pub tally: Tally,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Tally {
    pub answered: u64,
    pub closed: u64,
    pub full: u64,
    pub dropped: u64,
    pub refused: u64,
    pub splits: u64,
    pub toggles: u64,
    pub snapshots: u64,
}

/// Nodes on one cell, modelled or real.
pub(super) trait Nodes: Clone + Send + Sync + 'static {
    /// The log of a node as it is now.
    fn log(&self, at: usize) -> Arc<Log>;
    /// How many there are.
    fn len(&self) -> usize;
    /// Whether a node may show an old state, because it has crashed and is not restarted yet.
    fn may_stand_still(&self) -> bool;
}

impl Nodes for Cluster {
    fn log(&self, at: usize) -> Arc<Log> {
        Cluster::log(self, at)
    }

    fn len(&self) -> usize {
        Cluster::len(self)
    }

    fn may_stand_still(&self) -> bool {
        self.counts().crashes > 0
    }
}

#[derive(Clone)]
pub(super) struct Load<N> {
    cluster: N,
    table: TableId,
    other: TableId,
    stream: StreamUid,
    pub seen: Arc<Mutex<Seen>>,
}

impl<N: Nodes> Load<N> {
    /// Makes the two tables.
    pub async fn new(cluster: N) -> Self {
        let create = CreateTable("t", Some(headwater_catalog::StreamView::NewAndOldImages));
        let table = cluster.log(0).define(create).await.expect("made").expect("new");
        let stream = cluster.log(0).catalog().expect("known").table_by_id(table).and_then(|t| t.stream).expect("on");
        let other = cluster.log(0).define(CreateTable("u", None)).await.expect("made").expect("new");
        Self { cluster, table, other, stream, seen: Arc::default() }
    }

    /// One client's work.
    pub async fn client(self, runtime: Runtime, number: u64, operations: u64) {
        for at in 0..operations {
            let node = (runtime.random() % self.cluster.len() as u64) as usize;
            match runtime.random() % 100 {
                0..4 => self.retag(node).await,
                4..8 => self.reshard(&runtime, node).await,
                8..11 => self.toggle(node).await,
                11..20 => self.look(node),
                _ => self.count(&runtime, node, number * 1_000 + at).await,
            }
            if runtime.random().is_multiple_of(4) {
                runtime.sleep(Duration::from_micros(runtime.random() % 500)).await;
            }
        }
    }

    async fn count(&self, runtime: &Runtime, node: usize, tag: u64) {
        let (deed, keys) = match runtime.random() % 10 {
            0..5 => (Deed::Add, vec![runtime.random() % KEYS]),
            5 => (Deed::AddIfEven, vec![runtime.random() % KEYS]),
            6 => (Deed::Look, vec![runtime.random() % KEYS]),
            7 => (Deed::Look, if runtime.random().is_multiple_of(2) { PAIR.to_vec() } else { TWINS.to_vec() }),
            8 => (Deed::AddBesideFirst, vec![KEYS - 1, runtime.random() % (KEYS - 1)]),
            _ => (Deed::Add, if runtime.random().is_multiple_of(2) { PAIR.to_vec() } else { TWINS.to_vec() }),
        };
        // What anyone was shown before this operation started must be in what it is based on.
        let floor: Vec<u64> = {
            let seen = self.seen.lock();
            keys.iter().map(|key| seen.shown.get(key).copied().unwrap_or(0)).collect()
        };
        let log = self.cluster.log(node);
        let work = log.execute(Count::across(|key| self.table_of(key), deed, &keys, tag));
        let result = match runtime.random() % 6 {
            0 => until(runtime, Duration::from_micros(runtime.random() % 3_000), work).await,
            _ => Some(work.await),
        };
        drop(log);
        let written: Vec<u64> = match deed {
            Deed::AddBesideFirst => keys[1..].to_vec(),
            Deed::Add | Deed::AddIfEven | Deed::Look => keys.clone(),
        };
        let mut seen = self.seen.lock();
        let answer = match result {
            Some(Ok(answer)) => {
                seen.tally.answered += 1;
                Some(answer)
            }
            Some(Err(Error::Full)) => {
                seen.tally.full += 1;
                return;
            }
            Some(Err(Error::Closed)) => {
                seen.tally.closed += 1;
                None
            }
            Some(Err(error)) => panic!("unexpected: {error}"),
            None => {
                seen.tally.dropped += 1;
                None
            }
        };
        if let Some(answer) = &answer {
            for ((key, count), floor) in keys.iter().zip(&answer.counts).zip(floor) {
                assert!(*count >= floor, "key {key}: an answer of {count} after {floor} was shown");
                let shown = seen.shown.entry(*key).or_default();
                *shown = (*shown).max(*count);
            }
            if keys == PAIR || keys == TWINS {
                assert_eq!(answer.counts[0], answer.counts[1], "a pair that is counted together");
            }
            if !answer.changed {
                seen.tally.refused += 1;
                return;
            }
        }
        if deed != Deed::Look {
            seen.done.push(Done { tag, keys: written, answer });
        }
    }

    /// A reader's snapshot shows what was answered, and pairs whole.
    fn look(&self, node: usize) {
        let floor = self.seen.lock().shown.clone();
        let snapshot = self.cluster.log(node).snapshot();
        let read = |key| count(snapshot.get(&touch(self.table_of(key), key).key).expect("readable").as_ref());
        for pair in [PAIR, TWINS] {
            assert_eq!(read(pair[0]), read(pair[1]), "a snapshot shows a transaction whole");
        }
        let is_crashed = self.cluster.may_stand_still();
        for (key, floor) in floor {
            // A node that has crashed and is not restarted yet stands still.
            assert!(is_crashed || read(key) >= floor, "key {key}: answered {floor}, read {}", read(key));
        }
        self.seen.lock().tally.snapshots += 1;
    }

    fn table_of(&self, key: u64) -> TableId {
        if key < OTHER { self.table } else { self.other }
    }

    async fn toggle(&self, node: usize) {
        match self.cluster.log(node).define(Toggle(self.other)).await {
            Ok(()) => self.seen.lock().tally.toggles += 1,
            Err(Error::Closed | Error::Full) => {}
            Err(error) => panic!("unexpected: {error}"),
        }
    }

    async fn retag(&self, node: usize) {
        let log = self.cluster.log(node);
        let result = log.define(Retag(self.table)).await;
        let mut seen = self.seen.lock();
        match result {
            Ok(Some(_)) => seen.retags += 1,
            Err(Error::Closed) => seen.retags_maybe += 1,
            Err(Error::Full) => {}
            other => panic!("unexpected: {other:?}"),
        }
    }

    async fn reshard(&self, runtime: &Runtime, node: usize) {
        let at = HashKey((u128::from(runtime.random()) << 64) | 1);
        let log = self.cluster.log(node);
        let result = match runtime.random() % 2 {
            0 => log.split(self.table, at).await,
            _ => log.roll_over(self.table, at).await,
        };
        match result {
            Ok(()) => self.seen.lock().tally.splits += 1,
            Err(Error::Closed | Error::Full) => {}
            Err(error) => panic!("unexpected: {error}"),
        }
    }

    /// Reads every shard at its tail until told to stop, and checks each list of shards.
    pub async fn tail(self, runtime: Runtime, node: usize, stop: Arc<Mutex<bool>>) {
        let mut positions: BTreeMap<ShardUid, Option<ReadFrom>> = BTreeMap::new();
        loop {
            let stopping = *stop.lock();
            let log = self.cluster.log(node);
            let list: ShardList = log.shards(self.stream).expect("listed");
            check_lineage(list.shards());
            for shard in list.shards() {
                while let Some(from) = *positions.entry(shard.uid).or_insert(Some(ReadFrom::Horizon)) {
                    let page = log.page(self.stream, shard.uid, from, PAGE).expect("readable");
                    let empty = page.records.is_empty();
                    let numbers = page.records.iter().map(|record| record.number.0);
                    self.seen.lock().tailed.entry(shard.uid).or_default().extend(numbers);
                    positions.insert(shard.uid, page.next);
                    if empty {
                        break;
                    }
                }
            }
            drop(log);
            if stopping {
                return;
            }
            runtime.sleep(Duration::from_micros(200)).await;
        }
    }
}

struct Outcome {
    tally: Tally,
    counts: Counts,
    steps: usize,
    shards: usize,
    trace: u64,
}

fn run(seed: u64, engine: Engine, nodes: usize, faults: Faults, settings: Settings) -> Outcome {
    let world = World::new(seed);
    let inner = world.clone();
    let (tally, counts, steps, shards) = world.run(async move {
        let cluster = Cluster::start(&inner, engine, nodes, settings).await;
        let load = Load::new(cluster.clone()).await;
        cluster.supervise();
        cluster.set_faults(faults);
        let stop = Arc::new(Mutex::new(false));
        let tails: Vec<_> = (0..nodes)
            .map(|node| {
                let runtime = cluster.client(500 + node as u64);
                runtime.spawn(load.clone().tail(runtime.clone(), node, stop.clone()))
            })
            .collect();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let runtime = cluster.client(number);
                runtime.spawn(load.clone().client(runtime.clone(), number, OPERATIONS))
            })
            .collect();
        for client in clients {
            client.await.expect("a client ends");
        }
        cluster.set_faults(Faults::NONE);
        let counts = cluster.counts();
        cluster.client(0).sleep(Duration::from_millis(50)).await;
        *stop.lock() = true;
        for tail in tails {
            tail.await.expect("a reader ends");
        }
        let (steps, shards) = check(&load, nodes).await;
        for node in 0..nodes {
            assert_eq!(cluster.log(node).busy_keys(), 0, "nothing stays locked or pending");
        }
        let tally = load.seen.lock().tally;
        (tally, counts, steps, shards)
    });
    Outcome { tally, counts, steps, shards, trace: world.trace() }
}

/// Checks all that was seen; how many changes and shards there are.
pub(super) async fn check<N: Nodes>(load: &Load<N>, nodes: usize) -> (usize, usize) {
    // One last change per node and key: whoever is alive sees all that was done.
    for node in 0..nodes {
        for key in (0..KEYS).chain(PAIR).chain(TWINS) {
            let log = load.cluster.log(node);
            let look = Count::new(load.table_of(key), Deed::Look, &[key], 0);
            let now = log.execute(look).await.expect("answers").counts[0];
            let shown = load.seen.lock().shown.get(&key).copied().unwrap_or(0);
            assert!(now >= shown, "key {key}: {shown} was shown, {now} is there");
        }
    }
    let log = load.cluster.log(0);
    let histories = histories(&log, load.table, load.stream);
    let seen = load.seen.lock();
    let mut known: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for (key, steps) in &histories {
        for step in steps {
            let twice = known.insert((step.tag, *key), step.new);
            assert_eq!(twice, None, "tag {} on key {key} was done twice", step.tag);
        }
    }
    let mut asked = BTreeSet::new();
    for done in &seen.done {
        let done = Done { keys: done.keys.iter().copied().filter(|key| *key < OTHER).collect(), ..done.clone() };
        let there: Vec<Option<u64>> = done.keys.iter().map(|key| known.get(&(done.tag, *key)).copied()).collect();
        asked.extend(done.keys.iter().map(|key| (done.tag, *key)));
        match &done.answer {
            Some(answer) => {
                let is_beside = answer.counts.len() > answer.numbers.len() && answer.numbers.len() == 1;
                let skipped = usize::from(is_beside && done.keys.first() != Some(&TWINS[0]));
                let counts: Vec<_> =
                    answer.counts.iter().skip(skipped).take(done.keys.len()).copied().map(Some).collect();
                assert_eq!(there, counts, "what was answered for tag {} is in the log", done.tag);
                assert!(answer.numbers.len() >= done.keys.len());
            }
            None => assert!(there.iter().all(Option::is_some) || there.iter().all(Option::is_none), "half done"),
        }
    }
    assert!(known.keys().all(|key| asked.contains(key)), "nothing was done that nobody asked for");
    check_tails(&seen, &log, load.stream);
    check_other(load, &log);
    let definition = log.catalog().expect("known").table(&scope(), "t").cloned().expect("there");
    let retags = Retag::count(&definition);
    assert!(seen.retags <= retags && retags <= seen.retags + seen.retags_maybe, "no definition change is lost");
    (known.len(), log.shards(load.stream).expect("listed").shards().len())
}

/// The second table's streams: within each, a key's records continue one another; between them none were kept.
fn check_other<N: Nodes>(load: &Load<N>, log: &crate::Log) {
    let catalog = log.catalog().expect("known");
    let mut newest = 0;
    for stream in catalog.all_streams().filter(|stream| stream.table == load.other) {
        let mut last: Option<u64> = None;
        for (_, records) in super::checks::read_stream(log, stream.uid).into_values() {
            for step in records.iter().map(|record| Step::decode(&record.payload)) {
                assert!(last.is_none_or(|last| step.old == last), "a stream that is on misses nothing");
                assert!(step.old >= newest, "streams of a table follow one another");
                last = Some(step.new);
            }
        }
        newest = last.unwrap_or(newest);
    }
    let snapshot = log.snapshot();
    let read = |key| count(snapshot.get(&touch(load.table_of(key), key).key).expect("readable").as_ref());
    assert_eq!(read(TWINS[0]), read(TWINS[1]));
    assert!(read(TWINS[1]) >= newest);
}

/// Every reader saw every record of every shard exactly once and in order.
fn check_tails(seen: &Seen, log: &crate::Log, stream: StreamUid) {
    for (uid, (_, records)) in super::checks::read_stream(log, stream) {
        let numbers: Vec<u64> = records.iter().map(|record| record.number.0).collect();
        let mut tailed: BTreeMap<u64, usize> = BTreeMap::new();
        for number in seen.tailed.get(&uid).into_iter().flatten() {
            *tailed.entry(*number).or_default() += 1;
        }
        assert_eq!(tailed.keys().copied().collect::<Vec<_>>(), numbers, "a tailing reader misses nothing");
    }
}

fn report(name: &str, outcomes: &[Outcome]) {
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    println!(
        "{name}: {} seeds, {} answered, {} changes, {} answers without change, {} dropped, {} closed, {} full, \
         {} reshardings, {} shards, {} stream switches, {} snapshots; {} fenced, {} conflicting, {} unknown ({} committed), {} crashes, {} groups lost",
        outcomes.len(),
        sum(|o| o.tally.answered),
        sum(|o| o.steps as u64),
        sum(|o| o.tally.refused),
        sum(|o| o.tally.dropped),
        sum(|o| o.tally.closed),
        sum(|o| o.tally.full),
        sum(|o| o.tally.splits),
        sum(|o| o.shards as u64),
        sum(|o| o.tally.toggles),
        sum(|o| o.tally.snapshots),
        sum(|o| o.counts.fenced),
        sum(|o| o.counts.conflicting),
        sum(|o| o.counts.unknown),
        sum(|o| o.counts.unknown_committed),
        sum(|o| o.counts.crashes),
        sum(|o| o.counts.groups_lost),
    );
}

fn seeds() -> u64 {
    std::env::var("HEADWATER_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(40)
}

const SLOW: Faults = Faults { slow: 3_000, slow_max: Duration::from_millis(2), ..Faults::NONE };

#[test]
fn one_node_loses_nothing_when_groups_overtake_fail_and_the_disk_fills() {
    let faults = Faults { full: 300, ..SLOW };
    let outcomes: Vec<_> = (0..seeds()).map(|seed| run(seed, Engine::OWN, 1, faults, quiet())).collect();
    report("one node", &outcomes);
    assert!(outcomes.iter().any(|o| o.counts.full > 0 && o.counts.fenced > 0));
}

#[test]
fn one_node_keeps_what_it_answered_through_crashes() {
    let faults = Faults { crash: 120, full: 100, ..SLOW };
    let outcomes: Vec<_> = (0..seeds()).map(|seed| run(seed, Engine::OWN, 1, faults, quiet())).collect();
    report("one node, crashes", &outcomes);
    assert!(outcomes.iter().map(|o| o.counts.crashes).sum::<u64>() > seeds() / 4);
}

#[test]
fn nodes_on_one_cell_fence_each_other_and_lose_nothing() {
    let faults = Faults { unknown: 300, conflicting: 1_000, resolve_unavailable: 2_000, full: 100, ..SLOW };
    for nodes in [2, 3] {
        let outcomes: Vec<_> = (0..seeds()).map(|seed| run(seed, Engine::SHARED, nodes, faults, quiet())).collect();
        report(&format!("{nodes} nodes"), &outcomes);
        assert!(outcomes.iter().all(|o| o.counts.fenced > 0));
    }
}

#[test]
fn nodes_on_one_cell_survive_crashes() {
    let faults = Faults { crash: 120, unknown: 300, conflicting: 500, ..SLOW };
    let outcomes: Vec<_> = (0..seeds()).map(|seed| run(seed, Engine::SHARED, 2, faults, quiet())).collect();
    report("2 nodes, crashes", &outcomes);
    assert!(outcomes.iter().map(|o| o.counts.crashes).sum::<u64>() > seeds() / 4);
}

#[test]
fn a_small_queue_delays_and_loses_nothing() {
    let settings = Settings { queue_bytes_max: 1_200, group_bytes_max: 600, ..quiet() };
    let outcomes: Vec<_> = (0..seeds() / 2).map(|seed| run(seed, Engine::OWN, 1, SLOW, settings.clone())).collect();
    report("small queue", &outcomes);
}

#[test]
fn one_seed_gives_one_trace() {
    let faults = Faults { unknown: 300, conflicting: 1_000, crash: 50, ..SLOW };
    for seed in 0..4 {
        let trace = || run(seed, Engine::SHARED, 2, faults, quiet()).trace;
        assert_eq!(trace(), trace());
    }
}
