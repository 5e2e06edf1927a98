//! A copy of the whole store at one position, made while it is written to.
//!
//! ```text
//!   1  pin a snapshot             no segment goes from here on
//!   2  archive runs, the index    flushed up to F, whatever is flushed later
//!   3  open the next segment      P: the last position before it; all up to P is synced and applied
//!   4  the segments before it     sealed and linked; they reach from before F to P
//!   5  the header of the new one  copied: it states that all before it is whole
//!   6  STORE                      last: without it the folder is no store
//! ```
//! Writers wait for nothing but the sync that step 3 shares with them. A copy has a name of its own, by which the rooms
//! above know that it is another store; its segments keep the original's id, because every checksum is seeded with it.

mod folder;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_types::{Clock, Millis, Position, Runtime};
use tokio::sync::oneshot;

use super::archive::Manifest;
use super::engine::{Embedded, Engine, closed};
use super::index::{Index, Lsm, OrderedMap};
use super::log_index::{Segment, is_sealed};
use super::recover::{ends, find_segments};
use super::segment::{BLOCK, SegmentId, corrupt};
use super::snapshots::Horizons;
use super::store::Store;
use super::view::View;
use super::{Settings, lock, rows};
use crate::contract::{Cell, CommitError, Copied, Direction, Snapshot, Target, Write};
use crate::error::{Error, Kind};
use crate::files::Files;
use crate::files::disk::Disk;
use folder::Copier;

/// Bytes after which an index that is written anew is flushed.
const PART_BYTES: u64 = 32 * 1024 * 1024;
/// Entries that are taken over at once.
const ENTRIES: usize = 4096;

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
    // Every store on a disk has a list: one that is lost is not one that is empty.
    let missing = || corrupt(&from.join("archive/MANIFEST"), 0, "the list of archive runs is missing");
    let archived = Manifest::read(&*files, &from.join("archive"), store.id)?.ok_or_else(missing)?;
    let found = find_segments(&*files, &from.join("log"), &store, &archived)?;
    let ends = ends(&found, &archived);
    copy.archive(&archived, store.id)?;
    for (at, segment) in found.iter().enumerate() {
        let sealed = ends.get(at).is_some_and(|end| is_sealed(&*segment.file, end.offset, segment.header.seed()));
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

/// A copy that has everything but the log.
struct Begun {
    copy: Copier,
    pin: Arc<View>,
    /// What the copy's archive runs replace.
    archived: Manifest,
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
        let begun = begun.map_err(|lost| closed("the copy was lost").because(lost))??;
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
        let done = self.runtime.blocking(move || engine.end_copy(begun, cut, name, index)).await;
        done.map_err(|lost| closed("the copy was lost").because(lost))?
    }

    /// The folder, the pin, the archive runs and the index. Blocks.
    fn begin_copy(self: &Arc<Self>, place: &Place) -> Result<Begun, Error> {
        let mut copy =
            Copier::begin(self.files.clone(), &self.settings.directory, place.files.clone(), &place.directory)?;
        let pin = self.view();
        // What is replaced from here on stays until the pin is dropped. The index comes after the list: whatever a run
        // has replaced was flushed before.
        let archived = {
            let archive = self.archive.lock();
            copy.archive(&archive.manifest, self.store.id)?;
            archive.manifest.clone()
        };
        if self.volatile {
            // Whoever could not have the lock meanwhile relies on this.
            self.tidy_inline();
        }
        if place.index == IndexForm::AsItIs {
            copy.index()?;
        }
        Ok(Begun { copy, pin, archived })
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
    fn end_copy(self: &Arc<Self>, begun: Begun, cut: Cut, name: u128, form: IndexForm) -> Result<Copied, Error> {
        let Begun { mut copy, pin, archived } = begun;
        if let Some(frozen) = &cut.frozen {
            let folder = copy.to.join("index");
            let index: Box<dyn Index> = match form {
                IndexForm::Tree => {
                    Box::new(Lsm::open(&folder, PART_BYTES, PART_BYTES, self.settings.separate_values_from)?)
                }
                IndexForm::Map | IndexForm::AsItIs => Box::new(OrderedMap::open(copy.to_files.clone(), &folder)?),
            };
            frozen.write(&*index, cut.position)?;
            drop(index);
            copy.count("index")?;
            copy.count("index/tables")?;
            copy.count("index/blobs")?;
        }
        let rests = |at: &&Arc<Segment>| at.id >= pin.shown.first && at.id < cut.next;
        let in_log = |at: &&Arc<Segment>| at.run.is_none() && !archived.covers(at.id);
        for segment in self.log.segments().iter().filter(rests).filter(in_log) {
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
