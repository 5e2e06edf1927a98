//! The place of a key in a stream's range of hash keys.

use md5::{Digest, Md5};

/// The hash key of a partition key: its MD5 as a number, first byte first.
///
/// Source: "PutRecord", Kinesis API reference.
#[must_use]
pub fn hash_key(partition_key: &str) -> u128 {
    u128::from_be_bytes(digest(partition_key.as_bytes()))
}

/// The MD5 of some bytes.
pub fn digest(bytes: &[u8]) -> [u8; crate::DIGEST_BYTES] {
    Md5::digest(bytes).into()
}
