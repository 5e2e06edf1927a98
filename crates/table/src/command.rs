//! Put, update and delete as one read-modify-write.

use headwater_catalog::{TableDefinition, TableState};
use headwater_expression::{Condition, Update};
use headwater_log::{Log, Touch};
use headwater_types::key::ItemKey;
use headwater_types::stored::Corrupt;
use headwater_types::{Item, SequenceNumber};

use crate::collection;
use crate::index::{IndexKeyError, IndexUse};
use crate::row::Row;
use crate::schema::storage_key;

/// What is done to an item.
#[derive(Clone, Debug)]
pub enum Action {
    /// The item becomes this one.
    Put(Row),
    /// The item is changed, or made from its key; `None` changes nothing and makes an item of key attributes only.
    Update(Option<Update>),
    /// The item goes.
    Delete,
}

/// A write of one item.
pub struct Write {
    pub(crate) touches: Touches,
    pub(crate) step: Step,
}

/// The item's key, and the size of its collection where the table has local indexes.
pub(crate) enum Touches {
    Item([Touch; 1]),
    Collection([Touch; 2]),
}

/// What is done to one item, under which condition.
pub(crate) struct Step {
    /// The key attributes, from which an update makes a new item.
    pub key: Item,
    pub change: Change,
    pub condition: Option<Condition>,
}

/// The action with what can be prepared before the item is read.
pub(crate) enum Change {
    Put(Row),
    Update(Option<Update>),
    Delete,
}

/// What became of a write.
#[derive(Clone, PartialEq, Debug)]
pub struct Written {
    /// The item before, if there was one.
    pub old: Option<Row>,
    /// The item after, if there is one.
    pub new: Option<Row>,
    /// Number of its change record; none when nothing changed or nothing keeps the log.
    pub number: Option<SequenceNumber>,
    /// Indexes that it changed.
    pub uses: Vec<IndexUse>,
    /// Size of the item's collection after the write, where the table has local indexes. Unit: bytes.
    pub collection: Option<i64>,
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
    /// The item cannot be in an index of the table.
    IndexKey {
        /// Where and why.
        error: IndexKeyError,
        /// By an update, not a put.
        update: bool,
    },
    /// The item's collection would be larger than allowed.
    CollectionTooLarge,
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
    pub fn new(
        table: &TableDefinition,
        key: &ItemKey,
        key_item: Item,
        action: Action,
        condition: Option<Condition>,
    ) -> Self {
        let touch = Touch { table: Some(table.id), hash: key.hash, key: storage_key(table.id, key) };
        let touches = match collection::touch(table, &touch) {
            None => Touches::Item([touch]),
            Some(collection) => Touches::Collection([touch, collection]),
        };
        Self { touches, step: Step::new(key_item, action, condition) }
    }
}

impl Touches {
    pub fn as_slice(&self) -> &[Touch] {
        match self {
            Self::Item(touches) => touches,
            Self::Collection(touches) => touches,
        }
    }
}

impl Step {
    pub fn new(key: Item, action: Action, condition: Option<Condition>) -> Self {
        let change = match action {
            Action::Put(row) => Change::Put(row),
            Action::Update(update) => Change::Update(update),
            Action::Delete => Change::Delete,
        };
        Self { key, change, condition }
    }
}

/// Does a write and waits until it, or what its refusal is based on, is durable.
pub async fn write(log: &Log, write: Write) -> Result<Written, Refusal> {
    log.execute(write).await.map_err(Refusal::Log)?
}
