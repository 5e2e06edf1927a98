//! Shards as clients see them, and ListShards.

use headwater_api::kinesis as api;
use headwater_api::kinesis::errors;
use headwater_api::{Call, Error, Instant};
use headwater_log::sequence::kinesis as sequence;
use headwater_log::{IteratorError, ReadFrom, ShardInfo, ShardList};
use headwater_types::{Millis, SequenceNumber, ShardUid};

use super::table_stream;
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

/// The children of a closed shard, as its readers are told of them.
///
/// A roll-over, which a table's stream has and Kinesis does not know, leaves a single child of a single parent. KCL takes a
/// single child for that of a merge and lets go of the lease, again and again, unless two parents are named: so this one is
/// named twice. Source: amazon-kinesis-client 3.5.1 and 2.7.2, `ShutdownTask.createLeasesForChildShardsIfNotExist`; 1.15.3,
/// `KinesisShutdownTask`. Each was run with the parent named once and refused ("does not contain other parent
/// information").
pub(super) fn children<'a>(of: impl Iterator<Item = &'a ShardInfo>) -> Vec<api::ChildShard> {
    let mut children: Vec<_> = of.map(child).collect();
    if let [only] = children.as_mut_slice()
        && let [parent] = only.parent_shards.as_slice()
    {
        only.parent_shards = vec![parent.clone(), parent.clone()];
    }
    children
}

