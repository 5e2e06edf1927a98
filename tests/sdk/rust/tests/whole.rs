//! The unmodified AWS SDK for Rust: tables, items, expressions, queries, batches and streams against a started server.

#![allow(clippy::disallowed_types, reason = "the SDK speaks in hash maps")]

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, KeysAndAttributes, PutRequest,
    ReturnValue, ReturnValuesOnConditionCheckFailure, ScalarAttributeType, StreamSpecification, StreamViewType,
    TableStatus, WriteRequest,
};
use aws_sdk_dynamodbstreams::types::{AttributeValue as StreamValue, OperationType, Record, ShardIteratorType};
use headwater_server::{Config, RunningServer, start_in_process};

struct Endpoint {
    server: RunningServer,
    dynamodb: Client,
    streams: aws_sdk_dynamodbstreams::Client,
}

async fn endpoint() -> Endpoint {
    let server = start_in_process(Config::for_test()).await.expect("the server starts");
    let url = format!("http://{}", server.addresses().dynamodb);
    let http = aws_smithy_http_client::Builder::new().build_http();
    let credentials = Credentials::new("anyone", "anything", None, None, "test");
    let dynamodb = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(&url)
        .region(Region::new("eu-west-1"))
        .credentials_provider(credentials.clone())
        .http_client(http.clone())
        .build();
    let streams = aws_sdk_dynamodbstreams::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(&url)
        .region(Region::new("eu-west-1"))
        .credentials_provider(credentials)
        .http_client(http)
        .build();
    Endpoint {
        server,
        dynamodb: Client::from_conf(dynamodb),
        streams: aws_sdk_dynamodbstreams::Client::from_conf(streams),
    }
}

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn n(number: i64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

impl Endpoint {
    /// Creates a table with a stream and returns the stream's ARN.
    async fn table(&self, name: &str) -> String {
        let definition = |name: &str, kind| {
            AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().expect("complete")
        };
        let key = |name: &str, kind| {
            KeySchemaElement::builder().attribute_name(name).key_type(kind).build().expect("complete")
        };
        self.dynamodb
            .create_table()
            .table_name(name)
            .attribute_definitions(definition("pk", ScalarAttributeType::S))
            .attribute_definitions(definition("sk", ScalarAttributeType::N))
            .key_schema(key("pk", KeyType::Hash))
            .key_schema(key("sk", KeyType::Range))
            .billing_mode(BillingMode::PayPerRequest)
            .stream_specification(
                StreamSpecification::builder()
                    .stream_enabled(true)
                    .stream_view_type(StreamViewType::NewAndOldImages)
                    .build()
                    .expect("complete"),
            )
            .send()
            .await
            .expect("CreateTable");
        self.until(name, |status| status == Some(TableStatus::Active)).await;
        let table = self.dynamodb.describe_table().table_name(name).send().await.expect("DescribeTable").table;
        let table = table.expect("a description");
        assert_eq!(table.table_status(), Some(&TableStatus::Active));
        table.latest_stream_arn().expect("a stream").to_owned()
    }

    /// Describes the table until its status (none: not found) is as wanted. The SDK's own waiters pause for 20 s.
    async fn until(&self, name: &str, wanted: impl Fn(Option<TableStatus>) -> bool) {
        for _ in 0..10_000 {
            let status = match self.dynamodb.describe_table().table_name(name).send().await {
                Ok(answer) => answer.table.and_then(|table| table.table_status),
                Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_not_found_exception()) => None,
                Err(error) => panic!("{error:?}"),
            };
            if wanted(status) {
                return;
            }
        }
        panic!("{name} never reached the wanted state");
    }

    /// Every record of the stream, shard by shard.
    async fn records(&self, arn: &str) -> Vec<Record> {
        let description = self.streams.describe_stream().stream_arn(arn).send().await.expect("DescribeStream");
        let shards = description.stream_description.expect("a description").shards.unwrap_or_default();
        assert!(shards.len() > 1, "one open shard per partition");
        let mut records = Vec::new();
        for shard in shards {
            let iterator = self
                .streams
                .get_shard_iterator()
                .stream_arn(arn)
                .shard_id(shard.shard_id().expect("an id"))
                .shard_iterator_type(ShardIteratorType::TrimHorizon)
                .send()
                .await
                .expect("GetShardIterator");
            let mut next = iterator.shard_iterator;
            while let Some(iterator) = next {
                let page = self.streams.get_records().shard_iterator(iterator).send().await.expect("GetRecords");
                let empty = page.records().is_empty();
                records.extend(page.records.unwrap_or_default());
                next = page.next_shard_iterator.filter(|_| !empty);
            }
        }
        records
    }
}

