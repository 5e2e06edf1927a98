//! Key attribute values as bytes whose order is the values' order.
//!
//! ```text
//! part = N: 01, number key bytes (they end themselves)
//!      | S: 02, UTF-8 bytes with 00 written as 00 FF, then 00 01
//!      | B: 03, bytes likewise
//! item key = placement hash (16, MD5 of the partition part) | partition part | sort part, if the table has one
//! ```
//! A part ends itself and none is a prefix of another, so all items of a partition key lie together, by sort key.

use crate::attribute_value::AttributeValue;
use crate::hash::HashKey;
use crate::number::Number;

const NUMBER: u8 = 1;
const STRING: u8 = 2;
const BINARY: u8 = 3;
const ESCAPE: u8 = 0;
const ESCAPED_ZERO: u8 = 0xff;
const END: u8 = 1;

/// Appends a key attribute's value; false (and nothing appended) when its type cannot be a key.
pub fn encode_part(value: &AttributeValue, into: &mut Vec<u8>) -> bool {
    match value {
        AttributeValue::N(number) => {
            into.push(NUMBER);
            into.extend(number.to_key_bytes());
        }
        AttributeValue::S(text) => encode_bytes(STRING, text.as_bytes(), into),
        AttributeValue::B(bytes) => encode_bytes(BINARY, bytes, into),
        AttributeValue::Bool(_) | AttributeValue::Null | AttributeValue::Ss(_) | AttributeValue::Ns(_) => return false,
        AttributeValue::Bs(_) | AttributeValue::L(_) | AttributeValue::M(_) => return false,
    }
    true
}

fn encode_bytes(tag: u8, bytes: &[u8], into: &mut Vec<u8>) {
    into.reserve(bytes.len() + 3);
    into.push(tag);
    encode_escaped(bytes, into);
    into.extend([ESCAPE, END]);
}

fn encode_escaped(bytes: &[u8], into: &mut Vec<u8>) {
    if !bytes.contains(&ESCAPE) {
        return into.extend_from_slice(bytes);
    }
    for &byte in bytes {
        into.push(byte);
        if byte == ESCAPE {
            into.push(ESCAPED_ZERO);
        }
    }
}

/// Appends what all encoded strings or binaries that begin with `value` begin with, for begins_with; false for numbers.
pub fn encode_prefix(value: &AttributeValue, into: &mut Vec<u8>) -> bool {
    let (tag, bytes) = match value {
        AttributeValue::S(text) => (STRING, text.as_bytes()),
        AttributeValue::B(bytes) => (BINARY, bytes.as_slice()),
        _ => return false,
    };
    into.push(tag);
    encode_escaped(bytes, into);
    true
}

/// Takes a part off the front; returns its value and what follows, or `None` when the bytes are no part.
pub fn decode_part(bytes: &[u8]) -> Option<(AttributeValue, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    match tag {
        NUMBER => Number::from_key_bytes(rest).map(|(number, rest)| (AttributeValue::N(number), rest)),
        STRING => {
            let (bytes, rest) = decode_escaped(rest)?;
            Some((AttributeValue::S(String::from_utf8(bytes).ok()?), rest))
        }
        BINARY => decode_escaped(rest).map(|(bytes, rest)| (AttributeValue::B(bytes), rest)),
        _ => None,
    }
}

fn decode_escaped(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    loop {
        let byte = *bytes.get(at)?;
        at += 1;
        if byte == ESCAPE {
            match *bytes.get(at)? {
                END => return Some((plain, bytes.get(at + 1..)?)),
                ESCAPED_ZERO => at += 1,
                _ => return None,
            }
        }
        plain.push(byte);
    }
}

/// Room for an item key; most need no more. Unit: bytes. Source: ours.
const KEY_BYTES: usize = 96;

/// A whole item key and its place.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ItemKey {
    /// The place of the partition key.
    pub hash: HashKey,
    /// Hash and parts, as in the module's picture.
    pub bytes: Vec<u8>,
}

impl ItemKey {
    /// The key of an item; `None` when a value's type cannot be a key.
    pub fn new(partition: &AttributeValue, sort: Option<&AttributeValue>) -> Option<Self> {
        let mut bytes = Vec::with_capacity(KEY_BYTES);
        bytes.extend([0; 16]);
        if !encode_part(partition, &mut bytes) {
            return None;
        }
        let hash = HashKey::of(&bytes[16..]);
        bytes[..16].copy_from_slice(&hash.0.to_be_bytes());
        if let Some(sort) = sort
            && !encode_part(sort, &mut bytes)
        {
            return None;
        }
        Some(Self { hash, bytes })
    }

    /// The values of a key's bytes: partition key, and sort key if there is one.
    pub fn decode(bytes: &[u8]) -> Option<(AttributeValue, Option<AttributeValue>)> {
        let (partition, rest) = decode_part(bytes.get(16..)?)?;
        if rest.is_empty() {
            return Some((partition, None));
        }
        let (sort, rest) = decode_part(rest)?;
        rest.is_empty().then_some((partition, Some(sort)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> impl Strategy<Value = AttributeValue> {
        prop_oneof![
            "[\\x00\\x01ab]{0,4}".prop_map(AttributeValue::S),
            prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xff), any::<u8>()], 0..5)
                .prop_map(AttributeValue::B),
            (-1_000_000i64..1_000_000).prop_map(|n| AttributeValue::N(Number::from(n))),
        ]
    }

    fn order(a: &AttributeValue, b: &AttributeValue) -> Option<std::cmp::Ordering> {
        match (a, b) {
            (AttributeValue::S(a), AttributeValue::S(b)) => Some(a.cmp(b)),
            (AttributeValue::B(a), AttributeValue::B(b)) => Some(a.cmp(b)),
            (AttributeValue::N(a), AttributeValue::N(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn parts_keep_order_and_come_back(a in values(), b in values(), tail in values()) {
            let encode = |first: &AttributeValue| {
                let mut bytes = Vec::new();
                assert!(encode_part(first, &mut bytes) && encode_part(&tail, &mut bytes));
                bytes
            };
            let (x, y) = (encode(&a), encode(&b));
            if let Some(order) = order(&a, &b) {
                prop_assert_eq!(x.cmp(&y), order);
            }
            let (value, rest) = decode_part(&x).unwrap();
            prop_assert_eq!(&value, &a);
            prop_assert_eq!(decode_part(rest), Some((tail.clone(), &[][..])));
            let key = ItemKey::new(&a, Some(&b)).unwrap();
            prop_assert_eq!(ItemKey::decode(&key.bytes), Some((a, Some(b))));
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = (decode_part(&bytes), ItemKey::decode(&bytes));
        }
    }
}
