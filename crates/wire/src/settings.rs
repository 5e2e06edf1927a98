//! Bounds and time-outs of the wire, with their defaults.

use std::sync::Arc;
use std::time::Duration;

use headwater_types::limits;

/// What bounds connections and requests. Everything is refused or closed at its bound, never queued without end.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Connections open at once over all listeners; more wait in the system's accept queue.
    pub connections_max: usize,
    /// Requests being answered at once; one more is told ServiceUnavailableException.
    pub requests_max: usize,
    /// HTTP/2 streams open at once on one connection.
    pub streams_per_connection_max: u32,
    /// Request line and headers. Unit: bytes. One more is answered 400.
    pub head_bytes_max: usize,
    /// A body, as sent and inflated. Unit: bytes. One more is answered 413.
    pub body_bytes_max: usize,
    /// All bodies over 64 KiB being read or answered together. Unit: bytes. Further ones wait to be read.
    pub bodies_bytes_max: usize,
    /// From a request's first byte to the end of its headers; then the connection is closed.
    pub head_timeout: Duration,
    /// From the end of the headers to the end of the body; then 408 and the connection is closed.
    pub body_timeout: Duration,
    /// Without a request and without a byte moving; then the connection is closed.
    pub idle_timeout: Duration,
    /// HTTP/2: between two pings that ask a silent client whether it lives; it has as long again to answer.
    pub ping_interval: Duration,
    /// How long an answer that pushes events waits for its subscriber to read; then it ends.
    pub unread_timeout: Duration,
    /// How long a graceful stop waits for running requests before it drops their connections.
    pub stop_timeout: Duration,
    /// Region of the health text, which is asked for without a signature.
    pub region: Arc<str>,
    /// Whether pages of any origin may call.
    pub cors: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections_max: 4_096,
            requests_max: 16_384,
            streams_per_connection_max: 1_024,
            head_bytes_max: limits::REQUEST_HEAD_BYTES_MAX,
            body_bytes_max: limits::REQUEST_BYTES_MAX,
            bodies_bytes_max: 512 * 1_024 * 1_024,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(120),
            ping_interval: Duration::from_secs(20),
            // As long as a subscription lasts that is read.
            unread_timeout: Duration::from_secs(300),
            stop_timeout: Duration::from_secs(10),
            region: "us-east-1".into(),
            cors: true,
        }
    }
}
