//! Times as certificates and what is about them have it (X.690, RFC 5280 section 4.1.2.5).

use time::macros::format_description;
use time::{Date, Month, PrimitiveDateTime, Time};

/// A `GeneralizedTime` in seconds since 1970.
pub(super) fn generalized(time: &[u8]) -> Option<i64> {
    let format = format_description!("[year][month][day][hour][minute][second]Z");
    let text = std::str::from_utf8(time).ok()?;
    let time = PrimitiveDateTime::parse(text, format).ok()?;
    Some(time.assume_utc().unix_timestamp())
}

/// A `UTCTime` in seconds since 1970. Its two digits of the year stand for 1950 to 2049.
pub(super) fn utc(time: &[u8]) -> Option<i64> {
    let (digits, b"Z") = time.split_at_checked(12)? else {
        return None;
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let pair = |at: usize| (digits[at] - b'0') * 10 + digits[at + 1] - b'0';
    let year = match i32::from(pair(0)) {
        year @ 50.. => 1900 + year,
        year => 2000 + year,
    };
    let date = Date::from_calendar_date(year, Month::try_from(pair(2)).ok()?, pair(4)).ok()?;
    let time = Time::from_hms(pair(6), pair(8), pair(10)).ok()?;
    let time = PrimitiveDateTime::new(date, time);
    Some(time.assume_utc().unix_timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_time_are_understood_and_nothing_else() {
        assert_eq!(generalized(b"20300102030405Z"), Some(1_893_553_445));
        assert_eq!(utc(b"300102030405Z"), Some(1_893_553_445));
        assert_eq!(utc(b"700101000000Z"), Some(0));
        assert_eq!(utc(b"500101000000Z"), Some(-631_152_000));
        for bad in [
            &b""[..],
            b"300102030405",
            b"300102030405+0100",
            b"301302030405Z",
            b"3001020304Z",
            b"30010203040\xffZ",
        ] {
            assert_eq!(utc(bad), None);
            assert_eq!(generalized(bad), None);
        }
    }
}
