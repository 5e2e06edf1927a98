//! Consumed units. Source: "DynamoDB on-demand and provisioned capacity", developer guide.

use crate::index::IndexUse;

/// Bytes that one read unit covers, strongly consistent.
const READ_UNIT_BYTES: usize = 4_096;
/// Bytes that one write unit covers.
const WRITE_UNIT_BYTES: usize = 1_024;

/// Units of reading `bytes` together: an item, or all items of a page. At least one block is read.
pub fn read_units(bytes: usize, consistent: bool) -> f64 {
    let blocks = bytes.div_ceil(READ_UNIT_BYTES).max(1) as f64;
    if consistent { blocks } else { blocks / 2.0 }
}

/// Units of a write that found an item of `old` bytes and left one of `new` bytes; 0 where there is none.
pub fn write_units(old: usize, new: usize) -> f64 {
    old.max(new).div_ceil(WRITE_UNIT_BYTES).max(1) as f64
}

/// Units of what a write did to one index: nothing for an entry that stays as it is, which is not among its uses; one
/// write for an entry that comes, goes or changes in place, two for one that moves.
///
/// Source: "Using global secondary indexes: provisioned throughput considerations", developer guide.
pub fn index_units(used: &IndexUse) -> f64 {
    match (used.old, used.new) {
        (Some(old), Some(new)) if used.same_key => write_units(old, new),
        (old, new) => old.into_iter().chain(new).map(|size| write_units(size, size)).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_rounded_up_and_never_zero() {
        assert_eq!([0, 1, 4_096, 4_097].map(|size| read_units(size, true)), [1.0, 1.0, 1.0, 2.0]);
        assert_eq!(read_units(4_097, false), 1.0);
        assert_eq!(read_units(1, false), 0.5);
        let used = |old, new, same_key| IndexUse { index: "i".into(), local: false, old, new, same_key };
        let uses = [used(None, Some(1_025), false), used(Some(10), None, false), used(Some(1), Some(2_000), true)];
        assert_eq!(uses.each_ref().map(index_units), [2.0, 1.0, 2.0]);
        assert_eq!(index_units(&used(Some(1_500), Some(1), false)), 3.0, "it leaves one place and comes to another");
        assert_eq!([(0, 0), (0, 1_024), (1_025, 10)].map(|(old, new)| write_units(old, new)), [1.0, 1.0, 2.0]);
    }
}
