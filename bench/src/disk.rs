//! What the disk itself does: appends of a group's size, each synced before the next, as a log must do them.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

/// Synced appends of one size.
#[derive(Clone, Debug)]
pub struct Appended {
    /// Of each append. Unit: bytes.
    pub bytes: usize,
    /// How long each took, sorted. Unit: µs.
    pub latencies_us: Vec<u64>,
    /// All of them together.
    pub elapsed: Duration,
}

impl Appended {
    /// Appends per second.
    pub fn rate(&self) -> f64 {
        self.latencies_us.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// A latency quantile. Unit: µs.
    pub fn quantile_us(&self, quantile: f64) -> u64 {
        let last = self.latencies_us.len().saturating_sub(1);
        self.latencies_us.get((last as f64 * quantile) as usize).copied().unwrap_or_default()
    }
}

/// Appends `bytes` to a new file in `folder` and calls fdatasync, `times` times.
pub fn append(folder: &Path, bytes: usize, times: usize) -> Result<Appended> {
    let path = folder.join("yardstick");
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
    // Not zeros: a disk below may treat those as nothing.
    let buffer: Vec<u8> = (0..bytes).map(|at| (at * 31 % 251) as u8 + 1).collect();
    let mut latencies_us = Vec::with_capacity(times);
    let start = Instant::now();
    for at in 0..times {
        let sent = Instant::now();
        file.write_all_at(&buffer, (at * bytes) as u64)?;
        file.sync_data()?;
        latencies_us.push(sent.elapsed().as_micros() as u64);
    }
    let elapsed = start.elapsed();
    latencies_us.sort_unstable();
    std::fs::remove_file(&path)?;
    Ok(Appended { bytes, latencies_us, elapsed })
}
