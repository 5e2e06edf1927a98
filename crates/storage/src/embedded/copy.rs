//! A copy of the whole store at one position, made while it is written to.
//!
//! ```text
//!   1  pin a snapshot             no segment goes from here on
//!   2  the index                  flushed up to F, whatever is flushed later
//!   3  open the next segment      P: the last position before it; all up to P is synced and applied
//!   4  the segments before it     sealed and linked; they reach from before F to P
//!   5  the header of the new one  copied: it states that all before it is whole
//!   6  STORE                      last: without it the folder is no store
//! ```
//! Writers wait for nothing but the sync that step 3 shares with them. A copy has a name of its own, by which the rooms
//! above know that it is another store; its segments keep the original's id, because every checksum is seeded with it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_types::{Clock, Millis, Position, Runtime};
use tokio::sync::oneshot;

use super::engine::{Embedded, Engine, closed};
use super::index::{Index, Lsm, OrderedMap};
use super::log_index::is_sealed;
use super::recover::find_segments;
use super::segment::{BLOCK, SegmentId};
use super::snapshots::Horizons;
use super::store::{Store, sync_above};
use super::view::View;
use super::{Settings, lock, rows};
use crate::contract::{Cell, CommitError, Copied, Direction, Snapshot, Target, Write};
use crate::error::{Error, Kind};
use crate::files::disk::Disk;
use crate::files::{File, Files, read_exactly};

/// Bytes that are copied at once.
const CHUNK: usize = 1024 * 1024;
/// How often the index may change its list of files under a copy before that is given up.
const TRIES: usize = 1_000;
/// Bytes after which an index that is written anew is flushed.
const PART_BYTES: u64 = 32 * 1024 * 1024;
/// Entries that are taken over at once.
const ENTRIES: usize = 4096;

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
const FOLDERS: [&str; 3] = ["log", "index", "index/tables"];

/// Every kind of file that a store has in its folders, and how it gets into a copy. What is not named here stays behind.
fn how(folder: &str, name: &str) -> How {
    match folder {
        "log" if SegmentId::parse(name).is_some() => How::Segment,
        "index" if name.starts_with("run-") && !name.ends_with(crate::files::TEMPORARY) => How::Link,
        "index" if name == "manifest" || name == "current" => How::Names,
        "index/tables" => How::Link,
        _ => How::Not,
    }
}

/// Makes a new folder of a store that nobody has open: a snapshot, or the folder of a stopped server. It stays as it is.
/// For a store in memory it is read into memory, by way of the folder for temporary files.
///
/// Errors: `Invalid` when there is no store, or the new folder is used; `Unavailable` when the store is open; `Corrupt`.
pub async fn restore(from: &Path, settings: &Settings, runtime: &Runtime) -> Result<Copied, Error> {
    if settings.files.volatile() {
        return restore_to_memory(from, settings, runtime).await;
    }
    let (files, from, to) = (settings.files.clone(), from.to_owned(), settings.directory.clone());
    let name = runtime.random_u128();
    let copied = runtime.blocking(move || copy_closed(files, &from, &to, name)).await;
    copied.map_err(|lost| closed("the copy was lost").because(lost))?
}

/// What a start does to the snapshot's index it does to a copy, which is then read whole.
async fn restore_to_memory(from: &Path, settings: &Settings, runtime: &Runtime) -> Result<Copied, Error> {
    let name = format!("headwater.restore-{:032x}", runtime.random_u128());
    let temporary = Temporary(std::env::temp_dir().join(name));
    let on_disk = Settings {
        reserve_bytes: Some(0),
        memory_bytes: settings.memory_bytes.min(PART_BYTES),
        ..Settings::on_disk(&temporary.0)
    };
    let (files, source, to, copy) =
        (on_disk.files.clone(), from.to_owned(), temporary.0.clone(), runtime.random_u128());
    let copied = runtime.blocking(move || copy_closed(files, &source, &to, copy)).await;
    copied.map_err(|lost| closed("the copy was lost").because(lost))??;
    let clock = Clock::new(runtime.clone(), Millis(0));
    let lock = lock::take(&on_disk, runtime).await?;
    let own = runtime.clone();
    let opened = runtime.blocking(move || super::recover::open(on_disk, own, clock, lock)).await;
    let (engine, _) = opened.map_err(|lost| closed("the copy was lost").because(lost))??;
    let place = Place { files: settings.files.clone(), directory: settings.directory.clone(), index: IndexForm::Map };
    let copied = engine.clone().copy_into(place).await;
    Embedded(engine).close().await?;
    copied
}

