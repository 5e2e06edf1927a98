//! A folder on its way to become a store, and how each kind of file gets into it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_types::Position;

use crate::contract::Copied;
use crate::embedded::archive::{Manifest, is_run};
use crate::embedded::segment::SegmentId;
use crate::embedded::store::{Store, sync_above};
use crate::error::{Error, Kind};
use crate::files::{File, Files, read_exactly};

/// Bytes that are copied at once.
const CHUNK: usize = 1024 * 1024;
/// How often the index may change its list of files under a copy before that is given up.
const TRIES: usize = 1_000;

/// How a kind of file gets into a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum How {
    /// It never changes once it has its name: the copy shares it.
    Link,
    /// It names the others of its folder and is replaced when that changes: read before and after them, written last.
    Names,
    /// By the log itself: what is sealed never changes, what grows does.
    Segment,
    /// Not by its name: read where another file names it, or made anew for the copy.
    Not,
}

/// The folders of a store that hold files.
const FOLDERS: [&str; 5] = ["log", "archive", "index", "index/tables", "index/blobs"];

/// Every kind of file that a store has in its folders, and how it gets into a copy. What is not named here stays behind.
fn how(folder: &str, name: &str) -> How {
    match folder {
        "log" if SegmentId::parse(name).is_some() => How::Segment,
        "index" if name.starts_with("run-") && !name.ends_with(crate::files::TEMPORARY) => How::Link,
        "index" if name == "manifest" || name == "current" => How::Names,
        "index/tables" | "index/blobs" => How::Link,
        "archive" if is_run(name) => How::Link,
        _ => How::Not,
    }
}

/// A folder on its way to become a store; dropped before that, nothing of it stays.
pub(super) struct Copier {
    from_files: Arc<dyn Files>,
    from: PathBuf,
    pub(super) to_files: Arc<dyn Files>,
    pub(super) to: PathBuf,
    /// The folder was there before.
    existed: bool,
    done: bool,
    copied: Copied,
}

impl Copier {
    /// Claims a folder that is new or empty.
    pub(super) fn begin(
        from_files: Arc<dyn Files>,
        from: &Path,
        to_files: Arc<dyn Files>,
        to: &Path,
    ) -> Result<Self, Error> {
        let refused = |what: &str| Error::new(Kind::Invalid, format!("{}: {what}", to.display()));
        let same_disk = from_files.volatile() == to_files.volatile();
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        if same_disk && absolute(to).starts_with(absolute(from)) {
            return Err(refused("a copy does not go into the store's own folder"));
        }
        let failed = |error| unwritable(to, error);
        let existed = match to_files.list(to) {
            Ok(names) if names.is_empty() => !to_files.volatile(),
            Ok(_) => return Err(refused("the folder is not empty; a copy goes to a new or an empty one")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(refused("this is no folder")),
            Err(error) => return Err(failed(error)),
        };
        to_files.create_dir(to).map_err(failed)?;
        // Whoever makes this file has the folder.
        match to_files.create(&to.join("LOCK")) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(refused("another copy is being made there"));
            }
            Err(error) => return Err(failed(error)),
        }
        let (from, to) = (from.to_owned(), to.to_owned());
        let copy = Self { from_files, from, to_files, to, existed, done: false, copied: Copied::default() };
        for folder in FOLDERS {
            match copy.from_files.list(&copy.from.join(folder)) {
                Ok(_) => {
                    copy.to_files.create_dir(&copy.to.join(folder)).map_err(|error| unwritable(&copy.to, error))?
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(unwritable(&copy.from, error)),
            }
        }
        Ok(copy)
    }

    /// The archive runs that a list names, and the list.
    pub(super) fn archive(&mut self, manifest: &Manifest, store: u128) -> Result<(), Error> {
        for name in manifest.run_files() {
            if !self.link("archive", &name)? {
                let what = format!("{}: this archive run is missing", self.from.join("archive").join(name).display());
                return Err(Error::new(Kind::Corrupt, what));
            }
        }
        manifest.write(&*self.to_files, &self.to.join("archive"), store)?;
        self.copied.copies += 1;
        Ok(())
    }

    /// The index as of its newest flush: whatever it names, however often that changes meanwhile.
    pub(super) fn index(&mut self) -> Result<(), Error> {
        for _ in 0..TRIES {
            let before = self.names()?;
            for folder in ["index", "index/tables", "index/blobs"] {
                for name in self.list(folder)?.iter().filter(|name| how(folder, name) == How::Link) {
                    // One that is gone again is in no list that still counts.
                    self.link(folder, name)?;
                }
            }
            // The tree's list of tables is a file with a number, written before it is named.
            let version = match &before {
                Some((name, bytes)) if *name == "current" => {
                    let number = bytes.first_chunk::<8>().map_or(0, |number| u64::from_le_bytes(*number));
                    let name = format!("v{number}");
                    Some((self.read("index", &name)?, name))
                }
                Some(_) | None => None,
            };
            if self.names()? != before || matches!(version, Some((None, _))) {
                continue;
            }
            if let Some((Some(bytes), name)) = version {
                self.write("index", &name, &bytes)?;
            }
            if let Some((name, bytes)) = before {
                self.write("index", name, &bytes)?;
            }
            return Ok(());
        }
        let what = format!("{}: the index changes faster than it can be copied", self.from.display());
        Err(Error::new(Kind::Unavailable, what))
    }

