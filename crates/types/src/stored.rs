//! The stored form of an item: one contiguous buffer, decoded attribute by attribute as far as somebody looks.
//!
//! ```text
//! item  = version (1) | attribute*                      by name
//! attribute = name length (2) | value length (4) | name | value
//! value = type (1) | payload
//!   S, B: bytes   N: exponent (2), coefficient (1–16, two's complement)   BOOL: 0 or 1   NULL: nothing
//!   SS, BS, NS, L: (length (4) | member)*, members of sets as payloads without a type   M: attribute*
//! ```
//! sized item = size by the item-size rules (4) | item
//! Integers are little-endian.

use crate::attribute_value::AttributeValue;
use crate::item::Item;
use crate::number::Number;

const VERSION: u8 = 0;

/// What stands before a sized item. Unit: bytes.
pub const SIZE_BYTES: usize = 4;

mod tag {
    pub const S: u8 = 1;
    pub const N: u8 = 2;
    pub const B: u8 = 3;
    pub const BOOL: u8 = 4;
    pub const NULL: u8 = 5;
    pub const SS: u8 = 6;
    pub const NS: u8 = 7;
    pub const BS: u8 = 8;
    pub const L: u8 = 9;
    pub const M: u8 = 10;
}

/// Stored bytes are not what was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Corrupt;

/// An item's stored form behind its size.
pub fn encode_sized(item: &Item) -> Vec<u8> {
    let mut sized = SizedItem::with_capacity(item.size_bytes() + 16 * item.len());
    encode_attributes(item.iter(), &mut sized.bytes);
    sized.finish(item.size_bytes())
}

/// A sized item in the making, attribute by attribute.
#[derive(Debug)]
pub struct SizedItem {
    bytes: Vec<u8>,
}

impl SizedItem {
    /// An item without attributes, with room for so many bytes of them.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut sized = Vec::with_capacity(SIZE_BYTES + 1 + bytes);
        sized.extend_from_slice(&[0; SIZE_BYTES]);
        sized.push(VERSION);
        Self { bytes: sized }
    }

    /// Where the attributes go, by [`put_attribute`]. Order: by name.
    pub fn attributes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The whole, once the item's size by the item-size rules is known.
    pub fn finish(mut self, size_bytes: usize) -> Vec<u8> {
        if let Some(place) = self.bytes.first_chunk_mut::<SIZE_BYTES>() {
            *place = (size_bytes as u32).to_le_bytes();
        }
        self.bytes
    }
}

/// Appends an attribute whose value `write` appends, by the `put_` functions or [`encode_value`].
pub fn put_attribute<T>(name: &str, into: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    into.extend_from_slice(&(name.len() as u16).to_le_bytes());
    let length_at = into.len();
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(name.as_bytes());
    fill_length(into, length_at, name.len(), write)
}

/// Appends a string's stored form.
pub fn put_text(text: &str, into: &mut Vec<u8>) {
    into.push(tag::S);
    into.extend_from_slice(text.as_bytes());
}

/// Appends a binary's stored form.
pub fn put_binary(bytes: &[u8], into: &mut Vec<u8>) {
    into.push(tag::B);
    into.extend_from_slice(bytes);
}

/// Appends what a list begins with; each member follows by [`put_member`].
pub fn put_list(into: &mut Vec<u8>) {
    into.push(tag::L);
}

/// Appends what a map begins with; each attribute follows by [`put_attribute`]. Order: by name.
pub fn put_map(into: &mut Vec<u8>) {
    into.push(tag::M);
}

/// Appends a member of a list, whose value `write` appends.
pub fn put_member<T>(into: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let length_at = into.len();
    into.extend_from_slice(&[0; 4]);
    fill_length(into, length_at, 0, write)
}

/// Appends an item's stored form.
pub fn encode(item: &Item, into: &mut Vec<u8>) {
    into.push(VERSION);
    encode_attributes(item.iter(), into);
}

