//! One rule: which calls it applies to, and which of those it hits.

use headwater_api::{Access, Api};
use serde::{Deserialize, Serialize};

/// Longest delay of a rule: clients give up long before. Unit: ms.
const LATENCY_MS_MAX: u64 = 600_000;

/// Operations that meet another transaction's items.
const CONFLICTING: [&str; 5] = ["DeleteItem", "PutItem", "TransactGetItems", "TransactWriteItems", "UpdateItem"];

/// What happens to a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Refused as the service refuses what is too much.
    Throttle,
    /// Answered later.
    Latency,
    /// InternalServerError, before anything was done.
    Internal,
    /// The connection ends before anything was done.
    Drop,
    /// The call is carried out, and the connection ends without its answer.
    LoseAnswer,
    /// Another transaction is said to hold an item.
    Conflict,
}

/// An API, as rules name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultApi {
    /// DynamoDB.
    Dynamodb,
    /// DynamoDB Streams.
    Streams,
    /// Kinesis Data Streams.
    Kinesis,
    /// Amazon Data Firehose.
    Firehose,
}

impl From<FaultApi> for Api {
    fn from(api: FaultApi) -> Self {
        match api {
            FaultApi::Dynamodb => Self::DynamoDb,
            FaultApi::Streams => Self::DynamoDbStreams,
            FaultApi::Kinesis => Self::Kinesis,
            FaultApi::Firehose => Self::Firehose,
        }
    }
}

/// Which calls are hit by what.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// What happens.
    pub kind: FaultKind,
    /// Only calls of this API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<FaultApi>,
    /// Only calls of this operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Only calls that touch this table, by name or ARN, its indexes and streams included, or the stream of this ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Share of the calls it applies to that are hit; drawn by the seed and the number of the call among those.
    #[serde(default = "always")]
    pub rate: f64,
    /// It ends after so many hits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// Another seed hits other calls.
    #[serde(default)]
    pub seed: u64,
    /// How much later. Unit: ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u64>,
}

fn always() -> f64 {
    1.0
}

impl FaultRule {
    /// A rule that hits every call.
    pub fn of(kind: FaultKind) -> Self {
        Self { kind, api: None, operation: None, resource: None, rate: 1.0, times: None, seed: 0, latency_ms: None }
    }

    pub(super) fn is_latency(&self) -> bool {
        self.kind == FaultKind::Latency
    }

    /// Why it makes no sense.
    pub(super) fn check(&self) -> Result<(), String> {
        if !(self.rate > 0.0 && self.rate <= 1.0) {
            return Err("rate: above 0, and at most 1".to_owned());
        }
        if self.times == Some(0) {
            return Err("times: at least 1".to_owned());
        }
        match (self.is_latency(), self.latency_ms) {
            (true, Some(1..=LATENCY_MS_MAX)) | (false, None) => {}
            (true, _) => return Err(format!("latency_ms: 1 to {LATENCY_MS_MAX}")),
            (false, Some(_)) => return Err("latency_ms goes with the kind latency".to_owned()),
        }
        if self.resource.as_deref().is_some_and(str::is_empty) {
            return Err("resource: a table's name, or an ARN".to_owned());
        }
        let Some(operation) = self.operation.as_deref() else { return Ok(()) };
        let mut apis = Api::ALL.into_iter().filter(|api| self.api.is_none_or(|wanted| Api::from(wanted) == *api));
        if !apis.any(|api| api.operations().binary_search(&operation).is_ok()) {
            return Err(format!("operation: there is no {operation}"));
        }
        if self.kind == FaultKind::Conflict && !CONFLICTING.contains(&operation) {
            return Err(format!("operation: {operation} meets no conflicts; {} do", CONFLICTING.join(", ")));
        }
        Ok(())
    }

    pub(super) fn applies(&self, api: Api, operation: &str, accesses: &[Access]) -> bool {
        self.api.is_none_or(|wanted| Api::from(wanted) == api)
            && self.operation.as_deref().is_none_or(|wanted| wanted == operation)
            && (self.kind != FaultKind::Conflict || CONFLICTING.contains(&operation))
            && self.resource.as_deref().is_none_or(|wanted| accesses.iter().any(|access| touches(access, wanted)))
    }

    /// Whether the call of this number, of those it applies to, is hit.
    pub(super) fn draw(&self, number: u64) -> bool {
        // SplitMix64, by Sebastiano Vigna (public domain): each number of each seed has a draw of its own.
        let mut mixed = self.seed.wrapping_add((number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let drawn = ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
        drawn < self.rate
    }
}

/// Whether an access is of the resource, or of an index or a stream of it.
fn touches(access: &Access, wanted: &str) -> bool {
    let arn = access.resource_arn.as_str();
    let named = if wanted.starts_with("arn:") {
        Some(arn)
    } else {
        // `arn:aws:dynamodb:{region}:{account}:table/{name}/…`: the name begins the rest behind the first slash.
        arn.split_once('/').map(|(_, rest)| rest)
    };
    let Some(rest) = named.and_then(|named| named.strip_prefix(wanted)) else { return false };
    rest.is_empty() || rest.starts_with('/')
}
