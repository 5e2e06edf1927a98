//! A table's stream as Kinesis's operations see it: any KCL, Flink's connector and enhanced fan-out read a table as it is.
//!
//! ```text
//! name   ddb.{table}.{digits of the stream's label}        ARN  arn:aws:kinesis:{region}:{account}:stream/{name}
//! shard  the stream's own: parents, range of hashes        key  the 32 hexadecimal digits of the item's placement hash
//! data   the record's JSON, as GetRecords of DynamoDB Streams has it
//! ```
//! It is read, its consumers are registered and it is tagged; it is written and managed through its table.
//!
//! Shards bear ids as data streams' do, which Flink's consumer insists on (`shardId-` and twelve digits); the ids that
//! DynamoDB Streams shows, and its sequence numbers, are taken too.
//!
//! A shard that was closed when the stream was switched off has no children. KCL takes a last page without children for a
//! broken one and asks again for ever, and would begin anew once it had cleaned up the leases of a finished stream. So
//! such a shard stays open here and nothing comes any more, until the whole stream is gone, a retention after it was
//! switched off: then readers are told that the shard is not there, which KCL takes for its end.
//! Source: KinesisDataFetcher, ShutdownTask, LeaseCleanupManager and HierarchicalShardSyncer of amazon-kinesis-client.

use std::ops::Deref;
use std::sync::Arc;

use headwater_api::kinesis as api;
use headwater_api::kinesis::errors;
use headwater_api::{Call, Error, json};
use headwater_catalog::data_stream::RETENTION_HOURS;
use headwater_catalog::{DataStreamDefinition, Snapshot, StreamDefinition, StreamMode};
use headwater_log::sequence::kinesis as sequence;
use headwater_log::{Change, LogRecord, ShardInfo, ShardList};
use headwater_table::change;
use headwater_types::arn::TABLE_STREAM_PREFIX;
use headwater_types::limits::STREAM_RETENTION_MS;
use headwater_types::{Millis, Scope, StreamUid, TableId};

use super::name;
use crate::dynamodb::error::{corrupt, refused};
use crate::dynamodb_streams;
use crate::service::Operations;

/// Largest record, as a table's stream describes itself: two images and what stands around them. Unit: KiB.
const RECORD_KIB: i64 = 10_240;

/// A stream that Kinesis's operations read: one of theirs, or a table's.
#[derive(Clone)]
pub(super) struct Stream {
    shown: Arc<DataStreamDefinition>,
    table: Option<Arc<StreamDefinition>>,
}

impl Deref for Stream {
    type Target = DataStreamDefinition;

    fn deref(&self) -> &DataStreamDefinition {
        &self.shown
    }
}

impl From<Arc<DataStreamDefinition>> for Stream {
    fn from(shown: Arc<DataStreamDefinition>) -> Self {
        Self { shown, table: None }
    }
}

impl Stream {
    /// A scope's stream of a name; none whose time is over at store time `now`.
    pub fn find(catalog: &Snapshot, scope: &Scope, named: &str, now: Millis) -> Option<Self> {
        if !is_name(named) {
            return catalog.data_stream(scope, named).cloned().map(Self::from);
        }
        catalog.stream_by_kinesis_name(scope, named).filter(|stream| is_there(stream, now)).map(Self::of_table)
    }

    /// A stream by the identity of its lineage, likewise.
    pub fn by_uid(catalog: &Snapshot, uid: StreamUid, now: Millis) -> Option<Self> {
        let data_stream = catalog.data_stream_by_uid(uid).cloned().map(Self::from);
        data_stream.or_else(|| catalog.stream(uid).filter(|stream| is_there(stream, now)).map(Self::of_table))
    }

    /// A table's stream, described as a data stream would be. Shape: it has no identity to change it by.
    pub fn of_table(stream: &Arc<StreamDefinition>) -> Self {
        let shown = DataStreamDefinition {
            id: TableId(0),
            uid: stream.uid,
            created: stream.created,
            mode: StreamMode::OnDemand,
            retention_hours: RETENTION_HOURS,
            max_record_kib: RECORD_KIB,
            consumers: stream.consumers.clone(),
            tags: stream.tags.clone(),
            ..DataStreamDefinition::new(stream.scope.clone(), stream.kinesis_name())
        };
        Self { shown: Arc::new(shown), table: Some(stream.clone()) }
    }

