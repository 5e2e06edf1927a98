//! Damaged, foreign, newer and missing files: the start refuses by name, or ends the log where the rule lets it; it never
//! serves anything that is not what was written.
#![allow(clippy::unwrap_used, reason = "a test may end here")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use headwater_storage::contract::Cell;
use headwater_storage::embedded::{self, IndexKind, Settings};
use headwater_storage::files::faulty::{Faulty, Survival};
use headwater_storage::ledger::{Driver, Ledger};
use headwater_storage::{Error, Kind};
use headwater_types::runtime::simulated::World;
use headwater_types::runtime::tokio_runtime;
use headwater_types::{Clock, Millis, Runtime};

const SHARDS: u64 = 3;

fn settings(disk: &Faulty) -> Settings {
    Settings {
        reserve_bytes: Some(0),
        segment_bytes: 64 * 1024,
        rotate_one_in: Some(9),
        // Archive runs have tests of their own: `archive.rs`.
        archive_below_percent: 0,
        ..Settings::on(Arc::new(disk.clone()), "data", IndexKind::OrderedMap)
    }
}

async fn open(settings: Settings, runtime: &Runtime) -> Result<Arc<dyn Cell>, Error> {
    let clock = Clock::new(runtime.clone(), Millis::default());
    Ok(embedded::open(settings, runtime.clone(), clock).await?.0)
}

async fn fill(cell: &Arc<dyn Cell>, runtime: &Runtime, steps: u64, ledger: &mut Ledger) {
    let mut driver = Driver::new(cell.clone(), runtime.clone(), 0..SHARDS);
    for _ in 0..steps {
        let (acknowledged, error) = driver.step().await;
        assert!(error.is_none(), "{error:?}");
        ledger.acknowledged.extend(acknowledged);
    }
}

/// A store with a few segments; stopped cleanly, or by a crash right after the last answer.
fn store(seed: u64, clean: bool) -> (Faulty, Ledger) {
    let world = World::new(seed);
    let runtime = world.node(1);
    let disk = Faulty::new();
    let inner = disk.clone();
    let ledger = world.run(async move {
        let cell = open(settings(&inner), &runtime).await.unwrap();
        let mut ledger = Ledger::default();
        fill(&cell, &runtime, 25, &mut ledger).await;
        // A pause: the last group is stated as synced. Then one more that nothing states.
        runtime.sleep(Duration::from_secs(1)).await;
        if clean {
            cell.close().await.unwrap();
        } else {
            fill(&cell, &runtime, 1, &mut ledger).await;
        }
        ledger
    });
    world.kill(1);
    disk.crash(Survival::Nothing);
    (disk, ledger)
}

#[derive(Debug, PartialEq)]
enum Seen {
    Refused(String),
    /// Opened; what a check of every promise says.
    Opened(Result<(), String>),
}

fn look(disk: &Faulty, ledger: &Ledger) -> Seen {
    let world = World::new(7);
    let runtime = world.node(1);
    let (disk, ledger) = (disk.clone(), ledger.clone());
    world.run(async move {
        match open(settings(&disk), &runtime).await {
            Ok(cell) => Seen::Opened(ledger.check(&*cell, 0..SHARDS).map(drop)),
            Err(error) => {
                assert_eq!(error.kind, Kind::Corrupt, "{error}");
                Seen::Refused(error.to_string())
            }
        }
    })
}

fn log_files(disk: &Faulty) -> Vec<PathBuf> {
    disk.paths().into_iter().filter(|path| path.starts_with("data/log")).collect()
}

