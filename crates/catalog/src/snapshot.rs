//! All definitions at one version, immutable.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use headwater_types::arn::StreamArn;
use headwater_types::{Scope, StreamUid, TableId};

use crate::data_stream::DataStreamDefinition;
use crate::resource::{StreamDefinition, TableDefinition};
use crate::writer::{BadRow, decode};

/// All tables and streams of a cell, by every name they are asked for.
#[derive(Default)]
pub struct Snapshot {
    version: u64,
    tables: BTreeMap<TableId, Row<TableDefinition>>,
    streams: BTreeMap<StreamUid, Row<StreamDefinition>>,
    data_streams: BTreeMap<TableId, Row<DataStreamDefinition>>,
    lineages: BTreeMap<StreamUid, TableId>,
    names: BTreeMap<Scope, Names>,
}

#[derive(Default)]
struct Names {
    tables: BTreeMap<String, TableId>,
    streams: BTreeMap<(String, String), StreamUid>,
    data_streams: BTreeMap<String, TableId>,
    /// Tables' streams by the names that Kinesis's operations know.
    kinesis: BTreeMap<String, StreamUid>,
}

/// All rows of definitions.
#[derive(Default)]
pub struct Rows {
    /// Tables'.
    pub tables: Vec<StoredRow>,
    /// Their streams'.
    pub streams: Vec<StoredRow>,
    /// Data streams'.
    pub data_streams: Vec<StoredRow>,
}

/// A definition and the bytes it was read from: a row that did not change is not parsed again.
struct Row<T> {
    bytes: Bytes,
    definition: Arc<T>,
}

/// Key and value of a stored row.
pub type StoredRow = (Bytes, Bytes);

impl Snapshot {
    /// Builds a snapshot from all rows; definitions whose rows equal those of `previous` are shared with it.
    pub fn build(version: u64, rows: Rows, previous: &Self) -> Result<Self, BadRow> {
        let mut snapshot = Self { version, ..Self::default() };
        for (key, bytes) in rows.tables {
            let old = id_of(&key).and_then(|id| previous.tables.get(&TableId(id)));
            let definition: Arc<TableDefinition> = reuse_or_parse(&key, &bytes, old)?;
            let names = snapshot.names.entry(definition.scope.clone()).or_default();
            names.tables.insert(definition.name.clone(), definition.id);
            snapshot.tables.insert(definition.id, Row { bytes, definition });
        }
        for (key, bytes) in rows.streams {
            let old = id_of(&key).and_then(|id| previous.streams.get(&StreamUid(id)));
            let definition: Arc<StreamDefinition> = reuse_or_parse(&key, &bytes, old)?;
            let names = snapshot.names.entry(definition.scope.clone()).or_default();
            names.streams.insert((definition.table_name.clone(), definition.label.clone()), definition.uid);
            names.kinesis.insert(definition.kinesis_name(), definition.uid);
            snapshot.streams.insert(definition.uid, Row { bytes, definition });
        }
        for (key, bytes) in rows.data_streams {
            let old = id_of(&key).and_then(|id| previous.data_streams.get(&TableId(id)));
            let definition: Arc<DataStreamDefinition> = reuse_or_parse(&key, &bytes, old)?;
            let names = snapshot.names.entry(definition.scope.clone()).or_default();
            names.data_streams.insert(definition.name.clone(), definition.id);
            snapshot.lineages.insert(definition.uid, definition.id);
            snapshot.data_streams.insert(definition.id, Row { bytes, definition });
        }
        Ok(snapshot)
    }

    /// Version of the catalog's head.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// A table by its name.
    pub fn table(&self, scope: &Scope, name: &str) -> Option<&Arc<TableDefinition>> {
        self.table_by_id(*self.names.get(scope)?.tables.get(name)?)
    }

    /// A table by its identity.
    pub fn table_by_id(&self, id: TableId) -> Option<&Arc<TableDefinition>> {
        self.tables.get(&id).map(|row| &row.definition)
    }

