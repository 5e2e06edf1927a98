//! The PostgreSQL engine on a real server: the conformance suite, several nodes on one cell, connections and servers that
//! die. `cargo xtask postgres` fetches the server and runs these.
#![allow(clippy::disallowed_methods, reason = "a real server cannot be simulated")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use headwater_storage::conformance::{self, Store};
use headwater_storage::contract::{
    Batch, BatchId, Cell, CommitError, Direction, From, HeadChange, HeadUse, Horizon, Outcome, PageLimit, Plan, Record,
    Snapshot, Write,
};
use headwater_storage::keyspace::partition_head;
use headwater_storage::postgres::server::Server;
use headwater_storage::postgres::{Postgres, Settings};
use headwater_types::runtime::tokio_runtime;
use headwater_types::{BoxFuture, Clock, Millis, Runtime, SequenceNumber, ShardUid};

const EVERYTHING: PageLimit = PageLimit { records: usize::MAX, bytes: usize::MAX };

fn on_tokio<T>(work: impl AsyncFnOnce(Runtime) -> T) -> T {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().expect("threads");
    threads.block_on(async { work(tokio_runtime::on(threads.handle().clone())).await })
}

async fn open(settings: Settings, runtime: &Runtime) -> Arc<Postgres> {
    let clock = Clock::new(runtime.clone(), Millis::default());
    Postgres::open(settings, runtime.clone(), clock).await.expect("the cell opens")
}

struct Schema {
    settings: Settings,
    runtime: Runtime,
}

impl Store for Schema {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Cell>> {
        Box::pin(async move { open(self.settings.clone(), &self.runtime).await as Arc<dyn Cell> })
    }
}

#[test]
#[ignore = "needs a server: cargo xtask postgres"]
fn the_engine_conforms() {
    let server = Server::start();
    let stores = AtomicU64::new(0);
    let report = on_tokio(async |runtime| {
        let new_store = || -> Box<dyn Store> {
            let schema = format!("cell{}", stores.fetch_add(1, Ordering::Relaxed));
            Box::new(Schema { settings: server.settings(&schema), runtime: runtime.clone() })
        };
        (conformance::all(&runtime, &new_store).await, conformance::several_nodes(&runtime, &new_store).await)
    });
    println!("postgresql: {:?}; several nodes: {:?}", report.0, report.1);
    assert!(report.0.promises > 30 && report.0.batches > 900);
    assert!(report.1.promises == 7 && report.1.batches > 100);
}

fn plan(number: u64, expected: u64, value: &str) -> Plan {
    let change = HeadChange::Move { items: 1, bytes: 1, take: false, above: Vec::new() };
    let payload = Bytes::copy_from_slice(value.as_bytes());
    Plan {
        heads: vec![HeadUse { key: partition_head(number), expected, change }],
        writes: vec![Write { key: key(value), value: Some(payload.clone()), stamp: None }],
        records: vec![Record { head: 0, shard: ShardUid(number), payload }],
    }
}

fn key(value: &str) -> Bytes {
    format!("\u{10}{value}").into()
}

fn batch(runtime: &Runtime, plans: Vec<Plan>) -> Batch {
    Batch { id: BatchId(runtime.random_u128()), plans }
}

fn version(cell: &dyn Cell, number: u64) -> u64 {
    cell.snapshot().head(partition_head(number)).expect("a head").version
}

fn log(snapshot: &dyn Snapshot, shard: u64) -> Vec<(SequenceNumber, String)> {
    let page = snapshot.read_log(ShardUid(shard), From::At(SequenceNumber::ZERO), EVERYTHING).expect("a page");
    page.iter().map(|record| (record.number, String::from_utf8(record.payload.to_vec()).expect("text"))).collect()
}

/// The batch's outcomes, whatever happens on the way to them, and whether it had to be asked for.
async fn insist(cell: &Postgres, batch: Batch, runtime: &Runtime) -> (Option<Vec<Outcome>>, bool) {
    let id = batch.id;
    match cell.commit(batch).await {
        Ok(outcomes) => return (Some(outcomes), false),
        Err(CommitError::Unknown) => {}
        Err(other) => panic!("unexpected: {other:?}"),
    }
    loop {
        match cell.resolve(id).await {
            Ok(outcomes) => return (outcomes, true),
            Err(_) => runtime.sleep(Duration::from_millis(5)).await,
        }
    }
}

