//! Kinesis data streams: writers, changers, polling readers and subscribers of the same nodes, and what must hold of what
//! they saw.
//!
//! ```text
//! admins (one per name): made, split, merged, resharded, retained longer and shorter, deleted ─┐
//! writers, floods ─► puts ──────────────────────────────────────────────────────────────────────┤
//! pollers (KCL's way) and subscribers (pushed) ─► views ─► check ◄─ the keeper's view: all there ever was
//! ```

pub mod admin;
pub mod ask;
pub mod check;
pub mod client;
pub mod history;
pub mod plan;
pub mod poller;
pub mod protocol;
pub mod push;
pub mod subscriber;
pub mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_types::BoxFuture;
use tokio::sync::watch;

use self::admin::Admin;
use self::client::Writer;
use self::history::{StreamKey, View};
use self::poller::Poller;
use self::subscriber::Subscriber;
use crate::client::Sim;
use crate::direct;

/// A pause of store time that ends every subscription, and nothing else.
const SIX_MINUTES: Duration = Duration::from_secs(360);
/// Looks at whether every subscriber has all there is, ten a second.
const LOOKS_MAX: usize = 1_200;

/// Everybody at work on data streams.
pub struct Workload {
    workers: Vec<BoxFuture<'static, ()>>,
    pollers: Vec<BoxFuture<'static, BTreeMap<StreamKey, View>>>,
    subscribers: Vec<(Arc<Subscriber>, BoxFuture<'static, ()>)>,
    stop_pollers: watch::Sender<bool>,
    stop_subscribers: watch::Sender<bool>,
}

impl Workload {
    /// Makes the streams and sets everybody to work.
    pub async fn start(sim: &Arc<Sim>) -> Self {
        let control = sim.cluster.control();
        let (stop_pollers, stop_subscribers) = (watch::Sender::new(false), watch::Sender::new(false));
        let mut workload =
            Self { workers: Vec::new(), pollers: Vec::new(), subscribers: Vec::new(), stop_pollers, stop_subscribers };
        let spawn = |work: BoxFuture<'static, ()>| -> BoxFuture<'static, ()> {
            let ended = control.spawn(work);
            Box::pin(async move { ended.await.expect("a worker ends") })
        };
        for stream in sim.plan.data.streams.clone() {
            let mut admin = Admin::new(sim.clone(), stream.clone());
            admin.create().await;
            for number in 0..stream.writers {
                let writer = Writer::new(sim.clone(), stream.clone(), number);
                workload.workers.push(spawn(Box::pin(writer.run())));
            }
            if stream.shards.is_none() {
                let writer = Writer::new(sim.clone(), stream.clone(), stream.writers);
                workload.workers.push(spawn(Box::pin(writer.flood())));
            }
            for number in 0..stream.consumers {
                let subscriber = Subscriber::new(sim.clone(), stream.clone(), number);
                let following = spawn(Box::pin(subscriber.clone().follow(workload.stop_subscribers.subscribe())));
                workload.subscribers.push((subscriber, following));
            }
            workload.workers.push(spawn(Box::pin(admin.run())));
        }
        workload.workers.push(spawn(Box::pin(direct(sim.clone()))));
        for number in 0..sim.plan.data.readers {
            let poller = Poller::new(sim.clone(), format!("poller-{number}"), false);
            let following = control.spawn(poller.follow(workload.stop_pollers.subscribe()));
            workload.pollers.push(Box::pin(async move { following.await.expect("a reader ends") }));
        }
        workload
    }

    /// Waits until nobody puts or changes anything any more.
    pub async fn work_ends(&mut self) {
        for worker in self.workers.drain(..) {
            worker.await;
        }
    }

    /// Floods the on-demand streams once more: in calm, every one of them grows.
    pub async fn flood(sim: &Arc<Sim>) {
        for stream in sim.plan.data.streams.iter().filter(|stream| stream.shards.is_none()) {
            Writer::new(sim.clone(), stream.clone(), stream.writers + 1).flood().await;
        }
    }

    /// Ends the readers that poll.
    pub async fn polling_ends(&mut self, sim: &Sim) {
        self.stop_pollers.send_replace(true);
        for poller in self.pollers.drain(..) {
            let views = poller.await;
            sim.data(|seen| seen.views.extend(views));
        }
    }

    /// Reads everything that is there in the end, and waits until every subscriber has it.
    pub async fn last_look(self, sim: &Arc<Sim>, mut keeper: Poller) {
        let control = sim.cluster.control();
        keeper.pass().await;
        // A second pass finds nothing new, but the children that the first one was told of.
        let read = records(&keeper.views);
        control.sleep(Duration::from_millis(100)).await;
        keeper.pass().await;
        if records(&keeper.views) != read {
            let text = format!("{read} records at first, {} later", records(&keeper.views));
            sim.broken(check::TAIL, text);
        }
        let before = sim.store_time();
        let mut newcomer = Poller::new(sim.clone(), "newcomer", true);
        newcomer.pass().await;
        let after = sim.store_time();
        for _ in 0..LOOKS_MAX {
            let complete = |subscriber: &Arc<Subscriber>| is_complete(&subscriber.views(), &newcomer.views);
            if self.subscribers.iter().all(|(subscriber, _)| complete(subscriber)) {
                break;
            }
            control.sleep(Duration::from_millis(100)).await;
        }
        self.stop_subscribers.send_replace(true);
        for (subscriber, following) in self.subscribers {
            following.await;
            sim.data(|seen| seen.views.extend(subscriber.views()));
        }
        sim.data(|seen| {
            (seen.truth, seen.left, seen.looked) = (keeper.views, newcomer.views, (before, after));
        });
    }
}

fn records(views: &BTreeMap<StreamKey, View>) -> usize {
    views.values().flat_map(|view| view.shards.values()).map(|shard| shard.records.len()).sum()
}

/// Whether a subscriber has the newest record and the end of every shard that there is.
fn is_complete(views: &[(StreamKey, View)], there: &BTreeMap<StreamKey, View>) -> bool {
    there.iter().filter(|(key, _)| views.iter().any(|(own, _)| own.0 == key.0)).all(|(key, there)| {
        let Some((_, view)) = views.iter().find(|(own, _)| own == key) else { return false };
        there.shards.iter().all(|(id, shard)| {
            view.shards.get(id).is_some_and(|own| {
                let ended = own.children.is_some() == shard.children.is_some();
                ended
                    && shard
                        .records
                        .last()
                        .is_none_or(|last| own.records.last().is_some_and(|r| r.number >= last.number))
            })
        })
    })
}

/// What must happen in a run: a node is killed, and in a slow one every subscription ends at once.
async fn direct(sim: Arc<Sim>) {
    let all: u64 = sim.plan.data.streams.iter().map(|stream| stream.writers * stream.requests).sum();
    for part in [25, 50, 75] {
        // The sender lives as long as the run.
        let _ = sim.streams.made.subscribe().wait_for(|made| *made >= all * part / 100).await;
        if part != 50 {
            sim.cluster.strike();
        } else if sim.plan.data.slow && !sim.plan.aged {
            direct::jump(&sim, SIX_MINUTES).await;
        }
    }
}
