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
        debug_assert!(word >= self.base, "segments are added in order");
        let index = ((word - self.base) / 64) as usize;
        if self.words.len() <= index {
            self.words.resize(index + 1, 0);
        }
        self.words[index] |= 1 << (id.0 & 63);
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
}
