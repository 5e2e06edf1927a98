//! What lies in the log's folder: segments in order, verified groups, the proven end, copies of what is not proven.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use headwater_types::Position;

use super::unreadable;
use crate::embedded::Recovered;
use crate::embedded::archive::Manifest;
use crate::embedded::segment::{
    BLOCK, End, GROUP_HEADER, GroupHeader, GroupKind, SegmentHeader, SegmentId, corrupt, payload_checksum,
};
use crate::embedded::store::Store;
use crate::error::Error;
use crate::files::{File, Files, TEMPORARY, read_exactly};

/// A segment as it lies on the disk.
pub(in crate::embedded) struct Found {
    pub(in crate::embedded) header: SegmentHeader,
    pub(super) path: PathBuf,
    pub(in crate::embedded) file: Arc<dyn File>,
    /// Whole groups in order; only of segments that are scanned.
    pub(super) groups: Vec<(GroupHeader, u64)>,
}

/// All segments by id, their headers read and their order checked.
///
/// What an archive run replaces is passed over: the run has it.
pub(in crate::embedded) fn find_segments(
    files: &dyn Files,
    folder: &Path,
    store: &Store,
    archived: &Manifest,
) -> Result<Vec<Found>, Error> {
    let mut ids = Vec::new();
    for name in files.list(folder).map_err(|error| unreadable(folder, error))? {
        let path = folder.join(&name);
        match SegmentId::parse(&name) {
            Some(id) if archived.covers(id) => {}
            Some(id) => ids.push(id),
            None if name.ends_with(TEMPORARY) => files.remove(&path).map_err(|error| unreadable(&path, error))?,
            None => return Err(corrupt(&path, 0, "this file is no segment of the log")),
        }
    }
    ids.sort_unstable();
    let mut found: Vec<Found> = Vec::with_capacity(ids.len());
    for id in ids {
        let path = folder.join(id.file_name());
        let file = files.open(&path).map_err(|error| unreadable(&path, error))?;
        let mut block = vec![0; BLOCK as usize];
        let read = file.read_at(&mut block, 0).map_err(|error| unreadable(&path, error))?;
        block.truncate(read);
        let header = SegmentHeader::decode(&block, &path, store.id, id)?;
        if let Some(before) = found.last() {
            let next = before.header.id.next();
            if let Some(gap) = archived.gap(next, id) {
                return Err(corrupt(&folder.join(gap.file_name()), 0, "this segment of the log is missing"));
            }
            let follows = next != id || header.previous.segment == before.header.id;
            if !follows || header.generation < before.header.generation {
                return Err(corrupt(&path, 0, "the segment does not follow the one before it"));
            }
        }
        found.push(Found { header, path, file, groups: Vec::new() });
    }
    // Runs may be older than every segment that is left.
    let oldest = archived.replaced.iter().find(|each| each.run.is_some()).map(|each| each.first);
    if let (Some(oldest), Some(first)) = (oldest, found.first())
        && let Some(gap) = archived.gap(oldest, first.header.id)
    {
        return Err(corrupt(&folder.join(gap.file_name()), 0, "this segment of the log is missing"));
    }
    if found.is_empty() && store.begun {
        return Err(corrupt(folder, 0, "the log of this store is missing"));
    }
    Ok(found)
}

/// Removes what archive runs replace. The new segment's name makes that durable, before the list of runs is written again.
pub(super) fn remove_replaced(files: &dyn Files, folder: &Path, archived: &Manifest) -> Result<(), Error> {
    for name in files.list(folder).map_err(|error| unreadable(folder, error))? {
        let path = folder.join(&name);
        if SegmentId::parse(&name).is_some_and(|id| archived.covers(id)) {
            files.remove(&path).map_err(|error| unreadable(&path, error))?;
        }
    }
    Ok(())
}

/// Where each segment but the newest ends: the one after it says so, or the list of archive runs if that one is gone.
pub(in crate::embedded) fn ends(found: &[Found], archived: &Manifest) -> Vec<End> {
    let pairs = found.iter().zip(found.iter().skip(1));
    pairs
        .map(|(segment, after)| {
            let next = segment.header.id.next();
            if next == after.header.id {
                return after.header.previous;
            }
            archived.end_before(next).expect("a gap in the log was looked up in the list of archive runs")
        })
        .collect()
}

/// Verifies every group that may be replayed, and finds the proven end of the newest segment.
pub(super) fn scan(
    found: &mut [Found],
    archived: &Manifest,
    flushed: Position,
    recovered: &mut Recovered,
) -> Result<End, Error> {
    let ends = ends(found, archived);
    for (segment, end) in found.iter_mut().zip(&ends) {
        if end.position > flushed {
            segment.scan(Some(*end), recovered)?;
        }
    }
    let Some(last) = found.last_mut() else { return Ok(End::default()) };
    let end = last.scan(None, recovered)?;
    if end.position < flushed {
        let what =
            format!("the log ends at position {}, but the index holds positions up to {}", end.position.0, flushed.0);
        return Err(corrupt(&last.path, end.offset, &what));
    }
    let claims = last.groups.iter().map(|(group, _)| group.synced);
    let proven = claims.fold(last.header.synced.max(flushed), Position::max);
    let mut end = last.beginning();
    // Not behind a last statement: it was never synced, and may be in the page cache only.
    let kept = last.groups.iter().filter(|(group, _)| group.kind != GroupKind::Statement && group.position <= proven);
    for (group, checksum) in kept {
        end.offset = group.offset + group.size(last.header.block);
        (end.position, end.checksum) = (group.position, *checksum);
    }
    Ok(end)
}

