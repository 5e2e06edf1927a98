//! Attribute values: as the expression cases write them, and drawn.

use headwater_types::{AttributeValue, Item};
use serde_json::Value;

use crate::dice::Dice;
use crate::numbers;

/// Reads a value of an expression case; binaries are in hexadecimal digits there. `None` when it is no value.
pub fn read(value: &Value) -> Option<AttributeValue> {
    let (code, payload) = value.as_object()?.iter().next()?;
    let text = || payload.as_str().map(str::to_owned);
    let list = || payload.as_array().map(|list| list.iter());
    let texts = || list().map(|list| list.filter_map(|one| one.as_str().map(str::to_owned)));
    Some(match code.as_str() {
        "S" => AttributeValue::S(text()?),
        "N" => AttributeValue::N(text()?.parse().ok()?),
        "B" => AttributeValue::B(text()?.into_bytes()),
        "BOOL" => AttributeValue::Bool(payload == true),
        "NULL" => AttributeValue::Null,
        "SS" => AttributeValue::Ss(texts()?.collect()),
        "NS" => AttributeValue::Ns(texts()?.filter_map(|text| text.parse().ok()).collect()),
        "BS" => AttributeValue::Bs(texts()?.map(String::into_bytes).collect()),
        "L" => AttributeValue::L(list()?.filter_map(read).collect()),
        "M" => AttributeValue::M(item(payload)?.0),
        _ => return None,
    })
}

/// Reads an item of an expression case.
pub fn item(value: &Value) -> Option<Item> {
    value.as_object()?.iter().map(|(name, value)| Some((name.clone(), read(value)?))).collect()
}

/// Any value, at most `depth` lists and maps deep.
pub fn any(dice: &mut Dice, depth: usize) -> AttributeValue {
    match dice.below(if depth == 0 { 8 } else { 10 }) {
        0 => AttributeValue::S(dice.pick(&["", "a", "hello", "é", "\0"]).to_owned()),
        1 => AttributeValue::N(numbers::text(dice).parse().unwrap_or_default()),
        2 => AttributeValue::B(vec![dice.below(256) as u8; dice.below(4)]),
        3 => AttributeValue::Bool(dice.percent(50)),
        4 => AttributeValue::Null,
        5 => AttributeValue::Ss(["a".to_owned(), "b".to_owned()].into()),
        6 => AttributeValue::Ns([1.into(), numbers::text(dice).parse().unwrap_or_default()].into()),
        7 => AttributeValue::Bs([vec![], vec![1, 2]].into()),
        8 => AttributeValue::L((0..dice.below(4)).map(|_| any(dice, depth - 1)).collect()),
        _ => {
            let names = ["a", "b", "c"].into_iter().take(dice.below(4));
            AttributeValue::M(names.map(|name| (name.to_owned(), any(dice, depth - 1))).collect())
        }
    }
}
