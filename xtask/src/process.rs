//! Running other programs, with errors that say which one failed.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// A command in `folder`, without standard input.
pub fn command(folder: &Path, program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command
}

/// Runs a command to its end with its output shown; a failure is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command.status().with_context(|| format!("starting {shown}"))?;
    ensure!(status.success(), "{shown}: {status}");
    Ok(())
}

/// What a command prints; a failure is an error that carries its standard error.
pub fn output(folder: &Path, program: &str, arguments: &[&str]) -> Result<String> {
    let done = command(folder, program, arguments).output().with_context(|| format!("starting {program}"))?;
    let complaint = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{program} {}: {}\n{complaint}", arguments.join(" "), done.status);
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