#[tokio::test]
async fn items_and_their_changes() {
    let endpoint = endpoint().await;
    let arn = endpoint.table("items").await;
    let client = &endpoint.dynamodb;
    for sk in 0..40 {
        let put = client.put_item().table_name("items").item("pk", s(&format!("p{}", sk % 5))).item("sk", n(sk));
        put.item("v", n(sk * sk)).send().await.expect("PutItem");
    }
    let updated = client
        .update_item()
        .table_name("items")
        .key("pk", s("p1"))
        .key("sk", n(1))
        .update_expression("SET v = v + :d, tags = :t")
        .condition_expression("attribute_exists(pk)")
        .expression_attribute_values(":d", n(41))
        .expression_attribute_values(":t", AttributeValue::Ss(vec!["a".into(), "b".into()]))
        .return_values(ReturnValue::UpdatedNew)
        .send()
        .await
        .expect("UpdateItem");
    assert_eq!(updated.attributes.expect("attributes").get("v"), Some(&n(42)));
    let refused = client
        .delete_item()
        .table_name("items")
        .key("pk", s("p1"))
        .key("sk", n(1))
        .condition_expression("v = :v")
        .expression_attribute_values(":v", n(0))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .send()
        .await
        .expect_err("the condition is false")
        .into_service_error();
    assert!(refused.is_conditional_check_failed_exception(), "{refused:?}");
    client.delete_item().table_name("items").key("pk", s("p0")).key("sk", n(0)).send().await.expect("DeleteItem");
    let queried = client
        .query()
        .table_name("items")
        .key_condition_expression("pk = :p AND sk BETWEEN :a AND :b")
        .expression_attribute_values(":p", s("p1"))
        .expression_attribute_values(":a", n(2))
        .expression_attribute_values(":b", n(21))
        .scan_index_forward(false)
        .send()
        .await
        .expect("Query");
    let sort_keys: Vec<_> = queried.items().iter().map(|item| item["sk"].as_n().expect("a number").as_str()).collect();
    assert_eq!(sort_keys, ["21", "16", "11", "6"]);
    let scanned = client.scan().table_name("items").consistent_read(true).send().await.expect("Scan");
    assert_eq!(scanned.count(), 39);

    let records = endpoint.records(&arn).await;
    assert_eq!(records.len(), 42, "40 puts, one update, one delete; the refused delete makes no record");
    let mut table: BTreeMap<String, HashMap<String, StreamValue>> = BTreeMap::new();
    for record in &records {
        let change = record.dynamodb().expect("a change");
        let key = format!("{:?}", change.keys().expect("keys").get("sk"));
        match (record.event_name(), change.new_image()) {
            (Some(OperationType::Remove), None) => drop(table.remove(&key)),
            (_, Some(image)) => drop(table.insert(key, image.clone())),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(table.len(), 39);
    println!("{} records rebuilt {} items", records.len(), table.len());
    endpoint.server.stop().await.expect("a graceful stop");
}

#[tokio::test]
async fn batches_paginators_and_refusals() {
    let endpoint = endpoint().await;
    endpoint.table("batches").await;
    let client = &endpoint.dynamodb;
    let writes: Vec<_> = (0..25)
        .map(|i| {
            let put = PutRequest::builder().item("pk", s("b")).item("sk", n(i)).build().expect("complete");
            WriteRequest::builder().put_request(put).build()
        })
        .collect();
    let written = client.batch_write_item().request_items("batches", writes).send().await.expect("BatchWriteItem");
    assert!(written.unprocessed_items().is_some_and(HashMap::is_empty));
    let mut keys = KeysAndAttributes::builder().consistent_read(true);
    for i in 20..30 {
        keys = keys.keys(HashMap::from([("pk".to_owned(), s("b")), ("sk".to_owned(), n(i))]));
    }
    let got = client.batch_get_item().request_items("batches", keys.build().expect("complete")).send().await;
    assert_eq!(got.expect("BatchGetItem").responses.expect("responses")["batches"].len(), 5);
    let mut pages = client.scan().table_name("batches").limit(4).into_paginator().send();
    let (mut items, mut count) = (0, 0);
    while let Some(page) = pages.next().await {
        items += page.expect("Scan").items().len();
        count += 1;
    }
    assert_eq!((items, count), (25, 7));
    let missing = client.get_item().table_name("nobody").key("pk", s("x")).send().await.expect_err("no table");
    assert!(missing.into_service_error().is_resource_not_found_exception());
    let again = client.delete_table().table_name("batches").send().await.expect("DeleteTable");
    assert_eq!(again.table_description.and_then(|t| t.table_status), Some(TableStatus::Deleting));
    endpoint.until("batches", |status| status.is_none()).await;
    endpoint.server.stop().await.expect("a graceful stop");
}
