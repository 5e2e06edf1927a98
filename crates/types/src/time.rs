//! Two clocks: store time, which users may move, and system time, which they may not.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

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
#[derive(Clone)]
pub struct Clock(Arc<Inner>);

struct Inner {
    runtime: Runtime,
    /// Wall clock minus monotonic clock when this clock was made: later steps of the wall clock are not followed.
    base: i64,
    offset: AtomicI64,
    /// The newest store time ever shown; store time never falls below it.
    mark: AtomicI64,
}

impl Clock {
    /// A clock over the runtime's time; `mark` is the newest store time an earlier run may have shown.
    pub fn new(runtime: Runtime, mark: Millis) -> Self {
        let base = runtime.wall().0 - runtime.monotonic().as_millis() as i64;
        Self(Arc::new(Inner { runtime, base, offset: AtomicI64::new(0), mark: AtomicI64::new(mark.0) }))
    }

    /// Store time. Order: never falls, across threads too.
    pub fn store(&self) -> Millis {
        let inner = &*self.0;
        let now = inner.base + inner.runtime.monotonic().as_millis() as i64 + inner.offset.load(Ordering::Acquire);
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

    /// Moves store time forward. The offset only grows.
    pub fn advance(&self, by: Duration) {
        self.0.offset.fetch_add(by.as_millis() as i64, Ordering::AcqRel);
    }

    /// Raises store time to at least `mark`: what an earlier run may have shown is not shown again.
    pub fn raise(&self, mark: Millis) {
        self.0.mark.fetch_max(mark.0, Ordering::AcqRel);
    }
}
