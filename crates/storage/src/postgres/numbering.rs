//! What a batch does, decided from the heads as they are: pure.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use headwater_types::{Millis, SequenceNumber, ShardUid};

use crate::contract::{Batch, Head, HeadChange, HeadKey, Outcome, Plan};

/// Everything that a batch changes, each head and key once.
#[derive(Default)]
pub(super) struct Decided {
    pub outcomes: Vec<Outcome>,
    /// As they are left; a removed one is all zeros.
    pub heads: BTreeMap<HeadKey, Head>,
    pub writes: BTreeMap<Bytes, Option<Bytes>>,
    pub records: Vec<(ShardUid, SequenceNumber, Bytes)>,
    /// Plans that are committed.
    pub plans: u64,
}

/// Compares and numbers, plan by plan. `heads` are all that the batch names, locked; an absent one is all zeros.
pub(super) fn decide(batch: &Batch, heads: &BTreeMap<HeadKey, Head>, now: Millis) -> Decided {
    let mut decided = Decided::default();
    // Heads that a fenced plan would have moved: what builds on them builds on nothing.
    let mut missing: BTreeSet<HeadKey> = BTreeSet::new();
    for plan in &batch.plans {
        let newest = |key: &HeadKey| decided.heads.get(key).or_else(|| heads.get(key)).copied().unwrap_or_default();
        let fenced: Vec<HeadKey> = plan
            .heads
            .iter()
            .filter(|used| missing.contains(&used.key) || newest(&used.key).version != used.expected)
            .map(|used| used.key)
            .collect();
        if fenced.is_empty() {
            let before = plan.heads.iter().map(|used| newest(&used.key)).collect();
            apply(&mut decided, plan, before, now);
        } else {
            let moved = plan.heads.iter().filter(|used| used.change != HeadChange::Compare);
            missing.extend(moved.map(|used| used.key));
            decided.outcomes.push(Outcome::Fenced { heads: fenced });
        }
    }
    decided
}

fn apply(decided: &mut Decided, plan: &Plan, mut heads: Vec<Head>, now: Millis) {
    let (mut taken, mut stamps) = (Vec::new(), BTreeMap::new());
    for (index, used) in plan.heads.iter().enumerate() {
        let HeadChange::Move { items, bytes, take, above } = &used.change else { continue };
        let parents = above.iter().filter_map(|parent| heads.get(usize::from(*parent)));
        let floor = parents.map(|parent| parent.number).max().unwrap_or_default();
        let Some(head) = heads.get_mut(index) else { continue };
        head.version += 1;
        head.items += items;
        head.bytes += bytes;
        head.number = head.number.max(floor);
        if *take {
            head.number = head.number.next(now);
            taken.push(head.number);
            stamps.insert(index as u16, head.number);
        }
    }
    let mut numbers = Vec::with_capacity(plan.records.len());
    for record in &plan.records {
        let head = heads.get_mut(usize::from(record.head)).expect("a record names a head of its plan");
        head.number = head.number.next(now);
        numbers.push(head.number);
        decided.records.push((record.shard, head.number, record.payload.clone()));
    }
    for (used, head) in plan.heads.iter().zip(heads) {
        match used.change {
            HeadChange::Compare => {}
            HeadChange::Move { .. } => drop(decided.heads.insert(used.key, head)),
            HeadChange::Remove => drop(decided.heads.insert(used.key, Head::default())),
        }
    }
    for write in &plan.writes {
        let value = write.value.clone().map(|value| match write.stamp {
            Some(stamp) => {
                let number = stamps.get(&stamp.head).expect("a stamp names a head that takes a number");
                stamped(value, stamp.offset as usize, *number)
            }
            None => value,
        });
        decided.writes.insert(write.key.clone(), value);
    }
    decided.plans += 1;
    decided.outcomes.push(Outcome::Committed { taken, numbers });
}

fn stamped(value: Bytes, offset: usize, number: SequenceNumber) -> Bytes {
    let mut value = BytesMut::from(value);
    let place = value.get_mut(offset..offset + 8).expect("a stamp lies inside its value");
    place.copy_from_slice(&number.0.to_be_bytes());
    value.freeze()
}
