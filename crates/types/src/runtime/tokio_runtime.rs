//! The production runtime: tokio's tasks and blocking pool, the system's clocks, a generator seeded by the system.
#![allow(clippy::disallowed_methods, reason = "this is the one place where the real clock and tasks are touched")]

use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::{BoxFuture, Executor, Runtime};
use crate::time::Millis;

struct Tokio {
    handle: tokio::runtime::Handle,
    start: Instant,
    random: Mutex<ChaCha12Rng>,
}

/// A runtime on the tokio runtime that `handle` belongs to.
pub fn on(handle: tokio::runtime::Handle) -> Runtime {
    let mut seed = [0u8; 32];
    for part in seed.chunks_mut(8) {
        // The standard library's hasher keys come from the system's generator.
        let bits = std::hash::RandomState::new().build_hasher().finish();
        part.copy_from_slice(&bits.to_le_bytes());
    }
    Runtime::new(Tokio { handle, start: Instant::now(), random: Mutex::new(ChaCha12Rng::from_seed(seed)) })
}

impl Executor for Tokio {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.handle.spawn(task);
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.handle.spawn_blocking(work);
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn wall(&self) -> Millis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Millis(since.as_millis() as i64)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn random(&self) -> u64 {
        self.random.lock().next_u64()
    }
}
