//! The first stage: compares heads, numbers records, frames the group. In memory only, in the order of the calls.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use headwater_types::hash::{FixedMap, FixedSet};
use headwater_types::{Millis, Position, SequenceNumber, ShardUid};
use tokio::sync::oneshot;

use super::Planted;
use super::frame::{HeadState, RecordAt, put_counts, put_head, put_horizons, put_record, put_write};
use super::segment::{
    BLOCK, End, GROUP_HEADER, GroupHeader, GroupKind, SegmentHeader, SegmentId, payload_checksum, seed,
};
use crate::contract::{Batch, BatchId, CommitError, Head, HeadChange, HeadKey, Outcome, Plan};

pub(super) type Answer = Result<Vec<Outcome>, CommitError>;

/// Buffers that are kept for later groups.
const BUFFERS_MAX: usize = 4;
/// Batch ids that are remembered.
const IDS_MAX: usize = 1024;
/// A larger buffer is not kept. Unit: bytes.
const BUFFER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A group on its way from numbering to its answer.
pub(super) struct Group {
    /// Of the group; of the one before it if it takes none.
    pub(super) position: Position,
    /// Absent when nothing is to be written: every plan was fenced.
    pub(super) frame: Option<Frame>,
    /// Committed plans; only their writes are still needed.
    pub(super) plans: Vec<Plan>,
    pub(super) heads: Vec<HeadState>,
    pub(super) records: Vec<RecordAt>,
    pub(super) mark: Millis,
    pub(super) answer: Option<oneshot::Sender<Answer>>,
    pub(super) outcomes: Vec<Outcome>,
    undo: Undo,
}

/// A framed group.
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    pub(super) kind: GroupKind,
    /// Where it goes.
    pub(super) segment: SegmentId,
    pub(super) offset: u64,
    /// The point behind it.
    pub(super) end: End,
    /// The header of the segment that it opens.
    pub(super) opens: Option<SegmentHeader>,
}

/// What takes a group back.
struct Undo {
    last: Position,
    tail: End,
    opened: Position,
    stated: Position,
    /// Newest first restored last: a head may stand here more than once.
    heads: Vec<HeadState>,
}

/// Everything numbering knows.
pub(super) struct Front {
    store: u128,
    generation: u64,
    block: u64,
    segment_bytes: u64,
    time_reserve_ms: i64,
    planted: Option<Planted>,
    /// Heads with everything that was numbered, durable or not.
    newest: FixedMap<HeadKey, Head>,
    /// The last position that was given.
    pub(super) last: Position,
    /// Where the next group goes.
    tail: End,
    /// The last position before the segment that grows.
    opened: Position,
    /// The next group opens a segment.
    cut: bool,
    /// The newest synced position that a framed group states.
    pub(super) stated: Position,
    pub(super) queue: VecDeque<Group>,
    pub(super) writing: bool,
    /// Why no more is taken.
    pub(super) closed: Option<String>,
    buffers: Vec<Vec<u8>>,
    /// Newest store time or number given, whichever is later.
    newest_time: Millis,
    scratch: Vec<Head>,
    stamps: Vec<SequenceNumber>,
    /// The newest batches handed in.
    ids: VecDeque<BatchId>,
}

/// Which parts of a batch a group holds; both, unless a bug is planted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Both,
    State,
    Records,
}

impl Front {
    pub(super) fn new(
        header: &SegmentHeader,
        tail: End,
        newest: FixedMap<HeadKey, Head>,
        settings: &super::Settings,
    ) -> Self {
        Self {
            store: header.store,
            generation: header.generation,
            block: header.block,
            segment_bytes: settings.segment_bytes,
            time_reserve_ms: settings.time_reserve.as_millis() as i64,
            planted: settings.planted,
            newest,
            last: tail.position,
            tail,
            opened: header.previous.position,
            cut: false,
            stated: header.synced,
            queue: VecDeque::new(),
            writing: false,
            closed: None,
            buffers: Vec::new(),
            newest_time: header.mark,
            scratch: Vec::new(),
            stamps: Vec::new(),
            ids: VecDeque::with_capacity(IDS_MAX),
        }
    }

    /// Whether a batch was handed in lately.
    pub(super) fn knows(&self, id: BatchId) -> bool {
        self.ids.contains(&id)
    }

