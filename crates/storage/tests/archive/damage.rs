//! Damaged, missing and foreign files of the archive: refused or named, never served as something else.

use std::path::{Path, PathBuf};

use headwater_storage::Kind;
use headwater_storage::embedded::{self, Settings};
use headwater_storage::files::Files;
use headwater_storage::files::faulty::{Faulty, Survival};
use headwater_types::Runtime;
use headwater_types::runtime::simulated::World;

use super::store::{Promised, open, settings, simulate};

/// A cleanly stopped store with runs.
fn store(seed: u64) -> (Faulty, Promised) {
    simulate(seed, async |disk: Faulty, runtime: Runtime| {
        let (cell, _) = open(&settings(&disk), &runtime).await.unwrap();
        let mut promised = Promised::default();
        for at in 0..90 {
            match at % 4 {
                0 => promised.quiet(&cell, &runtime, at % 3).await.unwrap(),
                _ => promised.fast(&cell, &runtime, 2_500).await.unwrap(),
            }
        }
        cell.close().await.unwrap();
        assert!(cell.stats().archive_runs > 0);
        drop(cell);
        disk.crash(Survival::Nothing);
        (disk, promised)
    })
}

/// `Err`: refused by this text. `Ok`: opened, and what a check says.
fn look(disk: &Faulty, promised: &Promised) -> Result<Result<(), String>, String> {
    let world = World::new(7);
    let runtime = world.node(1);
    let (disk, mut promised) = (disk.clone(), promised.clone());
    let seen = world.run(async move {
        match open(&settings(&disk), &runtime).await {
            Ok((cell, _)) => Ok(promised.check(&cell)),
            Err(error) => {
                assert_eq!(error.kind, Kind::Corrupt, "{error}");
                Err(error.to_string())
            }
        }
    });
    world.kill(1);
    seen
}

fn archived(disk: &Faulty) -> Vec<PathBuf> {
    disk.paths().into_iter().filter(|path| path.starts_with("data/archive")).collect()
}

#[test]
fn a_flipped_bit_of_the_archive_is_refused_or_named() {
    let (disk, promised) = store(1);
    assert_eq!(look(&disk.fork(), &promised), Ok(Ok(())));
    let (mut refused, mut named) = (0, 0);
    for path in archived(&disk) {
        for at in 0..disk.content(&path).len() {
            // Every byte of headers and lists, and a sample of the records.
            if at > 300 && at % 7 != 0 && path.extension().is_some() {
                continue;
            }
            let disk = disk.fork();
            disk.damage(&path, |bytes| bytes[at] ^= 1 << (at % 8));
            match look(&disk, &promised) {
                Err(text) => {
                    assert!(text.contains(&*path.to_string_lossy()) && text.contains("offset"), "{text}");
                    refused += 1;
                }
                Ok(Err(text)) => {
                    assert!(text.contains(&*path.to_string_lossy()), "{} at {at}: {text}", path.display());
                    named += 1;
                }
                Ok(Ok(())) => panic!("{} at {at}: a flipped bit was not noticed", path.display()),
            }
        }
    }
    println!("flipped bits of the archive: {refused} refused, {named} named when read");
    assert!(refused > 200 && named > 100);
}

#[test]
fn missing_and_foreign_files_of_the_archive_are_refused_by_name() {
    let (disk, promised) = store(2);
    let (other, _) = store(3);
    let refusal = |change: &dyn Fn(&Faulty)| {
        let disk = disk.fork();
        change(&disk);
        look(&disk, &promised).expect_err("it is refused")
    };
    let files = archived(&disk);
    for path in &files {
        let text = refusal(&|disk| disk.remove(path).unwrap());
        assert!(text.contains(&*path.to_string_lossy()) && text.contains("missing"), "{text}");
        let text = refusal(&|disk| disk.damage(path, |bytes| bytes[8] = 3));
        assert!(text.contains("format version 3"), "{text}");
        let text = refusal(&|disk| disk.damage(path, |bytes| bytes[16..23].copy_from_slice(b"another")));
        assert!(text.contains("written by build \"another"), "{text}");
        let text = refusal(&|disk| disk.damage(path, |bytes| bytes.truncate(60)));
        assert!(text.contains(&*path.to_string_lossy()), "{text}");
    }
    let manifest = Path::new("data/archive/MANIFEST");
    let text = refusal(&|disk| disk.damage(manifest, |bytes| *bytes = other.content(manifest)));
    assert!(text.contains("another store"), "{text}");
    let (run, foreign) = (files.iter().find(|path| path.extension().is_some()).unwrap(), archived(&other));
    let foreign = foreign.iter().find(|path| path.extension().is_some()).unwrap();
    let text = refusal(&|disk| disk.damage(run, |bytes| *bytes = other.content(foreign)));
    assert!(text.contains("another store"), "{text}");
    let text = refusal(&|disk| {
        disk.create(Path::new("data/archive/notes")).unwrap();
    });
    assert!(text.contains("data/archive/notes"), "{text}");
    // The log begins after the runs: an index that is lost cannot be made again from it.
    let text = refusal(&|disk| {
        let index = disk.paths().into_iter().filter(|path| path.starts_with("data/index"));
        index.collect::<Vec<_>>().iter().for_each(|path| disk.remove(path).unwrap());
    });
    assert!(text.contains("the index holds positions up to"), "{text}");
    // A segment that neither lies there nor is replaced.
    let segments: Vec<PathBuf> = disk.paths().into_iter().filter(|path| path.starts_with("data/log")).collect();
    assert!(segments.len() > 1, "{segments:?}");
    let text = refusal(&|disk| disk.remove(&segments[0]).unwrap());
    assert!(text.contains(&*segments[0].to_string_lossy()) && text.contains("missing"), "{text}");
}

/// Goal: a store that would not open is not restored as something else either.
#[test]
fn a_store_with_a_lost_list_or_run_is_not_restored() {
    let (disk, promised) = store(5);
    for gone in [None].into_iter().chain(archived(&disk).into_iter().map(Some)) {
        let (disk, mut promised, lost) = (disk.fork(), promised.clone(), gone.clone());
        let world = World::new(8);
        let runtime = world.node(1);
        world.run(async move {
            gone.iter().for_each(|path| disk.remove(path).unwrap());
            let to = Settings { directory: "restored".into(), ..settings(&disk) };
            let restored = embedded::restore(Path::new("data"), &to, &runtime).await;
            match lost {
                None => {
                    restored.unwrap();
                    let (cell, recovered) = open(&to, &runtime).await.unwrap();
                    promised.check(&cell).unwrap();
                    assert!(recovered.archive_runs > 0);
                }
                Some(path) => {
                    let error = restored.unwrap_err();
                    let named = error.to_string().contains(&*path.to_string_lossy());
                    assert!(error.kind == Kind::Corrupt && named, "{error}");
                }
            }
        });
        world.kill(1);
    }
}

/// Goal: what was not finished, and segments that are replaced and still there, are thrown away.
#[test]
fn leftovers_are_thrown_away_at_the_start() {
    let (disk, promised) = store(4);
    let run = archived(&disk).into_iter().find(|path| path.extension().is_some()).unwrap();
    let orphan = PathBuf::from("data/archive/00000000000000ff.run");
    let draft = PathBuf::from("data/archive/MANIFEST.tmp");
    for path in [&orphan, &draft] {
        disk.create(path).unwrap().write_at(&disk.content(&run), 0).unwrap();
    }
    assert_eq!(look(&disk, &promised), Ok(Ok(())));
    let left = archived(&disk);
    assert!(!left.contains(&orphan) && !left.contains(&draft) && left.contains(&run), "{left:?}");
}
