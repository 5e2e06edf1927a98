//! One node: the production operations over the production log, asked in JSON as the wire would ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use headwater_api::dynamodb::DynamoDb;
use headwater_api::dynamodb_streams::DynamoDbStreams;
use headwater_api::kinesis::Kinesis;
use headwater_api::{
    AllowAll, Api, Call, Caller, Document, Error, Principal, Reply, Transport, dynamodb, dynamodb_streams, json,
    kinesis,
};
use headwater_delivery::Jobs;
use headwater_log::Log;
use headwater_storage::Cell;
use headwater_types::{Runtime, Scope};
use serde_json::Value;

/// Every client's account.
pub const ACCOUNT: &str = "000000000000";
/// Every client's Region.
pub const REGION: &str = "us-east-1";

/// Owner of every resource of a run.
pub fn scope() -> Scope {
    Scope::new(ACCOUNT, REGION)
}

/// Why a request has no answer that the operation gives when all goes well.
#[derive(Clone, PartialEq, Debug)]
pub enum Failure {
    /// The service's refusal.
    Refused {
        /// Its code.
        name: &'static str,
        /// Its body.
        body: Value,
    },
    /// The node died, or the client hung up: nobody knows what became of it.
    Lost,
    /// There was no node to ask: it was never sent.
    Down,
}

/// A node that serves requests.
pub struct Server {
    /// Its number in the world; killing that number ends it.
    pub number: u64,
    /// The runtime that its tasks belong to.
    pub runtime: Runtime,
    /// Its log, for what no API offers (splits).
    pub log: Arc<Log>,
    /// What it stands on, for its figures.
    pub cell: Arc<dyn Cell>,
    /// Its jobs, for their figures.
    pub jobs: Arc<Jobs>,
    dynamodb: Arc<dyn DynamoDb>,
    streams: Arc<dyn DynamoDbStreams>,
    kinesis: Arc<dyn Kinesis>,
    requests: AtomicU64,
}

impl Server {
    /// The production operations over an open log.
    pub fn new(number: u64, runtime: Runtime, log: Arc<Log>, cell: Arc<dyn Cell>, jobs: Arc<Jobs>) -> Self {
        let operations = headwater_operations::Operations::new(log.clone());
        let (dynamodb, streams) = (operations.dynamodb(), operations.dynamodb_streams());
        let kinesis = operations.kinesis();
        Self { number, runtime, log, cell, jobs, dynamodb, streams, kinesis, requests: AtomicU64::new(0) }
    }

    /// One request, as a task of this node. `hang_up`: the client goes away after that time.
    pub async fn request(
        self: &Arc<Self>,
        api: Api,
        operation: &'static str,
        body: Value,
        hang_up: Option<Duration>,
    ) -> Result<Value, Failure> {
        let server = self.clone();
        let answer = self.runtime.spawn(async move {
            let work = Box::pin(server.work(api, operation, body));
            match hang_up {
                None => work.await,
                Some(after) => match select(work, server.runtime.sleep(after)).await {
                    Either::Left((answer, _)) => answer,
                    Either::Right(_) => Err(Failure::Lost),
                },
            }
        });
        answer.await.unwrap_or(Err(Failure::Lost))
    }

    async fn work(&self, api: Api, operation: &'static str, body: Value) -> Result<Value, Failure> {
        match self.reply(api, operation, &body).await? {
            Reply::Body(output) => Ok(serde_json::from_slice(&json::encode(&*output)).expect("an answer is JSON")),
            Reply::Empty => Ok(Value::Object(serde_json::Map::new())),
            Reply::Events(_) => unreachable!("what is pushed is asked for by itself"),
        }
    }

    /// What the operation answers, as the wire would be given it.
    pub(crate) async fn reply(&self, api: Api, operation: &'static str, body: &Value) -> Result<Reply, Failure> {
        let call = self.call(api, operation);
        let bytes = body.to_string().into_bytes();
        let document = Document::from_json(&bytes).map_err(|error| refused(&error, api))?;
        let reply = match api {
            Api::DynamoDbStreams => dynamodb_streams::dispatch(&*self.streams, &call, operation, document).await,
            Api::Kinesis => kinesis::dispatch(&*self.kinesis, &call, operation, document).await,
            _ => dynamodb::dispatch(&*self.dynamodb, &call, operation, document).await,
        };
        reply.map_err(|error| refused(&error, api))
    }

    fn call(&self, api: Api, operation: &'static str) -> Call {
        let request = self.requests.fetch_add(1, Ordering::Relaxed);
        let caller = Caller {
            principal: Arc::new(Principal {
                account: ACCOUNT.into(),
                arn: format!("arn:aws:iam::{ACCOUNT}:user/sim"),
                access_key: "SIM".to_owned(),
            }),
            region: REGION.into(),
            request_id: format!("{}-{request}", self.number).into(),
            api,
            operation,
            deadline: None,
            transport: Transport::default(),
        };
        Call::new(caller, Arc::new(AllowAll))
    }
}

const STREAMS: [&str; 4] = ["ListStreams", "DescribeStream", "GetShardIterator", "GetRecords"];

/// Which of the two APIs for tables an operation belongs to.
pub fn api_of(operation: &str) -> Api {
    if STREAMS.contains(&operation) { Api::DynamoDbStreams } else { Api::DynamoDb }
}

fn refused(error: &Error, api: Api) -> Failure {
    let body = serde_json::from_slice(&error.to_json(api)).expect("an error is JSON");
    Failure::Refused { name: error.name(), body }
}
