//! GetShardIterator and GetRecords.

use headwater_api::kinesis as api;
use headwater_api::kinesis::{access, errors};
use headwater_api::{Call, Error, Instant};
use headwater_log::sequence::kinesis as sequence;
use headwater_log::{IteratorError, Page, PageLimit, ReadError, ReadFrom, ShardInfo, ShardIterator, ShardList, Start};
use headwater_types::limits::{KINESIS_ITERATOR_LIFE_MS, KINESIS_PAGE_BYTES_MAX, KINESIS_PAGE_RECORDS_MAX};
use headwater_types::{Millis, ShardUid, StreamUid};

use super::limits::Place;
use super::table_stream::{self, Stream};
use super::{error, name, record, shards};
use crate::dynamodb::error::refused;
use crate::service::Operations;

/// A position that is asked for, as GetShardIterator and SubscribeToShard have it.
pub(super) struct Wanted<'a> {
    pub kind: api::ShardIteratorType,
    pub number: Option<&'a str>,
    pub timestamp: Option<Instant>,
}

/// GetShardIterator.
pub(super) async fn iterator(
    service: &Operations,
    call: &Call,
    input: api::GetShardIteratorInput,
) -> Result<api::GetShardIteratorOutput, Error> {
    let named = name::stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    call.authorize(&access::get_shard_iterator(call, &input))?;
    let shown = if table_stream::is_name(&named) && table_stream::is_own_shard_id(&input.shard_id) {
        input.shard_id.clone()
    } else {
        let index = name::shard_index(&input.shard_id);
        name::shard_id(index.ok_or_else(|| error::could_not_find_shard(call, &named, &input.shard_id))?)
    };
    let gone = || error::no_shard(call, &named, &shown);
    let catalog = service.log.catalog().map_err(refused)?;
    let stream = Stream::find(&catalog, &name::scope(call), &named, service.log.clock().store());
    let stream = &stream.filter(|stream| stream.state.serves()).ok_or_else(gone)?;
    let list = stream.shards(service).map_err(refused)?;
    let shard = stream.shard(&list, &input.shard_id).ok_or_else(gone)?;
    if let Some(limits) = &service.kinesis_limits {
        limits.iterator(call, place(stream, shard))?;
    }
    let wanted = Wanted {
        kind: input.shard_iterator_type,
        number: input.starting_sequence_number.as_deref(),
        timestamp: input.timestamp,
    };
    let from = position(service, call, stream, shard, &wanted)?;
    Ok(api::GetShardIteratorOutput { shard_iterator: Some(seal(service, stream, shard, from)) })
}

/// Where a reader starts. A number that is trimmed means the oldest record there is.
///
/// Errors: InvalidArgumentException. Source: texts observed by kinesalite's tests.
pub(super) fn position(
    service: &Operations,
    call: &Call,
    stream: &Stream,
    shard: &ShardInfo,
    wanted: &Wanted<'_>,
) -> Result<ReadFrom, Error> {
    let start = start(service, call, stream, shard, wanted)?;
    match service.log.start(stream.uid, shard.uid, start) {
        Ok(from) => Ok(from),
        Err(ReadError::Trimmed) => Ok(ReadFrom::Horizon),
        Err(cause) => Err(error::unreadable(call, &stream.name, &name::shard_id(shard.index), cause)),
    }
}

fn start(
    service: &Operations,
    call: &Call,
    stream: &Stream,
    shard: &ShardInfo,
    wanted: &Wanted<'_>,
) -> Result<Start, Error> {
    use api::ShardIteratorType as Kind;
    match (wanted.kind, wanted.number) {
        (Kind::TrimHorizon, None) => Ok(Start::TrimHorizon),
        (Kind::Latest, None) => Ok(Start::Latest),
        (Kind::AtTimestamp, None) => at_time(service, wanted.timestamp),
        (Kind::AtSequenceNumber, Some(given)) => Ok(Start::AtNumber(number(call, stream, shard, given)?)),
        (Kind::AfterSequenceNumber, Some(given)) => Ok(Start::AfterNumber(number(call, stream, shard, given)?)),
        (kind, given) => {
            let also = if given.is_some() { "also a" } else { "no" };
            Err(errors::invalid_argument(format!(
                "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or (2) \
                 TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified {} and {also} \
                 StartingSequenceNumber.",
                kind.as_str()
            )))
        }
    }
}

