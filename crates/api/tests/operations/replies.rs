//! What comes back: bodies, nothing, events, errors.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use headwater_api::dynamodb::{
    ConsumedCapacity, DynamoDb, GetItemInput, GetItemOutput, ListTablesInput, ListTablesOutput,
};
use headwater_api::kinesis::{
    DeleteStreamInput, DeleteStreamOutput, Kinesis, Record, SubscribeToShardEvent, SubscribeToShardEventStream,
    SubscribeToShardInput, SubscribeToShardOutput,
};
use headwater_api::{
    Access, Answer, Api, Authorizer, Call, Caller, Document, Error, Instant, Principal, Pushed, Reply, Transport,
    codes, dynamodb, json, kinesis,
};
use headwater_types::Item;

use super::service::{call, now};

/// Answers, some of it without asking first.
struct Some_;

impl DynamoDb for Some_ {
    fn list_tables<'a>(&'a self, _call: &'a Call, _input: ListTablesInput) -> Answer<'a, ListTablesOutput> {
        Box::pin(async { Ok(ListTablesOutput::default()) })
    }

    fn get_item<'a>(&'a self, call: &'a Call, input: GetItemInput) -> Answer<'a, GetItemOutput> {
        Box::pin(async move {
            call.authorize(&dynamodb::access::get_item(call, &input))?;
            let capacity = ConsumedCapacity {
                table_name: Some(input.table_name),
                capacity_units: Some(0.5),
                ..Default::default()
            };
            let key = input.key.into_iter().map(|(name, value)| Ok((name, value.check()?)));
            let key: Item = key.collect::<Result<_, Error>>()?;
            Ok(GetItemOutput { item: Some(key.into()), consumed_capacity: Some(capacity) })
        })
    }
}

impl Kinesis for Some_ {
    fn delete_stream<'a>(&'a self, call: &'a Call, input: DeleteStreamInput) -> Answer<'a, DeleteStreamOutput> {
        Box::pin(async move {
            call.authorize(&kinesis::access::delete_stream(call, &input))?;
            Ok(DeleteStreamOutput {})
        })
    }

    fn subscribe_to_shard<'a>(
        &'a self,
        call: &'a Call,
        input: SubscribeToShardInput,
    ) -> Answer<'a, SubscribeToShardOutput> {
        Box::pin(async move {
            call.authorize(&kinesis::access::subscribe_to_shard(call, &input))?;
            let record = Record {
                sequence_number: "1".to_owned(),
                approximate_arrival_timestamp: Some(Instant(1_441_215_410_867)),
                data: Bytes::from_static(b"abc"),
                partition_key: "k".to_owned(),
                encryption_type: None,
            };
            let event = SubscribeToShardEvent {
                records: vec![record],
                continuation_sequence_number: None,
                millis_behind_latest: 0,
                child_shards: Some(Vec::new()),
            };
            let items = vec![
                Ok(SubscribeToShardEventStream::SubscribeToShardEvent(event).into()),
                Err(kinesis::errors::resource_in_use("taken over")),
            ];
            Ok(SubscribeToShardOutput { event_stream: Box::pin(Listed(items.into_iter())) })
        })
    }
}

struct Listed<I>(I);

impl<I: Iterator + Unpin> futures_core::Stream for Listed<I> {
    type Item = I::Item;

    fn poll_next(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.next())
    }
}

fn read(body: &str) -> Document<'_> {
    Document::from_json(body.as_bytes()).unwrap()
}

#[test]
fn an_answer_that_was_never_authorised_is_an_internal_error() {
    let call = call(Api::DynamoDb, "ListTables");
    let error = now(dynamodb::dispatch(&Some_, &call, "ListTables", read("{}"))).err().unwrap();
    assert_eq!((error.name(), error.status()), ("InternalServerError", 500));
    assert_eq!(error.cause(), Some("ListTables answered without being authorised"));
    assert!(
        !String::from_utf8(error.to_json(Api::DynamoDb)).unwrap().contains("authorised"),
        "the client learns nothing"
    );
}

