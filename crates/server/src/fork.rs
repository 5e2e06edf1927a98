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

use headwater_log::Log;
use headwater_storage::contract::Target;
use headwater_storage::files::Files;
use headwater_storage::{Error, Kind, embedded};
use headwater_types::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::config::{Admin, Audit, Config, Store};
use crate::control::Refused;
use crate::lifecycle::{Addresses, RunningServer, start_on};
use crate::store::{self, OpenStore};

/// Forks that run at once, of one server. Source: ours; each has its own listeners, caches and files.
const FORKS_MAX: usize = 256;

/// What a snapshot is and took.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
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
    /// How long it took. Unit: microseconds of system time.
    pub took_us: u64,
}

/// A fork that runs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ForkInfo {
    /// Where it listens.
    #[serde(flatten)]
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
        let inside = ["log", "archive", "index"].map(|folder| self.directory.join(folder));
        for folder in inside.into_iter().chain([self.directory.clone()]) {
            for name in self.files.list(&folder).unwrap_or_default() {
                // Memory cannot fail to forget.
                let _ = self.files.remove(&folder.join(name));
            }
        }
    }
}

/// What a fork starts on a copy of.
enum Origin {
    /// The parent's store as it is now.
    Parent,
    /// A snapshot.
    Snapshot(PathBuf),
}

impl Forks {
    pub(crate) fn new(config: Config, log: Arc<Log>, store: OpenStore) -> Arc<Self> {
        Arc::new(Self { config, log, store, running: Mutex::default() })
    }

    /// Copies the store, as it is at one commit, to a folder that is new or empty; clients are served meanwhile.
    ///
    /// Errors: the folder is used; the disk is full. Then nothing is changed.
    /// Order:  every write that was answered before the call is in it; it is on disk when this is answered.
    pub async fn snapshot(&self, directory: &Path) -> Result<SnapshotReport, Refused> {
        let start = self.log.clock().monotonic();
        let copied = self.store.cell.copy_to(Target::Disk(directory.to_owned())).await?;
        let took = self.log.clock().monotonic() - start;
        Ok(SnapshotReport {
            directory: directory.to_owned(),
            position: copied.position.0,
            files_linked: copied.links,
            files_copied: copied.copies,
            bytes_copied: copied.bytes,
            without_links: copied.without_links,
            took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        })
    }

    /// Starts another server in this process, on a copy of the store and on free loopback ports, otherwise with the same
    /// settings. It runs until [`Forks::end_fork`] or until this server stops. With a folder, the copy is made there and
    /// stays; without one it is beside the data directory, or in memory if the store is, and goes with the fork.
    ///
    /// Errors: the folder is used; the disk is full; too many forks run. Then nothing is changed.
    pub async fn fork(self: &Arc<Self>, directory: Option<PathBuf>) -> Result<Addresses, Refused> {
        self.make(Origin::Parent, directory).await
    }

    /// The same on a copy of a snapshot, which stays as it is.
    ///
    /// Errors: there is no snapshot; otherwise as [`Forks::fork`].
    pub async fn restore(
        self: &Arc<Self>,
        snapshot: PathBuf,
        directory: Option<PathBuf>,
    ) -> Result<Addresses, Refused> {
        self.make(Origin::Snapshot(snapshot), directory).await
    }

    /// Forks that run, oldest first.
    pub async fn list(&self) -> Vec<ForkInfo> {
        self.running.lock().await.forks.iter().map(Fork::info).collect()
    }

    /// Stops a fork, named by where it serves DynamoDB, and removes its data unless a folder was given for it.
    ///
    /// Errors: there is no such fork.
    pub async fn end_fork(&self, dynamodb: SocketAddr) -> Result<(), Refused> {
        let fork = {
            let mut running = self.running.lock().await;
            let of = |fork: &Fork| fork.server.addresses().dynamodb == dynamodb;
            let Some(at) = running.forks.iter().position(of) else {
                return Err(Refused::not_found(format!("no fork of this server listens on {dynamodb}")));
            };
            running.forks.remove(at)
        };
        fork.end().await
    }

    /// Stops every fork; none is started from now on.
    pub(crate) async fn end(&self) -> Result<(), Refused> {
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
    }

    /// A task of its own, so that what was begun is listed or removed even if whoever asked goes away.
    fn make(
        self: &Arc<Self>,
        origin: Origin,
        directory: Option<PathBuf>,
    ) -> BoxFuture<'static, Result<Addresses, Refused>> {
        let forks = self.clone();
        let made = self.log.runtime().spawn(async move {
            // Held throughout, so that none is missed by a stop; one fork at a time.
            let mut running = forks.running.lock().await;
            if running.ended {
                return Err(Refused::unavailable("the server is stopping"));
            }
            if running.forks.len() >= FORKS_MAX {
                return Err(Refused::unavailable(format!("{FORKS_MAX} forks are running: end some of them")));
            }
            let fork = forks.start(origin, directory).await?;
            let addresses = fork.server.addresses();
            running.forks.push(fork);
            Ok(addresses)
        });
        Box::pin(async move { made.await.unwrap_or_else(|lost| Err(Refused::unavailable(lost.to_string()))) })
    }

    fn start(&self, origin: Origin, directory: Option<PathBuf>) -> BoxFuture<'_, Result<Fork, Refused>> {
        Box::pin(async move {
            let (target, place, kind) = self.place(directory);
            let config = self.settings_of(kind);
            let mut settings = store::settings(&config);
            if let Place::Memory(folder) = &place {
                (settings.files, settings.directory) = (folder.files.clone(), folder.directory.clone());
            }
            // From here on, what is ours is removed however this ends.
            match &origin {
                Origin::Parent => self.store.cell.copy_to(target).await?,
                Origin::Snapshot(snapshot) => embedded::restore(snapshot, &settings, self.log.runtime()).await?,
            };
            let started = start_on(config, settings).await;
            let server = started.map_err(|error| Refused::unavailable(format!("starting the fork: {error:#}")))?;
            Ok(Fork { server, place })
        })
    }

    fn place(&self, directory: Option<PathBuf>) -> (Target, Place, Store) {
        static DRAWN: AtomicU64 = AtomicU64::new(0);
        let suffix = format!(".fork-{}-{}", std::process::id(), DRAWN.fetch_add(1, Ordering::Relaxed));
        let beside = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(&suffix);
            PathBuf::from(name)
        };
        if let Some(given) = directory {
            return (Target::Disk(given.clone()), Place::Given(given.clone()), Store::Directory(given));
        }
        match &self.config.store {
            Store::Directory(data) => {
                let drawn = beside(data);
                (Target::Same(drawn.clone()), Place::Drawn(Folder(drawn.clone())), Store::Directory(drawn))
            }
            Store::Memory => {
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
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        match error.kind {
            Kind::Invalid => Self::invalid(error.to_string()),
            Kind::Conflict | Kind::Unavailable | Kind::Full | Kind::Corrupt | Kind::Closed => {
                Self::unavailable(error.to_string())
            }
        }
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

    fn end(self) -> BoxFuture<'static, Result<(), Refused>> {
        Box::pin(async move {
            let Self { server, place } = self;
            let stopped = server.stop().await;
            drop(place);
            stopped.map_err(|error| Refused::unavailable(format!("ending the fork: {error:#}")))
        })
    }
}
