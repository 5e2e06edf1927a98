//! Listeners, and the connections they accept, from start to graceful stop.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use headwater_api::dynamodb::DynamoDb;
use headwater_api::dynamodb_streams::DynamoDbStreams;
use headwater_api::firehose::Firehose;
use headwater_api::kinesis::Kinesis;
use headwater_api::{AllowAll, Authorizer};
use headwater_types::{Clock, Runtime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::audit::Audit;
use crate::auth::{Authenticator, Credentials};
use crate::connection::{self, Phase};
use crate::faults::Faults;
use crate::metrics::Metrics;
use crate::request::BodyRoom;
use crate::settings::Settings;
use crate::target::ApiSet;
use crate::tls::Tls;
use crate::visit::{Peer, Shared};

/// Pause after an accept that failed for want of file descriptors or memory. Source: ours.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What answers the operations of each API.
#[derive(Clone)]
pub struct Services {
    /// Tables and items.
    pub dynamodb: Arc<dyn DynamoDb>,
    /// Changes of tables.
    pub streams: Arc<dyn DynamoDbStreams>,
    /// Kinesis Data Streams.
    pub kinesis: Arc<dyn Kinesis>,
    /// Amazon Data Firehose.
    pub firehose: Arc<dyn Firehose>,
}

/// What a server is made of.
pub struct Parts {
    /// Bounds and time-outs.
    pub settings: Settings,
    /// What answers the operations.
    pub services: Services,
    /// Who may call.
    pub credentials: Credentials,
    /// Who decides what a caller may do; [`AllowAll`] unless there are policies.
    pub authorizer: Arc<dyn Authorizer>,
    /// Where calls are recorded.
    pub audit: Audit,
    /// Where calls are counted; shared with `audit`.
    pub metrics: Arc<Metrics>,
    /// What goes wrong because somebody asked for it.
    pub faults: Arc<Faults>,
    /// Tasks, time and randomness.
    pub runtime: Runtime,
    /// System time for signatures, monotonic time for durations.
    pub clock: Clock,
}

impl Parts {
    /// Defaults for all but the services: open credentials, everything allowed, no audit trail.
    pub fn new(services: Services, runtime: Runtime, clock: Clock) -> Self {
        Self {
            settings: Settings::default(),
            services,
            credentials: Credentials::Open(Arc::default()),
            authorizer: Arc::new(AllowAll),
            audit: Audit::off(),
            metrics: Arc::default(),
            faults: Arc::default(),
            runtime,
            clock,
        }
    }
}

/// How a listener's stop ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// Every request that ran was answered.
    Gracefully,
    /// Some connections were dropped at the end of the wait.
    Dropping,
}

/// A server; clones share its bounds, counters and callers.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
    connections: Arc<Semaphore>,
}

