//! `cargo xtask demo`: real data through the server, killed in the middle, for a person to watch.

use std::path::Path;

use anyhow::Result;

use crate::{process, python};

/// Builds the server, then runs `tests/sdk/python/demo.py`.
pub fn run(root: &Path) -> Result<()> {
    process::run(&mut process::command(root, "cargo", &["build", "--release", "--locked", "-p", "headwater-server"]))?;
    process::run(&mut python::command(root, &root.join("target/release/headwater"), &["demo.py"])?)
}
