//! From the rooms below to what a client of DynamoDB Streams is told.

use headwater_api::Error;
use headwater_api::dynamodb_streams::errors;
use headwater_log::{IteratorError, ReadError};

/// A stream that is not there, or no longer.
/// Source: LocalStack's AWS snapshots of test_dynamodb_streams.
pub(crate) fn no_stream(arn: &str) -> Error {
    errors::resource_not_found(format!("Requested resource not found: Stream: {arn} not found"))
}

/// A shard that its stream does not list, or no longer (text unverified).
pub(crate) fn no_shard(shard: &str, arn: &str) -> Error {
    errors::resource_not_found(format!("Requested resource not found: Shard: {shard} in Stream: {arn} not found"))
}

/// A read of a shard that the log refuses.
pub(crate) fn unreadable(cause: ReadError, shard: &str, arn: &str) -> Error {
    match cause {
        ReadError::NoShard => no_shard(shard, arn),
        ReadError::Trimmed => errors::trimmed_data_access("The data you are trying to access has been trimmed"),
        ReadError::Log(cause) => crate::dynamodb::error::refused(cause),
    }
}

/// A token that is no iterator, or no longer (texts unverified).
pub(crate) fn bad_iterator(cause: IteratorError) -> Error {
    match cause {
        IteratorError::Invalid => Error::validation("Invalid ShardIterator"),
        IteratorError::Expired { .. } | IteratorError::Foreign => errors::expired_iterator(
            "The shard iterator has expired. Shard iterators are valid for 15 minutes: ask for a new one",
        ),
    }
}
