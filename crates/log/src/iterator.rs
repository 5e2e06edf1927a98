//! Shard iterators as clients hold them: a sealed token that names its store, stream, shard, position and end.
//!
//! The seal is an HMAC under a key that only the store knows and covers the readable prefix too, so a token cannot be made
//! or bent, only used up to its end.

use base64_simd::URL_SAFE_NO_PAD;
use bytes::BufMut;
use headwater_catalog::Incarnation;
use headwater_types::{Millis, SequenceNumber, ShardUid, StreamUid};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::read::ReadFrom;

/// A position in a shard, with the end of its use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShardIterator {
    /// Its stream.
    pub stream: StreamUid,
    /// Its shard.
    pub shard: ShardUid,
    /// Where the next page starts.
    pub from: ReadFrom,
    /// Store time from which it is expired.
    pub expires: Millis,
    /// The count it was given under: once that is raised, it is expired too.
    pub given: u32,
}

/// Why a token is not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IteratorError {
    /// No token of any store of ours, or bent.
    Invalid,
    /// Too old.
    Expired {
        /// Since when, in store time.
        expires: Millis,
    },
    /// Well formed, but of another store, or of this one before it was restored.
    Foreign,
}

const FORMAT: u8 = 0;
const BODY_BYTES: usize = 1 + 8 + 8 + 8 + 1 + 8 + 8 + 4;
const SEAL_BYTES: usize = 16;

/// Seals an iterator: `prefix` and the token behind it. Unit: 83 characters behind the prefix.
pub(crate) fn seal(store: &Incarnation, iterator: &ShardIterator, prefix: &str) -> String {
    let (kind, number) = match iterator.from {
        ReadFrom::Horizon => (0, SequenceNumber::ZERO),
        ReadFrom::At(number) => (1, number),
        ReadFrom::After(number) => (2, number),
        ReadFrom::Tail(number) => (3, number),
    };
    let mut token = Vec::with_capacity(BODY_BYTES + SEAL_BYTES);
    token.put_u8(FORMAT);
    token.put_u64(store.id);
    token.put_u64(iterator.stream.0);
    token.put_u64(iterator.shard.0);
    token.put_u8(kind);
    token.put_u64(number.0);
    token.put_i64(iterator.expires.0);
    token.put_u32(iterator.given);
    let seal = mac(store, prefix, &token).finalize().into_bytes();
    token.extend(seal.iter().take(SEAL_BYTES));
    let mut text = String::with_capacity(prefix.len() + 83);
    text.push_str(prefix);
    URL_SAFE_NO_PAD.encode_append(&token, &mut text);
    text
}

/// Opens a token at store time `now`, while iterators are given under the count `given`. Errors: [`IteratorError`].
pub(crate) fn unseal(store: &Incarnation, text: &str, now: Millis, given: u32) -> Result<ShardIterator, IteratorError> {
    // The prefix ends with the last bar, which the token's own letters do not contain.
    let (prefix, opaque) = text.split_at(text.rfind('|').map_or(0, |bar| bar + 1));
    let token = URL_SAFE_NO_PAD.decode_to_vec(opaque).map_err(|_| IteratorError::Invalid)?;
    if token.len() != BODY_BYTES + SEAL_BYTES {
        return Err(IteratorError::Invalid);
    }
    let (body, seal) = token.split_at(BODY_BYTES);
    let fields = Fields::parse(body).ok_or(IteratorError::Invalid)?;
    if fields.store != store.id {
        return Err(IteratorError::Foreign);
    }
    mac(store, prefix, body).verify_truncated_left(seal).map_err(|_| IteratorError::Invalid)?;
    let expires = fields.iterator.expires;
    if expires <= now || fields.iterator.given != given {
        Err(IteratorError::Expired { expires })
    } else {
        Ok(fields.iterator)
    }
}

struct Fields {
    store: u64,
    iterator: ShardIterator,
}

