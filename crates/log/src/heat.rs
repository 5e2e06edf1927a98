//! How hot partitions are, and where a hot one is cut.
//!
//! The committer notes every write; a partition that stays hot is cut at the median of the hashes that were written. One
//! hot item is not helped by a cut, so a cut must leave each side a fair share of the writes.

use std::time::Duration;

use headwater_types::hash::FixedMap;
use headwater_types::{HashKey, TableId};
use parking_lot::Mutex;

/// Looks in a row at which a partition must be hot. With a look every second: five seconds, as the design has it.
const HOT_LOOKS: u32 = 5;
/// Looks without a write after which a partition is forgotten.
const COLD_LOOKS: u32 = 60;
/// Hashes kept of a partition.
const SAMPLES: usize = 256;
/// Fewer say too little.
const SAMPLES_MIN: usize = 64;
/// Of the sampled writes each side of a cut must keep one in so many.
const SHARE: usize = 5;

/// A write that was noted.
pub(crate) type Written = (TableId, u64, HashKey);

/// The partitions that are written to.
pub(crate) struct Heat {
    warm: Mutex<FixedMap<u64, Warm>>,
    /// Writes per second above which a partition is hot; zero: none ever is.
    limit: u64,
    /// One write in so many is sampled, so that the samples cover the time in which a partition becomes hot.
    one_in: u64,
}

/// A partition that is written to.
struct Warm {
    table: TableId,
    writes: u64,
    samples: Vec<u128>,
    next_sample: usize,
    looked: Option<Look>,
    hot_looks: u32,
    cold_looks: u32,
    rate: f64,
}

/// What the last look saw.
#[derive(Clone, Copy)]
struct Look {
    at: Duration,
    writes: u64,
    version: u64,
}

/// A partition to be cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hot {
    pub table: TableId,
    pub partition: u64,
    /// The first hash of the upper half.
    pub at: HashKey,
}

impl Heat {
    pub fn new(limit: u64) -> Self {
        let one_in = (limit * u64::from(HOT_LOOKS) / SAMPLES as u64).max(1);
        Self { warm: Mutex::default(), limit, one_in }
    }

    /// Notes the writes of a group.
    pub fn note(&self, written: &[Written]) {
        if self.limit == 0 || written.is_empty() {
            return;
        }
        let mut warm = self.warm.lock();
        for (table, partition, hash) in written {
            warm.entry(*partition).or_insert_with(|| Warm::new(*table)).note(hash.0, self.one_in);
        }
    }

    /// The partitions that have been written to lately.
    pub fn warm(&self) -> Vec<(TableId, u64)> {
        self.warm.lock().iter().map(|(partition, warm)| (warm.table, *partition)).collect()
    }

    /// Writes per second at the last look.
    pub fn rate(&self, partition: u64) -> f64 {
        self.warm.lock().get(&partition).map_or(0.0, |warm| warm.rate)
    }

    /// Looks at one partition, whose head now has this version; the versions count the writes of all nodes.
    pub fn look(&self, partition: u64, at: Duration, version: u64) -> Option<Hot> {
        let mut all = self.warm.lock();
        let warm = all.get_mut(&partition)?;
        warm.look(at, version, self.limit);
        if warm.cold_looks >= COLD_LOOKS {
            all.remove(&partition);
            return None;
        }
        if warm.hot_looks < HOT_LOOKS {
            return None;
        }
        let at = cut(&warm.samples)?;
        Some(Hot { table: warm.table, partition, at })
    }

    /// Forgets a partition that is no more.
    pub fn forget(&self, partition: u64) {
        self.warm.lock().remove(&partition);
    }
}

impl Warm {
    fn new(table: TableId) -> Self {
        Self {
            table,
            writes: 0,
            samples: Vec::new(),
            next_sample: 0,
            looked: None,
            hot_looks: 0,
            cold_looks: 0,
            rate: 0.0,
        }
    }

    fn note(&mut self, hash: u128, one_in: u64) {
        self.writes += 1;
        // Mixed, so that clients who write in turns are not met always at the same one.
        let mixed = (self.writes.wrapping_mul(0x9e37_79b9_7f4a_7c15)) >> 32;
        if !mixed.is_multiple_of(one_in) {
            return;
        }
        match self.samples.get_mut(self.next_sample) {
            Some(sample) => *sample = hash,
            None => self.samples.push(hash),
        }
        self.next_sample = (self.next_sample + 1) % SAMPLES;
    }

    fn look(&mut self, at: Duration, version: u64, limit: u64) {
        let before = self.looked.replace(Look { at, writes: self.writes, version });
        let Some(before) = before else { return };
        let seconds = at.saturating_sub(before.at).as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let writes = (self.writes - before.writes).max(version.saturating_sub(before.version));
        self.rate = writes as f64 / seconds;
        self.hot_looks = if self.rate > limit as f64 { self.hot_looks + 1 } else { 0 };
        self.cold_looks = if writes == 0 { self.cold_looks + 1 } else { 0 };
    }
}

