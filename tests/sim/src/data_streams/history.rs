//! What the clients of data streams saw.

use std::collections::BTreeMap;

use crate::figures::figures;
use crate::history::Violation;

/// First and last hash key, both included.
pub type Range = (u128, u128);

/// A record that is put.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its number in the run: what its data say.
    pub id: u64,
    /// Its partition key.
    pub key: String,
    /// What decides its shard: the hash of its key, or the hash key that was given.
    pub hash: u128,
}

/// How a put ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PutEnd {
    /// Each record's shard and number.
    Placed(Vec<(String, String)>),
    /// There was no such stream: nothing was put.
    NoStream,
    /// Nobody knows.
    Lost,
}

/// A PutRecord or PutRecords.
#[derive(Clone, Debug)]
pub struct Put {
    /// The stream's name.
    pub name: String,
    /// Who asked.
    pub writer: String,
    /// When it was asked.
    pub invoked: u64,
    /// When the answer came; later than everything for what was lost.
    pub answered: u64,
    /// What was put, in order.
    pub entries: Vec<Entry>,
    /// How it ended.
    pub end: PutEnd,
}

/// A record as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Its sequence number.
    pub number: String,
    /// Its number in the run.
    pub id: u64,
    /// Who put it.
    pub writer: String,
    /// Its partition key.
    pub key: String,
    /// Its arrival. Unit: ms of store time.
    pub at: i64,
    /// Store time when it was read, at most. Unit: ms.
    pub seen: i64,
}

/// A child as the end of its parent names it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Child {
    /// Its id.
    pub id: String,
    /// Its parents.
    pub parents: Vec<String>,
    /// Its hash keys.
    pub range: Range,
}

/// A shard as it is listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// ParentShardId and AdjacentParentShardId, as far as they are there.
    pub parents: Vec<String>,
    /// Its hash keys.
    pub range: Range,
    /// StartingSequenceNumber.
    pub starting: String,
    /// EndingSequenceNumber.
    pub ending: Option<String>,
    /// When it was opened, by its first number. Unit: ms of store time.
    pub opened: i64,
}

/// Where a reader began a shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Began {
    /// At the oldest record.
    Oldest,
    /// After the newest, at some moment between these two.
    Newest(u64, u64),
    /// At a moment. Unit: ms of store time.
    Moment(i64),
}

/// A shard as a reader saw it.
#[derive(Clone, PartialEq, Debug)]
pub struct ShardSeen {
    /// As it was listed last; none: only its parents' ends named it.
    pub listed: Option<Listed>,
    /// As its parents' ends named it.
    pub named: Option<Child>,
    /// Where the reader began.
    pub began: Began,
    /// What was read, in order.
    pub records: Vec<Record>,
    /// Store time of the last page. Unit: ms.
    pub read: i64,
    /// The children; there once it was read to its end.
    pub children: Option<Vec<Child>>,
    /// Store time when a list left it out, or it could not be read any more. Unit: ms.
    pub gone: Option<i64>,
}

impl ShardSeen {
    /// Nothing read yet.
    pub fn new(began: Began) -> Self {
        Self { listed: None, named: None, began, records: Vec::new(), read: 0, children: None, gone: None }
    }

    /// Its parents, as far as they are known.
    pub fn parents(&self) -> &[String] {
        let listed = self.listed.as_ref().map(|listed| &listed.parents[..]);
        listed.or(self.named.as_ref().map(|named| &named.parents[..])).unwrap_or_default()
    }
}

/// A name and when the stream under it was made: one stream. Unit: ms of store time.
pub type StreamKey = (String, i64);

/// A stream as a reader saw it.
#[derive(Clone, PartialEq, Debug)]
pub struct View {
    /// Who read.
    pub reader: String,
    /// Its shards, by id.
    pub shards: BTreeMap<String, ShardSeen>,
    /// It was pushed, and is to be complete in the end.
    pub pushed: bool,
}

/// How long records are kept, from some moment on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// Unit: hours.
    pub hours: i64,
    /// From here on it may have held. Unit: ms of store time.
    pub may: i64,
    /// From here on it held for sure. Unit: ms of store time.
    pub must: i64,
}

/// What is known of one stream's life.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Life {
    /// When its creation was asked for.
    pub asked: u64,
    /// Its retentions, in order.
    pub retentions: Vec<Retention>,
    /// When its deletion was asked for.
    pub deleting: Option<u64>,
    /// When it was gone for sure.
    pub deleted: Option<u64>,
}

