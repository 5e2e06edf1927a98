//! Runs cases against a target.

use std::collections::BTreeMap;
use std::future::Future;

use serde_json::{Value, json};

use crate::expand::{Names, expand};
use crate::matching::{Rule, matches, unordered};

/// Where requests go.
pub trait Target {
    /// Sends one request; HTTP status and body come back.
    fn send(&self, operation: &str, request: &Value) -> impl Future<Output = (u16, Value)>;
    /// Whether it has what a step requires.
    fn offers(&self, requirement: &str) -> bool;
    /// Waits a moment.
    fn pause(&self) -> impl Future<Output = ()>;
    /// Whether what follows from moved time comes by itself, a moment later.
    fn follows_later(&self) -> bool {
        false
    }
    /// Moves the store's clock.
    fn advance(&self, ms: u64) -> impl Future<Output = Result<(), String>>;
    /// Splits or rolls over the case's table's first shard.
    fn control(&self, verb: &str, table: &str) -> impl Future<Output = Result<(), String>>;
}

/// How often a short state, or a record on its way, is waited for.
const PAUSES_MAX: usize = 100;

/// Stands before the operations of Kinesis, whose names are partly those of the other two APIs.
pub const KINESIS: &str = "kinesis:";

/// Longest token of a request. Source: "TransactWriteItems", DynamoDB API reference.
const TOKEN_CHARACTERS_MAX: usize = 36;

/// One run of one case.
pub struct Run<'t, T> {
    /// Where its requests go.
    pub target: &'t T,
    /// What stands for what so far.
    pub names: Names,
    /// Requests whose answer was judged, per operation.
    pub judged: BTreeMap<String, usize>,
    /// The table that the last step changed, perhaps still in a short state.
    changed: Option<Value>,
    /// The table whose indexes a step changed; how they change is looked at by what follows.
    reindexed: Option<Value>,
    /// The data stream that the last step changed, itself or its consumers.
    stream: Option<String>,
    /// The table whose expiry a step switched.
    expiring: Option<Value>,
    /// The table whose Kinesis destination a step changed.
    replicated: Option<Value>,
    /// A step moved time or shards.
    moved: bool,
}

impl<'t, T: Target> Run<'t, T> {
    /// A run that has judged nothing yet.
    pub fn new(target: &'t T, names: Names) -> Self {
        let judged = BTreeMap::new();
        Self {
            target,
            names,
            judged,
            changed: None,
            reindexed: None,
            stream: None,
            expiring: None,
            replicated: None,
            moved: false,
        }
    }

    /// Runs a case; the error names the step.
    pub async fn case(&mut self, case: &Value, fixtures: &Value) -> Result<(), String> {
        for fixture in case["setup"].as_array().into_iter().flatten() {
            let name = fixture.as_str().unwrap_or_default();
            let request = fixtures.get(name).ok_or(format!("no fixture {name}"))?;
            let step = json!({ "operation": "CreateTable", "request": request, "wait": "$table" });
            self.step(&step).await.map_err(|why| format!("setup {name}: {why}"))?;
        }
        let steps = case["steps"].as_array().filter(|steps| !steps.is_empty()).ok_or("no steps")?;
        for (at, step) in steps.iter().enumerate() {
            let operation = step["operation"].as_str().unwrap_or("no request");
            self.step(step).await.map_err(|why| format!("step {}, {operation}: {why}", at + 1))?;
        }
        Ok(())
    }