    /// Numbers a batch and queues it as one group.
    pub(super) fn commit(&mut self, batch: Batch, now: Millis, synced: Position, answer: oneshot::Sender<Answer>) {
        if self.ids.len() == IDS_MAX {
            self.ids.pop_front();
        }
        self.ids.push_back(batch.id);
        let mut undo = self.undo();
        let (plans, outcomes, heads, records) = self.number(batch, now, &mut undo);
        let mut group = Group {
            position: self.last,
            frame: None,
            plans,
            heads,
            records: Vec::new(),
            mark: Millis(0),
            answer: Some(answer),
            outcomes,
            undo,
        };
        if group.plans.is_empty() {
            self.queue.push_back(group);
            return;
        }
        if self.planted == Some(Planted::RecordApartFromItem) && !records.is_empty() {
            self.frame_apart(group, records, now, synced);
            return;
        }
        group.records = records;
        self.frame(&mut group, now, synced, Part::Both);
        self.queue.push_back(group);
    }

    /// Planted: the items' changes in one group, their records in the next.
    fn frame_apart(&mut self, mut group: Group, records: Vec<RecordAt>, now: Millis, synced: Position) {
        let answer = group.answer.take();
        let outcomes = std::mem::take(&mut group.outcomes);
        self.frame(&mut group, now, synced, Part::State);
        let undo = self.undo();
        let plans = group.plans.clone();
        self.queue.push_back(group);
        let heads = Vec::new();
        let mut group =
            Group { position: self.last, frame: None, plans, heads, records, mark: now, answer, outcomes, undo };
        self.frame(&mut group, now, synced, Part::Records);
        group.plans.clear();
        self.queue.push_back(group);
    }

    /// Queues a group that states the synced position and nothing else.
    pub(super) fn state_synced(&mut self, now: Millis, synced: Position) {
        self.internal(GroupKind::Statement, now, synced, &[], None);
    }

    /// Queues a statement in a segment before which everything up to now lies: the next one, unless the one that grows has
    /// nothing but statements. That segment, and the last position before it.
    pub(super) fn cut(
        &mut self,
        now: Millis,
        synced: Position,
        answer: oneshot::Sender<Answer>,
    ) -> (SegmentId, Position) {
        self.cut = self.last != self.opened;
        self.internal(GroupKind::Statement, now, synced, &[], Some(answer));
        (self.tail.segment, self.last)
    }

    /// Queues a group of trim horizons.
    pub(super) fn raise_horizons(&mut self, now: Millis, synced: Position, horizons: &[(ShardUid, SequenceNumber)]) {
        self.internal(GroupKind::Horizons, now, synced, horizons, None);
    }

    fn internal(
        &mut self,
        kind: GroupKind,
        now: Millis,
        synced: Position,
        horizons: &[(ShardUid, SequenceNumber)],
        answer: Option<oneshot::Sender<Answer>>,
    ) {
        let undo = self.undo();
        let mut group = Group {
            position: self.last,
            frame: None,
            plans: Vec::new(),
            heads: Vec::new(),
            records: Vec::new(),
            mark: now,
            answer,
            outcomes: Vec::new(),
            undo,
        };
        if kind == GroupKind::Horizons {
            group.position = Position(self.last.0 + 1);
            self.last = group.position;
        }
        let mut bytes = self.buffer();
        put_horizons(&mut bytes, horizons);
        self.close_frame(&mut group, bytes, kind, 0, now, synced);
        self.queue.push_back(group);
    }

    /// Takes back groups that were not written, given oldest first: as if they had never been numbered.
    ///
    /// `segment` is the one that is written to now. A segment that the oldest of them opened stays: its header is on the
    /// disk and says truly what came before it.
    pub(super) fn take_back(&mut self, groups: &[Group], segment: SegmentId) {
        for group in groups.iter().rev() {
            for (key, head) in group.undo.heads.iter().rev() {
                match head {
                    Some(head) => self.newest.insert(*key, *head),
                    None => self.newest.remove(key),
                };
            }
            self.last = group.undo.last;
            self.tail = group.undo.tail;
            self.opened = group.undo.opened;
            self.stated = group.undo.stated;
        }
        if segment > self.tail.segment {
            self.tail = End { segment, offset: BLOCK, ..self.tail };
            self.opened = self.tail.position;
        }
    }

