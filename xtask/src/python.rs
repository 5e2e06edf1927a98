//! The Python side of the tests: a virtual environment made from the project's own list, and what runs in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::process;

const SOURCES: &str = "tests/sdk/python";

/// Makes the virtual environment below `target`, once per content of `requirements.txt`, and returns its interpreter.
pub fn environment(root: &Path) -> Result<PathBuf> {
    let folder = root.join("target/python");
    let interpreter = folder.join("bin/python");
    let wanted = fs::read_to_string(root.join(SOURCES).join("requirements.txt"))?;
    let made = folder.join("made-from-requirements.txt");
    if fs::read_to_string(&made).is_ok_and(|there| there == wanted) {
        return Ok(interpreter);
    }
    process::output(root, "python3", &["-m", "venv", "--clear", &folder.to_string_lossy()])?;
    let requirements = format!("{SOURCES}/requirements.txt");
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", &requirements];
    process::output(root, &interpreter.to_string_lossy(), &install)?;
    fs::write(&made, wanted)?;
    Ok(interpreter)
}

/// A Python command among the SDK tests, told where the server's binary is.
pub fn command(root: &Path, server: &Path, arguments: &[&str]) -> Result<Command> {
    let interpreter = environment(root)?;
    let mut command = process::command(&root.join(SOURCES), interpreter, arguments);
    command.env("HEADWATER_BIN", server).env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1");
    Ok(command)
}
