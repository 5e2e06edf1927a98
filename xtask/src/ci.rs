//! `cargo xtask ci`: every check and test, lane by lane, with the minutes each took.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};

use crate::{bench, cases, golang, java, node, postgres, process, python, streams_conformance, tidy};

/// Toolchains that the tests need; a missing one is an error, never a skip.
const TOOLCHAINS: &[(&str, &[&str])] = &[
    ("cargo", &["--version"]),
    ("rustc", &["--version"]),
    ("cc", &["--version"]),
    ("python3", &["--version"]),
    ("node", &["--version"]),
    ("npm", &["--version"]),
    ("go", &["version"]),
    ("java", &["-version"]),
    ("javac", &["-version"]),
    ("mvn", &["--version"]),
];

/// Seeds of each of the four modes.
const SIM_SEEDS: &str = "50";
/// Shows that the bench works; its figures are too few to quote.
const BENCH_SLICE: [&str; 6] = ["--operations", "2000", "--rounds", "1", "--connections", "16"];
/// The same of the bench of data streams.
const DATA_STREAMS_SLICE: [&str; 11] = [
    "data-streams",
    "--megabytes",
    "16",
    "--rounds",
    "1",
    "--records",
    "50",
    "--delivered",
    "16",
    "--subscribers",
    "1,20",
];

struct Lanes {
    root: PathBuf,
    start: Instant,
    done: Vec<(String, f64)>,
    failed: Vec<anyhow::Error>,
}

