//! Data streams under load: requests made beforehand, readers and subscribers that cost little themselves.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::load::Connection;
use crate::workload::request;

/// Ends a broken run.
const PATIENCE: Duration = Duration::from_secs(60);

/// One request of Kinesis.
pub fn kinesis(operation: &str, body: &Value) -> Vec<u8> {
    request(&format!("Kinesis_20131202.{operation}"), body)
}

fn ask(connection: &mut Connection, operation: &str, body: &Value) -> Result<Value> {
    let answer = connection.call(&kinesis(operation, body)).with_context(|| operation.to_owned())?;
    // Some operations answer nothing.
    Ok(serde_json::from_slice(answer).unwrap_or(Value::Null))
}

/// Asks until `at` the answer is ACTIVE.
fn active(connection: &mut Connection, operation: &str, body: &Value, at: &str) -> Result<Value> {
    let start = Instant::now();
    loop {
        let answer = ask(connection, operation, body)?;
        if answer.pointer(at).is_some_and(|state| state == "ACTIVE") {
            return Ok(answer);
        }
        ensure!(start.elapsed() < PATIENCE, "{operation} never shows ACTIVE");
        std::thread::yield_now();
    }
}

/// Makes a stream and waits until it is ACTIVE; its ARN.
pub fn create_stream(connection: &mut Connection, name: &str, shards: usize) -> Result<String> {
    ask(connection, "CreateStream", &json!({"StreamName": name, "ShardCount": shards}))?;
    let at = "/StreamDescriptionSummary/StreamStatus";
    let made = active(connection, "DescribeStreamSummary", &json!({"StreamName": name}), at)?;
    Ok(made["StreamDescriptionSummary"]["StreamARN"].as_str().context("an ARN")?.to_owned())
}

/// Registers a consumer and waits until it is ACTIVE; its ARN.
pub fn register(connection: &mut Connection, stream_arn: &str, name: &str) -> Result<String> {
    let named = json!({"StreamARN": stream_arn, "ConsumerName": name});
    ask(connection, "RegisterStreamConsumer", &named)?;
    let made = active(connection, "DescribeStreamConsumer", &named, "/ConsumerDescription/ConsumerStatus")?;
    Ok(made["ConsumerDescription"]["ConsumerARN"].as_str().context("an ARN")?.to_owned())
}

/// Content that does not repeat itself, the same in every run.
fn content(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        // Xorshift: cheap, and no disk or network makes less of it.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes.div_ceil(8)).flat_map(|_| next()).take(bytes).collect()
}

/// Requests of PutRecords with so many records of so many bytes, spread over the shards.
pub fn batches(stream: &str, requests: usize, records: usize, bytes: usize) -> Vec<Vec<u8>> {
    let record = |number: usize| {
        let data = STANDARD.encode(content(number as u64, bytes));
        json!({"PartitionKey": format!("p{number}"), "Data": data})
    };
    let batch = |at: usize| {
        let records: Vec<Value> = (at * records..(at + 1) * records).map(record).collect();
        kinesis("PutRecords", &json!({"StreamName": stream, "Records": records}))
    };
    (0..requests).map(batch).collect()
}

/// One request that puts a record in each of so many even shards; their partition keys are `k` and the number.
pub fn numbered(stream: &str, shards: usize, number: usize, bytes: usize) -> Vec<u8> {
    let data = STANDARD.encode(content(number as u64, bytes));
    let width = u128::MAX / shards as u128;
    let record = |shard: usize| {
        let hash = (shard as u128 * width + 1).to_string();
        json!({"PartitionKey": format!("k{number:09}"), "ExplicitHashKey": hash, "Data": data})
    };
    let records: Vec<Value> = (0..shards).map(record).collect();
    kinesis("PutRecords", &json!({"StreamName": stream, "Records": records}))
}

/// The shards of a stream.
pub fn shards(connection: &mut Connection, stream: &str) -> Result<Vec<String>> {
    let listed = ask(connection, "ListShards", &json!({"StreamName": stream}))?;
    let shards = listed["Shards"].as_array().context("shards")?;
    shards.iter().map(|shard| Ok(shard["ShardId"].as_str().context("an id")?.to_owned())).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    records: Vec<IgnoredAny>,
    next_shard_iterator: Option<String>,
    millis_behind_latest: u64,
}

