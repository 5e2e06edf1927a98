//! What jobs there are: the catalog says so, and a row keeps how far each has come.
//!
//! ```text
//! index  Backfilling ─► fill ─► Finish        expiry  Enabling  ─► fill  ─► Finish
//! index  Deleting    ─► sweep ─► Finish       expiry  Disabling ─► sweep ─► Finish      expiry  Enabled ─► expire, for ever
//! destination  Active, Updating ─► replicate, for ever     destination  Disabling ─► replicate ─► Finish
//! ```
//! A job is cancelled by a change of the definition: its next step finds that there is nothing to do.

use std::sync::Arc;

use bytes::Bytes;
use headwater_catalog::{
    IndexState, KinesisDestination, Snapshot as Catalog, TableDefinition, TableState, TimeToLiveState,
};
use headwater_log::IndexChange;

/// What a job does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Enters items of before into an index or the order of expiry.
    Fill,
    /// Removes the entries of an index, or the order of expiry.
    Sweep,
    /// Deletes items that have expired.
    Expire,
    /// Sends changes to a data stream.
    Replicate,
}

impl Kind {
    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fill => "fill",
            Self::Sweep => "sweep",
            Self::Expire => "expire",
            Self::Replicate => "replicate",
        }
    }
}

/// A job.
#[derive(Clone, Debug)]
pub struct Job {
    /// What it does.
    pub kind: Kind,
    /// The table.
    pub table: Arc<TableDefinition>,
    /// What of the table.
    pub(crate) subject: Subject,
}

/// What a job is about.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    /// An index, or the hidden one of the expiry, by its number; and how the job's end is told.
    Index { index: u32, end: IndexChange },
    /// Where changes are sent.
    Destination(Box<KinesisDestination>),
}

/// How far a job has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    /// What it does.
    pub kind: Kind,
    /// Name of the table.
    pub table: String,
    /// Name of the index; none for expiry.
    pub index: Option<String>,
    /// Items seen so far by a filling job, changes sent by a replication.
    pub items: u64,
}

/// All jobs of a catalog, in order of their tables.
pub(crate) fn jobs(catalog: &Catalog) -> Vec<Job> {
    let of = |table: &Arc<TableDefinition>| {
        let indexes = if table.state == TableState::Deleting { Vec::new() } else { of_table(table) };
        indexes.into_iter().chain(replication(table)).collect::<Vec<_>>()
    };
    catalog.all_tables().flat_map(of).collect()
}

/// A table that is being deleted waits for this one.
fn replication(table: &Arc<TableDefinition>) -> Option<Job> {
    let destination = table.destination().filter(|destination| destination.state.moves())?;
    let subject = Subject::Destination(Box::new(destination.clone()));
    Some(Job { kind: Kind::Replicate, table: table.clone(), subject })
}

fn of_table(table: &Arc<TableDefinition>) -> Vec<Job> {
    let mut jobs = Vec::new();
    for index in &table.indexes {
        let kind = match index.state {
            IndexState::Backfilling => Kind::Fill,
            // It is seen to go for as long as its table is seen to change.
            IndexState::Deleting if table.state == TableState::Updating => continue,
            IndexState::Deleting => Kind::Sweep,
            IndexState::Creating | IndexState::Active | IndexState::Updating => continue,
        };
        let end = IndexChange::Finish { index: index.id };
        let subject = Subject::Index { index: index.id, end };
        jobs.push(Job { kind, table: table.clone(), subject });
    }
    if let Some(expiry) = &table.time_to_live {
        let kind = match expiry.state {
            TimeToLiveState::Enabling => Kind::Fill,
            TimeToLiveState::Enabled => Kind::Expire,
            TimeToLiveState::Disabling => Kind::Sweep,
        };
        let subject = Subject::Index { index: expiry.index, end: IndexChange::FinishTimeToLive };
        jobs.push(Job { kind, table: table.clone(), subject });
    }
    jobs
}

/// How far a filling job has come, as its row keeps it.
///
/// Shape: `items (8, little-endian) | storage key of the last item`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Cursor {
    pub items: u64,
    pub last: Option<Bytes>,
}

impl Cursor {
    pub fn encode(&self) -> Bytes {
        [&self.items.to_le_bytes()[..], self.last.as_deref().unwrap_or_default()].concat().into()
    }

    /// `None` when the bytes are no cursor.
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        let items = u64::from_le_bytes(*bytes.first_chunk::<8>()?);
        let last = bytes.slice(8..);
        Some(Self { items, last: (!last.is_empty()).then_some(last) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back() {
        for cursor in [Cursor::default(), Cursor { items: 7, last: Some(Bytes::from_static(b"k")) }] {
            assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        }
        assert_eq!(Cursor::decode(&Bytes::from_static(b"1234567")), None);
    }
}
