//! How much room the log takes: a quiet stream must not hold what a fast table without one has written.

use std::sync::Arc;
use std::time::Duration;

use headwater_storage::contract::{Cell, Horizon, Stats};
use headwater_storage::embedded::{self, Settings};
use headwater_storage::files::Files;
use headwater_storage::files::faulty::Faulty;
use headwater_storage::files::memory::Memory;
use headwater_types::{Clock, Millis, Runtime, SequenceNumber, ShardUid};

use super::store::{Promised, bytes_in, open, settings, simulate};

const DAY: Duration = Duration::from_secs(24 * 3600);
const MINUTES: Duration = Duration::from_secs(20 * 60);
const SEGMENT: u64 = 64 * 1024;
const RECORD_HEADER: u64 = 24;

/// Three days in steps of twenty minutes: three records in each of two quiet shards, forty changes without a record;
/// trimmed after a day. The bytes of records of the last day.
async fn three_days(cell: &Arc<dyn Cell>, clock: &Clock, runtime: &Runtime, mut look: impl FnMut(u64)) -> u64 {
    let mut promised = Promised { more: 5_000, ..Promised::default() };
    let mut wanted = 0;
    for step in 0..216u64 {
        clock.advance(MINUTES);
        for at in 0..46 {
            match at % 23 {
                0 | 7 | 15 => promised.quiet(cell, runtime, at / 23).await.unwrap(),
                _ => promised.fast(cell, runtime, 3_000).await.unwrap(),
            }
        }
        let below = SequenceNumber::floor(Millis(clock.store().0 - DAY.as_millis() as i64));
        cell.trim(&[0, 1].map(|shard| Horizon { shard: ShardUid(shard), below })).unwrap();
        runtime.sleep(Duration::from_millis(50)).await;
        look(step);
    }
    promised.quiet.values_mut().for_each(|quiet| {
        quiet.below = SequenceNumber::floor(Millis(clock.store().0 - DAY.as_millis() as i64));
    });
    promised.check(cell).unwrap();
    for shard in 0..2 {
        let records = super::store::read(&*cell.snapshot(), shard).unwrap();
        assert!((210..=219).contains(&records.len()), "{} records of the last day", records.len());
        wanted += records.iter().map(|record| record.payload.len() as u64 + RECORD_HEADER).sum::<u64>();
    }
    wanted
}

fn soak(archive_below_percent: u64) -> (u64, u64, Stats) {
    simulate(11, async move |disk: Faulty, runtime: Runtime| {
        let clock = Clock::new(runtime.clone(), Millis::default());
        let settings = Settings {
            archive_below_percent,
            segment_bytes: SEGMENT,
            memtable_bytes: Some(48 * 1024),
            rotate_one_in: None,
            ..settings(&disk)
        };
        let (cell, _) = embedded::open(settings, runtime.clone(), clock.clone()).await.unwrap();
        let (mut highest, mut runs) = (0, 0);
        let wanted = three_days(&cell, &clock, &runtime, |step| {
            if step > 72 {
                highest = highest.max(bytes_in(&disk, "data/log") + bytes_in(&disk, "data/archive"));
                runs = runs.max(cell.stats().archive_runs);
            }
        })
        .await;
        println!(
            "{archive_below_percent} %: at most {highest} bytes on the third and second day, {wanted} wanted, at most {runs} runs"
        );
        assert!(runs <= 12 + 2 * wanted / SEGMENT, "the runs stay few: {runs}");
        (highest, wanted, cell.stats())
    })
}

/// Goal: from the second day on the log never takes more than 1.3 times what is wanted and what cannot be given back yet:
/// the segment that grows, the segments that the index has not flushed (up to two parts of 48 KiB, with padding), and a
/// quarter of a segment that is not worth a rewriting.
#[test]
fn a_quiet_stream_beside_a_fast_table_holds_its_own_bytes_only() {
    let (highest, wanted, stats) = soak(50);
    let slack = 4 * SEGMENT + SEGMENT / 4;
    println!("{stats:?}");
    assert!(highest <= wanted * 13 / 10 + slack, "{highest} bytes for {wanted} wanted and {slack} that cannot go yet");
    assert!(stats.segments_archived > 50 && stats.archive_runs > 0 && stats.archive_bytes > wanted / 2);
    // Without archive runs the quiet records hold a day of the fast table.
    let (held, _, _) = soak(0);
    assert!(held > 3 * highest, "{held} bytes without archive runs, {highest} with them");
}

