//! Seeded fuzzers: nothing that is sent panics the server, leaves a lock behind, or is answered by anything but JSON.
//!
//! ```text
//! seed → dice ─┬─► expression texts ──────────────► parse, bind, evaluate
//!              ├─► numbers ───────────────────────► against bigdecimal
//!              ├─► keys ──────────────────────────► order, round trip
//!              └─► bodies made of the cases' ─────► a server's port; then every table is written and read
//! ```
//! Owns: generators and what they are held to. In: a seed, a time. Out: counts, or the input that broke a promise.
//! Never: nightly compilers, a corpus outside the repository. One seed draws the same inputs again; what a server answers
//! to them may differ by the interleaving of its connections.

#![allow(clippy::disallowed_methods, reason = "a client on the real clock")]

pub mod bodies;
pub mod dice;
pub mod expressions;
pub mod json;
pub mod keys;
pub mod numbers;
pub mod panics;
pub mod planted;
pub mod server;
pub mod session;
pub mod values;

mod report;

pub use report::{Report, hunt, run};
