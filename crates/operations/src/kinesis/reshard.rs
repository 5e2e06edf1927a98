//! SplitShard, MergeShards, UpdateShardCount.

use headwater_api::kinesis as api;
use headwater_api::kinesis::{access, errors};
use headwater_api::{Call, Error};
use headwater_catalog::{DataStreamDefinition, StreamMode};
use headwater_log::{Change, ShardInfo, ShardList};

use super::name;
use super::stream::{self, edit};
use crate::dynamodb::error::refused;
use crate::service::Operations;

/// Most open shards that UpdateShardCount makes. Source: "UpdateShardCount", Kinesis API reference.
const TARGET_SHARDS_MAX: usize = 10_000;

/// SplitShard: two children, the lower half of the hash keys first.
///
/// Order: known shard, ACTIVE stream, room in the account, the hash key. Source: observed by kinesalite's tests.
pub(super) async fn split(
    service: &Operations,
    call: &Call,
    input: api::SplitShardInput,
) -> Result<api::SplitShardOutput, Error> {
    let named = name::stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    call.authorize(&access::split_shard(call, &input))?;
    edit(service, call, &named, |stream, _| {
        let list = lineage(service, stream)?;
        let shard = name::shard(call, stream, &list, &input.shard_to_split)?;
        provisioned(call, stream)?;
        name::active(call, stream)?;
        stream::within_limit(service, call, 1)?;
        open(call, stream, shard)?;
        let (first, last) = shard.hash_range;
        // A hash key beyond all others does not parse, and lies outside too.
        let at = input.new_starting_hash_key.parse().unwrap_or(u128::MAX);
        if at <= first.saturating_add(1) || at >= last {
            return Err(errors::invalid_argument(format!(
                "NewStartingHashKey {} used in SplitShard() on shard {} in stream {} under account {} is not both greater \
                 than one plus the shard's StartingHashKey {first} and less than the shard's EndingHashKey {last}.",
                input.new_starting_hash_key,
                name::shard_id(shard.index),
                stream.name,
                call.principal.account
            )));
        }
        Ok(Some(Change::SplitShard { id: stream.id, shard: shard.uid, at }))
    })
    .await?;
    Ok(api::SplitShardOutput {})
}

/// MergeShards: one child of two parents, the first given first.
///
/// Order: known shards, adjacency as given, ACTIVE stream. Source: observed by kinesalite's tests.
pub(super) async fn merge(
    service: &Operations,
    call: &Call,
    input: api::MergeShardsInput,
) -> Result<api::MergeShardsOutput, Error> {
    let named = name::stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    call.authorize(&access::merge_shards(call, &input))?;
    edit(service, call, &named, |stream, _| {
        let list = lineage(service, stream)?;
        let first = name::shard(call, stream, &list, &input.shard_to_merge)?;
        let second = name::shard(call, stream, &list, &input.adjacent_shard_to_merge)?;
        if first.hash_range.1.checked_add(1) != Some(second.hash_range.0) {
            return Err(errors::invalid_argument(format!(
                "Shards {} and {} in stream {} under account {} are not an adjacent pair of shards eligible for merging",
                name::shard_id(first.index),
                name::shard_id(second.index),
                stream.name,
                call.principal.account
            )));
        }
        provisioned(call, stream)?;
        name::active(call, stream)?;
        open(call, stream, first)?;
        open(call, stream, second)?;
        Ok(Some(Change::MergeShards { id: stream.id, first: first.uid, second: second.uid }))
    })
    .await?;
    Ok(api::MergeShardsOutput {})
}

/// UpdateShardCount: a series of splits and merges until the open shards have even ranges.
pub(super) async fn update_count(
    service: &Operations,
    call: &Call,
    input: api::UpdateShardCountInput,
) -> Result<api::UpdateShardCountOutput, Error> {
    let named = name::stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    call.authorize(&access::update_shard_count(call, &input))?;
    let target = usize::try_from(input.target_shard_count).unwrap_or_default();
    let mut current = 0;
    edit(service, call, &named, |stream, _| {
        provisioned(call, stream)?;
        name::active(call, stream)?;
        current = stream::open_of(service, stream)?;
        scalable(call, current, target)?;
        stream::within_limit(service, call, target.saturating_sub(current))?;
        Ok((current != target).then_some(Change::Reshard { id: stream.id, shards: target }))
    })
    .await?;
    let stream = name::find(service, call, &named)?;
    Ok(api::UpdateShardCountOutput {
        stream_name: Some(named),
        current_shard_count: i32::try_from(current).ok(),
        target_shard_count: Some(input.target_shard_count),
        stream_arn: Some(stream.arn()),
    })
}

/// Source: texts observed by kinesalite's tests.
fn scalable(call: &Call, current: usize, target: usize) -> Result<(), Error> {
    let most = stream::shard_limit(call).min(TARGET_SHARDS_MAX);
    let refusal = if target > most {
        format!("Target shard count or number of open shards cannot be greater than {most}.")
    } else if target > 2 * current {
        "UpdateShardCount cannot scale up over double your current open shard count.".to_owned()
    } else if 2 * target < current {
        "UpdateShardCount cannot scale down below half your current open shard count.".to_owned()
    } else {
        return Ok(());
    };
    let counts = format!("Current open shard count: {current}, Target shard count: {target}");
    Err(errors::limit_exceeded(format!("{refusal} {counts}")))
}

/// Refuses what an on-demand stream does by itself. Source: observed by LocalStack's AWS tests.
fn provisioned(call: &Call, stream: &DataStreamDefinition) -> Result<(), Error> {
    if stream.mode == StreamMode::Provisioned {
        return Ok(());
    }
    Err(Error::validation(format!(
        "Request is invalid. Stream {} under account {} is in On-Demand mode.",
        stream.name, call.principal.account
    )))
}

/// Refuses a shard that is closed already (text unverified).
fn open(call: &Call, stream: &DataStreamDefinition, shard: &ShardInfo) -> Result<(), Error> {
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

fn lineage(service: &Operations, stream: &DataStreamDefinition) -> Result<ShardList, Error> {
    service.log.shards(stream.uid).map_err(refused)
}
