//! Consumed units. Source: "DynamoDB on-demand and provisioned capacity", developer guide.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_rounded_up_and_never_zero() {
        assert_eq!([0, 1, 4_096, 4_097].map(|size| read_units(size, true)), [1.0, 1.0, 1.0, 2.0]);
        assert_eq!(read_units(4_097, false), 1.0);
        assert_eq!(read_units(1, false), 0.5);
        assert_eq!([(0, 0), (0, 1_024), (1_025, 10)].map(|(old, new)| write_units(old, new)), [1.0, 1.0, 2.0]);
    }
}
