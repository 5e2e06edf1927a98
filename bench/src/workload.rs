//! Requests as bytes on the wire: the same that an SDK sends, made once, before the clock runs.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::keys::Choice;
use crate::load::Connection;

/// Keys over which puts and gets are spread.
pub const KEYS: usize = 20_000;
/// Items of one partition key that a query reads.
pub const QUERY_ITEMS: usize = 25;
/// Most indexes that a table of the benches has.
pub const INDEXES_MAX: usize = 5;

/// One HTTP request, head and body.
pub fn request(target: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let version = if target.starts_with("Kinesis_") { "1.1" } else { "1.0" };
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-{version}\r\nX-Amz-Target: {target}\r\n\
         X-Amz-Date: 20260101T000000Z\r\nAuthorization: AWS4-HMAC-SHA256 Credential=bench/20260101/eu-west-1/dynamodb/\
         aws4_request, SignedHeaders=host;x-amz-date;x-amz-target, \
         Signature=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

fn dynamodb(operation: &str, body: &Value) -> Vec<u8> {
    request(&format!("DynamoDB_20120810.{operation}"), body)
}

/// An item of about `size` bytes with eleven attributes, as real items have several. No two are alike: a put of what is
/// there already writes nothing, and would be measured as a put.
pub fn item(key: usize, version: usize, size: usize) -> Value {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let made = MADE.fetch_add(1, Ordering::Relaxed);
    let part = "x".repeat(size.saturating_sub(60) / 8);
    let mut item = json!({"pk": {"S": format!("p{}", key / QUERY_ITEMS)}, "sk": {"N": (key % QUERY_ITEMS).to_string()},
        "version": {"N": made.to_string()}});
    for attribute in 0..8 {
        item[format!("a{attribute}")] = json!({"S": format!("{part}{}", version % 10)});
    }
    item
}

/// The `at`-th request of lists of one length, one list behind the other and then over again: of three versions of the
/// same puts none comes again before the others came, so that each put is a change.
pub fn nth(lists: &[Vec<Vec<u8>>], at: usize) -> &[u8] {
    let length = lists[0].len();
    &lists[at / length % lists.len()][at % length]
}

/// PutItem over all keys, each with a content of its own.
pub fn puts(table: &str, size: usize, version: usize) -> Vec<Vec<u8>> {
    (0..KEYS)
        .map(|key| dynamodb("PutItem", &json!({"TableName": table, "Item": item(key * 7919 % KEYS, version, size)})))
        .collect()
}

/// PutItem over these keys.
pub fn puts_of(table: &str, size: usize, version: usize, keys: &[usize]) -> Vec<Vec<u8>> {
    let put = |key: &usize| dynamodb("PutItem", &json!({"TableName": table, "Item": item(*key, version, size)}));
    keys.iter().map(put).collect()
}

/// PutItem over all keys of items that have an attribute for each of five indexes.
pub fn indexed_puts(table: &str, size: usize, version: usize) -> Vec<Vec<u8>> {
    let put = |at: usize| {
        let key = at * 7919 % KEYS;
        let mut item = item(key, version, size);
        for index in 0..INDEXES_MAX {
            item[format!("group{index}")] = json!({"S": format!("group {}", key % 997)});
        }
        dynamodb("PutItem", &json!({"TableName": table, "Item": item}))
    };
    (0..KEYS).map(put).collect()
}

/// PutItem over all keys in their order, so that few requests already fill whole partition keys.
pub fn puts_in_order(table: &str, size: usize, version: usize) -> Vec<Vec<u8>> {
    let put = |key: usize| dynamodb("PutItem", &json!({"TableName": table, "Item": item(key, version, size)}));
    (0..KEYS).map(put).collect()
}

/// The key attributes of the `key`-th item.
pub fn key(key: usize) -> Value {
    json!({"pk": {"S": format!("p{}", key / QUERY_ITEMS)}, "sk": {"N": (key % QUERY_ITEMS).to_string()}})
}

/// UpdateItem over all keys: a counter is raised and one attribute set.
pub fn updates(table: &str) -> Vec<Vec<u8>> {
    updates_of(table, &Choice::Even.keys(KEYS))
}

/// The same over these keys.
pub fn updates_of(table: &str, keys: &[usize]) -> Vec<Vec<u8>> {
    let body = |at: &usize| {
        json!({"TableName": table, "Key": key(*at),
            "UpdateExpression": "SET seen = if_not_exists(seen, :zero) + :one, a0 = :text",
            "ExpressionAttributeValues": {":zero": {"N": "0"}, ":one": {"N": "1"}, ":text": {"S": format!("text {at}")}}})
    };
    keys.iter().map(|at| dynamodb("UpdateItem", &body(at))).collect()
}

/// BatchWriteItem of 25 puts each.
pub fn batch_writes(table: &str, size: usize, version: usize) -> Vec<Vec<u8>> {
    batches_of(table, size, version, 0..KEYS)
}

/// The same over these key numbers, a multiple of 25.
pub fn batches_of(table: &str, size: usize, version: usize, keys: Range<usize>) -> Vec<Vec<u8>> {
    let batch = |first: usize| {
        let puts: Vec<Value> =
            (first..first + QUERY_ITEMS).map(|key| json!({"PutRequest": {"Item": item(key, version, size)}})).collect();
        dynamodb("BatchWriteItem", &json!({"RequestItems": {table: puts}}))
    };
    keys.step_by(QUERY_ITEMS).map(batch).collect()
}

/// TransactWriteItems of two puts, an update and a condition check, over all keys.
pub fn transactions(table: &str, size: usize, version: usize) -> Vec<Vec<u8>> {
    let body = |at: usize| {
        let first = at * 4;
        json!({"TransactItems": [
            {"Put": {"TableName": table, "Item": item(first, version, size)}},
            {"Put": {"TableName": table, "Item": item(first + 1, version, size)}},
            {"Update": {"TableName": table, "Key": key(first + 2), "UpdateExpression": "ADD seen :one",
                "ExpressionAttributeValues": {":one": {"N": "1"}}}},
            {"ConditionCheck": {"TableName": table, "Key": key(first + 3), "ConditionExpression": "attribute_not_exists(nothing)"}},
        ]})
    };
    (0..KEYS / 4).map(|at| dynamodb("TransactWriteItems", &body(at))).collect()
}

/// GetItem over all keys.
pub fn gets(table: &str) -> Vec<Vec<u8>> {
    gets_of(table, &Choice::Even.keys(KEYS))
}

/// GetItem over these keys.
pub fn gets_of(table: &str, keys: &[usize]) -> Vec<Vec<u8>> {
    keys.iter().map(|at| dynamodb("GetItem", &json!({"TableName": table, "Key": key(*at)}))).collect()
}

/// Query of one partition key's 25 items.
pub fn queries(table: &str) -> Vec<Vec<u8>> {
    let body = |pk: usize| {
        json!({"TableName": table, "KeyConditionExpression": "pk = :p",
            "ExpressionAttributeValues": {":p": {"S": format!("p{pk}")}}})
    };
    (0..KEYS / QUERY_ITEMS).map(|pk| dynamodb("Query", &body(pk))).collect()
}

/// How long the answer to a get is. Unit: bytes.
pub fn answer_bytes(size: usize) -> usize {
    json!({"Item": item(0, 0, size)}).to_string().len()
}

/// The same bytes as PutItem for the bare server, which only reads them and answers.
pub fn bare(size: usize) -> Vec<Vec<u8>> {
    puts("bare", size, 1)
}

/// Creates a table with so many global indexes, each with all attributes, and waits until all are ACTIVE.
pub fn create_indexed_table(connection: &mut Connection, name: &str, indexes: usize) -> Result<()> {
    let mut body = definition(name);
    let names: Vec<String> = (0..indexes).map(|index| format!("group{index}")).collect();
    let attributes = body["AttributeDefinitions"].as_array_mut().context("attributes")?;
    attributes.extend(names.iter().map(|name| json!({"AttributeName": name, "AttributeType": "S"})));
    let index = |name: &String| {
        json!({"IndexName": name, "KeySchema": [{"AttributeName": name, "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "ALL"}})
    };
    if indexes > 0 {
        body["GlobalSecondaryIndexes"] = names.iter().map(index).collect();
    }
    create(connection, &body).map(drop)
}

/// Creates a table and waits until it is ACTIVE; returns its stream's ARN if it has one.
pub fn create_table(connection: &mut Connection, name: &str, stream: bool) -> Result<Option<String>> {
    let mut body = definition(name);
    if stream {
        body["StreamSpecification"] = json!({"StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES"});
    }
    create(connection, &body)
}

fn definition(name: &str) -> Value {
    json!({"TableName": name, "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "sk", "AttributeType": "N"}],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]})
}

fn create(connection: &mut Connection, body: &Value) -> Result<Option<String>> {
    connection.call(&dynamodb("CreateTable", body)).context("CreateTable")?;
    loop {
        let answer = connection.call(&dynamodb("DescribeTable", &json!({"TableName": body["TableName"]})))?;
        let table: Value = serde_json::from_slice(answer)?;
        if table["Table"]["TableStatus"] == "ACTIVE" {
            return Ok(table["Table"]["LatestStreamArn"].as_str().map(str::to_owned));
        }
        std::thread::yield_now();
    }
}

/// Iterators at the tip of every shard of a stream.
pub fn tails(connection: &mut Connection, arn: &str) -> Result<Vec<String>> {
    let call = |connection: &mut Connection, operation: &str, body: &Value| -> Result<Value> {
        let answer = connection.call(&request(&format!("DynamoDBStreams_20120810.{operation}"), body))?;
        Ok(serde_json::from_slice(answer)?)
    };
    let described = call(connection, "DescribeStream", &json!({"StreamArn": arn}))?;
    let shards = described["StreamDescription"]["Shards"].as_array().context("shards")?.clone();
    let mut iterators = Vec::new();
    for shard in shards {
        let body = json!({"StreamArn": arn, "ShardId": shard["ShardId"], "ShardIteratorType": "LATEST"});
        let answer = call(connection, "GetShardIterator", &body)?;
        iterators.push(answer["ShardIterator"].as_str().context("an iterator")?.to_owned());
    }
    Ok(iterators)
}

/// One GetRecords; returns how many records came and the next iterator.
pub fn get_records(connection: &mut Connection, iterator: &str) -> Result<(usize, Option<String>)> {
    let body = json!({"ShardIterator": iterator});
    let answer: Value =
        serde_json::from_slice(connection.call(&request("DynamoDBStreams_20120810.GetRecords", &body))?)?;
    let records = answer["Records"].as_array().map_or(0, Vec::len);
    Ok((records, answer["NextShardIterator"].as_str().map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_put_comes_again_before_all_others_came() {
        let lists: Vec<_> = (0..3).map(|version| puts_of("plain", 100, version, &[3, 1])).collect();
        let all: BTreeSet<&[u8]> = (0..6).map(|at| nth(&lists, at)).collect();
        assert_eq!(all.len(), 6);
        assert!(all.contains(lists[2][1].as_slice()));
        assert_eq!(nth(&lists, 2), lists[1][0]);
        assert_eq!(nth(&lists, 6), lists[0][0]);
    }
}