    /// The table's stream that it is, if it is one.
    pub fn table(&self) -> Option<&Arc<StreamDefinition>> {
        self.table.as_ref()
    }

    /// The change after which this is recorded of it. A table's stream keeps consumers and tags; there is nothing else of it
    /// that Kinesis's operations may change.
    pub fn recorded_as(&self, changed: DataStreamDefinition) -> Change {
        match &self.table {
            None => Change::RecordDataStream { stream: Box::new(changed) },
            Some(table) => Change::RecordStream { stream: table.uid, consumers: changed.consumers, tags: changed.tags },
        }
    }

    /// Its listed shards, at one snapshot.
    pub fn shards(&self, service: &Operations) -> Result<ShardList, headwater_log::Error> {
        let list = service.log.shards(self.uid)?;
        Ok(if self.table.is_some() { list.of_table_for_kinesis() } else { list })
    }

    /// A listed shard, by the id that a client gives.
    pub fn shard<'a>(&self, list: &'a ShardList, given: &str) -> Option<&'a ShardInfo> {
        let own = self.table.as_ref().and_then(|_| list.by_id(given));
        own.or_else(|| name::shard_index(given).and_then(|index| list.by_index(index)))
    }
}

/// Whether an id is one that DynamoDB Streams shows: it ends with a part that is no number.
pub(super) fn is_own_shard_id(given: &str) -> bool {
    given.strip_prefix("shardId-").is_some_and(|rest| rest.contains('-'))
}

/// Whether a name can only be that of a table's stream.
pub(super) fn is_name(named: &str) -> bool {
    named.starts_with(TABLE_STREAM_PREFIX)
}

/// A stream that is off is there for the retention.
fn is_there(stream: &StreamDefinition, now: Millis) -> bool {
    stream.closed.is_none_or(|closed| closed.0.saturating_add(STREAM_RETENTION_MS) > now.0)
}

/// The caller's tables' streams whose names follow `after`, in lexical order.
pub(super) fn following(catalog: &Snapshot, scope: &Scope, after: &str, now: Millis) -> impl Iterator<Item = Stream> {
    catalog.streams_by_kinesis_name(scope, after).filter(move |stream| is_there(stream, now)).map(Stream::of_table)
}

/// Refuses what a table's stream does not take by Kinesis's operations.
///
/// Errors: InvalidArgumentException (text ours); none for a stream that is not there.
pub(super) fn refuse(service: &Operations, call: &Call, named: &str) -> Result<(), Error> {
    if !is_name(named) {
        return Ok(());
    }
    let catalog = service.log.catalog().map_err(refused)?;
    let found = Stream::find(&catalog, &name::scope(call), named, service.log.clock().store());
    let Some(table) = found.as_ref().and_then(Stream::table) else { return Ok(()) };
    Err(errors::invalid_argument(format!(
        "Stream {named} under account {} is the stream of table {}: it is read here, and written and managed through its \
         table only.",
        call.principal.account, table.table_name
    )))
}

/// A table's record as Kinesis's readers are given it.
///
/// Errors: InternalFailure for bytes that are no change record.
pub(super) fn record(table: &StreamDefinition, shard: &ShardInfo, record: &LogRecord) -> Result<api::Record, Error> {
    let change = change::render(table, shard.uid, record).map_err(corrupt)?;
    let place = change::placement(table, &change).ok_or_else(|| corrupt("a change record without its key"))?;
    let shown = dynamodb_streams::read::record(table, change);
    Ok(api::Record {
        sequence_number: sequence::render(record.number, shard.index, shard.created),
        approximate_arrival_timestamp: Some(record.number.at().into()),
        data: json::encode(&shown).into(),
        partition_key: format!("{:032x}", place.0),
        encryption_type: None,
    })
}