/// Goal: after a clean stop everything is proven, so no flipped bit may cost an acknowledged plan unnoticed.
#[test]
fn a_flipped_bit_anywhere_is_refused_or_named_or_without_effect() {
    let (disk, ledger) = store(1, true);
    let (mut refused, mut named, mut harmless) = (0, 0, 0);
    for path in disk.paths() {
        if path.ends_with("LOCK") {
            continue;
        }
        let length = disk.content(&path).len();
        // Every byte of headers, and a sample of the rest.
        let places = (0..length).filter(|at| at % 4096 < 100 || at % 331 == 0).step_by(3);
        for at in places {
            let disk = disk.fork();
            disk.damage(&path, |bytes| bytes[at] ^= 1 << (at % 8));
            match look(&disk, &ledger) {
                Seen::Refused(text) => {
                    assert!(text.contains(&*path.to_string_lossy()) && text.contains("offset"), "{text}");
                    refused += 1;
                }
                Seen::Opened(Err(text)) => {
                    assert!(text.contains(&*path.to_string_lossy()), "{} at {at}: {text}", path.display());
                    named += 1;
                }
                Seen::Opened(Ok(())) => harmless += 1,
            }
        }
    }
    println!(
        "flipped bits: {refused} refused, {named} named when read, {harmless} without effect (padding, footers, old copies)"
    );
    assert!(refused > 200 && named > 200);
}

/// Goal: the last group of a crashed store that nothing states as synced may be torn; every one before it may not.
#[test]
fn only_the_unproven_tail_may_end_the_log() {
    let (mut ended, mut refused) = (0, 0);
    for seed in 1..=15 {
        let (disk, ledger) = store(seed, false);
        let path = log_files(&disk).pop().expect("there is a log");
        let length = disk.content(&path).len();
        for block in 1..length / 4096 {
            let disk = disk.fork();
            disk.damage(&path, |bytes| bytes[block * 4096 + 20] ^= 4);
            match look(&disk, &ledger) {
                Seen::Refused(text) => {
                    assert!(text.contains("is damaged"), "{text}");
                    refused += 1;
                }
                Seen::Opened(Ok(())) => {}
                Seen::Opened(Err(text)) => {
                    assert!(text.contains("an acknowledged plan is gone"), "{text}");
                    // The last two batches: one step, nothing written after.
                    assert!(block * 4096 + 16 * 4096 > length, "block {block} of {}", length / 4096);
                    ended += 1;
                }
            }
        }
    }
    println!("damaged blocks of newest segments: {refused} refused, {ended} ended the log at its unproven tail");
    assert!(refused > 10 && ended > 3);
}

#[test]
fn missing_files_are_refused_by_name() {
    let (disk, ledger) = store(2, true);
    let segments = log_files(&disk);
    assert!(segments.len() > 3);
    let without = |gone: &[&Path]| {
        let disk = disk.fork();
        gone.iter().for_each(|path| headwater_storage::files::Files::remove(&disk, path).unwrap());
        look(&disk, &ledger)
    };
    let Seen::Refused(text) = without(&[&segments[1]]) else { panic!("a missing segment was not noticed") };
    assert!(text.contains(&*segments[1].to_string_lossy()) && text.contains("missing"), "{text}");
    let all: Vec<&Path> = segments.iter().map(PathBuf::as_path).collect();
    let Seen::Refused(text) = without(&all) else { panic!("a missing log was not noticed") };
    assert!(text.contains("data/log") && text.contains("missing"), "{text}");
    let Seen::Refused(text) = without(&[Path::new("data/STORE")]) else { panic!("a lost identity was not noticed") };
    assert!(text.contains("no headwater store"), "{text}");
    // The log reaches back to the beginning: a lost index is made again from it.
    let index: Vec<PathBuf> = disk.paths().into_iter().filter(|path| path.starts_with("data/index")).collect();
    let index: Vec<&Path> = index.iter().map(PathBuf::as_path).collect();
    assert_eq!(without(&index), Seen::Opened(Ok(())));
    let Seen::Refused(text) = without(&[&index[..], &[&segments[0]]].concat()) else {
        panic!("lost keys were not noticed")
    };
    assert!(text.contains("the log begins at position"), "{text}");
}

