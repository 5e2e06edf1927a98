//! Figures and the tables they are shown in.

use serde::{Deserialize, Serialize};

use crate::child::{Answer, Whole};

/// Of times in microseconds.
#[derive(Clone, Copy, Serialize, Deserialize, Debug, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// How many.
    pub count: u64,
    /// The middle one.
    pub p50: u64,
    /// See `p50`.
    pub p99: u64,
    /// See `p50`.
    pub p999: u64,
    /// The longest.
    pub max: u64,
}

impl Quantiles {
    /// Of times in any order.
    pub fn of(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        let at = |part: f64| {
            let index = (times.len() as f64 * part).ceil() as usize;
            times.get(index.saturating_sub(1)).copied().unwrap_or_default()
        };
        Self { count: times.len() as u64, p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1.0) }
    }
}

/// One engine's figures.
#[derive(Clone, Serialize, Debug, Default)]
pub struct Row {
    /// The engine.
    pub name: String,
    /// By rounds.
    pub load: Vec<Answer>,
    /// By rounds.
    pub overwrite: Vec<Answer>,
    /// By rounds: after each round of overwriting.
    pub read: Vec<Answer>,
    /// At the end.
    pub whole: Whole,
    /// Bytes on disk after the last overwrite, after the clean end, and the most after any round.
    pub folder_bytes: [u64; 3],
}

/// The middle value.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn per(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

fn mib(bytes: u64) -> String {
    format!("{:.0}", bytes as f64 / f64::from(1 << 20))
}

/// Milliseconds, as finely as they matter.
fn ms(us: u64) -> String {
    format!("{:.1}", us as f64 / 1e3)
}

/// Costs of writing and reading.
pub fn costs(rows: &[Row]) -> String {
    let head = [
        "engine",
        "CPU µs/item, load",
        "overwrite",
        "bytes written per byte, load",
        "overwrite",
        "items/s, load",
        "get p50 µs",
        "get p99 µs",
        "disk MiB",
        "most MiB",
        "resident MiB",
        "most MiB",
    ];
    let line = |row: &Row| {
        let cpu = |of: &[Answer]| format!("{:.1}", median(of.iter().map(|each| per(each.cpu_us, each.count))));
        let bytes = |of: &[Answer]| {
            let sum = |figure: fn(&Answer) -> u64| of.iter().map(figure).sum::<u64>();
            format!("{:.2}", per(sum(|each| each.disk_bytes), sum(|each| each.logical_bytes)))
        };
        let rate = median(row.load.iter().map(|each| per(each.count, each.elapsed_us) * 1e6));
        let get = |figure: fn(&Quantiles) -> u64| {
            format!(
                "{:.0}",
                median(row.read.iter().filter_map(|each| each.times.as_ref()).map(|each| figure(each) as f64))
            )
        };
        vec![
            row.name.clone(),
            cpu(&row.load),
            cpu(&row.overwrite),
            bytes(&row.load),
            bytes(&row.overwrite),
            format!("{rate:.0}"),
            get(|each| each.p50),
            get(|each| each.p99),
            mib(row.folder_bytes[0]),
            mib(row.folder_bytes[2]),
            mib(row.whole.resident),
            mib(row.whole.resident_most),
        ]
    };
    table(&head, rows.iter().map(line))
}

/// Times of commits, by what the engine is at.
pub fn latencies(rows: &[Row]) -> String {
    let head = ["engine", "", "overwrites", "p50 ms", "p99 ms", "p99.9 ms", "max ms"];
    let lines = rows.iter().flat_map(|row| {
        let Whole { all, flush, compaction, neither, flushes, compactions, .. } = &row.whole;
        let named = [
            ("all".to_owned(), all),
            (format!("at a flush ({flushes})"), flush),
            (format!("at a compaction ({compactions})"), compaction),
            ("at neither".to_owned(), neither),
        ];
        named.into_iter().filter(|(_, times)| times.count > 0).map(move |(what, times)| {
            vec![
                row.name.clone(),
                what,
                times.count.to_string(),
                ms(times.p50),
                ms(times.p99),
                ms(times.p999),
                ms(times.max),
            ]
        })
    });
    table(&head, lines)
}

fn table(head: &[&str], lines: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    lines.for_each(|line| text.push_str(&format!("| {} |\n", line.join(" | "))));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_time_that_was_taken() {
        let times = Quantiles::of((1..=1_000).rev().collect());
        assert_eq!(times, Quantiles { count: 1_000, p50: 500, p99: 990, p999: 999, max: 1_000 });
        assert_eq!(Quantiles::of(Vec::new()), Quantiles::default());
    }
}
