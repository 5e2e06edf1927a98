//! The order of checks and the answers of the APIs.
//!
//! Owns: what a request is checked for and in which order, the texts of refusals that no model knows, the shape of answers.
//! In: typed inputs of `api` with the call they belong to. Out: typed outputs, or `api::Error`.
//! Order in every operation: form of the request → what may be done (`Call::authorize`) → look-ups → `table` and `log`.
//! Never: bytes, sockets, key prefixes, a second opinion on what `expression` or `table` decide.

mod dynamodb;
mod dynamodb_streams;
mod kinesis;
mod rate;
mod service;

pub use service::Operations;
