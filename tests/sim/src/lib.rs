//! The seeded simulator: whole requests against whole nodes in a world where one number decides every schedule and
//! fault, and checkers that judge what the clients saw.
//!
//! ```text
//! plan (seed) ─► cluster: nodes over one durable state ◄─ killed and opened again
//!                   ▲ JSON requests, as tasks of a node
//!      clients, admins (one per table), readers (streams only) ─► history ─► check ─► violations
//!      ledger (transactions), expiry (time to live) ──────────────►┤
//!      data_streams: writers, admins, pollers, subscribers ───────►┤
//!      replication: admins of destinations and targets, a keeper ─►┘
//!      structures: indexes, expiry, collections of published snapshots, held to their items ─► violations
//! ```
//! Owns: the workload, the history, the checkers. In: a seed and a mode. Out: figures, and what was broken.
//! Never: a clock or a random number of its own inside a run; a look at anything that a client could not see (but the
//! hash ranges of open shards, which no API of this version shows, the entries in snapshots, by their stored form, and the
//! positions of replications).

pub mod admin;
pub mod check;
pub mod client;
pub mod cluster;
pub mod data_streams;
pub mod direct;
pub mod embedded;
pub mod expiry;
mod figures;
pub mod held;
pub mod history;
pub mod ledger;
pub mod linearize;
pub mod plan;
pub mod planted;
pub mod protocol;
pub mod reader;
pub mod replication;
pub mod report;
pub mod run;
pub mod server;
pub mod spec;
pub mod stopwatch;
pub mod structures;
