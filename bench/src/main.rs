//! `cargo xtask bench`: server CPU per operation beside a bare server, in interleaved rounds of one run.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use headwater_bench::lab::{Lab, three};
use headwater_bench::load::{Connection, Ran};
use headwater_bench::peers::Peers;
use headwater_bench::rounds::{self, Case, Rounds};
use headwater_bench::subject::Subject;
use headwater_bench::{full, report, workload};

#[derive(Parser)]
struct Arguments {
    /// The server's release binary.
    #[arg(long)]
    server: PathBuf,
    /// The bare server's release binary.
    #[arg(long)]
    bare: PathBuf,
    /// Most operations of a workload in a round, which ends after a second too.
    #[arg(long, default_value_t = 40_000)]
    operations: usize,
    /// Interleaved rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
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
    fn rounds(&self) -> Rounds {
        Rounds { count: self.rounds, operations: self.operations }
    }
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
    let mut rows = Vec::new();
    for &connections in &arguments.connections {
        let cases = cases(&subjects, arguments.item_bytes).into_iter().map(|case| case.over(connections));
        rows.extend(rounds::run(&cases.collect::<Vec<_>>(), arguments.rounds())?);
    }
    print!("{}\n\n{}", arguments.rounds().shown(), report::markdown(&rows));
    for (name, subject) in [("in memory", &subjects[1]), ("on disk", &subjects[2])] {
        let lag = stream_lag(subject, arguments.operations.min(2_000))?;
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
        rounds: arguments.rounds(),
        items_max: arguments.items_max,
    };
    full::run(&lab, folder, &arguments.parts, peers.as_ref())
}

fn write(path: &Path, value: &serde_json::Value) -> Result<()> {
    std::fs::write(path, serde_json::to_string_pretty(value)?).with_context(|| path.display().to_string())
}

/// What every server is asked; the bare one, then ours in memory, then on disk.
fn cases([bare, memory, disk]: &[Subject; 3], size: usize) -> Vec<Case<'_>> {
    let puts = |table: &str| three(|version| workload::puts(table, size, version));
    let ours = |name: &str, subject, requests| Case::new(name, subject, requests, Some(0));
    vec![
        ours("bare server", bare, vec![workload::bare(size)]),
        ours("put, in memory", memory, puts("plain")),
        ours("put with stream, in memory", memory, puts("streamed")),
        ours("get, in memory", memory, vec![workload::gets("plain")]),
        ours("query 25, in memory", memory, vec![workload::queries("plain")]),
        ours("put, on disk", disk, puts("plain")),
        ours("put with stream, on disk", disk, puts("streamed")),
        ours("get, on disk", disk, vec![workload::gets("plain")]),
    ]
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
