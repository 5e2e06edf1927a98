//! Start and stop, in one place.
//!
//! ```text
//! start: store (recovered) → log → operations → listeners bound → admin → ready
//! stop:  not ready → forks → listeners end, running requests are answered → jobs → audit → log and store → admin
//! ```

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use headwater_api::Api;
use headwater_delivery::{Doors, Events, Jobs};
use headwater_log::Log;
use headwater_operations::Operations;
use headwater_storage::embedded;
use headwater_types::runtime::tokio_runtime;
use headwater_types::{BoxFuture, Clock, Millis, Runtime};
use headwater_wire::{Accounts, ApiSet, Credentials, Faults, Parts, Server, ServiceEvent, Services, Sink, Tls};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::admin;
use crate::config::{Admin, Audit, Config, ControlAccess};
use crate::control::{self, Control, Refused};
use crate::descriptors::Limit;
use crate::fork::{Forks, SnapshotReport};
use crate::store::{self, FileUse, OpenStore};

/// How long CREATING and the like are shown: long enough to be seen, short enough for tests. Source: ours.
const SHORT_STATES: Duration = Duration::from_millis(50);

/// Where a server listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Addresses {
    /// DynamoDB, and every other API without an address of its own.
    pub dynamodb: SocketAddr,
    /// DynamoDB Streams.
    pub streams: SocketAddr,
    /// Kinesis.
    pub kinesis: SocketAddr,
    /// Firehose.
    pub firehose: SocketAddr,
    /// Health, readiness and metrics.
    pub admin: Option<SocketAddr>,
    /// Whether the APIs are served in TLS; the admin address never is.
    #[serde(default)]
    pub tls: bool,
}

impl Addresses {
    /// The URL of an API's address.
    pub fn url(&self, of: SocketAddr) -> String {
        format!("{}://{of}", if self.tls { "https" } else { "http" })
    }
}

/// A server that runs until it is stopped; dropping it ends it as a crash would, which loses nothing acknowledged.
pub struct RunningServer {
    addresses: Addresses,
    clock: Clock,
    ready: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    stop_admin: watch::Sender<bool>,
    listeners: Vec<BoxFuture<'static, ()>>,
    admin: Option<BoxFuture<'static, ()>>,
    audit: headwater_wire::Audit,
    jobs: Arc<Jobs>,
    log: Arc<Log>,
    store: OpenStore,
    control_token: Option<String>,
    forks: Arc<Forks>,
    faults: Arc<Faults>,
}

/// Starts a server on the current tokio runtime.
///
/// Errors: the store cannot be opened (another process has it, another format, corrupt), an address is taken, the
///         credentials, or the certificate or its key, cannot be read or used.
pub async fn start_in_process(config: Config) -> Result<RunningServer> {
    let settings = store::settings(&config);
    if let Some(snapshot) = &config.restore_from {
        store::restore(snapshot, &settings).await?;
    }
    start_on(config, settings).await
}

