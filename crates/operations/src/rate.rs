//! Rates of the service's limits.

use std::time::Duration;

/// A second's worth of something, less what was taken.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Bucket {
    rate: f64,
    /// What may still be taken; below zero is a debt.
    pub left: f64,
    at: Duration,
}

impl Bucket {
    /// Nothing taken yet. Unit: `rate` in 1/s of system time.
    pub fn full(rate: f64, at: Duration) -> Self {
        Self { rate, left: rate, at }
    }

    /// Lets the time until `at` pass.
    pub fn fill(&mut self, at: Duration) {
        let seconds = at.saturating_sub(self.at).as_secs_f64();
        self.left = (self.left + seconds * self.rate).min(self.rate);
        self.at = self.at.max(at);
    }

    /// Whether it is as if nothing had been taken.
    pub fn is_full(&self) -> bool {
        self.left >= self.rate
    }
}