#[derive(Default, Clone, Copy, Debug)]
struct Tally {
    acknowledged: u64,
    fenced: u64,
    asked: u64,
    asked_committed: u64,
}

/// One node's writer: raises a common head `writes` times, with what it finds.
async fn write(
    cell: Arc<Postgres>,
    runtime: Runtime,
    name: String,
    writes: u64,
) -> (BTreeMap<SequenceNumber, String>, Tally) {
    let (mut given, mut tally) = (BTreeMap::new(), Tally::default());
    for at in 0..writes {
        let text = format!("{name}.{at}");
        loop {
            let expected = version(&*cell, 1);
            let (outcomes, asked) = insist(&cell, batch(&runtime, vec![plan(1, expected, &text)]), &runtime).await;
            tally.asked += u64::from(asked);
            match outcomes.as_deref() {
                Some([Outcome::Committed { numbers, .. }]) => {
                    tally.acknowledged += 1;
                    tally.asked_committed += u64::from(asked);
                    given.insert(numbers[0], text);
                    assert!(version(&*cell, 1) > expected, "what is answered is seen");
                    break;
                }
                Some([Outcome::Fenced { heads }]) => {
                    assert_eq!(heads, &[partition_head(1)]);
                    tally.fenced += 1;
                }
                Some(other) => panic!("one plan, {} outcomes", other.len()),
                None => {}
            }
        }
    }
    (given, tally)
}

/// Writers on several nodes, and `trouble` meanwhile: every write once, in order of the numbers that were answered.
fn race(nodes: u64, writes: u64, trouble: impl AsyncFnOnce(&Server, &Runtime) -> u64) -> (Tally, u64) {
    let server = Server::start();
    on_tokio(async |runtime| {
        let mut writers = Vec::new();
        for node in 0..nodes {
            let cell = open(server.settings("race"), &runtime).await;
            writers.push(runtime.spawn(write(cell, runtime.clone(), node.to_string(), writes)));
        }
        let troubles = trouble(&server, &runtime).await;
        let (mut all, mut total) = (BTreeMap::new(), Tally::default());
        for writer in writers {
            let (given, tally) = writer.await.expect("a writer ends");
            all.extend(given);
            total.acknowledged += tally.acknowledged;
            total.fenced += tally.fenced;
            total.asked += tally.asked;
            total.asked_committed += tally.asked_committed;
        }
        let cell = open(server.settings("race"), &runtime).await;
        let found = log(&*cell.snapshot(), 1);
        assert_eq!(found.len() as u64, nodes * writes, "each write once");
        assert_eq!(found, all.into_iter().collect::<Vec<_>>(), "in the order that was answered");
        assert_eq!(version(&*cell, 1), nodes * writes);
        (total, troubles)
    })
}

#[test]
#[ignore = "needs a server: cargo xtask postgres"]
fn nodes_that_write_one_range_fence_each_other_and_lose_no_write() {
    let (tally, _) = race(3, 60, async |_, _| 0);
    println!("three nodes: {tally:?}");
    assert!(tally.acknowledged == 180 && tally.fenced > 20);
}

#[test]
#[ignore = "needs a server: cargo xtask postgres"]
fn what_was_answered_survives_terminated_connections() {
    let (tally, killed) = race(2, 150, async |server, runtime| {
        let mut killed = 0;
        for _ in 0..40 {
            runtime.sleep(Duration::from_micros(runtime.random() % 15_000)).await;
            killed += server.terminate_connections().await;
        }
        killed
    });
    println!("terminated connections: {killed}, {tally:?}");
    assert!(killed > 40 && tally.asked > 0);
}

#[test]
#[ignore = "needs a server: cargo xtask postgres"]
fn what_was_answered_survives_a_killed_server() {
    let (tally, kills) = race(2, 200, async |server, runtime| {
        for kill in 0..4 {
            runtime.sleep(Duration::from_millis(300)).await;
            if kill % 2 == 0 { server.kill_and_restart() } else { server.stop_and_restart() }
        }
        4
    });
    println!("killed servers: {kills}, {tally:?}");
    assert!(tally.asked > 0);
}

