//! A snapshot of the model.

use std::collections::VecDeque;
use std::ops::Bound;

use bytes::Bytes;
use headwater_types::{Position, ShardUid};

use super::Model;
use super::state::Pin;
use crate::contract::{Direction, Entries, From, Head, HeadKey, LogRecord, PageLimit, Snapshot};
use crate::error::Error;

pub(super) struct View {
    model: Model,
    pin: Pin,
}

impl View {
    pub(super) fn new(model: Model) -> Self {
        let pin = model.0.state.lock().pin();
        Self { model, pin }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.model.0.state.lock().unpin(self.pin.id);
    }
}

impl Snapshot for View {
    fn position(&self) -> Position {
        self.pin.position
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.model.0.state.lock().get(self.pin, key))
    }

    fn scan(&self, start: &[u8], end: &[u8], direction: Direction) -> Entries<'_> {
        let (start, end) = (Bytes::copy_from_slice(start), Bytes::copy_from_slice(end));
        Box::new(Scan { view: self, start, end, direction, last: None, page: VecDeque::new(), done: false })
    }

    fn head(&self, key: HeadKey) -> Result<Head, Error> {
        Ok(self.model.0.state.lock().head(self.pin, key))
    }

    fn read_log(&self, shard: ShardUid, from: From, limit: PageLimit) -> Result<Vec<LogRecord>, Error> {
        Ok(self.model.0.state.lock().read_log(self.pin, shard, from, limit))
    }
}

/// Entries of one visit to the shared state: the lock is never held between two calls.
const PAGE: usize = 64;

struct Scan<'a> {
    view: &'a View,
    start: Bytes,
    end: Bytes,
    direction: Direction,
    last: Option<Bytes>,
    page: VecDeque<(Bytes, Bytes)>,
    done: bool,
}

impl Scan<'_> {
    fn fill(&mut self) {
        let (mut low, mut high) = (Bound::Included(&self.start[..]), Bound::Excluded(&self.end[..]));
        if let Some(last) = &self.last {
            match self.direction {
                Direction::Forward => low = Bound::Excluded(&last[..]),
                Direction::Backward => high = Bound::Excluded(&last[..]),
            }
        }
        // An empty range has its bounds crossed, which the map would take as a mistake.
        if self.start < self.end && self.last.as_ref().is_none_or(|last| *last < self.end) {
            let state = self.view.model.0.state.lock();
            self.page = state.scan(self.view.pin, (low, high), self.direction, PAGE).into();
        }
        self.done = self.page.len() < PAGE;
        self.last = self.page.back().map(|(key, _)| key.clone());
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<(Bytes, Bytes), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty() && !self.done {
            self.fill();
        }
        self.page.pop_front().map(Ok)
    }
}
