//! When trees flush and compact, by what they say in their log: both engines that are built on `lsm-tree` say the same.
//!
//! A window begins with the message that announces the work and ends with the last one of the same thread before it
//! announces something else.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};
use std::thread::{self, ThreadId};
use std::time::Instant;

use anyhow::{Result, anyhow};
use log::{Level, LevelFilter, Log, Metadata, Record};

/// Who says something that counts; the others speak of single entries.
const SOURCES: [&str; 4] =
    ["lsm_tree::tree", "lsm_tree::blob_tree", "lsm_tree::compaction::worker", "lsm_tree::version"];

/// What a tree is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Writes a part in memory to disk and persists the list of tables.
    Flush,
    /// Merges tables and persists the list of tables.
    Compaction,
}

/// Work of one thread, in microseconds since the process began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// What it was.
    pub kind: Kind,
    /// Begin.
    pub from_us: u64,
    /// End.
    pub to_us: u64,
}

static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
static NOTED: LazyLock<Mutex<Noted>> = LazyLock::new(Mutex::default);

/// Microseconds since the process began.
pub fn now_us() -> u64 {
    BEGIN.elapsed().as_micros() as u64
}

#[derive(Default)]
struct Noted {
    open: HashMap<ThreadId, Window>,
    closed: Vec<Window>,
}

impl Noted {
    fn hear(&mut self, thread: ThreadId, message: &str, at: u64) {
        let begins = match message {
            message if message.starts_with("Flushing memtable") => Some(Kind::Flush),
            message if message.starts_with("Compaction choice: Merge") => Some(Kind::Compaction),
            _ => None,
        };
        let ends = begins.is_some() || message.starts_with("Compaction choice") || message.starts_with("Consulting");
        if ends {
            self.closed.extend(self.open.remove(&thread));
        }
        if let Some(kind) = begins {
            self.open.insert(thread, Window { kind, from_us: at, to_us: at });
        } else if let Some(window) = self.open.get_mut(&thread) {
            window.to_us = at;
        }
    }
}

struct Listener;

impl Log for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Trace && SOURCES.iter().any(|source| metadata.target().starts_with(source))
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let message = record.args().to_string();
            NOTED.lock().expect("no holder panics").hear(thread::current().id(), &message, now_us());
        }
    }

    fn flush(&self) {}
}

/// Listens from now on.
pub fn listen() -> Result<()> {
    LazyLock::force(&BEGIN);
    log::set_logger(&Listener).map_err(|error| anyhow!("{error}"))?;
    log::set_max_level(LevelFilter::Trace);
    Ok(())
}

/// All windows so far, in order of their begin; what is under way lasts until now.
pub fn all() -> Vec<Window> {
    let noted = NOTED.lock().expect("no holder panics");
    let open = noted.open.values().copied();
    let mut all: Vec<Window> = noted.closed.iter().copied().chain(open).collect();
    all.sort_by_key(|window| window.from_us);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_ends_with_the_last_word_before_the_next_one() {
        let (mut noted, one) = (Noted::default(), thread::current().id());
        let two = thread::spawn(|| thread::current().id()).join().expect("it ends");
        noted.hear(one, "Flushing memtable(s) to here", 10);
        noted.hear(two, "Compaction choice: Merge(…) in 1 ms", 12);
        noted.hear(one, "Registering 1 tables", 20);
        noted.hear(two, "Compaction successful", 90);
        noted.hear(two, "Consulting compaction strategy", 200);
        noted.hear(two, "Compaction choice: DoNothing in 1 ms", 210);
        noted.hear(two, "Compactor chose to do nothing", 220);
        noted.hear(one, "Flushing memtable(s) to here", 300);
        let window = |kind, from_us, to_us| Window { kind, from_us, to_us };
        let compaction = window(Kind::Compaction, 12, 90);
        assert_eq!(noted.closed, [compaction, window(Kind::Flush, 10, 20)]);
        assert_eq!(noted.open.len(), 1);
    }
}
