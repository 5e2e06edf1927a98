//! Where tasks run: spawning, blocking work, sleeping, time and randomness behind one handle.
//!
//! Production runs on tokio ([`tokio_runtime`], feature `tokio-runtime`); the simulator runs the same code on
//! [`simulated`], where one seed fixes every schedule.

pub mod simulated;
#[cfg(feature = "tokio-runtime")]
pub mod tokio_runtime;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::time::Millis;

/// A boxed future that may cross threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a runtime must offer.
pub trait Executor: Send + Sync + 'static {
    /// Runs a task to its end, independent of who spawned it.
    fn spawn(&self, task: BoxFuture<'static, ()>);
    /// Runs work that may block a thread (disk), away from the tasks.
    fn blocking(&self, work: Box<dyn FnOnce() + Send>);
    /// Ends after `duration`.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
    /// The wall clock.
    fn wall(&self) -> Millis;
    /// Time since a fixed moment; never falls.
    fn monotonic(&self) -> Duration;
    /// 64 random bits; seeded in the simulator.
    fn random(&self) -> u64;
}

/// A cheap handle on an executor.
#[derive(Clone)]
pub struct Runtime(Arc<dyn Executor>);

/// The task or the blocking work was dropped or panicked before it could answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost;

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a task ended without an answer")
    }
}

impl std::error::Error for Lost {}

impl Runtime {
    /// A handle on `executor`.
    pub fn new(executor: impl Executor) -> Self {
        Self(Arc::new(executor))
    }

    /// Starts a task; the returned future gives its result. Dropping that future does not end the task.
    pub fn spawn<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        task: F,
    ) -> impl Future<Output = Result<T, Lost>> + Send + 'static + use<T, F> {
        let (done, result) = oneshot::channel();
        self.0.spawn(Box::pin(async move {
            // Whoever waits may be gone: the task's work is done all the same.
            let _ = done.send(task.await);
        }));
        async move { result.await.map_err(|_| Lost) }
    }

    /// Runs `work` where blocking is allowed. It starts even if the returned future is dropped.
    pub fn blocking<T: Send + 'static, W: FnOnce() -> T + Send + 'static>(
        &self,
        work: W,
    ) -> impl Future<Output = Result<T, Lost>> + Send + 'static + use<T, W> {
        let (done, result) = oneshot::channel();
        self.0.blocking(Box::new(move || {
            let _ = done.send(work());
        }));
        async move { result.await.map_err(|_| Lost) }
    }

    /// Ends after `duration`.
    pub fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.0.sleep(duration)
    }

    /// The wall clock; use [`crate::Clock`] instead, which tells store time from system time.
    pub fn wall(&self) -> Millis {
        self.0.wall()
    }

    /// Time since a fixed moment; never falls.
    pub fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }

    /// 64 random bits.
    pub fn random(&self) -> u64 {
        self.0.random()
    }

    /// 128 random bits.
    pub fn random_u128(&self) -> u128 {
        (u128::from(self.0.random()) << 64) | u128::from(self.0.random())
    }
}
