//! A disk in memory that behaves as badly as a real one may: what was not synced can be lost, torn or reordered at a
//! crash, a name can be lost or come back, a sync can fail, space can run out.
//!
//! ```text
//!   entries ── what the running process sees       inode.now ── what it reads
//!   durable ── what a crash is sure to leave       inode.durable + any choice of inode.pending = what a crash leaves
//! ```
//! Every change of the disk is an *operation* with a number, counted from the last crash, so that a test can stop at each.

mod inode;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use inode::{Change, Dice, Inode, Pending, put};
use parking_lot::Mutex;

use super::{Counts, File, Files, Lock};

/// What a crash leaves of what was not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Survival {
    /// Nothing: the cruellest disk that keeps its word.
    Nothing,
    /// Everything: the disk was just about to be done.
    Everything,
    /// Each write, name and sector by a throw of seeded dice.
    Torn(u64),
}

/// Faults to come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// The process dies at this operation (counted from one since the last crash): it and all later ones fail.
    pub crash_at: Option<u64>,
    /// This sync of a file (counted from one since the last crash) fails, and what it should have kept may be lost.
    pub fail_sync_at: Option<u64>,
    /// Bytes that fit on the disk.
    pub capacity_bytes: Option<u64>,
    /// A file cannot have a second name.
    pub no_links: bool,
}

/// A handle on the disk; clones share it. It outlives the processes that use it.
#[derive(Clone, Default)]
pub struct Faulty(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    faults: Faults,
    /// Raised by every crash: handles of an earlier epoch are dead.
    epoch: u64,
    operations: u64,
    file_syncs: u64,
    dead: bool,
    inodes: BTreeMap<u64, Inode>,
    inodes_ever: u64,
    entries: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    names: Vec<(PathBuf, NameChange)>,
    locks: BTreeSet<PathBuf>,
    counts: Counts,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    Folder,
    File(u64),
}

enum NameChange {
    Link(PathBuf, Node),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, Node),
}

struct Open {
    disk: Faulty,
    inode: u64,
    epoch: u64,
}

struct Held {
    disk: Faulty,
    path: PathBuf,
    epoch: u64,
}

impl Lock for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.disk.0.lock();
        if state.epoch == self.epoch {
            state.locks.remove(&self.path);
        }
    }
}

impl Faulty {
    /// An empty disk without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the faults to come.
    pub fn set_faults(&self, faults: Faults) {
        self.0.lock().faults = faults;
    }

    /// Operations since the last crash.
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// Syncs of files since the last crash.
    pub fn file_syncs(&self) -> u64 {
        self.0.lock().file_syncs
    }

    /// Whether the ordered crash struck.
    pub fn dead(&self) -> bool {
        self.0.lock().dead
    }

    /// The power fails and comes back: open files and locks are gone, and of what was not synced `survival` is left.
    pub fn crash(&self, survival: Survival) {
        let mut state = self.0.lock();
        let mut dice = match survival {
            Survival::Torn(seed) => Dice(seed ^ 0x5eed_0fd1_5c00_0001),
            Survival::Nothing | Survival::Everything => Dice(0),
        };
        let keeps = |survival: Survival, dice: &mut Dice| match survival {
            Survival::Nothing => false,
            Survival::Everything => true,
            Survival::Torn(_) => dice.throw(2) == 0,
        };
        let names = std::mem::take(&mut state.names);
        for (_, change) in names {
            if keeps(survival, &mut dice) {
                change.apply(&mut state.durable);
            }
        }
        for inode in state.inodes.values_mut() {
            inode.crash(survival, &mut dice);
        }
        // A name in a folder whose own name is lost is out of reach. Folders come before what they hold.
        let mut entries = BTreeMap::new();
        for (path, node) in &state.durable {
            let folder = parent(path);
            if folder.as_os_str().is_empty() || matches!(entries.get(&folder), Some(Node::Folder)) {
                entries.insert(path.clone(), *node);
            }
        }
        state.durable = entries.clone();
        state.entries = entries;
        let reachable: BTreeSet<u64> = state
            .entries
            .values()
            .filter_map(|node| match node {
                Node::File(inode) => Some(*inode),
                Node::Folder => None,
            })
            .collect();
        state.inodes.retain(|id, _| reachable.contains(id));
        drop(state);
        self.kill();
    }

    /// The process is killed and the machine goes on: open files and locks are gone, what was not synced is still there
    /// to be seen, and still not durable.
    pub fn kill(&self) {
        let mut state = self.0.lock();
        state.locks.clear();
        state.epoch += 1;
        state.operations = 0;
        state.file_syncs = 0;
        state.dead = false;
        state.faults = Faults::default();
    }

