//! Durable jobs: work that goes on in the background, a bounded step at a time, and survives a crash.
//!
//! Owns: filling and removing indexes, deleting what has expired, replicating tables to data streams; their cursors, rate and
//! progress.
//! In: the catalog, which says what is to be done; items of `table`. Out: commands and changes of definitions to `log`.
//! Order: a step's effect and its cursor are one commit, so a crash repeats nothing that counts and skips nothing.
//! Never: answers requests; a commit outside `log`.

mod job;
mod replication;
mod runner;
mod step;

pub use job::{Job, Kind, Progress};
pub use replication::{Disturbance, Event, Events, GIVEN_UP_AFTER_MS, Happening, Throttle};
pub use runner::{Doors, Jobs, Replication, Settings, Totals};
