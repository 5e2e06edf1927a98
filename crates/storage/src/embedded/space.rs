//! Room on the disk: below the reserve no writes are taken, while reads, trim and flush go on.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use headwater_types::Clock;
use parking_lot::Mutex;

use super::engine::Engine;
use crate::error::{Error, Kind};
use crate::files::Files;

/// The disk is asked again after this many bytes written.
const ASK_AFTER_BYTES: u64 = 16 * 1024 * 1024;
/// And after this time, when anything is written.
const ASK_AFTER: Duration = Duration::from_secs(1);
/// While it is full it is asked no more often than this.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// What is known of the room left.
pub(super) struct Space {
    reserve_bytes: u64,
    low: AtomicBool,
    asked: Mutex<Asked>,
}

#[derive(Default)]
struct Asked {
    at: Option<Duration>,
    written: u64,
}

impl Space {
    pub(super) fn new(reserve_bytes: u64) -> Self {
        Self { reserve_bytes, low: AtomicBool::new(false), asked: Mutex::default() }
    }

    /// Counts what was written and looks whether the reserve is reached.
    pub(super) fn wrote(&self, files: &dyn Files, folder: &Path, clock: &Clock, bytes: u64) {
        if self.reserve_bytes == 0 || files.volatile() {
            return;
        }
        let now = clock.monotonic();
        let mut asked = self.asked.lock();
        asked.written += bytes;
        if asked.written < ASK_AFTER_BYTES && asked.at.is_some_and(|at| now < at + ASK_AFTER) {
            return;
        }
        self.ask(&mut asked, files, folder, now);
    }

    /// The disk itself said that it is full.
    pub(super) fn note_full(&self) {
        if self.reserve_bytes > 0 {
            self.low.store(true, Ordering::Release);
        }
    }

    /// Whether writes are refused for want of room.
    pub(super) fn is_low(&self) -> bool {
        self.low.load(Ordering::Acquire)
    }

    fn ask(&self, asked: &mut Asked, files: &dyn Files, folder: &Path, now: Duration) {
        *asked = Asked { at: Some(now), written: 0 };
        // A disk that cannot say what is free is taken as large enough: the write itself will tell.
        let free = files.free_bytes(folder).unwrap_or(u64::MAX);
        self.low.store(free < self.reserve_bytes, Ordering::Release);
    }
}

impl Engine {
    /// Whether a batch may be taken. Errors: full.
    pub(super) fn admit(&self) -> Result<(), Error> {
        let space = &self.space;
        if !space.low.load(Ordering::Acquire) {
            return Ok(());
        }
        let now = self.clock.monotonic();
        let mut asked = space.asked.lock();
        if asked.at.is_none_or(|at| now >= at + ASK_AGAIN) {
            space.ask(&mut asked, &*self.files, &self.folder, now);
        }
        if !space.low.load(Ordering::Acquire) {
            return Ok(());
        }
        let reserve = space.reserve_bytes;
        let what = format!("{}: less than {reserve} bytes are free", self.folder.display());
        Err(Error::new(Kind::Full, what))
    }
}
