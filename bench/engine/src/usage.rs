//! What this process has used, as the kernel counts it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

/// Since the process began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// User and system time of all threads. Unit: microseconds.
    pub cpu_us: u64,
    /// Bytes given to the disk: pages made dirty, whoever writes them out later.
    pub disk_bytes: u64,
}

/// What was used so far.
pub fn used() -> Result<Used> {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let cpu_us = cpu.tv_sec as u64 * 1_000_000 + cpu.tv_nsec as u64 / 1_000;
    Ok(Used { cpu_us, disk_bytes: field("/proc/self/io", "write_bytes:")? })
}

/// Most memory that was ever resident, and what is now. Unit: bytes.
pub fn resident() -> Result<(u64, u64)> {
    Ok((field("/proc/self/status", "VmHWM:")? * 1024, field("/proc/self/status", "VmRSS:")? * 1024))
}

fn field(path: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| path.to_owned())?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let word =
        line.and_then(|line| line.split_whitespace().next()).with_context(|| format!("{path} without {name}"))?;
    Ok(word.parse()?)
}

/// Bytes that the files below a folder take on the disk.
pub fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    let Ok(entries) = fs::read_dir(folder) else { return Ok(0) };
    for entry in entries {
        let entry = entry?;
        // One that went while it was looked at takes nothing.
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += if metadata.is_dir() { folder_bytes(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}
