//! Histories made by hand: what is sound passes, what is broken is named.

use std::collections::BTreeMap;

use super::super::history::{Began, Child, Entry, Life, Listed, Put, PutEnd, Record, Retention, Seen, ShardSeen, View};
use super::super::protocol;
use super::super::view::one_moment;
use super::*;
use headwater_types::{Millis, SequenceNumber};

const HOUR: i64 = 3_600_000;
const BORN: i64 = 1_767_225_600_000;
/// In time for what was put in the first hour.
const NOW: i64 = BORN + 20 * HOUR;

fn key() -> StreamKey {
    ("s".to_owned(), BORN)
}

fn number(shard: u32, at: i64) -> String {
    // A shard's creation second is above its parents'.
    sequence::render(SequenceNumber::floor(Millis(at)), shard, Millis(BORN + i64::from(shard) * 1_000))
}

/// A record of a key whose hash is in the lower half or the upper.
fn record(shard: u32, id: u64, at: i64) -> Record {
    Record { number: number(shard, at), id, writer: "w".into(), key: key_of(id), at, seen: at }
}

/// MD5 of `a` begins with 0c, of `b` with 92.
fn key_of(id: u64) -> String {
    if id.is_multiple_of(2) { "a" } else { "b" }.to_owned()
}

fn put(ids: &[u64], invoked: u64, answered: u64, places: &[(u32, i64)]) -> Put {
    let entry = |id: &u64| Entry { id: *id, key: key_of(*id), hash: protocol::hash(&key_of(*id)) };
    let places = places.iter().map(|(shard, at)| (id_of(*shard), number(*shard, *at))).collect();
    let end = if answered == u64::MAX { PutEnd::Lost } else { PutEnd::Placed(places) };
    Put { name: "s".into(), writer: "w".into(), invoked, answered, entries: ids.iter().map(entry).collect(), end }
}

fn id_of(shard: u32) -> String {
    format!("shardId-{shard:012}")
}

const LOWER: (u128, u128) = (0, u128::MAX >> 1);
const UPPER: (u128, u128) = (1 << 127, u128::MAX);

fn listed(shard: u32, parents: &[u32], range: (u128, u128), opened: i64, closed: Option<i64>) -> Listed {
    let created = Millis(BORN + i64::from(shard) * 1_000);
    Listed {
        id: id_of(shard),
        parents: parents.iter().map(|parent| id_of(*parent)).collect(),
        range,
        starting: number(shard, opened),
        ending: closed.map(|at| sequence::render_ending(SequenceNumber::floor(Millis(at)), shard, created)),
        opened,
    }
}

fn seen(listed: Listed, records: Vec<Record>, children: Option<Vec<Child>>) -> ShardSeen {
    ShardSeen { listed: Some(listed), records, children, read: NOW, ..ShardSeen::new(Began::Oldest) }
}

/// Two shards that were merged into a third: records 1 and 2 in one request, then 3 and 4.
fn sound() -> Seen {
    let child = vec![Child { id: id_of(2), parents: vec![id_of(0), id_of(1)], range: (0, u128::MAX) }];
    let merged = BORN + 2 * HOUR;
    let shards = [
        (0, seen(listed(0, &[], LOWER, BORN, Some(merged)), vec![record(0, 2, BORN + 5)], Some(child.clone()))),
        (1, seen(listed(1, &[], UPPER, BORN, Some(merged)), vec![record(1, 1, BORN + 5)], Some(child))),
        (
            2,
            seen(
                listed(2, &[0, 1], (0, u128::MAX), merged, None),
                vec![record(2, 3, merged + 10), record(2, 4, merged + 20)],
                None,
            ),
        ),
    ];
    let shards: BTreeMap<_, _> = shards.into_iter().map(|(shard, seen)| (id_of(shard), seen)).collect();
    let view = |reader: &str, pushed| View { reader: reader.into(), shards: shards.clone(), pushed };
    let retentions = vec![Retention { hours: 24, may: BORN, must: BORN }];
    Seen {
        puts: vec![
            put(&[1, 2], 1, 2, &[(1, BORN + 5), (0, BORN + 5)]),
            put(&[3], 3, 4, &[(2, merged + 10)]),
            put(&[4], 5, u64::MAX, &[]),
        ],
        lives: [(key(), Life { retentions, ..Life::default() })].into(),
        truth: [(key(), view("keeper", false))].into(),
        left: [(key(), view("newcomer", false))].into(),
        views: vec![(key(), view("poller", false)), (key(), view("fan", true))],
        looked: (NOW, NOW + 1),
        ..Seen::default()
    }
}

