//! Where log lines go: collected by each thread for itself, written out by a thread of their own.
//!
//! Nobody ever waits for the disk, and no two threads for each other: a line is appended to the
//! lane of the thread that logs it. The writer is woken by the first line after a silence and
//! takes what has come a few milliseconds later, all lanes at once, so that a busy log costs few
//! system calls; lines of different threads may stand that far out of order. Access lines are
//! dropped (and counted) when the writer cannot keep up. Audit lines have room kept for them, and
//! whoever writes one is told when even that is full, so that what must be on record is refused
//! instead.
//!
//! Field names follow OpenTelemetry. Cookies, `Authorization`, form fields and queries never come
//! here.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex};

pub use super::line::{Format, Level, Line};

/// Bytes of access lines that may wait in a lane: some 5,000 lines.
const ACCESS_ROOM: usize = 4 << 20;

/// Room beyond them that only audit lines may use.
const AUDIT_ROOM: usize = 256 << 10;

/// How long the writer lets lines gather.
const GATHER: Duration = Duration::from_millis(5);

/// Bytes in a lane that are not left to gather more.
const PLENTY: usize = 256 << 10;

/// Where lines go. A clone uses the same lane; a thread that logs much has [its own](Self::lane).
#[derive(Clone, Debug)]
pub struct Logger {
    format: Format,
    lane: Arc<Lane>,
    writer: Arc<Handle>,
}

/// The log takes no more: its reader has stopped.
#[derive(Debug, thiserror::Error)]
#[error("the log cannot be written")]
pub struct LogFull;

/// The lines of one thread that wait for the writer.
#[derive(Debug, Default)]
struct Lane(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Whether the writer knows that there are some.
    announced: bool,
    /// Whether it was told to hurry.
    urged: bool,
}

/// What the writer thread and those who log share.
#[derive(Debug, Default)]
struct Writer {
    lanes: Mutex<Vec<Arc<Lane>>>,
    /// Some lane has lines.
    work: AtomicBool,
    /// They are not to be left to gather.
    hurry: AtomicBool,
    /// Nobody can log any more.
    closed: AtomicBool,
    flushes: Mutex<Flushes>,
    flushed: Condvar,
    dropped: AtomicU64,
}

/// How many flushes were asked for, and how many of them are done.
#[derive(Debug, Default)]
struct Flushes {
    asked: u64,
    done: u64,
}

/// Ends the writer thread with the last logger.
#[derive(Debug)]
struct Handle {
    writer: Arc<Writer>,
    thread: Thread,
}

impl Handle {
    fn wake(&self, flag: &AtomicBool) {
        flag.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.wake(&self.writer.closed);
    }
}

impl Logger {
    /// Starts the writer thread on `out`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(format: Format, out: impl Write + Send + 'static) -> io::Result<Self> {
        let writer = Arc::<Writer>::default();
        let writing = Arc::clone(&writer);
        let thread = std::thread::Builder::new()
            .name("log".into())
            .spawn(move || writing.write_lines(out))?;
        let lane = Arc::<Lane>::default();
        writer.lanes.lock().push(Arc::clone(&lane));
        Ok(Self {
            format,
            lane,
            writer: Arc::new(Handle {
                writer,
                thread: thread.thread().clone(),
            }),
        })
    }

    /// A logger with a lane of its own, for a thread.
    #[must_use]
    pub fn lane(&self) -> Self {
        let lane = Arc::<Lane>::default();
        self.writer.writer.lanes.lock().push(Arc::clone(&lane));
        Self {
            lane,
            ..self.clone()
        }
    }

    /// Begins a line about `event`.
    #[must_use]
    pub fn line(&self, level: Level, event: &str) -> Line {
        Line::begin(self.format, level, event, SystemTime::now())
    }

    /// Writes a line that may be dropped when the writer cannot keep up.
    pub fn access(&self, line: Line) {
        if self.append(line, ACCESS_ROOM).is_err() {
            self.count_dropped();
        }
    }

    /// Writes a line that must be on record.
    ///
    /// # Errors
    /// [`LogFull`] when the writer has not kept up for thousands of lines. What the line was about
    /// should not happen then.
    pub fn audit(&self, line: Line) -> Result<(), LogFull> {
        self.append(line, ACCESS_ROOM + AUDIT_ROOM)
    }

    /// Writes a line about ourselves: lost only where nobody reads anyway.
    pub fn note(&self, line: Line) {
        if self.audit(line).is_err() {
            self.count_dropped();
        }
    }

    fn append(&self, line: Line, room: usize) -> Result<(), LogFull> {
        line.end(|line| {
            let mut waiting = self.lane.0.lock();
            if waiting.bytes.len() + line.len() > room {
                return Err(LogFull);
            }
            waiting.bytes.extend_from_slice(line);
            let announce = !std::mem::replace(&mut waiting.announced, true);
            let urge = waiting.bytes.len() >= PLENTY && !waiting.urged;
            waiting.urged |= urge;
            drop(waiting);
            if announce {
                self.writer.wake(&self.writer.writer.work);
            }
            if urge {
                self.writer.wake(&self.writer.writer.hurry);
            }
            Ok(())
        })
    }

    fn count_dropped(&self) {
        let dropped = &self.writer.writer.dropped;
        dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Lines dropped so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.writer.writer.dropped.load(Ordering::Relaxed)
    }

    /// Waits, at most for `limit`, until everything logged so far is written.
    pub fn flush(&self, limit: Duration) {
        let writer = &self.writer.writer;
        let deadline = Instant::now() + limit;
        let mut flushes = writer.flushes.lock();
        flushes.asked += 1;
        let own = flushes.asked;
        self.writer.wake(&writer.hurry);
        self.writer.wake(&writer.work);
        while flushes.done < own {
            if writer
                .flushed
                .wait_until(&mut flushes, deadline)
                .timed_out()
            {
                return;
            }
        }
    }
}

