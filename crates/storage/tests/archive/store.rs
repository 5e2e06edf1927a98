//! A store with a few quiet shards beside a fast key range without records, and what it must hold.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use headwater_storage::Error;
use headwater_storage::contract::{
    Batch, BatchId, Cell, CommitError, From, HeadChange, HeadUse, Horizon, LogRecord, Outcome, PageLimit, Plan, Record,
    Snapshot, Write,
};
use headwater_storage::embedded::{self, IndexKind, Recovered, Settings};
use headwater_storage::files::faulty::Faulty;
use headwater_storage::keyspace::partition_head;
use headwater_types::runtime::simulated::World;
use headwater_types::{Clock, Millis, Runtime, SequenceNumber, ShardUid};

/// The key range whose changes have no records.
pub const FAST: u64 = 99;
/// Pages join within and across files.
const PAGE: PageLimit = PageLimit { records: 5, bytes: 3_000 };

pub fn settings(disk: &Faulty) -> Settings {
    Settings {
        reserve_bytes: Some(0),
        segment_bytes: 24 * 1024,
        rotate_one_in: Some(4),
        ..Settings::on(Arc::new(disk.clone()), "data", IndexKind::OrderedMap)
    }
}

pub async fn open(settings: &Settings, runtime: &Runtime) -> Result<(Arc<dyn Cell>, Recovered), Error> {
    let clock = Clock::new(runtime.clone(), Millis::default());
    embedded::open(settings.clone(), runtime.clone(), clock).await
}

/// Runs `main` on a simulated node over a new disk.
pub fn simulate<T: Send + 'static, F>(seed: u64, main: impl FnOnce(Faulty, Runtime) -> F) -> T
where
    F: Future<Output = T> + Send + 'static,
{
    let world = World::new(seed);
    let runtime = world.node(1);
    let result = world.run(main(Faulty::new(), runtime));
    world.end();
    result
}

/// Bytes of files below one folder of the store.
pub fn bytes_in(disk: &Faulty, folder: &str) -> u64 {
    let paths: Vec<PathBuf> = disk.paths().into_iter().filter(|path| path.starts_with(folder)).collect();
    paths.iter().map(|path| disk.content(path).len() as u64).sum()
}

/// What a quiet shard must hold: its acknowledged records by version.
#[derive(Clone, Default, Debug)]
pub struct Quiet {
    pub numbers: Vec<SequenceNumber>,
    /// The highest horizon that was stated.
    pub below: SequenceNumber,
}

/// What was promised.
#[derive(Clone, Default, Debug)]
pub struct Promised {
    pub quiet: BTreeMap<u64, Quiet>,
    pub fast: u64,
    /// Bytes that every record has beside the usual ones.
    pub more: usize,
}

fn payload(shard: u64, version: u64, more: usize) -> String {
    let length = more + [20, 150, 700][(version % 3) as usize];
    format!("{shard} {version} {}", "r".repeat(length))
}

fn plan(head: u64, expected: u64, value: Vec<u8>, records: Vec<Record>) -> Plan {
    let change = HeadChange::Move { items: 1, bytes: 1, take: false, above: Vec::new() };
    Plan {
        heads: vec![HeadUse { key: partition_head(head), expected, change }],
        writes: vec![Write {
            key: format!("\u{10}{head}.{}", expected % 7).into(),
            value: Some(value.into()),
            stamp: None,
        }],
        records,
    }
}

impl Promised {
    async fn commit(cell: &Arc<dyn Cell>, runtime: &Runtime, plan: Plan) -> Result<Vec<SequenceNumber>, CommitError> {
        let batch = Batch { id: BatchId(runtime.random_u128()), plans: vec![plan] };
        match &cell.commit(batch).await?[..] {
            [Outcome::Committed { numbers, .. }] => Ok(numbers.clone()),
            other => panic!("{other:?}"),
        }
    }

    /// One record in a quiet shard.
    pub async fn quiet(&mut self, cell: &Arc<dyn Cell>, runtime: &Runtime, shard: u64) -> Result<(), CommitError> {
        let quiet = self.quiet.entry(shard).or_default();
        let version = quiet.numbers.len() as u64;
        let text = Bytes::from(payload(shard, version, self.more));
        let record = Record { head: 0, shard: ShardUid(shard), payload: text.clone() };
        let numbers = Self::commit(cell, runtime, plan(shard, version, text.to_vec(), vec![record])).await?;
        quiet.numbers.extend(numbers);
        Ok(())
    }

