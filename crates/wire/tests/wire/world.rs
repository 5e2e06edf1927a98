//! A server on a free port with recording operations.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use headwater_types::runtime::{Lost, tokio_runtime};
use headwater_types::{BoxFuture, Clock, Millis, Runtime};
use headwater_wire::{ApiSet, Metrics, Parts, Server, Services, Stopped};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::client::Connection;
use crate::recording::Recording;

pub struct World {
    pub address: SocketAddr,
    pub service: Arc<Recording>,
    pub metrics: Arc<Metrics>,
    pub runtime: Runtime,
    pub server: Server,
    stop: Option<oneshot::Sender<()>>,
    stopped: BoxFuture<'static, Result<Stopped, Lost>>,
}

impl World {
    pub async fn start() -> Self {
        Self::start_with(ApiSet::ALL, |_| {}).await
    }

    pub async fn start_with(apis: ApiSet, change: impl FnOnce(&mut Parts)) -> Self {
        let runtime = tokio_runtime::on(tokio::runtime::Handle::current());
        let clock = Clock::new(runtime.clone(), Millis(0));
        let service = Recording::new();
        let services = Services {
            dynamodb: service.clone(),
            streams: service.clone(),
            kinesis: service.clone(),
            firehose: service.clone(),
        };
        let mut parts = Parts::new(services, runtime.clone(), clock);
        change(&mut parts);
        let server = Server::new(parts);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, asked) = oneshot::channel::<()>();
        let serving = server.clone();
        let stopped = runtime.spawn(async move {
            let shutdown = async {
                let _ = asked.await;
            };
            serving.serve(listener, apis, shutdown).await
        });
        let metrics = server.metrics().clone();
        Self { address, service, metrics, runtime, server, stop: Some(stop), stopped: Box::pin(stopped) }
    }

    pub async fn connect(&self) -> Connection {
        Connection::open(self.address).await
    }

    pub fn ask_to_stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    pub async fn stopped(self) -> Stopped {
        self.stopped.await.unwrap()
    }

    /// Waits until `holds`; fails after a minute and more.
    pub async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..30_000 {
            if holds(self) {
                return;
            }
            self.runtime.sleep(Duration::from_millis(2)).await;
        }
        panic!("never came: {what}");
    }
}
