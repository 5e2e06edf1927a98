//! The index of a store on disk: an LSM tree (`lsm-tree`) without a journal.
//!
//! How its numbers are used, because they are not what its own database does with them:
//! - An entry's number is [`BASE`] + position. The counter that the tree takes for its own versions (one per flush and
//!   compaction) starts at zero and stays below [`BASE`], so every reader gets the newest version of the tree, and the
//!   tree keeps none of the older ones for readers.
//! - The tree drops an older entry of a key when *that entry* lies below the watermark, whether or not a reader needs it
//!   because the newer one is still hidden from him. So the watermark is all or nothing: all when no registered snapshot
//!   is older than anything that is rewritten, nothing otherwise.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use headwater_types::Position;
use lsm_tree::compaction::Leveled;
use lsm_tree::{
    AbstractTree, AnyTree, Cache, Config, DescriptorTable, Guard, KvPair, KvSeparationOptions, SeqNo,
    SequenceNumberCounter,
};
use parking_lot::Mutex;

use xxhash_rust::xxh3::xxh3_128;

use super::Index;
use crate::contract::{Direction, Entries, Write};
use crate::embedded::bytes::Reader;
use crate::embedded::segment::corrupt;
use crate::error::{Error, Kind};

/// Numbers below belong to the tree's own versions.
const BASE: SeqNo = 1 << 32;
/// Drops whatever a newer entry hides.
const DROP_HIDDEN: SeqNo = SeqNo::MAX >> 1;
/// Drops nothing.
const KEEP_ALL: SeqNo = 0;
/// Files of the tree that stay open.
const OPEN_FILES_MAX: usize = 256;

/// Flushed tables that are merged at once, and with them the first level's size in tables. More of them cost fewer bytes,
/// since each merge rewrites that level, and every query looks into more of them. Measured: decision 0009.
const FLUSHED_MAX: u8 = 6;

pub(crate) struct Lsm {
    tree: AnyTree,
    folder: PathBuf,
    leveled: Arc<Leveled>,
    /// Newest position of what was rotated but not flushed.
    sealed: Mutex<Position>,
    applied: Mutex<Position>,
}

impl Lsm {
    /// Opens or makes the tree in a folder, with values from a size on apart from their keys if asked.
    ///
    /// Errors: corrupt, naming the folder, also for one that was made the other way.
    pub(crate) fn open(
        folder: &Path,
        cache_bytes: u64,
        table_bytes: u64,
        separate_values_from: Option<u32>,
    ) -> Result<Self, Error> {
        check_version(folder)?;
        let cache = Arc::new(Cache::with_capacity_bytes(cache_bytes));
        let separation = separate_values_from.map(|size| KvSeparationOptions::default().separation_threshold(size));
        let open = || {
            Config::new(folder, SequenceNumberCounter::default(), SequenceNumberCounter::default())
                .use_cache(cache)
                .use_descriptor_table(Some(Arc::new(DescriptorTable::new(OPEN_FILES_MAX))))
                .with_kv_separation(separation)
                .open()
        };
        // The tree asserts on some damaged files.
        let tree = catch_unwind(AssertUnwindSafe(open))
            .map_err(|_| Error::new(Kind::Corrupt, format!("{}: the index is damaged", folder.display())))?
            .map_err(|error| failed(folder, "the index cannot be opened", error))?;
        Ok(Self {
            tree,
            folder: folder.to_owned(),
            leveled: Arc::new(Leveled::default().with_table_target_size(table_bytes).with_l0_threshold(FLUSHED_MAX)),
            sealed: Mutex::default(),
            applied: Mutex::default(),
        })
    }

    /// What may be dropped when everything up to `newest` is rewritten.
    fn watermark(newest: SeqNo, oldest: Position) -> SeqNo {
        if newest <= BASE + oldest.0 { DROP_HIDDEN } else { KEEP_ALL }
    }
}

/// The tree shows what lies below a number, not at it.
fn seen_at(at: Position) -> SeqNo {
    BASE + at.0 + 1
}

impl Index for Lsm {
    fn get(&self, key: &[u8], at: Position) -> Result<Option<Bytes>, Error> {
        let found = self.tree.get(key, seen_at(at));
        Ok(found.map_err(|error| failed(&self.folder, "the index cannot be read", error))?.map(Bytes::from))
    }

