//! A server whose subscriptions push nothing, or without end; it counts them.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use headwater_api::dynamodb::DynamoDb;
use headwater_api::dynamodb_streams::DynamoDbStreams;
use headwater_api::firehose::Firehose;
use headwater_api::kinesis::{self, Kinesis, SubscribeToShardEventStream};
use headwater_api::{Answer, Call, Error, Frame, Pushed};
use headwater_types::runtime::{Lost, tokio_runtime};
use headwater_types::{BoxFuture, Clock, Millis, Runtime};
use headwater_wire::{ApiSet, Metrics, Parts, Server, Services, Settings, Stopped};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Pushes nothing.
pub const IDLE: &str = "shardId-000000000000";
/// Pushes a large frame whenever it is asked.
pub const FLOOD: &str = "shardId-000000000001";
/// Data of such a frame; a third more in JSON. Unit: bytes.
const FLOOD_BYTES: usize = 48 * 1_024;

#[derive(Default)]
struct Counts {
    open: AtomicUsize,
    begun: AtomicUsize,
    made: AtomicUsize,
}

struct Standing(Arc<Counts>);

impl DynamoDb for Standing {}
impl DynamoDbStreams for Standing {}
impl Firehose for Standing {}

impl Kinesis for Standing {
    fn subscribe_to_shard<'a>(
        &'a self,
        call: &'a Call,
        input: kinesis::SubscribeToShardInput,
    ) -> Answer<'a, kinesis::SubscribeToShardOutput> {
        Box::pin(async move {
            call.authorize(&kinesis::access::subscribe_to_shard(call, &input))?;
            self.0.open.fetch_add(1, Ordering::AcqRel);
            self.0.begun.fetch_add(1, Ordering::AcqRel);
            let events = Pushing { counts: self.0.clone(), is_flood: input.shard_id == FLOOD };
            Ok(kinesis::SubscribeToShardOutput { event_stream: Box::pin(events) })
        })
    }
}

struct Pushing {
    counts: Arc<Counts>,
    is_flood: bool,
}

impl Drop for Pushing {
    fn drop(&mut self) {
        self.counts.open.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Stream for Pushing {
    type Item = Result<Pushed<SubscribeToShardEventStream>, Error>;

    fn poll_next(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.is_flood {
            return Poll::Pending;
        }
        self.counts.made.fetch_add(1, Ordering::AcqRel);
        let record = kinesis::Record {
            sequence_number: "1".to_owned(),
            approximate_arrival_timestamp: None,
            data: Bytes::from(vec![7; FLOOD_BYTES]),
            partition_key: "k".to_owned(),
            encryption_type: None,
        };
        let event = kinesis::SubscribeToShardEvent {
            records: vec![record],
            continuation_sequence_number: Some("1".to_owned()),
            millis_behind_latest: 0,
            child_shards: None,
        };
        Poll::Ready(Some(Ok(Pushed::Frame(Frame::of(&SubscribeToShardEventStream::SubscribeToShardEvent(event))))))
    }
}

pub struct World {
    pub address: SocketAddr,
    pub metrics: Arc<Metrics>,
    runtime: Runtime,
    counts: Arc<Counts>,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    stopped: BoxFuture<'static, Result<Stopped, Lost>>,
}

impl World {
    pub async fn start(change: impl FnOnce(&mut Settings)) -> Self {
        let runtime = tokio_runtime::on(tokio::runtime::Handle::current());
        let clock = Clock::new(runtime.clone(), Millis(0));
        let counts = Arc::new(Counts::default());
        let service = Arc::new(Standing(counts.clone()));
        let services = Services {
            dynamodb: service.clone(),
            streams: service.clone(),
            kinesis: service.clone(),
            firehose: service,
        };
        let mut parts = Parts::new(services, runtime.clone(), clock);
        change(&mut parts.settings);
        let server = Server::new(parts);
        let metrics = server.metrics().clone();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, asked) = oneshot::channel::<()>();
        let stopped = Box::pin(runtime.spawn(async move {
            let shutdown = async {
                let _ = asked.await;
            };
            server.serve(listener, ApiSet::ALL, shutdown).await
        }));
        Self { address, metrics, runtime, counts, stop: Mutex::new(Some(stop)), stopped }
    }

    /// Subscriptions that are held.
    pub fn open(&self) -> usize {
        self.counts.open.load(Ordering::Acquire)
    }

    /// Subscriptions that ever began.
    pub fn begun(&self) -> usize {
        self.counts.begun.load(Ordering::Acquire)
    }

    /// Large frames made.
    pub fn made(&self) -> usize {
        self.counts.made.load(Ordering::Acquire)
    }

    pub fn ask_to_stop(&self) {
        let _ = self.stop.lock().take().unwrap().send(());
    }

    pub async fn stopped(self) -> Stopped {
        self.stopped.await.unwrap()
    }

    /// Waits until `holds`; fails after minutes.
    pub async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..60_000 {
            if holds(self) {
                return;
            }
            self.runtime.sleep(Duration::from_millis(2)).await;
        }
        panic!("never came: {what}");
    }
}
