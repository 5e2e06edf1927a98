//! Document paths: attribute, then members of maps and elements of lists.

use std::fmt;

use headwater_types::AttributeValue;

/// One step of a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Element {
    /// A member of a map; the first element of a path is always one.
    Name(String),
    /// An element of a list.
    Index(usize),
}

/// A document path with its names substituted; never empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Path(pub Vec<Element>);

impl Path {
    /// A path to a whole attribute.
    pub fn attribute(name: impl Into<String>) -> Self {
        Self(vec![Element::Name(name.into())])
    }

    /// The attribute the path leads into.
    pub fn top(&self) -> &str {
        match self.0.first() {
            Some(Element::Name(name)) => name,
            Some(Element::Index(_)) | None => "",
        }
    }

    /// True when it names a whole attribute.
    pub fn is_top_level(&self) -> bool {
        self.0.len() == 1
    }

    /// What lies at the rest of the path (behind the attribute) within the attribute's value.
    pub fn within<'v>(&self, attribute: &'v AttributeValue) -> Option<&'v AttributeValue> {
        self.0.iter().skip(1).try_fold(attribute, |value, element| match (element, value) {
            (Element::Name(name), AttributeValue::M(map)) => map.get(name),
            (Element::Index(index), AttributeValue::L(list)) => list.get(*index),
            _ => None,
        })
    }

    /// How two paths of one expression stand to each other.
    pub fn relation(&self, other: &Self) -> Relation {
        for (a, b) in self.0.iter().zip(&other.0) {
            match (a, b) {
                (Element::Name(a), Element::Name(b)) if a == b => {}
                (Element::Index(a), Element::Index(b)) if a == b => {}
                (Element::Name(_), Element::Index(_)) | (Element::Index(_), Element::Name(_)) => {
                    return Relation::Conflict;
                }
                _ => return Relation::Apart,
            }
        }
        Relation::Overlap
    }
}

/// How two paths stand to each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Relation {
    /// They lead to different places.
    Apart,
    /// One leads into the other, or they are equal.
    Overlap,
    /// One takes a place for a map, the other for a list.
    Conflict,
}

impl fmt::Display for Path {
    /// As the service prints it: `[a, b, [0]]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, element) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            match element {
                Element::Name(name) => write!(f, "{comma}{name}")?,
                Element::Index(index) => write!(f, "{comma}[{index}]")?,
            }
        }
        f.write_str("]")
    }
}
