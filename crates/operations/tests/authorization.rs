//! No operation looks anything up, or answers, before it has asked whether the caller may.

#[allow(dead_code)]
mod memory;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use headwater_api::{Access, AllowAll, Authorizer, Error, Principal, codes, dynamodb, dynamodb_streams};
use headwater_cases::Target;
use serde_json::{Value, json};

use memory::InProcess;

/// Writes down what was asked, and refuses once it is told to.
#[derive(Default)]
struct Recorder {
    refusing: AtomicBool,
    asked: Mutex<Vec<Access>>,
}

impl Authorizer for Recorder {
    fn authorize(&self, _principal: &Principal, accesses: &[Access]) -> Result<(), Error> {
        self.asked.lock().expect("no panic before").extend_from_slice(accesses);
        if self.refusing.load(Ordering::SeqCst) { Err(Error::new(codes::ACCESS_DENIED, "no")) } else { Ok(()) }
    }
}

const TABLE: &str = r#""TableName":"nothing-here""#;

/// More of them: operations on tags and policies, and those that say that something is left out.
const MORE: &str = include_str!("authorization/requests.json");

/// A request that passes every check of its form, for every operation that is built; none of its tables is there.
fn requests(iterator: &str) -> Vec<(String, String)> {
    let more: BTreeMap<String, Value> = serde_json::from_str(MORE).expect("JSON");
    let more = more.into_iter().map(|(operation, request)| (operation, request.to_string()));
    let items = item_requests(iterator).into_iter().map(|(operation, request)| (operation.to_owned(), request));
    items.chain(more).collect()
}

