//! Key bytes: their order is the values' order, and they give the values back.

use std::cmp::Ordering;

use headwater_types::key::{ItemKey, decode_part, encode_part, encode_prefix};
use headwater_types::{AttributeValue, Number};

use crate::dice::Dice;
use crate::numbers;

/// What was drawn.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counts {
    /// Pairs of values.
    pub pairs: u64,
    /// Pairs of the same type that differ.
    pub ordered: u64,
    /// Pairs of which one begins with the other.
    pub prefixes: u64,
    /// Byte strings that are no key, or of another writer.
    pub damaged: u64,
}

const BYTES: [u8; 8] = [0, 0, 1, 2, 0x7f, 0xfe, 0xff, b'a'];
const CHARS: [char; 8] = ['\0', '\u{1}', 'a', 'b', 'é', '\u{7ff}', '\u{ffff}', '\u{10ffff}'];

fn value(dice: &mut Dice) -> AttributeValue {
    let length = dice.below(5);
    match dice.below(3) {
        0 => AttributeValue::S((0..length).map(|_| *dice.one(&CHARS)).collect()),
        1 => AttributeValue::B((0..length).map(|_| *dice.one(&BYTES)).collect()),
        _ => loop {
            if let Ok(number) = numbers::text(dice).parse::<Number>() {
                return AttributeValue::N(number);
            }
        },
    }
}

fn order(a: &AttributeValue, b: &AttributeValue) -> Option<Ordering> {
    match (a, b) {
        (AttributeValue::S(a), AttributeValue::S(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (AttributeValue::B(a), AttributeValue::B(b)) => Some(a.cmp(b)),
        (AttributeValue::N(a), AttributeValue::N(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

fn begins(a: &AttributeValue, b: &AttributeValue) -> Option<bool> {
    match (a, b) {
        (AttributeValue::S(a), AttributeValue::S(b)) => Some(a.starts_with(b.as_str())),
        (AttributeValue::B(a), AttributeValue::B(b)) => Some(a.starts_with(b)),
        _ => None,
    }
}

fn encoded(value: &AttributeValue) -> Vec<u8> {
    let mut bytes = Vec::new();
    assert!(encode_part(value, &mut bytes), "strings, numbers and binaries are keys");
    bytes
}

/// Draws two values and holds their bytes to them.
pub fn round(dice: &mut Dice, counts: &mut Counts) -> Result<(), String> {
    let (a, b) = (value(dice), value(dice));
    let (bytes, others) = (encoded(&a), encoded(&b));
    counts.pairs += 1;
    if let Some(order) = order(&a, &b) {
        counts.ordered += u64::from(order != Ordering::Equal);
        if bytes.cmp(&others) != order {
            return Err(format!("{a:?} and {b:?}: the bytes' order is {:?}", bytes.cmp(&others)));
        }
    }
    if bytes != others && bytes.starts_with(&others) {
        return Err(format!("the bytes of {b:?} begin those of {a:?}"));
    }
    if let Some(wanted) = begins(&a, &b) {
        counts.prefixes += u64::from(wanted);
        let mut prefix = Vec::new();
        if !encode_prefix(&b, &mut prefix) || bytes.starts_with(&prefix) != wanted {
            return Err(format!("whether {a:?} begins with {b:?} is not {wanted} in bytes"));
        }
    }
    let joined = [bytes.as_slice(), others.as_slice()].concat();
    if decode_part(&joined) != Some((a.clone(), others.as_slice())) {
        return Err(format!("{a:?} does not come back from its bytes"));
    }
    let key = ItemKey::new(&a, Some(&b)).ok_or("a key of two scalars")?;
    if ItemKey::decode(&key.bytes) != Some((a.clone(), Some(b))) {
        return Err(format!("{a:?} does not come back from its item key"));
    }
    // Damaged bytes are refused or read as something, never a panic.
    let mut damaged = key.bytes;
    let at = dice.below(damaged.len());
    damaged[at] ^= 1 << dice.below(8);
    damaged.truncate(dice.below(damaged.len() + 1));
    counts.damaged += u64::from(ItemKey::decode(&damaged).is_none());
    let _ = decode_part(&damaged);
    Ok(())
}
