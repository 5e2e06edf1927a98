//! Which segments are replaced, and by which runs: one small file, written whole under another name, synced, renamed.
//!
//! It counts from the moment its name is durable. What it does not name is no run; what it says is replaced is no segment
//! any more, whether or not its file is still there.

use std::io;
use std::path::{Path, PathBuf};

use headwater_types::{Position, SequenceNumber, ShardUid};
use xxhash_rust::xxh3::xxh3_64;

use super::{Class, RunNumber};
use crate::embedded::bytes::{Cut, Reader, put_u32, put_u64, put_u128};
use crate::embedded::segment::{End, FORMAT, SegmentId, check_form, corrupt, put_build, take_build};
use crate::error::{Error, Kind};
use crate::files::{Files, TEMPORARY, read_exactly};

const MAGIC: &[u8; 8] = b"HWMANIF\n";
const NAME: &str = "MANIFEST";

/// What stands in the place of segments that follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::embedded) struct Replaced {
    pub(in crate::embedded) first: SegmentId,
    pub(in crate::embedded) last: SegmentId,
    /// Where the segment before the first one ended.
    pub(in crate::embedded) before: End,
    /// The last position in them.
    pub(in crate::embedded) position: Position,
    /// Absent when nothing in them was wanted.
    pub(in crate::embedded) run: Option<Run>,
}

/// An archive run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::embedded) struct Run {
    pub(in crate::embedded) number: RunNumber,
    pub(in crate::embedded) class: Class,
    /// Where its footer starts. Unit: bytes.
    pub(in crate::embedded) end: u64,
}

/// The whole list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::embedded) struct Manifest {
    /// No run bears this number or a higher one.
    pub(in crate::embedded) next: RunNumber,
    /// In order, apart from each other.
    pub(in crate::embedded) replaced: Vec<Replaced>,
    /// Every horizon at that time: nothing below one of them was taken over by a run.
    pub(in crate::embedded) horizons: Vec<(ShardUid, SequenceNumber)>,
}

impl Manifest {
    /// The first id in `from..upto` that is not replaced.
    pub(in crate::embedded) fn gap(&self, from: SegmentId, upto: SegmentId) -> Option<SegmentId> {
        let mut next = from;
        for each in &self.replaced {
            if each.first <= next && next <= each.last {
                next = each.last.next();
            }
        }
        (next < upto).then_some(next)
    }

    pub(in crate::embedded) fn covers(&self, id: SegmentId) -> bool {
        self.replaced.iter().any(|each| each.first <= id && id <= each.last)
    }

    /// Where a segment ended whose successor is replaced.
    pub(in crate::embedded) fn end_before(&self, id: SegmentId) -> Option<End> {
        self.replaced.iter().find(|each| each.first == id).map(|each| each.before)
    }

    /// Takes in what replaces whole segments and whole entries. Entries beside it that stand for nothing join it.
    pub(in crate::embedded) fn add(&mut self, mut new: Replaced) {
        self.replaced.retain(|each| {
            let apart = each.last < new.first || new.last < each.first;
            if !apart {
                // An entry reaches further than its run where an empty one has joined it.
                (new.last, new.position) = (new.last.max(each.last), new.position.max(each.position));
            }
            apart
        });
        let at = self.replaced.partition_point(|each| each.first < new.first);
        while let Some(next) = self.replaced.get(at).filter(|next| next.run.is_none() && next.first == new.last.next())
        {
            (new.last, new.position) = (next.last, next.position.max(new.position));
            self.replaced.remove(at);
        }
        let before = at.checked_sub(1).and_then(|at| self.replaced.get_mut(at));
        match before.filter(|before| before.run.is_none() && before.last.next() == new.first) {
            // A run's place is that of its first segment: readers may have passed by what lies before.
            Some(before) if new.run.is_none() => (before.last, before.position) = (new.last, new.position),
            Some(_) | None => self.replaced.insert(at, new),
        }
    }

