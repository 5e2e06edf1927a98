//! The cell contract and its engines: ordered keys, a log, one commit order.
//!
//! Owns: durability, snapshots, atomic batches, numbering at commit, recovery.
//! In: batches of plans (heads, writes, unnumbered records). Out: outcomes, snapshots, log pages.
//! Never: knows what an item or a record is.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod contract;
pub mod embedded;
pub mod error;
pub mod files;
pub mod keyspace;
#[cfg(any(test, feature = "testing"))]
pub mod ledger;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
#[cfg(feature = "postgres")]
pub mod postgres;

pub use contract::{Batch, BatchId, Cell, CommitError, Head, HeadChange, HeadKey, HeadUse, Outcome, Plan, Snapshot};
pub use error::{Error, Kind};
