//! A workload whose every trace can be checked after a crash, and the ledger of what was promised.
//!
//! Each plan changes one item, its index entry and its partition's head and writes a record that says all of this; so
//! the whole key space must be the fold of the log, and a group is whole when its plans are all there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use headwater_types::{Runtime, SequenceNumber, ShardUid};

use crate::contract::{
    Batch, BatchId, Cell, CommitError, Direction, From, HeadChange, HeadUse, Outcome, PageLimit, Plan, Record,
    Snapshot, Write,
};
use crate::keyspace::{partition_head, prefix};

/// Keys of one partition.
const KEYS: u64 = 12;
/// Records of one page: small, so that pages join within and across segments.
const PAGE: PageLimit = PageLimit { records: 7, bytes: 20_000 };

/// A plan that was acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Acknowledged {
    /// Where its record is.
    pub shard: u64,
    /// The number it was told.
    pub number: u64,
    /// Its batch.
    pub batch: u128,
    /// Its place in the batch.
    pub index: u64,
}

impl Acknowledged {
    /// One line of text.
    pub fn to_line(self) -> String {
        format!("{} {} {:x} {}\n", self.shard, self.number, self.batch, self.index)
    }

    /// What [`Self::to_line`] wrote, without the line's end.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let mut next = || words.next();
        Some(Self {
            shard: next()?.parse().ok()?,
            number: next()?.parse().ok()?,
            batch: u128::from_str_radix(next()?, 16).ok()?,
            index: next()?.parse().ok()?,
        })
    }
}

/// One caller: it owns some partitions and knows their versions.
pub struct Driver {
    cell: Arc<dyn Cell>,
    runtime: Runtime,
    partitions: Range<u64>,
    versions: BTreeMap<u64, u64>,
}

impl Driver {
    /// A driver that goes on where the cell is.
    pub fn new(cell: Arc<dyn Cell>, runtime: Runtime, partitions: Range<u64>) -> Self {
        let snapshot = cell.snapshot();
        let version = |partition| {
            let head = snapshot.head(partition_head(partition));
            (partition, head.expect("heads are in memory").version)
        };
        let versions = partitions.clone().map(version).collect();
        Self { cell, runtime, partitions, versions }
    }

    /// Commits one or two batches, the second before the first is answered; those plans that were acknowledged.
    ///
    /// Errors: the first failure; what was acknowledged before it comes along.
    pub async fn step(&mut self) -> (Vec<Acknowledged>, Option<CommitError>) {
        let batches: Vec<_> = (0..1 + self.throw(2)).map(|_| self.batch()).collect();
        let called: Vec<_> = batches.into_iter().map(|batch| (batch.clone(), self.cell.commit(batch))).collect();
        let mut acknowledged = Vec::new();
        for (batch, commit) in called {
            match commit.await {
                Ok(outcomes) => acknowledged.extend(told(&batch, &outcomes)),
                Err(error) => return (acknowledged, Some(error)),
            }
        }
        (acknowledged, None)
    }

    fn throw(&self, sides: u64) -> u64 {
        self.runtime.random() % sides
    }

    fn batch(&mut self) -> Batch {
        let id = self.runtime.random_u128();
        let count = 1 + self.throw(3);
        let plans = (0..count).map(|index| self.plan(id, count, index)).collect();
        Batch { id: BatchId(id), plans }
    }

    fn plan(&mut self, batch: u128, count: u64, index: u64) -> Plan {
        let partition = self.partitions.start + self.throw(self.partitions.end - self.partitions.start);
        let version = self.versions.entry(partition).or_default();
        let expected = *version;
        *version += 1;
        let key = format!("{partition}.{}", self.throw(KEYS));
        let length = [10, 300, 2_000, 6_000][self.throw(4) as usize] + self.throw(100) as usize;
        let value = (self.throw(5) > 0).then(|| format!("{batch:x}.{index}.{}", "v".repeat(length)));
        let text = format!("{batch:x} {count} {index} {expected} {key} {}", value.as_deref().unwrap_or("-"));
        let write =
            |prefix: u8| Write { key: whole_key(prefix, &key), value: value.clone().map(Bytes::from), stamp: None };
        Plan {
            heads: vec![HeadUse {
                key: partition_head(partition),
                expected,
                change: HeadChange::Move { items: 1, bytes: length as i64, take: false, above: Vec::new() },
            }],
            writes: vec![write(prefix::ITEM), write(prefix::INDEX)],
            records: vec![Record { head: 0, shard: ShardUid(partition), payload: text.into() }],
        }
    }
}

fn told(batch: &Batch, outcomes: &[Outcome]) -> Vec<Acknowledged> {
    let mut acknowledged = Vec::new();
    for (index, (plan, outcome)) in batch.plans.iter().zip(outcomes).enumerate() {
        let Outcome::Committed { numbers, .. } = outcome else { panic!("a driver's plan is never fenced") };
        for (record, number) in plan.records.iter().zip(numbers) {
            let (shard, number) = (record.shard.0, number.0);
            acknowledged.push(Acknowledged { shard, number, batch: batch.id.0, index: index as u64 });
        }
    }
    acknowledged
}

fn whole_key(prefix: u8, key: &str) -> Bytes {
    let mut whole = vec![prefix];
    whole.extend_from_slice(key.as_bytes());
    whole.into()
}

/// What was promised to callers and readers.
#[derive(Clone, Default)]
pub struct Ledger {
    /// Plans that were acknowledged.
    pub acknowledged: BTreeSet<Acknowledged>,
    /// Records that a reader of the log saw.
    pub shown: BTreeMap<(u64, u64), Bytes>,
}

