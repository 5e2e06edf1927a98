//! The Go side of the tests: modules from the project's own sums, and Go's own test runner.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process;

const SOURCES: &str = "tests/sdk/go";

/// Downloads the modules and compiles the tests without running any.
pub fn prepare(root: &Path) -> Result<()> {
    let folder = root.join(SOURCES);
    process::output(&folder, "go", &["vet", "-mod=readonly", "./..."]).map(drop)?;
    process::output(&folder, "go", &["test", "-mod=readonly", "-count=1", "-run", "^$", "-exec", "true", "./..."])
        .map(drop)
}

/// All Go tests, told where the server's binary is.
pub fn tests(root: &Path, server: &Path) -> Command {
    let folder = root.join(SOURCES);
    let mut command = process::command(&folder, "go", &["test", "-mod=readonly", "-count=1", "-v", "./..."]);
    command.env("HEADWATER_BIN", server);
    command
}
