//! Random bodies built from the models' own names, and random bytes.

use std::sync::LazyLock;

use headwater_api::{Api, Document};
use proptest::prelude::*;

use super::service::{model, route};

/// Every member name and enum value of the models, and some of none.
static WORDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut words =
        vec![String::new(), "abc".to_owned(), "a b".to_owned(), "\u{e9}\u{1F600}".to_owned(), "1e5".to_owned()];
    for api in Api::ALL {
        for shape in model(api)["shapes"].as_object().into_iter().flatten().map(|(_, shape)| shape) {
            words.extend(shape["members"].as_object().into_iter().flatten().map(|(name, _)| name.clone()));
            words.extend(
                shape["enum"].as_array().into_iter().flatten().filter_map(|value| value.as_str()).map(str::to_owned),
            );
        }
    }
    words.sort();
    words.dedup();
    words
});

fn word() -> impl Strategy<Value = String> {
    (0..WORDS.len()).prop_map(|at| WORDS[at].clone())
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        word().prop_map(Into::into),
        "\\PC{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(word(), inner, 0..6).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// A body that begins as the operation's input should: its own members, with anything in them.
fn body() -> impl Strategy<Value = (Api, &'static str, serde_json::Value)> {
    (0..4_usize, any::<prop::sample::Index>(), prop::collection::vec((any::<prop::sample::Index>(), json()), 0..8))
        .prop_map(|(api, operation, values)| {
            let api = Api::ALL[api];
            let operation = api.operations()[operation.index(api.operations().len())];
            let model = model(api);
            let input = model["operations"][operation]["input"]["shape"].as_str().unwrap().to_owned();
            let names: Vec<String> = model["shapes"][&input]["members"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, _)| name.clone())
                .collect();
            let members = values.into_iter().filter(|_| !names.is_empty());
            (api, operation, members.map(|(at, value)| (names[at.index(names.len())].clone(), value)).collect())
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_json_harms_any_operation((api, operation, body) in body()) {
        let text = body.to_string();
        let error = route(api, operation, Document::from_json(text.as_bytes()).unwrap()).err().unwrap();
        let known = ["UnknownOperationException", "ValidationException", "SerializationException"];
        prop_assert!(known.contains(&error.name()), "{operation} {text}: {error:?}");
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&error.to_json(api)).is_ok());
    }

    #[test]
    fn no_bytes_harm_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(error) = Document::from_json(&bytes) {
            prop_assert_eq!((error.name(), error.message()), ("SerializationException", None));
        }
    }
}

#[test]
fn depth_is_bounded_far_below_the_stack() {
    for (depth, fits) in [(255, true), (256, true), (257, false), (1_000_000, false)] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let text = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let read = Document::from_json(text.as_bytes());
            assert_eq!(read.is_ok(), fits, "{depth} {open}");
        }
    }
    for broken in
        ["", " ", "{", "{\"a\":}", "{} {}", "{\"a\":1,}", "nul", "\"\\ud800\"", "[1,2", "{\"a\" 1}", "'a'", "1e999"]
    {
        let error = Document::from_json(broken.as_bytes()).err().unwrap_or_else(|| panic!("{broken}"));
        assert_eq!((error.name(), error.message()), ("SerializationException", None), "{broken}");
    }
}
