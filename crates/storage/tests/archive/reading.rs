//! Readers meet runs and segments: snapshots stay as they are, pages go on across files, threads do not trip.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use headwater_storage::embedded::Settings;
use headwater_storage::files::faulty::Faulty;
use headwater_types::Runtime;
use headwater_types::runtime::tokio_runtime;

use super::store::{Promised, open, read, settings, simulate};

/// Goal: a held snapshot shows what it showed, below later horizons too, and the files that it needs stay until then.
#[test]
fn a_held_snapshot_reads_on_while_its_segments_are_replaced() {
    let mut archived = 0;
    for seed in 0..10 {
        archived += simulate(seed, async move |disk: Faulty, runtime: Runtime| {
            let settings = Settings { archive_one_in: Some(1), ..settings(&disk) };
            let (cell, _) = open(&settings, &runtime).await.unwrap();
            let mut promised = Promised::default();
            for at in 0..60 {
                match at % 3 {
                    0 => promised.quiet(&cell, &runtime, at % 2).await.unwrap(),
                    _ => promised.fast(&cell, &runtime, 3_000).await.unwrap(),
                }
            }
            let held = cell.snapshot();
            let before: Vec<_> = (0..2).map(|shard| read(&*held, shard).unwrap()).collect();
            promised.trim(&cell, 0, 6);
            promised.trim(&cell, 1, 3);
            for at in 0..60 {
                match at % 3 {
                    0 => promised.quiet(&cell, &runtime, at % 2).await.unwrap(),
                    _ => promised.fast(&cell, &runtime, 3_000).await.unwrap(),
                }
            }
            runtime.sleep(Duration::from_secs(1)).await;
            for shard in 0..2 {
                assert_eq!(read(&*held, shard).unwrap(), before[shard as usize], "the snapshot has changed");
                let now = read(&*cell.snapshot(), shard).unwrap();
                assert_eq!(now.len(), 20 - if shard == 0 { 6 } else { 3 });
            }
            let waiting = cell.stats();
            drop(held);
            runtime.sleep(Duration::from_secs(1)).await;
            for _ in 0..12 {
                promised.fast(&cell, &runtime, 3_000).await.unwrap();
            }
            runtime.sleep(Duration::from_secs(1)).await;
            promised.check(&cell).unwrap();
            let done = cell.stats();
            assert!(done.log_bytes_on_disk < waiting.log_bytes_on_disk, "{waiting:?}, then {done:?}");
            done.segments_archived
        });
    }
    println!("{archived} segments archived under snapshots");
    assert!(archived > 50);
}

/// Goal: on the real disk with real threads, readers never see an error, a gap or a change while everything is rewritten
/// and joined under them.
#[test]
fn readers_on_threads_see_no_gap_while_files_are_rewritten() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        reserve_bytes: Some(0),
        segment_bytes: 32 * 1024,
        rotate_one_in: Some(3),
        archive_one_in: Some(1),
        ..Settings::on_disk(folder.path().join("data"))
    };
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    let runtime = tokio_runtime::on(tokio.handle().clone());
    let reads = Arc::new(AtomicU64::new(0));
    let stats = tokio.block_on(async {
        let (cell, _) = open(&settings, &runtime).await.unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..3)
            .map(|shard| {
                let (cell, done, reads) = (cell.clone(), done.clone(), reads.clone());
                runtime.blocking(move || {
                    let mut seen = 0;
                    while !done.load(Ordering::Acquire) {
                        let snapshot = cell.snapshot();
                        let records = read(&*snapshot, shard).expect("the log is read");
                        for (at, record) in records.iter().enumerate() {
                            let text = format!("{shard} {at} ");
                            assert!(record.payload.starts_with(text.as_bytes()), "record {at} is missing or doubled");
                        }
                        assert!(records.len() >= seen, "records went away");
                        assert_eq!(read(&*snapshot, shard).expect("the log is read"), records);
                        seen = records.len();
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let mut promised = Promised::default();
        for at in 0..1_200 {
            match at % 2 {
                0 => promised.quiet(&cell, &runtime, at / 2 % 3).await.unwrap(),
                _ => promised.fast(&cell, &runtime, 3_000).await.unwrap(),
            }
        }
        done.store(true, Ordering::Release);
        for reader in readers {
            reader.await.expect("a reader ends well");
        }
        promised.check(&cell).unwrap();
        let stats = cell.stats();
        cell.close().await.unwrap();
        drop(cell);
        let (cell, recovered) = open(&settings, &runtime).await.unwrap();
        promised.check(&cell).unwrap();
        assert!(recovered.archive_runs > 0);
        stats
    });
    let reads = reads.load(Ordering::Relaxed);
    println!("{reads} whole readings beside {stats:?}");
    assert!(reads > 30 && stats.segments_archived > 30);
}

/// Goal: the same seed, the same run, archiving included.
#[test]
fn one_seed_one_schedule() {
    let trace = |seed| {
        let world = headwater_types::runtime::simulated::World::new(seed);
        let runtime = world.node(1);
        world.run(async move {
            let disk = Faulty::new();
            let settings = Settings { archive_one_in: Some(2), ..settings(&disk) };
            let (cell, _) = open(&settings, &runtime).await.unwrap();
            let mut promised = Promised::default();
            for at in 0..80 {
                promised.quiet(&cell, &runtime, at % 3).await.unwrap();
                promised.fast(&cell, &runtime, 2_000).await.unwrap();
            }
            assert!(cell.stats().segments_archived > 0);
        });
        world.trace()
    };
    assert_eq!(trace(5), trace(5));
    let _: fn(&Runtime) = |_| {};
}
