//! How a violation shows the value and its place.

use super::Step;
use crate::document::{Document, find};
use crate::schema::{Kind, Shape};

/// Longest value that a message repeats; the service repeats any, we bound what a refused 16 MiB request costs.
/// Unit: bytes.
const SHOWN_BYTES_MAX: usize = 64 * 1024;

/// `requestItems.Music.member.1.member.putRequest`: members with a small first letter, elements and entries as `member`.
pub fn path(steps: &[Step<'_>]) -> String {
    let mut out = String::new();
    for step in steps {
        if !out.is_empty() {
            out.push('.');
        }
        match step {
            Step::Member(name) => lower_first(name, &mut out),
            Step::Element(index) => out.push_str(&format!("{}.member", index + 1)),
            Step::Entry(key) => out.extend([key, ".member"]),
        }
    }
    out
}

/// ` '{value}'`, or nothing for blobs and what the model calls sensitive (the service then says `Value at`).
pub fn value(value: &Document<'_>, shape: &'static Shape) -> String {
    if shape.sensitive || matches!(value, Document::Bytes(_)) {
        return String::new();
    }
    let mut out = String::from(" '");
    // A list's violation may come with its element's shape; the list itself says what it is.
    show(value, shape, &mut out);
    if out.len() > SHOWN_BYTES_MAX {
        let end = (0..=SHOWN_BYTES_MAX).rev().find(|at| out.is_char_boundary(*at)).unwrap_or(0);
        out.truncate(end);
    }
    out.push('\'');
    out
}

/// As Java prints it: `[a, b]`, `{k=v}`, `KeySchemaElement(attributeName=a, keyType=HASH)`.
/// Source: kinesalite's validations for lists and maps; the form of structures is not checked.
fn show(value: &Document<'_>, shape: &'static Shape, out: &mut String) {
    if out.len() > SHOWN_BYTES_MAX {
        return;
    }
    match (value, shape.kind) {
        (Document::Null, _) => out.push_str("null"),
        (Document::Bool(value), _) => out.push_str(&value.to_string()),
        (Document::Integer(value), _) => out.push_str(&value.to_string()),
        (Document::Decimal(text) | Document::Text(text), _) => out.push_str(text),
        (Document::Bytes(bytes), _) => {
            out.push_str(&format!("java.nio.HeapByteBuffer[pos=0 lim={0} cap={0}]", bytes.len()));
        }
        (Document::Instant(at), _) => out.push_str(&at.0.to_string()),
        (Document::List(elements), kind) => {
            let inner = if let Kind::List(inner) = kind { inner } else { shape };
            out.push('[');
            for (index, element) in elements.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                show(element, inner, out);
            }
            out.push(']');
        }
        (Document::Tagged(..), _) => {
            let mut map = value.clone();
            map.untag();
            show(&map, shape, out);
        }
        (Document::Map(entries), Kind::Structure(members) | Kind::AttributeValue(members)) => {
            out.push_str(shape.name);
            out.push('(');
            for (index, member) in members.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                lower_first(member.name, out);
                out.push('=');
                show(find(entries, member.name).unwrap_or(&Document::Null), member.shape, out);
            }
            out.push(')');
        }
        (Document::Map(entries), kind) => {
            let inner = if let Kind::Map(_, inner) = kind { inner } else { shape };
            out.push('{');
            for (index, (key, value)) in entries.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                out.push_str(key);
                out.push('=');
                show(value, inner, out);
            }
            out.push('}');
        }
    }
}

fn lower_first(name: &str, out: &mut String) {
    let mut letters = name.chars();
    out.extend(letters.next().into_iter().flat_map(char::to_lowercase));
    out.push_str(letters.as_str());
}
