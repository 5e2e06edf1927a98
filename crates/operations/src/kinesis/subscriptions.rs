//! Who is subscribed to which shard: one subscription per consumer and shard.
//!
//! Source: "SubscribeToShard", Kinesis API reference: a second call within five seconds of a successful one is refused, a
//! later one takes over and ends the first.

use std::sync::Arc;
use std::time::Duration;

use headwater_types::hash::FixedMap;
use headwater_types::{ShardUid, StreamUid};
use parking_lot::Mutex;
use tokio::sync::watch;

/// For so long nobody takes over. Unit: system time. Source: as above.
const HELD: Duration = Duration::from_secs(5);
/// Entries of ended subscriptions are looked for once there are so many.
const SWEEP: usize = 1_024;

/// A consumer at a shard.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Key {
    /// Whose shard.
    pub stream: StreamUid,
    /// Which.
    pub shard: ShardUid,
    /// The consumer's ARN: one that is registered again is another.
    pub consumer: String,
}

struct Entry {
    since: Duration,
    /// Raised when somebody takes over; closed when the subscription has ended.
    taken: watch::Sender<bool>,
}

/// All subscriptions of this server.
#[derive(Default)]
pub(crate) struct Subscriptions(Mutex<Known>);

#[derive(Default)]
struct Known {
    entries: FixedMap<Key, Entry>,
    sweep_at: usize,
}

impl Subscriptions {
    /// Registers a subscription that begins at system time `now` and ends the one before it; `None` within five seconds
    /// of that one's beginning.
    pub fn register(self: &Arc<Self>, key: Key, now: Duration) -> Option<Registration> {
        let mut known = self.0.lock();
        let held = |entry: &Entry| now.saturating_sub(entry.since) < HELD;
        if known.entries.get(&key).is_some_and(held) {
            return None;
        }
        if known.entries.len() >= known.sweep_at.max(SWEEP) {
            known.entries.retain(|_, entry| held(entry) || entry.taken.receiver_count() > 0);
            known.sweep_at = known.entries.len() * 2;
        }
        let (taken, receiver) = watch::channel(false);
        if let Some(before) = known.entries.insert(key.clone(), Entry { since: now, taken }) {
            before.taken.send_replace(true);
        }
        Some(Registration { key, taken: receiver })
    }
}

/// One subscription's place; dropped with it. The five seconds after its beginning are kept nevertheless.
pub(crate) struct Registration {
    key: Key,
    taken: watch::Receiver<bool>,
}

impl Registration {
    /// Whether another has taken over.
    pub fn is_taken(&self) -> bool {
        *self.taken.borrow()
    }

    /// Ends when another takes over.
    pub async fn taken(&mut self) {
        if self.taken.wait_for(|taken| *taken).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The consumer's ARN.
    pub fn consumer(&self) -> &str {
        &self.key.consumer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(shard: u64) -> Key {
        Key { stream: StreamUid(1), shard: ShardUid(shard), consumer: "c".to_owned() }
    }

    #[test]
    fn one_holds_for_five_seconds_and_then_gives_way() {
        let all = Arc::new(Subscriptions::default());
        let first = all.register(key(1), Duration::from_secs(10)).expect("free");
        assert!(all.register(key(1), Duration::from_millis(14_999)).is_none());
        assert!(all.register(key(2), Duration::from_secs(11)).is_some(), "another shard");
        let second = all.register(key(1), Duration::from_secs(15)).expect("taken over");
        assert!(first.is_taken() && !second.is_taken());
        drop(second);
        assert!(all.register(key(1), Duration::from_secs(16)).is_none(), "ended, and still within five seconds");
        assert!(all.register(key(1), Duration::from_secs(20)).is_some());
    }

    #[test]
    fn ended_ones_are_forgotten() {
        let all = Arc::new(Subscriptions::default());
        let kept: Vec<_> = (0..10).map(|at| all.register(key(at), Duration::ZERO).expect("free")).collect();
        for at in 10..20_000 {
            drop(all.register(key(at), Duration::from_millis(at)).expect("free"));
        }
        assert!(all.0.lock().entries.len() < 12_000, "{}", all.0.lock().entries.len());
        assert!((0..10).all(|at| all.0.lock().entries.contains_key(&key(at))) && kept.len() == 10);
    }
}
