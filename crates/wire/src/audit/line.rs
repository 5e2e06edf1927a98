//! An audit line's fields and their JSON.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use headwater_api::Api;
use headwater_types::Millis;

use crate::calendar;

/// Longest text taken from a client. Unit: bytes. Source: ours.
const TEXT_BYTES_MAX: usize = 512;
/// Resources named on one line; a transaction has at most 100. Source: "TransactWriteItems", DynamoDB API reference.
const RESOURCES_MAX: usize = 100;

/// One call's line. Nothing of an item, a key or a message that could quote one.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) at: Millis,
    pub(crate) api: Api,
    /// None for a target that no API knows.
    pub(crate) operation: Option<&'static str>,
    pub(crate) request_id: &'a str,
    /// ARN of the caller; empty when nobody was recognised.
    pub(crate) principal: &'a str,
    /// As the signature names it, whether or not it held.
    pub(crate) access_key: &'a str,
    pub(crate) account: &'a str,
    pub(crate) region: &'a str,
    pub(crate) source: Option<IpAddr>,
    pub(crate) user_agent: Option<&'a str>,
    pub(crate) resources: &'a [String],
    pub(crate) code: Option<&'a str>,
    pub(crate) status: u16,
    pub(crate) took: Duration,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

impl Line<'_> {
    /// Appends the line and its end.
    pub(crate) fn append(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"eventTime\":\"");
        calendar::append_extended(out, self.at);
        out.extend_from_slice(b"\",\"eventSource\":\"");
        out.extend_from_slice(self.api.signing_name().as_bytes());
        out.extend_from_slice(b".amazonaws.com\"");
        optional(out, b",\"eventName\":", self.operation);
        optional(out, b",\"awsRegion\":", Some(self.region).filter(|region| !region.is_empty()));
        if let Some(source) = self.source {
            out.extend_from_slice(b",\"sourceIPAddress\":\"");
            address(out, source);
            out.push(b'"');
        }
        optional(out, b",\"userAgent\":", self.user_agent);
        optional(out, b",\"errorCode\":", self.code);
        optional(out, b",\"requestID\":", Some(self.request_id));
        optional(out, b",\"recipientAccountId\":", Some(self.account).filter(|account| !account.is_empty()));
        out.extend_from_slice(b",\"userIdentity\":{\"arn\":");
        text(out, self.principal);
        out.extend_from_slice(b",\"accountId\":");
        text(out, self.account);
        out.extend_from_slice(b",\"accessKeyId\":");
        text(out, self.access_key);
        out.extend_from_slice(b"},\"resources\":[");
        for (at, arn) in self.resources.iter().take(RESOURCES_MAX).enumerate() {
            out.extend_from_slice(if at == 0 { b"{\"ARN\":" } else { b",{\"ARN\":" });
            text(out, arn);
            out.push(b'}');
        }
        let micros = self.took.as_micros() as u64;
        out.push(b']');
        number(out, b",\"httpStatus\":", self.status.into());
        number(out, b",\"durationMs\":", micros / 1_000);
        out.push(b'.');
        calendar::append_padded(out, (micros % 1_000) as i64, 3);
        number(out, b",\"bytesIn\":", self.bytes_in);
        number(out, b",\"bytesOut\":", self.bytes_out);
        out.extend_from_slice(b"}\n");
    }
}

/// Something that happened without a call: what became of a replication.
#[derive(Clone, Copy, Debug)]
pub struct ServiceEvent<'a> {
    /// What happened.
    pub name: &'a str,
    /// The account it happened in.
    pub account: &'a str,
    /// The Region likewise.
    pub region: &'a str,
    /// ARNs of what it is about.
    pub resources: &'a [&'a str],
    /// Why, in words of ours; may be empty.
    pub reason: &'a str,
}

impl ServiceEvent<'_> {
    /// Appends the line and its end. Field names are those of CloudTrail's events of a service.
    pub(crate) fn append(&self, out: &mut Vec<u8>, at: Millis) {
        out.extend_from_slice(b"{\"eventTime\":\"");
        calendar::append_extended(out, at);
        out.extend_from_slice(b"\",\"eventSource\":\"dynamodb.amazonaws.com\",\"eventType\":\"AwsServiceEvent\"");
        optional(out, b",\"eventName\":", Some(self.name));
        optional(out, b",\"awsRegion\":", Some(self.region));
        optional(out, b",\"recipientAccountId\":", Some(self.account));
        out.extend_from_slice(b",\"resources\":[");
        for (at, arn) in self.resources.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b"{\"ARN\":" } else { b",{\"ARN\":" });
            text(out, arn);
            out.push(b'}');
        }
        out.push(b']');
        if !self.reason.is_empty() {
            out.extend_from_slice(b",\"additionalEventData\":{\"reason\":");
            text(out, self.reason);
            out.push(b'}');
        }
        out.extend_from_slice(b"}\n");
    }
}

/// Appends the line that tells of dropped ones.
pub(super) fn append_dropped(out: &mut Vec<u8>, at: Millis, lines: u64) {
    out.extend_from_slice(b"{\"eventTime\":\"");
    calendar::append_extended(out, at);
    write(out, format_args!("\",\"eventName\":\"AuditLinesDropped\",\"linesDropped\":{lines}}}\n"));
}

fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to memory does not fail");
}

/// A number behind its name.
fn number(out: &mut Vec<u8>, name: &[u8], value: u64) {
    out.extend_from_slice(name);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn address(out: &mut Vec<u8>, address: IpAddr) {
    let IpAddr::V4(address) = address else { return write(out, format_args!("{address}")) };
    for (at, part) in address.octets().into_iter().enumerate() {
        number(out, if at == 0 { b"" } else { b"." }, part.into());
    }
}

fn optional(out: &mut Vec<u8>, name: &[u8], value: Option<&str>) {
    if let Some(value) = value {
        out.extend_from_slice(name);
        text(out, value);
    }
}

/// A JSON text, cut at its bound: what a client sends must neither end the line nor fill the disk.
fn text(out: &mut Vec<u8>, value: &str) {
    let mut end = value.len().min(TEXT_BYTES_MAX);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    let shown = value.as_bytes().get(..end).unwrap_or_default();
    out.push(b'"');
    // Most texts need no escape at all, which a look at all bytes at once tells fastest.
    if !shown.iter().fold(false, |found, byte| found | is_escaped(byte)) {
        out.extend_from_slice(shown);
        out.push(b'"');
        return;
    }
    for run in shown.split_inclusive(is_escaped) {
        match run.split_last() {
            Some((byte, plain)) if is_escaped(byte) => {
                out.extend_from_slice(plain);
                escape(out, *byte);
            }
            Some(_) | None => out.extend_from_slice(run),
        }
    }
    out.push(b'"');
}

fn is_escaped(byte: &u8) -> bool {
    matches!(byte, b'"' | b'\\' | 0..0x20 | 0x7f)
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' | b'\\' => out.extend([b'\\', byte]),
        b'\n' => out.extend(b"\\n"),
        _ => write(out, format_args!("\\u{byte:04x}")),
    }
}
