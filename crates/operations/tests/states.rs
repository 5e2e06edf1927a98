//! Short states of tables and streams, and a store in trouble: who is refused, and with which words.

#[allow(dead_code)]
mod memory;

use std::sync::Arc;
use std::time::Duration;

use headwater_api::AllowAll;
use headwater_cases::Target;
use headwater_storage::memory::Faults;
use serde_json::{Value, json};

use memory::InProcess;

/// How long a short state lasts here, in pauses of the harness.
const SHORT: Duration = Duration::from_millis(200);

fn create() -> Value {
    json!({
        "TableName": "case", "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{ "AttributeName": "p", "AttributeType": "S" }],
        "KeySchema": [{ "AttributeName": "p", "KeyType": "HASH" }],
        "StreamSpecification": { "StreamEnabled": true, "StreamViewType": "KEYS_ONLY" },
    })
}

fn named() -> Value {
    json!({ "TableName": "case" })
}

fn put() -> Value {
    json!({ "TableName": "case", "Item": { "p": { "S": "a" } } })
}

fn stream_off() -> Value {
    json!({ "TableName": "case", "StreamSpecification": { "StreamEnabled": false } })
}

fn arn() -> String {
    format!("arn:aws:dynamodb:{}:{}:table/case", memory::REGION, memory::ACCOUNT)
}

fn tag() -> Value {
    json!({ "ResourceArn": arn(), "Tags": [{ "Key": "k", "Value": "v" }] })
}

fn policy() -> Value {
    let policy = r#"{"Statement":{"Effect":"Deny","Principal":"*","Action":"dynamodb:*","Resource":"*"}}"#;
    json!({ "ResourceArn": arn(), "Policy": policy })
}

fn update(member: &str, value: Value) -> Value {
    json!({ "TableName": "case", member: value })
}

/// The code and text of a refusal.
async fn refusal(target: &InProcess, operation: &str, request: Value) -> (String, String) {
    let (status, body) = target.send(operation, &request).await;
    assert_ne!(status, 200, "{operation} is not refused: {body}");
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    (text("__type").rsplit('#').next().unwrap_or_default().to_owned(), text("message"))
}

async fn answer(target: &InProcess, operation: &str, request: Value) -> Value {
    let (status, body) = target.send(operation, &request).await;
    assert_eq!(status, 200, "{operation}: {body}");
    body
}

async fn settled(target: &InProcess) -> bool {
    for _ in 0..1_000 {
        let (status, body) = target.send("DescribeTable", &named()).await;
        if status != 200 {
            return false;
        }
        if body.pointer("/Table/TableStatus") == Some(&json!("ACTIVE")) {
            return true;
        }
        target.pause().await;
    }
    panic!("the table stays in a short state");
}

