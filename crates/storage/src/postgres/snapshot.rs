//! A snapshot: a position, and reads of the rows that held at it.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join;
use headwater_types::{Position, SequenceNumber, ShardUid};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use super::commit;
use super::node::Inner;
use crate::contract::{Direction, Entries, From, Head, HeadKey, LogRecord, PageLimit, Snapshot};
use crate::error::{Error, Kind};

/// Entries of one question to the server.
const PAGE: i64 = 256;

/// A connection that reads.
pub(super) struct Reader {
    pub client: Client,
    pub position: Statement,
    vacuumed: Statement,
    get: Statement,
    head: Statement,
    forward: Statement,
    backward: Statement,
    log: Statement,
}

const GET: &str = "SELECT value FROM keys WHERE substring(key FROM 1 FOR 2000) = substring($1::bytea FROM 1 FOR 2000)
    AND key = $1 AND since <= $2::bigint AND $2 < until";
const HEAD: &str = "SELECT version, number, items, bytes FROM heads WHERE key = $1::bytea AND since <= $2::bigint
    UNION ALL SELECT version, number, items, bytes FROM heads_before WHERE key = $1 AND since <= $2 AND $2 < until";
const FORWARD: &str = "SELECT key, value FROM keys
    WHERE substring(key FROM 1 FOR 2000) >= substring($1::bytea FROM 1 FOR 2000)
      AND substring(key FROM 1 FOR 2000) <= substring($2::bytea FROM 1 FOR 2000)
      AND key >= $1 AND key < $2 AND since <= $3::bigint AND $3 < until
    ORDER BY substring(key FROM 1 FOR 2000), key LIMIT $4::bigint";
const BACKWARD: &str = "SELECT key, value FROM keys
    WHERE substring(key FROM 1 FOR 2000) >= substring($1::bytea FROM 1 FOR 2000)
      AND substring(key FROM 1 FOR 2000) <= substring($2::bytea FROM 1 FOR 2000)
      AND key >= $1 AND key < $2 AND since <= $3::bigint AND $3 < until
    ORDER BY substring(key FROM 1 FOR 2000) DESC, key DESC LIMIT $4::bigint";
const LOG: &str = "SELECT number, payload FROM records WHERE shard = $1::bigint AND number >= $2::bigint
      AND number >= coalesce((SELECT max(below) FROM horizons WHERE shard = $1 AND position <= $3::bigint), 0)
      AND position <= $3 ORDER BY number LIMIT $4::bigint";

impl Reader {
    pub async fn new(client: Client) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            position: client.prepare("SELECT position FROM cell").await?,
            vacuumed: client.prepare("SELECT vacuumed FROM cell").await?,
            get: client.prepare(GET).await?,
            head: client.prepare(HEAD).await?,
            forward: client.prepare(FORWARD).await?,
            backward: client.prepare(BACKWARD).await?,
            log: client.prepare(LOG).await?,
            client,
        })
    }

    /// Rows that held at a position, unless they may be gone: then nothing is answered.
    async fn rows(
        &self,
        position: Position,
        statement: &Statement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Result<Vec<Row>, Error>, tokio_postgres::Error> {
        // Sent one behind the other and answered in that order: what is not removed afterwards was not before.
        let rows = self.client.query(statement, parameters);
        let (rows, vacuumed) = try_join(rows, self.client.query_one(&self.vacuumed, &[])).await?;
        let vacuumed: i64 = vacuumed.get(0);
        if vacuumed as u64 > position.0 {
            let message = "the snapshot is gone: its node was not heard of for too long";
            return Ok(Err(Error::new(Kind::Unavailable, message)));
        }
        Ok(Ok(rows))
    }
}

/// The cell at a position, or why it could not be asked for.
pub(super) struct View {
    inner: Arc<Inner>,
    position: Position,
    failed: Option<Error>,
}

impl View {
    /// At the newest position, which every commit that was answered anywhere has.
    pub fn newest(inner: Arc<Inner>) -> Self {
        let before = inner.pins.lock().pin_known();
        let asked = inner.clone();
        let newest = inner.connections.block(async move { asked.newest().await });
        let mut pins = inner.pins.lock();
        let (position, failed) = match newest {
            Ok(position) => (position, None),
            // The caller learns it from its first read: taking a snapshot has no error in the contract.
            Err(error) => (before, Some(error)),
        };
        pins.pin(position);
        pins.unpin(before);
        drop(pins);
        Self { inner, position, failed }
    }

