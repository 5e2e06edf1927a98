//! Shards as clients see them, and ListShards.

use headwater_api::kinesis as api;
use headwater_api::kinesis::errors;
use headwater_api::{Call, Error, Instant};
use headwater_log::sequence::kinesis as sequence;
use headwater_log::{IteratorError, ReadFrom, ShardInfo, ShardList};
use headwater_types::{Millis, SequenceNumber, ShardUid};

use super::{error, name};
use crate::dynamodb::error::refused;
use crate::service::Operations;

/// Shards of a page of ListShards unless fewer are asked for. Source: "ListShards", Kinesis API reference.
const PAGE: usize = 1_000;
/// Unit: ms of store time. Source: as above.
const TOKEN_LIFE_MS: i64 = 300_000;

/// A shard as it is listed.
pub(super) fn render(shard: &ShardInfo) -> api::Shard {
    let parent = |at: usize| shard.parent_indexes.get(at).map(|index| name::shard_id(*index));
    api::Shard {
        shard_id: name::shard_id(shard.index),
        parent_shard_id: parent(0),
        adjacent_parent_shard_id: parent(1),
        hash_key_range: hash_key_range(shard),
        sequence_number_range: api::SequenceNumberRange {
            starting_sequence_number: sequence::render(before_first(shard), shard.index, shard.created),
            ending_sequence_number: shard.ending.map(|end| sequence::render_ending(end, shard.index, shard.created)),
        },
    }
}

/// The number with which a shard was opened: no record ever has it, so that reading after it leaves nothing out.
fn before_first(shard: &ShardInfo) -> SequenceNumber {
    SequenceNumber(shard.starting.0.saturating_sub(1))
}

/// A shard as readers of its parent are told of it.
pub(super) fn child(shard: &ShardInfo) -> api::ChildShard {
    api::ChildShard {
        shard_id: name::shard_id(shard.index),
        parent_shards: shard.parent_indexes.iter().map(|index| name::shard_id(*index)).collect(),
        hash_key_range: hash_key_range(shard),
    }
}

fn hash_key_range(shard: &ShardInfo) -> api::HashKeyRange {
    let (start, end) = shard.hash_range;
    api::HashKeyRange { starting_hash_key: start.to_string(), ending_hash_key: end.to_string() }
}

/// Which shards are listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Filter {
    /// Every shard with data in the retention.
    All,
    /// Those that were open at a moment; the horizon's when it is older.
    OpenAt(Millis),
    /// Open now.
    Open,
    /// Open now, or closed after a moment.
    From(Millis),
}

impl Filter {
    fn wants(self, shard: &ShardInfo, horizon: Millis) -> bool {
        // A stream's first shards are there from its beginning, although their numbers are given later, at the commit.
        let opened = if shard.parents.is_empty() { Millis(i64::MIN) } else { shard.starting.at() };
        let closed = shard.ending.map(SequenceNumber::at);
        match self {
            Self::All => true,
            Self::Open => closed.is_none(),
            Self::OpenAt(at) => {
                let at = at.max(horizon);
                opened <= at && closed.is_none_or(|closed| closed > at)
            }
            Self::From(at) => closed.is_none_or(|closed| closed >= at.max(horizon)),
        }
    }

    /// As it stands in a token.
    fn code(self) -> (&'static str, i64) {
        match self {
            Self::All => ("all", 0),
            Self::Open => ("open", 0),
            Self::OpenAt(at) => ("at", at.0),
            Self::From(at) => ("from", at.0),
        }
    }

    fn decode(kind: &str, at: i64) -> Option<Self> {
        match kind {
            "all" => Some(Self::All),
            "open" => Some(Self::Open),
            "at" => Some(Self::OpenAt(Millis(at))),
            "from" => Some(Self::From(Millis(at))),
            _ => None,
        }
    }
}

/// Where a listing goes on.
struct Cursor {
    stream: String,
    filter: Filter,
    after: Option<u32>,
}

