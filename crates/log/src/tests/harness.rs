//! A cluster of nodes on one modelled cell, in one simulated world.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use headwater_storage::memory::{Counts, Faults, Model, Node, Settings as Engine};
use headwater_types::runtime::simulated::World;
use headwater_types::{Clock, Runtime};
use parking_lot::Mutex;

use crate::{Log, Settings};

/// Nodes of a simulation; clones share it.
#[derive(Clone)]
pub(super) struct Cluster(Arc<Inner>);

struct Inner {
    world: World,
    model: Model,
    settings: Mutex<Settings>,
    faults: Mutex<Faults>,
    nodes: Mutex<Vec<Member>>,
}

struct Member {
    number: u64,
    cell: Arc<Node>,
    log: Arc<Log>,
}

pub(super) fn quiet() -> Settings {
    Settings { background: false, ..Settings::default() }
}

impl Cluster {
    /// A cell with nodes, no faults yet.
    pub async fn start(world: &World, engine: Engine, nodes: usize, settings: Settings) -> Self {
        let model = Model::new(world.node(99), engine);
        let (faults, nodes_) = (Mutex::new(Faults::NONE), Mutex::default());
        let settings = Mutex::new(settings);
        let cluster = Self(Arc::new(Inner { world: world.clone(), model, settings, faults, nodes: nodes_ }));
        for at in 0..nodes {
            let member = cluster.open(1 + at as u64).await;
            cluster.0.nodes.lock().push(member);
        }
        cluster
    }

    async fn open(&self, number: u64) -> Member {
        let runtime = self.0.world.node(number);
        let clock = Clock::new(runtime.clone(), headwater_types::Millis(0));
        let cell = self.0.model.node(runtime.clone(), clock.clone(), Faults::NONE);
        let settings = self.0.settings.lock().clone();
        let log = Log::open(cell.clone(), runtime, clock, settings).await.expect("opens");
        cell.set_faults(*self.0.faults.lock());
        Member { number, cell, log }
    }

    /// The log of a node as it is now.
    pub fn log(&self, at: usize) -> Arc<Log> {
        self.0.nodes.lock()[at].log.clone()
    }

    pub fn len(&self) -> usize {
        self.0.nodes.lock().len()
    }

    pub fn counts(&self) -> Counts {
        self.0.model.counts()
    }

    /// What nodes are opened with from now on.
    pub fn set_settings(&self, settings: Settings) {
        *self.0.settings.lock() = settings;
    }

    pub fn set_faults(&self, faults: Faults) {
        *self.0.faults.lock() = faults;
        for member in self.0.nodes.lock().iter() {
            member.cell.set_faults(faults);
        }
    }

    /// A runtime for clients, which no crash ends.
    pub fn client(&self, number: u64) -> Runtime {
        self.0.world.node(1_000 + number)
    }

    /// Kills a node and opens it again.
    pub async fn restart(&self, at: usize) {
        let number = self.0.nodes.lock()[at].number;
        self.0.world.kill(number);
        // A new number: what still belongs to the dead one must not come back.
        let member = self.open(number + 10).await;
        let old = std::mem::replace(&mut self.0.nodes.lock()[at], member);
        drop(old);
    }

    /// Restarts nodes that crash, for ever.
    pub fn supervise(&self) {
        for at in 0..self.len() {
            let (cluster, runtime) = (self.clone(), self.client(900 + at as u64));
            drop(runtime.clone().spawn(async move {
                loop {
                    let mut crashed = cluster.0.nodes.lock()[at].cell.crashed();
                    if crashed.wait_for(|crashed| *crashed).await.is_err() {
                        return;
                    }
                    runtime.sleep(Duration::from_millis(3)).await;
                    cluster.restart(at).await;
                }
            }));
        }
    }
}

/// Awaits `work` for at most `time`, then drops it, as the server drops the request of a client that hung up.
pub(super) async fn until<T>(runtime: &Runtime, time: Duration, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut end) = (pin!(work), runtime.sleep(time));
    poll_fn(|context| {
        if let Poll::Ready(value) = work.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        end.as_mut().poll(context).map(|()| None)
    })
    .await
}
