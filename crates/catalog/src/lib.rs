//! Which tables, their streams and data streams exist, and in which state.
//!
//! Owns: definitions of tables and streams, their allowed state changes, their stored rows, the counters of identities.
//! In: rows of a storage snapshot. Out: an immutable [`Snapshot`] of all definitions, swapped whole by `log`.
//! Never: item or record data; commits anything itself (`log` puts a change of definitions into the one commit order).

pub mod data_stream;
pub mod destination;
pub mod identity;
pub mod index;
pub mod resource;
pub mod snapshot;
pub mod state;
pub mod store_time;
pub mod writer;

pub use data_stream::{ConsumerDefinition, ConsumerState, DataStreamDefinition, DataStreamState, StreamMode};
pub use destination::{DestinationState, KinesisDestination, Precision, Tally};
pub use identity::{Identities, Incarnation};
pub use index::{IndexDefinition, IndexKind, IndexState, Projected, TimeToLive, TimeToLiveState};
pub use resource::{
    AttributeDefinition, BillingMode, KeyAttribute, KeyKind, KeySchema, StreamDefinition, StreamView, TableDefinition,
    Throughput,
};
pub use snapshot::Snapshot;
pub use state::{StreamState, TableState};
pub use store_time::StoreTime;
pub use writer::BadRow;
