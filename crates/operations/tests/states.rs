//! Short states of tables and streams, and a store in trouble: who is refused, and with which words.

#[allow(dead_code)]
mod memory;

use std::sync::Arc;
use std::time::Duration;

use headwater_api::AllowAll;
use headwater_cases::Target;
use headwater_storage::memory::Faults;
use serde_json::{Value, json};

use memory::InProcess;

/// How long a short state lasts here, in pauses of the harness.
const SHORT: Duration = Duration::from_millis(200);

fn create() -> Value {
    json!({
        "TableName": "case", "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{ "AttributeName": "p", "AttributeType": "S" }],
        "KeySchema": [{ "AttributeName": "p", "KeyType": "HASH" }],
        "StreamSpecification": { "StreamEnabled": true, "StreamViewType": "KEYS_ONLY" },
    })
}

fn named() -> Value {
    json!({ "TableName": "case" })
}

fn put() -> Value {
    json!({ "TableName": "case", "Item": { "p": { "S": "a" } } })
}

fn stream_off() -> Value {
    json!({ "TableName": "case", "StreamSpecification": { "StreamEnabled": false } })
}

/// The code and text of a refusal.
async fn refusal(target: &InProcess, operation: &str, request: Value) -> (String, String) {
    let (status, body) = target.send(operation, &request).await;
    assert_ne!(status, 200, "{operation} is not refused: {body}");
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    (text("__type").rsplit('#').next().unwrap_or_default().to_owned(), text("message"))
}

async fn answer(target: &InProcess, operation: &str, request: Value) -> Value {
    let (status, body) = target.send(operation, &request).await;
    assert_eq!(status, 200, "{operation}: {body}");
    body
}

async fn settled(target: &InProcess) -> bool {
    for _ in 0..1_000 {
        let (status, body) = target.send("DescribeTable", &named()).await;
        if status != 200 {
            return false;
        }
        if body.pointer("/Table/TableStatus") == Some(&json!("ACTIVE")) {
            return true;
        }
        target.pause().await;
    }
    panic!("the table stays in a short state");
}

#[test]
fn short_states_are_seen_and_refuse_what_the_service_refuses() {
    memory::run(1, |world| async move {
        let target = InProcess::open_with(&world, Arc::new(AllowAll), SHORT).await;
        let not_found = ("ResourceNotFoundException".to_owned(), "Requested resource not found".to_owned());
        let in_use = |state: &str| {
            let text = format!("Attempt to change a resource which is still in use: Table is being {state}: case");
            ("ResourceInUseException".to_owned(), text)
        };
        let created = answer(&target, "CreateTable", create()).await;
        assert_eq!(created["TableDescription"]["TableStatus"], "CREATING");
        assert_eq!(refusal(&target, "PutItem", put()).await, not_found);
        assert_eq!(refusal(&target, "Scan", named()).await, not_found);
        assert_eq!(refusal(&target, "DeleteTable", named()).await, in_use("created"));
        assert_eq!(refusal(&target, "UpdateTable", stream_off()).await, in_use("created"));
        let (code, text) = refusal(&target, "CreateTable", create()).await;
        assert_eq!((code.as_str(), text.as_str()), ("ResourceInUseException", "Table already exists: case"));
        assert!(settled(&target).await);

        let arn = answer(&target, "DescribeTable", named()).await["Table"]["LatestStreamArn"].clone();
        let status = async || {
            let described = answer(&target, "DescribeStream", json!({ "StreamArn": arn })).await;
            described["StreamDescription"]["StreamStatus"].as_str().unwrap_or_default().to_owned()
        };
        assert_eq!(status().await, "ENABLED");
        let updated = answer(&target, "UpdateTable", stream_off()).await;
        assert_eq!(updated["TableDescription"]["TableStatus"], "UPDATING");
        assert_eq!(status().await, "DISABLING");
        answer(&target, "PutItem", put()).await;
        assert_eq!(refusal(&target, "DeleteTable", named()).await, in_use("updated"));
        assert!(settled(&target).await);
        assert_eq!(status().await, "DISABLED");

        let deleted = answer(&target, "DeleteTable", named()).await;
        assert_eq!(deleted["TableDescription"]["TableStatus"], "DELETING");
        assert_eq!(refusal(&target, "PutItem", put()).await, not_found);
        assert_eq!(refusal(&target, "DeleteTable", named()).await, in_use("deleted"));
        assert!(!settled(&target).await, "the table is gone at last");
        assert_eq!(status().await, "DISABLED");
    });
}

#[test]
fn a_full_disk_is_told_by_name_and_passes() {
    memory::run(1, |world| async move {
        let target = InProcess::open(&world, Arc::new(AllowAll)).await;
        answer(&target, "CreateTable", create()).await;
        target.cell.set_faults(Faults { full: 10_000, ..Faults::NONE });
        let (code, text) = refusal(&target, "PutItem", put()).await;
        assert_eq!(code, "ThrottlingException");
        assert_eq!(text, "The server's disk is full: writes are refused until there is space again");
        let batch = json!({ "RequestItems": { "case": [{ "PutRequest": { "Item": { "p": { "S": "b" } } } }] } });
        assert_eq!(refusal(&target, "BatchWriteItem", batch.clone()).await.0, "ThrottlingException");
        assert_eq!(answer(&target, "Scan", named()).await["Count"], 0, "reads go on, and nothing was written");
        target.cell.set_faults(Faults::NONE);
        assert_eq!(answer(&target, "BatchWriteItem", batch).await, json!({ "UnprocessedItems": {} }));
        answer(&target, "PutItem", put()).await;
        assert_eq!(answer(&target, "Scan", named()).await["Count"], 2);
    });
}

#[test]
fn a_closed_store_is_an_error_of_the_server() {
    memory::run(1, |world| async move {
        let target = InProcess::open(&world, Arc::new(AllowAll)).await;
        answer(&target, "CreateTable", create()).await;
        target.log.close().await.expect("it closes");
        let (status, body) = target.send("PutItem", &put()).await;
        assert_eq!((status, body["message"].as_str()), (500, Some("Internal server error")), "{body}");
        let error = target.call("PutItem", put().to_string().as_bytes()).await.expect_err("closed");
        assert!(error.cause().is_some_and(|cause| cause.contains("closed")), "the log learns why: {error:?}");
    });
}
