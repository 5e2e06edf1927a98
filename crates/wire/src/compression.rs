//! Content encodings: gzip requests inflated within a bound, large replies compressed when asked.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::{GzEncoder, ZlibEncoder};
use hyper::HeaderMap;
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue};

/// Replies up to this size are sent as they are. Unit: bytes. Source: "Compression", observed by Alternator's tests.
const REPLY_BYTES_MIN: usize = 4_096;
/// Larger work leaves the request's task for a thread that may block. Unit: bytes. Source: ours, about half a millisecond.
pub(crate) const INLINE_BYTES_MAX: usize = 64 * 1_024;

/// An encoding a reply can have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Encoding {
    Gzip,
    Deflate,
}

impl Encoding {
    pub(crate) fn header(self) -> HeaderValue {
        match self {
            Self::Gzip => HeaderValue::from_static("gzip"),
            Self::Deflate => HeaderValue::from_static("deflate"),
        }
    }

    /// Compresses a whole reply.
    pub(crate) fn compress(self, body: &[u8]) -> Vec<u8> {
        let room = Vec::with_capacity(body.len() / 3);
        let written = match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(room, Compression::fast());
                encoder.write_all(body).and_then(|()| encoder.finish())
            }
            Self::Deflate => {
                let mut encoder = ZlibEncoder::new(room, Compression::fast());
                encoder.write_all(body).and_then(|()| encoder.finish())
            }
        };
        written.expect("compressing into memory does not fail")
    }
}

/// The encoding for a reply of `body_bytes`, by the first of the Accept-Encoding headers, as the service reads them.
pub(crate) fn reply_encoding(headers: &HeaderMap, body_bytes: usize) -> Option<Encoding> {
    if body_bytes <= REPLY_BYTES_MIN {
        return None;
    }
    let asked = headers.get(ACCEPT_ENCODING)?.to_str().ok()?;
    let wants = |name: &str| {
        asked.split(',').any(|entry| {
            let mut parts = entry.split(';').map(str::trim);
            let named = parts.next().is_some_and(|given| given.eq_ignore_ascii_case(name));
            let refused = parts.any(|part| {
                part.strip_prefix("q=")
                    .and_then(|weight| weight.parse::<f32>().ok())
                    .is_some_and(|weight| weight <= 0.0)
            });
            named && !refused
        })
    };
    if wants("gzip") {
        Some(Encoding::Gzip)
    } else if wants("deflate") {
        Some(Encoding::Deflate)
    } else {
        None
    }
}

/// Whether a request's body is compressed in the one way the service takes.
pub(crate) fn is_gzip(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_ENCODING).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"gzip"))
}

/// Why a compressed body cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum InflateError {
    /// Not gzip, or cut off.
    Malformed,
    /// Larger than a body may be.
    TooLarge,
}

/// Inflates a gzip body, never holding more than `bytes_max` and one byte.
pub(crate) fn inflate(body: &[u8], bytes_max: usize) -> Result<Bytes, InflateError> {
    let mut out = Vec::with_capacity(body.len().saturating_mul(4).min(bytes_max));
    let bound = bytes_max as u64 + 1;
    MultiGzDecoder::new(body).take(bound).read_to_end(&mut out).map_err(|_| InflateError::Malformed)?;
    if out.len() > bytes_max { Err(InflateError::TooLarge) } else { Ok(out.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_accept_encoding_header_decides() {
        let mut cases = 0;
        for (given, expected) in [
            (&["gzip"][..], Some(Encoding::Gzip)),
            (&["deflate"], Some(Encoding::Deflate)),
            (&["deflate, gzip;q=0.5"], Some(Encoding::Gzip)),
            (&["gzip;q=0, deflate"], Some(Encoding::Deflate)),
            (&["GZIP"], Some(Encoding::Gzip)),
            (&["identity", "gzip"], None),
            (&["br"], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in given {
                headers.append(ACCEPT_ENCODING, HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(reply_encoding(&headers, 4_097), expected, "{given:?}");
            assert_eq!(reply_encoding(&headers, 4_096), None, "small replies stay as they are");
            cases += 1;
        }
        assert_eq!(cases, 8);
    }

    #[test]
    fn inflating_stops_at_the_bound() {
        let zeros = Encoding::Gzip.compress(&vec![0; 1 << 20]);
        assert!(zeros.len() < 10_000);
        assert_eq!(inflate(&zeros, 1 << 20).unwrap().len(), 1 << 20);
        assert_eq!(inflate(&zeros, (1 << 20) - 1), Err(InflateError::TooLarge));
        assert_eq!(inflate(&zeros[..zeros.len() / 2], 1 << 21), Err(InflateError::Malformed));
        assert_eq!(inflate(b"{}", 100), Err(InflateError::Malformed));
        assert_eq!(inflate(&Encoding::Deflate.compress(b"{}"), 100), Err(InflateError::Malformed));
    }
}
