//! The whole report: every part measured, its tables, its figures as JSON, its drawings, in one folder.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::lab::{Lab, Section};
use crate::peers::Peers;
use crate::rounds::Rounds;
use crate::{parts, report};

/// Measures `names`, or every part; with `peers` those too. Each part's files are written as soon as it is measured, so
/// that parts may be measured one by one, in runs of their own.
pub fn run(lab: &Lab, folder: &Path, names: &[String], peers: Option<&Peers>) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut wanted: Vec<&str> = names.iter().map(String::as_str).collect();
    if wanted.is_empty() {
        wanted = parts::OWN.to_vec();
        wanted.extend(peers.map(|_| parts::PEERS));
    }
    for name in wanted {
        let section = parts::measure(name, lab, peers).with_context(|| name.to_owned())?;
        let text = markdown(&section);
        println!("{text}");
        write_json(&folder.join("results.json"), name, &section)?;
        for plot in &section.plots {
            plot.draw(folder)?;
        }
        fs::write(folder.join(format!("{name}.md")), text)?;
    }
    Ok(())
}

fn markdown(section: &Section) -> String {
    let mut text = format!("# {}\n\n{}\n\n{}\n", section.title, section.note, machine());
    if let Some(rounds) = section.rounds {
        let _ = write!(text, "\n{}\n", rounds.shown());
    }
    for plot in &section.plots {
        let _ = write!(text, "\n![{}]({}.svg)\n", plot.title, plot.name);
    }
    if !section.text.is_empty() {
        let _ = write!(text, "\n{}", section.text);
    }
    if !section.rows.is_empty() {
        let _ = write!(text, "\n{}", report::markdown(&section.rows));
    }
    text
}

/// What the machine was like while a part was measured.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let model = read("/proc/cpuinfo");
    let model = model.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    format!(
        "Measured on {} × {}, Linux {}, load average at the end {}.",
        std::thread::available_parallelism().map_or(1, usize::from),
        model.trim_start_matches([':', '\t', ' ']),
        kernel.trim(),
        load.split_whitespace().next().unwrap_or("unknown")
    )
}

/// Replaces a part's figures in the file of all of them.
fn write_json(path: &Path, name: &str, section: &Section) -> Result<()> {
    let there = fs::read_to_string(path).ok().and_then(|text| serde_json::from_str(&text).ok());
    let mut all: Map<String, Value> = there.unwrap_or_default();
    let figures = json!({"machine": machine(), "rounds": section.rounds.map(Rounds::shown), "rows": report::json(&section.rows), "figures": section.json});
    all.insert(name.to_owned(), figures);
    fs::write(path, serde_json::to_string_pretty(&all)? + "\n").with_context(|| path.display().to_string())
}
