//! How many shards a stream has: SplitShard, MergeShards, UpdateShardCount.

use headwater_api::kinesis as api;
use headwater_api::kinesis::{access, errors};
use headwater_api::{Call, Error};
use headwater_catalog::{DataStreamDefinition, DataStreamState, StreamMode};
use headwater_log::{Change, ShardInfo, ShardList};
use headwater_types::Millis;

use super::stream::{self, Edit};
use super::{error, name};
use crate::dynamodb::error::refused;
use crate::service::Operations;

/// Open shards of one stream. Source: "UpdateShardCount", Kinesis API reference.
const SHARDS_MAX: usize = 10_000;
/// How often a change is decided again that met shards which another change had closed.
const ATTEMPTS: usize = 16;

/// SplitShard.
///
/// Errors: in the order observed by kinesalite's tests: the shard, the account's limit, the hash key, the stream's state.
pub(super) async fn split(
    service: &Operations,
    call: &Call,
    input: api::SplitShardInput,
) -> Result<api::SplitShardOutput, Error> {
    let named = name::stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    call.authorize(&access::split_shard(call, &input))?;
    reshape(service, call, &named, |stream, list| {
        let shard = name::shard(call, stream, list, &input.shard_to_split)?;
        stream::within_limit(service, call, 1)?;
        let at = split_point(call, stream, shard, &input.new_starting_hash_key)?;
        is_open(call, stream, shard)?;
        Ok(Change::SplitShard { id: stream.id, shard: shard.uid, at })
    })
    .await?;
    Ok(api::SplitShardOutput {})
}

/// Where a shard is cut. Source: the text observed by kinesalite's tests.
fn split_point(call: &Call, stream: &DataStreamDefinition, shard: &ShardInfo, given: &str) -> Result<u128, Error> {
    let (start, end) = shard.hash_range;
    let inside = |at: &u128| *at > start.saturating_add(1) && *at < end;
    given.parse().ok().filter(inside).ok_or_else(|| {
        errors::invalid_argument(format!(
            "NewStartingHashKey {given} used in SplitShard() on shard {} in stream {} under account {} is not both greater \
             than one plus the shard's StartingHashKey {start} and less than the shard's EndingHashKey {end}.",
            name::shard_id(shard.index),
            stream.name,
            call.principal.account
        ))
    })
}

/// MergeShards.
///
/// Errors: in the order observed by kinesalite's tests: the shards, whether they are neighbours, the stream's state.
pub(super) async fn merge(
    service: &Operations,
    call: &Call,
    input: api::MergeShardsInput,
) -> Result<api::MergeShardsOutput, Error> {
    let named = name::stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    call.authorize(&access::merge_shards(call, &input))?;
    reshape(service, call, &named, |stream, list| {
        let first = name::shard(call, stream, list, &input.shard_to_merge)?;
        let second = name::shard(call, stream, list, &input.adjacent_shard_to_merge)?;
        neighbours(call, stream, first, second)?;
        is_open(call, stream, first)?;
        is_open(call, stream, second)?;
        Ok(Change::MergeShards { id: stream.id, first: first.uid, second: second.uid })
    })
    .await?;
    Ok(api::MergeShardsOutput {})
}

/// The second begins where the first ends. Source: the text observed by kinesalite's tests.
fn neighbours(call: &Call, stream: &DataStreamDefinition, first: &ShardInfo, second: &ShardInfo) -> Result<(), Error> {
    if first.hash_range.1.checked_add(1) == Some(second.hash_range.0) {
        return Ok(());
    }
    Err(errors::invalid_argument(format!(
        "Shards {} and {} in stream {} under account {} are not an adjacent pair of shards eligible for merging",
        name::shard_id(first.index),
        name::shard_id(second.index),
        stream.name,
        call.principal.account
    )))
}

/// A shard is split or merged once. Source: moto.
fn is_open(call: &Call, stream: &DataStreamDefinition, shard: &ShardInfo) -> Result<(), Error> {
    if shard.ending.is_none() {
        return Ok(());
    }
    Err(errors::invalid_argument(format!(
        "Shard {} in stream {} under account {} has already been merged or split, and thus is not eligible for merging or \
         splitting.",
        name::shard_id(shard.index),
        stream.name,
        call.principal.account
    )))
}

