//! An index that keeps what small ranges held when they were last read to their end, until one of their keys is written.
//!
//! ```text
//! scan ── a range around it is kept? ── yes ─► its rows, shared
//!              │ no                               ▲ kept, if no key of it was written meanwhile
//!              └─► the index below ── read to its end
//! apply ── lets go of each range that holds a key ─► the index below
//! ```
//! On disk a range is merged from the parts in memory and from every flushed table that lies over it, over and over for one
//! that is asked for again; an item's own key costs no such merge and is not kept here.

mod ranges;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use headwater_types::Position;

use self::ranges::{Kept, Ranges, Ticket};
use super::Index;
use crate::contract::{Direction, Entries, Write};
use crate::error::Error;
use crate::keyspace::prefix;

pub(crate) struct Cached<I> {
    below: I,
    ranges: Ranges,
    /// A planted bug: what items were read stays kept though they were written since.
    forgets_no_item: bool,
}

impl<I: Index> Cached<I> {
    /// With room for `bytes` of keys and values, and of what it takes to find them.
    pub(crate) fn new(below: I, bytes: u64) -> Self {
        Self { below, ranges: Ranges::new(bytes as usize), forgets_no_item: false }
    }

    /// The same, with a bug that has to be found.
    pub(crate) fn forgetting_no_item(self) -> Self {
        Self { forgets_no_item: true, ..self }
    }
}

impl<I: Index> Index for Cached<I> {
    fn get(&self, key: &[u8], at: Position) -> Result<Option<Bytes>, Error> {
        self.below.get(key, at)
    }

    fn scan(&self, start: &[u8], end: &[u8], direction: Direction, at: Position) -> Entries<'_> {
        if let Some(kept) = self.ranges.find(start, end, at) {
            return rows(kept, start, end, direction);
        }
        let ticket = self.ranges.admit(start, end, at);
        let entries = self.below.scan(start, end, direction, at);
        match ticket {
            Some(ticket) => {
                Box::new(Filling { ranges: &self.ranges, entries, direction, ticket, rows: Vec::new(), bytes: 0 })
            }
            None => entries,
        }
    }

    fn apply(&self, at: Position, oldest: Position, writes: &mut dyn Iterator<Item = &Write>) {
        // Before the index below: whoever may see these writes finds no range from before them.
        let clear = self.ranges.clearing(at);
        let forgets = |key: &Bytes| !self.forgets_no_item || key.first() != Some(&prefix::ITEM);
        self.below.apply(
            at,
            oldest,
            &mut writes.inspect(move |write| {
                if forgets(&write.key) {
                    clear.of(&write.key);
                }
            }),
        );
    }

    fn active_bytes(&self) -> u64 {
        self.below.active_bytes()
    }

    fn rotate(&self) {
        self.below.rotate();
    }

    fn flush(&self, oldest: Position) -> Result<(), Error> {
        self.below.flush(oldest)
    }

    fn compact(&self, oldest: Position) -> Result<bool, Error> {
        self.below.compact(oldest)
    }

    fn flush_apart(&self) -> bool {
        self.below.flush_apart()
    }
}

/// The rows of a kept range that lie in `start..end`.
fn rows<'a>(kept: Arc<Kept>, start: &[u8], end: &[u8], direction: Direction) -> Entries<'a> {
    let between = kept.between(start, end);
    match direction {
        Direction::Forward => Box::new(between.map(move |at| Ok(kept.row(at)))),
        Direction::Backward => Box::new(between.rev().map(move |at| Ok(kept.row(at)))),
    }
}

/// A scan whose rows are kept if it reaches its end.
struct Filling<'a> {
    ranges: &'a Ranges,
    entries: Entries<'a>,
    direction: Direction,
    ticket: Ticket,
    rows: Vec<(Bytes, Bytes)>,
    bytes: usize,
}

impl Iterator for Filling<'_> {
    type Item = Result<(Bytes, Bytes), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.entries.next();
        if self.ticket.is_over() {
            return next;
        }
        match &next {
            Some(Ok((key, value))) => {
                self.bytes += key.len() + value.len();
                if self.bytes > self.ranges.bytes_max() {
                    self.rows = Vec::new();
                    self.ranges.refuse(&mut self.ticket);
                } else {
                    self.rows.push((key.clone(), value.clone()));
                }
            }
            Some(Err(_)) => self.ranges.refuse(&mut self.ticket),
            None => {
                let mut rows = std::mem::take(&mut self.rows);
                if self.direction == Direction::Backward {
                    rows.reverse();
                }
                self.ranges.keep(&mut self.ticket, &rows);
            }
        }
        next
    }
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        // Nobody wanted the rest.
        self.ranges.refuse(&mut self.ticket);
    }
}