/// Runs everything. A failing lane ends the run only if the others need what it makes; all that failed are told at the end.
pub fn run(root: &Path) -> Result<()> {
    let mut lanes = Lanes { root: root.to_path_buf(), start: Instant::now(), done: Vec::new(), failed: Vec::new() };
    lanes.lane("toolchains", toolchains)?;
    lanes.check("format", |root| cargo(root, &["fmt", "--all", "--check"]));
    // The Python environment comes from the network while the compiler works.
    let environment = lanes.beside("SDK environments", environments);
    lanes.check("tidy", tidy::run);
    lanes.check("codegen is current", codegen_current);
    lanes.check("clippy", |root| {
        cargo(root, &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
    });
    lanes.lane("build tests", |root| cargo(root, &["test", "--workspace", "--locked", "--no-run"]))?;
    lanes.join(environment)?;
    let sdk = lanes.beside("SDKs, mappers, CLI, real data", sdks);
    lanes.check("tests", |root| cargo(root, &["test", "--workspace", "--locked", "--no-fail-fast"]));
    lanes.check("simulation", simulation);
    let joined = lanes.join(sdk);
    lanes.note(joined);
    lanes.check("PostgreSQL", postgres::of_workspace);
    lanes.check("cases over HTTP", |root| cases::of_server(root, &built(root)?));
    lanes.check("streams conformance", |root| streams_conformance::lane(root, &built(root)?));
    lanes.check("documentation", documentation);
    lanes.check("README: the release server", readme);
    lanes.check("guard: allocations, file calls, bytes", bench::guard);
    lanes.check("bench, a slice", |root| bench::run(root, &BENCH_SLICE.map(str::to_owned)));
    lanes.check("bench of data streams, a slice", |root| bench::run(root, &DATA_STREAMS_SLICE.map(str::to_owned)));
    lanes.report()
}

type Beside = (String, PathBuf, JoinHandle<(Result<()>, f64)>);

impl Lanes {
    fn lane(&mut self, name: &str, work: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        println!("--- {name}");
        let start = Instant::now();
        let result = work(&self.root);
        let minutes = start.elapsed().as_secs_f64() / 60.0;
        println!("--- {name}: {minutes:.1} min, {}", if result.is_ok() { "passed" } else { "FAILED" });
        self.done.push((name.to_owned(), minutes));
        result.with_context(|| format!("lane {name}"))
    }

    /// A lane whose failure is told at the end.
    fn check(&mut self, name: &str, work: impl FnOnce(&Path) -> Result<()>) {
        let result = self.lane(name, work);
        self.note(result);
    }

    fn note(&mut self, result: Result<()>) {
        if let Err(error) = result {
            println!("{error:#}");
            self.failed.push(error);
        }
    }

    /// Starts a lane beside the others; its output goes to a file and is shown when it is joined.
    fn beside(&self, name: &str, work: impl FnOnce(&Path, &Path) -> Result<()> + Send + 'static) -> Beside {
        let root = self.root.clone();
        let log = root.join("target").join(format!("lane-{}.log", name.replace([' ', ','], "-")));
        let shown = log.clone();
        let handle = thread::spawn(move || {
            // What an earlier run has left is not this one's.
            drop(std::fs::remove_file(&log));
            let start = Instant::now();
            let result = work(&root, &log);
            (result, start.elapsed().as_secs_f64() / 60.0)
        });
        (name.to_owned(), shown, handle)
    }

    fn join(&mut self, (name, log, handle): Beside) -> Result<()> {
        let (result, minutes) = handle.join().map_err(|_| anyhow!("lane {name} panicked"))?;
        println!("--- {name} (beside the others)");
        if let Ok(output) = std::fs::read_to_string(&log) {
            println!("{output}");
        }
        println!("--- {name}: {minutes:.1} min, {}", if result.is_ok() { "passed" } else { "FAILED" });
        self.done.push((format!("{name} (beside)"), minutes));
        result.with_context(|| format!("lane {name}"))
    }

    fn report(&self) -> Result<()> {
        println!("\nminutes by lane:");
        for (name, minutes) in &self.done {
            println!("{minutes:6.1}  {name}");
        }
        println!("{:6.1}  all", self.start.elapsed().as_secs_f64() / 60.0);
        println!("lanes: {} passed, {} failed", self.done.len() - self.failed.len(), self.failed.len());
        for error in &self.failed {
            println!("FAILED: {error:#}");
        }
        ensure!(self.failed.is_empty(), "{} lanes failed", self.failed.len());
        Ok(())
    }
}

fn toolchains(root: &Path) -> Result<()> {
    for (program, arguments) in TOOLCHAINS {
        process::output(root, program, arguments).with_context(|| format!("the toolchain {program} is missing"))?;
    }
    println!("{} toolchains found", TOOLCHAINS.len());
    Ok(())
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<()> {
    process::run(&mut process::command(root, "cargo", arguments))
}

fn codegen_current(root: &Path) -> Result<()> {
    let myself = std::env::current_exe()?;
    process::run(&mut process::command(root, myself, &["codegen", "--check"]))
}

/// The server that the tests' build has left.
fn built(root: &Path) -> Result<PathBuf> {
    let server = root.join("target/debug/headwater");
    ensure!(server.is_file(), "{} was not built", server.display());
    Ok(server)
}

fn logged(command: &mut Command, log: &Path) -> Result<()> {
    let file = File::options().create(true).append(true).open(log).with_context(|| log.display().to_string())?;
    process::run(command.stderr(file.try_clone()?).stdout(file))
}

/// What the SDKs' tests need from their registries.
fn environments(root: &Path, _log: &Path) -> Result<()> {
    python::environment(root)?;
    node::environment(root)?;
    golang::prepare(root)?;
    java::prepare(root)?;
    postgres::prepare(root).map(drop)
}

/// The SDKs' suites, one after the other: the simulation runs beside them on the other core.
fn sdks(root: &Path, log: &Path) -> Result<()> {
    let server = built(root)?;
    let suites = [
        logged(&mut node::tests(root, &server)?, log),
        logged(&mut golang::tests(root, &server), log),
        logged(&mut python::command(root, &server, &["-m", "pytest"])?, log),
        logged(&mut java::tests(root, &server)?, log),
    ];
    suites.into_iter().collect()
}

fn simulation(root: &Path) -> Result<()> {
    let simulator = root.join("target/debug/headwater-sim");
    let simulator = simulator.to_string_lossy();
    // The hunt for planted bugs is one of the tests.
    process::run(&mut process::command(root, &*simulator, &["--mode", "all", "--seeds", SIM_SEEDS]))
}

fn documentation(root: &Path) -> Result<()> {
    let mut command = process::command(root, "cargo", &["doc", "--workspace", "--no-deps", "--locked"]);
    process::run(command.env("RUSTDOCFLAGS", "-D warnings"))
}

/// The first command of the README, on the release build: it starts, answers, and ends well.
fn readme(root: &Path) -> Result<()> {
    cargo(root, &["build", "--release", "--locked", "-p", "headwater-server"])?;
    let server = root.join("target/release/headwater");
    let tests = ["-m", "pytest", "test_tables.py", "test_streams.py"];
    process::run(&mut python::command(root, &server, &tests)?)
}
