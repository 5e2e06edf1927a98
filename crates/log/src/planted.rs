//! Bugs of known classes, for the checkers to find. Without the feature `planted-bugs` nothing of them is compiled in.
//!
//! [`PlantedBug::NumberBeforeCommit`]: the rival pattern of drawing a number from a counter, then committing. A record's
//! place in the log is its drawn number, kept behind its payload; two commits can overtake each other, so a reader at the
//! tail passes a number that appears only later.

#[cfg(feature = "planted-bugs")]
pub(crate) use numbers::*;

#[cfg(feature = "planted-bugs")]
mod numbers {
    use std::time::Duration;

    use bytes::Bytes;
    use headwater_storage::Snapshot;
    use headwater_storage::contract::{From, LogRecord, PageLimit};
    use headwater_types::{Clock, Runtime, SequenceNumber, ShardUid};
    use parking_lot::Mutex;

    use crate::command::Effect;
    use crate::error::Error;
    use crate::settings::{PlantedBug, Settings};

    /// The counter that numbers are drawn from before their commit.
    #[derive(Default)]
    pub(crate) struct Counter(Mutex<SequenceNumber>);

    impl Counter {
        /// Draws a number for a command, a moment before it commits.
        pub async fn draw(&self, settings: &Settings, clock: &Clock, runtime: &Runtime) -> Option<SequenceNumber> {
            if settings.planted != Some(PlantedBug::NumberBeforeCommit) {
                return None;
            }
            let number = {
                let mut last = self.0.lock();
                *last = last.next(clock.store());
                *last
            };
            runtime.sleep(Duration::from_micros(runtime.random() % 2_000)).await;
            Some(number)
        }
    }

    /// Writes the drawn number behind each record's payload.
    pub(crate) fn mark(effects: &mut [Effect], drawn: Option<SequenceNumber>) {
        let Some(drawn) = drawn else { return };
        for record in effects.iter_mut().filter_map(|effect| effect.record.as_mut()) {
            *record = Bytes::from([record, drawn.0.to_be_bytes().as_slice()].concat());
        }
    }

    /// A page in order of the drawn numbers.
    pub(crate) fn read_log(
        snapshot: &dyn Snapshot,
        shard: ShardUid,
        from: From,
        limit: PageLimit,
    ) -> Result<Vec<LogRecord>, Error> {
        let all = PageLimit { records: usize::MAX, bytes: usize::MAX };
        let mut records = snapshot.read_log(shard, From::At(SequenceNumber::ZERO), all)?;
        for record in &mut records {
            let at = record.payload.len().saturating_sub(8);
            let drawn = record.payload.split_off(at);
            if let Ok(drawn) = drawn.as_ref().try_into() {
                record.number = SequenceNumber(u64::from_be_bytes(drawn));
            }
        }
        records.sort_by_key(|record| record.number);
        records.retain(|record| match from {
            From::At(number) => record.number >= number,
            From::After(number) => record.number > number,
        });
        records.truncate(limit.records);
        Ok(records)
    }
}
