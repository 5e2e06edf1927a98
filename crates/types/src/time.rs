//! Two clocks: store time, which users may move, and system time, which they may not.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::runtime::Runtime;

/// Milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Millis(pub i64);

impl Millis {
    /// `self` later by `by`.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0 + by.as_millis() as i64)
    }

    /// Whole seconds since the epoch.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }
}

/// Store time and system time.
///
/// Store time = system time plus an offset that only grows, and never falls: it starts at the stored high-water mark and
/// does not follow a wall clock that steps back. Retention, iterators, tokens and sequence numbers live in it.
/// System time is the wall clock: signature dates, HTTP dates, time-outs.
///
/// A frozen clock stands still until it is released; then store time is system time plus the offset again, so it makes up
/// for what it has missed.
#[derive(Clone)]
pub struct Clock(Arc<Inner>);

struct Inner {
    runtime: Runtime,
    /// Wall clock minus monotonic clock when this clock was made: later steps of the wall clock are not followed.
    base: i64,
    offset: AtomicI64,
    /// Where it stands still; [`RUNS`] while it does not.
    frozen: AtomicI64,
    /// The newest store time ever shown; store time never falls below it.
    mark: AtomicI64,
    /// How often it was set.
    sets: watch::Sender<u64>,
}

/// The clock is not frozen.
const RUNS: i64 = i64::MIN;

/// What the two clocks show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClockState {
    /// Store time.
    pub store: Millis,
    /// System time.
    pub system: Millis,
    /// How far store time was moved ahead of system time. Unit: ms.
    pub offset_ms: i64,
    /// Whether store time stands still.
    pub frozen: bool,
}

impl Clock {
    /// A clock over the runtime's time; `mark` is the newest store time an earlier run may have shown.
    pub fn new(runtime: Runtime, mark: Millis) -> Self {
        let base = runtime.wall().0 - runtime.monotonic().as_millis() as i64;
        Self(Arc::new(Inner {
            runtime,
            base,
            offset: AtomicI64::new(0),
            frozen: AtomicI64::new(RUNS),
            mark: AtomicI64::new(mark.0),
            sets: watch::Sender::new(0),
        }))
    }

    /// Store time. Order: never falls, across threads too.
    pub fn store(&self) -> Millis {
        let inner = &*self.0;
        let now = match inner.frozen.load(Ordering::Acquire) {
            RUNS => inner.base + inner.runtime.monotonic().as_millis() as i64 + inner.offset.load(Ordering::Acquire),
            frozen => frozen,
        };
        Millis(inner.mark.fetch_max(now, Ordering::AcqRel).max(now))
    }

    /// System time: the wall clock as it is.
    pub fn system(&self) -> Millis {
        self.0.runtime.wall()
    }

    /// Time since some fixed moment of this process; for time-outs and measured durations.
    pub fn monotonic(&self) -> Duration {
        self.0.runtime.monotonic()
    }

    /// What both clocks show.
    pub fn state(&self) -> ClockState {
        let inner = &*self.0;
        ClockState {
            store: self.store(),
            system: self.system(),
            offset_ms: inner.offset.load(Ordering::Acquire),
            frozen: inner.frozen.load(Ordering::Acquire) != RUNS,
        }
    }

    /// Sets the clock to what the store keeps of it: how far store time is ahead of system time, and where it stands still.
    /// An offset below the present one is not followed.
    pub fn set(&self, offset_ms: i64, frozen: Option<Millis>) {
        let inner = &*self.0;
        let frozen = frozen.map_or(RUNS, |at| at.0);
        let before = inner.offset.fetch_max(offset_ms, Ordering::AcqRel);
        if inner.frozen.swap(frozen, Ordering::AcqRel) != frozen || before < offset_ms {
            inner.sets.send_modify(|sets| *sets += 1);
        }
    }

    /// Moves store time forward, a frozen one too, for as long as this clock lives: the store is not told.
    pub fn advance(&self, by: Duration) {
        let inner = &*self.0;
        let by = by.as_millis() as i64;
        let frozen = Some(inner.frozen.load(Ordering::Acquire)).filter(|at| *at != RUNS);
        self.set(inner.offset.load(Ordering::Acquire) + by, frozen.map(|at| Millis(at + by)));
    }

    /// Marked changed whenever the clock was set: what waits for a moment in store time looks again.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.sets.subscribe()
    }

    /// Raises store time to at least `mark`: what an earlier run may have shown is not shown again.
    pub fn raise(&self, mark: Millis) {
        self.0.mark.fetch_max(mark.0, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::simulated::World;

    #[test]
    fn store_time_jumps_stands_still_and_makes_up_but_never_falls() {
        let world = World::new(1);
        let runtime = world.node(1);
        let clock = Clock::new(runtime.clone(), Millis(0));
        world.run(async move {
            let mut sets = clock.changes();
            let start = clock.store();
            clock.advance(Duration::from_secs(3_600));
            assert!(sets.has_changed().expect("the clock lives"));
            sets.mark_unchanged();
            let ahead = clock.store();
            assert!(ahead.0 - start.0 >= 3_600_000);
            clock.set(clock.state().offset_ms, Some(ahead));
            runtime.sleep(Duration::from_secs(10)).await;
            assert_eq!((clock.store(), clock.state().frozen), (ahead, true));
            clock.advance(Duration::from_secs(1));
            assert_eq!(clock.store(), Millis(ahead.0 + 1_000));
            clock.set(0, None);
            assert_eq!((clock.state().offset_ms, clock.state().frozen), (3_601_000, false));
            assert!(clock.store().0 >= ahead.0 + 11_000, "it makes up for what it has missed");
            clock.set(0, Some(Millis(5)));
            let mark = clock.store();
            assert!(mark.0 > ahead.0, "it stands still at what it has shown, not before");
            assert!(sets.has_changed().expect("the clock lives"));
        });
    }
}