    /// Gives a written group's buffer back.
    pub(super) fn recycle(&mut self, bytes: Vec<u8>) {
        if self.buffers.len() < BUFFERS_MAX && bytes.capacity() <= BUFFER_BYTES_MAX {
            self.buffers.push(bytes);
        }
    }

    fn undo(&self) -> Undo {
        Undo { last: self.last, tail: self.tail, opened: self.opened, stated: self.stated, heads: Vec::new() }
    }

    /// Decides every plan of a batch: what is left are the committed ones, stamped.
    fn number(
        &mut self,
        batch: Batch,
        now: Millis,
        undo: &mut Undo,
    ) -> (Vec<Plan>, Vec<Outcome>, Vec<HeadState>, Vec<RecordAt>) {
        // Heads that a fenced plan would have moved: what builds on them builds on nothing.
        let mut missing: FixedSet<HeadKey> = FixedSet::default();
        let mut plans = batch.plans;
        let mut outcomes = Vec::with_capacity(plans.len());
        let (mut heads, mut records) = (Vec::with_capacity(plans.len()), Vec::new());
        plans.retain_mut(|plan| {
            let moved = |key: &HeadKey, expected: u64, newest: &FixedMap<HeadKey, Head>| {
                newest.get(key).map_or(0, |head| head.version) != expected
            };
            let fences = plan.heads.iter().any(|used| {
                moved(&used.key, used.expected, &self.newest) || (!missing.is_empty() && missing.contains(&used.key))
            });
            if !fences {
                outcomes.push(self.number_plan(plan, now, undo, &mut heads, &mut records));
                return true;
            }
            let fenced = plan
                .heads
                .iter()
                .filter(|used| moved(&used.key, used.expected, &self.newest) || missing.contains(&used.key));
            outcomes.push(Outcome::Fenced { heads: fenced.map(|used| used.key).collect() });
            let lost = plan.heads.iter().filter(|used| used.change != HeadChange::Compare);
            missing.extend(lost.map(|used| used.key));
            false
        });
        (plans, outcomes, heads, records)
    }

    fn number_plan(
        &mut self,
        plan: &mut Plan,
        now: Millis,
        undo: &mut Undo,
        states: &mut Vec<HeadState>,
        records: &mut Vec<RecordAt>,
    ) -> Outcome {
        let mut heads = std::mem::take(&mut self.scratch);
        let mut stamps = std::mem::take(&mut self.stamps);
        heads.clear();
        stamps.clear();
        let mut taken = Vec::new();
        for (index, used) in plan.heads.iter().enumerate() {
            let mut head = self.newest.get(&used.key).copied().unwrap_or_default();
            let mut stamp = SequenceNumber::ZERO;
            if let HeadChange::Move { items, bytes, take, above } = &used.change {
                for parent in above {
                    assert!(usize::from(*parent) < index, "a head is above one that comes later");
                    head.number = head.number.max(heads[usize::from(*parent)].number);
                }
                head.version += 1;
                head.items += items;
                head.bytes += bytes;
                if *take {
                    head.number = head.number.next(now);
                    stamp = head.number;
                    taken.push(stamp);
                }
            }
            heads.push(head);
            stamps.push(stamp);
        }
        let mut numbers = Vec::with_capacity(plan.records.len());
        for record in &plan.records {
            let used = plan.heads.get(usize::from(record.head)).map(|used| &used.change);
            assert!(matches!(used, Some(HeadChange::Move { .. })), "a record is numbered by a head that does not move");
            let head = &mut heads[usize::from(record.head)];
            head.number = head.number.next(now);
            numbers.push(head.number);
            let length = record.payload.len() as u32;
            records.push(RecordAt { shard: record.shard, number: head.number, offset: 0, length });
        }
        for (used, head) in plan.heads.iter().zip(&heads) {
            let state = match used.change {
                HeadChange::Compare => continue,
                HeadChange::Move { .. } => Some(*head),
                HeadChange::Remove => None,
            };
            self.newest_time = self.newest_time.max(head.number.at());
            let before = match state {
                Some(head) => self.newest.insert(used.key, head),
                None => self.newest.remove(&used.key),
            };
            undo.heads.push((used.key, before));
            states.push((used.key, state));
        }
        for write in &mut plan.writes {
            debug_assert!(
                write.key.first() > Some(&crate::keyspace::prefix::ENGINE),
                "the engine's own keys are its own"
            );
            let Some(stamp) = write.stamp else { continue };
            write.value =
                write.value.take().map(|value| stamped(value, stamp.offset as usize, stamps[usize::from(stamp.head)]));
        }
        (self.scratch, self.stamps) = (heads, stamps);
        Outcome::Committed { taken, numbers }
    }

