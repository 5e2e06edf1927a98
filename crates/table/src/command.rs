//! Put, update and delete as one read-modify-write.

use bytes::Bytes;
use headwater_catalog::TableState;
use headwater_expression::{Condition, Update};
use headwater_log::{Log, Touch};
use headwater_types::key::ItemKey;
use headwater_types::stored::Corrupt;
use headwater_types::{Item, SequenceNumber, TableId};

use crate::row::Row;
use crate::schema::storage_key;

/// What is done to an item.
#[derive(Clone, Debug)]
pub enum Action {
    /// The item becomes this one.
    Put(Item),
    /// The item is changed, or made from its key; `None` changes nothing and makes an item of key attributes only.
    Update(Option<Update>),
    /// The item goes.
    Delete,
}

/// A write of one item.
pub struct Write {
    pub(crate) touch: [Touch; 1],
    /// The key attributes, from which an update makes a new item.
    pub(crate) key: Item,
    pub(crate) change: Change,
    pub(crate) condition: Option<Condition>,
}

/// The action with what can be prepared before the item is read.
pub(crate) enum Change {
    Put(Row),
    Update(Option<Update>),
    Delete,
}

/// What became of a write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// The item before, if there was one.
    pub old: Option<Row>,
    /// The item after, if there is one.
    pub new: Option<Row>,
    /// Number of its change record; none when nothing changed or nothing keeps the log.
    pub number: Option<SequenceNumber>,
}

/// Why a write was not done.
#[derive(Debug)]
pub enum Refusal {
    /// The table is not there, or not in a state that takes writes.
    NotActive(TableState),
    /// The condition is false; carries the item as it is.
    ConditionFailed {
        /// The item, if there is one.
        old: Option<Row>,
    },
    /// The item would be larger than allowed.
    ItemTooLarge {
        /// By an update, not a put.
        update: bool,
    },
    /// The update does not fit the item.
    Expression(headwater_expression::Error),
    /// Lists and maps would be nested deeper than allowed.
    Nesting,
    /// Stored bytes are not an item.
    Corrupt,
    /// The log's own refusal.
    Log(headwater_log::Error),
}

impl From<Corrupt> for Refusal {
    fn from(_: Corrupt) -> Self {
        Self::Corrupt
    }
}

impl Write {
    /// A write of the item at `key`, whose attributes are `key_item`, under a condition.
    pub fn new(table: TableId, key: &ItemKey, key_item: Item, action: Action, condition: Option<Condition>) -> Self {
        let touch = Touch { table, hash: key.hash, key: storage_key(table, key) };
        let change = match action {
            Action::Put(item) => Change::Put(Row::new(&item)),
            Action::Update(update) => Change::Update(update),
            Action::Delete => Change::Delete,
        };
        Self { touch: [touch], key: key_item, change, condition }
    }

    pub(crate) fn stored(bytes: Option<&Bytes>) -> Option<Row> {
        bytes.cloned().map(Row::from_stored)
    }
}

/// Does a write and waits until it, or what its refusal is based on, is durable.
pub async fn write(log: &Log, write: Write) -> Result<Written, Refusal> {
    log.execute(write).await.map_err(Refusal::Log)?
}
