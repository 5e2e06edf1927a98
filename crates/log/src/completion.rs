//! How a plan ends, and the waiting for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use headwater_types::{SequenceNumber, ShardUid};
use parking_lot::Mutex;
use smallvec::SmallVec;

/// How a plan ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// Durable and published.
    Committed,
    /// Nothing of it was done: decide again.
    TakenBack,
    /// Nothing of it was done: the disk is full.
    Full,
    /// Whether it was done is known at the next start.
    Closed,
}

/// The end of one plan; its own request and all that built on its values wait for it.
#[derive(Default)]
pub(crate) struct Completion(Mutex<State>);

#[derive(Default)]
struct State {
    end: Option<End>,
    numbers: Vec<SequenceNumber>,
    shards: Vec<ShardUid>,
    wakers: SmallVec<[Waker; 1]>,
}

impl Completion {
    /// Ends the plan; only the first end counts.
    pub fn end(&self, end: End, numbers: Vec<SequenceNumber>) {
        let wakers = {
            let mut state = self.0.lock();
            if state.end.is_some() {
                return;
            }
            state.end = Some(end);
            state.numbers = numbers;
            std::mem::take(&mut state.wakers)
        };
        // Outside the lock: a waker may run code.
        for waker in wakers {
            waker.wake();
        }
    }

    /// The records' numbers; empty before the end. Taken once, by the plan's own request.
    pub fn numbers(&self) -> Vec<SequenceNumber> {
        std::mem::take(&mut self.0.lock().numbers)
    }

    /// Notes the shards that the records go to, when the plan is put into a group.
    pub fn place(&self, shards: Vec<ShardUid>) {
        self.0.lock().shards = shards;
    }

    /// The records' shards, in the order of the numbers. Taken once, by the plan's own request.
    pub fn shards(&self) -> Vec<ShardUid> {
        std::mem::take(&mut self.0.lock().shards)
    }

    /// Waits for the end.
    pub fn wait(self: &Arc<Self>) -> Wait {
        Wait(self.clone())
    }
}

/// The waiting for a plan's end.
pub(crate) struct Wait(Arc<Completion>);

impl Future for Wait {
    type Output = End;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<End> {
        let mut state = self.0.0.lock();
        match state.end {
            Some(end) => Poll::Ready(end),
            None => {
                if !state.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                    state.wakers.push(context.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}
