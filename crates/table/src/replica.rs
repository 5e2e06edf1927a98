//! A change as Kinesis Data Streams for DynamoDB sends it: one record, JSON without a line end.
//!
//! Source: a record of the service (LocalStack issue 4351), its members and their order; "Working with Kinesis Data
//! Streams", DynamoDB developer guide, for what may be absent.

use std::fmt::Write;

use base64_simd::STANDARD;
use headwater_catalog::{Precision, TableDefinition};
use headwater_log::LogRecord;
use headwater_types::ids::uuid_text;
use headwater_types::stored::Corrupt;
use headwater_types::{AttributeValue, HashKey, Item, SequenceNumber, ShardUid};

use crate::change::{EventName, Origin, decode};
use crate::schema::{item_key, keys_of};

/// A record for a Kinesis data stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replica {
    /// 32 hex digits, the same for all changes of one item: they stay in order.
    pub partition_key: String,
    /// UTF-8 JSON.
    pub data: String,
}

/// Renders a log record of a table.
///
/// Shape:  the same record gives the same bytes, but for the precision asked for.
/// Errors: Corrupt when the payload is no change record.
pub fn render(
    table: &TableDefinition,
    shard: ShardUid,
    record: &LogRecord,
    precision: Option<Precision>,
) -> Result<Replica, Corrupt> {
    let (origin, old, new) = decode(&record.payload)?;
    let event_name = match (&old, &new) {
        (None, Some(_)) => EventName::Insert,
        (Some(_), Some(_)) => EventName::Modify,
        (Some(_), None) => EventName::Remove,
        (None, None) => return Err(Corrupt),
    };
    let (old, new) = (old.map(|row| row.item()).transpose()?, new.map(|row| row.item()).transpose()?);
    let whole = new.as_ref().or(old.as_ref()).ok_or(Corrupt)?;
    let keys = keys_of(&table.key_schema, whole);
    let key = item_key(&table.key_schema, whole).map_err(|_| Corrupt)?;
    let size_bytes: usize = [Some(&keys), new.as_ref(), old.as_ref()].into_iter().flatten().map(Item::size_bytes).sum();

    let mut json = String::with_capacity(512 + 2 * size_bytes);
    json.push_str("{\"awsRegion\":");
    text(&mut json, &table.scope.region);
    json.push_str(",\"eventID\":");
    text(&mut json, &event_id(table, shard, record.number));
    put(&mut json, format_args!(",\"eventName\":\"{}\",\"userIdentity\":", event_name.as_str()));
    json.push_str(match origin {
        Origin::User => "null",
        Origin::TimeToLive => "{\"principalId\":\"dynamodb.amazonaws.com\",\"type\":\"Service\"}",
    });
    json.push_str(",\"recordFormat\":\"application/json\",\"tableName\":");
    text(&mut json, &table.name);
    let created = created(record.number, precision);
    put(&mut json, format_args!(",\"dynamodb\":{{\"ApproximateCreationDateTime\":{created}"));
    match precision {
        Some(Precision::Millisecond) => json.push_str(",\"ApproximateCreationDateTimePrecision\":\"MILLISECOND\""),
        Some(Precision::Microsecond) => json.push_str(",\"ApproximateCreationDateTimePrecision\":\"MICROSECOND\""),
        None => {}
    }
    for (name, item) in [("Keys", Some(&keys)), ("NewImage", new.as_ref()), ("OldImage", old.as_ref())] {
        if let Some(item) = item {
            put(&mut json, format_args!(",\"{name}\":"));
            map(&mut json, item.iter());
        }
    }
    put(&mut json, format_args!(",\"SizeBytes\":{size_bytes}}},\"eventSource\":\"aws:dynamodb\"}}"));
    let place = HashKey::of(&[table.table_uuid.as_bytes(), &key.bytes].concat());
    Ok(Replica { partition_key: format!("{:032x}", place.0), data: json })
}

/// What a change is called: its table, its shard and its number name it for good, at every sending.
///
/// Shape: a UUID in text.
pub fn event_id(table: &TableDefinition, shard: ShardUid, number: SequenceNumber) -> String {
    let name = [table.table_uuid.as_bytes(), &shard.0.to_be_bytes(), &number.0.to_be_bytes()].concat();
    uuid_text(HashKey::of(&name).0)
}

