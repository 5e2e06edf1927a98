//! Which files are worth rewriting: a pure choice over their sizes.
//!
//! ```text
//!   segment segment│run run due due due run│segment       │ … │ a streak: what may move, nothing that stays between
//!                          └── window ──┘                 rewritten at once into one run, or into nothing
//! ```

use std::ops::Range;

/// Runs that may stand side by side before they are joined for their number alone.
const SIDE_BY_SIDE_MAX: usize = 4;
/// Most files of one window.
const WINDOW_MAX: usize = 64;

/// A segment or a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Item {
    /// Bytes that it takes.
    pub(super) size: u64,
    /// Bytes of records in it that somebody wants.
    pub(super) wanted: u64,
    /// It is a run already.
    pub(super) run: bool,
    /// It is sealed, behind the flush point, whole and not being removed.
    pub(super) movable: bool,
}

/// The bounds of a choice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Bounds {
    /// What holds less than this part that is wanted is due. Unit: hundredths.
    pub(super) percent: u64,
    /// A run of this size is not joined with others any more, and no window moves more. Unit: bytes.
    pub(super) full: u64,
}

impl Bounds {
    fn is_due(&self, item: &Item) -> bool {
        item.movable && u128::from(item.wanted) * 100 < u128::from(item.size) * u128::from(self.percent)
    }

    fn moves(&self, item: &Item) -> bool {
        self.is_due(item) || (item.movable && item.run && item.size < self.full)
    }
}

/// The next files to rewrite together; `None`: it would not pay.
pub(super) fn choose(items: &[Item], bounds: Bounds) -> Option<Range<usize>> {
    let streaks = || {
        let mut start = 0;
        std::iter::from_fn(move || {
            start += items[start..].iter().position(|item| bounds.moves(item))?;
            let length = items[start..].iter().take_while(|item| bounds.moves(item)).count();
            let streak = start..start + length;
            start += length;
            Some(streak)
        })
    };
    streaks().find_map(|streak| reclaim(items, streak, bounds)).or_else(|| {
        let crowded = |streak: &Range<usize>| items[streak.clone()].iter().filter(|item| item.run).count();
        streaks().filter(|streak| crowded(streak) > SIDE_BY_SIDE_MAX).find_map(|streak| join(items, streak, bounds))
    })
}

/// Due files, if enough comes free; and small runs beside them.
fn reclaim(items: &[Item], streak: Range<usize>, bounds: Bounds) -> Option<Range<usize>> {
    let mut due = streak.clone().filter(|at| bounds.is_due(&items[*at]));
    let window = due.find_map(|start| from(items, start..streak.end, bounds))?;
    Some(widen(items, window, streak, bounds))
}

/// From a due file to the last one that may move with it, if enough comes free of those.
fn from(items: &[Item], rest: Range<usize>, bounds: Bounds) -> Option<Range<usize>> {
    let start = rest.start;
    let (mut end, mut moved, mut passed, mut freed) = (start, 0, 0, 0);
    for at in rest {
        let item = &items[at];
        moved += item.wanted;
        let any = end > start;
        if any && (moved > bounds.full || at - start == WINDOW_MAX) {
            break;
        }
        passed += item.size.saturating_sub(item.wanted);
        if bounds.is_due(item) {
            // What lies behind the last due one stays where it is, and frees nothing.
            (end, freed) = (at + 1, passed);
        }
    }
    (freed >= bounds.full / 4).then_some(start..end)
}

/// Too many small runs side by side: those that are no larger than what they are joined with.
fn join(items: &[Item], streak: Range<usize>, bounds: Bounds) -> Option<Range<usize>> {
    streak.clone().rev().map(|end| widen(items, end..end + 1, streak.clone(), bounds)).find(|window| window.len() > 1)
}

