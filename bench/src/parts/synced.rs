//! Strict durability beside the disk itself: synced appends of the size that the server's groups had, in the same rounds.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::operations::ITEM_BYTES;
use crate::cores::Cores;
use crate::lab::{Lab, Section, three};
use crate::load::{self, Limits};
use crate::plots::Plot;
use crate::report::median;
use crate::subject::Subject;
use crate::{disk, workload};

/// Appends per round.
const APPENDS: usize = 500;
/// Connections at once, a row each.
const CONNECTIONS: [usize; 4] = [1, 16, 64, 256];

/// One round at some connections.
struct Round {
    puts: f64,
    puts_per_second: f64,
    puts_per_sync: f64,
    bytes_per_sync: f64,
    /// The disk's appends of such size, times the puts that each would hold.
    disk_puts_per_second: f64,
    /// CPU of a put. Unit: µs.
    server_us: f64,
    /// The same of this process, which makes the load. Unit: µs.
    load_us: f64,
    /// Of the time of all cores. Unit: per cent.
    idle: f64,
    p99_us: f64,
    disk_p99_us: f64,
}

impl Round {
    /// What server and load had of the time of all cores. Unit: per cent.
    fn cores(&self) -> f64 {
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        self.puts_per_second * (self.server_us + self.load_us) / 1e6 / cores * 100.0
    }
}

/// A figure of a round: its heading, its name for programs, digits shown.
type Column = (&'static str, &'static str, usize, fn(&Round) -> f64);

const COLUMNS: [Column; 12] = [
    ("puts/round", "puts", 0, |round| round.puts),
    ("puts/s", "puts_per_second", 0, |round| round.puts_per_second),
    ("puts per sync", "puts_per_sync", 1, |round| round.puts_per_sync),
    ("bytes per sync", "bytes_per_sync", 0, |round| round.bytes_per_sync),
    ("the disk's appends at that size × puts per sync, /s", "disk_puts_per_second", 0, |round| {
        round.disk_puts_per_second
    }),
    ("disk ÷ server", "ratio", 2, |round| round.disk_puts_per_second / round.puts_per_second),
    ("server CPU µs/put", "server_cpu_us", 1, |round| round.server_us),
    ("load CPU µs/put", "load_cpu_us", 1, |round| round.load_us),
    ("both, % of the cores", "cores_percent", 0, Round::cores),
    ("cores idle %", "idle_percent", 0, |round| round.idle),
    ("p99 µs", "p99_us", 0, |round| round.p99_us),
    ("the disk's own p99 µs", "disk_p99_us", 0, |round| round.disk_p99_us),
];

/// Measures at 1 to 256 connections.
pub fn measure(lab: &Lab) -> Result<Section> {
    let server = lab.disk("synced")?;
    let puts = three(|version| workload::puts("plain", ITEM_BYTES, version));
    let warmed = load::run(server.address, 16, Limits::all(puts[0].len()), |i| &puts[0][i])?;
    let mut sent = warmed.operations;
    let mut all: Vec<(usize, Vec<Round>)> = CONNECTIONS.map(|connections| (connections, Vec::new())).into();
    for _ in 0..lab.rounds.count {
        for (connections, rounds) in &mut all {
            let round = one(lab, &server, *connections, |i| workload::nth(&puts, sent + i))?;
            sent += round.puts as usize;
            rounds.push(round);
        }
    }
    let note = "Every put is answered after fdatasync. The disk alone appends, to a new file, as many bytes as the server \
                wrote per sync, syncs, and does so again; times the puts per sync that is what the disk could take. Client \
                and server share the machine's cores, the appends have them alone. Where idle is near nothing and \
                server and load have nearly all the rest, the cores are the bound, not the disk; what is missing to \
                100 % other programs had."
        .to_owned();
    let json = all.iter().map(figures).collect();
    Ok(Section {
        title: "Durability",
        note,
        rounds: Some(lab.rounds),
        text: table(&all),
        json,
        plots: vec![plot(&all)],
        ..Section::default()
    })
}

fn one<'a>(
    lab: &Lab,
    server: &Subject,
    connections: usize,
    request: impl Fn(usize) -> &'a [u8] + Sync,
) -> Result<Round> {
    let (groups, cores) = (server.groups()?, Cores::now(server)?);
    let ran = load::run(server.address, connections, lab.rounds.limits(), request)?;
    let share = Cores::now(server)?.since(cores);
    let after = server.groups()?;
    let syncs = (after.syncs - groups.syncs).max(1) as f64;
    let (puts_per_sync, bytes_per_sync) =
        ((after.plans - groups.plans) as f64 / syncs, (after.bytes - groups.bytes) as f64 / syncs);
    let appended = disk::append(lab.folder.path(), bytes_per_sync as usize, APPENDS)?;
    let puts = ran.operations as f64;
    let per_put_us = |cpu: Duration| cpu.as_secs_f64() * 1e6 / puts;
    Ok(Round {
        puts,
        puts_per_second: ran.rate(),
        puts_per_sync,
        bytes_per_sync,
        disk_puts_per_second: appended.rate() * puts_per_sync,
        server_us: per_put_us(share.server),
        load_us: per_put_us(share.load),
        idle: 100.0 * share.idle,
        p99_us: ran.quantile_us(0.99) as f64,
        disk_p99_us: appended.quantile_us(0.99) as f64,
    })
}

fn table(all: &[(usize, Vec<Round>)]) -> String {
    let headings: String = COLUMNS.map(|(heading, ..)| format!(" {heading} |")).concat();
    let mut text = format!("| connections |{headings}\n|---|{}\n", "---|".repeat(COLUMNS.len()));
    for (connections, rounds) in all {
        let cells = COLUMNS.map(|(_, _, digits, of)| format!(" {:.digits$} |", middle(rounds, of))).concat();
        text.push_str(&format!("| {connections} |{cells}\n"));
    }
    text
}

fn figures((connections, rounds): &(usize, Vec<Round>)) -> Value {
    let mut row = json!({"connections": connections});
    for (_, name, _, of) in COLUMNS {
        row[name] = rounds.iter().map(of).collect();
    }
    row
}

fn plot(all: &[(usize, Vec<Round>)]) -> Plot {
    let line = |name: &str, of: fn(&Round) -> f64| {
        (name.to_owned(), all.iter().map(|(connections, rounds)| (*connections as f64, middle(rounds, of))).collect())
    };
    Plot {
        name: "synced",
        title: "Durable puts and what the disk could take in the same groups",
        x: "connections",
        y: "puts per second",
        logarithmic: true,
        series: vec![
            line("server", |round| round.puts_per_second),
            line("disk alone", |round| round.disk_puts_per_second),
        ],
    }
}

fn middle(rounds: &[Round], of: fn(&Round) -> f64) -> f64 {
    median(&rounds.iter().map(of).collect::<Vec<_>>())
}