impl Life {
    /// Up to which moment records may be gone at store time `at`. Unit: ms.
    pub fn may_be_gone(&self, at: i64) -> i64 {
        let ends = self.retentions.iter().skip(1).map(|next| next.must).chain([i64::MAX]);
        let horizons = self.retentions.iter().zip(ends).filter(|(retention, _)| retention.may <= at);
        horizons.map(|(retention, end)| at.min(end) - retention.hours * HOUR_MS).max().unwrap_or(i64::MIN)
    }

    /// Before which moment records must be gone at store time `at`. Unit: ms.
    pub fn must_be_gone(&self, at: i64) -> i64 {
        let ends = self.retentions.iter().skip(1).map(|next| next.may).chain([i64::MAX]);
        let held = self.retentions.iter().zip(ends).map(|(retention, end)| (retention, at.min(end)));
        let horizons = held.filter(|(retention, end)| retention.must <= *end);
        horizons.map(|(retention, end)| end - retention.hours * HOUR_MS).max().unwrap_or(i64::MIN)
    }
}

/// Unit: ms.
pub const HOUR_MS: i64 = 3_600_000;

figures! {
    /// How often something happened.
    pub struct Counts {
        /// Runs.
        puts: "puts",
        /// Of these, answered.
        acknowledged: "acknowledged",
        /// Of these, with an outcome nobody knows.
        unknown: "unknown",
        /// Records that are there in the end, or were read of streams that are not.
        records: "records",
        /// Streams made.
        streams: "streams made",
        /// Streams deleted.
        deleted: "streams deleted",
        /// Shards that were split.
        splits: "splits",
        /// Shards with two parents.
        merges: "merges",
        /// UpdateShardCount that was done.
        reshards: "reshards",
        /// On-demand streams that grew.
        scalings: "on-demand scalings",
        /// Retention raised.
        raised: "retention raised",
        /// Retention lowered.
        lowered: "retention lowered",
        /// Pages that polling readers were given.
        pages: "pages",
        /// Records that polling readers were given and that were compared with what is there.
        polled: "records polled",
        /// Shards that a reader began at the newest record or at a moment.
        midway: "shards begun midway",
        /// Ends of shards that named their children.
        ends: "shard ends",
        /// Subscriptions.
        subscriptions: "subscriptions",
        /// Records that subscribers were pushed and that were compared with what is there.
        pushed: "records pushed",
        /// Subscriptions that went with their node.
        lost: "subscriptions lost",
        /// Subscriptions that another one ended.
        takeovers: "takeovers",
        /// Second subscriptions that came too early.
        early: "refused within five seconds",
        /// Subscriptions whose five minutes were over.
        over: "subscriptions at their end",
        /// Records that were trimmed in time.
        trimmed: "records trimmed",
        /// Lists of shards that were one moment, each checked.
        lists: "lists",
    }
}

/// Everything that was seen of data streams in one run.
#[derive(Default)]
pub struct Seen {
    /// A crash may take answered changes back.
    pub relaxed: bool,
    /// Puts.
    pub puts: Vec<Put>,
    /// The streams that there were.
    pub lives: BTreeMap<StreamKey, Life>,
    /// Streams as a reader from the start saw them in the end.
    pub truth: BTreeMap<StreamKey, View>,
    /// Streams as readers and subscribers saw them.
    pub views: Vec<(StreamKey, View)>,
    /// Streams as somebody who comes in the end finds them.
    pub left: BTreeMap<StreamKey, View>,
    /// Store time before and after that look. Unit: ms.
    pub looked: (i64, i64),
    /// Deregistrations that were asked for, by stream.
    pub deregistered: BTreeMap<String, u64>,
    /// On-demand streams that each node made grow, by its number.
    pub grown: BTreeMap<u64, u64>,
    /// What a client noticed itself.
    pub noticed: Vec<Violation>,
    /// How often something happened.
    pub counts: Counts,
}

impl Seen {
    /// Whether a stream's deletion was asked for.
    pub fn is_deleting(&self, key: &StreamKey) -> bool {
        self.lives.get(key).is_some_and(|life| life.deleting.is_some())
    }

    /// Up to which moment records may be gone at store time `at`. Unit: ms.
    pub fn may_be_gone(&self, key: &StreamKey, at: i64) -> i64 {
        match self.lives.get(key) {
            // Where a change of the retention may be taken back, it is the shortest there is.
            Some(life) if !self.relaxed && !life.retentions.is_empty() => life.may_be_gone(at),
            Some(_) | None => at - 24 * HOUR_MS,
        }
    }
}
