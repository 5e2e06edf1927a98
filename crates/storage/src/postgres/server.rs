//! A real server for tests: loopback only, its data below the folder of its programs, ended with its handle.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use headwater_types::runtime::tokio_runtime;
use parking_lot::Mutex;
use tokio_postgres::NoTls;

use super::Settings;

/// Where `cargo xtask postgres` has put the programs.
pub const FOLDER: &str = "HEADWATER_POSTGRES";
/// Who runs the server when the tests run as root, whom it refuses: nobody.
const UNPRIVILEGED: u32 = 65_534;

/// A running PostgreSQL of its own; dropping it ends it and removes its data.
pub struct Server {
    programs: PathBuf,
    data: PathBuf,
    port: Mutex<u16>,
    running: Mutex<Option<Child>>,
}

impl Server {
    /// Starts a server with an empty database.
    ///
    /// Errors: panics when [`FOLDER`] is not set or the server does not start: without one there is nothing to test.
    pub fn start() -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let home = std::env::var_os(FOLDER).expect("HEADWATER_POSTGRES is not set: run `cargo xtask postgres`");
        let home = PathBuf::from(home);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let data = home.join("data").join(format!("{}-{number}", std::process::id()));
        let server = Self { programs: home.join("server/bin"), data, port: Mutex::new(0), running: Mutex::new(None) };
        server.initialise().expect("an empty database is made");
        server.run();
        server
    }

    fn initialise(&self) -> io::Result<()> {
        fs::create_dir_all(&self.data)?;
        if is_root(&self.data)? {
            chown(&self.data, Some(UNPRIVILEGED), Some(UNPRIVILEGED))?;
        }
        let arguments = ["--auth=trust", "--username=headwater", "--encoding=UTF8", "--no-locale", "--no-sync", "-D"];
        let made = self.command("initdb")?.args(arguments).arg(&self.data).output()?;
        let complaint = String::from_utf8_lossy(&made.stderr).into_owned();
        if made.status.success() { Ok(()) } else { Err(io::Error::other(complaint)) }
    }

    /// A program of the server, run by someone who is not root.
    fn command(&self, program: &str) -> io::Result<Command> {
        let program = self.programs.join(program);
        let mut command = if is_root(&self.data)? || is_root(self.data.parent().unwrap_or(&self.data))? {
            let mut command = Command::new("setpriv");
            let user = format!("--reuid={UNPRIVILEGED}");
            let group = format!("--regid={UNPRIVILEGED}");
            // The server ends with the thread that started it, however that ends.
            command.args([&user, &group, "--clear-groups", "--pdeathsig=QUIT", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(&self.data).stdin(Stdio::null()).stdout(Stdio::null());
        Ok(command)
    }

    /// Starts the server that is not running. After a crash it recovers first. The port stays the same.
    ///
    /// It ends when the calling thread does: not to be called on a thread of a pool.
    pub fn run(&self) {
        // What is left of a killed server may still hold its memory: then the new one gives up at once.
        for _ in 0..100 {
            let port = match *self.port.lock() {
                0 => free_port().expect("a port is free"),
                port => port,
            };
            let mut command = self.command("postgres").expect("the programs are there");
            let log = fs::File::options().create(true).append(true).open(self.data.with_extension("log"));
            command.stderr(log.map(Stdio::from).unwrap_or(Stdio::null())).arg("-D").arg(&self.data);
            for setting in [
                "listen_addresses=127.0.0.1",
                "unix_socket_directories=",
                "max_connections=100",
                "shared_buffers=32MB",
                "log_min_messages=warning",
            ] {
                command.args(["-c", setting]);
            }
            let mut child = command.args(["-p", &port.to_string()]).spawn().expect("the server is started");
            if self.answers(port, &mut child) {
                *self.port.lock() = port;
                *self.running.lock() = Some(child);
                return;
            }
            pause();
        }
        panic!("the server does not start; see {}", self.data.with_extension("log").display());
    }

    /// Whether the server that was started takes connections, as the programs' own look at it says.
    fn answers(&self, port: u16, child: &mut Child) -> bool {
        let ready = || {
            let mut command = self.command("pg_ctl")?;
            command.arg("status").arg("-D").arg(&self.data).status()
        };
        for _ in 0..600 {
            if !matches!(child.try_wait(), Ok(None)) {
                return false;
            }
            let pid_file = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
            let is_ready = pid_file.lines().nth(7).is_some_and(|line| line.trim() == "ready")
                && pid_file.lines().nth(3).is_some_and(|line| line.trim() == port.to_string());
            if is_ready && ready().is_ok_and(|status| status.success()) {
                return true;
            }
            pause();
        }
        false
    }

    /// Kills the server (SIGKILL) and starts it again: it recovers from its log.
    pub fn kill_and_restart(&self) {
        self.end(|child| child.kill());
        self.run();
    }

    /// Stops the server at once, as `pg_ctl stop -m immediate` does, and starts it again: it recovers from its log.
    pub fn stop_and_restart(&self) {
        self.stop();
        self.run();
    }

    /// Stops the server at once; [`Server::run`] starts it again.
    pub fn stop(&self) {
        self.end(quit);
    }

    fn end(&self, how: impl FnOnce(&mut Child) -> io::Result<()>) {
        if let Some(mut child) = self.running.lock().take() {
            let ended = how(&mut child).and_then(|()| child.wait());
            ended.expect("the server ends");
        }
    }

    /// Runs a statement whose answer is one number, beside the engine.
    ///
    /// Errors: panics when the server does not answer.
    pub async fn ask(&self, statement: &str) -> i64 {
        let runtime = tokio_runtime::on(tokio::runtime::Handle::current());
        let (client, connection) =
            tokio_postgres::connect(&self.settings("any").database, NoTls).await.expect("the server takes connections");
        drop(runtime.spawn(async move { drop(connection.await) }));
        client.query_one(statement, &[]).await.expect("the statement is answered").get(0)
    }

    /// Ends about half of the engine's connections, whatever they are at; how many.
    pub async fn terminate_connections(&self) -> u64 {
        let some = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE application_name = 'headwater' AND random() < 0.5";
        self.ask(some).await as u64
    }

    /// Settings for a cell in this server.
    pub fn settings(&self, schema: &str) -> Settings {
        let port = *self.port.lock();
        Settings::new(format!("host=127.0.0.1 port={port} user=headwater dbname=postgres"), schema)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.running.lock().take()
            && quit(&mut child).and_then(|()| child.wait()).is_err()
        {
            let _ = child.kill();
        }
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.data);
            let _ = fs::remove_file(self.data.with_extension("log"));
        }
    }
}

/// SIGQUIT: the server ends all of its processes and does not write anything.
fn quit(child: &mut Child) -> io::Result<()> {
    let status = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other("no such process")) }
}

/// Whether a file that this process has just made belongs to root.
fn is_root(made: &Path) -> io::Result<bool> {
    Ok(fs::metadata(made)?.uid() == 0)
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

#[allow(clippy::disallowed_methods, reason = "a test waits for another process")]
fn pause() {
    std::thread::sleep(std::time::Duration::from_millis(20));
}
