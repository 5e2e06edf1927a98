//! Pages that were just encoded, for the other subscribers who come to the same position.

use std::collections::VecDeque;

use headwater_api::Frame;
use headwater_log::ReadFrom;
use headwater_types::hash::FixedMap;
use headwater_types::{Millis, SequenceNumber, ShardUid, StreamUid};
use parking_lot::Mutex;

/// What all pages may hold together. Unit: bytes. Source: ours.
const BYTES_MAX: usize = 32 << 20;
/// How long a page may be given: retention and `MillisBehindLatest` move on. Unit: ms of store time. Source: ours.
const LIFE_MS: i64 = 1_000;

/// A position in a shard, of a stream as it was defined.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Place {
    /// Whose.
    pub stream: StreamUid,
    /// Which shard.
    pub shard: ShardUid,
    /// The definition's version: it says what records show of encryption.
    pub version: u64,
    /// The number after which the page begins.
    pub after: SequenceNumber,
}

/// A page, encoded.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    /// The frame; clones share its bytes.
    pub frame: Frame,
    /// Where the next page begins.
    pub next: ReadFrom,
}

/// The newest pages.
#[derive(Default)]
pub(crate) struct Pages(Mutex<Held>);

#[derive(Default)]
struct Held {
    pages: FixedMap<Place, (Ready, Millis)>,
    /// Oldest first.
    order: VecDeque<Place>,
    bytes: usize,
}

impl Pages {
    /// The page of this position, if it was made a moment ago.
    pub fn get(&self, place: &Place, now: Millis) -> Option<Ready> {
        let held = self.0.lock();
        let (ready, made) = held.pages.get(place)?;
        (now.0 - made.0 <= LIFE_MS).then(|| ready.clone())
    }

    /// Keeps a page until newer ones need its room.
    pub fn put(&self, place: Place, ready: Ready, now: Millis) {
        let mut held = self.0.lock();
        held.bytes += ready.frame.len();
        match held.pages.insert(place, (ready, now)) {
            Some((old, _)) => held.bytes -= old.frame.len(),
            None => held.order.push_back(place),
        }
        while held.bytes > BYTES_MAX || held.is_stale(now) {
            let Some(oldest) = held.order.pop_front() else { break };
            if let Some((old, _)) = held.pages.remove(&oldest) {
                held.bytes -= old.frame.len();
            }
        }
    }
}

impl Held {
    /// Whether the oldest page can go: nobody is given it any more.
    fn is_stale(&self, now: Millis) -> bool {
        let oldest = self.order.front().and_then(|place| self.pages.get(place));
        oldest.is_some_and(|(_, made)| now.0 - made.0 > LIFE_MS)
    }
}

#[cfg(test)]
mod tests {
    use headwater_api::kinesis::{SubscribeToShardEvent, SubscribeToShardEventStream};

    use super::*;

    fn place(after: u64) -> Place {
        Place { stream: StreamUid(1), shard: ShardUid(2), version: 3, after: SequenceNumber(after) }
    }

    fn ready(bytes: usize) -> Ready {
        let event = SubscribeToShardEvent {
            records: Vec::new(),
            continuation_sequence_number: Some("0".repeat(bytes)),
            millis_behind_latest: 0,
            child_shards: None,
        };
        let frame = Frame::of(&SubscribeToShardEventStream::SubscribeToShardEvent(event));
        Ready { frame, next: ReadFrom::After(SequenceNumber(9)) }
    }

    #[test]
    fn pages_are_given_for_a_moment_and_bounded() {
        let (pages, now) = (Pages::default(), Millis(1_000_000));
        pages.put(place(1), ready(10), now);
        let (one, other) = (pages.get(&place(1), now), pages.get(&place(1), now));
        let start = |ready: Option<Ready>| ready.expect("there").frame.into_bytes().as_ptr();
        assert_eq!(start(one), start(other), "the same bytes");
        assert!(pages.get(&place(2), now).is_none());
        assert!(pages.get(&Place { version: 4, ..place(1) }, now).is_none());
        assert!(pages.get(&place(1), Millis(now.0 + LIFE_MS + 1)).is_none(), "too old");
        for after in 0..100 {
            pages.put(place(after), ready(1 << 20), now);
        }
        let held = pages.0.lock();
        assert!(held.bytes <= BYTES_MAX && held.bytes > BYTES_MAX / 2);
        assert_eq!(held.pages.len(), held.order.len());
    }
}
