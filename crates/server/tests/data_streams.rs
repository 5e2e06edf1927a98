//! Kinesis data streams over HTTP: the control API on their shards, and `--aws-limits`.

#![allow(clippy::disallowed_methods, reason = "a test over real sockets waits in real time")]

mod lab;

use std::time::Duration;

use headwater_server::{Before, Config, Names, RunningServer, Shards, start_in_process};
use serde_json::{Value, json};

use lab::{TOKEN, api, ctl, started};

/// Looks at a short state before a test gives up. Unit: [`PAUSE`].
const LOOKS_MAX: usize = 6_000;
const PAUSE: Duration = Duration::from_millis(20);

async fn kinesis(server: &RunningServer, operation: &str, body: Value) -> (u16, Value) {
    let mut request = lab::signed(&format!("Kinesis_20131202.{operation}"), "eu-west-1", &body);
    request.headers_mut().insert("content-type", "application/x-amz-json-1.1".parse().expect("a header"));
    lab::send(server.addresses().dynamodb, request).await
}

async fn done(server: &RunningServer, operation: &str, body: Value) -> Value {
    let (status, answer) = kinesis(server, operation, body).await;
    assert_eq!(status, 200, "{operation}: {answer}");
    answer
}

/// Waits until a stream is ACTIVE; its shards.
async fn settled(server: &RunningServer, stream: &str) -> Shards {
    for _ in 0..LOOKS_MAX {
        let shards = server.control().shards(&Names::table(stream)).expect("listed");
        if shards.stream.state == "ACTIVE" {
            return shards;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("{stream} stays in a short state");
}

async fn stream(server: &RunningServer, name: &str, shards: usize) -> Shards {
    done(server, "CreateStream", json!({"StreamName": name, "ShardCount": shards})).await;
    settled(server, name).await
}

/// Ids, parents, and whether they are open.
fn ids(shards: &Shards) -> Vec<(&str, Vec<&str>, bool)> {
    let each = shards.shards.iter();
    each.map(|shard| (&*shard.id, shard.parents.iter().map(|id| &**id).collect(), shard.closed.is_none())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_of_a_data_stream_are_in_the_tests_hand() {
    let server = started().await;
    let control = server.control();
    let shards = stream(&server, "lab", 1).await;
    let arn = shards.stream.arn.clone();
    assert!(arn.ends_with(":stream/lab") && control.streams().expect("listed").contains(&shards.stream), "{arn}");
    let listed = done(&server, "ListShards", json!({"StreamName": "lab"})).await;
    let start = &listed["Shards"][0]["SequenceNumberRange"]["StartingSequenceNumber"];
    assert_eq!(json!(shards.shards[0].numbers.start), *start, "as clients see it");

    // Split in the middle, through the command; then merged again, over HTTP.
    let (zero, one, two, three) =
        ("shardId-000000000000", "shardId-000000000001", "shardId-000000000002", "shardId-000000000003");
    let split = ctl(&server, &["split", "lab"]);
    assert!(split.status.success(), "{}", String::from_utf8_lossy(&split.stderr));
    let shards = settled(&server, "lab").await;
    assert_eq!(ids(&shards), [(zero, vec![], false), (one, vec![zero], true), (two, vec![zero], true)]);
    let again = control.split(&Names::table(&arn).with_shard(zero), None).await.expect_err("closed");
    assert_eq!((again.code.as_str(), again.message.contains(two)), ("Conflict", true), "{again}");
    let merge = |shard: &str, with: &str| json!({"table": arn, "shard": shard, "with": with}).to_string();
    let (status, refusal) = api(&server, hyper::Method::POST, "/v1/merge", TOKEN, &merge(two, one)).await;
    assert_eq!(status, 400, "{refusal}");
    let (status, answer) = api(&server, hyper::Method::POST, "/v1/merge", TOKEN, &merge(one, two)).await;
    assert_eq!((status, answer.as_array().map(Vec::len)), (200, Some(1)), "{answer}");
    let shards = settled(&server, "lab").await;
    assert_eq!(ids(&shards).last(), Some(&(three, vec![one, two], true)));
    let tree = ctl(&server, &["shards", "lab"]);
    let tree = String::from_utf8_lossy(&tree.stdout).into_owned();
    assert!(tree.contains(three) && tree.contains("1 open, 3 closed"), "{tree}");

    // Trimmed by number, as clients see it.
    let mut numbers = Vec::new();
    for at in 0..3 {
        let put = json!({"StreamName": "lab", "PartitionKey": at.to_string(), "Data": ""});
        numbers.push(done(&server, "PutRecord", put).await["SequenceNumber"].as_str().expect("a number").to_owned());
    }
    let trim = ctl(&server, &["trim", "lab", "--shard", three, "--before", &numbers[1]]);
    assert!(trim.status.success(), "{}", String::from_utf8_lossy(&trim.stderr));
    let ask = json!({"StreamName": "lab", "ShardId": three, "ShardIteratorType": "TRIM_HORIZON"});
    let iterator = done(&server, "GetShardIterator", ask).await["ShardIterator"].clone();
    let page = done(&server, "GetRecords", json!({"ShardIterator": iterator})).await;
    let left: Vec<&str> =
        page["Records"].as_array().expect("a list").iter().filter_map(|each| each["SequenceNumber"].as_str()).collect();
    assert_eq!(left, numbers[1..]);
    assert!(control.trim(&Names::table("lab"), Before::All).await.expect("trimmed") >= 1);
    let page = done(&server, "GetRecords", json!({"ShardIterator": iterator})).await;
    assert_eq!(page["Records"], json!([]));

    let refused = control.roll_over(&Names::table("lab")).await.expect_err("refused");
    assert_eq!(refused.code, "Invalid");
    server.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_uses_a_shard_too_fast_is_throttled_only_where_limits_are_wanted() {
    for aws_limits in [false, true] {
        let server = start_in_process(Config { aws_limits, ..Config::for_test() }).await.expect("it starts");
        stream(&server, "s", 2).await;
        // Six MiB for one shard and a small record for the other, in one request: its records are counted one after the
        // other in memory, so no machine is slow enough to work off the debt of six seconds in between.
        let large = "AAAA".repeat(174_762);
        let record = |data: &str, hash: &str| json!({"PartitionKey": "k", "ExplicitHashKey": hash, "Data": data});
        let mut records = vec![record(&large, "0"); 12];
        records.push(record("", "340282366920938463463374607431768211455"));
        let answer = done(&server, "PutRecords", json!({"StreamName": "s", "Records": records})).await;
        let entries = answer["Records"].as_array().expect("a list");
        let failed = entries.iter().filter(|entry| entry["ErrorCode"] == "ProvisionedThroughputExceededException");
        let failed: Vec<&Value> = failed.collect();
        assert_eq!(answer["FailedRecordCount"], failed.len());
        assert_eq!(failed.is_empty(), !aws_limits, "{} of 13 failed", failed.len());
        let text = "Rate exceeded for shard shardId-000000000000 in stream s under account 000000000000.";
        assert!(
            failed.iter().all(|entry| entry["ErrorMessage"] == text && entry.get("ShardId").is_none()),
            "{failed:?}"
        );
        assert_eq!(entries.len(), 13);
        assert_eq!(entries[12]["ShardId"], "shardId-000000000001", "the other shard takes its record");

        // Read until it is throttled: a machine that takes no six calls a second meets the limit of none.
        let ask = json!({"StreamName": "s", "ShardId": "shardId-000000000001", "ShardIteratorType": "TRIM_HORIZON"});
        let iterator = done(&server, "GetShardIterator", ask).await["ShardIterator"].clone();
        let (mut reads, mut throttled) = (0, 0);
        while reads < 100 || (aws_limits && throttled == 0 && reads < 100_000) {
            // Eight at a time, so that more than five come within one second on the slowest of machines too.
            let read = || kinesis(&server, "GetRecords", json!({"ShardIterator": iterator}));
            let answers = tokio::join!(read(), read(), read(), read(), read(), read(), read(), read());
            for (status, answer) in <[_; 8]>::from(answers) {
                reads += 1;
                if status != 200 {
                    assert_eq!(answer["__type"], "ProvisionedThroughputExceededException", "{answer}");
                    throttled += 1;
                }
            }
        }
        println!("limits {aws_limits}: {throttled} of {reads} reads throttled");
        assert_eq!(throttled > 0, aws_limits);
        server.stop().await.expect("it stops");
    }
}
