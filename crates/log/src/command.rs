//! What a command is: the keys it touches, and a pure decision on their values.

use std::sync::Arc;

use bytes::Bytes;
use headwater_catalog::TableDefinition;
use headwater_storage::keyspace::token_key;
use headwater_types::{HashKey, Millis, SequenceNumber, TableId};
use smallvec::SmallVec;

use crate::views::{Owner, TableView};

/// As many as a command has touches or tables: most have one, which takes no memory of its own.
pub(crate) type Few<T> = SmallVec<[T; 1]>;

/// A key that a command locks and reads, and may change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Touch {
    /// Its table; none for an idempotency token, which lies in no table and has a head of its own.
    pub table: Option<TableId>,
    /// Placement hash of the key: which partition it lies in.
    pub hash: HashKey,
    /// The whole storage key.
    pub key: Bytes,
}

impl Touch {
    /// An idempotency token, by the hash of all that names it.
    ///
    /// Shape: its value begins with the store time at which it is forgotten (eight bytes, big-endian, ms); a command may
    ///        put it or leave it, removing it is the log's.
    pub fn token(hash: HashKey) -> Self {
        Self { table: None, hash, key: token_key(hash) }
    }
}

/// A read-modify-write of one or several keys, all or nothing.
pub trait Command: Send {
    /// What the caller gets.
    type Answer: Send;

    /// What is locked and read. Order: the same at every call; keys are distinct.
    fn touches(&self) -> &[Touch];

    /// About how many bytes the command writes beside what it reads, for admission.
    fn size_hint(&self) -> usize {
        0
    }

    /// Decides on the values read: pure, no I/O. Called again when a plan was taken back.
    fn decide(&mut self, view: &View<'_>) -> Decision<Self::Answer>;

    /// Completes the answer once the change is durable, given its records' numbers in order of the touches.
    fn finish(&mut self, answer: Self::Answer, numbers: &[SequenceNumber]) -> Self::Answer {
        let _ = numbers;
        answer
    }
}

/// What a decision may look at.
pub struct View<'a> {
    pub(crate) values: &'a [Option<Bytes>],
    pub(crate) tables: &'a [(TableId, Arc<TableView>)],
    /// Index into `tables`, per touch; none for a token.
    pub(crate) table_of: &'a [Option<usize>],
    pub(crate) now: Millis,
    #[cfg(feature = "planted-bugs")]
    pub(crate) planted: Option<crate::settings::PlantedBug>,
}

impl View<'_> {
    /// A bug that is switched on.
    #[cfg(feature = "planted-bugs")]
    pub fn planted(&self) -> Option<crate::settings::PlantedBug> {
        self.planted
    }

    /// The stored value of a touch's key; `None` when there is none.
    pub fn value(&self, touch: usize) -> Option<&Bytes> {
        self.values.get(touch).and_then(Option::as_ref)
    }

    /// Definition of a touch's table. Errors: panics when there is no such touch.
    pub fn table(&self, touch: usize) -> &Arc<TableDefinition> {
        let table = self.table_of.get(touch).copied().flatten().and_then(|at| self.tables.get(at));
        match table.map(|(_, view)| &view.definition) {
            Some(Owner::Table(table)) => table,
            Some(Owner::DataStream(_)) | None => panic!("a decision asks for the tables of its own items only"),
        }
    }

    /// Store time.
    pub fn now(&self) -> Millis {
        self.now
    }
}

/// What a command comes to.
#[derive(Debug)]
pub enum Decision<A> {
    /// Nothing is written: a refusal, a read, a change that changes nothing. Given once all it is based on is durable.
    Answer(A),
    /// Something is written.
    Change {
        /// One per touch, in the same order.
        effects: Vec<Effect>,
        /// Given once the change is durable.
        answer: A,
    },
}

/// What a command does to one touch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Effect {
    /// Change of the touch's own key.
    pub value: ValueChange,
    /// Change of the partition's item count.
    pub items: i64,
    /// Change of the partition's byte count.
    pub bytes: i64,
    /// Record for the partition's open shard; none is kept when nothing wants the log.
    pub record: Option<Bytes>,
    /// Index entries, keys with their new value or `None` when removed.
    pub entries: Vec<(Bytes, Option<Bytes>)>,
}

/// Change of a value.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum ValueChange {
    /// Stays as it is: read only.
    #[default]
    Unchanged,
    /// The new value.
    Put(Bytes),
    /// No value any more.
    Delete,
}
