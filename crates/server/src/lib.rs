//! The server as a library: configuration, wiring, start and stop, admin pages. The binary is a thin `main`.
//!
//! Owns: which engine, which ports, which credentials; the order of start and stop; the admin pages.
//! In: [`Options`] from flags, environment and file. Out: a [`RunningServer`] with its addresses and its clock.
//! Never: logic worth a test of its own; it wires what the other rooms decide.

mod admin;
mod config;
mod control;
pub mod ctl;
mod lifecycle;
mod store;

pub use config::{Admin, Audit, Config, ControlAccess, Durability, Options, Store};
pub use control::{Before, ClockView, Control, HeatView, Names, Refused, SequenceRange, ShardView, Shards, StreamView};
pub use lifecycle::{Addresses, RunningServer, start_in_process};
pub use store::FileUse;
