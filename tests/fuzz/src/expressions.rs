//! Expression texts: grown from the grammar, and grown out of the texts of the cases.

use std::collections::BTreeMap;
use std::path::Path;

use headwater_expression::{Condition, KeyCondition, KeyNames, Kind, Projection, Substitutions, Update};
use headwater_types::{AttributeValue, Item};
use serde_json::Value;

use crate::dice::Dice;
use crate::values;

const FILES: [&str; 4] = ["conditions", "updates", "projections", "key_conditions"];

/// Texts above this are not changed any further: changes multiply. Unit: bytes.
const TEXT_BYTES_MAX: usize = 6_000;

/// What was drawn.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counts {
    /// Texts, each read as one kind of expression.
    pub texts: u64,
    /// Texts that are bound, by kind: condition, update, projection, key condition.
    pub bound: [u64; 4],
    /// Bound ones that were evaluated.
    pub evaluated: u64,
    /// Updates that the item refuses.
    pub refused_updates: u64,
}

/// The texts of the cases with the values and items that they are about.
pub struct Seeds {
    texts: Vec<String>,
    values: Vec<(String, AttributeValue)>,
    items: Vec<Item>,
}

impl Seeds {
    /// Reads the cases of the expression room.
    pub fn read() -> Result<Self, String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/expression/tests/cases");
        let mut seeds = Self { texts: Vec::new(), values: Vec::new(), items: vec![Item::default()] };
        for file in FILES {
            let path = folder.join(file).with_extension("json");
            let text = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            let content: Value =
                serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?;
            let objects = |value: &Value| value.as_object().cloned().unwrap_or_default();
            seeds.items.extend(objects(&content["items"]).values().filter_map(values::item));
            for case in content["cases"].as_array().into_iter().flatten() {
                let texts = case["texts"].as_array().into_iter().flatten();
                seeds.texts.extend(texts.filter_map(|text| text.as_str().map(str::to_owned)));
                let bound = objects(&case["values"]);
                seeds
                    .values
                    .extend(bound.iter().filter_map(|(name, value)| Some((name.clone(), values::read(value)?))));
            }
        }
        Ok(seeds)
    }

    /// How many texts there are.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// A text: grown, or changed from one of the cases'.
    pub fn text(&self, dice: &mut Dice) -> String {
        let mut text = if dice.percent(40) { grown(dice) } else { dice.one(&self.texts).clone() };
        for _ in 0..[0, 0, 1, 1, 2, 3, 8][dice.below(7)] {
            text = self.changed(dice, &text);
        }
        text
    }

    /// One change of a text, token by token or byte by byte.
    pub fn changed(&self, dice: &mut Dice, text: &str) -> String {
        let mut tokens = tokens(text);
        if tokens.is_empty() || text.len() > TEXT_BYTES_MAX {
            return grown(dice);
        }
        let at = dice.below(tokens.len());
        match dice.below(11) {
            0 => drop(tokens.remove(at)),
            1 => tokens.insert(at, tokens[at].clone()),
            2 => tokens.insert(at, dice.pick(&VOCABULARY).to_owned()),
            3 => tokens[at] = dice.pick(&VOCABULARY).to_owned(),
            4 => {
                let other = dice.below(tokens.len());
                tokens.swap(at, other);
            }
            5 => tokens.truncate(at),
            6 => {
                let other = dice.one(&self.texts);
                let (head, tail) = (tokens.drain(..at).collect::<String>(), self::tokens(other));
                return head + &tail[dice.below(tail.len().max(1)).min(tail.len())..].concat();
            }
            7 => {
                let deep = [1, 2, 20, 319, 320, 321, 2_000][dice.below(7)];
                return format!("{}{text}{}", "(".repeat(deep), ")".repeat(deep));
            }
            8 => {
                let glue = dice.pick(&[" AND ", " OR ", ", ", " + ", ".", " IN ", " BETWEEN "]);
                let times = [2, 3, 50, 300, 301][dice.below(5)].min(2 * TEXT_BYTES_MAX / text.len());
                return vec![text; times.max(2)].join(glue);
            }
            9 => {
                let one = dice.pick(&["é", "\0", "\u{10ffff}", "'", "\"", "\\", "\u{a0}", "\n", "-", "[", "]", "%"]);
                tokens.insert(at, one.to_owned());
            }
            _ => tokens[at] = if dice.percent(50) { tokens[at].to_uppercase() } else { tokens[at].to_lowercase() },
        }
        tokens.concat()
    }

    fn substitutions(&self, dice: &mut Dice, text: &str) -> Result<Substitutions, headwater_expression::Error> {
        let mut values: BTreeMap<String, AttributeValue> = BTreeMap::new();
        let mut names = BTreeMap::new();
        for token in tokens(text) {
            // Now and then one is missing.
            if dice.percent(3) {
                continue;
            }
            if token.starts_with(':') && token.len() > 1 {
                let drawn = if dice.percent(60) { dice.one(&self.values).1.clone() } else { values::any(dice, 3) };
                values.insert(token, drawn);
            } else if token.starts_with('#') && token.len() > 1 {
                names.insert(token, dice.pick(&["p", "s", "n", "l", "m", "a.b", "size", "é"]).to_owned());
            }
        }
        let given = |is_empty: bool| !is_empty;
        let names = given(names.is_empty()).then_some(names);
        let values = given(values.is_empty()).then_some(values);
        Substitutions::new(names, values)
    }
}

