//! HTTP/1.1 to one endpoint over connections that are kept.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::runner::KINESIS;

/// Where an endpoint is.
#[derive(Clone, Debug)]
pub struct Authority {
    /// As in the `Host` header: with the port, unless the URL has none.
    pub host: String,
    /// As the system resolves it.
    pub address: String,
}

impl Authority {
    /// Takes a URL apart.
    ///
    /// Errors: it is not `http://HOST[:PORT][/]`. TLS is not spoken: DynamoDB's own endpoints take both.
    pub fn of(url: &str) -> Result<Self> {
        let rest = url.strip_prefix("http://").with_context(|| {
            format!("{url}: an endpoint begins with http:// (DynamoDB's own take it too: http://dynamodb.REGION.amazonaws.com)")
        })?;
        let host = rest.trim_end_matches('/');
        ensure!(!host.is_empty() && !host.contains('/'), "{url}: an endpoint has no path");
        let with_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let address = if with_port { host.to_owned() } else { format!("{host}:80") };
        Ok(Self { host: host.to_owned(), address })
    }

    /// Whether it is this machine.
    pub fn is_loopback(&self) -> bool {
        ["127.", "localhost", "[::1]"].iter().any(|local| self.host.starts_with(local))
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Whole body.
    pub body: Bytes,
}

/// One kept connection; dropping it closes it.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
}

impl Connection {
    /// Connects.
    pub async fn open(authority: &Authority) -> Result<Self> {
        let stream = TcpStream::connect(&authority.address).await;
        let stream = stream.with_context(|| format!("connecting to {}", authority.address))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the sender; what it ends with is seen by the request that needs it.
        let driver = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Ok(Self { sender, driver })
    }

    /// Posts a body and reads the whole answer.
    ///
    /// Errors: the connection ends before the answer does; it must not be used again.
    pub async fn post(&mut self, headers: &[(String, String)], body: Bytes) -> Result<Answer> {
        self.send("POST", "/", headers, body).await
    }

    /// Sends a request and reads the whole answer.
    ///
    /// Errors: as [`Connection::post`].
    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: Bytes,
    ) -> Result<Answer> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body)).context("a request")?;
        self.sender.ready().await.context("the connection")?;
        let answer = self.sender.send_request(request).await.context("no answer")?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.context("half an answer")?.to_bytes();
        Ok(Answer { status, body })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// The header that names an operation.
pub fn target(operation: &str) -> String {
    if let Some(operation) = operation.strip_prefix(KINESIS) {
        return format!("Kinesis_20131202.{operation}");
    }
    const STREAMS: [&str; 4] = ["DescribeStream", "GetRecords", "GetShardIterator", "ListStreams"];
    let api = if STREAMS.contains(&operation) { "DynamoDBStreams_20120810" } else { "DynamoDB_20120810" };
    format!("{api}.{operation}")
}