/// Goal: an unknown outcome is resolved once and for all, on any node.
#[test]
#[ignore = "needs a server: cargo xtask postgres"]
fn an_unknown_batch_is_committed_or_never_will_be() {
    let server = Server::start();
    on_tokio(async |runtime| {
        let node = open(server.settings("ids"), &runtime).await;
        let other = open(server.settings("ids"), &runtime).await;
        let (mut committed, mut never) = (0, 0);
        // How long a commit takes depends on the machine: the question comes earlier after each commit that it missed, and
        // later after each that it stopped.
        let mut longest = 6_000;
        for at in 0..120 {
            let expected = version(&*node, 1);
            let batch = batch(&runtime, vec![plan(1, expected, &at.to_string()), plan(1, expected, "fenced")]);
            let id = batch.id;
            // Asked for while it is on its way.
            let commit = runtime.spawn(node.commit(batch));
            runtime.sleep(Duration::from_micros(runtime.random() % longest)).await;
            let resolved = other.resolve(id).await.expect("resolved");
            let answered = commit.await.expect("ends");
            match &resolved {
                Some(outcomes) => {
                    committed += 1;
                    longest = (longest * 4 / 5).max(1);
                    assert!(matches!(&outcomes[..], [Outcome::Committed { .. }, Outcome::Fenced { .. }]));
                    assert_eq!(&answered.expect("answered"), outcomes, "the very numbers are kept");
                }
                None => {
                    never += 1;
                    longest = longest * 5 / 4 + 1;
                    assert!(matches!(answered, Err(CommitError::Unknown)), "void before it was committed");
                }
            }
            assert_eq!(version(&*node, 1), expected + u64::from(resolved.is_some()), "what resolve said stays true");
            assert_eq!(node.resolve(id).await.expect("resolved"), resolved);
        }
        println!("asked while under way: {committed} committed, {never} never");
        assert!(committed > 3 && never > 3, "committed {committed}, never {never}");
    });
}

/// Everything that can be asked of a snapshot.
fn everything(snapshot: &dyn Snapshot) -> String {
    let entries: Vec<_> = snapshot.scan(&[0x10], &[0x11], Direction::Forward).collect::<Result<_, _>>().expect("scan");
    let head = snapshot.head(partition_head(1)).expect("a head");
    format!("{:?} {entries:?} {:?} {head:?}", snapshot.position(), log(snapshot, 1))
}

async fn rows(server: &Server, schema: &str, table: &str) -> i64 {
    server.ask(&format!("SELECT count(*) FROM {schema}.{table}")).await
}

/// Goal: a snapshot of one node outlives overwriting and trimming by another, vacuum, its connections and the server; and
/// once it is gone, so is what it held.
#[test]
#[ignore = "needs a server: cargo xtask postgres"]
fn a_snapshot_outlives_vacuum_and_the_server_and_holds_no_longer() {
    let server = Server::start();
    on_tokio(async |runtime| {
        let (reader, writer) =
            (open(server.settings("snap"), &runtime).await, open(server.settings("snap"), &runtime).await);
        let commit = async |range: std::ops::Range<u64>| {
            for at in range {
                let mut plan = plan(1, at, &format!("k{}", at % 7));
                if at % 5 == 4 {
                    plan.writes[0].value = None;
                }
                writer.commit(batch(&runtime, vec![plan])).await.expect("committed");
            }
        };
        commit(0..40).await;
        let snapshot = reader.snapshot();
        let seen = everything(&*snapshot);
        reader.vacuum().await.expect("states its pin");
        commit(40..100).await;
        writer.trim(&[Horizon { shard: ShardUid(1), below: SequenceNumber(u64::MAX) }]).expect("trimmed");
        writer.vacuum().await.expect("removes");
        assert_eq!(everything(&*snapshot), seen, "after vacuum");
        assert!(log(&*writer.snapshot(), 1).is_empty(), "a later snapshot sees the trim");
        server.kill_and_restart();
        assert_eq!(everything(&*snapshot), seen, "after the server came back");
        assert_eq!(rows(&server, "snap", "records").await, 100);
        let held = rows(&server, "snap", "keys").await + rows(&server, "snap", "heads_before").await;
        drop(snapshot);
        reader.vacuum().await.expect("states that it holds nothing");
        writer.vacuum().await.expect("removes");
        let left = rows(&server, "snap", "keys").await + rows(&server, "snap", "heads_before").await;
        println!("versions held for a snapshot: {held}, left without it: {left}");
        assert_eq!(rows(&server, "snap", "records").await, 0);
        assert_eq!(rows(&server, "snap", "heads_before").await, 0, "only what is newest");
        assert!(left <= 7 && held > left);
    });
}

