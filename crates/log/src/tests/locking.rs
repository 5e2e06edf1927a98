//! Key locks by themselves.

use std::sync::Arc;
use std::time::Duration;

use headwater_types::TableId;
use headwater_types::runtime::simulated::World;
use parking_lot::Mutex;

use super::commands::touch;
use super::harness::until;
use crate::command::Touch;
use crate::locks::{Keys, Ticket};

#[test]
fn locks_exclude_keep_the_order_of_tickets_and_survive_dropped_waiters() {
    for seed in 0..50 {
        let world = World::new(seed);
        let keys = Arc::new(Keys::new());
        let held = Arc::new(Mutex::new(std::collections::BTreeSet::new()));
        let runtime = world.node(1);
        let end = keys.clone();
        let dropped = world.run(async move {
            let mut tasks = Vec::new();
            for ticket in 1..=40u64 {
                let (keys, held, runtime) = (keys.clone(), held.clone(), runtime.clone());
                tasks.push(runtime.clone().spawn(async move {
                    let wanted: Vec<u64> = (0..5).filter(|_| runtime.random().is_multiple_of(2)).collect();
                    let touches: Vec<Touch> = wanted.iter().rev().map(|key| touch(TableId(1), *key)).collect();
                    let work = async {
                        let guard = keys.lock(Ticket(ticket), &touches).await;
                        for key in &wanted {
                            assert!(held.lock().insert(*key), "two hold key {key}");
                        }
                        // Released even if this wait is dropped.
                        let release = Release(&held, &wanted);
                        runtime.sleep(Duration::from_micros(runtime.random() % 300)).await;
                        drop((release, guard));
                    };
                    until(&runtime, Duration::from_micros(runtime.random() % 4_000), work).await.is_none()
                }));
            }
            let mut dropped = 0;
            for task in tasks {
                dropped += usize::from(task.await.expect("ends"));
            }
            dropped
        });
        assert!(dropped > 0 && dropped < 40, "{dropped}");
        assert_eq!(end.len(), 0, "no slot stays behind");
    }
}

struct Release<'a>(&'a Mutex<std::collections::BTreeSet<u64>>, &'a [u64]);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        for key in self.1 {
            self.0.lock().remove(key);
        }
    }
}

#[test]
fn an_older_ticket_comes_before_newer_ones() {
    let world = World::new(1);
    let keys = Arc::new(Keys::new());
    let order = Arc::new(Mutex::new(Vec::new()));
    let (runtime, seen) = (world.node(1), order.clone());
    world.run(async move {
        let touches = vec![touch(TableId(1), 1)];
        let first = keys.lock(Ticket(3), &touches).await;
        let mut tasks = Vec::new();
        for ticket in [9, 5, 7, 4] {
            let (keys, order, touches) = (keys.clone(), order.clone(), touches.clone());
            tasks.push(runtime.spawn(async move {
                let guard = keys.lock(Ticket(ticket), &touches).await;
                order.lock().push(ticket);
                drop(guard);
            }));
        }
        runtime.sleep(Duration::from_millis(1)).await;
        drop(first);
        for task in tasks {
            task.await.expect("ends");
        }
    });
    assert_eq!(*seen.lock(), [4, 5, 7, 9]);
}
