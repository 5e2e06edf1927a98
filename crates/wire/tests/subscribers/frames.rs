//! A client of HTTP/2 that knows no more than frames. Source: RFC 9113; heads are written as RFC 7541 allows at its simplest,
//! and not read.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const CANCEL: u32 = 8;

const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=AKID/20250101/us-east-1/kinesis/aws4_request, \
                             SignedHeaders=host;x-amz-date, Signature=0123";

fn body(shard: &str) -> String {
    format!(
        "{{\"ConsumerARN\":\"arn:aws:kinesis:us-east-1:000000000000:stream/s/consumer/c:1\",\"ShardId\":\"{shard}\",\
         \"StartingPosition\":{{\"Type\":\"LATEST\"}}}}"
    )
}

/// A subscription as HTTP/1.1 writes it.
pub fn first_version(shard: &str) -> String {
    let body = body(shard);
    format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-1.1\r\n\
         X-Amz-Target: Kinesis_20131202.SubscribeToShard\r\nX-Amz-Date: 20250101T000000Z\r\n\
         Authorization: {AUTHORIZATION}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// A text of HPACK, not compressed.
fn text(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.len();
    if rest < 127 {
        out.push(rest as u8);
    } else {
        out.push(127);
        rest -= 127;
        while rest >= 128 {
            out.push(rest as u8 | 128);
            rest >>= 7;
        }
        out.push(rest as u8);
    }
    out.extend_from_slice(text.as_bytes());
}

fn head(operation: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "localhost"),
        ("content-type", "application/x-amz-json-1.1"),
        ("x-amz-target", &format!("Kinesis_20131202.{operation}")),
        ("x-amz-date", "20250101T000000Z"),
        ("authorization", AUTHORIZATION),
    ] {
        // A literal without a place in the table.
        out.push(0);
        text(&mut out, name);
        text(&mut out, value);
    }
    out
}

struct Received {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

pub struct Subscriber {
    stream: TcpStream,
    next: u32,
    /// Data read so far.
    pub data_bytes: usize,
}

impl Subscriber {
    pub async fn open(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        frame(&mut out, SETTINGS, 0, 0, &[]);
        stream.write_all(&out).await.unwrap();
        Self { stream, next: 1, data_bytes: 0 }
    }

    fn request(&mut self, out: &mut Vec<u8>, operation: &str, body: &str) -> u32 {
        let stream = self.next;
        self.next += 2;
        frame(out, HEADERS, END_HEADERS, stream, &head(operation));
        frame(out, DATA, END_STREAM, stream, body.as_bytes());
        stream
    }

    /// Begins subscriptions; the streams they have.
    pub async fn subscribe(&mut self, count: usize, shard: &str) -> Vec<u32> {
        let mut out = Vec::new();
        let body = body(shard);
        let streams = (0..count).map(|_| self.request(&mut out, "SubscribeToShard", &body)).collect();
        self.stream.write_all(&out).await.unwrap();
        streams
    }

    /// Begins a call.
    pub async fn ask(&mut self, operation: &str, body: &str) -> u32 {
        let mut out = Vec::new();
        let stream = self.request(&mut out, operation, body);
        self.stream.write_all(&out).await.unwrap();
        stream
    }

    pub async fn reset(&mut self, stream: u32) {
        let mut out = Vec::new();
        frame(&mut out, RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
        self.stream.write_all(&out).await.unwrap();
    }

    /// The next frame, None at the end; what the protocol wants answered is.
    async fn receive(&mut self) -> Option<Received> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        let (kind, flags) = (head[3], head[4]);
        let mut out = Vec::new();
        match kind {
            SETTINGS if flags & ACK == 0 => frame(&mut out, SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => frame(&mut out, PING, ACK, 0, &payload),
            DATA if length > 0 => {
                self.data_bytes += length;
                let read = (length as u32).to_be_bytes();
                frame(&mut out, WINDOW_UPDATE, 0, 0, &read);
                frame(&mut out, WINDOW_UPDATE, 0, stream, &read);
            }
            RST_STREAM => panic!("stream {stream} is reset: {payload:?}"),
            _ => {}
        }
        // At a stop the other side may be gone already.
        let _ = self.stream.write_all(&out).await;
        Some(Received { kind, flags, stream, payload })
    }

    /// Reads until so many subscriptions have had their first frame.
    pub async fn initial_responses(&mut self, count: usize) {
        let mut seen = 0;
        while seen < count {
            let received = self.receive().await.expect("the connection goes on");
            let is_first = received.payload.windows(16).any(|window| window == b"initial-response");
            seen += usize::from(received.kind == DATA && is_first);
        }
    }

    /// Reads until the head of an answer; the kind of frame it came in.
    pub async fn until_answered(&mut self, stream: u32) -> u8 {
        loop {
            let received = self.receive().await.expect("the connection goes on");
            if received.stream == stream {
                return received.kind;
            }
        }
    }

    /// Reads one frame of data; whether it ends its stream.
    pub async fn read_data(&mut self) -> bool {
        loop {
            let received = self.receive().await.expect("the connection goes on");
            if received.kind == DATA {
                return received.flags & END_STREAM != 0;
            }
        }
    }

    /// Reads to the end of the connection, where no data may come.
    pub async fn is_over(&mut self) -> bool {
        let mut is_announced = false;
        while let Some(received) = self.receive().await {
            assert_ne!(received.kind, DATA);
            is_announced |= received.kind == GOAWAY;
        }
        is_announced
    }
}
