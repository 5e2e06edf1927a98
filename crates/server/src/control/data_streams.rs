//! Changes of data streams' shards.

use headwater_catalog::{DataStreamState, Snapshot as Catalog};
use headwater_log::{Change, Defined, Definition, Log};
use headwater_types::{Millis, ShardUid, TableId};

use super::names::Target;
use super::shards;
use super::view::Refused;

/// One change of a data stream that is ACTIVE.
struct Reshape {
    stream: TableId,
    change: Change,
}

impl Definition for Reshape {
    type Answer = Result<(), Refused>;

    fn decide(&mut self, catalog: &Catalog, _now: Millis) -> Defined<Self::Answer> {
        match catalog.data_stream_by_id(self.stream).map(|stream| stream.state) {
            None => Defined::Answer(Err(Refused::not_found("the stream is gone"))),
            Some(DataStreamState::Active) => Defined::Change(vec![self.change.clone()]),
            Some(_) => Defined::Answer(Err(Refused::conflict("the stream is not ACTIVE: wait until it is"))),
        }
    }

    fn answer(&mut self, _catalog: &Catalog) -> Self::Answer {
        Ok(())
    }
}

/// Splits an open shard.
pub(super) async fn split(log: &Log, target: Target, shard: Option<ShardUid>, at: u128) -> Result<(), Refused> {
    let stream = target.table()?;
    let shard = shard.ok_or_else(|| Refused::conflict("the shard was closed by something else at the same time"))?;
    log.define(Reshape { stream, change: Change::SplitShard { id: stream, shard, at } }).await?
}

/// Merges two open shards, of which the second begins where the first ends.
pub(super) async fn merge(log: &Log, target: Target, shard: &str, with: &str) -> Result<(), Refused> {
    let stream = target.table()?;
    let (first, (_, end)) = shards::open(log, &target, shard)?;
    let (second, (start, _)) = shards::open(log, &target, with)?;
    if end.checked_add(1) != Some(start) {
        return Err(Refused::invalid(format!("{with} does not begin where {shard} ends")));
    }
    log.define(Reshape { stream, change: Change::MergeShards { id: stream, first, second } }).await?
}
