//! Copies of a store that is written to: whole, at one position, durable, and independent of the original.
//!
//! Method: the ledger's drivers write while copies are made. A copy must open, after the power failed right behind its
//! answer, to a state that is the fold of its log (heads, items and index entries at one position), holds all that was
//! acknowledged before the call, and of each driver's steps a prefix, though they span shards. Then copy and original are
//! both written to and both checked, since they share files.
#![allow(clippy::unwrap_used, reason = "a test may end here")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use headwater_storage::contract::{Cell, Copied, Horizon, Target};
use headwater_storage::embedded::{self, IndexKind, Settings};
use headwater_storage::files::Files;
use headwater_storage::files::faulty::{Faults, Faulty, Survival};
use headwater_storage::files::memory::Memory;
use headwater_storage::ledger::{Acknowledged, Driver, Ledger, Records};
use headwater_storage::{Error, Kind};
use headwater_types::runtime::simulated::World;
use headwater_types::runtime::tokio_runtime;
use headwater_types::{BoxFuture, Clock, Millis, Position, Runtime, SequenceNumber, ShardUid};
use parking_lot::Mutex;

const SHARDS: u64 = 6;
const DRIVERS: u64 = 3;

async fn open(settings: Settings, runtime: &Runtime) -> Result<Arc<dyn Cell>, Error> {
    let clock = Clock::new(runtime.clone(), Millis::default());
    Ok(embedded::open(settings, runtime.clone(), clock).await?.0)
}

fn on_faulty(disk: &Faulty, directory: &str) -> Settings {
    Settings {
        reserve_bytes: Some(0),
        segment_bytes: 40 * 1024,
        rotate_one_in: Some(5),
        archive_one_in: Some(2),
        ..Settings::on(Arc::new(disk.clone()), directory, IndexKind::OrderedMap)
    }
}

/// Each driver's steps, in order, with what was acknowledged of them.
type Steps = Arc<Mutex<Vec<Vec<Vec<Acknowledged>>>>>;

fn ledger(steps: &Steps) -> Ledger {
    let acknowledged = steps.lock().iter().flatten().flatten().copied().collect();
    Ledger { acknowledged, ..Ledger::default() }
}

/// Drivers that write until they are done, or fail.
fn drive(cell: &Arc<dyn Cell>, runtime: &Runtime, count: u64, pause_ms: u64) -> (Steps, Vec<BoxFuture<'static, ()>>) {
    let steps: Steps = Arc::new(Mutex::new(vec![Vec::new(); DRIVERS as usize]));
    let drivers = (0..DRIVERS).map(|index| {
        let partitions = index * SHARDS / DRIVERS..(index + 1) * SHARDS / DRIVERS;
        let mut driver = Driver::new(cell.clone(), runtime.clone(), partitions);
        let (runtime, steps) = (runtime.clone(), steps.clone());
        let task = runtime.clone().spawn(async move {
            for _ in 0..count {
                let (acknowledged, error) = driver.step().await;
                steps.lock()[index as usize].push(acknowledged);
                if error.is_some() {
                    return;
                }
                runtime.sleep(Duration::from_millis(runtime.random() % pause_ms.max(1))).await;
            }
        });
        Box::pin(async move { task.await.expect("a driver ends") }) as BoxFuture<'static, ()>
    });
    let drivers = drivers.collect();
    (steps, drivers)
}

/// A copy is checked against what was acknowledged before it, and against all that its original ever held.
fn check_copy(cell: &dyn Cell, before: &Ledger, steps: &Steps, history: &Records) -> Result<usize, String> {
    let records = before.check(cell, 0..SHARDS)?;
    for shard in 0..SHARDS {
        let of = |records: &Records| -> Vec<_> {
            records.range((shard, 0)..=(shard, u64::MAX)).map(|(place, payload)| (*place, payload.clone())).collect()
        };
        let (found, all) = (of(&records), of(history));
        if all.get(..found.len()) != Some(&found[..]) {
            return Err(format!("shard {shard} of the copy is no prefix of the original's"));
        }
    }
    for (driver, steps) in steps.lock().iter().enumerate() {
        let holds = |step: &Vec<Acknowledged>| step.iter().all(|each| records.contains_key(&(each.shard, each.number)));
        let held: Vec<bool> = steps.iter().filter(|step| !step.is_empty()).map(holds).collect();
        let first_missing = held.iter().position(|held| !held).unwrap_or(held.len());
        // A step of two batches may be cut in half, but nothing after it is there.
        if held[first_missing..].iter().any(|held| *held) {
            return Err(format!("driver {driver}: a step is missing and a later one is there"));
        }
    }
    Ok(records.len())
}

