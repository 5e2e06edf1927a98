//! `cargo xtask bench`: server CPU per operation beside a bare server, in interleaved rounds of one run.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use headwater_bench::lab::Lab;
use headwater_bench::load::{self, Connection, Ran};
use headwater_bench::peers::Peers;
use headwater_bench::report::{self, Row};
use headwater_bench::subject::Subject;
use headwater_bench::{full, workload};

#[derive(Parser)]
struct Arguments {
    /// The server's release binary.
    #[arg(long)]
    server: PathBuf,
    /// The bare server's release binary.
    #[arg(long)]
    bare: PathBuf,
    /// Operations per workload and round [default: 40,000; 4,000 in a report].
    #[arg(long)]
    operations: Option<usize>,
    /// Interleaved rounds [default: 5; 3 in a report].
    #[arg(long)]
    rounds: Option<usize>,
    /// Connections at once, one table of results each.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
    connections: Vec<usize>,
    /// Bytes of an item.
    #[arg(long, default_value_t = 1_000)]
    item_bytes: usize,
    /// Measures the whole report into this folder instead: tables, figures, drawings.
    #[arg(long, value_name = "FOLDER")]
    report: Option<PathBuf>,
    /// Only these parts of the report.
    #[arg(long, value_delimiter = ',', requires = "report")]
    parts: Vec<String>,
    /// Fetches other servers from their registries and measures them beside ours.
    #[arg(long, requires = "report")]
    peers: bool,
    /// The largest table of the report's growth part.
    #[arg(long, default_value_t = 1_000_000)]
    items_max: usize,
    /// The repository's root, where fetched servers go below `target`.
    #[arg(long, default_value = ".")]
    root: PathBuf,
    /// Where the JSON goes.
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Arguments {
    fn operations(&self) -> usize {
        self.operations.unwrap_or(40_000)
    }
}

/// One workload: which server, which requests.
struct Workload {
    name: &'static str,
    subject: usize,
    requests: Vec<Vec<Vec<u8>>>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(folder) = &arguments.report {
        return report(&arguments, folder);
    }
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data").display().to_string();
    // The audit log is on: its cost belongs to every call.
    let audits = ["memory.jsonl", "disk.jsonl"].map(|name| directory.path().join(name).display().to_string());
    let common = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--audit"];
    let subjects = [
        Subject::start(&arguments.bare, &[])?,
        Subject::start(&arguments.server, &[&common[..], &[&audits[0], "--in-memory"]].concat())?,
        Subject::start(&arguments.server, &[&common[..], &[&audits[1], "--data-dir", &data]].concat())?,
    ];
    for subject in &subjects[1..] {
        let mut connection = Connection::open(subject.address)?;
        workload::create_table(&mut connection, "plain", false)?;
        workload::create_table(&mut connection, "streamed", true)?;
    }
    let workloads = workloads(arguments.item_bytes);
    for workload in &workloads {
        let requests = &workload.requests[0];
        load::run(subjects[workload.subject].address, 16, requests.len(), |i| &requests[i % requests.len()])
            .with_context(|| format!("warming {}", workload.name))?;
    }
    let mut rows = Vec::new();
    for &connections in &arguments.connections {
        rows.extend(rounds(&arguments, &subjects, &workloads, connections)?);
    }
    print!("{}", report::markdown(&rows));
    for (name, subject) in [("in memory", &subjects[1]), ("on disk", &subjects[2])] {
        let lag = stream_lag(subject, arguments.operations().min(2_000))?;
        println!(
            "acknowledged → visible to a polling reader, {name}: p50 {} µs, p99 {} µs, {} records",
            lag.quantile_us(0.5),
            lag.quantile_us(0.99),
            lag.operations
        );
        println!("resident, {name}: {} MiB", subject.used()?.resident_bytes >> 20);
    }
    if let Some(path) = &arguments.json {
        write(path, &report::json(&rows))?;
    }
    Ok(())
}

fn report(arguments: &Arguments, folder: &Path) -> Result<()> {
    // Peers run in folders of their own.
    let root = arguments.root.canonicalize()?;
    let peers = arguments.peers.then(|| Peers::fetch(&root)).transpose()?;
    let lab = Lab {
        server: arguments.server.clone(),
        bare: arguments.bare.clone(),
        // Below the target folder: a disk, where the system's own temporary folder may be memory.
        folder: tempfile::tempdir_in(root.join("target"))?,
        operations: arguments.operations.unwrap_or(4_000),
        rounds: arguments.rounds.unwrap_or(3),
        items_max: arguments.items_max,
    };
    full::run(&lab, folder, &arguments.parts, peers.as_ref())
}

fn write(path: &Path, value: &serde_json::Value) -> Result<()> {
    std::fs::write(path, serde_json::to_string_pretty(value)?).with_context(|| path.display().to_string())
}

fn workloads(size: usize) -> Vec<Workload> {
    // Three versions of every item, so that a repeated put is a change.
    let puts = |table: &str| (0..3).map(|version| workload::puts(table, size, version)).collect::<Vec<_>>();
    vec![
        Workload { name: "bare server", subject: 0, requests: vec![workload::bare(size)] },
        Workload { name: "put, in memory", subject: 1, requests: puts("plain") },
        Workload { name: "put with stream, in memory", subject: 1, requests: puts("streamed") },
        Workload { name: "get, in memory", subject: 1, requests: vec![workload::gets("plain")] },
        Workload { name: "query 25, in memory", subject: 1, requests: vec![workload::queries("plain")] },
        Workload { name: "put, on disk", subject: 2, requests: puts("plain") },
        Workload { name: "put with stream, on disk", subject: 2, requests: puts("streamed") },
        Workload { name: "get, on disk", subject: 2, requests: vec![workload::gets("plain")] },
    ]
}

fn rounds(arguments: &Arguments, subjects: &[Subject], workloads: &[Workload], connections: usize) -> Result<Vec<Row>> {
    let empty = |workload: &Workload| Row::new(workload.name, connections, arguments.operations());
    let mut rows: Vec<Row> = workloads.iter().map(empty).collect();
    for round in 0..arguments.rounds.unwrap_or(5) {
        let mut bare_us = f64::NAN;
        for (workload, row) in workloads.iter().zip(&mut rows) {
            let requests = &workload.requests[(round + 1) % workload.requests.len()];
            let subject = &subjects[workload.subject];
            let before = subject.used()?;
            let ran =
                load::run(subject.address, connections, arguments.operations(), |i| &requests[i % requests.len()])?;
            let after = subject.used()?;
            let operations = ran.operations as f64;
            let cpu_us = (after.cpu - before.cpu).as_secs_f64() * 1e6 / operations;
            if workload.subject == 0 {
                bare_us = cpu_us;
            }
            row.cpu_us.push(cpu_us);
            row.cpu_above_bare_us.push(cpu_us - bare_us);
            row.cpu_ratio.push(cpu_us / bare_us);
            row.rate.push(ran.rate());
            row.disk_bytes.push((after.disk_bytes - before.disk_bytes) as f64 / operations);
            row.file_calls.push((after.file_calls - before.file_calls) as f64 / operations);
            row.p50_us.push(ran.quantile_us(0.5) as f64);
            row.p99_us.push(ran.quantile_us(0.99) as f64);
            row.p999_us.push(ran.quantile_us(0.999) as f64);
        }
    }
    Ok(rows)
}

/// Puts one item at a time and polls the shards until its record is there: time from acknowledgement to sight.
fn stream_lag(subject: &Subject, records: usize) -> Result<Ran> {
    let mut connection = Connection::open(subject.address)?;
    let arn = workload::create_table(&mut connection, "lag", true)?.context("a stream")?;
    let mut iterators = workload::tails(&mut connection, &arn)?;
    let puts = workload::puts("lag", 200, 1);
    let (start, mut seen, mut latencies_us) = (Instant::now(), 0, Vec::new());
    for put in puts.iter().take(records) {
        connection.call(put)?;
        let acknowledged = Instant::now();
        let mut came = 0;
        while came == 0 {
            ensure!(acknowledged.elapsed() < Duration::from_secs(10), "a record never came");
            for iterator in &mut iterators {
                let (count, next) = workload::get_records(&mut connection, iterator)?;
                came += count;
                *iterator = next.context("an open shard")?;
            }
        }
        ensure!(came == 1, "{came} records for one put");
        seen += came;
        latencies_us.push(acknowledged.elapsed().as_micros() as u64);
    }
    latencies_us.sort_unstable();
    Ok(Ran { operations: seen, elapsed: start.elapsed(), latencies_us })
}
