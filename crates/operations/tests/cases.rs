//! Every case of `cases/*.json` against the operations in this process: memory engine, log, simulated time.
//!
//! The files say nothing of this harness, so that they can be replayed against any endpoint.

#[allow(dead_code)]
mod memory;

use std::collections::BTreeMap;

use headwater_cases::runner::KINESIS;
use headwater_cases::{Cases, Names, Run};
use serde_json::{Value, json};

use memory::InProcess;

/// What the operations of this version are; each must be judged by a case.
const BUILT: [&str; 59] = [
    "BatchExecuteStatement",
    "BatchGetItem",
    "BatchWriteItem",
    "CreateBackup",
    "CreateGlobalTable",
    "CreateTable",
    "DeleteBackup",
    "DeleteItem",
    "DeleteResourcePolicy",
    "DeleteTable",
    "DescribeBackup",
    "DescribeContinuousBackups",
    "DescribeContributorInsights",
    "DescribeEndpoints",
    "DescribeExport",
    "DescribeGlobalTable",
    "DescribeGlobalTableSettings",
    "DescribeImport",
    "DescribeKinesisStreamingDestination",
    "DescribeLimits",
    "DescribeStream",
    "DescribeTable",
    "DescribeTableReplicaAutoScaling",
    "DisableKinesisStreamingDestination",
    "EnableKinesisStreamingDestination",
    "ExecuteStatement",
    "ExecuteTransaction",
    "ExportTableToPointInTime",
    "GetItem",
    "GetRecords",
    "GetResourcePolicy",
    "GetShardIterator",
    "ImportTable",
    "ListBackups",
    "ListContributorInsights",
    "ListExports",
    "ListGlobalTables",
    "ListImports",
    "ListStreams",
    "ListTables",
    "ListTagsOfResource",
    "PutItem",
    "PutResourcePolicy",
    "Query",
    "RestoreTableFromBackup",
    "RestoreTableToPointInTime",
    "Scan",
    "TagResource",
    "TransactGetItems",
    "TransactWriteItems",
    "UntagResource",
    "UpdateContinuousBackups",
    "UpdateContributorInsights",
    "UpdateGlobalTable",
    "UpdateGlobalTableSettings",
    "UpdateItem",
    "UpdateKinesisStreamingDestination",
    "UpdateTable",
    "UpdateTableReplicaAutoScaling",
];

/// Operations of Kinesis, likewise; SubscribeToShard pushes, and is judged elsewhere.
const KINESIS_BUILT: [&str; 38] = [
    "AddTagsToStream",
    "CreateStream",
    "DecreaseStreamRetentionPeriod",
    "DeleteResourcePolicy",
    "DeleteStream",
    "DeregisterStreamConsumer",
    "DescribeAccountSettings",
    "DescribeLimits",
    "DescribeStream",
    "DescribeStreamConsumer",
    "DescribeStreamSummary",
    "DisableEnhancedMonitoring",
    "EnableEnhancedMonitoring",
    "GetRecords",
    "GetResourcePolicy",
    "GetShardIterator",
    "IncreaseStreamRetentionPeriod",
    "ListShards",
    "ListStreamConsumers",
    "ListStreams",
    "ListTagsForResource",
    "ListTagsForStream",
    "MergeShards",
    "PutRecord",
    "PutRecords",
    "PutResourcePolicy",
    "RegisterStreamConsumer",
    "RemoveTagsFromStream",
    "SplitShard",
    "StartStreamEncryption",
    "StopStreamEncryption",
    "TagResource",
    "UntagResource",
    "UpdateAccountSettings",
    "UpdateMaxRecordSize",
    "UpdateShardCount",
    "UpdateStreamMode",
    "UpdateStreamWarmThroughput",
];

