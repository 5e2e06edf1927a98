//! Kinesis in CBOR over a socket, as the AWS SDKs for Java speak it; read and written here by another library.

use ciborium::Value;

use crate::client::{AUTHORIZATION, Connection, Reply};
use crate::world::World;

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn map(entries: &[(&str, Value)]) -> Value {
    Value::Map(entries.iter().map(|(name, value)| (text(name), value.clone())).collect())
}

fn written(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

async fn exchange(connection: &mut Connection, operation: &str, body: &[u8]) -> Reply {
    let mut bytes = format!(
        "POST / HTTP/1.1\r\nHost: localhost:8000\r\nContent-Type: application/x-amz-cbor-1.1\r\n\
         X-Amz-Target: Kinesis_20131202.{operation}\r\nX-Amz-Date: 20250101T000000Z\r\n\
         Authorization: {AUTHORIZATION}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    let reply = connection.exchange(&bytes).await;
    assert_eq!(reply.header("content-type"), Some("application/x-amz-cbor-1.1"), "{operation}");
    assert_eq!(reply.header("x-amz-crc32").unwrap(), crc32fast::hash(&reply.body).to_string());
    reply
}

fn read(reply: &Reply) -> Value {
    ciborium::from_reader(&reply.body[..]).unwrap()
}

/// The error of a reply, by its name, which stands in the body and in a header.
fn refusal(reply: &Reply) -> (u16, String, Option<String>) {
    let Value::Map(entries) = read(reply) else { panic!("no map: {:?}", reply.body) };
    let member = |name: &str| entries.iter().find(|(key, _)| *key == text(name)).map(|(_, value)| value.clone());
    let name = member("__type").and_then(|value| value.into_text().ok()).unwrap();
    assert_eq!(reply.header("x-amzn-errortype"), Some(&*name));
    // As in JSON, the parser's own errors write their member otherwise.
    let message = member("message").or(member("Message"));
    (reply.status, name, message.and_then(|value| value.into_text().ok()))
}

#[tokio::test]
async fn records_go_in_as_bytes_and_come_out_as_bytes() {
    let world = World::start().await;
    let mut connection = world.connect().await;
    let data = [&b"\x00\xff"[..], &[7; 70_000]];
    for data in data {
        let key = "é".repeat(256);
        let put =
            map(&[("StreamName", text("s")), ("PartitionKey", text(&key)), ("Data", Value::Bytes(data.to_vec()))]);
        let reply = exchange(&mut connection, "PutRecord", &written(&put)).await;
        assert_eq!(reply.status, 200);
        // Maps of the service are of indefinite length.
        assert_eq!((reply.body.first(), reply.body.last()), (Some(&0xbf), Some(&0xff)));
        assert_eq!(read(&reply), map(&[("ShardId", text("shardId-000000000000")), ("SequenceNumber", text("49"))]));
        let put = world.service.put.lock().pop().unwrap();
        assert_eq!((&put.data[..], put.partition_key, put.stream_name.as_deref()), (data, key, Some("s")));
    }
    // The same in pieces of indefinite length.
    let body = b"\xbf\x6aStreamName\x7f\x61s\x60\xff\x6cPartitionKey\x61k\x64Data\x5f\x42ab\x41c\xff\xff";
    assert_eq!(exchange(&mut connection, "PutRecord", body).await.status, 200);
    assert_eq!(world.service.put.lock().pop().unwrap().data, "abc");
    let reply = exchange(&mut connection, "GetRecords", &written(&map(&[("ShardIterator", text("i"))]))).await;
    let at = Value::Tag(1, Box::new(Value::from(1_441_215_410_867_i64)));
    let record = map(&[
        ("SequenceNumber", text("49")),
        ("ApproximateArrivalTimestamp", at),
        ("Data", Value::Bytes(vec![0, 255])),
        ("PartitionKey", text("é")),
    ]);
    assert_eq!(read(&reply), map(&[("Records", Value::Array(vec![record])), ("MillisBehindLatest", Value::from(7))]));
    // An operation without output answers no byte.
    let create = map(&[("StreamName", text("s")), ("ShardCount", Value::from(1))]);
    let reply = exchange(&mut connection, "CreateStream", &written(&create)).await;
    assert_eq!((reply.status, reply.body.len()), (200, 0));
}

#[tokio::test]
async fn moments_are_milliseconds() {
    let world = World::start().await;
    let mut connection = world.connect().await;
    let tagged = |value: Value| Value::Tag(1, Box::new(value));
    for (at, expected) in [
        (tagged(Value::from(1_441_215_410_867_i64)), "1441215410867"),
        (tagged(Value::from(1_441_215_410.867)), "1441215410867"),
        (tagged(Value::from(0)), "0"),
    ] {
        let body = map(&[
            ("StreamName", text("s")),
            ("ShardId", text("shardId-000000000000")),
            ("ShardIteratorType", text("AT_TIMESTAMP")),
            ("Timestamp", at),
        ]);
        let reply = exchange(&mut connection, "GetShardIterator", &written(&body)).await;
        assert_eq!(read(&reply), map(&[("ShardIterator", text(expected))]));
    }
}

#[tokio::test]
async fn refusals_are_cbor() {
    let world = World::start().await;
    let mut connection = world.connect().await;
    let good = |key: &str| {
        written(&map(&[("StreamName", text("s")), ("PartitionKey", text(key)), ("Data", Value::Bytes(vec![1]))]))
    };
    let mut cut = good("k");
    cut.pop();
    let mut followed = good("k");
    followed.push(0);
    for body in [&b""[..], b"\xff", b"\xa1\x01\x01", b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff", b"{}", &cut, &followed] {
        let reply = exchange(&mut connection, "PutRecord", body).await;
        assert_eq!(refusal(&reply), (400, "SerializationException".to_owned(), None), "{body:?}");
    }
    let (status, name, message) = refusal(&exchange(&mut connection, "PutRecord", &good("missing")).await);
    assert_eq!((status, &*name), (400, "ResourceNotFoundException"));
    assert_eq!(message.as_deref(), Some("Stream s under account 000000000000 not found."));
    let wrong = written(&map(&[("StreamName", Value::from(1)), ("PartitionKey", text("k")), ("Data", text("AQ=="))]));
    let (status, name, message) = refusal(&exchange(&mut connection, "PutRecord", &wrong).await);
    assert_eq!((status, &*name), (400, "SerializationException"));
    assert_eq!(message.as_deref(), Some("NUMBER_VALUE cannot be converted to String"));
    let (status, name, _) = refusal(&exchange(&mut connection, "PutRecord", &written(&map(&[]))).await);
    assert_eq!((status, &*name), (400, "ValidationException"));
    let (status, name, _) = refusal(&exchange(&mut connection, "Nothing", &written(&map(&[]))).await);
    assert_eq!((status, &*name), (400, "UnknownOperationException"));
    // Nobody asks for events in CBOR.
    let (status, ..) = refusal(&exchange(&mut connection, "SubscribeToShard", &written(&map(&[]))).await);
    assert_eq!(status, 500);
    assert!(world.service.put.lock().is_empty());
}
