//! What is published, and which snapshots are held: the oldest of them bounds what may be dropped.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use headwater_types::hash::FixedMap;
use headwater_types::{Position, SequenceNumber, ShardUid};
use parking_lot::Mutex;

use super::segment::SegmentId;
use super::view::View;

/// Per shard, the number below which nothing is shown any more.
pub(super) type Horizons = FixedMap<ShardUid, SequenceNumber>;

/// What a snapshot shows, fixed when it is taken.
#[derive(Clone)]
pub(super) struct Shown {
    pub(super) position: Position,
    /// Newest position whose records are shown: it is synced.
    pub(super) log: Position,
    /// The oldest segment that may be read.
    pub(super) first: SegmentId,
    pub(super) horizons: Arc<Horizons>,
}

/// The registry of held snapshots.
pub(super) struct Snapshots(Mutex<State>);

/// What a held snapshot holds on to.
struct Pin {
    id: u64,
    position: Position,
    first: SegmentId,
}

struct State {
    shown: Shown,
    synced: Position,
    /// By age: neither positions nor first segments ever fall, so the first pin holds the most. Few at a time, and mostly
    /// the first one goes.
    pins: VecDeque<Pin>,
    pins_ever: u64,
    /// The newest view, as long as it shows the newest state: everyone who asks meanwhile shares it.
    newest: Weak<View>,
}

impl Snapshots {
    pub(super) fn new(position: Position, first: SegmentId, horizons: Horizons) -> Self {
        let shown = Shown { position, log: position, first, horizons: Arc::new(horizons) };
        Self(Mutex::new(State { shown, synced: position, pins: VecDeque::new(), pins_ever: 0, newest: Weak::new() }))
    }

    /// The newest view; `make` builds one from what it shows and its pin.
    pub(super) fn take(&self, make: impl FnOnce(Shown, u64) -> Arc<View>) -> Arc<View> {
        let mut state = self.0.lock();
        if let Some(view) = state.newest.upgrade() {
            return view;
        }
        state.pins_ever += 1;
        let id = state.pins_ever;
        let shown = state.shown.clone();
        state.pins.push_back(Pin { id, position: shown.position, first: shown.first });
        let view = make(shown, id);
        state.newest = Arc::downgrade(&view);
        view
    }

    pub(super) fn release(&self, pin: u64) {
        let pins = &mut self.0.lock().pins;
        if let Ok(at) = pins.binary_search_by_key(&pin, |held| held.id) {
            pins.remove(at);
        }
    }

    /// The position below which no version is needed any more.
    pub(super) fn oldest(&self) -> Position {
        let state = self.0.lock();
        state.pins.front().map_or(state.shown.position, |pin| pin.position)
    }

    /// The oldest segment that anyone may still read.
    pub(super) fn oldest_segment(&self) -> SegmentId {
        let state = self.0.lock();
        state.pins.front().map_or(state.shown.first, |pin| pin.first)
    }

    /// The oldest segment that a new snapshot may read.
    pub(super) fn first(&self) -> SegmentId {
        self.0.lock().shown.first
    }

    /// At the start: this is the oldest one, before those found.
    pub(super) fn show_from(&self, first: SegmentId) {
        self.change(|state| state.shown.first = state.shown.first.min(first));
    }

    /// The horizons of now, and a mark: every snapshot that is taken later has these or higher ones.
    pub(super) fn mark(&self) -> (Arc<Horizons>, u64) {
        let mut state = self.0.lock();
        state.newest = Weak::new();
        (state.shown.horizons.clone(), state.pins_ever)
    }

    /// Whether no snapshot from before a mark is held any more.
    pub(super) fn passed(&self, mark: u64) -> bool {
        self.0.lock().pins.front().is_none_or(|pin| pin.id > mark)
    }

    pub(super) fn published(&self) -> Position {
        self.0.lock().shown.position
    }

    pub(super) fn horizons(&self) -> Arc<Horizons> {
        self.0.lock().shown.horizons.clone()
    }

    pub(super) fn publish(&self, position: Position) {
        self.change(|state| {
            assert!(state.shown.position <= position, "published positions never fall");
            state.shown.position = position;
        });
    }

    /// States what is synced; whether readers of the log see more now.
    pub(super) fn synced(&self, position: Position) -> bool {
        let mut more = false;
        self.change(|state| {
            let before = state.synced.min(state.shown.position);
            state.synced = position.max(state.synced);
            more = state.synced.min(state.shown.position) > before;
        });
        more
    }

    /// Raises horizons, never lowers one; those that were raised.
    pub(super) fn raise(&self, horizons: &[(ShardUid, SequenceNumber)]) -> Vec<(ShardUid, SequenceNumber)> {
        let mut raised = Vec::new();
        self.change(|state| {
            let rises = |(shard, below): &&(ShardUid, SequenceNumber)| {
                *below > state.shown.horizons.get(shard).copied().unwrap_or_default()
            };
            raised = horizons.iter().filter(rises).copied().collect();
            if !raised.is_empty() {
                Arc::make_mut(&mut state.shown.horizons).extend(raised.iter().copied());
            }
        });
        raised
    }

    /// Forgets horizons of shards that have no record left, and hides segments before `first`.
    pub(super) fn forget(&self, first: SegmentId, empty: &[ShardUid]) {
        self.change(|state| {
            state.shown.first = first.max(state.shown.first);
            if !empty.is_empty() {
                let horizons = Arc::make_mut(&mut state.shown.horizons);
                horizons.retain(|shard, _| !empty.contains(shard));
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.lock();
        change(&mut state);
        state.shown.log = state.synced.min(state.shown.position);
        state.newest = Weak::new();
    }
}