fn history(cell: &dyn Cell) -> Records {
    Ledger::default().check(cell, 0..SHARDS).expect("the original is sound")
}

#[derive(Default, Debug)]
struct Totals {
    copies: u64,
    links: u64,
    runs: usize,
    records: usize,
    later: usize,
}

/// One store, four copies while it is written to.
fn copies_of(seed: u64, totals: &Arc<Mutex<Totals>>) {
    let world = World::new(seed);
    let (runtime, counted) = (world.node(1), totals.clone());
    world.run(async move {
        let disk = Faulty::new();
        // Half of them write and flush without a pause: a flush may come between any two steps of a copy.
        let (rotate_one_in, pause_ms) = if seed.is_multiple_of(2) { (Some(5), 12) } else { (Some(1), 2) };
        let settings = Settings { rotate_one_in, ..on_faulty(&disk, "data") };
        let cell = open(settings, &runtime).await.unwrap();
        let (steps, drivers) = drive(&cell, &runtime, if seed.is_multiple_of(2) { 30 } else { 120 }, pause_ms);
        let mut made = Vec::new();
        for number in 0..4 {
            runtime.sleep(Duration::from_millis(runtime.random() % 90)).await;
            let before = ledger(&steps);
            let name = format!("copy{number}");
            let copied = cell.copy_to(Target::Same(name.clone().into())).await.unwrap();
            let cut_off = disk.fork();
            cut_off.crash(Survival::Nothing);
            made.push((name, before, copied, cut_off));
        }
        // The first copy is a store of its own from here on, beside its original and the files that it shares with it.
        let beside = open(on_faulty(&disk, "copy0"), &runtime).await.unwrap();
        assert_ne!(beside.identity(), cell.identity());
        let (own, own_drivers) = drive(&beside, &runtime, 10, 12);
        for driver in drivers.into_iter().chain(own_drivers) {
            driver.await;
        }
        let all = history(&*cell);
        ledger(&steps).check(&*cell, 0..SHARDS).unwrap();
        for (name, before, copied, disk) in made {
            let copy = open(on_faulty(&disk, &name), &runtime).await.unwrap();
            assert_eq!(copy.snapshot().position(), copied.position, "{name}");
            let records =
                check_copy(&*copy, &before, &steps, &all).unwrap_or_else(|e| panic!("seed {seed} {name}: {e}"));
            assert!(!copied.without_links);
            let mut totals = counted.lock();
            totals.copies += 1;
            totals.links += copied.links;
            totals.runs += disk.list(&Path::new(&name).join("archive")).unwrap().len() - 1;
            totals.records += records;
            totals.later += all.len() - records;
        }
        ledger(&own).check(&*beside, 0..SHARDS).unwrap();
        cell.close().await.unwrap();
        beside.close().await.unwrap();
        drop((cell, beside));
        disk.crash(Survival::Nothing);
        for (steps, name) in [(steps, "data"), (own, "copy0")] {
            let again = open(on_faulty(&disk, name), &runtime).await.unwrap();
            ledger(&steps).check(&*again, 0..SHARDS).unwrap_or_else(|e| panic!("seed {seed} {name} again: {e}"));
            again.close().await.unwrap();
        }
    });
}

#[test]
fn a_copy_is_the_store_at_one_position_and_survives_power_loss() {
    let totals = Arc::new(Mutex::new(Totals::default()));
    for seed in 1..=60 {
        copies_of(seed, &totals);
    }
    let totals = totals.lock();
    println!("{totals:?}");
    assert!(
        totals.copies == 240
            && totals.links > 500
            && totals.runs > 200
            && totals.records > 5_000
            && totals.later > 2_000,
        "{totals:?}"
    );
}

