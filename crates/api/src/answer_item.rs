//! Items of answers: as values, or as they are stored, written out without being decoded first.

use bytes::Bytes;
use headwater_types::Item;
use headwater_types::stored::{Corrupt, StoredItem, StoredValue, View, number, text};

use crate::attribute_value::encode_value;
use crate::encode::{Encode, Encoder};

/// The attributes of an item, or of some of it, in an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerItem(Form);

#[derive(Clone, Debug, PartialEq)]
enum Form {
    Decoded(Item),
    Stored(Bytes),
}

impl AnswerItem {
    /// An item in its stored form. Damage in it is told to the writer, by [`Encoder::corrupt`].
    pub fn stored(bytes: Bytes) -> Self {
        Self(Form::Stored(bytes))
    }
}

impl From<Item> for AnswerItem {
    fn from(item: Item) -> Self {
        Self(Form::Decoded(item))
    }
}

impl Encode for AnswerItem {
    fn encode(&self, e: &mut dyn Encoder) {
        match &self.0 {
            Form::Decoded(item) => {
                e.begin_map();
                for (name, value) in item.iter() {
                    e.key(name);
                    encode_value(value, e);
                }
                e.end_map();
            }
            Form::Stored(bytes) => {
                if StoredItem::new(bytes).and_then(|item| encode_attributes(item, e)).is_err() {
                    e.corrupt();
                }
            }
        }
    }

    fn size_hint(&self) -> usize {
        match &self.0 {
            Form::Decoded(_) => 0,
            // JSON takes a few bytes more for each attribute than the stored form, and a third more for binaries.
            Form::Stored(bytes) => bytes.len() + bytes.len() / 4,
        }
    }
}

/// Writes a stored item's attributes as a map. Errors: Corrupt, in the middle of it.
pub(crate) fn encode_attributes(item: StoredItem<'_>, e: &mut dyn Encoder) -> Result<(), Corrupt> {
    e.begin_map();
    for attribute in item.raw_attributes() {
        let (name, value) = attribute?;
        match value.raw_text() {
            Some(text) => e.stored_attribute(name, "S", text),
            None => {
                e.stored_key(name);
                encode_stored(value, e)?;
            }
        }
    }
    e.end_map();
    Ok(())
}

/// The same as [`encode_value`] from the stored form.
fn encode_stored(value: StoredValue<'_>, e: &mut dyn Encoder) -> Result<(), Corrupt> {
    e.begin_structure();
    match value.view()? {
        View::S(text) => {
            e.field("S");
            e.text(text);
        }
        View::N(number) => {
            e.field("N");
            number.with_text(|text| e.text(text));
        }
        View::B(bytes) => {
            e.field("B");
            e.bytes(bytes);
        }
        View::Bool(value) => {
            e.field("BOOL");
            e.boolean(value);
        }
        View::Null => {
            e.field("NULL");
            e.boolean(true);
        }
        View::Ss(set) => members("SS", set, e, |member, e| text(member).map(|text| e.text(text)))?,
        View::Ns(set) => {
            members("NS", set, e, |member, e| number(member).map(|number| number.with_text(|text| e.text(text))))?
        }
        View::Bs(set) => members("BS", set, e, |member, e| {
            e.bytes(member);
            Ok(())
        })?,
        View::L(list) => members("L", list, e, |member, e| encode_stored(StoredValue::new(member), e))?,
        View::M(map) => {
            e.field("M");
            encode_attributes(map, e)?;
        }
    }
    e.end_structure();
    Ok(())
}

fn members<'a>(
    name: &'static str,
    members: impl Iterator<Item = Result<&'a [u8], Corrupt>>,
    e: &mut dyn Encoder,
    write: fn(&'a [u8], &mut dyn Encoder) -> Result<(), Corrupt>,
) -> Result<(), Corrupt> {
    e.field(name);
    e.begin_list();
    for member in members {
        write(member?, e)?;
    }
    e.end_list();
    Ok(())
}

#[cfg(test)]
mod tests {
    use headwater_types::{AttributeValue, stored};

    use super::*;
    use crate::json;

    fn example() -> Item {
        let number = |text: &str| text.parse().expect("a number");
        let s = |text: &str| AttributeValue::S(text.to_owned());
        let map = [("k\"".to_owned(), AttributeValue::Null), ("l".to_owned(), AttributeValue::L(vec![s(""), s("b")]))];
        [
            ("b".to_owned(), AttributeValue::B(vec![0, 255])),
            ("bool".to_owned(), AttributeValue::Bool(false)),
            ("bs".to_owned(), AttributeValue::Bs([vec![1], vec![2]].into())),
            ("m".to_owned(), AttributeValue::M(map.into())),
            ("n".to_owned(), AttributeValue::N(number("-1.5e3"))),
            ("ns".to_owned(), AttributeValue::Ns([number("1"), number("0.25")].into())),
            ("s\n".to_owned(), s("text \u{1F600}\t")),
            ("ss".to_owned(), AttributeValue::Ss(["x".to_owned(), "y".to_owned()].into())),
        ]
        .into_iter()
        .collect()
    }

    #[test]
    fn both_forms_are_written_alike() {
        let mut bytes = Vec::new();
        stored::encode(&example(), &mut bytes);
        let answer = AnswerItem::stored(bytes.into());
        let text = json::encode(&answer);
        assert_eq!(
            String::from_utf8_lossy(&text),
            String::from_utf8_lossy(&json::encode(&AnswerItem::from(example())))
        );
        let read: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(read["m"]["M"]["l"]["L"][1]["S"], "b");
        assert_eq!(read.as_object().map(|map| map.len()), Some(8));
    }

    fn is_refused(bytes: &[u8]) -> bool {
        let mut writer = json::Writer::default();
        AnswerItem::stored(bytes.to_vec().into()).encode(&mut writer);
        writer.finish().is_err()
    }

    #[test]
    fn damage_is_told_to_the_writer() {
        let mut bytes = Vec::new();
        stored::encode(&example(), &mut bytes);
        let cut = (0..bytes.len()).filter(|length| is_refused(&bytes[..*length])).count();
        // Cut between two attributes it is a smaller item.
        assert_eq!(cut, bytes.len() - 8);
        let (mut refused, mut flips) = (0, 0);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                assert_eq!(is_refused(&bytes), stored::decode(&bytes).is_err(), "bit {bit} of byte {at}");
                (refused, flips) = (refused + usize::from(is_refused(&bytes)), flips + 1);
                bytes[at] ^= 1 << bit;
            }
        }
        println!("{refused} of {flips} flipped bits are damage that shows");
        assert!(refused > flips / 4 && refused < flips);
    }
}