fn at_time(service: &Operations, timestamp: Option<Instant>) -> Result<Start, Error> {
    let Some(Instant(at)) = timestamp else {
        return Err(errors::invalid_argument(
            "Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. Current request has no timestamp \
             parameter.",
        ));
    };
    let now = service.log.clock().store().0;
    if at > now {
        return Err(errors::invalid_argument(format!(
            "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. timestampInMillis: {at}, \
             currentTimestampInMillis: {now}"
        )));
    }
    Ok(Start::AtTime(Millis(at)))
}

/// A number that a client gives back, checked for the shard it comes from. Of a table's stream, numbers as DynamoDB Streams
/// shows them are taken too: so a checkpoint of an adapter is one here.
fn number(
    call: &Call,
    stream: &Stream,
    shard: &ShardInfo,
    given: &str,
) -> Result<headwater_types::SequenceNumber, Error> {
    let used = |why: &str| {
        errors::invalid_argument(format!(
            "StartingSequenceNumber {given} used in GetShardIterator on shard {} in stream {} under account {} is \
             invalid{why}",
            name::shard_id(shard.index),
            stream.name,
            call.principal.account
        ))
    };
    if stream.table().is_some()
        && let Ok(number) = headwater_log::sequence::parse(given)
    {
        return Ok(number);
    }
    let seen = sequence::parse(given).map_err(|_| used("."))?;
    if seen.shard != shard.index {
        return Err(errors::invalid_argument(format!(
            "Invalid StartingSequenceNumber. It encodes {}, while it was used in a call to a shard with {}",
            name::shard_id(seen.shard),
            name::shard_id(shard.index)
        )));
    }
    if seen.created_second != shard.created.0.div_euclid(1_000) {
        return Err(used(" because it did not come from this stream."));
    }
    Ok(seen.number)
}

/// GetRecords.
///
/// Shape: `NextShardIterator` is missing, and `ChildShards` there, once a closed shard has been read to its end.
pub(super) async fn records(
    service: &Operations,
    call: &Call,
    input: api::GetRecordsInput,
) -> Result<api::GetRecordsOutput, Error> {
    let log = &service.log;
    // Source: observed on the service (LocalStack's AWS tests): a token in quotes is taken too.
    let token = input.shard_iterator.trim_matches('"');
    let ShardIterator { stream: uid, shard: shard_uid, from, .. } =
        log.unseal(token).map_err(|cause| error::bad_iterator(cause, log.clock().store()))?;
    // The seal covers it.
    let named = token.split('|').next().unwrap_or_default().to_owned();
    let mut list = headwater_api::access::List::new(call, "kinesis:GetRecords");
    list.stream(Some(&named));
    call.authorize(&list.finish())?;
    let catalog = log.catalog().map_err(refused)?;
    let own = |stream: &Stream| stream.scope == name::scope(call) && stream.state.serves();
    let stream = Stream::by_uid(&catalog, uid, log.clock().store()).filter(own);
    let stream = &stream.ok_or_else(|| error::no_stream(call, &named))?;
    if stream.name != named {
        // A token of another operation: what it may be used for was asked of another resource.
        return Err(error::bad_iterator(IteratorError::Invalid, log.clock().store()));
    }
    let list = stream.shards(service).map_err(refused)?;
    let missing = || errors::resource_not_found("The shard of this iterator is no longer there");
    let shard = list.by_uid(shard_uid).ok_or_else(missing)?;
    if let Some(limits) = &service.kinesis_limits {
        limits.read(call, place(stream, shard))?;
    }
    let records = usize::try_from(input.limit.unwrap_or(i32::MAX)).unwrap_or_default().min(KINESIS_PAGE_RECORDS_MAX);
    let page = page(service, call, stream, shard, from, PageLimit { records, bytes: KINESIS_PAGE_BYTES_MAX })?;
    let (records, page) = record::fit(stream, shard, page, KINESIS_PAGE_BYTES_MAX)?;
    if let Some(limits) = &service.kinesis_limits {
        let bytes = |record: &api::Record| record.partition_key.len() + record.data.len();
        limits.gave(place(stream, shard), records.iter().map(bytes).sum());
    }
    let behind = if is_at_tip(service, uid, shard_uid, &page) { 0 } else { behind(&page, log.clock().store()) };
    let children = if page.next.is_none() { Some(children(service, stream, shard)?) } else { None };
    Ok(api::GetRecordsOutput {
        records,
        next_shard_iterator: page.next.map(|from| seal(service, stream, shard, from)),
        millis_behind_latest: Some(behind),
        child_shards: children,
    })
}

