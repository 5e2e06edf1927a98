//! A record of a data stream as its readers are given it.

use headwater_api::Error;
use headwater_api::kinesis as api;
pub(super) use headwater_log::data_record::encode;
use headwater_log::sequence::kinesis as sequence;
use headwater_log::{LogRecord, Page, ReadFrom, ShardInfo, data_record};

use super::table_stream::{self, Stream};
use crate::dynamodb::error::corrupt;

/// A record as readers are given it.
///
/// Errors: InternalFailure for bytes that are not a record.
pub(super) fn render(stream: &Stream, shard: &ShardInfo, record: &LogRecord) -> Result<api::Record, Error> {
    if let Some(table) = stream.table() {
        return table_stream::record(table, shard, record);
    }
    let (partition_key, data) =
        data_record::decode(&record.payload).ok_or_else(|| corrupt("not a record of a data stream"))?;
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