#[test]
fn short_states_are_seen_and_refuse_what_the_service_refuses() {
    memory::run(1, |world| async move {
        let target = InProcess::open_with(&world, Arc::new(AllowAll), SHORT).await;
        let not_found = ("ResourceNotFoundException".to_owned(), "Requested resource not found".to_owned());
        let in_use = |why: &str| {
            let text = format!("Attempt to change a resource which is still in use: {why}");
            ("ResourceInUseException".to_owned(), text)
        };
        let created = answer(&target, "CreateTable", create()).await;
        assert_eq!(created["TableDescription"]["TableStatus"], "CREATING");
        let text = "Cannot describe time to live while table is in CREATING state: Current table state is CREATING";
        assert_eq!(refusal(&target, "DescribeTimeToLive", named()).await.1, text);
        let expiry =
            json!({ "TableName": "case", "TimeToLiveSpecification": { "Enabled": true, "AttributeName": "ttl" } });
        assert_eq!(refusal(&target, "UpdateTimeToLive", expiry.clone()).await, in_use("Table case is being created"));
        assert_eq!(refusal(&target, "PutItem", put()).await, not_found);
        assert_eq!(refusal(&target, "Scan", named()).await, not_found);
        assert_eq!(refusal(&target, "DeleteTable", named()).await, in_use("Table is being created: case"));
        assert_eq!(refusal(&target, "UpdateTable", stream_off()).await, in_use("Table is being created: case"));
        assert_eq!(refusal(&target, "CreateTable", create()).await, in_use("Table is being created: case"));
        assert_eq!(refusal(&target, "TagResource", tag()).await, in_use("Table is being created: case"));
        assert_eq!(refusal(&target, "PutResourcePolicy", policy()).await, in_use("Table is being created: case"));
        assert!(settled(&target).await);
        let (code, text) = refusal(&target, "CreateTable", create()).await;
        assert_eq!((code.as_str(), text.as_str()), ("ResourceInUseException", "Table already exists: case"));

        let arn = answer(&target, "DescribeTable", named()).await["Table"]["LatestStreamArn"].clone();
        let status = async || {
            let described = answer(&target, "DescribeStream", json!({ "StreamArn": arn })).await;
            described["StreamDescription"]["StreamStatus"].as_str().unwrap_or_default().to_owned()
        };
        assert_eq!(status().await, "ENABLED");
        let updated = answer(&target, "UpdateTable", stream_off()).await;
        assert_eq!(updated["TableDescription"]["TableStatus"], "UPDATING");
        assert_eq!(status().await, "DISABLING");
        answer(&target, "PutItem", put()).await;
        let moving = in_use("Cannot delete table while stream is being enabled/disabled.");
        assert_eq!(refusal(&target, "DeleteTable", named()).await, moving);
        assert!(settled(&target).await);
        assert_eq!(status().await, "DISABLED");

        let deleted = answer(&target, "DeleteTable", named()).await;
        assert_eq!(deleted["TableDescription"]["TableStatus"], "DELETING");
        let text = "Cannot describe time to live while table is in DELETING state: Current table state is DELETING";
        assert_eq!(refusal(&target, "DescribeTimeToLive", named()).await.1, text);
        assert_eq!(refusal(&target, "UpdateTimeToLive", expiry).await, in_use("Table case is being deleted"));
        assert_eq!(refusal(&target, "PutItem", put()).await, not_found);
        assert_eq!(refusal(&target, "DeleteTable", named()).await, in_use("Table is being deleted: case"));
        assert_eq!(refusal(&target, "TagResource", tag()).await, in_use("Table is being deleted: case"));
        assert_eq!(refusal(&target, "PutResourcePolicy", policy()).await, in_use("Table is being deleted: case"));
        assert!(!settled(&target).await, "the table is gone at last");
        assert_eq!(status().await, "DISABLED");
    });
}

#[test]
fn consumers_of_a_tables_stream_have_their_states_also_without_the_table() {
    memory::run(1, |world| async move {
        let target = InProcess::open_with(&world, Arc::new(AllowAll), SHORT).await;
        answer(&target, "CreateTable", create()).await;
        assert!(settled(&target).await);
        let arn = answer(&target, "DescribeTable", named()).await["Table"]["LatestStreamArn"].clone();
        let of = |name: &str| json!({ "StreamARN": arn, "ConsumerName": name });
        let state = async |name: &str| {
            let (status, body) = target.send("kinesis:DescribeStreamConsumer", &of(name)).await;
            let shown = body.pointer("/ConsumerDescription/ConsumerStatus").and_then(Value::as_str);
            (status == 200).then(|| shown.unwrap_or_default().to_owned())
        };
        let becomes = async |name: &str, wanted: Option<&str>| {
            for _ in 0..1_000 {
                if state(name).await.as_deref() == wanted {
                    return;
                }
                target.pause().await;
            }
            panic!("{name} never becomes {wanted:?}");
        };
        for (name, table_is_there) in [("early", true), ("late", false)] {
            if !table_is_there {
                answer(&target, "DeleteTable", named()).await;
                assert!(!settled(&target).await, "the table is gone at last");
            }
            let made = answer(&target, "kinesis:RegisterStreamConsumer", of(name)).await;
            assert_eq!(made["Consumer"]["ConsumerStatus"], "CREATING");
            let (code, _) = refusal(&target, "kinesis:DeregisterStreamConsumer", of(name)).await;
            assert_eq!(code, "ResourceInUseException");
            becomes(name, Some("ACTIVE")).await;
            answer(&target, "kinesis:DeregisterStreamConsumer", of(name)).await;
            assert_eq!(state(name).await.as_deref(), Some("DELETING"));
            becomes(name, None).await;
        }
    });
}

