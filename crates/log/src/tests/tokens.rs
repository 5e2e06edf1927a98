//! Idempotency tokens: what is done under one is done once, on whichever node, whatever breaks, until its time is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use headwater_storage::memory::{Faults, Settings as Engine};
use headwater_types::runtime::simulated::World;
use headwater_types::{HashKey, TableId};
use parking_lot::Mutex;

use super::commands::{CreateTable, count, touch};
use super::harness::{Cluster, quiet, until};
use crate::{Command, Decision, Effect, Touch, ValueChange, View};

/// Unit: ms of store time.
const LIFE: i64 = 600_000;

/// Adds one to a counter, once per token.
pub(super) struct Once {
    touches: Vec<Touch>,
    /// Names the request; the token remembers it.
    request: u64,
}

impl Once {
    pub fn new(table: TableId, key: u64, token: u64) -> Self {
        Self::named(table, key, token, 0)
    }

    fn named(table: TableId, key: u64, token: u64, request: u64) -> Self {
        Self { touches: vec![touch(table, key), Touch::token(HashKey::of(&token.to_be_bytes()))], request }
    }
}

/// What became of a request under a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Under {
    /// Whether it was done here and now.
    pub done: bool,
    /// The request that the token belongs to.
    pub owner: u64,
}

impl Command for Once {
    type Answer = Under;

    fn touches(&self) -> &[Touch] {
        &self.touches
    }

    fn decide(&mut self, view: &View<'_>) -> Decision<Under> {
        if let Some(mut known) = view.value(1).map(AsRef::as_ref)
            && known.get_i64() > view.now().0
        {
            return Decision::Answer(Under { done: false, owner: known.get_u64() });
        }
        let mut value = Vec::new();
        value.put_i64(view.now().0 + LIFE);
        value.put_u64(self.request);
        let old = count(view.value(0));
        let counter = Bytes::from((old + 1).to_be_bytes().to_vec());
        let counted = Effect { value: ValueChange::Put(counter), items: i64::from(old == 0), ..Effect::default() };
        let used = Effect { value: ValueChange::Put(value.into()), ..Effect::default() };
        Decision::Change { effects: vec![counted, used], answer: Under { done: true, owner: self.request } }
    }
}

/// What clients know: tokens surely used, and tokens perhaps used.
#[derive(Default)]
struct Known {
    used: BTreeSet<u64>,
    maybe: BTreeSet<u64>,
    /// Per token the request that it belongs to, as every answer must have it.
    owners: BTreeMap<u64, u64>,
    replayed: u64,
}

/// Counters that a token may be used on; in different tables and partitions, so that only the token's own head tells.
const KEYS: u64 = 12;

fn table_of(tables: [TableId; 2], key: u64) -> TableId {
    tables[usize::from(key % 2 == 1)]
}

async fn client(cluster: Cluster, tables: [TableId; 2], number: u64, seed: u64, known: Arc<Mutex<Known>>) {
    let runtime = cluster.client(number);
    for turn in 0..30 {
        let (token, key) = (runtime.random() % 40, runtime.random() % KEYS);
        let request = number * 1_000 + turn;
        let log = cluster.log((runtime.random() % cluster.len() as u64) as usize);
        known.lock().maybe.insert(token);
        let patience = Duration::from_micros(200 + runtime.random() % 20_000);
        let once = Once::named(table_of(tables, key), key, token, request);
        if let Some(Ok(under)) = until(&runtime, patience, log.execute(once)).await {
            let mut known = known.lock();
            known.used.insert(token);
            known.replayed += u64::from(!under.done);
            let owner = *known.owners.entry(token).or_insert(under.owner);
            assert_eq!(under.owner, owner, "seed {seed}: token {token} belongs to one request, whoever asks");
        }
        runtime.sleep(Duration::from_micros(runtime.random() % 3_000)).await;
    }
}

