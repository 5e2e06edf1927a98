//! Starting: on nothing, and on what a killed server left; memory before and after; the binary's size.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use super::operations::ITEM_BYTES;
use crate::lab::{Lab, Section};
use crate::load::{self, Connection, Limits};
use crate::report::median;
use crate::subject::Subject;
use crate::workload;

/// Starts that the median is taken of.
const STARTS: usize = 11;
/// Log that the killed server leaves. Unit: bytes.
const LOG_BYTES: u64 = 1_000_000_000;

/// Measures all of it.
pub fn measure(lab: &Lab) -> Result<Section> {
    let mut lines: Vec<(&str, String)> = Vec::new();
    let binary = std::fs::metadata(&lab.server)?.len();
    let mut memory = Vec::new();
    let mut disk = Vec::new();
    let mut idle = Vec::new();
    for at in 0..STARTS {
        memory.push(milliseconds(timed(|| lab.start("empty-memory", &["--in-memory"]))?.1));
        let data = lab.data(&format!("empty-{at}"));
        let (subject, took) = timed(|| lab.start("empty-disk", &["--data-dir", &data]))?;
        disk.push(milliseconds(took));
        idle.push(subject.used()?.resident_bytes as f64 / 1_048_576.0);
    }
    lines.push(("binary, stripped", format!("{:.1} MB", binary as f64 / 1e6)));
    lines.push(("ready, in memory", format!("{:.1} ms", median(&memory))));
    lines.push(("ready, empty store on disk", format!("{:.1} ms", median(&disk))));
    lines.push(("resident when idle, empty store on disk", format!("{:.1} MiB", median(&idle))));
    let data = lab.data("killed");
    let killed = lab.start("killed", &["--data-dir", &data])?;
    workload::create_table(&mut Connection::open(killed.address)?, "streamed", true)?;
    let puts = load_log(&killed)?;
    let loaded = killed.used()?.resident_bytes as f64 / 1_048_576.0;
    let log = killed.metric("headwater_log_disk_bytes")?;
    drop(killed);
    let (again, first) = timed(|| lab.start("killed-again", &["--data-dir", &data]))?;
    let recovered = again.used()?.resident_bytes as f64 / 1_048_576.0;
    drop(again);
    let mut later = Vec::new();
    for _ in 0..5 {
        later.push(milliseconds(timed(|| lab.start("killed-later", &["--data-dir", &data]))?.1));
    }
    lines.push(("resident after that load", format!("{loaded:.0} MiB")));
    lines.push(("ready after a kill, first start", format!("{:.0} ms", milliseconds(first))));
    lines.push(("ready after a kill, killed again at once", format!("{:.0} ms", median(&later))));
    lines.push(("resident after the start", format!("{recovered:.0} MiB")));
    let mut text = "| what | measured |\n|---|---|\n".to_owned();
    lines.iter().for_each(|(what, measured)| text.push_str(&format!("| {what} | {measured} |\n")));
    let note = format!(
        "Medians of {STARTS} starts, from the process's start until it says that it is ready. The load: {puts} puts of \
         {ITEM_BYTES} bytes into a table with a stream, which keeps its records: {:.2} GB of log when the process was \
         killed.",
        log as f64 / 1e9
    );
    let json = json!({"binary_bytes": binary, "ready_memory_ms": memory, "ready_empty_ms": disk, "idle_mib": idle,
        "log_bytes": log, "loaded_mib": loaded, "ready_killed_ms": milliseconds(first), "ready_killed_again_ms": later,
        "recovered_mib": recovered});
    Ok(Section { title: "Start and memory", note, text, json, ..Section::default() })
}

/// Writes batches until the log has its size; how many items.
fn load_log(subject: &Subject) -> Result<usize> {
    let batches: Vec<_> = (0..3).map(|version| workload::batch_writes("streamed", ITEM_BYTES, version)).collect();
    let mut puts = 0;
    for round in 0.. {
        let list = &batches[round % batches.len()];
        load::run(subject.address, 16, Limits::all(list.len()), |i| &list[i])?;
        puts += list.len() * workload::QUERY_ITEMS;
        if subject.metric("headwater_log_disk_bytes")? >= LOG_BYTES {
            break;
        }
    }
    Ok(puts)
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let start = Instant::now();
    Ok((work()?, start.elapsed()))
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
