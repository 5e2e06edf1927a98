//! How far a mover has come in a table's log: rows of its own, each with a head, moved in the commit that holds the effect.
//!
//! ```text
//! Enable ─► a position in every open shard, at the commit's own number
//! step   ─► records appended to the target + position moved                     one plan
//! end    ─► position removed + a position at the start of every child           one plan
//! Disable ─► an end in every shard that stays open, at the commit's own number; others are closed
//! ```
//! What lies behind a position, in its shard and in all that continue it, is not removed before the mover has passed it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes};
use headwater_catalog::{BadRow, Snapshot as Catalog, TableDefinition, Tally};
use headwater_storage::Snapshot;
use headwater_storage::contract::{Direction, From, LogRecord, PageLimit};
use headwater_storage::keyspace::{position_head, prefix};
use headwater_types::hash::FixedMap;
use headwater_types::{Millis, SequenceNumber, ShardUid, StreamUid, TableId};
use smallvec::smallvec;

use crate::append::{Append, RECORD_BYTES, touch};
use crate::command::Few;
use crate::completion::{Completion, End};
use crate::error::Error;
use crate::open::{Log, Shared};
use crate::queue::{Entry, OwnHead, Planned, PlannedTable};
use crate::shard::{ShardRow, shard_key};
use crate::stream;
use crate::views::{Owner, TableView};

const FORMAT: u8 = 0;
/// Where the number of the commit that starts a position is stamped.
pub(crate) const AFTER_AT: u32 = 1;
const POSITION: u8 = b'P';
const ENDING: u8 = b'E';

/// A mover's position in one shard of a table's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MoverPosition {
    /// The mover's incarnation.
    pub mover: StreamUid,
    /// The lineage of the shard: a stream's, or the table's internal one.
    pub lineage: StreamUid,
    /// The shard.
    pub shard: ShardUid,
    /// What is not above this number has been moved.
    pub after: SequenceNumber,
    /// What is above this number is not to be moved: the mover was disabled at it.
    pub end: Option<SequenceNumber>,
    /// Nothing follows: the mover has been disabled and this was the last of the shard.
    pub is_done: bool,
    /// What was moved here, and in the shards that led here.
    pub tally: Tally,
    /// Version of its head.
    version: u64,
}

/// A page of a table's log as a mover reads it: what clients no longer see is in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourcePage {
    /// By rising number.
    pub records: Vec<LogRecord>,
    /// The shard has nothing after these records, and never will have.
    pub ended: bool,
}

/// One step of a mover.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// The data stream that gets the records.
    pub target: TableId,
    /// What is appended, in order.
    pub records: Vec<Append>,
    /// The number of the last record that is passed.
    pub after: SequenceNumber,
    /// What is added to the tally.
    pub tally: Tally,
    /// The shard has nothing after that.
    pub ended: bool,
}

impl MoverPosition {
    fn key(&self) -> Bytes {
        position_key(self.mover, self.lineage, self.shard)
    }

    fn encode(&self) -> Bytes {
        let mut row = Vec::with_capacity(34);
        row.put_u8(FORMAT);
        row.put_u64(self.after.0);
        row.put_u8(u8::from(self.is_done));
        for count in [self.tally.sent, self.tally.oversized, self.tally.lost] {
            row.put_u64(count);
        }
        row.into()
    }

    fn decode(key: &[u8], row: &[u8]) -> Option<Self> {
        let (mover, key) = key.get(2..)?.split_first_chunk::<8>()?;
        let (lineage, key) = key.split_first_chunk::<8>()?;
        let shard = u64::from_be_bytes(key.try_into().ok()?);
        let (&[format], row) = row.split_first_chunk::<1>()?;
        let (after, row) = row.split_first_chunk::<8>()?;
        let (&[done], row) = row.split_first_chunk::<1>()?;
        let (sent, row) = row.split_first_chunk::<8>()?;
        let (oversized, row) = row.split_first_chunk::<8>()?;
        let number = |bytes: &[u8; 8]| u64::from_be_bytes(*bytes);
        (format == FORMAT).then_some(())?;
        let tally = Tally { sent: number(sent), oversized: number(oversized), lost: number(row.try_into().ok()?) };
        Some(Self {
            mover: StreamUid(number(mover)),
            lineage: StreamUid(number(lineage)),
            shard: ShardUid(shard),
            after: SequenceNumber(number(after)),
            end: None,
            is_done: done != 0,
            tally,
            version: 0,
        })
    }
}

