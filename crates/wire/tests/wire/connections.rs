//! Connections: kept alive, pipelined, bounded, timed out, stopped.

use std::time::Duration;

use headwater_wire::{ApiSet, Stopped};
use tokio::io::AsyncWriteExt;

use crate::client::{call, put};
use crate::world::World;

#[tokio::test]
async fn requests_in_a_row_are_answered_in_order() {
    let world = World::start().await;
    let mut connection = world.connect().await;
    let mut bytes = Vec::new();
    for at in 0..50 {
        let table = if at % 3 == 0 { "missing" } else { "t" };
        let body = format!("{{\"TableName\":\"{table}\",\"Item\":{{\"k\":{{\"N\":\"{at}\"}}}}}}");
        bytes.extend(call("PutItem", "", body.as_bytes()));
    }
    connection.send(&bytes).await;
    for at in 0..50 {
        let reply = connection.receive().await;
        if at % 3 == 0 {
            assert_eq!(reply.error(), "ResourceNotFoundException");
        } else {
            assert_eq!(reply.json()["Attributes"]["k"]["N"], at.to_string());
        }
    }
    assert_eq!(world.metrics.connections.get(), 1);
    println!("pipelined requests: 50");
}

#[tokio::test]
async fn a_request_in_small_pieces_is_put_together() {
    let world = World::start().await;
    let mut connection = world.connect().await;
    connection.stream.set_nodelay(true).unwrap();
    for piece in put("t").chunks(7) {
        connection.send(piece).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(connection.receive().await.status, 200);
    let chunked = "e\r\n{\"TableName\":\"\r\n1\r\nt\r\n0b\r\n\",\"Item\":{}\r\n1\r\n}\r\n0\r\n\r\n";
    let head = String::from_utf8(call("PutItem", "Transfer-Encoding: chunked\r\n", b"")).unwrap();
    connection.send(head.replace("Content-Length: 0\r\n", "").as_bytes()).await;
    assert_eq!(connection.exchange(chunked.as_bytes()).await.text(), "{\"Attributes\":{}}");
    let expecting =
        String::from_utf8(call("PutItem", "Expect: 100-continue\r\n", b"{\"TableName\":\"t\",\"Item\":{}}")).unwrap();
    let (head, body) = expecting.split_at(expecting.find("\r\n\r\n").unwrap() + 4);
    assert_eq!(connection.exchange(head.as_bytes()).await.status, 100);
    assert_eq!(connection.exchange(body.as_bytes()).await.status, 200);
}

#[tokio::test]
async fn connections_over_the_bound_wait_for_a_place() {
    let world = World::start_with(ApiSet::ALL, |parts| parts.settings.connections_max = 2).await;
    let (mut first, mut second) = (world.connect().await, world.connect().await);
    assert_eq!((first.exchange(&put("t")).await.status, second.exchange(&put("t")).await.status), (200, 200));
    let mut third = world.connect().await;
    third.send(&put("t")).await;
    // However busy the others are, the third is not served.
    for _ in 0..50 {
        assert_eq!(first.exchange(&put("t")).await.status, 200);
    }
    assert_eq!((world.metrics.connections.get(), world.metrics.connections_open.get()), (2, 2));
    drop(second);
    assert_eq!(third.receive().await.status, 200);
    world.until("two open", |world| world.metrics.connections_open.get() == 2).await;
}

#[tokio::test]
async fn a_head_that_comes_too_slowly_ends_its_connection() {
    let world = World::start_with(ApiSet::ALL, |parts| parts.settings.head_timeout = Duration::from_millis(60)).await;
    let mut slow = world.connect().await;
    slow.stream.set_nodelay(true).unwrap();
    let mut sent = 0;
    // A byte now and then keeps the connection busy, not the head young.
    while slow.stream.write_all(b"P").await.is_ok() && world.metrics.connections_timed_out.get() == 0 {
        sent += 1;
        assert!(sent < 2_000, "the connection is never ended");
        world.runtime.sleep(Duration::from_millis(2)).await;
    }
    world.until("all closed", |world| world.metrics.connections_open.get() == 0).await;
    // Idle is no head: a connection without a byte lives on after the same time.
    let mut idle = world.connect().await;
    assert_eq!(idle.exchange(&put("t")).await.status, 200);
    world.runtime.sleep(Duration::from_millis(200)).await;
    assert_eq!(idle.exchange(&put("t")).await.status, 200);
}

#[tokio::test]
async fn idle_connections_end_and_busy_ones_do_not() {
    let world = World::start_with(ApiSet::ALL, |parts| parts.settings.idle_timeout = Duration::from_millis(60)).await;
    let mut never = world.connect().await;
    let mut once = world.connect().await;
    assert_eq!(once.exchange(&put("t")).await.status, 200);
    let mut busy = world.connect().await;
    busy.send(&put("slow")).await;
    world.service.begun.acquire().await.unwrap().forget();
    assert!(never.is_over().await && once.is_over().await);
    assert_eq!(world.metrics.connections_timed_out.get(), 2);
    world.service.release.notify_waiters();
    assert_eq!(busy.receive().await.status, 200, "a request that runs is no idleness");
}

#[tokio::test]
async fn a_stop_answers_what_runs_and_takes_nothing_new() {
    let mut world = World::start().await;
    let (mut running, mut idle) = (world.connect().await, world.connect().await);
    assert_eq!(idle.exchange(&put("t")).await.status, 200);
    running.send(&put("slow")).await;
    world.service.begun.acquire().await.unwrap().forget();
    world.ask_to_stop();
    assert!(idle.is_over().await, "idle connections are closed at once");
    let address = world.address;
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    world.service.release.notify_waiters();
    let reply = running.receive().await;
    assert_eq!(reply.status, 200);
    assert!(running.is_over().await);
    assert_eq!(world.stopped().await, Stopped::Gracefully);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let mut world =
        World::start_with(ApiSet::ALL, |parts| parts.settings.stop_timeout = Duration::from_millis(50)).await;
    let mut running = world.connect().await;
    running.send(&put("slow")).await;
    world.service.begun.acquire().await.unwrap().forget();
    world.ask_to_stop();
    assert!(running.receive_or_end().await.is_none());
    let metrics = world.metrics.clone();
    assert_eq!(world.stopped().await, Stopped::Dropping);
    assert_eq!((metrics.connections_open.get(), metrics.requests_running.get()), (0, 0));
}

#[tokio::test]
async fn any_transport_will_do() {
    let world = World::start().await;
    let (near, far) = tokio::io::duplex(64);
    let server = world.server.clone();
    let over = world.runtime.spawn(async move { server.serve_transport(far, None, true, ApiSet::ALL).await });
    let (mut read, mut write) = tokio::io::split(near);
    let request = call("PutItem", "Connection: close\r\n", b"{\"TableName\":\"t\",\"Item\":{}}");
    let sending = world.runtime.spawn(async move { write.write_all(&request).await });
    let mut text = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut read, &mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("{\"Attributes\":{}}"), "{text}");
    sending.await.unwrap().unwrap();
    over.await.unwrap();
}
