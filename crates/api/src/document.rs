//! A request's body after its protocol is forgotten: what JSON and CBOR have in common.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::error::Error;
use crate::instant::Instant;

/// How deep a body may nest.
///
/// Unit:   levels of JSON; an attribute value takes two, and the service answers 100 nested values with the text about its
///         own limit of 32, so that many must pass here.
/// Source: a public conformance suite's recordings of the live service (October 2026).
const DEPTH_MAX: usize = 256;

/// Room for the members of a structure that has some: most bodies need no more.
const MEMBERS: usize = 4;

/// A decoded body.
///
/// Shape:  borrows from the body where the protocol allows; JSON gives texts for blobs and numbers for moments, CBOR gives
///         [`Document::Bytes`] and [`Document::Instant`]; the walker of `constraint` turns the former into the latter.
/// Order:  of the body; a name given twice stands twice, and the last one counts.
#[derive(Clone, Debug, PartialEq)]
pub enum Document<'a> {
    /// Null; as a member the same as absent.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number of 64 bits.
    Integer(i64),
    /// Any other number, as text.
    Decimal(Cow<'a, str>),
    /// Text.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
    /// A list.
    List(Vec<Document<'a>>),
    /// A structure or map.
    Map(Vec<(Cow<'a, str>, Document<'a>)>),
    /// A moment.
    Instant(Instant),
    /// A map of one member, a text, whose name is that of a kind of attribute value: most values are one, and so take no
    /// memory of their own. The walker leaves it only where an attribute value belongs.
    Tagged(Tag, Cow<'a, str>),
}

/// Kinds of attribute values that are one text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// A string.
    S,
    /// A number.
    N,
}

impl Tag {
    fn of(name: &str) -> Option<Self> {
        match name {
            "S" => Some(Self::S),
            "N" => Some(Self::N),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::S => "S",
            Self::N => "N",
        }
    }
}

impl<'a> Document<'a> {
    /// Reads JSON.
    ///
    /// Errors: SerializationException without a message for what is no JSON, or nested deeper than 256 levels.
    pub fn from_json(body: &'a [u8]) -> Result<Self, Error> {
        // Proved to be UTF-8 once, not text by text.
        let body = std::str::from_utf8(body).map_err(|cause| Error::unparsable().with_cause(cause))?;
        let mut json = serde_json::Deserializer::from_str(body);
        json.disable_recursion_limit();
        let document = Values { depth: 0 }.deserialize(&mut json).and_then(|document| json.end().map(|()| document));
        document.map_err(|cause| Error::unparsable().with_cause(cause))
    }

    /// Makes a map of what is short for one.
    pub(crate) fn untag(&mut self) {
        if let Self::Tagged(tag, text) = self {
            *self = Self::Map(vec![(Cow::Borrowed(tag.name()), Self::Text(std::mem::take(text)))]);
        }
    }

    /// The last entry of that name in a structure; null counts as absent.
    pub fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Map(entries) => find(entries, name),
            _ => None,
        }
    }
}

/// The last entry of that name that is not null.
pub(crate) fn find<'d, 'a>(entries: &'d [(Cow<'a, str>, Document<'a>)], name: &str) -> Option<&'d Document<'a>> {
    let (_, value) = entries.iter().rev().find(|(key, _)| key == name)?;
    (*value != Document::Null).then_some(value)
}

/// Reads one value at some depth.
#[derive(Clone, Copy)]
struct Values {
    depth: usize,
}

impl Values {
    fn inner<E: de::Error>(self) -> Result<Self, E> {
        let depth = self.depth + 1;
        if depth > DEPTH_MAX { Err(E::custom("nested too deeply")) } else { Ok(Self { depth }) }
    }
}

impl<'de> DeserializeSeed<'de> for Values {
    type Value = Document<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Values {
    type Value = Document<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Document::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Document::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Document::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map_or_else(|_| Document::Decimal(Cow::Owned(value.to_string())), Document::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Document::Decimal(Cow::Owned(format!("{value:?}"))))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Document::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Document::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Self::Value, E> {
        Ok(Document::Text(Cow::Owned(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let inner = self.inner()?;
        let mut elements = Vec::new();
        while let Some(element) = access.next_element_seed(inner)? {
            elements.push(element);
        }
        Ok(Document::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let inner = self.inner()?;
        let Some(Key(name)) = access.next_key()? else { return Ok(Document::Map(Vec::new())) };
        let value = access.next_value_seed(inner)?;
        let mut next = access.next_key()?;
        let value = match (&next, Tag::of(&name), value) {
            (None, Some(tag), Document::Text(text)) => return Ok(Document::Tagged(tag, text)),
            (_, _, value) => value,
        };
        let mut entries = Vec::with_capacity(MEMBERS);
        entries.push((name, value));
        while let Some(Key(name)) = next {
            entries.push((name, access.next_value_seed(inner)?));
            next = access.next_key()?;
        }
        Ok(Document::Map(entries))
    }
}

/// A member's name, borrowed where it has no escapes (`Cow` itself always copies).
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(value)))
            }

            fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(value.to_owned())))
            }
        }
        deserializer.deserialize_str(Names)
    }
}