/// Reads a shard from its beginning to its tip; how many records there were.
pub fn read_shard(address: SocketAddr, stream: &str, shard: &str) -> Result<usize> {
    let mut connection = Connection::open(address)?;
    let from = json!({"StreamName": stream, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"});
    let first = ask(&mut connection, "GetShardIterator", &from)?;
    let (mut iterator, mut count) = (first["ShardIterator"].as_str().context("an iterator")?.to_owned(), 0);
    loop {
        let answer = connection.call(&kinesis("GetRecords", &json!({"ShardIterator": iterator})))?;
        let page: Page = serde_json::from_slice(answer)?;
        count += page.records.len();
        if page.millis_behind_latest == 0 && page.records.is_empty() {
            return Ok(count);
        }
        iterator = page.next_shard_iterator.context("an open shard")?;
    }
}

/// A subscription over HTTP/1.1 that looks for the partition keys of [`numbered`] in what it is pushed, and parses no more:
/// an event is one chunk, so a key is never cut by the transfer encoding.
pub struct Subscriber {
    stream: TcpStream,
    /// The end of what was read, in which a key may have begun.
    rest: Vec<u8>,
    /// Bytes read.
    pub bytes: u64,
}

const KEY: &[u8] = b"\"PartitionKey\":\"k";
const DIGITS: usize = 9;

impl Subscriber {
    /// Subscribes at a shard's tip; it is subscribed when this returns.
    pub fn open(address: SocketAddr, consumer_arn: &str, shard: &str) -> Result<Self> {
        let ask = json!({"ConsumerARN": consumer_arn, "ShardId": shard, "StartingPosition": {"Type": "LATEST"}});
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&kinesis("SubscribeToShard", &ask))?;
        let mut subscriber = Self { stream, rest: Vec::new(), bytes: 0 };
        let mut begun = Vec::new();
        while !begun.windows(16).any(|window| window == b"initial-response") {
            ensure!(begun.len() < 64 * 1024, "no initial response");
            subscriber.more(&mut begun)?;
            ensure!(begun.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&begun));
        }
        Ok(subscriber)
    }

    fn more(&mut self, into: &mut Vec<u8>) -> Result<()> {
        let mut chunk = [0; 64 * 1024];
        let read = self.stream.read(&mut chunk)?;
        if read == 0 {
            bail!("the subscription ended");
        }
        self.bytes += read as u64;
        into.extend_from_slice(&chunk[..read]);
        Ok(())
    }

    /// Reads on and gives the numbers of the records that came, with the moment they came at.
    pub fn next(&mut self, numbers: &mut Vec<usize>) -> Result<Instant> {
        let mut text = std::mem::take(&mut self.rest);
        self.more(&mut text)?;
        let came = Instant::now();
        let mut at = 0;
        // Content in base64 has no quotation marks: keys are found by the few there are.
        while let Some(found) = text[at..].iter().position(|byte| *byte == b'"') {
            at += found;
            if text[at..].len() < KEY.len() + DIGITS {
                break;
            }
            if !text[at..].starts_with(KEY) {
                at += 1;
                continue;
            }
            at += KEY.len();
            numbers.push(std::str::from_utf8(&text[at..at + DIGITS])?.parse()?);
            at += DIGITS;
        }
        let keep = text.len().saturating_sub(KEY.len() + DIGITS).max(at);
        self.rest = text.split_off(keep);
        Ok(came)
    }
}

/// How fast the disk takes appended blocks when each is synced before the next: bytes per second.
pub fn synced_append_rate(directory: &Path, block: usize, bytes: usize) -> Result<f64> {
    let path = directory.join("synced-append");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let block = content(1, block);
    let (start, mut written) = (Instant::now(), 0);
    while written < bytes {
        file.write_all(&block)?;
        file.sync_data()?;
        written += block.len();
    }
    let rate = written as f64 / start.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;
    Ok(rate)
}