fn found(seen: &Seen) -> Vec<&'static str> {
    let mut found = Vec::new();
    all(seen, &mut found);
    found.iter().map(|violation| violation.check).collect()
}

/// What is found once the sound history is changed.
fn after(change: impl FnOnce(&mut Seen)) -> Vec<&'static str> {
    let mut seen = sound();
    change(&mut seen);
    found(&seen)
}

fn truth(seen: &mut Seen, shard: u32) -> &mut ShardSeen {
    seen.truth.get_mut(&key()).and_then(|view| view.shards.get_mut(&id_of(shard))).expect("there")
}

fn shard(view: &mut (StreamKey, View), shard: u32) -> &mut ShardSeen {
    view.1.shards.get_mut(&id_of(shard)).expect("there")
}

#[test]
fn a_sound_history_is_counted_and_passes() {
    let (seen, mut found) = (sound(), Vec::new());
    let counts = all(&seen, &mut found);
    assert_eq!(found, []);
    assert_eq!((counts.puts, counts.acknowledged, counts.unknown, counts.records), (3, 2, 1, 4));
    assert_eq!((counts.merges, counts.splits, counts.polled, counts.pushed, counts.trimmed), (1, 0, 4, 4, 0));
}

#[test]
fn lost_doubled_torn_misplaced_and_disordered_puts_are_found() {
    let everywhere = |seen: &mut Seen, change: &dyn Fn(&mut View)| {
        seen.truth.values_mut().chain(seen.left.values_mut()).for_each(change);
        seen.views.iter_mut().for_each(|(_, view)| change(view));
    };
    let of = |view: &mut View, shard: u32, change: &dyn Fn(&mut Vec<Record>)| {
        change(&mut view.shards.get_mut(&id_of(shard)).expect("there").records);
    };
    assert_eq!(after(|seen| everywhere(seen, &|view| of(view, 2, &|records| drop(records.remove(0))))), [ONCE]);
    let unknown = after(|seen| everywhere(seen, &|view| of(view, 2, &|records| drop(records.pop()))));
    assert_eq!(unknown, [] as [&str; 0], "an unknown put may be missing");
    let half = after(|seen| everywhere(seen, &|view| of(view, 0, &|records| records.clear())));
    assert_eq!(half, [WHOLE, ONCE]);
    let twice = after(|seen| {
        everywhere(seen, &|view| of(view, 2, &|records| records.push(record(2, 4, BORN + 3 * HOUR))));
    });
    assert_eq!(twice, [ONCE; 3], "by the truth and two readers");
    let refused = after(|seen| seen.puts[2].end = PutEnd::NoStream);
    assert_eq!(refused, [ONCE; 3]);
    let elsewhere = after(|seen| seen.puts[1].end = PutEnd::Placed(vec![(id_of(2), number(2, BORN + 9 * HOUR))]));
    assert_eq!(elsewhere, [PLACE; 3]);
    let other_hash = after(|seen| seen.puts[0].entries[1].hash = u128::MAX);
    assert_eq!(other_hash, [PLACE; 3]);
    let disorder = after(|seen| {
        (seen.puts[1].invoked, seen.puts[1].answered) = (8, 9);
        (seen.puts[2].answered, seen.puts[2].end) =
            (6, PutEnd::Placed(vec![(id_of(2), number(2, BORN + 2 * HOUR + 20))]));
    });
    assert_eq!(disorder, [ORDER], "within the shard; the hashes differ");
}

