//! How clients of data streams ask.

use std::sync::Arc;
use std::time::Duration;

use headwater_api::Api;
use serde_json::{Value, json};

use super::history::{Listed, Seen};
use super::protocol;
use crate::client::Sim;
use crate::history::Violation;
use crate::protocol::may_be_met;
use crate::server::{ACCOUNT, Failure, REGION, Server};

/// Refusals that say that a stream, a shard or a consumer is not there.
pub const NOT_FOUND: &str = "ResourceNotFoundException";

/// A stream as DescribeStreamSummary has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Described {
    /// When it was made. Unit: ms of store time.
    pub created: i64,
    /// Its retention. Unit: hours.
    pub hours: i64,
}

/// A stream's ARN.
pub fn arn(name: &str) -> String {
    format!("arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{name}")
}

impl Sim {
    /// What was seen of data streams.
    pub fn data<T>(&self, with: impl FnOnce(&mut Seen) -> T) -> T {
        with(&mut self.history.lock().data)
    }

    /// Notes a broken promise of data streams.
    pub fn broken(&self, check: &'static str, text: impl Into<String>) {
        let violation = Violation::new(check, text);
        self.data(|seen| seen.noticed.push(violation));
    }

    /// One request of some node; waits for one to be up.
    pub async fn kinesis(
        &self,
        operation: &'static str,
        body: Value,
        hang_up: Option<Duration>,
    ) -> Result<Value, Failure> {
        let server = self.some_server().await;
        self.kinesis_of(&server, operation, body, hang_up).await
    }

    /// One request of this node.
    pub async fn kinesis_of(
        &self,
        server: &Arc<Server>,
        operation: &'static str,
        body: Value,
        hang_up: Option<Duration>,
    ) -> Result<Value, Failure> {
        self.ask_api(server, Api::Kinesis, operation, body, hang_up).await
    }

    /// Asks again until there is an answer; for requests without effect.
    pub async fn kinesis_insist(&self, operation: &'static str, body: Value) -> Result<Value, Failure> {
        loop {
            match self.kinesis(operation, body.clone(), None).await {
                Err(failure) if may_pass(&failure) => {}
                reply => return reply,
            }
            self.cluster.control().sleep(Duration::from_millis(1)).await;
        }
    }

    /// The stream of that name as it is now.
    pub async fn described(&self, name: &str) -> Option<Described> {
        match self.kinesis_insist("DescribeStreamSummary", json!({"StreamName": name})).await {
            Ok(body) => {
                let summary = &body["StreamDescriptionSummary"];
                let created = protocol::millis(&summary["StreamCreationTimestamp"]);
                Some(Described { created: created?, hours: summary["RetentionPeriodHours"].as_i64()? })
            }
            Err(Failure::Refused { name: NOT_FOUND, .. }) => None,
            Err(failure) => {
                self.broken(super::check::VALID, format!("DescribeStreamSummary answers {failure:?}"));
                None
            }
        }
    }

    /// A stream's shards in one answer.
    pub async fn shards(&self, name: &str) -> Vec<Listed> {
        let body = self.kinesis_insist("ListShards", json!({"StreamName": name})).await.unwrap_or_default();
        protocol::all(&body["Shards"], protocol::listed).unwrap_or_default()
    }
}

/// Whether the same request may succeed later: there was no answer, or a fault.
pub fn may_pass(failure: &Failure) -> bool {
    match failure {
        Failure::Lost | Failure::Down => true,
        Failure::Refused { name, .. } => may_be_met(name),
    }
}
