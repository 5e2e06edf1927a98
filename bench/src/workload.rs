//! Requests as bytes on the wire: the same that an SDK sends, made once, before the clock runs.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::load::Connection;

/// Keys over which puts and gets are spread.
pub const KEYS: usize = 20_000;
/// Items of one partition key that a query reads.
pub const QUERY_ITEMS: usize = 25;

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

/// An item of about `size` bytes with ten attributes, as real items have several.
pub fn item(key: usize, version: usize, size: usize) -> Value {
    let part = "x".repeat(size.saturating_sub(60) / 8);
    let mut item = json!({"pk": {"S": format!("p{}", key / QUERY_ITEMS)}, "sk": {"N": (key % QUERY_ITEMS).to_string()},
        "version": {"N": version.to_string()}});
    for attribute in 0..8 {
        item[format!("a{attribute}")] = json!({"S": format!("{part}{}", version % 10)});
    }
    item
}

/// PutItem over all keys, each with a content of its own.
pub fn puts(table: &str, size: usize, version: usize) -> Vec<Vec<u8>> {
    (0..KEYS)
        .map(|key| dynamodb("PutItem", &json!({"TableName": table, "Item": item(key * 7919 % KEYS, version, size)})))
        .collect()
}

/// GetItem over all keys.
pub fn gets(table: &str) -> Vec<Vec<u8>> {
    let key = |key: usize| json!({"pk": {"S": format!("p{}", key / QUERY_ITEMS)}, "sk": {"N": (key % QUERY_ITEMS).to_string()}});
    (0..KEYS).map(|i| dynamodb("GetItem", &json!({"TableName": table, "Key": key(i * 7919 % KEYS)}))).collect()
}

/// Query of one partition key's 25 items.
pub fn queries(table: &str) -> Vec<Vec<u8>> {
    let body = |pk: usize| {
        json!({"TableName": table, "KeyConditionExpression": "pk = :p",
            "ExpressionAttributeValues": {":p": {"S": format!("p{pk}")}}})
    };
    (0..KEYS / QUERY_ITEMS).map(|pk| dynamodb("Query", &body(pk))).collect()
}

/// The same bytes as PutItem for the bare server, which only reads them and answers.
pub fn bare(size: usize) -> Vec<Vec<u8>> {
    puts("bare", size, 1)
}

/// Creates a table and waits until it is ACTIVE; returns its stream's ARN if it has one.
pub fn create_table(connection: &mut Connection, name: &str, stream: bool) -> Result<Option<String>> {
    let mut body = json!({"TableName": name, "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "sk", "AttributeType": "N"}],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]});
    if stream {
        body["StreamSpecification"] = json!({"StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES"});
    }
    connection.call(&dynamodb("CreateTable", &body)).context("CreateTable")?;
    loop {
        let answer = connection.call(&dynamodb("DescribeTable", &json!({"TableName": name})))?;
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
