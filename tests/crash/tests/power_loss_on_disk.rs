//! Power loss under a store on the real disk, lsm-tree's own files included.
//!
//! Method: a real process keeps a store busy while `recorder.c` writes down every write, sync, rename and removal. The
//! record is played on the faulty disk; at many cuts the power fails there in several ways, what is left is written out
//! as a real folder, opened with the real engine and checked: all that was acknowledged before the cut is there, groups
//! are whole, the key space is the fold of the log. The record is proven complete: played to its end it gives the very
//! files that are there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headwater_crash::recording::{Event, Replay, build_recorder, record, write_out};
use headwater_crash::workload::{self, ACKNOWLEDGED, DATA, SHARDS};
use headwater_storage::embedded;
use headwater_storage::files::faulty::{Faulty, Survival};
use headwater_storage::ledger::{Acknowledged, Ledger};
use headwater_types::runtime::tokio_runtime;
use headwater_types::{Clock, Millis, Runtime};
use parking_lot::Mutex;

/// A folder in memory where there is one: crash states are many and need no disk under them.
fn scratch() -> tempfile::TempDir {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() }.expect("a scratch folder")
}

struct Recorded {
    events: Vec<Event>,
    _folder: tempfile::TempDir,
}

fn run_recorded(steps: u64, planted: Option<&str>) -> Recorded {
    let folder = scratch();
    let path = folder.path().canonicalize().expect("the folder is there");
    let root = path.join("recorded");
    std::fs::create_dir(&root).expect("a folder");
    let recorder = build_recorder(&path).expect("a C compiler, as Rust needs one to link");
    let mut command = Command::new(env!("CARGO_BIN_EXE_recorded_store"));
    command.arg(&root).arg(steps.to_string()).args(planted);
    let (output, events) = record(&recorder, &root, &path.join("log"), &mut command).expect("the process runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    println!("recorded {} events: {}", events.len(), String::from_utf8_lossy(&output.stdout).trim());
    let named = |wanted: &dyn Fn(&Event) -> bool| events.iter().filter(|event| wanted(event)).count();
    let table = |path: &PathBuf| path.starts_with(workload::TABLES);
    let made = named(&|event| matches!(event, Event::Create { path, .. } if table(path)));
    let removed = named(&|event| matches!(event, Event::Unlink { path } if table(path)));
    let versions = named(&|event| matches!(event, Event::Rename { to, .. } if to.ends_with("index/current")));
    println!("the tree made {made} tables, removed {removed} by compaction, and named {versions} versions");
    assert!(
        made as u64 >= workload::TABLES_MIN - 1 && versions >= 5 && (removed > 0 || planted.is_some()),
        "too little to cut at"
    );
    let mut replay = Replay::default();
    events.iter().for_each(|event| replay.play(event));
    assert_complete(&replay.disk, &root);
    Recorded { events, _folder: folder }
}

/// The record, played to its end, must give the very files that are there.
fn assert_complete(disk: &Faulty, root: &Path) {
    let mut found = Vec::new();
    list(root, root, &mut found);
    found.sort();
    assert_eq!(disk.paths(), found, "the recorder missed a name");
    for path in found {
        let real = std::fs::read(root.join(&path)).expect("the file can be read");
        assert!(disk.content(&path) == real, "the recorder missed a write to {}", path.display());
    }
}

fn list(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the folder can be listed") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            list(root, &path, found);
        } else {
            found.push(path.strip_prefix(root).expect("it lies below").to_owned());
        }
    }
}

/// What was acknowledged up to here: the process wrote it to a list, in the same order as everything else.
fn acknowledged(disk: &Faulty) -> Ledger {
    let mut ledger = Ledger::default();
    let path = PathBuf::from(ACKNOWLEDGED);
    if disk.paths().contains(&path) {
        let content = disk.content(&path);
        let text = String::from_utf8_lossy(&content);
        let lines = text.lines().map(|line| Acknowledged::parse(line).expect("a line of the list"));
        ledger.acknowledged.extend(lines);
    }
    ledger
}