/// Takes in older neighbours as long as they are not larger than all that is moved anyway: so nothing is rewritten more
/// often than its size can double.
fn widen(items: &[Item], mut window: Range<usize>, streak: Range<usize>, bounds: Bounds) -> Range<usize> {
    let mut moved: u64 = items[window.clone()].iter().map(|item| item.wanted).sum();
    while window.start > streak.start && window.len() < WINDOW_MAX {
        let wanted = items[window.start - 1].wanted;
        if wanted > moved || moved + wanted > bounds.full {
            break;
        }
        moved += wanted;
        window.start -= 1;
    }
    window
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { percent: 50, full: 1000 };

    fn segment(wanted: u64) -> Item {
        Item { size: 1000, wanted, run: false, movable: true }
    }

    fn run(size: u64) -> Item {
        Item { size, wanted: size, run: true, movable: true }
    }

    const FIXED: Item = Item { size: 1000, wanted: 0, run: false, movable: false };

    /// A run of one record smaller than its header stays due for ever: what its neighbour would free does not count for it.
    #[test]
    fn what_stays_where_it_is_frees_nothing() {
        let tiny = Item { size: 247, wanted: 119, run: true, movable: true };
        let beside = Item { size: 900, wanted: 600, run: true, movable: true };
        assert!(BOUNDS.is_due(&tiny) && !BOUNDS.is_due(&beside));
        assert_eq!(choose(&[tiny, beside], BOUNDS), None);
        assert_eq!(choose(&[tiny, beside, FIXED, segment(100)], BOUNDS), Some(3..4), "another streak");
        let near = [tiny, Item { wanted: 890, ..beside }, segment(100)];
        assert_eq!(choose(&near, BOUNDS), Some(2..3), "too much to move together: the next due one is looked at");
    }

    #[test]
    fn what_is_mostly_unwanted_goes_and_what_is_mostly_wanted_stays() {
        assert_eq!(choose(&[segment(499)], BOUNDS), Some(0..1));
        assert_eq!(choose(&[segment(500)], BOUNDS), None);
        assert_eq!(choose(&[FIXED, segment(900), segment(10), segment(0), FIXED], BOUNDS), Some(2..4));
        assert_eq!(choose(&[segment(900), FIXED], BOUNDS), None);
        assert_eq!(choose(&[Item { size: 2000, wanted: 900, ..run(0) }], BOUNDS), Some(0..1), "a run is due as well");
        assert_eq!(choose(&[Item { size: 300, wanted: 90, ..segment(0) }], BOUNDS), None, "too little comes free");
        assert_eq!(choose(&[], BOUNDS), None);
    }

    #[test]
    fn a_window_moves_no_more_than_a_full_run() {
        let items = [segment(400); 5];
        assert_eq!(choose(&items, BOUNDS), Some(0..2));
        let large = Item { size: 9000, wanted: 4000, ..segment(0) };
        assert_eq!(choose(&[large, segment(1)], BOUNDS), Some(0..1), "a single one may be larger");
    }

    #[test]
    fn small_runs_are_joined_rarely_and_stay_few() {
        // Each round one segment with a little that is wanted: the runs must stay few, and the rewriting bounded.
        let (mut items, mut rewritten, mut moved) = (Vec::new(), 0, 0);
        for round in 0..3000 {
            items.push(segment(30 + round % 7));
            moved += 30 + round % 7;
            while let Some(window) = choose(&items, BOUNDS) {
                let wanted: u64 = items[window.clone()].iter().map(|item| item.wanted).sum();
                rewritten += wanted;
                items.splice(window, [run(wanted)]);
            }
            let (small, full): (Vec<Item>, Vec<Item>) = items.iter().partition(|item| item.size < BOUNDS.full / 2);
            assert!(small.len() <= 12, "round {round}: {small:?}");
            assert!(full.len() as u64 <= 1 + moved / (BOUNDS.full / 2), "round {round}");
        }
        assert_eq!(items.iter().map(|item| item.wanted).sum::<u64>(), moved, "nothing is lost by the choice");
        assert!(rewritten < 8 * moved, "{rewritten} bytes rewritten for {moved}");
    }

    #[test]
    fn streaks_are_apart() {
        let items = [run(10), segment(900), run(10), run(10), run(10), run(10), run(10), segment(900), run(10)];
        assert_eq!(choose(&items, BOUNDS), Some(2..7));
    }
}
