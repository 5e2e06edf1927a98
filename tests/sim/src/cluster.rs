//! The nodes of a run: opened, killed, opened again, on one durable state.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use headwater_delivery::Jobs;
use headwater_log::Log;
use headwater_storage::Cell;
use headwater_storage::embedded::Durability;
use headwater_storage::memory::{Faults, Model, Node};
use headwater_types::runtime::simulated::World;
use headwater_types::{BoxFuture, Clock, Millis, Runtime};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::embedded::{Disk, Found};
use crate::plan::{Dice, Mode, Plan};
use crate::planted::Bug;
use crate::replication;
use crate::server::Server;

/// World number of what belongs to no node: clients, readers, the supervisor.
pub const CONTROL: u64 = 0;
/// World number of the model's database.
const DATABASE: u64 = 1;
/// World number of the first node; every start takes the next one.
const FIRST: u64 = 10;

/// What outlives every node.
enum Engine {
    Model(Model),
    Disk(Box<Disk>),
}

/// What the supervisors are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Faults strike.
    Stormy,
    /// No faults; every node is up or coming up.
    Calm,
}

/// The nodes.
pub struct Cluster {
    /// The world they live in.
    pub world: World,
    /// Draws for what belongs to no node.
    pub dice: Dice,
    plan: Plan,
    bug: Option<Bug>,
    engine: Engine,
    slots: Vec<watch::Sender<Option<Arc<Server>>>>,
    phase: watch::Sender<Phase>,
    next: AtomicU64,
    kills: AtomicU64,
    opened: AtomicU64,
    /// Raised to restart a slot's node in an orderly way.
    restarts: Vec<watch::Sender<u64>>,
    /// Raised to kill a slot's node.
    strikes: Vec<watch::Sender<u64>>,
    faults: Mutex<Faults>,
    /// Handles on the model engine, to end its faults.
    nodes: Mutex<Vec<Arc<Node>>>,
    /// Shards refuse most of what movers put into them.
    refuses_replicas: Arc<AtomicBool>,
}

/// How the nodes fared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fared {
    /// Nodes that stopped at a step, or were killed from outside.
    pub crashes: u64,
    /// Starts.
    pub opened: u64,
    /// Plans fenced.
    pub fenced: u64,
    /// Outcomes lost between a node and its cell.
    pub unknown: u64,
    /// Commits refused for space.
    pub full: u64,
    /// Groups that starts applied again.
    pub replayed: u64,
    /// Groups that starts copied because nothing proved them synced.
    pub copied: u64,
}

/// Why a node's life ended.
enum Death {
    Crashed,
    Killed,
    Stopped,
}

impl Cluster {
    /// Nodes that are not up yet; [`Cluster::start`] brings them up.
    pub fn new(world: &World, plan: &Plan, bug: Option<Bug>) -> Arc<Self> {
        let (database, dice) = (world.node(DATABASE), Dice(world.node(CONTROL)));
        let engine = match plan.mode {
            Mode::Embedded => Engine::Disk(Box::new(Disk::new(&dice, Durability::Strict, bug))),
            Mode::Relaxed if dice.percent(70) => {
                let interval = dice.time(Duration::from_millis(40));
                Engine::Disk(Box::new(Disk::new(&dice, Durability::Relaxed { interval }, bug)))
            }
            mode => Engine::Model(Model::new(database, mode.settings())),
        };
        let nodes = plan.mode.nodes();
        Arc::new(Self {
            world: world.clone(),
            dice,
            plan: plan.clone(),
            bug,
            engine,
            slots: (0..nodes).map(|_| watch::Sender::new(None)).collect(),
            phase: watch::Sender::new(Phase::Stormy),
            next: AtomicU64::new(FIRST),
            kills: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            restarts: (0..nodes).map(|_| watch::Sender::new(0)).collect(),
            strikes: (0..nodes).map(|_| watch::Sender::new(0)).collect(),
            faults: Mutex::new(plan.faults),
            nodes: Mutex::new(Vec::new()),
            refuses_replicas: Arc::default(),
        })
    }

