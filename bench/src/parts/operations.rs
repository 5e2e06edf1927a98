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
    let (bare, answering) = (lab.bare()?, lab.bare_answering(workload::answer_bytes(ITEM_BYTES))?);
    let mut rows = Vec::new();
    for connections in CONNECTIONS {
        // Servers of their own: streams keep what the connections before wrote, and would grow from row to row. One after the
        // other: what a disk's server goes on to flush and compact is no cost of the other's.
        for place in ["in memory", "on disk"] {
            let name = format!("operations-{place}-{connections}").replace(' ', "-");
            let subject = if place == "on disk" { lab.disk(&name)? } else { lab.memory(&name)? };
            let beside = |what: &str, subject, requests| {
                Case::new(format!("bare server{what}, beside those {place}"), subject, vec![requests], Some(0))
            };
            let yardsticks = [
                beside("", &bare, workload::bare(ITEM_BYTES)),
                beside(" that answers as much as a get", &answering, workload::gets("bare")),
            ];
            let all = yardsticks.into_iter().chain(cases(&subject, place, Some(0)));
            let all: Vec<Case<'_>> = all.map(|case| case.over(connections)).collect();
            rows.extend(rounds::run(&all, lab.rounds)?);
        }
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
                connections, which reads a put's bytes and answers `{}`; another \
                reads a get and answers as long as a get is answered."
            .to_owned();
    Ok(Section { title: "Operations", note, rounds: Some(lab.rounds), rows, plots, ..Section::default() })
}

fn lines(rows: &[Row], place: &str) -> Vec<Series> {
    let mut lines: Vec<Series> = Vec::new();
    for row in rows.iter().filter(|row| row.name.ends_with(place)) {
        let point = (row.connections as f64, median(&row.cpu_us));
        match lines.iter_mut().find(|(name, _)| *name == row.name) {
            Some((_, points)) => points.push(point),
            None => lines.push((row.name.clone(), vec![point])),
        }
    }
    lines
}
