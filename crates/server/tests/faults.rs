//! Faults that are asked for: what clients of a real server see, and that nothing else is changed.

#![allow(clippy::disallowed_methods, reason = "a test over real sockets waits in real time")]

mod lab;

use std::time::{Duration, Instant};

use headwater_server::{FaultApi, FaultKind, FaultRule, Names, RunningServer};
use hyper::Method;
use serde_json::{Value, json};

use lab::{TOKEN, api, call, ctl, definition, dynamodb, exchange, iterator, signed, started, streams, table};

async fn put(server: &RunningServer, table: &str, item: &str) -> Option<(u16, Value)> {
    let body = json!({"TableName": table, "Item": {"p": {"S": item}}});
    exchange(server.addresses().dynamodb, signed("DynamoDB_20120810.PutItem", "eu-west-1", &body)).await
}

async fn is_there(server: &RunningServer, item: &str) -> bool {
    let body = json!({"TableName": "lab", "Key": {"p": {"S": item}}});
    dynamodb(server, "GetItem", body).await.get("Item").is_some()
}

fn error(answer: &Value) -> &str {
    answer["__type"].as_str().and_then(|name| name.rsplit('#').next()).unwrap_or_default()
}

fn puts(kind: FaultKind) -> FaultRule {
    FaultRule { operation: Some("PutItem".to_owned()), ..FaultRule::of(kind) }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_hits_as_it_says_and_leaves_the_rest_alone() {
    let server = started().await;
    table(&server).await;
    let control = server.control();
    let mut hits = 0;
    // Refused before anything is done.
    let refused = [
        (FaultKind::Throttle, 400, "ProvisionedThroughputExceededException"),
        (FaultKind::Internal, 500, "InternalServerError"),
        (FaultKind::Conflict, 400, "TransactionConflictException"),
    ];
    for (kind, status, code) in refused {
        let id = control.add_fault(puts(kind)).expect("a rule").id;
        let (answered, answer) = put(&server, "lab", "refused").await.expect("an answer");
        assert_eq!((answered, error(&answer)), (status, code), "{answer}");
        assert!(!is_there(&server, "refused").await, "{kind:?}: other operations go on, and nothing was written");
        control.remove_fault(id).expect("it stood");
        hits += 1;
    }
    // The connection ends: without the write, and with it.
    for (kind, item, written) in [(FaultKind::Drop, "dropped", false), (FaultKind::LoseAnswer, "lost", true)] {
        control.add_fault(FaultRule { times: Some(1), ..puts(kind) }).expect("a rule");
        assert_eq!(put(&server, "lab", item).await, None, "{kind:?}");
        assert_eq!(is_there(&server, item).await, written, "{kind:?}");
        assert_eq!(put(&server, "lab", item).await.expect("an answer").0, 200, "once only");
        hits += 1;
    }
    let counted: Vec<(u64, u64)> = control.faults().iter().map(|state| (state.met, state.fired)).collect();
    assert_eq!(
        (counted, control.clear_faults()),
        (vec![(4, 1), (2, 1)], 2),
        "a rule that has ended still counts calls"
    );
    // Later, and then as ever; with a second rule, later and refused.
    control.add_fault(FaultRule { latency_ms: Some(80), ..puts(FaultKind::Latency) }).expect("a rule");
    let start = Instant::now();
    assert_eq!(put(&server, "lab", "late").await.expect("an answer").0, 200);
    assert!(start.elapsed() >= Duration::from_millis(80) && is_there(&server, "late").await);
    control.add_fault(puts(FaultKind::Throttle)).expect("a rule");
    assert_eq!(put(&server, "lab", "never").await.expect("an answer").0, 400);
    assert!(start.elapsed() >= Duration::from_millis(160) && !is_there(&server, "never").await);
    control.clear_faults();
    assert_eq!(put(&server, "lab", "last").await.expect("an answer").0, 200);
    println!("{} kinds hit", hits + 1);
    server.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_a_table_and_a_transaction_are_hit_by_name() {
    let server = started().await;
    let arn = table(&server).await;
    dynamodb(&server, "CreateTable", definition("other")).await;
    while dynamodb(&server, "DescribeTable", json!({"TableName": "other"})).await["Table"]["TableStatus"] != "ACTIVE" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let control = server.control();
    let shard = control.shards(&Names::table("lab")).expect("listed").shards[0].id.clone();
    let token = iterator(&server, &arn, &shard).await;
    // GetRecords names its stream in the iterator only.
    let stream = FaultRule { api: Some(FaultApi::Streams), resource: Some(arn), ..FaultRule::of(FaultKind::Throttle) };
    control.add_fault(stream).expect("a rule");
    let (status, answer) = streams(&server, "GetRecords", json!({"ShardIterator": token})).await;
    assert_eq!((status, error(&answer)), (400, "ThrottlingException"), "{answer}");
    assert_eq!(put(&server, "lab", "a").await.expect("an answer").0, 200);
    control.clear_faults();
    assert_eq!(streams(&server, "GetRecords", json!({"ShardIterator": token})).await.0, 200);

    let table = FaultRule { resource: Some("other".to_owned()), ..FaultRule::of(FaultKind::Conflict) };
    control.add_fault(table).expect("a rule");
    assert_eq!(put(&server, "lab", "b").await.expect("an answer").0, 200);
    assert_eq!(error(&put(&server, "other", "b").await.expect("an answer").1), "TransactionConflictException");
    let action = |table: &str| json!({"Put": {"TableName": table, "Item": {"p": {"S": "t"}}}});
    let body = json!({"TransactItems": [action("lab"), action("other")]});
    let (status, answer) = call(&server, "DynamoDB_20120810.TransactWriteItems", "eu-west-1", &body).await;
    assert_eq!((status, error(&answer)), (400, "TransactionCanceledException"), "{answer}");
    let text =
        "Transaction cancelled, please refer cancellation reasons for specific reasons [TransactionConflict, None]";
    assert_eq!(answer["Message"], text, "{answer}");
    let reasons =
        json!([{"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}, {"Code": "None"}]);
    assert_eq!(answer["CancellationReasons"], reasons);
    assert!(!is_there(&server, "t").await);
    server.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_hits_the_same_share_of_calls_again() {
    let server = started().await;
    table(&server).await;
    let control = server.control();
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        control.add_fault(FaultRule { rate: 0.3, seed, ..puts(FaultKind::Throttle) }).expect("a rule");
        let mut hit = Vec::new();
        for item in 0..100 {
            hit.push(put(&server, "lab", &item.to_string()).await.expect("an answer").0 == 400);
        }
        control.clear_faults();
        runs.push(hit);
    }
    let hits = runs[0].iter().filter(|hit| **hit).count();
    assert!(runs[0] == runs[1] && runs[0] != runs[2] && (15..=45).contains(&hits), "{hits} of 100");
    println!("{hits} of 100 calls hit, the same again");
    server.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_and_from_the_shell_with_reasons_for_what_makes_no_sense() {
    let server = started().await;
    let bad = [
        (r#"{}"#, "missing field `kind`"),
        (r#"{"kind": "gremlin"}"#, "unknown variant `gremlin`"),
        (r#"{"kind": "throttle", "colour": "red"}"#, "unknown field `colour`"),
        (r#"{"kind": "throttle", "rate": 0}"#, "rate"),
        (r#"{"kind": "throttle", "rate": "often"}"#, "invalid type"),
        (r#"{"kind": "throttle", "api": "s3"}"#, "unknown variant `s3`"),
        (r#"{"kind": "throttle", "operation": "PutObject"}"#, "there is no PutObject"),
        (r#"{"kind": "throttle", "times": -1}"#, "invalid value"),
        (r#"{"kind": "latency"}"#, "latency_ms"),
        (r#"{"kind": "latency", "latency_ms": 600001}"#, "latency_ms"),
        (r#"{"kind": "drop", "latency_ms": 1}"#, "latency_ms"),
        (r#"{"kind": "conflict", "operation": "Scan"}"#, "meets no conflicts"),
    ];
    for (body, reason) in bad {
        let (status, answer) = api(&server, Method::POST, "/v1/faults/add", TOKEN, body).await;
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(status == 400 && message.contains(reason), "{body}: {answer}");
    }
    for (path, body, status) in [
        ("/v1/faults/remove", r#"{"id": 1}"#, 404),
        ("/v1/faults/remove", "{}", 400),
        ("/v1/faults/remove", r#"{"id": "one"}"#, 400),
        ("/v1/faults/clear", r#"{"id": 1}"#, 400),
    ] {
        assert_eq!(api(&server, Method::POST, path, TOKEN, body).await.0, status, "{path} {body}");
    }
    assert_eq!(server.control().faults(), []);
    println!("{} refusals", bad.len() + 4);

    let text = |arguments: &[&str]| {
        let output = ctl(&server, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let add = ["faults", "add", "throttle", "--operation", "PutItem", "--rate", "0.25", "--times", "3", "--seed", "9"];
    let shown =
        "1  hit 0 of 0 calls  {\"kind\":\"throttle\",\"operation\":\"PutItem\",\"rate\":0.25,\"times\":3,\"seed\":9}\n";
    assert_eq!(text(&add), shown);
    text(&["faults", "add", "latency", "--latency-ms", "5", "--resource", "lab", "--api", "dynamodb"]);
    assert_eq!(text(&["faults"]).lines().count(), 2);
    let (status, listed) = api(&server, Method::GET, "/v1/faults", TOKEN, "").await;
    assert_eq!((status, &listed[1]["rule"]["kind"], &listed[1]["id"]), (200, &json!("latency"), &json!(2)));
    assert_eq!(text(&["faults", "remove", "1"]), "done\n");
    assert_eq!(text(&["faults", "clear"]), "faults removed: 1\n");
    assert_eq!(text(&["faults"]), "");
    for (arguments, reason) in [
        (&["faults", "remove", "1"][..], "NotFound: no fault 1"),
        (&["faults", "add", "gremlin"], "unknown variant"),
        (&["faults", "add", "throttle", "--rate", "2"], "rate: above 0, and at most 1"),
    ] {
        let output = ctl(&server, arguments);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && complaint.contains(reason), "{arguments:?}: {complaint}");
    }
    server.stop().await.expect("it stops");
}
