//! When records are pushed: at once after a quiet time, several in one event when they come together. Time is simulated.

#[allow(dead_code)]
mod memory;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join;
use headwater_api::{AllowAll, Event, Events, Pushed, json as encoder};
use headwater_cases::Target;
use headwater_types::runtime::simulated::World;
use serde_json::{Value, json};

use memory::InProcess;

const ROUNDS: usize = 20;
/// Records of a round that come together.
const TOGETHER: usize = 8;

async fn answer(target: &InProcess, operation: &str, request: Value) -> Value {
    let (status, body) = target.send(operation, &request).await;
    assert_eq!(status, 200, "{operation} {request}: {body}");
    body
}

/// A subscription at the tip of a new stream's one shard.
async fn subscribed(target: &InProcess) -> Events<Box<dyn Event>> {
    answer(target, "kinesis:CreateStream", json!({ "StreamName": "s", "ShardCount": 1 })).await;
    target.pause().await;
    let described = answer(target, "kinesis:DescribeStreamSummary", json!({ "StreamName": "s" })).await;
    let arn = &described["StreamDescriptionSummary"]["StreamARN"];
    let named = json!({ "StreamARN": arn, "ConsumerName": "c" });
    answer(target, "kinesis:RegisterStreamConsumer", named.clone()).await;
    target.pause().await;
    let consumer = answer(target, "kinesis:DescribeStreamConsumer", named).await;
    let shards = answer(target, "kinesis:ListShards", json!({ "StreamName": "s" })).await;
    let request = json!({
        "ConsumerARN": consumer["ConsumerDescription"]["ConsumerARN"],
        "ShardId": shards["Shards"][0]["ShardId"],
        "StartingPosition": { "Type": "LATEST" },
    });
    target.events("kinesis:SubscribeToShard", &request).await
}

/// Records of the next event that has some.
async fn next(events: &mut Events<Box<dyn Event>>) -> usize {
    loop {
        let bytes = match events.next().await.expect("it goes on").expect("an event") {
            Pushed::Event(event) => encoder::encode(event.body()),
            Pushed::Frame(frame) => frame.into_bytes().to_vec(),
        };
        let records = String::from_utf8_lossy(&bytes).matches("\"PartitionKey\"").count();
        if records > 0 {
            return records;
        }
    }
}

async fn put(target: &InProcess) {
    answer(target, "kinesis:PutRecord", json!({ "StreamName": "s", "PartitionKey": "k", "Data": "" })).await;
}

#[test]
fn what_comes_after_a_quiet_time_leaves_at_once() {
    let waits = memory::run(1, |world: World| async move {
        let target = InProcess::open(&world, Arc::new(AllowAll)).await;
        let (runtime, mut events) = (world.node(2), subscribed(&target).await);
        let mut waits = Vec::new();
        for _ in 0..ROUNDS {
            let putting = async {
                runtime.sleep(Duration::from_millis(50)).await;
                put(&target).await;
                runtime.monotonic()
            };
            let receiving = async {
                let records = next(&mut events).await;
                (records, runtime.monotonic())
            };
            let (acknowledged, (records, came)) = join(putting, receiving).await;
            assert_eq!(records, 1);
            waits.push(came.saturating_sub(acknowledged));
        }
        waits
    });
    println!("{} records after a quiet time, the longest wait {:?}", waits.len(), waits.iter().max());
    assert!(waits.len() == ROUNDS && waits.iter().all(|wait| wait.is_zero()), "{waits:?}");
}

#[test]
fn what_comes_together_shares_events() {
    let (records, events) = memory::run(1, |world: World| async move {
        let target = InProcess::open(&world, Arc::new(AllowAll)).await;
        let mut events = subscribed(&target).await;
        let (mut records, mut count) = (0, 0);
        for _ in 0..ROUNDS {
            let putting = async {
                for _ in 0..TOGETHER {
                    put(&target).await;
                }
            };
            let receiving = async {
                let mut came = 0;
                while came < TOGETHER {
                    came += next(&mut events).await;
                    count += 1;
                }
                came
            };
            let ((), came) = join(putting, receiving).await;
            records += came;
        }
        (records, count)
    });
    println!("{records} records in {events} events");
    assert!(records == ROUNDS * TOGETHER && events <= records / 2, "{records} records in {events} events");
}
