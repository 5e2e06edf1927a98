//! Cases in interleaved rounds: each round runs every case once, so that what else the machine does meets all of them.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::load::{self, Limits};
use crate::report::Row;
use crate::subject::Subject;
use crate::workload;

/// Longest time of a case in a round. In a second some thousands of a heavy request come about, and the scheduler's and
/// the disk's moods of some milliseconds are no longer what decides; a slow server does not hold the report up.
pub const TIME_MAX: Duration = Duration::from_secs(1);
/// Connections over which lists are worked off before the clock runs.
const WARMING: usize = 16;

/// How many rounds, and where each case of one ends.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    /// Rounds.
    pub count: usize,
    /// Most requests of a case in a round; it ends after [`TIME_MAX`] too.
    pub operations: usize,
}

impl Rounds {
    /// Where a case ends.
    pub fn limits(self) -> Limits {
        Limits { operations: self.operations, elapsed: Some(TIME_MAX) }
    }

    /// What its figures are, for readers.
    pub fn shown(self) -> String {
        let Self { count, operations } = self;
        let seconds = TIME_MAX.as_secs_f64();
        format!(
            "Medians of rounds: {count}. A row's round ended after {operations} operations or {seconds} s, whichever came \
             first."
        )
    }
}

/// One workload on one server.
pub struct Case<'a> {
    /// What the row says.
    pub name: String,
    /// Who answers.
    pub subject: &'a Subject,
    /// Connections at once.
    pub connections: usize,
    /// Lists of requests, see [`workload::nth`]. The first is worked off before the first round.
    pub requests: Vec<Vec<Vec<u8>>>,
    /// Position of the case that this one's CPU is compared with; the bare server's.
    pub beside: Option<usize>,
}

impl<'a> Case<'a> {
    /// A case over 16 connections, compared with the case at `beside`.
    pub fn new(
        name: impl Into<String>,
        subject: &'a Subject,
        requests: Vec<Vec<Vec<u8>>>,
        beside: Option<usize>,
    ) -> Self {
        Self { name: name.into(), subject, connections: 16, requests, beside }
    }

    /// The same over so many connections.
    #[must_use]
    pub fn over(self, connections: usize) -> Self {
        Self { connections, ..self }
    }
}

/// Works off the whole first list of all cases, in their order, so that what later requests read is there; then runs the
/// rounds.
pub fn run(cases: &[Case<'_>], rounds: Rounds) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = cases.iter().map(|case| Row::new(&case.name, case.connections)).collect();
    // How many requests of each case were sent.
    let mut sent = Vec::with_capacity(cases.len());
    for case in cases {
        let list = case.requests.first().with_context(|| format!("{} has no requests", case.name))?;
        let ran = load::run(case.subject.address, WARMING, Limits::all(list.len()), |i| &list[i])
            .with_context(|| format!("warming {}", case.name))?;
        sent.push(ran.operations);
    }
    for _ in 0..rounds.count {
        let mut cpu_us = vec![f64::NAN; cases.len()];
        for (at, case) in cases.iter().enumerate() {
            let used = one(case, rounds.limits(), sent[at], &mut rows[at]).with_context(|| case.name.clone())?;
            sent[at] += rows[at].operations.last().copied().unwrap_or_default();
            cpu_us[at] = used;
            if let Some(beside) = case.beside {
                rows[at].cpu_above_bare_us.push(used - cpu_us[beside]);
                rows[at].cpu_ratio.push(used / cpu_us[beside]);
            }
        }
    }
    Ok(rows)
}

/// One round of one case, which goes on behind the requests already sent; the CPU of each operation. Unit: µs.
fn one(case: &Case<'_>, limits: Limits, sent: usize, row: &mut Row) -> Result<f64> {
    let before = case.subject.used()?;
    let request = |i: usize| workload::nth(&case.requests, sent + i);
    let ran = load::run(case.subject.address, case.connections, limits, request)?;
    let after = case.subject.used()?;
    let operations = ran.operations as f64;
    let cpu_us = (after.cpu - before.cpu).as_secs_f64() * 1e6 / operations;
    row.operations.push(ran.operations);
    row.cpu_us.push(cpu_us);
    row.rate.push(ran.rate());
    row.disk_bytes.push((after.disk_bytes - before.disk_bytes) as f64 / operations);
    row.file_calls.push((after.file_calls - before.file_calls) as f64 / operations);
    row.p50_us.push(ran.quantile_us(0.5) as f64);
    row.p99_us.push(ran.quantile_us(0.99) as f64);
    row.p999_us.push(ran.quantile_us(0.999) as f64);
    Ok(cpu_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_told_both_limits() {
        let rounds = Rounds { count: 5, operations: 40_000 };
        let limits = rounds.limits();
        assert_eq!((limits.operations, limits.elapsed), (40_000, Some(TIME_MAX)));
        let shown = rounds.shown();
        assert_eq!(
            shown,
            "Medians of rounds: 5. A row's round ended after 40000 operations or 1 s, whichever came first."
        );
    }
}
