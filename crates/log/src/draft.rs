//! A plan in the making: heads stand in it once, whoever asks for them.

use bytes::Bytes;
use headwater_storage::contract::{Stamp, Write};
use headwater_storage::{HeadChange, HeadKey, HeadUse, Plan};

/// A plan in the making.
#[derive(Default)]
pub(crate) struct Draft {
    plan: Plan,
}

impl Draft {
    /// The head is moved; a second move of the same head adds to the first.
    pub fn moved(&mut self, key: HeadKey, expected: u64) -> u16 {
        self.moved_by(key, expected, 0, 0)
    }

    /// The head is moved and its counts changed.
    pub fn moved_by(&mut self, key: HeadKey, expected: u64, items: i64, bytes: i64) -> u16 {
        let at = self.place(key, expected);
        match self.change(at) {
            HeadChange::Move { items: i, bytes: b, .. } => {
                *i += items;
                *b += bytes;
            }
            change => *change = HeadChange::Move { items, bytes, take: false, above: Vec::new() },
        }
        at
    }

    /// The moved head takes a number of its own.
    pub fn take(&mut self, at: u16) {
        if let HeadChange::Move { take, .. } = self.change(at) {
            *take = true;
        }
    }

    /// Numbers of the moved head `at` lie above those of `parent`.
    pub fn above(&mut self, at: u16, parent: u16) {
        assert!(parent < at, "a parent's head stands before its child's");
        if let HeadChange::Move { above, .. } = self.change(at) {
            above.push(parent);
        }
    }

    /// The head is removed.
    pub fn removed(&mut self, key: HeadKey, expected: u64) {
        let at = self.place(key, expected);
        *self.change(at) = HeadChange::Remove;
    }

    pub fn put(&mut self, key: Bytes, value: Bytes) {
        self.write(key, Some(value), None);
    }

    /// Writes a value whose eight bytes at `offset` become the number that head `at` takes.
    pub fn put_stamped(&mut self, key: Bytes, value: Bytes, at: u16, offset: u32) {
        self.write(key, Some(value), Some(Stamp { head: at, offset }));
    }

    pub fn delete(&mut self, key: Bytes) {
        self.write(key, None, None);
    }

    pub fn into_plan(self) -> Plan {
        self.plan
    }

    fn write(&mut self, key: Bytes, value: Option<Bytes>, stamp: Option<Stamp>) {
        self.plan.writes.push(Write { key, value, stamp });
    }

    fn place(&mut self, key: HeadKey, expected: u64) -> u16 {
        let at = self.plan.heads.iter().position(|head| head.key == key).unwrap_or_else(|| {
            self.plan.heads.push(HeadUse { key, expected, change: HeadChange::Compare });
            self.plan.heads.len() - 1
        });
        u16::try_from(at).expect("a plan of definitions has fewer than 65,536 heads")
    }

    fn change(&mut self, at: u16) -> &mut HeadChange {
        let head = self.plan.heads.get_mut(usize::from(at));
        &mut head.expect("head indexes come from this draft").change
    }
}
