//! Finding shards and partitions, and listing them.

use std::collections::BTreeMap;

use headwater_log::{Log, PartitionInfo};
use headwater_types::{ShardUid, StreamUid};

use super::names::Target;
use super::view::{HeatView, Refused, ShardView, Shards, StreamView};

/// A stream's shards with what is known of the open ones.
pub(super) fn list(log: &Log, target: &Target) -> Result<Shards, Refused> {
    let uid = target.stream()?;
    let catalog = log.catalog()?;
    let stream = catalog.stream(uid).ok_or_else(|| Refused::not_found("the stream is gone"))?;
    let partitions = target.maybe_table().map_or(Ok(Vec::new()), |table| log.partitions(table))?;
    let open: BTreeMap<ShardUid, &PartitionInfo> =
        partitions.iter().filter_map(|partition| Some((partition.shard?, partition))).collect();
    let list = log.shards(uid)?;
    let view = |shard| {
        let view = ShardView::of(shard);
        let heat = open.get(&shard.uid).copied().map(HeatView::of);
        ShardView { heat, ..view }
    };
    Ok(Shards { stream: StreamView::of(stream), shards: list.shards().iter().map(view).collect() })
}

/// A listed shard.
pub(super) fn by_id(log: &Log, stream: StreamUid, id: &str) -> Result<ShardUid, Refused> {
    let list = log.shards(stream)?;
    Ok(list.by_id(id).ok_or_else(|| Refused::not_found(format!("the stream has no shard {id}")))?.uid)
}

/// The partition that is meant: of an open shard, around a hash, or the hottest; of equally hot ones the largest, then the
/// widest.
pub(super) fn partition<'a>(
    log: &Log,
    target: &Target,
    partitions: &'a [PartitionInfo],
    shard: Option<&str>,
    at: Option<u128>,
) -> Result<&'a PartitionInfo, Refused> {
    let none = || Refused::not_found("the table has no partitions");
    let holds = |partition: &&PartitionInfo, at: u128| partition.hash_range.0 <= at && at <= partition.hash_range.1;
    let Some(id) = shard else {
        return match at {
            Some(at) => partitions.iter().find(|partition| holds(partition, at)).ok_or_else(none),
            None => partitions.iter().max_by(hotter).ok_or_else(none),
        };
    };
    let stream = target.maybe_stream().ok_or_else(|| Refused::invalid("the table has no stream: it has no shards"))?;
    let list = log.shards(stream)?;
    let found = list.by_id(id).ok_or_else(|| Refused::not_found(format!("the stream has no shard {id}")))?;
    let Some(partition) = partitions.iter().find(|partition| partition.shard == Some(found.uid)) else {
        let children: Vec<&str> = list.children(id).into_iter().map(|child| child.id.as_str()).collect();
        return Err(Refused::conflict(format!("shard {id} is closed; its children: {}", children.join(", "))));
    };
    match at {
        Some(at) if !holds(&partition, at) => Err(Refused::invalid(format!("shard {id} does not hold that hash"))),
        _ => Ok(partition),
    }
}

fn hotter(a: &&PartitionInfo, b: &&PartitionInfo) -> std::cmp::Ordering {
    let width = |partition: &PartitionInfo| partition.hash_range.1 - partition.hash_range.0;
    let by_heat = a.writes_per_second.total_cmp(&b.writes_per_second);
    by_heat.then(a.bytes.cmp(&b.bytes)).then(width(a).cmp(&width(b)))
}
