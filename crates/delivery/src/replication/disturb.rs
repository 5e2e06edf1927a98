//! What the service may do and this server does not: records twice, and out of order. Seeded, for who wants to rehearse.

use headwater_log::Append;
use headwater_types::SequenceNumber;

/// How often records are sent twice or late. Unit: percent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Disturbance {
    /// Another seed disturbs others.
    pub seed: u64,
    /// Records that are sent twice, the second time at the end of their batch.
    pub duplicates: u8,
    /// Records that are sent after the one that follows them.
    pub reorders: u8,
}

impl Disturbance {
    /// Disturbs a batch: nothing is left out, and the same seed disturbs the same records.
    pub(crate) fn apply(self, records: Vec<(SequenceNumber, Append)>) -> Vec<Append> {
        let again: Vec<Append> = records
            .iter()
            .filter(|(number, _)| self.hits(*number, 1, self.duplicates))
            .map(|(_, a)| a.clone())
            .collect();
        let late: Vec<bool> = records.iter().map(|(number, _)| self.hits(*number, 2, self.reorders)).collect();
        let mut appends: Vec<Append> = records.into_iter().map(|(_, append)| append).collect();
        let mut at = 0;
        while at + 1 < appends.len() {
            if late.get(at).copied().unwrap_or_default() {
                appends.swap(at, at + 1);
                at += 1;
            }
            at += 1;
        }
        appends.extend(again);
        appends
    }

    fn hits(self, number: SequenceNumber, kind: u64, percent: u8) -> bool {
        mix(self.seed ^ mix(number.0 ^ (kind << 62))) % 100 < u64::from(percent)
    }
}

/// A step of SplitMix64. Source: Steele, Lea, Flood: "Fast splittable pseudorandom number generators".
fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use headwater_types::HashKey;

    use super::*;

    fn records() -> Vec<(SequenceNumber, Append)> {
        let record = |n: u64| Append { hash: HashKey(0), payload: Bytes::from(n.to_string()) };
        (1..=1_000).map(|n| (SequenceNumber(n << 16), record(n))).collect()
    }

    #[test]
    fn nothing_is_lost_some_come_twice_or_late_and_a_seed_repeats_itself() {
        let plain: Vec<Append> = records().into_iter().map(|(_, append)| append).collect();
        assert_eq!(Disturbance::default().apply(records()), plain);
        let disturbance = Disturbance { seed: 7, duplicates: 10, reorders: 10 };
        let disturbed = disturbance.apply(records());
        assert_eq!(disturbed, disturbance.apply(records()));
        let twice = disturbed.len() - plain.len();
        let late = disturbed
            .windows(2)
            .take(999)
            .filter(|pair| pair[0].payload.len() == 3 && pair[0].payload > pair[1].payload);
        let (late, other) = (late.count(), Disturbance { seed: 8, ..disturbance }.apply(records()));
        println!("{twice} twice, {late} late");
        assert!((50..200).contains(&twice) && (50..200).contains(&late) && other != disturbed);
        assert!(plain.iter().all(|append| disturbed.contains(append)));
    }
}
