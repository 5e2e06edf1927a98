//! `cargo xtask fuzz`: the seeded fuzzers, for as long as one likes.

use std::path::Path;

use anyhow::Result;

use crate::process;

/// Builds the fuzzers and runs them with `arguments`.
pub fn run(root: &Path, arguments: &[String]) -> Result<()> {
    process::run(&mut process::command(root, "cargo", &["build", "--locked", "-p", "headwater-fuzz"]))?;
    process::run(process::command(root, root.join("target/debug/headwater-fuzz"), &[]).args(arguments))
}
