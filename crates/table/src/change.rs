//! Change records: how they lie in the log, and how a stream's view shows them.
//!
//! ```text
//! payload = version (1) | origin (1) | images present (1: old, 2: new) | (length (4) | row) per image, old first
//! ```
//! Both images are always kept; the view is applied on reading, so it can be judged and changed without touching the log.

use bytes::{Buf, Bytes, BytesMut};
use headwater_catalog::{StreamDefinition, StreamView};
use headwater_log::{LogRecord, sequence};
use headwater_types::key::ItemKey;
use headwater_types::stored::Corrupt;
use headwater_types::{HashKey, Item, SequenceNumber, ShardUid};

use crate::row::Row;
use crate::schema::keys_of;

const VERSION: u8 = 0;
const OLD: u8 = 1;
const NEW: u8 = 2;

/// Who made a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A request.
    User,
    /// The service, because the item had expired.
    TimeToLive,
}

/// What happened to the item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventName {
    /// It was made.
    Insert,
    /// It was changed.
    Modify,
    /// It was removed.
    Remove,
}

impl EventName {
    /// The wire's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "INSERT",
            Self::Modify => "MODIFY",
            Self::Remove => "REMOVE",
        }
    }
}

/// A change as a stream shows it.
#[derive(Clone, PartialEq, Debug)]
pub struct ChangeRecord {
    /// 32 hex digits; the same for the same record at every reading.
    pub event_id: String,
    /// What happened.
    pub event_name: EventName,
    /// Its number in the shard.
    pub number: SequenceNumber,
    /// The number as clients see it.
    pub sequence_number: String,
    /// When it was committed. Unit: whole seconds of store time.
    pub created_seconds: i64,
    /// Key attributes.
    pub keys: Item,
    /// The item after the change, if the view shows it and there is one.
    pub new_image: Option<Item>,
    /// The item before the change, if the view shows it and there was one.
    pub old_image: Option<Item>,
    /// Size of keys and shown images. Unit: bytes.
    pub size_bytes: usize,
    /// The view it was read through.
    pub view: StreamView,
    /// Who made the change.
    pub origin: Origin,
}

/// A record's payload; at least one image is given.
pub fn encode(origin: Origin, old: Option<&Row>, new: Option<&Row>) -> Bytes {
    let images = [old, new].into_iter().flatten();
    let length = 3 + images.clone().map(|row| 4 + row.bytes().len()).sum::<usize>();
    let mut payload = BytesMut::with_capacity(length);
    let origin = match origin {
        Origin::User => 0,
        Origin::TimeToLive => 1,
    };
    let present = if old.is_some() { OLD } else { 0 } | if new.is_some() { NEW } else { 0 };
    payload.extend_from_slice(&[VERSION, origin, present]);
    images.for_each(|row| row.append_to(&mut payload));
    payload.freeze()
}

pub(crate) fn decode(payload: &Bytes) -> Result<(Origin, Option<Row>, Option<Row>), Corrupt> {
    let mut rest = payload.clone();
    let [version, origin, present] = *rest.first_chunk::<3>().ok_or(Corrupt)?;
    rest.advance(3);
    let origin = match (version, origin) {
        (VERSION, 0) => Origin::User,
        (VERSION, 1) => Origin::TimeToLive,
        _ => return Err(Corrupt),
    };
    let mut image = |bit: u8| match present & bit {
        0 => Ok(None),
        _ => Row::split_from(&mut rest).ok_or(Corrupt).map(Some),
    };
    Ok((origin, image(OLD)?, image(NEW)?))
}

/// A log record as a stream shows it.
///
/// Errors: Corrupt when the payload is no change record.
/// Source: "Reading and processing a stream", DynamoDB developer guide; sizes observed on the service.
pub fn render(stream: &StreamDefinition, shard: ShardUid, record: &LogRecord) -> Result<ChangeRecord, Corrupt> {
    let (origin, old, new) = decode(&record.payload)?;
    let event_name = match (&old, &new) {
        (None, Some(_)) => EventName::Insert,
        (Some(_), Some(_)) => EventName::Modify,
        (Some(_), None) => EventName::Remove,
        (None, None) => return Err(Corrupt),
    };
    let (shows_new, shows_old) = match stream.view {
        StreamView::KeysOnly => (false, false),
        StreamView::NewImage => (true, false),
        StreamView::OldImage => (false, true),
        StreamView::NewAndOldImages => (true, true),
    };
    let whole = new.as_ref().or(old.as_ref()).ok_or(Corrupt)?.item()?;
    let keys = keys_of(&stream.key_schema, &whole);
    let new_image = new.filter(|_| shows_new).map(|row| row.item()).transpose()?;
    let old_image = old.filter(|_| shows_old).map(|row| row.item()).transpose()?;
    let size_bytes =
        [Some(&keys), new_image.as_ref(), old_image.as_ref()].into_iter().flatten().map(Item::size_bytes).sum();
    Ok(ChangeRecord {
        event_id: event_id(shard, record.number),
        event_name,
        number: record.number,
        sequence_number: sequence::render(record.number),
        created_seconds: record.number.at().seconds(),
        keys,
        new_image,
        old_image,
        size_bytes,
        view: stream.view,
        origin,
    })
}

/// Where the changed item lies among all hashes, and so in which shard; `None` for a record without its key.
pub fn placement(stream: &StreamDefinition, change: &ChangeRecord) -> Option<HashKey> {
    let partition = change.keys.get(&stream.key_schema.hash.name)?;
    ItemKey::new(partition, None).map(|key| key.hash)
}

/// Shard and number name a record for good; hashed, so that nobody reads an order into it.
fn event_id(shard: ShardUid, number: SequenceNumber) -> String {
    let mut name = [0; 16];
    name[..8].copy_from_slice(&shard.0.to_be_bytes());
    name[8..].copy_from_slice(&number.0.to_be_bytes());
    format!("{:032x}", HashKey::of(&name).0)
}
