//! What the cell holds: versions of keys and heads, shards' logs, outcomes of batches. Synchronous and without faults.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::{Bytes, BytesMut};
use headwater_types::{Millis, Position, SequenceNumber, ShardUid};

use crate::contract::{
    Batch, BatchId, Direction, From, Head, HeadChange, HeadKey, Horizon, LogRecord, Outcome, PageLimit, Plan, Stats,
};

/// Versions of one thing, oldest first; `None` is its absence.
struct Versions<T>(Vec<(Position, Option<T>)>);

impl<T> Versions<T> {
    fn at(&self, position: Position) -> Option<&T> {
        self.0.iter().rev().find(|(at, _)| *at <= position).and_then(|(_, value)| value.as_ref())
    }

    fn put(&mut self, position: Position, value: Option<T>) {
        match self.0.last_mut() {
            Some((at, last)) if *at == position => *last = value,
            _ => self.0.push((position, value)),
        }
    }

    fn roll_back(&mut self, to: Position) {
        self.0.retain(|(at, _)| *at <= to);
    }

    /// Drops what nobody at or above `oldest` can see; true when nothing is left.
    fn prune(&mut self, oldest: Position) -> bool {
        let kept = self.0.iter().rposition(|(at, _)| *at <= oldest).unwrap_or(0);
        self.0.drain(..kept);
        matches!(self.0.as_slice(), []) || matches!(self.0.as_slice(), [(at, None)] if *at <= oldest)
    }
}

impl<T> Default for Versions<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// A stored record: when it came, when it went.
struct Stored {
    position: Position,
    payload: Bytes,
    /// The trim that removed it.
    trimmed: Option<u64>,
}

/// What is known of a batch id.
enum Fate {
    Committed(Position, Vec<Outcome>),
    /// Asked for before it was committed: it never will be.
    Void,
}

/// What a snapshot holds on to.
#[derive(Clone, Copy)]
pub(super) struct Pin {
    pub(super) id: u64,
    pub(super) position: Position,
    /// Records up to here are synced.
    pub(super) synced: Position,
    /// Trims up to this one are seen.
    pub(super) trims: u64,
}

#[derive(Default)]
pub(super) struct State {
    keys: BTreeMap<Bytes, Versions<Bytes>>,
    heads: BTreeMap<HeadKey, Versions<Head>>,
    logs: BTreeMap<ShardUid, BTreeMap<SequenceNumber, Stored>>,
    batches: BTreeMap<BatchId, Fate>,
    written: Position,
    durable: Position,
    published: Position,
    pins: BTreeMap<u64, Pin>,
    pins_ever: u64,
    trims: u64,
    mark: Millis,
    generation: u64,
    stats: Stats,
}

impl State {
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn published(&self) -> Position {
        self.published
    }

    pub(super) fn written(&self) -> Position {
        self.written
    }

    pub(super) fn durable(&self) -> Position {
        self.durable
    }

    pub(super) fn mark(&self) -> Millis {
        self.mark
    }

    /// Remembers that a time was shown: the next start is later, so that no number that this one gave and lost is given
    /// again.
    pub(super) fn raise_mark(&mut self, shown: Millis) {
        self.mark = self.mark.max(Millis(shown.0 + 1));
    }

    /// The start of a process: takes back what is not durable and ends earlier handles.
    /// Returns the new generation and how many groups were taken back.
    pub(super) fn reopen(&mut self) -> (u64, u64) {
        let to = self.durable;
        let lost = self.written.0 - to.0;
        self.keys.values_mut().for_each(|versions| versions.roll_back(to));
        self.heads.values_mut().for_each(|versions| versions.roll_back(to));
        self.logs.values_mut().for_each(|log| log.retain(|_, record| record.position <= to));
        self.batches.retain(|_, fate| !matches!(fate, Fate::Committed(at, _) if *at > to));
        self.written = to;
        self.published = to;
        self.stats = Stats::default();
        self.generation += 1;
        (self.generation, lost)
    }

