//! Copies of a running store: snapshots in folders, and forks, which are servers of their own in this process.
//!
//! ```text
//! store ── snapshot(folder) ──▶ folder      stays as it is; `Config::restore_from` starts stores on copies of it
//!       └─ fork() ───────────▶ server       on free loopback ports and a copy of the store, until it or its parent ends
//! ```
//! A copy is another store: shard iterators of the original are expired in it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use headwater_log::Log;
use headwater_storage::contract::{Copied, Target};
use headwater_storage::files::Files;
use headwater_types::BoxFuture;
use tokio::sync::Mutex;

use crate::config::{Admin, Audit, Config, Store};
use crate::lifecycle::{Addresses, RunningServer, start_on};
use crate::store::{self, OpenStore};

/// Forks that run at once, of one server. Source: ours; each has its own listeners, caches and files.
const FORKS_MAX: usize = 256;

/// What a snapshot is and took.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotReport {
    /// Where it is.
    pub directory: PathBuf,
    /// The commit up to which it holds everything.
    pub position: u64,
    /// Files that it shares with the store: they never change.
    pub files_linked: u64,
    /// Files of its own.
    pub files_copied: u64,
    /// Bytes of its own files.
    pub bytes_copied: u64,
    /// Whether files that never change had to be copied too: the folder is on another file system.
    pub without_links: bool,
    /// How long it took. Unit: system time.
    pub took: Duration,
}

/// A fork that runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForkInfo {
    /// Where it listens.
    pub addresses: Addresses,
    /// Where its data is; absent in memory.
    pub data_dir: Option<PathBuf>,
}

/// The copies of one running store, and the forks that live beside it.
pub struct Forks {
    config: Config,
    log: Arc<Log>,
    store: OpenStore,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    forks: Vec<Fork>,
    /// The parent stops: no more are made.
    ended: bool,
}

struct Fork {
    // In this order: the server ends before its folder goes.
    server: RunningServer,
    place: Place,
}

/// Where a fork's store is.
enum Place {
    /// A folder that somebody asked for: it stays.
    Given(PathBuf),
    /// A folder of ours: it goes with the fork.
    Drawn(Folder),
    /// Files in memory: they go with the fork.
    Memory(MemoryFolder),
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        match std::fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, folder = %self.0.display(), "a fork's folder stays");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

struct MemoryFolder {
    files: Arc<dyn Files>,
    directory: PathBuf,
}

impl Drop for MemoryFolder {
    fn drop(&mut self) {
        for folder in [self.directory.clone(), self.directory.join("log"), self.directory.join("index")] {
            for name in self.files.list(&folder).unwrap_or_default() {
                // Memory cannot fail to forget.
                let _ = self.files.remove(&folder.join(name));
            }
        }
    }
}

impl Forks {
    pub(crate) fn new(config: Config, log: Arc<Log>, store: OpenStore) -> Self {
        Self { config, log, store, running: Mutex::default() }
    }

    /// Copies the store, as it is at one commit, to a folder that is new or empty; clients are served meanwhile.
    ///
    /// Errors: the folder is used; the disk is full. Then nothing is changed.
    /// Order:  every write that was answered before the call is in it; it is on disk when this is answered.
    pub async fn snapshot(&self, directory: &Path) -> Result<SnapshotReport> {
        let start = self.log.clock().monotonic();
        let copied = self.copy(Target::Disk(directory.to_owned())).await?;
        let took = self.log.clock().monotonic() - start;
        Ok(SnapshotReport {
            directory: directory.to_owned(),
            position: copied.position.0,
            files_linked: copied.links,
            files_copied: copied.copies,
            bytes_copied: copied.bytes,
            without_links: copied.without_links,
            took,
        })
    }

