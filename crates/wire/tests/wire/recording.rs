//! Stands in for the operations: records what reaches it and answers by the table's name.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use headwater_api::dynamodb::{self, DynamoDb, errors};
use headwater_api::dynamodb_streams::{self, DynamoDbStreams};
use headwater_api::firehose::Firehose;
use headwater_api::kinesis::{self, Kinesis};
use headwater_api::{Answer, AnswerItem, AttributeValue, Call, Error, Frame, Instant, NewItem, Pushed};
use headwater_types::{AttributeValue as Value, Item, stored};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

/// What an operation saw of its call.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub operation: &'static str,
    pub account: String,
    pub region: String,
    pub arn: String,
    pub access_key: String,
    pub user_agent: Option<String>,
    pub host: Option<String>,
    pub is_secure: bool,
    pub item: BTreeMap<String, AttributeValue>,
}

pub struct Recording {
    pub seen: Mutex<Vec<Seen>>,
    pub put: Mutex<Vec<kinesis::PutRecordInput>>,
    /// A call for table `slow` has begun.
    pub begun: Semaphore,
    /// Lets calls for table `slow` end.
    pub release: Notify,
}

impl Recording {
    pub fn new() -> Arc<Self> {
        let (seen, put) = (Mutex::default(), Mutex::default());
        let (begun, release) = (Semaphore::new(0), Notify::new());
        Arc::new(Self { seen, put, begun, release })
    }

    fn record(&self, call: &Call, item: BTreeMap<String, AttributeValue>) {
        self.seen.lock().push(Seen {
            operation: call.operation,
            account: call.principal.account.to_string(),
            region: call.region.to_string(),
            arn: call.principal.arn.clone(),
            access_key: call.principal.access_key.clone(),
            user_agent: call.transport.user_agent.clone(),
            host: call.transport.host.clone(),
            is_secure: call.transport.secure,
            item,
        });
    }
}

/// Values of an item that came.
fn values(item: &NewItem) -> Result<BTreeMap<String, AttributeValue>, Error> {
    let stored = item.sized_bytes()?.get(stored::SIZE_BYTES..).unwrap_or_default();
    let item = stored::decode(stored).map_err(|_| Error::internal("it was encoded from the request"))?;
    Ok(item.0.into_iter().map(|(name, value)| (name, value.into())).collect())
}

/// An item that came, for an answer.
fn answered(item: BTreeMap<String, AttributeValue>) -> Result<AnswerItem, Error> {
    let attributes = item.into_iter().map(|(name, value)| Ok((name, value.check()?)));
    attributes.collect::<Result<Item, Error>>().map(AnswerItem::from)
}

impl DynamoDb for Recording {
    fn put_item<'a>(&'a self, call: &'a Call, input: dynamodb::PutItemInput) -> Answer<'a, dynamodb::PutItemOutput> {
        Box::pin(async move {
            if input.table_name != "unauthorized" {
                call.authorize(&dynamodb::access::put_item(call, &input))?;
            }
            let item = values(&input.item)?;
            self.record(call, item.clone());
            match input.table_name.as_str() {
                "panics" => panic!("planted"),
                "fails" => return Err(Error::internal("the disk is gone")),
                "missing" => return Err(errors::resource_not_found("Requested resource not found")),
                "condition" => {
                    return Err(errors::conditional_check_failed("The conditional request failed")
                        .with_member("Item", answered(item)?));
                }
                "slow" => {
                    self.begun.add_permits(1);
                    self.release.notified().await;
                }
                _ => {}
            }
            Ok(dynamodb::PutItemOutput { attributes: Some(answered(item)?), ..Default::default() })
        })
    }

    /// Answers with one text of as many characters as the key says.
    fn get_item<'a>(&'a self, call: &'a Call, input: dynamodb::GetItemInput) -> Answer<'a, dynamodb::GetItemOutput> {
        Box::pin(async move {
            call.authorize(&dynamodb::access::get_item(call, &input))?;
            let size = match input.key.get("size").map(AttributeValue::as_valid) {
                Some(Ok(Value::N(number))) => number.to_string().parse().unwrap_or(0),
                _ => 0,
            };
            let text = Value::S("abcdefgh".chars().cycle().take(size).collect::<String>());
            let item: Item = [("t".to_owned(), text)].into_iter().collect();
            Ok(dynamodb::GetItemOutput { item: Some(item.into()), ..Default::default() })
        })
    }

