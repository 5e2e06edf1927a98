//! How answers become bytes: JSON by `api`, CBOR, frames of an event stream.

pub(crate) mod cbor;
pub(crate) mod event_stream;