    /// One change without a record.
    pub async fn fast(&mut self, cell: &Arc<dyn Cell>, runtime: &Runtime, bytes: usize) -> Result<(), CommitError> {
        Self::commit(cell, runtime, plan(FAST, self.fast, vec![b'f'; bytes], Vec::new())).await?;
        self.fast += 1;
        Ok(())
    }

    /// States that records before a version are not wanted.
    pub fn trim(&mut self, cell: &Arc<dyn Cell>, shard: u64, version: usize) {
        let quiet = self.quiet.entry(shard).or_default();
        let Some(below) = quiet.numbers.get(version).copied() else { return };
        // Noted first: from the call on, the records may be gone.
        quiet.below = below.max(quiet.below);
        if let Err(error) = cell.trim(&[Horizon { shard: ShardUid(shard), below }]) {
            assert!(error.kind == headwater_storage::Kind::Closed, "{error}");
        }
    }

    /// Checks a store: of every shard the acknowledged records from the horizon on, perhaps some older ones, perhaps the
    /// one that was under way, without a gap, each once, in order. What is there counts as acknowledged from now on.
    pub fn check(&mut self, cell: &Arc<dyn Cell>) -> Result<(), String> {
        let snapshot = cell.snapshot();
        let fast = snapshot.head(partition_head(FAST)).map_err(|error| error.to_string())?.version;
        if fast != self.fast && fast != self.fast + 1 {
            return Err(format!("{} changes without a record, {fast} are there", self.fast));
        }
        self.fast = fast;
        for (shard, quiet) in &mut self.quiet {
            let found = read(&*snapshot, *shard)?;
            let head = snapshot.head(partition_head(*shard)).map_err(|error| error.to_string())?;
            let (version, acknowledged) = (head.version as usize, quiet.numbers.len());
            if version != acknowledged && version != acknowledged + 1 {
                return Err(format!("shard {shard}: {acknowledged} acknowledged, version {version}"));
            }
            let first = version.checked_sub(found.len()).ok_or(format!("shard {shard}: more records than changes"))?;
            for (at, record) in found.iter().enumerate() {
                let expected = first + at;
                if record.payload != payload(*shard, expected as u64, self.more) {
                    let text: String = String::from_utf8_lossy(&record.payload).chars().take(20).collect();
                    return Err(format!("shard {shard}: record {expected} of {version} is missing or doubled: {text}"));
                }
                if quiet.numbers.get(expected).is_some_and(|number| *number != record.number) {
                    return Err(format!("shard {shard}: record {expected} bears another number"));
                }
            }
            if let Some(lost) = quiet.numbers[..first.min(acknowledged)].iter().find(|number| **number >= quiet.below) {
                return Err(format!("shard {shard}: record {lost:?} is gone, below {:?} only may go", quiet.below));
            }
            if version > acknowledged {
                quiet.numbers.push(found.last().map(|record| record.number).ok_or("a record is missing at the end")?);
            }
        }
        Ok(())
    }
}

/// All records of a shard in a snapshot, page by page.
pub fn read(snapshot: &dyn Snapshot, shard: u64) -> Result<Vec<LogRecord>, String> {
    let mut records: Vec<LogRecord> = Vec::new();
    loop {
        let last = records.last().map_or(SequenceNumber::ZERO, |record| record.number);
        let page = snapshot.read_log(ShardUid(shard), From::After(last), PAGE).map_err(|error| error.to_string())?;
        if page.is_empty() {
            return Ok(records);
        }
        let bytes: usize = page.iter().map(|record| record.payload.len()).sum();
        if page.len() > PAGE.records || (page.len() > 1 && bytes > PAGE.bytes) {
            return Err(format!("a page of {} records and {bytes} bytes is larger than asked for", page.len()));
        }
        if !page.iter().map(|record| record.number).is_sorted_by(|a, b| a < b) || page[0].number <= last {
            return Err(format!("numbers of shard {shard} do not rise"));
        }
        records.extend(page);
    }
}
