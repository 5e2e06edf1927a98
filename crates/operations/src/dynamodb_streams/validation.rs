//! What is checked of a request to DynamoDB Streams beside its model.

use headwater_api::Error;
use headwater_api::dynamodb_streams::{ShardFilter, ShardIteratorType};
use headwater_log::{Start, sequence};
use headwater_types::arn::StreamArn;

/// A page size: the model knows only its least value.
///
/// Source: "ListStreams", "DescribeStream" and "GetRecords", DynamoDB Streams API reference; Alternator's test_streams.
pub(crate) fn limit(given: Option<i32>, max: usize) -> Result<usize, Error> {
    let Some(given) = given else { return Ok(max) };
    match usize::try_from(given) {
        Ok(limit) if limit <= max => Ok(limit),
        _ => Err(Error::validation(format!(
            "1 validation error detected: Value '{given}' at 'limit' failed to satisfy constraint: Member must have value \
             less than or equal to {max}"
        ))),
    }
}

/// A stream's ARN.
pub(crate) fn stream_arn(given: &str) -> Result<StreamArn, Error> {
    StreamArn::parse(given).ok_or_else(|| Error::validation(format!("Invalid StreamArn: {given}")))
}

/// The shard whose children are asked for; both members must be there, though the model leaves them optional.
///
/// Source: "ShardFilter", DynamoDB Streams API reference.
pub(crate) fn filter(given: Option<ShardFilter>) -> Result<Option<String>, Error> {
    let Some(filter) = given else { return Ok(None) };
    match (filter.type_, filter.shard_id) {
        (Some(_), Some(shard)) => Ok(Some(shard)),
        (kind, shard) => {
            let missing: Vec<String> = [("type", kind.is_none()), ("shardId", shard.is_none())]
                .into_iter()
                .filter(|(_, missing)| *missing)
                .map(|(name, _)| {
                    format!("Value null at 'shardFilter.{name}' failed to satisfy constraint: Member must not be null")
                })
                .collect();
            let plural = if missing.len() == 1 { "" } else { "s" };
            Err(Error::validation(format!(
                "{} validation error{plural} detected: {}",
                missing.len(),
                missing.join("; ")
            )))
        }
    }
}

/// Where an iterator is to start.
///
/// Errors: ValidationException for a number that is missing, too many or none (texts unverified).
pub(crate) fn start(kind: ShardIteratorType, number: Option<&str>) -> Result<Start, Error> {
    let parsed = number
        .map(|text| sequence::parse(text).map_err(|_| Error::validation(format!("Invalid SequenceNumber: {text}"))))
        .transpose()?;
    match (kind, parsed) {
        (ShardIteratorType::TrimHorizon, None) => Ok(Start::TrimHorizon),
        (ShardIteratorType::Latest, None) => Ok(Start::Latest),
        (ShardIteratorType::AtSequenceNumber, Some(number)) => Ok(Start::AtNumber(number)),
        (ShardIteratorType::AfterSequenceNumber, Some(number)) => Ok(Start::AfterNumber(number)),
        (ShardIteratorType::TrimHorizon | ShardIteratorType::Latest, Some(_)) => Err(Error::validation(format!(
            "Invalid Parameter: SequenceNumber must not be specified when ShardIteratorType is {}",
            kind.as_str()
        ))),
        (ShardIteratorType::AtSequenceNumber | ShardIteratorType::AfterSequenceNumber, None) => Err(Error::validation(
            format!("Invalid Parameter: SequenceNumber must be specified when ShardIteratorType is {}", kind.as_str()),
        )),
    }
}
