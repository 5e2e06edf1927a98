//! A record of a data stream as it lies in the log: its partition key and its data.
//!
//! ```text
//! format (1) | length of the partition key (2) | partition key | data
//! ```
//! Where it went is decided when it is put, so the explicit hash key is not kept; its arrival is its number's time.

use bytes::{BufMut, Bytes};

const FORMAT: u8 = 0;
const HEAD_BYTES: usize = 3;

/// The stored form. Errors: panics when the partition key is longer than clients may make one.
pub fn encode(partition_key: &str, data: &[u8]) -> Bytes {
    let mut payload = Vec::with_capacity(HEAD_BYTES + partition_key.len() + data.len());
    payload.put_u8(FORMAT);
    // At most 256 characters of four bytes each.
    payload.put_u16(u16::try_from(partition_key.len()).expect("the model bounds partition keys"));
    payload.extend_from_slice(partition_key.as_bytes());
    payload.extend_from_slice(data);
    payload.into()
}

/// Splits the stored form, if it is one; the data share its bytes.
pub fn decode(payload: &Bytes) -> Option<(String, Bytes)> {
    let (head, rest) = payload.split_first_chunk::<HEAD_BYTES>()?;
    let [format, high, low] = *head;
    let key = rest.get(..usize::from(u16::from_be_bytes([high, low])))?;
    let text = std::str::from_utf8(key).ok().filter(|_| format == FORMAT)?;
    Some((text.to_owned(), payload.slice(HEAD_BYTES + key.len()..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_others_are_noticed() {
        for (key, data) in [("k", &b"data"[..]), ("ключ", b""), (&"🦀".repeat(256), &[0; 1000])] {
            let payload = encode(key, data);
            let (again, rest) = decode(&payload).expect("readable");
            assert_eq!((again.as_str(), &rest[..]), (key, data));
        }
        for bad in [&b""[..], &[0, 0], &[1, 0, 0], &[0, 0, 9, b'x'], &[0, 0, 1, 0xff]] {
            assert_eq!(decode(&Bytes::copy_from_slice(bad)), None);
        }
    }
}
