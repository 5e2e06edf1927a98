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
    let (_server, [endpoint, admin]) = Running::start(&mut command, ["dynamodb ", "admin "])?;
    let admin = admin.trim_end_matches("/metrics");
    let arguments = ["--endpoint", &endpoint, "--headwater", "--any-region", "--quiet", "--admin", admin];
    process::run(process::command(root, root.join(RUNNER), &arguments).env("HEADWATER_CONTROL_TOKEN", TOKEN))
}
