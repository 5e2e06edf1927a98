//! Streams, shards and consumers as requests name them, and how they are looked up.

use std::sync::Arc;

use headwater_api::kinesis::errors;
use headwater_api::{Call, Error};
use headwater_catalog::{ConsumerDefinition, DataStreamDefinition, DataStreamState};
use headwater_log::{ShardInfo, ShardList};
use headwater_types::Scope;
use headwater_types::arn::StreamArn;

use super::error;
use super::table_stream::{self, Stream};
use crate::dynamodb::error::refused;
use crate::service::Operations;

/// Shard numbers end here. Source: observed by kinesalite's tests.
const SHARDS_END: u64 = 1 << 31;

/// Account and Region of a call.
pub(super) fn scope(call: &Call) -> Scope {
    Scope { account: call.principal.account.clone(), region: call.region.clone() }
}

/// The name of the stream that a request is about, by its name or its ARN or both.
///
/// Errors: InvalidArgumentException when there is none, or two (texts unverified); ResourceNotFoundException for another
///         account's or Region's.
pub(super) fn stream(call: &Call, name: Option<&str>, arn: Option<&str>) -> Result<String, Error> {
    let Some(arn) = arn else {
        let missing = || errors::invalid_argument("Either StreamName or StreamARN must be provided.");
        return name.map(str::to_owned).ok_or_else(missing);
    };
    let (scope_of_arn, found) = parse_arn(arn).ok_or_else(|| error::no_stream(call, arn))?;
    if name.is_some_and(|name| name != found) {
        return Err(errors::invalid_argument("StreamName and StreamARN must name the same stream."));
    }
    if scope_of_arn != scope(call) {
        return Err(error::no_stream(call, arn));
    }
    Ok(found)
}

/// Splits a stream's ARN, of a table's stream the one of DynamoDB too; what follows the name (a consumer) is no part of it.
fn parse_arn(arn: &str) -> Option<(Scope, String)> {
    if let Some(of_table) = StreamArn::parse(arn) {
        let name = of_table.kinesis_name();
        return Some((of_table.table.scope, name));
    }
    let mut parts = arn.splitn(6, ':');
    let (prefix, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
    let (region, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
    let name = resource.strip_prefix("stream/")?;
    let is_one = prefix == "arn" && partition.starts_with("aws") && service == "kinesis";
    (is_one && !name.is_empty() && !name.contains('/')).then(|| (Scope::new(account, region), name.to_owned()))
}

/// The caller's stream of that name, in whatever state; a table's too.
pub(super) fn find(service: &Operations, call: &Call, name: &str) -> Result<Stream, Error> {
    let catalog = service.log.catalog().map_err(refused)?;
    let found = Stream::find(&catalog, &scope(call), name, service.log.clock().store());
    found.ok_or_else(|| error::no_stream(call, name))
}

/// The caller's data stream of that name, in whatever state.
///
/// Errors: InvalidArgumentException for a table's stream, which is changed through its table.
pub(super) fn own(service: &Operations, call: &Call, name: &str) -> Result<Arc<DataStreamDefinition>, Error> {
    table_stream::refuse(service, call, name)?;
    let catalog = service.log.catalog().map_err(refused)?;
    catalog.data_stream(&scope(call), name).cloned().ok_or_else(|| error::no_stream(call, name))
}

/// The caller's data stream of that name, when records may be put into it.
pub(super) fn serving(service: &Operations, call: &Call, name: &str) -> Result<Arc<DataStreamDefinition>, Error> {
    let stream = own(service, call, name)?;
    if stream.state.serves() { Ok(stream) } else { Err(error::no_stream(call, name)) }
}

/// Refuses what only an ACTIVE stream takes.
pub(super) fn active(call: &Call, stream: &DataStreamDefinition) -> Result<(), Error> {
    if stream.state == DataStreamState::Active {
        return Ok(());
    }
    Err(errors::resource_in_use(format!(
        "Stream {} under account {} not ACTIVE, instead in state {}",
        stream.name,
        call.principal.account,
        state(stream.state)
    )))
}

/// A state as texts and answers have it.
pub(super) fn state(state: DataStreamState) -> &'static str {
    match state {
        DataStreamState::Creating => "CREATING",
        DataStreamState::Active => "ACTIVE",
        DataStreamState::Updating => "UPDATING",
        DataStreamState::Deleting => "DELETING",
    }
}

/// A shard's name for clients. Source: observed by kinesalite's tests.
pub(super) fn shard_id(index: u32) -> String {
    format!("shardId-{index:012}")
}

/// A shard's place by its name; the service takes the number behind the last dash, whatever stands before.
///
/// Source: observed by kinesalite's tests.
pub(super) fn shard_index(given: &str) -> Option<u32> {
    let digits = given.rsplit('-').next().filter(|digits| !digits.is_empty() && given.contains('-'))?;
    let number: u64 = digits.parse().ok()?;
    u32::try_from(number).ok().filter(|_| number < SHARDS_END)
}

/// A shard of a stream by its name.
///
/// Errors: ResourceNotFoundException, told as splits and merges tell it.
pub(super) fn shard<'a>(
    call: &Call,
    stream: &DataStreamDefinition,
    list: &'a ShardList,
    given: &str,
) -> Result<&'a ShardInfo, Error> {
    let found = shard_index(given).and_then(|index| list.by_index(index));
    found.ok_or_else(|| {
        let shown = shard_index(given).map_or_else(|| given.to_owned(), shard_id);
        error::could_not_find_shard(call, &stream.name, &shown)
    })
}

