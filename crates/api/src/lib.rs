//! What the official models of the four APIs say, as Rust.
//!
//! Owns: shapes, model constraints and their texts, error codes, one operation trait per API, routing, who calls.
//! In: a protocol-neutral [`Document`] and a [`Call`]. Out: a [`Reply`] that encodes itself through an [`Encoder`].
//! `generated/` follows from `models/` and `model-overrides.toml` (`cargo xtask codegen`); nothing there is edited.
//! Never: sockets, signatures, tables, behaviour of an operation.

pub mod access;
mod answer_item;
mod api;
mod attribute_value;
mod call;
mod constraint;
mod decode;
mod document;
mod encode;
mod error;
mod frame;
mod generated;
mod instant;
pub mod json;
mod new_item;
mod pattern;
mod reply;
pub mod schema;

pub use access::{Access, AllowAll, Authorizer};
pub use answer_item::AnswerItem;
pub use api::Api;
pub use attribute_value::{AttributeValue, InvalidValue, encode_value};
pub use call::{Call, Caller, Principal, Transport};
pub use constraint::check;
pub use decode::{Decode, Input};
pub use document::{Document, Tag};
pub use encode::{Encode, Encoder};
pub use error::{Code, Error, codes};
pub use frame::Frame;
pub use generated::{dynamodb, dynamodb_streams, firehose, kinesis};
pub use instant::Instant;
pub use new_item::NewItem;
pub use reply::{Answer, Event, Events, Pushed, Reply};
