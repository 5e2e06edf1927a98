//! A server under test: a process of its own, its CPU time and I/O as the kernel counts them. Linux only.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

use crate::load::Connection;

/// Longest wait for a server that says nothing.
const LISTENS_WITHIN: Duration = Duration::from_secs(60);

/// A running server process; ended when dropped.
pub struct Subject {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where its metrics are, if it has some.
    pub admin: Option<SocketAddr>,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// User and system time.
    pub cpu: Duration,
    /// Bytes handed to write calls on files (`wchar` counts sockets too on some kernels: see `disk_bytes`).
    pub written_bytes: u64,
    /// Bytes that reached the block layer.
    pub disk_bytes: u64,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Calls on files, as the server's own I/O layer counts them; zero for one without an admin address.
    pub file_calls: u64,
}

impl Subject {
    /// Starts a program that prints `dynamodb  http://ADDRESS`, optionally `admin  http://ADDRESS`, then a line that
    /// starts with `try:`.
    pub fn start(program: &Path, arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let output = child.stdout.take().context("its output")?;
        // Owned from here on, so that a start that fails ends the process too.
        let mut subject = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), admin: None };
        let mut lines = BufReader::new(output).lines();
        for line in lines.by_ref() {
            let line = line?;
            let mut words = line.split_whitespace();
            let address = |text: &str| text.split('/').next().unwrap_or_default().parse::<SocketAddr>();
            match (words.next(), words.next().and_then(|word| word.strip_prefix("http://"))) {
                (Some("dynamodb"), Some(at)) => subject.address = address(at)?,
                (Some("admin"), Some(at)) => subject.admin = Some(address(at)?),
                (Some("try:"), _) => break,
                _ => {}
            }
        }
        // Keep reading, or the server would block on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        ensure!(subject.address.port() != 0, "{} printed no address", program.display());
        Ok(subject)
    }

    /// Starts a server that says nothing of use, and waits until it listens on `port`.
    pub fn listening(command: &mut Command, port: u16) -> Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut subject = Self { child: child.with_context(|| format!("starting {command:?}"))?, address, admin: None };
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            ensure!(subject.child.try_wait()?.is_none(), "{command:?} has ended");
            ensure!(start.elapsed() < LISTENS_WITHIN, "{command:?} does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(subject)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// User and system time since it was started.
    pub fn cpu(&self) -> Result<Duration> {
        // The clock of the process: nanoseconds of all its threads, those that have ended too.
        let clock = clock_getcpuclockid(Pid::from_raw(self.child.id() as i32)).context("benches need Linux")?;
        Ok(clock.now()?.into())
    }

    /// What it has used since it was started.
    pub fn used(&self) -> Result<Used> {
        let proc = format!("/proc/{}", self.child.id());
        let io = fs::read_to_string(format!("{proc}/io"))?;
        let status = fs::read_to_string(format!("{proc}/status"))?;
        Ok(Used {
            cpu: self.cpu()?,
            written_bytes: field(&io, "wchar:"),
            disk_bytes: field(&io, "write_bytes:"),
            resident_bytes: field(&status, "VmRSS:") * 1024,
            file_calls: self.metric("headwater_file_calls_total")?,
        })
    }
}

/// What a store has committed so far.
#[derive(Clone, Copy, Debug)]
pub struct Groups {
    /// Plans, one per write.
    pub plans: u64,
    /// Syncs of log files.
    pub syncs: u64,
    /// Bytes appended to log files.
    pub bytes: u64,
}

impl Subject {
    /// What its store has committed.
    pub fn groups(&self) -> Result<Groups> {
        Ok(Groups {
            plans: self.metric("headwater_commit_plans_total")?,
            syncs: self.metric("headwater_log_syncs_total")?,
            bytes: self.metric("headwater_log_written_bytes_total")?,
        })
    }

    /// One of its metrics; zero for a server without an admin address.
    pub fn metric(&self, name: &str) -> Result<u64> {
        let Some(admin) = self.admin else { return Ok(0) };
        let text = Connection::open(admin)?.call(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")?.to_vec();
        Ok(field(std::str::from_utf8(&text)?, &format!("{name} ")))
    }
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|word| word.parse().ok()).unwrap_or_default()
}

impl Drop for Subject {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