    /// Brings the nodes up, and up again whenever they die.
    pub fn start(self: &Arc<Self>) {
        for slot in 0..self.slots.len() {
            drop(self.control().spawn(self.clone().supervise(slot)));
        }
    }

    /// The runtime of clients and readers.
    pub fn control(&self) -> Runtime {
        self.world.node(CONTROL)
    }

    /// Some node, at random: nothing says which one a client should ask. `None` while it is down.
    pub fn any(&self) -> Option<Arc<Server>> {
        self.dice.pick(&self.slots).borrow().clone()
    }

    /// Every node that is up.
    pub fn up(&self) -> Vec<Arc<Server>> {
        self.slots.iter().filter_map(|slot| slot.borrow().clone()).collect()
    }

    /// Ends all faults and waits until every node is up.
    pub async fn calm(&self) {
        *self.faults.lock() = Faults::NONE;
        for node in self.nodes.lock().iter() {
            node.set_faults(Faults::NONE);
        }
        if let Engine::Disk(disk) = &self.engine {
            disk.calm();
        }
        self.phase.send_replace(Phase::Calm);
        self.all_up().await;
    }

    /// Kills some node, at once if it is up and otherwise as soon as it is.
    pub fn strike(&self) {
        self.dice.pick(&self.strikes).send_modify(|count| *count += 1);
    }

    /// Restarts every node, by the sword or in an orderly way, and waits until they are up again.
    pub async fn restart(&self) {
        for (slot, restart) in self.slots.iter().zip(&self.restarts) {
            let before = slot.borrow().as_ref().map(|server| server.number);
            restart.send_modify(|count| *count += 1);
            let another = |server: &Option<Arc<Server>>| server.as_ref().is_some_and(|s| Some(s.number) != before);
            // The supervisor holds the sender's owner: the wait ends by the value alone.
            let _ = slot.subscribe().wait_for(another).await;
        }
    }

    /// How the nodes fared so far.
    pub fn fared(&self) -> Fared {
        let kills = self.kills.load(Ordering::Relaxed);
        let opened = self.opened.load(Ordering::Relaxed);
        match &self.engine {
            Engine::Model(model) => {
                let counts = model.counts();
                Fared {
                    crashes: kills + counts.crashes + counts.sync_failed,
                    opened,
                    fenced: counts.fenced,
                    unknown: counts.unknown,
                    full: counts.full,
                    ..Fared::default()
                }
            }
            Engine::Disk(disk) => {
                let Found { replayed, copied } = disk.found();
                Fared { crashes: kills, opened, replayed, copied, ..Fared::default() }
            }
        }
    }

    /// From now on the shards of targets refuse most of what movers put into them, or no longer.
    pub fn refuse_replicas(&self, refuses: bool) {
        self.refuses_replicas.store(refuses, Ordering::Relaxed);
    }

    /// Whether all faults have ended.
    pub fn is_calm(&self) -> bool {
        *self.phase.borrow() == Phase::Calm
    }

    async fn all_up(&self) {
        for slot in &self.slots {
            let _ = slot.subscribe().wait_for(Option::is_some).await;
        }
    }