#[test]
fn a_body_is_written_and_absent_members_are_left_out() {
    let call = call(Api::DynamoDb, "GetItem");
    let body = r#"{"TableName":"abc","Key":{"k":{"N":"1.50"}}}"#;
    let Ok(Reply::Body(output)) = now(dynamodb::dispatch(&Some_, &call, "GetItem", read(body))) else {
        panic!("a body")
    };
    let written = String::from_utf8(json::encode(&*output)).unwrap();
    assert_eq!(written, r#"{"Item":{"k":{"N":"1.5"}},"ConsumedCapacity":{"TableName":"abc","CapacityUnits":0.5}}"#);
    assert_eq!(*call.resources(), ["arn:aws:dynamodb:eu-west-1:000000000000:table/abc"]);
}

#[test]
fn an_operation_without_output_is_told_apart() {
    let call = call(Api::Kinesis, "DeleteStream");
    let reply = now(kinesis::dispatch(&Some_, &call, "DeleteStream", read(r#"{"StreamName":"s"}"#)));
    assert!(matches!(reply, Ok(Reply::Empty)));
}

#[test]
fn events_come_one_by_one_and_an_exception_ends_them() {
    let call = call(Api::Kinesis, "SubscribeToShard");
    let consumer = "arn:aws:kinesis:us-east-1:000000000000:stream/s/consumer/c:1";
    let body = format!(
        r#"{{"ConsumerARN":"{consumer}","ShardId":"shardId-000000000000","StartingPosition":{{"Type":"AT_TIMESTAMP","Timestamp":1.5}}}}"#
    );
    let Ok(Reply::Events(mut events)) = now(kinesis::dispatch(&Some_, &call, "SubscribeToShard", read(&body))) else {
        panic!("events")
    };
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(Some(Ok(Pushed::Event(event)))) = events.as_mut().poll_next(&mut context) else {
        panic!("an event")
    };
    assert_eq!(event.name(), "SubscribeToShardEvent");
    assert_eq!(
        String::from_utf8(json::encode(event.body())).unwrap(),
        r#"{"Records":[{"SequenceNumber":"1","ApproximateArrivalTimestamp":1441215410.867,"Data":"YWJj","PartitionKey":"k"}],"MillisBehindLatest":0,"ChildShards":[]}"#
    );
    let Poll::Ready(Some(Err(error))) = events.as_mut().poll_next(&mut context) else { panic!("an exception") };
    assert_eq!(error.name(), "ResourceInUseException");
    assert!(matches!(events.as_mut().poll_next(&mut context), Poll::Ready(None)));
}

#[test]
fn a_refusal_of_the_authoriser_reaches_the_client_and_the_audit() {
    struct Deny;
    impl Authorizer for Deny {
        fn authorize(&self, _principal: &Principal, accesses: &[Access]) -> Result<(), Error> {
            Err(Error::new(codes::ACCESS_DENIED, format!("not {}", accesses[0].action)))
        }
    }
    let caller = Caller {
        principal: Arc::new(Principal {
            account: "000000000000".into(),
            arn: String::new(),
            access_key: String::new(),
        }),
        region: "eu-west-1".into(),
        request_id: "R".into(),
        api: Api::DynamoDb,
        operation: "GetItem",
        deadline: None,
        transport: Transport::default(),
    };
    let call = Call::new(caller, Arc::new(Deny));
    let body = r#"{"TableName":"abc","Key":{}}"#;
    let error = now(dynamodb::dispatch(&Some_, &call, "GetItem", read(body))).err().unwrap();
    assert_eq!(error.message(), Some("not dynamodb:GetItem"));
    assert!(!call.is_authorized());
    assert_eq!(call.resources().len(), 1);
}

#[test]
fn errors_are_spelled_as_each_api_spells_them() {
    let item = std::collections::BTreeMap::from([("k".to_owned(), true)]);
    for (error, api, expected) in [
        (
            dynamodb::errors::resource_not_found("Requested resource not found"),
            Api::DynamoDb,
            r#"{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"Requested resource not found"}"#,
        ),
        (
            dynamodb::errors::conditional_check_failed("The conditional request failed").with_member("Item", item),
            Api::DynamoDb,
            r#"{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"The conditional request failed","Item":{"k":true}}"#,
        ),
        (
            dynamodb::errors::transaction_canceled("why"),
            Api::DynamoDb,
            r#"{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","Message":"why"}"#,
        ),
        (
            Error::validation("bad"),
            Api::DynamoDbStreams,
            r#"{"__type":"com.amazon.coral.validate#ValidationException","message":"bad"}"#,
        ),
        (Error::validation("bad"), Api::Kinesis, r#"{"__type":"ValidationException","message":"bad"}"#),
        (Error::unparsable(), Api::DynamoDb, r#"{"__type":"com.amazon.coral.service#SerializationException"}"#),
        (
            Error::serialization("x"),
            Api::DynamoDb,
            r#"{"__type":"com.amazon.coral.service#SerializationException","Message":"x"}"#,
        ),
        (
            Error::unknown_operation(),
            Api::DynamoDb,
            r#"{"__type":"com.amazon.coral.service#UnknownOperationException"}"#,
        ),
        (Error::unknown_operation(), Api::Firehose, r#"{"__type":"UnknownOperationException"}"#),
        (
            kinesis::errors::resource_not_found("Stream s under account 000000000000 not found."),
            Api::Kinesis,
            r#"{"__type":"ResourceNotFoundException","message":"Stream s under account 000000000000 not found."}"#,
        ),
        (
            Error::internal("secret"),
            Api::DynamoDb,
            r#"{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError","message":"Internal server error"}"#,
        ),
        (Error::internal("secret"), Api::Kinesis, r#"{"__type":"InternalFailure","message":"Internal server error"}"#),
        (
            Error::new(codes::MISSING_AUTHENTICATION_TOKEN, "Request is missing Authentication Token"),
            Api::DynamoDb,
            r#"{"__type":"com.amazon.coral.service#MissingAuthenticationTokenException","message":"Request is missing Authentication Token"}"#,
        ),
    ] {
        assert_eq!(String::from_utf8(error.to_json(api)).unwrap(), expected);
    }
    assert_eq!(headwater_api::firehose::errors::service_unavailable("Slow down.").status(), 503);
    assert_eq!(dynamodb::errors::internal_server_error("x").status(), 500);
    assert_eq!(dynamodb::errors::ALL.len(), 34);
}
