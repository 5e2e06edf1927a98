//! `--aws-limits`: what a client that reads too fast is told, and that without it nobody is.

#![allow(clippy::disallowed_methods, reason = "a test over real sockets waits in real time")]

mod lab;

use headwater_server::{Config, Names, start_in_process};
use serde_json::{Value, json};

use lab::{iterator, streams, table};

/// How many of so many calls at once are throttled; the others are served.
async fn throttled(server: &headwater_server::RunningServer, operation: &str, body: &Value, calls: usize) -> usize {
    let mut count = 0;
    for _ in 0..calls {
        let (status, answer) = streams(server, operation, body.clone()).await;
        let name = answer["__type"].as_str().unwrap_or_default();
        match status {
            200 => {}
            _ => {
                assert!(status == 400 && name.ends_with("#ThrottlingException"), "{answer}");
                assert_eq!(answer["message"], "Rate exceeded");
                count += 1;
            }
        }
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_too_fast_is_throttled_only_where_limits_are_wanted() {
    for aws_limits in [false, true] {
        let server = start_in_process(Config { aws_limits, ..Config::for_test() }).await.expect("it starts");
        let arn = table(&server).await;
        let shards = server.control().shards(&Names::table("lab")).expect("listed").shards;
        let reads = json!({"ShardIterator": iterator(&server, &arn, &shards[0].id).await});
        let others = json!({"ShardIterator": iterator(&server, &arn, &shards[1].id).await});
        // However slow the machine: a hundred calls are more than ten a second allow within five seconds.
        let first = throttled(&server, "GetRecords", &reads, 100).await;
        let second = throttled(&server, "GetRecords", &others, 1).await;
        let described = throttled(&server, "DescribeStream", &json!({"StreamArn": arn}), 100).await;
        println!("limits {aws_limits}: {first} of 100 reads and {described} of 100 descriptions throttled");
        assert_eq!((first > 0, second, described > 0), (aws_limits, 0, aws_limits));
        server.stop().await.expect("it stops");
    }
}
