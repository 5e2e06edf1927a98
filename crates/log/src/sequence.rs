//! Sequence numbers as DynamoDB Streams shows them; as Kinesis does: [`kinesis`].

pub mod kinesis;

use headwater_types::SequenceNumber;

/// A text that is no sequence number of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotANumber;

impl std::fmt::Display for NotANumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not a sequence number")
    }
}

impl std::error::Error for NotANumber {}

const DIGITS: usize = 21;

/// Renders a number: "1" and 20 zero-padded digits, so that all have one length and no leading zero.
///
/// Order: as numbers and as texts, the same as the numbers themselves.
/// Source: "SequenceNumber", StreamRecord, DynamoDB Streams API reference: 21 to 40 digits.
pub fn render(number: SequenceNumber) -> String {
    format!("1{:020}", number.0)
}

/// Reads a rendered number back. Errors: anything that [`render`] does not give.
pub fn parse(text: &str) -> Result<SequenceNumber, NotANumber> {
    let digits = text.strip_prefix('1').filter(|_| text.len() == DIGITS).ok_or(NotANumber)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NotANumber);
    }
    digits.parse().map(SequenceNumber).map_err(|_| NotANumber)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rendered_numbers_read_back_in_the_same_order() {
        let numbers = [0, 1, 9, 10, 1 << 16, (1_767_225_600_000 << 16) | 3, u64::MAX - 1, u64::MAX];
        let texts: Vec<String> = numbers.iter().map(|n| render(SequenceNumber(*n))).collect();
        assert!(texts.is_sorted() && texts.iter().all(|text| text.len() == DIGITS));
        for (number, text) in numbers.iter().zip(&texts) {
            assert_eq!(parse(text), Ok(SequenceNumber(*number)));
        }
        let beyond = "118446744073709551616";
        for bad in [
            "",
            "1",
            "100000000000000000a00",
            "200000000000000000000",
            beyond,
            "1000000000000000000000",
            "1+0000000000000000000",
            "１00000000000000000000",
        ] {
            assert_eq!(parse(bad), Err(NotANumber), "{bad}");
        }
    }
}
