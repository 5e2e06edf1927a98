//! From the rooms below to what a client of Kinesis is told.

use headwater_api::kinesis::errors;
use headwater_api::{Call, Error};
use headwater_log::{IteratorError, ReadError};
use headwater_types::Millis;
use headwater_types::limits::KINESIS_ITERATOR_LIFE_MS;

/// A stream that is not there. Source: observed by kinesalite's tests and LocalStack's AWS snapshots.
pub(super) fn no_stream(call: &Call, name: &str) -> Error {
    errors::resource_not_found(format!("Stream {name} under account {} not found.", call.principal.account))
}

/// A shard that is not there, told as splits, merges and listings tell it. Source: observed by kinesalite's tests.
pub(super) fn could_not_find_shard(call: &Call, stream: &str, shard: &str) -> Error {
    errors::resource_not_found(format!(
        "Could not find shard {shard} in stream {stream} under account {}.",
        call.principal.account
    ))
}

/// A shard that is not there, told as readers are told. Source: observed by kinesalite's tests.
pub(super) fn no_shard(call: &Call, stream: &str, shard: &str) -> Error {
    errors::resource_not_found(format!(
        "Shard {shard} in stream {stream} under account {} does not exist",
        call.principal.account
    ))
}

/// A consumer that is not there. Source: moto.
pub(super) fn no_consumer(call: &Call, name: &str) -> Error {
    errors::resource_not_found(format!("Consumer {name}, account {} not found.", call.principal.account))
}

/// A consumer is named by its ARN, or by its stream's and its name (text unverified).
pub(super) fn consumer_parameters() -> Error {
    errors::invalid_argument("Either ConsumerARN or both StreamARN and ConsumerName must be provided.")
}

/// Our trouble, or the disk's.
pub(super) fn refused(call: &Call, stream: &str, cause: headwater_log::Error) -> Error {
    match cause {
        headwater_log::Error::NoTable(_) => no_stream(call, stream),
        other => crate::dynamodb::error::refused(other),
    }
}

/// A read of a shard that the log refuses.
pub(super) fn unreadable(call: &Call, stream: &str, shard: &str, cause: ReadError) -> Error {
    match cause {
        ReadError::NoShard => no_shard(call, stream, shard),
        ReadError::Trimmed => Error::internal("a trimmed position is read from the horizon"),
        ReadError::Log(cause) => refused(call, stream, cause),
    }
}

/// A token that is no iterator, or no longer. Source: observed by kinesalite's tests.
pub(super) fn bad_iterator(cause: IteratorError, now: Millis) -> Error {
    match cause {
        IteratorError::Invalid | IteratorError::Foreign => errors::invalid_argument("Invalid ShardIterator."),
        IteratorError::Expired { expires } => {
            let created = Millis(expires.0 - KINESIS_ITERATOR_LIFE_MS);
            errors::expired_iterator(format!(
                "Iterator expired. The iterator was created at time {} while right now it is {} which is further in the \
                 future than the tolerated delay of {KINESIS_ITERATOR_LIFE_MS} milliseconds.",
                utc(created),
                utc(now)
            ))
        }
    }
}

/// A moment as the service's texts have it: `Thu Jan 22 01:22:02 UTC 2015`.
pub(super) fn utc(at: Millis) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let label = headwater_catalog::resource::stream_label(at);
    let part = |from: usize, to: usize| label.get(from..to).unwrap_or_default();
    let day = DAYS.get(at.0.div_euclid(86_400_000).rem_euclid(7) as usize).copied().unwrap_or_default();
    let month = part(5, 7).parse::<usize>().ok().and_then(|month| MONTHS.get(month.wrapping_sub(1)));
    format!("{day} {} {} {} UTC {}", month.copied().unwrap_or_default(), part(8, 10), part(11, 19), part(0, 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_as_the_service_writes_them() {
        // Source: the text observed by kinesalite's tests.
        assert_eq!(utc(Millis(1_421_889_722_000)), "Thu Jan 22 01:22:02 UTC 2015");
        assert_eq!(utc(Millis(0)), "Thu Jan 01 00:00:00 UTC 1970");
    }
}