#[test]
fn while_throughput_changes_some_things_may_change_too() {
    memory::run(1, |world| async move {
        let target = InProcess::open_with(&world, Arc::new(AllowAll), SHORT).await;
        answer(&target, "CreateTable", create()).await;
        assert!(settled(&target).await);
        let units = |units: u32| json!({ "ReadCapacityUnits": units, "WriteCapacityUnits": units });
        let provisioned =
            json!({ "TableName": "case", "BillingMode": "PROVISIONED", "ProvisionedThroughput": units(1) });
        let updated = answer(&target, "UpdateTable", provisioned).await;
        assert_eq!(updated["TableDescription"]["TableStatus"], "UPDATING");

        let busy = |why: &str| {
            let text = format!("Attempt to change a resource which is still in use: {why}");
            ("ResourceInUseException".to_owned(), text)
        };
        let more = update("ProvisionedThroughput", units(2));
        let iops = busy("Table IOPS are currently being updated. Table: case");
        assert_eq!(refusal(&target, "UpdateTable", more.clone()).await, iops);
        let stream = busy("Can't enable or disable stream while table IOPS are being updated. Table: case");
        assert_eq!(refusal(&target, "UpdateTable", stream_off()).await, stream);
        let limits = update("OnDemandThroughput", json!({ "MaxReadRequestUnits": 5 }));
        let text = busy("OnDemandThroughput cannot be updated while BillingMode update is in progress");
        assert_eq!(refusal(&target, "UpdateTable", limits).await, text);
        let text = busy("Table: case is in the process of being updated.");
        assert_eq!(refusal(&target, "DeleteTable", named()).await, text);

        for request in [
            update("WarmThroughput", json!({ "ReadUnitsPerSecond": 13_000 })),
            update("DeletionProtectionEnabled", json!(true)),
        ] {
            let updated = answer(&target, "UpdateTable", request).await;
            assert_eq!(updated["TableDescription"]["TableStatus"], "UPDATING", "the short state goes on");
        }
        answer(&target, "TagResource", tag()).await;
        answer(&target, "PutResourcePolicy", policy()).await;
        assert!(settled(&target).await);
        let table = &answer(&target, "DescribeTable", named()).await["Table"];
        assert_eq!((&table["DeletionProtectionEnabled"], &table["TableStatus"]), (&json!(true), &json!("ACTIVE")));
        assert_eq!(table["WarmThroughput"]["ReadUnitsPerSecond"], 13_000);
        let tags = answer(&target, "ListTagsOfResource", json!({ "ResourceArn": arn() })).await;
        assert_eq!(tags["Tags"], tag()["Tags"]);

        let limits = update("DeletionProtectionEnabled", json!(false));
        let updated = answer(&target, "UpdateTable", limits).await;
        assert_eq!(updated["TableDescription"]["TableStatus"], "ACTIVE", "protection changes at once");
        assert_eq!(answer(&target, "UpdateTable", more).await["TableDescription"]["TableStatus"], "UPDATING");
    });
}

#[test]
fn policies_of_streams_that_are_gone_are_forgotten() {
    memory::run(1, |world| async move {
        let target = InProcess::open(&world, Arc::new(AllowAll)).await;
        answer(&target, "CreateTable", create()).await;
        let put = async || {
            let stream = answer(&target, "DescribeTable", named()).await["Table"]["LatestStreamArn"].clone();
            let mut request = policy();
            request["ResourceArn"] = stream.clone();
            answer(&target, "PutResourcePolicy", request).await;
            json!({ "ResourceArn": stream })
        };
        let kept = || {
            let catalog = target.log.catalog().expect("open");
            let scope = headwater_types::Scope::new(memory::ACCOUNT, memory::REGION);
            let table = catalog.table(&scope, "case").cloned().expect("there");
            table.recorded.get("StreamResourcePolicies").and_then(Value::as_object).map_or(0, serde_json::Map::len)
        };
        let first = put().await;
        answer(&target, "UpdateTable", stream_off()).await;
        let on = json!({ "StreamEnabled": true, "StreamViewType": "KEYS_ONLY" });
        answer(&target, "UpdateTable", update("StreamSpecification", on)).await;
        put().await;
        assert_eq!(kept(), 2, "a stream that is off is still there");
        target.advance(25 * 3_600_000).await.expect("time moves");
        assert_eq!(refusal(&target, "GetResourcePolicy", first).await.0, "ResourceNotFoundException");
        answer(&target, "DeleteResourcePolicy", put().await).await;
        assert_eq!(kept(), 1);
    });
}

