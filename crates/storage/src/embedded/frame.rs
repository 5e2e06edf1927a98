//! Frames: what a plan did, as physical redo. Replaying one reads no table, catalog or clock.
//!
//! ```text
//! frame   | heads u32 | writes u32 | records u32 | head … | write … | record …
//! head    | key 16 | kept u8 | version u64 | number u64 | items i64 | bytes i64
//! write   | key length u32 | value length u32, all ones: deleted | key | value
//! record  | shard u64 | number u64 | payload length u32 | payload checksum u32 | payload
//! ```

use bytes::Bytes;
use headwater_types::{SequenceNumber, ShardUid};
use xxhash_rust::xxh3::xxh3_64;

use super::bytes::{Cut, Reader, put_u32, put_u64, put_u128};
use crate::contract::{Head, HeadKey, Write};

/// Length of what stands before a record's payload. Unit: bytes.
pub(super) const RECORD_HEADER: usize = 24;

const DELETED: u32 = u32::MAX;

/// A head's state after a plan; `None`: removed.
pub(super) type HeadState = (HeadKey, Option<Head>);

/// Where a record lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RecordAt {
    pub(super) shard: ShardUid,
    pub(super) number: SequenceNumber,
    /// Of its header, from the start of the payload that was decoded or encoded.
    pub(super) offset: u64,
    /// Length of its payload. Unit: bytes.
    pub(super) length: u32,
}

pub(super) fn put_counts(bytes: &mut Vec<u8>, heads: usize, writes: usize, records: usize) {
    put_u32(bytes, heads as u32);
    put_u32(bytes, writes as u32);
    put_u32(bytes, records as u32);
}

pub(super) fn put_head(bytes: &mut Vec<u8>, (key, head): &HeadState) {
    put_u128(bytes, key.0);
    bytes.push(u8::from(head.is_some()));
    put_head_value(bytes, head.unwrap_or_default());
}

/// A head without its key: also the value of its place in the index.
pub(super) fn put_head_value(bytes: &mut Vec<u8>, head: Head) {
    put_u64(bytes, head.version);
    put_u64(bytes, head.number.0);
    put_u64(bytes, head.items as u64);
    put_u64(bytes, head.bytes as u64);
}

pub(super) fn take_head_value(reader: &mut Reader<'_>) -> Result<Head, Cut> {
    Ok(Head {
        version: reader.u64()?,
        number: SequenceNumber(reader.u64()?),
        items: reader.u64()? as i64,
        bytes: reader.u64()? as i64,
    })
}

pub(super) fn put_write(bytes: &mut Vec<u8>, write: &Write) {
    put_u32(bytes, write.key.len() as u32);
    put_u32(bytes, write.value.as_ref().map_or(DELETED, |value| value.len() as u32));
    bytes.extend_from_slice(&write.key);
    if let Some(value) = &write.value {
        bytes.extend_from_slice(value);
    }
}

pub(super) fn put_record(bytes: &mut Vec<u8>, shard: ShardUid, number: SequenceNumber, payload: &[u8]) {
    put_u64(bytes, shard.0);
    put_u64(bytes, number.0);
    put_u32(bytes, payload.len() as u32);
    put_u32(bytes, record_checksum(payload));
    bytes.extend_from_slice(payload);
}

/// Checksum of one record's payload, for reading it without its group.
pub(super) fn record_checksum(payload: &[u8]) -> u32 {
    xxh3_64(payload) as u32
}

/// What stands before a record's payload: shard, number, length, checksum.
pub(super) fn take_record_header(reader: &mut Reader<'_>) -> Result<(ShardUid, SequenceNumber, u32, u32), Cut> {
    Ok((ShardUid(reader.u64()?), SequenceNumber(reader.u64()?), reader.u32()?, reader.u32()?))
}

/// All frames of a group.
#[derive(Default)]
pub(super) struct Redo {
    pub(super) heads: Vec<HeadState>,
    pub(super) writes: Vec<Write>,
    pub(super) records: Vec<RecordAt>,
}

/// Takes a group's payload apart; keys and values share its memory.
pub(super) fn decode(payload: &Bytes, plans: u32) -> Result<Redo, Cut> {
    let mut reader = Reader::new(payload);
    let mut redo = Redo::default();
    for _ in 0..plans {
        let (heads, writes, records) = (reader.u32()?, reader.u32()?, reader.u32()?);
        for _ in 0..heads {
            let key = HeadKey(reader.u128()?);
            let kept = reader.u8()? != 0;
            let head = take_head_value(&mut reader)?;
            redo.heads.push((key, kept.then_some(head)));
        }
        for _ in 0..writes {
            let (key, value) = (reader.u32()?, reader.u32()?);
            let key = payload.slice_ref(reader.take(key as usize)?);
            let value = match value {
                DELETED => None,
                length => Some(payload.slice_ref(reader.take(length as usize)?)),
            };
            redo.writes.push(Write { key, value, stamp: None });
        }
        for _ in 0..records {
            let offset = reader.position() as u64;
            let (shard, number, length, _) = take_record_header(&mut reader)?;
            reader.take(length as usize)?;
            redo.records.push(RecordAt { shard, number, offset, length });
        }
    }
    if reader.is_done() { Ok(redo) } else { Err(Cut) }
}

/// Trim horizons, as a group of their own holds them.
pub(super) fn put_horizons(bytes: &mut Vec<u8>, horizons: &[(ShardUid, SequenceNumber)]) {
    for (shard, below) in horizons {
        put_u64(bytes, shard.0);
        put_u64(bytes, below.0);
    }
}

pub(super) fn decode_horizons(payload: &[u8]) -> Result<Vec<(ShardUid, SequenceNumber)>, Cut> {
    let mut reader = Reader::new(payload);
    let mut horizons = Vec::with_capacity(payload.len() / 16);
    while !reader.is_done() {
        horizons.push((ShardUid(reader.u64()?), SequenceNumber(reader.u64()?)));
    }
    Ok(horizons)
}
