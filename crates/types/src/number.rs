//! DynamoDB's number: 38 significant digits, magnitude 1E-130 to 9.99…E+125, exact.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Most significant digits. Source: "Data types", DynamoDB developer guide.
const DIGITS_MAX: u32 = 38;
/// Largest exponent of the first digit. Source: the same.
const SCIENTIFIC_MAX: i32 = 125;
/// Smallest exponent of the first digit. Source: the same.
const SCIENTIFIC_MIN: i32 = -130;
/// Added to the exponent in key bytes, so that it is never negative.
const EXPONENT_BIAS: i32 = 0x200;
/// Half of a forty-digit sum: values are added in two halves of twenty digits each.
const HALF: i128 = 100_000_000_000_000_000_000;

/// An exact decimal: coefficient × 10^exponent, the coefficient without trailing zeros.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Number {
    coefficient: i128,
    exponent: i16,
}

/// Why a text or a sum is no number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NumberError {
    /// Not a decimal number at all.
    Invalid,
    /// Magnitude above 9.99…E+125, or a sum that needs more than 38 digits.
    Overflow,
    /// Magnitude below 1E-130.
    Underflow,
    /// More than 38 significant digits.
    TooManyDigits,
}

impl Number {
    /// Zero.
    pub const ZERO: Self = Self { coefficient: 0, exponent: 0 };

    /// How many digits the coefficient has; one for zero.
    pub fn significant_digits(&self) -> u32 {
        digits(self.coefficient)
    }

    /// Below zero.
    pub fn is_negative(&self) -> bool {
        self.coefficient < 0
    }

    /// Exponent of ten just above the first digit: 1 for 5, 2 for 10, 0 for 0.5.
    fn magnitude(&self) -> i32 {
        i32::from(self.exponent) + digits(self.coefficient) as i32
    }

    fn normalised(mut coefficient: i128, mut exponent: i32) -> Result<Self, NumberError> {
        if coefficient == 0 {
            return Ok(Self::ZERO);
        }
        // Most coefficients are small, and these are cheaper to divide.
        if let Ok(mut small) = i64::try_from(coefficient) {
            while small % 10 == 0 {
                small /= 10;
                exponent += 1;
            }
            coefficient = i128::from(small);
        }
        while coefficient % 10 == 0 {
            coefficient /= 10;
            exponent += 1;
        }
        let scientific = exponent + digits(coefficient) as i32 - 1;
        if scientific > SCIENTIFIC_MAX {
            return Err(NumberError::Overflow);
        }
        if scientific < SCIENTIFIC_MIN {
            return Err(NumberError::Underflow);
        }
        Ok(Self { coefficient, exponent: exponent as i16 })
    }

    /// The exact sum. Errors: Overflow when it needs more than 38 digits or is too large; Underflow when too small.
    pub fn checked_add(&self, other: &Self) -> Result<Self, NumberError> {
        if self.coefficient == 0 {
            return Ok(*other);
        }
        if other.coefficient == 0 {
            return Ok(*self);
        }
        let low = self.exponent.min(other.exponent);
        let span = self.magnitude().max(other.magnitude()) - i32::from(low);
        // A difference is at most one digit shorter than the larger operand: beyond this no sum fits.
        if span > DIGITS_MAX as i32 + 1 {
            return Err(NumberError::Overflow);
        }
        let (a, b) = (self.halves(low), other.halves(low));
        let (mut high, mut rest) = carried(a.0 + b.0, a.1 + b.1);
        let mut exponent = i32::from(low);
        if high == 0 && rest == 0 {
            return Ok(Self::ZERO);
        }
        while rest % 10 == 0 {
            let down = high % 10;
            high /= 10;
            rest = (rest + down * HALF) / 10;
            exponent += 1;
        }
        if digits(high) > DIGITS_MAX - 20 && high != 0 {
            return Err(NumberError::Overflow);
        }
        Self::normalised(high * HALF + rest, exponent)
    }

    /// The exact difference; errors as [`Number::checked_add`].
    pub fn checked_sub(&self, other: &Self) -> Result<Self, NumberError> {
        self.checked_add(&Self { coefficient: -other.coefficient, exponent: other.exponent })
    }

