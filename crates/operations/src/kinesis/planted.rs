//! Bugs of known classes, for the checkers to find; see `planted` in the log.

use headwater_log::{PageLimit, PlantedBug, ReadFrom, ShardInfo};
use headwater_types::{ShardUid, StreamUid};

use crate::service::Operations;

/// Where a subscription goes on, off by one record.
pub(super) fn resumed(service: &Operations, stream: StreamUid, shard: ShardUid, from: ReadFrom) -> ReadFrom {
    let ReadFrom::After(number) = from else { return from };
    match service.log.planted() {
        Some(PlantedBug::SubscriptionRepeats) => ReadFrom::At(number),
        Some(PlantedBug::SubscriptionSkips) => {
            let page = service.log.page(stream, shard, from, PageLimit { records: 1, bytes: 1 });
            page.ok().and_then(|page| page.records.last().map(|skipped| skipped.number)).map_or(from, ReadFrom::After)
        }
        Some(_) | None => from,
    }
}

/// Whether a shard's end keeps quiet about a child.
pub(super) fn is_forgotten(service: &Operations, child: &ShardInfo, parent: ShardUid) -> bool {
    service.log.planted() == Some(PlantedBug::ChildOfFirstParent) && child.parents.first() != Some(&parent)
}
