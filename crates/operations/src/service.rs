//! The operations of all APIs over one log.

use std::sync::Arc;

use headwater_api::dynamodb::DynamoDb;
use headwater_api::dynamodb_streams::DynamoDbStreams;
use headwater_api::firehose::Firehose;
use headwater_api::kinesis::Kinesis;
use headwater_log::Log;
use headwater_types::{ShardUid, StreamUid};

use crate::dynamodb_streams::limits::Limits;
use crate::kinesis;

/// Whether a data stream's shard takes a record of so many bytes now.
pub type Throttle = Arc<dyn Fn(StreamUid, ShardUid, usize) -> bool + Send + Sync>;

/// The operations; clones share the log.
#[derive(Clone)]
pub struct Operations {
    pub(crate) log: Arc<Log>,
    /// Whether callers are who they say they are: what only policies could then guard is refused.
    pub(crate) verifies_callers: bool,
    /// The service's rate limits, when they are wanted.
    pub(crate) limits: Option<Arc<Limits>>,
    /// The same for data streams.
    pub(crate) kinesis_limits: Option<Arc<kinesis::limits::Limits>>,
    /// Who is subscribed to which shard.
    pub(crate) subscriptions: Arc<kinesis::subscriptions::Subscriptions>,
    /// Pages that many subscribers share.
    pub(crate) pages: Arc<kinesis::pages::Pages>,
}

/// Firehose is not built yet: every operation answers UnknownOperationException.
struct NotBuilt;

impl Firehose for NotBuilt {}

impl Operations {
    /// The operations over an open log, for callers that nobody verifies.
    pub fn new(log: Arc<Log>) -> Self {
        Self {
            log,
            verifies_callers: false,
            limits: None,
            kinesis_limits: None,
            subscriptions: Arc::default(),
            pages: Arc::default(),
        }
    }

    /// The same operations for callers whose signatures are verified, or not.
    #[must_use]
    pub fn verifying_callers(self, verifies_callers: bool) -> Self {
        Self { verifies_callers, ..self }
    }

    /// The same operations under the service's rate limits on reading streams and on data streams, or without.
    #[must_use]
    pub fn with_aws_limits(self, limited: bool) -> Self {
        let limits = limited.then(|| Arc::new(Limits::new(self.log.clock().clone())));
        let data_streams = || Arc::new(kinesis::limits::Limits::new(self.log.clock().clone()));
        let kinesis_limits = limited.then(data_streams);
        Self { limits, kinesis_limits, ..self }
    }

    /// Whether a data stream's shard takes a record of so many bytes now, where rates are limited: for who appends to data
    /// streams beside these operations.
    pub fn throttle(&self) -> Option<Throttle> {
        let limits = self.kinesis_limits.clone()?;
        Some(Arc::new(move |stream, shard, bytes| limits.takes(stream, shard, bytes)))
    }

    /// DynamoDB.
    pub fn dynamodb(&self) -> Arc<dyn DynamoDb> {
        Arc::new(self.clone())
    }

    /// DynamoDB Streams.
    pub fn dynamodb_streams(&self) -> Arc<dyn DynamoDbStreams> {
        Arc::new(self.clone())
    }

    /// Kinesis Data Streams.
    pub fn kinesis(&self) -> Arc<dyn Kinesis> {
        Arc::new(self.clone())
    }

    /// Firehose: nothing of it is built yet.
    pub fn firehose(&self) -> Arc<dyn Firehose> {
        Arc::new(NotBuilt)
    }
}
