//! Kinesis data streams: their definitions, states and registered consumers, as they are stored and shown.
//!
//! ```text
//! stream:    Creating ──► Active ◄──► Updating          consumer:  Creating ──► Active ──► Deleting ──► (gone)
//!                           │
//!                           └──► Deleting ──► (gone)
//! ```

use std::collections::BTreeMap;

use headwater_types::{Millis, Scope, StreamUid, TableId};
use serde::{Deserialize, Serialize};

use crate::writer::{maybe_millis, millis, scope, stream_uid, table_id};

/// Hours that records are kept unless more is asked for.
pub const RETENTION_HOURS: i64 = 24;
/// Largest record unless more is asked for. Unit: KiB.
pub const RECORD_KIB: i64 = 1_024;
/// Unit: ms per hour.
const HOUR_MS: i64 = 3_600_000;

/// State of a data stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DataStreamState {
    /// Made, not yet usable.
    Creating,
    /// Usable.
    Active,
    /// Usable; its shards or settings are being changed.
    Updating,
    /// Going away, not usable.
    Deleting,
}

impl DataStreamState {
    /// Whether records may be put and read.
    pub fn serves(self) -> bool {
        matches!(self, Self::Active | Self::Updating)
    }
}

/// How a data stream's capacity is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum StreamMode {
    /// By the number of its shards.
    Provisioned,
    /// By itself, as it is written to.
    OnDemand,
}

/// State of a registered consumer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ConsumerState {
    /// Registered, not yet usable.
    Creating,
    /// Usable.
    Active,
    /// Going away, not usable.
    Deleting,
}

/// A registered consumer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConsumerDefinition {
    /// Name, unique in its stream.
    pub name: String,
    /// Store time of registration; its second ends the consumer's ARN, so a name that is registered again is another one.
    #[serde(with = "millis")]
    pub created: Millis,
    /// State.
    pub state: ConsumerState,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// A Kinesis data stream. It has partitions and shards as a table's log has, and no items.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DataStreamDefinition {
    /// Identity inside the cell, from the same counter as tables'; never reused. Set by `log`.
    #[serde(with = "table_id")]
    pub id: TableId,
    /// Identity of its shards' lineage; never reused. Set by `log`.
    #[serde(with = "stream_uid")]
    pub uid: StreamUid,
    /// Account and Region.
    #[serde(with = "scope")]
    pub scope: Scope,
    /// Name, unique in its scope.
    pub name: String,
    /// Store time of creation. Set by `log`.
    #[serde(with = "millis")]
    pub created: Millis,
    /// State. Set by `log`.
    pub state: DataStreamState,
    /// Mode.
    pub mode: StreamMode,
    /// When the mode was last changed.
    #[serde(with = "maybe_millis", default)]
    pub mode_changed: Option<Millis>,
    /// How long records and closed shards are kept. Unit: hours of store time.
    pub retention_hours: i64,
    /// The key that was named for encryption; nothing is encrypted with it.
    #[serde(default)]
    pub encryption_key: Option<String>,
    /// Largest record. Unit: KiB of partition key and data.
    pub max_record_kib: i64,
    /// Shard-level metrics that were asked for.
    #[serde(default)]
    pub monitoring: Vec<String>,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Registered consumers, in the order they were registered.
    #[serde(default)]
    pub consumers: Vec<ConsumerDefinition>,
    /// How many open shards a reshard under way ends with. Set by `log`.
    #[serde(default)]
    pub target_shards: Option<usize>,
    /// Accepted and shown again, without behaviour, by member name.
    #[serde(default)]
    pub recorded: BTreeMap<String, serde_json::Value>,
    /// Version of its head. Set by `log`.
    pub version: u64,
}

impl DataStreamDefinition {
    /// A stream to be made: identity, times and state are filled in when it is committed.
    pub fn new(scope: Scope, name: impl Into<String>) -> Self {
        Self {
            id: TableId(0),
            uid: StreamUid(0),
            scope,
            name: name.into(),
            created: Millis(0),
            state: DataStreamState::Active,
            mode: StreamMode::Provisioned,
            mode_changed: None,
            retention_hours: RETENTION_HOURS,
            encryption_key: None,
            max_record_kib: RECORD_KIB,
            monitoring: Vec::new(),
            tags: BTreeMap::new(),
            consumers: Vec::new(),
            target_shards: None,
            recorded: BTreeMap::new(),
            version: 0,
        }
    }

    /// Its name for clients.
    pub fn arn(&self) -> String {
        format!("arn:aws:kinesis:{}:{}:stream/{}", self.scope.region, self.scope.account, self.name)
    }

    /// A consumer's name for clients.
    pub fn consumer_arn(&self, consumer: &ConsumerDefinition) -> String {
        format!("{}/consumer/{}:{}", self.arn(), consumer.name, consumer.created.0.div_euclid(1_000))
    }

    /// A consumer by name.
    pub fn consumer(&self, name: &str) -> Option<&ConsumerDefinition> {
        self.consumers.iter().find(|consumer| consumer.name == name)
    }

    /// How long records and closed shards are kept. Unit: ms of store time.
    pub fn retention_ms(&self) -> i64 {
        self.retention_hours.saturating_mul(HOUR_MS)
    }

    /// Whether a state of it or of a consumer is a short one, or its shards are being changed.
    pub fn is_unfinished(&self) -> bool {
        self.state != DataStreamState::Active
            || self.target_shards.is_some()
            || self.consumers.iter().any(|consumer| consumer.state != ConsumerState::Active)
    }

    /// Ends its consumers' short states.
    pub fn finish_consumers(&mut self) {
        finish(&mut self.consumers);
    }
}

/// Ends consumers' short states.
pub(crate) fn finish(consumers: &mut Vec<ConsumerDefinition>) {
    consumers.retain(|consumer| consumer.state != ConsumerState::Deleting);
    for consumer in consumers {
        consumer.state = ConsumerState::Active;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumers_have_arns_of_their_own_and_short_states_end() {
        let mut stream = DataStreamDefinition::new(Scope::new("000000000000", "eu-west-1"), "s");
        assert!(!stream.is_unfinished());
        for (name, state) in [("a", ConsumerState::Creating), ("b", ConsumerState::Deleting)] {
            let created = Millis(1_700_000_000_999);
            stream.consumers.push(ConsumerDefinition { name: name.into(), created, state, tags: BTreeMap::new() });
        }
        let consumer = stream.consumer("a").expect("registered");
        let arn = "arn:aws:kinesis:eu-west-1:000000000000:stream/s/consumer/a:1700000000";
        assert_eq!(stream.consumer_arn(consumer), arn);
        assert!(stream.is_unfinished());
        stream.finish_consumers();
        assert!(!stream.is_unfinished() && stream.consumer("b").is_none());
        assert_eq!(stream.retention_ms(), 86_400_000);
    }
}
