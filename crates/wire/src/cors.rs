//! Cross-origin calls of browsers: preflights answered, the service's own headers made readable.
//!
//! Source: observed by kinesalite's author on the service.

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderValue, ORIGIN,
};
use hyper::{HeaderMap, Method};

/// What pages may read of an answer.
const EXPOSED: &str =
    "x-amzn-RequestId,x-amzn-ErrorType,x-amz-request-id,x-amz-id-2,x-amzn-ErrorMessage,x-amz-crc32,Date";
/// How long a browser may keep a preflight's answer. Unit: s. Source: kinesalite.
const MAX_AGE_S: &str = "172800";

/// Whether the request is a browser's question before the call.
pub(crate) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(ORIGIN)
}

/// Answers a preflight: whatever is asked for is allowed, the signature decides later.
pub(crate) fn answer_preflight(request: &HeaderMap, reply: &mut HeaderMap) {
    reply.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    if let Some(asked) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        reply.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    if let Some(asked) = request.get(ACCESS_CONTROL_REQUEST_METHOD) {
        reply.insert(ACCESS_CONTROL_ALLOW_METHODS, asked.clone());
    }
    reply.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE_S));
}

/// Lets a page of any origin read the answer to a call that bore an Origin header.
pub(crate) fn expose(request: &HeaderMap, reply: &mut HeaderMap) {
    if request.contains_key(ORIGIN) {
        reply.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        reply.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
}
