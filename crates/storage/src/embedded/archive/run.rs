//! The form of an archive run: records sorted by shard and number, and a footer that says where.
//!
//! ```text
//! header  | magic, format, build, store, number, class, first and last segment replaced, checksum   | 128 bytes
//! record  | shard u64 | number u64 | payload length u32 | payload checksum u32 | payload            | as in a frame
//! footer  | as a segment's: a summary, and delta-coded per shard where each record is
//! ```
//! It is written once, and counts when the manifest names it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::{Class, RunNumber, unreadable};
use crate::embedded::bytes::{Cut, Reader, put_u32, put_u64, put_u128};
use crate::embedded::log_index::{Entry, Footer, Place, encode_entries, parts};
use crate::embedded::segment::{
    FORMAT, SegmentId, check_form, corrupt, encode_footer, put_build, seed as segment_seed, take_build,
};
use crate::error::Error;
use crate::files::{File, Files};

const MAGIC: &[u8; 8] = b"HWARCHIV";
/// Length of the header. Unit: bytes.
pub(super) const HEADER: usize = 128;
/// Bytes of one write.
const WRITE_BYTES: usize = 1024 * 1024;

/// What a run says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) store: u128,
    pub(super) number: RunNumber,
    pub(super) class: Class,
    pub(super) first: SegmentId,
    pub(super) last: SegmentId,
}

/// A run's file name.
pub(super) fn file_name(number: RunNumber) -> String {
    format!("{:016x}.run", number.0)
}

pub(super) fn parse_name(name: &str) -> Option<RunNumber> {
    let digits = name.strip_suffix(".run")?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok().map(RunNumber)).flatten()
}

impl Header {
    /// The seed of its footer's checksums: no segment has this generation.
    pub(super) fn seed(&self) -> u64 {
        segment_seed(self.store, SegmentId(self.number.0), u64::MAX)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        put_u32(&mut bytes, FORMAT);
        put_u32(&mut bytes, self.class.0);
        put_build(&mut bytes);
        put_u128(&mut bytes, self.store);
        for field in [self.number.0, self.first.0, self.last.0] {
            put_u64(&mut bytes, field);
        }
        bytes.resize(HEADER - 8, 0);
        let checksum = xxh3_64(&bytes);
        put_u64(&mut bytes, checksum);
        bytes
    }

    /// Errors: corrupt, naming file and offset; also for another format, build, store or number.
    pub(super) fn check(
        bytes: &[u8],
        path: &Path,
        store: u128,
        number: RunNumber,
        class: Class,
    ) -> Result<Self, Error> {
        let cut = |Cut| corrupt(path, 0, "the archive run's header is cut off");
        let bytes = bytes.get(..HEADER).ok_or(Cut).map_err(cut)?;
        let mut reader = Reader::new(bytes);
        if reader.take(8).map_err(cut)? != MAGIC {
            return Err(corrupt(path, 0, "this is no headwater archive run"));
        }
        let format = reader.u32().map_err(cut)?;
        let found_class = Class(reader.u32().map_err(cut)?);
        let build = take_build(&mut reader).map_err(cut)?;
        check_form(format, build, path)?;
        let found_store = reader.u128().map_err(cut)?;
        let found_number = RunNumber(reader.u64().map_err(cut)?);
        let (first, last) = (SegmentId(reader.u64().map_err(cut)?), SegmentId(reader.u64().map_err(cut)?));
        let (covered, checksum) = bytes.split_at(HEADER - 8);
        if xxh3_64(covered).to_le_bytes() != checksum {
            return Err(corrupt(path, 0, "the archive run's header is damaged"));
        }
        if found_store != store {
            return Err(corrupt(path, 48, "the archive run belongs to another store"));
        }
        if found_number != number {
            return Err(corrupt(path, 64, "the archive run bears another run's name"));
        }
        if found_class != class {
            return Err(corrupt(path, 12, "the archive run is of another class than the list says"));
        }
        Ok(Self { store, number, class, first, last })
    }
}

/// A run that is written, and not synced.
pub(super) struct Written {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn File>,
    pub(super) footer: Footer,
    /// Where its footer starts.
    pub(super) end: u64,
}

/// Reads the records at some places.
type Reading<'a> = dyn FnMut(&[Place]) -> Result<Vec<Vec<u8>>, Error> + 'a;

/// Writes a run of the records at some places; `read` answers those of a part of them.
///
/// Errors: the disk's and those of `read`; the file may be there in part.
pub(super) fn write(
    files: &dyn Files,
    path: PathBuf,
    header: &Header,
    places: &[Place],
    read: &mut Reading<'_>,
) -> Result<Written, Error> {
    let io = |error| unreadable(&path, error);
    let file = files.create(&path).map_err(io)?;
    let (mut buffer, mut at) = (header.encode(), 0);
    let mut footer = Footer::new();
    for part in parts(places) {
        for (place, bytes) in part.iter().zip(read(part)?) {
            let entries: &mut Vec<Entry> = footer.entry(place.shard).or_default();
            let number = place.entry.number;
            assert!(entries.last().is_none_or(|last| last.number < number), "numbers rise from file to file");
            entries.push(Entry { offset: at + buffer.len() as u64, ..place.entry });
            buffer.extend_from_slice(&bytes);
            if buffer.len() >= WRITE_BYTES {
                file.write_at(&buffer, at).map_err(io)?;
                at += buffer.len() as u64;
                buffer.clear();
            }
        }
    }
    let end = at + buffer.len() as u64;
    let (summary, entries) = encode_entries(&footer);
    buffer.extend_from_slice(&encode_footer(&summary, &entries, header.seed()));
    file.write_at(&buffer, at).map_err(io)?;
    Ok(Written { path, file, footer, end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_and_bent_ones_are_refused() {
        let header =
            Header { store: 5, number: RunNumber(9), class: Class::DAY, first: SegmentId(3), last: SegmentId(8) };
        let bytes = header.encode();
        assert_eq!(bytes.len(), HEADER);
        let path = Path::new("archive/x.run");
        let check = |bytes: &[u8], store, number| Header::check(bytes, path, store, RunNumber(number), Class::DAY);
        assert_eq!(check(&bytes, 5, 9).expect("it is whole"), header);
        assert!(check(&bytes, 6, 9).is_err() && check(&bytes, 5, 8).is_err());
        for at in 0..HEADER {
            let mut bent = bytes.clone();
            bent[at] ^= 1 << (at % 8);
            assert!(check(&bent, 5, 9).is_err(), "bent at {at}");
            assert!(check(&bytes[..at], 5, 9).is_err(), "cut at {at}");
        }
        assert_eq!(parse_name(&file_name(RunNumber(77))), Some(RunNumber(77)));
        assert_eq!(parse_name("0000.run"), None);
    }
}
