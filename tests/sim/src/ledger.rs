//! Transactions: items that are lists of the writes that touched them, appended to by transactions of several items over two
//! tables and by single updates, read one by one and several at one moment.
//!
//! A list tells the order of its item's writes, so the checker needs no search (after Elle's list-append).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Sim;
use crate::history::Violation;
use crate::server::Failure;

/// The tables; the first has a stream.
pub const TABLES: [&str; 2] = ["ledger-0", "ledger-1"];
const ITEMS: u64 = 4;
/// How often a request without an answer is sent again under its token.
const REPEATS_MAX: usize = 4;

/// An item: (table, partition key).
pub type Name = (String, String);

/// What became of an append.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Done.
    Done,
    /// A condition failed.
    Refused,
    /// Nobody knows.
    Lost,
}

/// An append of one number to several lists.
#[derive(Clone, Debug)]
pub struct Append {
    /// The number.
    pub id: u64,
    /// The lists.
    pub items: Vec<Name>,
    /// When it was first asked for.
    pub invoked: u64,
    /// When it was answered; later than everything when it never was.
    pub answered: u64,
    /// How it ended.
    pub end: End,
}

/// Lists as of one moment.
#[derive(Clone, Debug)]
pub struct Look {
    /// When it was asked for.
    pub invoked: u64,
    /// When it was answered.
    pub answered: u64,
    /// What was seen.
    pub lists: BTreeMap<Name, Vec<u64>>,
}

/// All that was seen of the ledger.
#[derive(Clone, Default, Debug)]
pub struct Ledger {
    /// Appends.
    pub appends: Vec<Append>,
    /// Reads.
    pub looks: Vec<Look>,
    /// Requests that were sent again under their token.
    pub repeated: u64,
    /// The lists in the end.
    pub last: BTreeMap<Name, Vec<u64>>,
    /// Per item of the first table, the numbers of its records in order.
    pub records: BTreeMap<String, Vec<u64>>,
}

