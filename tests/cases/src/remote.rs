//! Cases against an endpoint: names of their own, short states waited for, tables removed afterwards.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::control::ControlPoint;
use crate::files::{A_MOMENT_MS, Case};
use crate::http::{Answer, Authority, Connection};
use crate::signature::Signer;
use crate::{Names, Run, Target};

/// How often a throttled or broken request is sent again.
const TRIES_MAX: u32 = 8;

/// Regions that cases which need an empty one are sent to, one each.
const EMPTY_REGIONS: [&str; 14] = [
    "af-south-1",
    "ap-east-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-southeast-2",
    "ca-central-1",
    "eu-central-1",
    "eu-north-1",
    "eu-south-1",
    "eu-west-2",
    "eu-west-3",
    "me-south-1",
    "sa-east-1",
];

/// An endpoint and what it can do.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where.
    pub authority: Authority,
    /// As whom.
    pub signer: Signer,
    /// It is Headwater: its documented differences are judged too.
    pub headwater: bool,
    /// It takes any Region, each with its own tables.
    pub any_region: bool,
    /// Its control API, through which cases move time and shards.
    pub control: Option<ControlPoint>,
    /// Between two looks at a short state.
    pub pause: Duration,
}

/// What became of a case.
#[derive(Debug)]
pub enum Verdict {
    /// As expected; answers judged per operation.
    Passed(BTreeMap<String, usize>),
    /// Another answer.
    Failed(String),
    /// Not run, and why.
    Skipped(String),
}

/// A session with an endpoint: how it names things, and which names are new.
pub struct Session {
    endpoint: Endpoint,
    run: String,
    account: String,
    arn_region: String,
    empty_regions: RefCell<std::slice::Iter<'static, &'static str>>,
}

