//! One log line: a JSON object, or `key=value` for people.
//!
//! Written straight into bytes: this runs once a request. Values are bounded and escaped. Where
//! lines go is `log`'s business.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// The longest value of a field, in bytes.
const MAX_VALUE: usize = 1024;

/// What most lines stay below, so that they are written without growing.
const USUAL: usize = 1024;

/// The whole seconds of RFC 3339 in UTC; milliseconds and `Z` follow.
const SECONDS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object.
    Json,
    /// `key=value`, for people.
    Text,
}

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Info,
    /// Worth a look.
    Warn,
    /// Something failed.
    Error,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// One line being written.
#[derive(Debug)]
pub struct Line {
    format: Format,
    out: String,
}

thread_local! {
    /// The memory of this thread's last line, for its next one.
    static SPARE: Cell<String> = const { Cell::new(String::new()) };
}

impl Line {
    /// Begins a line about `event`.
    #[must_use]
    pub fn begin(format: Format, level: Level, event: &str, now: SystemTime) -> Self {
        let mut out = SPARE.take();
        out.reserve(USUAL);
        let level = level.as_str();
        match format {
            Format::Json => {
                out.push_str("{\"timestamp\":\"");
                push_timestamp(&mut out, now);
                out.push_str("\",\"level\":\"");
                out.push_str(level);
                out.push_str("\",\"event\":\"");
                out.push_str(event);
                out.push('"');
            }
            Format::Text => {
                push_timestamp(&mut out, now);
                let written = write!(out, " {level:<5} {event}");
                debug_assert!(written.is_ok());
            }
        }
        Self { format, out }
    }

    /// Adds a field with a text value: escaped, and cut at 1 KiB.
    #[must_use]
    pub fn text(mut self, name: &str, value: &str) -> Self {
        let value = cut(value);
        self.name(name);
        let quoted = match self.format {
            Format::Json => true,
            Format::Text => {
                let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"\\=".contains(&byte);
                value.is_empty() || !value.bytes().all(plain)
            }
        };
        if quoted {
            self.out.push('"');
            escape(&mut self.out, value);
            self.out.push('"');
        } else {
            self.out.push_str(value);
        }
        self
    }

    /// Adds the field where there is a value.
    #[must_use]
    pub fn maybe_text(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    /// Adds a field whose value is a number.
    #[must_use]
    pub fn number(mut self, name: &str, value: impl itoa::Integer) -> Self {
        self.name(name);
        self.out.push_str(itoa::Buffer::new().format(value));
        self
    }

    /// Adds a field whose value is `true` or `false`.
    #[must_use]
    pub fn truth(mut self, name: &str, value: bool) -> Self {
        self.name(name);
        self.out.push_str(if value { "true" } else { "false" });
        self
    }

    /// Adds a duration in milliseconds, with microseconds after the point.
    #[must_use]
    pub fn milliseconds(mut self, name: &str, value: Duration) -> Self {
        let micros = value.as_micros();
        self = self.number(name, micros / 1000);
        self.out.push('.');
        push_three_digits(&mut self.out, (micros % 1000) as u32);
        self
    }

    /// Adds fields that were made before. `make` is asked for them the first time, beginning with
    /// a line that has none.
    #[must_use]
    pub fn fields(mut self, made: &OnceLock<String>, make: impl FnOnce(Self) -> Self) -> Self {
        let fields = made.get_or_init(|| {
            let none = Self {
                format: self.format,
                out: String::new(),
            };
            make(none).out
        });
        self.out.push_str(fields);
        self
    }

    fn name(&mut self, name: &str) {
        match self.format {
            Format::Json => {
                self.out.push_str(",\"");
                self.out.push_str(name);
                self.out.push_str("\":");
            }
            Format::Text => {
                self.out.push(' ');
                self.out.push_str(name);
                self.out.push('=');
            }
        }
    }

    /// Ends the line and hands it over.
    pub(super) fn end<T>(mut self, take: impl FnOnce(&[u8]) -> T) -> T {
        if self.format == Format::Json {
            self.out.push('}');
        }
        self.out.push('\n');
        let taken = take(self.out.as_bytes());
        self.out.clear();
        SPARE.set(self.out);
        taken
    }
}

/// RFC 3339 in UTC with milliseconds. The part that only changes once a second is kept.
fn push_timestamp(out: &mut String, now: SystemTime) {
    thread_local! {
        static SECOND: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != since.as_secs() {
            *second = since.as_secs();
            *text = OffsetDateTime::from(now)
                .format(SECONDS)
                .unwrap_or_default();
        }
        out.push_str(text);
    });
    out.push('.');
    push_three_digits(out, since.subsec_millis());
    out.push('Z');
}

