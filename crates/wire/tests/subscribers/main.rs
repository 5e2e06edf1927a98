//! Pushed answers on raw HTTP/2: thousands of idle ones, subscribers that do not read, go away, fall silent; a stop.
//!
//! The memory of this process is counted, so the client here holds a socket and little else, and the tests run one by one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod frames;
mod standing;

use std::time::Duration;

use peak_alloc::PeakAlloc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, MutexGuard};

use frames::{DATA, Subscriber};
use headwater_wire::Stopped;
use standing::{FLOOD, IDLE, World};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Two tests at once would count each other's memory.
static ONE_BY_ONE: Mutex<()> = Mutex::const_new(());

async fn alone() -> MutexGuard<'static, ()> {
    ONE_BY_ONE.lock().await
}

const CONNECTIONS: usize = 50;
const SUBSCRIPTIONS_EACH: usize = 100;
/// What an idle subscription may take of this process' memory. Unit: bytes. Source: ours.
const IDLE_BYTES_MAX: usize = 20 * 1_024;

#[tokio::test]
async fn five_thousand_idle_subscriptions_take_little_and_leave_nothing() {
    let _alone = alone().await;
    let world = World::start(|_| {}).await;
    let mut first = Subscriber::open(world.address).await;
    first.subscribe(1, IDLE).await;
    first.initial_responses(1).await;
    drop(first);
    world.until("the first is gone", |world| world.open() == 0).await;
    let before = MEMORY.current_usage();
    let mut subscribers = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut subscriber = Subscriber::open(world.address).await;
        subscriber.subscribe(SUBSCRIPTIONS_EACH, IDLE).await;
        subscriber.initial_responses(SUBSCRIPTIONS_EACH).await;
        subscribers.push(subscriber);
    }
    let all = CONNECTIONS * SUBSCRIPTIONS_EACH;
    world.until("all are open", |world| world.open() == all).await;
    let each = MEMORY.current_usage().saturating_sub(before) / all;
    println!("idle subscriptions: {all} over {CONNECTIONS} connections, {each} bytes each");
    assert!(each <= IDLE_BYTES_MAX, "{each} bytes each");
    // They are no requests that run: the connections take further ones.
    assert_eq!(world.metrics.requests_running.get(), 0);
    for subscriber in &mut subscribers {
        let asked = subscriber.ask("ListShards", "{}").await;
        subscriber.until_answered(asked).await;
    }
    drop(subscribers);
    world.until("whoever goes away is noticed", |world| world.open() == 0).await;
    world.until("with its connection", |world| world.metrics.connections_open.get() == 0).await;
    let left = MEMORY.current_usage().saturating_sub(before);
    println!("left of them: {left} bytes");
    assert!(left < all * 256, "{left} bytes are left");
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_holds_a_frame_and_no_more() {
    let _alone = alone().await;
    let world = World::start(|settings| settings.ping_interval = Duration::from_secs(600)).await;
    let before = MEMORY.current_usage();
    let mut deaf = Subscriber::open(world.address).await;
    deaf.subscribe(SUBSCRIPTIONS_EACH, FLOOD).await;
    world.until("it is pushed to", |world| world.made() > 0 && world.open() == SUBSCRIPTIONS_EACH).await;
    // Time for a flood, if nothing held it: others are served meanwhile.
    let mut other = Subscriber::open(world.address).await;
    for _ in 0..500 {
        let asked = other.ask("ListShards", "{}").await;
        other.until_answered(asked).await;
    }
    let (made, held) = (world.made(), MEMORY.current_usage().saturating_sub(before));
    println!("a deaf connection of {SUBSCRIPTIONS_EACH} subscriptions: {made} frames made, {held} bytes held");
    assert!(made <= 3 * SUBSCRIPTIONS_EACH, "{made} frames were made for nobody");
    assert!(held <= SUBSCRIPTIONS_EACH * 300 * 1_024, "{held} bytes are held for nobody");
    // It can still read all it has been sent, and more.
    let read = world.made() + 50;
    while world.made() < read {
        deaf.read_data().await;
    }
    drop(deaf);
    world.until("it is gone", |world| world.open() == 0).await;
}

