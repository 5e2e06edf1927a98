//! Services to route to, and a way to wait for answers that are ready at once.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use headwater_api::dynamodb::DynamoDb;
use headwater_api::dynamodb_streams::DynamoDbStreams;
use headwater_api::firehose::Firehose;
use headwater_api::kinesis::Kinesis;
use headwater_api::{AllowAll, Api, Call, Caller, Document, Error, Principal, Reply, Transport};
use headwater_api::{dynamodb, dynamodb_streams, firehose, kinesis};

/// Nothing is built: every operation answers as its default does.
pub struct Nothing;

impl DynamoDb for Nothing {}
impl DynamoDbStreams for Nothing {}
impl Kinesis for Nothing {}
impl Firehose for Nothing {}

/// A call of some account in some Region.
pub fn call(api: Api, operation: &'static str) -> Call {
    let caller = Caller {
        principal: Arc::new(Principal {
            account: "000000000000".into(),
            arn: "arn:aws:iam::000000000000:root".to_owned(),
            access_key: "AKID".to_owned(),
        }),
        region: "eu-west-1".into(),
        request_id: "R".into(),
        api,
        operation,
        deadline: None,
        transport: Transport::default(),
    };
    Call::new(caller, Arc::new(AllowAll))
}

/// Waits for what is ready at once.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("an answer without I/O is ready at once"),
    }
}

/// Routes a body to an operation that is not built.
pub fn route(api: Api, operation: &'static str, document: Document<'_>) -> Result<Reply, Error> {
    let call = call(api, operation);
    now(match api {
        Api::DynamoDb => dynamodb::dispatch(&Nothing, &call, operation, document),
        Api::DynamoDbStreams => dynamodb_streams::dispatch(&Nothing, &call, operation, document),
        Api::Kinesis => kinesis::dispatch(&Nothing, &call, operation, document),
        Api::Firehose => firehose::dispatch(&Nothing, &call, operation, document),
    })
}

/// The trimmed model of an API: the oracle for what its inputs require.
pub fn model(api: Api) -> serde_json::Value {
    let text = match api {
        Api::DynamoDb => include_str!("../../models/dynamodb.json"),
        Api::DynamoDbStreams => include_str!("../../models/dynamodb-streams.json"),
        Api::Kinesis => include_str!("../../models/kinesis.json"),
        Api::Firehose => include_str!("../../models/firehose.json"),
    };
    serde_json::from_str(text).expect("a model is JSON")
}
