//! Promise: what is no attribute value is told in the service's words, and what is one survives a round trip.

use super::*;
use crate::decode::Input;
use crate::dynamodb::{BatchWriteItemInput, BatchWriteItemOutput, GetItemInput, PutItemInput};

/// A value of a key, after a look that the item of a put says the same of it.
fn decoded(value: &str) -> AttributeValue {
    let body = format!(r#"{{"TableName":"abc","Key":{{"a":{value}}}}}"#);
    let input = Document::from_json(body.as_bytes()).and_then(GetItemInput::from_document);
    let of_key = input.unwrap_or_else(|error| panic!("{value}: {error}")).key.remove("a").unwrap();
    let body = format!(r#"{{"TableName":"abc","Item":{{"a":{value}}}}}"#);
    let input = Document::from_json(body.as_bytes()).and_then(PutItemInput::from_document);
    let item = input.unwrap_or_else(|error| panic!("{value}: {error}")).item;
    match (&of_key, item.sized_bytes()) {
        (AttributeValue::Valid(value), Ok(bytes)) => {
            let item = types::Item([("a".to_owned(), value.clone())].into());
            assert_eq!(bytes[..], types::stored::encode_sized(&item));
        }
        (AttributeValue::Invalid(invalid), Err(error)) => assert_eq!(error.message(), Some(invalid.message())),
        (_, of_item) => panic!("{value}: {of_key:?} of a key, {of_item:?} of an item"),
    }
    of_key
}

#[test]
fn each_mistake_has_its_text() {
    let ompv = "One or more parameter values were invalid: ";
    for (value, text) in [
        ("{}", EMPTY.to_owned()),
        ("null", EMPTY.to_owned()),
        (r#"{"S":null}"#, EMPTY.to_owned()),
        (r#"{"X":"y"}"#, EMPTY.to_owned()),
        (r#"{"L":[null]}"#, EMPTY.to_owned()),
        (r#"{"M":{"b":{}}}"#, EMPTY.to_owned()),
        (r#"{"S":"a","N":"1"}"#, SEVERAL.to_owned()),
        (r#"{"L":[],"M":{}}"#, SEVERAL.to_owned()),
        (r#"{"S":"a","N":"b"}"#, "The parameter cannot be converted to a numeric value: b".to_owned()),
        (r#"{"N":""}"#, "The parameter cannot be converted to a numeric value".to_owned()),
        (r#"{"N":"NaN"}"#, "The parameter cannot be converted to a numeric value: NaN".to_owned()),
        (r#"{"N":" 1"}"#, "The parameter cannot be converted to a numeric value:  1".to_owned()),
        (
            r#"{"N":"1e126"}"#,
            "Number overflow. Attempting to store a number with magnitude larger than supported range".to_owned(),
        ),
        (
            r#"{"N":"-1e-131"}"#,
            "Number underflow. Attempting to store a number with magnitude smaller than supported range".to_owned(),
        ),
        (
            r#"{"N":"123456789012345678901234567890123456789"}"#,
            "Attempting to store more than 38 significant digits in a Number".to_owned(),
        ),
        (r#"{"NULL":false}"#, format!("{ompv}Null attribute value types must have the value of true")),
        (r#"{"SS":[]}"#, format!("{ompv}An string set  may not be empty")),
        (r#"{"NS":[]}"#, format!("{ompv}An number set  may not be empty")),
        (r#"{"BS":[]}"#, format!("{ompv}Binary sets should not be empty")),
        (r#"{"SS":["a","b","a"]}"#, format!("{ompv}Input collection [a, b, a] contains duplicates.")),
        (r#"{"NS":["1","1.0"]}"#, "Input collection contains duplicates".to_owned()),
        (r#"{"NS":["1","x"]}"#, "The parameter cannot be converted to a numeric value: x".to_owned()),
        (
            r#"{"BS":["Yg==","YQ==","Yg=="]}"#,
            format!("{ompv}Input collection [Yg==, YQ==, Yg==]of type BS contains duplicates."),
        ),
        (r#"{"L":[{"S":"fine"},{"M":{"x":{"SS":[]}}}]}"#, format!("{ompv}An string set  may not be empty")),
    ] {
        match decoded(value) {
            AttributeValue::Valid(found) => panic!("{value} was taken as {found:?}"),
            AttributeValue::Invalid(invalid) => assert_eq!(invalid.message(), text, "{value}"),
        }
    }
}

#[test]
fn values_nest_32_deep_and_no_deeper() {
    let nested = |depth: usize| format!("{}{{\"S\":\"leaf\"}}{}", "{\"M\":{\"n\":".repeat(depth), "}}".repeat(depth));
    assert!(decoded(&nested(32)).as_valid().is_ok());
    for depth in [33, 40, 63, 100] {
        assert_eq!(decoded(&nested(depth)).as_valid().unwrap_err().message(), TOO_DEEP, "{depth}");
    }
    let lists = |depth: usize| format!("{}{{\"NULL\":true}}{}", "{\"L\":[".repeat(depth), "]}".repeat(depth));
    assert!(decoded(&lists(32)).check().is_ok());
    assert_eq!(decoded(&lists(33)).check().unwrap_err().message(), Some(TOO_DEEP));
}

#[test]
fn all_ten_types_survive_a_round_trip() {
    let items = r#"{"abc":[{"PutRequest":{"Item":{
        "b":{"B":"AAEC/w=="},"bool":{"BOOL":false},"bs":{"BS":["","YQ=="]},"l":{"L":[{"S":""},{"L":[]},{"M":{}}]},
        "m":{"M":{"\"q\"":{"N":"-1.5"},"u":{"S":"\u00e9\ud83d\ude00"}}},"n":{"N":"12345678901234567890123456789012345678"},
        "ns":{"NS":["1","2.5"]},"null":{"NULL":true},"s":{"S":"text\n"},"ss":{"SS":["","a"]}}}},
        {"DeleteRequest":{"Key":{"k":{"S":"x"}}}}]}"#;
    let body = format!(r#"{{"RequestItems":{items}}}"#);
    let input = BatchWriteItemInput::from_document(Document::from_json(body.as_bytes()).unwrap()).unwrap();
    let output = BatchWriteItemOutput { unprocessed_items: Some(input.request_items), ..Default::default() };
    let written = crate::json::encode(&output);
    let (written, expected): (serde_json::Value, serde_json::Value) = (
        serde_json::from_slice(&written).unwrap(),
        serde_json::from_str(&format!(r#"{{"UnprocessedItems":{items}}}"#)).unwrap(),
    );
    assert_eq!(written, expected);
}
