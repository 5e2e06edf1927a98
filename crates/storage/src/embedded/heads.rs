//! Heads in memory: every version that a snapshot may still ask for, and which changed since the last flush.

use headwater_types::Position;
use headwater_types::hash::FixedMap;
use parking_lot::RwLock;

use super::frame::HeadState;
use crate::contract::{Head, HeadKey};

/// Published heads by position.
#[derive(Default)]
pub(super) struct Heads(RwLock<State>);

#[derive(Default)]
struct State {
    versions: FixedMap<HeadKey, Versions>,
    /// Changed since they were last written to the index, in order of the first change.
    dirty: Vec<HeadKey>,
}

#[derive(Default)]
struct Versions {
    /// By rising position; `None`: removed.
    list: Vec<(Position, Option<Head>)>,
    dirty: bool,
}

impl Heads {
    /// A head as a snapshot at `position` sees it.
    pub(super) fn at(&self, key: HeadKey, position: Position) -> Head {
        let state = self.0.read();
        let Some(versions) = state.versions.get(&key) else { return Head::default() };
        let visible = versions.list.iter().rev().find(|(at, _)| *at <= position);
        visible.and_then(|(_, head)| *head).unwrap_or_default()
    }

    /// Takes over what a group did; drops versions that no snapshot at or after `oldest` sees.
    pub(super) fn apply(&self, at: Position, oldest: Position, heads: &[HeadState]) {
        let mut state = self.0.write();
        let State { versions, dirty } = &mut *state;
        for (key, head) in heads {
            let entry = versions.entry(*key).or_default();
            if !std::mem::replace(&mut entry.dirty, true) {
                dirty.push(*key);
            }
            let seen = entry.list.iter().rposition(|(position, _)| *position <= oldest).unwrap_or(0);
            entry.list.drain(..seen);
            match entry.list.last_mut() {
                Some((position, last)) if *position == at => *last = *head,
                Some(_) | None => entry.list.push((at, *head)),
            }
        }
    }

    /// Takes over heads found in the index at the start.
    pub(super) fn load(&self, at: Position, heads: impl Iterator<Item = (HeadKey, Head)>) {
        let mut state = self.0.write();
        for (key, head) in heads {
            state.versions.insert(key, Versions { list: vec![(at, Some(head))], dirty: false });
        }
    }

    /// The newest state of every head that changed since the last call. Removed ones are forgotten if no snapshot at or
    /// after `oldest` sees them.
    pub(super) fn take_dirty(&self, oldest: Position) -> Vec<HeadState> {
        let mut state = self.0.write();
        let keys = std::mem::take(&mut state.dirty);
        let mut changed = Vec::with_capacity(keys.len());
        let mut kept = Vec::new();
        for key in keys {
            let Some(entry) = state.versions.get_mut(&key) else { continue };
            entry.dirty = false;
            let Some((at, head)) = entry.list.last().copied() else { continue };
            changed.push((key, head));
            if head.is_none() && at <= oldest {
                state.versions.remove(&key);
            } else if head.is_none() {
                // Still seen by a snapshot: looked at again the next time, or it would stay for ever.
                entry.dirty = true;
                kept.push(key);
            }
        }
        state.dirty = kept;
        changed
    }

    /// The newest state of every head.
    pub(super) fn newest(&self) -> FixedMap<HeadKey, Head> {
        let state = self.0.read();
        let last = state.versions.iter().filter_map(|(key, versions)| {
            let (_, head) = versions.list.last()?;
            head.map(|head| (*key, head))
        });
        last.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(version: u64) -> Option<Head> {
        Some(Head { version, ..Head::default() })
    }

    #[test]
    fn a_snapshot_sees_its_version_until_it_is_gone() {
        let heads = Heads::default();
        let key = HeadKey(1);
        heads.apply(Position(1), Position(0), &[(key, head(1))]);
        heads.apply(Position(3), Position(1), &[(key, head(2))]);
        heads.apply(Position(4), Position(1), &[(key, None)]);
        let versions: Vec<u64> = (0..6).map(|at| heads.at(key, Position(at)).version).collect();
        assert_eq!(versions, [0, 1, 1, 2, 0, 0]);
        assert_eq!(heads.take_dirty(Position(1)), [(key, None)]);
        assert_eq!(heads.at(key, Position(2)).version, 1);
        heads.apply(Position(5), Position(4), &[(key, head(1))]);
        assert_eq!(heads.at(key, Position(5)).version, 1);
        assert_eq!(heads.0.read().versions[&key].list.len(), 2);
    }
}
