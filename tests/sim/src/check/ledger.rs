//! Transactions: each as a whole or not at all, once per token, and all in one order that keeps real time.
//!
//! The lists in the end say in which order each item was written. An order of everything exists if and only if the graph of
//! "before" has no cycle: from each write of an item to the next, from a write to a read that saw it, from a read to the
//! first write that it did not see, and from whatever was answered to whatever was asked for later.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::Checked;
use crate::history::{History, Violation};
use crate::ledger::{End, Ledger, Name};

pub(super) fn check(history: &History, checked: &mut Checked, found: &mut Vec<Violation>) {
    let ledger = &history.ledger;
    checked.transactions += ledger.appends.iter().filter(|append| append.items.len() > 1).count() as u64;
    checked.looks += ledger.looks.len() as u64;
    checked.repeated += ledger.repeated;
    let mut say = |check: &'static str, text: String| found.push(Violation::new(check, text));
    let places = places(ledger, &mut say);
    whole(ledger, &places, history.relaxed, &mut say);
    for (pk, records) in &ledger.records {
        let list = ledger.last.get(&(crate::ledger::TABLES[0].to_owned(), pk.clone())).cloned().unwrap_or_default();
        if *records != list {
            say("a transaction makes one record per changed item, in order", format!("{pk}: {records:?} for {list:?}"));
        }
    }
    if history.relaxed {
        return;
    }
    for look in &ledger.looks {
        for (name, seen) in &look.lists {
            if !list_of(ledger, name).starts_with(seen) {
                let text = format!("{name:?} was {seen:?} and became {:?}", list_of(ledger, name));
                say("what was read stays", text);
            }
        }
    }
    if let Some(cycle) = cycle(ledger) {
        say("transactions and single operations are strictly serialisable", cycle);
    }
}

fn list_of<'l>(ledger: &'l Ledger, name: &Name) -> &'l [u64] {
    ledger.last.get(name).map_or(&[], Vec::as_slice)
}

