//! Opens the store that the configuration asks for.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use headwater_storage::Cell;
use headwater_storage::embedded::{self, Recovered, Settings};
use headwater_storage::files::Files;
use headwater_types::{Clock, Runtime};

use crate::config::{Config, Durability, Store};

/// With `--durability relaxed` nothing older than this is lost. Source: ours.
const RELAXED_INTERVAL: Duration = Duration::from_millis(100);

/// What a store has asked of its files.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileUse {
    /// Calls.
    pub calls: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Syncs.
    pub syncs: u64,
}

/// An open store.
#[derive(Clone)]
pub(crate) struct OpenStore {
    pub cell: Arc<dyn Cell>,
    pub recovered: Option<String>,
    files: Arc<dyn Files>,
}

impl OpenStore {
    pub fn file_use(&self) -> FileUse {
        let counts = self.files.counts();
        FileUse { calls: counts.calls, bytes_written: counts.bytes_written, syncs: counts.syncs }
    }
}

/// The engine's settings for a configuration.
pub(crate) fn settings(config: &Config) -> Settings {
    let mut settings = match &config.store {
        Store::Memory => Settings::in_memory(),
        Store::Directory(directory) => Settings::on_disk(directory),
    };
    settings.memory_bytes = config.memory_bytes;
    settings.durability = match config.durability {
        Durability::Strict => embedded::Durability::Strict,
        Durability::Relaxed => embedded::Durability::Relaxed { interval: RELAXED_INTERVAL },
    };
    settings
}

/// Opens the store and raises `clock` to what an earlier run may have shown.
pub(crate) async fn open(settings: Settings, runtime: &Runtime, clock: &Clock) -> Result<OpenStore> {
    let files = settings.files.clone();
    let opening = embedded::open(settings, runtime.clone(), clock.clone());
    let (cell, recovered) = opening.await.context("opening the store")?;
    Ok(OpenStore { cell, recovered: found(files.volatile(), &recovered), files })
}

/// What was found at start, for a person.
fn found(volatile: bool, recovered: &Recovered) -> Option<String> {
    if volatile || recovered.created {
        return None;
    }
    Some(format!(
        "{} segments, {} bytes; {} groups replayed, {} of them copied and synced again; {} ms",
        recovered.segments, recovered.bytes, recovered.groups_replayed, recovered.groups_copied, recovered.milliseconds
    ))
}
