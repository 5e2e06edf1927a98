//! A year of store time over data streams of different retentions on one disk, with power losses between the steps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_catalog::DataStreamDefinition;
use headwater_storage::contract::{Cell, Stats};
use headwater_storage::embedded::{self, IndexKind};
use headwater_storage::files::faulty::{Faulty, Survival};
use headwater_types::runtime::simulated::World;
use headwater_types::{Clock, HashKey, Millis, Runtime, SequenceNumber, StreamUid, TableId};

use super::checks::read_stream;
use super::commands::{Just, scope};
use super::harness::quiet;
use crate::{Append, Change, Defined, Definition, Log};

const DAY: Duration = Duration::from_secs(24 * 3_600);
const SEGMENT: u64 = 24 * 1_024;
const RECORD_BYTES: usize = 400;

struct Make(&'static str, i64);

impl Definition for Make {
    type Answer = (TableId, StreamUid);

    fn decide(&mut self, _catalog: &headwater_catalog::Snapshot, _now: Millis) -> Defined<Self::Answer> {
        let stream = DataStreamDefinition { retention_hours: self.1, ..DataStreamDefinition::new(scope(), self.0) };
        Defined::Change(vec![Change::CreateDataStream { stream: Box::new(stream), shards: 2 }])
    }

    fn answer(&mut self, catalog: &headwater_catalog::Snapshot) -> Self::Answer {
        let stream = catalog.data_stream(&scope(), self.0).expect("just made");
        (stream.id, stream.uid)
    }
}

/// A stream and all that was acknowledged of it.
struct Held {
    id: TableId,
    uid: StreamUid,
    hours: i64,
    /// What was appended, by its own count, with the number it was given.
    records: BTreeMap<u64, SequenceNumber>,
}

impl Held {
    async fn make(log: &Log, name: &'static str, hours: i64) -> Self {
        let (id, uid) = log.define(Make(name, hours)).await.expect("made");
        Self { id, uid, hours, records: BTreeMap::new() }
    }

    async fn append(&mut self, log: &Log, from: u64, count: u64) {
        let record = |at: u64| {
            let mut payload = vec![b'.'; RECORD_BYTES];
            payload[..8].copy_from_slice(&at.to_be_bytes());
            let hash = HashKey(u128::from(at.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64);
            Append { hash, payload: Bytes::from(payload) }
        };
        let records = (from..from + count).map(record).collect();
        let appended = log.append(self.id, records).await.expect("appended");
        self.records.extend((from..).zip(appended.into_iter().map(|appended| appended.number)));
    }

    async fn retain_for(&mut self, log: &Log, hours: i64) {
        let catalog = log.catalog().expect("known");
        let stream = (**catalog.data_stream_by_id(self.id).expect("there")).clone();
        // What is hidden now stays hidden, whatever the retention will be.
        self.forget(log);
        let stream = Box::new(DataStreamDefinition { retention_hours: hours, ..stream });
        log.define(Just(vec![Change::UpdateDataStream { stream }])).await.expect("changed");
        self.hours = hours;
    }

    /// Drops from what is expected what the retention has ended.
    fn forget(&mut self, log: &Log) {
        let horizon = log.clock().store().0 - self.hours * 3_600_000;
        self.records.retain(|_, number| number.at().0 >= horizon);
    }

    /// The stream shows what its retention allows, all of it and nothing else; how many records that are.
    fn check(&mut self, log: &Log) -> usize {
        // Read between two looks at the clock: store time does not stand still.
        let before = log.clock().store().0;
        let mut found = BTreeMap::new();
        for (_, records) in read_stream(log, self.uid).into_values() {
            for record in records {
                let at = u64::from_be_bytes(record.payload[..8].try_into().expect("eight bytes"));
                assert_eq!(found.insert(at, record.number), None, "{at} is there twice");
            }
        }
        let after = log.clock().store().0;
        let life = self.hours * 3_600_000;
        for (at, number) in &self.records {
            if number.at().0 >= after - life {
                assert_eq!(found.get(at), Some(number), "{at} is missing: {} h", self.hours);
            }
        }
        for (at, number) in &found {
            assert!(number.at().0 >= before - life, "{at} is shown after its retention");
            assert_eq!(self.records.get(at), Some(number), "{at} was never acknowledged here, or hidden before");
        }
        self.forget(log);
        found.len()
    }
}

/// A node over a disk; each start is a node of its own.
struct Machine {
    world: World,
    disk: Faulty,
    node: u64,
}

impl Machine {
    async fn start(&mut self) -> (Arc<dyn Cell>, Arc<Log>, Runtime) {
        self.node += 1;
        let runtime = self.world.node(self.node);
        let clock = Clock::new(runtime.clone(), Millis::default());
        let settings = embedded::Settings {
            reserve_bytes: Some(0),
            segment_bytes: SEGMENT,
            rotate_one_in: Some(4),
            ..embedded::Settings::on(Arc::new(self.disk.clone()), "data", IndexKind::OrderedMap)
        };
        let (cell, _) = embedded::open(settings, runtime.clone(), clock.clone()).await.expect("the store opens");
        let log = Log::open(cell.clone(), runtime.clone(), clock, quiet()).await.expect("the log opens");
        (cell, log, runtime)
    }

    fn fail(&mut self, survival: Survival) {
        self.world.kill(self.node);
        self.disk.crash(survival);
    }
}

#[derive(Default, Debug)]
struct Totals {
    days: u64,
    crashes: u64,
    appended: u64,
    looked_at: usize,
    archived: u64,
    most_bytes: u64,
    written_bytes: u64,
}

impl Totals {
    fn take(&mut self, stats: &Stats) {
        self.archived += stats.segments_archived;
        self.written_bytes += stats.log_bytes_written;
        self.most_bytes = self.most_bytes.max(stats.log_bytes_on_disk);
    }
}

async fn year(world: World, seed: u64) -> Totals {
    let dice = world.node(9_999);
    let mut machine = Machine { world, disk: Faulty::new(), node: 0 };
    let (mut cell, mut log, mut runtime) = machine.start().await;
    let mut streams =
        [Held::make(&log, "day", 24).await, Held::make(&log, "week", 168).await, Held::make(&log, "year", 8_760).await];
    let mut totals = Totals::default();
    for step in 0..200 {
        for (stream, count) in streams.iter_mut().zip([12, 3, 1]) {
            stream.append(&log, totals.appended, count).await;
            totals.appended += count;
        }
        match step {
            // Raised late, lowered, raised again: what was hidden does not come back.
            60 => streams[0].retain_for(&log, 8_760).await,
            90 => streams[0].retain_for(&log, 24).await,
            120 => streams[2].retain_for(&log, 24).await,
            121 => streams[2].retain_for(&log, 8_760).await,
            _ => {}
        }
        if step % 40 == 20 {
            let mut shards = read_stream(&log, streams[1].uid).into_values().map(|(shard, _)| shard);
            let open = shards.rfind(|shard| shard.ending.is_none()).expect("an open shard");
            let at = open.hash_range.0 + (open.hash_range.1 - open.hash_range.0) / 2 + 1;
            let change = Change::SplitShard { id: streams[1].id, shard: open.uid, at };
            log.define(Just(vec![change])).await.expect("split");
        }
        let days = 1 + dice.random() % 3;
        log.advance_clock(DAY * days as u32).await.expect("moved");
        totals.days += days;
        // The power fails while trimming and archiving are under way, or a little after.
        let retaining = log.clone();
        drop(runtime.spawn(async move { drop(retaining.retain().await) }));
        dice.sleep(Duration::from_micros(dice.random() % 20_000)).await;
        if dice.random().is_multiple_of(3) {
            totals.take(&cell.stats());
            totals.crashes += 1;
            drop((cell, log, runtime));
            let survivals = [Survival::Nothing, Survival::Everything, Survival::Torn(seed * 1_000 + step)];
            machine.fail(survivals[(dice.random() % 3) as usize]);
            (cell, log, runtime) = machine.start().await;
        }
        totals.looked_at += streams.iter_mut().map(|stream| stream.check(&log)).sum::<usize>();
    }
    totals.take(&cell.stats());
    cell.close().await.expect("closed");
    totals
}

#[test]
fn a_year_passes_over_days_weeks_and_years_of_retention() {
    for seed in 1..=4 {
        let world = World::new(seed);
        world.limit_steps(50_000_000);
        let totals = world.run(year(world.clone(), seed));
        world.end();
        println!("seed {seed}: {totals:?}");
        assert!(totals.days > 300 && totals.crashes > 30 && totals.appended > 3_000 && totals.looked_at > 10_000);
        assert!(totals.archived > 0, "segments that are mostly unwanted are rewritten");
        assert!(totals.most_bytes < totals.written_bytes / 2, "what is over is given back: {totals:?}");
    }
}
