//! Points in time as they stand in files.

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

use crate::gate::session::Timestamp;

/// Reads a time (`2027-01-31T00:00:00Z`), or a day, which stands for its beginning (UTC).
#[must_use]
pub fn parse(text: &str) -> Option<Timestamp> {
    let day = Date::parse(text, format_description!("[year]-[month]-[day]"));
    let time = match day {
        Ok(day) => day.midnight().assume_utc(),
        Err(_) => OffsetDateTime::parse(text, &Rfc3339).ok()?,
    };
    let millis = time.unix_timestamp_nanos() / 1_000_000;
    u64::try_from(millis).ok().map(Timestamp)
}

/// Writes one so that [`parse`] reads it, to the second. None beyond the year 9999.
#[must_use]
pub fn write(time: Timestamp) -> Option<String> {
    let seconds = i64::try_from(time.0 / 1000).ok()?;
    let time = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    time.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_that_of_rfc_3339_or_the_beginning_of_a_day() {
        for (text, expected) in [
            ("2027-01-31T00:00:00Z", Some(1_801_353_600_000)),
            ("2027-01-31", Some(1_801_353_600_000)),
            ("2027-01-31T01:00:00+01:00", Some(1_801_353_600_000)),
            ("2027-01-31T00:00:00.5Z", Some(1_801_353_600_500)),
            ("2027-01-31T00:00:00", None),
            ("2027-02-30", None),
            ("1969-12-31", None),
            ("31.01.2027", None),
            ("90d", None),
            ("never", None),
            ("", None),
        ] {
            assert_eq!(parse(text).map(|it| it.0), expected, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same_second() {
        let time = Timestamp(1_801_353_600_999);
        assert_eq!(write(time).as_deref(), Some("2027-01-31T00:00:00Z"));
        assert_eq!(write(Timestamp(0)).as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(write(Timestamp(u64::MAX)), None);
    }
}
