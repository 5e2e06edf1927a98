//! Where a call meets the rules: between its authorisation and its first look-up.

use std::sync::Arc;
use std::time::Duration;

use headwater_api::dynamodb::{CancellationReason, errors};
use headwater_api::{Access, Api, Authorizer, Document, Error, Principal};
use parking_lot::Mutex;

use super::{FaultKind, Faults};

/// Operations on items: the service throttles those on tables by another name.
const OF_ITEMS: [&str; 13] = [
    "BatchExecuteStatement",
    "BatchGetItem",
    "BatchWriteItem",
    "DeleteItem",
    "ExecuteStatement",
    "ExecuteTransaction",
    "GetItem",
    "PutItem",
    "Query",
    "Scan",
    "TransactGetItems",
    "TransactWriteItems",
    "UpdateItem",
];

/// What hits a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decided {
    /// Waited before anything is done.
    pub(crate) delay: Duration,
    /// What happens then, and by which rule.
    pub(crate) then: Option<(FaultKind, u64)>,
}

impl Decided {
    /// Whether the operation must not go on as it is.
    fn holds(&self) -> bool {
        !self.delay.is_zero() || self.then.is_some_and(|(kind, _)| kind != FaultKind::LoseAnswer)
    }

    /// The error that the rules answer with, if they do.
    pub(crate) fn error(&self, api: Api, operation: &str, body: &[u8]) -> Option<Error> {
        let (kind, id) = self.then?;
        match kind {
            FaultKind::Throttle => Some(throttled(api, operation)),
            FaultKind::Internal => Some(Error::internal(format_args!("asked for by fault {id}"))),
            FaultKind::Conflict => Some(conflict(operation, body)),
            FaultKind::Latency | FaultKind::Drop | FaultKind::LoseAnswer => None,
        }
    }
}

/// An authoriser that asks the one behind it, and then the rules, once per call.
pub(crate) struct Gate {
    faults: Arc<Faults>,
    api: Api,
    operation: &'static str,
    inner: Arc<dyn Authorizer>,
    decided: Mutex<Option<Decided>>,
}

impl Gate {
    pub(super) fn new(faults: Arc<Faults>, api: Api, operation: &'static str, inner: Arc<dyn Authorizer>) -> Self {
        Self { faults, api, operation, inner, decided: Mutex::new(None) }
    }

    /// What the rules said; none when the call never came so far.
    pub(crate) fn decided(&self) -> Option<Decided> {
        *self.decided.lock()
    }
}

impl Authorizer for Gate {
    fn authorize(&self, principal: &Principal, accesses: &[Access]) -> Result<(), Error> {
        self.inner.authorize(principal, accesses)?;
        let mut decided = self.decided.lock();
        if decided.is_some() {
            // A call that goes on after its delay, or asks for more.
            return Ok(());
        }
        let now = decided.insert(self.faults.decide(self.api, self.operation, accesses));
        // Nobody sees this error: the visit takes what was decided instead.
        if now.holds() { Err(Error::internal("held by a fault")) } else { Ok(()) }
    }
}

fn throttled(api: Api, operation: &str) -> Error {
    if api == Api::DynamoDb && OF_ITEMS.contains(&operation) {
        let text = "The level of configured provisioned throughput for the table was exceeded. Consider increasing your \
                    provisioning level with the UpdateTable API.";
        return errors::provisioned_throughput_exceeded(text);
    }
    Error::throttling("Rate of requests exceeds the allowed throughput.")
}

/// Of a transaction's actions the first meets the other one.
fn conflict(operation: &str, body: &[u8]) -> Error {
    const ONGOING: &str = "Transaction is ongoing for the item";
    if !operation.starts_with("Transact") {
        return errors::transaction_conflict(ONGOING);
    }
    let document = Document::from_json(body);
    let actions = match document.as_ref().map(|document| document.member("TransactItems")) {
        Ok(Some(Document::List(actions))) => actions.len(),
        _ => 1,
    };
    let reason = |at: usize| CancellationReason {
        code: Some(if at == 0 { "TransactionConflict" } else { "None" }.to_owned()),
        message: (at == 0).then(|| ONGOING.to_owned()),
        ..CancellationReason::default()
    };
    let reasons: Vec<CancellationReason> = (0..actions).map(reason).collect();
    let codes: Vec<&str> = reasons.iter().filter_map(|reason| reason.code.as_deref()).collect();
    let codes = codes.join(", ");
    let text = format!("Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]");
    errors::transaction_canceled(text).with_member("CancellationReasons", reasons)
}
