//! What the cost of one item depends on: its size, the stream, the indexes, which key comes next.

use anyhow::Result;

use super::operations::ITEM_BYTES;
use crate::keys::Choice;
use crate::lab::{Lab, Section, three};
use crate::load::Connection;
use crate::plots::{Plot, Series};
use crate::report::{Row, median};
use crate::rounds::{self, Case};
use crate::workload::{self, INDEXES_MAX};

/// Unit: bytes.
const SIZES: [usize; 4] = [200, 1_000, 10_000, 100_000];
/// Bytes of requests kept per workload: large items come from fewer keys.
const REQUEST_BYTES_MAX: usize = 40_000_000;

/// Puts and gets of items from 200 bytes to 100 KB, each beside the bare server that reads a put of that size.
pub fn sizes(lab: &Lab) -> Result<Section> {
    let (bare, memory, disk) = (lab.bare()?, lab.memory("sizes-memory")?, lab.disk("sizes-disk")?);
    let mut cases = Vec::new();
    for size in SIZES {
        let keys = Choice::Even.keys((REQUEST_BYTES_MAX / size).min(workload::KEYS));
        let beside = Some(cases.len());
        // A table each, so that what is read has the size that the row says.
        let table = format!("sized{size}");
        for subject in [&memory, &disk] {
            workload::create_table(&mut Connection::open(subject.address)?, &table, false)?;
        }
        let puts = || three(|version| workload::puts_of(&table, size, version, &keys));
        cases.push(Case::new(format!("bare server, {size} B"), &bare, puts(), beside));
        for (place, subject) in [("in memory", &memory), ("on disk", &disk)] {
            cases.push(Case::new(format!("put {size} B, {place}"), subject, puts(), beside));
            let gets = vec![workload::gets_of(&table, &keys)];
            cases.push(Case::new(format!("get {size} B, {place}"), subject, gets, beside));
        }
    }
    let rows = rounds::run(&cases, lab.rounds)?;
    let line = |name: &str, place: &str| -> Series {
        let row = |size: &usize| {
            let wanted =
                if place.is_empty() { format!("{name}, {size} B") } else { format!("{name} {size} B, {place}") };
            rows.iter().find(|row| row.name == wanted).map(|row| (*size as f64, median(&row.cpu_us)))
        };
        (format!("{name} {place}").trim().to_owned(), SIZES.iter().filter_map(row).collect())
    };
    let series = vec![
        line("bare server", ""),
        line("put", "in memory"),
        line("get", "in memory"),
        line("put", "on disk"),
        line("get", "on disk"),
    ];
    let plots = vec![Plot {
        name: "sizes",
        title: "Items from 200 bytes to 100 KB, 16 connections",
        x: "item bytes",
        y: "server CPU µs per operation",
        logarithmic: true,
        series,
    }];
    let note = "16 connections; the bare server reads a put of the same size. Each size has a table; large items come \
                from fewer keys."
        .to_owned();
    Ok(Section { title: "Item sizes", note, rounds: Some(lab.rounds), rows, plots, ..Section::default() })
}

/// Puts with the stream off and on.
pub fn streams(lab: &Lab) -> Result<Section> {
    let (memory, disk) = (lab.memory("streams-memory")?, lab.disk("streams-disk")?);
    let mut cases = Vec::new();
    for connections in [16, 64] {
        for (place, subject) in [("in memory", &memory), ("on disk", &disk)] {
            let beside = Some(cases.len());
            for (name, table) in [("stream off", "plain"), ("stream on", "streamed")] {
                let puts = three(|version| workload::puts(table, ITEM_BYTES, version));
                let case = Case::new(format!("put, {name}, {place}"), subject, puts, beside);
                cases.push(case.over(connections));
            }
        }
    }
    let rows = rounds::run(&cases, lab.rounds)?;
    let note =
        "NEW_AND_OLD_IMAGES, so that a record holds the item twice. Here × is against the same put with the stream \
                off."
            .to_owned();
    Ok(Section { title: "Streams", note, rounds: Some(lab.rounds), rows, ..Section::default() })
}

/// Puts into tables with no to five global indexes that take the whole item.
pub fn indexes(lab: &Lab) -> Result<Section> {
    let (memory, disk) = (lab.memory("indexes-memory")?, lab.disk("indexes-disk")?);
    let mut cases = Vec::new();
    for (place, subject) in [("in memory", &memory), ("on disk", &disk)] {
        let beside = Some(cases.len());
        for indexes in 0..=INDEXES_MAX {
            let table = format!("indexed{indexes}");
            workload::create_indexed_table(&mut Connection::open(subject.address)?, &table, indexes)?;
            let puts = three(|version| workload::indexed_puts(&table, ITEM_BYTES, version));
            cases.push(Case::new(format!("put, {indexes} indexes, {place}"), subject, puts, beside));
        }
    }
    let rows = rounds::run(&cases, lab.rounds)?;
    let line = |place: &str| -> Series {
        let of = |row: &&Row| row.name.ends_with(place);
        let points = rows.iter().filter(of).enumerate().map(|(indexes, row)| (indexes as f64, median(&row.cpu_us)));
        (format!("put {place}"), points.collect())
    };
    let plots = vec![Plot {
        name: "indexes",
        title: "Global indexes with all attributes, items of 1,000 bytes",
        x: "indexes",
        y: "server CPU µs per put",
        logarithmic: false,
        series: vec![line("in memory"), line("on disk")],
    }];
    let note =
        "16 connections; every index has all attributes and every put changes every entry, so that each index is \
                another item to write. Here × is against the table without an index."
            .to_owned();
    Ok(Section { title: "Indexes", note, rounds: Some(lab.rounds), rows, plots, ..Section::default() })
}

/// Puts and updates of keys spread evenly, by Zipf's law, and of one key alone.
pub fn keys(lab: &Lab) -> Result<Section> {
    let (memory, disk) = (lab.memory("keys-memory")?, lab.disk("keys-disk")?);
    let mut cases = Vec::new();
    for (place, subject) in [("in memory", &memory), ("on disk", &disk)] {
        for operation in ["put", "update"] {
            let beside = Some(cases.len());
            for choice in Choice::ALL {
                let keys = choice.keys(workload::KEYS);
                let requests = match operation {
                    "put" => three(|version| workload::puts_of("plain", ITEM_BYTES, version, &keys)),
                    _ => vec![workload::updates_of("plain", &keys)],
                };
                let case = Case::new(format!("{operation}, {}, {place}", choice.name()), subject, requests, beside);
                cases.push(case.over(64));
            }
        }
    }
    let rows = rounds::run(&cases, lab.rounds)?;
    let note =
        "64 connections, 20,000 keys; Zipf with exponent 0.99. Here × is against evenly spread keys. Updates raise a \
                counter, so each sees the one before it."
            .to_owned();
    Ok(Section { title: "Hot keys", note, rounds: Some(lab.rounds), rows, ..Section::default() })
}
