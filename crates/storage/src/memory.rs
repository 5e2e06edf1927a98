//! The model: a cell in memory that keeps the contract by the simplest means, with faults to order.
//!
//! ```text
//!   Model  = what a disk or a database would hold; outlives every node
//!   Node   = one process's handle on it; dies with its tasks
//!
//!   own cell (one node):     numbered -> written -> durable -> published      a crash takes back what is not durable
//!   shared cell (1..3):      one atomic step, as a database's commit          a crash takes back nothing
//! ```
//! A crash is a node that stops for ever at a step: whoever runs the world then kills its tasks and opens a new node.

mod faults;
mod node;
mod state;
mod view;

use std::sync::Arc;
use std::time::Duration;

use headwater_types::{Clock, Position, Runtime};
use parking_lot::Mutex;
use tokio::sync::watch;

pub use faults::{Counts, Faults, Step};
pub use node::Node;

use state::State;

/// How the cell behaves, faults aside.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Several nodes may have it open; every commit is one atomic step and one batch is in flight per node.
    pub shared: bool,
    /// Published and answered before it is durable; a crash may take the newest groups back. Not on a shared cell.
    pub relaxed: bool,
    /// Batches in flight on a cell of one node.
    pub groups_in_flight_max: usize,
    /// Longest time between a relaxed answer and its sync.
    pub sync_interval: Duration,
}

impl Settings {
    /// A cell of one node whose answers are durable.
    pub const OWN: Self =
        Self { shared: false, relaxed: false, groups_in_flight_max: 4, sync_interval: Duration::from_millis(20) };
    /// A cell of one node that answers before the sync.
    pub const RELAXED: Self = Self { relaxed: true, ..Self::OWN };
    /// A cell of several nodes.
    pub const SHARED: Self = Self { shared: true, groups_in_flight_max: 1, ..Self::OWN };
}

/// The durable state that nodes share; clones are handles on the same one.
#[derive(Clone)]
pub struct Model(Arc<Durable>);

struct Durable {
    settings: Settings,
    /// Where work goes on that no node's death ends: a commit under way in the database.
    runtime: Runtime,
    state: Mutex<State>,
    published: watch::Sender<Position>,
    log_shown: watch::Sender<Position>,
    counts: Mutex<Counts>,
}

impl Model {
    /// An empty cell. `runtime` is the database's own, which killing a node does not touch.
    pub fn new(runtime: Runtime, settings: Settings) -> Self {
        assert!(!(settings.shared && settings.relaxed), "a shared cell is never relaxed");
        Self(Arc::new(Durable {
            settings,
            runtime,
            state: Mutex::new(State::default()),
            published: watch::Sender::new(Position::default()),
            log_shown: watch::Sender::new(Position::default()),
            counts: Mutex::new(Counts::default()),
        }))
    }

    /// Opens the cell for one process. On a cell of one node this is the start after a crash or a stop: what was not
    /// durable is gone, and an earlier node's handle does nothing more.
    pub fn node(&self, runtime: Runtime, clock: Clock, faults: Faults) -> Arc<Node> {
        let (generation, lost) = {
            let mut state = self.0.state.lock();
            if self.0.settings.shared { (state.generation(), 0) } else { state.reopen() }
        };
        self.count(|counts| counts.groups_lost += lost);
        let published = self.0.state.lock().published();
        self.0.published.send_replace(published);
        Arc::new(Node::new(self.clone(), runtime, clock, faults, generation))
    }

    /// How often each fault struck so far, over all nodes.
    pub fn counts(&self) -> Counts {
        *self.0.counts.lock()
    }

    fn count(&self, raise: impl FnOnce(&mut Counts)) {
        raise(&mut self.0.counts.lock());
    }
}
