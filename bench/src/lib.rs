//! What the benches share: servers under test, load over keep-alive connections, requests, and how results are shown.
//!
//! Everything is measured as a ratio to a bare server of the same HTTP stack in the same run, because machines are
//! shared and noisy; server CPU per operation decides, operations per second stand beside it.

pub mod data_stream;
pub mod load;
pub mod report;
pub mod subject;
pub mod workload;