    /// A scope's tables whose names follow `after`, in lexical order.
    pub fn tables<'a>(
        &'a self,
        scope: &Scope,
        after: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<TableDefinition>> + use<'a> {
        let from = after.map_or(Bound::Unbounded, |name| Bound::Excluded(name.to_owned()));
        let names = self.names.get(scope).into_iter();
        names
            .flat_map(move |names| names.tables.range((from.clone(), Bound::Unbounded)))
            .filter_map(|(_, id)| self.table_by_id(*id))
    }

    /// Every table of every scope, by rising identity.
    pub fn all_tables(&self) -> impl Iterator<Item = &Arc<TableDefinition>> {
        self.tables.values().map(|row| &row.definition)
    }

    /// Every stream of every scope, by rising identity.
    pub fn all_streams(&self) -> impl Iterator<Item = &Arc<StreamDefinition>> {
        self.streams.values().map(|row| &row.definition)
    }

    /// A stream by its identity.
    pub fn stream(&self, uid: StreamUid) -> Option<&Arc<StreamDefinition>> {
        self.streams.get(&uid).map(|row| &row.definition)
    }

    /// A data stream by its name.
    pub fn data_stream(&self, scope: &Scope, name: &str) -> Option<&Arc<DataStreamDefinition>> {
        self.data_stream_by_id(*self.names.get(scope)?.data_streams.get(name)?)
    }

    /// A data stream by its identity.
    pub fn data_stream_by_id(&self, id: TableId) -> Option<&Arc<DataStreamDefinition>> {
        self.data_streams.get(&id).map(|row| &row.definition)
    }

    /// A data stream by the identity of its shards' lineage.
    pub fn data_stream_by_uid(&self, uid: StreamUid) -> Option<&Arc<DataStreamDefinition>> {
        self.data_stream_by_id(*self.lineages.get(&uid)?)
    }

    /// A scope's data streams whose names follow `after`, in lexical order.
    pub fn data_streams<'a>(
        &'a self,
        scope: &Scope,
        after: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<DataStreamDefinition>> + use<'a> {
        let from = after.map_or(Bound::Unbounded, |name| Bound::Excluded(name.to_owned()));
        let names = self.names.get(scope).into_iter();
        names
            .flat_map(move |names| names.data_streams.range((from.clone(), Bound::Unbounded)))
            .filter_map(|(_, id)| self.data_stream_by_id(*id))
    }

    /// Every data stream of every scope, by rising identity.
    pub fn all_data_streams(&self) -> impl Iterator<Item = &Arc<DataStreamDefinition>> {
        self.data_streams.values().map(|row| &row.definition)
    }

    /// A stream by its ARN.
    pub fn stream_by_arn(&self, arn: &StreamArn) -> Option<&Arc<StreamDefinition>> {
        let key = (arn.table.table.clone(), arn.label.clone());
        self.stream(*self.names.get(&arn.table.scope)?.streams.get(&key)?)
    }

    /// A table's stream by the name that Kinesis's operations know.
    pub fn stream_by_kinesis_name(&self, scope: &Scope, name: &str) -> Option<&Arc<StreamDefinition>> {
        self.stream(*self.names.get(scope)?.kinesis.get(name)?)
    }

    /// A scope's tables' streams whose names for Kinesis's operations follow `after`, in lexical order of those names.
    pub fn streams_by_kinesis_name<'a>(
        &'a self,
        scope: &Scope,
        after: &str,
    ) -> impl Iterator<Item = &'a Arc<StreamDefinition>> + use<'a> {
        let from = Bound::Excluded(after.to_owned());
        let names = self.names.get(scope).into_iter();
        names
            .flat_map(move |names| names.kinesis.range((from.clone(), Bound::Unbounded)))
            .filter_map(|(_, uid)| self.stream(*uid))
    }

    /// A scope's streams, of one table name or of all, that follow `after = (table name, label)`, which need not exist
    /// any more.
    ///
    /// Order: by table name, then label.
    pub fn streams<'a>(
        &'a self,
        scope: &Scope,
        table: Option<&str>,
        after: Option<(&str, &str)>,
    ) -> impl Iterator<Item = &'a Arc<StreamDefinition>> + use<'a> {
        let start = table.map(|name| (name.to_owned(), String::new()));
        let after = after.map(|(name, label)| (name.to_owned(), label.to_owned()));
        let from = match (start, after) {
            (Some(start), Some(after)) if after < start => Bound::Included(start),
            (_, Some(after)) => Bound::Excluded(after),
            (Some(start), None) => Bound::Included(start),
            (None, None) => Bound::Unbounded,
        };
        let only = table.map(str::to_owned);
        let names = self.names.get(scope).into_iter();
        names
            .flat_map(move |names| names.streams.range((from.clone(), Bound::Unbounded)))
            .take_while(move |((name, _), _)| only.as_ref().is_none_or(|only| only == name))
            .filter_map(|(_, uid)| self.stream(*uid))
    }
}

fn id_of(key: &[u8]) -> Option<u64> {
    key.get(2..).and_then(|id| id.try_into().ok()).map(u64::from_be_bytes)
}

fn reuse_or_parse<T: serde::de::DeserializeOwned>(
    key: &[u8],
    bytes: &Bytes,
    old: Option<&Row<T>>,
) -> Result<Arc<T>, BadRow> {
    match old {
        Some(row) if row.bytes == *bytes => Ok(row.definition.clone()),
        _ => Ok(Arc::new(decode(key, bytes)?)),
    }
}

#[cfg(test)]
mod tests {
    use headwater_types::Millis;

    use super::*;
    use crate::resource::{KeyAttribute, KeyKind, KeySchema, StreamView};
    use crate::state::StreamState;
    use crate::writer::{data_stream_key, encode_data_stream, encode_stream, encode_table, stream_key, table_key};

    fn schema() -> KeySchema {
        KeySchema { hash: KeyAttribute { name: "id".into(), kind: KeyKind::S }, range: None }
    }

    fn table(id: u64, region: &str, name: &str) -> StoredRow {
        let mut table = TableDefinition::new(Scope::new("000000000000", region), name, schema());
        table.id = TableId(id);
        table.recorded.insert("SSESpecification".into(), serde_json::json!({"Enabled": true}));
        (table_key(table.id), encode_table(&table))
    }

