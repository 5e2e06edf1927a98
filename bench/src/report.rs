//! Results as JSON and as a Markdown table.

use serde_json::{Value, json};

/// One workload's figures over all rounds: medians.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// What was run.
    pub name: String,
    /// Connections at once.
    pub connections: usize,
    /// Operations done, one per round.
    pub operations: Vec<usize>,
    /// Server CPU per operation, microseconds, one per round.
    pub cpu_us: Vec<f64>,
    /// The same beyond the bare server's of the same round and connections.
    pub cpu_above_bare_us: Vec<f64>,
    /// Ratio to the bare server of the same round.
    pub cpu_ratio: Vec<f64>,
    /// Operations per second, one per round.
    pub rate: Vec<f64>,
    /// Bytes given to the disk per operation.
    pub disk_bytes: Vec<f64>,
    /// Calls on files per operation.
    pub file_calls: Vec<f64>,
    /// Latency quantiles, microseconds.
    pub p50_us: Vec<f64>,
    /// 99th percentile.
    pub p99_us: Vec<f64>,
    /// 99.9th percentile.
    pub p999_us: Vec<f64>,
}

impl Row {
    /// A row without rounds.
    pub fn new(name: &str, connections: usize) -> Self {
        Self { name: name.to_owned(), connections, ..Self::default() }
    }
}

/// The middle value.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A Markdown table of medians.
pub fn markdown(rows: &[Row]) -> String {
    let mut text = String::from(
        "| workload | connections | ops/round | CPU µs/op | above bare | × bare | ops/s | disk bytes/op | file calls/op | p50 µs | p99 µs |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let shown = |values: &[f64], digits: usize| match median(values) {
        value if value.is_nan() => "–".to_owned(),
        value => format!("{value:.digits$}"),
    };
    for row in rows {
        text.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
            row.name,
            row.connections,
            shown(&row.operations.iter().map(|count| *count as f64).collect::<Vec<_>>(), 0),
            shown(&row.cpu_us, 1),
            shown(&row.cpu_above_bare_us, 1),
            shown(&row.cpu_ratio, 2),
            shown(&row.rate, 0),
            shown(&row.disk_bytes, 0),
            shown(&row.file_calls, 2),
            shown(&row.p50_us, 0),
            shown(&row.p99_us, 0),
        ));
    }
    text
}

/// All rounds of all rows.
pub fn json(rows: &[Row]) -> Value {
    rows.iter()
        .map(|row| {
            json!({"workload": row.name, "connections": row.connections, "operations": row.operations,
                "cpu_us": row.cpu_us, "cpu_above_bare_us": row.cpu_above_bare_us, "cpu_ratio": row.cpu_ratio,
                "operations_per_second": row.rate, "disk_bytes_per_operation": row.disk_bytes, "file_calls_per_operation": row.file_calls,
                "p50_us": row.p50_us, "p99_us": row.p99_us, "p999_us": row.p999_us})
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_what_its_rounds_did() {
        let row = Row { operations: vec![40_000, 150, 31_000], cpu_us: vec![1.0, 3.0, 2.0], ..Row::new("put", 16) };
        let text = markdown(std::slice::from_ref(&row));
        let widths: Vec<usize> = text.lines().map(|line| line.matches('|').count()).collect();
        assert_eq!(widths, [12; 3], "{text}");
        assert!(text.ends_with("| put | 16 | 31000 | 2.0 | – | – | – | – | – | – | – |\n"), "{text}");
        assert_eq!(json(&[row])[0]["operations"], json!([40_000, 150, 31_000]));
    }
}
