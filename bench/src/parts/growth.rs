//! What a put costs as its table grows.

use anyhow::Result;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use crate::lab::{Lab, Section};
use crate::load::{self, Limits};
use crate::plots::Plot;
use crate::report::{Row, median};
use crate::rounds::{self, Case, Rounds};
use crate::subject::Subject;
use crate::workload::{self, QUERY_ITEMS};

/// Unit: bytes.
const ITEM_BYTES: usize = 200;
/// Batches that are kept as requests at once while a table is filled.
const BATCHES: usize = 2_000;

/// Tables from 10,000 items to the lab's bound, by tens.
pub fn measure(lab: &Lab) -> Result<Section> {
    let (memory, disk) = (lab.memory("growth-memory")?, lab.disk("growth-disk")?);
    let places = [("in memory", &memory), ("on disk", &disk)];
    let sizes: Vec<usize> =
        [10_000, 100_000, 1_000_000, 10_000_000].into_iter().filter(|size| *size <= lab.items_max).collect();
    let mut rows: Vec<Row> = Vec::new();
    let mut from = 0;
    for size in &sizes {
        for (_, subject) in places {
            fill(subject, from, *size)?;
        }
        from = *size;
        let mut cases = Vec::new();
        for (place, subject) in places {
            let spread = spread(*size, lab.rounds);
            let lists =
                spread.iter().enumerate().map(|(version, keys)| workload::puts_of("plain", ITEM_BYTES, version, keys));
            cases.push(Case::new(format!("put, {size} items, {place}"), subject, lists.collect(), None));
        }
        rows.extend(rounds::run(&cases, lab.rounds)?);
    }
    let first =
        |place: &str| rows.iter().find(|row| row.name.ends_with(place)).map_or(f64::NAN, |row| median(&row.cpu_us));
    let firsts = places.map(|(place, _)| first(place));
    for row in &mut rows {
        let first = if row.name.ends_with("in memory") { firsts[0] } else { firsts[1] };
        row.cpu_ratio = row.cpu_us.iter().map(|cpu| cpu / first).collect();
    }
    let line = |place: &str| {
        let points = sizes.iter().zip(rows.iter().filter(|row| row.name.ends_with(place)));
        (format!("put {place}"), points.map(|(size, row)| (*size as f64, median(&row.cpu_us))).collect())
    };
    let plots = vec![Plot {
        name: "growth",
        title: "A put as its table grows, items of 200 bytes, keys spread evenly",
        x: "items",
        y: "server CPU µs per put",
        logarithmic: true,
        series: vec![line("in memory"), line("on disk")],
    }];
    let note = "16 connections, items of 200 bytes, puts to keys all over the table, from 10⁶ items on each to another key. CPU includes what flushes and \
                compactions of the LSM tree take meanwhile. Here × is against the same server at 10,000 items."
        .to_owned();
    Ok(Section { title: "Growth", note, rounds: Some(lab.rounds), rows, plots, ..Section::default() })
}

/// Puts the items from one number up to another, in batches.
pub fn fill(subject: &Subject, from: usize, to: usize) -> Result<()> {
    let mut at = from;
    while at < to {
        let end = (at + BATCHES * QUERY_ITEMS).min(to);
        let batches = workload::batches_of("plain", ITEM_BYTES, 0, at..end);
        load::run(subject.address, 16, Limits::all(batches.len()), |i| &batches[i])?;
        at = end;
    }
    Ok(())
}

/// Keys all over a table of so many items, in no order, in as many lists as the rounds work off at most: where the table has
/// enough, none comes twice, so that each put changes what was not touched since the table was filled.
fn spread(size: usize, rounds: Rounds) -> Vec<Vec<usize>> {
    let lists = 1 + (rounds.count * rounds.operations).div_ceil(workload::KEYS);
    let step = size.div_ceil(workload::KEYS).max(1);
    (0..lists).map(|list| shuffled((list * step / lists..size).step_by(step).collect())).collect()
}

/// The same order at every run.
fn shuffled(mut keys: Vec<usize>) -> Vec<usize> {
    keys.shuffle(&mut SmallRng::seed_from_u64(2));
    keys
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_large_table_has_another_key_for_each_put() {
        let rounds = Rounds { count: 5, operations: 40_000 };
        let lists = spread(1_000_000, rounds);
        let all: Vec<usize> = lists.concat();
        assert!(all.len() >= 220_000 && all.iter().all(|key| *key < 1_000_000), "{}", all.len());
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert!(spread(10_000, rounds).iter().all(|list| list.len() == 10_000));
    }
}
