//! Many writers on one data stream that is split, merged and resharded under them, on one to three nodes, with every
//! fault the model has: each append is there once and whole, in the order of the answers, parents before children.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use headwater_catalog::StreamMode;
use headwater_storage::memory::{Counts, Faults, Settings as Engine};
use headwater_types::runtime::simulated::World;
use headwater_types::{Runtime, ShardUid, StreamUid, TableId};
use parking_lot::Mutex;

use super::checks::{PAGE, check_lineage};
use super::commands::Just;
use super::data_streams::{Make, all, records};
use super::harness::{Cluster, quiet, until};
use crate::{Appended, Change, Error, Log, ReadFrom, ShardInfo};

const WRITERS: u64 = 6;
const APPENDS: u64 = 25;
const RESHAPES: u64 = 25;

/// One append.
struct Done {
    from: u64,
    count: u64,
    began: u64,
    /// When it was answered, and with what; none: nobody knows.
    answer: Option<(u64, Vec<Appended>)>,
}

#[derive(Default)]
struct Seen {
    tick: u64,
    done: Vec<Done>,
    /// Appends that were refused for space: nothing of them may be there.
    refused: Vec<u64>,
    tailed: BTreeMap<ShardUid, Vec<u64>>,
    reshaped: u64,
}

#[derive(Clone)]
struct Load {
    cluster: Cluster,
    id: TableId,
    uid: StreamUid,
    seen: Arc<Mutex<Seen>>,
}

impl Load {
    fn tick(&self) -> u64 {
        let mut seen = self.seen.lock();
        seen.tick += 1;
        seen.tick
    }

    fn some_log(&self, runtime: &Runtime) -> Arc<Log> {
        self.cluster.log((runtime.random() % self.cluster.len() as u64) as usize)
    }

    async fn write(self, runtime: Runtime, writer: u64) {
        for turn in 0..APPENDS {
            let (from, count) = ((writer * APPENDS + turn) * 10, 1 + runtime.random() % 6);
            let log = self.some_log(&runtime);
            let began = self.tick();
            let work = log.append(self.id, records(from, count));
            let result = match runtime.random() % 6 {
                0 => until(&runtime, Duration::from_micros(runtime.random() % 3_000), work).await,
                _ => Some(work.await),
            };
            let answer = match result {
                Some(Ok(appended)) => Some((self.tick(), appended)),
                Some(Err(Error::Full)) => {
                    self.seen.lock().refused.push(from);
                    continue;
                }
                Some(Err(Error::Closed)) | None => None,
                Some(Err(error)) => panic!("unexpected: {error}"),
            };
            self.seen.lock().done.push(Done { from, count, began, answer });
            runtime.sleep(Duration::from_micros(runtime.random() % 800)).await;
        }
    }

    async fn reshape(self, runtime: Runtime) {
        for _ in 0..RESHAPES {
            let log = self.some_log(&runtime);
            let list = log.shards(self.uid).expect("listed");
            let mut open: Vec<&ShardInfo> = list.shards().iter().filter(|shard| shard.ending.is_none()).collect();
            open.sort_by_key(|shard| shard.hash_range.0);
            let at = (runtime.random() % open.len() as u64) as usize;
            let (start, end) = open[at].hash_range;
            let change = match (runtime.random() % 10, open.get(at + 1)) {
                (0..6, Some(next)) if open.len() > 2 => {
                    // Either may be named first.
                    let (first, second) =
                        if runtime.random().is_multiple_of(2) { (open[at], *next) } else { (*next, open[at]) };
                    Change::MergeShards { id: self.id, first: first.uid, second: second.uid }
                }
                (8.., _) => Change::Reshard { id: self.id, shards: 1 + (runtime.random() % 6) as usize },
                _ => Change::SplitShard { id: self.id, shard: open[at].uid, at: start + (end - start) / 2 + 1 },
            };
            match log.define(Just(vec![change])).await {
                Ok(()) => self.seen.lock().reshaped += 1,
                // A dead node's work came first.
                Err(Error::Closed | Error::Full | Error::Invalid(_)) => {}
                Err(error) => panic!("unexpected: {error}"),
            }
            runtime.sleep(Duration::from_micros(runtime.random() % 1_500)).await;
        }
    }

