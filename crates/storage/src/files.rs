//! The file layer: what the embedded engine asks of a disk, so that tests can put a faulty one in its place.
//!
//! Nothing is durable before its sync: a file's bytes and length need [`File::sync_data`], a created, renamed or
//! removed name needs [`Files::sync_dir`] of its folder. Engines rely on no more than that.

pub mod disk;
#[cfg(any(test, feature = "testing"))]
pub mod faulty;
pub mod memory;

use std::io;
use std::path::Path;
use std::sync::Arc;

/// Names, folders and locks of one disk.
pub trait Files: Send + Sync + 'static {
    /// Makes an empty file. Errors: the name is taken.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Opens a file for reading and writing. Errors: there is none.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Gives a file another name in the same folder, in place of whatever bore it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Takes a name away; who has the file open may go on reading.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Gives a file a second name, in any folder. Errors: the name is taken; the disk has no links, or not from here to
    /// there.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Takes an empty folder away.
    fn remove_dir(&self, folder: &Path) -> io::Result<()>;
    /// Names in a folder, sorted. Errors: there is no such folder.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Makes a folder and those above it; an existing one is fine.
    fn create_dir(&self, folder: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, folder: &Path) -> io::Result<()>;
    /// Takes an exclusive lock on a file, made if need be; `None` when someone else holds it. Dropping it lets go.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;
    /// Bytes that can still be written below a folder.
    fn free_bytes(&self, folder: &Path) -> io::Result<u64>;
    /// Whether nothing outlives the process: no sync is worth a thread.
    fn volatile(&self) -> bool;
    /// What was done so far.
    fn counts(&self) -> Counts;
}

/// One open file.
pub trait File: Send + Sync {
    /// Writes all bytes. Errors: with `StorageFull` a part may be written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Reads until the buffer is full or the file ends.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Makes bytes and length durable. After an error nothing is known about what was written since the last success.
    fn sync_data(&self) -> io::Result<()>;
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts or extends it.
    fn set_len(&self, length: u64) -> io::Result<()>;
}

/// A held lock.
pub trait Lock: Send + Sync {}

/// What a file layer did, for guards and tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Bytes written.
    pub bytes_written: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Syncs of files and folders.
    pub syncs: u64,
    /// Calls of any kind: about one system call each.
    pub calls: u64,
}

/// Reads exactly `length` bytes.
pub(crate) fn read_exactly(file: &dyn File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; length];
    let read = file.read_at(&mut buffer, offset)?;
    if read < length {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends early"));
    }
    Ok(buffer)
}

/// Writes a whole file under a temporary name and then gives it its own: after a crash it is there whole or not at all.
pub(crate) fn write_whole(files: &dyn Files, path: &Path, parts: &[&[u8]]) -> io::Result<Arc<dyn File>> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let temporary = path.with_extension(TEMPORARY);
    match files.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let file = files.create(&temporary)?;
    let mut offset = 0;
    for part in parts {
        file.write_at(part, offset)?;
        offset += part.len() as u64;
    }
    file.sync_data()?;
    files.rename(&temporary, path)?;
    files.sync_dir(folder)?;
    Ok(file)
}

/// Extension of files that are not whole yet: what is found of them at the start is thrown away.
pub(crate) const TEMPORARY: &str = "tmp";