impl Found {
    /// The point before its first group.
    fn beginning(&self) -> End {
        End { segment: self.header.id, offset: BLOCK, ..self.header.previous }
    }

    /// Reads groups up to a known end, or up to the first that is not whole.
    pub(super) fn scan(&mut self, until: Option<End>, recovered: &mut Recovered) -> Result<End, Error> {
        let length = self.file.len().map_err(|error| unreadable(&self.path, error))?;
        let mut end = self.beginning();
        while until.is_none_or(|until| end.offset < until.offset) {
            if end.offset >= length {
                break;
            }
            let Some((group, checksum)) = self.group_at(&end, length)? else { break };
            recovered.bytes += group.size(self.header.block);
            end.offset += group.size(self.header.block);
            (end.position, end.checksum) = (group.position, checksum);
            self.groups.push((group, checksum));
        }
        match until {
            Some(until) if until != end => {
                let what = format!("the group of position {} is damaged", end.position.0 + 1);
                Err(corrupt(&self.path, end.offset, &what))
            }
            Some(_) => Ok(end),
            None => self.check_end(&end, length).map(|()| end),
        }
    }

    /// The group that starts at a point, if it is whole and follows what came before.
    fn group_at(&self, at: &End, length: u64) -> Result<Option<(GroupHeader, u64)>, Error> {
        let Some((group, checksum)) = self.header_at(at.offset)? else { return Ok(None) };
        let position = match group.kind {
            GroupKind::Statement => at.position,
            GroupKind::Plans | GroupKind::Horizons => Position(at.position.0 + 1),
        };
        let payload_at = at.offset + GROUP_HEADER as u64;
        let follows = group.previous == at.checksum && group.position == position;
        if !follows || payload_at + u64::from(group.length) > length {
            return Ok(None);
        }
        let payload = self.payload(&group)?;
        let whole = payload_checksum(&payload, self.header.seed()) == group.payload_checksum;
        Ok(whole.then_some((group, checksum)))
    }

    fn header_at(&self, offset: u64) -> Result<Option<(GroupHeader, u64)>, Error> {
        let mut bytes = [0; GROUP_HEADER];
        self.file.read_at(&mut bytes, offset).map_err(|error| unreadable(&self.path, error))?;
        Ok(GroupHeader::decode(&bytes, self.header.seed(), self.header.generation, offset))
    }

    pub(super) fn payload(&self, group: &GroupHeader) -> Result<Bytes, Error> {
        let at = group.offset + GROUP_HEADER as u64;
        let payload = read_exactly(&*self.file, at, group.length as usize);
        payload.map(Bytes::from).map_err(|error| unreadable(&self.path, error))
    }

    /// The log may end here only if nothing behind says that more was synced.
    fn check_end(&self, end: &End, length: u64) -> Result<(), Error> {
        let missing = Position(end.position.0 + 1);
        let mut offset = end.offset + self.header.block;
        while offset < length {
            if let Some((group, _)) = self.header_at(offset)?
                && group.synced >= missing
            {
                let what = format!(
                    "the group of position {} is damaged: a later group, at offset {offset}, states that position {} was synced",
                    missing.0, group.synced.0
                );
                return Err(corrupt(&self.path, end.offset, &what));
            }
            offset += self.header.block;
        }
        Ok(())
    }
}

/// Groups of the newest segment beyond its proven end, framed again for the next.
pub(super) struct Copies {
    pub(super) first: Vec<u8>,
    pub(super) bytes: Vec<Vec<u8>>,
    pub(super) groups: Vec<(GroupHeader, u64)>,
    pub(super) end: End,
}

pub(super) fn copy(found: &[Found], header: &SegmentHeader) -> Result<Copies, Error> {
    let mut end = End { segment: header.id, offset: BLOCK, ..header.previous };
    let mut copies = Copies { first: header.encode(), bytes: Vec::new(), groups: Vec::new(), end };
    let Some(last) = found.last() else { return Ok(copies) };
    let seed = header.seed();
    let beyond = last.groups.iter().map(|(group, _)| group).filter(|group| group.position > header.previous.position);
    for group in beyond.filter(|group| group.kind != GroupKind::Statement) {
        let payload = last.payload(group)?;
        let copied = GroupHeader {
            payload_checksum: payload_checksum(&payload, seed),
            previous: end.checksum,
            generation: header.generation,
            synced: header.previous.position,
            offset: end.offset,
            ..*group
        };
        let mut bytes = vec![0; GROUP_HEADER];
        bytes.extend_from_slice(&payload);
        let checksum = copied.encode(&mut bytes, seed);
        bytes.resize(copied.size(header.block) as usize, 0);
        end = End { offset: end.offset + copied.size(header.block), position: copied.position, checksum, ..end };
        copies.bytes.push(bytes);
        copies.groups.push((copied, checksum));
    }
    copies.end = end;
    Ok(copies)
}
