//! Vocabulary of the house: values, names, identifiers, limits, time.
//!
//! Owns: item values and their order, sizes and hashes; newtypes of everything that is counted or named; every limit;
//! the two clocks and the runtime that tasks, blocking work and randomness go through.
//! In and out: plain data. Never: I/O, a wire format, a look at the wall clock outside [`time`].

pub mod arn;
pub mod attribute_value;
pub mod hash;
pub mod ids;
pub mod item;
pub mod key;
pub mod limits;
pub mod number;
pub mod runtime;
pub mod stored;
pub mod time;

pub use attribute_value::AttributeValue;
pub use hash::HashKey;
pub use ids::{Position, Scope, SequenceNumber, ShardUid, StreamUid, TableId};
pub use item::Item;
pub use number::{Number, NumberError};
pub use runtime::{BoxFuture, Runtime};
pub use time::{Clock, ClockState, Millis};