fn item_requests(iterator: &str) -> Vec<(&'static str, String)> {
    let schema = r#""AttributeDefinitions":[{"AttributeName":"p","AttributeType":"S"}],
        "KeySchema":[{"AttributeName":"p","KeyType":"HASH"}],"BillingMode":"PAY_PER_REQUEST""#;
    let arn = "arn:aws:dynamodb:us-east-1:000000000000:table/nothing-here/stream/2026-01-01T00:00:00.000";
    let shard = "shardId-00000000000000000000-00000000";
    vec![
        ("BatchGetItem", r#"{"RequestItems":{"nothing-here":{"Keys":[{"p":{"S":"a"}}]}}}"#.to_owned()),
        ("BatchWriteItem", r#"{"RequestItems":{"nothing-here":[{"PutRequest":{"Item":{"p":{"S":"a"}}}}]}}"#.to_owned()),
        ("CreateTable", format!("{{{TABLE},{schema}}}")),
        ("DeleteItem", format!(r#"{{{TABLE},"Key":{{"p":{{"S":"a"}}}}}}"#)),
        ("DeleteTable", format!("{{{TABLE}}}")),
        ("DescribeEndpoints", "{}".to_owned()),
        ("DescribeLimits", "{}".to_owned()),
        ("DescribeStream", format!(r#"{{"StreamArn":"{arn}"}}"#)),
        ("DescribeTable", format!("{{{TABLE}}}")),
        ("GetItem", format!(r#"{{{TABLE},"Key":{{"p":{{"S":"a"}}}}}}"#)),
        ("GetRecords", format!(r#"{{"ShardIterator":"{iterator}"}}"#)),
        (
            "GetShardIterator",
            format!(r#"{{"StreamArn":"{arn}","ShardId":"{shard}","ShardIteratorType":"TRIM_HORIZON"}}"#),
        ),
        ("ListStreams", "{}".to_owned()),
        ("ListTables", "{}".to_owned()),
        ("PutItem", format!(r#"{{{TABLE},"Item":{{"p":{{"S":"a"}}}}}}"#)),
        (
            "Query",
            format!(
                r#"{{{TABLE},"KeyConditionExpression":"p = :p","ExpressionAttributeValues":{{":p":{{"S":"a"}}}}}}"#
            ),
        ),
        ("Scan", format!("{{{TABLE}}}")),
        ("UpdateItem", format!(r#"{{{TABLE},"Key":{{"p":{{"S":"a"}}}}}}"#)),
        ("UpdateTable", format!(r#"{{{TABLE},"BillingMode":"PAY_PER_REQUEST"}}"#)),
    ]
}

/// Operations of the model that have no request here: transactions ask for the actions of their items.
const TRANSACTIONS: usize = 2;

#[test]
fn every_operation_asks_before_it_looks_anything_up() {
    memory::run(1, |world| async move {
        let recorder = Arc::new(Recorder::default());
        let target = InProcess::open(&world, recorder.clone()).await;
        let iterator = iterator(&target).await;
        recorder.refusing.store(true, Ordering::SeqCst);
        let requests = requests(&iterator);
        let known = dynamodb::OPERATIONS.len() + dynamodb_streams::OPERATIONS.len();
        assert_eq!(requests.len() + TRANSACTIONS, known, "a newly built operation needs its request here");
        for (operation, request) in requests {
            recorder.asked.lock().expect("no panic before").clear();
            let refusal = target.call(&operation, request.as_bytes()).await.expect_err(&operation);
            assert_eq!(refusal.name(), "AccessDeniedException", "{operation}: {refusal}");
            let asked = recorder.asked.lock().expect("no panic before").clone();
            let action = format!("dynamodb:{operation}");
            assert!(!asked.is_empty() && asked.iter().all(|access| access.action == action), "{operation}: {asked:?}");
        }
    });
}

/// Whichever name a table's stream is given to Kinesis's operations by, a policy knows it by one.
#[test]
fn a_tables_stream_is_one_resource_of_kinesis() {
    memory::run(1, |world| async move {
        let recorder = Arc::new(Recorder::default());
        let target = InProcess::open(&world, recorder.clone()).await;
        recorder.refusing.store(true, Ordering::SeqCst);
        let name = "ddb.nothing-here.20260101000000000";
        let arn = format!("arn:aws:kinesis:us-east-1:000000000000:stream/{name}");
        let own = "arn:aws:dynamodb:us-east-1:000000000000:table/nothing-here/stream/2026-01-01T00:00:00.000";
        for request in [json!({ "StreamName": name }), json!({ "StreamARN": arn }), json!({ "StreamARN": own })] {
            for action in ["kinesis:DescribeStreamSummary", "kinesis:DescribeStream", "kinesis:ListShards"] {
                recorder.asked.lock().expect("no panic before").clear();
                let refusal = target.call(action, request.to_string().as_bytes()).await.expect_err(action);
                assert_eq!(refusal.name(), "AccessDeniedException", "{action}: {refusal}");
                let asked = recorder.asked.lock().expect("no panic before").clone();
                let found: Vec<_> = asked.iter().map(|access| (access.action, &*access.resource_arn)).collect();
                assert_eq!(found, [(action, &*arn)], "{request}");
            }
        }
    });
}

#[test]
fn a_transaction_asks_for_the_actions_of_its_items() {
    memory::run(1, |world| async move {
        let recorder = Arc::new(Recorder::default());
        let target = InProcess::open(&world, recorder.clone()).await;
        recorder.refusing.store(true, Ordering::SeqCst);
        let key = json!({ "p": { "S": "a" } });
        let write = json!({ "TransactItems": [
            { "Put": { "TableName": "put-here", "Item": key } },
            { "Update": { "TableName": "update-here", "Key": key, "UpdateExpression": "REMOVE a" } },
            { "Delete": { "TableName": "delete-here", "Key": key } },
            { "ConditionCheck": { "TableName": "check-here", "Key": key, "ConditionExpression": "attribute_exists(p)" } },
            { "Put": { "TableName": "put-here", "Item": { "p": { "S": "b" } } } },
        ] });
        let get = json!({ "TransactItems": [{ "Get": { "TableName": "get-here", "Key": key } }] });
        let writes = [
            ("dynamodb:PutItem", "put-here"),
            ("dynamodb:UpdateItem", "update-here"),
            ("dynamodb:DeleteItem", "delete-here"),
            ("dynamodb:ConditionCheckItem", "check-here"),
        ];
        let cases = [
            ("TransactWriteItems", write, &writes[..]),
            ("TransactGetItems", get, &[("dynamodb:GetItem", "get-here")][..]),
        ];
        for (operation, request, expected) in cases {
            recorder.asked.lock().expect("no panic before").clear();
            let refusal = target.call(operation, request.to_string().as_bytes()).await.expect_err(operation);
            assert_eq!(refusal.name(), "AccessDeniedException", "{operation}: {refusal}");
            let asked = recorder.asked.lock().expect("no panic before").clone();
            let mut expected: Vec<(&str, String)> = expected
                .iter()
                .map(|(action, table)| {
                    (*action, format!("arn:aws:dynamodb:{}:{}:table/{table}", memory::REGION, memory::ACCOUNT))
                })
                .collect();
            let mut found: Vec<(&str, String)> =
                asked.iter().map(|access| (access.action, access.resource_arn.clone())).collect();
            expected.sort();
            found.sort();
            assert_eq!(found, expected, "{operation}");
            let enclosing = ("dynamodb:EnclosingOperation".to_owned(), operation.to_owned());
            assert!(asked.iter().all(|access| access.condition_keys.contains(&enclosing)), "{asked:?}");
        }
    });
}

#[test]
fn records_are_asked_for_by_their_streams_name() {
    memory::run(1, |world| async move {
        let recorder = Arc::new(Recorder::default());
        let target = InProcess::open(&world, recorder.clone()).await;
        let iterator = iterator(&target).await;
        recorder.asked.lock().expect("no panic before").clear();
        target.call("GetRecords", format!(r#"{{"ShardIterator":"{iterator}"}}"#).as_bytes()).await.expect("readable");
        let asked = recorder.asked.lock().expect("no panic before").clone();
        let stream = "arn:aws:dynamodb:us-east-1:000000000000:table/streaming/stream/";
        assert!(asked.iter().all(|access| access.resource_arn.starts_with(stream)) && asked.len() == 1, "{asked:?}");
    });
}

#[test]
fn no_policy_is_kept_that_verified_callers_would_rely_on() {
    memory::run(1, |world| async move {
        let mut target = InProcess::open(&world, Arc::new(AllowAll)).await;
        target.operations = target.operations.clone().verifying_callers(true);
        let policy = r#"{"Statement":{"Effect":"Deny","Principal":"*","Action":"dynamodb:*","Resource":"*"}}"#;
        let create = |policy: Option<&str>| {
            let mut request = json!({
                "TableName": "guarded", "BillingMode": "PAY_PER_REQUEST",
                "AttributeDefinitions": [{ "AttributeName": "p", "AttributeType": "S" }],
                "KeySchema": [{ "AttributeName": "p", "KeyType": "HASH" }],
            });
            if let Some(policy) = policy {
                request["ResourcePolicy"] = json!(policy);
            }
            request
        };
        let text =
            "This server does not enforce resource-based policies yet, so it keeps none while it verifies credentials";
        let refused = |(status, body): (u16, Value)| {
            assert_eq!((status, body["message"].as_str()), (400, Some(text)), "{body}");
        };
        refused(target.send("CreateTable", &create(Some(policy))).await);
        assert_eq!(target.send("CreateTable", &create(None)).await.0, 200);
        let arn = format!("arn:aws:dynamodb:{}:{}:table/guarded", memory::REGION, memory::ACCOUNT);
        refused(target.send("PutResourcePolicy", &json!({ "ResourceArn": arn, "Policy": policy })).await);
        let (status, body) = target.send("GetResourcePolicy", &json!({ "ResourceArn": arn })).await;
        assert!(
            status == 400 && body["__type"].as_str().is_some_and(|name| name.ends_with("#PolicyNotFoundException"))
        );
    });
}

/// An iterator on a table of its own.
async fn iterator(target: &InProcess) -> String {
    let text = |body: &[u8], pointer: &str| {
        let value: serde_json::Value = serde_json::from_slice(body).expect("JSON");
        value.pointer(pointer).and_then(|value| value.as_str()).expect(pointer).to_owned()
    };
    let create = br#"{"TableName":"streaming","AttributeDefinitions":[{"AttributeName":"p","AttributeType":"S"}],
        "KeySchema":[{"AttributeName":"p","KeyType":"HASH"}],"BillingMode":"PAY_PER_REQUEST",
        "StreamSpecification":{"StreamEnabled":true,"StreamViewType":"KEYS_ONLY"}}"#;
    let table = target.call("CreateTable", create).await.expect("a table");
    let arn = text(&table, "/TableDescription/LatestStreamArn");
    let stream = target.call("DescribeStream", format!(r#"{{"StreamArn":"{arn}"}}"#).as_bytes()).await.expect("it");
    let shard = text(&stream, "/StreamDescription/Shards/0/ShardId");
    let request = format!(r#"{{"StreamArn":"{arn}","ShardId":"{shard}","ShardIteratorType":"TRIM_HORIZON"}}"#);
    let answer = target.call("GetShardIterator", request.as_bytes()).await.expect("an iterator");
    text(&answer, "/ShardIterator")
}
