//! The server as a library: configuration, wiring, start and stop, admin pages. The binary is a thin `main`.
//!
//! Owns: which engine, which ports, which credentials; the order of start and stop; the admin pages.
//! In: [`Options`] from flags, environment and file. Out: a [`RunningServer`] with its addresses and its clock.
//! Never: logic worth a test of its own; it wires what the other rooms decide.
//!
//! A test starts a server in its own process and has its clock and its shards in its hand:
//!
//! ```
//! # #[tokio::main]
//! # async fn main() -> anyhow::Result<()> {
//! use std::time::Duration;
//! use headwater_server::{Config, Names, start_in_process};
//!
//! let server = start_in_process(Config::for_test()).await?;
//! let control = server.control();
//! let before = control.freeze().await?;
//! // … make a table at server.addresses().dynamodb, write to it, control.split(&Names::table("orders"), None).await? …
//! let after = control.advance(Duration::from_secs(25 * 3600)).await?;
//! // … a reader's checkpoint from before the jump has been trimmed …
//! assert_eq!(after.store_ms - before.store_ms, 25 * 3_600_000);
//! let refused = control.split(&Names::table("orders"), None).await.expect_err("nobody made the table");
//! assert_eq!(refused.to_string(), "NotFound: no table orders, and no data stream");
//! server.stop().await?;
//! # Ok(())
//! # }
//! ```
//!
//! A suite may give each of its tests a store of its own, a fork of one
//! that is filled once:
//!
//! ```
//! # #[tokio::main]
//! # async fn main() -> anyhow::Result<()> {
//! use headwater_server::{Config, start_in_process};
//!
//! let filled = start_in_process(Config::for_test()).await?;
//! // … make and fill tables at filled.addresses().dynamodb …
//! let mine = filled.fork(None).await?;
//! // … write to mine.dynamodb, read mine.streams …
//! assert_ne!(mine.dynamodb, filled.addresses().dynamodb);
//! filled.end_fork(mine.dynamodb).await?;
//! filled.stop().await?;
//! # Ok(())
//! # }
//! ```

mod admin;
pub mod certs;
mod config;
mod control;
pub mod ctl;
pub mod descriptors;
mod fork;
mod lifecycle;
mod store;

pub use config::{Admin, Audit, Config, ControlAccess, Durability, Options, Store, TlsFiles};
pub use control::{
    Before, ClockView, Control, HeatView, Names, Refused, ReplicationView, SequenceRange, ShardView, Shards, StreamView,
};
pub use fork::{ForkInfo, Forks, SnapshotReport};
pub use headwater_delivery::Disturbance;
pub use headwater_wire::{FaultApi, FaultKind, FaultRule, FaultState};
pub use lifecycle::{Addresses, RunningServer, start_in_process};
pub use store::FileUse;