impl Fields {
    fn parse(body: &[u8]) -> Option<Self> {
        let (format, rest) = body.split_first()?;
        let number = |at: usize| rest.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes);
        let position = SequenceNumber(number(25)?);
        let from = match rest.get(24)? {
            0 => ReadFrom::Horizon,
            1 => ReadFrom::At(position),
            2 => ReadFrom::After(position),
            3 => ReadFrom::Tail(position),
            _ => return None,
        };
        let (stream, shard) = (StreamUid(number(8)?), ShardUid(number(16)?));
        let given = rest.get(41..45)?.try_into().ok().map(u32::from_be_bytes)?;
        let iterator = ShardIterator { stream, shard, from, expires: Millis(number(33)? as i64), given };
        (*format == FORMAT).then_some(Self { store: number(0)?, iterator })
    }
}

fn mac(store: &Incarnation, prefix: &str, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&store.seal_key).expect("HMAC takes keys of any length");
    mac.update(&(prefix.len() as u64).to_be_bytes());
    mac.update(prefix.as_bytes());
    mac.update(body);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_000_000);
    const PREFIX: &str = "arn:aws:dynamodb:eu-west-1:000000000000:table/t/stream/2015-05-11T21:21:33.291|1|";

    fn store(id: u64, key: u8) -> Incarnation {
        Incarnation::new(id, [key; 32], 0)
    }

    fn iterator(from: ReadFrom) -> ShardIterator {
        ShardIterator { stream: StreamUid(7), shard: ShardUid(9), from, expires: Millis(NOW.0 + 1), given: 5 }
    }

    #[test]
    fn tokens_open_to_what_was_sealed_and_are_short() {
        let number = SequenceNumber(u64::MAX - 3);
        for from in [ReadFrom::Horizon, ReadFrom::At(number), ReadFrom::After(number), ReadFrom::Tail(number)] {
            for prefix in [PREFIX, ""] {
                let token = seal(&store(1, 2), &iterator(from), prefix);
                assert_eq!(unseal(&store(1, 2), &token, NOW, 5), Ok(iterator(from)), "{token}");
                assert_eq!(token.len(), prefix.len() + 83);
            }
        }
    }

    #[test]
    fn expired_and_foreign_tokens_are_told_apart() {
        let token = seal(&store(1, 2), &iterator(ReadFrom::Horizon), PREFIX);
        let expires = Millis(NOW.0 + 1);
        assert_eq!(unseal(&store(1, 2), &token, expires, 5), Err(IteratorError::Expired { expires }));
        let revoked = unseal(&store(1, 2), &token, NOW, 6);
        assert_eq!(revoked, Err(IteratorError::Expired { expires }));
        assert_eq!(unseal(&store(3, 2), &token, NOW, 5), Err(IteratorError::Foreign));
        assert_eq!(unseal(&store(1, 3), &token, NOW, 5), Err(IteratorError::Invalid), "sealed by another key");
    }

    #[test]
    fn bent_and_cut_tokens_are_invalid() {
        let token = seal(&store(1, 2), &iterator(ReadFrom::At(SequenceNumber(5))), PREFIX);
        let mut tried = 0;
        for at in 0..token.len() {
            for with in ["A", "b", "|", "", "0", "é"] {
                let mut bent = token.clone();
                bent.replace_range(at..=at, with);
                if bent == token {
                    continue;
                }
                let opened = unseal(&store(1, 2), &bent, NOW, 5);
                assert!(
                    matches!(opened, Err(IteratorError::Invalid | IteratorError::Foreign)),
                    "{at} {with}: {opened:?}"
                );
                tried += 1;
            }
            assert!(unseal(&store(1, 2), &token[..at], NOW, 5).is_err());
        }
        assert!(tried > 800, "{tried}");
        for garbage in ["", "|", "|||", "AAAA", "no iterator at all"] {
            assert_eq!(unseal(&store(1, 2), garbage, NOW, 5), Err(IteratorError::Invalid));
        }
    }
}
