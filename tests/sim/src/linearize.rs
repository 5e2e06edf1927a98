//! Is there one order of the operations on an item that explains every answer and keeps real time?
//!
//! The search of Wing and Gong with Lowe's memory of seen (done, state) pairs. An operation whose answer was lost may
//! take effect at any moment after its call, or never: it has no end, and the search need not place it. Lost operations
//! that leave nothing anybody ever saw and do the same are interchangeable, so only the oldest of them is tried.

use std::collections::BTreeSet;

use headwater_types::hash::FixedSet;

use crate::spec::{self, Action, Answer, Condition, Item, Operation};

/// One operation as its caller saw it.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it began.
    pub invoked: u64,
    /// When its answer came.
    pub answered: Option<u64>,
    /// What was asked.
    pub operation: Operation,
    /// What was answered; `None` when nobody knows.
    pub answer: Option<Answer>,
}

/// The search's result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Such an order exists.
    Linearizable,
    /// None exists; the longest order that explains a part, as indices into the calls.
    Impossible {
        /// Indices into the calls.
        longest: Vec<usize>,
    },
    /// The search was given up.
    Undecided,
}

struct Placed {
    call: usize,
    before: Option<Item>,
    /// Candidates not tried yet after this one.
    candidates: Vec<usize>,
}

/// Searches, from an absent item on. Order: the calls stand by rising beginning.
pub fn check(calls: &[Call], steps_max: usize) -> Verdict {
    let mut search = Search::new(calls);
    let mut candidates = search.candidates();
    let mut stack: Vec<Placed> = Vec::new();
    let mut longest: Vec<usize> = Vec::new();
    for _ in 0..steps_max {
        if search.known_left == 0 {
            return Verdict::Linearizable;
        }
        match candidates.pop() {
            Some(call) => {
                if let Some(before) = search.place(call) {
                    stack.push(Placed { call, before, candidates: std::mem::take(&mut candidates) });
                    if stack.len() > longest.len() {
                        longest = stack.iter().map(|placed| placed.call).collect();
                    }
                    candidates = search.candidates();
                }
            }
            None => match stack.pop() {
                Some(placed) => {
                    search.take_back(placed.call, placed.before);
                    candidates = placed.candidates;
                }
                None => return Verdict::Impossible { longest },
            },
        }
    }
    Verdict::Undecided
}

/// Stands for every number that no answer shows.
const UNSEEN: u64 = u64::MAX;

struct Search<'a> {
    calls: &'a [Call],
    /// The operations, numbers that were never seen replaced by one.
    operations: Vec<Operation>,
    /// Per call that is like an older lost one: that one, which goes first.
    after: Vec<Option<usize>>,
    done: Vec<u64>,
    /// Stands for the set of calls done: two sets have the same one only by a chance of one in 2^100.
    done_mark: u128,
    /// Calls below are done.
    done_below: usize,
    item: Option<Item>,
    known_left: usize,
    seen: FixedSet<(u128, Option<Item>)>,
}

