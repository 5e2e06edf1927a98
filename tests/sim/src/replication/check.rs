//! What must hold of replications in the end: each destination got the changes of its time, each once, in order, whole.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{Counts, Placed, Sending};
use crate::check::changes;
use crate::check::timeline::Window;
use crate::history::{History, ShardRead, StreamRead, TableChange, TableEvent, Violation};
use crate::{expiry, ledger};

/// At every durable moment.
pub const EXACT: &str = "a target holds exactly what the positions of its replication have passed";
/// In the end.
pub const ONCE: &str = "a destination gets each change of its time once and in order";
/// Of transactions, and of what the service deletes.
pub const SAME: &str = "a target tells what the table's own stream tells";
/// Records.
pub const RECORD: &str = "a replicated change can be understood";
/// Records lie where their partition key says.
pub const PLACE: &str = "a replicated change lies in the shard of its partition key";
/// Nothing comes by itself.
pub const UNASKED: &str = "nothing is replicated that nobody asked for";
/// Answers.
pub const VALID: &str = "a valid change of a destination is done";
/// In calm.
pub const ENDS: &str = "in calm everything is replicated";
/// Readers.
pub const SHOWN: &str = "a client reads from a target what it was sent";

/// Runs every check; how much there was.
pub fn all(history: &History, found: &mut Vec<Violation>) -> Counts {
    let seen = &history.replication;
    found.extend(seen.noticed.iter().cloned());
    let mut counts = seen.counts;
    let mut authors = BTreeSet::new();
    for sending in &seen.sendings {
        counts.given_up += u64::from(sending.lost);
        // What came to nothing; and a seam at which nobody could look leaves a hole that is none.
        let is_nothing = sending.incarnation.is_none() && sending.records.is_empty();
        counts.unseen += u64::from(sending.unseen);
        if is_nothing || sending.unseen || sending.broken {
            continue;
        }
        counts.judged += 1;
        meanwhile(history, sending, &mut counts);
        precisions(sending, found);
        match sending.table.as_str() {
            table if ledger::TABLES.contains(&table) => {
                counts.transacted += sending.records.len() as u64;
                of_ledger(history, sending, found);
            }
            expiry::TABLE => {
                counts.expired += sending.records.iter().filter(|placed| placed.replica.by_service).count() as u64;
                of_expiry(history, sending, found);
            }
            _ => counts.traced += of_clients(history, sending, &mut authors, found),
        }
    }
    counts
}

/// Counts what happened to its table while it was on.
fn meanwhile(history: &History, sending: &Sending, counts: &mut Counts) {
    let (from, to) = (sending.known.unwrap_or(u64::MAX), sending.off.unwrap_or(u64::MAX));
    let inside =
        |event: &&TableEvent| event.done && event.table == sending.table && event.invoked > from && event.known < to;
    let ended = history.tables.iter().filter(inside).find(|event| event.change == TableChange::Delete);
    let to = ended.map_or(u64::MAX, |ended| ended.invoked);
    counts.gone += u64::from(ended.is_some());
    let switches = history
        .tables
        .iter()
        .filter(inside)
        .filter(|event| event.known < to && matches!(event.change, TableChange::Enable | TableChange::Disable));
    counts.switched += switches.count() as u64;
}

fn precisions(sending: &Sending, found: &mut Vec<Violation>) {
    let other = sending.records.iter().find(|placed| !sending.precisions.contains(&placed.replica.precision));
    if let Some(placed) = other {
        let text = format!("{}: {:?} were asked for: {placed:?}", sending, sending.precisions);
        found.push(Violation::new(UNASKED, text));
    }
}

/// The records in an order that is each item's: its numbers rise along the lineage of a target, one target after the other.
fn ordered(sending: &Sending) -> Vec<&Placed> {
    let mut records: Vec<&Placed> = sending.records.iter().collect();
    records.sort_by_key(|placed| (placed.target, placed.number));
    records
}

/// When it was on for sure. `None`: nobody can say.
fn window(history: &History, sending: &Sending) -> Option<Window> {
    let from = sending.known.filter(|_| !sending.lost)?;
    let with_table = history.tables.iter().filter(|event| {
        event.table == sending.table && event.change == TableChange::Delete && event.known > sending.asked
    });
    let to = with_table.map(|event| event.invoked).chain(sending.off).min().unwrap_or(u64::MAX);
    Some(Window { from_birth: false, from, to })
}

/// Of a table that clients read and write: its writes explain each change, and are explained. How many were traced.
fn of_clients(history: &History, sending: &Sending, authors: &mut BTreeSet<u64>, found: &mut Vec<Violation>) -> u64 {
    let records = ordered(sending).into_iter().map(|placed| placed.replica.change.clone()).collect();
    let shard = ShardRead {
        id: "its targets".to_owned(),
        parent: None,
        starting: String::new(),
        ending: None,
        records,
        finished: false,
        lost: false,
    };
    let stream = StreamRead {
        arn: sending.to_string(),
        table: sending.table.clone(),
        view: "NEW_AND_OLD_IMAGES".to_owned(),
        enabled: sending.is_on,
        seen_enabled: sending.known,
        shards: vec![shard],
    };
    let mut own = Vec::new();
    let traced = changes::of_stream(history, &stream, window(history, sending), authors, &mut own);
    found.extend(own.into_iter().map(|Violation { check, text, about }| {
        let text = format!("{}: {check}: {text}", stream.arn);
        Violation { check: ONCE, text, about }
    }));
    traced
}

/// Whether everything that was ever committed to the table is to be there: it was on from before the first write.
fn is_whole(history: &History, sending: &Sending) -> bool {
    // A crash may have taken it back.
    sending.is_on || !history.relaxed
}