/// The power fails at each operation of the disk while a copy is made: the original is whole, the copy is no store or a
/// whole one.
#[test]
fn a_copy_that_power_loss_interrupts_is_no_store() {
    let (mut points, mut stores, mut none) = (0, 0, 0);
    for seed in [3, 4] {
        let interrupted = |crash_at: Option<u64>| {
            let world = World::new(seed);
            let runtime = world.node(1);
            let disk = Faulty::new();
            let under = disk.clone();
            let (before, steps, from) = world.run(async move {
                let cell = open(on_faulty(&under, "data"), &runtime).await.unwrap();
                let (steps, drivers) = drive(&cell, &runtime, 8, 12);
                runtime.sleep(Duration::from_millis(50)).await;
                let (before, from) = (ledger(&steps), under.operations());
                under.set_faults(Faults { crash_at, ..Faults::default() });
                let copied = cell.copy_to(Target::Same("copy".into())).await;
                assert!(copied.is_ok() || crash_at.is_some(), "{copied:?}");
                let until = under.operations();
                for driver in drivers {
                    driver.await;
                }
                (before, steps, (from, until))
            });
            world.kill(1);
            (disk, before, steps, from)
        };
        let (.., (from, until)) = interrupted(None);
        for point in from + 1..=until {
            let (disk, before, steps, _) = interrupted(Some(point));
            points += 1;
            for survival in [Survival::Nothing, Survival::Everything, Survival::Torn(point), Survival::Torn(!point)] {
                let disk = disk.fork();
                disk.crash(survival);
                let world = World::new(seed + 100);
                let (runtime, before, steps) = (world.node(2), before.clone(), steps.clone());
                let is_store = world.run(async move {
                    let cell = open(on_faulty(&disk, "data"), &runtime).await.unwrap();
                    ledger(&steps).check(&*cell, 0..SHARDS).unwrap();
                    let all = history(&*cell);
                    if !disk.paths().contains(&PathBuf::from("copy/STORE")) {
                        let found = disk.list(Path::new("copy")).unwrap_or_default();
                        let opened = open(on_faulty(&disk, "copy"), &runtime).await;
                        // What is left is refused, unless nothing is: then it is a new folder as any other.
                        let nothing = found.iter().all(|name| name == "LOCK" || name == "STORE.tmp");
                        assert_eq!(opened.is_ok(), nothing, "{found:?}");
                        return false;
                    }
                    let copy = open(on_faulty(&disk, "copy"), &runtime).await.unwrap();
                    // The original may have lost what came after the copy, which nobody was told of.
                    check_copy(&*copy, &before, &Steps::default(), &history(&*copy)).unwrap();
                    assert!(history(&*copy).len() <= all.len() + 8);
                    true
                });
                if is_store { stores += 1 } else { none += 1 }
            }
        }
    }
    println!("{points} points, {stores} whole copies, {none} that are none");
    assert!(points > 30 && stores > 0 && none > 60, "{points} {stores} {none}");
}

