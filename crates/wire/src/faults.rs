//! Faults that are asked for: throttling, latency, failures and lost connections, by rule and by seed.
//!
//! A rule is met where an operation asks to be authorised: it knows its resources by then and has looked nothing up yet.
//! Without rules a call pays one look at a flag.

mod gate;
mod rule;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use headwater_api::{Access, Api, Authorizer};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

pub(crate) use gate::{Decided, Gate};
pub use rule::{FaultApi, FaultKind, FaultRule};

/// Rules that stand at once; more are a mistake of a loop.
const RULES_MAX: usize = 1_000;

/// A rule that stands, and what it has done.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FaultState {
    /// Names it; never reused while the server runs.
    pub id: u64,
    /// What was asked for.
    pub rule: FaultRule,
    /// Calls that it applied to.
    pub met: u64,
    /// Calls that it has hit.
    pub fired: u64,
}

/// The rules of a server. Empty unless somebody asks.
#[derive(Default)]
pub struct Faults {
    /// Whether there are any: most servers never have one.
    any: AtomicBool,
    rules: Mutex<Rules>,
}

#[derive(Default)]
struct Rules {
    last: u64,
    list: Vec<FaultState>,
}

impl Faults {
    /// Adds a rule; it holds for calls from now on.
    ///
    /// Errors: why the rule makes no sense, or that there are 1,000 already.
    pub fn add(&self, rule: FaultRule) -> Result<FaultState, String> {
        rule.check()?;
        let mut rules = self.rules.lock();
        if rules.list.len() >= RULES_MAX {
            return Err(format!("there are {RULES_MAX} faults already"));
        }
        rules.last += 1;
        let state = FaultState { id: rules.last, rule, met: 0, fired: 0 };
        rules.list.push(state.clone());
        self.any.store(true, Ordering::Release);
        Ok(state)
    }

    /// Removes a rule; false when there is none of that id.
    pub fn remove(&self, id: u64) -> bool {
        let mut rules = self.rules.lock();
        let before = rules.list.len();
        rules.list.retain(|state| state.id != id);
        self.any.store(!rules.list.is_empty(), Ordering::Release);
        rules.list.len() < before
    }

    /// Removes all rules; how many there were.
    pub fn clear(&self) -> usize {
        let mut rules = self.rules.lock();
        self.any.store(false, Ordering::Release);
        std::mem::take(&mut rules.list).len()
    }

    /// Rules that stand. Order: as added.
    pub fn list(&self) -> Vec<FaultState> {
        self.rules.lock().list.clone()
    }

    /// What stands before a call; none while there are no rules.
    pub(crate) fn gate(
        self: &Arc<Self>,
        api: Api,
        operation: &'static str,
        inner: &Arc<dyn Authorizer>,
    ) -> Option<Arc<Gate>> {
        let any = self.any.load(Ordering::Acquire);
        any.then(|| Arc::new(Gate::new(self.clone(), api, operation, inner.clone())))
    }

    /// What hits this call: delays add up, and of the others the first.
    fn decide(&self, api: Api, operation: &str, accesses: &[Access]) -> Decided {
        let mut decided = Decided { delay: Duration::ZERO, then: None };
        for state in &mut self.rules.lock().list {
            if !state.rule.applies(api, operation, accesses) || (decided.then.is_some() && !state.rule.is_latency()) {
                continue;
            }
            let drawn = state.rule.draw(state.met);
            state.met += 1;
            if !drawn || state.rule.times.is_some_and(|times| state.fired >= times) {
                continue;
            }
            state.fired += 1;
            match state.rule.kind {
                FaultKind::Latency => {
                    decided.delay += Duration::from_millis(state.rule.latency_ms.unwrap_or_default());
                }
                kind => decided.then = Some((kind, state.id)),
            }
        }
        decided
    }
}

#[cfg(test)]
mod tests;
