//! What reaches the operations, and what is recorded of a call.

use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder};
use aws_smithy_eventstream::smithy::parse_response_headers;
use bytes::Bytes;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::write::GzEncoder;
use headwater_api::Api;
use headwater_types::{Clock, Millis};
use headwater_wire::metrics::Outcome;
use headwater_wire::{Accounts, ApiSet, Audit, Credentials, Sink};

use crate::client::{AUTHORIZATION, call, put};
use crate::world::World;

#[tokio::test]
async fn account_region_and_caller_come_from_the_signature() {
    let world = World::start_with(ApiSet::ALL, |parts| {
        let by_key = [("alice".to_owned(), "111122223333".to_owned())].into();
        parts.credentials = Credentials::open(Accounts { by_key, ..Accounts::default() }).unwrap();
    })
    .await;
    let mut connection = world.connect().await;
    for (credential, account, region) in [
        ("alice/20250101/eu-west-1", "111122223333", "eu-west-1"),
        ("444455556666/20250101/us-east-1", "444455556666", "us-east-1"),
        ("anyone/20250101/local", "000000000000", "local"),
    ] {
        let bytes = String::from_utf8(put("t")).unwrap().replace("AKID/20250101/us-east-1", credential);
        assert_eq!(connection.exchange(bytes.as_bytes()).await.status, 200);
        let seen = world.service.seen.lock().pop().unwrap();
        assert_eq!((seen.account.as_str(), seen.region.as_str()), (account, region));
        let key = credential.split('/').next().unwrap();
        assert_eq!(seen.access_key, key);
        assert_eq!(seen.arn, format!("arn:aws:iam::{account}:user/{key}"));
        assert_eq!(seen.host.as_deref(), Some("localhost:8000"));
    }
}

#[tokio::test]
async fn bodies_are_taken_compressed_and_given_compressed() {
    let world = World::start().await;
    let mut connection = world.connect().await;
    let gzip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let item = format!("{{\"TableName\":\"t\",\"Item\":{{\"k\":{{\"S\":\"{}\"}}}}}}", "x".repeat(300_000));
    let reply = connection.exchange(&call("PutItem", "Content-Encoding: gzip\r\n", &gzip(item.as_bytes()))).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["Attributes"]["k"]["S"].as_str().unwrap().len(), 300_000);
    for broken in [&b"{}"[..], &gzip(b"{}")[..12]] {
        let reply = connection.exchange(&call("PutItem", "Content-Encoding: gzip\r\n", broken)).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, "SerializationException"));
    }
    let bomb = gzip(&vec![b' '; 17 << 20]);
    assert!(bomb.len() < 20_000);
    let reply = connection.exchange(&call("PutItem", "Content-Encoding: gzip\r\n", &bomb)).await;
    assert_eq!(reply.status, 413);

    let mut checked = 0;
    for (size, accept, expected) in [
        (4_000, "gzip", None),
        (5_000, "gzip", Some("gzip")),
        (5_000, "deflate", Some("deflate")),
        (200_000, "gzip, deflate", Some("gzip")),
        (5_000, "identity\r\nAccept-Encoding: gzip", None),
        (5_000, "identity", None),
    ] {
        let body = format!("{{\"TableName\":\"t\",\"Key\":{{\"size\":{{\"N\":\"{size}\"}}}}}}");
        let reply =
            connection.exchange(&call("GetItem", &format!("Accept-Encoding: {accept}\r\n"), body.as_bytes())).await;
        assert_eq!(reply.header("content-encoding"), expected, "{size} {accept}");
        assert_eq!(
            reply.header("x-amz-crc32").unwrap(),
            crc32fast::hash(&reply.body).to_string(),
            "of the bytes as sent"
        );
        let mut plain = String::new();
        match expected {
            Some("gzip") => GzDecoder::new(&*reply.body).read_to_string(&mut plain).map(drop).unwrap(),
            Some(_) => ZlibDecoder::new(&*reply.body).read_to_string(&mut plain).map(drop).unwrap(),
            None => plain.push_str(reply.text()),
        }
        let json: serde_json::Value = serde_json::from_str(&plain).unwrap();
        assert_eq!(json["Item"]["t"]["S"].as_str().unwrap().len(), size);
        checked += 1;
    }
    println!("replies checked for their encoding: {checked}");
}

