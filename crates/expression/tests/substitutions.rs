//! Names and values of a request: their own rules, and what no expression used.

use std::collections::BTreeMap;

use headwater_expression::{Condition, Kind, Projection, Substitutions, Update};
use headwater_types::AttributeValue;

fn new(names: Option<&[(&str, &str)]>, values: Option<&[&str]>) -> Result<Substitutions, String> {
    let names = names.map(|names| names.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
    let values = values
        .map(|keys| keys.iter().map(|k| ((*k).to_owned(), AttributeValue::Bool(true))).collect::<BTreeMap<_, _>>());
    Substitutions::new(names, values).map_err(|error| error.message)
}

fn refused(names: Option<&[(&str, &str)]>, values: Option<&[&str]>) -> String {
    new(names, values).expect_err("refused")
}

#[test]
fn placeholders_have_a_syntax_and_maps_are_not_empty() {
    assert_eq!(refused(Some(&[]), None), "ExpressionAttributeNames must not be empty");
    assert_eq!(refused(None, Some(&[])), "ExpressionAttributeValues must not be empty");
    for key in ["a", "#", "##", "#a-b", ":a", "#a.b", "", "#é"] {
        let expected = format!("ExpressionAttributeNames contains invalid key: Syntax error; key: \"{key}\"");
        assert_eq!(refused(Some(&[(key, "a")]), None), expected);
    }
    for key in ["a", ":", "::", "#a", ":a b", ""] {
        let expected = format!("ExpressionAttributeValues contains invalid key: Syntax error; key: \"{key}\"");
        assert_eq!(refused(None, Some(&[key])), expected);
    }
    for name in ["", "x".repeat(65_536).as_str()] {
        assert!(refused(Some(&[("#a", name)]), None).starts_with("ExpressionAttributeNames contains invalid value: "));
    }
    assert!(new(Some(&[("#a", "x".repeat(65_535).as_str())]), None).is_ok());
    // Names are judged before values.
    assert_eq!(refused(Some(&[]), Some(&[])), "ExpressionAttributeNames must not be empty");
    assert!(new(Some(&[("#a_1", "x"), ("#0", "y"), ("#_", "z")]), Some(&[":0", ":_a", ":A9"])).is_ok());
}

#[test]
fn all_names_and_values_together_have_a_limit() {
    let values = |bytes: usize| Some(BTreeMap::from([(":v".to_owned(), AttributeValue::B(vec![0; bytes]))]));
    assert!(Substitutions::new(None, values(2 * 1024 * 1024 - 2)).is_ok());
    assert!(Substitutions::new(None, values(2 * 1024 * 1024 - 1)).is_err());
}

#[test]
fn what_no_expression_of_the_request_uses_is_refused() {
    let mut s = new(Some(&[("#a", "a"), ("#b", "b"), ("#c", "c")]), Some(&[":v", ":w"])).expect("placeholders");
    let names = "Value provided in ExpressionAttributeNames unused in expressions: keys: {#a, #b, #c}";
    assert_eq!(s.unused().map_err(|e| e.message), Err(names.to_owned()));
    // Evaluation would never reach the right side: use is decided from the text alone.
    Condition::parse(Kind::Condition, "attribute_exists(#a) OR #b = :v", &mut s).expect("a condition");
    let names = "Value provided in ExpressionAttributeNames unused in expressions: keys: {#c}";
    assert_eq!(s.unused().map_err(|e| e.message), Err(names.to_owned()));
    Projection::parse("#c", &mut s).expect("a projection");
    let values = "Value provided in ExpressionAttributeValues unused in expressions: keys: {:w}";
    assert_eq!(s.unused().map_err(|e| e.message), Err(values.to_owned()));
    Update::parse("SET #c = :w", &mut s).expect("an update");
    assert_eq!(s.unused(), Ok(()));
}