    /// The coefficient at exponent `low` as two halves of twenty digits, both with the number's sign.
    fn halves(&self, low: i16) -> (i128, i128) {
        let (mut high, mut rest) = (self.coefficient / HALF, self.coefficient % HALF);
        for _ in low..self.exponent {
            rest *= 10;
            high = high * 10 + rest / HALF;
            rest %= HALF;
        }
        (high, rest)
    }

    /// Bytes whose order is the numbers' order; they end themselves, so that more may follow.
    ///
    /// Shape: class (negative 1, zero 2, positive 3), then biased magnitude (2), pairs of digits plus one, terminator 0;
    /// everything behind the class is inverted for negative numbers.
    pub fn to_key_bytes(&self) -> Vec<u8> {
        let class = match self.coefficient.cmp(&0) {
            Ordering::Less => 1u8,
            Ordering::Equal => return vec![2],
            Ordering::Greater => 3,
        };
        let mut bytes = Vec::with_capacity(24);
        bytes.push(class);
        bytes.extend(((self.magnitude() + EXPONENT_BIAS) as u16).to_be_bytes());
        let mut text = itoa::Buffer::new();
        let text = text.format(self.coefficient.unsigned_abs());
        for pair in text.as_bytes().chunks(2) {
            let ones = pair.get(1).map_or(0, |digit| digit - b'0');
            bytes.push((pair[0] - b'0') * 10 + ones + 1);
        }
        bytes.push(0);
        if class == 1 {
            bytes[1..].iter_mut().for_each(|byte| *byte = !*byte);
        }
        bytes
    }

    /// Takes a number off the front of key bytes; returns it and what follows.
    pub fn from_key_bytes(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (&class, rest) = bytes.split_first()?;
        let flip = match class {
            1 => 0xff,
            2 => return Some((Self::ZERO, rest)),
            3 => 0,
            _ => return None,
        };
        let magnitude = u16::from_be_bytes([rest.first()? ^ flip, rest.get(1)? ^ flip]);
        let (mut coefficient, mut count, mut at) = (0i128, 0i32, 2);
        loop {
            let byte = rest.get(at)? ^ flip;
            at += 1;
            if byte == 0 {
                break;
            }
            if byte > 100 || count >= 40 {
                return None;
            }
            // The last pair of 38 digits or fewer is padded on the right: undone by normalising.
            coefficient = coefficient.checked_mul(100)?.checked_add(i128::from(byte - 1))?;
            count += 2;
        }
        let exponent = i32::from(magnitude) - EXPONENT_BIAS - count;
        let signed = if class == 1 { -coefficient } else { coefficient };
        Some((Self::normalised(signed, exponent).ok()?, rest.get(at..)?))
    }

    /// The greatest whole number that is not above this one; `None` when it is no `i64`.
    pub fn floor_i64(&self) -> Option<i64> {
        let (coefficient, exponent) = self.parts();
        let whole = match u32::try_from(exponent) {
            Ok(exponent) => coefficient.checked_mul(10i128.checked_pow(exponent)?)?,
            Err(_) => match 10i128.checked_pow(u32::from(exponent.unsigned_abs())) {
                Some(divisor) => coefficient.div_euclid(divisor),
                // The coefficient has at most 38 digits: less than one in size.
                None => {
                    if coefficient < 0 {
                        -1
                    } else {
                        0
                    }
                }
            },
        };
        i64::try_from(whole).ok()
    }

    /// Coefficient and exponent of ten, for stored forms.
    pub fn parts(&self) -> (i128, i16) {
        (self.coefficient, self.exponent)
    }

    /// Lends the number's canonical text; a small whole one takes no memory for it.
    pub fn with_text<T>(&self, lend: impl FnOnce(&str) -> T) -> T {
        match i64::try_from(self.coefficient) {
            Ok(whole) if self.exponent == 0 => lend(itoa::Buffer::new().format(whole)),
            _ => lend(&self.to_string()),
        }
    }

    /// A number from stored parts; `None` when they are none.
    pub fn from_parts(coefficient: i128, exponent: i16) -> Option<Self> {
        if digits(coefficient) > DIGITS_MAX {
            return None;
        }
        Self::normalised(coefficient, i32::from(exponent)).ok()
    }
}

