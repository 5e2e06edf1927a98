//! A disk in memory without faults: what `--in-memory` keeps its segments in.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::{Counts, File, Files, Lock};

/// Files that end with the process.
#[derive(Default)]
pub struct Memory {
    files: Mutex<BTreeMap<PathBuf, Arc<Bytes>>>,
    calls: AtomicU64,
}

#[derive(Default)]
struct Bytes(RwLock<Parts>);

/// Unit: bytes. Source: ours.
const PART_BYTES: usize = 64 * 1_024;

/// A file's content in parts that stay where they are: growing it copies nothing. All but the last are full.
#[derive(Default)]
struct Parts(Vec<Vec<u8>>);

impl Parts {
    fn len(&self) -> usize {
        self.0.last().map_or(0, |last| (self.0.len() - 1) * PART_BYTES + last.len())
    }

    /// Writes over what is there, and behind it; `at` is not beyond the end.
    fn write(&mut self, mut at: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (index, inside) = (at / PART_BYTES, at % PART_BYTES);
            if index == self.0.len() {
                // Small files are many: the first part grows with its content.
                self.0.push(Vec::with_capacity(if index == 0 { 0 } else { PART_BYTES }));
            }
            let (now, later) = bytes.split_at(bytes.len().min(PART_BYTES - inside));
            let part = &mut self.0[index];
            let (over, beyond) = now.split_at(now.len().min(part.len() - inside));
            part[inside..inside + over.len()].copy_from_slice(over);
            part.extend_from_slice(beyond);
            (at, bytes) = (at + now.len(), later);
        }
    }

    /// Reads up to the end; how many bytes.
    fn read(&self, at: usize, buffer: &mut [u8]) -> usize {
        let mut read = 0;
        while read < buffer.len() {
            let from = at + read;
            let part = self.0.get(from / PART_BYTES).and_then(|part| part.get(from % PART_BYTES..));
            let Some(rest) = part.filter(|rest| !rest.is_empty()) else { break };
            let length = rest.len().min(buffer.len() - read);
            buffer[read..read + length].copy_from_slice(&rest[..length]);
            read += length;
        }
        read
    }

    /// Cuts it off, or fills it up with zeros.
    fn set_len(&mut self, length: usize) {
        self.0.truncate(length.div_ceil(PART_BYTES));
        let kept = self.len();
        if kept < length {
            self.write(kept, &vec![0; length - kept]);
        } else if let Some(last) = self.0.last_mut() {
            last.truncate(last.len() - (kept - length));
        }
    }
}

struct Held;

impl Lock for Held {}

impl Files for Memory {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mut files = self.files.lock();
        if files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = Arc::new(Bytes::default());
        files.insert(path.to_owned(), file.clone());
        Ok(file)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        match self.files.lock().get(path) {
            Some(file) => Ok(file.clone()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.files.lock();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files.lock().remove(path).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.files.lock();
        if files.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = files.get(from).cloned().ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove_dir(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let files = self.files.lock();
        let inside = files.keys().filter(|path| path.parent() == Some(folder));
        Ok(inside.filter_map(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned()).collect())
    }

    fn create_dir(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        Ok(Some(Box::new(Held)))
    }

    fn free_bytes(&self, _folder: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn volatile(&self) -> bool {
        true
    }

    fn counts(&self) -> Counts {
        Counts { calls: self.calls.load(Ordering::Relaxed), ..Counts::default() }
    }
}

impl File for Bytes {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut content = self.0.write();
        let start = offset as usize;
        if content.len() < start {
            content.set_len(start);
        }
        content.write(start, bytes);
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(self.0.read().read(offset as usize, buffer))
    }

    fn sync_data(&self) -> io::Result<()> {
        // Synced where it is whole: what it will not grow into is given back.
        self.0.write().0.iter_mut().for_each(Vec::shrink_to_fit);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.read().len() as u64)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.write().set_len(length as usize);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use headwater_types::runtime::simulated::World;

    use super::*;

    const LONGEST: usize = 3 * PART_BYTES;

    #[test]
    fn parts_are_one_content() {
        let random = World::new(1).node(1);
        let below = |most: usize| random.random() as usize % most;
        let (file, mut model, mut longest) = (Bytes::default(), Vec::new(), 0);
        for _ in 0..500 {
            let (at, length, byte) = (below(LONGEST), below(LONGEST), random.random() as u8);
            if below(4) == 0 {
                file.set_len(at as u64).expect("memory takes it");
                model.resize(at, 0);
            } else {
                file.write_at(&vec![byte; length], at as u64).expect("memory takes it");
                model.resize(model.len().max(at + length), 0);
                model[at..at + length].fill(byte);
            }
            assert_eq!(file.len().expect("a length"), model.len() as u64);
            let mut read = vec![1; LONGEST];
            let count = file.read_at(&mut read, (at / 2) as u64).expect("memory gives it");
            let expected = model.get(at / 2..).unwrap_or_default();
            assert!(read[..count] == expected[..expected.len().min(LONGEST)]);
            longest = longest.max(model.len());
        }
        assert!(longest > 4 * PART_BYTES, "{longest}");
    }
}