fn encode_attributes<'a>(attributes: impl Iterator<Item = (&'a String, &'a AttributeValue)>, into: &mut Vec<u8>) {
    for (name, value) in attributes {
        put_attribute(name, into, |into| encode_value(value, into));
    }
}

/// Runs `write` and puts the length of what it appended at `length_at`; `between` bytes stand in front of it.
fn fill_length<T>(into: &mut Vec<u8>, length_at: usize, between: usize, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let start = into.len();
    debug_assert_eq!(start, length_at + 4 + between);
    let written = write(into);
    let length = (into.len() - start) as u32;
    into[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    written
}

fn encode_number(number: &Number, into: &mut Vec<u8>) {
    let (coefficient, exponent) = number.parts();
    into.extend_from_slice(&exponent.to_le_bytes());
    let bytes = coefficient.to_le_bytes();
    let spare = if coefficient < 0 { coefficient.leading_ones() } else { coefficient.leading_zeros() };
    // One bit more than the magnitude needs keeps the sign.
    let kept = ((128 - spare) as usize / 8 + 1).min(16);
    into.extend_from_slice(&bytes[..kept]);
}

/// Appends a value's stored form.
pub fn encode_value(value: &AttributeValue, into: &mut Vec<u8>) {
    match value {
        AttributeValue::S(text) => put_text(text, into),
        AttributeValue::N(number) => {
            into.push(tag::N);
            encode_number(number, into);
        }
        AttributeValue::B(bytes) => put_binary(bytes, into),
        AttributeValue::Bool(value) => into.extend_from_slice(&[tag::BOOL, u8::from(*value)]),
        AttributeValue::Null => into.push(tag::NULL),
        AttributeValue::Ss(set) => {
            into.push(tag::SS);
            set.iter().for_each(|member| put_member(into, |into| into.extend_from_slice(member.as_bytes())));
        }
        AttributeValue::Ns(set) => {
            into.push(tag::NS);
            set.iter().for_each(|member| put_member(into, |into| encode_number(member, into)));
        }
        AttributeValue::Bs(set) => {
            into.push(tag::BS);
            set.iter().for_each(|member| put_member(into, |into| into.extend_from_slice(member)));
        }
        AttributeValue::L(list) => {
            into.push(tag::L);
            list.iter().for_each(|member| put_member(into, |into| encode_value(member, into)));
        }
        AttributeValue::M(map) => {
            into.push(tag::M);
            encode_attributes(map.iter(), into);
        }
    }
}

/// Decodes a whole item.
pub fn decode(bytes: &[u8]) -> Result<Item, Corrupt> {
    StoredItem::new(bytes)?
        .attributes()
        .map(|part| part.and_then(|(name, value)| Ok((name.to_owned(), value.decode()?))))
        .collect::<Result<_, _>>()
        .map(Item)
}

/// An item's stored bytes, looked into without decoding the rest.
#[derive(Clone, Copy, Debug)]
pub struct StoredItem<'a>(&'a [u8]);

/// A stored value, not decoded yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredValue<'a>(&'a [u8]);

impl<'a> StoredItem<'a> {
    /// Looks at an item's bytes.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Corrupt> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => Ok(Self(rest)),
            _ => Err(Corrupt),
        }
    }

    /// The value of an attribute, if the item has it.
    pub fn get(&self, name: &str) -> Result<Option<StoredValue<'a>>, Corrupt> {
        let mut attributes = Attributes(self.0);
        while !attributes.0.is_empty() {
            // Bytes are compared: what is only passed by need not be proved to be UTF-8.
            let (found, value) = attributes.take_bytes()?;
            match found.cmp(name.as_bytes()) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return Ok(Some(value)),
                std::cmp::Ordering::Greater => return Ok(None),
            }
        }
        Ok(None)
    }

    /// All attributes, by name.
    pub fn attributes(&self) -> impl Iterator<Item = Result<(&'a str, StoredValue<'a>), Corrupt>> + use<'a> {
        Attributes(self.0)
    }
}

