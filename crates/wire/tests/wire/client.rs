//! An HTTP/1.1 client that knows no more than bytes.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Any well-formed signature: no credentials are configured.
pub const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=AKID/20250101/us-east-1/dynamodb/aws4_request, \
                                 SignedHeaders=host;x-amz-date, Signature=0123";

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (given, value) = line.split_once(':')?;
            given.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The error's name, after its namespace.
    pub fn error(&self) -> String {
        let json = self.json();
        let name = json["__type"].as_str().unwrap_or_default();
        name.rsplit('#').next().unwrap_or_default().to_owned()
    }
}

pub struct Connection {
    pub stream: TcpStream,
    received: Vec<u8>,
}

/// A signed DynamoDB call with `headers` (each with its line end) added.
pub fn call(operation: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "POST / HTTP/1.1\r\nHost: localhost:8000\r\nContent-Type: application/x-amz-json-1.0\r\n\
         X-Amz-Target: DynamoDB_20120810.{operation}\r\nX-Amz-Date: 20250101T000000Z\r\n\
         Authorization: {AUTHORIZATION}\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// PutItem of one small item.
pub fn put(table: &str) -> Vec<u8> {
    call("PutItem", "", format!("{{\"TableName\":\"{table}\",\"Item\":{{\"k\":{{\"S\":\"v\"}}}}}}").as_bytes())
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), received: Vec::new() }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub async fn exchange(&mut self, bytes: &[u8]) -> Reply {
        self.send(bytes).await;
        self.receive().await
    }

    async fn more(&mut self) -> bool {
        let mut buffer = [0; 16_384];
        let count = self.stream.read(&mut buffer).await.unwrap_or(0);
        self.received.extend_from_slice(&buffer[..count]);
        count > 0
    }

    /// One response with a Content-Length or chunks.
    pub async fn receive(&mut self) -> Reply {
        self.receive_or_end().await.expect("the connection ended without a response")
    }

    pub async fn receive_or_end(&mut self) -> Option<Reply> {
        let end = loop {
            if let Some(at) = self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more().await {
                return None;
            }
        };
        let head = String::from_utf8(self.received.drain(..end).collect()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Reply { status, head, body: Vec::new() };
        if reply.header("transfer-encoding") == Some("chunked") {
            self.receive_chunks(&mut reply.body).await;
            return Some(reply);
        }
        let length: usize = reply.header("content-length").map_or(0, |text| text.parse().unwrap());
        while self.received.len() < length {
            assert!(self.more().await, "the connection ended within a body");
        }
        reply.body = self.received.drain(..length).collect();
        Some(reply)
    }

    async fn receive_chunks(&mut self, body: &mut Vec<u8>) {
        loop {
            let line_end = loop {
                if let Some(at) = self.received.windows(2).position(|window| window == b"\r\n") {
                    break at;
                }
                assert!(self.more().await, "the connection ended within chunks");
            };
            let line: Vec<u8> = self.received.drain(..line_end + 2).collect();
            let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
            while self.received.len() < size + 2 {
                assert!(self.more().await, "the connection ended within a chunk");
            }
            body.extend(self.received.drain(..size));
            self.received.drain(..2);
            if size == 0 {
                return;
            }
        }
    }

    /// True when the other side has closed and nothing is left.
    pub async fn is_over(&mut self) -> bool {
        self.received.is_empty() && !self.more().await
    }
}