/// A position to be stamped with the number at which it starts: its key and its row.
pub(crate) fn start(mover: StreamUid, lineage: StreamUid, shard: ShardUid) -> (Bytes, Bytes) {
    let position = begin(mover, lineage, shard, SequenceNumber::ZERO, Tally::default());
    (position.key(), position.encode())
}

fn begin(mover: StreamUid, lineage: StreamUid, shard: ShardUid, after: SequenceNumber, tally: Tally) -> MoverPosition {
    MoverPosition { mover, lineage, shard, after, end: None, is_done: false, tally, version: 0 }
}

fn position_key(mover: StreamUid, lineage: StreamUid, shard: ShardUid) -> Bytes {
    let mut key = Vec::with_capacity(26);
    key.extend([prefix::MOVER, POSITION]);
    for part in [mover.0, lineage.0, shard.0] {
        key.extend(part.to_be_bytes());
    }
    key.into()
}

/// Key of the number at which a mover ends in a shard that stays open.
pub(crate) fn ending_key(mover: StreamUid, shard: ShardUid) -> Bytes {
    let mut key = Vec::with_capacity(18);
    key.extend([prefix::MOVER, ENDING]);
    key.extend(mover.0.to_be_bytes());
    key.extend(shard.0.to_be_bytes());
    key.into()
}

/// All positions of a mover, by lineage and shard.
pub(crate) fn positions(snapshot: &dyn Snapshot, mover: StreamUid) -> Result<Vec<MoverPosition>, Error> {
    let bound = |mover: u64| position_key(StreamUid(mover), StreamUid(0), ShardUid(0));
    let mut positions = Vec::new();
    for entry in snapshot.scan(&bound(mover.0), &bound(mover.0 + 1), Direction::Forward) {
        let (key, row) = entry?;
        let bad = || BadRow::new(&key, "not a position of this format");
        let mut position = MoverPosition::decode(&key, &row).ok_or_else(bad)?;
        position.end = ending(snapshot, mover, position.shard)?;
        position.version = snapshot.head(position_head(mover, position.shard))?.version;
        positions.push(position);
    }
    Ok(positions)
}

/// All that a mover keeps: the keys of its rows, the shard and version of each of its heads.
type Kept = (Vec<Bytes>, Vec<(ShardUid, u64)>);

/// What is to be removed of a mover.
pub(crate) fn all_rows(snapshot: &dyn Snapshot, mover: StreamUid) -> Result<Kept, Error> {
    let positions = positions(snapshot, mover)?;
    let mut keys: Vec<Bytes> = positions.iter().map(MoverPosition::key).collect();
    let bound = |mover: u64| ending_key(StreamUid(mover), ShardUid(0));
    for entry in snapshot.scan(&bound(mover.0), &bound(mover.0 + 1), Direction::Forward) {
        keys.push(entry?.0);
    }
    Ok((keys, positions.iter().map(|position| (position.shard, position.version)).collect()))
}

fn ending(snapshot: &dyn Snapshot, mover: StreamUid, shard: ShardUid) -> Result<Option<SequenceNumber>, Error> {
    let key = ending_key(mover, shard);
    let Some(row) = snapshot.get(&key)? else { return Ok(None) };
    let number: [u8; 8] = (&row[..]).try_into().map_err(|_| BadRow::new(&key, "not the end of a mover"))?;
    Ok(Some(SequenceNumber(u64::from_be_bytes(number))))
}

/// Every lineage that the records of a table are or were in.
fn lineages(catalog: &Catalog, table: &TableDefinition) -> Vec<StreamUid> {
    let streams = catalog.streams(&table.scope, Some(&table.name), None);
    let own = streams.filter(|stream| stream.table == table.id).map(|stream| stream.uid);
    own.chain(table.internal).collect()
}

