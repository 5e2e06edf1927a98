//! An answer before it is sent, and how it becomes a response: checksum over the bytes as sent, request id, encoding.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use headwater_api::{Api, Error};
use headwater_types::Runtime;
use hyper::body::{Frame, SizeHint};
use hyper::header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};

use crate::compression;
use crate::protocol::cbor;
use crate::protocol::event_stream::EventBody;
use crate::target::Format;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
static CHECKSUM: HeaderName = HeaderName::from_static("x-amz-crc32");
static ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// The body of a response.
pub enum Body {
    /// All of it at once.
    Whole(Option<Bytes>),
    /// Frames as they come.
    Events(EventBody),
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Events(frames) => frames.poll_frame(context).map(|frame| frame.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Events(_) => SizeHint::default(),
        }
    }
}

/// What is answered, before encoding and checksum.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: Option<HeaderValue>,
    pub(crate) body: Payload,
    /// Name of the error, for audit and metrics.
    pub(crate) code: Option<&'static str>,
    /// The connection cannot be used again.
    pub(crate) is_last: bool,
    /// It is never sent: the connection ends instead.
    pub(crate) is_lost: bool,
    pub(crate) header: Option<(&'static str, HeaderValue)>,
}

pub(crate) enum Payload {
    Bytes(Bytes),
    Events(EventBody),
}

impl Answer {
    /// A body of some type.
    pub(crate) fn new(status: u16, content_type: Option<HeaderValue>, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type,
            body: Payload::Bytes(body.into()),
            code: None,
            is_last: false,
            is_lost: false,
            header: None,
        }
    }

    /// Names the error.
    pub(crate) fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// Closes the connection after it.
    pub(crate) fn last(mut self) -> Self {
        self.is_last = true;
        self
    }

    /// No answer at all: the connection ends, as a fault asks for. 499 is what audit and metrics show.
    pub(crate) fn lost() -> Self {
        let lost = Self::new(499, None, Bytes::new()).with_code("FaultConnectionLost");
        Self { is_lost: true, ..lost }
    }

    /// An error in the form of `api` and `format`.
    pub(crate) fn error(error: &Error, api: Api, format: Format) -> Self {
        let mut answer = match format {
            Format::Json10 | Format::Json11 | Format::Json => {
                Self::new(error.status(), Some(format.content_type()), error.to_json(api))
            }
            Format::Cbor11 => {
                let mut writer = cbor::Writer::default();
                error.encode(api, &mut writer);
                Self::new(error.status(), Some(format.content_type()), writer.into_bytes())
            }
        };
        if format == Format::Cbor11 {
            answer.header = Some((ERROR_TYPE.as_str(), HeaderValue::from_static(error.name_in(api))));
        }
        answer.with_code(error.name())
    }

    /// 404, for what is no call at all. Source: facts, "Wrong method or content type".
    pub(crate) fn nothing() -> Self {
        Self::new(404, None, Bytes::from_static(b"<UnknownOperationException/>\n"))
            .with_code("UnknownOperationException")
    }
}

/// Makes the response; `request` is the request's headers. Shape: (response, bytes of its body as sent).
pub(crate) async fn finish(
    answer: Answer,
    request: &HeaderMap,
    request_id: &str,
    runtime: &Runtime,
) -> (Response<Body>, u64) {
    let mut response = Response::new(Body::Whole(None));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(
        REQUEST_ID.clone(),
        HeaderValue::from_str(request_id).expect("a request id is of letters, digits and dashes"),
    );
    if let Some(content_type) = answer.content_type {
        headers.insert(CONTENT_TYPE, content_type);
    }
    if let Some((name, value)) = answer.header {
        headers.insert(HeaderName::from_static(name), value);
    }
    if answer.is_last {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let mut sent_bytes = 0;
    match answer.body {
        Payload::Bytes(bytes) => {
            let bytes = encode(bytes, request, &mut headers, runtime).await;
            headers.insert(CHECKSUM.clone(), HeaderValue::from(crc32fast::hash(&bytes)));
            sent_bytes = bytes.len() as u64;
            *response.body_mut() = Body::Whole((!bytes.is_empty()).then_some(bytes));
        }
        Payload::Events(events) => *response.body_mut() = Body::Events(events),
    }
    *response.headers_mut() = headers;
    (response, sent_bytes)
}

async fn encode(bytes: Bytes, request: &HeaderMap, reply: &mut HeaderMap, runtime: &Runtime) -> Bytes {
    let Some(encoding) = compression::reply_encoding(request, bytes.len()) else { return bytes };
    let compressed: Bytes = if bytes.len() <= compression::INLINE_BYTES_MAX {
        encoding.compress(&bytes).into()
    } else {
        let plain = bytes.clone();
        match runtime.blocking(move || encoding.compress(&plain)).await {
            Ok(compressed) => compressed.into(),
            // The pool is going down: the plain bytes are as right.
            Err(_) => return bytes,
        }
    };
    reply.insert(CONTENT_ENCODING, encoding.header());
    compressed
}
