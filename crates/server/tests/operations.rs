//! Every operation of the four APIs is built, or `docs/guide/differences.md` says that it is not.
//!
//! Method: the least request that the service's model allows is made from the model and sent over HTTP. An operation that
//! is not built answers UnknownOperationException; any other answer comes from code of its own.

#![allow(clippy::disallowed_methods, reason = "a test over real sockets waits in real time")]

mod lab;

use std::collections::BTreeSet;
use std::path::Path;

use headwater_server::{Config, RunningServer, start_in_process};
use hyper::Request;
use serde_json::{Map, Value, json};

/// Where the models lie, and how many operations each has: a model that shrinks unnoticed would prove nothing.
const MODELS: [(&str, usize); 4] = [("dynamodb", 57), ("dynamodb-streams", 4), ("kinesis", 39), ("firehose", 12)];

/// Something that each pattern of a required member takes.
const SAMPLES: [(&str, &str); 9] = [
    ("[a-zA-Z0-9_.-]+", "sample"),
    (r"^[a-z0-9A-Z]+[\.\-\w]*[a-z0-9A-Z]+$", "sample"),
    (r"arn:aws.*:kinesis:.*:\d{12}:.*stream/\S+", "arn:aws:kinesis:eu-west-1:000000000000:stream/sample"),
    (r"arn:aws.*:kinesis:.*:\d{12}:stream/\S+", "arn:aws:kinesis:eu-west-1:000000000000:stream/sample"),
    (
        r"^(arn):aws.*:kinesis:.*:\d{12}:.*stream\/[a-zA-Z0-9_.-]+\/consumer\/[a-zA-Z0-9_.-]+:[0-9]+",
        "arn:aws:kinesis:eu-west-1:000000000000:stream/sample/consumer/sample:1",
    ),
    (r"0|([1-9]\d{0,38})", "1"),
    (r"^(?!aws:)[\p{L}\p{Z}\p{N}_.:\/=+\-@%]*$", "sample"),
    ("[0-9]+", "1"),
    ("[a-zA-Z0-9-]+", "sample"),
];

/// A value that a shape allows; structures have their required members only.
fn sample(shapes: &Value, shape: &str) -> Value {
    let shape = &shapes[shape];
    let member = |member: &Value| sample(shapes, member["shape"].as_str().expect("a shape"));
    match shape["type"].as_str().expect("a type") {
        "structure" => {
            let required = shape["required"].as_array().cloned().unwrap_or_default();
            let name = |name: &Value| name.as_str().expect("a name").to_owned();
            let members = required.iter().map(|each| (name(each), member(&shape["members"][name(each)])));
            Value::Object(members.collect::<Map<_, _>>())
        }
        "list" => json!([member(&shape["member"])]),
        "map" => json!({ "sample": member(&shape["value"]) }),
        "boolean" => json!(true),
        "integer" | "long" | "double" | "float" => shape.get("min").cloned().unwrap_or(json!(1)),
        "timestamp" => json!(1),
        "blob" => json!("AAAA"),
        "string" => text(shape),
        other => panic!("what is a {other}?"),
    }
}

fn text(shape: &Value) -> Value {
    if let Some(first) = shape["enum"].as_array().and_then(|values| values.first()) {
        return first.clone();
    }
    let pattern = shape["pattern"].as_str();
    let sample = pattern.map_or("sample", |pattern| {
        let known = SAMPLES.iter().find(|(known, _)| *known == pattern);
        known.unwrap_or_else(|| panic!("no sample for the pattern {pattern}")).1
    });
    let least = usize::try_from(shape["min"].as_u64().unwrap_or_default()).expect("a length");
    // No pattern above minds more of its last letter.
    json!(format!("{sample}{}", "1".repeat(least.saturating_sub(sample.len()))))
}

/// The names of a model's operations that are not built.
async fn not_built(server: &RunningServer, model: &str, operations: usize) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../api/models/{model}.json"));
    let model: Value = serde_json::from_slice(&std::fs::read(path).expect("a model")).expect("JSON");
    let prefix = model["metadata"]["targetPrefix"].as_str().expect("a prefix");
    let all = model["operations"].as_object().expect("operations");
    assert_eq!(all.len(), operations, "operations of {prefix}");
    let mut missing = BTreeSet::new();
    for (name, operation) in all {
        let body = operation["input"]["shape"].as_str().map_or(json!({}), |shape| sample(&model["shapes"], shape));
        let mut request: Request<_> = lab::signed(&format!("{prefix}.{name}"), "eu-west-1", &body);
        let content_type =
            format!("application/x-amz-json-{}", model["metadata"]["jsonVersion"].as_str().expect("one"));
        request.headers_mut().insert("content-type", content_type.parse().expect("a header"));
        let (status, answer) = lab::send(server.addresses().dynamodb, request).await;
        let code = answer["__type"].as_str().unwrap_or_default();
        if code.ends_with("UnknownOperationException") {
            missing.insert(name.clone());
            continue;
        }
        let text = answer.to_string();
        // A request that the model refuses never reaches its operation, so its answer says nothing.
        assert!(
            !text.contains("validation error detected") && !code.ends_with("SerializationException"),
            "{name}: {text}"
        );
        assert!(status < 500, "{name}: {text}");
    }
    missing
}

/// What the page lists as left out of an API: the names between backquotes in its part of the section.
fn listed(model: &str) -> BTreeSet<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/differences.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let section = page.split("\n## ").find(|section| section.starts_with("Not built yet")).expect("the section");
    let (others, of_dynamodb) = section.split_once("\n\nWhat this version leaves out of DynamoDB").expect("two parts");
    let item =
        |title: &str| others.split("\n- ").find_map(|item| item.strip_prefix(title)).expect("an item of the list");
    let part = match model {
        "kinesis" => item("Kinesis:"),
        "firehose" => item("Firehose:"),
        _ => of_dynamodb,
    };
    part.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_is_built_or_listed_as_left_out() {
    let server = start_in_process(Config::for_test()).await.expect("it starts");
    for (model, operations) in MODELS {
        let missing = not_built(&server, model, operations).await;
        println!("{model}: {} of {operations} operations are built", operations - missing.len());
        let listed = listed(model);
        let unlisted: Vec<_> = missing.difference(&listed).collect();
        assert!(unlisted.is_empty(), "{model}: neither built nor listed in differences.md: {unlisted:?}");
    }
    server.stop().await.expect("it stops");
}

#[test]
fn samples_are_as_the_model_wants_them() {
    let shapes = json!({
        "In": {"type": "structure", "required": ["A", "L"], "members": {
            "A": {"shape": "Name"}, "L": {"shape": "List"}, "Not": {"shape": "Name"}}},
        "Name": {"type": "string", "pattern": "[0-9]+", "min": 3},
        "List": {"type": "list", "member": {"shape": "Kind"}},
        "Kind": {"type": "string", "enum": ["ONE", "TWO"]},
    });
    assert_eq!(sample(&shapes, "In"), json!({"A": "111", "L": ["ONE"]}));
}
