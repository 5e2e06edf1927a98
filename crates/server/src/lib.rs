//! The server as a library: configuration, wiring, start and stop, admin pages. The binary is a thin `main`.
//!
//! Owns: which engine, which ports, which credentials; the order of start and stop; the admin pages.
//! In: [`Options`] from flags, environment and file. Out: a [`RunningServer`] with its addresses and its clock.
//! Never: logic worth a test of its own; it wires what the other rooms decide.

mod admin;
mod config;
mod fork;
mod lifecycle;
mod store;

pub use config::{Admin, Audit, Config, Durability, Options, Store};
pub use fork::{ForkInfo, Forks, SnapshotReport};
pub use lifecycle::{Addresses, RunningServer, start_in_process};
pub use store::FileUse;