    fn ask(&self, question: Question) -> Result<Vec<Row>, Error> {
        if let Some(error) = &self.failed {
            return Err(Error::new(error.kind, error.to_string()));
        }
        let (inner, position) = (self.inner.clone(), self.position);
        let question = Arc::new(question);
        self.inner.connections.block(async move {
            let ask = |reader: Arc<Reader>| {
                let question = question.clone();
                async move { question.put(&reader, position).await }
            };
            inner.connections.read(ask).await
        })
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.inner.pins.lock().unpin(self.position);
    }
}

/// What is asked of the server.
enum Question {
    Get(Vec<u8>),
    Head(HeadKey),
    Scan { start: Bytes, end: Bytes, direction: Direction },
    Log { shard: ShardUid, from: i64, records: i64 },
}

impl Question {
    async fn put(&self, reader: &Reader, at: Position) -> Result<Result<Vec<Row>, Error>, tokio_postgres::Error> {
        let position = at.0 as i64;
        match self {
            Self::Get(key) => reader.rows(at, &reader.get, &[key, &position]).await,
            Self::Head(key) => reader.rows(at, &reader.head, &[&key.0.to_be_bytes().as_slice(), &position]).await,
            Self::Scan { start, end, direction } => {
                let statement = match direction {
                    Direction::Forward => &reader.forward,
                    Direction::Backward => &reader.backward,
                };
                reader.rows(at, statement, &[&start.as_ref(), &end.as_ref(), &position, &PAGE]).await
            }
            Self::Log { shard, from, records } => {
                reader.rows(at, &reader.log, &[&(shard.0 as i64), from, &position, records]).await
            }
        }
    }
}

impl Snapshot for View {
    fn position(&self) -> Position {
        self.position
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let rows = self.ask(Question::Get(key.to_vec()))?;
        Ok(rows.first().map(|row| Bytes::copy_from_slice(row.get(0))))
    }

    fn scan(&self, start: &[u8], end: &[u8], direction: Direction) -> Entries<'_> {
        let (start, end) = (Bytes::copy_from_slice(start), Bytes::copy_from_slice(end));
        Box::new(Scan { view: self, start, end, direction, page: VecDeque::new(), done: false })
    }

    fn head(&self, key: HeadKey) -> Result<Head, Error> {
        let rows = self.ask(Question::Head(key))?;
        Ok(rows.first().map(|row| commit::head(row, 0)).unwrap_or_default())
    }

    fn read_log(&self, shard: ShardUid, from: From, limit: PageLimit) -> Result<Vec<LogRecord>, Error> {
        let mut next = match from {
            From::At(number) => clamped(number),
            From::After(number) => clamped(number).saturating_add(1),
        };
        let (mut page, mut bytes): (Vec<LogRecord>, usize) = (Vec::new(), 0);
        while page.len() < limit.records {
            let records = PAGE.min((limit.records - page.len()).min(PAGE as usize) as i64);
            let rows = self.ask(Question::Log { shard, from: next, records })?;
            for row in &rows {
                let (number, payload): (i64, &[u8]) = (row.get(0), row.get(1));
                bytes = bytes.saturating_add(payload.len());
                if bytes > limit.bytes && !page.is_empty() {
                    return Ok(page);
                }
                let number = SequenceNumber(number as u64);
                page.push(LogRecord { number, payload: Bytes::copy_from_slice(payload) });
                next = clamped(number).saturating_add(1);
            }
            if (rows.len() as i64) < records {
                break;
            }
        }
        Ok(page)
    }
}

/// A number as the server keeps it; none that is ever given lies beyond.
fn clamped(number: SequenceNumber) -> i64 {
    i64::try_from(number.0).unwrap_or(i64::MAX)
}

struct Scan<'a> {
    view: &'a View,
    /// Narrowed as pages come in.
    start: Bytes,
    end: Bytes,
    direction: Direction,
    page: VecDeque<(Bytes, Bytes)>,
    done: bool,
}

impl Scan<'_> {
    fn fill(&mut self) -> Result<(), Error> {
        if self.start >= self.end {
            self.done = true;
            return Ok(());
        }
        let (start, end) = (self.start.clone(), self.end.clone());
        let rows = self.view.ask(Question::Scan { start, end, direction: self.direction })?;
        self.done = (rows.len() as i64) < PAGE;
        let entry = |row: &Row| (Bytes::copy_from_slice(row.get(0)), Bytes::copy_from_slice(row.get(1)));
        self.page = rows.iter().map(entry).collect();
        if let Some((last, _)) = self.page.back() {
            match self.direction {
                // The least key above it.
                Direction::Forward => self.start = [last.as_ref(), &[0]].concat().into(),
                Direction::Backward => self.end = last.clone(),
            }
        }
        Ok(())
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<(Bytes, Bytes), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty()
            && !self.done
            && let Err(error) = self.fill()
        {
            self.done = true;
            return Some(Err(error));
        }
        self.page.pop_front().map(Ok)
    }
}
