//! Numbers against `bigdecimal` as oracle, and the service's own quirks.

use std::str::FromStr;

use bigdecimal::BigDecimal;
use proptest::prelude::*;

use super::*;

fn number(text: &str) -> Number {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e:?}"))
}

#[test]
fn canonical_form_is_plain_decimal() {
    let cases = [
        ("0", "0"),
        ("-0", "0"),
        ("+5", "5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("1e3", "1000"),
        ("1E-3", "0.001"),
        ("100.00", "100"),
        ("-0.0100", "-0.01"),
        ("123456789012345678901234567890.12345678", "123456789012345678901234567890.12345678"),
    ];
    for (given, canonical) in cases {
        assert_eq!(number(given).to_string(), canonical, "{given}");
    }
    assert_eq!(number("1e125").to_string().len(), 126);
    assert_eq!(number("1e-130").to_string().len(), 132);
}

#[test]
fn limits_and_malformed_texts() {
    use NumberError::{Invalid, Overflow, TooManyDigits, Underflow};
    let cases = [
        ("", Invalid),
        ("-", Invalid),
        (".", Invalid),
        ("1e", Invalid),
        ("NaN", Invalid),
        ("Infinity", Invalid),
        (" 1", Invalid),
        ("1 ", Invalid),
        ("0x1", Invalid),
        ("1_0", Invalid),
        ("--1", Invalid),
        ("1e1.5", Invalid),
        ("١", Invalid),
        ("1e126", Overflow),
        ("-1e126", Overflow),
        ("1e99999999999999999999", Overflow),
        ("0e126", Overflow),
        ("1e-131", Underflow),
        ("1e-99999999999999999999", Underflow),
        ("123456789012345678901234567890123456789", TooManyDigits),
        ("0.123456789012345678901234567890123456789", TooManyDigits),
    ];
    for (text, error) in cases {
        assert_eq!(text.parse::<Number>(), Err(error), "{text}");
    }
    for text in [
        "0.0e126",
        "9.9999999999999999999999999999999999999e125",
        "12345678901234567890123456789012345678000",
        "1e-130",
    ] {
        number(text);
    }
}

#[test]
fn sums_that_need_more_than_38_digits_are_refused() {
    assert_eq!(number("1e38").checked_add(&number("1")), Err(NumberError::Overflow));
    assert_eq!(number("1e38").checked_sub(&number("1")).map(|n| n.to_string()), Ok("9".repeat(38)));
    assert_eq!(number("1e125").checked_add(&number("1e-130")), Err(NumberError::Overflow));
    assert_eq!(number("9e125").checked_add(&number("9e125")), Err(NumberError::Overflow));
    assert_eq!(number("1.5e-130").checked_sub(&number("1e-130")), Err(NumberError::Underflow));
    assert_eq!(number("5").checked_sub(&number("5.0")), Ok(Number::ZERO));
}

fn texts() -> impl Strategy<Value = String> {
    ("-?[0-9]{1,19}(\\.[0-9]{1,19})?", -60i32..60).prop_map(|(mantissa, exponent)| format!("{mantissa}e{exponent}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn agrees_with_the_oracle(a in texts(), b in texts()) {
        let (x, y) = (number(&a), number(&b));
        let (ox, oy) = (BigDecimal::from_str(&a).unwrap(), BigDecimal::from_str(&b).unwrap());
        prop_assert_eq!(x.cmp(&y), ox.cmp(&oy));
        prop_assert_eq!(BigDecimal::from_str(&x.to_string()).unwrap(), ox.clone());
        prop_assert_eq!(number(&x.to_string()), x);
        prop_assert_eq!(x.to_key_bytes().cmp(&y.to_key_bytes()), ox.cmp(&oy));
        let mut bytes = x.to_key_bytes();
        bytes.extend(b"more");
        prop_assert_eq!(Number::from_key_bytes(&bytes), Some((x, &b"more"[..])));
        let sum = (ox + oy).normalized();
        match x.checked_add(&y) {
            Ok(found) => prop_assert_eq!(BigDecimal::from_str(&found.to_string()).unwrap(), sum),
            Err(error) => {
                prop_assert_eq!(error, NumberError::Overflow);
                prop_assert!(sum.digits() > 38, "{} has {} digits", sum, sum.digits());
            }
        }
    }

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,50}") {
        let _ = text.parse::<Number>();
    }
}
