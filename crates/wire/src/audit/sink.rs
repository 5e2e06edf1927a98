//! Where audit lines end: standard error, or a file rotated by size.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Sink;

/// An opened sink; used on threads that may block.
pub(super) enum Output {
    Stderr,
    File(Rotated),
}

impl Output {
    pub(super) fn open(sink: &Sink) -> io::Result<Option<Self>> {
        Ok(match sink {
            Sink::Off => None,
            Sink::Stderr => Some(Self::Stderr),
            Sink::File { path, bytes_max, files_max } => {
                Some(Self::File(Rotated::open(path.clone(), *bytes_max, *files_max)?))
            }
        })
    }

    /// Writes whole lines.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Stderr => io::stderr().lock().write_all(lines),
            Self::File(file) => file.write(lines),
        }
    }
}

/// A file with a bound, and older ones beside it.
pub(super) struct Rotated {
    path: PathBuf,
    file: File,
    size: u64,
    bytes_max: u64,
    files_max: u32,
}

fn append_to(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

impl Rotated {
    fn open(path: PathBuf, bytes_max: u64, files_max: u32) -> io::Result<Self> {
        let (file, size) = append_to(&path)?;
        Ok(Self { path, file, size, bytes_max, files_max })
    }

    /// A batch may be larger than a file: it is cut between lines.
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut rest = lines;
        while !rest.is_empty() {
            let room = self.bytes_max.saturating_sub(self.size) as usize;
            let fitting = match rest.get(..room) {
                None => rest.len(),
                Some(head) => head.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1),
            };
            if fitting == 0 && self.size > 0 {
                self.rotate()?;
                continue;
            }
            // A line longer than a whole file still goes out whole.
            let line_end = || rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
            let (now, later) = rest.split_at(if fitting == 0 { line_end() } else { fitting });
            self.file.write_all(now)?;
            self.size += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = OsString::from(self.path.as_os_str());
        name.push(format!(".{number}"));
        name.into()
    }

    fn rotate(&mut self) -> io::Result<()> {
        if self.files_max == 0 {
            fs::remove_file(&self.path)?;
        } else {
            for number in (1..self.files_max).rev() {
                match fs::rename(self.numbered(number), self.numbered(number + 1)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    Ok(()) | Err(_) => {}
                }
            }
            fs::rename(&self.path, self.numbered(1))?;
        }
        (self.file, self.size) = append_to(&self.path)?;
        Ok(())
    }
}
