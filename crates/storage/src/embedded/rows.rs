//! The engine's own rows of the index: flush point, heads, trim horizons. All as of the flush point.

use bytes::Bytes;
use headwater_types::{Position, SequenceNumber, ShardUid};

use super::bytes::{Cut, Reader, put_u64};
use super::frame::{put_head_value, take_head_value};
use super::index::Index;
use super::upkeep::row;
use crate::contract::{Direction, Head, HeadKey, Write};
use crate::error::{Error, Kind};
use crate::keyspace::prefix;

const FLUSH_POINT: u8 = 1;
const HEAD: u8 = 2;
const HORIZON: u8 = 3;
/// Later than every position.
const NEWEST: Position = Position(u64::MAX >> 2);

pub(super) fn flush_point(at: Position) -> Write {
    row(vec![prefix::ENGINE, FLUSH_POINT], Some(at.0.to_le_bytes().to_vec()))
}

pub(super) fn head(key: HeadKey, head: Option<Head>) -> Write {
    let value = head.map(|head| {
        let mut bytes = Vec::with_capacity(32);
        put_head_value(&mut bytes, head);
        bytes
    });
    let mut bytes = vec![prefix::ENGINE, HEAD];
    bytes.extend_from_slice(&key.0.to_be_bytes());
    row(bytes, value)
}

pub(super) fn horizon(shard: ShardUid, below: Option<SequenceNumber>) -> Write {
    let mut bytes = vec![prefix::ENGINE, HORIZON];
    bytes.extend_from_slice(&shard.0.to_be_bytes());
    let value = below.map(|below| {
        let mut bytes = Vec::with_capacity(8);
        put_u64(&mut bytes, below.0);
        bytes
    });
    row(bytes, value)
}

/// What an index says of itself at the start.
#[derive(Default)]
pub(super) struct Found {
    /// Absent in an index that was never flushed.
    pub(super) flush_point: Option<Position>,
    pub(super) heads: Vec<(HeadKey, Head)>,
    pub(super) horizons: Vec<(ShardUid, SequenceNumber)>,
}

/// Reads all rows. Errors: corrupt, when one has another form.
pub(super) fn read(index: &dyn Index) -> Result<Found, Error> {
    let mut found = Found::default();
    for entry in index.scan(&[prefix::ENGINE], &[prefix::ENGINE + 1], Direction::Forward, NEWEST) {
        let (key, value) = entry?;
        take(&mut found, &key, &value)
            .map_err(|Cut| Error::new(Kind::Corrupt, "a row of the engine in the index is damaged"))?;
    }
    Ok(found)
}

fn take(found: &mut Found, key: &Bytes, value: &Bytes) -> Result<(), Cut> {
    let (mut key, mut value) = (Reader::new(key), Reader::new(value));
    key.u8()?;
    match key.u8()? {
        FLUSH_POINT => found.flush_point = Some(Position(value.u64()?)),
        HEAD => {
            let name = HeadKey(u128::from_be_bytes(key.take(16)?.try_into().map_err(|_| Cut)?));
            found.heads.push((name, take_head_value(&mut value)?));
        }
        HORIZON => {
            let shard = ShardUid(u64::from_be_bytes(key.take(8)?.try_into().map_err(|_| Cut)?));
            found.horizons.push((shard, SequenceNumber(value.u64()?)));
        }
        _ => return Err(Cut),
    }
    Ok(())
}