/// `number` is below 1000.
fn push_three_digits(out: &mut String, number: u32) {
    let digit = |place: u32| char::from(b'0' + (number / place % 10) as u8);
    out.extend([digit(100), digit(10), digit(1)]);
}

fn cut(value: &str) -> &str {
    if value.len() <= MAX_VALUE {
        return value;
    }
    let end = (0..=MAX_VALUE).rev().find(|&at| value.is_char_boundary(at));
    &value[..end.unwrap_or(0)]
}

/// Escapes for JSON; the text format uses the same, so that no value can begin a line or move a
/// terminal's cursor (C1 controls and the Unicode line separators included).
fn escape(out: &mut String, value: &str) {
    let plain = |byte: u8| matches!(byte, b' '..=b'~') & (byte != b'"') & (byte != b'\\');
    // No branch a byte: nearly every value passes here, and the compiler vectorises it.
    if value.bytes().fold(true, |all, byte| all & plain(byte)) {
        out.push_str(value);
        return;
    }
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                let written = write!(out, "\\u{:04x}", u32::from(c));
                debug_assert!(written.is_ok());
            }
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: Format, value: &str) -> String {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_234);
        Line::begin(format, Level::Info, "access", now)
            .text("url.path", value)
            .number("code", 200)
            .truth("resumed", true)
            .milliseconds("duration_ms", Duration::from_micros(12_045))
            .end(|line| String::from_utf8(line.to_vec()).unwrap())
    }

    #[test]
    fn a_json_line_is_one_object_whatever_the_value() {
        assert_eq!(
            line(Format::Json, "/a"),
            "{\"timestamp\":\"1970-01-01T00:00:01.234Z\",\"level\":\"info\",\"event\":\"access\",\
             \"url.path\":\"/a\",\"code\":200,\"resumed\":true,\"duration_ms\":12.045}\n"
        );
        let hostile = "/\"\\\r\n\u{0}\u{7f}\u{9b}\u{2028}\",\"x\":\"";
        let written = line(Format::Json, hostile);
        assert_eq!(written.matches('\n').count(), 1);
        let parsed: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!(parsed["url.path"], hostile);
    }

    #[test]
    fn a_text_line_stays_one_line_without_control_characters() {
        assert_eq!(
            line(Format::Text, "/a"),
            "1970-01-01T00:00:01.234Z info  access url.path=/a code=200 resumed=true \
             duration_ms=12.045\n"
        );
        let written = line(Format::Text, "/a b\n\u{1b}[31m");
        assert!(written.trim_end().chars().all(|c| !c.is_control()));
    }

    #[test]
    fn a_long_value_is_cut_on_a_character() {
        let written = line(Format::Text, &"ü".repeat(5000));
        assert!(written.len() < 1200);
    }

    #[test]
    fn the_seconds_of_a_timestamp_follow_the_clock() {
        for (millis, expected) in [
            (59_999, "1970-01-01T00:00:59.999Z"),
            (60_000, "1970-01-01T00:01:00.000Z"),
            (59_007, "1970-01-01T00:00:59.007Z"),
        ] {
            let mut out = String::new();
            push_timestamp(&mut out, UNIX_EPOCH + Duration::from_millis(millis));
            assert_eq!(out, expected);
        }
    }
}
