//! Compares layouts of a stored item: `cargo run --release -p headwater-types --example stored_layouts`.
//!
//! `run`:       name length, value length, name, value, one attribute behind the other by name (what `stored` does).
//! `directory`: a table of offsets in front, searched in halves, then names and values.
//! `whole`:     the bytes of `run`, but everything is decoded before anything is looked at.
//! Values are encoded alike in all of them, so that only the layout differs.
#![allow(clippy::disallowed_methods, reason = "a benchmark measures the wall clock")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use headwater_types::stored::{self, StoredItem, StoredValue};
use headwater_types::{AttributeValue, Item, Number};

const ROUNDS: usize = 7;

/// count (2) | (end of name (4), end of value (4))* | names | values
mod directory {
    use super::*;

    pub fn encode(item: &Item, into: &mut Vec<u8>) {
        into.extend((item.len() as u16).to_le_bytes());
        let table = into.len();
        into.resize(table + 8 * item.len(), 0);
        let names = into.len();
        for (i, name) in item.keys().enumerate() {
            into.extend(name.as_bytes());
            let end = (into.len() - names) as u32;
            into[table + 8 * i..][..4].copy_from_slice(&end.to_le_bytes());
        }
        let values = into.len();
        for (i, value) in item.values().enumerate() {
            stored::encode_value(value, into);
            let end = (into.len() - values) as u32;
            into[table + 8 * i + 4..][..4].copy_from_slice(&end.to_le_bytes());
        }
    }

    fn number(bytes: &[u8], at: usize) -> Option<usize> {
        Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?) as usize)
    }

    fn ends(bytes: &[u8], i: usize, column: usize) -> Option<(usize, usize)> {
        let end = |i: usize| number(bytes, 2 + 8 * i + 4 * column);
        Some((if i == 0 { 0 } else { end(i - 1)? }, end(i)?))
    }

    pub fn attribute(bytes: &[u8], i: usize) -> Option<(&[u8], StoredValue<'_>)> {
        let count = usize::from(u16::from_le_bytes(*bytes.first_chunk()?));
        let names = 2 + 8 * count;
        let values = names + ends(bytes, count - 1, 0)?.1;
        let (start, end) = ends(bytes, i, 0)?;
        let (from, to) = ends(bytes, i, 1)?;
        Some((bytes.get(names + start..names + end)?, StoredValue::new(bytes.get(values + from..values + to)?)))
    }

    pub fn get<'a>(bytes: &'a [u8], name: &str) -> Option<StoredValue<'a>> {
        let (mut low, mut high) = (0, usize::from(u16::from_le_bytes(*bytes.first_chunk()?)));
        while low < high {
            let middle = (low + high) / 2;
            let (found, value) = attribute(bytes, middle)?;
            match found.cmp(name.as_bytes()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Some(value),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    pub fn decode(bytes: &[u8]) -> Option<Item> {
        let count = usize::from(u16::from_le_bytes(*bytes.first_chunk()?));
        let pair = |i| {
            let (name, value) = attribute(bytes, i)?;
            Some((String::from_utf8(name.to_vec()).ok()?, value.decode().ok()?))
        };
        (0..count).map(pair).collect()
    }
}

/// Nanoseconds per call: the median of some rounds.
fn measured(mut call: impl FnMut()) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let calls = 20_000;
            let start = Instant::now();
            (0..calls).for_each(|_| call());
            start.elapsed().as_nanos() as f64 / f64::from(calls)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn number(n: i64) -> AttributeValue {
    AttributeValue::N(Number::from(n))
}

fn item(attributes: usize, text: &str) -> Item {
    let value = |i: usize| match i % 3 {
        0 => AttributeValue::S(text.to_owned()),
        1 => number(i as i64 * 1_000_003),
        _ => AttributeValue::Bool(i.is_multiple_of(2)),
    };
    (0..attributes).map(|i| (format!("attribute_{i:03}"), value(i))).collect()
}

fn document() -> Item {
    let mut inner = AttributeValue::S("leaf".into());
    for level in 0..6 {
        let list = AttributeValue::L((0..4).map(|i| number(i * 77 + level)).collect());
        inner = AttributeValue::M(BTreeMap::from([("inner".into(), inner), ("list".into(), list)]));
    }
    let mut item = item(5, "short");
    item.insert("document".into(), inner);
    item
}

fn main() {
    println!(
        "{:<22}{:<11}{:>7}{:>9}{:>9}{:>9}{:>9}",
        "item", "layout", "bytes", "encode", "get key", "get last", "decode"
    );
    let small = "twenty characters...";
    let items = [
        ("5 attributes", item(5, small)),
        ("30 attributes", item(30, small)),
        ("300 attributes", item(300, small)),
        ("document", document()),
    ];
    for (what, item) in items {
        let (first, last) = ("attribute_000", item.keys().next_back().cloned().unwrap_or_default());
        let (mut run, mut table) = (Vec::new(), Vec::new());
        stored::encode(&item, &mut run);
        directory::encode(&item, &mut table);
        assert_eq!(stored::decode(&run).as_ref(), Ok(&item));
        assert_eq!(directory::decode(&table).as_ref(), Some(&item));
        let mut buffer = Vec::with_capacity(run.len() * 2);
        let encode = [
            measured(|| {
                buffer.clear();
                stored::encode(black_box(&item), &mut buffer);
            }),
            measured(|| {
                buffer.clear();
                directory::encode(black_box(&item), &mut buffer);
            }),
        ];
        let of_run = |name: &str| {
            let found = StoredItem::new(black_box(&run)).and_then(|stored| stored.get(name));
            black_box(found.ok().flatten().map(|value| value.decode()));
        };
        let of_table = |name: &str| {
            black_box(directory::get(black_box(&table), name).map(|value| value.decode()));
        };
        let of_whole = |name: &str| {
            black_box(stored::decode(black_box(&run)).ok().and_then(|item| item.get(name).cloned()));
        };
        let whole = measured(|| drop(black_box(stored::decode(black_box(&run)))));
        let print = |layout: &str, bytes: usize, encode: f64, key: f64, last: f64, decode: f64| {
            println!("{what:<22}{layout:<11}{bytes:>7}{encode:>9.0}{key:>9.0}{last:>9.0}{decode:>9.0}");
        };
        print("run", run.len(), encode[0], measured(|| of_run(first)), measured(|| of_run(&last)), whole);
        let decode = measured(|| drop(black_box(directory::decode(black_box(&table)))));
        print("directory", table.len(), encode[1], measured(|| of_table(first)), measured(|| of_table(&last)), decode);
        print("whole", run.len(), encode[0], measured(|| of_whole(first)), measured(|| of_whole(&last)), whole);
    }
}