    fn tag_resource<'a>(
        &'a self,
        call: &'a Call,
        input: dynamodb::TagResourceInput,
    ) -> Answer<'a, dynamodb::TagResourceOutput> {
        Box::pin(async move {
            call.authorize(&dynamodb::access::tag_resource(call, &input))?;
            self.record(call, BTreeMap::new());
            Ok(Default::default())
        })
    }
}

impl DynamoDbStreams for Recording {
    fn list_streams<'a>(
        &'a self,
        call: &'a Call,
        input: dynamodb_streams::ListStreamsInput,
    ) -> Answer<'a, dynamodb_streams::ListStreamsOutput> {
        Box::pin(async move {
            call.authorize(&dynamodb_streams::access::list_streams(call, &input))?;
            self.record(call, BTreeMap::new());
            Ok(dynamodb_streams::ListStreamsOutput { streams: Some(Vec::new()), ..Default::default() })
        })
    }
}

impl Kinesis for Recording {
    fn create_stream<'a>(
        &'a self,
        call: &'a Call,
        input: kinesis::CreateStreamInput,
    ) -> Answer<'a, kinesis::CreateStreamOutput> {
        Box::pin(async move {
            call.authorize(&kinesis::access::create_stream(call, &input))?;
            self.record(call, BTreeMap::new());
            Ok(Default::default())
        })
    }

    fn put_record<'a>(
        &'a self,
        call: &'a Call,
        input: kinesis::PutRecordInput,
    ) -> Answer<'a, kinesis::PutRecordOutput> {
        Box::pin(async move {
            call.authorize(&kinesis::access::put_record(call, &input))?;
            if input.partition_key == "missing" {
                return Err(kinesis::errors::resource_not_found("Stream s under account 000000000000 not found."));
            }
            self.put.lock().push(input);
            let (shard_id, sequence_number) = ("shardId-000000000000".to_owned(), "49".to_owned());
            Ok(kinesis::PutRecordOutput { shard_id, sequence_number, encryption_type: None })
        })
    }

    /// Answers with the moment it was asked for, in milliseconds.
    fn get_shard_iterator<'a>(
        &'a self,
        call: &'a Call,
        input: kinesis::GetShardIteratorInput,
    ) -> Answer<'a, kinesis::GetShardIteratorOutput> {
        Box::pin(async move {
            call.authorize(&kinesis::access::get_shard_iterator(call, &input))?;
            Ok(kinesis::GetShardIteratorOutput { shard_iterator: input.timestamp.map(|at| at.0.to_string()) })
        })
    }

    /// One record with a moment and bytes.
    fn get_records<'a>(
        &'a self,
        call: &'a Call,
        input: kinesis::GetRecordsInput,
    ) -> Answer<'a, kinesis::GetRecordsOutput> {
        Box::pin(async move {
            call.authorize(&kinesis::access::get_records(call, &input))?;
            let record = kinesis::Record {
                sequence_number: "49".to_owned(),
                approximate_arrival_timestamp: Some(Instant(1_441_215_410_867)),
                data: Bytes::from_static(b"\x00\xff"),
                partition_key: "é".to_owned(),
                encryption_type: None,
            };
            Ok(kinesis::GetRecordsOutput { records: vec![record], millis_behind_latest: Some(7), ..Default::default() })
        })
    }

    /// Two events, one of them encoded before, then an error.
    fn subscribe_to_shard<'a>(
        &'a self,
        call: &'a Call,
        input: kinesis::SubscribeToShardInput,
    ) -> Answer<'a, kinesis::SubscribeToShardOutput> {
        Box::pin(async move {
            call.authorize(&kinesis::access::subscribe_to_shard(call, &input))?;
            let event = |number: &str| {
                kinesis::SubscribeToShardEventStream::SubscribeToShardEvent(kinesis::SubscribeToShardEvent {
                    records: vec![kinesis::Record {
                        sequence_number: number.to_owned(),
                        approximate_arrival_timestamp: None,
                        data: Bytes::from_static(b"data"),
                        partition_key: "k".to_owned(),
                        encryption_type: None,
                    }],
                    continuation_sequence_number: Some(number.to_owned()),
                    millis_behind_latest: 0,
                    child_shards: None,
                })
            };
            let over = Err(kinesis::errors::resource_in_use("another subscription"));
            let events = futures_util::stream::iter([
                Ok(event("1").into()),
                // Encoded already, as what many subscribers share.
                Ok(Pushed::Frame(Frame::of(&event("2")))),
                over,
            ]);
            Ok(kinesis::SubscribeToShardOutput { event_stream: Box::pin(events) })
        })
    }
}

impl Firehose for Recording {}
