//! The item of a put: from the document straight into its stored form, without a value for each attribute in between.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use headwater_types::stored::{self, SIZE_BYTES, SizedItem, StoredItem};
use headwater_types::{AttributeValue as Value, Item, Number};

use crate::answer_item::encode_attributes;
use crate::attribute_value::{AttributeValue, InvalidValue, NAME_BYTES_MAX, NESTING_MAX};
use crate::decode::{Decode, unexpected};
use crate::document::{Document, Tag};
use crate::encode::{Encode, Encoder};
use crate::error::Error;

/// The item of a put, or what is wrong with the first of its attributes, by name, that is no value.
#[derive(Clone, Debug, PartialEq)]
pub struct NewItem {
    stored: Result<Stored, InvalidValue>,
    has_empty_name: bool,
}

/// A good item, encoded.
#[derive(Clone, Debug, PartialEq)]
struct Stored {
    /// As [`stored::encode_sized`] writes it.
    bytes: Bytes,
    depth: usize,
}

impl NewItem {
    /// The item behind its size, as storage keeps it ([`stored::encode_sized`]).
    ///
    /// Errors: ValidationException of the first attribute, by name, that is no value; the bare text.
    pub fn sized_bytes(&self) -> Result<&Bytes, Error> {
        match &self.stored {
            Ok(stored) => Ok(&stored.bytes),
            Err(invalid) => Err(invalid.clone().into()),
        }
    }

    /// Levels of lists and maps in its deepest attribute.
    pub fn depth(&self) -> usize {
        self.stored.as_ref().map_or(0, |stored| stored.depth)
    }

    /// Whether an attribute's name is empty.
    pub fn has_empty_name(&self) -> bool {
        self.has_empty_name
    }
}

impl Decode for NewItem {
    fn decode(document: Document<'_>) -> Result<Self, Error> {
        let Document::Map(entries) = &document else { return Err(unexpected("an item", &document)) };
        let has_empty_name = entries.iter().any(|(name, _)| name.is_empty());
        let stored = match plain(entries) {
            Some(stored) => Ok(stored),
            None => through_values(document)?,
        };
        Ok(Self { stored, has_empty_name })
    }
}

impl Encode for NewItem {
    /// An invalid item, which no answer holds, is written as null.
    fn encode(&self, e: &mut dyn Encoder) {
        let Ok(stored) = &self.stored else { return e.null() };
        let item = stored.bytes.get(SIZE_BYTES..).map_or(Err(stored::Corrupt), StoredItem::new);
        item.and_then(|item| encode_attributes(item, e)).expect("it was encoded here");
    }
}

/// The way for whatever is not plain: each attribute as a value, judged by its own decoding.
fn through_values(document: Document<'_>) -> Result<Result<Stored, InvalidValue>, Error> {
    let mut item = Item::default();
    for (name, value) in BTreeMap::<String, AttributeValue>::decode(document)? {
        match value {
            AttributeValue::Valid(value) => drop(item.insert(name, value)),
            AttributeValue::Invalid(invalid) => return Ok(Err(invalid)),
        }
    }
    let depth = item.values().map(Value::depth).max().unwrap_or(0);
    Ok(Ok(Stored { bytes: stored::encode_sized(&item).into(), depth }))
}

type Entries<'a> = [(Cow<'a, str>, Document<'a>)];

/// Encodes an item of good values without sets and without a name that is given twice; `None` for any other, about which
/// [`through_values`] has the last word.
fn plain(entries: &Entries<'_>) -> Option<Stored> {
    let bytes: usize = entries.iter().map(|(name, value)| 16 + name.len() + about_bytes(value)).sum();
    let mut sized = SizedItem::with_capacity(bytes);
    let measure = attributes(entries, sized.attributes(), 0)?;
    Some(Stored { bytes: sized.finish(measure.bytes).into(), depth: measure.depth })
}

/// Enough for most: an attribute value of one text.
fn about_bytes(value: &Document<'_>) -> usize {
    match value {
        Document::Tagged(_, text) => text.len(),
        Document::Map(members) => match members.as_slice() {
            [(_, Document::Text(text))] => text.len(),
            [(_, Document::Bytes(bytes))] => bytes.len(),
            _ => 16,
        },
        _ => 0,
    }
}

/// Size by the item-size rules, and levels of lists and maps.
#[derive(Clone, Copy, Default)]
struct Measure {
    bytes: usize,
    depth: usize,
}

impl Measure {
    fn scalar(bytes: usize) -> Option<Self> {
        Some(Self { bytes, depth: 0 })
    }

    /// Takes a part in; `beside` is what it costs beside itself.
    fn add(&mut self, part: Self, beside: usize) {
        self.bytes += part.bytes + beside;
        self.depth = self.depth.max(part.depth);
    }

    /// As a list's or map's content, whose own size is that of an empty one beside it.
    fn inside(self, empty: &Value) -> Self {
        Self { bytes: self.bytes + empty.size_bytes(), depth: self.depth + 1 }
    }
}

/// Appends attributes by name; the size counts names and values.
fn attributes(entries: &Entries<'_>, into: &mut Vec<u8>, level: usize) -> Option<Measure> {
    let mut order: Vec<&(Cow<'_, str>, Document<'_>)> = entries.iter().collect();
    order.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    if order.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if a == b)) {
        return None;
    }
    let mut measure = Measure::default();
    for (name, document) in order {
        if name.len() > NAME_BYTES_MAX {
            return None;
        }
        let part = stored::put_attribute(name, into, |into| value(document, into, level))?;
        measure.add(part, name.len());
    }
    Some(measure)
}

