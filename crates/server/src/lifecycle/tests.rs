use std::sync::Arc;
use std::time::Duration;

use headwater_storage::embedded::{IndexKind, Settings};
use headwater_storage::files::faulty::{Faults, Faulty};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;

use super::*;
use crate::Options;

fn config() -> Config {
    let free = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let options = Options { listen: free, in_memory: Some(true), ..Options::default() };
    Config::check(options).expect("a sound configuration")
}

async fn call(server: &RunningServer, operation: &str, body: &str) -> (u16, String) {
    let stream = tokio::net::TcpStream::connect(server.addresses().dynamodb).await.expect("it listens");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("it speaks HTTP");
    drop(tokio_runtime::on(tokio::runtime::Handle::current()).spawn(connection));
    let request = hyper::Request::post("/")
        .header("host", "localhost")
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
        .header("x-amz-date", "20260101T000000Z")
        .header(
            "authorization",
            format!(
                "AWS4-HMAC-SHA256 Credential=k/20260101/eu-west-1/dynamodb/aws4_request, SignedHeaders=host;x-amz-date, \
                 Signature={}",
                "a".repeat(64)
            ),
        )
        .body(Full::new(bytes::Bytes::from(body.to_owned())))
        .expect("a request");
    let answer = sender.send_request(request).await.expect("an answer");
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    (status, String::from_utf8(body.to_vec()).expect("text"))
}

const TABLE: &str = r#"{"TableName": "ttt", "BillingMode": "PAY_PER_REQUEST",
    "AttributeDefinitions": [{"AttributeName": "p", "AttributeType": "S"}],
    "KeySchema": [{"AttributeName": "p", "KeyType": "HASH"}]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_is_told_to_who_runs_the_server() {
    let files = Faulty::new();
    let settings = Settings::on(Arc::new(files.clone()), "data", IndexKind::OrderedMap);
    let server = start_on(config(), settings).await.expect("it starts");
    let failed = server.store_failed();
    assert_eq!(call(&server, "CreateTable", TABLE).await.0, 200);
    let failed = tokio::time::timeout(Duration::from_millis(200), failed).await;
    assert!(failed.is_err(), "nothing has failed yet");

    let failed = server.store_failed();
    files.set_faults(Faults { fail_sync_at: Some(files.file_syncs() + 1), ..Faults::default() });
    let (status, body) = call(&server, "DeleteTable", r#"{"TableName": "ttt"}"#).await;
    assert_eq!(status, 500, "{body}");
    tokio::time::timeout(Duration::from_secs(10), failed).await.expect("the failure is told");
    let (status, body) = call(&server, "ListTables", "{}").await;
    assert_eq!(status, 200, "reads go on until the end: {body}");
    // What a stop says of a failed store is not asked here; it must only end.
    drop(server.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_was_asked_for_ends_well() {
    let server = start_in_process(config()).await.expect("it starts");
    let ended = server.store_failed();
    server.stop().await.expect("it stops");
    ended.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_store_is_not_ahead_of_the_wall_clock() {
    let server = start_in_process(config()).await.expect("it starts");
    let (store, system) = (server.clock().store(), server.clock().system());
    assert!(store.0 <= system.0 + 5, "store time {store:?}, system time {system:?}");
    server.stop().await.expect("it stops");
}
