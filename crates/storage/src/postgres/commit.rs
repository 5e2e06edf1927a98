//! One batch, one transaction.

use std::collections::{BTreeMap, BTreeSet};

use headwater_types::{Millis, Position, SequenceNumber};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use super::connection::{is_conflict, is_passing, translated};
use super::numbering::{self, Decided};
use super::outcome;
use crate::contract::{Batch, BatchId, CommitError, Head, HeadKey, Outcome};
use crate::error::Error;

/// Why a transaction has no outcomes.
pub(super) enum Failure {
    /// Nothing was done, and the same call may succeed at once: another transaction was preferred.
    Again,
    /// Nothing was done: the server said so.
    Refused(Error),
    /// Only the batch's id tells.
    Unknown(tokio_postgres::Error),
}

impl Failure {
    /// A failure before COMMIT was sent.
    pub fn before(error: tokio_postgres::Error) -> Self {
        match error.code() {
            Some(code) if is_conflict(code) => Self::Again,
            // The id is there: someone has asked for this batch in vain, and so it is never committed.
            Some(code) if *code == SqlState::UNIQUE_VIOLATION => Self::Unknown(error),
            Some(_) if !is_passing(&error) => Self::Refused(translated(error)),
            // Nothing was done either; but the caller has to wait for the server, and asking for the id does that.
            _ => Self::Unknown(error),
        }
    }
}

impl From<Failure> for CommitError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Again => Self::Unknown,
            Failure::Refused(error) if error.kind == crate::error::Kind::Full => Self::Full(error),
            Failure::Refused(error) => Self::Closed(error),
            Failure::Unknown(error) => {
                tracing::warn!(%error, "the outcome of a batch is unknown");
                Self::Unknown
            }
        }
    }
}

/// A connection that commits.
pub(super) struct Committing {
    pub client: Client,
    heads_made: Statement,
    heads_locked: Statement,
    clock: Statement,
    position: Statement,
    heads_kept: Statement,
    heads_moved: Statement,
    keys_ended: Statement,
    keys_written: Statement,
    records: Statement,
    batch: Statement,
}

/// Rows stand in the order of their keys, and are made before any is locked: two batches never wait for each other in a
/// circle.
const HEADS_MADE: &str = "INSERT INTO heads (key, since, version, number, items, bytes)
    SELECT k, 0, 0, 0, 0, 0 FROM unnest($1::bytea[]) AS k ORDER BY k ON CONFLICT DO NOTHING";
const HEADS_LOCKED: &str =
    "SELECT key, version, number, items, bytes FROM heads WHERE key = ANY($1::bytea[]) ORDER BY key FOR UPDATE";
const CLOCK: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
const POSITION: &str = "UPDATE cell SET position = position + 1, mark = greatest(mark, $1::bigint) RETURNING position";
const HEADS_KEPT: &str = "INSERT INTO heads_before (key, since, until, version, number, items, bytes)
    SELECT key, since, $2::bigint, version, number, items, bytes FROM heads WHERE key = ANY($1::bytea[]) AND version > 0";
const HEADS_MOVED: &str = "UPDATE heads SET since = $6::bigint, version = n.v, number = n.n, items = n.i, bytes = n.b
    FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) AS n (k, v, n, i, b)
    WHERE heads.key = n.k";
const KEYS_ENDED: &str = "UPDATE keys SET until = $2::bigint FROM unnest($1::bytea[]) AS k
    WHERE substring(keys.key FROM 1 FOR 2000) = substring(k FROM 1 FOR 2000) AND keys.key = k
      AND keys.until = 9223372036854775807";
const KEYS_WRITTEN: &str = "INSERT INTO keys (key, since, value)
    SELECT k, $3::bigint, v FROM unnest($1::bytea[], $2::bytea[]) AS n (k, v)";
const RECORDS: &str = "INSERT INTO records (shard, number, position, payload)
    SELECT s, n, $4::bigint, p FROM unnest($1::bigint[], $2::bigint[], $3::bytea[]) AS r (s, n, p)";
const BATCH: &str = "INSERT INTO batches (id, position, outcomes) VALUES ($1::bytea, $2::bigint, $3::bytea)";

/// What a batch came to.
pub(super) struct Done {
    pub outcomes: Vec<Outcome>,
    /// Absent when every plan was fenced: then nothing was written.
    pub position: Option<Position>,
    pub mark: Millis,
    pub plans: u64,
}

/// How a node's clock stands to the database's.
#[derive(Clone, Copy)]
pub(super) enum StoreTime {
    /// The database's clock and this much. Unit: ms.
    Ahead(i64),
    /// It stands still.
    Frozen(Millis),
}

