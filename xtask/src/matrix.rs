//! `cargo xtask matrix`: more versions, more languages and more trouble for the Kinesis Client Library than CI has time for.

use std::path::Path;

use anyhow::Result;

use crate::{java, process};

/// Each run is a test in it, which says what it shows: `multi-stream` is `test_multi_stream`.
const RUNS: &str = "matrix.py";

/// Runs what is named, or everything; a run that fails does not stop the others.
///
/// Errors: a run that fails, or that is not there.
pub fn run(root: &Path, named: &[String]) -> Result<()> {
    process::run(&mut process::command(root, "cargo", &["build", "--locked", "-p", "headwater-server"]))?;
    java::prepare_matrix(root)?;
    let chosen: Vec<String> = named.iter().map(|name| format!("{RUNS}::test_{}", name.replace('-', "_"))).collect();
    let mut arguments = vec!["--durations=0"];
    if chosen.is_empty() {
        arguments.push(RUNS);
    }
    arguments.extend(chosen.iter().map(String::as_str));
    process::run(&mut java::command(root, &root.join("target/debug/headwater"), &arguments)?)
}
