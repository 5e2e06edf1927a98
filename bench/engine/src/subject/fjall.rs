//! fjall: the same tree with a journal of its own; records are rows of a second tree, trimmed by deleting them.

use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Committed, Opening, Subject, head_row, numbered, touched};
use crate::data::{Group, Shape, record_key};

pub(super) struct Fjall(Arc<Inner>);

struct Inner {
    database: Database,
    rows: Keyspace,
    records: Keyspace,
    shape: Shape,
    versions: Mutex<Vec<u64>>,
}

pub(super) fn open(folder: &Path, opening: &Opening) -> Result<Fjall> {
    // The shares that Headwater gives its cache and its parts in memory.
    let memory = opening.memory_bytes;
    let database = Database::builder(folder).cache_size(memory / 2).open()?;
    let options = || KeyspaceCreateOptions::default().max_memtable_size(memory / 8);
    let (rows, records) = (database.keyspace("rows", options)?, database.keyspace("records", options)?);
    let versions = Mutex::new(vec![0; opening.shape.shards as usize]);
    Ok(Fjall(Arc::new(Inner { database, rows, records, shape: opening.shape, versions })))
}

impl Inner {
    fn commit(&self, group: &Group) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for (number, change) in numbered(group) {
            for (key, value) in self.shape.rows(change) {
                match value {
                    Some(value) => batch.insert(&self.rows, key, value),
                    None => batch.remove(&self.rows, key),
                }
            }
            let key = record_key(self.shape.shard(change.item), number);
            batch.insert(&self.records, &key[..], self.shape.record(change));
        }
        for (item, number) in &group.trimmed {
            batch.remove(&self.records, &record_key(self.shape.shard(*item), *number)[..]);
        }
        let mut versions = self.versions.lock().expect("no holder panics");
        for (shard, moves) in touched(&self.shape, group) {
            versions[shard as usize] += moves;
            let (key, value) = head_row(shard, versions[shard as usize], group.first);
            batch.insert(&self.rows, &key[..], &value[..]);
        }
        Ok(batch.commit()?)
    }
}

impl Subject for Fjall {
    fn commit(&self, group: Group) -> Committed {
        let inner = self.0.clone();
        let done = tokio::task::spawn_blocking(move || inner.commit(&group));
        Box::pin(async move { done.await? })
    }

    fn in_flight_max(&self) -> usize {
        1
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.0.rows.get(key)?.map(Bytes::from))
    }

    fn close(&self) -> Committed {
        let inner = self.0.clone();
        Box::pin(async move { Ok(inner.database.persist(PersistMode::SyncAll)?) })
    }
}