    fn scan(&self, start: &[u8], end: &[u8], direction: Direction, at: Position) -> Entries<'_> {
        if start >= end {
            return Box::new(std::iter::empty());
        }
        let entry = |pair: lsm_tree::Result<KvPair>| match pair {
            Ok((key, value)) => Ok((Bytes::from(key), Bytes::from(value))),
            Err(error) => Err(failed(&self.folder, "the index cannot be read", error)),
        };
        let range = self.tree.range(start..end, seen_at(at), None);
        match direction {
            Direction::Forward => Box::new(range.map(|guard| guard.into_inner()).map(entry)),
            Direction::Backward => Box::new(range.rev().map(|guard| guard.into_inner()).map(entry)),
        }
    }

    fn apply(&self, at: Position, _oldest: Position, writes: &mut dyn Iterator<Item = &Write>) {
        for write in writes {
            match &write.value {
                Some(value) => self.tree.insert(write.key.clone(), value.clone(), BASE + at.0),
                None => self.tree.remove(write.key.clone(), BASE + at.0),
            };
        }
        let mut applied = self.applied.lock();
        *applied = at.max(*applied);
    }

    fn active_bytes(&self) -> u64 {
        self.tree.active_memtable().size()
    }

    fn rotate(&self) {
        self.tree.rotate_memtable();
        *self.sealed.lock() = *self.applied.lock();
    }

    fn flush(&self, oldest: Position) -> Result<(), Error> {
        let newest = BASE + self.sealed.lock().0;
        let lock = self.tree.get_flush_lock();
        self.tree
            .flush(&lock, Self::watermark(newest, oldest))
            .map_err(|error| failed(&self.folder, "the index cannot be flushed", error))?;
        Ok(())
    }

    fn compact(&self, oldest: Position) -> Result<bool, Error> {
        let newest = self.tree.get_highest_persisted_seqno().unwrap_or_default();
        let before = self.tree.current_version().id();
        self.tree
            .compact(self.leveled.clone(), Self::watermark(newest, oldest))
            .map_err(|error| failed(&self.folder, "the index cannot be compacted", error))?;
        Ok(self.tree.current_version().id() != before)
    }

    fn flush_apart(&self) -> bool {
        true
    }
}

/// The tree's list of its tables is checked by nobody else: `current` names it and holds its checksum.
fn check_version(folder: &Path) -> Result<(), Error> {
    let current = folder.join("current");
    let bytes = match std::fs::read(&current) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return check_empty(folder),
        Err(error) => return Err(failed(folder, "the index cannot be opened", error.into())),
    };
    let mut reader = Reader::new(&bytes);
    let named = (reader.u64(), reader.u128(), reader.u8(), reader.is_done());
    let (Ok(version), Ok(checksum), Ok(0), true) = named else {
        return Err(corrupt(&current, 0, "this does not name a version of the index"));
    };
    let path = folder.join(format!("v{version}"));
    let what = "the index's list of tables is damaged or missing";
    match std::fs::read(&path) {
        Ok(list) if xxh3_128(&list) == checksum => Ok(()),
        Ok(_) => Err(corrupt(&path, 0, what)),
        Err(error) => Err(corrupt(&path, 0, what).because(error)),
    }
}

/// Without `current` the tree would begin anew: only where nothing was flushed yet.
fn check_empty(folder: &Path) -> Result<(), Error> {
    let tables = std::fs::read_dir(folder.join("tables"));
    match tables.map(|mut entries| entries.next()) {
        Ok(Some(_)) => {
            Err(corrupt(&folder.join("current"), 0, "the index has tables, but the file that names them is missing"))
        }
        Ok(None) | Err(_) => Ok(()),
    }
}

fn failed(folder: &Path, what: &str, error: lsm_tree::Error) -> Error {
    let kind = match &error {
        lsm_tree::Error::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => Kind::Full,
        lsm_tree::Error::Io(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => Kind::Unavailable,
        _ => Kind::Corrupt,
    };
    Error::new(kind, format!("{}: {what}", folder.display())).because(error)
}
