//! A table's stream by Kinesis's operations, beyond what the cases say: every lineage, every moment, every size.

#[allow(dead_code)]
mod memory;

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use headwater_api::AllowAll;
use headwater_cases::Target;
use headwater_types::{HashKey, Scope};
use serde_json::{Value, json};

use memory::InProcess;

const SEEDS: u64 = 12;
const STEPS: usize = 30;
/// Unit: bytes. Source: "GetRecords", Kinesis API reference.
const PAGE_BYTES_MAX: usize = 10 << 20;

/// Draws numbers that look random: the same ones for the same seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn hash(&mut self) -> HashKey {
        HashKey((0..4).fold(0, |hash, _| hash << 32 | u128::from(self.below(1 << 31)) << 1))
    }
}

async fn answer(target: &InProcess, operation: &str, request: Value) -> Value {
    let (status, body) = target.send(operation, &request).await;
    assert_eq!(status, 200, "{operation} {request}: {body}");
    body
}

/// A table with a stream; its stream's ARN.
async fn create(target: &InProcess) -> String {
    let request = json!({
        "TableName": "case", "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{ "AttributeName": "p", "AttributeType": "S" }],
        "KeySchema": [{ "AttributeName": "p", "KeyType": "HASH" }],
        "StreamSpecification": { "StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES" },
    });
    let created = answer(target, "CreateTable", request).await;
    created["TableDescription"]["LatestStreamArn"].as_str().expect("a stream").to_owned()
}

async fn put(target: &InProcess, key: &str, value: Value) {
    let request = json!({ "TableName": "case", "Item": { "p": { "S": key }, "v": value } });
    answer(target, "PutItem", request).await;
}

async fn list(target: &InProcess, arn: &str, filter: Value) -> Vec<Value> {
    let request = json!({ "StreamARN": arn, "ShardFilter": filter });
    let listed = answer(target, "kinesis:ListShards", request).await;
    listed["Shards"].as_array().expect("shards").clone()
}

fn number(value: &Value) -> u128 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is no number"))
}

/// Whether the shards hold every hash key once.
fn covers(shards: &[Value]) -> bool {
    let range = |shard: &Value| {
        let range = &shard["HashKeyRange"];
        (number(&range["StartingHashKey"]), number(&range["EndingHashKey"]))
    };
    let mut ranges: Vec<(u128, u128)> = shards.iter().map(range).collect();
    ranges.sort_unstable();
    let touch = ranges.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0);
    let ends = ranges.first().zip(ranges.last()).map(|(first, last)| (first.0, last.1));
    touch && ends == Some((0, u128::MAX))
}

/// A sequence number as it sorts; each has 56 digits.
fn sequence(value: &Value) -> &str {
    let text = value.as_str().expect("a sequence number");
    assert_eq!(text.len(), 56, "{text}");
    text
}

fn check_lineage(shards: &[Value]) -> usize {
    let by_id: BTreeMap<&str, &Value> = shards.iter().map(|s| (s["ShardId"].as_str().expect("an id"), s)).collect();
    let mut checked = 0;
    for shard in shards {
        let id = shard["ShardId"].as_str().expect("an id");
        assert!(id.len() == 20 && id["shardId-".len()..].bytes().all(|b| b.is_ascii_digit()), "{id}");
        let Some(parent) = shard["ParentShardId"].as_str().and_then(|parent| by_id.get(parent)) else { continue };
        let ending = sequence(&parent["SequenceNumberRange"]["EndingSequenceNumber"]);
        assert!(ending < sequence(&shard["SequenceNumberRange"]["StartingSequenceNumber"]), "{shard} below its parent");
        checked += 1;
    }
    checked
}