// --- The writer thread ---

impl Writer {
    fn write_lines(&self, mut out: impl Write) {
        let mut batch = Vec::new();
        while self.wait_for_work() {
            self.let_gather();
            let asked = self.flushes.lock().asked;
            let lanes = self.lanes.lock().clone();
            // The first lane is the server's own. What it says of its end comes after what its
            // threads have logged before.
            for lane in lanes.iter().rev() {
                lane.take(&mut batch);
                // A log that cannot be written has nowhere to complain; requests go on.
                drop(out.write_all(&batch));
                batch.clear();
                // What one burst needed is not kept for ever.
                batch.shrink_to(2 * PLENTY);
            }
            drop(out.flush());
            self.flushes.lock().done = asked;
            self.flushed.notify_all();
        }
    }

    /// Whether there is any; `false` when there will be none any more.
    fn wait_for_work(&self) -> bool {
        while !self.work.swap(false, Ordering::AcqRel) {
            if self.closed.load(Ordering::Acquire) {
                return false;
            }
            std::thread::park();
        }
        true
    }

    fn let_gather(&self) {
        let until = Instant::now() + GATHER;
        while !self.hurry.swap(false, Ordering::AcqRel) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::park_timeout(left);
        }
    }
}

impl Lane {
    /// Swaps the memory of `batch`, which is empty, for the lines that wait. A busy lane and the
    /// writer so pass two buffers back and forth.
    fn take(&self, batch: &mut Vec<u8>) {
        let mut waiting = self.0.lock();
        std::mem::swap(&mut waiting.bytes, batch);
        waiting.announced = false;
        waiting.urged = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_nobody_reads_drops_access_lines_keeps_room_for_audit_and_blocks_nobody() {
        struct Stuck;
        impl Write for Stuck {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                loop {
                    std::thread::park();
                }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let logger = Logger::start(Format::Text, Stuck).unwrap();
        let line = || {
            let value = "x".repeat(1000);
            logger.line(Level::Info, "access").text("value", &value)
        };
        for _ in 0..3 * ACCESS_ROOM / 1000 {
            logger.access(line());
        }
        assert!(logger.dropped() > 0);
        assert!(logger.audit(line()).is_ok());
        let refused = (0..2 * AUDIT_ROOM / 1000).filter(|_| logger.audit(line()).is_err());
        assert!(refused.count() > 0);
        logger.flush(Duration::from_millis(1));
    }

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

    #[test]
    fn the_last_word_is_the_servers() {
        let (into, from) = std::sync::mpsc::channel();
        let server = Logger::start(Format::Text, Sink(into)).unwrap();
        let thread = server.lane();
        thread.access(thread.line(Level::Info, "access"));
        server.note(server.line(Level::Info, "server.stopped"));
        server.flush(Duration::from_secs(10));
        let written: Vec<u8> = from.try_iter().flatten().collect();
        let written = String::from_utf8(written).unwrap();
        assert!(written.ends_with("server.stopped\n"), "{written}");
        assert_eq!(written.lines().count(), 2);
    }

    #[test]
    fn a_flush_waits_for_what_was_logged_in_every_lane() {
        let (into, from) = std::sync::mpsc::channel();
        let logger = Logger::start(Format::Text, Sink(into)).unwrap();
        let other = logger.lane();
        for round in 0..100 {
            for logger in [&logger, &other] {
                let line = logger.line(Level::Warn, "login.failure");
                logger.audit(line.number("round", round)).unwrap();
            }
            logger.flush(Duration::from_secs(10));
            let written: Vec<u8> = from.try_iter().flatten().collect();
            let written = String::from_utf8(written).unwrap();
            let expected = format!("round={round}\n");
            assert_eq!(written.matches(&expected).count(), 2, "{written}");
        }
    }
}