fn once_each(engine: Engine, nodes: usize, seed: u64) -> (u64, u64) {
    let world = World::new(seed);
    let inner = world.clone();
    world.run(async move {
        let cluster = Cluster::start(&inner, engine, nodes, quiet()).await;
        let make = async |name| cluster.log(0).define(CreateTable(name, None)).await.expect("made").expect("new");
        let tables = [make("t").await, make("u").await];
        let conflicting = if nodes > 1 { 1_000 } else { 0 };
        let slow_max = Duration::from_millis(2);
        cluster.set_faults(Faults {
            unknown: 400,
            crash: 60,
            full: 200,
            conflicting,
            slow: 3_000,
            slow_max,
            ..Faults::NONE
        });
        cluster.supervise();
        let known = Arc::new(Mutex::new(Known::default()));
        let runtime = cluster.client(0);
        let clients = (1..7).map(|number| runtime.spawn(client(cluster.clone(), tables, number, seed, known.clone())));
        let clients: Vec<_> = clients.collect();
        for client in clients {
            client.await.expect("a client's end");
        }
        cluster.set_faults(Faults::NONE);
        let known = std::mem::take(&mut *known.lock());
        let (log, mut fresh) = (cluster.log(0), 0);
        for token in &known.maybe {
            // Whatever was unknown is known now: each is used once more, and counts only if it never did.
            let Under { done, owner } = log.execute(Once::new(tables[0], 0, *token)).await.expect("done");
            assert_eq!(known.owners.get(token).copied().unwrap_or(owner), owner, "seed {seed}: the owner stays");
            assert!(!(done && known.used.contains(token)), "seed {seed}: a token that was used was forgotten");
            fresh += u64::from(done);
        }
        let snapshot = log.snapshot();
        let counter = |key| count(snapshot.get(&touch(table_of(tables, key), key).key).expect("read").as_ref());
        let done = known.maybe.len() as u64;
        assert_eq!((0..KEYS).map(counter).sum::<u64>(), done, "seed {seed}: each token counts once ({fresh} at last)");
        (done, known.replayed)
    })
}

#[test]
fn a_token_counts_once_on_any_node() {
    let (mut done, mut replayed) = (0, 0);
    for (engine, nodes) in [(Engine::OWN, 1), (Engine::SHARED, 2), (Engine::SHARED, 3)] {
        for seed in 0..100 {
            let (a, b) = once_each(engine, nodes, seed);
            (done, replayed) = (done + a, replayed + b);
        }
    }
    println!("{done} tokens used, {replayed} replays");
    assert!(done > 0 && replayed > 0);
}

#[test]
fn a_token_is_forgotten_after_its_time() {
    for engine in [Engine::OWN, Engine::SHARED] {
        let world = World::new(7);
        let inner = world.clone();
        world.run(async move {
            let cluster = Cluster::start(&inner, engine, 1, quiet()).await;
            let log = cluster.log(0);
            let table = log.define(CreateTable("t", None)).await.expect("made").expect("new");
            let once = async |token| log.execute(Once::new(table, 1, token)).await.map(|under| under.done);
            assert!(once(1).await.expect("done") && !once(1).await.expect("replayed"));
            log.clock().advance(Duration::from_millis(LIFE as u64 - 60_000));
            assert!(!once(1).await.expect("replayed") && once(2).await.expect("done"));
            assert_eq!(log.retain().await.expect("a pass").tokens, 0, "both are in use");
            log.clock().advance(Duration::from_secs(120));
            // Over, though not removed yet: it is used anew under its old head.
            assert!(once(1).await.expect("done"));
            log.clock().advance(Duration::from_secs(590));
            assert_eq!(log.retain().await.expect("a pass").tokens, 1, "the second is over");
            assert!(!once(1).await.expect("replayed") && once(2).await.expect("done"));
            let value = log.snapshot().get(&touch(table, 1).key).expect("read");
            assert_eq!(count(value.as_ref()), 4);
        });
    }
}

#[test]
fn very_many_tokens_are_forgotten_in_turns() {
    let world = World::new(8);
    let inner = world.clone();
    world.run(async move {
        let cluster = Cluster::start(&inner, Engine::OWN, 1, quiet()).await;
        let log = cluster.log(0);
        let table = log.define(CreateTable("t", None)).await.expect("made").expect("new");
        for token in 0..2_500 {
            assert!(log.execute(Once::new(table, 1, token)).await.expect("done").done);
        }
        log.clock().advance(Duration::from_millis(LIFE as u64));
        log.execute(Once::new(table, 1, 7_000)).await.expect("done");
        assert_eq!(log.retain().await.expect("a pass").tokens, 2_500);
        assert_eq!(log.retain().await.expect("a pass").tokens, 0);
        assert!(!log.execute(Once::new(table, 1, 7_000)).await.expect("replayed").done);
    });
}