fn child(shard: &ShardInfo) -> api::ChildShard {
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

/// When a shard took over from its parents; absent for one that has none, or whose parents are gone.
///
/// Order: exactly when they closed, so that at every moment the shards that are open cover the hash keys, each once: KCL
/// refuses to start on a listing that does not. A stream's first shards count as open before its creation.
fn opened(shard: &ShardInfo, list: &ShardList) -> Option<Millis> {
    let closed = |index: &u32| list.by_index(*index).and_then(|parent| parent.closed);
    shard.parent_indexes.iter().filter_map(closed).max()
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
    fn wants(self, shard: &ShardInfo, list: &ShardList, horizon: Millis) -> bool {
        match self {
            Self::All => true,
            Self::Open => shard.closed.is_none(),
            Self::OpenAt(at) => {
                let at = at.max(horizon);
                opened(shard, list).is_none_or(|opened| opened <= at) && shard.closed.is_none_or(|closed| closed > at)
            }
            Self::From(at) => shard.closed.is_none_or(|closed| closed >= at.max(horizon)),
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

/// The shard that a listing follows; it need not be there any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum After {
    /// None: it begins at the first.
    Nothing,
    /// By its place.
    Index(u32),
    /// By the id that DynamoDB Streams shows.
    Id(String),
    /// The last one of the page before.
    Uid(ShardUid),
}

impl After {
    /// As a client names it. Errors: ResourceNotFoundException for what cannot be a shard.
    pub fn parse(call: &Call, stream: &str, given: Option<&str>) -> Result<Self, Error> {
        match given {
            None => Ok(Self::Nothing),
            Some(given) if table_stream::is_name(stream) && table_stream::is_own_shard_id(given) => {
                Ok(Self::Id(given.to_owned()))
            }
            Some(given) => {
                let index = name::shard_index(given);
                index.map(Self::Index).ok_or_else(|| error::could_not_find_shard(call, stream, given))
            }
        }
    }

    /// Whether a shard comes later.
    pub fn precedes(&self, shard: &ShardInfo) -> bool {
        match self {
            Self::Nothing => true,
            Self::Index(after) => shard.index > *after,
            Self::Id(after) => shard.id > *after,
            Self::Uid(after) => shard.uid > *after,
        }
    }
}

/// Where a listing goes on.
struct Cursor {
    stream: String,
    filter: Filter,
    after: After,
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
        None => {
            let stream = name::stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
            let of_filter = input.shard_filter.as_ref().and_then(|filter| filter.shard_id.as_deref());
            let given = input.exclusive_start_shard_id.as_deref().or(of_filter);
            let filter = filter(input.shard_filter.as_ref())?;
            Cursor { filter, after: After::parse(call, &stream, given)?, stream }
        }
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
    let list = stream.shards(service).map_err(refused)?;
    let horizon = Millis(service.log.clock().store().0 - stream.retention_ms()).max(stream.created);
    let mut chosen = chosen(&list, &cursor.after, cursor.filter, horizon);
    let most = usize::try_from(input.max_results.unwrap_or(PAGE as i32)).unwrap_or_default();
    let page: Vec<&ShardInfo> = chosen.by_ref().take(most).collect();
    let more = chosen.next().is_some();
    let next_token = page.last().filter(|_| more).map(|last| {
        let (kind, at) = cursor.filter.code();
        let position = service.log.iterator(stream.uid, last.uid, ReadFrom::Horizon, TOKEN_LIFE_MS);
        service.log.seal(&position, &format!("list|{}|{kind}|{at}|", cursor.stream))
    });
    Ok(api::ListShardsOutput { shards: Some(page.into_iter().map(render).collect()), next_token })
}

fn chosen<'a>(
    list: &'a ShardList,
    after: &'a After,
    filter: Filter,
    horizon: Millis,
) -> impl Iterator<Item = &'a ShardInfo> {
    list.shards()
        .iter()
        .filter(move |shard| after.precedes(shard))
        .filter(move |shard| filter.wants(shard, list, horizon))
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
    Ok(Cursor { stream: (*stream).to_owned(), filter, after: After::Uid(position.shard) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: u128 = u128::MAX / 2;

    /// A shard of which only the times are of interest; its numbers are a little later than they say.
    fn shard(index: u32, parents: &[u32], range: (u128, u128), times: (i64, Option<i64>)) -> ShardInfo {
        let (opened, closed) = times;
        ShardInfo {
            uid: ShardUid(u64::from(index)),
            id: format!("{index}"),
            index,
            parents: parents.iter().map(|parent| ShardUid(u64::from(*parent))).collect(),
            parent_ids: parents.iter().map(u32::to_string).collect(),
            parent_indexes: parents.to_vec(),
            hash_range: range,
            starting: SequenceNumber::floor(Millis(opened + 2)),
            ending: closed.map(|closed| SequenceNumber::floor(Millis(closed + 1))),
            created: Millis(opened),
            closed: closed.map(Millis),
        }
    }

    /// KCL refuses to start on a listing that does not cover the hash keys.
    #[test]
    fn at_every_moment_the_open_shards_cover_the_hash_keys() {
        let (low, high) = ((0, HALF), (HALF + 1, u128::MAX));
        let lineage: ShardList = [
            shard(0, &[], low, (5, Some(10))),
            shard(1, &[], high, (5, Some(20))),
            shard(2, &[0], (0, 99), (10, Some(30))),
            shard(3, &[0], (100, HALF), (10, Some(20))),
            shard(4, &[3, 1], (100, u128::MAX), (20, Some(30))),
            shard(5, &[2, 4], (0, u128::MAX), (30, None)),
        ]
        .into_iter()
        .collect();
        let (mut moments, mut listed) = (0, 0);
        // A horizon hides what closed before it, and what is gone from the list leaves its children's ids dangling.
        for horizon in -5..40 {
            let kept: ShardList =
                lineage.shards().iter().filter(|s| s.closed.is_none_or(|at| at.0 > horizon)).cloned().collect();
            for at in -10..40 {
                let filter = Filter::OpenAt(Millis(at));
                let mut ranges: Vec<_> =
                    chosen(&kept, &After::Nothing, filter, Millis(horizon)).map(|shard| shard.hash_range).collect();
                ranges.sort_unstable();
                listed += ranges.len();
                moments += 1;
                let gap = ranges.windows(2).find(|pair| pair[0].1.checked_add(1) != Some(pair[1].0));
                assert_eq!(gap, None, "at {at}, trimmed to {horizon}: {ranges:?}");
                let (first, last) = (ranges.first().map(|range| range.0), ranges.last().map(|range| range.1));
                assert_eq!((first, last), (Some(0), Some(u128::MAX)), "at {at}, trimmed to {horizon}");
            }
        }
        println!("{moments} moments, {listed} shards listed");
        assert!(moments > 1_000 && listed > moments);
    }
}
