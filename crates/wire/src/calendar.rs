//! Dates as signatures, audit lines and credential scopes write them, from and to milliseconds since the epoch.

use headwater_types::Millis;

/// Days since 1970-01-01 of a proleptic Gregorian date (Howard Hinnant's `days_from_civil`).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// (year, month, day) of a day since 1970-01-01.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0i64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
}

/// Seconds since the epoch of `YYYYMMDDTHHMMSSZ`; None for anything else.
pub(crate) fn parse_basic(text: &str) -> Option<i64> {
    let bytes: &[u8; 16] = text.as_bytes().try_into().ok()?;
    if bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let (year, month, day) = (digits(&bytes[0..4])?, digits(&bytes[4..6])?, digits(&bytes[6..8])?);
    let (hour, minute, second) = (digits(&bytes[9..11])?, digits(&bytes[11..13])?, digits(&bytes[13..15])?);
    let days = days_from_civil(year, month, day);
    let in_range = (1..=12).contains(&month) && civil_from_days(days) == (year, month, day);
    if !in_range || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// `YYYYMMDDTHHMMSSZ` of seconds since the epoch.
pub(crate) fn basic(seconds: i64) -> String {
    let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
    let rest = seconds.rem_euclid(86_400);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", rest / 3_600, rest / 60 % 60, rest % 60)
}

/// Appends `YYYY-MM-DDTHH:MM:SS.mmmZ`.
pub(crate) fn append_extended(out: &mut Vec<u8>, at: Millis) {
    let (year, month, day) = civil_from_days(at.0.div_euclid(86_400_000));
    let rest = at.0.rem_euclid(86_400_000);
    append_padded(out, year, 4);
    out.push(b'-');
    append_padded(out, month, 2);
    out.push(b'-');
    append_padded(out, day, 2);
    out.push(b'T');
    append_padded(out, rest / 3_600_000, 2);
    out.push(b':');
    append_padded(out, rest / 60_000 % 60, 2);
    out.push(b':');
    append_padded(out, rest / 1_000 % 60, 2);
    out.push(b'.');
    append_padded(out, rest % 1_000, 3);
    out.push(b'Z');
}

/// Appends a number of at most `width` digits with zeros in front.
pub(crate) fn append_padded(out: &mut Vec<u8>, value: i64, width: usize) {
    let mut rest = value as u32;
    let start = out.len();
    out.resize(start + width, b'0');
    for digit in out.iter_mut().skip(start).rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_go_there_and_back() {
        assert_eq!(parse_basic("19700101T000000Z"), Some(0));
        assert_eq!(parse_basic("20150830T123600Z"), Some(1_440_938_160));
        let mut seconds = -1_000_000_000;
        while seconds < 20_000_000_000 {
            assert_eq!(parse_basic(&basic(seconds)), Some(seconds), "{}", basic(seconds));
            seconds += 7_654_321;
        }
        let mut out = Vec::new();
        append_extended(&mut out, Millis(1_440_938_160_042));
        assert_eq!(out, b"2015-08-30T12:36:00.042Z");
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "20150830",
            "20150830T123600",
            "20150830 123600Z",
            "20151330T123600Z",
            "20150230T000000Z",
            "20150830T243600Z",
            "2015-08-30T12:36Z",
            "2015083éT12360Z",
            "20150830T126000Z",
        ] {
            assert_eq!(parse_basic(text), None, "{text}");
        }
    }
}