/// One crash state: opened with the real engine twice, and checked.
async fn examine(runtime: &Runtime, disk: &Faulty, ledger: &Ledger) -> Result<(), String> {
    let folder = scratch();
    write_out(disk, folder.path()).map_err(|error| error.to_string())?;
    let mut first = None;
    for _ in 0..2 {
        let clock = Clock::new(runtime.clone(), Millis::default());
        let settings = workload::settings(&folder.path().join(DATA), None);
        let (cell, _) = embedded::open(settings, runtime.clone(), clock).await.map_err(|error| error.to_string())?;
        let records = ledger.check(&*cell, 0..SHARDS)?;
        cell.close().await.map_err(|error| error.to_string())?;
        if *first.get_or_insert_with(|| records.clone()) != records {
            return Err("a second start found another log than the first".into());
        }
    }
    Ok(())
}

#[derive(Default, Debug)]
struct Totals {
    cuts: u64,
    states: u64,
    acknowledged: u64,
    violations: Vec<String>,
}

/// Cuts the record at up to `cuts` events, turning points first, and examines several crash states of each.
fn cut(recorded: &Recorded, cuts: usize) -> Totals {
    let tokio =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("threads start");
    let runtime = tokio_runtime::on(tokio.handle().clone());
    let turning = recorded.events.iter().filter(|event| event.is_turning_point()).count();
    let every = turning.div_ceil(cuts).max(1);
    let (mut replay, mut seen) = (Replay::default(), 0);
    let totals = Mutex::new(Totals::default());
    let states = AtomicU64::new(0);
    let mut waiting = Vec::new();
    for (number, event) in recorded.events.iter().enumerate() {
        if event.is_turning_point() {
            seen += 1;
            if seen % every == 0 {
                // Before the event: what it would have made durable is not.
                let ledger = acknowledged(&replay.disk);
                totals.lock().acknowledged = ledger.acknowledged.len() as u64;
                totals.lock().cuts += 1;
                let seed = number as u64;
                for survival in [Survival::Nothing, Survival::Torn(seed), Survival::Torn(!seed), Survival::Everything] {
                    let disk = replay.disk.fork();
                    disk.crash(survival);
                    waiting.push((number, survival, disk, ledger.clone()));
                }
            }
        }
        replay.play(event);
        if waiting.len() >= 64 || number + 1 == recorded.events.len() {
            tokio.block_on(async {
                let tasks: Vec<_> = waiting
                    .drain(..)
                    .map(|(number, survival, disk, ledger)| {
                        let inner = runtime.clone();
                        let found = runtime.spawn(async move { examine(&inner, &disk, &ledger).await });
                        (number, survival, found)
                    })
                    .collect();
                for (number, survival, found) in tasks {
                    states.fetch_add(1, Ordering::Relaxed);
                    if let Err(violation) =
                        found.await.unwrap_or_else(|lost| Err(format!("the engine panicked: {lost}")))
                    {
                        totals.lock().violations.push(format!("before event {number}, {survival:?}: {violation}"));
                    }
                }
            });
        }
    }
    let mut totals = totals.into_inner();
    totals.states = states.into_inner();
    tokio.shutdown_timeout(Duration::from_secs(5));
    totals
}

#[test]
fn what_was_acknowledged_survives_power_loss_on_the_real_disk() {
    let totals = cut(&run_recorded(150, None), 500);
    println!(
        "{} cuts, {} crash states opened twice, {} plans acknowledged, {} violations",
        totals.cuts,
        totals.states,
        totals.acknowledged,
        totals.violations.len()
    );
    assert!(totals.violations.is_empty(), "{}", totals.violations.join("\n"));
    assert!(totals.cuts >= 250 && totals.states >= 1_000 && totals.acknowledged > 500);
}

/// Goal: the method finds what it is there for: the same engine without its syncs loses acknowledged plans.
#[test]
fn a_store_that_leaves_out_its_syncs_is_found_out() {
    let totals = cut(&run_recorded(25, Some("no-sync")), 20);
    println!(
        "without syncs: {} violations in {} crash states, first: {}",
        totals.violations.len(),
        totals.states,
        totals.violations.first().map_or("none", String::as_str)
    );
    assert!(totals.violations.iter().any(|violation| violation.contains("an acknowledged plan is gone")));
}