#[test]
fn a_full_disk_is_told_by_name_and_passes() {
    memory::run(1, |world| async move {
        let target = InProcess::open(&world, Arc::new(AllowAll)).await;
        answer(&target, "CreateTable", create()).await;
        target.cell.set_faults(Faults { full: 10_000, ..Faults::NONE });
        let (code, text) = refusal(&target, "PutItem", put()).await;
        assert_eq!(code, "ThrottlingException");
        assert_eq!(text, "The server's disk is full: writes are refused until there is space again");
        let batch = json!({ "RequestItems": { "case": [{ "PutRequest": { "Item": { "p": { "S": "b" } } } }] } });
        assert_eq!(refusal(&target, "BatchWriteItem", batch.clone()).await.0, "ThrottlingException");
        assert_eq!(answer(&target, "Scan", named()).await["Count"], 0, "reads go on, and nothing was written");
        target.cell.set_faults(Faults::NONE);
        assert_eq!(answer(&target, "BatchWriteItem", batch).await, json!({ "UnprocessedItems": {} }));
        answer(&target, "PutItem", put()).await;
        assert_eq!(answer(&target, "Scan", named()).await["Count"], 2);
    });
}

#[test]
fn a_closed_store_is_an_error_of_the_server() {
    memory::run(1, |world| async move {
        let target = InProcess::open(&world, Arc::new(AllowAll)).await;
        answer(&target, "CreateTable", create()).await;
        target.log.close().await.expect("it closes");
        let (status, body) = target.send("PutItem", &put()).await;
        assert_eq!((status, body["message"].as_str()), (500, Some("Internal server error")), "{body}");
        let error = target.call("PutItem", put().to_string().as_bytes()).await.expect_err("closed");
        assert!(error.cause().is_some_and(|cause| cause.contains("closed")), "the log learns why: {error:?}");
    });
}

