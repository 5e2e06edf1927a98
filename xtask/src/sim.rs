//! `cargo xtask sim`: the seeded simulator, built with light optimisation.

use std::path::Path;

use anyhow::Result;

use crate::process;

/// Builds the simulator and runs it with `arguments`.
pub fn run(root: &Path, arguments: &[String]) -> Result<()> {
    process::run(&mut process::command(root, "cargo", &["build", "--locked", "-p", "headwater-sim"]))?;
    process::run(process::command(root, root.join("target/debug/headwater-sim"), &[]).args(arguments))
}
