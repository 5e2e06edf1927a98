//! Connections: made when needed, dropped after any failure, and callers that block until an answer is there.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use headwater_types::Runtime;
use headwater_types::runtime::tokio_runtime;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};

use super::Settings;
use super::commit::{Committing, Done, Failure, StoreTime};
use super::snapshot::Reader;
use crate::contract::Batch;
use crate::error::{Error, Kind};

/// How long a failed attempt is rested from. Unit: system time.
const PAUSE: Duration = Duration::from_millis(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What every session is set to. A commit is answered when it is durable, whatever the server's default; locks of a node
/// that stands still are taken from it.
const SESSION: &str = "-c synchronous_commit=on -c idle_in_transaction_session_timeout=10000 -c lock_timeout=10000 \
                       -c default_transaction_isolation=read\\ committed -c statement_timeout=60000";

/// The engine's own runtime and its connections.
pub(super) struct Connections {
    /// Present until this is dropped.
    threads: Option<tokio::runtime::Runtime>,
    pub runtime: Runtime,
    config: Config,
    patience: Duration,
    readers: Vec<tokio::sync::Mutex<Option<Arc<Reader>>>>,
    next_reader: AtomicUsize,
    pub questions: AtomicU64,
    committing: tokio::sync::Mutex<Option<Committing>>,
}

impl Connections {
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let invalid = |error| Error::new(Kind::Invalid, "the database's address is not understood").because(error);
        let mut config: Config = settings.database.parse().map_err(invalid)?;
        config.options(format!("{SESSION} -c search_path={}", settings.schema));
        config.application_name("headwater").connect_timeout(CONNECT_TIMEOUT);
        config.keepalives_idle(Duration::from_secs(10)).tcp_user_timeout(Duration::from_secs(20));
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("headwater-postgres")
            .enable_all()
            .build()
            .map_err(|error| Error::new(Kind::Unavailable, "no threads for the database").because(error))?;
        let runtime = tokio_runtime::on(threads.handle().clone());
        let readers = (0..settings.readers.max(1)).map(|_| tokio::sync::Mutex::new(None)).collect();
        Ok(Self {
            threads: Some(threads),
            runtime,
            config,
            patience: settings.patience,
            readers,
            next_reader: AtomicUsize::new(0),
            questions: AtomicU64::new(0),
            committing: tokio::sync::Mutex::new(None),
        })
    }

    /// A new connection; its task ends with it.
    pub async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = self.config.connect(NoTls).await?;
        drop(self.runtime.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the database has ended");
            }
        }));
        Ok(client)
    }

    /// A new connection that hands over the notifications it gets.
    pub async fn listen(
        &self,
        heard: impl Fn() + Send + 'static,
    ) -> Result<(Client, impl Future<Output = ()> + Send + 'static), tokio_postgres::Error> {
        let (client, mut connection) = self.config.connect(NoTls).await?;
        let ended = self.runtime.spawn(async move {
            while let Some(message) = std::future::poll_fn(|context| connection.poll_message(context)).await {
                match message {
                    Ok(tokio_postgres::AsyncMessage::Notification(_)) => heard(),
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        });
        Ok((client, async move {
            let _ = ended.await;
        }))
    }

    /// Runs `work` on the engine's runtime and blocks until it has ended.
    pub fn block<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let (send, receive) = sync_channel(1);
        drop(self.runtime.spawn(async move {
            let _ = send.send(work.await);
        }));
        receive.recv().unwrap_or_else(|_| Err(Error::new(Kind::Closed, "the database's threads have ended")))
    }

    /// Reads, again and again while the server is out of reach, for as long as the settings say.
    pub async fn read<T, F, W>(&self, work: W) -> Result<T, Error>
    where
        W: Fn(Arc<Reader>) -> F,
        F: Future<Output = Result<Result<T, Error>, tokio_postgres::Error>>,
    {
        let give_up = self.runtime.monotonic() + self.patience;
        loop {
            let error = match self.read_once(&work).await {
                Ok(answer) => return answer,
                Err(error) => error,
            };
            if !is_passing(&error) {
                return Err(translated(error));
            }
            if self.runtime.monotonic() > give_up {
                return Err(Error::new(Kind::Unavailable, "the database is out of reach").because(error));
            }
            self.runtime.sleep(PAUSE).await;
        }
    }

    async fn read_once<T, F, W>(&self, work: &W) -> Result<Result<T, Error>, tokio_postgres::Error>
    where
        W: Fn(Arc<Reader>) -> F,
        F: Future<Output = Result<Result<T, Error>, tokio_postgres::Error>>,
    {
        let at = self.next_reader.fetch_add(1, Ordering::Relaxed) % self.readers.len();
        self.questions.fetch_add(1, Ordering::Relaxed);
        let slot = &self.readers[at];
        let reader = {
            let mut held = slot.lock().await;
            match &*held {
                Some(reader) if !reader.client.is_closed() => reader.clone(),
                _ => held.insert(Arc::new(Reader::new(self.connect().await?).await?)).clone(),
            }
        };
        work(reader).await
    }

    /// Commits a batch on the connection that is kept for it.
    pub async fn commit(&self, batch: &Batch, time: StoreTime, draws: bool) -> Result<Done, Failure> {
        let mut held = self.committing.lock().await;
        let committing = match held.take() {
            Some(committing) if !committing.client.is_closed() => committing,
            _ => {
                let client = self.connect().await.map_err(Failure::before)?;
                Committing::new(client).await.map_err(Failure::before)?
            }
        };
        let done = committing.commit(batch, time, draws).await;
        // After a failure the connection may be inside a transaction: it goes, and the server rolls back.
        if done.is_ok() {
            *held = Some(committing);
        }
        done
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        // The last handle may go inside a task, where waiting for threads is forbidden.
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

/// Whether the same call may succeed a moment later: the connection was lost, the server stops or starts.
pub(super) fn is_passing(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        // No code: the connection failed, or what came over it.
        None => true,
        Some(code) => {
            // Connections, resources, an operator's or the server's own stop; a session that stood still in a transaction;
            // a standby that is not promoted yet.
            let classes = ["08", "53", "57"];
            let codes = [SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT, SqlState::READ_ONLY_SQL_TRANSACTION];
            *code != SqlState::DISK_FULL
                && (classes.iter().any(|class| code.code().starts_with(class))
                    || codes.contains(code)
                    || is_conflict(code))
        }
    }
}

/// Whether the server rolled a transaction back for the sake of another one.
pub(super) fn is_conflict(code: &SqlState) -> bool {
    [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE, SqlState::LOCK_NOT_AVAILABLE].contains(code)
}

/// A database's error in the contract's terms.
pub(super) fn translated(error: tokio_postgres::Error) -> Error {
    match error.code() {
        Some(code) if *code == SqlState::DISK_FULL => {
            Error::new(Kind::Full, "the database's disk is full").because(error)
        }
        Some(code) if [SqlState::DATA_CORRUPTED, SqlState::INDEX_CORRUPTED].contains(code) => {
            Error::new(Kind::Corrupt, "the database found damage").because(error)
        }
        Some(code) if !is_passing(&error) => {
            let message = format!("the database refuses a statement ({})", code.code());
            Error::new(Kind::Invalid, message).because(error)
        }
        _ => Error::new(Kind::Unavailable, "the database is out of reach").because(error),
    }
}