/// When a change was committed. Unit: ms, or µs; the microseconds within a millisecond count its changes, so that they
/// rise with the order of the commits.
fn created(number: SequenceNumber, precision: Option<Precision>) -> i64 {
    const COUNTER: u64 = 0xffff;
    match precision {
        None | Some(Precision::Millisecond) => number.at().0,
        Some(Precision::Microsecond) => number.at().0 * 1_000 + (number.0 & COUNTER).min(999) as i64,
    }
}

fn put(json: &mut String, text: std::fmt::Arguments<'_>) {
    json.write_fmt(text).expect("a string takes all");
}

fn text(json: &mut String, text: &str) {
    let quoted = serde_json::to_string(text).expect("text is JSON");
    json.push_str(&quoted);
}

fn map<'a>(json: &mut String, entries: impl Iterator<Item = (&'a String, &'a AttributeValue)>) {
    json.push('{');
    for (at, (name, value)) in entries.enumerate() {
        if at > 0 {
            json.push(',');
        }
        text(json, name);
        json.push(':');
        attribute(json, value);
    }
    json.push('}');
}

fn list<T>(json: &mut String, values: impl IntoIterator<Item = T>, one: impl Fn(&mut String, T)) {
    json.push('[');
    for (at, value) in values.into_iter().enumerate() {
        if at > 0 {
            json.push(',');
        }
        one(json, value);
    }
    json.push(']');
}

fn attribute(json: &mut String, value: &AttributeValue) {
    put(json, format_args!("{{\"{}\":", value.type_code()));
    let binary =
        |json: &mut String, bytes: &Vec<u8>| put(json, format_args!("\"{}\"", STANDARD.encode_to_string(bytes)));
    match value {
        AttributeValue::S(value) => text(json, value),
        AttributeValue::N(number) => put(json, format_args!("\"{number}\"")),
        AttributeValue::B(bytes) => binary(json, bytes),
        AttributeValue::Bool(value) => put(json, format_args!("{value}")),
        AttributeValue::Null => json.push_str("true"),
        AttributeValue::Ss(texts) => list(json, texts, |json, value| text(json, value)),
        AttributeValue::Ns(numbers) => list(json, numbers, |json, number| put(json, format_args!("\"{number}\""))),
        AttributeValue::Bs(binaries) => list(json, binaries, binary),
        AttributeValue::L(values) => list(json, values, attribute),
        AttributeValue::M(values) => map(json, values.iter()),
    }
    json.push('}');
}

#[cfg(test)]
mod tests {
    use headwater_catalog::{KeyAttribute, KeyKind, KeySchema};
    use headwater_types::{Millis, Number, Scope};

    use super::*;
    use crate::change::encode;
    use crate::row::Row;

    fn table() -> TableDefinition {
        let hash = KeyAttribute { name: "id".into(), kind: KeyKind::S };
        let mut table =
            TableDefinition::new(Scope::new("000000000000", "us-east-1"), "TestTable", KeySchema { hash, range: None });
        table.table_uuid = "5ae02780-3066-41f9-8837-749b978774ff".into();
        table
    }

