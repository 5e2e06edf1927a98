//! What a published snapshot holds beside the items, held to the items of the same snapshot: entries of indexes, the order
//! of expiry, sizes of item collections. Computed here anew from the definitions, not by the code that wrote them.
//!
//! Source: "Secondary indexes", "Item collections", "Time to live", DynamoDB developer guide.

use std::collections::BTreeMap;

use headwater_catalog::{
    IndexDefinition, IndexKind, IndexState, KeyAttribute, KeyKind, Projected, TableDefinition, TimeToLiveState, writer,
};
use headwater_storage::Snapshot;
use headwater_storage::contract::Direction;
use headwater_storage::keyspace::prefix;
use headwater_table::Row;
use headwater_types::{AttributeValue, Item};

/// How much was compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Compared {
    /// Snapshots.
    pub snapshots: u64,
    /// Entries of indexes and of the order of expiry, and sizes of collections.
    pub entries: u64,
    /// Indexes that were being filled at that moment.
    pub filling: u64,
}

impl Compared {
    /// Adds another's figures.
    pub fn add(&mut self, other: Self) {
        self.snapshots += other.snapshots;
        self.entries += other.entries;
        self.filling += other.filling;
    }
}

/// Compares everything in a snapshot; texts of what does not fit.
pub fn compare(snapshot: &dyn Snapshot) -> (Compared, Vec<String>) {
    let (start, end) = writer::table_rows();
    let mut compared = Compared { snapshots: 1, ..Compared::default() };
    let mut wrong = Vec::new();
    for entry in snapshot.scan(&start, &end, Direction::Forward) {
        // What cannot be read at this moment (a fault on the disk) is compared another time.
        let Ok((key, row)) = entry else { return (Compared::default(), Vec::new()) };
        let Ok(table) = writer::decode::<TableDefinition>(&key, &row) else {
            wrong.push("a table's row cannot be read".to_owned());
            continue;
        };
        if of_table(snapshot, &table, &mut compared, &mut wrong).is_none() {
            return (Compared::default(), Vec::new());
        }
    }
    (compared, wrong)
}

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

fn rows(snapshot: &dyn Snapshot, kind: u8, table: &TableDefinition, index: Option<u32>) -> Option<Rows> {
    let mut start = vec![kind];
    start.extend(table.id.0.to_be_bytes());
    start.extend(index.into_iter().flat_map(u32::to_be_bytes));
    let mut end = start.clone();
    *end.last_mut()? += 1;
    let entries = snapshot.scan(&start, &end, Direction::Forward);
    entries.map(|entry| entry.ok().map(|(key, value)| (key.to_vec(), value.to_vec()))).collect()
}

fn item(value: &[u8]) -> Item {
    Row::from_stored(value.to_vec().into()).item().expect("a stored row is an item")
}

