//! Attribute values as requests bring them: good, or wrong in the service's words.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use base64_simd::STANDARD;
use headwater_types as types;
use headwater_types::{Number, NumberError};

use crate::decode::{Decode, unexpected};
use crate::document::{Document, Tag};
use crate::encode::{Encode, Encoder};
use crate::error::Error;

/// How deep lists and maps may nest.
/// Source: "Service quotas", DynamoDB developer guide: 32 levels.
pub(crate) const NESTING_MAX: usize = 32;
/// Longest name of an attribute or map key. Unit: bytes of UTF-8.
/// Source: the model's `AttributeName`, read as bytes. The text that tells it is remembered, not checked.
pub(crate) const NAME_BYTES_MAX: usize = 65_535;

/// Source: a public conformance suite's recordings of the live service (October 2026), 33 to 100 nested maps.
const TOO_DEEP: &str =
    "Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported limit";
const EMPTY: &str = "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes";
const SEVERAL: &str =
    "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes";

/// One attribute value of a request or an answer.
///
/// Shape: a request's value that breaks a rule is kept with the text about the first rule broken inside it, because the
///        place it stands in decides when, and in what wrapping, the service tells it.
#[derive(Clone, Debug, PartialEq)]
pub enum AttributeValue {
    /// A value.
    Valid(types::AttributeValue),
    /// No value.
    Invalid(InvalidValue),
}

/// Why something is no attribute value, in the service's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidValue {
    message: Box<str>,
}

impl InvalidValue {
    /// The service's text, without any wrapping.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl From<InvalidValue> for Error {
    fn from(invalid: InvalidValue) -> Self {
        Self::validation(invalid.message)
    }
}

impl From<types::AttributeValue> for AttributeValue {
    fn from(value: types::AttributeValue) -> Self {
        Self::Valid(value)
    }
}

impl AttributeValue {
    /// The value, if it is one.
    ///
    /// Errors: ValidationException with the bare text.
    pub fn check(self) -> Result<types::AttributeValue, Error> {
        match self {
            Self::Valid(value) => Ok(value),
            Self::Invalid(invalid) => Err(invalid.into()),
        }
    }

    /// The value, if it is one, without taking it.
    pub fn as_valid(&self) -> Result<&types::AttributeValue, &InvalidValue> {
        match self {
            Self::Valid(value) => Ok(value),
            Self::Invalid(invalid) => Err(invalid),
        }
    }
}

impl Decode for AttributeValue {
    fn decode(document: Document<'_>) -> Result<Self, Error> {
        match document {
            map @ (Document::Map(_) | Document::Tagged(..)) => Ok(match value_at(map, 0) {
                Ok(value) => Self::Valid(value),
                Err(message) => Self::Invalid(InvalidValue { message: message.into() }),
            }),
            Document::Null => Ok(Self::Invalid(InvalidValue { message: EMPTY.into() })),
            other => Err(unexpected("an attribute value", &other)),
        }
    }
}

type Entries<'a> = Vec<(Cow<'a, str>, Document<'a>)>;

