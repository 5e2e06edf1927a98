//! Clients of data streams that do it wrong, against the whole server: each gets the service's error or is let go, what they
//! hold is bounded and counted, and nobody else is disturbed.

#![allow(clippy::disallowed_methods, reason = "a test over real sockets waits in real time")]

mod lab;

use std::net::SocketAddr;

use bytes::Bytes;
use headwater_server::{Config, Names, RunningServer, start_in_process};
use http_body_util::{BodyExt, Full};
use hyper::Version;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use lab::sender::{self, PAUSE, SHARD, Sender, read_until};
use lab::{metric, metric_becomes};

const SUBSCRIPTIONS: &str = "headwater_subscriptions_open";
const CONNECTIONS: &str = "headwater_connections_open";
/// The error of which broken documents are. Source: facts of Kinesis, "Error body".
const UNPARSABLE: &[u8] = b"SerializationException";

async fn started() -> (RunningServer, SocketAddr) {
    let server = start_in_process(Config::for_test()).await.expect("it starts");
    let address = server.addresses().kinesis;
    (server, address)
}

/// A record of so many bytes in the stream's first shard.
async fn put(sender: &mut Sender, stream: &str, bytes: usize) {
    let data = "A".repeat(bytes / 3 * 4);
    sender.done("PutRecord", json!({"StreamName": stream, "PartitionKey": "k", "Data": data})).await;
}

/// Records of the stream's first shard.
async fn records(sender: &mut Sender, stream: &str) -> usize {
    let from = json!({"StreamName": stream, "ShardId": SHARD, "ShardIteratorType": "TRIM_HORIZON"});
    let iterator = sender.done("GetShardIterator", from).await["ShardIterator"].clone();
    let page = sender.done("GetRecords", json!({"ShardIterator": iterator})).await;
    page["Records"].as_array().map_or(0, Vec::len)
}

/// `{"StreamName": "s", "PartitionKey": "k", "Data": h'01'}` in CBOR.
fn sound() -> Vec<u8> {
    [&b"\xa3\x6aStreamName\x61s\x6cPartitionKey\x61k\x64Data\x41\x01"[..]].concat()
}