    /// Numbers and writes a batch as one group; `None` when its id is void or was used before.
    pub(super) fn write(&mut self, batch: &Batch, now: Millis) -> Option<Vec<Outcome>> {
        if self.batches.contains_key(&batch.id) {
            return None;
        }
        self.raise_mark(now);
        // From here on, so that a later plan sees what an earlier one of the batch moved.
        let position = Position(self.written.0 + 1);
        self.written = position;
        // Heads that a fenced plan would have moved: what builds on them builds on nothing, even if another writer
        // brought them to the very version that was expected.
        let mut missing: BTreeSet<HeadKey> = BTreeSet::new();
        let mut outcomes = Vec::with_capacity(batch.plans.len());
        for plan in &batch.plans {
            check_shape(plan);
            let fenced: Vec<HeadKey> = plan
                .heads
                .iter()
                .filter(|used| missing.contains(&used.key) || self.newest_head(used.key).version != used.expected)
                .map(|used| used.key)
                .collect();
            if fenced.is_empty() {
                outcomes.push(self.apply(plan, position, now));
            } else {
                let moved = plan.heads.iter().filter(|used| used.change != HeadChange::Compare);
                missing.extend(moved.map(|used| used.key));
                outcomes.push(Outcome::Fenced { heads: fenced });
            }
        }
        self.stats.groups += 1;
        self.batches.insert(batch.id, Fate::Committed(position, outcomes.clone()));
        Some(outcomes)
    }

    fn apply(&mut self, plan: &Plan, position: Position, now: Millis) -> Outcome {
        let mut heads: Vec<Head> = plan.heads.iter().map(|used| self.newest_head(used.key)).collect();
        let mut taken = Vec::new();
        let mut stamps: BTreeMap<u16, SequenceNumber> = BTreeMap::new();
        for (index, used) in plan.heads.iter().enumerate() {
            if let HeadChange::Move { items, bytes, take, above } = &used.change {
                let floor = above.iter().map(|parent| heads[usize::from(*parent)].number).max();
                let head = &mut heads[index];
                head.version += 1;
                head.items += items;
                head.bytes += bytes;
                head.number = head.number.max(floor.unwrap_or_default());
                if *take {
                    head.number = head.number.next(now);
                    taken.push(head.number);
                    stamps.insert(index as u16, head.number);
                }
            }
        }
        let mut numbers = Vec::with_capacity(plan.records.len());
        for record in &plan.records {
            let head = &mut heads[usize::from(record.head)];
            head.number = head.number.next(now);
            numbers.push(head.number);
            self.append(record.shard, head.number, position, &record.payload);
        }
        for (used, head) in plan.heads.iter().zip(heads) {
            self.raise_mark(head.number.at());
            let value = match used.change {
                HeadChange::Compare => continue,
                HeadChange::Move { .. } => Some(head),
                HeadChange::Remove => None,
            };
            self.heads.entry(used.key).or_default().put(position, value);
        }
        for write in &plan.writes {
            let value = write.value.clone().map(|value| match write.stamp {
                Some(stamp) => stamped(value, stamp.offset as usize, stamps[&stamp.head]),
                None => value,
            });
            self.keys.entry(write.key.clone()).or_default().put(position, value);
        }
        self.stats.plans += 1;
        self.stats.log_bytes_written += plan.size_bytes() as u64;
        Outcome::Committed { taken, numbers }
    }

    fn append(&mut self, shard: ShardUid, number: SequenceNumber, position: Position, payload: &Bytes) {
        let log = self.logs.entry(shard).or_default();
        let last = log.last_key_value().map(|(last, _)| *last);
        assert!(last.is_none_or(|last| last < number), "two heads number shard {shard:?}: {last:?} then {number:?}");
        log.insert(number, Stored { position, payload: payload.clone(), trimmed: None });
    }

    /// Another writer's commit that moves a head and changes nothing else; false when there is no such head.
    pub(super) fn bump(&mut self, key: HeadKey) -> bool {
        let mut head = self.newest_head(key);
        if head.version == 0 {
            return false;
        }
        head.version += 1;
        self.written.0 += 1;
        let position = self.written;
        self.heads.entry(key).or_default().put(position, Some(head));
        true
    }

    /// Everything written is durable.
    pub(super) fn sync(&mut self) {
        if self.durable < self.written {
            self.durable = self.written;
            self.stats.syncs += 1;
        }
    }

    /// Shows everything up to `position`.
    pub(super) fn publish(&mut self, position: Position) {
        assert!(self.published <= position && position <= self.written, "published what was not written");
        self.published = position;
        if position.0.is_multiple_of(64) {
            self.prune();
        }
    }

    /// The batch's outcomes, or a promise that it never commits.
    pub(super) fn resolve(&mut self, id: BatchId) -> Option<Vec<Outcome>> {
        match self.batches.entry(id).or_insert(Fate::Void) {
            Fate::Committed(_, outcomes) => Some(outcomes.clone()),
            Fate::Void => None,
        }
    }

    pub(super) fn pin(&mut self) -> Pin {
        self.pins_ever += 1;
        let synced = self.published.min(self.durable);
        let pin = Pin { id: self.pins_ever, position: self.published, synced, trims: self.trims };
        self.pins.insert(pin.id, pin);
        pin
    }