    fn stream(uid: u64, name: &str, label: &str) -> StoredRow {
        let stream = StreamDefinition {
            uid: StreamUid(uid),
            table: TableId(1),
            table_name: name.into(),
            scope: Scope::new("000000000000", "a"),
            label: label.into(),
            view: StreamView::KeysOnly,
            key_schema: schema(),
            state: StreamState::Enabled,
            created: Millis(5),
            closed: None,
            consumers: Vec::new(),
            tags: BTreeMap::new(),
        };
        (stream_key(stream.uid), encode_stream(&stream))
    }

    fn data_stream(id: u64, name: &str) -> StoredRow {
        let mut stream = DataStreamDefinition::new(Scope::new("000000000000", "a"), name);
        (stream.id, stream.uid) = (TableId(id), StreamUid(100 + id));
        (data_stream_key(stream.id), encode_data_stream(&stream))
    }

    #[test]
    fn data_streams_have_names_of_their_own() {
        let catalog = snapshot(&Snapshot::default());
        let scope = Scope::new("000000000000", "a");
        let found = catalog.data_stream(&scope, "s").expect("there");
        assert_eq!((found.id, catalog.data_streams(&scope, None).count()), (TableId(9), 1));
        assert_eq!(catalog.data_stream_by_uid(StreamUid(109)).map(|stream| stream.id), Some(TableId(9)));
        assert!(catalog.table(&scope, "s").is_none() && catalog.data_stream(&scope, "a").is_none());
        assert_eq!(catalog.data_streams(&scope, Some("s")).count(), 0);
    }

    fn snapshot(previous: &Snapshot) -> Snapshot {
        let tables = [table(1, "a", "b"), table(2, "a", "a"), table(3, "z", "a"), table(4, "a", "c")];
        let streams = [stream(1, "b", "2"), stream(2, "b", "1"), stream(3, "a", "9"), stream(4, "c", "0")];
        let rows = Rows { tables: tables.into(), streams: streams.into(), data_streams: vec![data_stream(9, "s")] };
        Snapshot::build(7, rows, previous).expect("readable rows")
    }

    #[test]
    fn tables_are_listed_by_name_within_their_scope_only() {
        let catalog = snapshot(&Snapshot::default());
        let scope = Scope::new("000000000000", "a");
        let names = |after| catalog.tables(&scope, after).map(|t| t.name.clone()).collect::<String>();
        assert_eq!(names(None), "abc");
        assert_eq!(names(Some("a")), "bc");
        assert_eq!(names(Some("aa")), "bc", "the name after which a page starts need not exist");
        assert_eq!(names(Some("c")), "");
        assert!(catalog.table(&Scope::new("111111111111", "a"), "a").is_none());
        assert_eq!(catalog.table(&Scope::new("000000000000", "z"), "a").map(|t| t.id), Some(TableId(3)));
    }

    #[test]
    fn streams_are_paged_by_table_name_and_label() {
        let catalog = snapshot(&Snapshot::default());
        let scope = Scope::new("000000000000", "a");
        let uids = |table, after| catalog.streams(&scope, table, after).map(|s| s.uid.0).collect::<Vec<_>>();
        assert_eq!(uids(None, None), [3, 2, 1, 4]);
        assert_eq!(uids(None, Some(("b", "1"))), [1, 4]);
        assert_eq!(uids(None, Some(("b", "0 gone"))), [2, 1, 4]);
        assert_eq!(uids(Some("b"), None), [2, 1]);
        assert_eq!(uids(Some("b"), Some(("a", "9"))), [2, 1]);
        assert_eq!(uids(Some("b"), Some(("b", "1"))), [1]);
        assert_eq!(uids(Some("none"), None), [0u64; 0]);
        let arn = catalog.stream(StreamUid(1)).expect("is there").arn();
        assert_eq!(catalog.stream_by_arn(&arn).map(|s| s.uid), Some(StreamUid(1)));
        assert_eq!(catalog.stream_by_kinesis_name(&scope, "ddb.b.2").map(|s| s.uid), Some(StreamUid(1)));
        let after = |name| catalog.streams_by_kinesis_name(&scope, name).map(|s| s.uid.0).collect::<Vec<_>>();
        assert_eq!((after("ddb."), after("ddb.b.1")), (vec![3, 2, 1, 4], vec![1, 4]));
    }

    #[test]
    fn unchanged_rows_are_shared_and_broken_ones_named() {
        let first = snapshot(&Snapshot::default());
        let second = snapshot(&first);
        let both = (first.table_by_id(TableId(1)).expect("one"), second.table_by_id(TableId(1)).expect("one"));
        assert!(Arc::ptr_eq(both.0, both.1));
        let bad = vec![(table_key(TableId(9)), Bytes::from_static(b"{"))];
        let bad = Snapshot::build(1, Rows { tables: bad, ..Rows::default() }, &first);
        assert_eq!(bad.err().map(|e| e.key), Some("02540000000000000009".to_owned()));
    }
}
