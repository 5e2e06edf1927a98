//! Expiry: items with a time to live that clients put again and take back, while the service deletes what has expired.
//!
//! The stream judges: a deletion by the service is of the version that the item had, and that version had expired.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Sim;
use crate::history::Violation;
use crate::ledger::all_records;
use crate::server::Failure;

/// The table.
pub const TABLE: &str = "expiry-0";
const ITEMS: u64 = 8;

/// The changes of each item, in order: old and new image, null where there is none, and whether the service made it.
pub type Told = BTreeMap<String, Vec<(Value, Value, bool)>>;

/// Makes the table and switches expiry on.
pub async fn create(sim: &Arc<Sim>) {
    let request = json!({
        "TableName": TABLE,
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        "BillingMode": "PAY_PER_REQUEST",
        "StreamSpecification": {"StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    });
    let expiry = json!({"TableName": TABLE, "TimeToLiveSpecification": {"Enabled": true, "AttributeName": "t"}});
    for (operation, request) in [("CreateTable", request), ("UpdateTimeToLive", expiry)] {
        match sim.insist(operation, request).await {
            // Done before, by a request whose answer was lost.
            Ok(_) | Err(Failure::Refused { name: "ResourceInUseException" | "ValidationException", .. }) => {}
            Err(failure) => {
                sim.notice(Violation::new("a valid change of a table is done", format!("{operation}: {failure:?}")));
            }
        }
    }
}

/// One client: so many requests.
pub async fn client(sim: Arc<Sim>, requests: u64) {
    for _ in 0..requests {
        let pause = sim.dice().time(sim.plan.pause_max + Duration::from_millis(20));
        sim.cluster.control().sleep(pause).await;
        let pk = format!("e{}", sim.dice().below(ITEMS));
        let id = sim.history.lock().id();
        let Some(now) = sim.cluster.up().first().map(|server| server.log.clock().store().seconds()) else { continue };
        let seconds = now + sim.dice().below(5) as i64 - 2;
        let key = json!({"S": pk});
        let asked = match sim.dice().below(10) {
            0..6 => {
                let item = json!({"pk": key, "v": {"N": id.to_string()}, "t": {"N": seconds.to_string()}});
                ("PutItem", json!({"TableName": TABLE, "Item": item}))
            }
            6 | 7 => (
                "UpdateItem",
                json!({
                    "TableName": TABLE,
                    "Key": {"pk": key},
                    "UpdateExpression": "SET t = :t",
                    "ExpressionAttributeValues": {":t": {"N": (seconds + 30).to_string()}},
                }),
            ),
            8 => ("UpdateItem", json!({"TableName": TABLE, "Key": {"pk": key}, "UpdateExpression": "REMOVE t"})),
            _ => ("DeleteItem", json!({"TableName": TABLE, "Key": {"pk": key}})),
        };
        drop(sim.ask(asked.0, asked.1, None).await);
    }
}

/// Judges the stream and what is left; gives how many items the service deleted.
pub async fn last_look(sim: &Arc<Sim>) -> u64 {
    let mut items: BTreeMap<String, Value> = BTreeMap::new();
    let mut told = Told::new();
    let mut deleted = 0;
    for record in all_records(sim, TABLE).await {
        let change = &record["dynamodb"];
        let pk = change["Keys"]["pk"]["S"].as_str().unwrap_or_default().to_owned();
        let old = change.get("OldImage");
        if items.get(&pk) != old {
            let text = format!("{pk} was {:?}, a record says {old:?}", items.get(&pk));
            sim.notice(Violation::new("the table is the fold of its stream", text));
        }
        let by_service = record.get("userIdentity").is_some();
        let images = (change["OldImage"].clone(), change["NewImage"].clone());
        told.entry(pk.clone()).or_default().push((images.0, images.1, by_service));
        if by_service {
            deleted += 1;
            let t = old.and_then(|old| old["t"]["N"].as_str()).and_then(|t| t.parse::<i64>().ok());
            let at = change["ApproximateCreationDateTime"].as_f64().unwrap_or_default() as i64;
            // A node's clock may run behind the numbers that the log has given before.
            if record["eventName"] != "REMOVE" || t.is_none_or(|t| t > at) {
                let text = format!("{pk}, which expires at {t:?}, was deleted at {at}: {record}");
                sim.notice(Violation::new("the service deletes what has expired and nothing else", text));
            }
        }
        match change.get("NewImage") {
            Some(image) => drop(items.insert(pk, image.clone())),
            None => drop(items.remove(&pk)),
        }
    }
    sim.history.lock().told = told;
    let Ok(body) = sim.insist("Scan", json!({"TableName": TABLE, "ConsistentRead": true})).await else {
        sim.notice(Violation::new("a table that exists is found", format!("the last Scan of {TABLE} fails")));
        return deleted;
    };
    let left = body["Items"].as_array().cloned().unwrap_or_default();
    let now = sim.cluster.up().first().map_or(0, |server| server.log.clock().store().seconds());
    for item in &left {
        let t = item["t"]["N"].as_str().and_then(|t| t.parse::<i64>().ok());
        // Jobs look twice a second, and nodes' clocks are a few seconds apart.
        if t.is_some_and(|t| t < now - 10) {
            sim.notice(Violation::new("what has expired goes", format!("{item} is there at {now}")));
        }
        let pk = item["pk"]["S"].as_str().unwrap_or_default();
        if items.get(pk) != Some(item) {
            sim.notice(Violation::new(
                "the table is the fold of its stream",
                format!("{item} for {:?}", items.get(pk)),
            ));
        }
    }
    if left.len() != items.len() {
        let text = format!("{} items for {}", left.len(), items.len());
        sim.notice(Violation::new("the table is the fold of its stream", text));
    }
    deleted
}