#[test]
fn newer_foreign_and_other_builds_files_are_refused_by_name() {
    let (disk, ledger) = store(3, true);
    let (other, _) = store(4, true);
    let first = log_files(&disk)[0].clone();
    let store_file = PathBuf::from("data/STORE");
    let refusal = |path: &Path, change: &dyn Fn(&mut Vec<u8>)| {
        let disk = disk.fork();
        disk.damage(path, |bytes| change(bytes));
        match look(&disk, &ledger) {
            Seen::Refused(text) => text,
            Seen::Opened(found) => panic!("{} was opened: {found:?}", path.display()),
        }
    };
    for path in [&first, &store_file] {
        let text = refusal(path, &|bytes| bytes[8] = 3);
        assert!(text.contains("format version 3") && text.contains(&*path.to_string_lossy()), "{text}");
        let text = refusal(path, &|bytes| bytes[16..23].copy_from_slice(b"another"));
        assert!(text.contains("written by build \"another") && text.contains("this is \"headwater"), "{text}");
        let text = refusal(path, &|bytes| bytes[..4].copy_from_slice(b"PNG\n"));
        assert!(text.contains("no headwater"), "{text}");
    }
    let text = refusal(&first, &|bytes| *bytes = other.content(&first));
    assert!(text.contains("another store"), "{text}");
    let last = log_files(&disk).pop().unwrap();
    let text = refusal(&last, &|bytes| *bytes = disk.content(&first));
    assert!(text.contains("another segment's name"), "{text}");
    let text = refusal(&first, &|bytes| bytes.truncate(4096 + 50));
    assert!(text.contains("offset 4096") && text.contains("is damaged"), "{text}");
    let stray = disk.fork();
    headwater_storage::files::Files::create(&stray, Path::new("data/log/notes")).unwrap();
    assert!(matches!(look(&stray, &ledger), Seen::Refused(text) if text.contains("data/log/notes")));
}

/// Goal: the tree's files too: what is damaged is refused or named, never served as something else.
#[test]
fn a_damaged_tree_is_refused_or_named() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    let on_disk =
        |directory: &Path| Settings { reserve_bytes: Some(0), rotate_one_in: Some(9), ..Settings::on_disk(directory) };
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let runtime = tokio_runtime::on(tokio.handle().clone());
    let mut ledger = Ledger::default();
    tokio.block_on(async {
        let cell = open(on_disk(&directory), &runtime).await.unwrap();
        fill(&cell, &runtime, 40, &mut ledger).await;
        cell.close().await.unwrap();
    });
    let mut files = Vec::new();
    for folder in [directory.join("index"), directory.join("index/tables")] {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.extend(entries.filter(|path| path.is_file()));
    }
    files.sort();
    let (mut refused, mut named, mut harmless) = (0, 0, 0);
    for file in &files {
        let whole = std::fs::read(file).unwrap();
        for at in (0..whole.len()).step_by((whole.len() / 40).max(1)) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            let copy = folder.path().join("copy");
            copy_store(&directory, &copy);
            std::fs::write(copy.join(file.strip_prefix(&directory).unwrap()), &damaged).unwrap();
            let seen = tokio.block_on(async {
                let cell = open(on_disk(&copy), &runtime).await?;
                Ok::<_, Error>(ledger.check(&*cell, 0..SHARDS))
            });
            match seen {
                Err(error) => {
                    assert!(error.to_string().contains("copy"), "{error}");
                    refused += 1;
                }
                Ok(Err(text)) => {
                    assert!(text.contains("index"), "{} at {at}: {text}", file.display());
                    named += 1;
                }
                Ok(Ok(_)) => harmless += 1,
            }
            std::fs::remove_dir_all(&copy).unwrap();
        }
    }
    println!("tree: {} files; {refused} refused, {named} named when read, {harmless} without effect", files.len());
    assert!(refused + named > 20);
}

fn copy_store(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_store(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