/// UpdateShardCount: the log splits and merges until the open shards are even, and the stream is UPDATING meanwhile.
///
/// Shape: the answer counts the open shards as the change was decided.
pub(super) async fn update_count(
    service: &Operations,
    call: &Call,
    input: api::UpdateShardCountInput,
) -> Result<api::UpdateShardCountOutput, Error> {
    let named = name::stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    call.authorize(&access::update_shard_count(call, &input))?;
    let target = usize::try_from(input.target_shard_count).unwrap_or_default();
    let (mut current, mut counted) = (0, false);
    reshape(service, call, &named, |stream, list| {
        current = list.shards().iter().filter(|shard| shard.ending.is_none()).count();
        scales(current, target)?;
        stream::within_limit(service, call, target.saturating_sub(current))?;
        match &service.kinesis_limits {
            Some(limits) if !counted => limits.scale(stream.uid, &stream.name)?,
            _ => {}
        }
        counted = true;
        Ok(Change::Reshard { id: stream.id, shards: target })
    })
    .await?;
    Ok(api::UpdateShardCountOutput {
        stream_arn: Some(name::own(service, call, &named)?.arn()),
        stream_name: Some(named),
        current_shard_count: i32::try_from(current).ok(),
        target_shard_count: Some(input.target_shard_count),
    })
}

/// What one call may do. Source: "UpdateShardCount", Kinesis API reference, for the limits; the AWS CDK's documentation for
/// the text; its type and the text for too many shards from tests of a descendant of kinesalite (unverified).
fn scales(current: usize, target: usize) -> Result<(), Error> {
    let refusal = if target > SHARDS_MAX {
        format!("Target shard count or number of open shards cannot be greater than {SHARDS_MAX}.")
    } else if target > current * 2 {
        "UpdateShardCount cannot scale up over double your current open shard count.".to_owned()
    } else if target * 2 < current {
        "UpdateShardCount cannot scale down below half your current open shard count.".to_owned()
    } else {
        return Ok(());
    };
    let counts = format!("Current open shard count: {current} Target shard count: {target}");
    Err(errors::limit_exceeded(format!("{refusal} {counts}")))
}

/// Changes the shards of the caller's stream as `decide` says, which sees the open ones.
///
/// Order: `decide`'s refusals come before the one that the stream is not ACTIVE.
async fn reshape(
    service: &Operations,
    call: &Call,
    named: &str,
    mut decide: impl FnMut(&DataStreamDefinition, &ShardList) -> Result<Change, Error> + Send,
) -> Result<(), Error> {
    for _ in 0..ATTEMPTS {
        let known = name::own(service, call, named)?;
        provisioned(call, &known)?;
        let list = service.log.shards(known.uid).map_err(refused)?;
        // A stream that is being made or goes away shows none.
        let change = if known.state.serves() { Some(decide(&known, &list)?) } else { None };
        match commit(service, call, &known, change).await {
            // Another change closed one of the shards meanwhile: look again.
            Err(headwater_log::Error::Invalid(_)) => {}
            Ok(decided) => return decided,
            Err(cause) => return Err(error::refused(call, named, cause)),
        }
    }
    Err(errors::resource_in_use(format!(
        "Stream {named} under account {} not ACTIVE, instead in state {}",
        call.principal.account,
        name::state(DataStreamState::Updating)
    )))
}

async fn commit(
    service: &Operations,
    call: &Call,
    known: &DataStreamDefinition,
    change: Option<Change>,
) -> Result<Result<(), Error>, headwater_log::Error> {
    let decide = |stream: Option<&DataStreamDefinition>, _: Millis| {
        let same = stream.filter(|stream| stream.uid == known.uid);
        let stream = same.ok_or_else(|| error::no_stream(call, &known.name))?;
        name::active(call, stream)?;
        provisioned(call, stream)?;
        Ok(change.clone())
    };
    service.log.define(Edit { scope: name::scope(call), name: known.name.clone(), decide }).await
}

/// Source: observed by LocalStack's AWS tests.
fn provisioned(call: &Call, stream: &DataStreamDefinition) -> Result<(), Error> {
    if stream.mode == StreamMode::Provisioned {
        return Ok(());
    }
    Err(Error::validation(format!(
        "Request is invalid. Stream {} under account {} is in On-Demand mode.",
        stream.name, call.principal.account
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_call_doubles_or_halves_at_most() {
        for (current, target, allowed) in [
            (1, 2, true),
            (1, 3, false),
            (4, 2, true),
            (4, 1, false),
            (5, 3, true),
            (5, 2, false),
            (5_000, 10_000, true),
            (6_000, 10_001, false),
            (7, 7, true),
        ] {
            assert_eq!(scales(current, target).is_ok(), allowed, "{current} to {target}");
        }
        let refusal = scales(1, 4).expect_err("refused");
        let text = "UpdateShardCount cannot scale up over double your current open shard count. Current open shard count: 1 \
                    Target shard count: 4";
        assert!(refusal.to_string().contains(text), "{refusal}");
    }
}
