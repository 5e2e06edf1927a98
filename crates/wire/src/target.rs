//! From a request's head to what it asks for: an operation of ours, something of another service, or nothing we know.

use headwater_api::Api;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method};

static TARGET: HeaderName = HeaderName::from_static("x-amz-target");

/// The APIs a listener serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ApiSet([bool; 4]);

impl ApiSet {
    /// All of them: the main address.
    pub const ALL: Self = Self([true; 4]);

    /// One alone: an address of its own, which refuses the others' targets.
    pub fn only(api: Api) -> Self {
        Self(Api::ALL.map(|other| other == api))
    }

    /// Whether it is served.
    pub fn contains(self, api: Api) -> bool {
        Api::ALL.iter().zip(self.0).any(|(other, served)| served && *other == api)
    }

    /// The API whose health and whose form of ids stand for the address.
    pub fn first(self) -> Api {
        Api::ALL.into_iter().find(|api| self.contains(*api)).unwrap_or(Api::DynamoDb)
    }
}

/// How an answer is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    Json10,
    Json11,
    /// `application/json`, which the services take too and answer in kind.
    Json,
    /// Kinesis' `application/x-amz-cbor-1.1`.
    Cbor11,
}

impl Format {
    pub(crate) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Json10 => "application/x-amz-json-1.0",
            Self::Json11 => "application/x-amz-json-1.1",
            Self::Json => "application/json",
            Self::Cbor11 => "application/x-amz-cbor-1.1",
        })
    }

    /// The form of errors where no API is known: the version of the protocol tells who would understand it.
    fn likely_api(self) -> Api {
        match self {
            Self::Json10 | Self::Json => Api::DynamoDb,
            Self::Json11 | Self::Cbor11 => Api::Kinesis,
        }
    }

    fn is_spoken_by(self, api: Api) -> bool {
        match (self, api) {
            (Self::Json, _) => true,
            (Self::Json10, Api::DynamoDb | Api::DynamoDbStreams) | (Self::Json11, Api::Kinesis | Api::Firehose) => true,
            (Self::Cbor11, Api::Kinesis) => true,
            (Self::Json10 | Self::Json11 | Self::Cbor11, _) => false,
        }
    }
}

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Destination {
    /// An operation that this address serves.
    Operation { api: Api, operation: &'static str, format: Format },
    /// A target of ours or of another service that this address does not serve.
    UnknownOperation { api: Api, format: Format },
    /// A form body: the query protocol of other services.
    Query,
    /// Smithy RPC v2 with CBOR, the protocol of other services.
    RpcCbor,
    /// `GET /`.
    Health,
    /// A browser asks before it calls.
    Preflight,
    /// None of these: 404.
    Nothing,
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let end = value.bytes().position(|byte| byte == b';').unwrap_or(value.len());
    Some(value.get(..end).unwrap_or_default().trim_ascii())
}

/// Finds what a request asks for; `is_bodyless` when it has no body, where a content type may be missing.
pub(crate) fn find(method: &Method, path: &str, headers: &HeaderMap, is_bodyless: bool, apis: ApiSet) -> Destination {
    if crate::cors::is_preflight(method, headers) {
        return Destination::Preflight;
    }
    if (method == Method::GET || method == Method::HEAD) && path == "/" {
        return Destination::Health;
    }
    if method != Method::POST {
        return Destination::Nothing;
    }
    let target = headers.get(&TARGET).and_then(|value| value.to_str().ok());
    let format = match content_type(headers) {
        Some("application/x-amz-json-1.0") => Format::Json10,
        Some("application/x-amz-json-1.1") => Format::Json11,
        Some("application/json") => Format::Json,
        Some("application/x-amz-cbor-1.1") => Format::Cbor11,
        Some("application/x-www-form-urlencoded") => return Destination::Query,
        Some("application/cbor") if is_rpc_path(path) => return Destination::RpcCbor,
        None if is_bodyless && is_rpc_path(path) => return Destination::RpcCbor,
        None if is_bodyless && target.is_some() => Format::Json,
        Some(_) | None => return Destination::Nothing,
    };
    let Some(target) = target else {
        return Destination::UnknownOperation { api: format.likely_api(), format };
    };
    match Api::from_target(target) {
        Some((api, operation)) if apis.contains(api) && format.is_spoken_by(api) => {
            Destination::Operation { api, operation, format }
        }
        // Only Kinesis speaks CBOR: its clients understand the refusal of an address that does not serve it.
        Some((Api::Kinesis, _)) if format == Format::Cbor11 => {
            Destination::UnknownOperation { api: Api::Kinesis, format }
        }
        Some((api, _)) if !format.is_spoken_by(api) => Destination::Nothing,
        Some(_) | None => Destination::UnknownOperation { api: format.likely_api(), format },
    }
}

/// `/service/{Service}/operation/{Operation}`.
fn is_rpc_path(path: &str) -> bool {
    path.strip_prefix("/service/").is_some_and(|rest| rest.contains("/operation/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: Method, path: &str, kind: &str, target: &str, apis: ApiSet) -> Destination {
        let mut headers = HeaderMap::new();
        if !kind.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_str(kind).unwrap());
        }
        if !target.is_empty() {
            headers.insert("x-amz-target", HeaderValue::from_str(target).unwrap());
        }
        find(&method, path, &headers, false, apis)
    }

    #[test]
    fn heads_lead_where_they_should() {
        const V1: &str = "application/x-amz-json-1.0";
        const V11: &str = "application/x-amz-json-1.1";
        const CBOR: &str = "application/x-amz-cbor-1.1";
        let put = Destination::Operation { api: Api::DynamoDb, operation: "PutItem", format: Format::Json10 };
        let record = Destination::Operation { api: Api::Kinesis, operation: "PutRecord", format: Format::Cbor11 };
        let unknown = |api, format| Destination::UnknownOperation { api, format };
        let streams = ApiSet::only(Api::DynamoDbStreams);
        let mut cases = 0;
        for (method, path, kind, target, apis, expected) in [
            (Method::POST, "/", V1, "DynamoDB_20120810.PutItem", ApiSet::ALL, put),
            (
                Method::POST,
                "/any",
                "application/x-amz-json-1.0; charset=utf-8",
                "DynamoDB_20120810.PutItem",
                ApiSet::ALL,
                put,
            ),
            (Method::POST, "/", V1, "DynamoDB_20120810.PutItem", streams, unknown(Api::DynamoDb, Format::Json10)),
            (Method::POST, "/", V11, "DynamoDB_20120810.PutItem", ApiSet::ALL, Destination::Nothing),
            (Method::POST, "/", V1, "DynamoDB_20120810.Nothing", ApiSet::ALL, unknown(Api::DynamoDb, Format::Json10)),
            (Method::POST, "/", V1, "", ApiSet::ALL, unknown(Api::DynamoDb, Format::Json10)),
            (Method::POST, "/", V11, "Logs_20140328.PutLogEvents", ApiSet::ALL, unknown(Api::Kinesis, Format::Json11)),
            (Method::POST, "/", CBOR, "Kinesis_20131202.PutRecord", ApiSet::ALL, record),
            (Method::POST, "/", CBOR, "Kinesis_20131202.PutRecord", streams, unknown(Api::Kinesis, Format::Cbor11)),
            (Method::POST, "/", CBOR, "DynamoDB_20120810.PutItem", ApiSet::ALL, Destination::Nothing),
            (Method::POST, "/", "text/plain", "DynamoDB_20120810.PutItem", ApiSet::ALL, Destination::Nothing),
            (Method::POST, "/", "", "DynamoDB_20120810.PutItem", ApiSet::ALL, Destination::Nothing),
            (
                Method::POST,
                "/",
                "application/x-www-form-urlencoded; charset=utf-8",
                "",
                ApiSet::ALL,
                Destination::Query,
            ),
            (
                Method::POST,
                "/service/GraniteServiceVersion20100801/operation/PutMetricData",
                "application/cbor",
                "",
                ApiSet::ALL,
                Destination::RpcCbor,
            ),
            (Method::GET, "/", "", "", ApiSet::ALL, Destination::Health),
            (Method::HEAD, "/", "", "", ApiSet::ALL, Destination::Health),
            (Method::GET, "/favicon.ico", "", "", ApiSet::ALL, Destination::Nothing),
            (Method::PUT, "/", V1, "DynamoDB_20120810.PutItem", ApiSet::ALL, Destination::Nothing),
        ] {
            assert_eq!(found(method, path, kind, target, apis), expected, "{path} {kind} {target}");
            cases += 1;
        }
        assert_eq!(cases, 18);
    }
}
