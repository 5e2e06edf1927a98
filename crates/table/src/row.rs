//! An item as it lies in storage: its size by the item-size rules, then its stored form.

use bytes::{Bytes, BytesMut};
use headwater_types::Item;
use headwater_types::stored::{self, Corrupt, SIZE_BYTES, StoredItem};

/// A stored item, decoded as far as somebody looks.
///
/// Order: equal items have equal bytes (names, sets and maps are ordered, numbers canonical).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row(Bytes);

impl Row {
    /// Encodes an item.
    pub fn new(item: &Item) -> Self {
        Self(stored::encode_sized(item).into())
    }

    /// A row as read from storage, or made by [`stored::SizedItem`].
    pub fn from_stored(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes for storage.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Size of the item, names included. Unit: bytes.
    pub fn size_bytes(&self) -> usize {
        self.0.first_chunk::<SIZE_BYTES>().map_or(0, |size| u32::from_le_bytes(*size) as usize)
    }

    /// The item's attributes, to be decoded one by one.
    pub fn stored(&self) -> Result<StoredItem<'_>, Corrupt> {
        StoredItem::new(self.0.get(SIZE_BYTES..).ok_or(Corrupt)?)
    }

    /// The item's stored form without its size.
    pub fn item_bytes(&self) -> Result<Bytes, Corrupt> {
        if self.0.len() < SIZE_BYTES {
            return Err(Corrupt);
        }
        Ok(self.0.slice(SIZE_BYTES..))
    }

    /// The whole item.
    pub fn item(&self) -> Result<Item, Corrupt> {
        stored::decode(self.0.get(SIZE_BYTES..).ok_or(Corrupt)?)
    }

    /// Appends the row with its length, so that it can be split off again.
    pub(crate) fn append_to(&self, into: &mut BytesMut) {
        into.extend_from_slice(&(self.0.len() as u32).to_le_bytes());
        into.extend_from_slice(&self.0);
    }

    /// Splits a row with its length off the front.
    pub(crate) fn split_from(bytes: &mut Bytes) -> Option<Self> {
        let length = u32::from_le_bytes(*bytes.first_chunk::<4>()?) as usize;
        if bytes.len() < 4 + length {
            return None;
        }
        let row = bytes.slice(4..4 + length);
        *bytes = bytes.slice(4 + length..);
        Some(Self(row))
    }
}