    /// Writes a group's frames and gives it a position and a place.
    fn frame(&mut self, group: &mut Group, now: Millis, synced: Position, part: Part) {
        group.position = Position(self.last.0 + 1);
        self.last = group.position;
        let mut bytes = self.buffer();
        let mut heads = group.heads.iter();
        let mut records = group.records.iter_mut();
        for plan in &group.plans {
            let changed = plan.heads.iter().filter(|used| used.change != HeadChange::Compare).count();
            let (states, writes) = if part == Part::Records { (0, &[][..]) } else { (changed, &plan.writes[..]) };
            let logged = if part == Part::State { &[][..] } else { &plan.records[..] };
            put_counts(&mut bytes, states, writes.len(), logged.len());
            heads.by_ref().take(states).for_each(|state| put_head(&mut bytes, state));
            writes.iter().for_each(|write| put_write(&mut bytes, write));
            for (record, at) in logged.iter().zip(records.by_ref()) {
                at.offset = (bytes.len() - GROUP_HEADER) as u64;
                put_record(&mut bytes, at.shard, at.number, &record.payload);
            }
        }
        let plans = group.plans.len() as u32;
        self.close_frame(group, bytes, GroupKind::Plans, plans, now, synced);
    }

    /// Puts the header before a payload and moves the tail behind the group; opens a segment where one is full.
    fn close_frame(
        &mut self,
        group: &mut Group,
        mut bytes: Vec<u8>,
        kind: GroupKind,
        plans: u32,
        now: Millis,
        synced: Position,
    ) {
        let length = bytes.len() - GROUP_HEADER;
        let size = (bytes.len() as u64).next_multiple_of(self.block);
        self.newest_time = self.newest_time.max(now);
        let mark = Millis(self.newest_time.0 + self.time_reserve_ms);
        let full = self.tail.offset > BLOCK && self.tail.offset + size > self.segment_bytes;
        let opens = (full || std::mem::take(&mut self.cut)).then(|| self.open_segment(mark));
        let seed = seed(self.store, self.tail.segment, self.generation);
        let synced = if opens.is_some() { synced.max(self.stated) } else { synced };
        let header = GroupHeader {
            kind,
            payload_checksum: payload_checksum(&bytes[GROUP_HEADER..], seed),
            previous: self.tail.checksum,
            position: group.position,
            length: u32::try_from(length).expect("a plan's size is bounded far below four gigabytes"),
            plans,
            generation: self.generation,
            time: now,
            mark,
            synced,
            offset: self.tail.offset,
        };
        let checksum = header.encode(&mut bytes, seed);
        bytes.resize(size as usize, 0);
        let offset = self.tail.offset;
        self.tail = End { offset: offset + size, position: group.position, checksum, ..self.tail };
        self.stated = self.stated.max(synced);
        for record in &mut group.records {
            record.offset += offset + GROUP_HEADER as u64;
        }
        group.mark = mark;
        group.frame = Some(Frame { bytes, kind, segment: self.tail.segment, offset, end: self.tail, opens });
    }

    /// The next segment: its header is written after all before it is synced, and states that.
    fn open_segment(&mut self, mark: Millis) -> SegmentHeader {
        let previous = self.tail;
        let id = previous.segment.next();
        self.tail = End { segment: id, offset: BLOCK, ..previous };
        self.stated = previous.position;
        self.opened = previous.position;
        SegmentHeader {
            store: self.store,
            id,
            block: self.block,
            generation: self.generation,
            mark,
            synced: previous.position,
            previous,
        }
    }

    fn buffer(&mut self) -> Vec<u8> {
        let mut bytes = self.buffers.pop().unwrap_or_default();
        bytes.clear();
        bytes.resize(GROUP_HEADER, 0);
        bytes
    }
}

fn stamped(value: Bytes, offset: usize, number: SequenceNumber) -> Bytes {
    let mut value = value.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    let place = value.get_mut(offset..offset + 8).expect("a stamp lies inside its value");
    place.copy_from_slice(&number.0.to_be_bytes());
    value.freeze()
}
