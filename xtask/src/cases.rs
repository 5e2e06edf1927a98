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

/// Opens the control API of the server that is started here, to nobody else: it lives as long as the run.
const TOKEN: &str = "replayed-cases";

/// A case that moves time by a day looks for its records where it wrote them: shards do not roll over in between.
const SHARD_LIFE: &str = "31536000";

/// Runs all cases against a server of its own, those that move time and shards too; the runner is built already.
pub fn of_server(root: &Path, server: &Path) -> Result<()> {
    let arguments = [
        ["--in-memory", "--control"],
        ["--listen", "127.0.0.1:0"],
        ["--admin", "127.0.0.1:0"],
        ["--shard-life", SHARD_LIFE],
    ];
    let mut command = process::command(root, server, arguments.as_flattened());
    command.env("HEADWATER_CONTROL_TOKEN", TOKEN);
    let mut server = Running(command.stdout(Stdio::piped()).spawn().context("starting the server")?);
    let output = server.0.stdout.take().context("the server's output")?;
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    let mut said = |what: &str| {
        let found = lines.find_map(|line| Some(line.trim().strip_prefix(what)?.trim().to_owned()));
        found.with_context(|| format!("the server ends without saying where {what} listens"))
    };
    // In the order in which it says them.
    let endpoint = said("dynamodb ")?;
    let admin = said("admin ")?;
    let admin = admin.trim_end_matches("/metrics");
    let arguments = ["--endpoint", &endpoint, "--headwater", "--any-region", "--quiet", "--admin", admin];
    process::run(process::command(root, root.join(RUNNER), &arguments).env("HEADWATER_CONTROL_TOKEN", TOKEN))
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
