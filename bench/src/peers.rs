//! Other servers of DynamoDB's API, fetched from their registries and started here: only where `--peers` asks for them.
//!
//! Versions are pinned: DynamoDB Local's in `tests/streams-conformance/dynamodb-local/pom.xml` (shared with that suite),
//! dynalite's in `bench/peers/package-lock.json`, dynoxide's here.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::subject::Subject;

const DYNOXIDE: &str = "3.2.0";
const DYNAMODB_LOCAL: &str = "software.amazon.dynamodb.services.local.main.ServerRunner";

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// AWS's own emulator, on a JVM with SQLite.
    DynamoDbLocal,
    /// Rust with SQLite.
    Dynoxide,
    /// JavaScript with LevelDB.
    Dynalite,
}

impl Peer {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::DynamoDbLocal, Self::Dynoxide, Self::Dynalite];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::DynamoDbLocal => "DynamoDB Local",
            Self::Dynoxide => "dynoxide",
            Self::Dynalite => "dynalite",
        }
    }

    /// Whether it has streams and transactions.
    pub fn is_whole(self) -> bool {
        self != Self::Dynalite
    }
}

/// The fetched peers.
pub struct Peers {
    folder: PathBuf,
    /// DynamoDB Local's and dynalite's.
    versions: [String; 2],
}

impl Peers {
    /// Fetches what is not there yet into `target/peers`; needs Maven, Java, npm, Node and Cargo.
    pub fn fetch(root: &Path) -> Result<Self> {
        let folder = root.join("target/peers");
        let pom = root.join("tests/streams-conformance/dynamodb-local/pom.xml");
        let packages = root.join("bench/peers");
        fs::create_dir_all(&folder)?;
        let jars = folder.join("dynamodb-local");
        once(&jars, &fs::read_to_string(&pom)?, || {
            let to = format!("-DoutputDirectory={}", jars.display());
            let goal = ["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", &to, "-f"];
            run(Command::new("mvn").args(goal).arg(&pom))
        })?;
        let modules = folder.join("node");
        let lock = fs::read_to_string(packages.join("package-lock.json"))?;
        once(&modules, &lock, || {
            for name in ["package.json", "package-lock.json"] {
                fs::copy(packages.join(name), modules.join(name))?;
            }
            run(Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&modules))
        })?;
        once(&folder.join("dynoxide"), DYNOXIDE, || {
            let wanted = ["install", "--locked", "--version", DYNOXIDE, "dynoxide-rs", "--root"];
            run(Command::new("cargo").args(wanted).arg(folder.join("dynoxide")).current_dir(&folder))
        })?;
        let version = |text: &str, after: &str| {
            let rest =
                text.split(after).nth(1).and_then(|rest| rest.split(['<', '>', '"']).find(|part| part.contains('.')));
            rest.map(str::to_owned).with_context(|| format!("no version after {after}"))
        };
        let local = version(&fs::read_to_string(&pom)?, "<artifactId>DynamoDBLocal</artifactId>")?;
        let dynalite = version(&lock, "\"node_modules/dynalite\": {")?;
        Ok(Self { folder, versions: [local, dynalite] })
    }

    /// Its name and version.
    pub fn shown(&self, peer: Peer) -> String {
        let [local, dynalite] = &self.versions;
        let version = match peer {
            Peer::DynamoDbLocal => local,
            Peer::Dynoxide => DYNOXIDE,
            Peer::Dynalite => dynalite,
        };
        format!("{} {version}", peer.name())
    }

    /// Starts one in memory, or with its data in a folder, and waits until it listens.
    pub fn start(&self, peer: Peer, data: Option<&Path>) -> Result<Subject> {
        // The port is free now; nobody else is expected to take it within the moment.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = match peer {
            Peer::DynamoDbLocal => self.dynamodb_local(data),
            Peer::Dynoxide => self.dynoxide(data),
            Peer::Dynalite => self.dynalite(data),
        };
        let flag = if peer == Peer::DynamoDbLocal { "-port" } else { "--port" };
        command.arg(flag).arg(port.to_string());
        if let Some(data) = data {
            fs::create_dir_all(data)?;
        }
        Subject::listening(&mut command, port).with_context(|| self.shown(peer))
    }

    fn dynamodb_local(&self, data: Option<&Path>) -> Command {
        let jars = self.folder.join("dynamodb-local");
        let mut command = Command::new("java");
        command.arg(format!("-Djava.library.path={}", jars.display())).arg("-cp").arg(format!("{}/*", jars.display()));
        command.args([DYNAMODB_LOCAL, "-disableTelemetry"]).current_dir(&jars);
        match data {
            Some(data) => command.arg("-dbPath").arg(data),
            None => command.arg("-inMemory"),
        };
        command
    }

    fn dynoxide(&self, data: Option<&Path>) -> Command {
        let mut command = Command::new(self.folder.join("dynoxide/bin/dynoxide"));
        if let Some(data) = data {
            command.arg("--db-path").arg(data.join("dynoxide.db"));
        }
        command
    }

    fn dynalite(&self, data: Option<&Path>) -> Command {
        let mut command = Command::new("node");
        command.arg(self.folder.join("node/node_modules/dynalite/cli.js")).args(["--host", "127.0.0.1"]);
        command.args(["--createTableMs", "0"]);
        if let Some(data) = data {
            command.arg("--path").arg(data);
        }
        command
    }
}

/// Fetches into `folder` once per content of what pins the version.
fn once(folder: &Path, pinned: &str, fetch: impl FnOnce() -> Result<()>) -> Result<()> {
    let made = folder.join("made-from");
    if fs::read_to_string(&made).is_ok_and(|there| there == pinned) {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    fetch().with_context(|| format!("fetching into {}", folder.display()))?;
    Ok(fs::write(made, pinned)?)
}

fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command.status().with_context(|| format!("starting {shown}"))?;
    ensure!(status.success(), "{shown}: {status}");
    Ok(())
}