/// A registered consumer, by its ARN or by its stream's ARN and its name.
///
/// Errors: InvalidArgumentException when neither is given; ResourceNotFoundException.
pub(super) fn consumer(
    service: &Operations,
    call: &Call,
    consumer_arn: Option<&str>,
    stream_arn: Option<&str>,
    name: Option<&str>,
) -> Result<(Stream, ConsumerDefinition), Error> {
    match (consumer_arn, stream_arn, name) {
        (Some(arn), None, None) => by_arn(service, call, arn),
        (None, Some(stream_arn), Some(name)) => {
            let found = find(service, call, &stream(call, None, Some(stream_arn))?)?;
            let consumer = found.consumer(name).cloned().ok_or_else(|| error::no_consumer(call, name))?;
            Ok((found, consumer))
        }
        (Some(arn), stream_arn, given) => {
            let (found, consumer) = by_arn(service, call, arn)?;
            let agrees =
                stream_arn.is_none_or(|arn| found.arn() == arn) && given.is_none_or(|given| consumer.name == given);
            if agrees { Ok((found, consumer)) } else { Err(error::consumer_parameters()) }
        }
        (None, _, _) => Err(error::consumer_parameters()),
    }
}

/// A registered consumer by its ARN.
fn by_arn(service: &Operations, call: &Call, arn: &str) -> Result<(Stream, ConsumerDefinition), Error> {
    let (stream_arn, rest) = arn.split_once("/consumer/").ok_or_else(|| error::no_consumer(call, arn))?;
    let name = rest.split(':').next().unwrap_or_default();
    let not_found = || error::no_consumer(call, name);
    let (of, stream_name) = parse_arn(stream_arn).ok_or_else(not_found)?;
    let catalog = service.log.catalog().map_err(refused)?;
    let stream = Stream::find(&catalog, &of, &stream_name, service.log.clock().store());
    let stream = stream.filter(|_| of == scope(call)).ok_or_else(not_found)?;
    let consumer = stream.consumer(name).filter(|consumer| stream.consumer_arn(consumer) == arn).cloned();
    Ok((stream, consumer.ok_or_else(not_found)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_known_by_the_number_behind_the_dash() {
        assert_eq!(shard_id(7), "shardId-000000000007");
        for (given, index) in [
            ("shardId-000000000007", Some(7)),
            ("shardId-7", Some(7)),
            ("a-0", Some(0)),
            ("shardId-2147483647", Some(2_147_483_647)),
            ("shardId-2147483648", None),
            ("shardId", None),
            ("7", None),
            ("shardId-", None),
            ("shardId-7a", None),
        ] {
            assert_eq!(shard_index(given), index, "{given}");
        }
    }

    #[test]
    fn arns_name_streams() {
        let arn = "arn:aws:kinesis:eu-west-1:000000000000:stream/s";
        let scope = Scope::new("000000000000", "eu-west-1");
        assert_eq!(parse_arn(arn), Some((scope.clone(), "s".to_owned())));
        let of_table = "arn:aws:dynamodb:eu-west-1:000000000000:table/t/stream/2015-05-11T21:21:33.291";
        assert_eq!(parse_arn(of_table), Some((scope, "ddb.t.20150511212133291".to_owned())));
        for bad in
            ["s", "arn:aws:dynamodb:a:000000000000:stream/s", "arn:aws:kinesis:a:0:stream/", "arn:aws:kinesis:a:0:s"]
        {
            assert_eq!(parse_arn(bad), None, "{bad}");
        }
    }
}