    /// Reads every shard at its tail until told to stop, and checks each list of shards.
    async fn tail(self, runtime: Runtime, node: usize, stop: Arc<Mutex<bool>>) {
        let mut positions: BTreeMap<ShardUid, Option<ReadFrom>> = BTreeMap::new();
        loop {
            let stopping = *stop.lock();
            let log = self.cluster.log(node);
            let list = log.shards(self.uid).expect("listed");
            check_lineage(list.shards());
            for shard in list.shards() {
                while let Some(from) = *positions.entry(shard.uid).or_insert(Some(ReadFrom::Horizon)) {
                    let page = log.page(self.uid, shard.uid, from, PAGE).expect("readable");
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

    /// Checks all that was seen; how many records, splits and merges there are.
    fn check(&self) -> (u64, u64, u64) {
        let log = self.cluster.log(0);
        let there = all(&log, self.uid);
        let seen = self.seen.lock();
        let mut asked = BTreeSet::new();
        for Done { from, count, answer, .. } in &seen.done {
            asked.extend(*from..from + count);
            let found: Vec<_> = (*from..from + count).map(|at| there.get(&at).copied()).collect();
            match answer {
                Some((_, appended)) => {
                    let expected: Vec<_> = appended.iter().copied().map(Some).collect();
                    assert_eq!(found, expected, "what was answered for {from} is in the log");
                }
                None => assert!(found.iter().all(Option::is_some) || found.iter().all(Option::is_none), "half done"),
            }
        }
        assert!(seen.refused.iter().all(|from| !there.contains_key(from)), "what was refused is not there");
        assert!(there.keys().all(|at| asked.contains(at)), "nothing is there that nobody appended");
        self.in_order(&seen, &there);
        let list = log.shards(self.uid).expect("listed");
        let children = |uid| list.shards().iter().filter(|shard| shard.parents.contains(&uid)).count();
        let splits = list.shards().iter().filter(|shard| children(shard.uid) == 2).count();
        let merges = list.shards().iter().filter(|shard| shard.parents.len() == 2).count();
        for shard in list.shards() {
            let numbers: BTreeSet<u64> =
                there.values().filter(|place| place.shard == shard.uid).map(|place| place.number.0).collect();
            let tailed = seen.tailed.get(&shard.uid).cloned().unwrap_or_default();
            let read: BTreeSet<u64> = tailed.iter().copied().collect();
            assert_eq!(read, numbers, "a reader at the tail misses nothing");
            assert!(tailed.len() <= read.len() * self.cluster.len(), "and sees nothing twice");
        }
        (there.len() as u64, splits as u64, merges as u64)
    }

    /// Within a shard nothing that was answered lies behind what was asked for later.
    fn in_order(&self, seen: &Seen, there: &BTreeMap<u64, Appended>) {
        let mut lines: BTreeMap<ShardUid, Vec<(u64, u64, u64)>> = BTreeMap::new();
        for Done { from, count, began, answer } in &seen.done {
            let ended = answer.as_ref().map_or(u64::MAX, |(ended, _)| *ended);
            for place in (*from..from + count).filter_map(|at| there.get(&at)) {
                lines.entry(place.shard).or_default().push((place.number.0, *began, ended));
            }
        }
        for mut line in lines.into_values() {
            line.sort_unstable();
            let mut newest = 0;
            for (number, began, ended) in line {
                assert!(ended >= newest, "{number} was answered at {ended}, before one below it was asked for");
                newest = newest.max(began);
            }
        }
    }
}

struct Outcome {
    records: u64,
    splits: u64,
    merges: u64,
    reshaped: u64,
    unknown: u64,
    counts: Counts,
    trace: u64,
}

fn run(seed: u64, engine: Engine, nodes: usize, faults: Faults) -> Outcome {
    let world = World::new(seed);
    let inner = world.clone();
    let mut outcome = world.run(async move {
        let cluster = Cluster::start(&inner, engine, nodes, quiet()).await;
        let (id, uid) = cluster.log(0).define(Make("s", StreamMode::Provisioned, 3)).await.expect("made");
        let load = Load { cluster: cluster.clone(), id, uid, seen: Arc::default() };
        cluster.supervise();
        cluster.set_faults(faults);
        let stop = Arc::new(Mutex::new(false));
        let tails: Vec<_> = (0..nodes)
            .map(|node| {
                let runtime = cluster.client(500 + node as u64);
                runtime.spawn(load.clone().tail(runtime.clone(), node, stop.clone()))
            })
            .collect();
        let reshaper = cluster.client(400);
        let reshaping = reshaper.spawn(load.clone().reshape(reshaper.clone()));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let runtime = cluster.client(writer);
                runtime.spawn(load.clone().write(runtime.clone(), writer))
            })
            .collect();
        for writer in writers {
            writer.await.expect("a writer ends");
        }
        reshaping.await.expect("the reshaper ends");
        cluster.set_faults(Faults::NONE);
        let counts = cluster.counts();
        cluster.client(0).sleep(Duration::from_millis(50)).await;
        *stop.lock() = true;
        for tail in tails {
            tail.await.expect("a reader ends");
        }
        let (records, splits, merges) = load.check();
        let seen = load.seen.lock();
        let unknown = seen.done.iter().filter(|done| done.answer.is_none()).count() as u64;
        Outcome { records, splits, merges, reshaped: seen.reshaped, unknown, counts, trace: 0 }
    });
    outcome.trace = world.trace();
    outcome
}

fn seeds() -> u64 {
    std::env::var("HEADWATER_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(25)
}

const SLOW: Faults = Faults { slow: 3_000, slow_max: Duration::from_millis(2), ..Faults::NONE };

fn chaos(name: &str, engine: Engine, nodes: usize, faults: Faults) -> Vec<Outcome> {
    let outcomes: Vec<_> = (0..seeds()).map(|seed| run(seed, engine, nodes, faults)).collect();
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    println!(
        "{name}: {} seeds, {} records, {} splits, {} merges, {} changes of shards, {} unknown appends; {} fenced, \
         {} unknown, {} full, {} crashes",
        outcomes.len(),
        sum(|o| o.records),
        sum(|o| o.splits),
        sum(|o| o.merges),
        sum(|o| o.reshaped),
        sum(|o| o.unknown),
        sum(|o| o.counts.fenced),
        sum(|o| o.counts.unknown),
        sum(|o| o.counts.full),
        sum(|o| o.counts.crashes),
    );
    assert!(outcomes.iter().all(|outcome| outcome.records > 0 && outcome.reshaped > 0));
    assert!(sum(|o| o.splits) > 0 && sum(|o| o.merges) > 0 && sum(|o| o.unknown) > 0);
    outcomes
}

#[test]
fn one_node_appends_once_and_in_order_through_splits_merges_and_crashes() {
    let outcomes = chaos("data stream", Engine::OWN, 1, Faults { crash: 120, full: 100, ..SLOW });
    assert!(outcomes.iter().map(|o| o.counts.crashes).sum::<u64>() > seeds() / 4);
    assert!(outcomes.iter().any(|o| o.counts.full > 0));
}

#[test]
fn several_nodes_append_once_and_in_order_through_splits_merges_and_crashes() {
    for nodes in [2, 3] {
        let faults = Faults { crash: 60, unknown: 300, conflicting: 500, resolve_unavailable: 2_000, ..SLOW };
        let outcomes = chaos(&format!("data stream, {nodes} nodes"), Engine::SHARED, nodes, faults);
        assert!(outcomes.iter().any(|o| o.counts.crashes > 0));
        assert!(outcomes.iter().all(|o| o.counts.fenced > 0) && outcomes.iter().any(|o| o.counts.unknown > 0));
    }
}

#[test]
fn one_seed_gives_one_trace() {
    let faults = Faults { unknown: 300, conflicting: 1_000, crash: 50, ..SLOW };
    for seed in 0..3 {
        let trace = || run(seed, Engine::SHARED, 2, faults).trace;
        assert_eq!(trace(), trace());
    }
}