#[test]
fn used_folders_full_disks_and_missing_links() {
    let world = World::new(9);
    let runtime = world.node(1);
    world.run(async move {
        let disk = Faulty::new();
        let cell = open(on_faulty(&disk, "data"), &runtime).await.unwrap();
        let (steps, drivers) = drive(&cell, &runtime, 20, 3);
        for driver in drivers {
            driver.await;
        }
        let copy_to = |name: &str| cell.copy_to(Target::Same(name.into()));
        copy_to("copy").await.unwrap();
        // What the store does by itself after that is done.
        runtime.sleep(Duration::from_secs(2)).await;
        disk.create_dir(Path::new("mine")).unwrap();
        disk.create(Path::new("mine/letter")).unwrap();
        let (paths, folders) = (disk.paths(), disk.folders());
        for (used, says) in [
            ("copy", "the folder is not empty"),
            ("mine", "the folder is not empty"),
            ("data", "own folder"),
            ("data/log/copy", "own folder"),
            ("data/copies/1", "own folder"),
        ] {
            let error = copy_to(used).await.unwrap_err();
            assert!(error.kind == Kind::Invalid && error.message.contains(says), "{used}: {error}");
            assert_eq!(
                (disk.paths(), disk.folders()),
                (paths.clone(), folders.clone()),
                "{used}: something was changed"
            );
        }
        // A full disk: nothing of the copy stays, and the store goes on.
        let mut full = 0;
        disk.create_dir(Path::new("empty")).unwrap();
        let before = |disk: &Faulty| -> Vec<PathBuf> {
            disk.paths().into_iter().filter(|path| path.starts_with("full") || path.starts_with("empty")).collect()
        };
        for room in [0, 5_000, 9_000] {
            let used: u64 = disk.paths().iter().map(|path| disk.content(path).len() as u64).sum();
            disk.set_faults(Faults { capacity_bytes: Some(used + room), no_links: true, ..Faults::default() });
            for target in ["full", "empty"] {
                let error = copy_to(target).await.unwrap_err();
                assert_eq!(error.kind, Kind::Full, "{error}");
                assert!(before(&disk).is_empty(), "{:?}", before(&disk));
                full += 1;
            }
            assert!(!disk.folders().contains(&"full".into()) && disk.folders().contains(&"empty".into()));
        }
        disk.set_faults(Faults { no_links: true, ..Faults::default() });
        let copied = copy_to("empty").await.unwrap();
        assert!(copied.without_links && copied.links == 0 && copied.copies > 3, "{copied:?}");
        let copy = open(on_faulty(&disk, "empty"), &runtime).await.unwrap();
        let records = check_copy(&*copy, &ledger(&steps), &steps, &history(&*cell)).unwrap();
        println!("{full} full disks, {copied:?}, {records} records");
        assert!(records > 50);
    });
}

/// Trims a store to its last records, and waits until segments are gone.
async fn trim(cell: &Arc<dyn Cell>, runtime: &Runtime) {
    let before = cell.stats().log_bytes_on_disk;
    let horizons: Vec<_> =
        (0..SHARDS).map(|shard| Horizon { shard: ShardUid(shard), below: SequenceNumber(u64::MAX) }).collect();
    cell.trim(&horizons).unwrap();
    for _ in 0..2_000 {
        if cell.stats().log_bytes_on_disk < before {
            return;
        }
        runtime.sleep(Duration::from_millis(1)).await;
    }
    panic!("nothing was trimmed: {before} bytes");
}

#[test]
fn trimming_the_original_leaves_the_copy_and_the_copy_of_a_trimmed_store_is_trimmed() {
    let world = World::new(21);
    let runtime = world.node(1);
    world.run(async move {
        let disk = Faulty::new();
        let cell = open(on_faulty(&disk, "data"), &runtime).await.unwrap();
        let (steps, drivers) = drive(&cell, &runtime, 60, 3);
        for driver in drivers {
            driver.await;
        }
        let all = history(&*cell);
        cell.copy_to(Target::Same("before".into())).await.unwrap();
        trim(&cell, &runtime).await;
        cell.copy_to(Target::Same("after".into())).await.unwrap();
        for (name, records) in [("before", all.len()), ("after", 0)] {
            let copy = open(on_faulty(&disk, name), &runtime).await.unwrap();
            let snapshot = copy.snapshot();
            let all_from = headwater_storage::contract::From::At(SequenceNumber::ZERO);
            let limit = headwater_storage::contract::PageLimit { records: 100_000, bytes: 1 << 30 };
            let found: usize =
                (0..SHARDS).map(|shard| snapshot.read_log(ShardUid(shard), all_from, limit).unwrap().len()).sum();
            assert_eq!(found, records, "{name}");
            // The items are the same in both.
            let items = |cell: &dyn Cell| {
                let direction = headwater_storage::contract::Direction::Forward;
                let snapshot = cell.snapshot();
                snapshot.scan(&[1], &[u8::MAX], direction).map(|entry| entry.unwrap()).collect::<BTreeMap<_, _>>()
            };
            assert!(items(&*copy) == items(&*cell) && !items(&*cell).is_empty());
            if name == "before" {
                ledger(&steps).check(&*copy, 0..SHARDS).unwrap();
            }
        }
        println!("{} records before, none after", all.len());
        assert!(all.len() > 300);
    });
}

fn on_tokio<T: Send + 'static>(main: impl FnOnce(Runtime) -> BoxFuture<'static, T>) -> T {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let runtime = tokio_runtime::on(tokio.handle().clone());
    tokio.block_on(main(runtime))
}

