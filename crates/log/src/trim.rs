//! Trimming on request: records that are younger than the retention go too.

use headwater_storage::Snapshot;
use headwater_storage::contract::Horizon;
use headwater_storage::keyspace::partition_head;
use headwater_types::{SequenceNumber, ShardUid, StreamUid};

use crate::error::Error;
use crate::open::Log;
use crate::positions;
use crate::retention::TrimStep;
use crate::shard::ShardRow;
use crate::stream;

impl Log {
    /// Trims a stream's shards, or one of them, below a number; how many shards lost something.
    ///
    /// Shape:  a number beyond the newest record trims all there is; what is written later stays.
    /// Errors: `Invalid` when the stream has no such shard.
    /// Order:  as [`Log::retain`] has it: the horizon is stored before anything goes. What a mover still wants is hidden only.
    pub async fn trim(
        &self,
        stream: StreamUid,
        shard: Option<ShardUid>,
        below: SequenceNumber,
    ) -> Result<usize, Error> {
        let shared = &*self.shared;
        let snapshot = shared.cell.snapshot();
        let mut rows = stream::rows(&*snapshot, stream)?;
        rows.retain(|row| shard.is_none_or(|shard| row.name.uid == shard));
        if rows.is_empty() && shard.is_some() {
            return Err(Error::Invalid("the stream has no such shard".to_owned()));
        }
        let held = positions::held(&*snapshot, &*shared.catalog()?)?;
        let (mut steps, mut horizons) = (Vec::new(), Vec::new());
        for row in &rows {
            let (shard, below) = (row.name.uid, below.min(end(&*snapshot, row)?));
            if row.horizon < below {
                steps.push(TrimStep::Horizon { stream, shard, below });
                let most = held.get(&shard).copied().unwrap_or(SequenceNumber::ALL);
                horizons.push(Horizon { shard, below: below.min(most) });
            }
        }
        shared.steps(steps).await?;
        if !horizons.is_empty() {
            shared.cell.trim(&horizons)?;
        }
        Ok(horizons.len())
    }
}

/// Beyond the newest record of a shard.
fn end(snapshot: &dyn Snapshot, row: &ShardRow) -> Result<SequenceNumber, Error> {
    let newest = match row.ending {
        Some(ending) => ending,
        None => snapshot.head(partition_head(row.partition))?.number,
    };
    Ok(SequenceNumber(newest.0.saturating_add(1)))
}