/// Where to cut: the first hash of the upper half, as near to the median of the samples as whole items allow. None when
/// one side would keep too few writes: most go to one item.
fn cut(samples: &[u128]) -> Option<HashKey> {
    if samples.len() < SAMPLES_MIN {
        return None;
    }
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let half = sorted.len() / 2;
    // A cut before the median's item, and one behind it.
    let median = *sorted.get(half)?;
    let below = sorted.partition_point(|hash| *hash < median);
    let behind = sorted.partition_point(|hash| *hash <= median);
    let nearest = if half.abs_diff(below) <= half.abs_diff(behind) { below } else { behind };
    let fair = |lower: usize| lower * SHARE >= sorted.len() && (sorted.len() - lower) * SHARE >= sorted.len();
    let lower = [nearest, below, behind].into_iter().find(|lower| fair(*lower))?;
    sorted.get(lower).map(|hash| HashKey(*hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: TableId = TableId(1);

    fn spread(count: u128) -> Vec<u128> {
        (0..count).map(|at| at * (u128::MAX / count)).collect()
    }

    /// Drives a partition at `rate` writes of `hashes` per second; the look at which it is to be cut, and where.
    fn drive(heat: &Heat, rate: u64, seconds: u64, hashes: &[u128]) -> Option<(u64, HashKey)> {
        let (mut next, mut version) = (0, 1);
        for second in 1..=seconds {
            for _ in 0..rate {
                heat.note(&[(TABLE, 7, HashKey(hashes[next % hashes.len()]))]);
                next += 7;
                version += 1;
            }
            if let Some(hot) = heat.look(7, Duration::from_secs(second), version) {
                assert_eq!((hot.table, hot.partition), (TABLE, 7));
                return Some((second, hot.at));
            }
        }
        None
    }

    #[test]
    fn a_hot_partition_is_cut_in_the_middle_after_five_seconds() {
        for limit in [100, 1_000] {
            let (second, at) = drive(&Heat::new(limit), limit * 3, 60, &spread(1_000)).expect("it is hot");
            // The first look has nothing to compare with.
            assert_eq!(second, 6);
            let share = at.0 as f64 / u128::MAX as f64;
            assert!((0.3..0.7).contains(&share), "{share}");
        }
    }

    #[test]
    fn a_partition_at_its_limit_or_cooling_down_is_left_alone() {
        assert_eq!(drive(&Heat::new(1_000), 1_000, 60, &spread(1_000)), None);
        let heat = Heat::new(100);
        for _ in 0..5 {
            assert_eq!(drive(&heat, 200, 4, &spread(1_000)), None);
            assert_eq!(heat.look(7, Duration::from_secs(5), u64::MAX / 2), None, "one look more would have cut it");
            heat.forget(7);
        }
    }

    #[test]
    fn one_hot_item_is_never_cut_off() {
        let one = vec![u128::MAX / 3];
        assert_eq!(drive(&Heat::new(100), 1_000, 600, &one), None);
        // Nine writes in ten go to one item.
        let mut mostly = vec![u128::MAX / 3; 900];
        mostly.extend(spread(100));
        assert_eq!(drive(&Heat::new(100), 1_000, 600, &mostly), None);
    }

    #[test]
    fn a_cut_keeps_a_fair_share_on_each_side() {
        // Half of the writes go to one item in the lowest fifth: it is cut off from the rest, at its upper side.
        let mut samples = spread(100);
        samples.extend([u128::MAX / 10; 100]);
        let at = cut(&samples).expect("fair");
        let lower = samples.iter().filter(|hash| **hash < at.0).count();
        assert!((40..=160).contains(&lower), "{lower}");
        assert!(at.0 > u128::MAX / 10);
        assert_eq!(cut(&samples[..63]), None);
        assert_eq!(cut(&[5; 256]), None);
    }

    #[test]
    fn writes_of_other_nodes_count_and_cold_partitions_are_forgotten() {
        let heat = Heat::new(100);
        let hashes = spread(1_000);
        let mut cut = None;
        for second in 1..=10 {
            (0..60).for_each(|at| heat.note(&[(TABLE, 7, HashKey(hashes[(second * 60 + at) as usize]))]));
            cut = cut.or(heat.look(7, Duration::from_secs(second), second * 120));
        }
        assert!(cut.is_some(), "sixty writes here and sixty elsewhere are above a hundred");
        assert!(heat.rate(7) > 100.0);
        (11..=71).for_each(|second| assert_eq!(heat.look(7, Duration::from_secs(second), 1_200), None));
        assert!(heat.warm().is_empty());
    }
}
