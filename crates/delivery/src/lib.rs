//! Durable jobs: work that goes on in the background, a bounded step at a time, and survives a crash.
//!
//! Owns: filling and removing indexes, deleting what has expired; their cursors, rate and progress.
//! In: the catalog, which says what is to be done; items of `table`. Out: commands and changes of definitions to `log`.
//! Order: a step's effect and its cursor are one commit, so a crash repeats nothing that counts and skips nothing.
//! Never: answers requests; a commit outside `log`.

mod job;
mod runner;
mod step;

pub use job::{Job, Kind, Progress};
pub use runner::{Jobs, Settings, Totals};