/// ListShards.
///
/// Order: by id. A token carries the filter, and excludes every other selector.
pub(super) async fn list(
    service: &Operations,
    call: &Call,
    input: api::ListShardsInput,
) -> Result<api::ListShardsOutput, Error> {
    let cursor = match &input.next_token {
        Some(token) => from_token(service, &input, token)?,
        None if input.stream_name.is_none() && input.stream_arn.is_none() => {
            return Err(errors::invalid_argument("Either NextToken or StreamName should be provided."));
        }
        None => Cursor {
            stream: name::stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?,
            filter: filter(input.shard_filter.as_ref())?,
            after: after(call, &input)?,
        },
    };
    let mut accesses = headwater_api::access::List::new(call, "kinesis:ListShards");
    accesses.stream(Some(&cursor.stream));
    call.authorize(&accesses.finish())?;
    let stream = name::find(service, call, &cursor.stream)?;
    if let Some(Instant(created)) = input.stream_creation_timestamp
        && created.div_euclid(1_000) != stream.created.0.div_euclid(1_000)
    {
        return Err(error::no_stream(call, &cursor.stream));
    }
    let list = service.log.shards(stream.uid).map_err(refused)?;
    let horizon = Millis(service.log.clock().store().0 - stream.retention_ms()).max(stream.created);
    let mut chosen = chosen(&list, cursor.after, cursor.filter, horizon);
    let most = usize::try_from(input.max_results.unwrap_or(PAGE as i32)).unwrap_or_default();
    let page: Vec<&ShardInfo> = chosen.by_ref().take(most).collect();
    let more = chosen.next().is_some();
    let next_token = page.last().filter(|_| more).map(|last| {
        let (kind, at) = cursor.filter.code();
        let position =
            service.log.iterator(stream.uid, ShardUid(u64::from(last.index)), ReadFrom::Horizon, TOKEN_LIFE_MS);
        service.log.seal(&position, &format!("list|{}|{kind}|{at}|", cursor.stream))
    });
    Ok(api::ListShardsOutput { shards: Some(page.into_iter().map(render).collect()), next_token })
}

fn chosen(list: &ShardList, after: Option<u32>, filter: Filter, horizon: Millis) -> impl Iterator<Item = &ShardInfo> {
    let follows = move |shard: &&ShardInfo| after.is_none_or(|after| shard.index > after);
    list.shards().iter().filter(follows).filter(move |shard| filter.wants(shard, horizon))
}

/// Errors: InvalidArgumentException. Source: "ShardFilter", Kinesis API reference (texts unverified).
fn filter(given: Option<&api::ShardFilter>) -> Result<Filter, Error> {
    use api::ShardFilterType as Kind;
    let Some(filter) = given else { return Ok(Filter::All) };
    let wants_time = matches!(filter.type_, Kind::AtTimestamp | Kind::FromTimestamp);
    let wants_shard = matches!(filter.type_, Kind::AfterShardId);
    if wants_time != filter.timestamp.is_some() {
        let what = if wants_time { "requires" } else { "does not allow" };
        return Err(errors::invalid_argument(format!(
            "ShardFilter of type {} {what} a Timestamp.",
            filter.type_.as_str()
        )));
    }
    if wants_shard != filter.shard_id.is_some() {
        let what = if wants_shard { "requires" } else { "does not allow" };
        return Err(errors::invalid_argument(format!(
            "ShardFilter of type {} {what} a ShardId.",
            filter.type_.as_str()
        )));
    }
    let at = filter.timestamp.map_or(Millis(0), |Instant(at)| Millis(at));
    Ok(match filter.type_ {
        Kind::AfterShardId | Kind::FromTrimHorizon => Filter::All,
        Kind::AtTrimHorizon => Filter::OpenAt(Millis(i64::MIN)),
        Kind::AtLatest => Filter::Open,
        Kind::AtTimestamp => Filter::OpenAt(at),
        Kind::FromTimestamp => Filter::From(at),
    })
}