/// Appends one value at a level of nesting.
fn value(document: &Document<'_>, into: &mut Vec<u8>, level: usize) -> Option<Measure> {
    match document {
        Document::Tagged(Tag::S, text) => {
            stored::put_text(text, into);
            Measure::scalar(text.len())
        }
        Document::Tagged(Tag::N, text) => scalar(Value::N(text.parse::<Number>().ok()?), into),
        Document::Map(members) => match members.as_slice() {
            [(kind, content)] => member(kind, content, into, level),
            _ => None,
        },
        _ => None,
    }
}

fn member(kind: &str, content: &Document<'_>, into: &mut Vec<u8>, level: usize) -> Option<Measure> {
    match (kind, content) {
        ("B", Document::Bytes(bytes)) => {
            stored::put_binary(bytes, into);
            Measure::scalar(bytes.len())
        }
        ("BOOL", Document::Bool(flag)) => scalar(Value::Bool(*flag), into),
        ("NULL", Document::Bool(true)) => scalar(Value::Null, into),
        ("L", Document::List(elements)) if level < NESTING_MAX => {
            stored::put_list(into);
            let mut measure = Measure::default();
            for element in elements {
                // Each element costs one byte beside itself.
                measure.add(stored::put_member(into, |into| value(element, into, level + 1))?, 1);
            }
            Some(measure.inside(&Value::L(Vec::new())))
        }
        ("M", Document::Map(entries)) if level < NESTING_MAX => {
            stored::put_map(into);
            let mut measure = attributes(entries, into, level + 1)?;
            measure.bytes += entries.len();
            Some(measure.inside(&Value::M(BTreeMap::new())))
        }
        _ => None,
    }
}

fn scalar(value: Value, into: &mut Vec<u8>) -> Option<Measure> {
    stored::encode_value(&value, into);
    Measure::scalar(value.size_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::json;

    fn document(text: &str) -> Document<'_> {
        Document::from_json(text.as_bytes()).expect("JSON")
    }

    /// Values as requests bring them, good ones and bad ones.
    fn values() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            "[a-c\"é]{0,3}".prop_map(|text| json!({"S": text})),
            "-?[0-9]{1,4}(e[0-9]{1,3})?".prop_map(|text| json!({"N": text})),
            any::<bool>().prop_map(|flag| json!({"BOOL": flag})),
            any::<bool>().prop_map(|flag| json!({"NULL": flag})),
            prop::collection::vec("[ab]{1,2}", 0..3).prop_map(|set| json!({"SS": set})),
            prop::collection::vec("[12]{1,2}", 0..3).prop_map(|set| json!({"NS": set})),
            Just(json!({})),
            Just(json!({"S": "a", "N": "1"})),
            Just(json!({"S": "a", "N": null})),
            Just(json!({"unknown": 1})),
            Just(Json::Null),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(|list| json!({"L": list})),
                prop::collection::btree_map("[a-c]{0,2}", inner, 0..3).prop_map(|map| json!({"M": map})),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn straight_or_through_values_it_is_the_same(
            entries in prop::collection::vec(("[a-d]{0,2}", values()), 0..5)
        ) {
            // Names may be given twice: the text is put together by hand.
            let parts = entries.iter().map(|(name, value)| format!("{}:{value}", json!(name)));
            let text = format!("{{{}}}", parts.collect::<Vec<_>>().join(","));
            let expected = through_values(document(&text)).expect("a map");
            let item = NewItem::decode(document(&text)).expect("a map");
            prop_assert_eq!(&item.stored, &expected);
            if let Document::Map(entries) = document(&text)
                && let Some(plain) = plain(&entries)
            {
                prop_assert_eq!(Ok(&plain), expected.as_ref());
            }
        }
    }

    #[test]
    fn plain_items_go_straight_and_others_do_not() {
        let mut counts = [0, 0];
        for (text, is_plain) in [
            (r#"{"p":{"S":"x"},"a":{"L":[{"M":{"c":{"N":"1.50"},"b":{"NULL":true}}}]},"z":{"BOOL":false}}"#, true),
            ("{}", true),
            (r#"{"p":{"SS":["x"]}}"#, false),
            (r#"{"p":{"S":"x"},"p":{"S":"y"}}"#, false),
            (r#"{"p":{"N":"x"}}"#, false),
        ] {
            let Document::Map(entries) = document(text) else { panic!("a map") };
            assert_eq!(plain(&entries).is_some(), is_plain, "{text}");
            counts[usize::from(is_plain)] += 1;
        }
        assert_eq!(counts, [3, 2]);
    }

    #[test]
    fn it_is_written_as_it_came() {
        let text = r#"{"a":{"L":[{"S":""}]},"p":{"S":"x"}}"#;
        let item = NewItem::decode(document(text)).expect("a map");
        assert_eq!(String::from_utf8_lossy(&json::encode(&item)), text);
        assert_eq!((item.depth(), item.has_empty_name()), (1, false));
        let nested = format!("{{\"\":{}{{\"S\":\"\"}}{}}}", "{\"L\":[".repeat(33), "]}".repeat(33));
        let item = NewItem::decode(document(&nested)).expect("a map");
        assert!(item.sized_bytes().is_err() && item.has_empty_name());
    }
}
