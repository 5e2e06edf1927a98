//! What is replaced in a case before it is sent or compared.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Names and what they stand for.
pub type Names = BTreeMap<String, Value>;

/// Replaces generators and names.
pub fn expand(value: &Value, names: &Names) -> Value {
    match value {
        Value::String(text) => substitute(text, names),
        Value::Array(elements) => elements.iter().map(|element| expand(element, names)).collect(),
        Value::Object(members) => generated(members, names).unwrap_or_else(|| {
            let entry = |(name, value): (&String, &Value)| (text(substitute(name, names)), expand(value, names));
            Value::Object(members.iter().map(entry).collect())
        }),
        other => other.clone(),
    }
}

fn generated(members: &Map<String, Value>, names: &Names) -> Option<Value> {
    let (name, parameters) = members.iter().next()?;
    let parameters = parameters.as_array()?;
    match name.as_str() {
        "$repeat" => {
            let count = usize::try_from(parameters.get(1)?.as_u64()?).ok()?;
            Some(json!(parameters.first()?.as_str()?.repeat(count)))
        }
        "$list" => {
            let count = parameters.first()?.as_u64()?;
            let template = parameters.get(1)?;
            let element = |index: u64| {
                let mut inner = names.clone();
                inner.insert("i".to_owned(), json!(index.to_string()));
                expand(template, &inner)
            };
            Some((0..count).map(element).collect())
        }
        "$nest" => {
            let mut value = expand(parameters.get(2)?, names);
            for _ in 0..parameters.first()?.as_u64()? {
                value = json!({ parameters.get(1)?.as_str()?: [value] });
            }
            Some(value)
        }
        _ => None,
    }
}

/// A name alone becomes its value, whatever its type; inside a text it becomes text. Longest names first.
fn substitute(template: &str, names: &Names) -> Value {
    if let Some(value) = template.strip_prefix('$').and_then(|name| names.get(name)) {
        return value.clone();
    }
    let mut out = template.to_owned();
    let mut by_length: Vec<(&String, &Value)> = names.iter().collect();
    by_length.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    for (name, value) in by_length {
        if let Some(text) = value.as_str() {
            out = out.replace(&format!("${name}"), text);
        }
    }
    Value::String(out)
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}