impl Server {
    /// A server that listens nowhere yet.
    pub fn new(parts: Parts) -> Self {
        let connections = parts.settings.connections_max.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            connections: Arc::new(Semaphore::new(connections)),
            shared: Arc::new(Shared {
                room: BodyRoom::new(&parts.settings),
                faults: parts.faults,
                settings: parts.settings,
                services: parts.services,
                authenticator: Authenticator::new(parts.credentials),
                authorizer: parts.authorizer,
                audit: parts.audit,
                metrics: parts.metrics,
                runtime: parts.runtime,
                clock: parts.clock,
            }),
        }
    }

    /// Its counters.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// Serves `apis` on a listener until `shutdown` ends, then answers what runs and returns.
    ///
    /// Order: stop accepting and close the listener; answer what runs; after `Settings::stop_timeout` drop the rest.
    pub async fn serve(&self, listener: TcpListener, apis: ApiSet, shutdown: impl Future<Output = ()>) -> Stopped {
        self.listen(listener, None, apis, shutdown).await
    }

    /// The same in TLS alone.
    pub async fn serve_tls(
        &self,
        listener: TcpListener,
        tls: Tls,
        apis: ApiSet,
        shutdown: impl Future<Output = ()>,
    ) -> Stopped {
        self.listen(listener, Some(tls), apis, shutdown).await
    }

    async fn listen(
        &self,
        listener: TcpListener,
        tls: Option<Tls>,
        apis: ApiSet,
        shutdown: impl Future<Output = ()>,
    ) -> Stopped {
        let (phase, watched) = watch::channel(Phase::Serving);
        {
            let mut accepting = pin!(self.accept(&listener, tls.as_ref(), apis, watched));
            let mut shutdown = pin!(shutdown);
            poll_fn(|context| {
                if shutdown.as_mut().poll(context).is_ready() {
                    return Poll::Ready(());
                }
                accepting.as_mut().poll(context).map(|never| match never {})
            })
            .await;
        }
        drop(listener);
        phase.send_replace(Phase::Stopping);
        // Each connection holds a receiver: all gone is all over.
        let mut over = pin!(phase.closed());
        let mut patience = self.shared.runtime.sleep(self.shared.settings.stop_timeout);
        let all_answered = poll_fn(|context| {
            if over.as_mut().poll(context).is_ready() {
                return Poll::Ready(true);
            }
            patience.as_mut().poll(context).map(|()| false)
        })
        .await;
        if all_answered {
            return Stopped::Gracefully;
        }
        phase.send_replace(Phase::Dropping);
        phase.closed().await;
        Stopped::Dropping
    }

    /// Serves one connection over any transport to its end: TLS, a pipe, a simulated socket.
    pub async fn serve_transport<IO>(&self, transport: IO, peer: Option<SocketAddr>, is_secure: bool, apis: ApiSet)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (_phase, watched) = watch::channel(Phase::Serving);
        let peer = Peer { ip: peer.map(|peer| peer.ip()), is_secure };
        connection::serve(transport, peer, apis, self.shared.clone(), watched).await;
    }

    async fn accept(
        &self,
        listener: &TcpListener,
        tls: Option<&Tls>,
        apis: ApiSet,
        phase: watch::Receiver<Phase>,
    ) -> std::convert::Infallible {
        loop {
            let permit = self.connections.clone().acquire_owned().await.expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((stream, peer)) => self.begin(stream, peer, tls.cloned(), apis, phase.clone(), permit),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    self.shared.runtime.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn begin(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        tls: Option<Tls>,
        apis: ApiSet,
        phase: watch::Receiver<Phase>,
        permit: OwnedSemaphorePermit,
    ) {
        // Without it small answers wait for the other side's delayed acknowledgement; a socket that refuses is as well served.
        let _ = stream.set_nodelay(true);
        let shared = self.shared.clone();
        shared.metrics.connections.add(1);
        shared.metrics.connections_open.add(1);
        let peer = Peer { ip: Some(peer.ip()), is_secure: tls.is_some() };
        let guard = Open { shared: shared.clone(), _permit: permit };
        // `serve` waits for its end through `phase`.
        drop(self.shared.runtime.spawn(async move {
            let _guard = guard;
            match tls {
                None => connection::serve(stream, peer, apis, shared, phase).await,
                // Boxed: connections without TLS do not carry room for it.
                Some(tls) => Box::pin(serve_secured(stream, &tls, peer, apis, shared, phase)).await,
            }
        }));
    }
}

async fn serve_secured(
    stream: TcpStream,
    tls: &Tls,
    peer: Peer,
    apis: ApiSet,
    shared: Arc<Shared>,
    mut phase: watch::Receiver<Phase>,
) {
    let shaken = {
        let mut shaking = pin!(tls.accept(stream));
        let mut patience = shared.runtime.sleep(shared.settings.head_timeout);
        let mut stopping = pin!(phase.wait_for(|phase| *phase != Phase::Serving));
        poll_fn(|context| {
            if let Poll::Ready(result) = shaking.as_mut().poll(context) {
                return Poll::Ready(result);
            }
            if stopping.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::Error::other("the server is stopping")));
            }
            patience.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
        })
        .await
    };
    match shaken {
        Ok(stream) => connection::serve(stream, peer, apis, shared, phase).await,
        Err(error) => {
            shared.metrics.tls_failures.add(1);
            tracing::debug!(%error, peer = ?peer.ip, "no TLS handshake");
        }
    }
}

/// An open connection; gives its place back on drop, also after a panic.
struct Open {
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.metrics.connections_open.fall();
    }
}

/// Whether an accept failed because of the connection it would have given, not because of us.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
