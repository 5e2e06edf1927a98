//! JSON types: what stands where, in the words of the service's parser.

use std::borrow::Cow;

use base64_simd::STANDARD;

use crate::api::Api;
use crate::document::Document;
use crate::error::Error;
use crate::instant::Instant;
use crate::schema::{Kind, Shape};

/// The service's parser fails with this cast when a list or map of lists or maps holds something else.
/// Source: dynalite's tests ("ParameterizedList", "ParameterizedMap").
const CAST: &str = "class sun.reflect.generics.reflectiveObjects.ParameterizedTypeImpl cannot be cast to class java.lang.Class \
                    (sun.reflect.generics.reflectiveObjects.ParameterizedTypeImpl and java.lang.Class are in module java.base \
                    of loader 'bootstrap')";

/// Where a value stands: the service words its refusal differently inside lists and maps.
#[derive(Clone, Copy)]
enum Place {
    Member,
    Element,
}

/// Checks the types of a whole input and normalises it.
pub fn check(api: Api, shape: &'static Shape, document: &mut Document<'_>) -> Result<(), Error> {
    value(api, shape, document, Place::Element)
}

fn value(api: Api, shape: &'static Shape, document: &mut Document<'_>, place: Place) -> Result<(), Error> {
    if !matches!(shape.kind, Kind::AttributeValue(_)) {
        document.untag();
    }
    match (shape.kind, &mut *document) {
        (_, Document::Null) | (Kind::AttributeValue(_), Document::Tagged(..)) => Ok(()),
        (Kind::Structure(members) | Kind::AttributeValue(members), Document::Map(entries)) => {
            for (name, inner) in entries {
                // Members that the model does not know are ignored, whatever they hold.
                if let Some(member) = members.iter().find(|member| member.name == name) {
                    value(api, member.shape, inner, Place::Member)?;
                }
            }
            Ok(())
        }
        (Kind::Map(_, element), Document::Map(entries)) => {
            entries.iter_mut().try_for_each(|(_, inner)| value(api, element, inner, Place::Element))
        }
        (Kind::List(element), Document::List(elements)) => {
            elements.iter_mut().try_for_each(|inner| value(api, element, inner, Place::Element))
        }
        _ => scalar(api, shape, document, place),
    }
}

fn scalar(api: Api, shape: &'static Shape, document: &mut Document<'_>, place: Place) -> Result<(), Error> {
    let replaced = match (shape.kind, &*document) {
        (Kind::String, Document::Text(_))
        | (Kind::Boolean, Document::Bool(_))
        | (Kind::Long, Document::Integer(_))
        | (Kind::Double, Document::Integer(_) | Document::Decimal(_))
        | (Kind::Timestamp, Document::Instant(_))
        | (Kind::Blob, Document::Bytes(_)) => return Ok(()),
        (Kind::Integer, Document::Integer(number)) => {
            Document::Integer((*number).clamp(i64::from(i32::MIN), i64::from(i32::MAX)))
        }
        (Kind::Integer | Kind::Long, Document::Decimal(text)) => Document::Integer(truncated(shape, text)),
        (Kind::Timestamp, Document::Integer(seconds)) => Document::Instant(Instant(seconds.saturating_mul(1000))),
        (Kind::Timestamp, Document::Decimal(text)) => {
            Document::Instant(Instant::from_seconds(text.parse().unwrap_or(f64::INFINITY)))
        }
        (Kind::Blob, Document::Text(text)) => Document::Bytes(Cow::Owned(base64(text)?)),
        (_, found) => return Err(Error::serialization(refusal(api, shape, found, place))),
    };
    *document = replaced;
    Ok(())
}

/// A decimal where an integer belongs loses its fraction; what is too large becomes the largest.
fn truncated(shape: &Shape, text: &str) -> i64 {
    let number = text.parse::<f64>().unwrap_or(0.0).trunc();
    match shape.kind {
        Kind::Integer => i64::from(number as i32),
        _ => number as i64,
    }
}

fn base64(text: &str) -> Result<Vec<u8>, Error> {
    if !text.len().is_multiple_of(4) {
        return Err(Error::serialization(format!(
            "Base64 encoded length is expected a multiple of 4 bytes but found: {}",
            text.len()
        )));
    }
    STANDARD.decode_to_vec(text).map_err(|_| Error::serialization("Invalid last non-pad Base64 character dectected"))
}

/// Source: dynalite's tests (`assertType`); timestamps, doubles, and the same words in Kinesis and Firehose are not checked.
fn refusal(api: Api, shape: &'static Shape, found: &Document<'_>, place: Place) -> String {
    match (shape.kind, found) {
        (Kind::Map(..), Document::List(_)) => format!("Unrecognized collection type {}", class(api, shape)),
        (Kind::List(_), Document::List(_)) => "Unexpected field type".to_owned(),
        (_, Document::List(_)) => format!("Unrecognized collection type class {}", class(api, shape)),
        (_, Document::Map(_) | Document::Tagged(..)) => "Start of structure or map found where not expected".to_owned(),
        (Kind::List(_) | Kind::Map(..), _) => match place {
            Place::Member => "Unexpected field type".to_owned(),
            Place::Element => CAST.to_owned(),
        },
        (Kind::Structure(_) | Kind::AttributeValue(_), _) => match place {
            Place::Member => "Unexpected field type".to_owned(),
            Place::Element => "Unexpected value type in payload".to_owned(),
        },
        (Kind::Boolean, Document::Text(_)) => "Unexpected token received from parser".to_owned(),
        (Kind::Blob, _) => "only base-64-encoded strings are convertible to bytes".to_owned(),
        (kind, _) => format!("{} cannot be converted to {}", token(found), simple_class(kind)),
    }
}

fn token(found: &Document<'_>) -> &'static str {
    match found {
        Document::Bool(true) => "TRUE_VALUE",
        Document::Bool(false) => "FALSE_VALUE",
        Document::Integer(_) => "NUMBER_VALUE",
        Document::Decimal(text) if text.contains(['.', 'e', 'E']) => "DECIMAL_VALUE",
        Document::Decimal(_) => "NUMBER_VALUE",
        Document::Text(_) => "STRING_VALUE",
        Document::Null
        | Document::Bytes(_)
        | Document::List(_)
        | Document::Map(_)
        | Document::Tagged(..)
        | Document::Instant(_) => "EMBEDDED_VALUE",
    }
}

fn simple_class(kind: Kind) -> &'static str {
    match kind {
        Kind::String => "String",
        Kind::Boolean => "Boolean",
        Kind::Integer => "Integer",
        Kind::Long => "Long",
        Kind::Double => "Double",
        Kind::Blob => "ByteBuffer",
        Kind::Timestamp => "Date",
        Kind::List(_) => "List",
        Kind::Map(..) => "Map",
        Kind::Structure(_) | Kind::AttributeValue(_) => "Structure",
    }
}

fn class(api: Api, shape: &'static Shape) -> String {
    match shape.kind {
        Kind::Structure(_) | Kind::AttributeValue(_) => format!("{}.{}", api.package(), shape.name),
        Kind::List(element) => format!("java.util.List<{}>", class(api, element)),
        Kind::Map(_, element) => format!("java.util.Map<java.lang.String, {}>", class(api, element)),
        Kind::Blob => "java.nio.ByteBuffer".to_owned(),
        Kind::Timestamp => "java.util.Date".to_owned(),
        Kind::String | Kind::Boolean | Kind::Integer | Kind::Long | Kind::Double => {
            format!("java.lang.{}", simple_class(shape.kind))
        }
    }
}
