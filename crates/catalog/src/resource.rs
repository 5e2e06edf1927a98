//! Definitions of tables and streams, as they are stored and shown.

use std::collections::BTreeMap;

use headwater_types::arn::{StreamArn, TableArn};
use headwater_types::{Millis, Scope, StreamUid, TableId};
use serde::{Deserialize, Serialize};

use crate::data_stream::{self, ConsumerDefinition, ConsumerState};
use crate::destination::KinesisDestination;
use crate::index::{IndexDefinition, IndexKind, TimeToLive};
use crate::state::{StreamState, TableState};
use crate::writer::{maybe_millis, maybe_stream, millis, scope, stream_uid, table_id};

/// Type of a key attribute.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum KeyKind {
    /// String.
    S,
    /// Number.
    N,
    /// Binary.
    B,
}

/// A key attribute.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyAttribute {
    /// Attribute name.
    pub name: String,
    /// Its type.
    pub kind: KeyKind,
}

/// A table's or an index's primary key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeySchema {
    /// Partition key.
    pub hash: KeyAttribute,
    /// Sort key.
    pub range: Option<KeyAttribute>,
}

/// An attribute definition as given by the user.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AttributeDefinition {
    /// Attribute name.
    pub name: String,
    /// Its type.
    pub kind: KeyKind,
}

/// How a table is paid for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum BillingMode {
    /// By throughput set beforehand.
    Provisioned,
    /// By use.
    PayPerRequest,
}

/// Throughput set beforehand; zeros when paid by use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Throughput {
    /// Unit: RCU.
    pub read_units: i64,
    /// Unit: WCU.
    pub write_units: i64,
}

/// What a stream's records show.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum StreamView {
    /// Keys only.
    KeysOnly,
    /// The item after the change.
    NewImage,
    /// The item before the change.
    OldImage,
    /// Both.
    NewAndOldImages,
}

/// A table.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TableDefinition {
    /// Identity inside the cell; never reused.
    #[serde(with = "table_id")]
    pub id: TableId,
    /// Account and Region.
    #[serde(with = "scope")]
    pub scope: Scope,
    /// Name, unique in its scope.
    pub name: String,
    /// The `TableId` that clients see.
    pub table_uuid: String,
    /// Primary key.
    pub key_schema: KeySchema,
    /// As given at creation, in that order.
    pub attributes: Vec<AttributeDefinition>,
    /// How it is paid for.
    pub billing: BillingMode,
    /// Throughput; zeros when paid by use.
    pub throughput: Throughput,
    /// When it was last switched to pay by use.
    #[serde(with = "maybe_millis", default)]
    pub billing_changed: Option<Millis>,
    /// When throughput was last raised.
    #[serde(with = "maybe_millis", default)]
    pub throughput_increased: Option<Millis>,
    /// When throughput was last lowered.
    #[serde(with = "maybe_millis", default)]
    pub throughput_decreased: Option<Millis>,
    /// How often throughput was lowered on the day of the last time (UTC).
    #[serde(default)]
    pub throughput_decreases_today: i64,
    /// Table class as given.
    #[serde(default)]
    pub class: Option<String>,
    /// Refuses DeleteTable.
    #[serde(default)]
    pub deletion_protection: bool,
    /// Store time of creation.
    #[serde(with = "millis")]
    pub created: Millis,
    /// State.
    pub state: TableState,
    /// The stream that is on.
    #[serde(with = "maybe_stream", default)]
    pub stream: Option<StreamUid>,
    /// The newest stream; stays when it is switched off.
    #[serde(with = "maybe_stream", default)]
    pub latest_stream: Option<StreamUid>,
    /// Label of the newest stream; stays when it is switched off, and when it is gone.
    #[serde(default)]
    pub latest_stream_label: Option<String>,
    /// Secondary indexes, in the order they were made.
    #[serde(default)]
    pub indexes: Vec<IndexDefinition>,
    /// Greatest number ever given to an index. Set by `log`.
    #[serde(default)]
    pub last_index: u32,
    /// Expiry of items, when it is on or not wholly off yet. Set by `log`.
    #[serde(default)]
    pub time_to_live: Option<TimeToLive>,
    /// When expiry was last switched on or off. Set by `log`.
    #[serde(with = "maybe_millis", default)]
    pub time_to_live_changed: Option<Millis>,
    /// Where its changes are replicated: at most one that is not over, and those that are, one per stream. Set by `log`.
    #[serde(default)]
    pub destinations: Vec<KinesisDestination>,
    /// The lineage of the shards that are open while a destination is on and the stream is not. Set by `log`.
    #[serde(with = "maybe_stream", default)]
    pub internal: Option<StreamUid>,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Accepted and shown again, without behaviour (`SSESpecification`, `OnDemandThroughput`, …), by member name.
    #[serde(default)]
    pub recorded: BTreeMap<String, serde_json::Value>,
    /// Version of the table's head; a plan made under another one is planned again. Set by `log`.
    pub version: u64,
}