    async fn step(&mut self, step: &Value) -> Result<(), String> {
        if step["requires"].as_str().is_some_and(|requirement| !self.target.offers(requirement)) {
            return Ok(());
        }
        if step["operation"] != "DescribeTable" {
            self.settle().await;
        }
        if let Some(ms) = step["advance_ms"].as_u64() {
            self.target.advance(ms).await?;
            self.moved = true;
            self.changed = self.reindexed.take();
            self.settle().await;
            self.settle_expiry().await;
            return Ok(());
        }
        if let Some(verb) = step["control"].as_str() {
            return self.target.control(verb, self.names["table"].as_str().unwrap_or_default()).await;
        }
        if let Some(records) = step["records"].as_array() {
            return self.records(records, &step["stream"]).await;
        }
        let operation = step["operation"].as_str().ok_or("neither an operation nor a verb")?;
        let (status, answer) = self.answer(operation, step).await?;
        let judged = step.get("answer").or(step.get("includes")).or(step.get("error")).is_some();
        if judged {
            *self.judged.entry(operation.to_owned()).or_default() += 1;
        }
        for (name, pointer) in step["save"].as_object().into_iter().flatten() {
            let pointer = pointer.as_str().unwrap_or_default();
            let value = answer.pointer(pointer).ok_or(format!("nothing to save at {pointer} of {answer}"))?;
            self.names.insert(name.clone(), value.clone());
        }
        if status == 200 && operation == "UpdateTimeToLive" {
            self.expiring = Some(step["request"]["TableName"].clone());
        }
        if status == 200 && operation.ends_with("KinesisStreamingDestination") && !operation.starts_with("Describe") {
            self.replicated = Some(step["request"]["TableName"].clone());
        }
        if status == 200 && matches!(operation, "CreateTable" | "UpdateTable" | "DeleteTable") {
            let request = &step["request"];
            let mut updates = request["GlobalSecondaryIndexUpdates"].as_array().into_iter().flatten();
            let indexes = updates.any(|update| update.get("Update").is_none());
            let changed = if indexes { &mut self.reindexed } else { &mut self.changed };
            *changed = Some(request["TableName"].clone());
        }
        if status == 200 && changes_a_stream(operation) {
            self.stream = stream_of(&expand(&step["request"], &self.names));
        }
        match step["wait"].as_str() {
            Some(table) => self.wait(table).await,
            None => Ok(()),
        }
    }

    /// Sends a step's request and judges the answer; a read after moved time is repeated while what follows is on its way.
    async fn answer(&self, operation: &str, step: &Value) -> Result<(u16, Value), String> {
        let reads = ["BatchGet", "Describe", "Get", "List", "Query", "Scan", "TransactGet"];
        let verb = operation.trim_start_matches(KINESIS);
        let patient = self.moved && self.target.follows_later() && reads.iter().any(|read| verb.starts_with(read));
        let mut pauses = if patient { PAUSES_MAX } else { 0 };
        loop {
            let (status, answer) = self.send(operation, &step["request"]).await;
            let verdict = match step.get("error") {
                Some(expected) => self.refused(expected, status, &answer),
                None if status != 200 => Err(format!("{operation} answers {status} {answer}")),
                None => self.answered(step, &answer),
            };
            match verdict {
                Ok(()) => return Ok((status, answer)),
                Err(why) if pauses == 0 => return Err(why),
                Err(_) => pauses -= 1,
            }
            self.target.pause().await;
        }
    }

    /// Waits until the table that was changed last has settled or is gone; whether it has, the next answer will tell.
    async fn settle(&mut self) {
        self.settle_stream().await;
        self.settle_destination().await;
        let Some(table) = self.changed.take() else { return };
        for _ in 0..PAUSES_MAX {
            let (status, answer) = self.send("DescribeTable", &json!({ "TableName": table })).await;
            if status != 200 || active(&answer) {
                return;
            }
            self.target.pause().await;
        }
    }

    /// The same for a data stream and its consumers.
    async fn settle_stream(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        let named = json!({ "StreamName": stream });
        for _ in 0..PAUSES_MAX {
            let (status, answer) = self.send("kinesis:DescribeStreamSummary", &named).await;
            let summary = &answer["StreamDescriptionSummary"];
            if status != 200 {
                return;
            }
            let of = json!({ "StreamARN": summary["StreamARN"] });
            let (_, consumers) = self.send("kinesis:ListStreamConsumers", &of).await;
            let mut consumers = consumers["Consumers"].as_array().into_iter().flatten();
            let settled = summary["StreamStatus"] == "ACTIVE" && consumers.all(|one| one["ConsumerStatus"] == "ACTIVE");
            if settled {
                return;
            }
            self.target.pause().await;
        }
    }

