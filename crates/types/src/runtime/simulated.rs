//! A deterministic runtime: one thread, virtual time, every choice of the next task drawn from a seed.
//!
//! Ready tasks and blocking work wait in one pool; each step draws one of them. Time moves only when nothing is ready.
//! Dropping the tasks of one node is how the simulator kills a process.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::{BoxFuture, Executor, Runtime};
use crate::time::Millis;

/// Virtual wall-clock time at which every simulation starts: 2026-01-01T00:00:00Z.
pub const START: Millis = Millis(1_767_225_600_000);

/// The scheduler of one simulated world; clones share it.
#[derive(Clone)]
pub struct World(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// By identity, so that the order of wake-ups within one step decides nothing: tokio's `watch` wakes its waiters in a
    /// random order once the feature `rt` is on anywhere in the build.
    ready: Mutex<BTreeSet<u64>>,
}

struct State {
    tasks: BTreeMap<u64, Task>,
    timers: BTreeMap<(Duration, u64), Waker>,
    next_id: u64,
    now: Duration,
    random: ChaCha12Rng,
    steps: u64,
    steps_max: u64,
    skews: BTreeMap<u64, Duration>,
    trace: u64,
}

struct Task {
    node: u64,
    /// Absent while the task is being polled.
    work: Option<Work>,
}

enum Work {
    Future(BoxFuture<'static, ()>),
    Blocking(Box<dyn FnOnce() + Send>),
}

struct TaskWaker {
    id: u64,
    world: std::sync::Weak<Shared>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let Some(world) = self.world.upgrade() else { return };
        world.ready.lock().insert(self.id);
    }
}

impl World {
    /// A world in which everything follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                tasks: BTreeMap::new(),
                timers: BTreeMap::new(),
                next_id: 1,
                now: Duration::ZERO,
                random: ChaCha12Rng::seed_from_u64(seed),
                steps: 0,
                steps_max: u64::MAX,
                skews: BTreeMap::new(),
                trace: 0xcbf2_9ce4_8422_2325,
            }),
            ready: Mutex::new(BTreeSet::new()),
        }))
    }

    /// A runtime whose tasks belong to `node`; [`World::kill`] ends them together.
    pub fn node(&self, node: u64) -> Runtime {
        Runtime::new(Node { world: self.clone(), node })
    }

    /// Drops every task and all unstarted blocking work of `node`, as a killed process does.
    pub fn kill(&self, node: u64) {
        let dead: Vec<Task> = {
            let mut state = self.0.state.lock();
            let ids: Vec<u64> = state.tasks.iter().filter(|(_, t)| t.node == node).map(|(id, _)| *id).collect();
            ids.iter().filter_map(|id| state.tasks.remove(id)).collect()
        };
        // Outside the lock: destructors may wake or spawn.
        drop(dead);
    }

    /// Drops every task of every node, which breaks the cycles through which a world holds itself.
    pub fn end(&self) {
        let dead: Vec<Task> = std::mem::take(&mut self.0.state.lock().tasks).into_values().collect();
        drop(dead);
        self.0.state.lock().timers.clear();
    }

    /// Sets a bound on the steps of a run; passing it is a panic (a live-lock). Default: none.
    pub fn limit_steps(&self, steps_max: u64) {
        self.0.state.lock().steps_max = steps_max;
    }

    /// Sets a node's wall clock apart from the others'.
    pub fn skew(&self, node: u64, ahead: Duration) {
        self.0.state.lock().skews.insert(node, ahead);
    }

    /// Runs until `main` has ended and returns its result.
    ///
    /// Errors: panics when nothing can ever run again while `main` waits (a deadlock) or the steps pass their bound.
    pub fn run<T: Send + 'static>(&self, main: impl Future<Output = T> + Send + 'static) -> T {
        let result = Arc::new(Mutex::new(None));
        let slot = result.clone();
        self.add(
            0,
            Work::Future(Box::pin(async move {
                let value = main.await;
                *slot.lock() = Some(value);
            })),
        );
        loop {
            if let Some(value) = result.lock().take() {
                return value;
            }
            assert!(self.step(), "deadlock after {} steps: no task is ready and no timer is set", self.steps());
            let (steps, steps_max) = {
                let state = self.0.state.lock();
                (state.steps, state.steps_max)
            };
            assert!(steps <= steps_max, "no end after {steps} steps");
        }
    }

    /// How many steps were taken: polls, blocking work, moves of time.
    pub fn steps(&self) -> u64 {
        self.0.state.lock().steps
    }

    /// A hash over every step and every [`World::note`]; equal for equal seeds.
    pub fn trace(&self) -> u64 {
        self.0.state.lock().trace
    }

    /// Mixes an observed value into the trace.
    pub fn note(&self, value: u64) {
        self.0.state.lock().mix(value);
    }

    fn add(&self, node: u64, work: Work) {
        let id = {
            let mut state = self.0.state.lock();
            let id = state.next_id;
            state.next_id += 1;
            state.tasks.insert(id, Task { node, work: Some(work) });
            id
        };
        self.0.ready.lock().insert(id);
    }

    /// Takes one step; false when nothing can run any more.
    fn step(&self) -> bool {
        let Some(id) = self.draw() else { return self.advance() };
        let work = {
            let mut state = self.0.state.lock();
            state.steps += 1;
            state.mix(id);
            state.tasks.get_mut(&id).and_then(|task| task.work.take())
        };
        match work {
            None => {}
            Some(Work::Blocking(work)) => {
                work();
                self.0.state.lock().tasks.remove(&id);
            }
            Some(Work::Future(future)) => self.poll(id, future),
        }
        true
    }

    fn draw(&self) -> Option<u64> {
        let mut state = self.0.state.lock();
        let mut ready = self.0.ready.lock();
        if ready.is_empty() {
            return None;
        }
        let choice = (state.random.next_u64() % ready.len() as u64) as usize;
        let id = ready.iter().nth(choice).copied()?;
        ready.remove(&id);
        Some(id)
    }

    fn poll(&self, id: u64, mut future: BoxFuture<'static, ()>) {
        let waker = Waker::from(Arc::new(TaskWaker { id, world: Arc::downgrade(&self.0) }));
        let outcome = future.as_mut().poll(&mut Context::from_waker(&waker));
        let finished = {
            let mut state = self.0.state.lock();
            match (outcome, state.tasks.get_mut(&id)) {
                (Poll::Pending, Some(task)) => {
                    task.work = Some(Work::Future(future));
                    None
                }
                // Ended, or its node was killed by its own poll.
                _ => {
                    state.tasks.remove(&id);
                    Some(future)
                }
            }
        };
        drop(finished);
    }

    /// Moves time to the next timer. All that are due wake at once: the seed decides their order, not their age.
    fn advance(&self) -> bool {
        let mut state = self.0.state.lock();
        let Some((&(at, _), _)) = state.timers.first_key_value() else { return false };
        let now = state.now.max(at);
        state.now = now;
        state.steps += 1;
        let later = state.timers.split_off(&(now, u64::MAX));
        let due = std::mem::replace(&mut state.timers, later);
        drop(state);
        due.into_values().for_each(Waker::wake);
        true
    }
}

