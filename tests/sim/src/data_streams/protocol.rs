//! Requests and answers on data streams as JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use headwater_log::sequence::kinesis as sequence;
use md5::{Digest, Md5};
use serde_json::{Value, json};

use super::history::{Child, Entry, Listed, Range, Record};

/// What decides a record's shard.
pub fn hash(key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(key).into())
}

/// A record of a request. Its data name its writer, key and number; `padding` bytes ride along.
pub fn entry(writer: &str, entry: &Entry, padding: usize) -> Value {
    let data = format!("{writer} {} {} {}", entry.key, entry.id, "x".repeat(padding));
    let mut record = json!({"PartitionKey": entry.key, "Data": STANDARD.encode(data)});
    if entry.hash != hash(&entry.key) {
        record["ExplicitHashKey"] = json!(entry.hash.to_string());
    }
    record
}

/// A record as a reader was given it, at store time `seen`.
pub fn record(value: &Value, seen: i64) -> Result<Record, String> {
    let bad = || format!("not a record of a writer: {value}");
    let data = value["Data"].as_str().and_then(|data| STANDARD.decode(data).ok()).ok_or_else(bad)?;
    let data = String::from_utf8(data).map_err(|_| bad())?;
    let mut parts = data.split(' ');
    let (writer, key, id) = (parts.next(), parts.next(), parts.next().and_then(|id| id.parse().ok()));
    let key = key.filter(|key| value["PartitionKey"] == **key).ok_or_else(bad)?;
    Ok(Record {
        number: text(&value["SequenceNumber"]),
        id: id.ok_or_else(bad)?,
        writer: writer.ok_or_else(bad)?.to_owned(),
        key: key.to_owned(),
        at: millis(&value["ApproximateArrivalTimestamp"]).ok_or_else(bad)?,
        seen,
    })
}

/// A shard as it is listed.
pub fn listed(value: &Value) -> Result<Listed, String> {
    let bad = || format!("not a shard: {value}");
    let numbers = &value["SequenceNumberRange"];
    let starting = text(&numbers["StartingSequenceNumber"]);
    let parents = ["ParentShardId", "AdjacentParentShardId"].map(|name| value[name].as_str().map(str::to_owned));
    Ok(Listed {
        id: text(&value["ShardId"]),
        parents: parents.into_iter().flatten().collect(),
        range: range(&value["HashKeyRange"]).ok_or_else(bad)?,
        opened: sequence::parse(&starting).map_err(|_| bad())?.number.at().0,
        starting,
        ending: numbers["EndingSequenceNumber"].as_str().map(str::to_owned),
    })
}

/// A child as the end of its parent names it.
pub fn child(value: &Value) -> Result<Child, String> {
    let bad = || format!("not a child: {value}");
    let parents = value["ParentShards"].as_array().filter(|parents| !parents.is_empty()).ok_or_else(bad)?;
    let range = range(&value["HashKeyRange"]).ok_or_else(bad)?;
    Ok(Child { id: text(&value["ShardId"]), parents: parents.iter().map(text).collect(), range })
}

/// All of a list that an answer has; an error names the first that cannot be read.
pub fn all<T>(list: &Value, of: impl Fn(&Value) -> Result<T, String>) -> Result<Vec<T>, String> {
    list.as_array().map(Vec::as_slice).unwrap_or_default().iter().map(of).collect()
}

fn range(value: &Value) -> Option<Range> {
    let key = |name: &str| value[name].as_str().and_then(|digits| digits.parse().ok());
    Some((key("StartingHashKey")?, key("EndingHashKey")?))
}

/// A moment as JSON has it: seconds with three decimals.
pub fn millis(value: &Value) -> Option<i64> {
    Some((value.as_f64()? * 1_000.0).round() as i64)
}

/// The same, to be sent. Unit: ms.
pub fn moment(at: i64) -> Value {
    json!(at as f64 / 1_000.0)
}

/// A text, or none where it is missing.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