/// From which number on movers still want the records of shards. A shard that is not in it is wanted by none.
pub(crate) fn held(snapshot: &dyn Snapshot, catalog: &Catalog) -> Result<FixedMap<ShardUid, SequenceNumber>, Error> {
    let mut held = FixedMap::default();
    for table in catalog.all_tables() {
        let Some(destination) = table.destination() else { continue };
        let positions = positions(snapshot, destination.incarnation)?;
        let at: FixedMap<ShardUid, &MoverPosition> =
            positions.iter().map(|position| (position.shard, position)).collect();
        // By rising identity, so that what a shard continues comes before it.
        let mut rows = BTreeMap::new();
        for lineage in lineages(catalog, table) {
            for row in stream::rows(snapshot, lineage)? {
                rows.insert(row.name.uid, row);
            }
        }
        for (shard, row) in &rows {
            let from = match at.get(shard) {
                Some(position) if position.is_done => continue,
                Some(position) => SequenceNumber(position.after.0.saturating_add(1)),
                None if row.continues().any(|before| held.contains_key(&before)) => SequenceNumber::ZERO,
                None => continue,
            };
            held.insert(*shard, from);
        }
    }
    Ok(held)
}

impl Log {
    /// All positions of a mover.
    pub fn positions(&self, mover: StreamUid) -> Result<Vec<MoverPosition>, Error> {
        positions(&*self.shared.cell.snapshot(), mover)
    }

    /// When the oldest change that a mover has not moved yet was committed; none when it has moved all.
    pub fn oldest_unmoved(&self, mover: StreamUid) -> Result<Option<Millis>, Error> {
        let snapshot = self.shared.cell.snapshot();
        let mut oldest = None;
        for position in positions(&*snapshot, mover)?.iter().filter(|position| !position.is_done) {
            let one = PageLimit { records: 1, bytes: 1 };
            let first = self.shared.source_page(&*snapshot, position, one)?.records.into_iter().next();
            let at = first.map(|record| record.number.at());
            oldest = [oldest, at].into_iter().flatten().min();
        }
        Ok(oldest)
    }

    /// What comes after a position, whether clients still see it or not.
    pub fn source_page(&self, position: &MoverPosition, limit: PageLimit) -> Result<SourcePage, Error> {
        self.shared.source_page(&*self.shared.cell.snapshot(), position, limit)
    }

    /// Makes one step of a mover: the records are appended and the position is moved, both or neither.
    ///
    /// Shape:  false when what the step was decided on is no longer so (the table's definition, the position, the target):
    ///         nothing was done, look again.
    /// Errors: `NoTable` when the target takes no records, `Full`, `Closed`, `TooLarge`, and the engine's.
    /// Order:  when the answer comes, both are durable and published.
    pub async fn replicate(&self, source: TableId, position: &MoverPosition, step: Step) -> Result<bool, Error> {
        let shared = &*self.shared;
        let payloads = step.records.iter().map(|record| record.payload.len() + RECORD_BYTES).sum::<usize>();
        if payloads > headwater_types::limits::PLAN_BYTES_MAX {
            return Err(Error::TooLarge { bytes: payloads });
        }
        let place = shared.queue.reserve(payloads).await?;
        let of = shared.view(source)?;
        let mut tables: Few<PlannedTable> = smallvec![planned(source, &of)];
        if !step.records.is_empty() {
            let view = shared.view(step.target)?;
            let serves = matches!(&view.definition, Owner::DataStream(stream) if stream.state.serves());
            if !serves {
                return Err(Error::NoTable(step.target));
            }
            tables.push(planned(step.target, &view));
            shared.flow.note(step.target, &step.records);
        }
        let own = shared.moved(&of, position, &step)?;
        let completion = Arc::new(Completion::default());
        shared.queue.push(Entry::Plan(Planned {
            tables,
            touches: step.records.iter().map(|record| touch(step.target, record)).collect(),
            own,
            size_bytes: payloads + 256,
            completion: completion.clone(),
            _place: place,
        }));
        match completion.wait().await {
            End::Committed => Ok(true),
            End::TakenBack => Ok(false),
            End::Full => Err(Error::Full),
            End::Closed => Err(Error::Closed),
        }
    }
}

