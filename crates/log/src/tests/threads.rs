//! The same code on real threads: what a simulation that takes one step at a time cannot interleave.

use std::sync::Arc;
use std::time::Duration;

use headwater_catalog::StreamView;
use headwater_storage::memory::{Faults, Model, Settings as Engine};
use headwater_types::runtime::tokio_runtime;
use headwater_types::{Clock, HashKey, Millis};

use super::checks::histories;
use super::commands::{Count, CreateTable, Deed, count, touch};
use super::harness::{quiet, until};
use crate::Log;

const CLIENTS: u64 = 16;
const OPERATIONS: u64 = 300;

#[test]
fn threads_lose_nothing_either() {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().expect("starts");
    let runtime = tokio_runtime::on(threads.handle().clone());
    threads.block_on(async move {
        let model = Model::new(runtime.clone(), Engine::OWN);
        let clock = Clock::new(runtime.clone(), Millis(0));
        let cell = model.node(runtime.clone(), clock.clone(), Faults::NONE);
        let log = Log::open(cell, runtime.clone(), clock, quiet()).await.expect("opens");
        let table = log.define(CreateTable("t", Some(StreamView::KeysOnly))).await.expect("made").expect("new");
        let stream = log.catalog().expect("known").table_by_id(table).and_then(|t| t.stream).expect("on");
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (log, runtime) = (log.clone(), runtime.clone());
                runtime.clone().spawn(async move {
                    let mut done = 0;
                    for at in 0..OPERATIONS {
                        done += one(&log, &runtime, table, client * OPERATIONS + at).await;
                    }
                    done
                })
            })
            .collect();
        for at in 1..12u128 {
            log.split(table, HashKey((at << 124) + 1)).await.expect("split");
        }
        let mut done = 0;
        for client in clients {
            done += client.await.expect("ends");
        }
        let steps: u64 = histories(&log, table, stream).values().map(|steps| steps.len() as u64).sum();
        println!("threads: {done} changes answered, {steps} found, {} fenced", model.counts().fenced);
        assert!(done <= steps && steps <= CLIENTS * OPERATIONS * 2);
        assert_eq!(log.busy_keys(), 0);
        log.close().await.expect("closes");
    });
}

/// One operation; how many changes it was answered for.
async fn one(log: &Arc<Log>, runtime: &headwater_types::Runtime, table: headwater_types::TableId, tag: u64) -> u64 {
    let keys = match tag % 5 {
        0 => vec![100, 101],
        key => vec![key % 3],
    };
    if tag.is_multiple_of(11) {
        let snapshot = log.snapshot();
        let read = |key| count(snapshot.get(&touch(table, key).key).expect("readable").as_ref());
        assert_eq!(read(100), read(101));
    }
    let work = log.execute(Count::new(table, Deed::Add, &keys, tag));
    let answer = match tag % 13 {
        0 => until(runtime, Duration::from_micros(runtime.random() % 300), work).await,
        _ => Some(work.await),
    };
    let Some(answer) = answer.map(|answer| answer.expect("added")) else { return 0 };
    // What was answered is read at once, by anyone.
    let stored = log.snapshot().get(&touch(table, keys[0]).key).expect("readable");
    assert!(count(stored.as_ref()) >= answer.counts[0]);
    keys.len() as u64
}