    /// Forgets what stands for nothing and lies before everything that is left.
    pub(in crate::embedded) fn forget_before(&mut self, first: SegmentId) {
        self.replaced.retain(|each| each.run.is_some() || each.last >= first);
    }

    fn encode(&self, store: u128) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        put_u32(&mut bytes, FORMAT);
        put_u32(&mut bytes, 0);
        put_build(&mut bytes);
        put_u128(&mut bytes, store);
        for count in [self.next.0, self.replaced.len() as u64, self.horizons.len() as u64] {
            put_u64(&mut bytes, count);
        }
        for each in &self.replaced {
            let End { segment, offset, position, checksum } = each.before;
            let run = each.run.map_or([u64::MAX, 0, 0], |run| [run.number.0, u64::from(run.class.0), run.end]);
            let before = [each.first.0, each.last.0, segment.0, offset, position.0, checksum, each.position.0];
            before.into_iter().chain(run).for_each(|field| put_u64(&mut bytes, field));
        }
        for (shard, below) in &self.horizons {
            put_u64(&mut bytes, shard.0);
            put_u64(&mut bytes, below.0);
        }
        let checksum = xxh3_64(&bytes);
        put_u64(&mut bytes, checksum);
        bytes
    }

    fn decode(bytes: &[u8], path: &Path, store: u128) -> Result<Self, Error> {
        let cut = |Cut| corrupt(path, bytes.len() as u64, "the list of archive runs is cut off");
        let mut reader = Reader::new(bytes);
        if reader.take(MAGIC.len()).map_err(cut)? != MAGIC {
            return Err(corrupt(path, 0, "this is no headwater list of archive runs"));
        }
        let format = reader.u32().map_err(cut)?;
        reader.u32().map_err(cut)?;
        let build = take_build(&mut reader).map_err(cut)?;
        check_form(format, build, path)?;
        let covered = bytes.len().saturating_sub(8);
        let checksum = bytes.get(covered..).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
        if bytes.get(..covered).map(xxh3_64) != checksum {
            return Err(corrupt(path, 0, "the list of archive runs is damaged"));
        }
        if reader.u128().map_err(cut)? != store {
            return Err(corrupt(path, 48, "the list of archive runs belongs to another store"));
        }
        Self::take(&mut reader).map_err(cut)
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Cut> {
        let mut manifest = Self { next: RunNumber(reader.u64()?), ..Self::default() };
        let (replaced, horizons) = (reader.u64()?, reader.u64()?);
        for _ in 0..replaced {
            let mut fields = [0; 10];
            for field in &mut fields {
                *field = reader.u64()?;
            }
            let [first, last, segment, offset, before, checksum, position, number, class, end] = fields;
            let class = Class(u32::try_from(class).map_err(|_| Cut)?);
            manifest.replaced.push(Replaced {
                first: SegmentId(first),
                last: SegmentId(last),
                before: End { segment: SegmentId(segment), offset, position: Position(before), checksum },
                position: Position(position),
                run: (number != u64::MAX).then_some(Run { number: RunNumber(number), class, end }),
            });
        }
        for _ in 0..horizons {
            manifest.horizons.push((ShardUid(reader.u64()?), SequenceNumber(reader.u64()?)));
        }
        Ok(manifest)
    }

    /// Reads it; `None` when there is none.
    pub(in crate::embedded) fn read(files: &dyn Files, folder: &Path, store: u128) -> Result<Option<Self>, Error> {
        let path = path(folder);
        let io = |error| unreadable(&path, error);
        let file = match files.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        let length = file.len().map_err(io)? as usize;
        let bytes = read_exactly(&*file, 0, length).map_err(io)?;
        Self::decode(&bytes, &path, store).map(Some)
    }

    /// Makes it the list that counts.
    ///
    /// Errors: `Full`: the old one still counts. `Closed`: which of the two counts is known at the next start only.
    pub(in crate::embedded) fn write(&self, files: &dyn Files, folder: &Path, store: u128) -> Result<(), Error> {
        let path = path(folder);
        let temporary = path.with_extension(TEMPORARY);
        let draft = || {
            match files.remove(&temporary) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let file = files.create(&temporary)?;
            file.write_at(&self.encode(store), 0)?;
            file.sync_data()
        };
        draft().map_err(|error| unreadable(&temporary, error))?;
        let name = || {
            files.rename(&temporary, &path)?;
            files.sync_dir(folder)
        };
        name().map_err(|error| {
            let what = format!("{}: the list of archive runs cannot be replaced", path.display());
            Error::new(Kind::Closed, what).because(error)
        })
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

pub(super) fn is_manifest(name: &str) -> bool {
    name == NAME
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::Full,
        _ => Kind::Unavailable,
    };
    Error::new(kind, format!("{}: cannot be read or written", path.display())).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(first: u64, last: u64, run: Option<u64>) -> Replaced {
        let before = End { segment: SegmentId(first - 1), offset: 4096 * first, ..End::default() };
        let run = run.map(|number| Run { number: RunNumber(number), class: Class::DAY, end: 4096 });
        Replaced { first: SegmentId(first), last: SegmentId(last), before, position: Position(last), run }
    }

    fn list(manifest: &Manifest) -> Vec<(u64, u64, Option<u64>)> {
        let each = |each: &Replaced| (each.first.0, each.last.0, each.run.map(|run| run.number.0));
        manifest.replaced.iter().map(each).collect()
    }

    #[test]
    fn it_comes_back_and_a_cut_or_bent_one_does_not() {
        let manifest = Manifest {
            next: RunNumber(7),
            replaced: vec![replaced(2, 5, Some(3)), replaced(9, 9, None)],
            horizons: vec![(ShardUid(4), SequenceNumber(99))],
        };
        let bytes = manifest.encode(11);
        let path = Path::new("archive/MANIFEST");
        assert_eq!(Manifest::decode(&bytes, path, 11).expect("it is whole"), manifest);
        assert!(Manifest::decode(&bytes, path, 12).is_err(), "another store's");
        for at in 0..bytes.len() {
            assert!(Manifest::decode(&bytes[..at], path, 11).is_err(), "cut at {at}");
            let mut bent = bytes.clone();
            bent[at] ^= 1 << (at % 8);
            assert!(Manifest::decode(&bent, path, 11).is_err(), "bent at {at}");
        }
    }

    #[test]
    fn entries_swallow_what_they_replace_and_empty_neighbours() {
        let mut manifest = Manifest::default();
        manifest.add(replaced(4, 4, Some(1)));
        manifest.add(replaced(6, 6, None));
        manifest.add(replaced(2, 2, None));
        assert_eq!(list(&manifest), [(2, 2, None), (4, 4, Some(1)), (6, 6, None)]);
        assert_eq!(manifest.gap(SegmentId(4), SegmentId(7)), Some(SegmentId(5)));
        manifest.add(replaced(5, 5, Some(2)));
        assert_eq!(list(&manifest), [(2, 2, None), (4, 4, Some(1)), (5, 6, Some(2))]);
        assert_eq!(manifest.gap(SegmentId(4), SegmentId(7)), None);
        manifest.add(replaced(5, 5, Some(4)));
        assert_eq!(list(&manifest), [(2, 2, None), (4, 4, Some(1)), (5, 6, Some(4))], "6 was joined");
        manifest.add(replaced(4, 5, Some(3)));
        assert_eq!(list(&manifest), [(2, 2, None), (4, 6, Some(3))]);
        manifest.add(replaced(3, 3, None));
        assert_eq!(list(&manifest), [(2, 3, None), (4, 6, Some(3))]);
        assert_eq!(manifest.end_before(SegmentId(2)).map(|end| end.segment), Some(SegmentId(1)));
        manifest.add(replaced(4, 6, None));
        assert_eq!(list(&manifest), [(2, 6, None)]);
        assert!(manifest.covers(SegmentId(2)) && !manifest.covers(SegmentId(7)));
        manifest.forget_before(SegmentId(7));
        assert!(list(&manifest).is_empty());
    }
}
