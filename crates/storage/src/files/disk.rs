//! The real disk, through `std::fs`.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Counts, File, Files, Lock};

/// The file system of this machine; it counts what it does.
#[derive(Default)]
pub struct Disk(Arc<Counters>);

#[derive(Default)]
struct Counters {
    bytes_written: AtomicU64,
    bytes_read: AtomicU64,
    syncs: AtomicU64,
    calls: AtomicU64,
}

impl Counters {
    fn call(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    fn sync(&self) {
        self.call();
        self.syncs.fetch_add(1, Ordering::Relaxed);
    }
}

struct Open {
    file: fs::File,
    counters: Arc<Counters>,
}

/// The lock goes with the open file.
struct Held(#[allow(dead_code, reason = "kept open: closing it lets go of the lock")] fs::File);

impl Lock for Held {}

impl Disk {
    fn opened(&self, options: &fs::OpenOptions, path: &Path) -> io::Result<Arc<dyn File>> {
        self.0.call();
        Ok(Arc::new(Open { file: options.open(path)?, counters: self.0.clone() }))
    }
}

impl Files for Disk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.opened(fs::OpenOptions::new().read(true).write(true).create_new(true), path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.opened(fs::OpenOptions::new().read(true).write(true), path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.call();
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.call();
        fs::remove_file(path)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.call();
        fs::hard_link(from, to)
    }

    fn remove_dir(&self, folder: &Path) -> io::Result<()> {
        self.0.call();
        fs::remove_dir(folder)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.0.call();
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn create_dir(&self, folder: &Path) -> io::Result<()> {
        self.0.call();
        fs::create_dir_all(folder)
    }

    fn sync_dir(&self, folder: &Path) -> io::Result<()> {
        self.0.sync();
        fs::File::open(folder)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.0.call();
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(Held(file)))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn free_bytes(&self, folder: &Path) -> io::Result<u64> {
        self.0.call();
        let stat = rustix::fs::statvfs(folder)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn volatile(&self) -> bool {
        false
    }

    fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            bytes_written: read(&self.0.bytes_written),
            bytes_read: read(&self.0.bytes_read),
            syncs: read(&self.0.syncs),
            calls: read(&self.0.calls),
        }
    }
}

impl File for Open {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.counters.call();
        self.counters.bytes_written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.file.write_all_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            self.counters.call();
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.counters.bytes_read.fetch_add(filled as u64, Ordering::Relaxed);
        Ok(filled)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.counters.sync();
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.counters.call();
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.counters.call();
        self.file.set_len(length)
    }
}
