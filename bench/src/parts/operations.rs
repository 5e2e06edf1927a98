//! Every operation over 1 to 256 connections, in memory and on disk, beside the bare server at the same connections.

use anyhow::Result;

use crate::lab::{Lab, Section, three};
use crate::plots::{Plot, Series};
use crate::report::{Row, median};
use crate::rounds::{self, Case};
use crate::subject::Subject;
use crate::workload;

/// Connections at once.
const CONNECTIONS: [usize; 4] = [1, 16, 64, 256];
/// Unit: bytes.
pub const ITEM_BYTES: usize = 1_000;

/// The operations of a server. The first puts all items, so that gets and queries find them.
pub fn cases<'a>(subject: &'a Subject, place: &str, beside: Option<usize>) -> Vec<Case<'a>> {
    let named =
        |name: &str, requests: Vec<Vec<Vec<u8>>>| Case::new(format!("{name}, {place}"), subject, requests, beside);
    vec![
        named("put", three(|version| workload::puts("plain", ITEM_BYTES, version))),
        named("put with stream", three(|version| workload::puts("streamed", ITEM_BYTES, version))),
        named("get", vec![workload::gets("plain")]),
        named("update", vec![workload::updates("plain")]),
        named("query 25", vec![workload::queries("plain")]),
        named("batch-write 25", three(|version| workload::batch_writes("plain", ITEM_BYTES, version))),
        named("transact 4", three(|version| workload::transactions("plain", ITEM_BYTES, version))),
    ]
}

/// Measures them all.
pub fn measure(lab: &Lab) -> Result<Section> {
    let bare = lab.bare()?;
    let mut rows = Vec::new();
    for connections in CONNECTIONS {
        // Servers of their own: streams keep what the connections before wrote, and would grow from row to row.
        let memory = lab.memory(&format!("operations-memory-{connections}"))?;
        let disk = lab.disk(&format!("operations-disk-{connections}"))?;
        let yardstick = Case::new("bare server", &bare, vec![workload::bare(ITEM_BYTES)], Some(0));
        let ours = [cases(&memory, "in memory", Some(0)), cases(&disk, "on disk", Some(0))];
        let all: Vec<Case<'_>> = [yardstick].into_iter().chain(ours.into_iter().flatten()).collect();
        let all: Vec<Case<'_>> = all.into_iter().map(|case| case.over(connections)).collect();
        rows.extend(rounds::run(&all, lab.rounds)?);
    }
    let plot = |name, title, place: &str| Plot {
        name,
        title,
        x: "connections",
        y: "server CPU µs per operation",
        logarithmic: true,
        series: lines(&rows, place),
    };
    let plots = vec![
        plot("operations-in-memory", "Operations in memory, items of 1,000 bytes", "in memory"),
        plot("operations-on-disk", "Operations on disk, items of 1,000 bytes", "on disk"),
    ];
    let note =
        "Items of 1,000 bytes with eleven attributes, 20,000 keys; × bare is against the bare server at the same \
                connections, which reads a put's bytes and answers `{}`."
            .to_owned();
    Ok(Section { title: "Operations", note, rounds: Some(lab.rounds), rows, plots, ..Section::default() })
}

fn lines(rows: &[Row], place: &str) -> Vec<Series> {
    let mut lines: Vec<Series> = Vec::new();
    for row in rows.iter().filter(|row| row.name.ends_with(place) || row.name == "bare server") {
        let point = (row.connections as f64, median(&row.cpu_us));
        match lines.iter_mut().find(|(name, _)| *name == row.name) {
            Some((_, points)) => points.push(point),
            None => lines.push((row.name.clone(), vec![point])),
        }
    }
    lines
}
