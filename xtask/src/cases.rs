//! `cargo xtask cases`: requests with known answers, against any endpoint.

use std::path::Path;

use anyhow::Result;

use crate::process::{self, Running};

const RUNNER: &str = "target/debug/headwater-cases";

/// Builds the runner and runs it with `arguments`; without any, against a server of its own.
pub fn run(root: &Path, arguments: &[String]) -> Result<()> {
    let packages = ["build", "--locked", "-p", "headwater-cases", "-p", "headwater-server"];
    let packages = if arguments.is_empty() { &packages[..] } else { &packages[..4] };
    process::run(&mut process::command(root, "cargo", packages))?;
    if arguments.is_empty() {
        return of_server(root, &root.join("target/debug/headwater"));
    }
    process::run(process::command(root, root.join(RUNNER), &[]).args(arguments))
}

/// Runs all cases that need nothing but HTTP against a server of its own; the runner is built already.
pub fn of_server(root: &Path, server: &Path) -> Result<()> {
    let arguments = ["--in-memory", "--listen", "127.0.0.1:0", "--admin", "off"];
    let mut command = process::command(root, server, &arguments);
    let (_server, [endpoint]) = Running::start(&mut command, ["dynamodb "])?;
    let arguments = ["--endpoint", &endpoint, "--headwater", "--any-region", "--quiet"];
    process::run(&mut process::command(root, root.join(RUNNER), &arguments))
}
