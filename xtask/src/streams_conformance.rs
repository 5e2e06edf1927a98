//! `cargo xtask streams-conformance`: what DynamoDB Streams promises, case by case, of any endpoint.

use std::ffi::OsStr;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::process::{self, Running};
use crate::python;

const SUITE: &str = "tests/streams-conformance";
const PAGE: &str = "docs/streams-conformance.md";
/// Where the page's table begins; all below is written by `--publish`.
const MARK: &str = "<!-- measured: written by `cargo xtask streams-conformance --publish` -->\n";
/// Known to the server that this command starts, on loopback, for as long as it runs.
const TOKEN: &str = "streams-conformance-of-this-run";
const DYNAMODB_LOCAL: &str = "software.amazon.dynamodb.services.local.main.ServerRunner";
const READY_WITHIN: Duration = Duration::from_secs(60);

#[derive(Args)]
pub struct Options {
    /// Run against this endpoint, whatever it is, instead of a Headwater of its own
    #[arg(long)]
    endpoint: Option<String>,
    /// Run against DynamoDB Local, fetched by Maven
    #[arg(long, conflicts_with = "endpoint")]
    dynamodb_local: bool,
    /// Run against both and write their table into docs/streams-conformance.md
    #[arg(long, conflicts_with_all = ["endpoint", "dynamodb_local"])]
    publish: bool,
    /// Passed on to the runner (`-- --help`)
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Runs the suite against what the options say; without any, against the built server, and then the runner's own tests.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    if let Some(endpoint) = &options.endpoint {
        return process::run(suite(root)?.args(["--endpoint", endpoint]).args(&options.arguments));
    }
    if options.dynamodb_local {
        return of_dynamodb_local(root, &options.arguments).map(drop);
    }
    process::run(&mut process::command(root, "cargo", &["build", "--locked", "-p", "headwater-server"]))?;
    let server = root.join("target/debug/headwater");
    let ours = of_headwater(root, &server, &options.arguments)?;
    if options.publish {
        let theirs = of_dynamodb_local(root, &options.arguments)?;
        return publish(root, &[ours, theirs]);
    }
    own_tests(root, &server)
}

/// The lane of `cargo xtask ci`: the server that is built already passes every case, and altered answers are noticed.
pub fn lane(root: &Path, server: &Path) -> Result<()> {
    of_headwater(root, server, &["--quiet".to_owned()])?;
    own_tests(root, server)
}

/// The suite's runner, in its folder.
fn suite(root: &Path) -> Result<Command> {
    let interpreter = python::environment(root)?;
    let mut command = process::command(&root.join(SUITE), interpreter, &["-m", "streams_conformance"]);
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1");
    Ok(command)
}

fn of_headwater(root: &Path, server: &Path, arguments: &[String]) -> Result<PathBuf> {
    let report = root.join("target/streams-conformance-headwater.json");
    // On disk, as it is meant to run; nothing of an earlier run is wanted.
    let store = root.join("target/streams-conformance-store");
    drop(fs::remove_dir_all(&store));
    let options = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--control", "--data-dir"];
    let mut command = process::command(root, server, &options);
    command.arg(&store);
    let (_running, [endpoint, admin]) =
        Running::start(command.args(["--control-token", TOKEN]), ["dynamodb ", "admin "])?;
    let admin = admin.trim_end_matches("/metrics");
    let options = ["--in-memory", "--listen", "127.0.0.1:0", "--admin", "off"];
    let (_second, [second]) = Running::start(&mut process::command(root, server, &options), ["dynamodb "])?;
    let mut command = suite(root)?;
    command.env("HEADWATER_CONTROL_TOKEN", TOKEN).args(["--target", "headwater", "--endpoint", &endpoint]);
    command.args(["--control", admin, "--second", &second, "--name", "Headwater"]).arg("--report").arg(&report);
    process::run(command.args(arguments))?;
    Ok(report)
}

fn of_dynamodb_local(root: &Path, arguments: &[String]) -> Result<PathBuf> {
    let report = root.join("target/streams-conformance-dynamodb-local.json");
    let jars = root.join("target/dynamodb-local");
    let (version, classes) = fetched(root, &jars)?;
    // The port is free now; nobody else is expected to take it within the moment.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut command = Command::new("java");
    command.arg(joined("-Djava.library.path=", &jars)).arg("-cp").arg(classes).arg(DYNAMODB_LOCAL);
    command.args(["-inMemory", "-disableTelemetry", "-port", &port.to_string()]).current_dir(&jars);
    let log = fs::File::create(root.join("target/dynamodb-local.log"))?;
    command.stdin(Stdio::null()).stderr(log.try_clone()?).stdout(log);
    let _running = Running(command.spawn().context("starting java")?);
    let begin = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        ensure!(begin.elapsed() < READY_WITHIN, "DynamoDB Local does not listen; see target/dynamodb-local.log");
        thread::sleep(Duration::from_millis(50));
    }
    let endpoint = format!("http://127.0.0.1:{port}");
    let mut command = suite(root)?;
    command.args(["--target", "dynamodb-local", "--endpoint", &endpoint, "--name"]);
    command.arg(format!("DynamoDB Local {version}"));
    // It fails to make tables side by side.
    command.args(["--parallel", "1", "--expect", "expect/dynamodb-local.json"]).arg("--report").arg(&report);
    process::run(command.args(arguments))?;
    Ok(report)
}

/// The jars of DynamoDB Local, fetched once per content of the suite's `pom.xml`: its version and its class path.
fn fetched(root: &Path, jars: &Path) -> Result<(String, String)> {
    let project = root.join(SUITE).join("dynamodb-local/pom.xml");
    let wanted = fs::read_to_string(&project)?;
    let made = jars.join("made-from-pom.xml");
    if fs::read_to_string(&made).ok().as_deref() != Some(&wanted) {
        let output = joined("-DoutputDirectory=", jars);
        let project = project.to_string_lossy();
        let goal = "dependency:copy-dependencies";
        process::output(root, "mvn", &["-q", "-B", "-f", &project, goal, "-DincludeScope=runtime", &output])?;
        fs::write(&made, &wanted)?;
    }
    let after = wanted.split("<artifactId>DynamoDBLocal</artifactId>").nth(1).context("the pom names DynamoDBLocal")?;
    let version = after.split(['<', '>']).nth(2).context("the pom names DynamoDBLocal's version")?;
    Ok((version.to_owned(), format!("{}/*", jars.display())))
}

fn joined(option: &str, path: &Path) -> String {
    format!("{option}{}", path.display())
}

fn own_tests(root: &Path, server: &Path) -> Result<()> {
    let interpreter = python::environment(root)?;
    let mut command = process::command(&root.join(SUITE).join("tests"), interpreter, &["-m", "pytest"]);
    process::run(command.env("HEADWATER_BIN", server).env("PYTHONDONTWRITEBYTECODE", "1"))
}

fn publish(root: &Path, reports: &[PathBuf]) -> Result<()> {
    let interpreter = python::environment(root)?;
    let mut arguments: Vec<&OsStr> = ["-m", "streams_conformance", "--table"].iter().map(OsStr::new).collect();
    arguments.extend(reports.iter().map(|report| report.as_os_str()));
    let done = process::command(&root.join(SUITE), interpreter, &[]).args(arguments).output()?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let path = root.join(PAGE);
    let page = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let (above, _) = page.split_once(MARK).with_context(|| format!("{PAGE} lacks its mark"))?;
    fs::write(&path, format!("{above}{MARK}\n{}", String::from_utf8_lossy(&done.stdout)))?;
    Ok(())
}
