//! What a reader knows of a stream: lists and pages put together, and what must hold of each at once.

use std::collections::{BTreeMap, BTreeSet};

use super::check::{CHILDREN, LINEAGE, PUSHED, STAYS, TAIL, TILE};
use super::history::{Began, Child, Listed, Record, ShardSeen, View};

/// Broken promises: which, and how.
pub type Broken = Vec<(&'static str, String)>;

/// What must hold of a list that is one moment.
pub fn one_moment(list: &[Listed]) -> Broken {
    let by_id: BTreeMap<&str, &Listed> = list.iter().map(|shard| (shard.id.as_str(), shard)).collect();
    let continued: BTreeSet<&str> = list.iter().flat_map(|shard| &shard.parents).map(String::as_str).collect();
    let mut broken = Vec::new();
    for shard in list {
        for parent in shard.parents.iter().filter_map(|parent| by_id.get(parent.as_str())) {
            match &parent.ending {
                None => {
                    broken.push((LINEAGE, format!("{} is listed while its parent {} is open", shard.id, parent.id)))
                }
                // All numbers have 56 digits: as texts they are in the order of numbers.
                Some(ending) if *ending >= shard.starting => {
                    broken.push((
                        LINEAGE,
                        format!("{} begins at {}, below its parent's end {ending}", shard.id, shard.starting),
                    ));
                }
                Some(_) => {}
            }
            let (outer, inner) = if shard.parents.len() == 1 { (*parent, shard) } else { (shard, *parent) };
            if outer.range.0 > inner.range.0 || inner.range.1 > outer.range.1 {
                broken.push((LINEAGE, format!("{shard:?} does not continue {parent:?}")));
            }
        }
        if shard.ending.is_some() && !continued.contains(shard.id.as_str()) {
            broken.push((LINEAGE, format!("{} is closed and has no children", shard.id)));
        }
    }
    if let Some(text) = hole(list.iter().filter(|shard| shard.ending.is_none())) {
        broken.push((TILE, text));
    }
    broken
}

/// Where the ranges of these shards do not cover every hash key once.
pub fn hole<'a>(shards: impl Iterator<Item = &'a Listed>) -> Option<String> {
    let mut ranges: Vec<_> = shards.map(|shard| shard.range).collect();
    ranges.sort_unstable();
    let ends =
        ranges.first().is_some_and(|first| first.0 == 0) && ranges.last().is_some_and(|last| last.1 == u128::MAX);
    let seamless = ranges.windows(2).all(|pair| pair[0].1.checked_add(1) == Some(pair[1].0));
    (!ends || !seamless).then(|| format!("{ranges:x?}"))
}

impl View {
    /// Nothing seen yet.
    pub fn new(reader: &str, pushed: bool) -> Self {
        Self { reader: reader.to_owned(), shards: BTreeMap::new(), pushed }
    }

    /// The first list: every shard in it is read from there.
    pub fn begin(&mut self, list: Vec<Listed>, began: Began) {
        for shard in list {
            let seen = ShardSeen { listed: Some(shard.clone()), ..ShardSeen::new(began) };
            self.shards.insert(shard.id, seen);
        }
    }

    /// A list of all shards, at store time `now`. Shards that continue none of those known are left alone: the reader
    /// began after them. `forgiving`: what nothing was read of may have been taken back by a crash.
    pub fn list(&mut self, list: Vec<Listed>, now: i64, forgiving: bool) -> Broken {
        let mut broken = Vec::new();
        let ids: BTreeSet<String> = list.iter().map(|shard| shard.id.clone()).collect();
        for shard in list {
            let id = shard.id.clone();
            let kin = shard.parents.iter().any(|parent| self.shards.contains_key(parent));
            let Some(known) = self.shards.get_mut(&id) else {
                if kin {
                    self.shards.insert(id, ShardSeen { listed: Some(shard), ..ShardSeen::new(Began::Oldest) });
                }
                continue;
            };
            if let Some(text) = known.changed(&shard) {
                if forgiving && known.records.is_empty() {
                    *known = ShardSeen::new(known.began);
                } else {
                    broken.push((STAYS, text));
                }
            }
            known.listed = Some(shard);
        }
        self.shards.retain(|id, shard| !forgiving || ids.contains(id) || !shard.records.is_empty());
        for (_, shard) in self.shards.iter_mut().filter(|(id, _)| !ids.contains(*id)) {
            // A child that only its parent's end named may have been opened after this list.
            if shard.listed.is_some() {
                shard.gone.get_or_insert(now);
            }
        }
        broken
    }

    /// A page of a shard, read at store time `now`. `children`: they end it.
    pub fn take(&mut self, id: &str, records: Vec<Record>, children: Option<Vec<Child>>, now: i64) -> Broken {
        let mut broken = Vec::new();
        let check = if self.pushed { PUSHED } else { TAIL };
        let Some(shard) = self.shards.get_mut(id) else { return broken };
        for record in records {
            if shard.records.last().is_some_and(|last| last.number >= record.number) {
                let last = shard.records.last().map(|last| &last.number);
                broken.push((check, format!("{id}: {} comes after {last:?}", record.number)));
            }
            shard.records.push(record);
        }
        shard.read = now;
        let Some(children) = children else { return broken };
        shard.children = Some(children.clone());
        for child in children {
            if !child.parents.iter().any(|parent| parent == id) {
                broken.push((CHILDREN, format!("{id} ends with {child:?}, which is another's")));
            }
            let known = self.shards.entry(child.id.clone()).or_insert_with(|| ShardSeen::new(Began::Oldest));
            if known.named.as_ref().is_some_and(|named| *named != child) {
                broken.push((CHILDREN, format!("{id} ends with {child:?}, another parent with {:?}", known.named)));
            }
            known.named = Some(child);
        }
        broken
    }

    /// Shards that can be read on: their parents were read to the end, or are gone.
    pub fn ready(&self) -> Vec<String> {
        let over = |shard: &ShardSeen| shard.children.is_some() || shard.gone.is_some();
        let passed = |parent: &String| self.shards.get(parent).is_none_or(over);
        let ready = |shard: &ShardSeen| !over(shard) && shard.parents().iter().all(passed);
        self.shards.iter().filter(|(_, shard)| ready(shard)).map(|(id, _)| id.clone()).collect()
    }
}

impl ShardSeen {
    /// How a list differs from what was known before.
    fn changed(&self, now: &Listed) -> Option<String> {
        if let Some(named) = &self.named
            && (named.parents != now.parents || named.range != now.range)
        {
            return Some(format!("{named:?}, as its parent named it, is listed as {now:?}"));
        }
        let before = self.listed.as_ref()?;
        let reopened = before.ending.is_some() && before.ending != now.ending;
        let other = (&before.parents, before.range, &before.starting) != (&now.parents, now.range, &now.starting);
        (reopened || other).then(|| format!("{before:?} is now {now:?}"))
    }

    /// When it was opened, as far as that is known. Unit: ms of store time.
    pub fn opened(&self) -> Option<i64> {
        self.listed.as_ref().map(|listed| listed.opened)
    }
}
