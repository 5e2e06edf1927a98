//! Pages of Query and Scan, on tables and on indexes.

use bytes::Bytes;
use headwater_catalog::{IndexDefinition, TableDefinition};
use headwater_expression::{Condition, RangeCondition};
use headwater_log::Log;
use headwater_storage::Snapshot;
use headwater_storage::contract::Direction;
use headwater_types::key::{ItemKey, encode_part, encode_prefix};
use headwater_types::limits::PAGE_BYTES_MAX;
use headwater_types::{AttributeValue, Item};

use crate::index::{self, index_prefix, parts_prefix};
use crate::read::ReadError;
use crate::row::Row;
use crate::schema::{key_item, storage_key, table_prefix};

/// What is done with the items of a page.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// Most items to evaluate.
    pub limit: Option<usize>,
    /// Which items count.
    pub filter: Option<Condition>,
    /// Items are counted, not given.
    pub count_only: bool,
}

/// What a query or scan reads: a table, or one of its indexes.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The table.
    pub table: &'a TableDefinition,
    /// The index, if not the table itself.
    pub index: Option<&'a IndexDefinition>,
    /// Whole items are shown where the index holds only parts: they are read from the table.
    pub fetch: bool,
}

/// A query of one partition key.
#[derive(Clone, Debug)]
pub struct Query {
    /// Values of the partition key: one, or as many as the index's partition key has attributes.
    pub hash: Vec<AttributeValue>,
    /// Values of the sort key's first attributes, where it has several.
    pub equal: Vec<AttributeValue>,
    /// Test of the sort key's next attribute.
    pub range: Option<RangeCondition>,
    /// By rising sort key.
    pub forward: bool,
    /// Starts behind this place (see [`Source::position`]), in the query's direction; nothing need lie there.
    pub start: Option<Bytes>,
    /// What is done with the items.
    pub shown: Shown,
}

/// A scan of a table or an index, or of one segment of it.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Which of how many segments.
    pub segment: Option<(u32, u32)>,
    /// Starts behind this place; nothing need lie there.
    pub start: Option<Bytes>,
    /// What is done with the items.
    pub shown: Shown,
}

/// A page.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Page {
    /// Items that passed the filter; empty when only counted.
    pub rows: Vec<Row>,
    /// Items that passed the filter.
    pub count: usize,
    /// Items evaluated.
    pub scanned: usize,
    /// Their size in what was read. Unit: bytes.
    pub bytes_read: usize,
    /// Size of each item fetched from the table, for a query of a local index. Unit: bytes.
    pub fetched: Vec<usize>,
    /// Key of the last item evaluated, when the page ended before the end.
    pub last_key: Option<Item>,
}

impl<'a> Source<'a> {
    /// A table itself.
    pub fn table(table: &'a TableDefinition) -> Self {
        Self { table, index: None, fetch: false }
    }

    /// Where the item with these key attributes lies: the table's and, in an index, the index's. `None` when one lacks or
    /// cannot be a key.
    pub fn position(&self, keys: &Item) -> Option<Bytes> {
        match self.index {
            Some(index) => index::position(self.table, index, keys),
            None => {
                let schema = &self.table.key_schema;
                let range = schema.range.as_ref().map(|range| keys.get(&range.name));
                let key = match range {
                    None => ItemKey::new(keys.get(&schema.hash.name)?, None)?,
                    Some(range) => ItemKey::new(keys.get(&schema.hash.name)?, Some(range?))?,
                };
                Some(storage_key(self.table.id, &key))
            }
        }
    }

