//! Pages of Query and Scan.

use headwater_catalog::{KeySchema, TableDefinition};
use headwater_expression::{Condition, Projection, RangeCondition};
use headwater_log::Log;
use headwater_storage::contract::Direction;
use headwater_types::key::{ItemKey, encode_part, encode_prefix};
use headwater_types::limits::PAGE_BYTES_MAX;
use headwater_types::{AttributeValue, Item};

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
    /// Which parts of them are shown.
    pub projection: Option<Projection>,
    /// Items are counted, not shown.
    pub count_only: bool,
}

/// A query of one partition key.
#[derive(Clone, Debug)]
pub struct Query {
    /// Value of the partition key.
    pub hash: AttributeValue,
    /// Test of the sort key.
    pub range: Option<RangeCondition>,
    /// By rising sort key.
    pub forward: bool,
    /// Starts behind this key, in the query's direction; it need not exist.
    pub start: Option<ItemKey>,
    /// What is done with the items.
    pub shown: Shown,
}

/// A scan of a table or of one segment of it.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Which of how many segments.
    pub segment: Option<(u32, u32)>,
    /// Starts behind this key; it need not exist.
    pub start: Option<ItemKey>,
    /// What is done with the items.
    pub shown: Shown,
}

/// A page.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Page {
    /// What is shown; empty when only counted.
    pub items: Vec<Item>,
    /// Items that passed the filter.
    pub count: usize,
    /// Items evaluated.
    pub scanned: usize,
    /// Their size. Unit: bytes.
    pub bytes_read: usize,
    /// Key of the last item evaluated, when the page ended before the end.
    pub last_key: Option<Item>,
}

/// One page of a query. Order: by sort key.
pub fn query(log: &Log, table: &TableDefinition, query: &Query) -> Result<Page, ReadError> {
    let mut prefix = table_prefix(table.id);
    match ItemKey::new(&query.hash, None) {
        Some(key) => prefix.extend(key.bytes),
        None => return Ok(Page::default()),
    }
    let Some((mut start, mut end)) = bounds(&prefix, query.range.as_ref()) else { return Ok(Page::default()) };
    if let Some(key) = &query.start {
        let at = storage_key(table.id, key);
        if query.forward {
            start = start.max(behind(&at));
        } else {
            end = end.min(at.to_vec());
        }
    }
    let direction = if query.forward { Direction::Forward } else { Direction::Backward };
    page(log, &table.key_schema, &start, &end, direction, &query.shown)
}

/// One page of a scan. Order: by placement hash, stable from page to page.
pub fn scan(log: &Log, table: &TableDefinition, scan: &Scan) -> Result<Page, ReadError> {
    let prefix = table_prefix(table.id);
    let (mut start, mut end) = (prefix.clone(), successor(&prefix));
    if let Some((segment, of)) = scan.segment {
        start.extend(segment_start(segment, of));
        if segment + 1 < of {
            end = prefix;
            end.extend(segment_start(segment + 1, of));
        }
    }
    if let Some(key) = &scan.start {
        start = start.max(behind(&storage_key(table.id, key)));
    }
    page(log, &table.key_schema, &start, &end, Direction::Forward, &scan.shown)
}

/// Which of `of` segments a key lies in.
pub fn segment_of(key: &ItemKey, of: u32) -> u32 {
    let place = key.hash.0.to_be_bytes();
    let (mut low, mut high) = (0, of);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if segment_start(middle, of).as_slice() <= place.as_slice() {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
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
    schema: &KeySchema,
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
        page.take(&row, shown)?;
        // The item that crosses the line is still part of the page.
        if shown.limit.is_some_and(|limit| page.scanned >= limit) || page.bytes_read >= PAGE_BYTES_MAX {
            page.last_key = Some(key_item(schema, &key).ok_or(ReadError::Corrupt)?);
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
            let item = row.item()?;
            self.items.push(match &shown.projection {
                Some(projection) => projection.apply(&item),
                None => item,
            });
        }
        Ok(())
    }
}
