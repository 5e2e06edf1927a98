//! A record of a target as a consumer reads it.
//!
//! Source: a record of the service (LocalStack issue 4351), its members; "Working with Kinesis Data Streams", DynamoDB
//! developer guide.

use headwater_types::SequenceNumber;
use serde_json::{Value, json};

use super::history::Replica;
use crate::protocol;

const MEMBERS: [&str; 8] =
    ["awsRegion", "dynamodb", "eventID", "eventName", "eventSource", "recordFormat", "tableName", "userIdentity"];
/// The view whose records have the same images.
const VIEW: &str = "NEW_AND_OLD_IMAGES";

/// Reads a record. `whole`: whether a table's images are kept as they are.
///
/// Errors: what is wrong with it.
pub fn replica(data: &[u8], number: SequenceNumber, whole: impl Fn(&str) -> bool) -> Result<Replica, String> {
    let mut body: Value = serde_json::from_slice(data).map_err(|error| format!("no JSON: {error}"))?;
    let mut members: Vec<&str> =
        body.as_object().map(|body| body.keys().map(String::as_str).collect()).unwrap_or_default();
    members.sort_unstable();
    let service = json!({"principalId": "dynamodb.amazonaws.com", "type": "Service"});
    let by_service = body["userIdentity"] == service;
    let fixed = body["eventSource"] == "aws:dynamodb" && body["recordFormat"] == "application/json";
    if members != MEMBERS || !fixed || !(by_service || body["userIdentity"].is_null()) {
        return Err(format!("not a record of a replication: {body}"));
    }
    let precision = precision(&body["dynamodb"])?;
    let table = body["tableName"].as_str().unwrap_or_default().to_owned();
    let images = whole(&table).then(|| (body["dynamodb"]["OldImage"].clone(), body["dynamodb"]["NewImage"].clone()));
    // The rest is as in a stream's record.
    body["dynamodb"]["StreamViewType"] = json!(VIEW);
    body["dynamodb"]["SequenceNumber"] = json!(number.0.to_string());
    let change = protocol::change(&body, VIEW)?;
    Ok(Replica { change, table, by_service, precision, images })
}

/// What a record says of its precision: its time has as many digits.
fn precision(change: &Value) -> Result<Option<String>, String> {
    let said = change["ApproximateCreationDateTimePrecision"].as_str();
    let at = change["ApproximateCreationDateTime"].as_i64().unwrap_or_default();
    // Store time begins in the years of thirteen digits; microseconds have three more.
    let micros = at >= 100_000_000_000_000;
    match (said, micros) {
        (None | Some("MILLISECOND"), false) | (Some("MICROSECOND"), true) => Ok(said.map(str::to_owned)),
        (said, _) => Err(format!("{at} is of the precision {said:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::ChangeKind;

    fn record() -> Value {
        json!({
            "awsRegion": "us-east-1", "eventID": "e", "eventName": "REMOVE", "userIdentity": null,
            "recordFormat": "application/json", "tableName": "t", "eventSource": "aws:dynamodb",
            "dynamodb": {
                "ApproximateCreationDateTime": 1_627_046_330_199_i64, "Keys": {"pk": {"S": "a"}},
                "OldImage": {"pk": {"S": "a"}, "w": {"N": "7"}}, "SizeBytes": 9,
            },
        })
    }

    fn read(record: &Value) -> Result<Replica, String> {
        replica(record.to_string().as_bytes(), SequenceNumber(5), |_| false)
    }

    #[test]
    fn a_record_is_read_and_each_fault_of_it_is_noticed() {
        let replica = read(&record()).expect("a record");
        let change = &replica.change;
        assert_eq!((change.kind, change.pk.as_str(), change.number.as_str()), (ChangeKind::Remove, "a", "5"));
        assert_eq!((change.old.clone().flatten().and_then(|old| old.w), &change.new), (Some(7), &Some(None)));
        assert!(!replica.by_service && replica.precision.is_none() && replica.images.is_none());
        let faults: [fn(&mut Value); 6] = [
            |record| record["eventVersion"] = json!("1.1"),
            |record| record["userIdentity"] = json!("me"),
            |record| record["dynamodb"]["ApproximateCreationDateTimePrecision"] = json!("MICROSECOND"),
            |record| record["dynamodb"]["ApproximateCreationDateTime"] = json!(1_627_046_330_199_000_i64),
            |record| record["dynamodb"]["NewImage"] = json!({"pk": {"S": "a"}}),
            |record| record["dynamodb"]["OldImage"]["pk"] = json!({"S": "b"}),
        ];
        for (at, fault) in faults.iter().enumerate() {
            let mut record = record();
            fault(&mut record);
            assert!(read(&record).is_err(), "{at}: {record}");
        }
    }
}
