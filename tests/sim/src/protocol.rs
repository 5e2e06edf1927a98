//! Requests and answers as JSON, and what the specification makes of them.

use serde_json::{Map, Value, json};

use crate::history::{Change, ChangeKind, End, Key};
use crate::plan::{KeyType, TablePlan};
use crate::server::Failure;
use crate::spec::{Action, Answer, Condition, Item, Operation, Returns};

/// CreateTable.
pub fn create_table(table: &TablePlan) -> Value {
    let mut attributes = vec![json!({"AttributeName": "pk", "AttributeType": table.pk.letter()})];
    let mut schema = vec![json!({"AttributeName": "pk", "KeyType": "HASH"})];
    if let Some(sk) = table.sk {
        attributes.push(json!({"AttributeName": "sk", "AttributeType": sk.letter()}));
        schema.push(json!({"AttributeName": "sk", "KeyType": "RANGE"}));
    }
    let key = |name: &str, kind: &str| json!({"AttributeName": name, "KeyType": kind});
    if table.local {
        attributes.push(json!({"AttributeName": "w", "AttributeType": "N"}));
    }
    if table.global {
        attributes.push(json!({"AttributeName": "n", "AttributeType": "N"}));
    }
    let mut request = json!({
        "TableName": table.name,
        "AttributeDefinitions": attributes,
        "KeySchema": schema,
        "BillingMode": "PAY_PER_REQUEST",
    });
    if table.local {
        request["LocalSecondaryIndexes"] = json!([{
            "IndexName": "by-w",
            "KeySchema": [key("pk", "HASH"), key("w", "RANGE")],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["n"]},
        }]);
    }
    if table.global {
        request["GlobalSecondaryIndexes"] = json!([{
            "IndexName": "by-n",
            "KeySchema": [key("n", "HASH")],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        }]);
    }
    if let Some(view) = table.stream {
        request["StreamSpecification"] = json!({"StreamEnabled": true, "StreamViewType": view});
    }
    request
}

/// UpdateTable that makes an index whose keys have several attributes.
pub fn create_index(table: &TablePlan) -> Value {
    let number = |name: &str| json!({"AttributeName": name, "AttributeType": "N"});
    let key = |name: &str, kind: &str| json!({"AttributeName": name, "KeyType": kind});
    json!({
        "TableName": table.name,
        "AttributeDefinitions": [number("n"), number("m"), number("w")],
        "GlobalSecondaryIndexUpdates": [{"Create": {
            "IndexName": "made",
            "KeySchema": [key("n", "HASH"), key("m", "RANGE"), key("w", "RANGE")],
            "Projection": {"ProjectionType": "ALL"},
        }}],
    })
}

/// An item's key.
pub fn key(table: &TablePlan, key: &Key) -> Value {
    let mut members = Map::new();
    members.insert("pk".into(), value(table.pk, &key.pk));
    if let (Some(kind), Some(sk)) = (table.sk, &key.sk) {
        members.insert("sk".into(), value(kind, sk));
    }
    Value::Object(members)
}

/// A key attribute's value.
pub fn value(kind: KeyType, text: &str) -> Value {
    json!({ kind.letter(): text })
}

fn number(of: impl ToString) -> Value {
    json!({"N": of.to_string()})
}

/// The item that a Put writes; `padding` bytes ride along.
pub fn put_item(table: &TablePlan, name: &Key, id: u64, padding: usize) -> Value {
    let mut item = key(table, name);
    item["w"] = number(id);
    item["n"] = number(0);
    if padding > 0 {
        item["padding"] = json!({"S": "x".repeat(padding)});
    }
    item
}

/// The request of one operation on one item.
pub fn request(table: &TablePlan, name: &Key, operation: &Operation, padding: usize) -> (&'static str, Value) {
    let mut values = Map::new();
    let mut request = json!({"TableName": table.name});
    let operation_name = match operation.action {
        Action::Read => {
            request["Key"] = key(table, name);
            request["ConsistentRead"] = json!(true);
            return ("GetItem", request);
        }
        Action::Put => {
            request["Item"] = put_item(table, name, operation.id, padding);
            "PutItem"
        }
        Action::Delete | Action::Wipe => {
            request["Key"] = key(table, name);
            "DeleteItem"
        }
        Action::Set | Action::Count | Action::Mark | Action::Unmark | Action::Touch => {
            request["Key"] = key(table, name);
            values.insert(":id".into(), number(operation.id));
            let expression = match operation.action {
                Action::Count => {
                    values.insert(":one".into(), number(1));
                    "SET w = :id ADD n :one"
                }
                Action::Mark => {
                    values.insert(":one".into(), number(1));
                    values.insert(":zero".into(), number(0));
                    "SET m = :id, n = if_not_exists(n, :zero) + :one"
                }
                Action::Unmark => "SET w = :id REMOVE m",
                Action::Touch => "SET w = if_not_exists(w, :id)",
                Action::Set | Action::Read | Action::Put | Action::Delete | Action::Wipe => "SET w = :id",
            };
            request["UpdateExpression"] = json!(expression);
            "UpdateItem"
        }
    };
    condition(operation.condition, &mut request, &mut values);
    if !values.is_empty() {
        request["ExpressionAttributeValues"] = Value::Object(values);
    }
    match operation.returns {
        Returns::Nothing => {}
        Returns::Old => request["ReturnValues"] = json!("ALL_OLD"),
        Returns::New => request["ReturnValues"] = json!("ALL_NEW"),
    }
    if operation.shows_refusal {
        request["ReturnValuesOnConditionCheckFailure"] = json!("ALL_OLD");
    }
    (operation_name, request)
}

