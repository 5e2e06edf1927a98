//! Expiry: which items expire when, and their deletion as ordinary commands.
//!
//! The order of expiry is an index that only the server sees (see [`crate::index`]); a deletion asks again under the key's
//! lock whether the item is still the one that has expired.

use bytes::Bytes;
use headwater_catalog::{TableDefinition, TimeToLive, TimeToLiveState};
use headwater_log::{Command, Decision, Effect, Log, Touch, View};
use headwater_storage::contract::Direction;
use headwater_types::stored::Corrupt;
use headwater_types::{AttributeValue, HashKey, Millis};

use crate::change::Origin;
use crate::collection;
use crate::command::Refusal;
use crate::index::{Changes, index_prefix};
use crate::plan;
use crate::read::ReadError;
use crate::row::Row;
use crate::schema::table_prefix;

/// Items whose time lies further back never expire. Unit: s. Source: "Using time to live (TTL)", developer guide.
const OLDEST_SECONDS: i64 = 5 * 365 * 86_400;
/// Bytes of an expiry entry's key before the item's own key: prefix, table, index, second.
const ITEM_AT: usize = 13 + 8;

/// When an item expires; `None` when it never does. Unit: s since 1970.
///
/// Source: "Using time to live (TTL)", developer guide: a number, in seconds; other types are ignored.
pub fn expires_at(attribute: &str, row: &Row) -> Result<Option<i64>, Corrupt> {
    let Some(value) = row.stored()?.get(attribute)? else { return Ok(None) };
    let AttributeValue::N(number) = value.decode()? else { return Ok(None) };
    Ok(number.floor_i64().filter(|seconds| *seconds >= 0))
}

fn entry_key(table: &TableDefinition, index: u32, seconds: i64, storage_key: &[u8]) -> Result<Bytes, Corrupt> {
    let mut key = index_prefix(table.id, index);
    key.extend(seconds.to_be_bytes());
    key.extend(storage_key.get(9..).ok_or(Corrupt)?);
    Ok(key.into())
}

/// Where an item stands in the order of expiry.
pub(crate) fn entry(table: &TableDefinition, storage_key: &[u8], row: &Row) -> Result<Option<Bytes>, Corrupt> {
    let Some(expiry) = table.time_to_live.as_ref().filter(|expiry| expiry.state != TimeToLiveState::Disabling) else {
        return Ok(None);
    };
    let seconds = expires_at(&expiry.attribute, row)?;
    seconds.map(|seconds| entry_key(table, expiry.index, seconds, storage_key)).transpose()
}

/// What changing an item from `old` to `new` does to the order of expiry.
pub(crate) fn changes(
    table: &TableDefinition,
    storage_key: &[u8],
    old: Option<&Row>,
    new: Option<&Row>,
) -> Result<Changes, Corrupt> {
    let of = |row: Option<&Row>| row.map_or(Ok(None), |row| entry(table, storage_key, row));
    let (before, after) = (of(old)?, of(new)?);
    if before == after {
        return Ok(Changes::new());
    }
    let gone = before.map(|key| (key, None));
    Ok(gone.into_iter().chain(after.map(|key| (key, Some(Bytes::new())))).collect())
}

/// An item that had expired when it was looked for.
#[derive(Clone, Debug)]
pub struct Expired {
    /// The item's, and its collection's where there is one.
    touches: Vec<Touch>,
    /// Index of the expiry that it stands in.
    index: u32,
    seconds: i64,
    /// It is deleted without another look: a planted bug.
    #[cfg(feature = "planted-bugs")]
    pub blind: bool,
}

/// Items that have expired by `now`, oldest first, at most `most`. Nothing unless the table's expiry is on.
pub fn expired(log: &Log, table: &TableDefinition, now: Millis, most: usize) -> Result<Vec<Expired>, ReadError> {
    let Some(expiry) = table.time_to_live.as_ref().filter(|expiry| expiry.state == TimeToLiveState::Enabled) else {
        return Ok(Vec::new());
    };
    let bound = |seconds: i64| {
        let mut key = index_prefix(table.id, expiry.index);
        key.extend(seconds.max(0).to_be_bytes());
        key
    };
    let now = now.seconds();
    let snapshot = log.snapshot();
    let entries = snapshot.scan(&bound(now - OLDEST_SECONDS), &bound(now), Direction::Forward);
    entries
        .take(most)
        .map(|entry| {
            let (key, _) = entry?;
            let item = key.get(ITEM_AT..).ok_or(ReadError::Corrupt)?;
            let place = item.first_chunk::<16>().ok_or(ReadError::Corrupt)?;
            let hash = HashKey(u128::from_be_bytes(*place));
            let seconds = key.get(13..ITEM_AT).and_then(|bytes| bytes.first_chunk::<8>()).ok_or(ReadError::Corrupt)?;
            let mut storage_key = table_prefix(table.id);
            storage_key.extend_from_slice(item);
            let touch = Touch { table: Some(table.id), hash, key: storage_key.into() };
            let collection = collection::touch(table, &touch);
            let touches = std::iter::once(touch).chain(collection).collect();
            Ok(Expired {
                touches,
                index: expiry.index,
                seconds: i64::from_be_bytes(*seconds),
                #[cfg(feature = "planted-bugs")]
                blind: false,
            })
        })
        .collect()
}

/// Deletes an item that has expired, unless it is no longer there or no longer the one that had. True when it did.
///
/// Order: the deletion is a change like a user's; its record names the service as who made it.
pub async fn expire(log: &Log, expired: Expired) -> Result<bool, Refusal> {
    log.execute(expired).await.map_err(Refusal::Log)?
}

impl Command for Expired {
    type Answer = Result<bool, Refusal>;

    fn touches(&self) -> &[Touch] {
        &self.touches
    }

    fn decide(&mut self, view: &View<'_>) -> Decision<Self::Answer> {
        match self.effects(view) {
            Ok(effects) if effects.is_empty() => Decision::Answer(Ok(false)),
            Ok(effects) => Decision::Change { effects, answer: Ok(true) },
            Err(Corrupt) => Decision::Answer(Err(Refusal::Corrupt)),
        }
    }
}

impl Expired {
    /// Nothing when the item is not to be deleted.
    fn effects(&self, view: &View<'_>) -> Result<Vec<Effect>, Corrupt> {
        let table = view.table(0);
        let on = |expiry: &&TimeToLive| expiry.index == self.index && expiry.state == TimeToLiveState::Enabled;
        let (Some(expiry), true) = (table.time_to_live.as_ref().filter(on), table.state.serves()) else {
            return Ok(Vec::new());
        };
        let (Some(old), Some(touch)) = (view.value(0).cloned().map(Row::from_stored), self.touches.first()) else {
            return Ok(Vec::new());
        };
        let stands = expires_at(&expiry.attribute, &old)? == Some(self.seconds) && self.seconds < view.now().seconds();
        #[cfg(feature = "planted-bugs")]
        let stands = stands || self.blind;
        if !stands {
            return Ok(Vec::new());
        }
        let planned = plan::effect(table, touch, Origin::TimeToLive, Some(&old), None)?;
        let mut effects = vec![planned.effect];
        if self.touches.len() > 1 {
            let before = collection::stored(view.value(1))?;
            effects.push(collection::effect(before + collection::growth(Some(&old), None, &planned.uses)));
        }
        Ok(effects)
    }
}
