//! The kinds of single values that the configuration knows, and how each is written: durations,
//! sizes, numbers, switches. Which values make sense where is not decided here.
//!
//! Each kind also reads from a text, because that is what `${VAR}` leaves.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Reads a kind of value from what it may be written as. `$text` and `$whole` say what a text and
/// a whole number mean for it, if anything.
macro_rules! scalar {
    ($kind:ident, $expected:expr, text: $text:expr $(, whole: $whole:expr)? $(, flag: $flag:expr)?) => {
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Kind;

                impl Visitor<'_> for Kind {
                    type Value = $kind;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$kind, E> {
                        let refuse = || E::invalid_value(de::Unexpected::Str(text), &self);
                        $text(text).map($kind).ok_or_else(refuse)
                    }

                    $(fn visit_u64<E: de::Error>(self, number: u64) -> Result<$kind, E> {
                        Ok($kind($whole(number)))
                    })?

                    $(fn visit_bool<E: de::Error>(self, flag: bool) -> Result<$kind, E> {
                        Ok($kind($flag(flag)))
                    })?
                }

                deserializer.deserialize_any(Kind)
            }
        }
    };
}

/// A whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(pub u64);

scalar!(Number, "a whole number", text: |text: &str| text.parse().ok(), whole: |number| number);

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag(pub bool);

scalar!(Flag, "true or false", text: |text: &str| text.parse().ok(), flag: |flag| flag);

/// A length of time: a number with its unit. A bare number is refused, because half of the readers
/// would take it for seconds and the others for milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

scalar!(
    Span,
    "a duration with its unit, like \"30s\", \"5m\" or \"12h\"",
    text: parse_duration
);

/// An amount of data: a number of bytes, or a number with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

scalar!(
    Size,
    "a size like \"16KiB\" or \"50MiB\", or a number of bytes",
    text: parse_size,
    whole: |bytes| bytes
);

impl Size {
    /// Reads one as it is written in a configuration.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse_size(text).map(Self)
    }
}

/// As [`Size`], or the word `unlimited`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeOrUnlimited(pub u64);

scalar!(
    SizeOrUnlimited,
    "a size like \"16KiB\" or \"50MiB\", a number of bytes, or \"unlimited\"",
    text: |text: &str| if text == "unlimited" { Some(u64::MAX) } else { parse_size(text) },
    whole: |bytes| bytes
);

/// The statuses from one to another; the two may be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange(pub (u64, u64));

scalar!(
    StatusRange,
    "a status like 200, or a range like \"200-399\"",
    text: parse_range,
    whole: |status| (status, status)
);

fn parse_range(text: &str) -> Option<(u64, u64)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
}

/// How often something may happen: so many times in a second, a minute or an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In which time.
    pub per: Duration,
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Only so that the wrong kinds are told as for any other scalar.
        struct Written(Rate);

        scalar!(
            Written,
            "a rate like \"100/s\", \"30/m\" or \"1000/h\"",
            text: parse_rate
        );

        Written::deserialize(deserializer).map(|Written(rate)| rate)
    }
}

fn parse_rate(text: &str) -> Option<Rate> {
    let (count, unit) = text.split_once('/')?;
    let per = match unit.trim_start_matches(' ') {
        "s" | "sec" | "second" => 1,
        "m" | "min" | "minute" => 60,
        "h" | "hr" | "hour" => 3600,
        _ => return None,
    };
    let count = count.trim_end_matches(' ');
    let digits = !count.is_empty() && count.bytes().all(|it| it.is_ascii_digit());
    let count = count.parse().ok().filter(|count| digits && *count > 0)?;
    Some(Rate {
        count,
        per: Duration::from_secs(per),
    })
}

/// Reads a length of time.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&[&str], u64); 6] = [
        (&["ms"], 1),
        (&["s", "sec", "secs"], 1000),
        (&["m", "min", "mins"], 60_000),
        (&["h", "hr", "hrs"], 3_600_000),
        (&["d", "day", "days"], 86_400_000),
        (&["w", "week", "weeks"], 604_800_000),
    ];
    let (number, unit) = split_unit(text)?;
    let (_, factor) = UNITS.iter().find(|(names, _)| names.contains(&unit))?;
    number.checked_mul(*factor).map(Duration::from_millis)
}

fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

/// `"30s"` is 30 and `"s"`.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let number = text[..end].parse().ok()?;
    Some((number, text[end..].trim_start_matches(' ')))
}