fn planned(table: TableId, view: &TableView) -> PlannedTable {
    PlannedTable { table, view: view.view, version: view.definition.version() }
}

impl Shared {
    fn source_page(
        &self,
        snapshot: &dyn Snapshot,
        position: &MoverPosition,
        limit: PageLimit,
    ) -> Result<SourcePage, Error> {
        let key = shard_key(position.lineage, position.shard);
        let row = snapshot.get(&key)?.ok_or_else(|| BadRow::new(&key, "a mover's shard is gone"))?;
        let row = ShardRow::decode(&key, &row)?;
        let is_wanted = |record: &LogRecord| position.end.is_none_or(|end| record.number <= end);
        let mut records = self.read_log(snapshot, position.shard, From::After(position.after), limit)?;
        let read = records.len();
        records.retain(is_wanted);
        let ended = if row.ending.is_none() && position.end.is_none() {
            false
        } else if records.len() < read {
            true
        } else {
            let last = records.last().map_or(position.after, |record| record.number);
            let one = PageLimit { records: 1, bytes: 1 };
            !self.read_log(snapshot, position.shard, From::After(last), one)?.iter().any(is_wanted)
        };
        Ok(SourcePage { records, ended })
    }

    /// What a step makes of a mover's positions.
    fn moved(&self, source: &TableView, position: &MoverPosition, step: &Step) -> Result<Vec<OwnHead>, Error> {
        let tally = position.tally + step.tally;
        let own = |position: &MoverPosition, value: Option<Bytes>| OwnHead {
            head: position_head(position.mover, position.shard),
            expected: position.version,
            key: position.key(),
            value,
        };
        let moved = MoverPosition { after: step.after, tally, ..position.clone() };
        if !step.ended {
            return Ok(vec![own(&moved, Some(moved.encode()))]);
        }
        let children = self.continued_by(source, position)?;
        if children.is_empty() {
            let done = MoverPosition { is_done: true, ..moved };
            return Ok(vec![own(&done, Some(done.encode()))]);
        }
        let mut heads = vec![own(&moved, None)];
        for (at, (lineage, row)) in children.iter().enumerate() {
            let tally = if at == 0 { tally } else { Tally::default() };
            let child = begin(position.mover, *lineage, row.name.uid, row.opened, tally);
            heads.push(own(&child, Some(child.encode())));
        }
        Ok(heads)
    }

    /// The shards in which a mover goes on after the end of one; none after a shard in which it was disabled.
    fn continued_by(&self, source: &TableView, position: &MoverPosition) -> Result<Vec<(StreamUid, ShardRow)>, Error> {
        let mut children = Vec::new();
        let Owner::Table(table) = &source.definition else { return Ok(children) };
        if position.end.is_some() {
            return Ok(children);
        }
        let snapshot = self.cell.snapshot();
        for lineage in lineages(&self.views.catalog(), table) {
            let rows = stream::rows(&*snapshot, lineage)?.into_iter();
            let of = rows.filter(|row| row.continues().any(|before| before == position.shard));
            children.extend(of.map(|row| (lineage, row)));
        }
        Ok(children)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_back_and_their_stamp_hits() {
        let tally = Tally { sent: 1, oversized: 2, lost: 3 };
        let made = begin(StreamUid(7), StreamUid(8), ShardUid(9), SequenceNumber(10), tally);
        for position in [made.clone(), MoverPosition { is_done: true, ..made.clone() }] {
            assert_eq!(MoverPosition::decode(&position.key(), &position.encode()), Some(position));
        }
        let (key, row) = start(StreamUid(7), StreamUid(8), ShardUid(9));
        let mut stamped = row.to_vec();
        stamped[AFTER_AT as usize..][..8].copy_from_slice(&10u64.to_be_bytes());
        assert_eq!(MoverPosition::decode(&key, &stamped).map(|position| position.after), Some(SequenceNumber(10)));
        for cut in [0, 5, 33] {
            assert_eq!(MoverPosition::decode(&key, &row[..cut]), None, "{cut}");
        }
    }
}
