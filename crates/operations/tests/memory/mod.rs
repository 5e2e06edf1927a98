//! The operations over the memory engine, on simulated time, asked in JSON as the wire would.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use headwater_api::{
    Api, Authorizer, Call, Caller, Document, Error, Event, Events, Principal, Reply, Transport, dynamodb,
    dynamodb_streams, json, kinesis,
};
use headwater_cases::Target;
use headwater_cases::runner::KINESIS;
use headwater_delivery::Jobs;
use headwater_log::Log;
use headwater_operations::Operations;
use headwater_storage::memory::{Faults, Model, Node, Settings};
use headwater_types::runtime::simulated::World;
use headwater_types::{Clock, HashKey, Millis, Runtime, Scope};
use serde_json::Value;

/// Account of every call.
pub const ACCOUNT: &str = "000000000000";
/// Region of every call.
pub const REGION: &str = "us-east-1";
/// What the calls say they were sent to.
pub const HOST: &str = "127.0.0.1:8000";

/// Runs `main` in a world of its own.
pub fn run<F, T>(seed: u64, main: impl FnOnce(World) -> F) -> T
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let world = World::new(seed);
    world.run(main(world.clone()))
}

/// A server without sockets.
pub struct InProcess {
    pub operations: Operations,
    pub cell: Arc<Node>,
    pub log: Arc<Log>,
    jobs: Arc<Jobs>,
    runtime: Runtime,
    clock: Clock,
    authorizer: Arc<dyn Authorizer>,
    /// Who asks, and where: [`ACCOUNT`] and [`REGION`] unless a test says otherwise.
    pub account: &'static str,
    pub region: &'static str,
}

impl InProcess {
    /// An empty one.
    pub async fn open(world: &World, authorizer: Arc<dyn Authorizer>) -> Self {
        Self::open_with(world, authorizer, Duration::ZERO).await
    }

    /// An empty one whose tables and streams take their time to change.
    pub async fn open_with(world: &World, authorizer: Arc<dyn Authorizer>, short_states: Duration) -> Self {
        let runtime = world.node(1);
        let clock = Clock::new(runtime.clone(), Millis(0));
        let cell = Model::new(world.node(99), Settings::OWN).node(runtime.clone(), clock.clone(), Faults::NONE);
        let defaults = headwater_log::Settings::default();
        let settings = headwater_log::Settings { background: false, short_states, ..defaults };
        let log = Log::open(cell.clone(), runtime.clone(), clock.clone(), settings).await;
        let log = log.expect("an empty store opens");
        let settings = headwater_delivery::Settings { background: false, ..headwater_delivery::Settings::default() };
        let jobs = Jobs::start(log.clone(), settings);
        let operations = Operations::new(log.clone());
        Self { operations, cell, log, jobs, runtime, clock, authorizer, account: ACCOUNT, region: REGION }
    }

    /// One call, from JSON to the answer encoded.
    pub async fn call(&self, operation: &str, body: &[u8]) -> Result<Vec<u8>, Error> {
        match self.reply(operation, body).await? {
            Reply::Body(body) => Ok(json::encode(&*body)),
            Reply::Empty => Ok(b"{}".to_vec()),
            Reply::Events(_) => panic!("{operation} pushes events"),
        }
    }

    /// One call that pushes events.
    pub async fn events(&self, operation: &str, request: &Value) -> Events<Box<dyn Event>> {
        match self.reply(operation, request.to_string().as_bytes()).await {
            Ok(Reply::Events(events)) => events,
            Ok(Reply::Body(_) | Reply::Empty) => panic!("{operation} pushes no events"),
            Err(error) => panic!("{operation}: {error}"),
        }
    }

    async fn reply(&self, operation: &str, body: &[u8]) -> Result<Reply, Error> {
        let (api, operation) = (api_of(operation), operation.trim_start_matches(KINESIS));
        let (api, operation) = Api::from_target(&format!("{}.{operation}", api.target_prefix())).expect("an operation");
        let call = Call::new(self.caller(api, operation), self.authorizer.clone());
        let document = Document::from_json(body)?;
        match api {
            Api::DynamoDbStreams => {
                let streams = self.operations.dynamodb_streams();
                dynamodb_streams::dispatch(&*streams, &call, operation, document).await
            }
            Api::Kinesis => {
                let streams = self.operations.kinesis();
                kinesis::dispatch(&*streams, &call, operation, document).await
            }
            Api::DynamoDb | Api::Firehose => {
                let dynamodb = self.operations.dynamodb();
                dynamodb::dispatch(&*dynamodb, &call, operation, document).await
            }
        }
    }

    async fn finish_jobs(&self) {
        while self.jobs.pass().await.expect("jobs go on") {}
    }

    fn caller(&self, api: Api, operation: &'static str) -> Caller {
        let principal = Arc::new(Principal {
            account: self.account.into(),
            arn: format!("arn:aws:iam::{}:user/test", self.account),
            access_key: "test".to_owned(),
        });
        let transport = Transport { host: Some(HOST.to_owned()), ..Transport::default() };
        let (region, request_id) = (self.region.into(), "TEST".into());
        Caller { principal, region, request_id, api, operation, deadline: None, transport }
    }
}

impl Target for InProcess {
    async fn send(&self, operation: &str, request: &Value) -> (u16, Value) {
        let parse = |body: &[u8]| serde_json::from_slice(body).expect("answers are JSON");
        match self.call(operation, request.to_string().as_bytes()).await {
            Ok(body) => (200, parse(&body)),
            Err(error) => {
                if let Some(cause) = error.cause() {
                    println!("{operation}: {error}: {cause}");
                }
                (error.status(), parse(&error.to_json(api_of(operation))))
            }
        }
    }

    fn offers(&self, _requirement: &str) -> bool {
        true
    }

    async fn pause(&self) {
        self.runtime.sleep(Duration::from_millis(20)).await;
        self.finish_jobs().await;
    }

    async fn advance(&self, ms: u64) -> Result<(), String> {
        self.clock.advance(Duration::from_millis(ms));
        self.log.retain().await.map_err(|error| error.to_string())?;
        self.finish_jobs().await;
        Ok(())
    }

    async fn control(&self, verb: &str, table: &str) -> Result<(), String> {
        let catalog = self.log.catalog().map_err(|error| error.to_string())?;
        let table = catalog.table(&Scope::new(ACCOUNT, REGION), table).ok_or("no such table")?.id;
        let done = match verb {
            // The first partition of a new table begins at zero and is at least a part in 4,096 of the whole.
            "roll_over" => self.log.roll_over(table, HashKey(0)).await,
            "split" => self.log.split(table, HashKey(1 << 100)).await,
            unknown => return Err(format!("{unknown} is no verb")),
        };
        done.map_err(|error| error.to_string())
    }
}

fn api_of(operation: &str) -> Api {
    if operation.starts_with(KINESIS) {
        return Api::Kinesis;
    }
    if dynamodb_streams::OPERATIONS.contains(&operation) { Api::DynamoDbStreams } else { Api::DynamoDb }
}