    async fn supervise(self: Arc<Self>, slot: usize) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            self.opened.fetch_add(1, Ordering::Relaxed);
            let runtime = self.world.node(number);
            if !self.plan.skew_max.is_zero() {
                self.world.skew(number, self.dice.time(self.plan.skew_max));
            }
            let death = self.live(slot, number, &runtime).await;
            self.slots[slot].send_replace(None);
            self.world.kill(number);
            match (&self.engine, death) {
                // The model counts its own.
                (Engine::Model(_), Death::Crashed) | (_, Death::Stopped) => {}
                (_, Death::Crashed | Death::Killed) => drop(self.kills.fetch_add(1, Ordering::Relaxed)),
            }
            if let Engine::Disk(disk) = &self.engine {
                disk.lose_power();
            }
            self.control().sleep(self.dice.time(Duration::from_millis(20))).await;
        }
    }

    /// A handle on the durable state, and when the node stops by itself.
    async fn cell(&self, runtime: &Runtime, clock: &Clock) -> Option<(Arc<dyn Cell>, BoxFuture<'_, ()>)> {
        match &self.engine {
            Engine::Model(model) => {
                let node = model.node(runtime.clone(), clock.clone(), *self.faults.lock());
                self.nodes.lock().push(node.clone());
                let crashed = node.crashed();
                Some((node as Arc<dyn Cell>, Box::pin(stops(crashed))))
            }
            Engine::Disk(disk) => {
                let stormy = *self.phase.borrow() == Phase::Stormy;
                let cell = disk.open(runtime, clock, stormy).await.ok()?;
                let (control, every) = (self.control(), self.plan.pause_max / 20 + Duration::from_millis(2));
                Some((cell, Box::pin(async move { disk.strikes(&control, every).await })))
            }
        }
    }

    /// Opens the node and lets it live until it dies.
    async fn live(&self, slot: usize, number: u64, runtime: &Runtime) -> Death {
        let control = self.control();
        let mut restarts = self.restarts[slot].subscribe();
        restarts.mark_unchanged();
        let clock = Clock::new(runtime.clone(), Millis::default());
        let Some((cell, stops)) = self.cell(runtime, &clock).await else { return Death::Crashed };
        let settings = crate::planted::log_settings(self.bug, &self.plan);
        let opening = Box::pin(runtime.spawn(Log::open(cell.clone(), runtime.clone(), clock, settings)));
        let (log, stops) = match select(opening, stops).await {
            Either::Left((Ok(Ok(log)), stops)) => (log, stops),
            // A fault struck while opening (full, closed, crashed): try again.
            Either::Left(_) | Either::Right(_) => return Death::Crashed,
        };
        let doors = replication::doors(&self.plan, &log, &self.refuses_replicas);
        let jobs = Jobs::start_with(log.clone(), crate::planted::job_settings(self.bug), doors);
        let server = Server::new(number, runtime.clone(), log.clone(), cell, jobs.clone());
        self.slots[slot].send_replace(Some(Arc::new(server)));
        let mut strikes = self.strikes[slot].subscribe();
        let struck = Box::pin(async move {
            if strikes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        });
        let killed = Box::pin(async { drop(select(Box::pin(self.killed(&control)), struck).await) });
        let restarted = Box::pin(restarts.changed());
        match select(select(stops, killed), restarted).await {
            Either::Left((Either::Left(_), _)) => Death::Crashed,
            Either::Left((Either::Right(_), _)) => Death::Killed,
            Either::Right(_) if self.dice.percent(50) => Death::Killed,
            Either::Right(_) => {
                let closing = runtime.spawn(async move {
                    jobs.stop().await;
                    log.close().await
                });
                let closed = closing.await.expect("nothing kills a node in calm");
                closed.expect("an orderly stop succeeds in calm");
                Death::Stopped
            }
        }
    }

    /// Ends when the node is to be killed from outside, at a moment of no account; in calm never.
    async fn killed(&self, control: &Runtime) {
        let mut phase = self.phase.subscribe();
        if let Some(every) = self.plan.kill_every {
            let wait = control.sleep(self.dice.time(every * 2));
            let calm = Box::pin(phase.wait_for(|phase| *phase == Phase::Calm));
            if let Either::Left(_) = select(wait, calm).await {
                return;
            }
        }
        std::future::pending::<()>().await;
    }
}

/// Ends when the node has stopped for ever.
async fn stops(mut crashed: watch::Receiver<bool>) {
    if crashed.wait_for(|crashed| *crashed).await.is_err() {
        std::future::pending::<()>().await;
    }
}
