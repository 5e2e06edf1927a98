//! The log over the memory engine in a simulated world.

mod chaos;
mod checks;
mod closing;
mod commands;
mod definitions;
mod harness;
mod life;
mod locking;
#[cfg(feature = "planted-bugs")]
mod planted;
mod retention;
mod shards;
mod threads;
mod tokens;
