//! The JavaScript side of the tests: packages from the project's own lock file, and Node's own test runner.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;

const SOURCES: &str = "tests/sdk/js";

/// Copies the tests below `target` and installs their packages there, once per content of the lock file, so that the
/// source tree stays clean. Returns the folder.
pub fn environment(root: &Path) -> Result<PathBuf> {
    let (sources, folder) = (root.join(SOURCES), root.join("target/node"));
    fs::create_dir_all(&folder)?;
    for entry in fs::read_dir(&sources)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), folder.join(entry.file_name())).context("copying the JavaScript tests")?;
        }
    }
    let wanted = fs::read_to_string(sources.join("package-lock.json"))?;
    let made = folder.join("node_modules/made-from-package-lock.json");
    if !fs::read_to_string(&made).is_ok_and(|there| there == wanted) {
        process::output(&folder, "npm", &["ci", "--no-audit", "--no-fund", "--loglevel=error"])?;
        fs::write(&made, wanted)?;
    }
    Ok(folder)
}

/// All JavaScript tests, told where the server's binary is.
pub fn tests(root: &Path, server: &Path) -> Result<Command> {
    let folder = environment(root)?;
    let mut command = process::command(&folder, "node", &["--test", "--test-reporter=spec", "--test-concurrency=2"]);
    command.env("HEADWATER_BIN", server).env("NODE_NO_WARNINGS", "1");
    Ok(command)
}