#[tokio::test]
async fn a_subscription_that_is_not_read_ends_and_its_reader_sees_a_clean_end() {
    let _alone = alone().await;
    let world = World::start(|settings| {
        settings.head_timeout = Duration::from_millis(400);
        settings.unread_timeout = Duration::from_millis(300);
        // Who does not read answers no ping.
        settings.ping_interval = Duration::from_secs(600);
    })
    .await;
    let mut deaf = Subscriber::open(world.address).await;
    deaf.subscribe(1, FLOOD).await;
    world.until("it was open", |world| world.made() > 0).await;
    world.until("what it holds is given back", |world| world.open() == 0).await;
    assert_eq!(world.metrics.connections_open.get(), 1, "its connection stays");
    while !deaf.read_data().await {}
    println!("read before the end: {} bytes of data", deaf.data_bytes);
    assert!(deaf.data_bytes > 0);
}

#[tokio::test]
async fn a_stop_ends_subscriptions_cleanly_and_at_once() {
    let _alone = alone().await;
    // Nobody waits for the end of this: only what ends by itself lets the stop be graceful.
    let world = World::start(|settings| settings.stop_timeout = Duration::from_secs(600)).await;
    let mut second = Subscriber::open(world.address).await;
    second.subscribe(10, IDLE).await;
    second.initial_responses(10).await;
    let mut first = TcpStream::connect(world.address).await.unwrap();
    first.write_all(frames::first_version(IDLE).as_bytes()).await.unwrap();
    world.until("all are open", |world| world.open() == 11).await;
    world.ask_to_stop();
    for _ in 0..10 {
        while !second.read_data().await {}
    }
    assert!(second.is_over().await);
    let mut text = Vec::new();
    first.read_to_end(&mut text).await.unwrap();
    assert!(text.ends_with(b"\r\n0\r\n\r\n"), "the last chunk is an end: {:?}", String::from_utf8_lossy(&text));
    assert_eq!(world.open(), 0);
    assert_eq!(world.stopped().await, Stopped::Gracefully);
}

#[tokio::test]
async fn whoever_is_gone_or_silent_is_let_go() {
    let _alone = alone().await;
    let world = World::start(|settings| settings.ping_interval = Duration::from_millis(100)).await;
    let mut first = TcpStream::connect(world.address).await.unwrap();
    first.write_all(frames::first_version(IDLE).as_bytes()).await.unwrap();
    world.until("HTTP/1.1's is open", |world| world.open() == 1).await;
    drop(first);
    world.until("HTTP/1.1's is gone", |world| world.open() == 0).await;
    // It lives as far as TCP can tell, and answers no ping.
    let mut silent = Subscriber::open(world.address).await;
    silent.subscribe(3, IDLE).await;
    world.until("the silent one was there", |world| world.begun() == 4).await;
    world.until("the silent one is gone", |world| world.open() == 0).await;
    world.until("with its connection", |world| world.metrics.connections_open.get() == 0).await;
}

#[tokio::test]
async fn a_reset_ends_one_subscription_of_many() {
    let _alone = alone().await;
    let world = World::start(|_| {}).await;
    let mut subscriber = Subscriber::open(world.address).await;
    let streams = subscriber.subscribe(5, IDLE).await;
    subscriber.initial_responses(5).await;
    subscriber.reset(streams[2]).await;
    world.until("one is gone", |world| world.open() == 4).await;
    subscriber.reset(streams[0]).await;
    world.until("and another", |world| world.open() == 3).await;
    assert_eq!(world.metrics.connections_open.get(), 1);
    let asked = subscriber.ask("ListShards", "{}").await;
    assert_ne!(subscriber.until_answered(asked).await, DATA, "the answer's head comes first");
}
