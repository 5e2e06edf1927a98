//! The load: items come due at their times, whoever waits; all that is due goes into the next group, as the product's
//! committer drains its queue. So a stall is counted for every item that came meanwhile.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::task::JoinHandle;

use crate::data::{self, Change, Group, Shape, mixed};
use crate::subject::Subject;
use crate::windows::now_us;

/// When an item came due and when its group was answered, in microseconds since the process began.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// It came.
    pub due_us: u64,
    /// It was answered.
    pub done_us: u64,
}

/// What a run of load came to.
#[derive(Debug, Default)]
pub struct Ran {
    /// Changes committed.
    pub changes: u64,
    /// Groups they made.
    pub groups: u64,
    /// Keys, values and records.
    pub logical_bytes: u64,
    /// One for each change, where they come at a rate.
    pub samples: Vec<Sample>,
}

/// Whoever writes: knows every item's version.
pub struct Load {
    subject: Arc<dyn Subject>,
    shape: Shape,
    versions: Vec<u16>,
    loaded: u64,
    changes: u64,
    /// The items of the records that are kept, oldest first.
    kept: VecDeque<u64>,
    dice: u64,
    /// Of a new item, of an overwrite.
    logical_bytes: [u64; 2],
}

/// A group that is not answered yet.
struct Flying {
    changes: u64,
    /// When its items came due, where they come at a rate.
    due_us: Vec<u64>,
    done_us: JoinHandle<Result<u64>>,
}

type InFlight = VecDeque<Flying>;

impl Load {
    /// Nothing is written yet.
    pub fn new(subject: Arc<dyn Subject>, shape: Shape) -> Self {
        let versions = vec![0; shape.items as usize];
        let logical_bytes = [1, 2].map(|version| shape.logical_bytes(Change { item: 0, version }));
        Self { subject, shape, versions, loaded: 0, changes: 0, kept: VecDeque::new(), dice: 1, logical_bytes }
    }

    /// Writes new items, in groups of `group`, as fast as it goes.
    pub async fn load(&mut self, items: u64, group: u64) -> Result<Ran> {
        let (mut ran, mut flying, mut left) = (Ran::default(), InFlight::new(), items);
        while left > 0 {
            let count = left.min(group);
            left -= count;
            let picked: Vec<u64> = (self.loaded..self.loaded + count).collect();
            self.loaded += count;
            self.submit(&picked, Vec::new(), &mut flying, &mut ran).await?;
        }
        drain(&mut flying, &mut ran, 0).await?;
        Ok(ran)
    }

    /// Overwrites items at random for a time; `rate` items come due in a second, up to `group_max` make a group.
    pub async fn overwrite(&mut self, time: Duration, rate: u64, group_max: u64) -> Result<Ran> {
        ensure!(self.loaded > 0 && rate > 0, "nothing to overwrite, or never");
        let (mut ran, mut flying) = (Ran::default(), InFlight::new());
        let (start, time_us) = (now_us(), time.as_micros() as u64);
        let due_at = |count: u64| start + count * 1_000_000 / rate;
        let (mut taken, all) = (0, time_us * rate / 1_000_000);
        while taken < all {
            let due = ((now_us() - start) * rate / 1_000_000).min(all);
            let count = due.saturating_sub(taken).min(group_max).min(self.loaded);
            if count == 0 {
                tokio::time::sleep(Duration::from_micros(due_at(taken + 1).saturating_sub(now_us()))).await;
                continue;
            }
            let picked = self.pick(count);
            let times = (taken..taken + count).map(|each| due_at(each + 1)).collect();
            taken += count;
            self.submit(&picked, times, &mut flying, &mut ran).await?;
        }
        drain(&mut flying, &mut ran, 0).await?;
        ensure!(ran.changes == all, "{} of {all} changes were made", ran.changes);
        Ok(ran)
    }

    /// Items at random, none twice.
    fn pick(&mut self, count: u64) -> Vec<u64> {
        let mut there = HashSet::new();
        let mut next = || loop {
            let item = mixed(&mut self.dice) % self.loaded;
            if there.insert(item) {
                return item;
            }
        };
        (0..count).map(|_| next()).collect()
    }

    async fn submit(&mut self, items: &[u64], due_us: Vec<u64>, flying: &mut InFlight, ran: &mut Ran) -> Result<()> {
        let mut group = Group { first: self.changes, ..Group::default() };
        for &item in items {
            let version = &mut self.versions[item as usize];
            *version = version.checked_add(1).context("an item has too many versions")?;
            let change = Change { item, version: *version };
            ran.logical_bytes += self.logical_bytes[usize::from(*version > 1)];
            group.changes.push(change);
            self.kept.push_back(item);
            self.changes += 1;
            if self.kept.len() as u64 > self.shape.keep_records {
                let oldest = self.changes - self.kept.len() as u64;
                group.trimmed.extend(self.kept.pop_front().map(|item| (item, oldest)));
            }
        }
        ran.groups += 1;
        drain(flying, ran, self.subject.in_flight_max() - 1).await?;
        let done = self.subject.commit(group);
        let done_us = tokio::spawn(async move {
            done.await?;
            Ok(now_us())
        });
        flying.push_back(Flying { changes: items.len() as u64, due_us, done_us });
        Ok(())
    }

    /// Reads items at random and compares them, and looks whether an index has the entry of this version and none of the
    /// one before. Times of the reads of items, in microseconds.
    pub fn read(&mut self, count: u64) -> Result<Vec<u64>> {
        ensure!(self.loaded > 0, "there is nothing to read");
        let mut times = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let item = mixed(&mut self.dice) % self.loaded;
            let (version, key) = (self.versions[item as usize], data::item_key(item));
            let start = now_us();
            let found = self.subject.get(&key)?;
            times.push(now_us() - start);
            ensure!(found == Some(self.shape.value(item, version)), "item {item} is not its version {version}");
            let index = (item % u64::from(self.shape.indexes)) as u32;
            let entry = |version| self.subject.get(&data::entry_key(index, item, version));
            ensure!(entry(version)?.is_some(), "index {index} lacks item {item} of version {version}");
            ensure!(version == 1 || entry(version - 1)?.is_none(), "index {index} has item {item} twice");
        }
        Ok(times)
    }
}

/// Waits until no more than `most` groups are in flight.
async fn drain(flying: &mut InFlight, ran: &mut Ran, most: usize) -> Result<()> {
    while flying.len() > most {
        let Some(first) = flying.pop_front() else { break };
        let done_us = first.done_us.await??;
        ran.changes += first.changes;
        ran.samples.extend(first.due_us.into_iter().map(|due_us| Sample { due_us, done_us }));
    }
    Ok(())
}