impl State {
    fn mix(&mut self, value: u64) {
        for byte in value.to_le_bytes() {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

struct Node {
    world: World,
    node: u64,
}

impl Executor for Node {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.world.add(self.node, Work::Future(task));
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.world.add(self.node, Work::Blocking(work));
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let at = self.world.0.state.lock().now + duration;
        Box::pin(Sleep { world: self.world.clone(), at, timer: None })
    }

    fn wall(&self) -> Millis {
        let state = self.world.0.state.lock();
        START.plus(state.now + state.skews.get(&self.node).copied().unwrap_or_default())
    }

    fn monotonic(&self) -> Duration {
        self.world.0.state.lock().now
    }

    fn random(&self) -> u64 {
        self.world.0.state.lock().random.next_u64()
    }
}

struct Sleep {
    world: World,
    at: Duration,
    timer: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let at = self.at;
        let world = self.world.clone();
        let mut state = world.0.state.lock();
        if state.now >= at {
            return Poll::Ready(());
        }
        let id = match self.timer {
            Some(id) => id,
            None => {
                state.next_id += 1;
                state.next_id - 1
            }
        };
        self.timer = Some(id);
        state.timers.insert((at, id), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.timer {
            self.world.0.state.lock().timers.remove(&(self.at, id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace_of(seed: u64) -> (u64, Vec<u64>) {
        let world = World::new(seed);
        let runtime = world.node(1);
        let order = Arc::new(Mutex::new(Vec::new()));
        let seen = order.clone();
        world.run(async move {
            let mut ends = Vec::new();
            for i in 0..8u64 {
                let (seen, inner) = (seen.clone(), runtime.clone());
                ends.push(runtime.spawn(async move {
                    inner.sleep(Duration::from_millis(inner.random() % 3)).await;
                    seen.lock().push(i);
                }));
            }
            for end in ends {
                end.await.expect("task ends");
            }
        });
        let order = order.lock().clone();
        (world.trace(), order)
    }

    #[test]
    fn one_seed_gives_one_schedule_and_seeds_differ() {
        assert_eq!(trace_of(7), trace_of(7));
        let orders: std::collections::BTreeSet<_> = (0..20).map(|seed| trace_of(seed).1).collect();
        assert!(orders.len() > 10, "20 seeds gave only {} orders", orders.len());
    }

    #[test]
    fn timers_of_one_moment_wake_in_any_order() {
        let first = |seed: u64| {
            let world = World::new(seed);
            let runtime = world.node(1);
            let order = Arc::new(Mutex::new(Vec::new()));
            let seen = order.clone();
            world.run(async move {
                let mut ends = Vec::new();
                for i in 0..4u64 {
                    let (seen, sleep) = (seen.clone(), runtime.sleep(Duration::from_millis(5)));
                    ends.push(runtime.spawn(async move {
                        sleep.await;
                        seen.lock().push(i);
                    }));
                }
                for end in ends {
                    end.await.expect("task ends");
                }
            });
            world.end();
            order.lock()[0]
        };
        let firsts: std::collections::BTreeSet<_> = (0..40).map(first).collect();
        assert_eq!(firsts.len(), 4);
    }

    #[test]
    #[should_panic(expected = "no end after")]
    fn a_live_lock_is_noticed() {
        let world = World::new(1);
        let runtime = world.node(1);
        world.limit_steps(1_000);
        world.run(async move {
            loop {
                runtime.sleep(Duration::from_millis(1)).await;
            }
        });
    }

    #[test]
    fn a_killed_node_runs_nothing_more() {
        let world = World::new(1);
        let (victim, witness) = (world.node(1), world.node(2));
        let count = Arc::new(Mutex::new(0));
        let counter = count.clone();
        let inner = victim.clone();
        drop(victim.spawn(async move {
            loop {
                inner.sleep(Duration::from_millis(1)).await;
                *counter.lock() += 1;
            }
        }));
        let (killer, counted) = (world.clone(), count.clone());
        world.run(async move {
            witness.sleep(Duration::from_millis(10)).await;
            killer.kill(1);
            let at_death = *counted.lock();
            assert!(at_death > 5);
            witness.sleep(Duration::from_millis(10)).await;
            assert_eq!(*counted.lock(), at_death);
        });
    }
}
