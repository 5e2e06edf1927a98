//! Panics anywhere in the process, counted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};

static INSTALL: Once = Once::new();
static SILENT: AtomicBool = AtomicBool::new(false);
static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Panics that are kept in words; more are counted only by their absence of words.
const KEPT_MAX: usize = 100;

/// Counts from now on; the hook before is called too, unless panics are expected.
pub fn count() {
    INSTALL.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !SILENT.load(Ordering::Relaxed) {
                before(panic);
            }
            let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
            if told.len() < KEPT_MAX {
                told.push(panic.to_string());
            }
        }));
    });
}

/// Says whether panics are expected, and so not shown.
pub fn expect(expected: bool) {
    SILENT.store(expected, Ordering::Relaxed);
}

/// Takes what has panicked since the last call.
pub fn take() -> Vec<String> {
    std::mem::take(&mut TOLD.lock().unwrap_or_else(PoisonError::into_inner))
}