impl Committing {
    pub async fn new(client: Client) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            heads_made: client.prepare(HEADS_MADE).await?,
            heads_locked: client.prepare(HEADS_LOCKED).await?,
            clock: client.prepare(CLOCK).await?,
            position: client.prepare(POSITION).await?,
            heads_kept: client.prepare(HEADS_KEPT).await?,
            heads_moved: client.prepare(HEADS_MOVED).await?,
            keys_ended: client.prepare(KEYS_ENDED).await?,
            keys_written: client.prepare(KEYS_WRITTEN).await?,
            records: client.prepare(RECORDS).await?,
            batch: client.prepare(BATCH).await?,
            client,
        })
    }

    /// Commits a batch. `draws` takes the position before anything else, as no batch should.
    pub async fn commit(&self, batch: &Batch, time: StoreTime, draws: bool) -> Result<Done, Failure> {
        self.client.batch_execute("BEGIN").await.map_err(Failure::before)?;
        let drawn = if draws { Some(self.draw().await.map_err(Failure::before)?) } else { None };
        let (decided, now) = self.decide(batch, time).await.map_err(Failure::before)?;
        if decided.plans == 0 {
            // Nothing to keep: whoever asks for the id later hears that nothing was done, which is so.
            self.client.batch_execute("ROLLBACK").await.map_err(Failure::before)?;
            return Ok(Done { outcomes: decided.outcomes, position: None, mark: Millis(0), plans: 0 });
        }
        let mark = decided.records.iter().map(|(_, number, _)| number.at()).fold(now, Millis::max);
        let mark = decided.heads.values().map(|head| head.number.at()).fold(mark, Millis::max);
        let position = match drawn {
            Some(drawn) => drawn,
            None => self.client.query_one(&self.position, &[&mark.0]).await.map_err(Failure::before)?.get(0),
        };
        self.write(batch.id, &decided, position).await.map_err(Failure::before)?;
        if drawn.is_some() {
            let late = "UPDATE cell SET position = greatest(position, $1::bigint)";
            self.client.execute(late, &[&position]).await.map_err(Failure::before)?;
        }
        self.client.batch_execute("COMMIT").await.map_err(Failure::Unknown)?;
        let position = Some(Position(position as u64));
        Ok(Done { outcomes: decided.outcomes, position, mark, plans: decided.plans })
    }

    async fn draw(&self) -> Result<i64, tokio_postgres::Error> {
        let row = self.client.query_one("SELECT nextval('drawn')", &[]).await?;
        // A moment in which others overtake, as they do on a busy server.
        self.client.batch_execute("SELECT pg_sleep(random() * 0.004)").await?;
        Ok(row.get(0))
    }

    /// Locks the heads and decides on what they are.
    async fn decide(&self, batch: &Batch, time: StoreTime) -> Result<(Decided, Millis), tokio_postgres::Error> {
        let named: BTreeSet<HeadKey> = batch.plans.iter().flat_map(|plan| &plan.heads).map(|used| used.key).collect();
        let named: Vec<[u8; 16]> = named.into_iter().map(|key| key.0.to_be_bytes()).collect();
        let keys: Vec<&[u8]> = named.iter().map(|key| key.as_slice()).collect();
        self.client.execute(&self.heads_made, &[&keys]).await?;
        let rows = self.client.query(&self.heads_locked, &[&keys]).await?;
        let heads: BTreeMap<HeadKey, Head> = rows.iter().map(|row| (head_key(row.get(0)), head(row, 1))).collect();
        debug_assert_eq!(heads.len(), keys.len(), "every head is locked");
        let now = match time {
            StoreTime::Frozen(at) => at,
            StoreTime::Ahead(by) => Millis(self.client.query_one(&self.clock, &[]).await?.get::<_, i64>(0) + by),
        };
        Ok((numbering::decide(batch, &heads, now), now))
    }

    /// Writes all that a batch changes, and its id.
    async fn write(&self, id: BatchId, decided: &Decided, position: i64) -> Result<(), tokio_postgres::Error> {
        let named: Vec<[u8; 16]> = decided.heads.keys().map(|key| key.0.to_be_bytes()).collect();
        let keys: Vec<&[u8]> = named.iter().map(|key| key.as_slice()).collect();
        let column = |of: fn(&Head) -> i64| decided.heads.values().map(of).collect::<Vec<i64>>();
        let versions = column(|head| head.version as i64);
        let numbers = column(|head| head.number.0 as i64);
        let (items, bytes) = (column(|head| head.items), column(|head| head.bytes));
        self.client.execute(&self.heads_kept, &[&keys, &position]).await?;
        let moved: [&(dyn ToSql + Sync); 6] = [&keys, &versions, &numbers, &items, &bytes, &position];
        self.client.execute(&self.heads_moved, &moved).await?;
        if !decided.writes.is_empty() {
            let keys: Vec<&[u8]> = decided.writes.keys().map(|key| key.as_ref()).collect();
            self.client.execute(&self.keys_ended, &[&keys, &position]).await?;
            let put = decided.writes.iter().filter_map(|(key, value)| Some((key.as_ref(), value.as_deref()?)));
            let (keys, values): (Vec<&[u8]>, Vec<&[u8]>) = put.unzip();
            self.client.execute(&self.keys_written, &[&keys, &values, &position]).await?;
        }
        if !decided.records.is_empty() {
            let shards: Vec<i64> = decided.records.iter().map(|(shard, ..)| shard.0 as i64).collect();
            let numbers: Vec<i64> = decided.records.iter().map(|(_, number, _)| number.0 as i64).collect();
            let payloads: Vec<&[u8]> = decided.records.iter().map(|(.., payload)| payload.as_ref()).collect();
            self.client.execute(&self.records, &[&shards, &numbers, &payloads, &position]).await?;
        }
        let outcomes = outcome::encode(&decided.outcomes);
        self.client.execute(&self.batch, &[&id.0.to_be_bytes().as_slice(), &position, &outcomes]).await?;
        Ok(())
    }
}

pub(super) fn head_key(bytes: &[u8]) -> HeadKey {
    HeadKey(bytes.try_into().map(u128::from_be_bytes).unwrap_or_default())
}

/// A head from four columns that start at `at`.
pub(super) fn head(row: &Row, at: usize) -> Head {
    let part = |index: usize| row.get::<_, i64>(at + index);
    Head { version: part(0) as u64, number: SequenceNumber(part(1) as u64), items: part(2), bytes: part(3) }
}
