//! Bound operands and what they stand for in an item.

use std::borrow::Cow;
use std::fmt::Write;

use headwater_types::stored::StoredItem;
use headwater_types::{AttributeValue, Item, Number};

use crate::path::Path;

/// Where attributes are looked up: a decoded item, or stored bytes of which only what is asked for is decoded.
pub trait Attributes {
    /// The value of an attribute.
    fn attribute(&self, name: &str) -> Option<Cow<'_, AttributeValue>>;
}

impl Attributes for Item {
    fn attribute(&self, name: &str) -> Option<Cow<'_, AttributeValue>> {
        self.get(name).map(Cow::Borrowed)
    }
}

impl Attributes for StoredItem<'_> {
    fn attribute(&self, name: &str) -> Option<Cow<'_, AttributeValue>> {
        // What is read from a store has passed its checksum: bytes that do not decode were never written by us.
        let value = self.get(name).expect("a stored item decodes")?;
        Some(Cow::Owned(value.decode().expect("a stored value decodes")))
    }
}

/// No item: every attribute is missing.
pub struct Missing;

impl Attributes for Missing {
    fn attribute(&self, _name: &str) -> Option<Cow<'_, AttributeValue>> {
        None
    }
}

/// A bound operand of a condition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operand {
    /// What lies at a path.
    Path(Path),
    /// A value of the request.
    Value(AttributeValue),
    /// `size(operand)`.
    Size(Box<Operand>),
}

impl Operand {
    /// What the operand stands for in an item; `None` when it is missing there.
    pub fn resolve<'a>(&'a self, item: &'a dyn Attributes) -> Option<Cow<'a, AttributeValue>> {
        match self {
            Self::Value(value) => Some(Cow::Borrowed(value)),
            Self::Path(path) => resolve_path(path, item),
            Self::Size(inner) => size(inner.resolve(item)?.as_ref()).map(|n| Cow::Owned(AttributeValue::N(n))),
        }
    }

    /// True when it is given in the request rather than found in the item.
    pub fn is_value(&self) -> bool {
        matches!(self, Self::Value(_))
    }
}

/// What lies at a path of an item.
pub fn resolve_path<'a>(path: &Path, item: &'a dyn Attributes) -> Option<Cow<'a, AttributeValue>> {
    match item.attribute(path.top())? {
        Cow::Borrowed(value) => path.within(value).map(Cow::Borrowed),
        Cow::Owned(value) if path.is_top_level() => Some(Cow::Owned(value)),
        Cow::Owned(value) => path.within(&value).cloned().map(Cow::Owned),
    }
}

/// `size`: characters of a string, bytes of a binary, members of a set, list or map; of other types there is none.
fn size(value: &AttributeValue) -> Option<Number> {
    let size = match value {
        AttributeValue::S(text) => text.chars().count(),
        AttributeValue::B(bytes) => bytes.len(),
        AttributeValue::Ss(set) => set.len(),
        AttributeValue::Ns(set) => set.len(),
        AttributeValue::Bs(set) => set.len(),
        AttributeValue::L(list) => list.len(),
        AttributeValue::M(map) => map.len(),
        AttributeValue::N(_) | AttributeValue::Bool(_) | AttributeValue::Null => return None,
    };
    i64::try_from(size).ok().map(Number::from)
}

/// A value as the service prints it in messages: `{S:a}`, `{N:1}`.
pub fn printed(value: &AttributeValue) -> String {
    let mut text = format!("{{{}:", value.type_code());
    // Writing into a string cannot fail.
    let _ = match value {
        AttributeValue::S(string) => write!(text, "{string}"),
        AttributeValue::N(number) => write!(text, "{number}"),
        AttributeValue::Bool(value) => write!(text, "{value}"),
        AttributeValue::Null => write!(text, "true"),
        AttributeValue::B(bytes) => write!(text, "java.nio.HeapByteBuffer[pos=0 lim={0} cap={0}]", bytes.len()),
        AttributeValue::Ss(set) => write!(text, "[{}]", joined(set.iter())),
        AttributeValue::Ns(set) => write!(text, "[{}]", joined(set.iter())),
        AttributeValue::Bs(set) => write!(text, "{} binaries", set.len()),
        AttributeValue::L(list) => write!(text, "[{}]", joined(list.iter().map(printed))),
        AttributeValue::M(map) => {
            write!(text, "{{{}}}", joined(map.iter().map(|(n, v)| format!("{n}={}", printed(v)))))
        }
    };
    text.push('}');
    text
}

fn joined(members: impl Iterator<Item = impl ToString>) -> String {
    members.map(|member| member.to_string()).collect::<Vec<_>>().join(", ")
}
