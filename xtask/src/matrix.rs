//! `cargo xtask matrix`: more versions, more languages and more trouble for the Kinesis Client Library than CI has time for.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::{java, process};

/// Each run is a test in one of these, which says what it shows: `multi-stream` is `test_multi_stream`.
const FILES: [&str; 2] = ["matrix.py", "matrix_tables.py"];

/// Runs what is named, or everything; a run that fails does not stop the others.
///
/// Errors: a run that fails, or that is not there.
pub fn run(root: &Path, named: &[String]) -> Result<()> {
    let mut chosen = named.iter().map(|name| find(root, name)).collect::<Result<Vec<_>>>()?;
    if chosen.is_empty() {
        chosen = FILES.map(str::to_owned).to_vec();
    }
    process::run(&mut process::command(root, "cargo", &["build", "--locked", "-p", "headwater-server"]))?;
    java::prepare_matrix(root)?;
    let mut arguments = vec!["--durations=0"];
    arguments.extend(chosen.iter().map(String::as_str));
    process::run(&mut java::command(root, &root.join("target/debug/headwater"), &arguments)?)
}

/// A run as pytest names it.
fn find(root: &Path, name: &str) -> Result<String> {
    let test = format!("test_{}", name.replace('-', "_"));
    for file in FILES {
        let text = fs::read_to_string(root.join(java::SOURCES).join(file)).with_context(|| file.to_owned())?;
        if text.contains(&format!("\ndef {test}(")) {
            return Ok(format!("{file}::{test}"));
        }
    }
    anyhow::bail!("there is no run {name}")
}