/// Reads one value; every member is judged before their number is.
/// Source: order as in dynalite's validations, remembered; texts about nulls inside sets are not checked either.
fn value(entries: Entries<'_>, depth: usize) -> Result<types::AttributeValue, Cow<'static, str>> {
    let mut members = 0;
    let mut found = None;
    let mut nested = None;
    for (name, member) in entries {
        let known = matches!(&*name, "S" | "N" | "B" | "BOOL" | "NULL" | "SS" | "NS" | "BS" | "L" | "M");
        if !known || member == Document::Null {
            continue;
        }
        members += 1;
        match member {
            Document::List(_) if name == "L" => nested = Some(member),
            Document::Map(_) if name == "M" => nested = Some(member),
            scalar => found = Some(leaf(&name, scalar)?),
        }
    }
    match (found, nested) {
        _ if members > 1 => Err(SEVERAL.into()),
        (Some(value), _) => Ok(value),
        (None, Some(_)) if depth >= NESTING_MAX => Err(TOO_DEEP.into()),
        (None, Some(container)) => children(container, depth + 1),
        (None, None) => Err(EMPTY.into()),
    }
}

/// Reads one value at a level of nesting.
fn value_at(document: Document<'_>, depth: usize) -> Result<types::AttributeValue, Cow<'static, str>> {
    match document {
        Document::Map(entries) => value(entries, depth),
        Document::Tagged(Tag::S, text) => Ok(types::AttributeValue::S(text.into_owned())),
        Document::Tagged(Tag::N, text) => number(&text).map(types::AttributeValue::N),
        _ => Err(EMPTY.into()),
    }
}

fn children(container: Document<'_>, depth: usize) -> Result<types::AttributeValue, Cow<'static, str>> {
    let child = |document: Document<'_>| value_at(document, depth);
    match container {
        Document::List(elements) => {
            elements.into_iter().map(child).collect::<Result<_, _>>().map(types::AttributeValue::L)
        }
        Document::Map(entries) => {
            let mut map = BTreeMap::new();
            for (name, document) in entries {
                if name.len() > NAME_BYTES_MAX {
                    return Err(invalid("Attribute name is too large, must be less than 65536 bytes"));
                }
                map.insert(name.into_owned(), child(document)?);
            }
            Ok(types::AttributeValue::M(map))
        }
        _ => Err(EMPTY.into()),
    }
}

fn leaf(name: &str, document: Document<'_>) -> Result<types::AttributeValue, Cow<'static, str>> {
    Ok(match (name, document) {
        ("S", Document::Text(text)) => types::AttributeValue::S(text.into_owned()),
        ("N", Document::Text(text)) => types::AttributeValue::N(number(&text)?),
        ("B", Document::Bytes(bytes)) => types::AttributeValue::B(bytes.into_owned()),
        ("BOOL", Document::Bool(value)) => types::AttributeValue::Bool(value),
        ("NULL", Document::Bool(true)) => types::AttributeValue::Null,
        ("NULL", Document::Bool(false)) => {
            return Err(invalid("Null attribute value types must have the value of true"));
        }
        ("SS", Document::List(elements)) => types::AttributeValue::Ss(string_set(elements)?),
        ("NS", Document::List(elements)) => types::AttributeValue::Ns(number_set(elements)?),
        ("BS", Document::List(elements)) => types::AttributeValue::Bs(binary_set(elements)?),
        // The walker has checked the types.
        _ => return Err(EMPTY.into()),
    })
}

fn string_set(elements: Vec<Document<'_>>) -> Result<BTreeSet<String>, Cow<'static, str>> {
    if elements.is_empty() {
        return Err(invalid("An string set  may not be empty"));
    }
    let mut texts = Vec::with_capacity(elements.len());
    for element in elements {
        match element {
            Document::Text(text) => texts.push(text.into_owned()),
            _ => return Err(invalid("An string set  may not have a null string as a member")),
        }
    }
    if has_duplicates(&texts) {
        return Err(invalid(&format!("Input collection [{}] contains duplicates.", texts.join(", "))));
    }
    Ok(texts.into_iter().collect())
}

fn number_set(elements: Vec<Document<'_>>) -> Result<BTreeSet<Number>, Cow<'static, str>> {
    if elements.is_empty() {
        return Err(invalid("An number set  may not be empty"));
    }
    let mut numbers = BTreeSet::new();
    let mut duplicates = false;
    for element in elements {
        match element {
            Document::Text(text) => duplicates |= !numbers.insert(number(&text)?),
            _ => return Err(invalid("An number set  may not have a null number as a member")),
        }
    }
    if duplicates { Err("Input collection contains duplicates".into()) } else { Ok(numbers) }
}

fn binary_set(elements: Vec<Document<'_>>) -> Result<BTreeSet<Vec<u8>>, Cow<'static, str>> {
    if elements.is_empty() {
        return Err(invalid("Binary sets should not be empty"));
    }
    let mut binaries = Vec::with_capacity(elements.len());
    for element in elements {
        match element {
            Document::Bytes(bytes) => binaries.push(bytes.into_owned()),
            _ => return Err(invalid("Binary sets may not contain null values")),
        }
    }
    if has_duplicates(&binaries) {
        let shown: Vec<String> = binaries.iter().map(|bytes| STANDARD.encode_to_string(bytes)).collect();
        return Err(invalid(&format!("Input collection [{}]of type BS contains duplicates.", shown.join(", "))));
    }
    Ok(binaries.into_iter().collect())
}

fn has_duplicates<T: Ord>(elements: &[T]) -> bool {
    let mut seen = BTreeSet::new();
    !elements.iter().all(|element| seen.insert(element))
}

fn number(text: &str) -> Result<Number, Cow<'static, str>> {
    text.parse::<Number>().map_err(|error| match error {
        NumberError::Invalid if text.is_empty() => "The parameter cannot be converted to a numeric value".into(),
        NumberError::Invalid => format!("The parameter cannot be converted to a numeric value: {text}").into(),
        NumberError::Overflow => {
            "Number overflow. Attempting to store a number with magnitude larger than supported range".into()
        }
        NumberError::Underflow => {
            "Number underflow. Attempting to store a number with magnitude smaller than supported range".into()
        }
        NumberError::TooManyDigits => "Attempting to store more than 38 significant digits in a Number".into(),
    })
}

fn invalid(detail: &str) -> Cow<'static, str> {
    format!("One or more parameter values were invalid: {detail}").into()
}

impl Encode for AttributeValue {
    /// An invalid value, which no answer holds, is written as null.
    fn encode(&self, e: &mut dyn Encoder) {
        match self {
            Self::Valid(value) => encode_value(value, e),
            Self::Invalid(_) => e.null(),
        }
    }
}

/// Writes a value as `{"S": "…"}` and so on.
pub fn encode_value(value: &types::AttributeValue, e: &mut dyn Encoder) {
    e.begin_structure();
    match value {
        types::AttributeValue::S(text) => {
            e.field("S");
            e.text(text);
        }
        types::AttributeValue::N(number) => {
            e.field("N");
            number.with_text(|text| e.text(text));
        }
        types::AttributeValue::B(bytes) => {
            e.field("B");
            e.bytes(bytes);
        }
        types::AttributeValue::Bool(value) => {
            e.field("BOOL");
            e.boolean(*value);
        }
        types::AttributeValue::Null => {
            e.field("NULL");
            e.boolean(true);
        }
        types::AttributeValue::Ss(texts) => set(e, "SS", texts, |e, text| e.text(text)),
        types::AttributeValue::Ns(numbers) => set(e, "NS", numbers, |e, number| number.with_text(|text| e.text(text))),
        types::AttributeValue::Bs(binaries) => set(e, "BS", binaries, |e, bytes| e.bytes(bytes)),
        types::AttributeValue::L(values) => {
            e.field("L");
            e.begin_list();
            for value in values {
                encode_value(value, e);
            }
            e.end_list();
        }
        types::AttributeValue::M(values) => {
            e.field("M");
            e.begin_map();
            for (key, value) in values {
                e.key(key);
                encode_value(value, e);
            }
            e.end_map();
        }
    }
    e.end_structure();
}

fn set<T>(e: &mut dyn Encoder, name: &'static str, elements: &BTreeSet<T>, write: fn(&mut dyn Encoder, &T)) {
    e.field(name);
    e.begin_list();
    for element in elements {
        write(e, element);
    }
    e.end_list();
}

#[cfg(test)]
mod tests;
