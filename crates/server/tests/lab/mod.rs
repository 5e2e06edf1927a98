//! What the tests of the control API share: a server with it, calls as clients make them, the command.

#![allow(dead_code, reason = "each test uses some of it")]

pub mod sender;

use std::net::SocketAddr;
use std::process::{Command, Output};

use headwater_server::{Config, ControlAccess, RunningServer, start_in_process};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

pub const TOKEN: &str = "a-token-of-the-tests";

pub async fn started() -> RunningServer {
    let config = Config { control: ControlAccess::Token(TOKEN.to_owned()), ..Config::for_test() };
    start_in_process(config).await.expect("it starts")
}

/// Status and body of the answer.
pub async fn send(to: SocketAddr, request: Request<Full<bytes::Bytes>>) -> (u16, Value) {
    exchange(to, request).await.expect("an answer")
}

/// The same; none when the connection ends before an answer.
pub async fn exchange(to: SocketAddr, request: Request<Full<bytes::Bytes>>) -> Option<(u16, Value)> {
    let stream = tokio::net::TcpStream::connect(to).await.expect("it listens");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("it speaks HTTP");
    let exchange = async {
        let answer = sender.send_request(request).await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.into_body().collect().await.expect("a whole body").to_bytes()))
    };
    let (status, body) = tokio::select! {
        biased;
        exchanged = exchange => exchanged?,
        _ = connection => return None,
    };
    Some((status, serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body)))))
}

/// A signed call, as a client makes it.
pub async fn call(server: &RunningServer, target: &str, region: &str, body: &Value) -> (u16, Value) {
    send(server.addresses().dynamodb, signed(target, region, body)).await
}

/// The request of it.
pub fn signed(target: &str, region: &str, body: &Value) -> Request<Full<bytes::Bytes>> {
    let scope = format!("k/20260101/{region}/dynamodb/aws4_request");
    let signature = "a".repeat(64);
    Request::post("/")
        .header("host", "localhost")
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", target)
        .header("x-amz-date", "20260101T000000Z")
        .header(
            "authorization",
            format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature={signature}"),
        )
        .body(Full::new(body.to_string().into()))
        .expect("a request")
}

pub async fn dynamodb(server: &RunningServer, operation: &str, body: Value) -> Value {
    let (status, answer) = call(server, &format!("DynamoDB_20120810.{operation}"), "eu-west-1", &body).await;
    assert_eq!(status, 200, "{operation}: {answer}");
    answer
}

pub async fn streams(server: &RunningServer, operation: &str, body: Value) -> (u16, Value) {
    call(server, &format!("DynamoDBStreams_20120810.{operation}"), "eu-west-1", &body).await
}

pub fn definition(name: &str) -> Value {
    json!({
        "TableName": name, "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "p", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "p", "KeyType": "HASH"}],
        "StreamSpecification": {"StreamEnabled": true, "StreamViewType": "KEYS_ONLY"},
    })
}

/// A table with a stream and ten items; the stream's ARN.
pub async fn table(server: &RunningServer) -> String {
    let made = dynamodb(server, "CreateTable", definition("lab")).await;
    while dynamodb(server, "DescribeTable", json!({"TableName": "lab"})).await["Table"]["TableStatus"] != "ACTIVE" {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    for item in 0..10 {
        dynamodb(server, "PutItem", json!({"TableName": "lab", "Item": {"p": {"S": format!("{item}")}}})).await;
    }
    made["TableDescription"]["LatestStreamArn"].as_str().expect("a stream").to_owned()
}

pub async fn iterator(server: &RunningServer, arn: &str, shard: &str) -> Value {
    let ask = json!({"StreamArn": arn, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"});
    let (status, answer) = streams(server, "GetShardIterator", ask).await;
    assert_eq!(status, 200, "{answer}");
    answer["ShardIterator"].clone()
}

pub async fn records(server: &RunningServer, arn: &str, shard: &str) -> usize {
    let (_, page) = streams(server, "GetRecords", json!({"ShardIterator": iterator(server, arn, shard).await})).await;
    page["Records"].as_array().expect("records").len()
}

pub async fn api(server: &RunningServer, method: Method, path: &str, token: &str, body: &str) -> (u16, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("authorization", format!("Bearer {token}"))
        .body(Full::new(body.to_owned().into()))
        .expect("a request");
    send(server.addresses().admin.expect("an admin address"), request).await
}

pub fn ctl(server: &RunningServer, arguments: &[&str]) -> Output {
    let admin = format!("http://{}", server.addresses().admin.expect("an admin address"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    command.arg("ctl").args(arguments).env("HEADWATER_ADMIN_URL", admin).env("HEADWATER_CONTROL_TOKEN", TOKEN);
    command.output().expect("the binary runs")
}

/// A figure of the metrics page.
pub async fn metric(server: &RunningServer, name: &str) -> u64 {
    let page = Request::get("/metrics").header("host", "localhost").body(Full::default()).expect("a request");
    let (status, page) = send(server.addresses().admin.expect("an admin address"), page).await;
    let line = page.as_str().and_then(|page| page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}: {status}"))
}

/// Waits until a figure of the metrics page is this.
pub async fn metric_becomes(server: &RunningServer, name: &str, wanted: u64) {
    let mut found = metric(server, name).await;
    for _ in 0..sender::LOOKS_MAX {
        if found == wanted {
            return;
        }
        tokio::time::sleep(sender::PAUSE).await;
        found = metric(server, name).await;
    }
    panic!("{name} is {found} and never {wanted}");
}
