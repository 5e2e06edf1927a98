//! Each operation of each API, called with nothing.

use std::collections::BTreeSet;

use headwater_api::{Api, Document};

use super::service::{model, route};

#[test]
fn an_empty_input_is_accepted_or_lists_exactly_the_required_members() {
    let (mut accepted, mut refused) = (0, 0);
    for api in Api::ALL {
        let model = model(api);
        assert_eq!(model["metadata"]["targetPrefix"], api.target_prefix());
        assert_eq!(model["metadata"]["jsonVersion"], api.json_version());
        assert_eq!(model["operations"].as_object().unwrap().len(), api.operations().len());
        for operation in api.operations() {
            let input = model["operations"][operation]["input"]["shape"].as_str().unwrap();
            let required: BTreeSet<String> = model["shapes"][input]["required"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|name| {
                    format!("Value null at '{}' failed to satisfy constraint: Member must not be null", lower(name))
                })
                .collect();
            let Err(error) = route(api, operation, Document::Map(Vec::new())) else {
                panic!("{operation} is not built and cannot answer")
            };
            let message = error.message().unwrap_or_default();
            if required.is_empty() {
                assert_eq!((error.name(), message), ("UnknownOperationException", ""), "{operation}");
                accepted += 1;
                continue;
            }
            refused += 1;
            assert_eq!(error.name(), "ValidationException", "{operation}");
            if message == "The parameter 'TableName' is required but was not present in the request" {
                assert!(operation.ends_with("Table"), "{operation}");
                continue;
            }
            let plural = if required.len() == 1 { "" } else { "s" };
            let prefix = format!("{} validation error{plural} detected: ", required.len());
            let listed: BTreeSet<String> =
                message.strip_prefix(&prefix).expect(message).split("; ").map(str::to_owned).collect();
            assert_eq!(listed, required, "{operation}");
        }
    }
    println!("{accepted} operations accept an empty input, {refused} refuse it");
    assert_eq!(accepted + refused, 112);
    assert!(accepted > 10 && refused > 60, "{accepted} {refused}");
}

#[test]
fn a_null_or_no_structure_at_all_is_refused_or_empty_but_never_a_fault() {
    for api in Api::ALL {
        for operation in api.operations() {
            for body in ["[]", "5", "\"x\"", "true"] {
                let error = route(api, operation, Document::from_json(body.as_bytes()).unwrap()).err().unwrap();
                assert_eq!(error.name(), "SerializationException", "{operation} {body}");
            }
        }
    }
}

#[test]
fn models_hold_no_prose() {
    for api in Api::ALL {
        let text = model(api).to_string();
        assert!(!text.contains("documentation") && !text.contains("<p>"), "{api:?}");
    }
}

fn lower(name: &serde_json::Value) -> String {
    let name = name.as_str().unwrap();
    let (first, rest) = name.split_at(1);
    first.to_lowercase() + rest
}
