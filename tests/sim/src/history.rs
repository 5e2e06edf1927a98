//! What the clients saw, with a common count of events as time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::data_streams::history::Seen;
use crate::ledger::Ledger;
use crate::linearize::Call;
use crate::spec::{Answer, Item, Operation};
use crate::structures::Compared;
use crate::{expiry, replication};

/// An item's name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Key {
    /// The table's name, which may be given to a later table again.
    pub table: String,
    /// The partition key.
    pub pk: String,
    /// The sort key.
    pub sk: Option<String>,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.table, self.pk)?;
        self.sk.as_ref().map_or(Ok(()), |sk| write!(f, "/{sk}"))
    }
}

/// How a request on items ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// With an answer.
    Answered(Answer),
    /// The table was not there.
    NoTable,
    /// Nobody knows.
    Lost,
}

/// One operation on one item.
#[derive(Clone, Debug)]
pub struct Event {
    /// Who asked, and on which node.
    pub client: String,
    /// The item.
    pub key: Key,
    /// What was asked.
    pub operation: Operation,
    /// When it was asked.
    pub invoked: u64,
    /// When the answer came; later than everything for what was lost.
    pub answered: u64,
    /// How it ended.
    pub end: End,
}

/// A Query of one partition key: all its items in one answer.
#[derive(Clone, Debug)]
pub struct Whole {
    /// The table's name.
    pub table: String,
    /// The partition key.
    pub pk: String,
    /// When it was asked.
    pub invoked: u64,
    /// When the answer came.
    pub answered: u64,
    /// The items found, by sort key.
    pub items: BTreeMap<Option<String>, Item>,
}

/// What was done to a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableChange {
    /// CreateTable, with or without a stream.
    Create,
    /// DeleteTable.
    Delete,
    /// UpdateTable with a stream switched on.
    Enable,
    /// UpdateTable with the stream switched off.
    Disable,
}

/// A change of a table whose outcome is known (by its answer, or by asking later).
#[derive(Clone, Debug)]
pub struct TableEvent {
    /// The table's name.
    pub table: String,
    /// What was asked.
    pub change: TableChange,
    /// When.
    pub invoked: u64,
    /// When its outcome was known.
    pub known: u64,
    /// Whether it was done.
    pub done: bool,
    /// The stream that the table had after it.
    pub stream: Option<String>,
}

/// A kind of stream record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangeKind {
    /// INSERT.
    Insert,
    /// MODIFY.
    Modify,
    /// REMOVE.
    Remove,
}

/// A stream record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Its event id.
    pub event_id: String,
    /// Its sequence number, as shown.
    pub number: String,
    /// Its kind.
    pub kind: ChangeKind,
    /// The item.
    pub pk: String,
    /// The item.
    pub sk: Option<String>,
    /// OldImage; outer `None`: the view does not show it.
    pub old: Option<Option<Item>>,
    /// NewImage; outer `None`: the view does not show it.
    pub new: Option<Option<Item>>,
}

/// A shard as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShardRead {
    /// Its id.
    pub id: String,
    /// Its parent's id.
    pub parent: Option<String>,
    /// StartingSequenceNumber.
    pub starting: String,
    /// EndingSequenceNumber.
    pub ending: Option<String>,
    /// Records read so far, in the order they came.
    pub records: Vec<Change>,
    /// Whether the end of a closed shard was reached.
    pub finished: bool,
    /// What comes next was trimmed, or the shard is gone, before the reader came.
    pub lost: bool,
}

/// A stream as it was read.
#[derive(Clone, Debug)]
pub struct StreamRead {
    /// Its ARN.
    pub arn: String,
    /// Its table.
    pub table: String,
    /// StreamViewType.
    pub view: String,
    /// Whether it was switched on when last described.
    pub enabled: bool,
    /// When it was first seen switched on.
    pub seen_enabled: Option<u64>,
    /// Its shards, in the order they were listed.
    pub shards: Vec<ShardRead>,
}

