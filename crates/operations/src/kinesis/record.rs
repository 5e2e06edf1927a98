//! A record as it lies in the log: its partition key and its data.
//!
//! ```text
//! format (1) | length of the partition key (2) | partition key | data
//! ```
//! Where it went is decided when it is put, so the explicit hash key is not kept; its arrival is its number's time.

use bytes::{BufMut, Bytes};
use headwater_api::Error;
use headwater_api::kinesis as api;
use headwater_log::sequence::kinesis as sequence;
use headwater_log::{LogRecord, Page, ReadFrom, ShardInfo};

use super::table_stream::{self, Stream};
use crate::dynamodb::error::corrupt;

const FORMAT: u8 = 0;
const HEAD_BYTES: usize = 3;

/// The stored form.
pub(super) fn encode(partition_key: &str, data: &[u8]) -> Bytes {
    let mut payload = Vec::with_capacity(HEAD_BYTES + partition_key.len() + data.len());
    payload.put_u8(FORMAT);
    // At most 256 characters of four bytes each.
    payload.put_u16(u16::try_from(partition_key.len()).expect("the model bounds partition keys"));
    payload.extend_from_slice(partition_key.as_bytes());
    payload.extend_from_slice(data);
    payload.into()
}

/// Splits the stored form; the data share its bytes.
fn decode(payload: &Bytes) -> Option<(String, Bytes)> {
    let (head, rest) = payload.split_first_chunk::<HEAD_BYTES>()?;
    let [format, high, low] = *head;
    let key = rest.get(..usize::from(u16::from_be_bytes([high, low])))?;
    let text = std::str::from_utf8(key).ok().filter(|_| format == FORMAT)?;
    Some((text.to_owned(), payload.slice(HEAD_BYTES + key.len()..)))
}

/// A record as readers are given it.
///
/// Errors: InternalFailure for bytes that are not a record.
pub(super) fn render(stream: &Stream, shard: &ShardInfo, record: &LogRecord) -> Result<api::Record, Error> {
    if let Some(table) = stream.table() {
        return table_stream::record(table, shard, record);
    }
    let (partition_key, data) = decode(&record.payload).ok_or_else(|| corrupt("not a record of a data stream"))?;
    Ok(api::Record {
        sequence_number: sequence::render(record.number, shard.index, shard.created),
        approximate_arrival_timestamp: Some(record.number.at().into()),
        data,
        partition_key,
        encryption_type: stream.encryption_key.as_ref().map(|_| api::EncryptionType::Kms),
    })
}

/// A page as readers are given it, cut where its data reach a limit; one record always fits.
///
/// Unit: bytes of data. A change is longer as a record's JSON than it is stored.
pub(super) fn fit(
    stream: &Stream,
    shard: &ShardInfo,
    mut page: Page,
    bytes_max: usize,
) -> Result<(Vec<api::Record>, Page), Error> {
    let (mut shown, mut bytes) = (Vec::with_capacity(page.records.len()), 0);
    for record in &page.records {
        let rendered = render(stream, shard, record)?;
        bytes += rendered.data.len();
        if bytes > bytes_max && !shown.is_empty() {
            break;
        }
        shown.push(rendered);
    }
    if let Some(last) = shown.len().checked_sub(1).filter(|last| last + 1 < page.records.len()) {
        page.records.truncate(last + 1);
        page.next = page.records.last().map(|last| ReadFrom::After(last.number));
    }
    Ok((shown, page))
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
