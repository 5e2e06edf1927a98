//! `cargo xtask proofs`: the long runs behind docs/proofs.md, one after the other, with a table of what they came to.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::{java, process, python, streams_conformance};

/// Seeds of each of the four modes: ten thousand together.
const SEEDS: &str = "2500";
/// Kills of a real server.
const KILLS: &str = "300";
/// Changes of how many items, kills, and splits and merges of the target of a replication.
const REPLICATION: [(&str, &str); 4] = [
    ("HEADWATER_CHANGES", "200000"),
    ("HEADWATER_ITEMS", "5000"),
    ("HEADWATER_KILLS", "10"),
    ("HEADWATER_RESHARDS", "100"),
];
/// How long the soak lasts.
const SOAK_SECONDS: &str = "600";

/// A proof: its name on the command line, and what it runs.
type Proof = (&'static str, fn(&Path) -> Result<()>);

const PROOFS: [Proof; 7] = [
    ("sim", simulate),
    ("planted", hunt),
    ("kill", kill),
    ("replication", replication),
    ("soak", soak),
    ("power-loss", power_loss),
    ("streams-conformance", conformance),
];

/// Runs the proofs that are named, or all of them; one that fails does not stop the others.
pub fn run(root: &Path, named: &[String]) -> Result<()> {
    for name in named {
        let known = PROOFS.map(|(name, _)| name).join(", ");
        ensure!(PROOFS.iter().any(|(proof, _)| proof == name), "there is no proof {name}; there are: {known}");
    }
    let wanted = |name: &str| named.is_empty() || named.iter().any(|other| other == name);
    let mut build = process::command(root, "cargo", &["test", "--workspace", "--locked", "--no-run"]);
    process::run(&mut build)?;
    let mut lines = Vec::new();
    let mut failed = 0;
    for (name, proof) in PROOFS.iter().filter(|(name, _)| wanted(name)) {
        println!("--- {name}");
        let start = Instant::now();
        let result = proof(root);
        let minutes = start.elapsed().as_secs_f64() / 60.0;
        let end = match &result {
            Ok(()) => "holds".to_owned(),
            Err(error) => format!("FAILED: {error:#}"),
        };
        failed += usize::from(result.is_err());
        lines.push(format!("{minutes:7.1}  {name:<20} {end}"));
    }
    println!("\nminutes  proof");
    lines.iter().for_each(|line| println!("{line}"));
    if failed > 0 {
        bail!("{failed} of {} proofs failed", lines.len());
    }
    Ok(())
}

fn binary(root: &Path, name: &str) -> Result<PathBuf> {
    let path = root.join("target/debug").join(name);
    ensure!(path.is_file(), "{} was not built", path.display());
    Ok(path)
}

fn simulator(root: &Path, arguments: &[&str]) -> Result<()> {
    let simulator = binary(root, "headwater-sim")?;
    process::run(&mut process::command(root, simulator, arguments))
}

fn simulate(root: &Path) -> Result<()> {
    simulator(root, &["--mode", "all", "--seeds", SEEDS])
}

fn hunt(root: &Path) -> Result<()> {
    simulator(root, &["--planted"])
}

fn kill(root: &Path) -> Result<()> {
    python::environment(root)?;
    let server = binary(root, "headwater")?;
    let mut command = python::command(root, &server, &["-m", "pytest", "-q", "test_kill.py"])?;
    process::run(command.env("HEADWATER_KILLS", KILLS))
}

/// The same as `test_replication.py` does, longer, and with a worker of KCL among the readers.
fn replication(root: &Path) -> Result<()> {
    java::prepare(root)?;
    let mut command = java::command(root, &binary(root, "headwater")?, &["replicated.py"])?;
    for (what, count) in REPLICATION {
        // Set by whoever wants a shorter one.
        if std::env::var_os(what).is_none() {
            command.env(what, count);
        }
    }
    process::run(&mut command)
}

/// Ten minutes; the samples stay in the target folder.
fn soak(root: &Path) -> Result<()> {
    python::environment(root)?;
    let server = binary(root, "headwater")?;
    let mut command = python::command(root, &server, &["soak.py", "--seconds", SOAK_SECONDS])?;
    process::run(command.env("SOAK_REPORT", root.join("target/soak.json")))
}

fn power_loss(root: &Path) -> Result<()> {
    for (package, test) in
        [("headwater-storage", "power_loss"), ("headwater-storage", "archive"), ("headwater-storage", "copies")]
    {
        let arguments = ["test", "--locked", "-p", package, "--test", test, "--", "--nocapture"];
        process::run(&mut process::command(root, "cargo", &arguments)).with_context(|| test.to_owned())?;
    }
    Ok(())
}

fn conformance(root: &Path) -> Result<()> {
    streams_conformance::lane(root, &binary(root, "headwater")?)
}