/// A folder that goes when it is dropped.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, folder = %self.0.display(), "a temporary folder stays");
        }
    }
}

fn copy_closed(files: Arc<dyn Files>, from: &Path, to: &Path, name: u128) -> Result<Copied, Error> {
    let store = match Store::read(&*files, from)? {
        Some(store) if store.begun => store,
        Some(_) | None => {
            return Err(Error::new(Kind::Invalid, format!("{}: this folder holds no store", from.display())));
        }
    };
    // A snapshot that was never opened is on a disk that may be read-only: then nobody has it open.
    let held = match files.lock(&from.join("LOCK")) {
        Ok(None) => {
            let what = format!("{}: another process has this store open; ask it for a snapshot", from.display());
            return Err(Error::new(Kind::Unavailable, what));
        }
        Ok(held) => held,
        Err(_) => None,
    };
    let mut copy = Copier::begin(files.clone(), from, files.clone(), to)?;
    let found = find_segments(&*files, &from.join("log"), &store)?;
    for (at, segment) in found.iter().enumerate() {
        let next = found.get(at + 1).map(|next| next.header.previous.offset);
        let sealed = next.is_some_and(|end| is_sealed(&*segment.file, end, segment.header.seed()));
        let name = segment.header.id.file_name();
        // The start writes a footer into every other one.
        if sealed { copy.link("log", &name).map(drop)? } else { copy.copy("log", &name, u64::MAX)? }
    }
    copy.index()?;
    let position = found.last().map_or(Position(0), |last| last.header.previous.position);
    let copied = copy.finish(Store { name, ..store }, position)?;
    drop(held);
    Ok(copied)
}

/// What the copy's index is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum IndexForm {
    /// The original's files.
    AsItIs,
    /// A tree, written anew.
    Tree,
    /// A map's files, written anew.
    Map,
}

/// Where a copy goes.
struct Place {
    files: Arc<dyn Files>,
    directory: PathBuf,
    index: IndexForm,
}

/// Where everything before the next segment ends.
struct Cut {
    position: Position,
    next: SegmentId,
    answered: oneshot::Receiver<super::front::Answer>,
    /// Its index as of the position, where it is written anew.
    frozen: Option<Frozen>,
}

/// What an index would say if it had been flushed at a position.
struct Frozen {
    view: Arc<View>,
    rows: Vec<Write>,
}

impl Engine {
    pub(super) async fn copy_to(self: Arc<Self>, target: Target) -> Result<Copied, Error> {
        let (files, index) = (self.files.clone(), if self.volatile { IndexForm::Map } else { IndexForm::AsItIs });
        let place = match target {
            Target::Disk(directory) if self.volatile => {
                Place { files: Arc::new(Disk::default()), directory, index: IndexForm::Tree }
            }
            Target::Disk(directory) | Target::Same(directory) => Place { files, directory, index },
        };
        self.copy_into(place).await
    }

    async fn copy_into(self: Arc<Self>, place: Place) -> Result<Copied, Error> {
        // One at a time: what is sealed for a copy is sealed once.
        let _turn = self.copying.lock().await;
        let index = place.index;
        let engine = self.clone();
        let begun = self.runtime.blocking(move || engine.begin_copy(&place)).await;
        let (copy, pin) = begun.map_err(|lost| closed("the copy was lost").because(lost))??;
        let mut cut = self.cut()?;
        match (&mut cut.answered).await {
            Ok(Ok(_)) => {}
            Ok(Err(CommitError::Full(error) | CommitError::Closed(error))) => return Err(error),
            Ok(Err(CommitError::Unknown)) | Err(_) => {
                return Err(closed("the cell was closed before the copy was made"));
            }
        }
        if index != IndexForm::AsItIs && cut.frozen.is_none() {
            // Of a store on disk this is asked only where nobody writes to it.
            cut.frozen = Some(self.freeze(cut.position));
        }
        let (engine, name) = (self.clone(), self.runtime.random_u128());
        let done = self.runtime.blocking(move || engine.end_copy(copy, &pin, cut, name, index)).await;
        done.map_err(|lost| closed("the copy was lost").because(lost))?
    }

    /// The folder, the pin and the index. Blocks.
    fn begin_copy(self: &Arc<Self>, place: &Place) -> Result<(Copier, Arc<View>), Error> {
        let mut copy =
            Copier::begin(self.files.clone(), &self.settings.directory, place.files.clone(), &place.directory)?;
        let pin = self.view();
        if place.index == IndexForm::AsItIs {
            copy.index()?;
        }
        Ok((copy, pin))
    }

