//! A snapshot of the embedded engine.

use std::sync::Arc;

use bytes::Bytes;
use headwater_types::{Position, ShardUid};

use super::engine::Engine;
use super::snapshots::Shown;
use crate::contract::{Direction, Entries, From, Head, HeadKey, LogRecord, PageLimit, Snapshot};
use crate::error::Error;
use crate::keyspace::prefix;

/// The first key that does not belong to the engine.
const AFTER_ENGINE: [u8; 1] = [prefix::ENGINE + 1];

pub(super) struct View {
    engine: Arc<Engine>,
    pub(super) shown: Shown,
    pin: u64,
}

impl View {
    pub(super) fn new(engine: Arc<Engine>, shown: Shown, pin: u64) -> Self {
        Self { engine, shown, pin }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.engine.release(self.pin);
    }
}

impl Snapshot for View {
    fn position(&self) -> Position {
        self.shown.position
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        if key < &AFTER_ENGINE[..] {
            return Ok(None);
        }
        self.engine.index.get(key, self.shown.position)
    }

    fn scan(&self, start: &[u8], end: &[u8], direction: Direction) -> Entries<'_> {
        self.engine.index.scan(start.max(&AFTER_ENGINE[..]), end, direction, self.shown.position)
    }

    fn head(&self, key: HeadKey) -> Result<Head, Error> {
        Ok(self.engine.heads.at(key, self.shown.position))
    }

    fn read_log(&self, shard: ShardUid, from: From, limit: PageLimit) -> Result<Vec<LogRecord>, Error> {
        self.engine.log.read(&self.shown, shard, from, limit)
    }
}