#[test]
fn what_is_open_at_a_moment_covers_every_hash_key() {
    let (mut moments, mut children) = (0, 0);
    for seed in 1..=SEEDS {
        let (looked, seen) = memory::run(seed, move |world| async move {
            let target = InProcess::open(&world, Arc::new(AllowAll)).await;
            let arn = create(&target).await;
            let table = target.log.catalog().expect("open");
            let table = table.table(&Scope::new(memory::ACCOUNT, memory::REGION), "case").expect("there").id;
            let (mut draw, mut looked, mut seen) = (Draw(seed), 0, 0);
            let mut moments = vec![0];
            for step in 0..STEPS {
                match draw.below(4) {
                    // The first hash of a partition is refused, which a drawn one hardly is.
                    0 => target.log.split(table, draw.hash()).await.expect("split"),
                    1 => target.log.roll_over(table, draw.hash()).await.expect("rolled over"),
                    2 => target.advance(draw.below(6 * 3_600_000)).await.expect("moved"),
                    _ => put(&target, &format!("{step}"), json!({ "N": "1" })).await,
                }
                moments.push(target.log.clock().store().0);
                for kind in ["AT_LATEST", "AT_TRIM_HORIZON"] {
                    assert!(covers(&list(&target, &arn, json!({ "Type": kind })).await), "{kind} at step {step}");
                }
                let at = (moments[draw.below(moments.len() as u64) as usize] + draw.below(3) as i64 - 1).max(0);
                let filter = json!({ "Type": "AT_TIMESTAMP", "Timestamp": at as f64 / 1_000.0 });
                let open = list(&target, &arn, filter).await;
                assert!(covers(&open), "at {at}, step {step}, seed {seed}: {open:?}");
                looked += 3;
            }
            seen += check_lineage(&list(&target, &arn, json!({ "Type": "FROM_TRIM_HORIZON" })).await);
            (looked, seen)
        });
        (moments, children) = (moments + looked, children + seen);
    }
    println!("{moments} listings cover every hash key; {children} children above their parents");
    assert!(moments >= 1_000 && children >= 50, "{moments} {children}");
}

#[test]
fn long_pages_are_cut_and_nothing_is_lost() {
    memory::run(1, |world| async move {
        let target = InProcess::open(&world, Arc::new(AllowAll)).await;
        let arn = create(&target).await;
        // A third longer as JSON than as it is stored.
        let value = STANDARD.encode(vec![7; 390 << 10]);
        let puts = 30;
        for at in 0..puts {
            put(&target, "one", json!({ "L": [{ "N": at.to_string() }, { "B": value }] })).await;
        }
        let (mut found, mut pages, mut longest) = (Vec::new(), 0, 0);
        for shard in list(&target, &arn, json!({ "Type": "FROM_TRIM_HORIZON" })).await {
            let request = json!({ "StreamARN": arn, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON" });
            let mut iterator = answer(&target, "kinesis:GetShardIterator", request).await["ShardIterator"].clone();
            loop {
                let page = answer(&target, "kinesis:GetRecords", json!({ "ShardIterator": iterator })).await;
                let records = page["Records"].as_array().expect("records");
                if records.is_empty() {
                    assert_eq!(page["MillisBehindLatest"], 0);
                    break;
                }
                let data = |record: &Value| STANDARD.decode(record["Data"].as_str().expect("data")).expect("base64");
                let data: Vec<Vec<u8>> = records.iter().map(data).collect();
                let bytes: usize = data.iter().map(Vec::len).sum();
                assert!(bytes <= PAGE_BYTES_MAX || data.len() == 1, "{bytes}");
                let change = |data: &Vec<u8>| -> Value { serde_json::from_slice(data).expect("JSON") };
                let place = |change: &Value| change["dynamodb"]["NewImage"]["v"]["L"][0]["N"].clone();
                found.extend(data.iter().map(|data| place(&change(data))));
                (pages, longest) = (pages + 1, longest.max(bytes));
                iterator = page["NextShardIterator"].clone();
            }
        }
        println!("{} records of one item in {pages} pages, the longest {longest} bytes", found.len());
        assert_eq!(found, (0..puts).map(|at| json!(at.to_string())).collect::<Vec<_>>());
        assert!(pages >= 3 && longest > PAGE_BYTES_MAX / 2);
    });
}