/// Goal: in memory too, and also where nothing is ever trimmed.
#[test]
fn memory_of_unwanted_frames_is_given_back() {
    let highest = simulate(12, async |_: Faulty, runtime: Runtime| {
        let clock = Clock::new(runtime.clone(), Millis::default());
        let files = Arc::new(Memory::default());
        let settings = Settings { files: files.clone(), segment_bytes: SEGMENT, ..Settings::in_memory() };
        let (cell, _) = embedded::open(settings, runtime.clone(), clock.clone()).await.unwrap();
        let held = || -> u64 {
            let folders = ["memory/log", "memory/archive"].map(std::path::PathBuf::from);
            let bytes = |folder: &std::path::Path| -> u64 {
                let names = files.list(folder).unwrap();
                names.iter().map(|name| files.open(&folder.join(name)).unwrap().len().unwrap()).sum()
            };
            folders.iter().map(|folder| bytes(folder)).sum()
        };
        // Before anything is trimmed, a fast table alone keeps no more than the segment that grows and the one before.
        let mut promised = Promised::default();
        for _ in 0..300 {
            promised.fast(&cell, &runtime, 3_000).await.unwrap();
            assert!(held() <= 2 * SEGMENT + 8192, "{} bytes", held());
        }
        cell.close().await.unwrap();
        drop(cell);
        let files = Arc::new(Memory::default());
        let settings = Settings { files: files.clone(), segment_bytes: SEGMENT, ..Settings::in_memory() };
        let (cell, _) = embedded::open(settings, runtime.clone(), clock.clone()).await.unwrap();
        let mut highest = 0;
        let wanted =
            three_days(&cell, &clock, &runtime, |_| highest = highest.max(cell.stats().log_bytes_on_disk)).await;
        println!("in memory: at most {highest} bytes of log, {wanted} wanted, {:?}", cell.stats());
        assert!(highest <= wanted * 13 / 10 + 2 * SEGMENT + SEGMENT / 4, "{highest} bytes for {wanted}");
        highest
    });
    assert!(highest > 0);
}

/// Goal: runs whose records are all trimmed go, the files too.
#[test]
fn runs_go_with_their_last_record() {
    simulate(13, async |disk: Faulty, runtime: Runtime| {
        let (cell, _) = open(&settings(&disk), &runtime).await.unwrap();
        let mut promised = Promised::default();
        for at in 0..120 {
            match at % 5 {
                0 => promised.quiet(&cell, &runtime, 1).await.unwrap(),
                _ => promised.fast(&cell, &runtime, 3_000).await.unwrap(),
            }
        }
        runtime.sleep(Duration::from_secs(1)).await;
        assert!(cell.stats().archive_runs > 0, "{:?}", cell.stats());
        let runs = || disk.paths().iter().filter(|path| path.extension().is_some_and(|kind| kind == "run")).count();
        assert_eq!(runs() as u64, cell.stats().archive_runs);
        cell.trim(&[Horizon { shard: ShardUid(1), below: SequenceNumber(u64::MAX) }]).unwrap();
        for _ in 0..20 {
            promised.fast(&cell, &runtime, 3_000).await.unwrap();
        }
        runtime.sleep(Duration::from_secs(1)).await;
        assert_eq!((runs(), cell.stats().archive_runs), (0, 0), "{:?}", cell.stats());
        cell.close().await.unwrap();
        drop(cell);
        disk.kill();
        let (cell, recovered) = open(&settings(&disk), &runtime).await.unwrap();
        assert_eq!(recovered.archive_runs, 0);
        assert!(super::store::read(&*cell.snapshot(), 1).unwrap().is_empty());
    });
}
