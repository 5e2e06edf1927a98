//! Values that are decided but not yet durable: planners see them, readers never do.

use std::sync::Arc;

use bytes::Bytes;

use crate::completion::Completion;

/// The newest value of a key on its way to the disk.
#[derive(Clone)]
pub(crate) struct Pending {
    /// The value; `None` when it is deleted.
    pub value: Option<Bytes>,
    /// View of the key's table under which it was decided. A planner with another view must not build on it: what
    /// raised the view made it void.
    pub view: u64,
    /// Version of a token's own head once the plan is committed; of other keys zero.
    pub version: u64,
    /// The end of the plan that writes it.
    pub plan: Arc<Completion>,
}

/// What a planner read for one key.
pub(crate) enum Base {
    /// Nothing is pending: the published snapshot has the newest value.
    Published,
    /// A pending value; an answer based on it waits for its plan.
    Pending(Pending),
}
