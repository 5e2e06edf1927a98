//! Expression cases as data: text, names, values and item in, result or the service's whole error text out.
//!
//! Each file holds named items and cases; a case has one or more texts that must all give the same, and a source: the
//! public test suite or page that the behaviour comes from, or `unverified` for what is only believed. Where a source
//! records that the service refuses something but not its whole text, the text is put together from the same wording.

use std::collections::BTreeMap;

use headwater_expression::operand::Missing;
use headwater_expression::{
    Condition, KeyCondition, KeyNames, Kind, Projection, RangeCondition, Substitutions, Update,
};
use headwater_types::stored::{self, StoredItem};
use headwater_types::{AttributeValue, Item, Number};
use serde_json::Value;

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().expect("a list").iter().map(|member| member.as_str().expect("a string"))
}

/// Binaries are written in hexadecimal digits here.
fn binary(text: &str) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).expect("a hexadecimal digit") as u8;
    text.as_bytes().chunks(2).map(|pair| pair.iter().fold(0, |sum, byte| sum * 16 + digit(byte))).collect()
}

fn attribute_value(value: &Value) -> AttributeValue {
    let (code, payload) = value.as_object().and_then(|object| object.iter().next()).expect("a typed value");
    let text = || payload.as_str().expect("a string").to_owned();
    match code.as_str() {
        "S" => AttributeValue::S(text()),
        "N" => AttributeValue::N(text().parse().expect("a number")),
        "B" => AttributeValue::B(binary(&text())),
        "BOOL" => AttributeValue::Bool(payload == true),
        "NULL" => AttributeValue::Null,
        "SS" => AttributeValue::Ss(strings(payload).map(str::to_owned).collect()),
        "NS" => AttributeValue::Ns(strings(payload).map(|n| n.parse().expect("a number")).collect()),
        "BS" => AttributeValue::Bs(strings(payload).map(binary).collect()),
        "L" => AttributeValue::L(payload.as_array().expect("a list").iter().map(attribute_value).collect()),
        "M" => AttributeValue::M(item(payload).0),
        other => panic!("no type code: {other}"),
    }
}

fn item(value: &Value) -> Item {
    let members = value.as_object().expect("an object").iter();
    members.map(|(name, value)| (name.clone(), attribute_value(value))).collect()
}

/// One text of a case.
struct Case<'a> {
    text: &'a str,
    fields: &'a Value,
    items: &'a Value,
}

impl Case<'_> {
    fn substitutions(&self) -> Substitutions {
        let names = self.fields["names"].as_object().map(|names| {
            let pairs = names.iter().map(|(k, v)| (k.clone(), v.as_str().expect("a name").to_owned()));
            pairs.collect::<BTreeMap<_, _>>()
        });
        let values = self.fields.get("values").map(|values| item(values).0);
        Substitutions::new(names, values).unwrap_or_else(|error| panic!("{}: {error}", self.text))
    }

    /// The item of the case; `None` when there is none in the table.
    fn item(&self) -> Option<Item> {
        match &self.fields["item"] {
            Value::Null => None,
            Value::String(name) => Some(item(&self.items[name])),
            given => Some(item(given)),
        }
    }
}

