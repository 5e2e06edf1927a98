//! What one item does: the sequential specification that histories are judged by.
//!
//! Every write carries a number of its own, and every write that takes effect leaves it in the item: so any state tells
//! which write made it, and a checker needs no guesses.

/// An item without its key: what the workload writes into it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Item {
    /// Attribute `w`: the last write of the first kind.
    pub w: Option<u64>,
    /// Attribute `m`: the last [`Action::Mark`].
    pub m: Option<u64>,
    /// Attribute `n`: counts.
    pub n: Option<i64>,
}

/// What an operation does to its item. `id` is the operation's own number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// GetItem, or one item's part in a Query or Scan.
    Read,
    /// PutItem `{w: id, n: 0}`.
    Put,
    /// `SET w = id`.
    Set,
    /// `SET w = id ADD n 1`.
    Count,
    /// `SET m = id, n = if_not_exists(n, 0) + 1`.
    Mark,
    /// `SET w = id REMOVE m`.
    Unmark,
    /// `SET w = if_not_exists(w, id)`: changes nothing where there is a `w`.
    Touch,
    /// DeleteItem.
    Delete,
    /// The table is deleted.
    Wipe,
}

/// A write's condition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    /// None.
    Always,
    /// `attribute_exists(pk)`.
    Exists,
    /// `attribute_not_exists(pk)`.
    Missing,
    /// `w = value`.
    WrittenBy(u64),
    /// `n < value`.
    Below(i64),
}

/// What a write gives back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Returns {
    /// Nothing.
    Nothing,
    /// The item before.
    Old,
    /// The item after.
    New,
}

/// One operation on one item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation {
    /// Its own number; never zero for a write.
    pub id: u64,
    /// What it does.
    pub action: Action,
    /// When it does it.
    pub condition: Condition,
    /// What it gives back.
    pub returns: Returns,
    /// Whether a failed condition shows the item.
    pub shows_refusal: bool,
}

impl Operation {
    /// An unconditional operation that returns nothing.
    pub fn plain(id: u64, action: Action) -> Self {
        Self { id, action, condition: Condition::Always, returns: Returns::Nothing, shows_refusal: false }
    }
}

/// What was answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A read.
    Item(Option<Item>),
    /// A write that was done, with what it gave back when it was asked to.
    Done(Option<Option<Item>>),
    /// The condition failed, with the item when it was asked for.
    Refused(Option<Option<Item>>),
}

/// The item after `operation`, and the answer.
pub fn apply(item: &Option<Item>, operation: &Operation) -> (Option<Item>, Answer) {
    if operation.action == Action::Read {
        return (item.clone(), Answer::Item(item.clone()));
    }
    if !holds(item, operation.condition) {
        let shown = operation.shows_refusal.then(|| item.clone());
        return (item.clone(), Answer::Refused(shown));
    }
    let after = effect(item, operation);
    let given = match operation.returns {
        Returns::Nothing => None,
        Returns::Old => Some(item.clone()),
        Returns::New => Some(after.clone()),
    };
    (after, Answer::Done(given))
}

fn holds(item: &Option<Item>, condition: Condition) -> bool {
    match condition {
        Condition::Always => true,
        Condition::Exists => item.is_some(),
        Condition::Missing => item.is_none(),
        Condition::WrittenBy(id) => item.as_ref().is_some_and(|item| item.w == Some(id)),
        Condition::Below(most) => item.as_ref().and_then(|item| item.n).is_some_and(|n| n < most),
    }
}

fn effect(item: &Option<Item>, operation: &Operation) -> Option<Item> {
    let mut after = item.clone().unwrap_or_default();
    let id = Some(operation.id);
    match operation.action {
        Action::Read => return item.clone(),
        Action::Delete | Action::Wipe => return None,
        Action::Put => return Some(Item { w: id, m: None, n: Some(0) }),
        Action::Set => after.w = id,
        Action::Count => {
            after.w = id;
            after.n = Some(after.n.unwrap_or(0) + 1);
        }
        Action::Mark => {
            after.m = id;
            after.n = Some(after.n.unwrap_or(0) + 1);
        }
        Action::Unmark => {
            after.w = id;
            after.m = None;
        }
        Action::Touch => after.w = after.w.or(id),
    }
    Some(after)
}

/// The write that led from `old` to `new`, told by the number it left.
pub fn author(old: &Option<Item>, new: &Option<Item>) -> Option<u64> {
    let new = new.as_ref()?;
    let (w, m) = old.as_ref().map_or((None, None), |old| (old.w, old.m));
    if new.w != w {
        new.w
    } else if new.m != m {
        new.m
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_effect_tells_its_author() {
        let mut item = None;
        let actions = [Action::Put, Action::Mark, Action::Set, Action::Count, Action::Unmark, Action::Mark];
        for (id, action) in (1..).zip(actions) {
            let (after, answer) = apply(&item, &Operation::plain(id, action));
            assert_eq!(answer, Answer::Done(None));
            assert_eq!(author(&item, &after), Some(id), "{action:?}");
            item = after;
        }
        assert_eq!(item, Some(Item { w: Some(5), m: Some(6), n: Some(3) }));
        let (same, _) = apply(&item, &Operation::plain(7, Action::Touch));
        assert_eq!(same, item, "a touch changes nothing where there is a w");
        assert_eq!(apply(&item, &Operation::plain(8, Action::Delete)).0, None);
    }

    #[test]
    fn a_failed_condition_changes_nothing_and_shows_the_item_on_demand() {
        let item = Some(Item { w: Some(1), m: None, n: Some(4) });
        for (condition, holds) in [
            (Condition::Exists, true),
            (Condition::Missing, false),
            (Condition::WrittenBy(1), true),
            (Condition::WrittenBy(2), false),
            (Condition::Below(5), true),
            (Condition::Below(4), false),
        ] {
            let operation = Operation { condition, shows_refusal: true, ..Operation::plain(9, Action::Put) };
            let (after, answer) = apply(&item, &operation);
            assert_eq!(answer == Answer::Refused(Some(item.clone())), !holds, "{condition:?}");
            assert_eq!(after == item, !holds);
        }
    }
}
