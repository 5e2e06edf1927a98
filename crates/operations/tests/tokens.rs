//! Idempotency tokens as clients send them: what is the same request, and whose token it is.

#[allow(dead_code)]
mod memory;

use std::sync::Arc;

use headwater_api::AllowAll;
use serde_json::{Value, json};

use memory::InProcess;

async fn create(target: &InProcess) {
    let table = json!({
        "TableName": "case", "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{ "AttributeName": "p", "AttributeType": "S" }],
        "KeySchema": [{ "AttributeName": "p", "KeyType": "HASH" }],
    });
    target.call("CreateTable", table.to_string().as_bytes()).await.expect("a table");
}

/// How often the counter was raised.
async fn count(target: &InProcess) -> Value {
    let get = json!({ "TableName": "case", "Key": { "p": { "S": "a" } } });
    let answer = target.call("GetItem", get.to_string().as_bytes()).await.expect("an item");
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    answer.pointer("/Item/v/N").cloned().unwrap_or_default()
}

const FIRST: &str = r##"{"TransactItems":[{"Update":{"TableName":"case","Key":{"p":{"S":"a"}},"UpdateExpression":
    "ADD v :n SET #x = :x, #y = :y","ExpressionAttributeNames":{"#x":"x","#y":"y"},"ExpressionAttributeValues":
    {":n":{"N":"1"},":x":{"SS":["b","a"]},":y":{"M":{"k":{"N":"10"},"l":{"B":"AAE="}}}}}}],"ClientRequestToken":"one"}"##;

/// The same, other words.
const AGAIN: &str = r##"{ "ClientRequestToken" : "one", "ReturnConsumedCapacity": "NONE", "TransactItems": [ { "Update": {
    "ExpressionAttributeValues": { ":y": { "M": { "l": { "B": "AAE=" }, "k": { "N": "1e1" } } }, ":x": { "SS": ["a", "b"] },
    ":n": { "N": "+1.00" } }, "ExpressionAttributeNames": { "#y": "y", "#\u0078": "x" },
    "ReturnValuesOnConditionCheckFailure": "NONE", "UpdateExpression": "ADD v :n SET #x = :x, #y = :y",
    "Key": { "p": { "S": "\u0061" } },
    "TableName": "arn:aws:dynamodb:us-east-1:000000000000:table/case" } } ] }"##;

#[test]
fn a_request_is_the_same_however_its_json_is_written() {
    memory::run(1, |world| async move {
        let target = InProcess::open(&world, Arc::new(AllowAll)).await;
        create(&target).await;
        for body in [FIRST, AGAIN, FIRST] {
            let answer = target.call("TransactWriteItems", body.as_bytes()).await.expect("done or known");
            assert_eq!(answer, b"{}");
            assert_eq!(count(&target).await, "1", "{body}");
        }
        for (from, to) in
            [("\"10\"", "\"11\""), ("\"ADD v", "\"ADD  v"), ("AAE=", "AAI="), ("\"#x\":\"x\"", "\"#x\":\"z\"")]
        {
            let other = FIRST.replace(from, to);
            assert_ne!(other, FIRST);
            let refusal = target.call("TransactWriteItems", other.as_bytes()).await.expect_err("another request");
            assert_eq!(refusal.name(), "IdempotentParameterMismatchException", "{from} to {to}");
        }
        assert_eq!(count(&target).await, "1");
    });
}

#[test]
fn a_token_is_of_one_account_and_region() {
    memory::run(1, |world| async move {
        let mut target = InProcess::open(&world, Arc::new(AllowAll)).await;
        let places =
            [(memory::ACCOUNT, memory::REGION), (memory::ACCOUNT, "eu-west-1"), ("111111111111", memory::REGION)];
        for (account, region) in places {
            (target.account, target.region) = (account, region);
            create(&target).await;
            for _ in 0..2 {
                target.call("TransactWriteItems", FIRST.as_bytes()).await.expect("done or known");
                assert_eq!(count(&target).await, "1", "{account} {region}");
            }
        }
    });
}