fn on_disk(folder: PathBuf) -> Settings {
    Settings {
        memory_bytes: 16 << 20,
        reserve_bytes: Some(0),
        segment_bytes: 256 * 1024,
        memtable_bytes: Some(128 * 1024),
        // A flush may end between any two steps of a copy.
        rotate_one_in: Some(2),
        archive_one_in: Some(2),
        ..Settings::on_disk(folder)
    }
}

/// Every file below a folder with its bytes and when it was last written to.
fn files_below(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            let written = std::fs::metadata(&path).unwrap().modified().unwrap();
            found.insert(path.clone(), (std::fs::read(path).unwrap(), written));
        }
    }
    found
}

#[test]
fn copies_on_a_real_disk_while_the_tree_flushes_and_compacts() {
    on_tokio(|runtime| {
        Box::pin(async move {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            let cell = open(on_disk(at("data")), &runtime).await.unwrap();
            let (steps, drivers) = drive(&cell, &runtime, 700, 2);
            let mut made: Vec<(String, Ledger, Copied)> = Vec::new();
            let mut times = Vec::new();
            for number in 0..25 {
                runtime.sleep(Duration::from_millis(runtime.random() % 60)).await;
                let (name, before, start) = (format!("copy{number}"), ledger(&steps), runtime.monotonic());
                let target = if number % 2 == 0 { Target::Disk(at(&name)) } else { Target::Same(at(&name)) };
                let copied = cell.copy_to(target).await.unwrap();
                times.push((runtime.monotonic() - start).as_micros());
                made.push((name, before, copied));
            }
            // One of them is written to at the same time.
            let beside = open(on_disk(at("copy3")), &runtime).await.unwrap();
            let (own, own_drivers) = drive(&beside, &runtime, 100, 2);
            for driver in drivers.into_iter().chain(own_drivers) {
                driver.await;
            }
            let all = history(&*cell);
            ledger(&own).check(&*beside, 0..SHARDS).unwrap();
            beside.close().await.unwrap();
            let (mut records, mut links) = (0, 0);
            for (name, before, copied) in made.iter().filter(|(name, ..)| name != "copy3") {
                let copy = open(on_disk(at(name)), &runtime).await.unwrap();
                assert_eq!(copy.snapshot().position(), copied.position, "{name}");
                records += check_copy(&*copy, before, &steps, &all).unwrap_or_else(|e| panic!("{name}: {e}"));
                links += copied.links;
                copy.close().await.unwrap();
            }
            ledger(&steps).check(&*cell, 0..SHARDS).unwrap();
            trim(&cell, &runtime).await;
            cell.close().await.unwrap();
            drop(cell);
            let again = open(on_disk(at("data")), &runtime).await.unwrap();
            assert!(again.snapshot().position().0 > 0);
            times.sort_unstable();
            println!(
                "24 copies opened, {records} records, {links} links; microseconds: median {}, most {}; {:?}",
                times[times.len() / 2],
                times[times.len() - 1],
                made.last().map(|(.., copied)| copied),
            );
            assert!(records > 1_000 && links > 100, "{records} {links}");
        })
    });
}