/// Every record of a store, by shard and number.
pub type Records = BTreeMap<(u64, u64), Bytes>;

impl Ledger {
    /// Notes what a reader of the log sees now.
    pub fn look(&mut self, snapshot: &dyn Snapshot, shards: Range<u64>) {
        for shard in shards {
            let last =
                self.shown.range((shard, 0)..=(shard, u64::MAX)).next_back().map_or(0, |((_, number), _)| *number);
            let from = From::After(SequenceNumber(last));
            let page = snapshot.read_log(ShardUid(shard), from, PAGE).unwrap_or_default();
            self.shown.extend(page.into_iter().map(|record| ((shard, record.number.0), record.payload)));
        }
    }

    /// Checks a store against the ledger; all its records, or what is wrong.
    pub fn check(&self, cell: &dyn Cell, shards: Range<u64>) -> Result<Records, String> {
        let snapshot = cell.snapshot();
        let mut records = Records::new();
        for shard in shards.clone() {
            records.extend(read_all(&*snapshot, shard)?);
        }
        let plans = fold(&*snapshot, &records, shards)?;
        for promised in &self.acknowledged {
            let found = plans.get(&(promised.batch, promised.index)).copied();
            if found != Some((promised.shard, promised.number)) {
                return Err(format!("an acknowledged plan is gone: {promised:?}, found {found:?}"));
            }
        }
        for (place, payload) in &self.shown {
            if records.get(place) != Some(payload) {
                return Err(format!("a record that was shown is gone: {place:?}"));
            }
        }
        Ok(records)
    }
}

fn read_all(snapshot: &dyn Snapshot, shard: u64) -> Result<Records, String> {
    let mut records = Records::new();
    let mut last = SequenceNumber::ZERO;
    loop {
        let page = snapshot.read_log(ShardUid(shard), From::After(last), PAGE).map_err(|error| error.to_string())?;
        if page.is_empty() {
            return Ok(records);
        }
        for record in page {
            if record.number <= last {
                return Err(format!("numbers of shard {shard} do not rise: {last:?} then {:?}", record.number));
            }
            last = record.number;
            records.insert((shard, last.0), record.payload);
        }
    }
}

/// Shard and number of a plan's record, by its batch and its place there.
type Places = BTreeMap<(u128, u64), (u64, u64)>;

/// The state must be the fold of the log; every plan's place by batch and index.
fn fold(snapshot: &dyn Snapshot, records: &Records, shards: Range<u64>) -> Result<Places, String> {
    let mut items: BTreeMap<String, String> = BTreeMap::new();
    let mut plans = BTreeMap::new();
    let mut counts: BTreeMap<u128, (u64, u64)> = BTreeMap::new();
    let mut versions: BTreeMap<u64, (u64, u64)> = shards.map(|shard| (shard, (0, 0))).collect();
    for ((shard, number), payload) in records {
        let text = String::from_utf8_lossy(payload);
        let words: Vec<&str> = text.split(' ').collect();
        let [batch, count, index, expected, key, value] = words[..] else {
            return Err(format!("a record is not what was written: {text}"));
        };
        let batch = u128::from_str_radix(batch, 16).map_err(|error| error.to_string())?;
        let (version, last) = versions.entry(*shard).or_default();
        if expected.parse() != Ok(*version) {
            return Err(format!("a record is missing or doubled in shard {shard}: version {expected} after {version}"));
        }
        (*version, *last) = (*version + 1, *number);
        plans.insert((batch, index.parse().unwrap_or(u64::MAX)), (*shard, *number));
        let (seen, wanted) = counts.entry(batch).or_default();
        (*seen, *wanted) = (*seen + 1, count.parse().unwrap_or(u64::MAX));
        match value {
            "-" => items.remove(key),
            value => items.insert(key.to_owned(), value.to_owned()),
        };
    }
    if let Some((batch, (seen, wanted))) = counts.iter().find(|(_, (seen, wanted))| seen != wanted) {
        return Err(format!("a group is torn: {seen} of {wanted} plans of batch {batch:x}"));
    }
    for (shard, (version, number)) in versions {
        let head = snapshot.head(partition_head(shard)).map_err(|error| error.to_string())?;
        if (head.version, head.number.0, head.items) != (version, number, version as i64) {
            return Err(format!("head {shard} is {head:?}, its log says version {version}, number {number}"));
        }
    }
    for prefix in [prefix::ITEM, prefix::INDEX] {
        let found = scan(snapshot, prefix)?;
        if found != items {
            let differs = found.iter().find(|(key, value)| items.get(*key) != Some(value)).map(|(key, _)| key);
            let missing = items.keys().find(|key| !found.contains_key(*key));
            return Err(format!(
                "keys of prefix {prefix} are not the fold of the log: {differs:?} differs, {missing:?} is missing"
            ));
        }
    }
    Ok(plans)
}

fn scan(snapshot: &dyn Snapshot, prefix: u8) -> Result<BTreeMap<String, String>, String> {
    let mut found = BTreeMap::new();
    for entry in snapshot.scan(&[prefix], &[prefix + 1], Direction::Forward) {
        let (key, value) = entry.map_err(|error| error.to_string())?;
        let key = String::from_utf8_lossy(key.get(1..).unwrap_or_default()).into_owned();
        found.insert(key, String::from_utf8_lossy(&value).into_owned());
    }
    Ok(found)
}
