//! Wakes readers when a shard has something new.

use std::sync::atomic::{AtomicUsize, Ordering};

use headwater_types::ShardUid;
use headwater_types::hash::FixedMap;
use parking_lot::Mutex;
use tokio::sync::watch;

/// Who waits on which shard.
#[derive(Default)]
pub(crate) struct Notify {
    shards: Mutex<FixedMap<ShardUid, watch::Sender<u64>>>,
    /// Shards in the map: the committer looks here first.
    count: AtomicUsize,
}

impl Notify {
    /// A receiver that is marked changed after every commit that adds to the shard or closes it.
    ///
    /// Order: subscribe, then read, then wait: what the read did not see wakes the wait.
    pub fn subscribe(&self, shard: ShardUid) -> watch::Receiver<u64> {
        let mut shards = self.shards.lock();
        let receiver = shards.entry(shard).or_insert_with(|| watch::Sender::new(0)).subscribe();
        self.count.store(shards.len(), Ordering::Release);
        receiver
    }

    /// These shards have something new that readers can see.
    pub fn raise(&self, changed: &mut Vec<ShardUid>) {
        if self.count.load(Ordering::Acquire) == 0 || changed.is_empty() {
            return;
        }
        changed.sort_unstable();
        changed.dedup();
        let mut shards = self.shards.lock();
        for shard in changed {
            let Some(sender) = shards.get(shard) else { continue };
            if sender.receiver_count() == 0 {
                shards.remove(shard);
            } else {
                sender.send_modify(|count| *count += 1);
            }
        }
        self.count.store(shards.len(), Ordering::Release);
    }

    /// Any shard may have something new.
    pub fn raise_all(&self) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut shards = self.shards.lock();
        shards.retain(|_, sender| sender.receiver_count() > 0);
        for sender in shards.values() {
            sender.send_modify(|count| *count += 1);
        }
        self.count.store(shards.len(), Ordering::Release);
    }
}
