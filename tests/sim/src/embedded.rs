//! The embedded engine on a disk that outlives its nodes and forgets, tears and reorders what was not synced.

use std::sync::Arc;
use std::time::Duration;

use headwater_storage::embedded::{self, Durability, IndexKind, Settings};
use headwater_storage::files::faulty::{Faults, Faulty, Survival};
use headwater_storage::{Cell, Error};
use headwater_types::{Clock, Runtime};
use parking_lot::Mutex;

use crate::plan::Dice;
use crate::planted::Bug;

/// The disk of a run, and how stores are opened on it.
pub struct Disk {
    faulty: Faulty,
    dice: Dice,
    settings: Settings,
    /// Chances of the faults of a node's life, of 100: dies at an operation, a sync fails, space runs out.
    chances: [u64; 3],
    faults: Mutex<Faults>,
    found: Mutex<Found>,
}

/// What the starts found, summed up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// Groups that the index had not flushed.
    pub replayed: u64,
    /// Groups that nothing proved synced.
    pub copied: u64,
}

impl Disk {
    /// An empty disk. Small segments and parts, so that they are closed, flushed and trimmed within a run.
    pub fn new(dice: &Dice, durability: Durability, bug: Option<Bug>) -> Self {
        let faulty = Faulty::new();
        let settings = Settings {
            durability,
            memtable_bytes: Some(dice.between(2, 64) << 10),
            segment_bytes: *dice.pick(&[9, 16, 64, 256]) << 10,
            replay_bytes_max: dice.between(32, 512) << 10,
            reserve_bytes: Some(64 << 10),
            groups_in_flight_max: dice.between(1, 4) as usize,
            rotate_one_in: dice.percent(70).then(|| dice.between(2, 20)),
            archive_one_in: dice.percent(60).then(|| dice.between(1, 4)),
            planted: bug.and_then(Bug::in_storage),
            ..Settings::on(Arc::new(faulty.clone()), "data", IndexKind::OrderedMap)
        };
        let chances = [*dice.pick(&[0, 30, 80]), *dice.pick(&[0, 0, 20]), *dice.pick(&[0, 0, 20])];
        let (faults, found) = (Mutex::new(Faults::default()), Mutex::new(Found::default()));
        Self { faulty, dice: dice.clone(), settings, chances, faults, found }
    }

    /// Opens the store. `stormy`: faults are drawn for this node's life.
    ///
    /// Errors: whatever a fault that struck meanwhile made of it. Panics when it does not open without one.
    pub async fn open(&self, runtime: &Runtime, clock: &Clock, stormy: bool) -> Result<Arc<dyn Cell>, Error> {
        let faults = if stormy { self.draw() } else { Faults::default() };
        *self.faults.lock() = faults;
        self.faulty.set_faults(faults);
        let opening = embedded::open(self.settings.clone(), runtime.clone(), clock.clone());
        let opened = runtime.spawn(opening).await.unwrap_or_else(|lost| {
            Err(Error::new(headwater_storage::Kind::Closed, "the start was lost").because(lost))
        });
        match opened {
            Ok((cell, recovered)) => {
                let mut found = self.found.lock();
                found.replayed += recovered.groups_replayed;
                found.copied += recovered.groups_copied;
                Ok(cell)
            }
            Err(error) if self.struck() || faults.capacity_bytes.is_some() => Err(error),
            Err(error) => panic!("the store does not open: {error}"),
        }
    }

    /// Ends when a fault has struck that ends the process; looks at the disk so often. Meanwhile someone frees space.
    pub async fn strikes(&self, control: &Runtime, every: Duration) {
        while !self.struck() {
            control.sleep(every).await;
            if self.faults.lock().capacity_bytes.is_some() && self.dice.percent(2) {
                let mut faults = self.faults.lock();
                faults.capacity_bytes = None;
                self.faulty.set_faults(*faults);
            }
        }
    }

    /// No more faults.
    pub fn calm(&self) {
        // What struck already stays: its process is still to end.
        if !self.struck() {
            *self.faults.lock() = Faults::default();
            self.faulty.set_faults(Faults::default());
        }
    }

    /// The process is gone, by itself or with the machine.
    pub fn lose_power(&self) {
        self.faulty.crash(match self.dice.below(3) {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            _ => Survival::Torn(self.dice.0.random()),
        });
    }

    /// What the starts found.
    pub fn found(&self) -> Found {
        *self.found.lock()
    }

    fn draw(&self) -> Faults {
        let [crash, sync, capacity] = self.chances;
        let far = *self.dice.pick(&[40, 300, 1_000]);
        Faults {
            crash_at: self.dice.percent(crash).then(|| self.dice.between(1, far)),
            fail_sync_at: self.dice.percent(sync).then(|| self.dice.between(1, far)),
            capacity_bytes: self.dice.percent(capacity).then(|| self.dice.between(200, 900) << 10),
            ..Faults::default()
        }
    }

    fn struck(&self) -> bool {
        let failed = self.faults.lock().fail_sync_at.is_some_and(|at| self.faulty.file_syncs() >= at);
        self.faulty.dead() || failed
    }
}
