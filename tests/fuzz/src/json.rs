//! JSON that may be wrong: names twice, lone surrogates, numbers no parser likes; and changes of it.

use serde_json::Value;

use crate::dice::Dice;
use crate::{expressions, numbers};

/// One place of a body.
#[derive(Clone, Debug)]
pub enum Node {
    /// Written as it is.
    Raw(String),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Node>),
    /// An object; names may stand twice.
    Map(Vec<(String, Node)>),
}

impl From<&Value> for Node {
    fn from(value: &Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(list) => Self::List(list.iter().map(Self::from).collect()),
            Value::Object(map) => {
                Self::Map(map.iter().map(|(name, value)| (name.clone(), Self::from(value))).collect())
            }
            other => Self::Raw(other.to_string()),
        }
    }
}

impl Node {
    /// Places in it, itself included.
    pub fn places(&self) -> usize {
        1 + match self {
            Self::Raw(_) | Self::Text(_) => 0,
            Self::List(list) => list.iter().map(Self::places).sum(),
            Self::Map(map) => map.iter().map(|(_, node)| node.places()).sum(),
        }
    }

    /// A place by number, with the name it has in the object around it.
    pub fn place(&mut self, mut number: usize, name: &str) -> Option<(&mut Self, String)> {
        if number == 0 {
            return Some((self, name.to_owned()));
        }
        number -= 1;
        let children: Vec<(&str, &mut Self)> = match self {
            Self::Raw(_) | Self::Text(_) => Vec::new(),
            Self::List(list) => list.iter_mut().map(|node| (name, node)).collect(),
            Self::Map(map) => map.iter_mut().map(|(name, node)| (name.as_str(), node)).collect(),
        };
        for (name, child) in children {
            let places = child.places();
            if number < places {
                return child.place(number, name);
            }
            number -= places;
        }
        None
    }

    /// Writes it.
    pub fn write(&self, into: &mut String) {
        match self {
            Self::Raw(text) => into.push_str(text),
            Self::Text(text) => into.push_str(&Value::from(text.as_str()).to_string()),
            Self::List(list) => {
                into.push('[');
                for (at, node) in list.iter().enumerate() {
                    into.push_str(if at == 0 { "" } else { "," });
                    node.write(into);
                }
                into.push(']');
            }
            Self::Map(map) => {
                into.push('{');
                for (at, (name, node)) in map.iter().enumerate() {
                    into.push_str(if at == 0 { "" } else { "," });
                    into.push_str(&Value::from(name.as_str()).to_string());
                    into.push(':');
                    node.write(into);
                }
                into.push('}');
            }
        }
    }
}

/// What other bodies offer: members by name, and texts.
pub struct Parts<'p> {
    /// Members of all requests.
    pub members: &'p [(String, Value)],
    /// Expression texts.
    pub expressions: &'p expressions::Seeds,
}

/// Kinds of change, as counted.
pub const CHANGES: [&str; 12] = [
    "drop",
    "duplicate",
    "retype",
    "borrow",
    "add a member",
    "rename",
    "nest",
    "stretch",
    "number",
    "expression",
    "base64",
    "bytes",
];

/// Changes a body in one place; says which kind of change it was.
pub fn change(dice: &mut Dice, body: &mut Node, parts: &Parts<'_>) -> usize {
    let number = dice.below(body.places());
    let Some((node, name)) = body.place(number, "") else { return 0 };
    let kind = match (&*node, name.as_str()) {
        (Node::Text(_), name) if name.ends_with("Expression") && dice.percent(70) => 9,
        (Node::Text(_), "N" | "NS") if dice.percent(60) => 8,
        (Node::Text(_), "B" | "BS") if dice.percent(60) => 10,
        (Node::Text(_), _) => [2, 3, 3, 3, 3, 6, 7, 7, 8][dice.below(9)],
        (Node::Raw(_), _) => [2, 2, 3, 3, 3, 6][dice.below(6)],
        (Node::List(_), _) => [0, 0, 1, 1, 2, 3, 3, 6][dice.below(8)],
        (Node::Map(_), _) => [0, 0, 0, 1, 2, 3, 4, 4, 4, 5, 6][dice.below(11)],
    };
    match kind {
        0 | 1 => edit(dice, node, kind == 0),
        2 => *node = leaf(dice),
        3 => *node = borrowed(dice, &name, parts),
        4 => {
            if let Node::Map(map) = node {
                let (name, value) = dice.one(parts.members);
                map.push((name.clone(), Node::from(value)));
            } else {
                *node = leaf(dice);
            }
        }
        5 => rename(dice, node, parts),
        6 => nest(dice, node),
        7 => *node = Node::Text(stretched(dice)),
        8 => *node = Node::Text(numbers::text(dice)),
        9 => {
            if let Node::Text(text) = node {
                *text =
                    if dice.percent(60) { parts.expressions.changed(dice, text) } else { parts.expressions.text(dice) };
            }
        }
        _ => {
            let bad = ["=", "A", "AA=A", "!!!!", "AAA", "AA==AA==", " AAA=", "AA-_", "AAAB=", "\n", "é"];
            *node = Node::Text(dice.pick(&bad).to_owned());
        }
    }
    kind
}

