//! Strict durability beside the disk itself: synced appends of the size that the server's groups had, in the same rounds.

use anyhow::Result;
use serde_json::json;

use super::operations::ITEM_BYTES;
use crate::disk;
use crate::lab::{Lab, Section, three};
use crate::load;
use crate::plots::Plot;
use crate::report::median;
use crate::workload;

/// Appends per round.
const APPENDS: usize = 500;

/// One round at some connections.
#[derive(Default)]
struct Rounds {
    puts_per_second: Vec<f64>,
    puts_per_group: Vec<f64>,
    bytes_per_group: Vec<f64>,
    disk_puts_per_second: Vec<f64>,
    ratio: Vec<f64>,
    p99_us: Vec<f64>,
    disk_p99_us: Vec<f64>,
}

/// Measures at 1 to 256 connections.
pub fn measure(lab: &Lab) -> Result<Section> {
    let disk_server = lab.disk("synced")?;
    let puts = three(|version| workload::puts("plain", ITEM_BYTES, version));
    load::run(disk_server.address, 16, puts[0].len(), |i| &puts[0][i])?;
    let connections = [1, 16, 64, 256];
    let mut all: Vec<Rounds> = connections.iter().map(|_| Rounds::default()).collect();
    let connections_count = connections.len();
    for round in 1..=lab.rounds {
        for (at, (connections, rounds)) in connections.iter().zip(&mut all).enumerate() {
            // Never the list of the run before: its items are there, and putting them again would write nothing.
            let list = &puts[(round * connections_count + at) % puts.len()];
            let before = disk_server.groups()?;
            let ran = load::run(disk_server.address, *connections, lab.operations, |i| &list[i % list.len()])?;
            let after = disk_server.groups()?;
            let syncs = (after.syncs - before.syncs).max(1) as f64;
            let bytes = (after.bytes - before.bytes) as f64 / syncs;
            let appended = disk::append(lab.folder.path(), bytes as usize, APPENDS)?;
            let per_group = (after.plans - before.plans) as f64 / syncs;
            rounds.puts_per_second.push(ran.rate());
            rounds.puts_per_group.push(per_group);
            rounds.bytes_per_group.push(bytes);
            rounds.disk_puts_per_second.push(appended.rate() * per_group);
            rounds.ratio.push(appended.rate() * per_group / ran.rate());
            rounds.p99_us.push(ran.quantile_us(0.99) as f64);
            rounds.disk_p99_us.push(appended.quantile_us(0.99) as f64);
        }
    }
    let mut text =
        "| connections | puts/s | puts per sync | bytes per sync | the disk's appends at that size × puts per \
                    sync, /s | disk ÷ server | p99 µs | the disk's own p99 µs |\n|---|---|---|---|---|---|---|---|\n"
            .to_owned();
    for (connections, rounds) in connections.iter().zip(&all) {
        let figures =
            [&rounds.puts_per_second, &rounds.puts_per_group, &rounds.bytes_per_group, &rounds.disk_puts_per_second];
        let [puts, per_group, bytes, of_disk] = figures.map(|values| median(values));
        let (ratio, p99, disk_p99) = (median(&rounds.ratio), median(&rounds.p99_us), median(&rounds.disk_p99_us));
        text.push_str(&format!(
            "| {connections} | {puts:.0} | {per_group:.1} | {bytes:.0} | {of_disk:.0} | {ratio:.2} | {p99:.0} | {disk_p99:.0} |\n"
        ));
    }
    let rows = connections.iter().zip(&all).map(|(connections, rounds)| {
        json!({"connections": connections, "puts_per_second": rounds.puts_per_second, "puts_per_sync": rounds.puts_per_group,
            "bytes_per_sync": rounds.bytes_per_group, "disk_puts_per_second": rounds.disk_puts_per_second,
            "ratio": rounds.ratio, "p99_us": rounds.p99_us, "disk_p99_us": rounds.disk_p99_us})
    });
    let line = |name: &str, of: fn(&Rounds) -> &Vec<f64>| {
        let point = |(connections, rounds): (&usize, &Rounds)| (*connections as f64, median(of(rounds)));
        (name.to_owned(), connections.iter().zip(&all).map(point).collect())
    };
    let plots = vec![Plot {
        name: "synced",
        title: "Durable puts and what the disk could take in the same groups",
        x: "connections",
        y: "puts per second",
        logarithmic: true,
        series: vec![
            line("server", |rounds| &rounds.puts_per_second),
            line("disk alone", |rounds| &rounds.disk_puts_per_second),
        ],
    }];
    let note = "Every put is answered after fdatasync. The disk alone appends, to a new file, as many bytes as the server \
                wrote per sync, syncs, and does so again; times the puts per sync that is what the disk could take. Client \
                and server share the machine's cores, the appends have them alone."
        .to_owned();
    Ok(Section { title: "Durability", note, text, json: rows.collect(), plots, ..Section::default() })
}
