//! From a checked document to a typed input.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;

use crate::api::Api;
use crate::document::Document;
use crate::error::Error;
use crate::instant::Instant;
use crate::schema::Shape;

/// What a checked document can become.
pub trait Decode: Sized {
    /// Takes the document over.
    ///
    /// Errors: an internal error for a document that the walker of `constraint` would have refused.
    fn decode(document: Document<'_>) -> Result<Self, Error>;

    /// What a missing required member becomes: an error, except for an option.
    fn missing(member: &str) -> Result<Self, Error> {
        Err(Error::internal(format!("member {member} is missing after the walk")))
    }
}

/// The input of an operation.
pub trait Input: Decode {
    /// The API it belongs to.
    const API: Api;
    /// What the walker checks.
    const SCHEMA: &'static Shape;

    /// Checks JSON types and model constraints, then decodes.
    ///
    /// Errors: SerializationException, ValidationException.
    fn from_document(mut document: Document<'_>) -> Result<Self, Error> {
        if document == Document::Null {
            return Err(Error::unparsable());
        }
        crate::constraint::check(Self::API, Self::SCHEMA, &mut document)?;
        Self::decode(document)
    }
}

/// The members of a structure that are still to be taken.
pub struct Members<'a>(Vec<(Cow<'a, str>, Document<'a>)>);

impl<'a> Members<'a> {
    /// Opens a structure.
    pub fn of(document: Document<'a>) -> Result<Self, Error> {
        match document {
            Document::Map(entries) => Ok(Self(entries)),
            other => Err(unexpected("a structure", &other)),
        }
    }

    /// Takes a member that the walker has seen.
    pub fn required<T: Decode>(&mut self, name: &str) -> Result<T, Error> {
        match self.take(name) {
            Some(value) => T::decode(value),
            None => T::missing(name),
        }
    }

    /// Takes a member if it is there and not null.
    pub fn optional<T: Decode>(&mut self, name: &str) -> Result<Option<T>, Error> {
        self.take(name).map(T::decode).transpose()
    }

    fn take(&mut self, name: &str) -> Option<Document<'a>> {
        // Taken in place: were the entries to move, an earlier one of the same name could come to stand last.
        let (_, value) = self.0.iter_mut().rfind(|(key, _)| key == name)?;
        match std::mem::replace(value, Document::Null) {
            Document::Null => None,
            value => Some(value),
        }
    }
}

impl Decode for String {
    fn decode(document: Document<'_>) -> Result<Self, Error> {
        match document {
            Document::Text(text) => Ok(text.into_owned()),
            other => Err(unexpected("text", &other)),
        }
    }
}

impl Decode for bool {
    fn decode(document: Document<'_>) -> Result<Self, Error> {
        match document {
            Document::Bool(value) => Ok(value),
            other => Err(unexpected("a boolean", &other)),
        }
    }
}

impl Decode for i64 {
    fn decode(document: Document<'_>) -> Result<Self, Error> {
        match document {
            Document::Integer(value) => Ok(value),
            other => Err(unexpected("an integer", &other)),
        }
    }
}

impl Decode for i32 {
    fn decode(document: Document<'_>) -> Result<Self, Error> {
        i64::decode(document).map(|value| value.clamp(i64::from(Self::MIN), i64::from(Self::MAX)) as Self)
    }
}

impl Decode for f64 {
    fn decode(document: Document<'_>) -> Result<Self, Error> {
        match document {
            Document::Integer(value) => Ok(value as Self),
            Document::Decimal(text) => text.parse().map_err(|_| Error::internal(format!("no number: {text}"))),
            other => Err(unexpected("a number", &other)),
        }
    }
}

impl Decode for Instant {
    fn decode(document: Document<'_>) -> Result<Self, Error> {
        match document {
            Document::Instant(at) => Ok(at),
            other => Err(unexpected("a moment", &other)),
        }
    }
}

impl Decode for Bytes {
    fn decode(document: Document<'_>) -> Result<Self, Error> {
        match document {
            Document::Bytes(bytes) => Ok(Self::from(bytes.into_owned())),
            other => Err(unexpected("bytes", &other)),
        }
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(document: Document<'_>) -> Result<Self, Error> {
        match document {
            Document::List(elements) => elements.into_iter().map(T::decode).collect(),
            other => Err(unexpected("a list", &other)),
        }
    }
}

impl<T: Decode> Decode for BTreeMap<String, T> {
    fn decode(document: Document<'_>) -> Result<Self, Error> {
        match document {
            Document::Map(entries) => {
                // Most maps are small: one after the other, without a list of all in between.
                let mut map = Self::new();
                for (key, value) in entries {
                    map.insert(key.into_owned(), T::decode(value)?);
                }
                Ok(map)
            }
            other => Err(unexpected("a map", &other)),
        }
    }
}

/// The walker lets nothing of the kind pass: a broken invariant of ours, not a mistake of the client.
pub(crate) fn unexpected(wanted: &str, found: &Document<'_>) -> Error {
    let found = match found {
        Document::Null => "null",
        Document::Bool(_) => "a boolean",
        Document::Integer(_) | Document::Decimal(_) => "a number",
        Document::Text(_) => "text",
        Document::Bytes(_) => "bytes",
        Document::List(_) => "a list",
        Document::Map(_) | Document::Tagged(..) => "a map",
        Document::Instant(_) => "a moment",
    };
    Error::internal(format!("{wanted} expected after the walk, {found} found"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dynamodb::{AttributeDefinition, KeyType, ScalarAttributeType};

    #[test]
    fn of_a_member_given_twice_the_last_one_counts_wherever_it_stands() {
        let text = r#"{"AttributeName":"p","AttributeType":"x","AttributeType":"S"}"#;
        let document = Document::from_json(text.as_bytes()).expect("JSON");
        let decoded = AttributeDefinition::decode(document).expect("the last type is one");
        assert_eq!(decoded.attribute_type, ScalarAttributeType::S);
        let text = r#"{"KeyType":"RANGE","AttributeName":"q","KeyType":"HASH","AttributeName":"p"}"#;
        let document = Document::from_json(text.as_bytes()).expect("JSON");
        let decoded = crate::dynamodb::KeySchemaElement::decode(document).expect("a key element");
        assert_eq!((decoded.attribute_name.as_str(), decoded.key_type), ("p", KeyType::Hash));
    }
}