/// Draws a text, reads it as every kind of expression, and uses what comes of it.
pub fn round(dice: &mut Dice, seeds: &Seeds, counts: &mut Counts) -> Result<(), String> {
    let text = seeds.text(dice);
    let Ok(substitutions) = seeds.substitutions(dice, &text) else { return Ok(()) };
    let item = dice.one(&seeds.items);
    counts.texts += 1;
    as_condition(dice, &text, &mut substitutions.clone(), item, counts)?;
    as_update(&text, &mut substitutions.clone(), item, counts);
    as_projection(&text, &mut substitutions.clone(), item, counts)?;
    as_key_condition(dice, &text, &mut substitutions.clone(), counts);
    drop(substitutions.unused());
    Ok(())
}

fn as_condition(
    dice: &mut Dice,
    text: &str,
    substitutions: &mut Substitutions,
    item: &Item,
    counts: &mut Counts,
) -> Result<(), String> {
    let kind = [Kind::Condition, Kind::Filter][dice.below(2)];
    let Ok(condition) = Condition::parse(kind, text, substitutions) else { return Ok(()) };
    counts.bound[0] += 1;
    counts.evaluated += 1;
    condition.paths(&mut |path| drop(path.to_string()));
    let (once, again) = (condition.evaluate(item), condition.evaluate(item));
    if once == again { Ok(()) } else { Err(format!("{text:?} is both true and false")) }
}

fn as_update(text: &str, substitutions: &mut Substitutions, item: &Item, counts: &mut Counts) {
    let Ok(update) = Update::parse(text, substitutions) else { return };
    counts.bound[1] += 1;
    match update.apply(item, true) {
        Ok(new) => {
            counts.evaluated += 1;
            drop((update.touched().apply(&new), update.touched().apply(item)));
        }
        Err(_) => counts.refused_updates += 1,
    }
}

fn as_projection(
    text: &str,
    substitutions: &mut Substitutions,
    item: &Item,
    counts: &mut Counts,
) -> Result<(), String> {
    let Ok(projection) = Projection::parse(text, substitutions) else { return Ok(()) };
    counts.bound[2] += 1;
    counts.evaluated += 1;
    let shown = projection.apply(item);
    if shown.size_bytes() <= item.size_bytes() { Ok(()) } else { Err(format!("{text:?} shows more than there is")) }
}

fn as_key_condition(dice: &mut Dice, text: &str, substitutions: &mut Substitutions, counts: &mut Counts) {
    let Ok(condition) = KeyCondition::parse(text, substitutions) else { return };
    counts.bound[3] += 1;
    let keys = KeyNames {
        hash: &[("p", "S"), ("q", "S")][..1 + usize::from(dice.percent(10))],
        range: &[("c", "N"), ("d", "S"), ("e", "B")][..[0, 1, 1, 1, 3][dice.below(5)]],
    };
    let Ok(query) = condition.against(&keys) else { return };
    counts.evaluated += 1;
    let _ = query.range.map(|range| range.values().into_iter().filter(|value| range.accepts(value)).count());
}

const VOCABULARY: [&str; 52] = [
    "SET",
    "REMOVE",
    "ADD",
    "DELETE",
    "AND",
    "OR",
    "NOT",
    "IN",
    "BETWEEN",
    "attribute_exists",
    "attribute_not_exists",
    "attribute_type",
    "begins_with",
    "contains",
    "size",
    "if_not_exists",
    "list_append",
    "(",
    ")",
    "[",
    "]",
    "[0]",
    "[99999999999]",
    ",",
    ".",
    "=",
    "<>",
    "<",
    "<=",
    ">",
    ">=",
    "+",
    "-",
    ":v",
    ":p",
    ":",
    "#n",
    "#",
    "a",
    "l",
    "m.x",
    "p",
    "name",
    "size(",
    "0",
    "1.5",
    " ",
    "",
    "#n.#n",
    "l[1].a",
    "a.b.c.d",
    "_a-b",
];

