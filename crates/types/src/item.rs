//! An item: attribute names and values.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use crate::attribute_value::AttributeValue;

/// An item or an image of one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Item(pub BTreeMap<String, AttributeValue>);

impl Item {
    /// Size by the item-size rules: names and values. Unit: bytes.
    pub fn size_bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.size_bytes()).sum()
    }
}

impl Deref for Item {
    type Target = BTreeMap<String, AttributeValue>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Item {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl FromIterator<(String, AttributeValue)> for Item {
    fn from_iter<T: IntoIterator<Item = (String, AttributeValue)>>(attributes: T) -> Self {
        Self(attributes.into_iter().collect())
    }
}
