//! Sockets and bytes.
//!
//! Owns: connections and their time-outs, TLS, bounded heads and bodies, content encodings, signatures, the way from a target to
//! an operation's trait, response headers, audit lines, counters.
//! In: TCP connections (or any transport) and the four traits of `api`. Out: answers in the service's form.
//! Never: anything about data; `operations` and this room meet only at the traits.
//!
//! A request's way: `server` accepts, `connection` reads, `visit` takes it through `target`, `request`, `auth`, the
//! generated dispatch and `response`; `audit` and `metrics` record it.

mod audit;
mod auth;
mod calendar;
mod compression;
mod connection;
mod cors;
mod faults;
mod foreign;
pub mod metrics;
mod protocol;
mod request;
mod request_id;
mod response;
mod server;
mod settings;
mod target;
mod tls;
mod visit;

pub use audit::{Audit, ServiceEvent, Sink};
pub use auth::credentials::{ACCOUNT_DEFAULT, Accounts, InvalidCredentials, is_account};
pub use auth::{Credential, Credentials};
pub use faults::{FaultApi, FaultKind, FaultRule, FaultState, Faults};
pub use metrics::Metrics;
pub use server::{Parts, Server, Services, Stopped};
pub use settings::Settings;
pub use target::ApiSet;
pub use tls::{InvalidTls, Tls};
