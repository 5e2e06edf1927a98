//! Real time, for the figures printed and the bound on a run; nothing inside a run looks at it.

#![allow(clippy::disallowed_methods, reason = "outside the simulated world")]

use std::time::{Duration, Instant};

/// Measures real time.
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// From now on.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