/// Per number, the lists it is in.
fn places<'l>(ledger: &'l Ledger, say: &mut impl FnMut(&'static str, String)) -> BTreeMap<u64, BTreeSet<&'l Name>> {
    let mut places: BTreeMap<u64, BTreeSet<&Name>> = BTreeMap::new();
    for (name, list) in &ledger.last {
        for id in list {
            if !places.entry(*id).or_default().insert(name) {
                say("a request is done once under its token", format!("{id} is twice in {name:?}: {list:?}"));
            }
        }
    }
    places
}

fn whole(
    ledger: &Ledger,
    places: &BTreeMap<u64, BTreeSet<&Name>>,
    relaxed: bool,
    say: &mut impl FnMut(&'static str, String),
) {
    for append in &ledger.appends {
        let done = places.get(&append.id).cloned().unwrap_or_default();
        let wanted: BTreeSet<&Name> = append.items.iter().collect();
        if !done.is_empty() && done != wanted {
            say("a transaction is whole", format!("{append:?} is only in {done:?}"));
        }
        match append.end {
            End::Done if done.is_empty() && !relaxed => {
                say("an acknowledged transaction stays", format!("{append:?} is nowhere"));
            }
            End::Refused if !done.is_empty() => {
                say("a cancelled transaction leaves nothing", format!("{append:?} is in {done:?}"));
            }
            End::Done | End::Refused | End::Lost => {}
        }
    }
}

/// A happening of the graph: when it was asked for and answered.
struct Node {
    invoked: u64,
    answered: u64,
    what: String,
    after: Vec<usize>,
}

/// Some happenings that go round in a circle, if there are any.
fn cycle(ledger: &Ledger) -> Option<String> {
    let mut nodes: Vec<Node> = Vec::new();
    let mut writer: BTreeMap<u64, usize> = BTreeMap::new();
    for append in ledger.appends.iter().filter(|append| append.end != End::Refused) {
        writer.insert(append.id, nodes.len());
        let (invoked, answered, what) = (append.invoked, append.answered, format!("append {}", append.id));
        nodes.push(Node { invoked, answered, what, after: Vec::new() });
    }
    for list in ledger.last.values() {
        for pair in list.windows(2) {
            // A number that is there twice is told elsewhere.
            if let (Some(a), Some(b), true) = (writer.get(&pair[0]), writer.get(&pair[1]), pair[0] != pair[1]) {
                nodes[*a].after.push(*b);
            }
        }
    }
    for look in &ledger.looks {
        let at = nodes.len();
        let what = format!("read of {:?}", look.lists);
        nodes.push(Node { invoked: look.invoked, answered: look.answered, what, after: Vec::new() });
        for (name, seen) in &look.lists {
            if let Some(last) = seen.last().and_then(|id| writer.get(id)) {
                nodes[*last].after.push(at);
            }
            if let Some(next) = list_of(ledger, name).get(seen.len()).and_then(|id| writer.get(id)) {
                nodes[at].after.push(*next);
            }
        }
    }
    for a in 0..nodes.len() {
        let later = (0..nodes.len()).filter(|b| nodes[a].answered < nodes[*b].invoked);
        let later: Vec<usize> = later.collect();
        nodes[a].after.extend(later);
    }
    circle(&nodes)
}

/// Takes away whatever nothing comes before, until nothing is left, or only circles and what follows them.
fn circle(nodes: &[Node]) -> Option<String> {
    let mut before = vec![0usize; nodes.len()];
    nodes.iter().flat_map(|node| &node.after).for_each(|next| before[*next] += 1);
    let mut free: Vec<usize> = (0..nodes.len()).filter(|at| before[*at] == 0).collect();
    let mut left = nodes.len();
    while let Some(at) = free.pop() {
        left -= 1;
        for next in &nodes[at].after {
            before[*next] -= 1;
            if before[*next] == 0 {
                free.push(*next);
            }
        }
    }
    if left == 0 {
        return None;
    }
    let stuck = nodes.iter().zip(&before).filter(|(_, before)| **before > 0).map(|(node, _)| {
        let answered = if node.answered == u64::MAX { "never".to_owned() } else { node.answered.to_string() };
        format!("{}..{answered} {}", node.invoked, node.what)
    });
    Some(format!("{left} of {} go round in a circle: {}", nodes.len(), stuck.take(8).collect::<Vec<_>>().join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Append, Look};

    fn name(item: &str) -> Name {
        ("ledger-1".to_owned(), item.to_owned())
    }

    fn append(id: u64, items: &[&str], invoked: u64, answered: u64, end: End) -> Append {
        Append { id, items: items.iter().map(|item| name(item)).collect(), invoked, answered, end }
    }

    fn look(invoked: u64, answered: u64, lists: &[(&str, &[u64])]) -> Look {
        Look { invoked, answered, lists: lists.iter().map(|(item, list)| (name(item), list.to_vec())).collect() }
    }

    fn found(appends: Vec<Append>, looks: Vec<Look>, last: &[(&str, &[u64])]) -> Vec<&'static str> {
        let last = last.iter().map(|(item, list)| (name(item), list.to_vec())).collect();
        let mut history = History::default();
        history.ledger = Ledger { appends, looks, last, ..Ledger::default() };
        let (mut checked, mut found) = (Checked::default(), Vec::new());
        check(&history, &mut checked, &mut found);
        found.into_iter().map(|violation| violation.check).collect()
    }

    #[test]
    fn a_good_history_is_good() {
        let appends = vec![
            append(1, &["x", "y"], 1, 4, End::Done),
            append(2, &["x"], 2, 3, End::Done),
            append(3, &["y"], 5, u64::MAX, End::Lost),
            append(4, &["x", "y"], 5, 6, End::Refused),
        ];
        let looks = vec![look(2, 6, &[("x", &[2, 1]), ("y", &[1])]), look(1, 9, &[("x", &[]), ("y", &[])])];
        assert!(found(appends, looks, &[("x", &[2, 1]), ("y", &[1])]).is_empty());
    }

    #[test]
    fn broken_promises_are_told_apart() {
        let one = |end| vec![append(1, &["x", "y"], 1, 2, end)];
        assert_eq!(found(one(End::Done), vec![], &[("x", &[1])]), ["a transaction is whole"]);
        assert_eq!(found(one(End::Done), vec![], &[]), ["an acknowledged transaction stays"]);
        assert_eq!(
            found(one(End::Refused), vec![], &[("x", &[1]), ("y", &[1])]),
            ["a cancelled transaction leaves nothing"]
        );
        assert_eq!(
            found(one(End::Done), vec![], &[("x", &[1, 1]), ("y", &[1])]),
            ["a request is done once under its token"]
        );
        let serial = "transactions and single operations are strictly serialisable";
        // Half of a transaction is seen.
        let torn = vec![look(3, 4, &[("x", &[1]), ("y", &[])])];
        assert_eq!(found(one(End::Done), torn, &[("x", &[1]), ("y", &[1])]), [serial]);
        // Two transactions that are seen in two orders.
        let two = vec![append(1, &["x"], 1, 9, End::Done), append(2, &["y"], 1, 9, End::Done)];
        let orders = vec![look(1, 9, &[("x", &[1]), ("y", &[])]), look(1, 9, &[("x", &[]), ("y", &[2])])];
        assert_eq!(found(two, orders, &[("x", &[1]), ("y", &[2])]), [serial]);
        // A stale read.
        let stale = vec![look(3, 4, &[("x", &[])])];
        assert_eq!(found(one(End::Done), stale, &[("x", &[1]), ("y", &[1])]), [serial]);
        let gone = vec![look(1, 4, &[("x", &[1, 7])])];
        assert_eq!(found(one(End::Done), gone, &[("x", &[1]), ("y", &[1])]), ["what was read stays"]);
    }
}