fn condition(condition: Condition, request: &mut Value, values: &mut Map<String, Value>) {
    let expression = match condition {
        Condition::Always => return,
        Condition::Exists => "attribute_exists(pk)",
        Condition::Missing => "attribute_not_exists(pk)",
        Condition::WrittenBy(id) => {
            values.insert(":written".into(), number(id));
            "w = :written"
        }
        Condition::Below(most) => {
            values.insert(":most".into(), number(most));
            request["ExpressionAttributeNames"] = json!({"#n": "n"});
            "#n < :most"
        }
    };
    request["ConditionExpression"] = json!(expression);
}

/// What the specification calls an answer. Errors: one that no valid request should meet.
pub fn end(operation: &Operation, reply: Result<Value, Failure>) -> Result<End, String> {
    match reply {
        Ok(body) => Ok(End::Answered(match operation.action {
            Action::Read => Answer::Item(body.get("Item").map(item).transpose()?),
            _ => {
                let given = body.get("Attributes").map(item).transpose()?;
                Answer::Done((operation.returns != Returns::Nothing).then_some(given))
            }
        })),
        Err(Failure::Lost | Failure::Down) => Ok(End::Lost),
        Err(Failure::Refused { name, body }) => match name {
            "ConditionalCheckFailedException" => {
                let shown = body.get("Item").map(item).transpose()?;
                Ok(End::Answered(Answer::Refused(operation.shows_refusal.then_some(shown))))
            }
            "ResourceNotFoundException" => Ok(End::NoTable),
            name if may_be_met(name) => Ok(End::Lost),
            name => Err(format!("{operation:?} is refused: {name} {body}")),
        },
    }
}

/// Refusals that a valid request can meet in a faulty world; whether it was done is not known.
pub fn may_be_met(name: &str) -> bool {
    matches!(
        name,
        "InternalServerError"
            | "InternalFailure"
            | "ServiceUnavailable"
            | "ServiceUnavailableException"
            | "ThrottlingException"
            | "ProvisionedThroughputExceededException"
            | "RequestLimitExceeded"
    )
}

/// The item's attributes as the workload writes them.
pub fn item(body: &Value) -> Result<Item, String> {
    let number = |name: &str| -> Result<Option<i64>, String> {
        let Some(value) = body.get(name) else { return Ok(None) };
        let parsed = value.get("N").and_then(Value::as_str).and_then(|text| text.parse().ok());
        parsed.map(Some).ok_or_else(|| format!("attribute {name} is {value}"))
    };
    let id = |name: &str| number(name).map(|value| value.map(|value| value as u64));
    Ok(Item { w: id("w")?, m: id("m")?, n: number("n")? })
}

/// The key in an item.
pub fn key_of(table: &str, body: &Value) -> Result<Key, String> {
    let text = |name: &str| -> Option<String> {
        let value = body.get(name)?.as_object()?.values().next()?;
        value.as_str().map(str::to_owned)
    };
    let pk = text("pk").ok_or_else(|| format!("{body} has no key"))?;
    Ok(Key { table: table.to_owned(), pk, sk: text("sk") })
}

/// A stream record, with what its view should show.
pub fn change(record: &Value, view: &str) -> Result<Change, String> {
    let stream = &record["dynamodb"];
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| format!("misses a member: {record}"));
    let kind = match record["eventName"].as_str() {
        Some("INSERT") => ChangeKind::Insert,
        Some("MODIFY") => ChangeKind::Modify,
        Some("REMOVE") => ChangeKind::Remove,
        other => return Err(format!("eventName is {other:?}")),
    };
    if stream["StreamViewType"].as_str() != Some(view) {
        return Err(format!("a record of another view than {view}: {record}"));
    }
    let image = |name: &str, shown: bool, there: bool| -> Result<Option<Option<Item>>, String> {
        match stream.get(name) {
            Some(_) if !shown || !there => Err(format!("{name} should not be shown: {record}")),
            None if shown && there => Err(format!("{name} is missing: {record}")),
            Some(body) => {
                let whole = key_of("", body)?;
                let named = key_of("", &stream["Keys"])?;
                if whole != named {
                    Err(format!("{name} is of another item: {record}"))
                } else {
                    Ok(Some(Some(item(body)?)))
                }
            }
            None => Ok(shown.then_some(None)),
        }
    };
    let old = image("OldImage", matches!(view, "OLD_IMAGE" | "NEW_AND_OLD_IMAGES"), kind != ChangeKind::Insert)?;
    let new = image("NewImage", matches!(view, "NEW_IMAGE" | "NEW_AND_OLD_IMAGES"), kind != ChangeKind::Remove)?;
    let Key { pk, sk, .. } = key_of("", &stream["Keys"])?;
    Ok(Change { event_id: text(&record["eventID"])?, number: text(&stream["SequenceNumber"])?, kind, pk, sk, old, new })
}
