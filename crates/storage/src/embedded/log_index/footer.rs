//! The footer of a sealed segment or an archive run: a summary (range of numbers, per shard its last number and its
//! bytes) and, delta-coded, where each record is.

use std::collections::BTreeMap;

use headwater_types::{Position, SequenceNumber, ShardUid};

use crate::embedded::bytes::{Cut, Reader, put_u64, put_varint};
use crate::embedded::frame::RECORD_HEADER;
use crate::embedded::segment::{FOOTER_HEADER, FooterHeader};
use crate::files::{File, read_exactly};

/// One record of a shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::embedded) struct Entry {
    pub(in crate::embedded) number: SequenceNumber,
    pub(in crate::embedded) position: Position,
    /// Of the record's header in its file.
    pub(in crate::embedded) offset: u64,
    /// Of its payload.
    pub(in crate::embedded) length: u32,
}

impl Entry {
    /// Bytes of the record, its own header included.
    pub(in crate::embedded) fn size(&self) -> u64 {
        RECORD_HEADER as u64 + u64::from(self.length)
    }

    /// Where it ends in its file.
    pub(in crate::embedded) fn end(&self) -> u64 {
        self.offset + self.size()
    }
}

/// What a file holds of one shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::embedded) struct Share {
    pub(in crate::embedded) shard: ShardUid,
    /// The highest number.
    pub(in crate::embedded) last: SequenceNumber,
    /// Of its records, with their headers.
    pub(in crate::embedded) bytes: u64,
}

/// Every record of a segment, by shard and rising number.
pub(in crate::embedded) type Footer = BTreeMap<ShardUid, Vec<Entry>>;

/// The header and where the entries start.
pub(super) fn read_footer_header(file: &dyn File, end: u64) -> Option<(FooterHeader, u64)> {
    let bytes = read_exactly(file, end, FOOTER_HEADER).ok()?;
    let header = FooterHeader::decode(&bytes)?;
    let entries_at = end + FOOTER_HEADER as u64 + u64::from(header.summary_length);
    let length = file.len().ok()?;
    let whole = entries_at.checked_add(header.entries_length)? <= length;
    whole.then_some((header, entries_at))
}

pub(in crate::embedded) fn encode_entries(footer: &Footer) -> (Vec<u8>, Vec<u8>) {
    let all = || footer.values().flatten().map(|entry| entry.number.0);
    let mut summary = Vec::new();
    let low = all().min().unwrap_or(u64::MAX);
    put_u64(&mut summary, low);
    put_u64(&mut summary, all().max().unwrap_or(0));
    for share in shares(footer) {
        put_varint(&mut summary, share.shard.0);
        put_varint(&mut summary, share.last.0 - low);
        put_varint(&mut summary, share.bytes);
    }
    let mut bytes = Vec::new();
    for (shard, entries) in footer {
        put_varint(&mut bytes, shard.0);
        put_varint(&mut bytes, entries.len() as u64);
        let (mut number, mut position, mut offset) = (0, 0, 0);
        for entry in entries {
            put_varint(&mut bytes, entry.number.0 - number);
            put_varint(&mut bytes, entry.position.0 - position);
            put_varint(&mut bytes, entry.offset - offset);
            put_varint(&mut bytes, u64::from(entry.length));
            (number, position, offset) = (entry.number.0, entry.position.0, entry.offset);
        }
    }
    (summary, bytes)
}

/// What a footer says of each shard.
pub(super) fn shares(footer: &Footer) -> impl Iterator<Item = Share> {
    footer.iter().filter_map(|(shard, entries)| {
        let last = entries.last()?.number;
        Some(Share { shard: *shard, last, bytes: entries.iter().map(Entry::size).sum() })
    })
}

pub(super) type Summary = (Option<(SequenceNumber, SequenceNumber)>, Vec<Share>);

pub(super) fn decode_summary(bytes: &[u8]) -> Result<Summary, Cut> {
    let mut reader = Reader::new(bytes);
    let (low, high) = (reader.u64()?, reader.u64()?);
    let mut shares = Vec::new();
    while !reader.is_done() {
        let shard = ShardUid(reader.varint()?);
        let last = SequenceNumber(low.checked_add(reader.varint()?).ok_or(Cut)?);
        shares.push(Share { shard, last, bytes: reader.varint()? });
    }
    Ok(((low <= high).then_some((SequenceNumber(low), SequenceNumber(high))), shares))
}

pub(super) fn decode_entries(bytes: &[u8]) -> Result<Footer, Cut> {
    let mut reader = Reader::new(bytes);
    let mut footer = Footer::new();
    while !reader.is_done() {
        let shard = ShardUid(reader.varint()?);
        let count = reader.varint()?;
        let mut entries = Vec::new();
        let (mut number, mut position, mut offset) = (0u64, 0u64, 0u64);
        for _ in 0..count {
            number = number.checked_add(reader.varint()?).ok_or(Cut)?;
            position = position.checked_add(reader.varint()?).ok_or(Cut)?;
            offset = offset.checked_add(reader.varint()?).ok_or(Cut)?;
            let length = u32::try_from(reader.varint()?).map_err(|_| Cut)?;
            entries.push(Entry { number: SequenceNumber(number), position: Position(position), offset, length });
        }
        footer.insert(shard, entries);
    }
    Ok(footer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn footers_and_summaries_come_back() {
        let entry =
            |number, offset| Entry { number: SequenceNumber(number), position: Position(number), offset, length: 7 };
        let footer: Footer =
            [(ShardUid(4), vec![entry(5, 4096), entry(900, 5000)]), (ShardUid(u64::MAX), vec![entry(6, 4200)])].into();
        let (summary, entries) = encode_entries(&footer);
        assert_eq!(decode_entries(&entries), Ok(footer.clone()));
        let numbers = Some((SequenceNumber(5), SequenceNumber(900)));
        assert_eq!(decode_summary(&summary), Ok((numbers, shares(&footer).collect())));
        let share = |shard, last, bytes| Share { shard: ShardUid(shard), last: SequenceNumber(last), bytes };
        assert_eq!(shares(&footer).collect::<Vec<_>>(), [share(4, 900, 2 * 31), share(u64::MAX, 6, 31)]);
        let (summary, _) = encode_entries(&Footer::new());
        assert_eq!(decode_summary(&summary), Ok((None, Vec::new())));
    }
}