    fn item(extra: &[(&str, AttributeValue)]) -> Item {
        let id = [("id", AttributeValue::S("42".into()))];
        id.iter().chain(extra).map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    fn rendered(origin: Origin, old: Option<&Item>, new: Option<&Item>, precision: Option<Precision>) -> Replica {
        let (old, new) = (old.map(Row::new), new.map(Row::new));
        let number = SequenceNumber(SequenceNumber::floor(Millis(1_627_046_330_199)).0 + 7);
        let record = LogRecord { number, payload: encode(origin, old.as_ref(), new.as_ref()) };
        render(&table(), ShardUid(3), &record, precision).expect("a record")
    }

    #[test]
    fn a_record_has_the_members_of_the_services_in_their_order() {
        let (old, new) = (item(&[]), item(&[("n", AttributeValue::N(Number::from(-5)))]));
        let replica = rendered(Origin::User, Some(&old), Some(&new), None);
        let expected = concat!(
            r#"{"awsRegion":"us-east-1","eventID":"EVENT","eventName":"MODIFY","userIdentity":null,"#,
            r#""recordFormat":"application/json","tableName":"TestTable","dynamodb":{"#,
            r#""ApproximateCreationDateTime":1627046330199,"Keys":{"id":{"S":"42"}},"#,
            r#""NewImage":{"id":{"S":"42"},"n":{"N":"-5"}},"OldImage":{"id":{"S":"42"}},"SizeBytes":SIZE},"#,
            r#""eventSource":"aws:dynamodb"}"#
        );
        let json: serde_json::Value = serde_json::from_str(&replica.data).expect("JSON");
        let event = json["eventID"].as_str().expect("an id");
        let size = (4 + new.size_bytes() + old.size_bytes()).to_string();
        assert_eq!(replica.data, expected.replace("EVENT", event).replace("SIZE", &size));
        let dashes: Vec<usize> = event.match_indices('-').map(|(at, _)| at).collect();
        assert_eq!((event.len(), dashes), (36, vec![8, 13, 18, 23]));
        assert_eq!(replica, rendered(Origin::User, Some(&old), Some(&new), None), "the same at every sending");
        assert!(replica.partition_key.len() == 32 && replica.partition_key.bytes().all(|b| b.is_ascii_hexdigit()));
        let other = rendered(Origin::User, None, Some(&old), None);
        assert_eq!(other.partition_key, replica.partition_key, "one item, one partition key");
    }

    #[test]
    fn precision_origin_and_absent_images_show() {
        let old = item(&[]);
        let json = |origin, precision| -> serde_json::Value {
            serde_json::from_str(&rendered(origin, Some(&old), None, precision).data).expect("JSON")
        };
        let expired = json(Origin::TimeToLive, Some(Precision::Microsecond));
        let service = serde_json::json!({ "principalId": "dynamodb.amazonaws.com", "type": "Service" });
        assert_eq!((&expired["userIdentity"], &expired["eventName"]), (&service, &"REMOVE".into()));
        let change = &expired["dynamodb"];
        assert_eq!(change["ApproximateCreationDateTime"], 1_627_046_330_199_007_i64);
        assert_eq!(change["ApproximateCreationDateTimePrecision"], "MICROSECOND");
        assert!(change.get("NewImage").is_none() && change.get("OldImage").is_some());
        let ms = json(Origin::User, Some(Precision::Millisecond));
        assert_eq!(ms["dynamodb"]["ApproximateCreationDateTime"], 1_627_046_330_199_i64);
        assert_eq!(ms["dynamodb"]["ApproximateCreationDateTimePrecision"], "MILLISECOND");
    }

    #[test]
    fn every_type_is_written_as_clients_write_it() {
        let values = [
            ("b", AttributeValue::B(vec![0, 255])),
            ("bool", AttributeValue::Bool(true)),
            ("bs", AttributeValue::Bs([vec![1], vec![2]].into())),
            ("l", AttributeValue::L(vec![AttributeValue::Null, AttributeValue::S("a\"\n🦀".into())])),
            ("m", AttributeValue::M([("x".to_owned(), AttributeValue::L(Vec::new()))].into())),
            ("ns", AttributeValue::Ns([Number::from(1), Number::from(2)].into())),
            ("ss", AttributeValue::Ss(["x".to_owned(), "y".to_owned()].into())),
        ];
        let replica = rendered(Origin::User, None, Some(&item(&values)), None);
        let json: serde_json::Value = serde_json::from_str(&replica.data).expect("JSON");
        let expected = serde_json::json!({
            "id": {"S": "42"}, "b": {"B": "AP8="}, "bool": {"BOOL": true}, "bs": {"BS": ["AQ==", "Ag=="]},
            "l": {"L": [{"NULL": true}, {"S": "a\"\n🦀"}]}, "m": {"M": {"x": {"L": []}}}, "ns": {"NS": ["1", "2"]},
            "ss": {"SS": ["x", "y"]},
        });
        assert_eq!(json["dynamodb"]["NewImage"], expected);
    }
}