/// Makes the tables.
pub async fn create(sim: &Arc<Sim>) {
    for (at, table) in TABLES.iter().enumerate() {
        let request = json!({
            "TableName": table,
            "AttributeDefinitions": [
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "w", "AttributeType": "N"},
            ],
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
            "GlobalSecondaryIndexes": [{
                "IndexName": "by-writer",
                "KeySchema": [{"AttributeName": "w", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }],
            "BillingMode": "PAY_PER_REQUEST",
            "StreamSpecification": if at == 0 {
                json!({"StreamEnabled": true, "StreamViewType": "NEW_IMAGE"})
            } else {
                json!({"StreamEnabled": false})
            },
        });
        match sim.insist("CreateTable", request).await {
            Ok(_) | Err(Failure::Refused { name: "ResourceInUseException", .. }) => {}
            Err(failure) => {
                sim.notice(Violation::new("a valid change of a table is done", format!("{table}: {failure:?}")));
            }
        }
    }
}

/// One client: so many requests.
pub async fn client(sim: Arc<Sim>, requests: u64) {
    for _ in 0..requests {
        let pause = sim.dice().time(sim.plan.pause_max + Duration::from_millis(1));
        sim.cluster.control().sleep(pause).await;
        match sim.dice().below(100) {
            0..55 => append(&sim).await,
            55..70 => single(&sim).await,
            70..90 => look(&sim).await,
            _ => get(&sim).await,
        }
    }
}

fn some_items(sim: &Sim, most: u64) -> Vec<Name> {
    let mut all: Vec<Name> =
        TABLES.iter().flat_map(|table| (0..ITEMS).map(|item| ((*table).to_owned(), format!("a{item}")))).collect();
    let count = sim.dice().between(1, most);
    (0..count).map(|_| all.swap_remove(sim.dice().below(all.len() as u64) as usize)).collect()
}

fn update(name: &Name, id: u64) -> Value {
    json!({
        "TableName": name.0,
        "Key": {"pk": {"S": name.1}},
        "UpdateExpression": "SET h = list_append(if_not_exists(h, :none), :new), w = :w",
        "ExpressionAttributeValues": {":none": {"L": []}, ":new": {"L": [{"N": id.to_string()}]}, ":w": {"N": id.to_string()}},
    })
}

fn with_condition(mut action: Value, condition: Option<u64>) -> Value {
    if let Some(most) = condition {
        action["ConditionExpression"] = json!("attribute_not_exists(h) OR size(h) < :most");
        action["ExpressionAttributeValues"][":most"] = json!({"N": most.to_string()});
        action["ReturnValuesOnConditionCheckFailure"] = json!("ALL_OLD");
    }
    action
}

/// A transaction, sent again under its token when it has no answer, now and then twice at once.
async fn append(sim: &Arc<Sim>) {
    let id = sim.history.lock().id();
    let items = some_items(sim, 4);
    let condition = sim.dice().percent(20).then(|| sim.dice().below(12));
    let actions: Vec<Value> =
        items.iter().map(|name| json!({"Update": with_condition(update(name, id), condition)})).collect();
    let body = json!({"TransactItems": actions, "ClientRequestToken": format!("t{id}")});
    let _in_use = sim.tokens.read().await;
    let invoked = sim.tick();
    let twin = sim.dice().percent(15).then(|| {
        let (sim, body) = (sim.clone(), body.clone());
        let control = sim.cluster.control();
        control.spawn(async move { sim.ask("TransactWriteItems", body, None).await })
    });
    let mut end = End::Lost;
    let mut seen = None;
    for repeat in 0..REPEATS_MAX {
        let hang_up = sim.dice().percent(10).then(|| sim.dice().time(Duration::from_millis(3)));
        sim.history.lock().ledger.repeated += u64::from(repeat > 0);
        match sim.ask("TransactWriteItems", body.clone(), hang_up).await {
            Ok(_) => end = End::Done,
            Err(Failure::Refused { name: "TransactionCanceledException", body }) => {
                end = End::Refused;
                seen = Some(body);
            }
            Err(_) => {
                sim.cluster.control().sleep(sim.dice().time(Duration::from_millis(20))).await;
                continue;
            }
        }
        break;
    }
    // A request that was refused may have been done by its twin, before or after.
    let twin = match twin {
        Some(twin) => twin.await.ok(),
        None => None,
    };
    if end == End::Refused && matches!(twin, Some(Ok(_))) {
        end = End::Done;
    } else if end == End::Refused
        && !matches!(twin, None | Some(Err(Failure::Refused { name: "TransactionCanceledException", .. })))
    {
        end = End::Lost;
    }
    let answered = sim.tick();
    if let (Some(body), End::Refused) = (seen, end) {
        refusal(sim, &items, condition, &body, invoked, answered);
    }
    finish(sim, Append { id, items, invoked, answered, end });
}

fn finish(sim: &Sim, mut append: Append) {
    if append.end == End::Lost {
        append.answered = u64::MAX;
    }
    sim.history.lock().ledger.appends.push(append);
}

/// What a cancelled transaction shows: each failed condition with its item, as of one moment.
fn refusal(sim: &Sim, items: &[Name], condition: Option<u64>, body: &Value, invoked: u64, answered: u64) {
    let reasons = body["CancellationReasons"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut lists = BTreeMap::new();
    for (name, reason) in items.iter().zip(reasons) {
        if reason["Code"] == "ConditionalCheckFailed" {
            let list = list(&reason["Item"]);
            if condition.is_none_or(|most| (list.len() as u64) < most) {
                sim.notice(Violation::new("a condition fails when it is false", format!("{name:?}: {reason}")));
            }
            lists.insert(name.clone(), list);
        }
    }
    if lists.is_empty() || reasons.len() != items.len() {
        sim.notice(Violation::new("a cancelled transaction says why", body.to_string()));
    }
    // Several reads of one transaction: they are of one moment.
    sim.history.lock().ledger.looks.push(Look { invoked, answered, lists });
}

fn list(item: &Value) -> Vec<u64> {
    let members = item["h"]["L"].as_array().map(Vec::as_slice).unwrap_or_default();
    members.iter().filter_map(|member| member["N"].as_str()?.parse().ok()).collect()
}

/// An update of one item alone.
async fn single(sim: &Arc<Sim>) {
    let id = sim.history.lock().id();
    let items = some_items(sim, 1);
    let invoked = sim.tick();
    let end = match sim.ask("UpdateItem", update(&items[0], id), None).await {
        Ok(_) => End::Done,
        Err(_) => End::Lost,
    };
    let answered = sim.tick();
    finish(sim, Append { id, items, invoked, answered, end });
}

/// Several items at one moment.
async fn look(sim: &Arc<Sim>) {
    let items = some_items(sim, 8);
    let gets: Vec<Value> =
        items.iter().map(|(table, pk)| json!({"Get": {"TableName": table, "Key": {"pk": {"S": pk}}}})).collect();
    let invoked = sim.tick();
    let Ok(body) = sim.ask("TransactGetItems", json!({"TransactItems": gets}), None).await else { return };
    let answered = sim.tick();
    let responses = body["Responses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let lists = items.into_iter().zip(responses.iter().map(|response| list(&response["Item"]))).collect();
    sim.history.lock().ledger.looks.push(Look { invoked, answered, lists });
}

/// One item.
async fn get(sim: &Arc<Sim>) {
    let name = some_items(sim, 1).swap_remove(0);
    let request = json!({"TableName": name.0, "Key": {"pk": {"S": name.1}}, "ConsistentRead": true});
    let invoked = sim.tick();
    let Ok(body) = sim.ask("GetItem", request, None).await else { return };
    let answered = sim.tick();
    let lists = [(name, list(&body["Item"]))].into();
    sim.history.lock().ledger.looks.push(Look { invoked, answered, lists });
}

/// Reads the lists and the records in the end.
pub async fn last_look(sim: &Arc<Sim>) {
    let mut last: BTreeMap<Name, Vec<u64>> = BTreeMap::new();
    for table in TABLES {
        let request = json!({"TableName": table, "ConsistentRead": true});
        let Ok(body) = sim.insist("Scan", request).await else {
            sim.notice(Violation::new("a table that exists is found", format!("the last Scan of {table} fails")));
            continue;
        };
        for item in body["Items"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let pk = item["pk"]["S"].as_str().unwrap_or_default().to_owned();
            last.insert((table.to_owned(), pk), list(item));
        }
    }
    let mut records: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for record in all_records(sim, TABLES[0]).await {
        let image = &record["dynamodb"]["NewImage"];
        let pk = image["pk"]["S"].as_str().unwrap_or_default().to_owned();
        records.entry(pk).or_default().extend(image["w"]["N"].as_str().and_then(|w| w.parse::<u64>().ok()));
    }
    let mut history = sim.history.lock();
    (history.ledger.last, history.ledger.records) = (last, records);
}

/// All records of a table's stream, shard after shard, parents first.
pub async fn all_records(sim: &Arc<Sim>, table: &str) -> Vec<Value> {
    let mut records = Vec::new();
    let Ok(described) = sim.insist("DescribeTable", json!({"TableName": table})).await else { return records };
    let arn = described["Table"]["LatestStreamArn"].clone();
    let Ok(stream) = sim.insist("DescribeStream", json!({"StreamArn": arn})).await else { return records };
    let shards = stream["StreamDescription"]["Shards"].as_array().cloned().unwrap_or_default();
    for shard in shards {
        let start = json!({"StreamArn": arn, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"});
        let Ok(answer) = sim.insist("GetShardIterator", start).await else { continue };
        let mut iterator = answer.get("ShardIterator").cloned();
        while let Some(position) = iterator {
            let Ok(page) = sim.insist("GetRecords", json!({"ShardIterator": position})).await else { break };
            let read = page["Records"].as_array().cloned().unwrap_or_default();
            iterator = page.get("NextShardIterator").filter(|_| !read.is_empty()).cloned();
            records.extend(read);
        }
    }
    records
}