#[test]
fn an_index_in_a_short_state_keeps_its_table_busy() {
    memory::run(1, |world| async move {
        let target = InProcess::open_with(&world, Arc::new(AllowAll), SHORT).await;
        let units = |units: u32| json!({ "ReadCapacityUnits": units, "WriteCapacityUnits": units });
        let mut table = create();
        table["BillingMode"] = json!("PROVISIONED");
        table["ProvisionedThroughput"] = units(1);
        let index = |name: &str, attribute: &str| {
            json!({
                "IndexName": name, "KeySchema": [{ "AttributeName": attribute, "KeyType": "HASH" }],
                "Projection": { "ProjectionType": "ALL" }, "ProvisionedThroughput": units(1),
            })
        };
        let definition = |name: &str| json!({ "AttributeName": name, "AttributeType": "S" });
        table["AttributeDefinitions"] = json!([definition("p"), definition("g")]);
        table["GlobalSecondaryIndexes"] = json!([index("old", "g")]);
        let created = answer(&target, "CreateTable", table).await;
        assert_eq!(created["TableDescription"]["GlobalSecondaryIndexes"][0]["IndexStatus"], "CREATING");
        assert!(settled(&target).await);

        let busy = |why: &str| {
            let text = format!("Attempt to change a resource which is still in use: {why}");
            ("ResourceInUseException".to_owned(), text)
        };
        let change = |action: &str, value: Value| update("GlobalSecondaryIndexUpdates", json!([{ action: value }]));
        let make = |name: &str| {
            let mut request = change("Create", index(name, "x"));
            request["AttributeDefinitions"] = json!([definition("x")]);
            request
        };
        let remove = |name: &str| change("Delete", json!({ "IndexName": name }));
        let alter = |name: &str, to| change("Update", json!({ "IndexName": name, "ProvisionedThroughput": units(to) }));
        let indexes =
            async || answer(&target, "DescribeTable", named()).await["Table"]["GlobalSecondaryIndexes"].clone();

        let made = answer(&target, "UpdateTable", make("new")).await["TableDescription"].clone();
        assert_eq!(made["TableStatus"], "UPDATING");
        let new = &made["GlobalSecondaryIndexes"][1];
        assert_eq!((&new["IndexStatus"], &new["Backfilling"]), (&json!("CREATING"), &json!(false)));
        let text = "Can't change table IOPS when an index is being created. Table: case Indexes: [new]";
        assert_eq!(refusal(&target, "UpdateTable", update("ProvisionedThroughput", units(2))).await, busy(text));
        let text = "Can't change stream status when an index is being created. Table: case Indexes: [new]";
        assert_eq!(refusal(&target, "UpdateTable", stream_off()).await, busy(text));
        let text = "Index is being created but is not backfilling yet. Table: case Index: new";
        assert_eq!(refusal(&target, "UpdateTable", alter("new", 2)).await, busy(text));
        let text = "Index creation is in resource allocation phase. Retry deletion during backfilling phase or when the \
                    index is active. Table: case Index: new";
        assert_eq!(refusal(&target, "UpdateTable", remove("new")).await, busy(text));
        let text = "Cannot delete table while indexes are being created, updated, or deleted.";
        assert_eq!(refusal(&target, "DeleteTable", named()).await, busy(text));
        for request in [make("newer"), remove("old")] {
            assert_eq!(refusal(&target, "UpdateTable", request).await.0, "LimitExceededException");
        }
        answer(&target, "UpdateTable", update("DeletionProtectionEnabled", json!(true))).await;
        answer(&target, "UpdateTable", update("DeletionProtectionEnabled", json!(false))).await;
        answer(&target, "UpdateTable", alter("old", 3)).await;
        assert!(settled(&target).await);
        target.pause().await;
        assert_eq!(indexes().await[1]["IndexStatus"], "ACTIVE");

        let altered = answer(&target, "UpdateTable", alter("old", 4)).await["TableDescription"].clone();
        assert_eq!(altered["TableStatus"], "ACTIVE", "only the index is seen to change");
        assert_eq!(altered["GlobalSecondaryIndexes"][0]["IndexStatus"], "UPDATING");
        let text = "Index is being updated. Table: case Index: old";
        assert_eq!(refusal(&target, "UpdateTable", alter("old", 5)).await, busy(text));
        answer(&target, "UpdateTable", alter("new", 5)).await;
        target.advance(1).await.expect("time moves");
        for _ in 0..100 {
            target.pause().await;
        }
        assert_eq!(indexes().await[0]["IndexStatus"], "ACTIVE");

        let iops = answer(&target, "UpdateTable", update("ProvisionedThroughput", units(7))).await;
        assert_eq!(iops["TableDescription"]["TableStatus"], "UPDATING");
        let text = "Can't create or delete indexes while table IOPS are being updated. Table: case";
        assert_eq!(refusal(&target, "UpdateTable", make("newer")).await, busy(text));
        assert_eq!(refusal(&target, "UpdateTable", remove("old")).await, busy(text));
        assert!(settled(&target).await);
        answer(&target, "UpdateTable", stream_off()).await;
        let text = "Can't create or delete an index when stream status is being updated.";
        assert_eq!(refusal(&target, "UpdateTable", remove("old")).await, busy(text));
        assert!(settled(&target).await);

        let removed = answer(&target, "UpdateTable", remove("old")).await["TableDescription"].clone();
        assert_eq!(
            (&removed["TableStatus"], removed["GlobalSecondaryIndexes"].as_array().map_or(0, Vec::len)),
            (&json!("UPDATING"), 2)
        );
        let text = "Can't change table IOPS when an index is being deleted. Table: case Indexes: [old]";
        assert_eq!(refusal(&target, "UpdateTable", update("BillingMode", json!("PAY_PER_REQUEST"))).await, busy(text));
        let text = "Index is being deleted. Table: case Index: old";
        assert_eq!(refusal(&target, "UpdateTable", remove("old")).await, busy(text));
        let mut again = make("old");
        again["GlobalSecondaryIndexUpdates"][0]["Create"]["IndexName"] = json!("old");
        assert_eq!(refusal(&target, "UpdateTable", again).await, busy(text));
        answer(&target, "UpdateTable", update("SSESpecification", json!({ "Enabled": true, "SSEType": "KMS" }))).await;
        assert!(settled(&target).await);
        target.pause().await;
        assert_eq!(indexes().await.as_array().map_or(0, Vec::len), 1);

        let switched = answer(&target, "UpdateTable", update("BillingMode", json!("PAY_PER_REQUEST"))).await;
        assert_eq!(switched["TableDescription"]["TableStatus"], "UPDATING");
        assert!(settled(&target).await);
        answer(&target, "UpdateTable", remove("new")).await;
        answer(&target, "UpdateTable", update("BillingMode", json!("PAY_PER_REQUEST"))).await;
        let text = "OnDemandThroughput cannot be updated while index deletion is in progress for indexes: [new]";
        let limits = update("OnDemandThroughput", json!({ "MaxReadRequestUnits": 5 }));
        assert_eq!(refusal(&target, "UpdateTable", limits).await, busy(text));
    });
}