/// Words, placeholders and single signs; joined again they are the text.
pub fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '#' | ':');
    for c in text.chars() {
        match tokens.last_mut() {
            Some(last) if word(c) && !matches!(c, '#' | ':') && last.chars().all(word) => last.push(c),
            _ => tokens.push(c.to_string()),
        }
    }
    tokens
}

/// A text that some grammar of the four makes.
pub fn grown(dice: &mut Dice) -> String {
    match dice.below(4) {
        0 => condition(dice, 4),
        1 => update(dice),
        2 => (0..=dice.below(4)).map(|_| path(dice)).collect::<Vec<_>>().join(", "),
        _ => match dice.below(4) {
            0 => "p = :p".to_owned(),
            1 => format!("p = :p AND c {} :c", dice.pick(&["=", "<", "<=", ">", ">=", "<>"])),
            2 => "c BETWEEN :a AND :b AND p = :p".to_owned(),
            _ => "p = :p and begins_with(c, :c)".to_owned(),
        },
    }
}

fn path(dice: &mut Dice) -> String {
    let mut path = dice.pick(&["p", "s", "n", "l", "m", "ss", "#a", "#b", "zz", "e"]).to_owned();
    for _ in 0..[0, 0, 0, 1, 2, 35][dice.below(6)] {
        match dice.below(3) {
            0 => path.push_str(dice.pick(&["[0]", "[1]", "[2]", "[4294967296]"])),
            _ => path.push_str(dice.pick(&[".x", ".y", ".#a", ".z"])),
        }
    }
    path
}

fn operand(dice: &mut Dice) -> String {
    match dice.below(5) {
        0 | 1 => path(dice),
        2 => format!("size({})", path(dice)),
        _ => dice.pick(&[":a", ":b", ":c", ":v"]).to_owned(),
    }
}

fn condition(dice: &mut Dice, depth: usize) -> String {
    if depth > 0 && dice.percent(45) {
        let left = condition(dice, depth - 1);
        return match dice.below(4) {
            0 => format!("({left})"),
            1 => format!("NOT {left}"),
            2 => format!("{left} AND {}", condition(dice, depth - 1)),
            _ => format!("{left} OR {}", condition(dice, depth - 1)),
        };
    }
    match dice.below(8) {
        0 => format!("attribute_exists({})", path(dice)),
        1 => format!("attribute_not_exists({})", path(dice)),
        2 => format!("attribute_type({}, :t)", path(dice)),
        3 => format!("begins_with({}, {})", path(dice), operand(dice)),
        4 => format!("contains({}, {})", operand(dice), operand(dice)),
        5 => format!("{} BETWEEN {} AND {}", operand(dice), operand(dice), operand(dice)),
        6 => {
            let among: Vec<String> = (0..[1, 2, 100, 101][dice.below(4)]).map(|_| operand(dice)).collect();
            format!("{} IN ({})", operand(dice), among.join(", "))
        }
        _ => format!("{} {} {}", operand(dice), dice.pick(&["=", "<>", "<", "<=", ">", ">="]), operand(dice)),
    }
}

fn update(dice: &mut Dice) -> String {
    let mut sections = Vec::new();
    for section in ["SET", "REMOVE", "ADD", "DELETE"] {
        if dice.percent(40) {
            let actions: Vec<String> = (0..=dice.below(3)).map(|_| action(dice, section)).collect();
            sections.push(format!("{section} {}", actions.join(", ")));
        }
    }
    sections.join(" ")
}

fn action(dice: &mut Dice, section: &str) -> String {
    let target = path(dice);
    match section {
        "SET" => match dice.below(5) {
            0 => format!("{target} = {} + {}", operand(dice), operand(dice)),
            1 => format!("{target} = {} - :v", path(dice)),
            2 => format!("{target} = if_not_exists({}, :v)", path(dice)),
            3 => format!("{target} = list_append({}, {})", operand(dice), operand(dice)),
            _ => format!("{target} = :v"),
        },
        "REMOVE" => target,
        _ => format!("{target} :v"),
    }
}
