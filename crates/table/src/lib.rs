//! Items as a state machine over the log's commit path.
//!
//! Owns: item keys in storage, read-modify-write of items, index entries, expiry, change records, pages of Query and Scan,
//! consumed units.
//! In: bound expressions, items, keys. Out: plans for `log`, items, change records.
//! Never: sockets, API shapes, a commit outside `log`.

pub mod backfill;
pub mod capacity;
pub mod change;
pub mod collection;
pub mod command;
pub mod index;
mod plan;
#[cfg(feature = "planted-bugs")]
pub mod planted;
pub mod query;
pub mod read;
pub mod replica;
pub mod row;
pub mod schema;
pub mod transact;
pub mod ttl;

pub use change::{ChangeRecord, EventName};
pub use command::{Action, Refusal, Write, Written, write};
pub use index::{IndexKeyError, IndexKeyFault, IndexUse};
pub use query::{Page, Query, Scan, Source, query, scan};
pub use read::{ReadError, get};
pub use row::Row;
pub use schema::KeyError;
pub use transact::{Token, TransactAction, TransactRefusal, Transacted, transact};
