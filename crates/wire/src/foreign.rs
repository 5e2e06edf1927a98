//! Calls for other AWS services: a quick, well-formed refusal in their own protocol, so that clients which send their
//! metrics or logs wherever they are pointed (KCL does) fail fast and go on.

use bytes::Bytes;
use headwater_api::Encoder;
use hyper::header::HeaderValue;

use crate::protocol::cbor;
use crate::response::Answer;

/// Longest action name that is echoed. Unit: bytes. Source: ours.
const ACTION_BYTES_MAX: usize = 128;

/// Value of `Action` in a form body, where it looks like one.
fn action(form: &[u8]) -> Option<&str> {
    let value = form.split(|byte| *byte == b'&').find_map(|pair| pair.strip_prefix(b"Action="))?;
    let name = std::str::from_utf8(value).ok()?;
    let is_name = (1..=ACTION_BYTES_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_name.then_some(name)
}

/// The query protocol's error. Source: "AWS query protocol", Smithy: `ErrorResponse` with type, code, message, request id.
pub(crate) fn query(form: &[u8], request_id: &str) -> Answer {
    let (code, message) = match action(form) {
        Some(action) => ("InvalidAction", format!("The action {action} is not valid for this endpoint.")),
        None => ("MissingAction", "Missing Action".to_owned()),
    };
    let body = format!(
        "<ErrorResponse xmlns=\"http://webservices.amazon.com/AWSFault/2005-15-09\">\n  <Error>\n    \
         <Type>Sender</Type>\n    <Code>{code}</Code>\n    <Message>{message}</Message>\n  </Error>\n  \
         <RequestId>{request_id}</RequestId>\n</ErrorResponse>\n"
    );
    Answer::new(400, Some(HeaderValue::from_static("text/xml")), body).with_code(code)
}

/// Smithy RPC v2's error in CBOR. Source: "Smithy RPC v2 CBOR protocol": `__type` in the body, `smithy-protocol` as header.
pub(crate) fn rpc_cbor(path: &str) -> Answer {
    let operation = path.rsplit('/').next().filter(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let mut writer = cbor::Writer::default();
    writer.begin_structure();
    writer.field("__type");
    writer.text("com.amazon.coral.service#UnknownOperationException");
    writer.field("message");
    writer.text(&match operation {
        Some(name) => format!("The operation {name} is not valid for this endpoint."),
        None => "The operation is not valid for this endpoint.".to_owned(),
    });
    writer.end_structure();
    let body = Bytes::from(writer.into_bytes());
    let mut answer = Answer::new(400, Some(HeaderValue::from_static("application/cbor")), body);
    answer.header = Some(("smithy-protocol", HeaderValue::from_static("rpc-v2-cbor")));
    answer.with_code("UnknownOperationException")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_action_is_echoed() {
        assert_eq!(action(b"Version=2010-08-01&Action=PutMetricData&x=y"), Some("PutMetricData"));
        for form in [&b""[..], b"Action=", b"Action=%3Cscript%3E", b"Action=<b>", b"NoAction=x", b"Action=\xff"] {
            assert_eq!(action(form), None);
        }
    }
}
