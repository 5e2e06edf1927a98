//! GetShardIterator and GetRecords.

use headwater_api::dynamodb_streams as api;
use headwater_api::dynamodb_streams::access;
use headwater_api::{AnswerItem, Call, Error, Instant};
use headwater_catalog::StreamDefinition;
use headwater_log::{IteratorError, LogRecord, PageLimit, ReadFrom, ShardIterator};
use headwater_table::EventName;
use headwater_table::change::{self, ChangeRecord, Origin};
use headwater_types::limits::{STREAM_ITERATOR_LIFE_MS, STREAM_PAGE_BYTES_MAX, STREAM_PAGE_RECORDS_MAX};
use headwater_types::{ShardUid, StreamUid};

use super::{describe, error, validation};
use crate::dynamodb::error::{corrupt, refused};
use crate::dynamodb::name;
use crate::service::Operations;

/// What follows the stream's ARN in an iterator.
/// Source: LocalStack's AWS test of the form `{stream ARN}|{digit}|{opaque}`.
const MARK: &str = "|1|";

/// GetShardIterator.
pub(crate) async fn iterator(
    service: &Operations,
    call: &Call,
    input: api::GetShardIteratorInput,
) -> Result<api::GetShardIteratorOutput, Error> {
    let arn = validation::stream_arn(&input.stream_arn)?;
    let start = validation::start(input.shard_iterator_type, input.sequence_number.as_deref())?;
    call.authorize(&access::get_shard_iterator(call, &input))?;
    let stream = describe::stream(service, call, &arn, &input.stream_arn)?;
    let list = service.log.shards(stream.uid).map_err(refused)?;
    let shard = list.by_id(&input.shard_id).ok_or_else(|| error::no_shard(&input.shard_id, &input.stream_arn))?.uid;
    let unreadable = |cause| error::unreadable(cause, &input.shard_id, &input.stream_arn);
    let from = service.log.start(stream.uid, shard, start).map_err(unreadable)?;
    let token = seal(service, &input.stream_arn, stream.uid, shard, from);
    Ok(api::GetShardIteratorOutput { shard_iterator: Some(token) })
}

/// GetRecords.
///
/// Order: of the shard; `NextShardIterator` is missing once a closed shard has been read to its end.
pub(crate) async fn records(
    service: &Operations,
    call: &Call,
    input: api::GetRecordsInput,
) -> Result<api::GetRecordsOutput, Error> {
    let records = validation::limit(input.limit, STREAM_PAGE_RECORDS_MAX)?;
    let ShardIterator { stream: uid, shard, from, .. } =
        service.log.unseal(&input.shard_iterator).map_err(error::bad_iterator)?;
    // The seal covers it: it is the ARN that the iterator was made for. Tokens of Kinesis's operations have none.
    let own = input.shard_iterator.split_once(MARK).filter(|(arn, _)| arn.starts_with("arn:"));
    let (arn, _) = own.ok_or_else(|| error::bad_iterator(IteratorError::Invalid))?;
    let mut list = headwater_api::access::List::new(call, "dynamodb:GetRecords");
    list.arn(Some(arn));
    call.authorize(&list.finish())?;
    let catalog = service.log.catalog().map_err(refused)?;
    let own = |stream: &&std::sync::Arc<StreamDefinition>| stream.scope == name::scope(call);
    let stream = catalog.stream(uid).filter(own).ok_or_else(|| error::no_stream(arn))?;
    if let Some(limits) = &service.limits {
        limits.read(uid, shard)?;
    }
    let limit = PageLimit { records, bytes: STREAM_PAGE_BYTES_MAX };
    let page = service.log.page(uid, shard, from, limit).map_err(|cause| error::unreadable(cause, "", arn))?;
    if let Some(limits) = &service.limits {
        limits.gave(uid, shard, page.records.iter().map(|record| record.payload.len()).sum());
    }
    let records = page.records.iter().map(|record| render(stream, shard, record)).collect::<Result<_, _>>()?;
    let next = page.next.map(|from| seal(service, arn, uid, shard, from));
    Ok(api::GetRecordsOutput { records: Some(records), next_shard_iterator: next })
}

fn seal(service: &Operations, arn: &str, stream: StreamUid, shard: ShardUid, from: ReadFrom) -> String {
    let iterator = service.log.iterator(stream, shard, from, STREAM_ITERATOR_LIFE_MS);
    service.log.seal(&iterator, &format!("{arn}{MARK}"))
}

fn render(stream: &StreamDefinition, shard: ShardUid, of: &LogRecord) -> Result<api::Record, Error> {
    Ok(record(stream, change::render(stream, shard, of).map_err(corrupt)?))
}

/// A change as clients see it.
pub(crate) fn record(stream: &StreamDefinition, change: ChangeRecord) -> api::Record {
    let event_name = match change.event_name {
        EventName::Insert => api::OperationType::Insert,
        EventName::Modify => api::OperationType::Modify,
        EventName::Remove => api::OperationType::Remove,
    };
    let user_identity = match change.origin {
        Origin::User => None,
        Origin::TimeToLive => Some(api::Identity {
            principal_id: Some("dynamodb.amazonaws.com".to_owned()),
            type_: Some("Service".to_owned()),
        }),
    };
    api::Record {
        event_id: Some(change.event_id),
        event_name: Some(event_name),
        event_version: Some("1.1".to_owned()),
        event_source: Some("aws:dynamodb".to_owned()),
        aws_region: Some(stream.scope.region.to_string()),
        dynamodb: Some(api::StreamRecord {
            approximate_creation_date_time: Some(Instant(change.created_seconds * 1_000)),
            keys: Some(change.keys.into()),
            new_image: change.new_image.map(AnswerItem::from),
            old_image: change.old_image.map(AnswerItem::from),
            sequence_number: Some(change.sequence_number),
            size_bytes: i64::try_from(change.size_bytes).ok(),
            stream_view_type: Some(describe::view(change.view)),
        }),
        user_identity,
    }
}
