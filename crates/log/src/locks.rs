//! Key locks and pending values, in one table.
//!
//! A lock is a queue of its own per key, in order of the commands' tickets: a command whose plan was taken back keeps
//! its ticket and so comes before newer ones. It is released when its guard is dropped; dropping a waiting future
//! leaves the queue.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use headwater_types::HashKey;
use headwater_types::hash::FixedMap;
use parking_lot::Mutex;

use crate::command::{Few, Touch};
use crate::completion::Completion;
use crate::pending::{Base, Pending};

/// Parts of the table, so that planners on several cores seldom meet. Unit: parts, a power of two.
const PARTS: usize = 64;

/// Names a command for its life; smaller is older. Zero is nobody.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Ticket(pub u64);

const NOBODY: Ticket = Ticket(0);

/// All locked keys and pending values of a node.
pub(crate) struct Keys {
    parts: Vec<Mutex<FixedMap<Bytes, Slot>>>,
}

struct Slot {
    holder: Ticket,
    waiting: VecDeque<(Ticket, Waker)>,
    pending: Option<Pending>,
}

impl Keys {
    pub fn new() -> Self {
        Self { parts: (0..PARTS).map(|_| Mutex::default()).collect() }
    }

    /// Locks the keys of `touches` in key order.
    pub async fn lock<'a>(&'a self, ticket: Ticket, touches: &'a [Touch]) -> Guard<'a> {
        let mut guard = Guard { keys: self, ticket, touches, held: Few::with_capacity(touches.len()) };
        let mut order: Few<usize> = (0..touches.len()).collect();
        order.sort_by(|a, b| touches[*a].key.cmp(&touches[*b].key));
        for at in order {
            let touch = &touches[at];
            Acquire { keys: self, ticket, touch, waiting: false }.await;
            guard.held.push(at);
        }
        guard
    }

    /// The pending value of a key that was decided under `view`.
    pub fn base(&self, touch: &Touch, view: u64) -> Base {
        let part = self.part(touch.hash).lock();
        match part.get(&touch.key).and_then(|slot| slot.pending.as_ref()) {
            Some(pending) if pending.view == view => Base::Pending(pending.clone()),
            _ => Base::Published,
        }
    }

    /// Makes a value visible to later planners. The caller holds the key's lock.
    pub fn publish(&self, hash: HashKey, key: &Bytes, pending: Pending) {
        let mut part = self.part(hash).lock();
        if let Some(slot) = part.get_mut(key) {
            slot.pending = Some(pending);
        }
    }

    /// Removes the pending value that `plan` published, unless a later plan's has taken its place.
    ///
    /// Order: called once the published snapshot shows the value, or once the plan was taken back.
    pub fn retire(&self, hash: HashKey, key: &Bytes, plan: &Arc<Completion>) {
        let mut part = self.part(hash).lock();
        let Some(slot) = part.get_mut(key) else { return };
        if slot.pending.as_ref().is_some_and(|pending| Arc::ptr_eq(&pending.plan, plan)) {
            slot.pending = None;
            if slot.is_empty() {
                part.remove(key);
            }
        }
    }

    /// How many keys are locked or pending.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.lock().len()).sum()
    }

    fn part(&self, hash: HashKey) -> &Mutex<FixedMap<Bytes, Slot>> {
        // The middle of the hash: its top bits are alike within a partition.
        let at = (hash.0 >> 40) as usize % PARTS;
        self.parts.get(at).expect("the index is taken modulo the number of parts")
    }

    fn release(&self, ticket: Ticket, touch: &Touch) {
        let mut part = self.part(touch.hash).lock();
        let Some(slot) = part.get_mut(&touch.key) else { return };
        if slot.holder == ticket {
            match slot.waiting.pop_front() {
                Some((next, waker)) => {
                    slot.holder = next;
                    drop(part);
                    waker.wake();
                    return;
                }
                None => slot.holder = NOBODY,
            }
        } else {
            slot.waiting.retain(|(waiter, _)| *waiter != ticket);
        }
        if slot.is_empty() {
            part.remove(&touch.key);
        }
    }
}

impl Slot {
    fn is_empty(&self) -> bool {
        self.holder == NOBODY && self.waiting.is_empty() && self.pending.is_none()
    }
}

/// Locked keys; dropping it releases them.
pub(crate) struct Guard<'a> {
    keys: &'a Keys,
    ticket: Ticket,
    touches: &'a [Touch],
    held: Few<usize>,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        for at in self.held.drain(..) {
            if let Some(touch) = self.touches.get(at) {
                self.keys.release(self.ticket, touch);
            }
        }
    }
}

/// The taking of one lock.
struct Acquire<'a> {
    keys: &'a Keys,
    ticket: Ticket,
    touch: &'a Touch,
    waiting: bool,
}

impl Future for Acquire<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut part = this.keys.part(this.touch.hash).lock();
        let Some(slot) = part.get_mut(&this.touch.key) else {
            let slot = Slot { holder: this.ticket, waiting: VecDeque::new(), pending: None };
            part.insert(this.touch.key.clone(), slot);
            this.waiting = false;
            return Poll::Ready(());
        };
        if slot.holder == NOBODY {
            slot.holder = this.ticket;
        }
        if slot.holder == this.ticket {
            this.waiting = false;
            return Poll::Ready(());
        }
        match slot.waiting.iter_mut().find(|(waiter, _)| *waiter == this.ticket) {
            Some((_, waker)) => waker.clone_from(context.waker()),
            None => {
                let at = slot.waiting.partition_point(|(waiter, _)| *waiter < this.ticket);
                slot.waiting.insert(at, (this.ticket, context.waker().clone()));
            }
        }
        this.waiting = true;
        Poll::Pending
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        if self.waiting {
            // Leaves the queue, or hands the lock on when it was given in the meantime.
            self.keys.release(self.ticket, self.touch);
        }
    }
}
