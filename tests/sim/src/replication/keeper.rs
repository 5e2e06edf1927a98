//! Looks at one durable moment of a node: what targets hold, what positions say, and what is still to be sent.
//!
//! ```text
//! definitions, targets' logs, positions, the tables' logs ── one snapshot ─► as many records as the positions say;
//!                                                                           of what they have passed all, of the rest none
//! ```
//! A look waits for nothing, so that all it reads is of one snapshot. What targets held is kept, also of those that are gone:
//! their logs are read once more before they are trimmed.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use headwater_catalog::{BadRow, DataStreamDefinition, DestinationState, TableDefinition, writer};
use headwater_log::{LogRecord, data_record};
use headwater_storage::Snapshot;
use headwater_storage::contract::{Direction, From, PageLimit};
use headwater_storage::keyspace::prefix;
use headwater_types::{HashKey, SequenceNumber, ShardUid, StreamUid};

use super::check::{EXACT, PLACE, RECORD, UNASKED};
use super::history::{Placed, Seen, Sending};
use super::judge::Judge;
use super::plan::TARGETS;
use super::protocol;
use crate::expiry;
use crate::history::Violation;
use crate::plan::Mode;
use crate::server::Server;

const ALL: PageLimit = PageLimit { records: usize::MAX, bytes: usize::MAX };

/// Long enough for whatever was answered to be synced: it takes 40 ms at most.
pub(super) const SYNCED: Duration = Duration::from_millis(100);

/// Looks, and what they found so far.
pub struct Keeper {
    /// What they found.
    pub seen: Seen,
    /// What a node shows is durable, its definitions as well as its log: what they say of each other is judged.
    strict: bool,
    /// Reads may fail: faults strike the disk.
    faulty: bool,
    targets: BTreeMap<StreamUid, Target>,
    /// The targets that there are, by name, as of the last look.
    live: BTreeMap<String, StreamUid>,
    /// Per table's name, the sending that takes its changes now.
    current: BTreeMap<String, usize>,
    /// Per node, whether changes were on their way at its last look, and how often its movers were throttled.
    nodes: BTreeMap<u64, (bool, u64)>,
}

#[derive(Default)]
struct Target {
    name: String,
    /// Up to where each shard was read.
    shards: BTreeMap<ShardUid, SequenceNumber>,
    /// When it was first found deleted; none while it is there.
    died: Option<Duration>,
    /// Deleted, and read for the last time.
    over: bool,
}

impl Target {
    /// For how long it has been found deleted. A crash may take a deletion back: the next one counts from its own moment.
    fn dead_for(&mut self, is_live: bool, now: Duration) -> Option<Duration> {
        self.died = (!is_live).then(|| self.died.unwrap_or(now));
        self.died.map(|died| now.saturating_sub(died))
    }
}

/// What cannot be read at this moment: a fault on the disk.
pub(super) struct Unreadable(String);

impl<E: std::error::Error> std::convert::From<E> for Unreadable {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// The definitions of one snapshot.
struct Found {
    tables: Vec<TableDefinition>,
    targets: Vec<DataStreamDefinition>,
}

impl Keeper {
    /// Nothing seen yet.
    pub fn new(mode: Mode) -> Self {
        Self {
            seen: Seen::default(),
            strict: mode != Mode::Relaxed,
            faulty: matches!(mode, Mode::Embedded | Mode::Relaxed),
            targets: BTreeMap::new(),
            live: BTreeMap::new(),
            current: BTreeMap::new(),
            nodes: BTreeMap::new(),
        }
    }

    /// The sending that takes a table's changes now.
    pub fn current(&mut self, table: &str) -> Option<&mut Sending> {
        self.current.get(table).and_then(|at| self.seen.sendings.get_mut(*at))
    }

    /// A table's destination is about to be enabled at moment `asked`: whatever is found of it from now on is of that time.
    /// False when that cannot be said: another is not over, or nothing can be read at this moment.
    pub fn begin(&mut self, server: &Server, table: &str, stream: &str, asked: u64) -> bool {
        let Ok(found) = self.look_at(server) else { return false };
        let running = found.tables.iter().any(|one| one.name == table && one.destination().is_some());
        if !running {
            let known = found.tables.iter().flat_map(|table| &table.destinations).map(|one| one.incarnation);
            let after = known.chain(self.seen.sendings.iter().filter_map(|sending| sending.incarnation)).max();
            self.current.insert(table.to_owned(), self.seen.sendings.len());
            let (table, stream) = (table.to_owned(), stream.to_owned());
            self.seen.sendings.push(Sending { table, stream, asked, after, ..Sending::default() });
        }
        !running
    }

    /// One look; whether all could be read.
    pub fn look(&mut self, server: &Server) -> bool {
        match self.look_at(server) {
            Ok(_) => return true,
            Err(_) if self.faulty => {}
            Err(Unreadable(text)) => {
                let text = format!("what is to be looked at cannot be read: {text}");
                self.seen.noticed.push(Violation::new(RECORD, text));
            }
        }
        false
    }