/// A call's part in the mark of a set.
fn mark(call: usize) -> u128 {
    let mixed = (call as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let mixed = (mixed ^ (mixed >> 67)).wrapping_mul(0xda94_2042_e4dd_58b5_9fb2_1c65_1e98_df25);
    mixed ^ (mixed >> 61)
}

impl<'a> Search<'a> {
    fn new(calls: &'a [Call]) -> Self {
        let known_left = calls.iter().filter(|call| call.answer.is_some()).count();
        let done = vec![0; calls.len().div_ceil(64)];
        let seen = numbers_seen(calls);
        let operations: Vec<Operation> = calls
            .iter()
            .map(|call| {
                let unseen = call.answer.is_none() && !seen.contains(&call.operation.id);
                let id = if unseen { UNSEEN } else { call.operation.id };
                Operation { id, ..call.operation.clone() }
            })
            .collect();
        let alike = |call: usize, other: usize| {
            let (one, two) = (&operations[call], &operations[other]);
            calls[other].answer.is_none()
                && calls[other].invoked <= calls[call].invoked
                && (one.action, one.condition) == (two.action, two.condition)
                && (one.id == two.id || one.action == Action::Delete)
        };
        let after = (0..calls.len())
            .map(|call| match calls[call].answer {
                None => (0..call).rev().find(|other| alike(call, *other)),
                Some(_) => None,
            })
            .collect();
        let (done_mark, done_below) = (0, 0);
        Self {
            calls,
            operations,
            after,
            done,
            done_mark,
            done_below,
            item: None,
            known_left,
            seen: FixedSet::default(),
        }
    }

    fn is_done(&self, call: usize) -> bool {
        self.done[call / 64] >> (call % 64) & 1 == 1
    }

    /// Calls that began before every open call's end; the one to try first stands last.
    fn candidates(&self) -> Vec<usize> {
        let open = || (self.done_below..self.calls.len()).filter(|call| !self.is_done(*call));
        // By rising beginning: who began after the earliest end so far ends later still.
        let mut end = u64::MAX;
        for call in open() {
            if self.calls[call].invoked >= end {
                break;
            }
            end = end.min(self.calls[call].answered.unwrap_or(u64::MAX));
        }
        let turn = |call: usize| self.after[call].is_none_or(|first| self.is_done(first));
        let began = open().take_while(|call| self.calls[*call].invoked < end);
        let mut found: Vec<usize> = began.filter(|call| turn(*call)).collect();
        // Known answers that end soonest first: an operation nobody knows of is only a way out, and the likeliest is the
        // one that the next answers show.
        let shown: BTreeSet<u64> = found.iter().flat_map(|call| numbers_of(&self.calls[*call])).collect();
        let turn = |call: usize| {
            let rank = match self.calls[call].answered {
                Some(_) => 0,
                None if shown.contains(&self.operations[call].id) => 1,
                None => 2,
            };
            (rank, self.calls[call].answered, call)
        };
        found.sort_by_key(|call| std::cmp::Reverse(turn(*call)));
        found
    }

    /// Does one call; gives the item before, or `None` when its answer does not fit or the way was tried.
    fn place(&mut self, call: usize) -> Option<Option<Item>> {
        let (after, answer) = spec::apply(&self.item, &self.operations[call]);
        if self.calls[call].answer.as_ref().is_some_and(|seen| *seen != answer) {
            return None;
        }
        if self.calls[call].answer.is_none() && after == self.item {
            // What nobody knows of and what changes nothing need not be placed: without it all goes on the same.
            return None;
        }
        if !self.seen.insert((self.done_mark ^ mark(call), after.clone())) {
            return None;
        }
        self.done[call / 64] |= 1 << (call % 64);
        self.done_mark ^= mark(call);
        while self.done_below < self.calls.len() && self.is_done(self.done_below) {
            self.done_below += 1;
        }
        if self.calls[call].answer.is_some() {
            self.known_left -= 1;
        }
        Some(std::mem::replace(&mut self.item, after))
    }

    fn take_back(&mut self, call: usize, before: Option<Item>) {
        self.done[call / 64] &= !(1 << (call % 64));
        self.done_mark ^= mark(call);
        self.done_below = self.done_below.min(call);
        if self.calls[call].answer.is_some() {
            self.known_left += 1;
        }
        self.item = before;
    }
}

/// Numbers of writes that one answer shows.
fn numbers_of(call: &Call) -> impl Iterator<Item = u64> + '_ {
    let item = match &call.answer {
        Some(Answer::Item(Some(item)) | Answer::Done(Some(Some(item))) | Answer::Refused(Some(Some(item)))) => {
            Some(item)
        }
        _ => None,
    };
    item.into_iter().flat_map(|item| item.w.iter().chain(&item.m).copied())
}

