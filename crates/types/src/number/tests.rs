//! Numbers against `bigdecimal` as oracle, and the service's own quirks.

use std::cell::Cell;
use std::str::FromStr;

use bigdecimal::BigDecimal;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

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

/// Numbers of all sizes, and small ones of which many are equal or differ in one digit.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        1 => ("-?[0-9]{1,19}(\\.[0-9]{1,19})?", -60i32..60),
        1 => ("-?[0-9]{1,38}", -20i32..20),
        3 => ("-?[0-3]{1,3}(\\.[0-2]{1,2})?", -2i32..3),
    ]
    .prop_map(|(mantissa, exponent)| format!("{mantissa}e{exponent}"))
}

/// How often each kind of pair was met.
#[derive(Default)]
struct Met {
    pairs: Cell<usize>,
    equal: Cell<usize>,
    sums: Cell<usize>,
    refused: Cell<usize>,
}

fn count(cell: &Cell<usize>, met: bool) {
    cell.set(cell.get() + usize::from(met));
}

fn agrees(a: &str, b: &str, met: &Met) -> Result<(), TestCaseError> {
    let (x, y) = (number(a), number(b));
    let (ox, oy) = (BigDecimal::from_str(a).unwrap(), BigDecimal::from_str(b).unwrap());
    count(&met.pairs, true);
    count(&met.equal, ox == oy);
    prop_assert_eq!(x.cmp(&y), ox.cmp(&oy));
    prop_assert_eq!(x == y, ox == oy);
    prop_assert_eq!(BigDecimal::from_str(&x.to_string()).unwrap(), ox.clone());
    prop_assert_eq!(number(&x.to_string()), x);
    prop_assert!(!x.to_string().contains(['e', 'E', '+']));
    prop_assert_eq!(x.to_key_bytes().cmp(&y.to_key_bytes()), ox.cmp(&oy));
    let mut bytes = x.to_key_bytes();
    bytes.extend(b"more");
    prop_assert_eq!(Number::from_key_bytes(&bytes), Some((x, &b"more"[..])));
    for (found, oracle) in [(x.checked_add(&y), &ox + &oy), (x.checked_sub(&y), &ox - &oy)] {
        let oracle = oracle.normalized();
        count(&met.sums, found.is_ok());
        count(&met.refused, found.is_err());
        match found {
            Ok(found) => prop_assert_eq!(BigDecimal::from_str(&found.to_string()).unwrap(), oracle),
            Err(error) => {
                prop_assert_eq!(error, NumberError::Overflow);
                prop_assert!(oracle.digits() > 38, "{} has {} digits", oracle, oracle.digits());
            }
        }
    }
    Ok(())
}

#[test]
fn agrees_with_the_oracle() {
    let config = ProptestConfig { cases: 6_000, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let met = Met::default();
    let result = runner.run(&(texts(), texts()), |(a, b)| agrees(&a, &b, &met));
    let (pairs, equal) = (met.pairs.get(), met.equal.get());
    let (sums, refused) = (met.sums.get(), met.refused.get());
    println!("{pairs} pairs, {equal} of them equal; {sums} sums and differences, {refused} refused");
    result.expect("agreement");
    assert!(equal > 10 && sums > 3_000 && refused > 500);
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,50}") {
        let _ = text.parse::<Number>();
    }
}

#[test]
fn the_floor_is_the_greatest_whole_number_not_above() {
    for (text, floor) in [
        ("0", Some(0)),
        ("1.9", Some(1)),
        ("-1.1", Some(-2)),
        ("-1", Some(-1)),
        ("1e-130", Some(0)),
        ("-1e-130", Some(-1)),
        ("9223372036854775807", Some(i64::MAX)),
        ("9223372036854775807.9", Some(i64::MAX)),
        ("9223372036854775808", None),
        ("-9223372036854775808", Some(i64::MIN)),
        ("1e125", None),
    ] {
        assert_eq!(text.parse::<Number>().unwrap().floor_i64(), floor, "{text}");
    }
}