fn edit(dice: &mut Dice, node: &mut Node, drops: bool) {
    match node {
        Node::List(list) if !list.is_empty() => {
            let at = dice.below(list.len());
            if drops {
                list.remove(at);
            } else {
                let times = [1, 2, 25, 101][dice.below(4)];
                list.extend(std::iter::repeat_n(list[at].clone(), times));
            }
        }
        Node::Map(map) if !map.is_empty() => {
            let at = dice.below(map.len());
            if drops {
                map.remove(at);
            } else {
                map.push(map[at].clone());
            }
        }
        other => *other = leaf(dice),
    }
}

/// A leaf or a small tree of any type.
fn leaf(dice: &mut Dice) -> Node {
    let raw = [
        "null",
        "true",
        "false",
        "0",
        "-1",
        "1",
        "1e400",
        "-0.0",
        "1.5",
        "99999999999999999999",
        "9223372036854775808",
        "-9223372036854775809",
        "2147483648",
        "\"\"",
        "[]",
        "{}",
        "[null]",
        "{\"\":null}",
        "\"\\ud800\"",
        "\"\\u0000\"",
        "{\"S\":\"x\"}",
        "{\"N\":\"1\"}",
        "{\"S\":\"x\",\"N\":\"1\"}",
        "{\"L\":[]}",
        "{\"M\":{}}",
        "{\"NULL\":false}",
        "{\"SS\":[]}",
        "{\"SS\":[\"a\",\"a\"]}",
        "{\"BOOL\":\"true\"}",
        "{\"B\":\"AA\"}",
        "[[[]]]",
        "\"$table\"",
        "1E5",
    ];
    Node::Raw(dice.pick(&raw).to_owned())
}

/// A member of the same name from another request, if there is one.
fn borrowed(dice: &mut Dice, name: &str, parts: &Parts<'_>) -> Node {
    let same: Vec<&Value> = parts.members.iter().filter(|(other, _)| other == name).map(|(_, value)| value).collect();
    if same.is_empty() || dice.percent(20) {
        Node::from(&dice.one(parts.members).1)
    } else {
        Node::from(*dice.one(&same))
    }
}

fn rename(dice: &mut Dice, node: &mut Node, parts: &Parts<'_>) {
    if let Node::Map(map) = node
        && !map.is_empty()
    {
        let at = dice.below(map.len());
        map[at].0 = match dice.below(4) {
            0 => stretched(dice),
            1 => map[at].0.to_lowercase(),
            _ => dice.one(parts.members).0.clone(),
        };
    } else {
        *node = leaf(dice);
    }
}

fn nest(dice: &mut Dice, node: &mut Node) {
    let deep = [1, 2, 30, 31, 32, 33, 64, 127, 128, 129, 256, 257, 3_000][dice.below(13)];
    let (open, close) = [("[", "]"), ("{\"a\":", "}"), ("{\"L\":[", "]}"), ("{\"M\":{\"a\":", "}}")][dice.below(4)];
    let mut text = open.repeat(deep);
    node.write(&mut text);
    text.push_str(&close.repeat(deep));
    *node = Node::Raw(text);
}

fn stretched(dice: &mut Dice) -> String {
    let lengths =
        [0_usize, 1, 2, 3, 36, 37, 255, 256, 257, 1_024, 1_025, 2_048, 2_049, 4_096, 4_097, 65_535, 65_536, 409_600];
    let usual = if dice.percent(90) { 15 } else { lengths.len() };
    let length = lengths[dice.below(usual)];
    let unit = dice.pick(&["x", "x", "x", "é", "\u{10ffff}", "\0", "\"", "a.b", ":", "#", "/"]);
    unit.repeat(length.div_ceil(unit.len()))
}

/// Damages the bytes of a body: cut, flipped, not UTF-8, followed by more.
pub fn damage(dice: &mut Dice, body: &mut Vec<u8>) {
    let at = dice.below(body.len() + 1);
    match dice.below(6) {
        0 => body.truncate(at),
        1 => {
            if let Some(byte) = body.get_mut(at) {
                *byte ^= 1 << dice.below(8);
            }
        }
        2 => {
            drop(body.splice(
                at..at,
                dice.pick(&[&b"\xff"[..], b"\xc3", b"\xed\xa0\x80", b"\xf8\x88", b"\0"]).iter().copied(),
            ))
        }
        3 => drop(
            body.splice(at..at, dice.pick(&[&b"\""[..], b"{", b"}", b"[", b"]", b",", b":", b"\\"]).iter().copied()),
        ),
        4 => body.extend_from_slice(dice.pick(&[&b" "[..], b"{}", b"]", b"\0", b"garbage"])),
        _ => body.insert(0, *dice.one(b"\xef\x00{[x ")),
    }
}
