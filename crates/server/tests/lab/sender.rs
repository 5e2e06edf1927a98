//! One connection in either version of HTTP, and what tests of data streams ask over it.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};

/// Looks at a short state before a test gives up. Unit: [`PAUSE`].
pub const LOOKS_MAX: usize = 6_000;
pub const PAUSE: Duration = Duration::from_millis(20);

/// Source: RFC 9113, "The Flow-Control Window".
const WINDOW_MAX: u32 = (1 << 31) - 1;

/// The first shard of a stream.
pub const SHARD: &str = "shardId-000000000000";

/// Where requests of one connection go in. In HTTP/2 clones share it.
pub enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    /// A client that shakes hands over a transport, in HTTP/2 by prior knowledge.
    pub async fn over<IO>(stream: IO, version: Version) -> Self
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = TokioIo::new(stream);
        if version == Version::HTTP_2 {
            // A stream that is not read holds as little as the protocol allows, and none of the others.
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.initial_stream_window_size(65_535).initial_connection_window_size(WINDOW_MAX);
            let (sender, connection) = builder.handshake(stream).await.expect("HTTP/2");
            drop(tokio::spawn(connection));
            Self::Two(sender)
        } else {
            let (sender, connection) = http1::handshake(stream).await.expect("HTTP/1.1");
            drop(tokio::spawn(connection));
            Self::One(sender)
        }
    }

    /// Over TCP in the clear.
    pub async fn plain(to: std::net::SocketAddr, version: Version) -> Self {
        Self::over(tokio::net::TcpStream::connect(to).await.expect("it listens"), version).await
    }

    /// The answer, once its head is there.
    pub async fn send(&mut self, mut request: Request<Full<Bytes>>) -> Response<Incoming> {
        match self {
            Self::One(sender) => {
                sender.ready().await.expect("the connection is kept");
                sender.send_request(request).await
            }
            Self::Two(sender) => {
                *request.uri_mut() = "https://localhost/".parse().expect("a URI");
                sender.send_request(request).await
            }
        }
        .expect("an answer")
    }

    pub async fn kinesis(&mut self, operation: &str, body: Value) -> Response<Incoming> {
        self.send(request(operation, &body)).await
    }

    /// Status and body.
    pub async fn asked(&mut self, operation: &str, body: Value) -> (u16, Value) {
        let answer = self.kinesis(operation, body).await;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.expect("a whole body").to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// The body of an answer that is 200.
    pub async fn done(&mut self, operation: &str, body: Value) -> Value {
        let (status, answer) = self.asked(operation, body).await;
        assert_eq!(status, 200, "{operation}: {answer}");
        answer
    }

    async fn becomes_active(&mut self, operation: &str, body: Value, of: &str) -> Value {
        for _ in 0..LOOKS_MAX {
            let answer = self.done(operation, body.clone()).await;
            if answer.pointer(of) == Some(&json!("ACTIVE")) {
                return answer;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("{operation} never shows ACTIVE");
    }

    /// Makes a stream and waits until it is ACTIVE; its ARN.
    pub async fn stream(&mut self, name: &str, shards: usize) -> String {
        self.done("CreateStream", json!({"StreamName": name, "ShardCount": shards})).await;
        let at = "/StreamDescriptionSummary/StreamStatus";
        let made = self.becomes_active("DescribeStreamSummary", json!({"StreamName": name}), at).await;
        made["StreamDescriptionSummary"]["StreamARN"].as_str().expect("an ARN").to_owned()
    }

    /// Registers a consumer and waits until it is ACTIVE; its ARN.
    pub async fn consumer(&mut self, stream_arn: &str, name: &str) -> String {
        let named = json!({"StreamARN": stream_arn, "ConsumerName": name});
        self.done("RegisterStreamConsumer", named.clone()).await;
        let at = "/ConsumerDescription/ConsumerStatus";
        let made = self.becomes_active("DescribeStreamConsumer", named, at).await;
        made["ConsumerDescription"]["ConsumerARN"].as_str().expect("an ARN").to_owned()
    }

    /// Subscribes from the beginning; the answer, whatever it is.
    pub async fn subscribe(&mut self, consumer_arn: &str, shard: &str) -> Response<Incoming> {
        let from = json!({"Type": "TRIM_HORIZON"});
        let ask = json!({"ConsumerARN": consumer_arn, "ShardId": shard, "StartingPosition": from});
        self.kinesis("SubscribeToShard", ask).await
    }
}

/// A signed call of Kinesis.
pub fn request(operation: &str, body: &Value) -> Request<Full<Bytes>> {
    let mut request = super::signed(&format!("Kinesis_20131202.{operation}"), "eu-west-1", body);
    request.headers_mut().insert("content-type", "application/x-amz-json-1.1".parse().expect("a header"));
    request
}

/// Reads a pushed answer until `wanted` is in it; the bytes read.
pub async fn read_until(answer: &mut Response<Incoming>, wanted: &[u8]) -> Vec<u8> {
    let (mut read, mut seen) = (Vec::new(), 0);
    while !read[seen..].windows(wanted.len()).any(|window| window == wanted) {
        // It may have begun at the end of what there is.
        seen = read.len().saturating_sub(wanted.len());
        let frame = answer.frame().await.expect("it comes before the end").expect("a frame");
        read.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    read
}
