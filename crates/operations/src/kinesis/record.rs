//! A record of a data stream as its readers are given it.

use headwater_api::Error;
use headwater_api::kinesis as api;
use headwater_catalog::DataStreamDefinition;
pub(super) use headwater_log::data_record::encode;
use headwater_log::sequence::kinesis as sequence;
use headwater_log::{LogRecord, ShardInfo, data_record};

use crate::dynamodb::error::corrupt;

/// A record as readers are given it.
///
/// Errors: InternalFailure for bytes that are not a record.
pub(super) fn render(
    stream: &DataStreamDefinition,
    shard: &ShardInfo,
    record: &LogRecord,
) -> Result<api::Record, Error> {
    let found = data_record::decode(&record.payload);
    let (partition_key, data) = found.ok_or_else(|| corrupt("not a record of a data stream"))?;
    Ok(api::Record {
        sequence_number: sequence::render(record.number, shard.index, shard.created),
        approximate_arrival_timestamp: Some(record.number.at().into()),
        data,
        partition_key,
        encryption_type: stream.encryption_key.as_ref().map(|_| api::EncryptionType::Kms),
    })
}