    /// Nodes that are not up any more are forgotten; those that went with changes on their way are counted.
    pub fn up(&mut self, numbers: &[u64]) {
        let gone = self.nodes.keys().filter(|number| !numbers.contains(number)).copied().collect::<Vec<_>>();
        for (underway, throttled) in gone.iter().filter_map(|number| self.nodes.remove(number)) {
            self.seen.counts.crashes += u64::from(underway);
            self.seen.counts.throttled += throttled;
        }
    }

    /// From now on what a node shows is durable, on every engine: nobody writes any more, and all is synced.
    pub fn settle(&mut self) {
        self.strict = true;
    }

    /// No node goes any more: what those counted that are up counts.
    pub fn calm(&mut self) {
        let throttled: u64 = std::mem::take(&mut self.nodes).values().map(|(_, throttled)| throttled).sum();
        self.seen.counts.throttled += throttled;
    }

    /// Whether nothing is left to be sent, and no destination to be ended.
    pub fn is_drained(&self, server: &Server) -> bool {
        let Ok(catalog) = server.log.catalog() else { return false };
        let mut moving = catalog.all_tables().filter_map(|table| table.destination());
        moving.all(|destination| {
            let rest = server.log.oldest_unmoved(destination.incarnation);
            destination.state == DestinationState::Active && matches!(rest, Ok(None))
        })
    }

    /// What was read of a target that there is, by shard.
    pub fn read_of(&self, target: StreamUid) -> BTreeMap<ShardUid, Vec<&Placed>> {
        let mut shards: BTreeMap<ShardUid, Vec<&Placed>> = BTreeMap::new();
        for placed in self.seen.sendings.iter().flat_map(|sending| &sending.records) {
            if placed.target == target {
                shards.entry(placed.shard).or_default().push(placed);
            }
        }
        shards.values_mut().for_each(|records| records.sort_by_key(|placed| placed.number));
        shards
    }

    fn look_at(&mut self, server: &Server) -> Result<Found, Unreadable> {
        let snapshot = server.log.snapshot();
        let found = Found {
            tables: definitions(&*snapshot, writer::table_rows(), writer::decode)?,
            targets: definitions(&*snapshot, writer::data_stream_rows(), writer::decode)?,
        };
        let before = self.live.clone();
        self.read_targets(server, &*snapshot, &found.targets)?;
        let mut underway = false;
        for at in self.current.values().copied().collect::<Vec<_>>() {
            let Some(sending) = self.seen.sendings.get_mut(at).filter(|sending| !sending.is_over) else { continue };
            // Whether the target is the one that it was at the last look, so that nothing can have been given up.
            let now = self.live.get(&sending.stream);
            let steady = now.is_some() && now == before.get(&sending.stream);
            let mut judge =
                Judge { log: &server.log, sending, strict: self.strict, steady, waited: 0, noticed: Vec::new() };
            let judged = judge.judge(&found.tables);
            let Judge { waited, noticed, .. } = judge;
            self.seen.counts.waited += waited;
            self.seen.noticed.extend(noticed);
            underway |= judged?;
        }
        self.seen.counts.looks += 1;
        let throttled = server.jobs.totals().throttled;
        self.seen.counts.starts += u64::from(self.nodes.insert(server.number, (underway, throttled)).is_none());
        Ok(found)
    }

    fn read_targets(
        &mut self,
        server: &Server,
        snapshot: &dyn Snapshot,
        found: &[DataStreamDefinition],
    ) -> Result<(), Unreadable> {
        let mut live = BTreeMap::new();
        for stream in found.iter().filter(|stream| stream.name.starts_with(TARGETS)) {
            live.insert(stream.name.clone(), stream.uid);
            if !self.targets.contains_key(&stream.uid) {
                let again = self.targets.values().any(|target| target.name == stream.name);
                self.seen.counts.targets += 1;
                self.seen.counts.again += u64::from(again);
                self.targets.insert(stream.uid, Target { name: stream.name.clone(), ..Target::default() });
            }
        }
        let is_live = |uid: &StreamUid| live.values().any(|one| one == uid);
        let read = self.targets.iter().filter(|(uid, target)| !target.over || is_live(uid));
        for uid in read.map(|(uid, _)| *uid).collect::<Vec<_>>() {
            self.read_target(server, snapshot, uid, is_live(&uid))?;
        }
        self.live = live;
        Ok(())
    }

