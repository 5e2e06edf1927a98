//! The PostgreSQL engine: a cell is a schema, nodes hold nothing. Correct, not yet fast (decision 0008).
//!
//! ```text
//! commit:   BEGIN ─ lock the heads in key order ─ compare, number (in Rust) ─ take the position ─ rows, batch id ─ COMMIT
//! snapshot: SELECT position ─► every later read asks for the rows that held at that position, on any connection
//! upkeep:   pins of all nodes ─► rows that nobody can see any more go; hints of other nodes' commits ─► watch
//! ```
//! The position row is locked from the moment a batch takes its position until it is committed, so positions become
//! visible in their order and a snapshot is whole. Rows carry the positions between which they held: a snapshot outlives
//! its connection and a restart of the server, and never keeps PostgreSQL's own vacuum waiting.
//!
//! The contract's reads block. They run on a runtime of the engine's own, so that callers that wait for them cannot starve
//! the tasks that answer them.

mod commit;
mod connection;
mod node;
mod numbering;
mod outcome;
mod schema;
#[cfg(any(test, feature = "testing"))]
pub mod server;
mod snapshot;
mod upkeep;

use std::time::Duration;

pub use node::{Figures, Postgres};

/// Which database and schema, and how patient.
#[derive(Clone)]
pub struct Settings {
    /// Host, port, user, database, … in libpq's form: `host=127.0.0.1 port=5432 user=headwater dbname=headwater`. Without
    /// TLS so far.
    pub database: String,
    /// The cell's schema; made when it is not there. Lower-case letters, digits and `_`, at most 48.
    pub schema: String,
    /// Connections that reads share.
    pub readers: usize,
    /// How long a read waits for a server that is out of reach (a restart, a failover) before it answers an error.
    pub patience: Duration,
    /// How often the newest position is asked for when no hint comes.
    pub poll_every: Duration,
    /// How often pins are stated and rows that nobody can see are removed.
    pub upkeep_every: Duration,
    /// Draws a batch's position from a sequence before its commit: the pattern that loses records for readers at the tail.
    #[cfg(feature = "planted-bugs")]
    pub position_before_commit: bool,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The database's address may hold a password.
        f.debug_struct("Settings").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl Settings {
    /// Settings for a database and a schema.
    pub fn new(database: impl Into<String>, schema: impl Into<String>) -> Self {
        Self {
            database: database.into(),
            schema: schema.into(),
            readers: 3,
            patience: Duration::from_secs(20),
            poll_every: Duration::from_millis(50),
            upkeep_every: Duration::from_secs(1),
            #[cfg(feature = "planted-bugs")]
            position_before_commit: false,
        }
    }

    fn draws_before_commit(&self) -> bool {
        #[cfg(feature = "planted-bugs")]
        return self.position_before_commit;
        #[cfg(not(feature = "planted-bugs"))]
        false
    }
}