/// Starts over a store of these settings.
pub(crate) async fn start_on(config: Config, store: embedded::Settings) -> Result<RunningServer> {
    let runtime = tokio_runtime::on(tokio::runtime::Handle::current());
    let clock = Clock::new(runtime.clone(), Millis(0));
    let credentials = credentials(&config)?;
    let tls = tls(&config)?;
    let store = store::open(store, &runtime, &clock).await?;
    let settings = headwater_log::Settings {
        short_states: SHORT_STATES,
        split_writes_per_second: config.split_writes_per_second,
        shard_life_ms: i64::try_from(config.shard_life * 1_000).unwrap_or(i64::MAX),
        ..headwater_log::Settings::default()
    };
    let log =
        Log::open(store.cell.clone(), runtime.clone(), clock.clone(), settings).await.context("opening the log")?;
    let control_token = match &config.control {
        ControlAccess::Off => None,
        ControlAccess::Drawn => Some(format!("{:032x}", runtime.random_u128())),
        ControlAccess::Token(token) => Some(token.clone()),
    };
    // Who knows this server's token controls its forks too.
    let control = control_token.clone().map_or(ControlAccess::Off, ControlAccess::Token);
    let forks = Forks::new(Config { control, ..config.clone() }, log.clone(), store.clone());
    let operations =
        Operations::new(log.clone()).verifying_callers(config.credentials.is_some()).with_aws_limits(config.aws_limits);
    let services = Services {
        dynamodb: operations.dynamodb(),
        streams: operations.dynamodb_streams(),
        kinesis: operations.kinesis(),
        firehose: operations.firehose(),
    };
    let mut parts = Parts::new(services, runtime.clone(), clock.clone());
    parts.credentials = credentials;
    // An eighth of the memory may be bodies on their way.
    parts.settings.bodies_bytes_max = usize::try_from(config.memory_bytes / 8).unwrap_or(usize::MAX).max(64 << 20);
    if let Some(limit) = Limit::of_process() {
        let wanted = parts.settings.connections_max;
        parts.settings.connections_max = limit.connections(wanted);
        if parts.settings.connections_max < wanted {
            let (most, soft) = (parts.settings.connections_max, limit.soft);
            tracing::warn!("at most {most} connections at once, not {wanted}: the process may open {soft} files");
        }
    }
    parts.audit = headwater_wire::Audit::start(&sink(&config.audit), &runtime, &clock, &parts.metrics)
        .context("opening the audit log")?;
    let (audit, metrics, faults) = (parts.audit.clone(), parts.metrics.clone(), parts.faults.clone());
    let doors = Doors { throttle: operations.throttle(), events: Some(audited(audit.clone())) };
    let jobs = Jobs::start_with(log.clone(), headwater_delivery::Settings::default(), doors);
    let server = Server::new(parts);

    let (stop, stopped) = watch::channel(false);
    let (stop_admin, admin_stopped) = watch::channel(false);
    let (mut addresses, listeners) = listen(&config, &server, tls.as_ref(), &runtime, &stopped).await?;
    let ready = Arc::new(AtomicBool::new(true));
    let handle = Control::new(log.clone(), forks.clone(), faults.clone(), jobs.clone());
    let state = admin::State {
        ready: ready.clone(),
        metrics,
        log: log.clone(),
        jobs: jobs.clone(),
        store: store.clone(),
        control: control_token.as_deref().map(|token| control::http::Api::new(handle, token)),
    };
    let admin = match admin_address(&config, addresses.dynamodb) {
        None => None,
        Some(address) => {
            let listener = bind(address).await.context("the admin address")?;
            addresses.admin = Some(listener.local_addr()?);
            let serving = admin::serve(listener, state, runtime.clone(), ended(admin_stopped));
            Some(done(runtime.spawn(serving)))
        }
    };
    Ok(RunningServer {
        addresses,
        clock,
        ready,
        stop,
        stop_admin,
        listeners,
        admin,
        audit,
        jobs,
        log,
        store,
        control_token,
        forks,
        faults,
    })
}

impl RunningServer {
    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Moves its clock and its shards, as the control API does.
    pub fn control(&self) -> Control {
        Control::new(self.log.clone(), self.forks.clone(), self.faults.clone(), self.jobs.clone())
    }

    /// The token of the control API, when that is served.
    pub fn control_token(&self) -> Option<&str> {
        self.control_token.as_deref()
    }

    /// Its clock, for reading; [`Control`] moves it.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What its store found at start, in words; nothing in memory.
    pub fn recovered(&self) -> Option<&str> {
        self.store.recovered.as_deref()
    }

    /// What its store has asked of files so far; nothing in memory.
    pub fn file_use(&self) -> FileUse {
        self.store.file_use()
    }

    /// Snapshots and forks of its store.
    pub fn forks(&self) -> &Arc<Forks> {
        &self.forks
    }

    /// Copies the store to a folder that is new or empty: see [`Forks::snapshot`].
    pub async fn snapshot(&self, directory: &Path) -> Result<SnapshotReport, Refused> {
        self.forks.snapshot(directory).await
    }

    /// Starts another server on a copy of the store: see [`Forks::fork`].
    pub async fn fork(&self, directory: Option<PathBuf>) -> Result<Addresses, Refused> {
        self.forks.fork(directory).await
    }

    /// Stops a fork: see [`Forks::end_fork`].
    pub async fn end_fork(&self, dynamodb: SocketAddr) -> Result<(), Refused> {
        self.forks.end_fork(dynamodb).await
    }

