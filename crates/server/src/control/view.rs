//! What the control API shows, in its JSON form.

use std::time::{Duration, SystemTime};

use headwater_catalog::{DataStreamDefinition, DataStreamState, DestinationState, StreamDefinition, StreamState};
use headwater_delivery::Replication;
use headwater_log::{PartitionInfo, ShardInfo, sequence};
use headwater_types::{ClockState, Millis, SequenceNumber};
use serde::{Deserialize, Serialize};

/// Store time and system time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClockView {
    /// Store time: retention, expiry, iterators, roll-over. RFC 3339.
    pub store_time: String,
    /// The same. Unit: ms since the epoch.
    pub store_ms: i64,
    /// System time: signatures, HTTP dates, time-outs. RFC 3339.
    pub system_time: String,
    /// How far store time was moved ahead. Unit: ms.
    pub offset_ms: i64,
    /// Whether store time stands still.
    pub frozen: bool,
}

/// A stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StreamView {
    /// Its name for clients.
    pub arn: String,
    /// Its table's name; the table may be gone. Of a data stream: its own.
    pub table: String,
    /// `ENABLED`, `DISABLED` or between; of a data stream `ACTIVE`, `UPDATING`, `CREATING` or `DELETING`.
    pub state: String,
    /// Of a table's stream: its name for Kinesis's operations, which read it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinesis: Option<String>,
}

/// A replication of a table to a Kinesis data stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReplicationView {
    /// Name of the table.
    pub table: String,
    /// Name of the data stream.
    pub stream: String,
    /// As DescribeKinesisStreamingDestination shows it.
    pub state: String,
    /// Changes sent.
    pub sent: u64,
    /// Changes left out because their record is larger than the stream takes.
    pub oversized: u64,
    /// Changes given up.
    pub lost: u64,
    /// Age of the oldest change not sent yet. Unit: ms of store time.
    pub lag_ms: i64,
}

impl ReplicationView {
    pub(super) fn of(replication: Replication) -> Self {
        let state = match replication.state {
            DestinationState::Enabling => "ENABLING",
            DestinationState::Active => "ACTIVE",
            DestinationState::Updating => "UPDATING",
            DestinationState::Disabling => "DISABLING",
            DestinationState::Disabled => "DISABLED",
            DestinationState::EnableFailed => "ENABLE_FAILED",
        };
        Self {
            table: replication.table,
            stream: replication.stream,
            state: state.to_owned(),
            sent: replication.tally.sent,
            oversized: replication.tally.oversized,
            lost: replication.tally.lost,
            lag_ms: replication.lag_ms,
        }
    }
}

/// A stream's shards, parents before children.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Shards {
    /// The stream.
    pub stream: StreamView,
    /// By id, which is the order of creation.
    pub shards: Vec<ShardView>,
}

/// A shard.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ShardView {
    /// As clients know it.
    pub id: String,
    /// Of a table's stream: its id for Kinesis's operations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinesis: Option<String>,
    /// A parent that is gone keeps its id here.
    pub parents: Vec<String>,
    /// First and last hash, both included: 32 hex digits each.
    pub hash_range: [String; 2],
    /// First and, of a closed shard, last number.
    pub numbers: SequenceRange,
    /// Store time of opening.
    pub created: String,
    /// Store time of closing; none while it is open.
    pub closed: Option<String>,
    /// Of an open shard: its partition.
    pub heat: Option<HeatView>,
}

/// Numbers of a shard, as clients see them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SequenceRange {
    /// Not above the first record's.
    pub start: String,
    /// Not below the last record's; none while it is open.
    pub end: Option<String>,
}

/// A partition: what is written to it, and what it holds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HeatView {
    /// First and last hash, both included: 32 hex digits each.
    pub hash_range: [String; 2],
    /// In the last second.
    pub writes_per_second: f64,
    /// Estimated after a split.
    pub items: i64,
    /// Likewise.
    pub bytes: i64,
}

/// Why something was not done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// `Invalid`, `NotFound`, `Conflict`, `Unavailable`; over HTTP also `Unauthorized`.
    pub code: String,
    /// For a person.
    pub message: String,
}

impl Refused {
    /// It makes no sense.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new("Invalid", message)
    }

    /// There is nothing of that name.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new("NotFound", message)
    }

    /// It would have made sense before.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new("Conflict", message)
    }

    /// The store does not take it now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new("Unavailable", message)
    }

    pub(super) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Refused {}

impl From<ClockState> for ClockView {
    fn from(state: ClockState) -> Self {
        Self {
            store_time: time(state.store),
            store_ms: state.store.0,
            system_time: time(state.system),
            offset_ms: state.offset_ms,
            frozen: state.frozen,
        }
    }
}

impl StreamView {
    pub(super) fn of(stream: &StreamDefinition) -> Self {
        let state = match stream.state {
            StreamState::Enabling => "ENABLING",
            StreamState::Enabled => "ENABLED",
            StreamState::Disabling => "DISABLING",
            StreamState::Disabled => "DISABLED",
        };
        let (arn, table) = (stream.arn().to_string(), stream.table_name.clone());
        Self { arn, table, state: state.to_owned(), kinesis: Some(stream.kinesis_name()) }
    }

    pub(super) fn of_data(stream: &DataStreamDefinition) -> Self {
        let state = match stream.state {
            DataStreamState::Creating => "CREATING",
            DataStreamState::Active => "ACTIVE",
            DataStreamState::Updating => "UPDATING",
            DataStreamState::Deleting => "DELETING",
        };
        Self { arn: stream.arn(), table: stream.name.clone(), state: state.to_owned(), kinesis: None }
    }
}

/// A shard as Kinesis's clients know it: of a data stream by its place, of a table's stream by its identity.
pub(super) fn data_shard_id(index: impl Into<u64>) -> String {
    let index: u64 = index.into();
    format!("shardId-{index:012}")
}

impl ShardView {
    pub(super) fn of_data(shard: &ShardInfo) -> Self {
        let (index, created) = (shard.index, shard.created);
        // As ListShards shows it: the number with which it was opened, which no record has.
        let opened = SequenceNumber(shard.starting.0.saturating_sub(1));
        let start = sequence::kinesis::render(opened, index, created);
        let end = shard.ending.map(|ending| sequence::kinesis::render_ending(ending, index, created));
        let parents = shard.parent_indexes.iter().map(|parent| data_shard_id(*parent)).collect();
        let view = Self::of(shard);
        Self { id: data_shard_id(index), kinesis: None, parents, numbers: SequenceRange { start, end }, ..view }
    }

    pub(super) fn of(shard: &ShardInfo) -> Self {
        Self {
            id: shard.id.clone(),
            kinesis: Some(data_shard_id(shard.uid.0)),
            parents: shard.parent_ids.clone(),
            hash_range: hashes(shard.hash_range),
            numbers: SequenceRange { start: sequence::render(shard.starting), end: shard.ending.map(sequence::render) },
            created: time(shard.created),
            closed: shard.closed.map(time),
            heat: None,
        }
    }
}

impl HeatView {
    pub(super) fn of(partition: &PartitionInfo) -> Self {
        Self {
            hash_range: hashes(partition.hash_range),
            writes_per_second: partition.writes_per_second,
            items: partition.items,
            bytes: partition.bytes,
        }
    }
}

fn hashes(range: (u128, u128)) -> [String; 2] {
    [range.0, range.1].map(|hash| format!("{hash:032x}"))
}

/// A moment as RFC 3339 has it, to the millisecond.
fn time(at: Millis) -> String {
    let since = Duration::from_millis(u64::try_from(at.0).unwrap_or_default());
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + since).to_string()
}