/// Documents that are no CBOR, or none that a request may be.
fn broken() -> Vec<Vec<u8>> {
    let whole = sound();
    // Cut behind every byte of it.
    let mut all: Vec<Vec<u8>> = (1..whole.len()).map(|end| whole[..end].to_vec()).collect();
    all.extend([
        // More than the map has room for.
        [&whole[..], b"\x00"].concat(),
        // A map, a text, bytes and a list that promise more than a body can hold.
        b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        b"\xa1\x7b\x7f\xff\xff\xff\xff\xff\xff\xffk".to_vec(),
        b"\xa1\x64Data\x5a\xff\xff\xff\xff".to_vec(),
        b"\xa1\x64Data\x9b\x00\x00\x00\xff\xff\xff\xff\xff".to_vec(),
        // Without their end.
        b"\xbf\x64Data".to_vec(),
        b"\xbf".to_vec(),
        // An end of nothing, reserved lengths, a text that is none.
        b"\xff".to_vec(),
        b"\x1c".to_vec(),
        b"\xa1\x62\xc3\x28\x00".to_vec(),
        // Deep.
        [b"\xa1\x61a".repeat(100_000), b"\x00".to_vec()].concat(),
        b"\x81".repeat(100_000),
    ]);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_cbor_is_refused_and_leaves_its_connection() {
    let (server, address) = started().await;
    let mut sender = Sender::plain(address, Version::HTTP_11).await;
    sender.stream("s", 1).await;
    let documents = broken();
    for document in &documents {
        let mut request = sender::request("PutRecord", &json!({}));
        request.headers_mut().insert("content-type", "application/x-amz-cbor-1.1".parse().expect("a header"));
        *request.body_mut() = Full::new(Bytes::from(document.clone()));
        let answer = sender.send(request).await;
        let (status, kind) = (answer.status().as_u16(), answer.headers()["content-type"].clone());
        let body = answer.into_body().collect().await.expect("a whole body").to_bytes();
        let shown = &document[..document.len().min(40)];
        assert_eq!((status, kind.as_bytes()), (400, &b"application/x-amz-cbor-1.1"[..]), "{shown:02x?}");
        assert!(body.windows(UNPARSABLE.len()).any(|part| part == UNPARSABLE), "{shown:02x?}: {body:02x?}");
    }
    let mut request = sender::request("PutRecord", &json!({}));
    request.headers_mut().insert("content-type", "application/x-amz-cbor-1.1".parse().expect("a header"));
    *request.body_mut() = Full::new(Bytes::from(sound()));
    assert_eq!(sender.send(request).await.status(), 200, "what they are cut from");
    assert_eq!(records(&mut sender, "s").await, 1);
    assert_eq!((metric(&server, CONNECTIONS).await, metric(&server, "headwater_panics_total").await), (1, 0));
    println!("broken documents refused: {}, records 1", documents.len());
    server.stop().await.expect("it stops");
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame of HTTP/2 that says it is `length` long. Source: RFC 9113, "Frame Format".
fn frame(length: u32, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    [&length.to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// What a client sends before it breaks off, or as nobody should.
fn truncated() -> Vec<Vec<u8>> {
    let settings = frame(0, 4, 0, 0, b"");
    let begun = [PREFACE, &settings].concat();
    let after = |frames: &[u8]| [&begun[..], frames].concat();
    vec![
        PREFACE[..10].to_vec(),
        PREFACE.to_vec(),
        [PREFACE, &settings[..5]].concat(),
        // Heads and data that promise more than comes.
        after(&frame(200, 1, 4, 1, b"\x00\x07:met")),
        after(&[frame(3, 1, 4, 1, b"\x83\x86\x84"), frame(1_000, 0, 1, 1, b"{")].concat()),
        // A head that goes on in a frame that never comes.
        after(&frame(3, 1, 0, 1, b"\x83\x86\x84")),
        // Longer than any frame may be; on a stream that no client has; data of a stream that is not begun.
        after(&frame(0xff_ffff, 0, 0, 1, b"")),
        after(&frame(3, 1, 4, 2, b"\x83\x86\x84")),
        after(&frame(1, 0, 0, 9, b"{")),
        // Heads that cannot be read.
        after(&frame(4, 1, 4, 1, b"\xff\xff\xff\xff")),
        // No HTTP at all.
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"\x00\xff\x00\xff\r\n\r\n".to_vec(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_frames_end_their_connection_and_no_other() {
    let (server, address) = started().await;
    let mut other = Sender::plain(address, Version::HTTP_2).await;
    let arn = other.stream("s", 1).await;
    let consumer = other.consumer(&arn, "app").await;
    let mut subscription = other.subscribe(&consumer, SHARD).await;
    let all = truncated();
    for bytes in &all {
        let mut broken = TcpStream::connect(address).await.expect("it listens");
        broken.write_all(bytes).await.expect("it is sent");
        // It breaks off; what the server has to say of it is read.
        broken.shutdown().await.expect("half of it ends");
        let mut said = Vec::new();
        // A reset is an end too.
        let _ = broken.read_to_end(&mut said).await;
        put(&mut other, "s", 3).await;
    }
    metric_becomes(&server, CONNECTIONS, 1).await;
    assert_eq!((metric(&server, SUBSCRIPTIONS).await, metric(&server, "headwater_panics_total").await), (1, 0));
    // The subscription has been pushed all of them.
    let last = format!("\"PartitionKey\":\"{}\"", "last");
    let data = json!({"StreamName": "s", "PartitionKey": "last", "Data": ""});
    other.done("PutRecord", data).await;
    let read = read_until(&mut subscription, last.as_bytes()).await;
    let pushed = String::from_utf8_lossy(&read).matches("\"PartitionKey\":\"k\"").count();
    println!("connections broken off: {}, records pushed beside them: {pushed}", all.len());
    assert_eq!(pushed, all.len());
    server.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_reads_is_made_two_events_for_and_others_read_all() {
    const RECORDS: usize = 24;
    const RECORD_BYTES: usize = 900_000;
    let (server, address) = started().await;
    let mut writer = Sender::plain(address, Version::HTTP_11).await;
    let arn = writer.stream("s", 1).await;
    let (deaf, keen) = (writer.consumer(&arn, "deaf").await, writer.consumer(&arn, "keen").await);
    let mut silent = Sender::plain(address, Version::HTTP_2).await;
    let unread = silent.subscribe(&deaf, SHARD).await;
    let mut reading = Sender::plain(address, Version::HTTP_2).await;
    let mut read = reading.subscribe(&keen, SHARD).await;
    let mut bytes = 0;
    for number in 0..RECORDS {
        put(&mut writer, "s", RECORD_BYTES).await;
        let marker = format!("last-{number}");
        writer.done("PutRecord", json!({"StreamName": "s", "PartitionKey": marker, "Data": ""})).await;
        bytes += read_until(&mut read, format!("\"{marker}\"").as_bytes()).await.len();
    }
    // The reader counts its first frame too, which the server does not: a few bytes.
    let unread_bytes = metric(&server, "headwater_pushed_bytes_total").await.saturating_sub(bytes as u64);
    println!("read {bytes} bytes; made for who does not read: {unread_bytes}");
    assert!(bytes > RECORDS * RECORD_BYTES, "all was read: {bytes}");
    assert!(unread_bytes < 4 * RECORD_BYTES as u64, "{unread_bytes} bytes were made for nobody");
    assert_eq!(metric(&server, SUBSCRIPTIONS).await, 2);
    drop((silent, unread));
    metric_becomes(&server, SUBSCRIPTIONS, 1).await;
    drop((reading, read));
    metric_becomes(&server, SUBSCRIPTIONS, 0).await;
    server.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_subscriptions_are_so_many_and_leave_nothing() {
    // As many consumers as a stream may have.
    const SHARDS: usize = 500;
    const CONSUMERS: usize = 20;
    // Each on a connection of its own.
    const CLIENTS: usize = CONSUMERS;
    let (server, address) = started().await;
    // A subscription lasts five minutes of store time: none ends however slow the machine is.
    server.control().freeze().await.expect("frozen");
    let mut writer = Sender::plain(address, Version::HTTP_2).await;
    let arn = writer.stream("s", SHARDS).await;
    let mut consumers = Vec::new();
    for number in 0..CONSUMERS {
        consumers.push(writer.consumer(&arn, &format!("app-{number}")).await);
    }
    let mut clients = JoinSet::new();
    for consumer in consumers.into_iter().take(CLIENTS) {
        clients.spawn(async move {
            let (mut sender, mut held) = (Sender::plain(address, Version::HTTP_2).await, Vec::new());
            for shard in 0..SHARDS {
                let answer = sender.subscribe(&consumer, &format!("shardId-{shard:012}")).await;
                assert_eq!(answer.status(), 200);
                held.push(answer);
            }
            // Its connection takes further calls.
            sender.done("DescribeStreamSummary", json!({"StreamName": "s"})).await;
            held
        });
    }
    let held: Vec<_> = clients.join_all().await.into_iter().flatten().collect();
    metric_becomes(&server, SUBSCRIPTIONS, (SHARDS * CONSUMERS) as u64).await;
    assert_eq!((held.len(), metric(&server, CONNECTIONS).await), (10_000, 1 + CLIENTS as u64));
    // They take no place of requests: nothing runs.
    metric_becomes(&server, "headwater_requests_running", 0).await;
    put(&mut writer, "s", 300).await;
    println!("subscriptions open: {}", metric(&server, SUBSCRIPTIONS).await);
    drop(held);
    metric_becomes(&server, SUBSCRIPTIONS, 0).await;
    metric_becomes(&server, CONNECTIONS, 1).await;
    server.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_subscription_again_and_again_is_one() {
    const CALLS: usize = 300;
    let (server, address) = started().await;
    let mut sender = Sender::plain(address, Version::HTTP_2).await;
    let arn = sender.stream("s", 1).await;
    let consumer = sender.consumer(&arn, "app").await;
    let (mut held, mut refused) = (Vec::new(), 0);
    for _ in 0..CALLS {
        let answer = sender.subscribe(&consumer, SHARD).await;
        if answer.status() == 200 {
            held.push(answer);
            continue;
        }
        let body = answer.into_body().collect().await.expect("a whole body").to_bytes();
        let told: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(told["__type"], "ResourceInUseException", "{told}");
        refused += 1;
    }
    println!("subscriptions: {} of {CALLS}, {refused} refused", held.len());
    // One, and another for every five seconds that a slow machine took.
    assert!(refused > 0 && held.len() + refused == CALLS);
    metric_becomes(&server, SUBSCRIPTIONS, 1).await;
    server.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_disappears_is_noticed_and_its_successor_takes_over() {
    let (server, address) = started().await;
    let mut writer = Sender::plain(address, Version::HTTP_11).await;
    let arn = writer.stream("s", 1).await;
    let consumer = writer.consumer(&arn, "app").await;
    let mut gone = 0;
    for version in [Version::HTTP_2, Version::HTTP_11] {
        let stream = TcpStream::connect(address).await.expect("it listens");
        // No farewell in either protocol: the system resets the connection when it is dropped.
        stream.set_zero_linger().expect("set");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        // A client with tasks of its own, which end with it.
        let stream = stream.into_std().expect("a socket");
        let ask = (consumer.clone(), version);
        let subscribed = tokio::task::spawn_blocking(move || {
            runtime.block_on(async {
                let stream = TcpStream::from_std(stream).expect("a socket");
                let mut sender = Sender::over(stream, ask.1).await;
                // Within five seconds of the one before it would be refused.
                for _ in 0..sender::LOOKS_MAX {
                    let answer = sender.subscribe(&ask.0, SHARD).await;
                    if answer.status() == 200 {
                        return true;
                    }
                    drop(answer.into_body().collect().await);
                    tokio::time::sleep(PAUSE).await;
                }
                false
            })
        });
        assert!(subscribed.await.expect("it runs"), "it never takes over");
        metric_becomes(&server, SUBSCRIPTIONS, 0).await;
        metric_becomes(&server, CONNECTIONS, 1).await;
        put(&mut writer, "s", 3).await;
        gone += 1;
    }
    println!("subscribers gone: {gone}");
    server.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_and_iterators_of_a_deleted_stream_end_in_words() {
    let (server, address) = started().await;
    let mut sender = Sender::plain(address, Version::HTTP_2).await;
    let arn = sender.stream("s", 1).await;
    put(&mut sender, "s", 300).await;
    let from = json!({"StreamName": "s", "ShardId": SHARD, "ShardIteratorType": "TRIM_HORIZON"});
    let iterator = sender.done("GetShardIterator", from).await["ShardIterator"].clone();
    let consumer = sender.consumer(&arn, "app").await;
    let mut pushed = sender.subscribe(&consumer, SHARD).await;
    read_until(&mut pushed, b"\"Data\"").await;
    sender.done("DeleteStream", json!({"StreamName": "s", "EnforceConsumerDeletion": true})).await;
    // The subscription's last frame says why.
    let said = read_until(&mut pushed, b"ResourceNotFoundException").await;
    assert!(String::from_utf8_lossy(&said).contains("exception"), "{}", String::from_utf8_lossy(&said));
    while let Some(frame) = pushed.frame().await {
        frame.expect("a clean end");
    }
    metric_becomes(&server, SUBSCRIPTIONS, 0).await;
    let (status, told) = sender.asked("GetRecords", json!({"ShardIterator": iterator})).await;
    assert_eq!((status, &told["__type"]), (400, &json!("ResourceNotFoundException")), "{told}");
    let answer = sender.subscribe(&consumer, SHARD).await;
    assert_eq!(answer.status(), 400);
    server.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_that_cannot_be_split_stay_as_they_are() {
    let (server, address) = started().await;
    let mut sender = Sender::plain(address, Version::HTTP_2).await;
    sender.stream("s", 1).await;
    let split = |shard: &str, at: &str| json!({"StreamName": "s", "ShardToSplit": shard, "NewStartingHashKey": at});
    // Its lower child has two hash keys, the least that the service allows.
    sender.done("SplitShard", split(SHARD, "2")).await;
    let status = json!({"StreamName": "s"});
    for look in 0.. {
        let summary = sender.done("DescribeStreamSummary", status.clone()).await;
        if summary["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE" {
            break;
        }
        assert!(look < sender::LOOKS_MAX);
        tokio::time::sleep(PAUSE).await;
    }
    let two = "shardId-000000000001";
    let cases = [(SHARD, "5"), (SHARD, "2"), (two, "0"), (two, "1"), (two, "2"), ("shardId-000000000009", "5")];
    let before = server.control().shards(&Names::table("s")).expect("listed");
    let mut refused = 0;
    for (shard, at) in cases {
        let (status, told) = sender.asked("SplitShard", split(shard, at)).await;
        let name = told["__type"].as_str().unwrap_or_default();
        let is_known = matches!(name, "InvalidArgumentException" | "ResourceNotFoundException");
        assert!(status == 400 && is_known, "{shard} at {at}: {status} {told}");
        refused += 1;
    }
    // The control API splits where it is told to, down to one hash key; further it cannot.
    let control = server.control();
    control.split(&Names::table("s").with_shard(two), Some(1)).await.expect("two hash keys are one and one");
    let mut one = "shardId-000000000003".to_owned();
    for at in [None, Some(0), Some(1), Some(2)] {
        let split = control.split(&Names::table("s").with_shard(&one), at).await.expect_err("one hash key");
        assert!(!split.message.is_empty());
        refused += 1;
    }
    let after = server.control().shards(&Names::table("s")).expect("listed");
    assert_eq!(after.shards.len(), before.shards.len() + 2);
    // It takes the record of its one key.
    let record = json!({"StreamName": "s", "PartitionKey": "k", "ExplicitHashKey": "0", "Data": ""});
    one = sender.done("PutRecord", record).await["ShardId"].as_str().expect("an id").to_owned();
    println!("splits refused: {refused}");
    assert_eq!((one.as_str(), refused), ("shardId-000000000003", 10));
    server.stop().await.expect("it stops");
}