/// The writes of each item are those that the item names, in the same order.
fn of_ledger(history: &History, sending: &Sending, found: &mut Vec<Violation>) {
    let mut lists: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for placed in ordered(sending) {
        let change = &placed.replica.change;
        let written = change.new.clone().flatten().and_then(|new| new.w);
        lists.entry(change.pk.clone()).or_default().extend(written);
    }
    let last = history.ledger.last.iter().filter(|((table, _), _)| *table == sending.table);
    let last: BTreeMap<String, Vec<u64>> = last.map(|((_, pk), list)| (pk.clone(), list.clone())).collect();
    if is_whole(history, sending) && lists != last {
        found.push(Violation::new(SAME, format!("{}: {lists:?} for {last:?}", sending)));
    }
}

/// The changes of each item are those of the table's own stream.
fn of_expiry(history: &History, sending: &Sending, found: &mut Vec<Violation>) {
    let mut told = expiry::Told::new();
    for placed in ordered(sending) {
        let replica = &placed.replica;
        let (old, new) = replica.images.clone().unwrap_or_default();
        told.entry(replica.change.pk.clone()).or_default().push((old, new, replica.by_service));
    }
    if !is_whole(history, sending) {
        return;
    }
    for pk in told.keys().chain(history.told.keys()).collect::<BTreeSet<_>>() {
        if told.get(pk) != history.told.get(pk) {
            let text = format!("{}: {pk}: {:?} for {:?}", sending, told.get(pk), history.told.get(pk));
            found.push(Violation::new(SAME, text));
        }
    }
}

#[cfg(test)]
mod tests {
    use headwater_types::{SequenceNumber, ShardUid, StreamUid};

    use super::super::history::Replica;
    use super::*;
    use crate::history::{Change, ChangeKind, End, Event, Key};
    use crate::spec::{Action, Answer, Item, Operation};

    fn key() -> Key {
        Key { table: "t".into(), pk: "a".into(), sk: None }
    }

    fn item(w: u64) -> Option<Item> {
        Some(Item { w: Some(w), m: None, n: Some(0) })
    }

    fn placed(target: u64, number: u64, old: Option<Item>, new: Option<Item>) -> Placed {
        let kind = match (&old, &new) {
            (None, _) => ChangeKind::Insert,
            (_, None) => ChangeKind::Remove,
            _ => ChangeKind::Modify,
        };
        let (event_id, number_text) = (format!("{target}-{number}"), number.to_string());
        let (pk, sk) = ("a".into(), None);
        let change = Change { event_id, number: number_text, kind, pk, sk, old: Some(old), new: Some(new) };
        let replica = Replica { change, table: "t".into(), by_service: false, precision: None, images: None };
        Placed { target: StreamUid(target), shard: ShardUid(1), number: SequenceNumber(number), replica }
    }

    /// Puts 1 to 5 of one item; a destination from after the first put to before the last, its target made again between.
    fn good() -> History {
        let mut history = History::default();
        for id in 1..=5 {
            let (invoked, operation) = (id * 10, Operation::plain(id, Action::Put));
            let end = End::Answered(Answer::Done(None));
            history.events.push(Event {
                client: "c".into(),
                key: key(),
                operation,
                invoked,
                answered: invoked + 1,
                end,
            });
        }
        let records =
            vec![placed(8, 9, item(3), item(4)), placed(7, 3, item(1), item(2)), placed(7, 5, item(2), item(3))];
        history.replication.sendings.push(Sending {
            table: "t".into(),
            asked: 12,
            known: Some(15),
            off: Some(45),
            precisions: [None].into(),
            records,
            ..Sending::default()
        });
        history.items = BTreeMap::from([("t".into(), BTreeMap::from([(key(), item(5).expect("an item"))]))]);
        history
    }

    fn broken(breaks: impl FnOnce(&mut History)) -> Vec<&'static str> {
        let mut history = good();
        breaks(&mut history);
        let mut found = Vec::new();
        all(&history, &mut found);
        let mut checks: Vec<&'static str> = found.into_iter().map(|violation| violation.check).collect();
        checks.dedup();
        checks
    }

    #[test]
    fn a_good_replication_passes_and_is_counted() {
        let mut found = Vec::new();
        let counts = all(&good(), &mut found);
        assert_eq!((found, counts.traced), (Vec::new(), 3));
    }

    #[test]
    fn each_way_to_break_it_is_found() {
        let sending = |with: fn(&mut Sending)| broken(|history| with(&mut history.replication.sendings[0]));
        assert_eq!(sending(|s| drop(s.records.remove(2))), [ONCE], "one is missing between");
        assert_eq!(sending(|s| drop(s.records.remove(0))), [ONCE], "the last is missing");
        assert_eq!(sending(|s| drop(s.records.remove(1))), [ONCE], "the first is missing");
        assert_eq!(sending(|s| s.records.push(placed(8, 10, item(3), item(4)))), [ONCE], "one is there twice");
        assert_eq!(sending(|s| s.records[1].number = SequenceNumber(6)), [ONCE], "two have changed places");
        assert_eq!(sending(|s| s.records[0].replica.change.new = Some(item(9))), [ONCE], "nobody wrote it");
        assert_eq!(sending(|s| s.precisions = [Some("MICROSECOND".into())].into()), [UNASKED]);
        assert_eq!(sending(|s| (s.is_on, s.off) = (true, None)), [ONCE], "still on, it ends before the table does");
        let deleted = |history: &mut History| {
            let (table, change, stream) = ("t".into(), TableChange::Delete, None);
            history.replication.sendings[0].records.remove(0);
            history.tables.push(TableEvent { table, change, invoked: 35, known: 36, done: true, stream });
        };
        assert_eq!(broken(deleted), Vec::<&str>::new(), "it ended with its table");
    }
}
