//! Outcomes as they are kept beside a batch's id, for whoever asks what became of it.

use bytes::{Buf, BufMut};
use headwater_types::SequenceNumber;

use crate::contract::{HeadKey, Outcome};
use crate::error::{Error, Kind};

const COMMITTED: u8 = 1;
const FENCED: u8 = 2;

pub(super) fn encode(outcomes: &[Outcome]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for outcome in outcomes {
        match outcome {
            Outcome::Committed { taken, numbers } => {
                bytes.put_u8(COMMITTED);
                for list in [taken, numbers] {
                    bytes.put_u32(list.len() as u32);
                    list.iter().for_each(|number| bytes.put_u64(number.0));
                }
            }
            Outcome::Fenced { heads } => {
                bytes.put_u8(FENCED);
                bytes.put_u32(heads.len() as u32);
                heads.iter().for_each(|head| bytes.put_u128(head.0));
            }
        }
    }
    bytes
}

pub(super) fn decode(mut bytes: &[u8]) -> Result<Vec<Outcome>, Error> {
    let mut outcomes = Vec::new();
    while !bytes.is_empty() {
        outcomes.push(one(&mut bytes).ok_or_else(|| Error::new(Kind::Corrupt, "a batch's outcomes are cut short"))?);
    }
    Ok(outcomes)
}

fn one(bytes: &mut &[u8]) -> Option<Outcome> {
    match bytes.try_get_u8().ok()? {
        COMMITTED => Some(Outcome::Committed { taken: numbers(bytes)?, numbers: numbers(bytes)? }),
        FENCED => {
            let count = bytes.try_get_u32().ok()?;
            let heads: Option<Vec<HeadKey>> = (0..count).map(|_| bytes.try_get_u128().ok().map(HeadKey)).collect();
            Some(Outcome::Fenced { heads: heads? })
        }
        _ => None,
    }
}

fn numbers(bytes: &mut &[u8]) -> Option<Vec<SequenceNumber>> {
    let count = bytes.try_get_u32().ok()?;
    (0..count).map(|_| bytes.try_get_u64().ok().map(SequenceNumber)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_come_back_and_a_cut_is_noticed() {
        let numbers = |from: u64| (from..from + 3).map(SequenceNumber).collect::<Vec<_>>();
        let outcomes = vec![
            Outcome::Committed { taken: numbers(1), numbers: numbers(u64::MAX - 5) },
            Outcome::Fenced { heads: vec![HeadKey(7), HeadKey(u128::MAX)] },
            Outcome::Committed { taken: Vec::new(), numbers: Vec::new() },
        ];
        let bytes = encode(&outcomes);
        assert_eq!(decode(&bytes).unwrap(), outcomes);
        let whole = (0..bytes.len()).filter(|at| decode(&bytes[..*at]).is_ok()).count();
        assert_eq!(whole, 3, "only the cuts between two outcomes pass");
    }
}
