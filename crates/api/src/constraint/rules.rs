//! The constraints of one value, and what the service says about them.

use headwater_types::arn::StreamArn;

use crate::document::Document;
use crate::schema::{Kind, Shape};

/// Whether a value keeps all constraints of its own shape; null keeps them (the walker judges it).
pub fn fit(shape: &Shape, value: &Document<'_>) -> bool {
    match value {
        Document::Text(text) => fit_text(shape, text),
        Document::Null => true,
        _ => measure(shape, value).is_none_or(|size| within(shape, size)),
    }
}

/// Whether a text keeps all constraints of its shape.
pub fn fit_text(shape: &Shape, text: &str) -> bool {
    (shape.or_arn && text.starts_with("arn:"))
        || (shape.or_table_stream && StreamArn::parse(text).is_some())
        || fit_length(shape, text)
            && fit_pattern(shape, text)
            && (shape.values.is_empty() || shape.values.contains(&text))
}

/// An empty name is refused for its length alone where an ARN may stand in its place.
/// Source: a public conformance suite's recordings of the live service (UpdateItem, October 2026).
fn fit_pattern(shape: &Shape, text: &str) -> bool {
    (shape.or_arn && text.is_empty()) || shape.pattern.is_none_or(|pattern| pattern.matches(text))
}

/// The rules that a value breaks.
///
/// Order:  pattern before lengths; lengths before pattern where an ARN may stand in the name's place.
/// Source: kinesalite's validations; for names of tables an answer of the live service quoted in a public web client
///         (2019): length, then pattern.
pub fn broken(shape: &Shape, value: &Document<'_>) -> Vec<String> {
    let mut out = lengths(shape, value);
    if let Document::Text(text) = value
        && let Some(pattern) = shape.pattern
        && !fit_pattern(shape, text)
    {
        let place = if shape.or_arn { out.len() } else { 0 };
        out.insert(place, format!("Member must satisfy regular expression pattern: {}", pattern.text()));
    }
    if let Document::Text(text) = value
        && !shape.values.is_empty()
        && !shape.values.contains(&&**text)
    {
        out.push(one_of(shape));
    }
    out
}

fn lengths(shape: &Shape, value: &Document<'_>) -> Vec<String> {
    let noun = noun(shape);
    let Some(size) = measure(shape, value) else { return Vec::new() };
    let least = shape.min.filter(|min| size < f64_of(*min));
    let most = shape.max.filter(|max| size > f64_of(*max));
    let least = least.map(|min| format!("Member must have {noun} greater than or equal to {min}"));
    let most = most.map(|max| format!("Member must have {noun} less than or equal to {max}"));
    least.into_iter().chain(most).collect()
}

/// All rules of a shape, as they stand in brackets for the elements of a list or the keys of a map.
/// Source: kinesalite's validations for lengths; patterns and enums in brackets are not checked.
pub fn all(shape: &Shape) -> Vec<String> {
    let mut out = Vec::new();
    let noun = noun(shape);
    if let Some(max) = shape.max {
        out.push(format!("Member must have {noun} less than or equal to {max}"));
    }
    if let Some(min) = shape.min.or(shape.max.is_some().then_some(0)) {
        out.push(format!("Member must have {noun} greater than or equal to {min}"));
    }
    if let Some(pattern) = shape.pattern {
        out.push(format!("Member must satisfy regular expression pattern: {}", pattern.text()));
    }
    if !shape.values.is_empty() {
        out.push(one_of(shape));
    }
    out
}

fn one_of(shape: &Shape) -> String {
    format!("Member must satisfy enum value set: [{}]", shape.values.join(", "))
}

fn noun(shape: &Shape) -> &'static str {
    match shape.kind {
        Kind::Integer | Kind::Long | Kind::Double => "value",
        _ => "length",
    }
}

/// What `min` and `max` are compared with: characters, bytes, elements, entries, or the number itself.
fn measure(shape: &Shape, value: &Document<'_>) -> Option<f64> {
    if shape.min.is_none() && shape.max.is_none() {
        return None;
    }
    Some(match value {
        Document::Text(text) => text.chars().count() as f64,
        Document::Bytes(bytes) => bytes.len() as f64,
        Document::List(elements) => elements.len() as f64,
        Document::Map(entries) => entries.len() as f64,
        Document::Tagged(..) => 1.0,
        Document::Integer(number) => f64_of(*number),
        Document::Decimal(text) => text.parse().ok()?,
        Document::Null | Document::Bool(_) | Document::Instant(_) => return None,
    })
}

/// A text of n bytes has between n/4 and n characters: most need not be counted.
fn fit_length(shape: &Shape, text: &str) -> bool {
    let bytes = f64_of(i64::try_from(text.len()).unwrap_or(i64::MAX));
    let surely =
        shape.max.is_none_or(|max| bytes <= f64_of(max)) && shape.min.is_none_or(|min| bytes / 4.0 >= f64_of(min));
    surely || measure(shape, &Document::Text(text.into())).is_none_or(|size| within(shape, size))
}

fn within(shape: &Shape, size: f64) -> bool {
    shape.min.is_none_or(|min| size >= f64_of(min)) && shape.max.is_none_or(|max| size <= f64_of(max))
}

/// Limits and sizes of the models lie far below 2^53, so comparing as floating point is exact where it matters.
fn f64_of(number: i64) -> f64 {
    number as f64
}