    /// The file that names the index's others, and what it says.
    fn names(&self) -> Result<Option<(&'static str, Vec<u8>)>, Error> {
        for name in ["current", "manifest"] {
            debug_assert_eq!(how("index", name), How::Names);
            if let Some(bytes) = self.read("index", name)? {
                return Ok(Some((name, bytes)));
            }
        }
        Ok(None)
    }

    /// Counts files that something else has written.
    pub(super) fn count(&mut self, folder: &str) -> Result<(), Error> {
        let path = self.to.join(folder);
        // What is a folder cannot be opened as a file.
        for name in self.to_files.list(&path).unwrap_or_default() {
            let Ok(file) = self.to_files.open(&path.join(name)) else { continue };
            self.copied.copies += 1;
            self.copied.bytes += file.len().map_err(|error| unwritable(&path, error))?;
        }
        Ok(())
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, Error> {
        let path = self.from.join(folder);
        match self.from_files.list(&path) {
            Ok(names) => Ok(names),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(unwritable(&path, error)),
        }
    }

    /// Shares a file, or copies it where that is not possible; false when there is none.
    pub(super) fn link(&mut self, folder: &str, name: &str) -> Result<bool, Error> {
        debug_assert!(matches!(how(folder, name), How::Link | How::Segment), "{folder}/{name} may change");
        let (from, to) = (self.from.join(folder).join(name), self.to.join(folder).join(name));
        let linked = if self.from_files.volatile() == self.to_files.volatile() {
            self.from_files.link(&from, &to)
        } else {
            Err(io::ErrorKind::CrossesDevices.into())
        };
        match linked {
            Ok(()) => self.copied.links += 1,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) if no_links(&error) => {
                self.copied.without_links = true;
                match self.from_files.open(&from) {
                    Ok(file) => self.copy_bytes(&*file, &from, &to, u64::MAX)?,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                    Err(error) => return Err(unwritable(&from, error)),
                }
            }
            Err(error) => return Err(unwritable(&to, error)),
        }
        Ok(true)
    }

    /// Copies the first bytes of a file.
    pub(super) fn copy(&mut self, folder: &str, name: &str, length: u64) -> Result<(), Error> {
        let (from, to) = (self.from.join(folder).join(name), self.to.join(folder).join(name));
        let file = self.from_files.open(&from).map_err(|error| unwritable(&from, error))?;
        self.copy_bytes(&*file, &from, &to, length)
    }

    fn copy_bytes(&mut self, file: &dyn File, from: &Path, to: &Path, length: u64) -> Result<(), Error> {
        let whole = file.len().map_err(|error| unwritable(from, error))?.min(length);
        let copy = || {
            let target = self.to_files.create(to)?;
            let mut offset = 0;
            while offset < whole {
                let bytes = read_exactly(file, offset, CHUNK.min((whole - offset) as usize))?;
                target.write_at(&bytes, offset)?;
                offset += bytes.len() as u64;
            }
            target.sync_data()
        };
        copy().map_err(|error| unwritable(to, error))?;
        self.copied.copies += 1;
        self.copied.bytes += whole;
        Ok(())
    }

    /// All bytes of a file, if there is one.
    fn read(&self, folder: &str, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.from.join(folder).join(name);
        let read = || {
            let file = self.from_files.open(&path)?;
            read_exactly(&*file, 0, file.len()? as usize)
        };
        match read() {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unwritable(&path, error)),
        }
    }

    fn write(&mut self, folder: &str, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.to.join(folder).join(name);
        let write = || {
            let file = self.to_files.create(&path)?;
            file.write_at(bytes, 0)?;
            file.sync_data()
        };
        write().map_err(|error| unwritable(&path, error))?;
        self.copied.copies += 1;
        self.copied.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Makes it durable and a store.
    pub(super) fn finish(mut self, store: Store, position: Position) -> Result<Copied, Error> {
        for folder in FOLDERS.iter().rev() {
            let path = self.to.join(folder);
            match self.to_files.sync_dir(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unwritable(&path, error)),
                Ok(()) | Err(_) => {}
            }
        }
        // The names of these folders before the one that makes them a store.
        self.to_files.sync_dir(&self.to).map_err(|error| unwritable(&self.to, error))?;
        store.write(&*self.to_files, &self.to)?;
        sync_above(&*self.to_files, &self.to)?;
        self.copied.copies += 1;
        self.copied.position = position;
        self.done = true;
        Ok(self.copied)
    }
}

impl Drop for Copier {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // The folder was new or empty, so everything in it is ours. What cannot be removed is no store all the same.
        let files = &*self.to_files;
        let remove = |folder: &Path| {
            for name in files.list(folder).unwrap_or_default() {
                let _ = files.remove(&folder.join(name));
            }
        };
        for folder in FOLDERS.iter().rev() {
            remove(&self.to.join(folder));
            let _ = files.remove_dir(&self.to.join(folder));
        }
        remove(&self.to);
        if !self.existed {
            let _ = files.remove_dir(&self.to);
        }
    }
}

/// The disk has no links, or not from here to there, or no more of them.
fn no_links(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, TooManyLinks, Unsupported};
    matches!(error.kind(), CrossesDevices | PermissionDenied | TooManyLinks | Unsupported)
}

fn unwritable(path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::Full,
        _ => Kind::Unavailable,
    };
    Error::new(kind, format!("{}: cannot be read or written", path.display())).because(error)
}
