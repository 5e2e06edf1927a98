//! Power loss at every write and every sync of a seeded workload.
//!
//! Method: the workload runs once to count the operations of the disk, then once for each of them, with the power failing
//! there. From each such disk several states are made (nothing unsynced survives, everything does, torn by dice; or the
//! process alone was killed, and the power fails after the next start); each is opened again and checked: all that was acknowledged or shown is there, groups are whole, the key space is the
//! fold of the log. Then it is written to and crashes again: nothing that was cut off comes back, nothing kept is lost,
//! no number is given twice. Recovery itself is stopped at each of its operations too.
#![allow(clippy::unwrap_used, reason = "a test may end here")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use headwater_storage::contract::Cell;
use headwater_storage::embedded::{self, Durability, IndexKind, Planted, Settings};
use headwater_storage::files::faulty::{Faults, Faulty, Survival};
use headwater_storage::ledger::{Driver, Ledger, Records};
use headwater_types::runtime::simulated::World;
use headwater_types::{Clock, Millis, Runtime};
use parking_lot::Mutex;

const SHARDS: u64 = 6;
const DRIVERS: u64 = 3;

#[derive(Clone, Copy)]
struct Case {
    seed: u64,
    steps: u64,
    durability: Durability,
    planted: Option<Planted>,
    /// Rewrites segments into archive runs after one in so many flushes.
    archive_one_in: Option<u64>,
}

impl Case {
    const fn strict(seed: u64) -> Self {
        Self { seed, steps: 7, durability: Durability::Strict, planted: None, archive_one_in: None }
    }

    /// Small and frequent archiving. Nothing is trimmed: every record must still be there.
    const fn archiving(seed: u64) -> Self {
        Self { archive_one_in: Some(1), ..Self::strict(seed) }
    }
}

#[derive(Default, Debug)]
struct Totals {
    points: u64,
    recoveries: u64,
    nested: u64,
    acknowledged: u64,
    groups_copied: u64,
    groups_replayed: u64,
    archive_runs: u64,
    violations: Vec<String>,
}

fn settings(disk: &Faulty, case: &Case) -> Settings {
    Settings {
        durability: case.durability,
        planted: case.planted,
        archive_one_in: case.archive_one_in,
        reserve_bytes: Some(0),
        segment_bytes: 40 * 1024,
        rotate_one_in: Some(5),
        // At once, so that statements lie between the groups.
        idle_statement: if case.seed.is_multiple_of(2) { Duration::ZERO } else { Duration::from_millis(20) },
        ..Settings::on(Arc::new(disk.clone()), "data", IndexKind::OrderedMap)
    }
}

async fn open(disk: &Faulty, case: &Case, runtime: &Runtime, totals: &Mutex<Totals>) -> Result<Arc<dyn Cell>, String> {
    let clock = Clock::new(runtime.clone(), Millis::default());
    let (cell, recovered) =
        embedded::open(settings(disk, case), runtime.clone(), clock).await.map_err(|error| error.to_string())?;
    let mut totals = totals.lock();
    totals.groups_copied += recovered.groups_copied;
    totals.groups_replayed += recovered.groups_replayed;
    totals.archive_runs += recovered.archive_runs;
    Ok(cell)
}

/// Runs the workload until it is done or the power fails; what was promised up to then.
fn run(case: Case, disk: &Faulty, steps: u64, ledger: Ledger) -> Ledger {
    let world = World::new(case.seed);
    let runtime = world.node(1);
    let (disk, ledger) = (disk.clone(), Arc::new(Mutex::new(ledger)));
    let promised = ledger.clone();
    world.run(async move {
        let Ok(cell) = open(&disk, &case, &runtime, &Mutex::default()).await else { return };
        let (reader, shown) = (cell.clone(), promised.clone());
        drop(runtime.spawn(async move {
            let mut published = reader.published();
            while published.changed().await.is_ok() {
                shown.lock().look(&*reader.snapshot(), 0..SHARDS);
            }
        }));
        let mut drivers = Vec::new();
        for index in 0..DRIVERS {
            let partitions = index * SHARDS / DRIVERS..(index + 1) * SHARDS / DRIVERS;
            let mut driver = Driver::new(cell.clone(), runtime.clone(), partitions);
            let (runtime, ledger) = (runtime.clone(), promised.clone());
            drivers.push(runtime.clone().spawn(async move {
                for _ in 0..steps {
                    let (acknowledged, error) = driver.step().await;
                    ledger.lock().acknowledged.extend(acknowledged);
                    if error.is_some() {
                        return;
                    }
                    runtime.sleep(Duration::from_millis(runtime.random() % 25)).await;
                }
            }));
        }
        for driver in drivers {
            driver.await.expect("a driver ends");
        }
    });
    // The process is dead: what its tasks would still do, nobody sees.
    world.kill(1);
    Arc::into_inner(ledger).map_or_else(|| panic!("a task outlived its world"), Mutex::into_inner)
}

