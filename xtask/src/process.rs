//! Running other programs, with errors that say which one failed.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

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

/// A program that ends with its owner.
pub struct Running(pub Child);

impl Running {
    /// Starts a server and waits until it has printed a line for each of `names`; what follows the name on that line.
    pub fn start<const N: usize>(command: &mut Command, names: [&str; N]) -> Result<(Self, [String; N])> {
        let mut server = Self(command.stdout(Stdio::piped()).spawn().context("starting the server")?);
        let output = server.0.stdout.take().context("the server's output")?;
        let mut found = [const { String::new() }; N];
        let mut output = BufReader::new(output);
        let mut line = String::new();
        while output.read_line(&mut line)? > 0 {
            for (name, found) in names.iter().zip(&mut found) {
                if let Some(rest) = line.trim().strip_prefix(name) {
                    *found = rest.trim().to_owned();
                }
            }
            line.clear();
            if found.iter().all(|found| !found.is_empty()) {
                // Closed, the pipe would end a server that goes on printing.
                server.0.stdout = Some(output.into_inner());
                return Ok((server, found));
            }
        }
        anyhow::bail!("the server ends without saying where it listens")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
