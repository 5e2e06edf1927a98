//! Shapes, constraints, error codes and operation traits of the four APIs; written by `cargo xtask codegen`.

// The models carry no prose, so generated items have names and no sentences.
#![allow(missing_docs)]

pub mod dynamodb;
pub mod dynamodb_streams;
pub mod firehose;
pub mod kinesis;