    /// Waits until a Kinesis destination that was changed is on or off.
    async fn settle_destination(&mut self) {
        let Some(table) = self.replicated.take() else { return };
        for _ in 0..PAUSES_MAX {
            let (_, answer) = self.send("DescribeKinesisStreamingDestination", &json!({ "TableName": table })).await;
            let mut destinations = answer["KinesisDataStreamDestinations"].as_array().into_iter().flatten();
            if !destinations.any(|one| one["DestinationStatus"].as_str().is_some_and(|status| status.ends_with("ING")))
            {
                return;
            }
            self.target.pause().await;
        }
    }

    /// Waits until expiry that was switched is on or off.
    async fn settle_expiry(&mut self) {
        let Some(table) = self.expiring.take() else { return };
        for _ in 0..PAUSES_MAX {
            let (_, answer) = self.send("DescribeTimeToLive", &json!({ "TableName": table })).await;
            let status = answer.pointer("/TimeToLiveDescription/TimeToLiveStatus").and_then(Value::as_str);
            if !status.is_some_and(|status| status.ends_with("ING")) {
                return;
            }
            self.target.pause().await;
        }
    }

    async fn send(&self, operation: &str, request: &Value) -> (u16, Value) {
        let mut request = expand(request, &self.names);
        if let Some(Value::String(token)) = request.get_mut("ClientRequestToken") {
            *token = own_token(token, self.names["table"].as_str().unwrap_or_default());
        }
        self.target.send(operation, &request).await
    }

    fn answered(&self, step: &Value, answer: &Value) -> Result<(), String> {
        let (rule, expected) = match (step.get("answer"), step.get("includes")) {
            (Some(expected), _) => (Rule::Whole, expected),
            (None, Some(expected)) => (Rule::Includes, expected),
            (None, None) => return Ok(()),
        };
        let (mut expected, mut answer) = (expand(expected, &self.names), answer.clone());
        for pointer in step["unordered"].as_array().into_iter().flatten() {
            let pointer = expand(pointer, &self.names);
            let pointer = pointer.as_str().unwrap_or_default();
            let take = |value: &mut Value| value.pointer_mut(pointer).map(Value::take);
            if let (Some(Value::Array(wanted)), Some(Value::Array(found))) = (take(&mut expected), take(&mut answer)) {
                unordered(&wanted, &found, rule, &self.names, pointer)?;
            }
        }
        matches(&expected, Some(&answer), rule, &self.names, "")
    }

    fn refused(&self, expected: &Value, status: u16, answer: &Value) -> Result<(), String> {
        let expected = expand(expected, &self.names);
        let code = answer["__type"].as_str().and_then(|name| name.rsplit('#').next()).unwrap_or_default();
        let message = answer.get("message").or(answer.get("Message"));
        let wanted = expected["status"].as_u64().unwrap_or(400);
        if expected["code"] != code || u64::from(status) != wanted {
            return Err(format!("{wanted} {} expected, found {status} {answer}", expected["code"]));
        }
        if let Some(text) = expected.get("message")
            && Some(text) != message
        {
            return Err(format!("text expected: {text}\n    text found:    {}", message.unwrap_or(&Value::Null)));
        }
        if let Some(part) = expected["contains"].as_str()
            && !message.and_then(Value::as_str).is_some_and(|text| text.contains(part))
        {
            return Err(format!("{part:?} expected in {answer}"));
        }
        match expected.get("members") {
            Some(members) => matches(members, Some(answer), Rule::Includes, &self.names, ""),
            None => Ok(()),
        }
    }

    async fn wait(&self, table: &str) -> Result<(), String> {
        let gone = table == "gone";
        let request = json!({ "TableName": if gone { "$table" } else { table } });
        for _ in 0..PAUSES_MAX {
            let (status, answer) = self.send("DescribeTable", &request).await;
            if gone && status != 200 || !gone && active(&answer) {
                return Ok(());
            }
            self.target.pause().await;
        }
        Err(format!("{table} stays in a short state"))
    }