impl TableDefinition {
    /// A table to be made: identity, times and state are filled in when it is committed.
    pub fn new(scope: Scope, name: impl Into<String>, key_schema: KeySchema) -> Self {
        Self {
            id: TableId(0),
            scope,
            name: name.into(),
            table_uuid: String::new(),
            key_schema,
            attributes: Vec::new(),
            billing: BillingMode::PayPerRequest,
            throughput: Throughput::default(),
            billing_changed: None,
            throughput_increased: None,
            throughput_decreased: None,
            throughput_decreases_today: 0,
            class: None,
            deletion_protection: false,
            created: Millis(0),
            state: TableState::Active,
            stream: None,
            latest_stream: None,
            latest_stream_label: None,
            indexes: Vec::new(),
            last_index: 0,
            time_to_live: None,
            time_to_live_changed: None,
            destinations: Vec::new(),
            internal: None,
            tags: BTreeMap::new(),
            recorded: BTreeMap::new(),
            version: 0,
        }
    }

    /// Its name for clients.
    pub fn arn(&self) -> TableArn {
        TableArn { scope: self.scope.clone(), table: self.name.clone() }
    }

    /// An index by name.
    pub fn index(&self, name: &str) -> Option<&IndexDefinition> {
        self.indexes.iter().find(|index| index.name == name)
    }

    /// Indexes that writers maintain.
    pub fn maintained(&self) -> impl Iterator<Item = &IndexDefinition> {
        self.indexes.iter().filter(|index| index.state.maintained())
    }

    /// Whether it has local indexes: its item collections are bounded and measured then.
    pub fn has_collections(&self) -> bool {
        self.indexes.iter().any(|index| index.kind == IndexKind::Local)
    }

    /// The destination that is not over.
    pub fn destination(&self) -> Option<&KinesisDestination> {
        self.destinations.iter().find(|destination| !destination.state.is_over())
    }

    /// The lineage of the shards that take the records of its changes; none while nothing wants them.
    pub fn log_lineage(&self) -> Option<StreamUid> {
        let wanted = self.destination().is_some_and(|destination| destination.state.wants_log());
        self.stream.or_else(|| self.internal.filter(|_| wanted))
    }

    /// Names of the table's key attributes.
    pub fn keys(&self) -> impl Iterator<Item = &KeyAttribute> {
        std::iter::once(&self.key_schema.hash).chain(&self.key_schema.range)
    }

    /// The newest stream's ARN; stays when the stream is switched off.
    pub fn latest_stream_arn(&self) -> Option<StreamArn> {
        self.latest_stream_label.clone().map(|label| StreamArn { table: self.arn(), label })
    }
}

/// A table's stream.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StreamDefinition {
    /// Identity inside the cell; never reused.
    #[serde(with = "stream_uid")]
    pub uid: StreamUid,
    /// Its table, which may be gone.
    #[serde(with = "table_id")]
    pub table: TableId,
    /// The table's name.
    pub table_name: String,
    /// Account and Region.
    #[serde(with = "scope")]
    pub scope: Scope,
    /// Creation time as in the ARN; unique among the table name's streams.
    pub label: String,
    /// What its records show.
    pub view: StreamView,
    /// The table's key at creation.
    pub key_schema: KeySchema,
    /// State.
    pub state: StreamState,
    /// Store time of creation.
    #[serde(with = "millis")]
    pub created: Millis,
    /// Store time of switching off.
    #[serde(with = "maybe_millis", default)]
    pub closed: Option<Millis>,
    /// Consumers that are registered by Kinesis's operations, in the order they were registered.
    #[serde(default)]
    pub consumers: Vec<ConsumerDefinition>,
    /// Tags that it was given by Kinesis's operations.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

impl StreamDefinition {
    /// Its name for clients.
    pub fn arn(&self) -> StreamArn {
        let table = TableArn { scope: self.scope.clone(), table: self.table_name.clone() };
        StreamArn { table, label: self.label.clone() }
    }

    /// Its name for Kinesis's operations.
    pub fn kinesis_name(&self) -> String {
        self.arn().kinesis_name()
    }

    /// Whether it or a consumer is in a short state.
    pub fn is_unfinished(&self) -> bool {
        self.state.end() != self.state || self.consumers.iter().any(|consumer| consumer.state != ConsumerState::Active)
    }

    /// Ends its consumers' short states.
    pub fn finish_consumers(&mut self) {
        data_stream::finish(&mut self.consumers);
    }
}

/// Renders a moment as a stream's label.
///
/// Shape:  `2015-05-11T21:21:33.291`, UTC.
/// Source: "LatestStreamLabel", TableDescription, DynamoDB API reference.
pub fn stream_label(at: Millis) -> String {
    let (day, millisecond) = (at.0.div_euclid(86_400_000), at.0.rem_euclid(86_400_000));
    let (year, month, date) = civil(day);
    let (second, fraction) = (millisecond / 1_000, millisecond % 1_000);
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{:02}.{fraction:03}", second % 60)
}

/// Days since 1970-01-01 to year, month, day of the Gregorian calendar (years begin in March inside, so that the leap
/// day is a year's last).
fn civil(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let date = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_show_the_creation_time() {
        let cases = [
            (0, "1970-01-01T00:00:00.000"),
            (1_431_379_293_291, "2015-05-11T21:21:33.291"),
            (951_782_400_000, "2000-02-29T00:00:00.000"),
            (1_767_225_599_999, "2025-12-31T23:59:59.999"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000"),
        ];
        for (at, label) in cases {
            assert_eq!(stream_label(Millis(at)), label);
        }
    }
}