/// Runs every text of a file; returns how many ran. Each result is compared with the one expected, both as text.
fn run(file: &str, check: impl Fn(&Case<'_>) -> Result<String, String>) -> usize {
    let data: Value = serde_json::from_str(file).expect("a file of cases");
    let (mut count, mut failures) = (0, Vec::new());
    for fields in data["cases"].as_array().expect("cases") {
        assert!(fields["source"].is_string(), "a case without a source: {fields}");
        for text in strings(&fields["texts"]) {
            count += 1;
            let case = Case { text, fields, items: &data["items"] };
            let expected = fields["error"].as_str();
            match (check(&case), expected) {
                (Ok(wrong), None) if wrong.is_empty() => {}
                (Err(error), Some(expected)) if error == expected => {}
                (found, _) => failures.push(format!("{text}\n  found    {found:?}\n  expected {fields}")),
            }
        }
    }
    assert!(failures.is_empty(), "{} of {count} failed:\n{}", failures.len(), failures.join("\n"));
    count
}

/// An empty text when both are equal.
fn difference<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> String {
    if found == expected { String::new() } else { format!("{what}: {found:?} is not {expected:?}; ") }
}

fn condition(case: &Case<'_>) -> Result<String, String> {
    let kind = if case.fields["kind"] == "Filter" { Kind::Filter } else { Kind::Condition };
    let condition = Condition::parse(kind, case.text, &mut case.substitutions()).map_err(|error| error.message)?;
    let Some(item) = case.item() else {
        return Ok(difference("no item", &Value::Bool(condition.evaluate(&Missing)), &case.fields["is"]));
    };
    let mut bytes = Vec::new();
    stored::encode(&item, &mut bytes);
    let stored = StoredItem::new(&bytes).expect("just written");
    let expected = &case.fields["is"];
    Ok(difference("item", &Value::Bool(condition.evaluate(&item)), expected)
        + &difference("stored item", &Value::Bool(condition.evaluate(&stored)), expected))
}

fn update(case: &Case<'_>) -> Result<String, String> {
    let update = Update::parse(case.text, &mut case.substitutions()).map_err(|error| error.message)?;
    let old = case.item();
    let existed = old.is_some();
    let old = old.unwrap_or_default();
    let new = update.apply(&old, existed).map_err(|error| error.message)?;
    let mut wrong = difference("item", &new, &item(&case.fields["becomes"]));
    for (field, shown) in [("updated_old", &old), ("updated_new", &new)] {
        if let Some(expected) = case.fields.get(field) {
            wrong += &difference(field, &update.touched().apply(shown), &item(expected));
        }
    }
    if let Some(expected) = case.fields.get("creates") {
        wrong += &difference("creates", &Value::Bool(update.creates_item()), expected);
    }
    Ok(wrong)
}

fn projection(case: &Case<'_>) -> Result<String, String> {
    let projection = Projection::parse(case.text, &mut case.substitutions()).map_err(|error| error.message)?;
    let shown = projection.apply(&case.item().expect("an item"));
    Ok(difference("shown", &shown, &item(&case.fields["shows"])))
}

fn range_condition(value: &Value) -> RangeCondition {
    let (test, values) = value.as_object().and_then(|object| object.iter().next()).expect("a test");
    let mut values = values.as_array().expect("values").iter().map(attribute_value);
    let mut next = || values.next().expect("a value");
    match test.as_str() {
        "Equal" => RangeCondition::Equal(next()),
        "Less" => RangeCondition::Less(next()),
        "LessOrEqual" => RangeCondition::LessOrEqual(next()),
        "Greater" => RangeCondition::Greater(next()),
        "GreaterOrEqual" => RangeCondition::GreaterOrEqual(next()),
        "Between" => RangeCondition::Between(next(), next()),
        "BeginsWith" => RangeCondition::BeginsWith(next()),
        other => panic!("no test: {other}"),
    }
}

fn key_condition(case: &Case<'_>) -> Result<String, String> {
    let key = |name: &str| {
        let mut pair = strings(case.fields["keys"].get(name)?);
        Some((pair.next().expect("a name"), pair.next().expect("a type")))
    };
    let (hash, range) = ([key("hash").expect("a partition key")], key("range"));
    let keys = KeyNames { hash: &hash, range: range.as_slice() };
    let parsed = KeyCondition::parse(case.text, &mut case.substitutions()).map_err(|error| error.message)?;
    let query = parsed.against(&keys).map_err(|error| error.message)?;
    let range = case.fields.get("range").map(range_condition);
    assert!(query.equal.is_empty(), "a table's sort key has one attribute");
    Ok(difference("hash", &query.hash, &vec![attribute_value(&case.fields["hash"])])
        + &difference("range", &query.range, &range))
}

#[test]
fn cases_give_the_services_results_and_errors() {
    let counts = [
        ("conditions", run(include_str!("cases/conditions.json"), condition), 500),
        ("updates", run(include_str!("cases/updates.json"), update), 250),
        ("projections", run(include_str!("cases/projections.json"), projection), 70),
        ("key conditions", run(include_str!("cases/key_conditions.json"), key_condition), 80),
    ];
    for (kind, count, least) in counts {
        println!("{count:>4} {kind}");
        assert!(count >= least, "{kind}: {count} of at least {least}");
    }
}

/// Source: "Multi-attribute keys", DynamoDB developer guide; dynamodb-conformance (observed on AWS) for the texts.
#[test]
fn keys_of_several_attributes_are_tested_from_the_left() {
    let keys = KeyNames { hash: &[("h", "S"), ("i", "N")], range: &[("a", "S"), ("b", "S"), ("c", "S")] };
    let gap = |wrong: &str, present: &str| {
        format!(
            "RANGE key attributes {wrong} must have equality conditions specified in the query because a condition is \
             present on key attribute {present}"
        )
    };
    let cases = [
        ("h = :s AND i = :n", Ok((0, false))),
        ("c > :s AND b = :s AND i = :n AND a = :s AND h = :s", Ok((2, true))),
        ("h = :s AND i = :n AND a = :s", Ok((0, true))),
        ("h = :s AND i = :n AND begins_with(a, :s)", Ok((0, true))),
        ("h = :s AND i = :n AND b = :s", Err(gap("a", "b"))),
        ("h = :s AND i = :n AND a = :s AND c = :s", Err(gap("b", "c"))),
        ("h = :s AND i = :n AND a > :s AND b = :s", Err(gap("a", "b"))),
        ("h = :s AND a = :s", Err("Query condition missed key schema element: i".to_owned())),
        ("h > :s AND i = :n", Err("Query key condition not supported".to_owned())),
        ("h = :s AND i = :n AND z = :s", Err("Query key condition not supported".to_owned())),
    ];
    for (text, expected) in cases {
        let values = [
            (":s".to_owned(), AttributeValue::S("x".to_owned())),
            (":n".to_owned(), AttributeValue::N(Number::from(1))),
        ];
        let used = values.into_iter().filter(|(name, _)| text.contains(name.as_str())).collect();
        let mut substitutions = Substitutions::new(None, Some(used)).expect("sound values");
        let query = KeyCondition::parse(text, &mut substitutions).expect("sound").against(&keys);
        let found = query.map(|query| (query.equal.len(), query.range.is_some())).map_err(|error| error.message);
        assert_eq!(found, expected, "{text}");
    }
}