/// A shard as it was read from its newest record on.
#[derive(Clone, Debug)]
pub struct LateRead {
    /// The stream.
    pub arn: String,
    /// The shard.
    pub shard: String,
    /// When the iterator was asked for.
    pub invoked: u64,
    /// When it was given.
    pub answered: u64,
    /// Where to go on; `None` at the end of a closed shard.
    pub next: Option<String>,
    /// Its iterator was refused: it does not begin again.
    pub stopped: bool,
    /// Records read so far.
    pub records: Vec<Change>,
}

/// Everything that was seen in one run.
#[derive(Default)]
pub struct History {
    tick: u64,
    next_id: u64,
    met: u64,
    /// A crash may take answered changes back: only what stream readers were shown is for good.
    pub relaxed: bool,
    /// Operations on items.
    pub events: Vec<Event>,
    /// Queries.
    pub wholes: Vec<Whole>,
    /// Changes of tables.
    pub tables: Vec<TableEvent>,
    /// Streams as each reader at the tail saw them, by reader and ARN.
    pub tails: BTreeMap<(u64, String), StreamRead>,
    /// Shards as readers that began at the newest record saw them.
    pub late: Vec<LateRead>,
    /// Streams as a reader from the start saw them in the end, by ARN.
    pub streams: BTreeMap<String, StreamRead>,
    /// The items of each table that exists in the end.
    pub items: BTreeMap<String, BTreeMap<Key, Item>>,
    /// What was seen of transactions.
    pub ledger: Ledger,
    /// What was seen of data streams.
    pub data: Seen,
    /// What was seen of replications.
    pub replication: replication::history::Seen,
    /// What the stream of the expiry's table tells, by item.
    pub told: expiry::Told,
    /// What was compared in snapshots.
    pub compared: Compared,
    /// Snapshots that were held and asked again.
    pub held: u64,
    /// Of these, behind which the node had gone on.
    pub outlived: u64,
    /// What nodes did by themselves, by the node's number: as it was last seen.
    pub lives: BTreeMap<u64, Life>,
    /// How far shards were trimmed by order, by stream and shard: what may be gone, and what must.
    pub ordered: BTreeMap<(String, String), Ordered>,
    /// When iterators were expired by order. Unit: ms of store time, before and after.
    pub expiries: Vec<(i64, i64)>,
    /// Items that the service deleted because they had expired.
    pub expired: u64,
    /// What happened to shards and the clock because the run wanted it.
    pub directed: Directed,
    /// Streams as somebody who comes in the end finds them, by ARN.
    pub left: BTreeMap<String, StreamRead>,
    /// Store time before and after that look. Unit: ms.
    pub looked: (i64, i64),
    /// What a client noticed itself.
    pub noticed: Vec<Violation>,
    /// Requests by operation and how they ended.
    pub requests: BTreeMap<(&'static str, &'static str), u64>,
}

/// What a node did by itself since it was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Life {
    /// Partitions that were split because they were hot or large.
    pub splits: u64,
    /// Segments whose wanted records were moved into archive runs.
    pub archived: u64,
}

/// Trimming of one shard by order, as numbers are shown.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ordered {
    /// Asked for: records up to this one may be gone.
    pub may: String,
    /// Answered: records up to this one are gone.
    pub must: String,
}

/// What happened to shards and the clock because the run wanted it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Directed {
    /// Splits.
    pub splits: u64,
    /// Roll-overs.
    pub roll_overs: u64,
    /// Jumps of store time.
    pub jumps: u64,
    /// Times that store time stood still.
    pub freezes: u64,
    /// Shards that were trimmed by order.
    pub trims: u64,
    /// Times that all iterators were expired by order.
    pub expiries: u64,
}

/// A promise that was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which promise.
    pub check: &'static str,
    /// How.
    pub text: String,
    /// The item or table it is about, to show its history.
    pub about: Option<Key>,
}