/// Opens a crashed disk and checks it; its records.
fn recover(case: Case, disk: &Faulty, ledger: &Ledger, totals: &Arc<Mutex<Totals>>) -> Result<Records, String> {
    let world = World::new(case.seed ^ 0xdead);
    let runtime = world.node(2);
    let (disk, ledger, counted) = (disk.clone(), ledger.clone(), totals.clone());
    let records = world.run(async move {
        let cell = open(&disk, &case, &runtime, &counted).await?;
        ledger.check(&*cell, 0..SHARDS)
    });
    world.kill(2);
    totals.lock().recoveries += 1;
    records
}

/// How a process ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Power(Survival),
    /// Killed first; then, when it was started again, the power fails.
    Kill,
}

impl End {
    fn first(self, disk: &Faulty) {
        match self {
            Self::Power(survival) => disk.crash(survival),
            Self::Kill => disk.kill(),
        }
    }

    fn second(self, disk: &Faulty) {
        match self {
            Self::Power(survival) => disk.crash(survival),
            Self::Kill => disk.crash(Survival::Nothing),
        }
    }
}

/// One crash state: check it, go on, crash again, check again.
fn examine(
    case: Case,
    disk: &Faulty,
    survival: End,
    ledger: &Ledger,
    totals: &Arc<Mutex<Totals>>,
) -> Result<(), String> {
    let relaxed = !matches!(case.durability, Durability::Strict);
    let mut promised = ledger.clone();
    if relaxed {
        promised.acknowledged.clear();
    }
    survival.first(disk);
    let kept = recover(case, disk, &promised, totals)?;
    let served = disk.fork();
    survival.second(&served);
    // What a start has served is there after the next loss of power.
    let shown = Ledger { acknowledged: promised.acknowledged.clone(), shown: kept.clone() };
    recover(case, &served, &shown, totals)?;
    disk.kill();
    // What was recovered was served: it is promised from here on.
    let before: BTreeSet<(u64, u64)> =
        ledger.acknowledged.iter().map(|each| (each.shard, each.number)).chain(kept.keys().copied()).collect();
    let first = Ledger { acknowledged: promised.acknowledged.clone(), shown: kept.clone() };
    let mut second = run(Case { seed: case.seed + 1, planted: None, ..case }, disk, 2, first);
    let fresh: Vec<_> = second.acknowledged.difference(&promised.acknowledged).copied().collect();
    if let Some(twice) = fresh.iter().find(|each| before.contains(&(each.shard, each.number))) {
        return Err(format!("a number was given twice: {twice:?}"));
    }
    if relaxed {
        second.acknowledged.clear();
    }
    survival.second(disk);
    let again = recover(case, disk, &second, totals)?;
    let batches: BTreeSet<String> = fresh.iter().map(|each| format!("{:x}", each.batch)).collect();
    let revived = again.iter().find(|(place, payload)| {
        let text = String::from_utf8_lossy(payload);
        let batch = text.split(' ').next().unwrap_or_default();
        !kept.contains_key(place) && !batches.contains(batch)
    });
    match revived {
        Some((place, _)) => Err(format!("a group that was cut off came back: {place:?}")),
        None => Ok(()),
    }
}

/// Stops at every `every`-th operation and examines each state.
fn at_every_operation(case: Case, every: usize) -> Totals {
    let totals = Arc::new(Mutex::new(Totals::default()));
    let whole = Faulty::new();
    let ledger = run(case, &whole, case.steps, Ledger::default());
    totals.lock().acknowledged = ledger.acknowledged.len() as u64;
    for point in (1..=whole.operations()).step_by(every) {
        let disk = Faulty::new();
        disk.set_faults(Faults { crash_at: Some(point), ..Faults::default() });
        let ledger = run(case, &disk, case.steps, Ledger::default());
        totals.lock().points += 1;
        let torn = [Survival::Torn(point), Survival::Torn(!point)].map(End::Power);
        let survivals = [End::Power(Survival::Nothing), End::Power(Survival::Everything), torn[0], torn[1], End::Kill];
        for survival in survivals {
            if let Err(violation) = examine(case, &disk.fork(), survival, &ledger, &totals) {
                totals
                    .lock()
                    .violations
                    .push(format!("seed {} operation {point} {survival:?}: {violation}", case.seed));
            }
        }
    }
    Arc::into_inner(totals).unwrap().into_inner()
}

