//! Cases in interleaved rounds: each round runs every case once, so that what else the machine does meets all of them.

use anyhow::{Context, Result};

use crate::load;
use crate::report::Row;
use crate::subject::Subject;

/// One workload on one server.
pub struct Case<'a> {
    /// What the row says.
    pub name: String,
    /// Who answers.
    pub subject: &'a Subject,
    /// Connections at once.
    pub connections: usize,
    /// Requests of one round.
    pub operations: usize,
    /// Requests, in turn; one list per round, over again. So a repeated put is a change.
    pub requests: Vec<Vec<Vec<u8>>>,
    /// Position of the case that this one's CPU is compared with; the bare server's.
    pub beside: Option<usize>,
}

impl<'a> Case<'a> {
    /// A case of one list of requests, compared with the case at `beside`.
    pub fn new(
        name: impl Into<String>,
        subject: &'a Subject,
        requests: Vec<Vec<Vec<u8>>>,
        beside: Option<usize>,
    ) -> Self {
        Self { name: name.into(), subject, connections: 16, operations: 4_000, requests, beside }
    }

    /// The same over so many connections.
    #[must_use]
    pub fn over(self, connections: usize) -> Self {
        Self { connections, ..self }
    }

    /// The same with so many requests a round.
    #[must_use]
    pub fn times(self, operations: usize) -> Self {
        Self { operations, ..self }
    }

    fn list(&self, round: usize) -> &[Vec<u8>] {
        self.requests.get(round % self.requests.len().max(1)).map_or(&[], Vec::as_slice)
    }
}

/// Runs all cases, a first list of each to warm up, then `rounds` times.
pub fn run(cases: &[Case<'_>], rounds: usize) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = cases.iter().map(|case| Row::new(&case.name, case.connections, case.operations)).collect();
    for case in cases {
        let list = case.list(0);
        let count = list.len().min(case.operations.max(case.connections));
        load::run(case.subject.address, case.connections.min(16), count, |i| &list[i % list.len()])
            .with_context(|| format!("warming {}", case.name))?;
    }
    for round in 1..=rounds {
        let mut cpu_us = vec![f64::NAN; cases.len()];
        for (at, case) in cases.iter().enumerate() {
            let used = one(case, round, &mut rows[at]).with_context(|| case.name.clone())?;
            cpu_us[at] = used;
            if let Some(beside) = case.beside {
                rows[at].cpu_above_bare_us.push(used - cpu_us[beside]);
                rows[at].cpu_ratio.push(used / cpu_us[beside]);
            }
        }
    }
    Ok(rows)
}

/// One round of one case; the CPU of each operation. Unit: µs.
fn one(case: &Case<'_>, round: usize, row: &mut Row) -> Result<f64> {
    let list = case.list(round);
    // Rounds over the same list begin in different places, so that few keys are met twice in a row.
    let shift = (round - 1) / case.requests.len() * case.operations;
    let before = case.subject.used()?;
    let request = |i: usize| list[(i + shift) % list.len()].as_slice();
    let ran = load::run(case.subject.address, case.connections, case.operations, request)?;
    let after = case.subject.used()?;
    let operations = ran.operations as f64;
    let cpu_us = (after.cpu - before.cpu).as_secs_f64() * 1e6 / operations;
    row.cpu_us.push(cpu_us);
    row.rate.push(ran.rate());
    row.disk_bytes.push((after.disk_bytes - before.disk_bytes) as f64 / operations);
    row.file_calls.push((after.file_calls - before.file_calls) as f64 / operations);
    row.p50_us.push(ran.quantile_us(0.5) as f64);
    row.p99_us.push(ran.quantile_us(0.99) as f64);
    row.p999_us.push(ran.quantile_us(0.999) as f64);
    Ok(cpu_us)
}
