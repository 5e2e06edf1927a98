//! All fuzzers in a given time, and what they counted.

use std::fmt;
use std::time::{Duration, Instant};

use headwater_cases::http::Authority;
use headwater_server::{Config, start_in_process};

use crate::bodies::{self, Corpus, Plan};
use crate::dice::Dice;
use crate::planted::{self, Bug};
use crate::{expressions, json, keys, numbers, panics, server};

/// What was drawn, sent and answered.
#[derive(Clone, Default, Debug)]
pub struct Report {
    /// Expression texts.
    pub expressions: expressions::Counts,
    /// Numbers.
    pub numbers: numbers::Counts,
    /// Keys.
    pub keys: keys::Counts,
    /// Requests.
    pub bodies: server::Counts,
}

/// Rounds between two looks at the clock.
const ROUNDS: usize = 500;
/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long it may take where a fault is planted.
const IMPATIENCE: Duration = Duration::from_secs(2);

/// Runs all fuzzers for about `time`.
///
/// Errors: the first broken promise, with what draws it again.
pub async fn run(seed: u64, time: Duration) -> Result<Report, String> {
    panics::count();
    let mut report = Report::default();
    let corpus = Corpus::read()?;
    let seeds = expressions::Seeds::read()?;
    rounds(seed, time.mul_f64(0.2), |dice| expressions::round(dice, &seeds, &mut report.expressions))
        .map_err(|why| format!("expression, {why}"))?;
    let mut kept = Vec::new();
    rounds(seed, time.mul_f64(0.08), |dice| numbers::round(dice, &mut kept, &mut report.numbers))
        .map_err(|why| format!("number, {why}"))?;
    rounds(seed, time.mul_f64(0.07), |dice| keys::round(dice, &mut report.keys))
        .map_err(|why| format!("key, {why}"))?;
    let server = start_in_process(Config::for_test()).await.map_err(|error| format!("{error:#}"))?;
    let authority = authority(server.addresses().dynamodb);
    let plan = Plan { seed, time: time.mul_f64(0.65), patience: PATIENCE };
    bodies::run(&corpus, &authority, plan, &mut report.bodies).await?;
    server.stop().await.map_err(|error| format!("stopping: {error:#}"))?;
    match panics::take().as_slice() {
        [] => Ok(report),
        told => Err(format!("panics: {told:?}")),
    }
}

/// Looks for a planted fault; what was found, if anything.
pub async fn hunt(bug: Bug, seed: u64, time: Duration) -> Result<Option<String>, String> {
    panics::count();
    let corpus = Corpus::read()?;
    let address = planted::start(bug).await.map_err(|error| format!("{error:#}"))?;
    let plan = Plan { seed, time, patience: IMPATIENCE };
    panics::expect(bug != Bug::None);
    let found = bodies::run(&corpus, &authority(address), plan, &mut server::Counts::default()).await;
    panics::expect(false);
    drop(panics::take());
    Ok(found.err())
}

fn authority(address: std::net::SocketAddr) -> Authority {
    Authority { host: address.to_string(), address: address.to_string() }
}

fn rounds(seed: u64, time: Duration, mut round: impl FnMut(&mut Dice) -> Result<(), String>) -> Result<(), String> {
    let start = Instant::now();
    let mut part = seed;
    while start.elapsed() < time {
        let mut dice = Dice::new(part);
        // A panic is told with the seed that draws it, and ends the run.
        let all = std::panic::AssertUnwindSafe(|| (0..ROUNDS).try_for_each(|_| round(&mut dice)));
        match std::panic::catch_unwind(all) {
            Ok(result) => result.map_err(|why| format!("seed {part}: {why}"))?,
            Err(_) => return Err(format!("seed {part}: panic {:?}", panics::take())),
        }
        part += 1;
    }
    Ok(())
}

impl Report {
    /// Counts that are zero and must not be.
    pub fn idle(&self) -> Vec<&'static str> {
        let (e, n, k, b) = (&self.expressions, &self.numbers, &self.keys, &self.bodies);
        let counts = [
            ("bound conditions", e.bound[0]),
            ("bound updates", e.bound[1]),
            ("bound projections", e.bound[2]),
            ("bound key conditions", e.bound[3]),
            ("evaluated expressions", e.evaluated),
            ("refused updates", e.refused_updates),
            ("numbers", n.accepted),
            ("invalid numbers", n.refused[0]),
            ("numbers too large", n.refused[1]),
            ("numbers too small", n.refused[2]),
            ("numbers too long", n.refused[3]),
            ("refused sums", n.refused_sums),
            ("ordered keys", k.ordered),
            ("prefixes", k.prefixes),
            ("damaged keys", k.damaged),
            ("batches", b.batches),
            ("canaries", b.canaries),
            ("indexes and shards read back", b.read_back),
        ];
        let changes = json::CHANGES.into_iter().zip(b.changes);
        counts.into_iter().chain(changes).filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (e, n, k, b) = (&self.expressions, &self.numbers, &self.keys, &self.bodies);
        let bound: u64 = e.bound.iter().sum();
        writeln!(f, "expressions: {} texts, {bound} bound {:?}, {} evaluated", e.texts, e.bound, e.evaluated)?;
        writeln!(f, "numbers: {} texts, {} numbers, {} sums, refused {:?}", n.texts, n.accepted, n.sums, n.refused)?;
        writeln!(f, "keys: {} pairs, {} ordered, {} prefixes, {} damaged", k.pairs, k.ordered, k.prefixes, k.damaged)?;
        let answered: u64 = b.answered.values().sum();
        writeln!(
            f,
            "bodies: {} requests in {} batches, {answered} answered by {} operations, {} distinct codes, {} canaries, {} indexes and \
             shards read back",
            b.requests,
            b.batches,
            b.answered.len(),
            b.refused.len(),
            b.canaries,
            b.read_back
        )?;
        writeln!(f, "  changes: {:?}", json::CHANGES.into_iter().zip(b.changes).collect::<Vec<_>>())?;
        writeln!(f, "  answered: {:?}", b.answered)?;
        write!(f, "  refused: {:?}", b.refused)
    }
}