/// Numbers of writes that an answer shows or a condition asks for.
fn numbers_seen(calls: &[Call]) -> BTreeSet<u64> {
    let mut seen = BTreeSet::new();
    for call in calls {
        seen.extend(numbers_of(call));
        if let Condition::WrittenBy(id) = call.operation.condition {
            seen.insert(id);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Returns;

    fn call(invoked: u64, answered: u64, id: u64, action: Action, answer: Answer) -> Call {
        let operation = Operation::plain(id, action);
        Call { invoked, answered: Some(answered), operation, answer: Some(answer) }
    }

    fn put(invoked: u64, answered: u64, id: u64) -> Call {
        call(invoked, answered, id, Action::Put, Answer::Done(None))
    }

    fn read(invoked: u64, answered: u64, seen: Option<u64>) -> Call {
        let item = seen.map(|id| Item { w: Some(id), m: None, n: Some(0) });
        call(invoked, answered, 0, Action::Read, Answer::Item(item))
    }

    fn lost(invoked: u64, id: u64, action: Action) -> Call {
        Call { invoked, answered: None, operation: Operation::plain(id, action), answer: None }
    }

    fn holds(calls: &[Call]) -> bool {
        match check(calls, 100_000) {
            Verdict::Linearizable => true,
            Verdict::Impossible { .. } => false,
            Verdict::Undecided => panic!("undecided"),
        }
    }

    #[test]
    fn histories_are_told_apart() {
        let good: &[&[Call]] = &[
            &[put(1, 2, 1), read(3, 4, Some(1))],
            &[put(1, 5, 1), put(2, 6, 2), read(7, 8, Some(1))],
            &[put(1, 5, 1), read(2, 3, None), read(4, 6, Some(1))],
            // A lost write is found later, or never.
            &[lost(1, 1, Action::Put), read(2, 3, None), read(4, 5, Some(1))],
            &[lost(1, 1, Action::Put), read(2, 3, None), read(4, 5, None)],
            &[put(1, 2, 1), lost(3, 9, Action::Delete), put(4, 5, 2), read(6, 7, None)],
        ];
        let bad: &[(&str, &[Call])] = &[
            ("an acknowledged write is lost", &[put(1, 2, 1), read(3, 4, None)]),
            ("a read goes back", &[put(1, 9, 1), read(2, 3, Some(1)), read(4, 5, None)]),
            ("a stale read", &[put(1, 2, 1), put(3, 4, 2), read(5, 6, Some(1))]),
            ("a read of what nobody wrote", &[put(1, 2, 1), read(3, 4, Some(7))]),
            ("a read before the write was called", &[read(1, 2, Some(1)), put(3, 4, 1)]),
            ("a lost write that comes and goes", &[lost(1, 1, Action::Put), read(2, 3, Some(1)), read(4, 5, None)]),
        ];
        for calls in good {
            assert!(holds(calls), "{calls:#?}");
        }
        for (name, calls) in bad {
            assert!(!holds(calls), "{name}");
        }
    }

    #[test]
    fn a_lost_update_is_found() {
        let count = |invoked, answered, id, n| {
            let operation = Operation { returns: Returns::New, ..Operation::plain(id, Action::Count) };
            let item = Item { w: Some(id), m: None, n: Some(n) };
            Call { invoked, answered: Some(answered), operation, answer: Some(Answer::Done(Some(Some(item)))) }
        };
        assert!(holds(&[count(1, 9, 1, 1), count(2, 8, 2, 3), count(3, 7, 3, 2)]));
        assert!(!holds(&[count(1, 9, 1, 1), count(2, 8, 2, 2), count(3, 7, 3, 2)]), "two counted from the same value");
    }

    #[test]
    fn of_two_creators_one_is_refused() {
        let create = |invoked, answered, id, answer| {
            let operation = Operation { condition: Condition::Missing, ..Operation::plain(id, Action::Put) };
            Call { invoked, answered: Some(answered), operation, answer: Some(answer) }
        };
        assert!(holds(&[create(1, 9, 1, Answer::Done(None)), create(2, 8, 2, Answer::Refused(None))]));
        assert!(!holds(&[create(1, 9, 1, Answer::Done(None)), create(2, 8, 2, Answer::Done(None))]));
        assert!(!holds(&[create(1, 9, 1, Answer::Refused(None)), create(2, 8, 2, Answer::Refused(None))]));
    }

    #[test]
    fn lost_writes_that_nobody_saw_still_explain_what_was_seen() {
        // A refusal without a look: some lost write was there, whichever.
        let create = Operation { condition: Condition::Missing, ..Operation::plain(9, Action::Put) };
        let refused = Call { invoked: 10, answered: Some(11), operation: create, answer: Some(Answer::Refused(None)) };
        assert!(holds(&[lost(1, 1, Action::Put), lost(2, 2, Action::Put), read(3, 4, None), refused.clone()]));
        assert!(!holds(&[read(3, 4, None), refused.clone(), lost(12, 1, Action::Put)]), "it began too late");
        let gone = [lost(1, 1, Action::Put), lost(2, 7, Action::Delete), lost(2, 8, Action::Delete)];
        assert!(holds(&[&gone[..], &[refused, read(12, 13, None)]].concat()));
    }

    #[test]
    fn many_lost_writes_do_not_stop_the_search() {
        let mut calls: Vec<Call> = (0..10).map(|i| lost(i, 1_000 + i, Action::Put)).collect();
        for i in 0..100u64 {
            calls.push(put(20 + 4 * i, 21 + 4 * i, i + 1));
            calls.push(read(22 + 4 * i, 23 + 4 * i, Some(i + 1)));
        }
        assert!(holds(&calls));
        calls.push(read(1_000, 1_001, Some(50)));
        assert!(!holds(&calls));
    }
}