impl<'a> StoredValue<'a> {
    /// Looks at a value's bytes, as [`encode_value`] wrote them.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Decodes the value.
    pub fn decode(&self) -> Result<AttributeValue, Corrupt> {
        Ok(match self.view()? {
            View::S(text) => AttributeValue::S(text.to_owned()),
            View::N(number) => AttributeValue::N(number),
            View::B(bytes) => AttributeValue::B(bytes.to_vec()),
            View::Bool(value) => AttributeValue::Bool(value),
            View::Null => AttributeValue::Null,
            View::Ss(set) => AttributeValue::Ss(set.map(|m| Ok(text(m?)?.to_owned())).collect::<Result<_, _>>()?),
            View::Ns(set) => AttributeValue::Ns(set.map(|m| number(m?)).collect::<Result<_, _>>()?),
            View::Bs(set) => AttributeValue::Bs(set.map(|m| Ok(m?.to_vec())).collect::<Result<_, _>>()?),
            View::L(list) => AttributeValue::L(list.map(|m| StoredValue(m?).decode()).collect::<Result<_, _>>()?),
            View::M(map) => {
                let attributes =
                    map.attributes().map(|part| part.and_then(|(name, value)| Ok((name.to_owned(), value.decode()?))));
                AttributeValue::M(attributes.collect::<Result<_, _>>()?)
            }
        })
    }

    /// The value as it lies there, without a copy; what is nested is looked at by whoever goes on into it.
    pub fn view(&self) -> Result<View<'a>, Corrupt> {
        let (&kind, payload) = self.0.split_first().ok_or(Corrupt)?;
        Ok(match kind {
            tag::S => View::S(text(payload)?),
            tag::N => View::N(number(payload)?),
            tag::B => View::B(payload),
            tag::BOOL => View::Bool(payload == [1]),
            tag::NULL => View::Null,
            tag::SS => View::Ss(Members(payload)),
            tag::NS => View::Ns(Members(payload)),
            tag::BS => View::Bs(Members(payload)),
            tag::L => View::L(Members(payload)),
            tag::M => View::M(StoredItem(payload)),
            _ => return Err(Corrupt),
        })
    }
}