impl Violation {
    /// A violation that no single item shows.
    pub fn new(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, text: text.into(), about: None }
    }

    /// A violation on one item.
    pub fn at(check: &'static str, key: &Key, text: impl Into<String>) -> Self {
        Self { check, text: text.into(), about: Some(key.clone()) }
    }
}

impl History {
    /// The next moment.
    pub fn tick(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    /// A number for a write.
    pub fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Operations that met a table.
    pub fn operations(&self) -> u64 {
        self.met
    }

    /// Adds an operation on an item.
    pub fn note(&mut self, event: Event) {
        self.met += u64::from(event.end != End::NoTable);
        self.events.push(event);
    }

    /// Counts a request.
    pub fn count(&mut self, operation: &'static str, end: &'static str) {
        *self.requests.entry((operation, end)).or_default() += 1;
    }

    /// Every item that any operation named.
    pub fn keys(&self) -> BTreeSet<&Key> {
        self.events.iter().map(|event| &event.key).collect()
    }

    /// The calls on one item, in order of their beginning, with the deletions of its table.
    pub fn calls(&self, key: &Key) -> Vec<Call> {
        let own = self.events.iter().filter(|event| event.key == *key && event.end != End::NoTable);
        let mut calls: Vec<Call> = own
            .filter_map(|event| {
                let (answered, answer) = match &event.end {
                    End::Answered(answer) => (Some(event.answered), Some(answer.clone())),
                    End::Lost => (None, None),
                    End::NoTable => return None,
                };
                Some(Call { invoked: event.invoked, answered, operation: event.operation.clone(), answer })
            })
            .collect();
        let deletions = self.tables.iter().filter(|event| event.table == key.table && event.done);
        calls.extend(deletions.filter(|event| event.change == TableChange::Delete).map(|event| Call {
            invoked: event.invoked,
            answered: Some(event.known),
            operation: Operation::plain(0, crate::spec::Action::Wipe),
            answer: Some(Answer::Done(None)),
        }));
        calls.sort_by_key(|call| call.invoked);
        calls
    }

    /// A readable part of the history: one item's operations and its table's changes, newest last.
    pub fn excerpt(&self, key: &Key, lines_max: usize) -> String {
        let mut lines: Vec<(u64, String)> = Vec::new();
        for event in self.events.iter().filter(|event| event.key == *key) {
            let Event { client, operation, invoked, answered, end, .. } = event;
            let answered = if *end == End::Lost { "never".to_owned() } else { answered.to_string() };
            let Operation { id, action, condition, returns, .. } = operation;
            let what = format!("#{id} {action:?} if {condition:?} returns {returns:?}");
            lines.push((*invoked, format!("{invoked:>6}..{answered:<6} {client:<8} {what} -> {end:?}")));
        }
        for event in self.tables.iter().filter(|event| event.table == key.table) {
            let TableEvent { change, invoked, known, done, .. } = event;
            lines.push((*invoked, format!("{invoked:>6}..{known:<6} table    {change:?} done: {done}")));
        }
        for stream in self.streams.values().filter(|stream| stream.table == key.table) {
            for shard in &stream.shards {
                for record in shard.records.iter().filter(|r| r.pk == key.pk && r.sk == key.sk) {
                    let Change { number, kind, old, new, .. } = record;
                    lines.push((u64::MAX, format!("  record {number} {} {kind:?} {old:?} => {new:?}", shard.id)));
                }
            }
        }
        lines.sort_by_key(|(at, _)| *at);
        let left_out = lines.len().saturating_sub(lines_max);
        let mut text = format!("history of {key} ({left_out} earlier lines left out):\n");
        for (_, line) in lines.into_iter().skip(left_out) {
            text.push_str("  ");
            text.push_str(&line);
            text.push('\n');
        }
        text
    }
}
