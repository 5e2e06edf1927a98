//! Archive runs: what is still wanted of segments that are mostly not, so that the segments can go.
//!
//! ```text
//!   segments   1  2  3  4  5  6  7  8      2, 3, 5 are due: sealed, flushed, less than half of their bytes still wanted
//!              1 [2..3]  4 [5]  6  7  8    one run in the place of 2 and 3, one in that of 5
//!
//!   read what is wanted ─▶ run: write, sync ─▶ manifest: synced, named ─▶ no snapshot from before is held:
//!                          a start before this finds the segments,      │  readers go to the run, segments are removed
//!                          a start after this finds the run             ┘
//! ```
//! A run stands for segments that follow each other and holds, sorted by shard and number, what no horizon has passed.
//! Runs side by side are joined while they are small, and rewritten when they are mostly unwanted themselves. Frames of
//! items are wanted until the index has flushed them, and no longer.

mod choice;
mod manifest;
mod rewrite;
mod run;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::log_index::Sealed;
use super::recover::make_folder;
use super::segment::corrupt;
use super::store::Store;
use crate::error::{Error, Kind};
use crate::files::{Files, TEMPORARY};
pub(super) use manifest::Manifest;
use manifest::is_manifest;
use rewrite::Replacing;
use run::{HEADER, Header, file_name, parse_name};

/// Names a run; never given twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(super) struct RunNumber(pub u64);

impl RunNumber {
    fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// How long what is in a run is kept: shards that are kept for longer go to runs of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Class(pub u32);

impl Class {
    /// Twenty-four hours: every shard's, so far.
    pub(super) const DAY: Self = Self(0);
}

/// The runs of a store.
pub(super) struct Archive {
    store: u128,
    folder: PathBuf,
    pub(super) manifest: Manifest,
    next: RunNumber,
    /// Durable, and not yet where readers look.
    replacing: Option<Replacing>,
    /// There was no room: not before this moment.
    again: Option<Duration>,
}

impl Archive {
    /// Finds the runs that count and throws away what does not.
    ///
    /// Errors: corrupt, naming the file, when one is missing, damaged or foreign.
    pub(super) fn open(files: &dyn Files, directory: &Path, store: &Store) -> Result<(Self, Vec<Sealed>), Error> {
        let folder = directory.join("archive");
        let manifest = Manifest::default();
        let next = manifest.next;
        let mut archive = Self { store: store.id, folder, manifest, next, replacing: None, again: None };
        let folder = &archive.folder;
        if !files.volatile() {
            make_folder(files, folder)?;
            // A process that was killed may have left names that are seen and not durable.
            files.sync_dir(folder).map_err(|error| unreadable(folder, error))?;
        }
        match Manifest::read(files, folder, store.id)? {
            // In memory only a copy has a list, and nobody writes to it.
            None if files.volatile() => return Ok((archive, Vec::new())),
            Some(manifest) => archive.manifest = manifest,
            None if store.begun => {
                return Err(corrupt(&folder.join("MANIFEST"), 0, "the list of archive runs is missing"));
            }
            None => archive.manifest.write(files, folder, store.id)?,
        }
        archive.next = archive.manifest.next;
        let runs = archive.runs(files)?;
        archive.clean(files)?;
        Ok((archive, runs))
    }

    fn runs(&self, files: &dyn Files) -> Result<Vec<Sealed>, Error> {
        let mut runs = Vec::new();
        for each in &self.manifest.replaced {
            let Some(run) = each.run else { continue };
            let path = self.folder.join(file_name(run.number));
            let file = files.open(&path).map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => corrupt(&path, 0, "this archive run is missing"),
                _ => unreadable(&path, error),
            })?;
            let mut bytes = vec![0; HEADER];
            let read = file.read_at(&mut bytes, 0).map_err(|error| unreadable(&path, error))?;
            bytes.truncate(read);
            let header = Header::check(&bytes, &path, self.store, run.number, run.class)?;
            runs.push(Sealed {
                id: each.first,
                through: each.last,
                path,
                run: Some(run.number),
                seed: header.seed(),
                end: run.end,
                last: each.position,
            });
        }
        Ok(runs)
    }

    /// Throws away runs that were not finished, or were replaced and not removed.
    fn clean(&self, files: &dyn Files) -> Result<(), Error> {
        let io = |error| unreadable(&self.folder, error);
        let runs = || self.manifest.replaced.iter().filter_map(|each| each.run);
        for name in files.list(&self.folder).map_err(io)? {
            let path = self.folder.join(&name);
            match parse_name(&name) {
                Some(number) if runs().any(|run| run.number == number) => {}
                None if is_manifest(&name) => {}
                None if !name.ends_with(TEMPORARY) => {
                    return Err(corrupt(&path, 0, "this file is none of the archive"));
                }
                Some(_) | None => files.remove(&path).map_err(io)?,
            }
        }
        Ok(())
    }
}

impl Manifest {
    /// Files of the runs that count.
    pub(super) fn run_files(&self) -> impl Iterator<Item = String> {
        self.replaced.iter().filter_map(|each| each.run).map(|run| file_name(run.number))
    }
}

/// Whether a file of this name is a run: it never changes.
pub(super) fn is_run(name: &str) -> bool {
    parse_name(name).is_some()
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Kind::Full,
        _ => Kind::Unavailable,
    };
    Error::new(kind, format!("{}: cannot be read or written", path.display())).because(error)
}
