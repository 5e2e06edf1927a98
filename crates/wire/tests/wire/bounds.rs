//! Bounds of heads, bodies, nesting and numbers, and what is answered at each.

use std::time::Duration;

use headwater_wire::ApiSet;

use crate::client::{call, put};
use crate::world::World;

#[tokio::test]
async fn bodies_over_the_bound_are_refused() {
    let world = World::start().await;
    // Announced: refused before it is sent.
    let head = String::from_utf8(call("PutItem", "", b"")).unwrap();
    let announced = head.replace("Content-Length: 0", &format!("Content-Length: {}", (16 << 20) + 1));
    let mut connection = world.connect().await;
    let reply = connection.exchange(announced.as_bytes()).await;
    assert_eq!((reply.status, reply.error().as_str()), (413, "RequestEntityTooLargeException"));
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(connection.is_over().await);
    // In chunks, no length known: refused when it passes the bound.
    let mut connection = world.connect().await;
    connection.send(head.replace("Content-Length: 0", "Transfer-Encoding: chunked").as_bytes()).await;
    let mut chunk = b"100000\r\n".to_vec();
    chunk.extend(vec![b' '; 1 << 20]);
    chunk.extend(b"\r\n");
    for _ in 0..16 {
        connection.send(&chunk).await;
    }
    let reply = connection.exchange(b"1\r\n \r\n").await;
    assert_eq!(reply.status, 413);
    // The largest body of all is read: 16 MiB of JSON with an item that echoes.
    let mut body = b"{\"TableName\":\"missing\",\"Item\":{}}".to_vec();
    body.resize(16 << 20, b' ');
    let reply = world.connect().await.exchange(&call("PutItem", "", &body)).await;
    assert_eq!((reply.status, reply.error().as_str()), (400, "ResourceNotFoundException"));
}

#[tokio::test]
async fn many_large_bodies_wait_for_room_and_are_all_answered() {
    let world = World::start_with(ApiSet::ALL, |parts| parts.settings.bodies_bytes_max = 1).await;
    let mut body = b"{\"TableName\":\"missing\",\"Item\":{}}".to_vec();
    body.resize(8 << 20, b' ');
    let request = call("PutItem", "", &body);
    let mut running = Vec::new();
    for _ in 0..10 {
        let (mut connection, request) = (world.connect().await, request.clone());
        running.push(world.runtime.spawn(async move { connection.exchange(&request).await.status }));
    }
    for reply in running {
        assert_eq!(reply.await.unwrap(), 400);
    }
}

#[tokio::test]
async fn heads_over_the_bound_are_refused() {
    let world = World::start().await;
    let mut checked = 0;
    for (padding, expected) in [(15_000, 200), (16_384, 400), (60_000, 400)] {
        let headers = format!("X-Padding: {}\r\n", "p".repeat(padding));
        let body = b"{\"TableName\":\"t\",\"Item\":{}}";
        let reply = world.connect().await.exchange(&call("PutItem", &headers, body)).await;
        assert_eq!(reply.status, expected, "header of {padding}");
        let line =
            String::from_utf8(put("t")).unwrap().replacen("POST /", &format!("POST /{}", "p".repeat(padding)), 1);
        let reply = world.connect().await.exchange(line.as_bytes()).await;
        assert_eq!(reply.status, expected, "request line of {padding}");
        checked += 2;
    }
    let many: String = (0..200).map(|at| format!("X-{at}: {}\r\n", "v".repeat(100))).collect();
    let reply = world.connect().await.exchange(&call("PutItem", &many, b"{}")).await;
    assert_eq!(reply.status, 431, "over a hundred headers are the HTTP library's to refuse");
    let many: String = (0..90).map(|at| format!("X-{at}: {}\r\n", "v".repeat(200))).collect();
    let reply = world.connect().await.exchange(&call("PutItem", &many, b"{}")).await;
    assert_eq!(reply.status, 400);
    // What no buffer holds never reaches us: the HTTP library refuses it.
    let mut connection = world.connect().await;
    let huge = format!("POST / HTTP/1.1\r\nX-Padding: {}", "p".repeat(100_000));
    let _ = tokio::io::AsyncWriteExt::write_all(&mut connection.stream, huge.as_bytes()).await;
    if let Some(reply) = connection.receive_or_end().await {
        assert_eq!(reply.status, 431);
    }
    println!("heads checked: {}", checked + 3);
}

#[tokio::test]
async fn deep_nesting_is_refused_and_stays_cheap() {
    let world = World::start().await;
    let mut connection = world.connect().await;
    for depth in [200, 100_000, 2_000_000] {
        let list = format!("{{\"TableName\":\"t\",\"Item\":{{\"k\":{}", "{\"L\":[".repeat(depth));
        let reply = connection.exchange(&call("PutItem", "", list.as_bytes())).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, "SerializationException"), "{depth}");
    }
    assert_eq!(connection.exchange(&put("t")).await.status, 200);
}

#[tokio::test]
async fn one_request_too_many_is_told_to_come_back() {
    let world = World::start_with(ApiSet::ALL, |parts| parts.settings.requests_max = 2).await;
    let (mut first, mut second, mut third) = (world.connect().await, world.connect().await, world.connect().await);
    first.send(&put("slow")).await;
    second.send(&put("slow")).await;
    world.service.begun.acquire_many(2).await.unwrap().forget();
    let reply = third.exchange(&put("t")).await;
    assert_eq!((reply.status, reply.error().as_str()), (503, "ServiceUnavailableException"));
    world.service.release.notify_waiters();
    assert_eq!((first.receive().await.status, second.receive().await.status), (200, 200));
    world.until("all answered", |world| world.metrics.requests_running.get() == 0).await;
    assert_eq!(world.connect().await.exchange(&put("t")).await.status, 200);
    assert_eq!(world.metrics.requests_overload.get(), 1);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let world = World::start_with(ApiSet::ALL, |parts| parts.settings.body_timeout = Duration::from_millis(40)).await;
    let mut connection = world.connect().await;
    let whole = put("t");
    connection.send(&whole[..whole.len() - 5]).await;
    let reply = connection.receive().await;
    assert_eq!(reply.status, 408);
    assert!(connection.is_over().await);
    // Going away in the middle of a body harms nobody and leaves nothing running.
    let mut connection = world.connect().await;
    connection.send(&whole[..whole.len() - 5]).await;
    drop(connection);
    world.until("nothing runs", |world| world.metrics.requests_running.get() == 0).await;
    assert!(world.service.seen.lock().is_empty());
    assert_eq!(world.connect().await.exchange(&put("t")).await.status, 200);
}