    pub(super) fn unpin(&mut self, id: u64) {
        self.pins.remove(&id);
    }

    pub(super) fn get(&self, pin: Pin, key: &[u8]) -> Option<Bytes> {
        self.keys.get(key).and_then(|versions| versions.at(pin.position)).cloned()
    }

    /// Up to `max` visible entries of `range`.
    pub(super) fn scan(
        &self,
        pin: Pin,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
        max: usize,
    ) -> Vec<(Bytes, Bytes)> {
        let visible = |(key, versions): (&Bytes, &Versions<Bytes>)| {
            versions.at(pin.position).map(|value| (key.clone(), value.clone()))
        };
        let entries = self.keys.range::<[u8], _>(range);
        match direction {
            Direction::Forward => entries.filter_map(visible).take(max).collect(),
            Direction::Backward => entries.rev().filter_map(visible).take(max).collect(),
        }
    }

    pub(super) fn head(&self, pin: Pin, key: HeadKey) -> Head {
        self.heads.get(&key).and_then(|versions| versions.at(pin.position)).copied().unwrap_or_default()
    }

    pub(super) fn read_log(&self, pin: Pin, shard: ShardUid, from: From, limit: PageLimit) -> Vec<LogRecord> {
        let start = match from {
            From::At(number) => Bound::Included(number),
            From::After(number) => Bound::Excluded(number),
        };
        let Some(log) = self.logs.get(&shard) else { return Vec::new() };
        let mut page = Vec::new();
        let mut bytes = 0;
        let visible = log
            .range((start, Bound::Unbounded))
            .filter(|(_, record)| record.position <= pin.synced && record.trimmed.is_none_or(|trim| trim > pin.trims));
        for (number, record) in visible.take(limit.records) {
            bytes += record.payload.len();
            if bytes > limit.bytes && !page.is_empty() {
                break;
            }
            page.push(LogRecord { number: *number, payload: record.payload.clone() });
        }
        page
    }

    pub(super) fn trim(&mut self, horizons: &[Horizon]) {
        self.trims += 1;
        for horizon in horizons {
            if let Some(log) = self.logs.get_mut(&horizon.shard) {
                for (_, record) in log.range_mut(..horizon.below) {
                    record.trimmed.get_or_insert(self.trims);
                }
            }
        }
        self.prune();
    }

    pub(super) fn stats(&self) -> Stats {
        let kept = self.logs.values().flat_map(|log| log.values()).map(|record| record.payload.len() as u64 + 32);
        Stats { log_bytes_on_disk: kept.sum(), ..self.stats }
    }

    fn newest_head(&self, key: HeadKey) -> Head {
        self.heads.get(&key).and_then(|versions| versions.at(self.written)).copied().unwrap_or_default()
    }

    /// Drops versions and records that no snapshot, present or to come (after a crash too), can show.
    fn prune(&mut self) {
        let pinned = self.pins.values().map(|pin| pin.position).min();
        let oldest = pinned.unwrap_or(self.published).min(self.published).min(self.durable);
        let trims = self.pins.values().map(|pin| pin.trims).min().unwrap_or(self.trims);
        self.keys.retain(|_, versions| !versions.prune(oldest));
        self.heads.retain(|_, versions| !versions.prune(oldest));
        self.logs.retain(|_, log| {
            log.retain(|_, record| record.trimmed.is_none_or(|trim| trim > trims));
            !log.is_empty()
        });
    }
}

/// The committer's duties: a breach is a bug above the contract.
fn check_shape(plan: &Plan) {
    let keys: BTreeSet<HeadKey> = plan.heads.iter().map(|used| used.key).collect();
    assert_eq!(keys.len(), plan.heads.len(), "a head stands twice in a plan");
    for (index, used) in plan.heads.iter().enumerate() {
        if let HeadChange::Move { above, .. } = &used.change {
            assert!(above.iter().all(|parent| usize::from(*parent) < index), "a head is above one that comes later");
        }
    }
    for record in &plan.records {
        let head = plan.heads.get(usize::from(record.head)).map(|used| &used.change);
        assert!(matches!(head, Some(HeadChange::Move { .. })), "a record is numbered by a head that does not move");
    }
}

fn stamped(value: Bytes, offset: usize, number: SequenceNumber) -> Bytes {
    let mut value = BytesMut::from(value);
    assert!(offset + 8 <= value.len(), "a stamp lies outside its value");
    value[offset..offset + 8].copy_from_slice(&number.0.to_be_bytes());
    value.freeze()
}
