//! What expressions mean: text → tree → bound tree → value.
//!
//! Owns: the one grammar of all expression kinds, its static rules in the service's order, and the one evaluator.
//! In: texts, names and values to substitute, items. Out: bound conditions, updates, projections, key conditions.
//! Never: tables, storage, I/O.
//!
//! Source of the messages: DynamoDB's answers as recorded by dynalite's and Alternator's public test suites.

pub mod bind;
pub mod condition;
pub mod error;
pub mod key_condition;
pub mod legacy;
mod lexer;
pub mod operand;
mod parser;
pub mod path;
pub mod projection;
mod reserved;
mod rules;
mod tree;
pub mod update;

pub use bind::Substitutions;
pub use condition::{Comparator, Condition};
pub use error::{Error, Kind};
pub use key_condition::{KeyCondition, KeyNames, KeyQuery, RangeCondition};
pub use operand::{Attributes, Operand};
pub use path::{Element, Path};
pub use projection::Projection;
pub use update::Update;
