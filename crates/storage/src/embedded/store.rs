//! The file that says whose directory this is: format, build, the store's identity.

use std::io;
use std::path::Path;

use headwater_types::Runtime;
use xxhash_rust::xxh3::xxh3_64;

use super::bytes::{Cut, Reader, put_u32, put_u64, put_u128};
use super::segment::{FORMAT, check_form, corrupt, put_build, take_build};
use crate::error::{Error, Kind};
use crate::files::{Files, TEMPORARY, read_exactly, write_whole};

const MAGIC: &[u8; 8] = b"HWSTORE\n";
const NAME: &str = "STORE";

/// A store's identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Store {
    /// Drawn at random when the store was made.
    pub(super) id: u128,
    /// The first segment was made: from now on there is always one.
    pub(super) begun: bool,
    /// Tells copies apart, which bear one id: drawn for each; the original's is its id.
    pub(super) name: u128,
}

impl Store {
    /// Reads the identity, or gives one to an empty directory.
    ///
    /// Errors: `Corrupt` when the directory holds other things, or the file is damaged or of another format.
    pub(super) fn find(files: &dyn Files, directory: &Path, runtime: &Runtime) -> Result<Self, Error> {
        if let Some(store) = Self::read(files, directory)? {
            if !store.begun {
                // Whoever made it may have been killed before the directory's own name was durable.
                sync_above(files, directory)?;
            }
            return Ok(store);
        }
        let names = files.list(directory).map_err(|error| unreadable(directory, error))?;
        let ours = |name: &String| name == "LOCK" || *name == format!("{NAME}.{TEMPORARY}");
        if let Some(foreign) = names.iter().find(|name| !ours(name)) {
            return Err(corrupt(&directory.join(foreign), 0, "the directory is no headwater store and not empty"));
        }
        let id = runtime.random_u128();
        let store = Self { id, begun: false, name: id };
        store.write(files, directory)?;
        sync_above(files, directory)?;
        Ok(store)
    }

    /// Reads the identity, if the directory has one. Errors: `Corrupt`, `Unavailable`.
    pub(super) fn read(files: &dyn Files, directory: &Path) -> Result<Option<Self>, Error> {
        let path = directory.join(NAME);
        let io = |error| unreadable(&path, error);
        let file = match files.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        let length = file.len().map_err(io)?.min(4096) as usize;
        Self::decode(&read_exactly(&*file, 0, length).map_err(io)?, &path).map(Some)
    }

    /// Writes the identity, whole and durable.
    pub(super) fn write(&self, files: &dyn Files, directory: &Path) -> Result<(), Error> {
        let mut bytes = MAGIC.to_vec();
        put_u32(&mut bytes, FORMAT);
        put_u32(&mut bytes, u32::from(self.begun));
        put_build(&mut bytes);
        put_u128(&mut bytes, self.id);
        if self.name != self.id {
            put_u128(&mut bytes, self.name);
        }
        let checksum = xxh3_64(&bytes);
        put_u64(&mut bytes, checksum);
        let path = directory.join(NAME);
        write_whole(files, &path, &[&bytes]).map_err(|error| unreadable(&path, error))?;
        Ok(())
    }

    fn decode(bytes: &[u8], path: &Path) -> Result<Self, Error> {
        let cut = |Cut| corrupt(path, bytes.len() as u64, "the store's identity is cut off");
        let mut reader = Reader::new(bytes);
        if reader.take(MAGIC.len()).map_err(cut)? != MAGIC {
            return Err(corrupt(path, 0, "this is no headwater store"));
        }
        let format = reader.u32().map_err(cut)?;
        let begun = reader.u32().map_err(cut)? != 0;
        let build = take_build(&mut reader).map_err(cut)?;
        check_form(format, build, path)?;
        let id = reader.u128().map_err(cut)?;
        // Of copies only.
        let is_copy = bytes.len() > reader.position() + size_of::<u64>();
        let name = if is_copy { reader.u128().map_err(cut)? } else { id };
        let covered = reader.position();
        let checksum = reader.u64().map_err(cut)?;
        if bytes.get(..covered).map(xxh3_64) != Some(checksum) {
            return Err(corrupt(path, 0, "the store's identity is damaged"));
        }
        Ok(Self { id, begun, name })
    }
}

/// The folders above have the new directory's name, and each other's; where one may not be synced, its owner sees to it.
pub(super) fn sync_above(files: &dyn Files, directory: &Path) -> Result<(), Error> {
    for above in directory.ancestors().skip(1) {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        match files.sync_dir(above) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(unreadable(above, error)),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    Error::new(Kind::Unavailable, format!("{}: cannot be read or written", path.display())).because(error)
}
