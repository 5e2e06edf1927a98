//! The canonical request of Signature Version 4, hashed as it is walked: no copy of the request is made.
//!
//! Source: "Create a signed AWS API request", IAM user guide; the crate `aws-sigv4` is the oracle in the tests.

use std::borrow::Cow;

use hyper::HeaderMap;
use sha2::{Digest, Sha256};

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Lower-case hexadecimal of a SHA-256.
pub(crate) fn hex(hash: &[u8; 32]) -> [u8; 64] {
    let mut text = [0; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(hash) {
        pair.copy_from_slice(&[
            HEX[usize::from(byte >> 4)].to_ascii_lowercase(),
            HEX[usize::from(byte & 15)].to_ascii_lowercase(),
        ]);
    }
    text
}

/// 32 bytes of 64 lower-case hexadecimal digits.
pub(crate) fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = lower_nibble(pair[0])? << 4 | lower_nibble(pair[1])?;
    }
    Some(bytes)
}

fn lower_nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn nibble(digit: u8) -> Option<u8> {
    lower_nibble(digit.to_ascii_lowercase())
}

fn encode_into(out: &mut Vec<u8>, bytes: &[u8], keep_slash: bool) {
    for &byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte),
            b'/' if keep_slash => out.push(byte),
            _ => out.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
}

/// Undoes percent and plus encoding; a `%` without two digits stays as it is.
pub(crate) fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = match (byte, bytes.get(at + 1), bytes.get(at + 2)) {
            (b'%', Some(&high), Some(&low)) => nibble(high).zip(nibble(low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        out.push(match (escaped, byte) {
            (Some(value), _) => value,
            (None, b'+') => b' ',
            (None, other) => other,
        });
        at += if escaped.is_some() { 3 } else { 1 };
    }
    out
}

/// Removes dot segments and empty segments, keeping a last slash (RFC 3986, 5.2.4, as the service's signers do).
fn normalize(path: &str) -> Cow<'_, str> {
    if path.is_empty() {
        return Cow::Borrowed("/");
    }
    if !path.contains('.') && !path.contains("//") {
        return Cow::Borrowed(path);
    }
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    let ends_open = ["/", "/.", "/./", "/..", "/../"].iter().any(|end| path.ends_with(end));
    let mut normal = format!("/{}", kept.join("/"));
    if ends_open && !normal.ends_with('/') {
        normal.push('/');
    }
    Cow::Owned(normal)
}

/// One name and value of a query string, decoded.
pub(crate) type Parameter = (Vec<u8>, Vec<u8>);

/// Splits and decodes a query string; empty pieces are left out.
pub(crate) fn parameters(query: &str) -> Vec<Parameter> {
    query
        .split('&')
        .filter(|piece| !piece.is_empty())
        .map(|piece| {
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            (decode(name), decode(value))
        })
        .collect()
}

/// The canonical query string; the signature itself is not part of it.
fn canonical_query(query: &str) -> Vec<u8> {
    let mut encoded: Vec<Parameter> = parameters(query)
        .into_iter()
        .filter(|(name, _)| name != b"X-Amz-Signature")
        .map(|(name, value)| {
            let (mut left, mut right) = (Vec::new(), Vec::new());
            encode_into(&mut left, &name, false);
            encode_into(&mut right, &value, false);
            (left, right)
        })
        .collect();
    encoded.sort();
    let mut out = Vec::with_capacity(query.len());
    for (name, value) in &encoded {
        if !out.is_empty() {
            out.push(b'&');
        }
        out.extend_from_slice(name);
        out.push(b'=');
        out.extend_from_slice(value);
    }
    out
}

/// Feeds a header value without leading and trailing blanks and with runs of blanks made one.
fn hash_trimmed(hash: &mut Sha256, value: &[u8]) {
    let trimmed = value.trim_ascii();
    if !trimmed.windows(2).any(|pair| pair == b"  ") {
        return hash.update(trimmed);
    }
    for (at, run) in trimmed.split(|byte| *byte == b' ').filter(|run| !run.is_empty()).enumerate() {
        if at > 0 {
            hash.update(b" ");
        }
        hash.update(run);
    }
}

/// What of a request its signature covers.
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    /// As it came, still percent-encoded.
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    /// `:authority` of HTTP/2, which has no Host header.
    pub(crate) authority: Option<&'a str>,
    /// `host;x-amz-date;…`, as the client gave it.
    pub(crate) signed_headers: &'a str,
    /// Hexadecimal hash of the body as sent, or a literal such as `UNSIGNED-PAYLOAD`.
    pub(crate) payload: &'a [u8],
}

/// SHA-256 of the canonical request.
pub(crate) fn request_hash(signed: &Signed<'_>) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(signed.method);
    if signed.path == "/" && signed.query.is_empty() {
        hash.update(b"\n/\n\n");
    } else {
        // Paths of all services but S3 are encoded twice: a `%` that came becomes `%25`.
        let mut path = Vec::with_capacity(signed.path.len());
        encode_into(&mut path, normalize(signed.path).as_bytes(), true);
        hash.update(b"\n");
        hash.update(&path);
        hash.update(b"\n");
        hash.update(canonical_query(signed.query));
        hash.update(b"\n");
    }
    for name in signed.signed_headers.split(';') {
        hash.update(name);
        hash.update(b":");
        let mut values = signed.headers.get_all(name).iter().peekable();
        if values.peek().is_none() && name == "host" {
            hash.update(signed.authority.unwrap_or_default());
        }
        for (at, value) in values.enumerate() {
            if at > 0 {
                hash.update(b",");
            }
            hash_trimmed(&mut hash, value.as_bytes());
        }
        hash.update(b"\n");
    }
    hash.update(b"\n");
    hash.update(signed.signed_headers);
    hash.update(b"\n");
    hash.update(signed.payload);
    hash.finalize().into()
}