#[test]
fn a_snapshot_is_restored_as_often_as_wanted_and_stays_as_it_is() {
    on_tokio(|runtime| {
        Box::pin(async move {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            let cell = open(on_disk(at("data")), &runtime).await.unwrap();
            let (steps, drivers) = drive(&cell, &runtime, 120, 1);
            for driver in drivers {
                driver.await;
            }
            cell.copy_to(Target::Disk(at("snapshot"))).await.unwrap();
            let is_open = embedded::restore(&at("data"), &on_disk(at("stolen")), &runtime).await.unwrap_err();
            assert!(is_open.kind == Kind::Unavailable && !at("stolen").exists(), "{is_open}");
            let nothing = embedded::restore(&at("nowhere"), &on_disk(at("a")), &runtime).await.unwrap_err();
            assert!(nothing.kind == Kind::Invalid && !at("a").exists() && !at("nowhere").exists(), "{nothing}");
            let content = files_below(&at("snapshot"));
            let mut names = vec![cell.identity()];
            for number in 0..5 {
                let target = on_disk(at(&format!("restored{number}")));
                embedded::restore(&at("snapshot"), &target, &runtime).await.unwrap();
                let used = embedded::restore(&at("snapshot"), &target, &runtime).await.unwrap_err();
                assert_eq!(used.kind, Kind::Invalid, "{used}");
                let restored = open(target, &runtime).await.unwrap();
                names.push(restored.identity());
                ledger(&steps).check(&*restored, 0..SHARDS).unwrap();
                let (own, drivers) = drive(&restored, &runtime, 40, 1);
                for driver in drivers {
                    driver.await;
                }
                ledger(&own).check(&*restored, 0..SHARDS).unwrap();
                trim(&restored, &runtime).await;
                restored.close().await.unwrap();
                assert!(files_below(&at("snapshot")) == content, "the snapshot was changed");
            }
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), 6, "every copy has a name of its own");
            // A folder that a server has left can be restored from too, whether it was stopped or killed.
            drop(cell);
            let left = files_below(&at("data"));
            while let Err(error) = embedded::restore(&at("data"), &on_disk(at("from-data")), &runtime).await {
                assert_eq!(error.kind, Kind::Unavailable, "{error}");
                runtime.sleep(Duration::from_millis(5)).await;
            }
            let restored = open(on_disk(at("from-data")), &runtime).await.unwrap();
            ledger(&steps).check(&*restored, 0..SHARDS).unwrap();
            restored.close().await.unwrap();
            assert!(files_below(&at("data")) == left, "the folder was changed");
            println!("5 restored, {} files in the snapshot", content.len());
            assert!(content.len() > 5);
        })
    });
}

#[test]
fn a_store_in_memory_is_forked_in_memory_and_written_out() {
    on_tokio(|runtime| {
        Box::pin(async move {
            let folder = tempfile::tempdir().unwrap();
            let memory = Arc::new(Memory::default());
            let settings = |directory: &str| Settings {
                segment_bytes: 256 * 1024,
                ..Settings::on(memory.clone(), directory, IndexKind::OrderedMap)
            };
            let cell = open(settings("memory"), &runtime).await.unwrap();
            let (steps, drivers) = drive(&cell, &runtime, 150, 2);
            let mut made = Vec::new();
            for number in 0..6 {
                runtime.sleep(Duration::from_millis(8)).await;
                let (before, start) = (ledger(&steps), runtime.monotonic());
                let name = format!("fork{number}");
                let copied = if number < 4 {
                    cell.copy_to(Target::Same(name.clone().into())).await.unwrap()
                } else {
                    cell.copy_to(Target::Disk(folder.path().join(&name))).await.unwrap()
                };
                println!("{name}: {copied:?} in {:?}", runtime.monotonic() - start);
                made.push((number, name, before, copied));
            }
            for driver in drivers {
                driver.await;
            }
            let all = history(&*cell);
            let mut records = 0;
            for (number, name, before, copied) in made {
                let settings = if number < 4 { settings(&name) } else { on_disk(folder.path().join(&name)) };
                let copy = open(settings.clone(), &runtime).await.unwrap();
                assert_eq!(copy.snapshot().position(), copied.position);
                records += check_copy(&*copy, &before, &steps, &all).unwrap_or_else(|e| panic!("{name}: {e}"));
                let (own, drivers) = drive(&copy, &runtime, 30, 1);
                for driver in drivers {
                    driver.await;
                }
                ledger(&own).check(&*copy, 0..SHARDS).unwrap();
                // A copy of the copy, of what was trimmed too.
                trim(&copy, &runtime).await;
                let again = format!("{name}.again");
                if number < 4 {
                    copy.copy_to(Target::Same(again.clone().into())).await.unwrap();
                    let again = open(Settings { directory: again.into(), ..settings }, &runtime).await.unwrap();
                    assert_eq!(again.snapshot().position(), copy.snapshot().position());
                    assert_ne!(again.snapshot().position(), Position(0));
                }
                copy.close().await.unwrap();
            }
            ledger(&steps).check(&*cell, 0..SHARDS).unwrap();
            println!("{records} records");
            assert!(records > 300);
            // Written out, and read into memory again.
            let target = folder.path().join("out");
            cell.copy_to(Target::Disk(target.clone())).await.unwrap();
            let content = files_below(&target);
            for number in 0..3 {
                let (again, start) = (settings(&format!("in{number}")), runtime.monotonic());
                let copied = embedded::restore(&target, &again, &runtime).await.unwrap();
                let used = embedded::restore(&target, &again, &runtime).await.unwrap_err();
                assert_eq!(used.kind, Kind::Invalid);
                let again = open(again, &runtime).await.unwrap();
                println!("into memory: {copied:?} in {:?}", runtime.monotonic() - start);
                assert!(Ledger::default().check(&*again, 0..SHARDS).unwrap() == all);
                let (own, drivers) = drive(&again, &runtime, 20, 1);
                for driver in drivers {
                    driver.await;
                }
                ledger(&own).check(&*again, 0..SHARDS).unwrap();
                trim(&again, &runtime).await;
                assert!(files_below(&target) == content, "the snapshot was changed");
            }
        })
    });
}

