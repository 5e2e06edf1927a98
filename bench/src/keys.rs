//! Which item comes next: evenly spread, by Zipf's law, or always the same.

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution, Zipf};

use crate::workload::KEYS;

/// How unequal. Source: YCSB's constant.
const ZIPF_EXPONENT: f64 = 0.99;

/// A way to choose keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// Each key once, in an order that jumps about.
    Even,
    /// Some keys very often: the i-th has a share of i^-0.99.
    Zipf,
    /// One key.
    Hot,
}

impl Choice {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Even, Self::Zipf, Self::Hot];

    /// For a row's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Even => "even",
            Self::Zipf => "Zipf",
            Self::Hot => "one hot key",
        }
    }

    /// Key numbers, the same at every run.
    pub fn keys(self, count: usize) -> Vec<usize> {
        match self {
            Self::Even => (0..count).map(|at| at * 7919 % KEYS).collect(),
            Self::Hot => vec![0; count],
            Self::Zipf => {
                let law = Zipf::new(KEYS as f64, ZIPF_EXPONENT).expect("a positive count and exponent");
                let mut random = SmallRng::seed_from_u64(1);
                // Ranks begin with one; the most frequent keys do not lie side by side.
                (0..count).map(|_| (law.sample(&mut random) as usize - 1) * 7919 % KEYS).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn shares_are_those_of_the_law() {
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        let keys = Choice::Zipf.keys(200_000);
        keys.iter().for_each(|key| *counts.entry(*key).or_default() += 1);
        let share = |rank: usize| counts[&((rank - 1) * 7919 % KEYS)] as f64;
        let ratio = share(1) / share(8);
        assert!((ratio / 8f64.powf(ZIPF_EXPONENT) - 1.0).abs() < 0.1, "first to eighth: {ratio}");
        assert!(counts.len() > 5_000, "only {} keys", counts.len());
        assert_eq!(Choice::Hot.keys(3), [0, 0, 0]);
        let even: std::collections::BTreeSet<usize> = Choice::Even.keys(KEYS).into_iter().collect();
        assert_eq!(even.len(), KEYS);
    }
}
