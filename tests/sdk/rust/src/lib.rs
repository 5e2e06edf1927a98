//! The unmodified AWS SDK for Rust against a running server; see `tests/`.
