//! Frames of an event stream: `application/vnd.amazon.eventstream`.
//!
//! Source: "Amazon Transcribe: Event stream encoding" and the facts of SubscribeToShard.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use headwater_api::{Api, Error, Event, Events, json};

const TEXT_HEADER: u8 = 7;

fn header(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(name.len() as u8);
    out.extend_from_slice(name.as_bytes());
    out.push(TEXT_HEADER);
    out.extend((value.len() as u16).to_be_bytes());
    out.extend_from_slice(value.as_bytes());
}

/// One frame: total length, header length, checksum of both, headers, payload, checksum of all.
fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Bytes {
    let mut encoded = Vec::with_capacity(128);
    for (name, value) in headers {
        header(&mut encoded, name, value);
    }
    let total = 12 + encoded.len() + payload.len() + 4;
    let mut out = Vec::with_capacity(total);
    out.extend((total as u32).to_be_bytes());
    out.extend((encoded.len() as u32).to_be_bytes());
    out.extend(crc32fast::hash(&out).to_be_bytes());
    out.extend_from_slice(&encoded);
    out.extend_from_slice(payload);
    out.extend(crc32fast::hash(&out).to_be_bytes());
    out.into()
}

fn event_frame(name: &str, payload: &[u8]) -> Bytes {
    let kind = [(":event-type", name), (":content-type", "application/json"), (":message-type", "event")];
    frame(&kind, payload)
}

fn error_frame(error: &Error, api: Api) -> Bytes {
    let kind =
        [(":exception-type", error.name()), (":content-type", "application/json"), (":message-type", "exception")];
    frame(&kind, &error.to_json(api))
}

/// The body of a pushed answer: a first frame at once, each event as it comes, an error as the last frame.
pub(crate) struct EventBody {
    events: Option<Events<Box<dyn Event>>>,
    api: Api,
    is_begun: bool,
}

impl EventBody {
    pub(crate) fn new(events: Events<Box<dyn Event>>, api: Api) -> Self {
        Self { events: Some(events), api, is_begun: false }
    }

    /// The next frame; None at the end.
    pub(crate) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if !self.is_begun {
            self.is_begun = true;
            // Java and JavaScript SDKs wait for it before they hand the stream out.
            return Poll::Ready(Some(event_frame("initial-response", b"{}")));
        }
        let Some(events) = &mut self.events else { return Poll::Ready(None) };
        // A panic while an event is made ends this stream with an error, not the connection with a cut.
        let polled = catch_unwind(AssertUnwindSafe(|| events.as_mut().poll_next(context)));
        let item = match polled {
            Ok(polled) => ready!(polled),
            Err(_) => Some(Err(Error::internal("an event stream panicked"))),
        };
        Poll::Ready(match item {
            Some(Ok(event)) => Some(event_frame(event.name(), &json::encode(event.body()))),
            Some(Err(error)) => {
                self.events = None;
                Some(error_frame(&error, self.api))
            }
            None => {
                self.events = None;
                None
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_laid_out_to_the_byte() {
        let bytes = frame(&[("a", "bc")], b"xyz");
        let headers = [1, b'a', 7, 0, 2, b'b', b'c'];
        assert_eq!(bytes.len(), 12 + headers.len() + 3 + 4);
        assert_eq!(bytes[..4], (bytes.len() as u32).to_be_bytes());
        assert_eq!(bytes[4..8], (headers.len() as u32).to_be_bytes());
        assert_eq!(bytes[8..12], crc32fast::hash(&bytes[..8]).to_be_bytes());
        assert_eq!(bytes[12..19], headers);
        assert_eq!(&bytes[19..22], b"xyz");
        assert_eq!(bytes[22..], crc32fast::hash(&bytes[..22]).to_be_bytes());
    }
}
