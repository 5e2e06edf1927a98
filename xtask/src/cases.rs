//! `cargo xtask cases`: requests with known answers, against any endpoint.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{Context, Result};

use crate::process;

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
    let mut server = Running(command.stdout(Stdio::piped()).spawn().context("starting the server")?);
    let output = server.0.stdout.take().context("the server's output")?;
    let endpoint = BufReader::new(output).lines().map_while(Result::ok).find_map(|line| {
        let url = line.trim().strip_prefix("dynamodb ")?.trim();
        Some(url.to_owned())
    });
    let endpoint = endpoint.context("the server ends without saying where it listens")?;
    let arguments = ["--endpoint", &endpoint, "--headwater", "--any-region", "--quiet"];
    process::run(&mut process::command(root, root.join(RUNNER), &arguments))
}

/// A server that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