    async fn records(&self, expected: &[Value], stream: &Value) -> Result<(), String> {
        let expected: Vec<Value> = expected.iter().map(|record| expand(record, &self.names)).collect();
        let mut found = self.read_all(stream).await?;
        for _ in 0..PAUSES_MAX {
            if found.len() >= expected.len() {
                break;
            }
            self.target.pause().await;
            found = self.read_all(stream).await?;
        }
        let keys = |record: &Value| record["dynamodb"]["Keys"].to_string();
        let mut per_item: BTreeMap<String, (Vec<Value>, Vec<Value>)> = BTreeMap::new();
        for record in expected {
            per_item.entry(keys(&record)).or_default().0.push(record);
        }
        for record in found {
            per_item.entry(keys(&record)).or_default().1.push(record);
        }
        for (item, (expected, found)) in per_item {
            let path = format!("records of {item}");
            matches(&Value::Array(expected), Some(&Value::Array(found)), Rule::Includes, &self.names, &path)?;
        }
        Ok(())
    }

    /// All records of a stream, shard after shard.
    async fn read_all(&self, stream: &Value) -> Result<Vec<Value>, String> {
        let stream = match stream {
            Value::Null => {
                let (_, table) = self.send("DescribeTable", &json!({ "TableName": "$table" })).await;
                table.pointer("/Table/LatestStreamArn").cloned().ok_or(format!("no stream: {table}"))?
            }
            given => expand(given, &self.names),
        };
        let (_, description) = self.send("DescribeStream", &json!({ "StreamArn": stream })).await;
        let shards = description.pointer("/StreamDescription/Shards").and_then(Value::as_array);
        let mut records = Vec::new();
        for shard in shards.ok_or(format!("no shards: {description}"))? {
            let request =
                json!({ "StreamArn": stream, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON" });
            let (_, answer) = self.send("GetShardIterator", &request).await;
            let mut iterator = answer.get("ShardIterator").cloned();
            while let Some(position) = iterator {
                let (status, page) = self.send("GetRecords", &json!({ "ShardIterator": position })).await;
                let read = page["Records"].as_array().ok_or(format!("{status} {page}"))?;
                records.extend(read.iter().cloned());
                iterator = page.get("NextShardIterator").filter(|_| !read.is_empty()).cloned();
            }
        }
        Ok(records)
    }
}

/// Whether an operation may leave a data stream or a consumer in a short state.
fn changes_a_stream(operation: &str) -> bool {
    const READS: [&str; 4] = ["Describe", "Get", "List", "Put"];
    operation.strip_prefix(KINESIS).is_some_and(|verb| !READS.iter().any(|read| verb.starts_with(read)))
}

/// The name of the data stream that a request is about.
fn stream_of(request: &Value) -> Option<String> {
    let of_arn = |name: &str| {
        let arn = request[name].as_str()?;
        arn.split_once(":stream/")?.1.split('/').next()
    };
    let name = request["StreamName"].as_str().or_else(|| of_arn("StreamARN"));
    name.or_else(|| of_arn("ConsumerARN")).or_else(|| of_arn("ResourceARN")).map(str::to_owned)
}

/// Whether a table and all its indexes have settled.
fn active(answer: &Value) -> bool {
    let indexes = answer.pointer("/Table/GlobalSecondaryIndexes").and_then(Value::as_array);
    answer.pointer("/Table/TableStatus") == Some(&json!("ACTIVE"))
        && indexes.into_iter().flatten().all(|index| index["IndexStatus"] == "ACTIVE")
}

/// A valid token with the table's name before or in it: tokens are known for ten minutes, to other cases and other runs
/// too.
fn own_token(token: &str, table: &str) -> String {
    if token.is_empty() || token.len() > TOKEN_CHARACTERS_MAX || token.starts_with(table) {
        return token.to_owned();
    }
    let own = format!("{table}{token}");
    if own.len() <= TOKEN_CHARACTERS_MAX {
        return own;
    }
    format!("{table}{}", token.get(table.len()..).unwrap_or_default())
}