    /// Starts another server in this process, on a copy of the store and on free loopback ports, otherwise with the same
    /// settings. It runs until [`Forks::end_fork`] or until this server stops. With a folder, the copy is made there and
    /// stays; without one it is beside the data directory, or in memory if the store is, and goes with the fork.
    ///
    /// Errors: the folder is used; the disk is full; too many forks run. Then nothing is changed.
    pub fn fork(&self, directory: Option<PathBuf>) -> BoxFuture<'_, Result<Addresses>> {
        Box::pin(async move {
            // Held throughout, so that none is missed by a stop; one fork at a time.
            let mut running = self.running.lock().await;
            ensure!(!running.ended, "the server is stopping");
            ensure!(running.forks.len() < FORKS_MAX, "{FORKS_MAX} forks are running: end some of them");
            let fork = self.start(directory).await?;
            let addresses = fork.server.addresses();
            running.forks.push(fork);
            Ok(addresses)
        })
    }

    /// Forks that run, oldest first.
    pub async fn list(&self) -> Vec<ForkInfo> {
        self.running.lock().await.forks.iter().map(Fork::info).collect()
    }

    /// Stops a fork, named by where it serves DynamoDB, and removes its data unless a folder was given for it.
    ///
    /// Errors: there is no such fork.
    pub fn end_fork(&self, dynamodb: SocketAddr) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let mut running = self.running.lock().await;
            let of = |fork: &Fork| fork.server.addresses().dynamodb == dynamodb;
            let Some(at) = running.forks.iter().position(of) else {
                bail!("no fork of this server listens on {dynamodb}");
            };
            let fork = running.forks.remove(at);
            drop(running);
            fork.end().await
        })
    }

    /// Stops every fork; none is started from now on.
    pub(crate) fn end(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let forks = {
                let mut running = self.running.lock().await;
                running.ended = true;
                std::mem::take(&mut running.forks)
            };
            let mut result = Ok(());
            for fork in forks {
                result = result.and(fork.end().await);
            }
            result
        })
    }

    async fn start(&self, directory: Option<PathBuf>) -> Result<Fork> {
        let (target, place, kind) = self.place(directory);
        // From here on, what is ours is removed however this ends.
        self.copy(target).await?;
        let config = self.settings_of(kind);
        let mut settings = store::settings(&config);
        if let Place::Memory(folder) = &place {
            (settings.files, settings.directory) = (folder.files.clone(), folder.directory.clone());
        }
        let server = start_on(config, settings).await.context("starting the fork")?;
        Ok(Fork { server, place })
    }

    fn place(&self, directory: Option<PathBuf>) -> (Target, Place, Store) {
        static DRAWN: AtomicU64 = AtomicU64::new(0);
        let suffix = format!(".fork-{}-{}", std::process::id(), DRAWN.fetch_add(1, Ordering::Relaxed));
        let beside = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(&suffix);
            PathBuf::from(name)
        };
        match (directory, &self.config.store) {
            (Some(given), _) => (Target::Disk(given.clone()), Place::Given(given.clone()), Store::Directory(given)),
            (None, Store::Directory(data)) => {
                let drawn = beside(data);
                (Target::Same(drawn.clone()), Place::Drawn(Folder(drawn.clone())), Store::Directory(drawn))
            }
            (None, Store::Memory) => {
                let directory = beside(&self.store.directory);
                let folder = MemoryFolder { files: self.store.files.clone(), directory: directory.clone() };
                (Target::Same(directory), Place::Memory(folder), Store::Memory)
            }
        }
    }

    /// The parent's settings on free loopback ports.
    fn settings_of(&self, store: Store) -> Config {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let parent = &self.config;
        let mut config = Config { store, listen: free, restore_from: None, ..parent.clone() };
        for own in [&mut config.listen_streams, &mut config.listen_kinesis, &mut config.listen_firehose] {
            *own = own.map(|_| free);
        }
        config.admin = match parent.admin {
            Admin::Off => Admin::Off,
            Admin::NextPort | Admin::At(_) => Admin::At(free),
        };
        // Two servers do not share one file: each rotates its own.
        if let Audit::File(_) = config.audit {
            config.audit = Audit::Off;
        }
        config
    }

    async fn copy(&self, target: Target) -> Result<Copied> {
        self.store.cell.copy_to(target).await.context("copying the store")
    }
}

impl Fork {
    fn info(&self) -> ForkInfo {
        let data_dir = match &self.place {
            Place::Given(folder) | Place::Drawn(Folder(folder)) => Some(folder.clone()),
            Place::Memory(_) => None,
        };
        ForkInfo { addresses: self.server.addresses(), data_dir }
    }

    async fn end(self) -> Result<()> {
        let Self { server, place } = self;
        let stopped = server.stop().await;
        drop(place);
        stopped
    }
}

#[cfg(test)]
mod tests;
