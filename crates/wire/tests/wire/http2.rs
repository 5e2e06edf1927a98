//! HTTP/2 with prior knowledge on the same port, by hyper's client.

use std::time::Duration;

use bytes::Bytes;
use headwater_types::Runtime;
use headwater_wire::{ApiSet, Stopped};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use crate::client::AUTHORIZATION;
use crate::world::World;

#[derive(Clone)]
pub struct Tasks(pub Runtime);

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, task: F) {
        drop(self.0.spawn(async move {
            task.await;
        }));
    }
}

async fn connect(world: &World) -> SendRequest<Full<Bytes>> {
    let stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let (sender, connection) = handshake(Tasks(world.runtime.clone()), TokioIo::new(stream)).await.unwrap();
    drop(world.runtime.spawn(async move {
        let _ = connection.await;
    }));
    sender
}

fn put(table: &str, number: usize) -> Request<Full<Bytes>> {
    let body = format!("{{\"TableName\":\"{table}\",\"Item\":{{\"k\":{{\"N\":\"{number}\"}}}}}}");
    Request::post("http://localhost:8000/")
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", "DynamoDB_20120810.PutItem")
        .header("x-amz-date", "20250101T000000Z")
        .header("authorization", AUTHORIZATION)
        .body(Full::new(body.into()))
        .unwrap()
}

async fn text(response: Response<hyper::body::Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn streams_of_one_connection_do_not_wait_for_each_other() {
    let world = World::start().await;
    let mut sender = connect(&world).await;
    let slow = sender.send_request(put("slow", 0));
    let slow = world.runtime.spawn(slow);
    world.service.begun.acquire().await.unwrap().forget();
    let mut running = Vec::new();
    for number in 0..100 {
        running.push((number, sender.send_request(put("t", number))));
    }
    for (number, reply) in running {
        let reply = reply.await.unwrap();
        assert_eq!(reply.status(), 200);
        assert_eq!(reply.headers()["x-amzn-requestid"].len(), 52);
        assert_eq!(text(reply).await, format!("{{\"Attributes\":{{\"k\":{{\"N\":\"{number}\"}}}}}}"));
    }
    world.service.release.notify_waiters();
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
    assert_eq!(world.metrics.connections.get(), 1);
    assert_eq!(world.service.seen.lock()[1].host.as_deref(), Some("localhost:8000"), "from :authority");
    println!("streams answered over one connection: 101");
}

#[tokio::test]
async fn a_stream_that_fails_leaves_its_connection() {
    let world = World::start().await;
    let mut sender = connect(&world).await;
    let mut large = put("t", 1);
    *large.body_mut() = Full::new(vec![b' '; (16 << 20) + 1].into());
    let reply = sender.send_request(large).await;
    assert!(
        reply.is_err() || reply.is_ok_and(|reply| reply.status() == 413 && !reply.headers().contains_key("connection"))
    );
    assert_eq!(sender.send_request(put("panics", 1)).await.unwrap().status(), 500);
    let mut long = put("t", 1);
    long.headers_mut().insert("x-padding", "p".repeat(17_000).parse().unwrap());
    assert_eq!(sender.send_request(long).await.unwrap().status(), 400);
    assert_eq!(sender.send_request(put("t", 1)).await.unwrap().status(), 200);
}

#[tokio::test]
async fn time_outs_and_stops_know_http2() {
    let mut world = World::start_with(ApiSet::ALL, |parts| {
        parts.settings.head_timeout = Duration::from_millis(40);
        parts.settings.idle_timeout = Duration::from_millis(160);
    })
    .await;
    let mut sender = connect(&world).await;
    assert_eq!(sender.send_request(put("t", 1)).await.unwrap().status(), 200);
    world.until("the idle connection ends", |world| world.metrics.connections_open.get() == 0).await;
    assert_eq!(world.metrics.connections_timed_out.get(), 1);
    let mut sender = connect(&world).await;
    let slow = world.runtime.spawn(sender.send_request(put("slow", 0)));
    world.service.begun.acquire().await.unwrap().forget();
    world.ask_to_stop();
    world.service.release.notify_waiters();
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
    assert_eq!(world.stopped().await, Stopped::Gracefully);
}
