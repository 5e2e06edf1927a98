//! Moving the store's clock: durable before it shows, and the same for every node of the cell.

use std::time::Duration;

use headwater_catalog::StoreTime;
use headwater_storage::keyspace::CATALOG_HEAD;
use headwater_storage::{Plan, Snapshot};
use headwater_types::{ClockState, Millis};

use crate::draft::Draft;
use crate::error::Error;
use crate::open::Log;
use crate::queue::Work;

/// The end of the year 9999: what dates of clients can show, and sequence numbers still hold.
const END_OF_TIME: Millis = Millis(253_402_300_799_999);

/// A change of what the store keeps of its clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TimeChange {
    /// Store time jumps ahead, a frozen one too.
    Advance { by_ms: i64 },
    /// Store time stands still.
    Freeze,
    /// Store time is system time plus the offset again.
    Release,
    /// All shard iterators given so far are expired.
    ExpireIterators,
}

/// The plan of a change on top of a catalog of this version; empty when it is so already.
pub(crate) fn plan(
    change: TimeChange,
    snapshot: &dyn Snapshot,
    catalog_version: u64,
    now: Millis,
) -> Result<Plan, Error> {
    let before = StoreTime::decode(snapshot.get(&StoreTime::key())?.as_deref())?;
    let after = match change {
        TimeChange::Advance { by_ms } => StoreTime {
            offset_ms: before.offset_ms.saturating_add(by_ms),
            frozen_ms: before.frozen_ms.map(|at| at.max(now.0).saturating_add(by_ms)),
            ..before
        },
        TimeChange::Freeze => StoreTime { frozen_ms: before.frozen_ms.or(Some(now.0)), ..before },
        TimeChange::Release => StoreTime { frozen_ms: None, ..before },
        TimeChange::ExpireIterators => StoreTime { iterators: before.iterators.wrapping_add(1), ..before },
    };
    let mut draft = Draft::default();
    if after != before {
        let at = draft.moved(CATALOG_HEAD, catalog_version);
        // With relaxed durability too it is synced before it is published: readers whose iterators end by it, and tokens,
        // would else meet an earlier time after a crash.
        draft.take(at);
        draft.put(StoreTime::key(), after.encode());
    }
    Ok(draft.into_plan())
}

impl Log {
    /// What store time and system time are, and how they differ.
    pub fn clock_state(&self) -> ClockState {
        self.shared.clock.state()
    }

    /// Moves store time ahead, a frozen one too; what waits for a moment in it (trimming, roll-over, expiry) looks again.
    ///
    /// Unit:   whole milliseconds.
    /// Errors: `Invalid` when `by` is less than a millisecond or store time would pass the year 9999; `Full`, `Closed`.
    /// Order:  durable, then shown. The offset is never taken back, a restart included.
    pub async fn advance_clock(&self, by: Duration) -> Result<ClockState, Error> {
        let by_ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        if by_ms == 0 {
            return Err(Error::Invalid("store time moves by at least a millisecond".to_owned()));
        }
        if self.shared.clock.store().0.saturating_add(by_ms) > END_OF_TIME.0 {
            return Err(Error::Invalid("store time cannot pass the year 9999".to_owned()));
        }
        self.move_clock(TimeChange::Advance { by_ms }).await
    }

    /// Stops store time where it is, until it is released; a restart does not release it.
    pub async fn freeze_clock(&self) -> Result<ClockState, Error> {
        self.move_clock(TimeChange::Freeze).await
    }

    /// Lets store time go on, as far ahead of system time as before it was frozen.
    pub async fn release_clock(&self) -> Result<ClockState, Error> {
        self.move_clock(TimeChange::Release).await
    }

    /// Lets every shard iterator that was given so far be expired.
    pub async fn expire_iterators(&self) -> Result<(), Error> {
        self.move_clock(TimeChange::ExpireIterators).await.map(drop)
    }

    async fn move_clock(&self, change: TimeChange) -> Result<ClockState, Error> {
        self.shared.alone(Work::Time(change)).await?;
        Ok(self.clock_state())
    }
}
