//! What is still wanted of files that are rewritten together: first where it lies, then its bytes, a bounded part at a time.

use std::sync::Arc;

use headwater_types::ShardUid;

use super::read::read_records;
use super::{Entry, Footer, LogIndex, Segment};
use crate::embedded::snapshots::Horizons;
use crate::error::Error;

/// Most bytes of records that a rewriting holds at once, unless a single record is larger: each thread that ever rewrites
/// keeps its memory for the next time.
const PART_BYTES: u64 = 4 * 1024 * 1024;

/// Where a record lies that moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::embedded) struct Place {
    pub(in crate::embedded) shard: ShardUid,
    pub(in crate::embedded) entry: Entry,
    /// Which of the files that are rewritten together.
    file: usize,
}

/// Cuts places into parts of bounded bytes, in order.
pub(in crate::embedded) fn parts(places: &[Place]) -> impl Iterator<Item = &[Place]> {
    let mut rest = places;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|place| {
            let any = bytes > 0;
            bytes += place.entry.size();
            !any || bytes <= PART_BYTES
        });
        let (part, others) = rest.split_at(fits.count());
        rest = others;
        (!part.is_empty()).then_some(part)
    })
}

impl LogIndex {
    /// Where everything lies that no horizon has passed, by shard and rising number. No record is read.
    ///
    /// Errors: those of the file at the index beside it.
    pub(in crate::embedded) fn places(
        &self,
        files: &[Arc<Segment>],
        horizons: &Horizons,
    ) -> Result<Vec<Place>, (usize, Error)> {
        let mut places = Vec::new();
        for (file, segment) in files.iter().enumerate() {
            let mut note = |footer: &Footer| {
                for (&shard, entries) in footer {
                    let horizon = horizons.get(&shard).copied().unwrap_or_default();
                    let first = entries.partition_point(|entry| entry.number < horizon);
                    places.extend(entries[first..].iter().map(|&entry| Place { shard, entry, file }));
                }
            };
            let growing = segment.state.read().growing.as_ref().map(|(_, footer)| note(footer)).is_some();
            if !growing {
                note(&self.opened(segment).map_err(|error| (file, error))?.1);
            }
        }
        // Numbers of a shard rise from file to file.
        places.sort_by_key(|place| (place.shard, place.entry.number));
        Ok(places)
    }

    /// The records at some places, with their own headers, in the order of the places; of each file in order of where
    /// they lie in it.
    ///
    /// Errors: those of the file at the index beside it.
    pub(in crate::embedded) fn gather(
        &self,
        files: &[Arc<Segment>],
        places: &[Place],
    ) -> Result<Vec<Vec<u8>>, (usize, Error)> {
        let mut records = vec![Vec::new(); places.len()];
        for (file, segment) in files.iter().enumerate() {
            let mut wanted: Vec<usize> = (0..places.len()).filter(|&at| places[at].file == file).collect();
            if wanted.is_empty() {
                continue;
            }
            wanted.sort_unstable_by_key(|&at| places[at].entry.offset);
            let entries: Vec<_> = wanted.iter().map(|&at| (places[at].shard, places[at].entry)).collect();
            let mut slots = wanted.iter();
            let growing = segment.state.read().growing.as_ref().map(|(file, _)| file.clone());
            let opened = growing.map_or_else(|| self.opened(segment).map(|opened| opened.0), Ok);
            let read = opened.and_then(|handle| {
                read_records(&*handle, segment, &entries, &mut |_, _, record| {
                    if let Some(&slot) = slots.next() {
                        records[slot] = record.to_vec();
                    }
                })
            });
            read.map_err(|error| (file, error))?;
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use headwater_types::{Position, SequenceNumber};

    use super::*;

    #[test]
    fn parts_are_bounded_and_make_up_the_whole() {
        let place = |number: u64, length: u32| {
            let entry =
                Entry { number: SequenceNumber(number), position: Position(number), offset: number * 100, length };
            Place { shard: ShardUid(1), entry, file: 0 }
        };
        let large = PART_BYTES as u32 + 1;
        let lengths = (0..3_000).map(|at| if at % 500 == 7 { large } else { 4_000 });
        let places: Vec<Place> = lengths.enumerate().map(|(at, length)| place(at as u64, length)).collect();
        let cut: Vec<&[Place]> = parts(&places).collect();
        let size = |part: &[Place]| part.iter().map(|place| place.entry.size()).sum::<u64>();
        assert!(cut.iter().all(|part| part.len() == 1 || size(part) <= PART_BYTES));
        assert!((8..30).contains(&cut.len()), "{}", cut.len());
        assert_eq!(cut.concat(), places);
        assert_eq!(parts(&[]).count(), 0);
    }
}