#[tokio::test]
async fn an_own_address_refuses_the_other_apis() {
    let world = World::start_with(ApiSet::only(Api::DynamoDbStreams), |_| {}).await;
    let mut connection = world.connect().await;
    let reply = connection.exchange(&put("t")).await;
    assert_eq!((reply.status, reply.error().as_str()), (400, "UnknownOperationException"));
    let streams = String::from_utf8(call("ListStreams", "", b"{}")).unwrap().replace("DynamoDB_", "DynamoDBStreams_");
    let reply = connection.exchange(streams.as_bytes()).await;
    assert_eq!((reply.status, reply.text()), (200, "{\"Streams\":[]}"));
    let reply = connection.exchange(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(reply.text(), "healthy: streams.dynamodb.us-east-1.amazonaws.com ");
}

#[tokio::test]
async fn pushed_events_come_as_frames() {
    let world = World::start().await;
    let body = br#"{"ConsumerARN":"arn:aws:kinesis:us-east-1:000000000000:stream/s/consumer/c:1","ShardId":"shardId-000000000000","StartingPosition":{"Type":"LATEST"}}"#;
    let request = String::from_utf8(call("SubscribeToShard", "", body)).unwrap();
    let request = request.replace("DynamoDB_20120810", "Kinesis_20131202").replace("json-1.0", "json-1.1");
    let reply = world.connect().await.exchange(request.as_bytes()).await;
    assert_eq!(reply.header("content-type"), Some("application/vnd.amazon.eventstream"));
    // Read by the reader of the AWS SDK for Rust.
    let mut rest = Bytes::from(reply.body);
    let mut decoder = MessageFrameDecoder::new();
    let mut frames = Vec::new();
    while let DecodedFrame::Complete(message) = decoder.decode_frame(&mut rest).unwrap() {
        let headers = parse_response_headers(&message).unwrap();
        let kind = (headers.message_type.as_str().to_owned(), headers.smithy_type.as_str().to_owned());
        assert_eq!(headers.content_type(), Some("application/json"));
        frames.push((kind, String::from_utf8(message.payload().to_vec()).unwrap()));
    }
    assert!(rest.is_empty(), "{} bytes are no frame", rest.len());
    let kind = |of: &str, name: &str| (of.to_owned(), name.to_owned());
    let kinds: Vec<_> = frames.iter().map(|(kind, _)| kind.clone()).collect();
    let event = kind("event", "SubscribeToShardEvent");
    let (first, last) = (kind("event", "initial-response"), kind("exception", "ResourceInUseException"));
    assert_eq!(kinds, [first, event.clone(), event, last]);
    assert_eq!(frames[0].1, "{}");
    for (frame, number) in [(&frames[1], "1"), (&frames[2], "2")] {
        let event: serde_json::Value = serde_json::from_str(&frame.1).unwrap();
        assert_eq!(event["Records"][0]["Data"], "ZGF0YQ==");
        assert_eq!(
            (event["MillisBehindLatest"].as_i64(), event["ContinuationSequenceNumber"].as_str()),
            (Some(0), Some(number))
        );
    }
    assert!(frames[3].1.contains("\"message\":\"another subscription\""), "{}", frames[3].1);
}

#[tokio::test]
async fn each_call_leaves_one_audit_line_and_its_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let mut audit = Audit::off();
    let world = World::start_with(ApiSet::ALL, |parts| {
        let clock = Clock::new(parts.runtime.clone(), Millis(0));
        audit = Audit::start(&Sink::file(path.clone()), &parts.runtime, &clock, &parts.metrics).unwrap();
        parts.audit = audit.clone();
    })
    .await;
    let mut connection = world.connect().await;
    let secret = "NEVER-IN-THE-TRAIL";
    let body = format!("{{\"TableName\":\"t\",\"Item\":{{\"k\":{{\"S\":\"{secret}\"}}}}}}");
    let accepted = connection.exchange(&call("PutItem", "User-Agent: test/1\r\n", body.as_bytes())).await;
    let wrong = format!("{{\"TableName\":\"t\",\"Item\":\"{secret}\",\"ReturnValues\":\"{secret}\"}}");
    connection.exchange(&call("PutItem", "", wrong.as_bytes())).await;
    connection.exchange(&put("panics")).await;
    let unsigned = String::from_utf8(put("t")).unwrap().replace(AUTHORIZATION, "none");
    connection.exchange(unsigned.as_bytes()).await;
    connection.exchange(&call("NoSuchThing", "", b"{}")).await;
    connection.exchange(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    // One client goes away in the middle of its call.
    let mut leaving = world.connect().await;
    leaving.send(&put("slow")).await;
    world.service.begun.acquire().await.unwrap().forget();
    drop(leaving);
    world.until("the call ended", |world| world.metrics.requests_running.get() == 0).await;
    audit.close().await;

    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains(secret), "{text}");
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 6, "{text}");
    assert_eq!(lines[0]["requestID"].as_str(), accepted.header("x-amzn-requestid"));
    assert_eq!(lines[0]["userAgent"], "test/1");
    assert_eq!(lines[0]["sourceIPAddress"], "127.0.0.1");
    assert_eq!(lines[0]["resources"][0]["ARN"], "arn:aws:dynamodb:us-east-1:000000000000:table/t");
    assert_eq!(
        (lines[0]["bytesIn"].as_u64().unwrap(), lines[0]["bytesOut"].as_u64().unwrap()),
        (body.len() as u64, accepted.body.len() as u64)
    );
    let outcomes: Vec<(i64, &str)> = lines
        .iter()
        .map(|line| (line["httpStatus"].as_i64().unwrap(), line["errorCode"].as_str().unwrap_or("-")))
        .collect();
    assert_eq!(outcomes[0], (200, "-"));
    assert_eq!(outcomes[1].0, 400);
    assert_eq!(
        outcomes[2..],
        [
            (500, "InternalServerError"),
            (400, "MissingAuthenticationTokenException"),
            (400, "UnknownOperationException"),
            (499, "ClientDisconnected"),
        ]
    );
    let puts = world.metrics.operations().find(|(_, name, _)| *name == "PutItem").unwrap().2;
    let calls = [Outcome::Success, Outcome::Refused, Outcome::Fault].map(|outcome| puts.calls(outcome).get());
    assert_eq!(calls, [1, 3, 1]);
    assert_eq!((world.metrics.panics.get(), world.metrics.requests_unrouted.get()), (1, 1));
    let errors: Vec<&str> = world.metrics.errors().iter().map(|(_, code, _)| *code).collect();
    assert!(errors.contains(&"MissingAuthenticationTokenException"), "{errors:?}");
}

#[tokio::test]
async fn garbage_beside_it_does_not_harm_a_request() {
    let world = World::start().await;
    let garbage: [&[u8]; 8] = [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"POST / HTTP/1.1\r\nHost: a\r\nX-Amz-Target: \xff\xfe\r\nContent-Length: 1\r\n\r\n{",
        &[b'A'; 200_000],
    ];
    let mut rounds = 0;
    for _ in 0..10 {
        for bytes in garbage {
            let mut bad = world.connect().await;
            let mut connection = world.connect().await;
            let good = world.runtime.spawn(async move {
                (connection.exchange(&put("t")).await.status, connection.exchange(&put("t")).await.status)
            });
            // The server may close while we still write.
            let _ = tokio::io::AsyncWriteExt::write_all(&mut bad.stream, bytes).await;
            assert_eq!(good.await.unwrap(), (200, 200));
            drop(bad);
            rounds += 1;
        }
    }
    println!("requests beside garbage: {}", 2 * rounds);
}