    /// An independent copy of the disk as it is, with everything that is not synced yet.
    pub fn fork(&self) -> Self {
        let state = self.0.lock();
        let inodes = state.inodes.iter().map(|(id, inode)| (*id, inode.copy())).collect();
        Self(Arc::new(Mutex::new(State {
            faults: state.faults,
            epoch: state.epoch,
            operations: state.operations,
            file_syncs: state.file_syncs,
            dead: state.dead,
            inodes,
            inodes_ever: state.inodes_ever,
            entries: state.entries.clone(),
            durable: state.durable.clone(),
            names: state.names.iter().map(|(folder, change)| (folder.clone(), change.copy())).collect(),
            locks: state.locks.clone(),
            counts: state.counts,
        })))
    }

    /// Paths of all files, sorted.
    pub fn paths(&self) -> Vec<PathBuf> {
        let state = self.0.lock();
        let files = state.entries.iter().filter(|(_, node)| matches!(node, Node::File(_)));
        files.map(|(path, _)| path.clone()).collect()
    }

    /// Paths of all folders, sorted: one comes before what it holds.
    pub fn folders(&self) -> Vec<PathBuf> {
        let state = self.0.lock();
        let folders = state.entries.iter().filter(|(_, node)| matches!(node, Node::Folder));
        folders.map(|(path, _)| path.clone()).collect()
    }

    /// Changes a file's bytes behind everyone's back: what bit rot does.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.lock();
        let Some(Node::File(inode)) = state.entries.get(path).copied() else { panic!("no file {}", path.display()) };
        let inode = state.inodes.get_mut(&inode).expect("an entry has its inode");
        change(&mut inode.now);
        inode.durable = inode.now.clone();
        inode.pending.clear();
    }

    /// A file's bytes as the process sees them.
    pub fn content(&self, path: &Path) -> Vec<u8> {
        let state = self.0.lock();
        match state.entries.get(path) {
            Some(Node::File(inode)) => state.inodes[inode].now.clone(),
            Some(Node::Folder) | None => panic!("no file {}", path.display()),
        }
    }

    fn handle(&self, inode: u64, epoch: u64) -> Arc<dyn File> {
        Arc::new(Open { disk: self.clone(), inode, epoch })
    }
}

impl NameChange {
    fn apply(&self, entries: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Self::Link(path, node) => {
                entries.insert(path.clone(), *node);
            }
            Self::Unlink(path) => {
                entries.remove(path);
            }
            Self::Rename(from, to, node) => {
                entries.remove(from);
                entries.insert(to.clone(), *node);
            }
        }
    }

    fn copy(&self) -> Self {
        match self {
            Self::Link(path, node) => Self::Link(path.clone(), *node),
            Self::Unlink(path) => Self::Unlink(path.clone()),
            Self::Rename(from, to, node) => Self::Rename(from.clone(), to.clone(), *node),
        }
    }
}

impl State {
    /// Counts a change of the disk; an error when the process is or becomes dead.
    fn operate(&mut self) -> io::Result<()> {
        if self.dead {
            return Err(dead());
        }
        self.operations += 1;
        self.counts.calls += 1;
        if self.faults.crash_at == Some(self.operations) {
            self.dead = true;
        }
        Ok(())
    }

    fn after(&self) -> io::Result<()> {
        if self.dead { Err(dead()) } else { Ok(()) }
    }

    fn alive(&self) -> io::Result<()> {
        self.after()
    }

    fn change_name(&mut self, folder: &Path, change: NameChange) {
        change.apply(&mut self.entries);
        self.names.push((folder.to_owned(), change));
    }

