//! Idempotency tokens: what is done under one is done once, on whichever node, whatever breaks, until its time is over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes};
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
struct Once {
    touches: Vec<Touch>,
}

impl Once {
    fn new(table: TableId, key: u64, token: u64) -> Self {
        Self { touches: vec![touch(table, key), Touch::token(HashKey::of(&token.to_be_bytes()))] }
    }
}

impl Command for Once {
    /// Whether it was done here and now.
    type Answer = bool;

    fn touches(&self) -> &[Touch] {
        &self.touches
    }

    fn decide(&mut self, view: &View<'_>) -> Decision<bool> {
        let end = view.value(1).and_then(|value| value.first_chunk::<8>()).map(|end| i64::from_be_bytes(*end));
        if end.is_some_and(|end| end > view.now().0) {
            return Decision::Answer(false);
        }
        let mut value = Vec::new();
        value.put_i64(view.now().0 + LIFE);
        let old = count(view.value(0));
        let counter = Bytes::from((old + 1).to_be_bytes().to_vec());
        let counted = Effect { value: ValueChange::Put(counter), items: i64::from(old == 0), ..Effect::default() };
        let used = Effect { value: ValueChange::Put(value.into()), ..Effect::default() };
        Decision::Change { effects: vec![counted, used], answer: true }
    }
}

/// What clients know: tokens surely used, and tokens perhaps used.
#[derive(Default)]
struct Known {
    used: BTreeSet<u64>,
    maybe: BTreeSet<u64>,
    replayed: u64,
}

/// Counters that a token may be used on; in different partitions, so that only the token's own head tells.
const KEYS: u64 = 12;

async fn client(cluster: Cluster, table: TableId, number: u64, known: Arc<Mutex<Known>>) {
    let runtime = cluster.client(number);
    for _ in 0..30 {
        let (token, key) = (runtime.random() % 40, runtime.random() % KEYS);
        let log = cluster.log((runtime.random() % cluster.len() as u64) as usize);
        known.lock().maybe.insert(token);
        let patience = Duration::from_micros(200 + runtime.random() % 20_000);
        if let Some(Ok(done)) = until(&runtime, patience, log.execute(Once::new(table, key, token))).await {
            let mut known = known.lock();
            known.used.insert(token);
            known.replayed += u64::from(!done);
        }
        runtime.sleep(Duration::from_micros(runtime.random() % 3_000)).await;
    }
}

fn once_each(engine: Engine, nodes: usize, seed: u64) -> (u64, u64) {
    let world = World::new(seed);
    let inner = world.clone();
    world.run(async move {
        let cluster = Cluster::start(&inner, engine, nodes, quiet()).await;
        let table = cluster.log(0).define(CreateTable("t", None)).await.expect("made").expect("new");
        cluster.set_faults(Faults { unknown: 400, crash: 60, full: 200, ..Faults::NONE });
        cluster.supervise();
        let known = Arc::new(Mutex::new(Known::default()));
        let runtime = cluster.client(0);
        let clients = (1..7).map(|number| runtime.spawn(client(cluster.clone(), table, number, known.clone())));
        let clients: Vec<_> = clients.collect();
        for client in clients {
            client.await.expect("a client's end");
        }
        cluster.set_faults(Faults::NONE);
        let known = std::mem::take(&mut *known.lock());
        let (log, mut fresh) = (cluster.log(0), 0);
        for token in &known.maybe {
            // Whatever was unknown is known now: each is used once more, and counts only if it never did.
            let done = log.execute(Once::new(table, 0, *token)).await.expect("done");
            assert!(!(done && known.used.contains(token)), "seed {seed}: a token that was used was forgotten");
            fresh += u64::from(done);
        }
        let snapshot = log.snapshot();
        let counter = |key| count(snapshot.get(&touch(table, key).key).expect("read").as_ref());
        let done = known.maybe.len() as u64;
        assert_eq!((0..KEYS).map(counter).sum::<u64>(), done, "seed {seed}: each token counts once ({fresh} at last)");
        (done, known.replayed)
    })
}

#[test]
fn a_token_counts_once_on_any_node() {
    let (mut done, mut replayed) = (0, 0);
    for (engine, nodes) in [(Engine::OWN, 1), (Engine::SHARED, 2), (Engine::SHARED, 3)] {
        for seed in 0..40 {
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
            let once = |token| log.execute(Once::new(table, 1, token));
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