/// A stored value, borrowed.
#[derive(Clone, Copy, Debug)]
pub enum View<'a> {
    /// String.
    S(&'a str),
    /// Number.
    N(Number),
    /// Binary.
    B(&'a [u8]),
    /// Boolean.
    Bool(bool),
    /// Null.
    Null,
    /// String set: each member's [`text`].
    Ss(Members<'a>),
    /// Number set: each member's [`number`].
    Ns(Members<'a>),
    /// Binary set.
    Bs(Members<'a>),
    /// List: each member is a [`StoredValue`]'s bytes.
    L(Members<'a>),
    /// Map.
    M(StoredItem<'a>),
}

/// Text of a member of a string set.
pub fn text(bytes: &[u8]) -> Result<&str, Corrupt> {
    std::str::from_utf8(bytes).map_err(|_| Corrupt)
}

/// Number of a member of a number set.
pub fn number(bytes: &[u8]) -> Result<Number, Corrupt> {
    let (exponent, rest) = bytes.split_first_chunk::<2>().ok_or(Corrupt)?;
    let negative = rest.last().ok_or(Corrupt)? & 0x80 != 0;
    let mut coefficient = [if negative { 0xff } else { 0 }; 16];
    coefficient.get_mut(..rest.len()).ok_or(Corrupt)?.copy_from_slice(rest);
    Number::from_parts(i128::from_le_bytes(coefficient), i16::from_le_bytes(*exponent)).ok_or(Corrupt)
}

struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    fn take(&mut self) -> Result<(&'a str, StoredValue<'a>), Corrupt> {
        let (name, value) = self.take_bytes()?;
        Ok((std::str::from_utf8(name).map_err(|_| Corrupt)?, value))
    }

    fn take_bytes(&mut self) -> Result<(&'a [u8], StoredValue<'a>), Corrupt> {
        let (name_length, rest) = self.0.split_first_chunk::<2>().ok_or(Corrupt)?;
        let (value_length, rest) = rest.split_first_chunk::<4>().ok_or(Corrupt)?;
        let (name, rest) = rest.split_at_checked(u16::from_le_bytes(*name_length).into()).ok_or(Corrupt)?;
        let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*value_length) as usize).ok_or(Corrupt)?;
        self.0 = rest;
        Ok((name, StoredValue(value)))
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(&'a str, StoredValue<'a>), Corrupt>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let taken = self.take();
        if taken.is_err() {
            self.0 = &[];
        }
        Some(taken)
    }
}

/// Members of a stored set or list, each as its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Members<'a>(&'a [u8]);

impl<'a> Iterator for Members<'a> {
    type Item = Result<&'a [u8], Corrupt>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let split = self
            .0
            .split_first_chunk::<4>()
            .and_then(|(length, rest)| rest.split_at_checked(u32::from_le_bytes(*length) as usize));
        let Some((member, rest)) = split else {
            self.0 = &[];
            return Some(Err(Corrupt));
        };
        self.0 = rest;
        Some(Ok(member))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn numbers() -> impl Strategy<Value = Number> {
        ("-?[0-9]{1,38}", -90i32..80).prop_map(|(digits, exponent)| format!("{digits}e{exponent}").parse().unwrap())
    }

    fn values() -> impl Strategy<Value = AttributeValue> {
        let leaf = prop_oneof![
            ".{0,8}".prop_map(AttributeValue::S),
            numbers().prop_map(AttributeValue::N),
            prop::collection::vec(any::<u8>(), 0..8).prop_map(AttributeValue::B),
            any::<bool>().prop_map(AttributeValue::Bool),
            Just(AttributeValue::Null),
            prop::collection::btree_set(".{0,4}", 1..4).prop_map(AttributeValue::Ss),
            prop::collection::btree_set(numbers(), 1..4).prop_map(AttributeValue::Ns),
            prop::collection::btree_set(prop::collection::vec(any::<u8>(), 0..4), 1..4).prop_map(AttributeValue::Bs),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(AttributeValue::L),
                prop::collection::btree_map(".{1,5}", inner, 0..4).prop_map(AttributeValue::M),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn items_come_back_whole_and_attribute_by_attribute(map in prop::collection::btree_map(".{1,6}", values(), 0..6)) {
            let item = Item(map);
            let mut bytes = Vec::new();
            encode(&item, &mut bytes);
            prop_assert_eq!(decode(&bytes), Ok(item.clone()));
            let stored = StoredItem::new(&bytes).unwrap();
            for (name, value) in item.iter() {
                let decoded = stored.get(name).unwrap().unwrap().decode();
                prop_assert_eq!(decoded.as_ref(), Ok(value));
                let mut alone = Vec::new();
                encode_value(value, &mut alone);
                prop_assert_eq!(stored.get(name), Ok(Some(StoredValue::new(&alone))));
            }
            prop_assert_eq!(stored.get("no such attribute"), Ok(None));
        }

        #[test]
        fn damaged_bytes_never_panic(map in prop::collection::btree_map(".{1,3}", values(), 0..3), at in any::<usize>(), bit in 0u8..8) {
            let mut bytes = Vec::new();
            encode(&Item(map), &mut bytes);
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            // Either is right; what matters is that it ends.
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn nothing_is_no_item() {
        assert_eq!(decode(&[]), Err(Corrupt));
        assert_eq!(decode(&[VERSION]), Ok(Item(BTreeMap::new())));
        assert_eq!(decode(&[VERSION + 1]), Err(Corrupt));
    }
}