/// Writers go on while a copy is made. `HEADWATER_COPY_MB` says how large the store is (24).
#[test]
fn writers_go_on_while_a_copy_is_made() {
    let megabytes = std::env::var("HEADWATER_COPY_MB").ok().and_then(|text| text.parse().ok()).unwrap_or(24u64);
    on_tokio(move |runtime| {
        Box::pin(async move {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            let settings =
                |name: &str| Settings { memory_bytes: 64 << 20, reserve_bytes: Some(0), ..Settings::on_disk(at(name)) };
            let cell = open(settings("data"), &runtime).await.unwrap();
            let (stop, stopped) = tokio::sync::watch::channel(false);
            // When each step was answered, and how long it took.
            let answers: Arc<Mutex<Vec<(Duration, Duration)>>> = Arc::default();
            let writers: Vec<_> = (0..8)
                .map(|index| {
                    let mut driver = Driver::new(cell.clone(), runtime.clone(), index * 4..index * 4 + 4);
                    let (own, stopped, answers) = (runtime.clone(), stopped.clone(), answers.clone());
                    runtime.spawn(async move {
                        while !*stopped.borrow() {
                            let start = own.monotonic();
                            let (_, error) = driver.step().await;
                            assert!(error.is_none(), "{error:?}");
                            let end = own.monotonic();
                            answers.lock().push((end, end - start));
                        }
                    })
                })
                .collect();
            while cell.stats().log_bytes_on_disk < megabytes << 20 {
                runtime.sleep(Duration::from_millis(5)).await;
            }
            let mut copies = Vec::new();
            for number in 0..8 {
                let start = runtime.monotonic();
                let copied = cell.copy_to(Target::Same(at(&format!("copy{number}")))).await.unwrap();
                copies.push((start, runtime.monotonic(), copied));
                runtime.sleep(Duration::from_millis(100)).await;
            }
            stop.send_replace(true);
            for writer in writers {
                writer.await.unwrap();
            }
            let during = |(end, took): &(Duration, Duration)| {
                copies.iter().any(|(from, to, _)| *end >= *from && *end - *took <= *to)
            };
            let (mut inside, mut outside): (Vec<_>, Vec<_>) =
                answers.lock().iter().copied().partition(|each| during(each));
            let worst = |of: &mut Vec<(Duration, Duration)>| {
                of.sort_by_key(|(_, took)| *took);
                let at = |part: usize| of[(of.len() * part / 1000).min(of.len() - 1)].1;
                (of.len(), at(500), at(990), of[of.len() - 1].1)
            };
            let (inside, outside) = (worst(&mut inside), worst(&mut outside));
            let start = runtime.monotonic();
            let copy = open(settings("copy7"), &runtime).await.unwrap();
            println!("{} MB; start of a copy {:?}", cell.stats().log_bytes_on_disk >> 20, runtime.monotonic() - start);
            println!("copies took {:?}", copies.iter().map(|(from, to, _)| *to - *from).collect::<Vec<_>>());
            println!("the last: {:?}", copies.last().map(|(.., copied)| copied));
            println!("steps (count, median, p99, most) beside copies {inside:?}, otherwise {outside:?}");
            assert!(inside.0 > 20 && copy.snapshot().position() > Position(0));
        })
    });
}
