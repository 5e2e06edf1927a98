use std::path::Path;
use std::sync::Arc;

use headwater_types::Position;

use super::*;
use crate::embedded::index::OrderedMap;
use crate::files::memory::Memory;

const ROOM: u64 = 1 << 20;

fn index(bytes: u64) -> Cached<OrderedMap> {
    let below = OrderedMap::volatile(Arc::new(Memory::default()), Path::new("index")).expect("memory opens");
    Cached::new(below, bytes)
}

fn write(key: &str, value: Option<&str>) -> Write {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    Write { key: bytes(key), value: value.map(bytes), stamp: None }
}

fn put(index: &impl Index, at: u64, key: &str, value: &str) {
    index.apply(Position(at), Position(0), &mut [write(key, Some(value))].iter());
}

fn text(entries: Entries<'_>) -> String {
    let texts = entries.map(|entry| {
        let (key, value) = entry.expect("memory can be read");
        format!("{}={}", String::from_utf8_lossy(&key), String::from_utf8_lossy(&value))
    });
    texts.collect::<Vec<_>>().join(" ")
}

fn read(index: &impl Index, (start, end): (&str, &str), at: u64) -> String {
    text(index.scan(start.as_bytes(), end.as_bytes(), Direction::Forward, Position(at)))
}

impl<I: Index> Cached<I> {
    fn keeps(&self, (start, end): (&str, &str), at: u64) -> bool {
        self.ranges.find(start.as_bytes(), end.as_bytes(), Position(at)).is_some()
    }
}

#[test]
fn what_is_asked_for_twice_is_kept_until_it_is_written() {
    let index = index(ROOM);
    put(&index, 1, "a1", "x");
    put(&index, 2, "a2", "y");
    put(&index, 3, "b1", "z");
    let range = ("a", "b");
    for kept in [false, false, true, true] {
        assert_eq!(index.keeps(range, 3), kept);
        assert_eq!(read(&index, range, 3), "a1=x a2=y");
    }
    // Parts of it, both ways, and only from the position on at which it was read.
    assert!(index.keeps(("a2", "a3"), 3) && !index.keeps(range, 2) && !index.keeps(("a", "b1"), 3));
    assert_eq!(text(index.scan(b"a1", b"a9", Direction::Backward, Position(3))), "a2=y a1=x");
    assert_eq!((read(&index, range, 1), read(&index, ("a2", "b"), 3)), ("a1=x".to_owned(), "a2=y".to_owned()));
    put(&index, 4, "b2", "beside");
    assert!(index.keeps(range, 4));
    put(&index, 5, "a3", "new");
    assert!(!index.keeps(range, 5) && !index.keeps(range, 4));
    assert_eq!(
        (read(&index, range, 4), read(&index, range, 5)),
        ("a1=x a2=y".to_owned(), "a1=x a2=y a3=new".to_owned())
    );
}

#[test]
fn an_empty_range_and_a_deletion_are_kept_too() {
    let index = index(ROOM);
    (0..2).for_each(|_| assert_eq!(read(&index, ("a", "b"), 0), ""));
    assert!(index.keeps(("a", "b"), 0));
    put(&index, 1, "a", "x");
    (0..2).for_each(|_| assert_eq!(read(&index, ("a", "b"), 1), "a=x"));
    index.apply(Position(2), Position(0), &mut [write("a", None)].iter());
    assert_eq!(read(&index, ("a", "b"), 2), "");
}

#[test]
fn what_is_written_while_it_is_read_is_not_kept() {
    let index = index(ROOM);
    put(&index, 1, "a1", "x");
    read(&index, ("a", "b"), 1);
    let reading = index.scan(b"a", b"b", Direction::Forward, Position(1));
    put(&index, 2, "a2", "y");
    assert_eq!(text(reading), "a1=x", "as of its own position");
    assert!(!index.keeps(("a", "b"), 2) && !index.keeps(("a", "b"), 1));
    // Who does not see all that was applied might miss a write that went by before.
    (0..3).for_each(|_| assert_eq!(read(&index, ("a", "b"), 1), "a1=x"));
    assert!(!index.keeps(("a", "b"), 1));
    assert_eq!(read(&index, ("a", "b"), 2), "a1=x a2=y");
}

