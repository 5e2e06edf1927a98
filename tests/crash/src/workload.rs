//! What the recorded process and its judge agree on.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use headwater_storage::embedded::{Planted, Settings};

/// The store, below the recorded folder.
pub const DATA: &str = "data";
/// The list of acknowledged plans, beside it.
pub const ACKNOWLEDGED: &str = "acknowledged";
/// Where the tree keeps its tables.
pub const TABLES: &str = "data/index/tables";
/// Tables that a record must have the making of.
pub const TABLES_MIN: u64 = 6;
/// Shards, one per partition.
pub const SHARDS: u64 = 6;

/// A store that rotates, flushes, compacts and rolls segments all the time.
pub fn settings(directory: &Path, planted: Option<Planted>) -> Settings {
    Settings {
        reserve_bytes: Some(0),
        segment_bytes: 96 * 1024,
        memory_bytes: 8 << 20,
        rotate_one_in: Some(6),
        idle_statement: Duration::from_millis(2),
        planted,
        ..Settings::on_disk(directory)
    }
}

/// Partitions of each driver.
pub fn drivers() -> impl Iterator<Item = Range<u64>> {
    (0..3).map(|index| 2 * index..2 * index + 2)
}
