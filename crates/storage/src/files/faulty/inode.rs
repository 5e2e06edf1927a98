//! A file's bytes: what is durable, what is seen, and every change in between that a crash may or may not keep.

use super::Survival;

#[derive(Default)]
pub(super) struct Inode {
    pub(super) durable: Vec<u8>,
    pub(super) now: Vec<u8>,
    pub(super) pending: Vec<Pending>,
}

pub(super) struct Pending {
    pub(super) change: Change,
    /// A failed sync dropped it: no later sync keeps it.
    pub(super) dropped: bool,
}

pub(super) enum Change {
    Write(u64, Vec<u8>),
    SetLength(u64),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(offset, bytes) => put(content, *offset, bytes),
            Self::SetLength(length) => content.resize(*length as usize, 0),
        }
    }
}

impl Inode {
    pub(super) fn sync(&mut self) {
        for pending in self.pending.drain(..).filter(|pending| !pending.dropped) {
            pending.change.apply(&mut self.durable);
        }
    }

    pub(super) fn crash(&mut self, survival: Survival, dice: &mut Dice) {
        for pending in std::mem::take(&mut self.pending) {
            match survival {
                Survival::Nothing => {}
                Survival::Everything if pending.dropped => {}
                Survival::Everything => pending.change.apply(&mut self.durable),
                Survival::Torn(_) => self.survive(&pending.change, dice),
            }
        }
        self.now = self.durable.clone();
    }

    /// A write is lost, kept or kept in part by sector; what lies between kept sectors may be whatever was there before.
    fn survive(&mut self, change: &Change, dice: &mut Dice) {
        match (change, dice.throw(3)) {
            (_, 0) => {}
            (Change::Write(offset, bytes), 1) => {
                let sector = if dice.throw(2) == 0 { 512 } else { 4096 };
                let mut at = 0;
                while at < bytes.len() {
                    let end = (at + sector).min(bytes.len());
                    if dice.throw(2) == 0 {
                        put(&mut self.durable, offset + at as u64, &bytes[at..end]);
                    } else if dice.throw(8) == 0 && self.durable.len() as u64 <= offset + at as u64 {
                        // Space that was given to the file and never written shows what an earlier file left there.
                        let stale: Vec<u8> = (at..end).map(|_| dice.throw(256) as u8).collect();
                        put(&mut self.durable, offset + at as u64, &stale);
                    }
                    at = end;
                }
            }
            (change, _) => change.apply(&mut self.durable),
        }
    }

    pub(super) fn copy(&self) -> Self {
        let pending = self.pending.iter().map(|pending| Pending {
            change: match &pending.change {
                Change::Write(offset, bytes) => Change::Write(*offset, bytes.clone()),
                Change::SetLength(length) => Change::SetLength(*length),
            },
            dropped: pending.dropped,
        });
        Self { durable: self.durable.clone(), now: self.now.clone(), pending: pending.collect() }
    }
}

pub(super) fn put(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = offset as usize;
    if content.len() < start + bytes.len() {
        content.resize(start + bytes.len(), 0);
    }
    content[start..start + bytes.len()].copy_from_slice(bytes);
}

/// Splitmix64: all the chance that a crash needs.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}
