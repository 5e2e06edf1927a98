//! One connection to a server, and what every answer is held to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_credential_types::Credentials;
use bytes::Bytes;
use headwater_cases::http::{Answer, Authority, Connection};
use headwater_cases::runner::KINESIS;
use headwater_cases::signature::Signer;
use serde_json::{Value, json};

/// What was sent and answered.
#[derive(Clone, Default, Debug)]
pub struct Counts {
    /// Requests.
    pub requests: u64,
    /// Answers 200, per operation.
    pub answered: BTreeMap<String, u64>,
    /// Refusals by code.
    pub refused: BTreeMap<String, u64>,
    /// Tables written and read again after a batch.
    pub canaries: u64,
    /// Indexes and shards read after a batch.
    pub read_back: u64,
    /// Changes of bodies by kind, as in `json::CHANGES`.
    pub changes: [u64; 12],
    /// Batches, each with canaries at its end.
    pub batches: u64,
}

impl Counts {
    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.canaries += other.canaries;
        self.batches += other.batches;
        self.read_back += other.read_back;
        other.answered.iter().for_each(|(name, count)| *self.answered.entry(name.clone()).or_default() += count);
        other.refused.iter().for_each(|(name, count)| *self.refused.entry(name.clone()).or_default() += count);
        self.changes.iter_mut().zip(other.changes).for_each(|(sum, count)| *sum += count);
    }
}

/// A client that judges what it is answered.
pub struct Client {
    authority: Authority,
    signer: Signer,
    patience: Duration,
    connection: Option<Connection>,
    /// What it has sent so far.
    pub counts: Counts,
}

/// Whether a body is shown whole when it is to blame.
const SHOWN_BYTES_MAX: usize = 3_000;

impl Client {
    /// Not connected yet; an answer must come within `patience`.
    pub fn new(authority: Authority, patience: Duration) -> Self {
        let credentials = Credentials::new("anyone", "anything", None, None, "fuzz");
        let signer = Signer { credentials, region: "us-east-1".to_owned() };
        Self { authority, signer, patience, connection: None, counts: Counts::default() }
    }

    /// Sends a body and judges the answer.
    ///
    /// Errors: none in time, a fault of the server, no JSON, a refusal without its code.
    pub async fn send(&mut self, operation: &str, body: Bytes) -> Result<(u16, Value), String> {
        self.counts.requests += 1;
        let blame = |why: String| {
            let shown = String::from_utf8_lossy(&body[..body.len().min(SHOWN_BYTES_MAX)]).into_owned();
            format!("{operation} {why}\n  body ({} bytes): {shown}", body.len())
        };
        let answer = match tokio::time::timeout(self.patience, self.exchange(operation, &body)).await {
            Err(_) => return Err(blame(format!("gets no answer in {:?}", self.patience))),
            Ok(Err(error)) => return Err(blame(format!("gets no answer: {error}"))),
            Ok(Ok(answer)) => answer,
        };
        let shown = || String::from_utf8_lossy(&answer.body).into_owned();
        // Operations of Kinesis that have no output answer nothing at all.
        let empty = operation.starts_with(KINESIS) && answer.status == 200 && answer.body.is_empty();
        let Ok(value) = serde_json::from_slice::<Value>(if empty { b"{}" } else { &answer.body }) else {
            return Err(blame(format!("is answered {} and no JSON: {}", answer.status, shown())));
        };
        let code = value["__type"].as_str().and_then(|name| name.rsplit('#').next()).unwrap_or_default();
        match answer.status {
            200 => *self.counts.answered.entry(operation.to_owned()).or_default() += 1,
            400..500 if !code.is_empty() && code != "InternalServerError" => {
                *self.counts.refused.entry(code.to_owned()).or_default() += 1;
            }
            status => return Err(blame(format!("is answered {status} {}", shown()))),
        }
        Ok((answer.status, value))
    }

    /// Sends JSON.
    pub async fn ask(&mut self, operation: &str, request: &Value) -> Result<(u16, Value), String> {
        self.send(operation, Bytes::from(request.to_string())).await
    }

