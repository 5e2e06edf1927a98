//! `cargo xtask guard`: counts what does not depend on the machine's speed, and fails over a limit.
//!
//! Allocations by a counting allocator, file calls and bytes by the server's own counters, per operation. Linux only:
//! elsewhere it refuses, rather than count something else.

use std::alloc::System;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use headwater_bench::load::Connection;
use headwater_bench::workload;
use headwater_server::{Config, RunningServer, Store, start_in_process};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const OPERATIONS: usize = 2_000;
const ITEM_BYTES: usize = 1_000;
/// Partitions of 25 items that are queried, over and over.
const QUERIED: usize = 500;

struct Counted {
    name: &'static str,
    allocations: f64,
    allocated_bytes: f64,
    file_calls: f64,
    file_bytes: f64,
}

fn main() -> Result<()> {
    ensure!(cfg!(target_os = "linux"), "the guard counts on Linux only");
    let limits: PathBuf = std::env::args_os().nth(1).context("usage: guard LIMITS.toml")?.into();
    let limits: toml::Table = std::fs::read_to_string(&limits)?.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let directory = tempfile::tempdir()?;
    let config = Config { store: Store::Directory(directory.path().join("data")), ..Config::for_test() };
    let server = runtime.block_on(start_in_process(config))?;
    let mut faults = 0;
    for counted in count(&server)? {
        faults += check(&counted, &limits)?;
    }
    runtime.block_on(server.stop())?;
    ensure!(faults == 0, "{faults} figures are over their limits");
    Ok(())
}

fn count(server: &RunningServer) -> Result<Vec<Counted>> {
    let mut connection = Connection::open(server.addresses().dynamodb)?;
    workload::create_table(&mut connection, "plain", false)?;
    workload::create_table(&mut connection, "streamed", true)?;
    let queries: Vec<Vec<u8>> = workload::queries("plain").into_iter().take(QUERIED).collect();
    let filled = workload::batches_of("plain", ITEM_BYTES, 3, 0..QUERIED * workload::QUERY_ITEMS);
    let runs = [
        ("put", workload::puts("plain", ITEM_BYTES, 1), workload::puts("plain", ITEM_BYTES, 2)),
        ("put with stream", workload::puts("streamed", ITEM_BYTES, 1), workload::puts("streamed", ITEM_BYTES, 2)),
        ("get", workload::gets("plain"), workload::gets("plain")),
        // Asked for twice, what they read is kept.
        ("query 25", [&filled[..], &queries, &queries].concat(), queries),
    ];
    let mut all = Vec::new();
    for (name, warm, requests) in runs {
        run(&mut connection, warm.iter().take(OPERATIONS))?;
        let region = Region::new(ALLOCATOR);
        let files = server.file_use();
        run(&mut connection, requests.iter().cycle().take(OPERATIONS))?;
        let (change, now) = (region.change(), server.file_use());
        let per = |count: u64| count as f64 / OPERATIONS as f64;
        all.push(Counted {
            name,
            allocations: per((change.allocations + change.reallocations) as u64),
            allocated_bytes: per(change.bytes_allocated as u64),
            file_calls: per(now.calls - files.calls),
            file_bytes: per(now.bytes_written - files.bytes_written),
        });
    }
    Ok(all)
}

fn run<'a>(connection: &mut Connection, requests: impl Iterator<Item = &'a Vec<u8>>) -> Result<()> {
    for request in requests {
        connection.call(request)?;
    }
    Ok(())
}

fn check(counted: &Counted, limits: &toml::Table) -> Result<usize> {
    let limit = limits.get(counted.name).with_context(|| format!("no limits for {}", counted.name))?;
    let figures = [
        ("allocations", counted.allocations),
        ("allocated_bytes", counted.allocated_bytes),
        ("file_calls", counted.file_calls),
        ("file_bytes", counted.file_bytes),
    ];
    let mut faults = 0;
    for (figure, value) in figures {
        let most =
            limit.get(figure).and_then(toml::Value::as_float).with_context(|| format!("no limit for {figure}"))?;
        let verdict = if value <= most { "within" } else { "OVER" };
        faults += usize::from(value > most);
        println!("{:16} {figure:16} {value:10.2} per operation, {verdict} {most}", counted.name);
    }
    Ok(faults)
}
