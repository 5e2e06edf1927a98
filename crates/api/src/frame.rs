//! Frames of an event stream: `application/vnd.amazon.eventstream`.
//!
//! ```text
//! total length u32 | headers' length u32 | CRC-32 of both | headers | payload | CRC-32 of all before
//! ```
//!
//! Source: "Event stream encoding", Amazon Transcribe developer guide; decoded by `aws-smithy-eventstream` in the tests.

use std::fmt;

use bytes::Bytes;

use crate::api::Api;
use crate::error::Error;
use crate::json;
use crate::reply::Event;

/// A header value that is text. Source: "Event stream encoding".
const TEXT_HEADER: u8 = 7;
/// Lengths and their checksum. Unit: bytes.
const PRELUDE_BYTES: usize = 12;
/// The checksum at the end. Unit: bytes.
const CHECKSUM_BYTES: usize = 4;
/// Longest headers that we write: four, each shorter than 64 bytes. Unit: bytes.
const HEADERS_BYTES: usize = 256;

/// A finished frame. Clones share its bytes, so a page that goes to many subscribers is encoded once.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame(Bytes);

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} bytes)", self.0.len())
    }
}

impl Frame {
    /// The frame of an event, its payload in JSON.
    pub fn of(event: &dyn Event) -> Self {
        let body = json::encode(event.body());
        Self::event(event.name(), &body)
    }

    /// The frame that every stream begins with: Java's and JavaScript's SDKs hand a stream out only after it.
    pub fn initial() -> Self {
        Self::event("initial-response", b"{}")
    }

    /// The frame of an error, which is a stream's last. Our own fault has the name that the model gives it inside streams.
    pub fn error(error: &Error, api: Api) -> Self {
        let name = if error.is_internal() { "InternalFailureException" } else { error.name() };
        let kind = [(":exception-type", name), (":content-type", "application/json"), (":message-type", "exception")];
        Self::new(&kind, &error.to_json(api))
    }

    /// Its bytes, shared.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// Its size on the wire. Unit: bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: even the smallest frame has lengths and checksums.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn event(name: &str, payload: &[u8]) -> Self {
        let kind = [(":event-type", name), (":content-type", "application/json"), (":message-type", "event")];
        Self::new(&kind, payload)
    }

    fn new(headers: &[(&str, &str)], payload: &[u8]) -> Self {
        let mut encoded = Vec::with_capacity(HEADERS_BYTES);
        for (name, value) in headers {
            encoded.push(name.len() as u8);
            encoded.extend_from_slice(name.as_bytes());
            encoded.push(TEXT_HEADER);
            encoded.extend((value.len() as u16).to_be_bytes());
            encoded.extend_from_slice(value.as_bytes());
        }
        let total = PRELUDE_BYTES + encoded.len() + payload.len() + CHECKSUM_BYTES;
        let mut out = Vec::with_capacity(total);
        out.extend((total as u32).to_be_bytes());
        out.extend((encoded.len() as u32).to_be_bytes());
        out.extend(crc32fast::hash(&out).to_be_bytes());
        out.extend_from_slice(&encoded);
        out.extend_from_slice(payload);
        out.extend(crc32fast::hash(&out).to_be_bytes());
        Self(out.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_laid_out_to_the_byte() {
        let bytes = Frame::new(&[("a", "bc")], b"xyz").into_bytes();
        let headers = [1, b'a', 7, 0, 2, b'b', b'c'];
        assert_eq!(bytes.len(), 12 + headers.len() + 3 + 4);
        assert_eq!(bytes[..4], (bytes.len() as u32).to_be_bytes());
        assert_eq!(bytes[4..8], (headers.len() as u32).to_be_bytes());
        assert_eq!(bytes[8..12], crc32fast::hash(&bytes[..8]).to_be_bytes());
        assert_eq!(bytes[12..19], headers);
        assert_eq!(&bytes[19..22], b"xyz");
        assert_eq!(bytes[22..], crc32fast::hash(&bytes[..22]).to_be_bytes());
    }

    #[test]
    fn clones_share_their_bytes() {
        let frame = Frame::initial();
        let (one, other) = (frame.clone().into_bytes(), frame.clone().into_bytes());
        assert_eq!(one.as_ptr(), other.as_ptr());
        assert_eq!(frame.len(), one.len());
    }
}