/// One page from a position, which is the horizon when it was trimmed meanwhile.
pub(super) fn page(
    service: &Operations,
    call: &Call,
    stream: &Stream,
    shard: &ShardInfo,
    from: ReadFrom,
    limit: PageLimit,
) -> Result<Page, Error> {
    let page = try_page(service, stream, shard, from, limit);
    page.map_err(|cause| error::unreadable(call, &stream.name, &name::shard_id(shard.index), cause))
}

/// The same, for those who tell of a failure in their own words.
///
/// Shape: the end of a shard without children is none: see [`table_stream`].
pub(super) fn try_page(
    service: &Operations,
    stream: &Stream,
    shard: &ShardInfo,
    from: ReadFrom,
    limit: PageLimit,
) -> Result<Page, ReadError> {
    let read = |from| service.log.page(stream.uid, shard.uid, from, limit);
    let mut page = match read(from) {
        Err(ReadError::Trimmed) => read(ReadFrom::Horizon),
        page => page,
    }?;
    if page.next.is_none() && !stream.shards(service)?.shards().iter().any(|child| child.parents.contains(&shard.uid)) {
        page.next = Some(page.records.last().map_or(from, |last| ReadFrom::Tail(last.number)));
    }
    Ok(page)
}

/// Whether a page that was ended by its limit holds the newest record all the same.
fn is_at_tip(service: &Operations, stream: StreamUid, shard: ShardUid, page: &Page) -> bool {
    let (Some(ReadFrom::After(_)), Some(last)) = (&page.next, page.records.last()) else { return false };
    let newest = service.log.start(stream, shard, Start::Latest);
    matches!(newest, Ok(ReadFrom::Tail(newest)) if newest <= last.number)
}

/// How far a reader is from the tip: the age of what it was given last, while there is more. Unit: ms of store time.
pub(super) fn behind(page: &Page, now: Millis) -> i64 {
    match (&page.next, page.records.last()) {
        (Some(ReadFrom::After(_) | ReadFrom::At(_) | ReadFrom::Horizon), Some(last)) => {
            (now.0 - last.number.at().0).max(0)
        }
        (Some(_) | None, _) => 0,
    }
}

/// The children of a closed shard, which were opened in the commit that closed it.
pub(super) fn children(
    service: &Operations,
    stream: &Stream,
    shard: &ShardInfo,
) -> Result<Vec<api::ChildShard>, Error> {
    let list: ShardList = stream.shards(service).map_err(refused)?;
    let of = |child: &&ShardInfo| child.parents.contains(&shard.uid);
    #[cfg(feature = "planted-bugs")]
    let of = |child: &&ShardInfo| of(child) && !super::planted::is_forgotten(service, child, shard.uid);
    Ok(shards::children(list.shards().iter().filter(of)))
}

fn place<'a>(stream: &'a Stream, shard: &ShardInfo) -> Place<'a> {
    Place { stream: stream.uid, name: &stream.name, shard: shard.uid, index: shard.index }
}

fn seal(service: &Operations, stream: &Stream, shard: &ShardInfo, from: ReadFrom) -> String {
    let iterator = service.log.iterator(stream.uid, shard.uid, from, KINESIS_ITERATOR_LIFE_MS);
    service.log.seal(&iterator, &format!("{}|", stream.name))
}
