//! The form of a segment file: a header, groups on block boundaries, and once sealed a footer.
//!
//! ```text
//! block 0      | header: format, build, store, segment, generation, where the previous segment ended
//! block 1 ..   | group | padding | group | padding | …      each: header, then one frame per plan
//! at the end   | footer (sealed segments): where each shard's records are; can be made again from the groups
//! ```
//! A group's header carries the previous group's checksum and the highest position known synced when it was framed.
//! Checksums are seeded by store, segment and generation, so that nothing written under another name is ever taken for
//! a group of this segment. All integers are little-endian.

use std::path::Path;

use headwater_types::{Millis, Position};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::bytes::{Reader, put_u32, put_u64, put_u128};
use crate::error::{Error, Kind};

/// Length of a segment's header; on a disk, groups start at multiples of this. Unit: bytes.
pub(super) const BLOCK: u64 = 4096;
/// Groups start at multiples of this where nothing can be torn: in memory. Unit: bytes.
pub(super) const BLOCK_IN_MEMORY: u64 = 64;
/// Version of this form. Zero until release 0.1.0, and until then bound to [`BUILD`].
pub(super) const FORMAT: u32 = 0;
/// Names the form that this build writes while the format version is zero; raised by every change of it.
pub(super) const BUILD: &str = "headwater 0.0.0 form 2";
/// Length of a group's header. Unit: bytes.
pub(super) const GROUP_HEADER: usize = 88;

const SEGMENT_MAGIC: &[u8; 8] = b"HWSEGMNT";
const GROUP_MAGIC: u32 = u32::from_le_bytes(*b"HWG0");
const FOOTER_MAGIC: u32 = u32::from_le_bytes(*b"HWF0");
const BUILD_BYTES: usize = 32;
/// Length of a footer's own header. Unit: bytes.
pub(super) const FOOTER_HEADER: usize = 32;

/// Names a segment; they follow each other without a gap.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(super) struct SegmentId(pub u64);

impl SegmentId {
    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Its file's name.
    pub(super) fn file_name(self) -> String {
        format!("{:016x}.segment", self.0)
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        let digits = name.strip_suffix(".segment")?;
        (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok().map(Self)).flatten()
    }
}

/// A point between two groups.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct End {
    pub(super) segment: SegmentId,
    /// Where the next group would start. Unit: bytes, on a block boundary.
    pub(super) offset: u64,
    /// Position of the last group before it.
    pub(super) position: Position,
    /// Checksum of the last group before it.
    pub(super) checksum: u64,
}

/// The first block of a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SegmentHeader {
    pub(super) store: u128,
    pub(super) id: SegmentId,
    /// Groups start at multiples of this. Unit: bytes.
    pub(super) block: u64,
    /// Raised by every recovery.
    pub(super) generation: u64,
    /// Newest store time that may have been shown before this segment.
    pub(super) mark: Millis,
    /// Every position up to this one was synced before this header was.
    pub(super) synced: Position,
    /// Where the previous segment ended: what follows there counts no more.
    pub(super) previous: End,
}

impl SegmentHeader {
    pub(super) fn seed(&self) -> u64 {
        seed(self.store, self.id, self.generation)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(BLOCK as usize);
        block.extend_from_slice(SEGMENT_MAGIC);
        put_u32(&mut block, FORMAT);
        put_u32(&mut block, self.block as u32);
        put_build(&mut block);
        put_u128(&mut block, self.store);
        for field in [
            self.id.0,
            self.generation,
            self.mark.0 as u64,
            self.synced.0,
            self.previous.segment.0,
            self.previous.offset,
            self.previous.position.0,
            self.previous.checksum,
        ] {
            put_u64(&mut block, field);
        }
        let checksum = xxh3_64(&block);
        put_u64(&mut block, checksum);
        block.resize(BLOCK as usize, 0);
        block
    }