/// A version number, which YAML may have taken for a number or left a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub String);

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Kind;

        impl Visitor<'_> for Kind {
            type Value = Version;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a version in quotes")
            }

            fn visit_str<E>(self, text: &str) -> Result<Version, E> {
                Ok(Version(text.into()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Version, E> {
                Ok(Version(number.to_string()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Version, E> {
                Ok(Version(number.to_string()))
            }
        }

        deserializer.deserialize_any(Kind)
    }
}

/// One of several words, or another text that says what it should be if it is wrong: `true` is told
/// which words there are, and not to put quotes around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice(pub String);

impl Deref for Choice {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Choice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Kind;

        impl Visitor<'_> for Kind {
            type Value = Choice;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word")
            }

            fn visit_str<E>(self, text: &str) -> Result<Choice, E> {
                Ok(Choice(text.into()))
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Choice, E> {
                Ok(Choice(flag.to_string()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Choice, E> {
                Ok(Choice(number.to_string()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Choice, E> {
                Ok(Choice(number.to_string()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Choice, E> {
                Ok(Choice(number.to_string()))
            }
        }

        deserializer.deserialize_any(Kind)
    }
}

/// One text, or a list of them. An item is `None` where what was written was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OneOrMany {
    /// A text without a list.
    One(String),
    /// A list.
    Many(Vec<Option<String>>),
}

impl OneOrMany {
    /// Whether it is a list with nothing in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        match self {
            Self::One(_) => false,
            Self::Many(items) => items.is_empty(),
        }
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Kind;

        impl<'de> Visitor<'de> for Kind {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word or a list of words")
            }

            fn visit_str<E>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany::One(text.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<OneOrMany, A::Error> {
                collect(list).map(OneOrMany::Many)
            }
        }

        deserializer.deserialize_any(Kind)
    }
}

/// A list. An item is `None` where what was written was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Items<T>(pub Vec<Option<T>>);

impl<T> Default for Items<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Items<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Kind<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Kind<T> {
            type Value = Items<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_unit<E>(self) -> Result<Items<T>, E> {
                Ok(Items::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Items<T>, A::Error> {
                collect(list).map(Items)
            }
        }

        deserializer.deserialize_any(Kind(PhantomData))
    }
}

/// Names with what they stand for, in the order of the file. A value is `None` where what was
/// written was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries<T>(pub Vec<(String, Option<T>)>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Kind<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Kind<T> {
            type Value = Entries<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping of names")
            }

            fn visit_unit<E>(self) -> Result<Entries<T>, E> {
                Ok(Entries::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut mapping: A) -> Result<Entries<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = mapping.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_any(Kind(PhantomData))
    }
}

/// Collects a list.
///
/// # Errors
/// Those of the list.
pub fn collect<'de, A: SeqAccess<'de>, T: Deserialize<'de>>(
    mut list: A,
) -> Result<Vec<Option<T>>, A::Error> {
    let mut items = Vec::new();
    while let Some(item) = list.next_element()? {
        items.push(item);
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("30sec", 30_000),
            ("5m", 300_000),
            ("5min", 300_000),
            ("12h", 43_200_000),
            ("12 hr", 43_200_000),
            ("1day", 86_400_000),
            ("7d", 604_800_000),
            ("1week", 604_800_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in [
            "",
            "30",
            "s",
            "-5s",
            "1.5h",
            "5 parsecs",
            "30S",
            "99999999999999999w",
            "1h30m",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_rate_is_a_number_and_a_time() {
        for (text, count, seconds) in [
            ("100/s", 100, 1),
            ("30/m", 30, 60),
            ("1000 / hour", 1000, 3600),
        ] {
            let per = Duration::from_secs(seconds);
            assert_eq!(parse_rate(text), Some(Rate { count, per }), "{text}");
        }
        for text in [
            "",
            "100",
            "/s",
            "0/s",
            "-1/s",
            "+1/s",
            "1.5/s",
            "1/d",
            "9999999999/s",
        ] {
            assert_eq!(parse_rate(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_count_in_steps_of_1024_whatever_the_case() {
        for (text, bytes) in [
            ("0", 0),
            ("1500", 1500),
            ("16KiB", 16 << 10),
            ("10K", 10 << 10),
            ("100kb", 100 << 10),
            ("5mb", 5 << 20),
            ("50MiB", 50 << 20),
            ("1 GiB", 1 << 30),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "KiB",
            "-1",
            "1.5K",
            "1TiB",
            "99999999999G",
            "unlimited",
            "1é",
        ] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
