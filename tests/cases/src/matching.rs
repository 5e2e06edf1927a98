//! Whether an answer is what a case expects.
//!
//! Texts that begin with `$` match by kind: `$any`, `$absent`, `$string`, `$number`, `$integer`, `$uuid`, `$length n`,
//! `$in A B`, `$like pattern` (`?` one character, `*` any), `$sum name name` (of saved numbers). Sets are compared without
//! regard to order. `{"$data": …}` matches base64 of JSON that matches.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::expand::Names;

/// How objects are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The same members.
    Whole,
    /// At least these members.
    Includes,
}

/// Compares; the error names the place and both sides.
pub fn matches(expected: &Value, actual: Option<&Value>, rule: Rule, names: &Names, path: &str) -> Result<(), String> {
    if let Value::String(text) = expected
        && text.starts_with('$')
    {
        return kind(text, actual, names).map_err(|why| format!("{path}: {why}, found {}", shown(actual)));
    }
    let Some(actual) = actual else { return Err(format!("{path}: missing, expected {}", shown(Some(expected)))) };
    if let Value::Object(members) = expected
        && let (Some(inside), 1) = (members.get("$data"), members.len())
    {
        let decoded = actual.as_str().and_then(|text| STANDARD.decode(text).ok());
        let decoded = decoded.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let decoded: Value = decoded.ok_or_else(|| format!("{path}: no JSON in base64: {}", shown(Some(actual))))?;
        return matches(inside, Some(&decoded), rule, names, &format!("{path}/$data"));
    }
    match (expected, actual) {
        (Value::Object(wanted), Value::Object(found)) => object(wanted, found, rule, names, path),
        (Value::Array(wanted), Value::Array(found)) => {
            if wanted.len() != found.len() {
                return Err(format!("{path}: {} elements expected, found {}", wanted.len(), shown(Some(actual))));
            }
            let mut pairs = wanted.iter().zip(found).enumerate();
            pairs.try_for_each(|(at, (wanted, found))| {
                matches(wanted, Some(found), rule, names, &format!("{path}/{at}"))
            })
        }
        (Value::Number(wanted), Value::Number(found)) if wanted.as_f64() == found.as_f64() => Ok(()),
        _ if expected == actual => Ok(()),
        _ => Err(format!("{path}: expected {}, found {}", shown(Some(expected)), shown(Some(actual)))),
    }
}

/// Whether two lists hold matching elements in any order.
pub fn unordered(wanted: &[Value], found: &[Value], rule: Rule, names: &Names, path: &str) -> Result<(), String> {
    let mut left: Vec<&Value> = found.iter().collect();
    for (at, element) in wanted.iter().enumerate() {
        let place = left.iter().position(|candidate| matches(element, Some(candidate), rule, names, path).is_ok());
        match place {
            Some(place) => drop(left.swap_remove(place)),
            None => return Err(format!("{path}/{at}: {} is not among {}", shown(Some(element)), shown_list(found))),
        }
    }
    if left.is_empty() { Ok(()) } else { Err(format!("{path}: {} elements too many", left.len())) }
}

fn object(
    wanted: &Map<String, Value>,
    found: &Map<String, Value>,
    rule: Rule,
    names: &Names,
    path: &str,
) -> Result<(), String> {
    if let Some(too_many) = found.keys().find(|name| rule == Rule::Whole && !wanted.contains_key(*name)) {
        return Err(format!("{path}/{too_many}: not expected, found {}", shown(found.get(too_many))));
    }
    for (name, value) in wanted {
        let place = format!("{path}/{name}");
        match (value, found.get(name)) {
            (Value::Array(wanted), Some(Value::Array(found))) if matches!(name.as_str(), "SS" | "NS" | "BS") => {
                unordered(wanted, found, rule, names, &place)?;
            }
            (value, found) => matches(value, found, rule, names, &place)?,
        }
    }
    Ok(())
}

fn kind(text: &str, actual: Option<&Value>, names: &Names) -> Result<(), String> {
    let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
    let as_text = actual.and_then(Value::as_str);
    let fits = match kind {
        "$any" => actual.is_some(),
        "$absent" => actual.is_none(),
        "$string" => as_text.is_some_and(|text| !text.is_empty()),
        "$number" => actual.is_some_and(Value::is_number),
        "$integer" => actual.and_then(Value::as_f64).is_some_and(|number| number.fract() == 0.0),
        "$uuid" => as_text.is_some_and(|text| like("????????-????-????-????-????????????", text)),
        "$length" => actual.and_then(Value::as_array).is_some_and(|list| list.len().to_string() == rest),
        "$in" => as_text.is_some_and(|text| rest.split(' ').any(|one| one == text)),
        "$like" => as_text.is_some_and(|text| like(rest, text)),
        "$sum" => {
            let number = |name: &str| names.get(name).and_then(Value::as_f64);
            let sum = rest.split(' ').map(number).sum::<Option<f64>>();
            sum.is_some() && actual.and_then(Value::as_f64) == sum
        }
        unknown => return Err(format!("{unknown} is neither a saved name nor a kind")),
    };
    if fits { Ok(()) } else { Err(format!("{text} expected")) }
}

fn like(pattern: &str, text: &str) -> bool {
    let mut pattern = pattern.chars();
    match pattern.next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = pattern.as_str();
            text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| like(rest, &text[at..]))
        }
        Some(one) => {
            let mut text = text.chars();
            text.next().is_some_and(|found| (one == '?' || one == found) && like(pattern.as_str(), text.as_str()))
        }
    }
}

fn shown(value: Option<&Value>) -> String {
    let text = value.map_or_else(|| "nothing".to_owned(), Value::to_string);
    if text.chars().count() > 300 { text.chars().take(300).chain("…".chars()).collect() } else { text }
}

fn shown_list(values: &[Value]) -> String {
    shown(Some(&Value::Array(values.to_vec())))
}
