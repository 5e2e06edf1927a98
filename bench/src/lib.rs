//! What the benches share: servers under test, load over keep-alive connections, requests, and how results are shown.
//!
//! Everything is measured as a ratio to a bare server of the same HTTP stack in the same run, because machines are
//! shared and noisy; server CPU per operation decides, operations per second stand beside it.

pub mod cores;
pub mod data_stream;
pub mod disk;
pub mod full;
pub mod keys;
pub mod lab;
pub mod load;
pub mod parts;
pub mod peers;
pub mod plots;
pub mod report;
pub mod rounds;
pub mod subject;
pub mod workload;