/// The shard after which a listing begins.
fn after(call: &Call, input: &api::ListShardsInput) -> Result<Option<u32>, Error> {
    let of_filter = input.shard_filter.as_ref().and_then(|filter| filter.shard_id.as_deref());
    let Some(given) = input.exclusive_start_shard_id.as_deref().or(of_filter) else { return Ok(None) };
    let stream = input.stream_name.as_deref().unwrap_or_default();
    name::shard_index(given).map(Some).ok_or_else(|| error::could_not_find_shard(call, stream, given))
}

/// Source: the text for a name beside a token observed by LocalStack; the rest unverified.
fn from_token(service: &Operations, input: &api::ListShardsInput, token: &str) -> Result<Cursor, Error> {
    let beside = [
        ("StreamName", input.stream_name.is_some()),
        ("StreamARN", input.stream_arn.is_some()),
        ("StreamCreationTimestamp", input.stream_creation_timestamp.is_some()),
        ("ExclusiveStartShardId", input.exclusive_start_shard_id.is_some()),
        ("ShardFilter", input.shard_filter.is_some()),
    ];
    if let Some((member, _)) = beside.into_iter().find(|(_, given)| *given) {
        return Err(errors::invalid_argument(format!("NextToken and {member} cannot be provided together.")));
    }
    let invalid = || errors::invalid_argument("Invalid NextToken.");
    let position = service.log.unseal(token).map_err(|cause| match cause {
        IteratorError::Expired { .. } => errors::expired_next_token("NextToken has expired."),
        IteratorError::Invalid | IteratorError::Foreign => invalid(),
    })?;
    let parts: Vec<&str> = token.split('|').collect();
    let ["list", stream, kind, at, _] = parts.as_slice() else { return Err(invalid()) };
    let filter = at.parse().ok().and_then(|at| Filter::decode(kind, at)).ok_or_else(invalid)?;
    let after = u32::try_from(position.shard.0).map_err(|_| invalid())?;
    Ok(Cursor { stream: (*stream).to_owned(), filter, after: Some(after) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(index: u32, parents: &[u32], opened: i64, closed: Option<i64>) -> ShardInfo {
        ShardInfo {
            uid: ShardUid(u64::from(index)),
            id: String::new(),
            index,
            parents: parents.iter().map(|parent| ShardUid(u64::from(*parent))).collect(),
            parent_ids: Vec::new(),
            parent_indexes: parents.to_vec(),
            hash_range: (0, u128::MAX),
            starting: SequenceNumber::floor(Millis(opened)),
            ending: closed.map(|closed| SequenceNumber::floor(Millis(closed))),
            created: Millis(opened),
            closed: closed.map(Millis),
        }
    }

    #[test]
    fn at_every_moment_one_generation_is_open() {
        // The stream is made at 1,000; the commit takes two milliseconds.
        let (created, horizon) = (1_000, Millis(1_000));
        let all = [shard(0, &[], created + 2, Some(1_010)), shard(1, &[0], 1_010, Some(1_020)), shard(2, &[1], 1_020, None)];
        let open = |at: i64| -> Vec<u32> {
            all.iter().filter(|shard| Filter::OpenAt(Millis(at)).wants(shard, horizon)).map(|shard| shard.index).collect()
        };
        for (at, wanted) in [(i64::MIN, 0), (1_000, 0), (1_009, 0), (1_010, 1), (1_019, 1), (1_020, 2), (9_999, 2)] {
            assert_eq!(open(at), [wanted], "at {at}");
        }
        let later = Millis(1_015);
        let at_horizon = |shard: &&ShardInfo| Filter::OpenAt(Millis(i64::MIN)).wants(shard, later);
        assert_eq!(all.iter().filter(at_horizon).map(|shard| shard.index).collect::<Vec<_>>(), [1]);
    }
}