fn digits(coefficient: i128) -> u32 {
    let size = coefficient.unsigned_abs();
    // Most are small, of which the logarithm is cheaper.
    let log = u64::try_from(size).map_or_else(|_| size.checked_ilog10(), u64::checked_ilog10);
    log.map_or(1, |log| log + 1)
}

/// Brings both halves to one sign and the lower one below its bound.
fn carried(mut high: i128, mut rest: i128) -> (i128, i128) {
    high += rest / HALF;
    rest %= HALF;
    if high > 0 && rest < 0 {
        high -= 1;
        rest += HALF;
    } else if high < 0 && rest > 0 {
        high += 1;
        rest -= HALF;
    }
    (high, rest)
}

impl FromStr for Number {
    type Err = NumberError;

    fn from_str(text: &str) -> Result<Self, NumberError> {
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
            Some(at) => (&unsigned[..at], parse_exponent(&unsigned[at + 1..])?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.len() + fraction.len() == 0 || !is_digits(whole) || !is_digits(fraction) {
            return Err(NumberError::Invalid);
        }
        let exponent = exponent - fraction.len() as i64;
        let all = || whole.bytes().chain(fraction.bytes());
        let leading = all().take_while(|digit| *digit == b'0').count();
        let significant = whole.len() + fraction.len() - leading;
        if significant == 0 {
            // Zero has a magnitude too: the service refuses 0e126 and accepts 0.0e126.
            return match exponent {
                e if e > i64::from(SCIENTIFIC_MAX) => Err(NumberError::Overflow),
                e if e < i64::from(SCIENTIFIC_MIN) => Err(NumberError::Underflow),
                _ => Ok(Self::ZERO),
            };
        }
        let trailing = fraction.bytes().rev().chain(whole.bytes().rev()).take_while(|digit| *digit == b'0').count();
        let scientific = exponent + significant as i64 - 1;
        if scientific > i64::from(SCIENTIFIC_MAX) {
            return Err(NumberError::Overflow);
        }
        if scientific < i64::from(SCIENTIFIC_MIN) {
            return Err(NumberError::Underflow);
        }
        if significant - trailing > DIGITS_MAX as usize {
            return Err(NumberError::TooManyDigits);
        }
        let kept = all().skip(leading).take(significant - trailing);
        let coefficient = kept.fold(0i128, |sum, digit| sum * 10 + i128::from(digit - b'0'));
        let signed = if negative { -coefficient } else { coefficient };
        Self::normalised(signed, (exponent + trailing as i64) as i32)
    }
}

fn parse_exponent(text: &str) -> Result<i64, NumberError> {
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if unsigned.is_empty() || !unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NumberError::Invalid);
    }
    // Beyond nine digits only its size matters.
    let size = unsigned.trim_start_matches('0');
    let value = if size.len() > 9 { 1_000_000_000 } else { size.parse().unwrap_or(0) };
    Ok(if negative { -value } else { value })
}

impl fmt::Display for Number {
    /// Canonical: plain decimal, never an exponent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.coefficient < 0 {
            f.write_str("-")?;
        }
        let mut text = itoa::Buffer::new();
        let text = text.format(self.coefficient.unsigned_abs());
        let exponent = i32::from(self.exponent);
        if exponent == 0 {
            f.write_str(text)
        } else if exponent > 0 {
            write!(f, "{text}{:0<1$}", "", exponent as usize)
        } else if self.magnitude() > 0 && self.coefficient != 0 {
            let (whole, fraction) = text.split_at(self.magnitude() as usize);
            write!(f, "{whole}.{fraction}")
        } else {
            write!(f, "0.{:0<1$}{text}", "", (-self.magnitude()) as usize)
        }
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        let signs = self.coefficient.signum().cmp(&other.coefficient.signum());
        if signs != Ordering::Equal || self.coefficient == 0 {
            return signs;
        }
        let (a, b) = (digits(self.coefficient), digits(other.coefficient));
        let sizes = self.magnitude().cmp(&other.magnitude()).then_with(|| {
            let scaled = |number: &Self, own: u32| number.coefficient.unsigned_abs() * 10u128.pow(a.max(b) - own);
            scaled(self, a).cmp(&scaled(other, b))
        });
        if self.coefficient < 0 { sizes.reverse() } else { sizes }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self::normalised(i128::from(value), 0).unwrap_or(Self::ZERO)
    }
}

#[cfg(test)]
mod tests;
