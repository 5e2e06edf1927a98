//! `cargo xtask bench`, `bench-engine`, `guard` and `instructions`: the benches' own workspace, in the product's target folder.

use std::path::Path;

use anyhow::Result;

use crate::process;

/// Builds the released server and the benches, and measures; further arguments go to `headwater-bench`, or behind
/// `data-streams` to the bench of that name.
pub fn run(root: &Path, arguments: &[String]) -> Result<()> {
    build(root)?;
    let (server, bare) = (root.join("target/release/headwater"), root.join("target/release/bare"));
    if let Some((_, arguments)) = arguments.split_first().filter(|(name, _)| *name == "data-streams") {
        let mut command = process::command(root, root.join("target/release/data_streams"), &[]);
        return process::run(command.arg("--server").arg(server).args(arguments));
    }
    let mut command = process::command(root, root.join("target/release/headwater-bench"), &[]);
    command.arg("--server").arg(server).arg("--bare").arg(bare).arg("--root").arg(root).args(arguments);
    process::run(&mut command)
}

/// Counts allocations, file calls and bytes per operation and fails over the limits in `bench/guard.toml`.
pub fn guard(root: &Path) -> Result<()> {
    build(root)?;
    process::run(&mut process::command(root, root.join("target/release/guard"), &["bench/guard.toml"]))
}

/// Measures the storage engine and its rivals under one load; what they are built with is no part of the product.
pub fn engine(root: &Path, arguments: &[String]) -> Result<()> {
    let package = ["build", "--release", "--locked", "-p", "headwater-bench-engine"];
    let mut build = process::command(&root.join("bench"), "cargo", &package);
    process::run(build.env("CARGO_TARGET_DIR", root.join("target")))?;
    let mut command = process::command(root, root.join("target/release/headwater-bench-engine"), &[]);
    process::run(command.args(arguments))
}

/// Counts instructions per operation under valgrind; the profiles stay in `target/profiles`. Further arguments go to it.
pub fn instructions(root: &Path, arguments: &[String]) -> Result<()> {
    build(root)?;
    let release = root.join("target/release");
    let mut command = process::command(root, release.join("instructions"), &[]);
    command.arg("--server").arg(release.join("headwater")).arg("--bare").arg(release.join("bare"));
    process::run(command.arg("--profiles").arg(root.join("target/profiles")).args(arguments))
}

fn build(root: &Path) -> Result<()> {
    process::run(&mut process::command(root, "cargo", &["build", "--release", "--locked", "-p", "headwater-server"]))?;
    let mut benches = process::command(&root.join("bench"), "cargo", &["build", "--release", "--locked"]);
    process::run(benches.env("CARGO_TARGET_DIR", root.join("target")))
}