/// `None` when the snapshot cannot be read at this moment.
fn of_table(
    snapshot: &dyn Snapshot,
    table: &TableDefinition,
    compared: &mut Compared,
    wrong: &mut Vec<String>,
) -> Option<()> {
    let items: Vec<(Vec<u8>, Item)> =
        rows(snapshot, prefix::ITEM, table, None)?.into_iter().map(|(key, value)| (key, item(&value))).collect();
    for index in &table.indexes {
        let found: Vec<String> = rows(snapshot, prefix::INDEX, table, Some(index.id))?
            .iter()
            .map(|(_, value)| shown(&item(value)))
            .collect();
        let expected: Vec<String> = items.iter().filter_map(|(_, item)| entry(table, index, item)).collect();
        let (found, expected) = (sorted(found), sorted(expected));
        compared.entries += found.len() as u64;
        let fits = match index.state {
            IndexState::Active | IndexState::Updating => found == expected,
            IndexState::Creating | IndexState::Backfilling => {
                compared.filling += 1;
                found.iter().all(|entry| expected.contains(entry))
            }
            IndexState::Deleting => true,
        };
        if !fits {
            wrong.push(format!(
                "index {} of {} ({:?}): {found:?} for {expected:?}",
                index.name, table.name, index.state
            ));
        }
    }
    expiry(snapshot, table, &items, compared, wrong)?;
    collections(snapshot, table, &items, compared, wrong)
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

fn shown(item: &Item) -> String {
    format!("{item:?}")
}

/// The item as the index is to hold it; `None` when it is not in it.
fn entry(table: &TableDefinition, index: &IndexDefinition, item: &Item) -> Option<String> {
    index.keys().all(|key| fits(key, item.get(&key.name))).then_some(())?;
    let keys: Vec<&str> = table.keys().chain(index.keys()).map(|key| key.name.as_str()).collect();
    let kept = |name: &str| match &index.projected {
        Projected::All => true,
        Projected::KeysOnly => keys.contains(&name),
        Projected::Include(names) => keys.contains(&name) || names.iter().any(|included| included == name),
    };
    let projected: Item =
        item.0.iter().filter(|(name, _)| kept(name)).map(|(name, value)| (name.clone(), value.clone())).collect();
    Some(shown(&projected))
}

fn fits(key: &KeyAttribute, value: Option<&AttributeValue>) -> bool {
    matches!(
        (key.kind, value),
        (KeyKind::S, Some(AttributeValue::S(_)))
            | (KeyKind::N, Some(AttributeValue::N(_)))
            | (KeyKind::B, Some(AttributeValue::B(_)))
    )
}

/// The order of expiry has every item with a number there, under its second.
fn expiry(
    snapshot: &dyn Snapshot,
    table: &TableDefinition,
    items: &[(Vec<u8>, Item)],
    compared: &mut Compared,
    wrong: &mut Vec<String>,
) -> Option<()> {
    let Some(expiry) = &table.time_to_live else { return Some(()) };
    let found = rows(snapshot, prefix::INDEX, table, Some(expiry.index))?;
    let found: Vec<Vec<u8>> = found.into_iter().map(|(key, _)| key[13..].to_vec()).collect();
    let mut expected: Vec<Vec<u8>> = items
        .iter()
        .filter_map(|(key, item)| match item.get(&expiry.attribute) {
            // The workload writes whole seconds.
            Some(AttributeValue::N(number)) => {
                let seconds: i64 = number.to_string().parse().ok()?;
                Some([&seconds.to_be_bytes()[..], &key[9..]].concat())
            }
            _ => None,
        })
        .collect();
    expected.sort();
    compared.entries += found.len() as u64;
    let fits = match expiry.state {
        TimeToLiveState::Enabled => found == expected,
        TimeToLiveState::Enabling => {
            compared.filling += 1;
            found.iter().all(|entry| expected.contains(entry))
        }
        TimeToLiveState::Disabling => true,
    };
    if !fits {
        wrong.push(format!(
            "expiry of {} ({:?}): {} entries for {}",
            table.name,
            expiry.state,
            found.len(),
            expected.len()
        ));
    }
    Some(())
}

/// The size of each item collection is that of its items and of their local entries.
fn collections(
    snapshot: &dyn Snapshot,
    table: &TableDefinition,
    items: &[(Vec<u8>, Item)],
    compared: &mut Compared,
    wrong: &mut Vec<String>,
) -> Option<()> {
    if !table.indexes.iter().any(|index| index.kind == IndexKind::Local) {
        return Some(());
    }
    let mut expected: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
    // The placement is the hash of the partition key: one collection each.
    let mut add = |key: &[u8], place: usize, item: &Item| {
        *expected.entry(key[place..place + 16].to_vec()).or_default() += item.size_bytes() as i64;
    };
    items.iter().for_each(|(key, item)| add(key, 9, item));
    for index in table.indexes.iter().filter(|index| index.kind == IndexKind::Local) {
        for (key, value) in rows(snapshot, prefix::INDEX, table, Some(index.id))? {
            add(&key, 13, &item(&value));
        }
    }
    let found: BTreeMap<Vec<u8>, i64> = rows(snapshot, prefix::INDEX, table, Some(0))?
        .into_iter()
        .map(|(key, value)| (key[13..29].to_vec(), value.first_chunk().map_or(0, |size| i64::from_le_bytes(*size))))
        .collect();
    compared.entries += found.len() as u64;
    if found != expected {
        wrong.push(format!("collections of {}: {found:?} for {expected:?}", table.name));
    }
    Some(())
}