#[test]
fn what_is_not_read_to_its_end_is_not_kept_and_seldom_tried() {
    let index = index(ROOM);
    put(&index, 1, "a1", "x");
    put(&index, 1, "a2", "y");
    let mut tried = 0;
    for _ in 0..34 {
        let mut reading = index.scan(b"a", b"b", Direction::Forward, Position(1));
        tried += usize::from(index.ranges.counted().0 == 1);
        assert!(reading.next().is_some());
        drop(reading);
        assert_eq!(index.ranges.counted().0, 0);
    }
    assert_eq!(tried, 3, "of 34 times: the second, and each sixteenth after it");
}

#[test]
fn ranges_make_room_for_each_other_and_the_used_ones_stay() {
    let index = index(64 * 1024);
    let value = "v".repeat(200);
    let ranges = (0..200).map(|at| (format!("{at:03}"), format!("{at:03}~"))).collect::<Vec<_>>();
    ranges.iter().for_each(|(start, _)| put(&index, 1, start, &value));
    let first = (&ranges[0].0[..], &ranges[0].1[..]);
    for (start, end) in &ranges {
        (0..2).for_each(|_| drop(read(&index, (start, end), 1)));
        read(&index, first, 1);
    }
    let (count, bytes) = index.ranges.counted();
    assert!(bytes <= 64 * 1024 && (50..200).contains(&count), "{count} of {bytes} bytes");
    assert!(index.keeps(first, 1), "the one that was used all the time");
    // What is too large is not kept.
    put(&index, 2, "large", &"v".repeat(2_000));
    (0..3).for_each(|_| drop(read(&index, ("l", "m"), 2)));
    assert!(!index.keeps(("l", "m"), 2));
}

/// A key of those that the planted bug is about.
fn item(at: u64) -> String {
    format!("{}{at:02}", char::from(prefix::ITEM))
}

/// Every answer of many scans, some of which are read while others write, beside the index without ranges.
fn differences(index: &dyn Index, seed: u64) -> (u64, u64) {
    let plain = OrderedMap::volatile(Arc::new(Memory::default()), Path::new("plain")).expect("memory opens");
    let (mut random, mut differing, mut scans) = (0x9e37_79b9_7f4a_7c15_u64 ^ seed, 0, 0);
    let mut draw = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 16) % below
    };
    let mut underway: Vec<(Entries<'_>, Entries<'_>)> = Vec::new();
    for at in 1..4_000_u64 {
        if draw(100) < 30 {
            let writes: Vec<Write> = (0..=draw(3))
                .map(|_| {
                    let (key, value) = (item(draw(40)), format!("{at}"));
                    write(&key, (draw(5) > 0).then_some(&value[..]))
                })
                .collect();
            index.apply(Position(at), Position(at.saturating_sub(60)), &mut writes.iter());
            plain.apply(Position(at), Position(at.saturating_sub(60)), &mut writes.iter());
        }
        let (low, width) = (draw(8) * 5, [2, 5, 5, 10][draw(4) as usize]);
        let (start, end) = (item(low), item(low + width));
        let direction = if draw(2) == 0 { Direction::Forward } else { Direction::Backward };
        let seen = Position(at - draw(3).min(at));
        let (low, high) = (start.as_bytes(), end.as_bytes());
        underway.push((index.scan(low, high, direction, seen), plain.scan(low, high, direction, seen)));
        if draw(3) == 0 {
            // Some are read in part, by and by.
            let at = draw(underway.len() as u64) as usize;
            let (one, other) = &mut underway[at];
            differing += u64::from(one.next().map(Result::ok) != other.next().map(Result::ok));
        }
        while underway.len() > draw(6) as usize {
            let at = draw(underway.len() as u64) as usize;
            let (one, other) = underway.swap_remove(at);
            let (most, ends) = (draw(12) as usize, draw(4) > 0);
            let most = if ends { usize::MAX } else { most };
            differing += u64::from(text(Box::new(one.take(most))) != text(Box::new(other.take(most))));
            scans += 1;
        }
    }
    (scans, differing)
}

#[test]
fn every_scan_answers_as_without_ranges() {
    let (mut counted, mut found) = (0, 0);
    for seed in 1..=8 {
        let index = index(ROOM);
        let (scans, differing) = differences(&index, seed);
        assert_eq!(differing, 0, "seed {seed}");
        counted += scans;
        found += index.ranges.found();
    }
    println!("{counted} scans, {found} of them by a kept range");
    assert!(counted > 10_000 && found > 1_000, "{counted}, {found}");
    let (scans, differing) = differences(&index(ROOM).forgetting_no_item(), 1);
    println!("planted: {differing} of {scans} differ");
    assert!(differing > 0, "a range that stays although it was written has to be noticed");
}
