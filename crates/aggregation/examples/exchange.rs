//! Decodes and encodes aggregates as lines of text, so that another implementation can be held against this one.
//!
//! In: `decode HEX`, or `encode KEY,EXPLICIT,DATA …` with keys and data as hex and `-` for no explicit hash key.
//! Out, a line each: `plain`, `error WHY`, or the user records as they are written for `encode`; and the aggregate as hex.

use std::io::{BufRead, Write, stdin, stdout};

use headwater_aggregation::{Aggregator, UserRecord, decode};

fn main() -> std::io::Result<()> {
    for line in stdin().lock().lines() {
        let answer = answer(&line?).unwrap_or_else(|| "error the line is not understood".to_owned());
        writeln!(stdout(), "{answer}")?;
    }
    Ok(())
}

fn answer(line: &str) -> Option<String> {
    let (what, arguments) = line.split_once(' ').unwrap_or((line, ""));
    match what {
        "decode" => Some(decoded(&bytes(arguments)?)),
        "encode" => encoded(arguments),
        _ => None,
    }
}

fn decoded(data: &[u8]) -> String {
    match decode(data) {
        Ok(None) => "plain".to_owned(),
        Err(error) => format!("error {error}"),
        Ok(Some(aggregate)) => {
            let shown = aggregate.records().map(|record| {
                let explicit = record.explicit_hash_key.unwrap_or("-");
                format!("{},{explicit},{}", hex(record.partition_key.as_bytes()), hex(record.data))
            });
            format!("records {}", shown.collect::<Vec<_>>().join(" "))
        }
    }
}

fn encoded(arguments: &str) -> Option<String> {
    let mut aggregator = Aggregator::new();
    for record in arguments.split_whitespace() {
        let mut parts = record.split(',');
        let key = String::from_utf8(bytes(parts.next()?)?).ok()?;
        let explicit = parts.next()?;
        let data = bytes(parts.next()?)?;
        let explicit_hash_key = (explicit != "-").then_some(explicit);
        aggregator.add(&UserRecord { explicit_hash_key, ..UserRecord::new(&key, &data) });
    }
    Some(hex(&aggregator.finish()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let places = (0..hex.len()).step_by(2);
    places.map(|place| u8::from_str_radix(hex.get(place..place + 2)?, 16).ok()).collect()
}
