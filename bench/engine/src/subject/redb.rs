//! redb: a copy-on-write B-tree; records are rows of a second tree, trimmed by deleting them.

use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use bytes::Bytes;
use redb::{Database, ReadableDatabase, TableDefinition};

use super::{Committed, Opening, Subject, head_row, numbered, touched};
use crate::data::{Group, Shape, record_key};

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");

pub(super) struct Redb(Arc<Inner>);

struct Inner {
    database: Database,
    shape: Shape,
    versions: Mutex<Vec<u64>>,
}

pub(super) fn open(folder: &Path, opening: &Opening) -> Result<Redb> {
    std::fs::create_dir_all(folder)?;
    let mut builder = Database::builder();
    builder.set_cache_size(usize::try_from(opening.memory_bytes)?);
    let database = builder.create(folder.join("database"))?;
    let versions = Mutex::new(vec![0; opening.shape.shards as usize]);
    Ok(Redb(Arc::new(Inner { database, shape: opening.shape, versions })))
}

impl Inner {
    fn commit(&self, group: &Group) -> Result<()> {
        // Its default: durable before it is answered.
        let transaction = self.database.begin_write()?;
        {
            let (mut rows, mut records) = (transaction.open_table(ROWS)?, transaction.open_table(RECORDS)?);
            for (number, change) in numbered(group) {
                for (key, value) in self.shape.rows(change) {
                    match value {
                        Some(value) => drop(rows.insert(&key[..], &value[..])?),
                        None => drop(rows.remove(&key[..])?),
                    }
                }
                let key = record_key(self.shape.shard(change.item), number);
                records.insert(&key[..], &self.shape.record(change)[..])?;
            }
            for (item, number) in &group.trimmed {
                records.remove(&record_key(self.shape.shard(*item), *number)[..])?;
            }
            let mut versions = self.versions.lock().expect("no holder panics");
            for (shard, moves) in touched(&self.shape, group) {
                versions[shard as usize] += moves;
                let (key, value) = head_row(shard, versions[shard as usize], group.first);
                rows.insert(&key[..], &value[..])?;
            }
        }
        Ok(transaction.commit()?)
    }
}

impl Subject for Redb {
    fn commit(&self, group: Group) -> Committed {
        let inner = self.0.clone();
        let done = tokio::task::spawn_blocking(move || inner.commit(&group));
        Box::pin(async move { done.await? })
    }

    fn in_flight_max(&self) -> usize {
        1
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let rows = self.0.database.begin_read()?.open_table(ROWS)?;
        Ok(rows.get(key)?.map(|value| Bytes::copy_from_slice(value.value())))
    }

    fn close(&self) -> Committed {
        // Every commit was durable.
        Box::pin(async { Ok(()) })
    }
}
