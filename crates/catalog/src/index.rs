//! Secondary indexes: their definitions, their states, and how they stand in a table's row.
//!
//! ```text
//! Creating ──► Backfilling ──► Active ◄──► Updating
//!                   │             │
//!                   └─────────────┴──► Deleting ──► (gone)
//! ```
//! Writers maintain an index from the commit that makes it to the commit that makes it `Deleting`.

use std::collections::BTreeMap;

use headwater_types::Millis;
use serde::{Deserialize, Serialize};

use crate::resource::{KeyAttribute, Throughput};
use crate::writer::maybe_millis;

/// Which of the two kinds of secondary indexes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum IndexKind {
    /// Shares the table's partition key; made with the table only.
    Local,
    /// Has keys of its own.
    Global,
}

/// Which attributes an index holds beside its own and the table's keys.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Projected {
    /// All.
    All,
    /// None.
    KeysOnly,
    /// These, in the order given.
    Include(Vec<String>),
}

/// State of an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum IndexState {
    /// Made; items of before are not indexed yet, nor being indexed.
    Creating,
    /// Items of before are being indexed.
    Backfilling,
    /// Usable.
    Active,
    /// Usable, a change of its settings is under way.
    Updating,
    /// Going away, not usable; its entries are being removed.
    Deleting,
}

impl IndexState {
    /// Whether writers maintain the index.
    pub fn maintained(self) -> bool {
        self != Self::Deleting
    }

    /// Whether it may be read.
    pub fn serves(self) -> bool {
        matches!(self, Self::Active | Self::Updating)
    }

    /// The state that ends a short one; itself when the state lasts or is ended by a job.
    #[must_use]
    pub fn end(self) -> Self {
        match self {
            Self::Creating => Self::Backfilling,
            Self::Updating => Self::Active,
            Self::Backfilling | Self::Active | Self::Deleting => self,
        }
    }
}

/// A secondary index.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct IndexDefinition {
    /// Its number inside the table, from 1; never reused there. Set by `log`.
    pub id: u32,
    /// Name, unique in its table.
    pub name: String,
    /// Its kind.
    pub kind: IndexKind,
    /// Partition key: one attribute, of a global index up to four.
    pub hash: Vec<KeyAttribute>,
    /// Sort key: of a local index one attribute, of a global one up to four.
    pub range: Vec<KeyAttribute>,
    /// What it holds beside the keys.
    pub projected: Projected,
    /// State. Set by `log`.
    pub state: IndexState,
    /// Throughput of a global index; zeros when the table is paid by use.
    #[serde(default)]
    pub throughput: Throughput,
    /// When throughput was last raised.
    #[serde(with = "maybe_millis", default)]
    pub throughput_increased: Option<Millis>,
    /// When throughput was last lowered.
    #[serde(with = "maybe_millis", default)]
    pub throughput_decreased: Option<Millis>,
    /// How often throughput was lowered on the day of the last time (UTC).
    #[serde(default)]
    pub throughput_decreases_today: i64,
    /// Accepted and shown again, without behaviour (`OnDemandThroughput`, `WarmThroughput`), by member name.
    #[serde(default)]
    pub recorded: BTreeMap<String, serde_json::Value>,
}

impl IndexDefinition {
    /// An index to be made.
    pub fn new(name: impl Into<String>, kind: IndexKind, hash: Vec<KeyAttribute>, range: Vec<KeyAttribute>) -> Self {
        Self {
            id: 0,
            name: name.into(),
            kind,
            hash,
            range,
            projected: Projected::All,
            state: IndexState::Active,
            throughput: Throughput::default(),
            throughput_increased: None,
            throughput_decreased: None,
            throughput_decreases_today: 0,
            recorded: BTreeMap::new(),
        }
    }

    /// Its key attributes: partition key first.
    pub fn keys(&self) -> impl Iterator<Item = &KeyAttribute> {
        self.hash.iter().chain(&self.range)
    }
}

/// State of a table's expiry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum TimeToLiveState {
    /// Items of before are being entered into the order of expiry; nothing expires yet.
    Enabling,
    /// Expired items are deleted.
    Enabled,
    /// Nothing expires any more; the order of expiry is being removed.
    Disabling,
}

/// Expiry of a table's items by an attribute. Its order of expiry is an index that only the server sees.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TimeToLive {
    /// The attribute: a number, seconds since 1970.
    pub attribute: String,
    /// Number of the hidden index, from the same counter as the table's other indexes.
    pub index: u32,
    /// State.
    pub state: TimeToLiveState,
}
