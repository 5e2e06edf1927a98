//! The servers that a report compares, and what a part of the report comes to.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::Value;
use tempfile::TempDir;

use crate::load::Connection;
use crate::plots::Plot;
use crate::report::Row;
use crate::rounds::Rounds;
use crate::subject::Subject;
use crate::workload;

/// Where the servers are, and how long to measure.
pub struct Lab {
    /// The server's release binary.
    pub server: PathBuf,
    /// The bare server's release binary.
    pub bare: PathBuf,
    /// Data directories and audit logs; removed at the end.
    pub folder: TempDir,
    /// Interleaved rounds.
    pub rounds: Rounds,
    /// The largest table that the growth part fills.
    pub items_max: usize,
}

/// A part of the report.
#[derive(Default)]
pub struct Section {
    /// Heading.
    pub title: &'static str,
    /// What was done, and what to mind.
    pub note: String,
    /// What the figures are medians of; nothing for a part that has no rounds.
    pub rounds: Option<Rounds>,
    /// Measured workloads.
    pub rows: Vec<Row>,
    /// Tables of its own, in Markdown.
    pub text: String,
    /// The same for programs.
    pub json: Value,
    /// Drawings.
    pub plots: Vec<Plot>,
}

impl Lab {
    /// The yardstick.
    pub fn bare(&self) -> Result<Subject> {
        Subject::start(&self.bare, &[])
    }

    /// The yardstick of what reads: it answers so many bytes.
    pub fn bare_answering(&self, bytes: usize) -> Result<Subject> {
        Subject::start(&self.bare, &[&bytes.to_string()])
    }

    /// Our server without a disk, audited as it is by default, with a table `plain` and a table `streamed`.
    pub fn memory(&self, name: &str) -> Result<Subject> {
        with_tables(self.start(name, &["--in-memory"])?)
    }

    /// The same on disk.
    pub fn disk(&self, name: &str) -> Result<Subject> {
        with_tables(self.start(name, &["--data-dir", &self.data(name)])?)
    }

    /// Our server with an audit log of its own and no tables.
    pub fn start(&self, name: &str, arguments: &[&str]) -> Result<Subject> {
        let audit = self.folder.path().join(format!("{name}.jsonl")).display().to_string();
        let common = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--audit", &audit];
        Subject::start(&self.server, &[&common[..], arguments].concat())
    }

    /// Data directory of a server of that name.
    pub fn data(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

/// Creates the two tables.
pub fn with_tables(subject: Subject) -> Result<Subject> {
    let mut connection = Connection::open(subject.address)?;
    workload::create_table(&mut connection, "plain", false)?;
    workload::create_table(&mut connection, "streamed", true)?;
    Ok(subject)
}

/// Three versions of all items of a table, so that a repeated put is a change.
pub fn three(requests: impl Fn(usize) -> Vec<Vec<u8>>) -> Vec<Vec<Vec<u8>>> {
    (0..3).map(requests).collect()
}