    /// Which of `of` segments a place lies in.
    pub fn segment_of(&self, position: &[u8], of: u32) -> u32 {
        let place = position.get(self.prefix().len()..).unwrap_or_default();
        let (mut low, mut high) = (0, of);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if segment_start(middle, of).as_slice() <= place {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }

    fn prefix(&self) -> Vec<u8> {
        match self.index {
            Some(index) => index_prefix(self.table.id, index.id),
            None => table_prefix(self.table.id),
        }
    }

    /// Where the items of a partition key begin.
    fn partition(&self, query: &Query) -> Option<Vec<u8>> {
        match (self.index, query.hash.as_slice()) {
            (Some(index), hash) => parts_prefix(self.table.id, index.id, hash, &query.equal),
            (None, [hash]) => Some(storage_key(self.table.id, &ItemKey::new(hash, None)?).to_vec()),
            (None, _) => None,
        }
    }

    fn keys_of(&self, key: &[u8], row: &Row) -> Result<Item, ReadError> {
        match self.index {
            Some(index) => Ok(index::keys_of(self.table, index, &row.item()?)),
            None => key_item(&self.table.key_schema, key).ok_or(ReadError::Corrupt),
        }
    }

    /// The whole item that an entry stands for, as of the same snapshot.
    fn fetched(&self, snapshot: &dyn Snapshot, entry: &Row) -> Result<Row, ReadError> {
        let table = Source::table(self.table);
        let place = table.position(&entry.item()?).ok_or(ReadError::Corrupt)?;
        snapshot.get(&place)?.map(Row::from_stored).ok_or(ReadError::Corrupt)
    }
}

/// One page of a query. Order: by sort key.
pub fn query(log: &Log, source: &Source<'_>, query: &Query) -> Result<Page, ReadError> {
    let Some(prefix) = source.partition(query) else { return Ok(Page::default()) };
    let Some((mut start, mut end)) = bounds(&prefix, query.range.as_ref()) else { return Ok(Page::default()) };
    if let Some(at) = &query.start {
        if query.forward {
            start = start.max(behind(at));
        } else {
            end = end.min(at.to_vec());
        }
    }
    let direction = if query.forward { Direction::Forward } else { Direction::Backward };
    page(log, source, &start, &end, direction, &query.shown)
}

/// One page of a scan. Order: by placement hash, stable from page to page.
pub fn scan(log: &Log, source: &Source<'_>, scan: &Scan) -> Result<Page, ReadError> {
    let prefix = source.prefix();
    let (mut start, mut end) = (prefix.clone(), successor(&prefix));
    if let Some((segment, of)) = scan.segment {
        start.extend(segment_start(segment, of));
        if segment + 1 < of {
            end = prefix;
            end.extend(segment_start(segment + 1, of));
        }
    }
    if let Some(at) = &scan.start {
        start = start.max(behind(at));
    }
    page(log, source, &start, &end, Direction::Forward, &scan.shown)
}

/// First placement hash of a segment.
fn segment_start(segment: u32, of: u32) -> [u8; 16] {
    // The upper half of the hash decides: at most a million segments share 2^64 places.
    let place = (u128::from(segment) << 64) / u128::from(of.max(1));
    (place << 64).to_be_bytes()
}

/// The smallest key behind this one.
fn behind(key: &[u8]) -> Vec<u8> {
    let mut next = key.to_vec();
    next.push(0);
    next
}

/// The smallest key behind all that begin so.
fn successor(prefix: &[u8]) -> Vec<u8> {
    let mut next = prefix.to_vec();
    while let Some(last) = next.pop() {
        if last < 0xff {
            next.push(last + 1);
            break;
        }
    }
    next
}

/// Keys of a partition that a test of the sort key leaves: from, up to but without. `None`: none can pass.
fn bounds(prefix: &[u8], range: Option<&RangeCondition>) -> Option<(Vec<u8>, Vec<u8>)> {
    let at = |value: &AttributeValue| {
        let mut key = prefix.to_vec();
        encode_part(value, &mut key).then_some(key)
    };
    let (first, all) = (prefix.to_vec(), successor(prefix));
    Some(match range {
        None => (first, all),
        Some(RangeCondition::Equal(value)) => (at(value)?, successor(&at(value)?)),
        Some(RangeCondition::Less(value)) => (first, at(value)?),
        Some(RangeCondition::LessOrEqual(value)) => (first, successor(&at(value)?)),
        Some(RangeCondition::Greater(value)) => (successor(&at(value)?), all),
        Some(RangeCondition::GreaterOrEqual(value)) => (at(value)?, all),
        Some(RangeCondition::Between(low, high)) => (at(low)?, successor(&at(high)?)),
        Some(RangeCondition::BeginsWith(value)) => {
            let mut start = first;
            if !encode_prefix(value, &mut start) {
                return None;
            }
            let end = successor(&start);
            (start, end)
        }
    })
}

fn page(
    log: &Log,
    source: &Source<'_>,
    start: &[u8],
    end: &[u8],
    direction: Direction,
    shown: &Shown,
) -> Result<Page, ReadError> {
    let mut page = Page::default();
    if start >= end {
        return Ok(page);
    }
    let snapshot = log.snapshot();
    for entry in snapshot.scan(start, end, direction) {
        let (key, value) = entry?;
        let row = Row::from_stored(value);
        page.scanned += 1;
        page.bytes_read += row.size_bytes();
        if source.fetch {
            let whole = source.fetched(&*snapshot, &row)?;
            page.fetched.push(whole.size_bytes());
            page.take(&whole, shown)?;
        } else {
            page.take(&row, shown)?;
        }
        // The item that crosses the line is still part of the page.
        if shown.limit.is_some_and(|limit| page.scanned >= limit) || page.bytes_read >= PAGE_BYTES_MAX {
            page.last_key = Some(source.keys_of(&key, &row)?);
            break;
        }
    }
    Ok(page)
}

impl Page {
    fn take(&mut self, row: &Row, shown: &Shown) -> Result<(), ReadError> {
        if let Some(filter) = &shown.filter
            && !filter.evaluate(&row.stored()?)
        {
            return Ok(());
        }
        self.count += 1;
        if !shown.count_only {
            self.rows.push(row.clone());
        }
        Ok(())
    }
}
