//! Batches of changed requests to a server, each followed by a look at its tables and at what has panicked.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use headwater_cases::http::Authority;
use headwater_cases::{Case, Cases};
use serde_json::Value;

use crate::dice::Dice;
use crate::json::Parts;
use crate::server::{Client, Counts};
use crate::session::Session;
use crate::{expressions, panics};

/// Connections at work at once.
const WORKERS: usize = 4;
/// Cases per worker between two looks at the tables.
const CASES_PER_BATCH: usize = 6;
/// Tables that are left after a batch.
const TABLES_MAX: usize = 24;
/// Members above this are not offered to other bodies. Unit: bytes.
const MEMBER_BYTES_MAX: usize = 1_500;

/// What bodies are made of.
pub struct Corpus {
    /// The operations' cases.
    pub cases: Cases,
    members: Vec<(String, Value)>,
    operations: Vec<String>,
    expressions: expressions::Seeds,
}

impl Corpus {
    /// Reads the cases of the operations and of the expressions.
    pub fn read() -> Result<Self, String> {
        let cases = Cases::read(&Cases::folder())?;
        let (mut members, mut operations) = (Vec::new(), BTreeSet::new());
        let mut seen = BTreeSet::new();
        for step in cases.all.iter().flat_map(steps) {
            if let Some(operation) = step["operation"].as_str() {
                operations.insert(operation.to_owned());
            }
            collect(&step["request"], &mut members, &mut seen);
        }
        let operations = operations.into_iter().collect();
        Ok(Self { cases, members, operations, expressions: expressions::Seeds::read()? })
    }

    /// What bodies borrow from each other.
    pub fn parts(&self) -> Parts<'_> {
        Parts { members: &self.members, expressions: &self.expressions }
    }

    /// Any operation of the cases.
    pub fn operation(&self, dice: &mut Dice) -> &str {
        &self.operations[dice.below(self.operations.len())]
    }

    /// How many operations the cases have.
    pub fn operations(&self) -> usize {
        self.operations.len()
    }
}

fn steps(case: &Case) -> impl Iterator<Item = &Value> {
    case.text["steps"].as_array().into_iter().flatten()
}

fn collect(value: &Value, members: &mut Vec<(String, Value)>, seen: &mut BTreeSet<String>) {
    match value {
        Value::Array(list) => list.iter().for_each(|one| collect(one, members, seen)),
        Value::Object(map) => {
            for (name, value) in map.iter().filter(|(name, _)| !name.starts_with('$')) {
                let text = format!("{name}{value}");
                if text.len() <= MEMBER_BYTES_MAX && seen.insert(text) {
                    members.push((name.clone(), value.clone()));
                }
                collect(value, members, seen);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// How long to go on, and from which seed.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The first batch's seed; the next ones count up.
    pub seed: u64,
    /// For how long.
    pub time: Duration,
    /// How long an answer may take.
    pub patience: Duration,
}

/// Sends batches until the time is over.
///
/// Errors: the first broken promise, with its seed, case and body.
pub async fn run(corpus: &Corpus, authority: &Authority, plan: Plan, counts: &mut Counts) -> Result<(), String> {
    let start = Instant::now();
    let mut seed = plan.seed;
    let client = || Client::new(authority.clone(), plan.patience);
    let mut sessions: Vec<Session<'_>> =
        (0..WORKERS).map(|worker| Session::new(client(), corpus, seed, worker)).collect();
    let mut canaries = client();
    let mut result = Ok(());
    while result.is_ok() && start.elapsed() < plan.time {
        result = batch(&mut sessions, &mut canaries, seed).await;
        seed += 1;
    }
    sessions.iter().map(|session| &session.client).chain([&canaries]).for_each(|client| counts.add(&client.counts));
    result
}

async fn batch(sessions: &mut [Session<'_>], canaries: &mut Client, seed: u64) -> Result<(), String> {
    let ended = join_all(sessions.iter_mut().map(|session| session.batch(seed, CASES_PER_BATCH))).await;
    let sent = ended.into_iter().collect::<Result<(), String>>();
    let panicked = panics::take();
    let told = if panicked.is_empty() { String::new() } else { format!("\n  panics: {}", panicked.join("\n  ")) };
    sent.map_err(|why| format!("{why}{told}"))?;
    if !panicked.is_empty() {
        return Err(format!("seed {seed}: {} panics without a trace in an answer{told}", panicked.len()));
    }
    let looked = canaries.canaries(TABLES_MAX).await;
    looked.map_err(|why| format!("seed {seed}, after the batch: {why}\n  panics: {:?}", panics::take()))
}