#[test]
fn what_was_acknowledged_survives_power_loss_at_every_operation() {
    let (mut points, mut recoveries) = (0, 0);
    for seed in 1..=3 {
        let totals = at_every_operation(Case::strict(seed), 1);
        println!("strict, seed {seed}: {totals:?}");
        assert!(totals.violations.is_empty(), "{}", totals.violations.join("\n"));
        assert!(totals.acknowledged > 20 && totals.groups_copied > 0 && totals.groups_replayed > 0);
        points += totals.points;
        recoveries += totals.recoveries;
    }
    println!("{points} crash points, {recoveries} recoveries, 0 violations");
    assert!(points > 300 && recoveries > 2_000, "{points} points, {recoveries} recoveries");
}

#[test]
fn relaxed_loses_answers_at_most_and_never_what_a_reader_saw() {
    let relaxed = Durability::Relaxed { interval: Duration::from_millis(30) };
    let totals = at_every_operation(Case { durability: relaxed, ..Case::strict(4) }, 1);
    println!("relaxed: {totals:?}");
    assert!(totals.violations.is_empty(), "{}", totals.violations.join("\n"));
    assert!(totals.points > 80 && totals.recoveries > 500);
}

/// Goal: wherever archiving is cut off, the next start finds either the segments or the run: nothing is missing, nothing
/// is there twice, nothing that was shown is gone.
#[test]
fn archiving_survives_power_loss_at_every_operation() {
    let (mut points, mut recoveries, mut runs) = (0, 0, 0);
    for seed in 1..=3 {
        let totals = at_every_operation(Case::archiving(seed), 1);
        println!("archiving, seed {seed}: {totals:?}");
        assert!(totals.violations.is_empty(), "{}", totals.violations.join("\n"));
        assert!(totals.acknowledged > 20 && totals.archive_runs > 0);
        points += totals.points;
        recoveries += totals.recoveries;
        runs += totals.archive_runs;
    }
    println!("{points} crash points, {recoveries} recoveries, {runs} archive runs found by them, 0 violations");
    assert!(
        points > 400 && recoveries > 2_000 && runs > 1_000,
        "{points} points, {recoveries} recoveries, {runs} runs"
    );
}

/// Goal: recovery may be stopped anywhere too, again and again.
#[test]
fn recovery_survives_power_loss_at_each_of_its_own_operations() {
    let case = Case::archiving(5);
    let totals = Arc::new(Mutex::new(Totals::default()));
    let whole = Faulty::new();
    run(case, &whole, case.steps, Ledger::default());
    for point in (1..=whole.operations()).step_by(9) {
        let first = Faulty::new();
        first.set_faults(Faults { crash_at: Some(point), ..Faults::default() });
        let ledger = run(case, &first, case.steps, Ledger::default());
        first.crash(Survival::Torn(point));
        let probe = first.fork();
        let Ok(kept) = recover(case, &probe, &ledger, &totals) else { panic!("operation {point}") };
        for nested in 1..=probe.operations() {
            let disk = first.fork();
            disk.set_faults(Faults { crash_at: Some(nested), ..Faults::default() });
            assert!(recover(case, &disk, &ledger, &totals).is_err() || disk.operations() >= nested);
            for survival in [Survival::Nothing, Survival::Torn(nested)] {
                let disk = disk.fork();
                disk.crash(survival);
                let again = recover(case, &disk, &ledger, &totals);
                totals.lock().nested += 1;
                assert_eq!(again.as_ref(), Ok(&kept), "operation {point}, then {nested} of recovery, {survival:?}");
            }
        }
    }
    let totals = totals.lock();
    println!("{} stops inside recovery, {} recoveries", totals.nested, totals.recoveries);
    assert!(totals.nested > 300, "{}", totals.nested);
}

#[test]
fn every_planted_bug_is_found() {
    let bugs = [
        Planted::AckBeforeSync,
        Planted::NoSync,
        Planted::RecordApartFromItem,
        Planted::RotateInsideGroup,
        Planted::FreeBeforeRun,
    ];
    for bug in bugs {
        let archive_one_in = (bug == Planted::FreeBeforeRun).then_some(1);
        let found = (1..=4)
            .map(|seed| at_every_operation(Case { planted: Some(bug), archive_one_in, ..Case::strict(seed) }, 3))
            .find(|totals| !totals.violations.is_empty());
        let Some(totals) = found else { panic!("{bug:?} was not found") };
        println!(
            "{bug:?}: {} violations at {} points, first: {}",
            totals.violations.len(),
            totals.points,
            totals.violations[0]
        );
    }
}
