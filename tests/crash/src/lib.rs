//! Power loss on the real disk: a record of what a process did to its files, turned into every legal crash state.
//!
//! Owns: the reader of the recorder's log (`recorder.c`), its replay on the faulty disk, crash states as real folders.
//! Never: knows what the files mean.

pub mod recording;
pub mod workload;
