//! The log over the memory engine in a simulated world, and over PostgreSQL in the real one.

mod chaos;
mod checks;
mod closing;
mod commands;
mod data_stream_chaos;
mod data_streams;
mod definitions;
mod groups;
mod harness;
mod life;
mod locking;
#[cfg(feature = "planted-bugs")]
mod planted;
mod postgres;
mod replicated;
mod retention;
mod shards;
mod threads;
mod tokens;
mod year;