    /// Opens the next segment, unless the one that grows holds nothing yet.
    fn cut(self: &Arc<Self>) -> Result<Cut, Error> {
        let (answer, answered) = oneshot::channel();
        let mut front = self.front.lock();
        if let Some(reason) = &front.closed {
            return Err(closed(reason));
        }
        let (next, position) = front.cut(self.clock.store(), self.synced(), answer);
        let mut frozen = None;
        if self.volatile {
            self.finish_inline(&mut front);
            frozen = Some(self.freeze(position));
        } else {
            self.start_writing(front);
        }
        Ok(Cut { position, next, answered, frozen })
    }

    /// Called where nothing is committed meanwhile.
    fn freeze(self: &Arc<Self>, position: Position) -> Frozen {
        let heads = self.heads.newest();
        let horizons: Arc<Horizons> = self.snapshots.horizons();
        let mut rows: Vec<Write> = heads.iter().map(|(key, head)| rows::head(*key, Some(*head))).collect();
        rows.extend(horizons.iter().map(|(shard, below)| rows::horizon(*shard, Some(*below))));
        rows.push(rows::flush_point(position));
        Frozen { view: self.view(), rows }
    }

    /// The log, and what makes it a store. Blocks.
    fn end_copy(
        self: &Arc<Self>,
        mut copy: Copier,
        pin: &View,
        cut: Cut,
        name: u128,
        form: IndexForm,
    ) -> Result<Copied, Error> {
        if let Some(frozen) = &cut.frozen {
            let folder = copy.to.join("index");
            let index: Box<dyn Index> = match form {
                IndexForm::Tree => Box::new(Lsm::open(&folder, PART_BYTES, PART_BYTES)?),
                IndexForm::Map | IndexForm::AsItIs => Box::new(OrderedMap::open(copy.to_files.clone(), &folder)?),
            };
            frozen.write(&*index, cut.position)?;
            drop(index);
            copy.count("index")?;
            copy.count("index/tables")?;
        }
        for segment in self.log.segments().iter().filter(|at| at.id >= pin.shown.first && at.id < cut.next) {
            self.log.seal(segment)?;
            if !copy.link("log", &segment.id.file_name())? {
                return Err(closed(&format!("{}: the segment is gone", segment.path.display())));
            }
        }
        copy.copy("log", &cut.next.file_name(), BLOCK)?;
        copy.finish(Store { name, ..self.store }, cut.position)
    }
}

impl Frozen {
    fn write(&self, index: &dyn Index, at: Position) -> Result<(), Error> {
        let mut entries = self.view.scan(&[], &[u8::MAX], Direction::Forward);
        loop {
            let part: Result<Vec<_>, Error> = entries.by_ref().take(ENTRIES).collect();
            let part: Vec<Write> =
                part?.into_iter().map(|(key, value)| Write { key, value: Some(value), stamp: None }).collect();
            if part.is_empty() {
                break;
            }
            index.apply(at, at, &mut part.iter());
            if index.active_bytes() >= PART_BYTES {
                index.rotate();
                index.flush(at)?;
            }
        }
        index.apply(at, at, &mut self.rows.iter());
        index.rotate();
        index.flush(at)
    }
}

/// A folder on its way to become a store; dropped before that, nothing of it stays.
struct Copier {
    from_files: Arc<dyn Files>,
    from: PathBuf,
    to_files: Arc<dyn Files>,
    to: PathBuf,
    /// The folder was there before.
    existed: bool,
    done: bool,
    copied: Copied,
}

impl Copier {
    /// Claims a folder that is new or empty.
    fn begin(from_files: Arc<dyn Files>, from: &Path, to_files: Arc<dyn Files>, to: &Path) -> Result<Self, Error> {
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

    /// The index as of its newest flush: whatever it names, however often that changes meanwhile.
    fn index(&mut self) -> Result<(), Error> {
        for _ in 0..TRIES {
            let before = self.names()?;
            for folder in ["index", "index/tables"] {
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
    fn count(&mut self, folder: &str) -> Result<(), Error> {
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
    fn link(&mut self, folder: &str, name: &str) -> Result<bool, Error> {
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
    fn copy(&mut self, folder: &str, name: &str, length: u64) -> Result<(), Error> {
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
    fn finish(mut self, store: Store, position: Position) -> Result<Copied, Error> {
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
