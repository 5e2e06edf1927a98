//! Opens the store that the configuration asks for.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use headwater_storage::Cell;
use headwater_storage::embedded::{self, Recovered, Settings};
use headwater_storage::files::Files;
use headwater_types::runtime::tokio_runtime;
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
    pub files: Arc<dyn Files>,
    /// Its folder, in memory too.
    pub directory: PathBuf,
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
    let (files, directory) = (settings.files.clone(), settings.directory.clone());
    let opening = embedded::open(settings, runtime.clone(), clock.clone());
    let (cell, recovered) = opening.await.context("opening the store")?;
    Ok(OpenStore { cell, recovered: found(files.volatile(), &recovered), files, directory })
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

/// Makes the store's folder a copy of a snapshot, which stays as it is.
pub(crate) async fn restore(snapshot: &Path, settings: &Settings) -> Result<()> {
    let runtime = tokio_runtime::on(tokio::runtime::Handle::current());
    let copied = embedded::restore(snapshot, settings, &runtime).await;
    copied.with_context(|| format!("--restore-from {}", snapshot.display())).map(drop)
}
