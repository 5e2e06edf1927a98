//! The engines under test: the product's, as the server opens it, and rivals that get the same groups.

mod fjall;
mod headwater;
mod nothing;
mod redb;

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Result, bail};
use bytes::Bytes;

use crate::data::{Group, Shape};

/// What a commit comes to; nothing is asked of it but that it is durable.
pub type Committed = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// An open engine.
pub trait Subject: Send + Sync {
    /// Commits a group: items, entries, records and the heads of the shards that it touches, all or nothing and durable
    /// before it is answered. Takes its place in the order when called.
    fn commit(&self, group: Group) -> Committed;
    /// Groups that may be handed in before the first one is answered.
    fn in_flight_max(&self) -> usize;
    /// A key's newest value.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>>;
    /// A clean end.
    fn close(&self) -> Committed;
}

/// Names of all engines, as on the command line.
pub const NAMES: [&str; 5] = ["headwater", "headwater-separated", "fjall", "redb", "nothing"];

/// How an engine is opened.
#[derive(Clone, Debug)]
pub struct Opening {
    /// What will be written.
    pub shape: Shape,
    /// Cache and write buffers together.
    pub memory_bytes: u64,
    /// Values from this size on are kept apart from their keys, where an engine is asked to.
    pub separated_from: u32,
}

/// Opens an engine in a new folder.
pub async fn open(name: &str, folder: &Path, opening: &Opening) -> Result<Arc<dyn Subject>> {
    let subject: Arc<dyn Subject> = match name {
        "headwater" => Arc::new(headwater::open(folder, opening, None).await?),
        "headwater-separated" => Arc::new(headwater::open(folder, opening, Some(opening.separated_from)).await?),
        "fjall" => Arc::new(fjall::open(folder, opening)?),
        "redb" => Arc::new(redb::open(folder, opening)?),
        "nothing" => Arc::new(nothing::Nothing(opening.shape)),
        other => bail!("there is no engine {other}; there are: {}", NAMES.join(", ")),
    };
    Ok(subject)
}

/// The shards that a group touches, each with how often: their heads move.
fn touched(shape: &Shape, group: &Group) -> std::collections::BTreeMap<u64, u64> {
    let mut shards = std::collections::BTreeMap::new();
    for change in &group.changes {
        *shards.entry(shape.shard(change.item)).or_default() += 1;
    }
    shards
}

/// A head as a row, for engines that keep their heads in the key space: version, number, items, bytes.
fn head_row(shard: u64, version: u64, number: u64) -> ([u8; 9], [u8; 32]) {
    let (mut key, mut value) = ([0; 9], [0; 32]);
    key[1..].copy_from_slice(&shard.to_be_bytes());
    value[..8].copy_from_slice(&version.to_le_bytes());
    value[8..16].copy_from_slice(&number.to_le_bytes());
    (key, value)
}

/// The numbers of a group's changes.
fn numbered(group: &Group) -> impl Iterator<Item = (u64, crate::data::Change)> {
    (group.first..).zip(group.changes.iter().copied())
}
