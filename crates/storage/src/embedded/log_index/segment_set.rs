//! Which segments hold records of a shard: a bitmap.

use std::collections::VecDeque;

use crate::embedded::segment::SegmentId;

/// A bitmap of segments.
#[derive(Default)]
pub(super) struct SegmentSet {
    /// The segment of the lowest bit, a multiple of 64.
    base: u64,
    words: VecDeque<u64>,
}

impl SegmentSet {
    pub(super) fn insert(&mut self, id: SegmentId) {
        let word = id.0 & !63;
        if self.words.is_empty() {
            self.base = word;
        }
        // Segments are added in order; a run takes the place of an earlier one.
        while word < self.base {
            self.words.push_front(0);
            self.base -= 64;
        }
        let index = ((word - self.base) / 64) as usize;
        if self.words.len() <= index {
            self.words.resize(index + 1, 0);
        }
        self.words[index] |= 1 << (id.0 & 63);
    }

    /// Removes a segment; whether nothing is left.
    pub(super) fn remove(&mut self, id: SegmentId) -> bool {
        if let Some(index) = (id.0 & !63).checked_sub(self.base)
            && let Some(word) = self.words.get_mut((index / 64) as usize)
        {
            *word &= !(1 << (id.0 & 63));
        }
        while self.words.front() == Some(&0) {
            self.words.pop_front();
            self.base += 64;
        }
        self.words.is_empty()
    }

    pub(super) fn contains(&self, id: SegmentId) -> bool {
        let index = (id.0 & !63).checked_sub(self.base);
        index.and_then(|index| self.words.get((index / 64) as usize)).is_some_and(|word| word >> (id.0 & 63) & 1 == 1)
    }

    /// Removes everything before a segment; whether nothing is left.
    pub(super) fn cut(&mut self, first: SegmentId) -> bool {
        while self.base + 64 <= first.0 && self.words.pop_front().is_some() {
            self.base += 64;
        }
        if self.base < first.0
            && let Some(word) = self.words.front_mut()
        {
            *word &= u64::MAX << (first.0 - self.base);
        }
        self.words.iter().all(|word| *word == 0)
    }

    pub(super) fn from(&self, first: SegmentId) -> impl Iterator<Item = SegmentId> {
        let skip = (first.0.saturating_sub(self.base) / 64) as usize;
        let words = self.words.iter().enumerate().skip(skip);
        let base = self.base;
        words
            .flat_map(move |(index, word)| {
                let start = base + 64 * index as u64;
                (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| SegmentId(start + bit))
            })
            .filter(move |id| *id >= first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_set_lists_what_is_left_after_a_cut() {
        let mut set = SegmentSet::default();
        let ids = [3, 63, 64, 130, 700].map(SegmentId);
        ids.into_iter().for_each(|id| set.insert(id));
        assert_eq!(set.from(SegmentId(0)).collect::<Vec<_>>(), ids);
        assert_eq!(set.from(SegmentId(65)).collect::<Vec<_>>(), ids[3..]);
        assert!(!set.cut(SegmentId(131)));
        assert_eq!(set.from(SegmentId(0)).collect::<Vec<_>>(), ids[4..]);
        assert!(set.cut(SegmentId(701)));
    }

    #[test]
    fn a_run_takes_the_place_of_segments() {
        let mut set = SegmentSet::default();
        [70, 71, 200].map(SegmentId).into_iter().for_each(|id| set.insert(id));
        assert!(!set.remove(SegmentId(70)) && !set.remove(SegmentId(71)) && !set.remove(SegmentId(9)));
        set.insert(SegmentId(3));
        assert_eq!(set.from(SegmentId(0)).collect::<Vec<_>>(), [3, 200].map(SegmentId));
        assert!(set.contains(SegmentId(3)) && !set.contains(SegmentId(70)) && !set.contains(SegmentId(999)));
        assert!(!set.remove(SegmentId(3)) && set.remove(SegmentId(200)));
        set.insert(SegmentId(5));
        assert_eq!(set.from(SegmentId(0)).collect::<Vec<_>>(), [SegmentId(5)]);
    }
}
