//! How much is put into data streams, by this node: what on-demand streams are scaled by.

use std::time::Duration;

use headwater_types::TableId;
use headwater_types::hash::FixedMap;
use parking_lot::Mutex;

use crate::append::Append;

/// One unit of a shard's capacity is a record of up to so many bytes. Source: "Quotas", Kinesis developer guide: 1,000
/// records and 1 MB per second and shard.
const UNIT_BYTES: usize = 1_024;
/// Looks in a row at which a stream must be busy.
const BUSY_LOOKS: u32 = 5;

/// What was put into data streams.
#[derive(Default)]
pub(crate) struct Flow(Mutex<FixedMap<TableId, Stream>>);

#[derive(Default)]
struct Stream {
    units: u64,
    looked: Option<(Duration, u64)>,
    busy_looks: u32,
}

impl Flow {
    /// Notes what is put.
    pub fn note(&self, stream: TableId, records: &[Append]) {
        let units = records.iter().map(|record| record.payload.len().div_ceil(UNIT_BYTES).max(1) as u64);
        self.0.lock().entry(stream).or_default().units += units.sum::<u64>();
    }

    /// Streams that something was put into.
    pub fn streams(&self) -> Vec<TableId> {
        self.0.lock().keys().copied().collect()
    }

    /// Whether more than `limit` units per second were put into a stream, at each of the last looks.
    pub fn is_busy(&self, stream: TableId, at: Duration, limit: u64) -> bool {
        let mut streams = self.0.lock();
        let Some(flow) = streams.get_mut(&stream) else { return false };
        let rate = flow.looked.and_then(|(looked, units)| {
            let seconds = at.saturating_sub(looked).as_secs_f64();
            (seconds > 0.0).then(|| (flow.units - units) as f64 / seconds)
        });
        flow.looked = Some((at, flow.units));
        flow.busy_looks = if rate.is_some_and(|rate| rate > limit as f64) { flow.busy_looks + 1 } else { 0 };
        flow.busy_looks >= BUSY_LOOKS
    }

    /// Begins anew, as after a change of its shards, or because it is gone.
    pub fn forget(&self, stream: TableId) {
        self.0.lock().remove(&stream);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use headwater_types::HashKey;

    use super::*;

    #[test]
    fn a_stream_is_busy_after_five_busy_looks_in_a_row() {
        let (flow, stream) = (Flow::default(), TableId(1));
        let record = |bytes: usize| Append { hash: HashKey(0), payload: Bytes::from(vec![0; bytes]) };
        let mut busy = Vec::new();
        for second in 0..16 {
            // Three units: an empty record counts, and so does each begun KiB.
            flow.note(stream, &[record(0), record(UNIT_BYTES + 1)]);
            if second == 7 {
                busy.push(flow.is_busy(stream, Duration::from_secs(second), 3));
            } else {
                busy.push(flow.is_busy(stream, Duration::from_secs(second), 2));
            }
        }
        let expected: Vec<bool> = (0..16).map(|second| (5..7).contains(&second) || second >= 12).collect();
        assert_eq!(busy, expected);
        flow.forget(stream);
        assert!(flow.streams().is_empty());
    }
}
