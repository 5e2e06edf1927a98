//! Finding shards and partitions, and listing them.

use std::collections::BTreeMap;

use headwater_log::{Log, PartitionInfo, ShardInfo, ShardList};
use headwater_types::ShardUid;

use super::names::Target;
use super::view::{HeatView, Refused, ShardView, Shards, StreamView, data_shard_id};

/// A stream's shards with what is known of the open ones.
pub(super) fn list(log: &Log, target: &Target) -> Result<Shards, Refused> {
    let uid = target.stream()?;
    let catalog = log.catalog()?;
    let gone = || Refused::not_found("the stream is gone");
    let stream = if target.is_data_stream() {
        StreamView::of_data(catalog.data_stream_by_uid(uid).ok_or_else(gone)?)
    } else {
        StreamView::of(catalog.stream(uid).ok_or_else(gone)?)
    };
    let partitions = target.maybe_table().map_or(Ok(Vec::new()), |table| log.partitions(table))?;
    let open: BTreeMap<ShardUid, &PartitionInfo> =
        partitions.iter().filter_map(|partition| Some((partition.shard?, partition))).collect();
    let list = log.shards(uid)?;
    let view = |shard| {
        let view = if target.is_data_stream() { ShardView::of_data(shard) } else { ShardView::of(shard) };
        let heat = open.get(&shard.uid).copied().map(HeatView::of);
        ShardView { heat, ..view }
    };
    Ok(Shards { stream, shards: list.shards().iter().map(view).collect() })
}

/// A listed shard.
pub(super) fn by_id(log: &Log, target: &Target, id: &str) -> Result<ShardUid, Refused> {
    Ok(listed(&log.shards(target.stream()?)?, target, id)?.uid)
}

/// A shard by the id that clients know it by.
fn listed<'a>(list: &'a ShardList, target: &Target, id: &str) -> Result<&'a ShardInfo, Refused> {
    let found = if target.is_data_stream() {
        list.shards().iter().find(|shard| data_shard_id(shard.index) == id)
    } else {
        let kinesis = || list.shards().iter().find(|shard| data_shard_id(shard.uid.0) == id);
        list.by_id(id).or_else(kinesis)
    };
    found.ok_or_else(|| Refused::not_found(format!("the stream has no shard {id}")))
}

/// An open shard, by id, with its hash range. Errors: a closed one, with its children.
pub(super) fn open(log: &Log, target: &Target, id: &str) -> Result<(ShardUid, (u128, u128)), Refused> {
    let list = log.shards(target.stream()?)?;
    let shard = listed(&list, target, id)?;
    if shard.ending.is_none() {
        return Ok((shard.uid, shard.hash_range));
    }
    Err(closed(&list, target, shard))
}

fn closed(list: &ShardList, target: &Target, shard: &ShardInfo) -> Refused {
    let name = |shard: &ShardInfo| if target.is_data_stream() { data_shard_id(shard.index) } else { shard.id.clone() };
    let of = |child: &&ShardInfo| child.parents.contains(&shard.uid);
    let children: Vec<String> = list.shards().iter().filter(of).map(name).collect();
    Refused::conflict(format!("shard {} is closed; its children: {}", name(shard), children.join(", ")))
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
    let found = listed(&list, target, id)?;
    let Some(partition) = partitions.iter().find(|partition| partition.shard == Some(found.uid)) else {
        return Err(closed(&list, target, found));
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
