//! `cargo xtask bench-engine`: the engine check of decision 0009. The product's embedded engine, with and without values
//! apart from their keys, and rivals, under the same groups of items, index entries, records and heads.

mod child;
mod data;
mod load;
mod report;
mod rounds;
mod subject;
mod usage;
mod windows;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::data::Shape;
use crate::report::Row;
use crate::subject::{NAMES, Opening};

/// Measures engines under the load of a table with indexes and a stream.
#[derive(Parser, Clone, Debug)]
struct Arguments {
    /// Items that are loaded before anything is overwritten.
    #[arg(long, default_value_t = 10_000_000)]
    items: u64,
    /// Bytes of an item.
    #[arg(long, default_value_t = 200)]
    item_bytes: usize,
    /// KEYS_ONLY indexes; an overwrite moves the entry in each.
    #[arg(long, default_value_t = 5)]
    indexes: u32,
    /// Shards, each with a head of its own.
    #[arg(long, default_value_t = 4_096)]
    shards: u64,
    /// Records of so many changes are kept; older ones are trimmed.
    #[arg(long, default_value_t = 1_000_000)]
    keep_records: u64,
    /// Seconds of overwriting, for each engine.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Overwrites that come due in a second, whether or not the engine keeps up.
    #[arg(long, default_value_t = 2_000)]
    rate: u64,
    /// Changes in a group while loading, and at most while overwriting.
    #[arg(long, default_value_t = 1_000)]
    load_group: u64,
    /// Reads after each round.
    #[arg(long, default_value_t = 20_000)]
    reads: u64,
    /// Turns that the engines take; with one, each is alone on the disk.
    #[arg(long, default_value_t = 1)]
    rounds: u64,
    /// Which engines.
    #[arg(long, value_delimiter = ',', default_values_t = NAMES.map(str::to_owned))]
    engines: Vec<String>,
    /// Cache and write buffers of an engine. Unit: bytes.
    #[arg(long, default_value_t = 512 << 20)]
    memory: u64,
    /// Values from this size on are kept apart by the engine that does. Unit: bytes.
    #[arg(long, default_value_t = 128)]
    separate_from: u32,
    /// Where the engines' folders are made; each is removed in the end.
    #[arg(long, default_value = "target/bench-engine")]
    directory: PathBuf,
    /// Most disk that all engines may take together.
    #[arg(long, default_value_t = 25_000_000_000)]
    disk_bytes_max: u64,
    /// Disk that has to stay free.
    #[arg(long, default_value_t = 10_000_000_000)]
    free_bytes_min: u64,
    /// Where all figures go, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// The engine that this process is, told what to do through its input.
    #[arg(long, hide = true)]
    serve: Option<String>,
}

impl Arguments {
    fn opening(&self) -> Opening {
        let &Self { items, item_bytes, indexes, shards, keep_records, memory, separate_from, .. } = self;
        let shape = Shape { items, item_bytes, indexes, shards, keep_records };
        Opening { shape, memory_bytes: memory, separated_from: separate_from }
    }

    /// What an engine's process has to know.
    fn for_engine(&self) -> Vec<String> {
        let numbers = [
            ("--items", self.items),
            ("--item-bytes", self.item_bytes as u64),
            ("--indexes", u64::from(self.indexes)),
            ("--shards", self.shards),
            ("--keep-records", self.keep_records),
            ("--memory", self.memory),
            ("--separate-from", u64::from(self.separate_from)),
        ];
        let numbers = numbers.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_string()]);
        numbers.chain(["--directory".to_owned(), self.directory.display().to_string()]).collect()
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(name) = &arguments.serve {
        return child::run(name, arguments.directory.join(name), &arguments.opening());
    }
    for name in &arguments.engines {
        ensure!(NAMES.contains(&name.as_str()), "there is no engine {name}; there are: {}", NAMES.join(", "));
    }
    let bounds = [arguments.items, arguments.rounds, arguments.rate, arguments.load_group, arguments.shards];
    ensure!(bounds.iter().all(|bound| *bound > 0) && arguments.indexes > 0, "a number of zero measures nothing");
    let rows = rounds::run(&arguments)?;
    print!("{}\n{}", report::costs(&rows), report::latencies(&rows));
    println!("\n{}", counted(&rows)?);
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_string_pretty(&rows)?).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Errors: something was not counted at all.
fn counted(rows: &[Row]) -> Result<String> {
    let mut lines = Vec::new();
    for row in rows {
        let sum = |of: &[child::Answer]| of.iter().map(|answer| answer.count).sum::<u64>();
        let (loaded, overwritten, read) = (sum(&row.load), sum(&row.overwrite), sum(&row.read));
        let groups: u64 = row.overwrite.iter().map(|answer| answer.groups).sum();
        let name = &row.name;
        ensure!(loaded > 0 && row.whole.all.count == overwritten, "{name} was not measured");
        ensure!(name == "nothing" || read > 0 || row.read.is_empty(), "nothing was read of {name}");
        lines.push(format!(
            "{name}: {loaded} items loaded, {overwritten} overwritten in {groups} groups, {read} read and compared"
        ));
    }
    Ok(lines.join("\n"))
}
