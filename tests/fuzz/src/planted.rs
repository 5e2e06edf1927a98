//! A server with a fault put into its handlers: the fuzzer must find it.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use headwater_api::dynamodb::{self as model, DynamoDb};
use headwater_api::{Answer, Call};
use headwater_log::Log;
use headwater_operations::Operations;
use headwater_storage::memory::{Faults, Model, Settings};
use headwater_types::runtime::tokio_runtime;
use headwater_types::{AttributeValue as Value, Clock, Millis, stored};
use headwater_wire::{ApiSet, Parts, Server, Services};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// A fault in PutItem.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// None: the same server must be found sound.
    None,
    /// A text is cut at a byte, wherever its characters end.
    CutText,
    /// What refused writes held is not given back.
    KeptPermit,
}

/// The operations with a fault before them; what is not passed on is an unknown operation.
struct Faulty {
    sound: Arc<dyn DynamoDb>,
    bug: Bug,
    permits: Semaphore,
}

macro_rules! passed_on {
    ($($method:ident: $input:ident -> $output:ident),* $(,)?) => {
        $(fn $method<'a>(&'a self, call: &'a Call, input: model::$input) -> Answer<'a, model::$output> {
            self.sound.$method(call, input)
        })*
    };
}

impl DynamoDb for Faulty {
    passed_on! {
        create_table: CreateTableInput -> CreateTableOutput,
        update_table: UpdateTableInput -> UpdateTableOutput,
        delete_table: DeleteTableInput -> DeleteTableOutput,
        describe_table: DescribeTableInput -> DescribeTableOutput,
        list_tables: ListTablesInput -> ListTablesOutput,
        get_item: GetItemInput -> GetItemOutput,
        update_item: UpdateItemInput -> UpdateItemOutput,
        delete_item: DeleteItemInput -> DeleteItemOutput,
        query: QueryInput -> QueryOutput,
        scan: ScanInput -> ScanOutput,
    }

    fn put_item<'a>(&'a self, call: &'a Call, input: model::PutItemInput) -> Answer<'a, model::PutItemOutput> {
        Box::pin(async move {
            if self.bug == Bug::CutText {
                let bytes = input.item.sized_bytes().ok().and_then(|bytes| bytes.get(stored::SIZE_BYTES..));
                for value in stored::decode(bytes.unwrap_or_default()).unwrap_or_default().values() {
                    if let Value::S(text) = value {
                        let _ = text.split_at(text.len().min(3));
                    }
                }
            }
            let Ok(permit) = self.permits.acquire().await else { return self.sound.put_item(call, input).await };
            let answer = self.sound.put_item(call, input).await;
            if answer.is_err() && self.bug == Bug::KeptPermit {
                permit.forget();
            }
            answer
        })
    }
}

/// Starts it; it runs until the runtime ends.
pub async fn start(bug: Bug) -> Result<SocketAddr> {
    let runtime = tokio_runtime::on(tokio::runtime::Handle::current());
    let clock = Clock::new(runtime.clone(), Millis(0));
    let cell = Model::new(runtime.clone(), Settings::OWN).node(runtime.clone(), clock.clone(), Faults::NONE);
    let log = Log::open(cell, runtime.clone(), clock.clone(), headwater_log::Settings::default()).await;
    let operations = Operations::new(log.context("an empty store opens")?);
    let faulty = Faulty { sound: operations.dynamodb(), bug, permits: Semaphore::new(4) };
    let services = Services {
        dynamodb: Arc::new(faulty),
        streams: operations.dynamodb_streams(),
        kinesis: operations.kinesis(),
        firehose: operations.firehose(),
    };
    let server = Server::new(Parts::new(services, runtime.clone(), clock));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    drop(runtime.spawn(async move { server.serve(listener, ApiSet::ALL, std::future::pending()).await }));
    Ok(address)
}