#[test]
fn readers_that_miss_repeat_or_begin_elsewhere_are_found() {
    let nothing: [&str; 0] = [];
    assert_eq!(after(|seen| drop(shard(&mut seen.views[0], 2).records.pop())), nothing, "the tail may be behind");
    assert_eq!(after(|seen| drop(shard(&mut seen.views[1], 2).records.pop())), [PUSHED], "a subscriber may not");
    assert_eq!(after(|seen| drop(shard(&mut seen.views[0], 2).records.remove(0))), [FROM]);
    assert_eq!(after(|seen| shard(&mut seen.views[0], 0).records.clear()), [FROM], "it read to the end");
    let again = after(|seen| {
        let records = &mut shard(&mut seen.views[0], 2).records;
        records.push(records[0].clone());
    });
    assert_eq!(again, [ONCE, TAIL]);
    let other = after(|seen| shard(&mut seen.views[0], 2).records[1].id = 2);
    assert!(other.contains(&TAIL), "{other:?}");
    let from = |began, first: usize| {
        after(|seen| {
            let shard = shard(&mut seen.views[0], 2);
            shard.began = began;
            shard.records.drain(..first);
        })
    };
    assert_eq!(from(Began::Newest(5, 6), 1), nothing);
    assert_eq!(from(Began::Newest(5, 6), 0), [FROM], "#3 was answered before");
    assert_eq!(from(Began::Newest(1, 2), 1), [FROM], "#3 was asked for after");
    assert_eq!(from(Began::Moment(BORN + 2 * HOUR + 20), 1), nothing);
    assert_eq!(from(Began::Moment(BORN + 2 * HOUR + 20), 0), [FROM]);
    assert_eq!(from(Began::Moment(BORN + 2 * HOUR + 10), 1), [FROM]);
}

#[test]
fn ends_that_name_other_children_and_open_parents_are_found() {
    let forgotten = after(|seen| truth(seen, 1).children = Some(Vec::new()));
    assert_eq!(forgotten, [CHILDREN]);
    let open = after(|seen| truth(seen, 0).listed.as_mut().expect("listed").ending = None);
    assert_eq!(open, [CHILDREN]);
    let list = |change: &dyn Fn(&mut Vec<Listed>)| {
        let mut list: Vec<Listed> = sound()
            .truth
            .remove(&key())
            .expect("there")
            .shards
            .into_values()
            .filter_map(|shard| shard.listed)
            .collect();
        change(&mut list);
        one_moment(&list).into_iter().map(|(check, _)| check).collect::<Vec<_>>()
    };
    assert_eq!(list(&|_| {}), [] as [&str; 0]);
    assert_eq!(list(&|list| list[1].ending = None), [LINEAGE, TILE]);
    assert_eq!(list(&|list| list[2].starting = number(0, BORN)), [LINEAGE; 2], "below both parents' ends");
    assert_eq!(list(&|list| drop(list.remove(2))), [LINEAGE, LINEAGE, TILE]);
    assert_eq!(list(&|list| list[2].range = LOWER), [LINEAGE, TILE]);
}

#[test]
fn what_goes_early_or_stays_late_is_found() {
    let left = |seen: &mut Seen, shard: u32, count: usize| {
        let shard = seen.left.get_mut(&key()).and_then(|view| view.shards.get_mut(&id_of(shard))).expect("there");
        shard.records.drain(..count);
    };
    let later = |seen: &mut Seen, hours: i64| seen.looked = (BORN + hours * HOUR, BORN + hours * HOUR);
    assert_eq!(after(|seen| left(seen, 0, 1)), [EARLY]);
    let nothing: [&str; 0] = [];
    let trimmed = |hours: i64, retentions: &[(i64, i64)]| {
        after(|seen| {
            later(seen, hours);
            let all = retentions.iter().map(|(hours, at)| Retention {
                hours: *hours,
                may: BORN + at * HOUR,
                must: BORN + at * HOUR,
            });
            seen.lives.get_mut(&key()).expect("there").retentions = all.collect();
            left(seen, 0, 1);
            left(seen, 1, 1);
        })
    };
    assert_eq!(trimmed(25, &[(24, 0)]), nothing);
    assert_eq!(trimmed(25, &[(48, 0)]), [EARLY; 2]);
    assert_eq!(trimmed(40, &[(48, 0), (24, 25), (48, 26)]), nothing, "hidden once, it stays hidden");
    let kept = after(|seen| {
        later(seen, 40);
        let retentions = [(48, 0), (24, 25), (48, 25)];
        let all = retentions.iter().map(|(hours, at)| Retention {
            hours: *hours,
            may: BORN + at * HOUR,
            must: BORN + at * HOUR,
        });
        seen.lives.get_mut(&key()).expect("there").retentions = all.collect();
    });
    assert_eq!(kept, [LATE; 2]);
    let shard_gone = after(|seen| {
        seen.left.get_mut(&key()).expect("there").shards.remove(&id_of(0));
    });
    assert_eq!(shard_gone, [EARLY]);
}