    /// Errors: corrupt, naming file and offset; also for another format, build or store.
    pub(super) fn decode(block: &[u8], path: &Path, store: u128, id: SegmentId) -> Result<Self, Error> {
        let damaged = |offset: usize, what: &str| corrupt(path, offset as u64, what);
        let mut reader = Reader::new(block);
        let cut = |_| damaged(0, "the segment's header is cut off");
        if reader.take(8).map_err(cut)? != SEGMENT_MAGIC {
            return Err(damaged(0, "this is no headwater segment"));
        }
        let format = reader.u32().map_err(cut)?;
        let group_block = u64::from(reader.u32().map_err(cut)?);
        let build = reader.take(BUILD_BYTES).map_err(cut)?.to_vec();
        check_form(format, &build, path)?;
        let found_store = reader.u128().map_err(cut)?;
        let mut fields = [0; 8];
        for field in &mut fields {
            *field = reader.u64().map_err(cut)?;
        }
        let covered = reader.position();
        let checksum = reader.u64().map_err(cut)?;
        if block.get(..covered).map(xxh3_64) != Some(checksum) {
            return Err(damaged(0, "the segment's header is damaged"));
        }
        let [found_id, generation, mark, synced, previous, offset, position, checksum] = fields;
        if found_store != store {
            return Err(damaged(48, "the segment belongs to another store"));
        }
        if found_id != id.0 {
            return Err(damaged(64, "the segment bears another segment's name"));
        }
        if ![BLOCK, BLOCK_IN_MEMORY].contains(&group_block) {
            return Err(damaged(12, "the segment's groups start where none can"));
        }
        let previous = End { segment: SegmentId(previous), offset, position: Position(position), checksum };
        Ok(Self {
            store,
            id,
            block: group_block,
            generation,
            mark: Millis(mark as i64),
            synced: Position(synced),
            previous,
        })
    }
}

/// What the plans of a group are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum GroupKind {
    /// A batch of plans; takes one position.
    Plans,
    /// Nothing but its header, which states the synced position; takes none.
    Statement,
    /// Trim horizons of shards; takes one position.
    Horizons,
}

/// The header of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct GroupHeader {
    pub(super) kind: GroupKind,
    /// Checksum of the payload.
    pub(super) payload_checksum: u64,
    /// Checksum of the previous group, in an earlier segment perhaps.
    pub(super) previous: u64,
    pub(super) position: Position,
    /// Length of the payload. Unit: bytes.
    pub(super) length: u32,
    pub(super) plans: u32,
    pub(super) generation: u64,
    /// Store time of the commit.
    pub(super) time: Millis,
    /// Newest store time that may be shown before a later group says more.
    pub(super) mark: Millis,
    /// Every position up to this one was synced when this group was framed.
    pub(super) synced: Position,
    /// Where in the file the group starts.
    pub(super) offset: u64,
}

impl GroupHeader {
    /// Writes the header into the first bytes of a group and returns its checksum.
    pub(super) fn encode(&self, group: &mut [u8], seed: u64) -> u64 {
        let kind = match self.kind {
            GroupKind::Plans => 0,
            GroupKind::Statement => 1,
            GroupKind::Horizons => 2,
        };
        let mut bytes = Vec::with_capacity(GROUP_HEADER);
        put_u32(&mut bytes, GROUP_MAGIC);
        put_u32(&mut bytes, kind);
        put_u64(&mut bytes, 0);
        for field in [self.payload_checksum, self.previous, self.position.0] {
            put_u64(&mut bytes, field);
        }
        put_u32(&mut bytes, self.length);
        put_u32(&mut bytes, self.plans);
        let rest = [self.generation, self.time.0 as u64, self.mark.0 as u64, self.synced.0, self.offset];
        for field in rest {
            put_u64(&mut bytes, field);
        }
        debug_assert_eq!(bytes.len(), GROUP_HEADER);
        let checksum = header_checksum(&bytes, seed);
        bytes[8..16].copy_from_slice(&checksum.to_le_bytes());
        group[..GROUP_HEADER].copy_from_slice(&bytes);
        checksum
    }

    /// The header and its checksum, if these bytes are a header of a group of this segment at this offset.
    pub(super) fn decode(bytes: &[u8], seed: u64, generation: u64, offset: u64) -> Option<(Self, u64)> {
        let bytes = bytes.get(..GROUP_HEADER)?;
        let mut reader = Reader::new(bytes);
        let magic = reader.u32().ok()?;
        let kind = match reader.u32().ok()? {
            0 => GroupKind::Plans,
            1 => GroupKind::Statement,
            2 => GroupKind::Horizons,
            _ => return None,
        };
        let checksum = reader.u64().ok()?;
        if magic != GROUP_MAGIC || checksum != header_checksum(bytes, seed) {
            return None;
        }
        let header = Self {
            kind,
            payload_checksum: reader.u64().ok()?,
            previous: reader.u64().ok()?,
            position: Position(reader.u64().ok()?),
            length: reader.u32().ok()?,
            plans: reader.u32().ok()?,
            generation: reader.u64().ok()?,
            time: Millis(reader.u64().ok()? as i64),
            mark: Millis(reader.u64().ok()? as i64),
            synced: Position(reader.u64().ok()?),
            offset: reader.u64().ok()?,
        };
        (header.generation == generation && header.offset == offset).then_some((header, checksum))
    }