/// Goal: a node that was not heard of for a minute gets errors from its snapshots, never other answers.
#[test]
#[ignore = "needs a server: cargo xtask postgres"]
fn a_snapshot_of_a_node_that_was_given_up_answers_an_error() {
    let server = Server::start();
    on_tokio(async |runtime| {
        let settings = Settings { upkeep_every: Duration::from_secs(600), ..server.settings("lost") };
        let lost = open(settings.clone(), &runtime).await;
        let writer = open(settings, &runtime).await;
        writer.commit(batch(&runtime, vec![plan(1, 0, "a")])).await.expect("committed");
        let snapshot = lost.snapshot();
        assert!(snapshot.get(&key("a")).expect("read").is_some());
        writer.commit(batch(&runtime, vec![plan(1, 1, "a")])).await.expect("committed");
        let aged = "WITH aged AS (UPDATE lost.nodes SET seen = seen - interval '2 minutes' RETURNING 1)
            SELECT count(*) FROM aged";
        assert_eq!(server.ask(aged).await, 2);
        writer.vacuum().await.expect("removes");
        assert!(snapshot.get(&key("a")).is_err() && snapshot.head(partition_head(1)).is_err());
        assert!(snapshot.scan(&[0], &[255], Direction::Forward).next().is_some_and(|entry| entry.is_err()));
        assert!(lost.snapshot().get(&key("a")).expect("a new one reads").is_some());
    });
}

/// Goal: while the server is away for longer than the engine waits, reads say so and outcomes are unknown; then all goes on.
#[test]
#[ignore = "needs a server: cargo xtask postgres"]
fn an_outage_is_an_error_and_then_over() {
    let server = Server::start();
    on_tokio(async |runtime| {
        let settings = Settings { patience: Duration::from_millis(300), ..server.settings("away") };
        let cell = open(settings, &runtime).await;
        cell.commit(batch(&runtime, vec![plan(1, 0, "before")])).await.expect("committed");
        let held = cell.snapshot();
        server.stop();
        let blind = cell.snapshot();
        for snapshot in [&held, &blind] {
            let error = snapshot.get(&key("before")).expect_err("out of reach");
            assert_eq!(error.kind, headwater_storage::Kind::Unavailable, "{error}");
            assert!(snapshot.head(partition_head(1)).is_err());
        }
        let lost = batch(&runtime, vec![plan(1, 1, "lost")]);
        let id = lost.id;
        assert!(matches!(cell.commit(lost).await, Err(CommitError::Unknown)));
        assert_eq!(cell.resolve(id).await.expect_err("out of reach").kind, headwater_storage::Kind::Unavailable);
        server.run();
        assert_eq!(cell.resolve(id).await.expect("resolved"), None);
        assert!(held.get(&key("before")).expect("read").is_some(), "what was held is there again");
        assert!(blind.get(&key("before")).is_err(), "what was never seen is not made up");
        cell.commit(batch(&runtime, vec![plan(1, 1, "after")])).await.expect("committed");
        let texts: Vec<String> = log(&*cell.snapshot(), 1).into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["before", "after"]);
        cell.close().await.expect("closes");
    });
}

