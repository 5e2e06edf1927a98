//! Appending records to a data stream: no key, no value, only records in shards.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_catalog::DataStreamDefinition;
use headwater_types::limits::PLAN_BYTES_MAX;
use headwater_types::{HashKey, SequenceNumber, ShardUid, TableId};
use smallvec::smallvec;

use crate::command::Effect;
use crate::completion::{Completion, End};
use crate::error::Error;
use crate::open::Log;
use crate::queue::{Entry, Planned, PlannedTable, PlannedTouch};
use crate::views::{Owner, TableView};

/// Longest pause before a taken back append is tried again. Unit: µs of system time.
const PAUSE_MICROS: u64 = 2_000;
/// What a record takes in a group beside its payload. Unit: bytes.
pub(crate) const RECORD_BYTES: usize = 128;

/// A record to be appended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Append {
    /// Which open shard takes it.
    pub hash: HashKey,
    /// Kept untouched.
    pub payload: Bytes,
}

/// Where an appended record stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// Its shard.
    pub shard: ShardUid,
    /// Its number there.
    pub number: SequenceNumber,
}

impl Log {
    /// Appends records to a data stream, all of them or none.
    ///
    /// Shape:  one answer per record, in the same order; records of one shard are numbered in that order.
    /// Errors: `NoTable` when there is no such stream or it does not take records, `Full`, `Closed`, `TooLarge`, and the
    ///         engine's.
    /// Order:  the answer comes after the records are durable and published.
    pub async fn append(&self, stream: TableId, records: Vec<Append>) -> Result<Vec<Appended>, Error> {
        #[cfg(feature = "planted-bugs")]
        {
            self.append_badly(stream, records).await
        }
        #[cfg(not(feature = "planted-bugs"))]
        {
            self.append_together(stream, records).await
        }
    }

    /// As one plan.
    pub(crate) async fn append_together(&self, stream: TableId, records: Vec<Append>) -> Result<Vec<Appended>, Error> {
        let shared = &*self.shared;
        let size_bytes = records.iter().map(|record| record.payload.len() + RECORD_BYTES).sum::<usize>();
        if size_bytes > PLAN_BYTES_MAX {
            return Err(Error::TooLarge { bytes: size_bytes });
        }
        loop {
            let place = shared.queue.reserve(size_bytes).await?;
            let view = shared.view(stream)?;
            let Some(definition) = serving(&view) else { return Err(Error::NoTable(stream)) };
            let completion = Arc::new(Completion::default());
            shared.flow.note(stream, &records);
            let version = definition.version;
            shared.queue.push(Entry::Plan(Planned {
                tables: smallvec![PlannedTable { table: stream, view: view.view, version }],
                touches: records.iter().map(|record| touch(stream, record)).collect(),
                own: Vec::new(),
                size_bytes,
                completion: completion.clone(),
                _place: place,
            }));
            match completion.wait().await {
                End::Committed => {
                    let (shards, numbers) = (completion.shards(), completion.numbers());
                    let appended = shards.into_iter().zip(numbers);
                    return Ok(appended.map(|(shard, number)| Appended { shard, number }).collect());
                }
                End::TakenBack => {
                    let pause = shared.runtime.random() % PAUSE_MICROS;
                    shared.runtime.sleep(Duration::from_micros(pause)).await;
                }
                End::Full => return Err(Error::Full),
                End::Closed => return Err(Error::Closed),
            }
        }
    }
}

/// The data stream's definition, when it takes records.
fn serving(view: &TableView) -> Option<&DataStreamDefinition> {
    match &view.definition {
        Owner::DataStream(stream) if stream.state.serves() => Some(stream),
        Owner::DataStream(_) | Owner::Table(_) => None,
    }
}

pub(crate) fn touch(stream: TableId, record: &Append) -> PlannedTouch {
    let effect = Effect { record: Some(record.payload.clone()), ..Effect::default() };
    PlannedTouch { table: Some(stream), version: 0, hash: record.hash, key: Bytes::new(), effect }
}