    /// Ends when the store takes no writes any more though nobody has asked for a stop: a sync has failed, and only a new
    /// start finds out what the disk holds.
    pub fn store_failed(&self) -> impl Future<Output = ()> + Send + 'static {
        self.log.ended()
    }

    /// Stops accepting, answers what runs, syncs and releases the store; its forks first.
    pub async fn stop(self) -> Result<()> {
        self.ready.store(false, Ordering::Release);
        let forks = self.forks.end().await;
        self.stop.send_replace(true);
        for listener in self.listeners {
            listener.await;
        }
        self.jobs.stop().await;
        self.audit.close().await;
        let closed = self.log.close().await;
        self.stop_admin.send_replace(true);
        if let Some(admin) = self.admin {
            admin.await;
        }
        closed.context("closing the store")?;
        forks.context("ending a fork")
    }
}

fn credentials(config: &Config) -> Result<Credentials> {
    match &config.credentials {
        Some(file) => Credentials::from_file(file).with_context(|| format!("--credentials {}", file.display())),
        None => {
            let accounts = Accounts { by_key: config.accounts.clone(), other: config.account.clone() };
            Credentials::open(accounts).context("--account")
        }
    }
}

/// What happens to replications stands in the audit trail.
fn audited(audit: headwater_wire::Audit) -> Events {
    Arc::new(move |event| {
        audit.happened(&ServiceEvent {
            name: event.happening.as_str(),
            account: &event.account,
            region: &event.region,
            resources: &[&event.table, &event.stream],
            reason: &event.reason,
        });
    })
}

/// Errors: a file that is missing, cannot be read or holds something else, a key of another certificate; it is named.
fn tls(config: &Config) -> Result<Option<Tls>> {
    let Some(files) = &config.tls else { return Ok(None) };
    Tls::from_files(&files.certificate, &files.key).context("--tls-certificate, --tls-key").map(Some)
}

fn sink(audit: &Audit) -> Sink {
    match audit {
        Audit::Off => Sink::Off,
        Audit::Stderr => Sink::Stderr,
        Audit::File(path) => Sink::file(path.clone()),
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))
}

/// Binds every address before any is served, so that a failed start serves nothing.
async fn listen(
    config: &Config,
    server: &Server,
    tls: Option<&Tls>,
    runtime: &Runtime,
    stopped: &watch::Receiver<bool>,
) -> Result<(Addresses, Vec<BoxFuture<'static, ()>>)> {
    let main = bind(config.listen).await?;
    let address = main.local_addr()?;
    let mut addresses = Addresses {
        dynamodb: address,
        streams: address,
        kinesis: address,
        firehose: address,
        admin: None,
        tls: tls.is_some(),
    };
    let mut bound = vec![(main, ApiSet::ALL)];
    for (own, api, place) in [
        (config.listen_streams, Api::DynamoDbStreams, &mut addresses.streams),
        (config.listen_kinesis, Api::Kinesis, &mut addresses.kinesis),
        (config.listen_firehose, Api::Firehose, &mut addresses.firehose),
    ] {
        if let Some(own) = own {
            let listener = bind(own).await?;
            *place = listener.local_addr()?;
            bound.push((listener, ApiSet::only(api)));
        }
    }
    let serve = |(listener, apis): (TcpListener, ApiSet)| {
        let (server, tls, stopped) = (server.clone(), tls.cloned(), stopped.clone());
        done(runtime.spawn(async move {
            match tls {
                None => server.serve(listener, apis, ended(stopped)).await,
                Some(tls) => server.serve_tls(listener, tls, apis, ended(stopped)).await,
            }
        }))
    };
    Ok((addresses, bound.into_iter().map(serve).collect()))
}

fn admin_address(config: &Config, api: SocketAddr) -> Option<SocketAddr> {
    match config.admin {
        Admin::Off => None,
        Admin::At(address) => Some(address),
        // A drawn port says nothing about its neighbour: draw again.
        Admin::NextPort if config.listen.port() == 0 => Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        Admin::NextPort => Some(SocketAddr::from(([127, 0, 0, 1], api.port().wrapping_add(1)))),
    }
}

/// Ends when stopping begins, or when whoever could stop is gone.
async fn ended(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// A task's end, whatever it came to: a panic in it is logged where it happens.
fn done<T: Send + 'static>(
    task: impl Future<Output = Result<T, headwater_types::runtime::Lost>> + Send + 'static,
) -> BoxFuture<'static, ()> {
    Box::pin(async move { drop(task.await) })
}

#[cfg(test)]
mod tests;
