//! ConsumedCapacity and ItemCollectionMetrics of answers.

use std::collections::BTreeMap;

use headwater_api::dynamodb as api;
use headwater_api::dynamodb::{ReturnConsumedCapacity, ReturnItemCollectionMetrics};
use headwater_catalog::TableDefinition;
use headwater_table::{Row, Written, capacity};
use headwater_types::{AttributeValue, Item};

use super::item::attributes;
use super::validation::Attributes;

/// Unit: bytes in a GB, as SizeEstimateRangeGB counts.
const GIGABYTE: i64 = 1 << 30;

/// Units used on one table and its indexes.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Used {
    table: f64,
    local: BTreeMap<String, f64>,
    global: BTreeMap<String, f64>,
}

/// What a transaction's units are shown as, beside their sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shown {
    /// Not a transaction: the sum alone.
    Plain,
    /// Reads of a transaction.
    Reads,
    /// Writes of a transaction.
    Writes,
}

impl Used {
    /// Units on the table itself.
    pub fn table(units: f64) -> Self {
        Self { table: units, ..Self::default() }
    }

    /// Units on an index, as a query of it uses, and those of every item that was fetched from the table.
    pub fn index(name: &str, local: bool, units: f64, fetched: impl IntoIterator<Item = f64>) -> Self {
        // Not `sum`: of nothing that is -0.0, and would be shown so.
        let table = fetched.into_iter().fold(0.0, |all, units| all + units);
        let one = BTreeMap::from([(name.to_owned(), units)]);
        let (local, global) = if local { (one, BTreeMap::new()) } else { (BTreeMap::new(), one) };
        Self { table, local, global }
    }

    /// Units of one write.
    pub fn write(written: &Written) -> Self {
        let size = |row: &Option<Row>| row.as_ref().map_or(0, Row::size_bytes);
        let mut used = Self::table(capacity::write_units(size(&written.old), size(&written.new)));
        for index in &written.uses {
            let indexes = if index.local { &mut used.local } else { &mut used.global };
            *indexes.entry(index.index.clone()).or_default() += capacity::index_units(index);
        }
        used
    }

    /// Adds what else was used on the same table.
    pub fn add(&mut self, other: &Self) {
        self.table += other.table;
        for (mine, others) in [(&mut self.local, &other.local), (&mut self.global, &other.global)] {
            others.iter().for_each(|(name, units)| *mine.entry(name.clone()).or_default() += units);
        }
    }

    /// The same work in a transaction: everything is done twice.
    pub fn doubled(mut self) -> Self {
        self.table *= 2.0;
        self.local.values_mut().chain(self.global.values_mut()).for_each(|units| *units *= 2.0);
        self
    }

    /// ConsumedCapacity, if it was asked for.
    pub fn shown(
        &self,
        wanted: Option<ReturnConsumedCapacity>,
        table: &str,
        shown: Shown,
    ) -> Option<api::ConsumedCapacity> {
        let indexes = match wanted {
            None | Some(ReturnConsumedCapacity::None) => return None,
            Some(ReturnConsumedCapacity::Total) => false,
            Some(ReturnConsumedCapacity::Indexes) => true,
        };
        let units = |units: f64| api::Capacity {
            capacity_units: Some(units),
            read_capacity_units: (shown == Shown::Reads).then_some(units),
            write_capacity_units: (shown == Shown::Writes).then_some(units),
        };
        let map = |of: &BTreeMap<String, f64>| {
            let rendered = of.iter().map(|(name, used)| (name.clone(), units(*used)));
            (indexes && !of.is_empty()).then(|| rendered.collect())
        };
        let sum = units(self.table + self.local.values().chain(self.global.values()).sum::<f64>());
        Some(api::ConsumedCapacity {
            table_name: Some(table.to_owned()),
            capacity_units: sum.capacity_units,
            read_capacity_units: sum.read_capacity_units,
            write_capacity_units: sum.write_capacity_units,
            table: indexes.then(|| units(self.table)),
            local_secondary_indexes: map(&self.local),
            global_secondary_indexes: map(&self.global),
        })
    }
}

/// The partition key of an item whose collection is to be shown, if that was asked for.
pub(crate) fn measured(
    wanted: Option<ReturnItemCollectionMetrics>,
    table: &TableDefinition,
    key: &Item,
) -> Option<Attributes> {
    if wanted != Some(ReturnItemCollectionMetrics::Size) || !table.has_collections() {
        return None;
    }
    let hash = &table.key_schema.hash.name;
    let value: AttributeValue = key.get(hash)?.clone();
    Some(attributes([(hash.clone(), value)].into_iter().collect()))
}

/// ItemCollectionMetrics of one write, by the partition key that [`measured`] has given.
///
/// Source: "ItemCollectionMetrics", DynamoDB API reference: a lower and an upper bound in GB.
pub(crate) fn collection(key: Option<Attributes>, written: &Written) -> Option<api::ItemCollectionMetrics> {
    let (key, bytes) = (key?, written.collection?);
    let lower = (bytes / GIGABYTE) as f64;
    Some(api::ItemCollectionMetrics {
        item_collection_key: Some(key),
        size_estimate_range_gb: Some(vec![lower, lower + 1.0]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_summed_and_broken_down() {
        let mut used = Used::table(1.0);
        used.add(&Used::index("g", false, 2.0, [0.5]));
        let unfetched = Used::index("l", true, 1.0, []);
        assert!(unfetched.table.is_sign_positive(), "shown as 0.0");
        used.add(&unfetched);
        let total = used.shown(Some(ReturnConsumedCapacity::Total), "t", Shown::Plain).expect("asked for");
        assert_eq!((total.capacity_units, total.table, total.write_capacity_units), (Some(4.5), None, None));
        let whole = used.doubled().shown(Some(ReturnConsumedCapacity::Indexes), "t", Shown::Writes).expect("asked for");
        assert_eq!(whole.write_capacity_units, Some(9.0));
        assert_eq!(whole.table.and_then(|table| table.capacity_units), Some(3.0));
        assert_eq!(whole.global_secondary_indexes.map(|map| map["g"].capacity_units), Some(Some(4.0)));
        assert!(Used::default().shown(None, "t", Shown::Plain).is_none());
    }
}
