//! From a typed output to some protocol's writer.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::instant::Instant;

/// A protocol's writer. Calls come properly nested; the writer cares for separators and lengths.
pub trait Encoder {
    /// About so many bytes follow.
    fn expect(&mut self, _bytes: usize) {}
    /// Opens a structure.
    fn begin_structure(&mut self);
    /// Names the next value inside a structure.
    fn field(&mut self, name: &'static str);
    /// Closes a structure.
    fn end_structure(&mut self);
    /// Opens a list.
    fn begin_list(&mut self);
    /// Closes a list.
    fn end_list(&mut self);
    /// Opens a map.
    fn begin_map(&mut self);
    /// Names the next value inside a map.
    fn key(&mut self, key: &str);
    /// Closes a map.
    fn end_map(&mut self);
    /// Text.
    fn text(&mut self, value: &str);
    /// Text as it is stored, not proved to be UTF-8 yet.
    fn stored_text(&mut self, value: &[u8]) {
        match std::str::from_utf8(value) {
            Ok(text) => self.text(text),
            Err(_) => self.corrupt(),
        }
    }
    /// Names the next value inside a map by such a text.
    fn stored_key(&mut self, key: &[u8]) {
        match std::str::from_utf8(key) {
            Ok(key) => self.key(key),
            Err(_) => self.corrupt(),
        }
    }
    /// An attribute of a map whose value is a structure of one text, named `kind`: most of an item is such.
    fn stored_attribute(&mut self, name: &[u8], kind: &'static str, value: &[u8]) {
        attribute_in_parts(self, name, kind, value);
    }
    /// Bytes.
    fn bytes(&mut self, value: &[u8]);
    /// A whole number.
    fn integer(&mut self, value: i64);
    /// A floating-point number.
    fn double(&mut self, value: f64);
    /// True or false.
    fn boolean(&mut self, value: bool);
    /// A moment.
    fn instant(&mut self, value: Instant);
    /// Null.
    fn null(&mut self);
    /// What should have been written is damaged: nothing that was written counts.
    fn corrupt(&mut self);
}

/// What can write itself.
pub trait Encode {
    /// Writes the value.
    fn encode(&self, e: &mut dyn Encoder);

    /// Whether a structure leaves the member out.
    fn is_absent(&self) -> bool {
        false
    }

    /// About how many bytes will be written, where they may be many.
    fn size_hint(&self) -> usize {
        0
    }
}

/// Writes such an attribute by the calls for its parts.
pub(crate) fn attribute_in_parts<E: Encoder + ?Sized>(e: &mut E, name: &[u8], kind: &'static str, value: &[u8]) {
    e.stored_key(name);
    e.begin_structure();
    e.field(kind);
    e.stored_text(value);
    e.end_structure();
}

/// Writes a structure of the members that are there.
pub fn structure(e: &mut dyn Encoder, members: &[(&'static str, &dyn Encode)]) {
    e.begin_structure();
    for (name, value) in members {
        if !value.is_absent() {
            e.field(name);
            value.encode(e);
        }
    }
    e.end_structure();
}

impl<T: Encode> Encode for Option<T> {
    fn encode(&self, e: &mut dyn Encoder) {
        match self {
            Some(value) => value.encode(e),
            None => e.null(),
        }
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl Encode for String {
    fn encode(&self, e: &mut dyn Encoder) {
        e.text(self);
    }
}

impl Encode for bool {
    fn encode(&self, e: &mut dyn Encoder) {
        e.boolean(*self);
    }
}

impl Encode for i32 {
    fn encode(&self, e: &mut dyn Encoder) {
        e.integer(i64::from(*self));
    }
}

impl Encode for i64 {
    fn encode(&self, e: &mut dyn Encoder) {
        e.integer(*self);
    }
}

impl Encode for f64 {
    fn encode(&self, e: &mut dyn Encoder) {
        e.double(*self);
    }
}

impl Encode for Instant {
    fn encode(&self, e: &mut dyn Encoder) {
        e.instant(*self);
    }
}

impl Encode for Bytes {
    fn encode(&self, e: &mut dyn Encoder) {
        e.bytes(self);
    }
}

impl<T: Encode> Encode for Vec<T> {
    fn encode(&self, e: &mut dyn Encoder) {
        e.expect(self.size_hint());
        e.begin_list();
        for value in self {
            value.encode(e);
        }
        e.end_list();
    }

    fn size_hint(&self) -> usize {
        self.iter().map(Encode::size_hint).sum()
    }
}

impl<T: Encode> Encode for BTreeMap<String, T> {
    fn encode(&self, e: &mut dyn Encoder) {
        e.begin_map();
        for (key, value) in self {
            e.key(key);
            value.encode(e);
        }
        e.end_map();
    }
}

impl<T: Encode + ?Sized> Encode for Box<T> {
    fn encode(&self, e: &mut dyn Encoder) {
        (**self).encode(e);
    }
}
