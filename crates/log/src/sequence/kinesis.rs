//! Sequence numbers as Kinesis shows them: 56 decimal digits that name their shard too.
//!
//! ```text
//! hex:  2 | second of the shard's creation (9) | shard, low digit (1) | number (16) | 00 | second (9) | shard (8) | 2
//! ```
//! The creation second leads, and a child's lies above its parents', so numbers rise along the lineage.
//!
//! Source: the layout that kinesalite's author observed on the service ("version 2").

use headwater_types::{Millis, SequenceNumber};

use super::NotANumber;

const VERSION: u128 = 2;
/// What stands for a closed shard's end: not below any record's number.
const END: u64 = 0x7fff_ffff_ffff_ffff;
/// Digits that one step of the conversion makes.
const STEP: u64 = 1_000_000_000_000_000_000;
const STEP_DIGITS: usize = 18;

/// What a rendered number says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rendered {
    /// The stored number; [`SequenceNumber`] of all ones but the first bit for a closed shard's end.
    pub number: SequenceNumber,
    /// The shard's place among all shards of its stream.
    pub shard: u32,
    /// When the shard was created. Unit: s.
    pub created_second: i64,
}

/// Renders a number of the shard at place `shard`, created at `created`.
///
/// Order: as numbers and as texts, that of the stored numbers within a shard; a child's above its parents'.
pub fn render(number: SequenceNumber, shard: u32, created: Millis) -> String {
    decimal(layout(number.0, number.at(), shard, created))
}

/// Renders a closed shard's last number.
pub fn render_ending(ending: SequenceNumber, shard: u32, created: Millis) -> String {
    decimal(layout(END, ending.at(), shard, created))
}

/// Reads a rendered number back. Errors: anything that is not laid out as [`render`] does.
pub fn parse(text: &str) -> Result<Rendered, NotANumber> {
    if text.is_empty() || text.len() > 56 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NotANumber);
    }
    let mut limbs = [0_u64; 3];
    for digit in text.bytes() {
        let mut carry = u128::from(digit - b'0');
        for limb in limbs.iter_mut().rev() {
            carry += u128::from(*limb) * 10;
            *limb = carry as u64;
            carry >>= 64;
        }
        if carry != 0 {
            return Err(NotANumber);
        }
    }
    let [high, middle, low] = limbs;
    let (high, low) = (u128::from(high), u128::from(middle) << 64 | u128::from(low));
    let shard = (low >> 4) as u32;
    let laid_out = high >> 56 == VERSION && low & 0xf == VERSION && (high >> 16) & 0xf == u128::from(shard & 0xf);
    if !laid_out || (low >> 72) & 0xff != 0 {
        return Err(NotANumber);
    }
    let number = ((high & 0xffff) << 48 | low >> 80) as u64;
    Ok(Rendered { number: SequenceNumber(number), shard, created_second: ((high >> 20) & 0xf_ffff_ffff) as i64 })
}

/// The high 60 and the low 128 bits.
fn layout(number: u64, at: Millis, shard: u32, created: Millis) -> (u64, u128) {
    let second = |at: Millis| (at.0.div_euclid(1_000) as u64) & 0xf_ffff_ffff;
    let high = (VERSION as u64) << 56 | second(created) << 20 | u64::from(shard & 0xf) << 16 | number >> 48;
    let low =
        u128::from(number & 0xffff_ffff_ffff) << 80 | u128::from(second(at)) << 36 | u128::from(shard) << 4 | VERSION;
    (high, low)
}

fn decimal((high, low): (u64, u128)) -> String {
    let mut limbs = [high, (low >> 64) as u64, low as u64];
    let mut steps = [0_u64; 4];
    for step in &mut steps {
        let mut rest = 0_u64;
        for limb in &mut limbs {
            let wide = u128::from(rest) << 64 | u128::from(*limb);
            *limb = (wide / u128::from(STEP)) as u64;
            rest = (wide % u128::from(STEP)) as u64;
        }
        *step = rest;
    }
    let [last, third, second, first] = steps;
    format!("{first}{second:0STEP_DIGITS$}{third:0STEP_DIGITS$}{last:0STEP_DIGITS$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_767_225_600_000;

    fn number(ms: i64, count: u64) -> SequenceNumber {
        SequenceNumber(SequenceNumber::floor(Millis(ms)).0 + count)
    }

    #[test]
    fn rendered_numbers_read_back_and_have_56_digits() {
        for (number, shard, created) in [
            (number(NOW, 0), 0, Millis(NOW)),
            (number(NOW + 1, 65_535), 17, Millis(NOW - 999)),
            (number(4_000_000_000_000, 9), u32::MAX, Millis(4_000_000_000_000)),
            (SequenceNumber::ZERO, 3, Millis(0)),
        ] {
            let text = render(number, shard, created);
            assert_eq!(text.len(), 56, "{text}");
            let created_second = created.0.div_euclid(1_000);
            assert_eq!(parse(&text), Ok(Rendered { number, shard, created_second }), "{text}");
        }
    }

    #[test]
    fn texts_are_in_the_order_of_numbers_and_ends_above_them() {
        let created = Millis(NOW);
        let mut texts: Vec<String> =
            (0..500).map(|at| render(number(NOW + at / 7, at as u64 % 7), 5, created)).collect();
        texts.push(render_ending(number(NOW + 100, 0), 5, created));
        // A child, created in a later second, with a number above its parent's end.
        texts.push(render(number(NOW + 100, 1), 6, Millis(NOW + 1_000)));
        assert!(texts.is_sorted_by(|a, b| a < b) && texts.iter().all(|text| text.len() == 56));
    }

    #[test]
    fn what_is_not_laid_out_so_is_no_number() {
        let good = render(number(NOW, 1), 2, Millis(NOW));
        let last = format!("{}{}", &good[..55], u8::from(good.ends_with('0')));
        for bad in ["", "0", "1", "x", "-1", &good[1..], &format!("{good}0"), &last, &"9".repeat(56), &"9".repeat(80)] {
            assert_eq!(parse(bad), Err(NotANumber), "{bad}");
        }
    }

    #[test]
    fn numbers_observed_on_the_service_are_read() {
        // Source: the examples of PutRecord in the Kinesis API reference, and of a Kinesis event in the Lambda guide.
        for (text, shard, created_second) in [
            ("49543463076548007577105092703039560359975228518395019266", 0, 1_411_403_981),
            ("49590338271490256608559692538361571095921575989136588898", 6, 1_542_776_258),
        ] {
            let seen = parse(text).expect("a number");
            assert_eq!((seen.shard, seen.created_second), (shard, created_second), "{text}");
        }
    }
}
