//! Texts around every limit of numbers, held against `bigdecimal`.

use std::str::FromStr;

use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::{BigInt, Sign};
use headwater_types::{Number, NumberError};

use crate::dice::Dice;

/// What was drawn.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counts {
    /// Texts.
    pub texts: u64,
    /// Texts that are numbers.
    pub accepted: u64,
    /// Refusals by kind: invalid, overflow, underflow, too many digits.
    pub refused: [u64; 4],
    /// Sums and differences.
    pub sums: u64,
    /// Sums and differences that do not fit.
    pub refused_sums: u64,
}

/// A text that is a number, nearly one, or one at a limit.
pub fn text(dice: &mut Dice) -> String {
    if dice.percent(10) {
        return dice
            .pick(&[
                "",
                "-",
                "+",
                ".",
                "e5",
                "1e",
                "NaN",
                "-Infinity",
                "0x10",
                "1_000",
                "١٢",
                " 1",
                "1 ",
                "1,5",
                "--1",
                "1e+-1",
                "1.2.3",
            ])
            .to_owned();
    }
    let mut text = dice.pick(&["", "", "", "-", "-", "+"]).to_owned();
    let digits = match dice.below(4) {
        0 => dice.below(6),
        1 => 36 + dice.below(5),
        2 => 1,
        _ => dice.below(45),
    };
    text.push_str(&"0".repeat([0, 0, 0, 1, 40, 130][dice.below(6)]));
    let point = if dice.percent(50) { Some(dice.below(digits + 1)) } else { None };
    let kind = dice.below(4);
    for at in 0..digits {
        if point == Some(at) {
            text.push('.');
            if dice.percent(20) {
                text.push_str(&"0".repeat(dice.below(140)));
            }
        }
        text.push(match kind {
            0 => '9',
            1 if at > 0 => '0',
            _ => char::from(b'0' + dice.below(10) as u8),
        });
    }
    if point == Some(digits) {
        text.push('.');
    }
    if dice.percent(60) {
        let edge = [0, 37, 38, 87, 88, 125, 126, 130, 131, 167, 168, 400][dice.below(12)] + dice.below(3);
        let sign = dice.pick(&["", "-", "+", "-"]);
        text.push_str(&format!("{}{sign}{edge}", dice.pick(&["e", "E"])));
    }
    if dice.percent(3) {
        let at = dice.below(text.len() + 1);
        text.insert_str(at, dice.pick(&["e", ".", "-", "é", "\0", "９"]));
    }
    text
}

/// What the service makes of an exact value of at least one digit that is not zero.
fn judged(value: &BigDecimal) -> Result<BigDecimal, NumberError> {
    let value = value.normalized();
    let (digits, scale) = value.as_bigint_and_exponent();
    if digits.sign() == Sign::NoSign {
        return Ok(BigDecimal::from(0));
    }
    let count = digits.magnitude().to_string().len() as i64;
    match count - 1 - scale {
        125.. => return if count - 1 - scale > 125 { Err(NumberError::Overflow) } else { fits(count, value) },
        -130..=124 => {}
        _ => return Err(NumberError::Underflow),
    }
    fits(count, value)
}

fn fits(count: i64, value: BigDecimal) -> Result<BigDecimal, NumberError> {
    if count > 38 { Err(NumberError::TooManyDigits) } else { Ok(value) }
}

/// Draws a text and holds what is made of it to the oracle.
pub fn round(dice: &mut Dice, kept: &mut Vec<(Number, BigDecimal)>, counts: &mut Counts) -> Result<(), String> {
    let text = text(dice);
    counts.texts += 1;
    let ours = Number::from_str(&text);
    match &ours {
        Ok(_) => counts.accepted += 1,
        Err(NumberError::Invalid) => counts.refused[0] += 1,
        Err(NumberError::Overflow) => counts.refused[1] += 1,
        Err(NumberError::Underflow) => counts.refused[2] += 1,
        Err(NumberError::TooManyDigits) => counts.refused[3] += 1,
    }
    let grammatical = grammatical(&text);
    if grammatical != (ours != Err(NumberError::Invalid)) {
        return Err(format!("{text:?}: {ours:?}, but it is {} a decimal number", if grammatical { "" } else { "not" }));
    }
    let Some(exact) = grammatical.then(|| oracle(&text)).flatten() else { return Ok(()) };
    // Zeros have a magnitude of their own, which is in the tests of the room.
    if exact.sign() != Sign::NoSign && judged(&exact) != ours.map(exactly) {
        return Err(format!("{text:?}: {ours:?}, the oracle says {:?}", judged(&exact)));
    }
    let Ok(number) = ours else { return Ok(()) };
    if Number::from_str(&number.to_string()) != Ok(number) {
        return Err(format!("{text:?} is shown as {number}, which is read otherwise"));
    }
    if kept.len() >= 64 {
        let at = dice.below(kept.len());
        kept.swap_remove(at);
    }
    kept.push((number, exact.clone()));
    let (other, other_exact) = dice.one(kept).clone();
    pair(&number, &exact, &other, &other_exact, counts)
}

fn pair(a: &Number, ax: &BigDecimal, b: &Number, bx: &BigDecimal, counts: &mut Counts) -> Result<(), String> {
    if a.cmp(b) != ax.cmp(bx) || a.to_key_bytes().cmp(&b.to_key_bytes()) != ax.cmp(bx) {
        return Err(format!("{a} and {b}: order {:?}, the oracle says {:?}", a.cmp(b), ax.cmp(bx)));
    }
    if Number::from_key_bytes(&a.to_key_bytes()) != Some((*a, &[][..])) {
        return Err(format!("{a} comes back from its key bytes as another"));
    }
    for (sum, exact) in [(a.checked_add(b), ax + bx), (a.checked_sub(b), ax - bx)] {
        counts.sums += 1;
        counts.refused_sums += u64::from(sum.is_err());
        // A sum of too many digits is told as one that is too large.
        let wanted = judged(&exact)
            .map_err(|error| if error == NumberError::TooManyDigits { NumberError::Overflow } else { error });
        if sum.map(exactly) != wanted {
            return Err(format!("{a} and {b}: sum or difference {sum:?}, the oracle says {wanted:?}"));
        }
    }
    Ok(())
}

fn exactly(number: Number) -> BigDecimal {
    let (coefficient, exponent) = number.parts();
    BigDecimal::new(BigInt::from(coefficient), -i64::from(exponent)).normalized()
}

/// Sign, digits with at most one point, exponent.
fn grammatical(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let has_digits = whole.len() + fraction.len() > 0;
    has_digits && digits(whole) && digits(fraction) && exponent.is_none_or(|part| !part.is_empty() && digits(part))
}

fn oracle(text: &str) -> Option<BigDecimal> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i64 = exponent.trim_start_matches('+').parse().ok()?;
    let (negative, unsigned) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa.trim_start_matches('+')),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits: BigInt = format!("0{whole}{fraction}").parse().ok()?;
    let value = BigDecimal::new(if negative { -digits } else { digits }, fraction.len() as i64 - exponent);
    Some(value)
}
