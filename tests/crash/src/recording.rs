//! The recorder's log and its replay.
//!
//! ```text
//! real process ── LD_PRELOAD ──▶ log of events ── replay up to a cut ──▶ faulty disk ── crash ──▶ a real folder
//! ```

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use headwater_storage::files::faulty::Faulty;
use headwater_storage::files::{File, Files};

/// One thing that a process did below the recorded folder; paths are relative to it, files are named by inode.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the fields say what they are")]
pub enum Event {
    /// A file was made.
    Create { path: PathBuf, inode: u64 },
    /// A file was cut or extended.
    SetLength { inode: u64, length: u64 },
    /// Bytes were written.
    Write { inode: u64, offset: u64, data: Vec<u8> },
    /// A file was synced.
    Sync { inode: u64 },
    /// A folder was synced.
    SyncFolder { path: PathBuf },
    /// A name was changed.
    Rename { from: PathBuf, to: PathBuf },
    /// A name was taken away.
    Unlink { path: PathBuf },
    /// A folder was made.
    MakeFolder { path: PathBuf },
}

impl Event {
    /// Whether a crash right before or after it is worth more than one at any other.
    pub fn is_turning_point(&self) -> bool {
        match self {
            Self::Sync { .. }
            | Self::SyncFolder { .. }
            | Self::Rename { .. }
            | Self::Unlink { .. }
            | Self::Create { .. } => true,
            Self::SetLength { .. } | Self::Write { .. } | Self::MakeFolder { .. } => false,
        }
    }
}

/// Compiles the recorder. Errors: there is no C compiler, or it refuses.
pub fn build_recorder(into: &Path) -> io::Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("recorder.c");
    let library = into.join("recorder.so");
    let done = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-o"])
        .arg(&library)
        .arg(&source)
        .args(["-ldl", "-lpthread"])
        .output()?;
    if done.status.success() {
        return Ok(library);
    }
    Err(io::Error::other(String::from_utf8_lossy(&done.stderr).into_owned()))
}

/// Runs a program with the recorder; its output and what it did below `root`.
pub fn record(
    recorder: &Path,
    root: &Path,
    log: &Path,
    command: &mut Command,
) -> io::Result<(std::process::Output, Vec<Event>)> {
    let output = command
        .env("LD_PRELOAD", recorder)
        .env("HEADWATER_RECORD_ROOT", root)
        .env("HEADWATER_RECORD_LOG", log)
        .output()?;
    Ok((output, read(&std::fs::read(log)?, root)?))
}

fn read(mut log: &[u8], root: &Path) -> io::Result<Vec<Event>> {
    let mut events = Vec::new();
    while !log.is_empty() {
        let (event, rest) = next(log, root).ok_or_else(|| io::Error::other("the record is cut off or unknown"))?;
        events.push(event);
        log = rest;
    }
    Ok(events)
}

fn next<'a>(log: &'a [u8], root: &Path) -> Option<(Event, &'a [u8])> {
    let number = |at: usize| Some(u64::from_le_bytes(log.get(at..at + 8)?.try_into().ok()?));
    let length = |at: usize| Some(u32::from_le_bytes(log.get(at..at + 4)?.try_into().ok()?) as usize);
    let (kind, inode, offset) = (*log.first()?, number(1)?, number(9)?);
    let (first, second, data) = (length(17)?, length(21)?, number(25)? as usize);
    let (body, rest) = log.get(33..)?.split_at_checked(first + second + data)?;
    let relative = |bytes: &[u8]| {
        let path = PathBuf::from(String::from_utf8_lossy(bytes).into_owned());
        path.strip_prefix(root).map(Path::to_owned).ok()
    };
    let path = || relative(&body[..first]);
    let event = match kind {
        1 => Event::Create { path: path()?, inode },
        2 => Event::SetLength { inode, length: offset },
        3 => Event::Write { inode, offset, data: body[first + second..].to_vec() },
        4 => Event::Sync { inode },
        5 => Event::SyncFolder { path: path()? },
        6 => Event::Rename { from: path()?, to: relative(&body[first..first + second])? },
        7 | 9 => Event::Unlink { path: path()? },
        8 => Event::MakeFolder { path: path()? },
        // A hard link: nothing recorded so far makes one.
        _ => return None,
    };
    Some((event, rest))
}

/// A faulty disk that events are played on.
#[derive(Default)]
pub struct Replay {
    /// The disk, as the process saw it.
    pub disk: Faulty,
    /// By inode: the file that bears it now.
    files: BTreeMap<u64, Arc<dyn File>>,
}

impl Replay {
    /// Plays one event. Panics where the record cannot have happened: then it is not complete.
    pub fn play(&mut self, event: &Event) {
        let file =
            |inode: &u64| self.files.get(inode).unwrap_or_else(|| panic!("inode {inode} was never made: {event:?}"));
        let done = match event {
            Event::Create { path, inode } => self.disk.create(path).map(|file| {
                self.files.insert(*inode, file);
            }),
            Event::SetLength { inode, length } => file(inode).set_len(*length),
            Event::Write { inode, offset, data } => file(inode).write_at(data, *offset),
            Event::Sync { inode } => file(inode).sync_data(),
            Event::SyncFolder { path } => self.disk.sync_dir(path),
            Event::Rename { from, to } => self.disk.rename(from, to),
            Event::Unlink { path } => self.disk.remove(path),
            Event::MakeFolder { path } => self.disk.create_dir(path),
        };
        done.unwrap_or_else(|error| panic!("{event:?}: {error}"));
    }
}

/// Makes a real folder of what a disk holds.
pub fn write_out(disk: &Faulty, to: &Path) -> io::Result<()> {
    for folder in disk.folders() {
        std::fs::create_dir_all(to.join(folder))?;
    }
    for path in disk.paths() {
        let target = to.join(&path);
        if let Some(folder) = target.parent() {
            // A file whose name is durable in a folder whose name is not is out of reach.
            if !folder.exists() {
                continue;
            }
        }
        std::fs::write(target, disk.content(&path))?;
    }
    Ok(())
}
