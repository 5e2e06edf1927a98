//! Power loss at every write and every sync of a store that trims and archives.
//!
//! Method: as in `tests/power_loss.rs`, with a model that knows horizons. A store is found with either the segments or the
//! run that replaces them: of every shard a suffix of what was acknowledged, without a gap, from the horizon on at least.
//! Then it goes on, archives more, and the power fails once more.

use std::time::Duration;

use headwater_storage::embedded::{Planted, Settings};
use headwater_storage::files::faulty::{Faults, Faulty, Survival};
use headwater_types::Runtime;
use headwater_types::runtime::simulated::World;
use parking_lot::Mutex;
use std::sync::Arc;

use super::store::{Promised, bytes_in, open, read, settings};

const QUIET: u64 = 4;

#[derive(Clone, Copy)]
struct Case {
    seed: u64,
    planted: Option<Planted>,
    by_chance: bool,
}

#[derive(Default, Debug)]
struct Totals {
    points: u64,
    recoveries: u64,
    runs_found: u64,
    archived: u64,
    violations: Vec<String>,
}

fn case_settings(disk: &Faulty, case: &Case) -> Settings {
    let archive_one_in = case.by_chance.then_some(2);
    Settings { planted: case.planted, archive_one_in, ..settings(disk) }
}

/// Runs until it is done or the power fails; what was promised, and how many segments were archived.
fn run(case: Case, disk: &Faulty, steps: u64, promised: Promised) -> (Promised, u64) {
    let world = World::new(case.seed);
    let runtime = world.node(1);
    let (disk, promised) = (disk.clone(), Arc::new(Mutex::new((promised, 0))));
    let shared = promised.clone();
    world.run(async move {
        let Ok((cell, _)) = open(&case_settings(&disk, &case), &runtime).await else { return };
        for _ in 0..steps {
            // Noted after every answer: the power may fail at any moment.
            let mut noted = shared.lock().0.clone();
            let done = step(&mut noted, &cell, &runtime).await;
            *shared.lock() = (noted, cell.stats().segments_archived);
            if !done {
                return;
            }
        }
    });
    world.kill(1);
    Arc::into_inner(promised).expect("all tasks are gone").into_inner()
}

/// Whether the cell still answers.
async fn step(promised: &mut Promised, cell: &Arc<dyn headwater_storage::Cell>, runtime: &Runtime) -> bool {
    let dice = runtime.random();
    let shard = dice / 16 % QUIET;
    let done = match dice % 16 {
        0..=4 => promised.quiet(cell, runtime, shard).await,
        5..=9 => promised.fast(cell, runtime, 3_000).await,
        10 => {
            let all = promised.quiet.get(&shard).map_or(0, |quiet| quiet.numbers.len());
            promised.trim(cell, shard, (dice >> 16) as usize % all.max(1));
            Ok(())
        }
        11 => {
            // A held snapshot keeps what it may read.
            let snapshot = cell.snapshot();
            let before = read(&*snapshot, shard).ok();
            runtime.sleep(Duration::from_millis(20)).await;
            if let (Some(before), Ok(after)) = (before, read(&*snapshot, shard)) {
                assert_eq!(before, after, "a snapshot has changed");
            }
            Ok(())
        }
        _ => {
            runtime.sleep(Duration::from_millis(dice % 30)).await;
            Ok(())
        }
    };
    done.is_ok()
}

fn recover(case: Case, disk: &Faulty, promised: &mut Promised, totals: &mut Totals) -> Result<(), String> {
    let world = World::new(case.seed ^ 0xdead);
    let runtime = world.node(2);
    let (disk, mut checked) = (disk.clone(), promised.clone());
    let found = world.run(async move {
        let (cell, recovered) =
            open(&case_settings(&disk, &case), &runtime).await.map_err(|error| error.to_string())?;
        checked.check(&cell)?;
        Ok((checked, recovered.archive_runs))
    });
    world.kill(2);
    totals.recoveries += 1;
    found.map(|(checked, runs)| {
        *promised = checked;
        totals.runs_found += runs;
    })
}

/// One crash state: check it, go on, crash again, check again.
fn examine(
    case: Case,
    disk: &Faulty,
    survival: Option<Survival>,
    promised: &Promised,
    totals: &mut Totals,
) -> Result<(), String> {
    let case = Case { planted: None, ..case };
    let mut promised = promised.clone();
    match survival {
        Some(survival) => disk.crash(survival),
        None => disk.kill(),
    }
    recover(case, disk, &mut promised, totals)?;
    disk.kill();
    let (mut promised, _) = run(Case { seed: case.seed + 7, ..case }, disk, 12, promised);
    disk.crash(survival.unwrap_or(Survival::Nothing));
    recover(case, disk, &mut promised, totals)
}

fn at_every_operation(case: Case, steps: u64, every: usize) -> Totals {
    let mut totals = Totals::default();
    let whole = Faulty::new();
    totals.archived = run(case, &whole, steps, Promised::default()).1;
    for point in (1..=whole.operations()).step_by(every) {
        let disk = Faulty::new();
        disk.set_faults(Faults { crash_at: Some(point), ..Faults::default() });
        let (promised, _) = run(case, &disk, steps, Promised::default());
        totals.points += 1;
        let torn = Some(Survival::Torn(point));
        for survival in [Some(Survival::Nothing), Some(Survival::Everything), torn, None] {
            if let Err(violation) = examine(case, &disk.fork(), survival, &promised, &mut totals) {
                totals.violations.push(format!("seed {} operation {point} {survival:?}: {violation}", case.seed));
            }
        }
    }
    totals
}

