//! What a request substitutes into its expressions: names and values, and which of them were used.

use std::collections::{BTreeMap, BTreeSet};

use headwater_types::AttributeValue;
use headwater_types::limits::{NESTING_LEVELS_MAX, SUBSTITUTION_BYTES_MAX};

use crate::error::{Error, Kind};
use crate::path::{Element, Path};
use crate::tree::{RawElement, RawPath};

/// Longest name of an attribute. Unit: bytes. Source: "Service, account, and table quotas", DynamoDB developer guide.
const ATTRIBUTE_NAME_BYTES_MAX: usize = 65_535;
/// Longest placeholder, its sigil included. Unit: bytes. Source: the same.
const PLACEHOLDER_BYTES_MAX: usize = 255;

/// Names and values of one request, shared by all its expressions.
#[derive(Clone, Debug, Default)]
pub struct Substitutions {
    names: BTreeMap<String, String>,
    values: BTreeMap<String, AttributeValue>,
    used_names: BTreeSet<String>,
    used_values: BTreeSet<String>,
}

impl Substitutions {
    /// Checks the placeholders themselves. `None` is a parameter that was not given, an empty map is refused.
    pub fn new(
        names: Option<BTreeMap<String, String>>,
        values: Option<BTreeMap<String, AttributeValue>>,
    ) -> Result<Self, Error> {
        if let Some(names) = &names {
            if names.is_empty() {
                return Err(Error::new("ExpressionAttributeNames must not be empty"));
            }
            for (key, name) in names {
                check_placeholder("ExpressionAttributeNames", '#', key)?;
                if name.is_empty() || name.len() > ATTRIBUTE_NAME_BYTES_MAX {
                    // unverified: the service's form for invalid values, the reason in words of ours.
                    let reason = "Attribute names must be between 1 and 65535 bytes long";
                    let text = format!("ExpressionAttributeNames contains invalid value: {reason} for key {key}");
                    return Err(Error::new(text));
                }
            }
        }
        if let Some(values) = &values {
            if values.is_empty() {
                return Err(Error::new("ExpressionAttributeValues must not be empty"));
            }
            for key in values.keys() {
                check_placeholder("ExpressionAttributeValues", ':', key)?;
            }
        }
        let (names, values) = (names.unwrap_or_default(), values.unwrap_or_default());
        let bytes = names.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>()
            + values.iter().map(|(k, v)| k.len() + v.size_bytes()).sum::<usize>();
        if bytes > SUBSTITUTION_BYTES_MAX {
            // unverified: the documented limit, in words of ours.
            let text = "The size of ExpressionAttributeNames and ExpressionAttributeValues has exceeded the maximum";
            return Err(Error::new(format!("{text} allowed size; size: {bytes}")));
        }
        Ok(Self { names, values, ..Self::default() })
    }

    /// Refuses names and values that no expression used; asked once all expressions are bound.
    pub fn unused(&self) -> Result<(), Error> {
        for (parameter, all, used) in [
            ("ExpressionAttributeNames", self.names.keys().collect::<Vec<_>>(), &self.used_names),
            ("ExpressionAttributeValues", self.values.keys().collect(), &self.used_values),
        ] {
            let unused: Vec<&str> = all.into_iter().filter(|key| !used.contains(*key)).map(String::as_str).collect();
            if !unused.is_empty() {
                let keys = unused.join(", ");
                return Err(Error::new(format!(
                    "Value provided in {parameter} unused in expressions: keys: {{{keys}}}"
                )));
            }
        }
        Ok(())
    }

    pub(crate) fn has_name(&mut self, kind: Kind, name: &str) -> Result<(), Error> {
        if self.names.contains_key(name) {
            self.used_names.insert(name.to_owned());
            return Ok(());
        }
        let text = "An expression attribute name used in the document path is not defined; attribute name:";
        Err(Error::in_expression(kind, format!("{text} {name}")))
    }

    pub(crate) fn has_value(&mut self, kind: Kind, value: &str) -> Result<(), Error> {
        if self.values.contains_key(value) {
            self.used_values.insert(value.to_owned());
            return Ok(());
        }
        let text = "An expression attribute value used in expression is not defined; attribute value:";
        Err(Error::in_expression(kind, format!("{text} {value}")))
    }

    /// A value that was found before.
    pub(crate) fn value(&self, key: &str) -> AttributeValue {
        self.values.get(key).cloned().unwrap_or(AttributeValue::Null)
    }

    /// A path whose names were found before.
    pub(crate) fn path(&self, kind: Kind, raw: &RawPath) -> Result<Path, Error> {
        if raw.len() > NESTING_LEVELS_MAX {
            let text = "The document path has too many nesting elements; nesting levels:";
            return Err(Error::in_expression(kind, format!("{text} {}", raw.len())));
        }
        let elements = raw.iter().map(|element| match element {
            RawElement::Name(name) => Element::Name(name.clone()),
            RawElement::Ref(name) => Element::Name(self.names.get(name).cloned().unwrap_or_default()),
            RawElement::Index(index) => Element::Index(*index),
        });
        Ok(Path(elements.collect()))
    }
}

fn check_placeholder(parameter: &str, sigil: char, key: &str) -> Result<(), Error> {
    let word = key.strip_prefix(sigil).unwrap_or_default();
    let is_word = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if is_word && key.len() <= PLACEHOLDER_BYTES_MAX {
        return Ok(());
    }
    Err(Error::new(format!("{parameter} contains invalid key: Syntax error; key: \"{key}\"")))
}