impl Session {
    /// Creates and deletes a table to see what the endpoint calls account and Region.
    ///
    /// Errors: it does not answer, or not as DynamoDB does; its control API does not, or does not know the token.
    pub async fn open(endpoint: Endpoint) -> Result<Self> {
        if let Some(control) = &endpoint.control {
            control.look().await.with_context(|| format!("the control API at {}", control.authority.host))?;
        }
        let run = format!("{:x}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis());
        let remote = Remote::new(&endpoint);
        let create = json!({
            "TableName": format!("cases-{run}-probe"), "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{ "AttributeName": "p", "AttributeType": "S" }],
            "KeySchema": [{ "AttributeName": "p", "KeyType": "HASH" }],
        });
        let (status, answer) = remote.send("CreateTable", &create).await;
        let arn = answer.pointer("/TableDescription/TableArn").and_then(Value::as_str);
        let arn = arn.with_context(|| format!("{}: CreateTable answers {status} {answer}", endpoint.authority.host));
        remote.clean(true).await;
        let parts: Vec<&str> = arn?.split(':').collect();
        ensure!(parts.len() == 6, "an ARN has six parts: {parts:?}");
        let (arn_region, account) = (parts[3].to_owned(), parts[4].to_owned());
        Ok(Self { endpoint, run, account, arn_region, empty_regions: RefCell::new(EMPTY_REGIONS.iter()) })
    }

    /// Runs one case in a table of its own; `number` is different for each.
    ///
    /// Order: a case that requires `control` runs alone, for it moves the time of every table.
    pub async fn case(&self, number: usize, case: &Case, fixtures: &Value) -> Verdict {
        let mut endpoint = self.endpoint.clone();
        let mut region = self.arn_region.clone();
        match case.requires.as_deref() {
            None => {}
            Some("headwater") if endpoint.headwater => {}
            Some("control") if endpoint.control.is_some() => {}
            Some("empty") if endpoint.any_region => {
                let Some(empty) = self.empty_regions.borrow_mut().next() else {
                    return Verdict::Skipped("requires an empty Region, and all are used".to_owned());
                };
                region = (*empty).to_owned();
                endpoint.signer.region.clone_from(&region);
            }
            Some("empty") => {}
            Some(other) => return Verdict::Skipped(format!("requires {other}")),
        }
        if case.family.starts_with("kinesis") && !endpoint.headwater {
            return Verdict::Skipped("requires an endpoint that speaks Kinesis too".to_owned());
        }
        let remote = Remote::new(&endpoint);
        let needs_empty = case.requires.as_deref() == Some("empty");
        if needs_empty && let Some(there) = remote.is_not_empty().await {
            return Verdict::Skipped(format!("requires an endpoint without tables; it has {there}"));
        }
        let mut run = Run::new(&remote, self.names(&region, &format!("cases-{}-{number}", self.run)));
        let result = run.case(&case.text, fixtures).await;
        let judged = std::mem::take(&mut run.judged);
        remote.clean(needs_empty).await;
        match result {
            Ok(()) => Verdict::Passed(judged),
            Err(why) => Verdict::Failed(why),
        }
    }

    fn names(&self, region: &str, table: &str) -> Names {
        let account = &self.account;
        [
            ("table", table.to_owned()),
            ("arn", format!("arn:aws:dynamodb:{region}:{account}:table/{table}")),
            ("kinesis", format!("arn:aws:kinesis:{region}:{account}:stream/{table}")),
            ("region", region.to_owned()),
            ("account", account.clone()),
            ("host", self.endpoint.authority.host.clone()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect()
    }
}

/// An endpoint as the target of one case.
pub struct Remote<'e> {
    endpoint: &'e Endpoint,
    connection: Mutex<Option<Connection>>,
    created: RefCell<BTreeSet<String>>,
    /// Data streams, likewise.
    streams: RefCell<BTreeSet<String>>,
}

impl<'e> Remote<'e> {
    /// Not connected yet.
    pub fn new(endpoint: &'e Endpoint) -> Self {
        Self { endpoint, connection: Mutex::new(None), created: RefCell::default(), streams: RefCell::default() }
    }

    async fn exchange(&self, operation: &str, body: &Bytes) -> Result<Answer> {
        let mut kept = self.connection.lock().await;
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => Connection::open(&self.endpoint.authority).await?,
        };
        let headers = self.endpoint.signer.headers(&self.endpoint.authority, operation, body)?;
        let answer = connection.post(&headers, body.clone()).await?;
        *kept = Some(connection);
        Ok(answer)
    }

    /// A table or stream that is there, if any.
    async fn is_not_empty(&self) -> Option<String> {
        let lists =
            [("ListTables", "/TableNames/0"), ("ListStreams", "/Streams/0"), ("kinesis:ListStreams", "/StreamNames/0")];
        for (operation, list) in lists {
            let (_, answer) = self.send(operation, &json!({})).await;
            if let Some(there) = answer.pointer(list) {
                return Some(there.to_string());
            }
        }
        None
    }

    /// Deletes what was created, and waits for the end of it when asked to.
    async fn clean(&self, wait: bool) {
        for stream in &self.streams.take() {
            let request = json!({ "StreamName": stream, "EnforceConsumerDeletion": true });
            for _ in 0..100 {
                let (status, answer) = self.send("kinesis:DeleteStream", &request).await;
                if answer["__type"] == "ResourceNotFoundException" || (status == 200 && !wait) {
                    break;
                }
                self.pause().await;
            }
        }
        let created = self.created.take();
        for table in &created {
            let named = json!({ "TableName": table });
            // A table in a short state, or a protected one, is not deleted at once.
            for _ in 0..100 {
                let (status, answer) = self.send("DeleteTable", &named).await;
                let code = answer["__type"].as_str().unwrap_or_default();
                let message = answer["message"].as_str().unwrap_or_default();
                if code.ends_with("ResourceNotFoundException") || (status == 200 && !wait) {
                    break;
                }
                if message.contains("deletion protection") || code.ends_with("#ValidationException") {
                    let open = json!({ "TableName": table, "DeletionProtectionEnabled": false });
                    self.send("UpdateTable", &open).await;
                }
                self.pause().await;
            }
        }
    }
}

impl Target for Remote<'_> {
    async fn send(&self, operation: &str, request: &Value) -> (u16, Value) {
        let body = Bytes::from(request.to_string());
        let mut last = (0, Value::Null);
        for attempt in 0..TRIES_MAX {
            match self.exchange(operation, &body).await {
                Ok(answer) => {
                    let text = || json!({ "not_json": String::from_utf8_lossy(&answer.body) });
                    // Operations of Kinesis that have no output answer nothing at all.
                    let body = if answer.body.is_empty() { b"{}" } else { &answer.body[..] };
                    last = (answer.status, serde_json::from_slice(body).unwrap_or_else(|_| text()));
                }
                // A connection may have been closed while it was idle: once more on a new one, never twice.
                Err(error) if attempt > 0 => return (0, json!({ "no_answer": format!("{error:#}") })),
                Err(_) => continue,
            }
            let (_, answer) = &last;
            let throttled = answer["__type"].as_str().is_some_and(|code| code.ends_with("ThrottlingException"));
            if !throttled || self.endpoint.headwater {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200 << attempt)).await;
        }
        if operation == "kinesis:CreateStream"
            && last.0 == 200
            && let Some(name) = request["StreamName"].as_str()
        {
            self.streams.borrow_mut().insert(name.to_owned());
        }
        if operation == "CreateTable"
            && let Some(name) = last.1.pointer("/TableDescription/TableName").and_then(Value::as_str)
        {
            self.created.borrow_mut().insert(name.to_owned());
        }
        last
    }

    fn offers(&self, requirement: &str) -> bool {
        match requirement {
            "headwater" => self.endpoint.headwater,
            "control" => self.endpoint.control.is_some(),
            _ => false,
        }
    }

    async fn pause(&self) {
        tokio::time::sleep(self.endpoint.pause).await;
    }

    fn follows_later(&self) -> bool {
        self.endpoint.control.is_some()
    }

    async fn advance(&self, ms: u64) -> Result<(), String> {
        // A moment is no move of time but a wait for what goes on, which the runner does.
        let Some(control) = self.endpoint.control.as_ref().filter(|_| ms > A_MOMENT_MS) else { return Ok(()) };
        control.advance(ms).await.map_err(|error| format!("{error:#}"))
    }

    async fn control(&self, verb: &str, table: &str) -> Result<(), String> {
        let control = self.endpoint.control.as_ref().ok_or("the endpoint has no control API")?;
        let done = control.change_first_shard(verb, table, &self.endpoint.signer.region).await;
        done.map_err(|error| format!("{error:#}"))
    }
}