    async fn exchange(&mut self, operation: &str, body: &Bytes) -> Result<Answer, String> {
        // A connection that the server has closed after an answer is opened again, once.
        for is_last in [self.connection.is_none(), true] {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => Connection::open(&self.authority).await.map_err(|error| format!("{error:#}"))?,
            };
            let headers =
                self.signer.headers(&self.authority, operation, body).map_err(|error| format!("{error:#}"))?;
            match connection.post(&headers, body.clone()).await {
                Ok(answer) => {
                    self.connection = Some(connection);
                    return Ok(answer);
                }
                Err(error) if is_last => return Err(format!("{error:#}")),
                Err(_) => {}
            }
        }
        Err("not sent".to_owned())
    }

    /// Waits until a table is ACTIVE; `None` when it is not there.
    ///
    /// Errors: it stays in a short state.
    pub async fn settled(&mut self, table: &str) -> Result<Option<Value>, String> {
        // Two minutes and more: the bound only ends a broken run.
        for _ in 0..12_000 {
            let (status, answer) = self.ask("DescribeTable", &json!({ "TableName": table })).await?;
            if status != 200 {
                return Ok(None);
            }
            if answer["Table"]["TableStatus"] == "ACTIVE" {
                return Ok(Some(answer["Table"].clone()));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(format!("{table} stays in a short state"))
    }

    /// Writes and reads every table; then deletes some, if there are more than `tables_max`.
    ///
    /// Errors: a table that is there takes no item, or gives another one back.
    pub async fn canaries(&mut self, tables_max: usize) -> Result<(), String> {
        let mut tables: BTreeSet<String> = BTreeSet::new();
        let mut start = Value::Null;
        loop {
            let request = if start.is_null() { json!({}) } else { json!({ "ExclusiveStartTableName": start }) };
            let (status, page) = self.ask("ListTables", &request).await?;
            let names = page["TableNames"].as_array().ok_or(format!("ListTables answers {status} {page}"))?;
            tables.extend(names.iter().filter_map(|name| name.as_str().map(str::to_owned)));
            start = page["LastEvaluatedTableName"].clone();
            if start.is_null() {
                break;
            }
        }
        for table in &tables {
            let Some(description) = self.settled(table).await? else { continue };
            self.canary(table, &description).await?;
            self.read_back(table, &description).await?;
        }
        self.counts.batches += 1;
        for table in tables.iter().skip(tables_max) {
            self.ask("UpdateTable", &json!({ "TableName": table, "DeletionProtectionEnabled": false })).await?;
            self.settled(table).await?;
            self.ask("DeleteTable", &json!({ "TableName": table })).await?;
        }
        self.delete_data_streams().await
    }

    /// Deletes every data stream: a changed request may have made one of thousands of shards.
    async fn delete_data_streams(&mut self) -> Result<(), String> {
        loop {
            let page = self.must("kinesis:ListStreams", json!({})).await?;
            for name in page["StreamNames"].as_array().into_iter().flatten() {
                let request = json!({ "StreamName": name, "EnforceConsumerDeletion": true });
                self.ask("kinesis:DeleteStream", &request).await?;
            }
            // Those that were deleted are DELETING for a moment, and listed still.
            if page["HasMoreStreams"] != true {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Reads what the batch has left: the table, its indexes and the beginning of its stream's shards.
    ///
    /// Errors: something that was accepted cannot be read.
    async fn read_back(&mut self, table: &str, description: &Value) -> Result<(), String> {
        self.must("Scan", json!({ "TableName": table })).await?;
        for kind in ["LocalSecondaryIndexes", "GlobalSecondaryIndexes"] {
            for index in description[kind].as_array().into_iter().flatten() {
                if index.get("IndexStatus").is_none_or(|status| status == "ACTIVE") {
                    self.must("Scan", json!({ "TableName": table, "IndexName": index["IndexName"] })).await?;
                    self.counts.read_back += 1;
                }
            }
        }
        let Some(stream) = description.get("LatestStreamArn") else { return Ok(()) };
        let described = self.must("DescribeStream", json!({ "StreamArn": stream })).await?;
        for shard in described["StreamDescription"]["Shards"].as_array().into_iter().flatten() {
            let place =
                json!({ "StreamArn": stream, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON" });
            let iterator = self.must("GetShardIterator", place).await?;
            self.must("GetRecords", json!({ "ShardIterator": iterator["ShardIterator"] })).await?;
            self.counts.read_back += 1;
        }
        Ok(())
    }

    async fn must(&mut self, operation: &str, request: Value) -> Result<Value, String> {
        match self.ask(operation, &request).await? {
            (200, answer) => Ok(answer),
            (_, refusal) => Err(format!("{operation} {request} is refused: {refusal}")),
        }
    }

    async fn canary(&mut self, table: &str, description: &Value) -> Result<(), String> {
        let kinds: BTreeMap<&str, &str> = description["AttributeDefinitions"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| Some((one["AttributeName"].as_str()?, one["AttributeType"].as_str()?)))
            .collect();
        let mut key = serde_json::Map::new();
        for element in description["KeySchema"].as_array().into_iter().flatten() {
            let name = element["AttributeName"].as_str().unwrap_or_default();
            let value = match kinds.get(name) {
                Some(&"N") => json!({ "N": "7" }),
                Some(&"B") => json!({ "B": "AAEC" }),
                _ => json!({ "S": "canary" }),
            };
            key.insert(name.to_owned(), value);
        }
        let put = json!({ "TableName": table, "Item": key });
        let (status, answer) = self.ask("PutItem", &put).await?;
        if status != 200 {
            return Err(format!("the canary {put} is refused: {answer}"));
        }
        let get = json!({ "TableName": table, "Key": key, "ConsistentRead": true });
        let (_, answer) = self.ask("GetItem", &get).await?;
        if answer["Item"] != Value::Object(key) {
            return Err(format!("the canary {put} comes back as {answer}"));
        }
        self.counts.canaries += 1;
        Ok(())
    }
}
