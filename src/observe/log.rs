//! Log lines: one JSON object each, or text for people; written by a thread of their own.
//!
//! Field names follow OpenTelemetry. A forwarding thread never waits for the disk: access lines
//! are dropped (and counted) when the writer cannot keep up, audit lines are not. Cookies,
//! `Authorization`, form fields and queries never come here; values are bounded and escaped.

use std::fmt::{Display, Write as _};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// Lines that may wait for the writer.
const QUEUE: usize = 8192;

/// The longest value of a field, in bytes.
const MAX_VALUE: usize = 1024;

/// RFC 3339 in UTC with milliseconds.
const TIMESTAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

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

/// Where lines go. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Logger {
    format: Format,
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Answered once everything before it is written.
    Flush(SyncSender<()>),
}

impl Logger {
    /// Starts the writer thread on `out`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(format: Format, out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, lines) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write_lines(&lines, out))?;
        Ok(Self {
            format,
            queue,
            dropped: Arc::default(),
        })
    }

    /// Begins a line about `event`.
    #[must_use]
    pub fn line(&self, level: Level, event: &str) -> Line {
        Line::begin(self.format, level, event, SystemTime::now())
    }

    /// Writes a line that may be dropped when the writer cannot keep up.
    pub fn access(&self, line: Line) {
        if let Err(TrySendError::Full(_)) = self.queue.try_send(Message::Line(line.end())) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes a line that must not be lost. Waits while the queue is full, which the writer
    /// empties in large writes; audit lines are rare beside access lines.
    pub fn audit(&self, line: Line) {
        // The writer only ends with the last logger, so this cannot fail while we exist.
        drop(self.queue.send(Message::Line(line.end())));
    }

    /// Access lines dropped so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits, at most for `limit`, until everything logged so far is written.
    pub fn flush(&self, limit: Duration) {
        let (done, written) = sync_channel(1);
        if self.queue.send(Message::Flush(done)).is_ok() {
            let _ = written.recv_timeout(limit);
        }
    }
}

/// Writes what waits in one go, so that a busy log costs few system calls.
fn write_lines(lines: &Receiver<Message>, mut out: impl Write) {
    const BATCH: usize = 64 << 10;
    let mut batch = Vec::with_capacity(BATCH);
    while let Ok(first) = lines.recv() {
        let mut waiting = Vec::new();
        let mut take = |message, batch: &mut Vec<u8>| match message {
            Message::Line(line) => batch.extend_from_slice(&line),
            Message::Flush(done) => waiting.push(done),
        };
        take(first, &mut batch);
        while batch.len() < BATCH
            && let Ok(more) = lines.try_recv()
        {
            take(more, &mut batch);
        }
        // A log that cannot be written has nowhere to complain; requests go on.
        drop(out.write_all(&batch).and_then(|()| out.flush()));
        batch.clear();
        for done in waiting {
            let _ = done.send(());
        }
    }
}

/// One line being written.
#[derive(Debug)]
pub struct Line {
    format: Format,
    out: String,
}

impl Line {
    fn begin(format: Format, level: Level, event: &str, now: SystemTime) -> Self {
        let mut out = String::with_capacity(512);
        let timestamp = OffsetDateTime::from(now)
            .format(TIMESTAMP)
            .unwrap_or_default();
        let level = level.as_str();
        let written = match format {
            Format::Json => write!(
                out,
                r#"{{"timestamp":"{timestamp}","level":"{level}","event":"{event}""#
            ),
            Format::Text => write!(out, "{timestamp} {level:<5} {event}"),
        };
        debug_assert!(written.is_ok());
        Self { format, out }
    }

    /// Adds a field with a text value: escaped, and cut at 1 KiB.
    #[must_use]
    pub fn text(mut self, name: &str, value: &str) -> Self {
        let value = cut(value);
        match self.format {
            Format::Json => {
                self.name(name);
                self.out.push('"');
                escape(&mut self.out, value);
                self.out.push('"');
            }
            Format::Text => {
                self.name(name);
                let plain = |c: char| c.is_ascii_graphic() && !"\"\\=".contains(c);
                if !value.is_empty() && value.chars().all(plain) {
                    self.out.push_str(value);
                } else {
                    self.out.push('"');
                    escape(&mut self.out, value);
                    self.out.push('"');
                }
            }
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

    /// Adds a field whose value is a number or a truth value.
    #[must_use]
    pub fn value(mut self, name: &str, value: impl Display) -> Self {
        self.name(name);
        let written = write!(self.out, "{value}");
        debug_assert!(written.is_ok());
        self
    }

    /// Adds a duration in milliseconds, with microseconds after the point.
    #[must_use]
    pub fn milliseconds(self, name: &str, value: Duration) -> Self {
        self.value(name, format_args!("{:.3}", value.as_secs_f64() * 1000.0))
    }

    fn name(&mut self, name: &str) {
        let written = match self.format {
            Format::Json => write!(self.out, r#","{name}":"#),
            Format::Text => write!(self.out, " {name}="),
        };
        debug_assert!(written.is_ok());
    }

    fn end(mut self) -> Vec<u8> {
        if self.format == Format::Json {
            self.out.push('}');
        }
        self.out.push('\n');
        self.out.into_bytes()
    }
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
        let line = Line::begin(format, Level::Info, "access", now)
            .text("url.path", value)
            .value("code", 200);
        String::from_utf8(line.end()).unwrap()
    }

    #[test]
    fn a_json_line_is_one_object_whatever_the_value() {
        assert_eq!(
            line(Format::Json, "/a"),
            "{\"timestamp\":\"1970-01-01T00:00:01.234Z\",\"level\":\"info\",\"event\":\"access\",\
             \"url.path\":\"/a\",\"code\":200}\n"
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
            "1970-01-01T00:00:01.234Z info  access url.path=/a code=200\n"
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
    fn a_flush_waits_for_what_was_logged() {
        let (into, from) = std::sync::mpsc::channel();
        struct Sink(std::sync::mpsc::Sender<Vec<u8>>);
        impl Write for Sink {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let logger = Logger::start(Format::Text, Sink(into)).unwrap();
        logger.audit(logger.line(Level::Warn, "login.failure"));
        logger.flush(Duration::from_secs(10));
        let written: Vec<u8> = from.try_iter().flatten().collect();
        assert!(
            String::from_utf8(written)
                .unwrap()
                .contains("login.failure")
        );
    }
}