    fn read_target(
        &mut self,
        server: &Server,
        snapshot: &dyn Snapshot,
        uid: StreamUid,
        is_live: bool,
    ) -> Result<(), Unreadable> {
        let listed = server.log.shards(uid)?;
        let stored = shards(snapshot, uid)?;
        let (strict, now) = (self.strict, server.log.clock().monotonic());
        let Some(target) = self.targets.get_mut(&uid) else { return Ok(()) };
        let name = target.name.clone();
        // A log shows what is synced: of a target that is gone, what it was given last may come later. It is read until its
        // log goes: a node that is new may have deleted it once more.
        let settled = target.dead_for(is_live, now).is_some_and(|dead_for| dead_for > SYNCED);
        let mut swept = !is_live && target.shards.keys().any(|shard| !stored.contains(shard));
        let mut fresh: Vec<(ShardUid, LogRecord)> = Vec::new();
        for shard in stored {
            let continues = listed.by_uid(shard).is_some_and(|listed| !listed.parents.is_empty());
            let last = target.shards.entry(shard).or_insert_with(|| {
                self.seen.counts.continued += u64::from(continues);
                SequenceNumber::ZERO
            });
            if !is_live && !swept && *last != SequenceNumber::ZERO {
                // Its log may have been trimmed since the last look.
                let one = PageLimit { records: 1, bytes: 1 };
                let there = snapshot.read_log(shard, From::At(*last), one)?;
                swept |= there.first().is_none_or(|record| record.number != *last);
            }
            let records = snapshot.read_log(shard, From::After(*last), ALL)?;
            if let Some(newest) = records.last() {
                *last = newest.number;
            }
            fresh.extend(records.into_iter().map(|record| (shard, record)));
        }
        target.over = swept || !is_live && strict;
        if swept && !strict && target.shards.values().all(|last| *last == SequenceNumber::ZERO) {
            // A crash took its making back: nothing was ever shown of it, and its identity may be given again.
            self.targets.remove(&uid);
        } else if swept && !settled {
            let open = self.seen.sendings.iter_mut().filter(|sending| sending.stream == name && !sending.is_over);
            open.for_each(|sending| sending.unseen = true);
        }
        for (shard, record) in fresh {
            let range = listed.by_uid(shard).map(|shard| shard.hash_range);
            if let Err((check, text)) = self.take(uid, shard, range, &record) {
                self.seen.noticed.push(Violation::new(check, format!("{name} ({}): {text}", uid.0)));
            }
        }
        Ok(())
    }

    /// Takes a record of a target.
    fn take(
        &mut self,
        target: StreamUid,
        shard: ShardUid,
        range: Option<(u128, u128)>,
        record: &LogRecord,
    ) -> Result<(), (&'static str, String)> {
        let number = record.number;
        let (key, data) =
            data_record::decode(&record.payload).ok_or_else(|| (RECORD, format!("{number:?} is no record")))?;
        let replica =
            protocol::replica(&data, number, |table| table == expiry::TABLE).map_err(|text| (RECORD, text))?;
        let hash = HashKey::of(key.as_bytes()).0;
        if range.is_some_and(|(start, end)| hash < start || end < hash) {
            return Err((PLACE, format!("{number:?} of the hash {hash:x} lies in {range:x?}")));
        }
        self.seen.counts.replicated += 1;
        let table = replica.table.clone();
        let Some(sending) = self.current(&table) else {
            return Err((UNASKED, format!("{replica:?} of a table without a destination")));
        };
        let id = replica.change.event_id.clone();
        if sending.is_over && !std::mem::replace(&mut sending.broken, true) {
            return Err((EXACT, format!("{replica:?} comes after the end of its destination")));
        }
        sending.records.push(Placed { target, shard, number, replica });
        if !sending.sent.insert(id.clone()) && !std::mem::replace(&mut sending.broken, true) {
            return Err((EXACT, format!("{id} of {table} is there twice")));
        }
        Ok(())
    }
}

/// All definitions of a kind.
fn definitions<T>(
    snapshot: &dyn Snapshot,
    (start, end): (Bytes, Bytes),
    decode: impl Fn(&[u8], &[u8]) -> Result<T, BadRow>,
) -> Result<Vec<T>, Unreadable> {
    let mut all = Vec::new();
    for entry in snapshot.scan(&start, &end, Direction::Forward) {
        let (key, row) = entry?;
        all.push(decode(&key, &row)?);
    }
    Ok(all)
}

/// The stored shards of a data stream, also of one that was deleted and not swept away yet.
///
/// Shape of a key: `LINEAGE | 'S' | stream (8) | shard (8)`.
fn shards(snapshot: &dyn Snapshot, stream: StreamUid) -> Result<Vec<ShardUid>, Unreadable> {
    let bound = |stream: u64| [&[prefix::LINEAGE, b'S'], &stream.to_be_bytes()[..]].concat();
    let mut found = Vec::new();
    for entry in snapshot.scan(&bound(stream.0), &bound(stream.0 + 1), Direction::Forward) {
        let (key, _) = entry?;
        let shard = key.last_chunk::<8>().map(|shard| ShardUid(u64::from_be_bytes(*shard)));
        found.extend(shard.filter(|_| key.len() == 18));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_that_a_crash_took_back_is_forgotten() {
        let ms = Duration::from_millis;
        let mut target = Target::default();
        let looks = [(true, 0, None), (false, 10, Some(0)), (false, 15, Some(5)), (true, 30, None)];
        // Deleted once more: what it was given before that is yet to be shown.
        for (is_live, now, dead_for) in looks.into_iter().chain([(false, 300, Some(0)), (false, 410, Some(110))]) {
            assert_eq!(target.dead_for(is_live, ms(now)), dead_for.map(ms), "at {now}");
        }
    }
}
