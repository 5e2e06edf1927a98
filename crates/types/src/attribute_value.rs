//! Item values: the ten types, their sizes and depth.

use std::collections::{BTreeMap, BTreeSet};

use crate::number::Number;

/// Overhead of a list or map. Unit: bytes. Source: "DynamoDB item sizes and formats", developer guide.
const DOCUMENT_BYTES: usize = 3;

/// A value of an attribute. Sets and maps are ordered, so that equal values are equal whatever order they came in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AttributeValue {
    /// String.
    S(String),
    /// Number.
    N(Number),
    /// Binary.
    B(Vec<u8>),
    /// Boolean.
    Bool(bool),
    /// Null.
    Null,
    /// String set, never empty.
    Ss(BTreeSet<String>),
    /// Number set, never empty.
    Ns(BTreeSet<Number>),
    /// Binary set, never empty.
    Bs(BTreeSet<Vec<u8>>),
    /// List.
    L(Vec<AttributeValue>),
    /// Map.
    M(BTreeMap<String, AttributeValue>),
}

impl AttributeValue {
    /// The wire's name of the type.
    pub fn type_code(&self) -> &'static str {
        match self {
            Self::S(_) => "S",
            Self::N(_) => "N",
            Self::B(_) => "B",
            Self::Bool(_) => "BOOL",
            Self::Null => "NULL",
            Self::Ss(_) => "SS",
            Self::Ns(_) => "NS",
            Self::Bs(_) => "BS",
            Self::L(_) => "L",
            Self::M(_) => "M",
        }
    }

    /// Size by the item-size rules. Unit: bytes. Source: "DynamoDB item sizes and formats", developer guide.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::S(text) => text.len(),
            Self::N(number) => number_size_bytes(number),
            Self::B(bytes) => bytes.len(),
            Self::Bool(_) | Self::Null => 1,
            Self::Ss(set) => set.iter().map(String::len).sum(),
            Self::Ns(set) => set.iter().map(number_size_bytes).sum(),
            Self::Bs(set) => set.iter().map(Vec::len).sum(),
            Self::L(list) => DOCUMENT_BYTES + list.iter().map(|value| 1 + value.size_bytes()).sum::<usize>(),
            Self::M(map) => {
                DOCUMENT_BYTES + map.iter().map(|(name, value)| 1 + name.len() + value.size_bytes()).sum::<usize>()
            }
        }
    }

    /// Levels of lists and maps: 0 for a scalar or a set, 1 for a list of scalars.
    pub fn depth(&self) -> usize {
        match self {
            Self::L(list) => 1 + list.iter().map(Self::depth).max().unwrap_or(0),
            Self::M(map) => 1 + map.values().map(Self::depth).max().unwrap_or(0),
            Self::S(_) | Self::N(_) | Self::B(_) | Self::Bool(_) | Self::Null => 0,
            Self::Ss(_) | Self::Ns(_) | Self::Bs(_) => 0,
        }
    }
}

/// One byte per two significant digits, one more, and one for the sign.
fn number_size_bytes(number: &Number) -> usize {
    if *number == Number::ZERO {
        return 1;
    }
    number.significant_digits().div_ceil(2) as usize + 1 + usize::from(number.is_negative())
}