#[test]
fn trimming_and_archiving_survive_power_loss_at_every_operation() {
    let (mut points, mut recoveries, mut runs, mut archived) = (0, 0, 0, 0);
    for seed in 1..=4 {
        let case = Case { seed, planted: None, by_chance: seed % 2 == 0 };
        let totals = at_every_operation(case, 110, 1);
        println!("seed {seed}: {totals:?}");
        assert!(totals.violations.is_empty(), "{}", totals.violations.join("\n"));
        assert!(totals.archived > 3 && totals.runs_found > 100, "{totals:?}");
        points += totals.points;
        recoveries += totals.recoveries;
        runs += totals.runs_found;
        archived += totals.archived;
    }
    println!(
        "{points} crash points, {recoveries} recoveries, {runs} runs found, {archived} segments archived, 0 violations"
    );
    assert!(points > 800 && recoveries > 6_000);
}

#[test]
fn segments_freed_before_their_run_is_durable_are_found() {
    let bug = Some(Planted::FreeBeforeRun);
    let totals = at_every_operation(Case { seed: 1, planted: bug, by_chance: false }, 110, 1);
    assert!(!totals.violations.is_empty(), "the bug was not found at {} points", totals.points);
    println!("{} violations at {} points, first: {}", totals.violations.len(), totals.points, totals.violations[0]);
}

/// Goal: recovery may be stopped at each of its own operations, with runs to read and segments to remove.
#[test]
fn recovery_with_runs_survives_power_loss_at_each_of_its_own_operations() {
    let case = Case { seed: 3, planted: None, by_chance: true };
    let mut totals = Totals::default();
    let whole = Faulty::new();
    run(case, &whole, 110, Promised::default());
    let mut stops = 0;
    for point in (40..=whole.operations()).step_by(11) {
        let first = Faulty::new();
        first.set_faults(Faults { crash_at: Some(point), ..Faults::default() });
        let (promised, _) = run(case, &first, 110, Promised::default());
        first.crash(Survival::Torn(point));
        let probe = first.fork();
        recover(case, &probe, &mut promised.clone(), &mut totals).unwrap_or_else(|text| panic!("{point}: {text}"));
        for nested in 1..=probe.operations() {
            let disk = first.fork();
            disk.set_faults(Faults { crash_at: Some(nested), ..Faults::default() });
            // May fail, may be through before the power goes.
            let _ = recover(case, &disk, &mut promised.clone(), &mut totals);
            disk.crash(Survival::Torn(nested));
            let again = recover(case, &disk, &mut promised.clone(), &mut totals);
            assert_eq!(again, Ok(()), "operation {point}, then {nested} of recovery");
            stops += 1;
        }
    }
    println!("{stops} stops inside recovery, {} runs found", totals.runs_found);
    assert!(stops > 150 && totals.runs_found > 100);
}

/// Goal: without room for a run nothing is lost and nobody waits; with room again the space is given back.
#[test]
fn a_full_disk_delays_archiving_and_loses_nothing() {
    let (mut delayed, mut given_back) = (0, 0);
    for seed in 0..12 {
        let (was_delayed, less) = super::store::simulate(seed, async move |disk: Faulty, runtime: Runtime| {
            let settings = settings(&disk);
            let (cell, _) = open(&Settings { rotate_one_in: None, ..settings.clone() }, &runtime).await.unwrap();
            let mut promised = Promised::default();
            for at in 0..120 {
                match at % 4 {
                    0 => promised.quiet(&cell, &runtime, at / 4 % QUIET).await.unwrap(),
                    _ => promised.fast(&cell, &runtime, 2_500).await.unwrap(),
                }
            }
            cell.close().await.unwrap();
            drop(cell);
            // Everything is flushed; room for the next segment and little more.
            let used = bytes_in(&disk, "data");
            let capacity_bytes = Some(used + 70_000 + 1_000 * seed);
            disk.set_faults(Faults { capacity_bytes, ..Faults::default() });
            let (cell, _) = open(&settings, &runtime).await.unwrap();
            promised.trim(&cell, 0, 1);
            runtime.sleep(Duration::from_secs(3)).await;
            let was_delayed = cell.stats().segments_archived == 0;
            promised.check(&cell).unwrap();
            disk.set_faults(Faults::default());
            runtime.sleep(Duration::from_secs(5)).await;
            promised.check(&cell).unwrap();
            assert!(cell.stats().segments_archived > 5, "{:?}", cell.stats());
            let less = bytes_in(&disk, "data/log") + bytes_in(&disk, "data/archive");
            drop(cell);
            disk.crash(Survival::Nothing);
            let (cell, recovered) = open(&settings, &runtime).await.unwrap();
            assert!(recovered.archive_runs > 0);
            promised.check(&cell).unwrap();
            (u64::from(was_delayed), u64::from(less < used / 2))
        });
        delayed += was_delayed;
        given_back += less;
    }
    println!("without room: {delayed} of 12 waited, {given_back} of 12 gave more than half back afterwards");
    assert!(delayed > 0 && given_back == 12);
}