    /// Bytes of all files that have a name; of those with several, once.
    fn used_bytes(&self) -> u64 {
        let named: BTreeSet<&Node> = self.entries.values().collect();
        let files = named.into_iter().filter_map(|node| match node {
            Node::File(inode) => self.inodes.get(inode),
            Node::Folder => None,
        });
        files.map(|inode| inode.now.len() as u64).sum()
    }
}
impl Files for Faulty {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut state = self.0.lock();
        state.operate()?;
        let folder = parent(path);
        if !folder.as_os_str().is_empty() && !matches!(state.entries.get(&folder), Some(Node::Folder)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if state.entries.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.inodes_ever += 1;
        let inode = state.inodes_ever;
        state.inodes.insert(inode, Inode::default());
        state.change_name(&folder, NameChange::Link(path.to_owned(), Node::File(inode)));
        state.after()?;
        Ok(self.handle(inode, state.epoch))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let state = self.0.lock();
        state.alive()?;
        match state.entries.get(path) {
            Some(Node::File(inode)) => Ok(self.handle(*inode, state.epoch)),
            Some(Node::Folder) | None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        assert_eq!(from.parent(), to.parent(), "a rename stays in its folder");
        let mut state = self.0.lock();
        state.operate()?;
        let node = state.entries.get(from).copied().ok_or(io::ErrorKind::NotFound)?;
        state.change_name(&parent(from), NameChange::Rename(from.to_owned(), to.to_owned(), node));
        state.after()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        if !state.entries.contains_key(path) {
            state.alive()?;
            return Err(io::ErrorKind::NotFound.into());
        }
        state.operate()?;
        state.change_name(&parent(path), NameChange::Unlink(path.to_owned()));
        state.after()
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.faults.no_links {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        let Some(node @ Node::File(_)) = state.entries.get(from).copied() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if state.entries.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.operate()?;
        state.change_name(&parent(to), NameChange::Link(to.to_owned(), node));
        state.after()
    }

    fn remove_dir(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.entries.keys().any(|path| path.parent() == Some(folder)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        if state.entries.get(folder) != Some(&Node::Folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.operate()?;
        state.change_name(&parent(folder), NameChange::Unlink(folder.to_owned()));
        state.after()
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.0.lock();
        state.alive()?;
        if !matches!(state.entries.get(folder), Some(Node::Folder)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = state.entries.keys().filter(|path| path.parent() == Some(folder));
        Ok(inside.filter_map(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned()).collect())
    }

    fn create_dir(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        let missing: Vec<PathBuf> = folder
            .ancestors()
            .take_while(|path| !path.as_os_str().is_empty() && !state.entries.contains_key(*path))
            .map(Path::to_owned)
            .collect();
        for path in missing.into_iter().rev() {
            state.operate()?;
            state.change_name(&parent(&path), NameChange::Link(path.clone(), Node::Folder));
            state.after()?;
        }
        state.alive()
    }

    fn sync_dir(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.operate()?;
        state.counts.syncs += 1;
        // A sync that is cut off may still have kept something; that choice belongs to the crash.
        state.after()?;
        let names = std::mem::take(&mut state.names);
        let folder = if folder == Path::new(".") { Path::new("") } else { folder };
        let (kept, rest): (Vec<_>, Vec<_>) = names.into_iter().partition(|(at, _)| at == folder);
        for (_, change) in kept {
            change.apply(&mut state.durable);
        }
        state.names = rest;
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let mut state = self.0.lock();
        state.alive()?;
        if !state.locks.insert(path.to_owned()) {
            return Ok(None);
        }
        Ok(Some(Box::new(Held { disk: self.clone(), path: path.to_owned(), epoch: state.epoch })))
    }

    fn free_bytes(&self, _folder: &Path) -> io::Result<u64> {
        let state = self.0.lock();
        state.alive()?;
        Ok(state.faults.capacity_bytes.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used_bytes())))
    }

    fn volatile(&self) -> bool {
        false
    }

    fn counts(&self) -> Counts {
        self.0.lock().counts
    }
}

impl Open {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.0.lock();
        if state.epoch != self.epoch {
            return Err(dead());
        }
        work(&mut state)
    }
}

impl File for Open {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.with(|state| {
            state.operate()?;
            let used = state.used_bytes();
            let capacity = state.faults.capacity_bytes;
            let inode = state.inodes.get_mut(&self.inode).ok_or_else(dead)?;
            let growth = (offset + bytes.len() as u64).saturating_sub(inode.now.len() as u64);
            let missing = capacity.map_or(0, |capacity| (used + growth).saturating_sub(capacity)).min(growth);
            let fits = &bytes[..bytes.len() - (missing as usize).min(bytes.len())];
            put(&mut inode.now, offset, fits);
            let change = Change::Write(offset, fits.to_vec());
            inode.pending.push(Pending { change, dropped: false });
            state.counts.bytes_written += fits.len() as u64;
            state.after()?;
            if missing > 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        })
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|state| {
            state.alive()?;
            let inode = state.inodes.get(&self.inode).ok_or_else(dead)?;
            let rest = inode.now.get(offset as usize..).unwrap_or_default();
            let length = rest.len().min(buffer.len());
            buffer[..length].copy_from_slice(&rest[..length]);
            state.counts.bytes_read += length as u64;
            Ok(length)
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|state| {
            state.operate()?;
            state.counts.syncs += 1;
            state.file_syncs += 1;
            state.after()?;
            let fails = state.faults.fail_sync_at == Some(state.file_syncs);
            let inode = state.inodes.get_mut(&self.inode).ok_or_else(dead)?;
            if fails {
                inode.pending.iter_mut().for_each(|pending| pending.dropped = true);
                return Err(io::Error::other("the sync failed (injected)"));
            }
            inode.sync();
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|state| {
            state.alive()?;
            Ok(state.inodes.get(&self.inode).ok_or_else(dead)?.now.len() as u64)
        })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.with(|state| {
            state.operate()?;
            let inode = state.inodes.get_mut(&self.inode).ok_or_else(dead)?;
            inode.now.resize(length as usize, 0);
            inode.pending.push(Pending { change: Change::SetLength(length), dropped: false });
            state.after()
        })
    }
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}

fn dead() -> io::Error {
    io::Error::other("the process is dead (injected)")
}