    /// Bytes that the group takes in a file with such blocks.
    pub(super) fn size(&self, block: u64) -> u64 {
        (GROUP_HEADER as u64 + u64::from(self.length)).next_multiple_of(block)
    }
}

/// The kind, and everything behind the checksum field.
fn header_checksum(header: &[u8], seed: u64) -> u64 {
    xxh3_64_with_seed(&header[16..GROUP_HEADER], seed ^ u64::from(header[4]))
}

/// Checksum of a group's or a footer's payload.
pub(super) fn payload_checksum(payload: &[u8], seed: u64) -> u64 {
    xxh3_64_with_seed(payload, seed)
}

/// The seed of all checksums in one segment.
pub(super) fn seed(store: u128, id: SegmentId, generation: u64) -> u64 {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&store.to_le_bytes());
    bytes[16..24].copy_from_slice(&id.0.to_le_bytes());
    bytes[24..].copy_from_slice(&generation.to_le_bytes());
    xxh3_64(&bytes)
}

/// The header of a footer: a summary that is read at the start, entries that are read when they are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FooterHeader {
    pub(super) summary_length: u32,
    pub(super) entries_length: u64,
    summary_checksum: u64,
    entries_checksum: u64,
}

/// A footer's bytes.
pub(super) fn encode_footer(summary: &[u8], entries: &[u8], seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FOOTER_HEADER + summary.len() + entries.len());
    put_u32(&mut bytes, FOOTER_MAGIC);
    put_u32(&mut bytes, summary.len() as u32);
    put_u64(&mut bytes, entries.len() as u64);
    put_u64(&mut bytes, payload_checksum(summary, !seed));
    put_u64(&mut bytes, payload_checksum(entries, !seed));
    bytes.extend_from_slice(summary);
    bytes.extend_from_slice(entries);
    bytes
}

impl FooterHeader {
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let magic = reader.u32().ok()?;
        let header = Self {
            summary_length: reader.u32().ok()?,
            entries_length: reader.u64().ok()?,
            summary_checksum: reader.u64().ok()?,
            entries_checksum: reader.u64().ok()?,
        };
        (magic == FOOTER_MAGIC).then_some(header)
    }

    pub(super) fn summary_holds(&self, summary: &[u8], seed: u64) -> bool {
        payload_checksum(summary, !seed) == self.summary_checksum
    }

    pub(super) fn entries_hold(&self, entries: &[u8], seed: u64) -> bool {
        payload_checksum(entries, !seed) == self.entries_checksum
    }
}

/// Appends this build's name at its fixed width.
pub(super) fn put_build(bytes: &mut Vec<u8>) {
    let end = bytes.len() + BUILD_BYTES;
    bytes.extend_from_slice(BUILD.as_bytes());
    bytes.resize(end, 0);
}

/// Takes a build's name as [`put_build`] wrote it.
pub(super) fn take_build<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], super::bytes::Cut> {
    reader.take(BUILD_BYTES)
}

/// Refuses what another format or build wrote, by name.
pub(super) fn check_form(format: u32, build: &[u8], path: &Path) -> Result<(), Error> {
    if format != FORMAT {
        let what = format!("format version {format}; this build reads version {FORMAT} only");
        return Err(corrupt(path, 8, &what));
    }
    let text = build.split(|byte| *byte == 0).next().unwrap_or_default();
    if text != BUILD.as_bytes() {
        let found = String::from_utf8_lossy(text);
        let what =
            format!("written by build {found:?}, this is {BUILD:?}; before 0.1.0 a store is read only by its own");
        return Err(corrupt(path, 16, &what));
    }
    Ok(())
}

/// The error for bytes that are not what was written.
pub(super) fn corrupt(path: &Path, offset: u64, what: &str) -> Error {
    Error::new(Kind::Corrupt, format!("{} at offset {offset}: {what}", path.display()))
}
