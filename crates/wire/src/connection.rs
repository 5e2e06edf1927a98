//! One connection over any transport: HTTP/1.1 or HTTP/2 by its first bytes, time-outs, a graceful end.

mod activity;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use headwater_types::{BoxFuture, Runtime};
use hyper::body::Incoming;
use hyper::rt::{Sleep, Timer};
use hyper::service::service_fn;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::response::Body;
use crate::target::ApiSet;
use crate::visit::{self, Lost, Peer, Shared};
use activity::{Activity, Transport};

/// HTTP/1.1's read buffer. Heads over `Settings::head_bytes_max` are answered 400 by us; over this, 431 by hyper.
/// Unit: bytes. Source: ours.
const READ_BUFFER_BYTES_MAX: usize = 64 * 1_024;

/// HTTP/2: what is written for one stream before its next frame is asked for. Unit: bytes. Source: ours; a subscriber that
/// does not read costs no more than this and one frame.
const STREAM_BUFFER_BYTES: usize = 64 * 1_024;

/// How far a stop has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Serving,
    /// No new requests; running ones are answered.
    Stopping,
    /// Connections are dropped.
    Dropping,
}

/// HTTP/2 runs each stream as a task of its own.
#[derive(Clone)]
struct Tasks(Runtime);

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        // Its connection owns it: h2 ends its streams when it ends.
        drop(self.0.spawn(async move {
            task.await;
        }));
    }
}

/// HTTP/2's pings.
impl Timer for Tasks {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(Sleeping(Mutex::new(self.0.sleep(duration))))
    }

    #[allow(clippy::disallowed_methods, reason = "hyper counts in this clock; only the difference is used")]
    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(deadline.saturating_duration_since(Instant::now()))
    }
}

/// A sleep that may be shared, as hyper wants it; never locked, its one owner polls it.
struct Sleeping(Mutex<BoxFuture<'static, ()>>);

impl Future for Sleeping {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.get_mut().as_mut().poll(context)
    }
}

impl Sleep for Sleeping {}

/// Serves a connection to its end.
///
/// Order: ends by the client, by a time-out, after `Phase::Stopping` once what runs is answered (what pushes ends there),
///        at once at `Dropping`.
pub(crate) async fn serve<IO>(
    transport: IO,
    peer: Peer,
    apis: ApiSet,
    shared: Arc<Shared>,
    mut phase: watch::Receiver<Phase>,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::new(Activity::default());
    let io = TokioIo::new(Transport::new(transport, activity.clone()));
    let builder = builder(&shared);
    let service = {
        let (shared, activity) = (shared.clone(), activity.clone());
        service_fn(move |request: Request<Incoming>| {
            let (shared, activity) = (shared.clone(), activity.clone());
            let running = activity.clone().begin_request();
            async move {
                let is_first_version = request.version() < hyper::Version::HTTP_2;
                let mut response = visit::answer(&shared, apis, peer, request).await;
                if !is_first_version {
                    // HTTP/2 ends streams, not connections; the header would be a protocol error.
                    response.headers_mut().remove(header::CONNECTION);
                }
                if let Body::Events(events) = response.body() {
                    activity.pushes(events.hold());
                }
                drop(running);
                match response.extensions().get::<Lost>() {
                    None => Ok(response),
                    Some(lost) => Err(*lost),
                }
            }
        })
    };
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut rest = phase.clone();
    // What may end it beside itself: looked at when it was woken, not at every request.
    let mut ends: FuturesUnordered<BoxFuture<'_, Ended>> = FuturesUnordered::new();
    ends.push(Box::pin(async {
        activity.watch(&shared.settings, &shared.runtime).await;
        Ended::TimedOut
    }));
    ends.push(Box::pin(async {
        let stop = phase.wait_for(|phase| *phase != Phase::Serving).await.map(|phase| *phase);
        Ended::Stop(stop.unwrap_or(Phase::Dropping))
    }));
    match ended(connection.as_mut(), &mut ends).await {
        Ended::Over(was_cut) => tracing::trace!(was_cut, "connection over"),
        Ended::TimedOut => shared.metrics.connections_timed_out.add(1),
        Ended::Stop(Phase::Serving | Phase::Dropping) => {}
        Ended::Stop(Phase::Stopping) => {
            connection.as_mut().graceful_shutdown();
            // They would last for minutes; their subscribers come back to whoever serves then.
            activity.end_pushes();
            ends.push(Box::pin(async {
                // A server that is gone drops its connections too.
                let _ = rest.wait_for(|phase| *phase == Phase::Dropping).await;
                Ended::Stop(Phase::Dropping)
            }));
            ended(connection.as_mut(), &mut ends).await;
        }
    }
}

/// How a connection ends: by itself, or by what comes first of `ends`, of which one is left.
async fn ended<E>(
    mut connection: Pin<&mut impl Future<Output = Result<(), E>>>,
    ends: &mut FuturesUnordered<BoxFuture<'_, Ended>>,
) -> Ended {
    poll_fn(|context| {
        if let Poll::Ready(result) = connection.as_mut().poll(context) {
            return Poll::Ready(Ended::Over(result.is_err()));
        }
        ends.poll_next_unpin(context).map(|ended| ended.unwrap_or(Ended::TimedOut))
    })
    .await
}

enum Ended {
    Over(bool),
    Stop(Phase),
    TimedOut,
}

fn builder(shared: &Shared) -> auto::Builder<Tasks> {
    let settings = &shared.settings;
    let mut builder = auto::Builder::new(Tasks(shared.runtime.clone()));
    // hyper's own bound of 100 headers stays: with another one it takes 16 KiB from the heap for every request.
    // Time-outs are the watchdog's: hyper's own for heads would also end idle connections.
    builder.http1().max_buf_size(READ_BUFFER_BYTES_MAX.max(2 * settings.head_bytes_max)).header_read_timeout(None);
    builder
        .http2()
        .timer(Tasks(shared.runtime.clone()))
        .keep_alive_interval(settings.ping_interval)
        .keep_alive_timeout(settings.ping_interval)
        .max_send_buf_size(STREAM_BUFFER_BYTES)
        .max_concurrent_streams(settings.streams_per_connection_max)
        .max_header_list_size((2 * settings.head_bytes_max) as u32)
        .initial_stream_window_size(1_024 * 1_024)
        .initial_connection_window_size(4 * 1_024 * 1_024);
    builder
}
