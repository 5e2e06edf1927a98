//! Raw bytes over real sockets: what a client sends, and to the byte what it is answered.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bounds;
mod cbor;
mod client;
mod connections;
mod golden;
mod http2;
mod operations;
mod recording;
mod signed;
mod tls;
mod world;
