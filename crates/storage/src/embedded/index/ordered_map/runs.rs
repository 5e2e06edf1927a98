//! What the map has written: runs, each of what one flush took over, and the manifest that names those that count.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::Part;
use crate::embedded::bytes::{Cut, Reader, put_u32, put_u64};
use crate::embedded::segment::corrupt;
use crate::error::{Error, Kind};
use crate::files::{Files, TEMPORARY, read_exactly, write_whole};

/// Runs that are merged into one.
const RUNS_MAX: usize = 6;
/// The length that stands for a value that is none.
const DELETED: u32 = u32::MAX;

pub(super) struct Runs {
    files: Arc<dyn Files>,
    folder: PathBuf,
    numbers: Vec<u64>,
    next: u64,
}

impl Runs {
    /// Reads what the manifest names, oldest first; throws away what no manifest names.
    pub(super) fn open(
        files: Arc<dyn Files>,
        folder: &Path,
        load: &mut dyn FnMut(Bytes, Option<Bytes>),
    ) -> Result<Self, Error> {
        files.create_dir(folder).map_err(|error| unreadable(folder, error))?;
        let mut runs = Self { files, folder: folder.to_owned(), numbers: Vec::new(), next: 1 };
        runs.read_manifest()?;
        for number in &runs.numbers {
            runs.read_run(*number)?.into_iter().for_each(|(key, value)| load(key, value));
        }
        runs.clean()?;
        Ok(runs)
    }

    fn run_path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("run-{number:016x}"))
    }

    fn manifest_path(&self) -> PathBuf {
        self.folder.join("manifest")
    }

    pub(super) fn add<'a>(
        &mut self,
        entries: impl Iterator<Item = (&'a Bytes, Option<&'a Bytes>)>,
    ) -> Result<(), Error> {
        let number = self.write_run(entries)?;
        self.numbers.push(number);
        if let Err(error) = self.write_manifest() {
            self.numbers.pop();
            return Err(error);
        }
        Ok(())
    }

    fn write_run<'a>(&mut self, entries: impl Iterator<Item = (&'a Bytes, Option<&'a Bytes>)>) -> Result<u64, Error> {
        let mut bytes = Vec::new();
        for (key, value) in entries {
            put_u32(&mut bytes, key.len() as u32);
            put_u32(&mut bytes, value.map_or(DELETED, |value| value.len() as u32));
            bytes.extend_from_slice(key);
            bytes.extend_from_slice(value.map_or(&[][..], |value| value));
        }
        let checksum = xxh3_64(&bytes).to_le_bytes();
        let number = self.next;
        self.next += 1;
        let path = self.run_path(number);
        write_whole(&*self.files, &path, &[&bytes, &checksum]).map_err(|error| unreadable(&path, error))?;
        Ok(number)
    }

    fn write_manifest(&self) -> Result<(), Error> {
        let mut bytes = Vec::new();
        self.numbers.iter().for_each(|number| put_u64(&mut bytes, *number));
        let checksum = xxh3_64(&bytes).to_le_bytes();
        let path = self.manifest_path();
        write_whole(&*self.files, &path, &[&bytes, &checksum]).map_err(|error| unreadable(&path, error))?;
        Ok(())
    }

    /// All bytes of a file without the checksum at its end; `None` when there is no such file.
    fn read_checked(&self, path: &Path) -> Result<Option<Bytes>, Error> {
        let io = |error| unreadable(path, error);
        let file = match self.files.open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        let length = file.len().map_err(io)? as usize;
        let mut bytes = read_exactly(&*file, 0, length).map_err(io)?;
        let checksum = bytes.split_off(length.saturating_sub(8));
        if xxh3_64(&bytes).to_le_bytes()[..] != checksum[..] {
            return Err(corrupt(path, 0, "its checksum does not match"));
        }
        Ok(Some(bytes.into()))
    }

    fn read_manifest(&mut self) -> Result<(), Error> {
        let path = self.manifest_path();
        let Some(bytes) = self.read_checked(&path)? else { return Ok(()) };
        let mut reader = Reader::new(&bytes);
        while !reader.is_done() {
            let number = reader.u64().map_err(|Cut| corrupt(&path, reader.position() as u64, "it is cut off"))?;
            self.numbers.push(number);
        }
        Ok(())
    }

    fn read_run(&self, number: u64) -> Result<Part, Error> {
        let path = self.run_path(number);
        let missing = || corrupt(&path, 0, "the manifest names this run and it is missing");
        let bytes = self.read_checked(&path)?.ok_or_else(missing)?;
        let mut reader = Reader::new(&bytes);
        let mut part = Part::new();
        let mut next = || -> Result<Option<(Bytes, Option<Bytes>)>, Cut> {
            if reader.is_done() {
                return Ok(None);
            }
            let (key, value) = (reader.u32()?, reader.u32()?);
            let key = bytes.slice_ref(reader.take(key as usize)?);
            let value = match value {
                DELETED => None,
                length => Some(bytes.slice_ref(reader.take(length as usize)?)),
            };
            Ok(Some((key, value)))
        };
        while let Some((key, value)) = next().map_err(|Cut| corrupt(&path, 0, "an entry is cut off"))? {
            part.insert(key, value);
        }
        Ok(part)
    }

    /// Throws away what no manifest names.
    fn clean(&mut self) -> Result<(), Error> {
        let io = |error| unreadable(&self.folder, error);
        for name in self.files.list(&self.folder).map_err(io)? {
            let number = name.strip_prefix("run-").and_then(|digits| u64::from_str_radix(digits, 16).ok());
            let known = name == "manifest" || number.is_some_and(|number| self.numbers.contains(&number));
            match number {
                Some(number) => self.next = self.next.max(number + 1),
                None if known || name.ends_with(TEMPORARY) => {}
                None => return Err(corrupt(&self.folder.join(&name), 0, "this file is none of the index")),
            }
            if !known {
                self.files.remove(&self.folder.join(&name)).map_err(io)?;
            }
        }
        Ok(())
    }

    pub(super) fn merge(&mut self) -> Result<bool, Error> {
        if self.numbers.len() < RUNS_MAX {
            return Ok(false);
        }
        let mut merged = Part::new();
        for number in &self.numbers {
            merged.extend(self.read_run(*number)?);
        }
        merged.retain(|_, value| value.is_some());
        let number = self.write_run(merged.iter().map(|(key, value)| (key, value.as_ref())))?;
        let old = std::mem::replace(&mut self.numbers, vec![number]);
        if let Err(error) = self.write_manifest() {
            self.numbers = old;
            return Err(error);
        }
        for number in old {
            let path = self.run_path(number);
            self.files.remove(&path).map_err(|error| unreadable(&path, error))?;
        }
        Ok(true)
    }
}

pub(super) fn unreadable(path: &Path, error: io::Error) -> Error {
    let kind = if error.kind() == io::ErrorKind::StorageFull { Kind::Full } else { Kind::Unavailable };
    Error::new(kind, format!("{}: the index cannot be read or written", path.display())).because(error)
}