/// How often a look at two keys that every batch writes together, through one snapshot, found them apart or changed.
fn unstable_looks(draws: bool) -> (u64, u64) {
    let server = Server::start();
    on_tokio(async |runtime| {
        let settings = Settings { position_before_commit: draws, ..server.settings("drawn") };
        let mut writers = Vec::new();
        for node in 0..3u64 {
            let (cell, runtime) = (open(settings.clone(), &runtime).await, runtime.clone());
            writers.push(runtime.clone().spawn(async move {
                for version in 0..80 {
                    let mut plan = plan(node, version, &format!("left{node}"));
                    let value = Some(Bytes::from(version.to_string()));
                    plan.writes[0].value = value.clone();
                    plan.writes.push(Write { key: key(&format!("right{node}")), value, stamp: None });
                    let committed = cell.commit(batch(&runtime, vec![plan])).await.expect("committed");
                    assert!(matches!(committed[..], [Outcome::Committed { .. }]));
                }
            }));
        }
        let reader = open(settings, &runtime).await;
        let stop = Arc::new(AtomicU64::new(0));
        let looking = {
            let stop = stop.clone();
            runtime.spawn(async move {
                let (mut looks, mut unstable) = (0, 0);
                while stop.load(Ordering::Relaxed) == 0 {
                    let snapshot = reader.snapshot();
                    let look = |side: &str| -> Vec<_> {
                        (0..3).map(|node| snapshot.get(&key(&format!("{side}{node}"))).expect("read")).collect()
                    };
                    let first = (look("left"), log(&*snapshot, 0).len(), log(&*snapshot, 1).len());
                    let again = (look("right"), log(&*snapshot, 0).len(), log(&*snapshot, 1).len());
                    looks += 1;
                    unstable += u64::from(first != again);
                }
                (looks, unstable)
            })
        };
        for writer in writers {
            writer.await.expect("a writer ends");
        }
        stop.store(1, Ordering::Relaxed);
        looking.await.expect("the reader ends")
    })
}

#[test]
#[ignore = "needs a server: cargo xtask postgres"]
fn positions_drawn_from_a_sequence_before_the_commit_are_found() {
    let (sound, planted) = (unstable_looks(false), unstable_looks(true));
    println!(
        "looks that changed: {} of {} as built, {} of {} with positions drawn before the commit",
        sound.1, sound.0, planted.1, planted.0
    );
    assert!(sound.1 == 0 && sound.0 > 3);
    assert!(planted.1 > 0);
}

/// What a batch and a read take; figures for the decision page, no limits.
#[test]
#[ignore = "needs a server: cargo xtask postgres"]
fn measured() {
    let server = Server::start();
    on_tokio(async |runtime| {
        let cell = open(server.settings("measured"), &runtime).await;
        for plans in [1u64, 100, 1_000] {
            let (mut times, start) = (Vec::new(), runtime.monotonic());
            for round in 0..(if plans == 1 { 200 } else { 20 }) {
                let one = |at: u64| plan(plans * 10_000 + at, round, &format!("{plans}.{at}"));
                let before = runtime.monotonic();
                cell.commit(batch(&runtime, (0..plans).map(one).collect())).await.expect("committed");
                times.push(runtime.monotonic() - before);
            }
            let (took, done) = (runtime.monotonic() - start, times.len() as u64 * plans);
            times.sort();
            println!(
                "batches of {plans}: {:.0} writes/s, p50 {:?}, p99 {:?}",
                done as f64 / took.as_secs_f64(),
                times[times.len() / 2],
                times[times.len() * 99 / 100]
            );
        }
        let time = |name: &str, work: &dyn Fn()| {
            let before = runtime.monotonic();
            (0..500).for_each(|_| work());
            println!("{name}: {:?} each", (runtime.monotonic() - before) / 500);
        };
        time("snapshot", &|| drop(cell.snapshot()));
        let snapshot = cell.snapshot();
        time("get", &|| assert!(snapshot.get(&key("100.7")).expect("read").is_some()));
        time("page of the log", &|| assert_eq!(log(&*snapshot, 10_000).len(), 200));
    });
}

#[test]
#[ignore = "needs a server: cargo xtask postgres"]
fn a_bad_address_or_name_is_refused_and_a_dead_server_is_an_error() {
    let server = Server::start();
    on_tokio(async |runtime| {
        let refused = async |settings: Settings| {
            let clock = Clock::new(runtime.clone(), Millis::default());
            let Err(error) = Postgres::open(settings, runtime.clone(), clock).await else { panic!("it opens") };
            error
        };
        for name in ["", "Quoted", "a-b", "x\"; DROP TABLE keys; --", &"x".repeat(49)] {
            assert_eq!(refused(server.settings(name)).await.kind, headwater_storage::Kind::Invalid, "{name}");
        }
        let unknown = Settings { database: "no such form".into(), ..server.settings("x") };
        assert_eq!(refused(unknown).await.kind, headwater_storage::Kind::Invalid);
        let patience = Duration::from_millis(200);
        let nowhere = Settings { database: "host=127.0.0.1 port=1 user=x".into(), patience, ..server.settings("x") };
        assert_eq!(refused(nowhere).await.kind, headwater_storage::Kind::Unavailable);
    });
}