#[test]
fn every_case_gets_the_answer_it_expects() {
    let cases = cases();
    let only = std::env::var("CASE").unwrap_or_default();
    let (mut passed, mut failures) = (0, Vec::new());
    let mut judged: BTreeMap<String, usize> = BTreeMap::new();
    for case in cases.all.iter().filter(|case| case.title().contains(&only)) {
        match run(case.text.clone(), cases.fixtures.clone()) {
            Ok(counts) => {
                passed += 1;
                counts.into_iter().for_each(|(operation, count)| *judged.entry(operation).or_default() += count);
            }
            Err(why) => failures.push(format!("{}\n    {why}", case.title())),
        }
    }
    println!("{passed} cases passed, {} failed; answers judged per operation: {judged:#?}", failures.len());
    assert!(failures.is_empty(), "{} cases failed:\n\n{}\n", failures.len(), failures.join("\n\n"));
    if only.is_empty() {
        assert!(passed >= 200, "only {passed} cases were run");
        let missing: Vec<&str> = BUILT.into_iter().filter(|operation| !judged.contains_key(*operation)).collect();
        assert!(missing.is_empty(), "no case judges {missing:?}");
        let judged = |operation: &&str| judged.contains_key(&format!("{KINESIS}{operation}"));
        let missing: Vec<&str> = KINESIS_BUILT.into_iter().filter(|operation| !judged(operation)).collect();
        assert!(missing.is_empty(), "no case judges {missing:?} of Kinesis");
    }
}

/// A runner that cannot fail proves nothing: each expectation is bent once, and each bend must be noticed.
#[test]
fn every_bent_expectation_is_noticed() {
    let cases = cases();
    let (mut bent, mut unnoticed) = (0, Vec::new());
    for case in &cases.all {
        let steps = case.text["steps"].as_array().expect("steps").len();
        for at in 0..steps {
            let mut altered = case.text.clone();
            if !bend(&mut altered["steps"][at]) {
                continue;
            }
            bent += 1;
            if run(altered, cases.fixtures.clone()).is_ok() {
                unnoticed.push(format!("{} step {}", case.title(), at + 1));
            }
        }
    }
    println!("{bent} expectations bent");
    assert!(bent >= 400, "only {bent} expectations were bent");
    assert!(unnoticed.is_empty(), "{} bends were not noticed: {unnoticed:#?}", unnoticed.len());
}

/// Makes a step expect something else; false when it expects nothing.
fn bend(step: &mut Value) -> bool {
    for whole in ["answer", "includes"] {
        if let Some(members) = step.get_mut(whole).and_then(Value::as_object_mut) {
            members.insert("Bent".to_owned(), json!("$any"));
            return true;
        }
    }
    if let Some(records) = step.get_mut("records").and_then(Value::as_array_mut) {
        records.push(json!({ "eventName": "BENT", "dynamodb": { "Keys": { "bent": { "S": "bent" } } } }));
        return true;
    }
    let Some(error) = step.get_mut("error") else { return false };
    match error.get("message").and_then(Value::as_str) {
        Some(text) => error["message"] = json!(format!("{text} bent")),
        None => error["code"] = json!("BentException"),
    }
    true
}

/// Runs one case in a world of its own.
fn run(case: Value, fixtures: Value) -> Result<BTreeMap<String, usize>, String> {
    memory::run(1, move |world| async move {
        let target = InProcess::open(&world, std::sync::Arc::new(headwater_api::AllowAll)).await;
        let mut run = Run::new(&target, names("case"));
        run.case(&case, &fixtures).await.map(|()| run.judged)
    })
}

fn names(table: &str) -> Names {
    let (region, account) = (memory::REGION, memory::ACCOUNT);
    [
        ("table", table.to_owned()),
        ("arn", format!("arn:aws:dynamodb:{region}:{account}:table/{table}")),
        ("kinesis", format!("arn:aws:kinesis:{region}:{account}:stream/{table}")),
        ("region", region.to_owned()),
        ("account", account.to_owned()),
        ("host", memory::HOST.to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), json!(value)))
    .collect()
}

fn cases() -> Cases {
    Cases::read(&Cases::folder()).expect("the cases are readable")
}
