//! Counting the frames of an HTTP/2 connection, beneath the h2 crate.
//!
//! That crate bounds what it keeps: one PING and one SETTINGS to be acknowledged at a time, streams
//! that were reset, empty and tiny DATA, CONTINUATION. What it does not bound is how many frames a
//! client sends that ask for nothing, each of which costs us time and some of them an answer
//! (CVE-2019-9512, -9514, -9515). Here they are counted by their heads alone: what is in them is h2's
//! business.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Idle frames for each frame of substance, in either direction. A client that acknowledges every
/// DATA frame for its stream and for its connection, and measures the way with a PING, sends three.
const PER_FRAME: u32 = 4;

/// Idle frames beyond that at one moment.
const BURST: u32 = 1_000;

/// And that come back with time.
const PER_SECOND: u32 = 100;

/// What a long download can earn at the most.
const MOST_EARNED: u32 = 10_000;

/// A connection whose frames are counted.
#[derive(Debug)]
pub(super) struct Counted<S> {
    io: S,
    received: Heads,
    sent: Heads,
    budget: Budget,
    flood: Flood,
}

/// Whether a client has sent more frames than it may.
#[derive(Clone, Debug, Default)]
pub(super) struct Flood(Arc<AtomicBool>);

impl Flood {
    pub(super) fn is_there(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl<S> Counted<S> {
    /// Counts from the preface on.
    pub(super) fn new(io: S) -> (Self, Flood) {
        const PREFACE: usize = 24;
        let flood = Flood::default();
        let counted = Self {
            io,
            received: Heads::after(PREFACE),
            sent: Heads::after(0),
            budget: Budget::new(Instant::now()),
            flood: flood.clone(),
        };
        (counted, flood)
    }

    fn count_received(&mut self, bytes: &[u8]) {
        let Self {
            received, budget, ..
        } = self;
        let mut is_flood = false;
        received.read(bytes, |head| match head.is_idle() {
            true => is_flood |= !budget.spend(Instant::now),
            false => budget.earn(),
        });
        if is_flood {
            self.flood.0.store(true, Ordering::Relaxed);
        }
    }

    fn count_sent(&mut self, bytes: &[u8]) {
        let Self { sent, budget, .. } = self;
        sent.read(bytes, |head| {
            if !head.is_idle() {
                budget.earn();
            }
        });
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.flood.is_there() {
            // Whoever looks at the flood ends the connection. Nothing more is taken in meanwhile.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.count_received(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        self.count_sent(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, parts))?;
        let mut left = written;
        for part in parts {
            let of_part = part.len().min(left);
            self.count_sent(&part[..of_part]);
            left -= of_part;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// The heads of frames (RFC 9113 section 4.1) in a stream of bytes that comes in any pieces.
#[derive(Debug)]
struct Heads {
    /// Bytes until the next head begins.
    skip: usize,
    head: [u8; Head::LENGTH],
    /// How much of it is there.
    filled: usize,
}

impl Heads {
    const fn after(skip: usize) -> Self {
        Self {
            skip,
            head: [0; Head::LENGTH],
            filled: 0,
        }
    }

    fn read(&mut self, mut bytes: &[u8], mut each: impl FnMut(Head)) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (Head::LENGTH - self.filled).min(bytes.len());
            self.head[self.filled..][..taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == Head::LENGTH {
                let head = Head(self.head);
                self.skip = head.length();
                self.filled = 0;
                each(head);
            }
        }
    }
}

/// The head of one frame.
#[derive(Clone, Copy, Debug)]
struct Head([u8; Self::LENGTH]);

impl Head {
    const LENGTH: usize = 9;
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const END_STREAM: u8 = 1;

    fn length(self) -> usize {
        let [high, middle, low, ..] = self.0;
        usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low)
    }

    /// Whether it brings neither a request nor a part of a body.
    fn is_idle(self) -> bool {
        let [.., kind, flags, _, _, _, _] = self.0;
        match kind {
            Self::HEADERS => false,
            Self::DATA => self.length() == 0 && flags & Self::END_STREAM == 0,
            _ => true,
        }
    }
}

/// How many idle frames may still come.
#[derive(Debug)]
struct Budget {
    left: u32,
    /// When time was last counted.
    since: Instant,
}

impl Budget {
    const fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            since: now,
        }
    }

    fn earn(&mut self) {
        self.left = (self.left + PER_FRAME).min(MOST_EARNED);
    }

    /// Takes one; whether there was one. The clock is only read when nothing is left.
    fn spend(&mut self, now: impl FnOnce() -> Instant) -> bool {
        if self.left == 0 {
            let now = now();
            let seconds = now.duration_since(self.since).as_secs_f64();
            self.left = ((seconds * f64::from(PER_SECOND)) as u32).min(BURST);
            if self.left > 0 {
                self.since = now;
            }
        }
        let is_there = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_there
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        frame.resize(9 + payload, 0xAB);
        frame
    }

    #[test]
    fn heads_are_found_however_the_bytes_come() {
        let payloads = [0, 1, 8, 300, 70_000, 0, 5];
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(payloads.iter().flat_map(|payload| frame(6, 0, *payload)));
        for size in [1, 2, 7, 9, 10, 4096, bytes.len()] {
            let mut found = Vec::new();
            let mut heads = Heads::after(24);
            for piece in bytes.chunks(size) {
                heads.read(piece, |head| found.push(head.length()));
            }
            assert_eq!(found, payloads, "in pieces of {size}");
        }
    }

    #[test]
    fn a_frame_is_idle_unless_it_brings_a_request_or_a_part_of_one() {
        let is_idle = |kind, flags, payload| {
            let mut idle = None;
            Heads::after(0).read(&frame(kind, flags, payload), |head| {
                idle = Some(head.is_idle());
            });
            idle.unwrap()
        };
        assert!(!is_idle(0, 0, 1) && !is_idle(0, 1, 0) && !is_idle(1, 4, 30));
        assert!(is_idle(0, 0, 0), "empty DATA");
        for kind in [2, 3, 4, 5, 6, 7, 8, 9, 42] {
            assert!(is_idle(kind, 0, 8), "{kind}");
        }
    }

    #[test]
    fn idle_frames_are_a_flood_unless_there_is_work_beside_them_or_time() {
        let begun = Instant::now();
        let later = |seconds| move || begun + Duration::from_secs(seconds);
        let mut budget = Budget::new(begun);
        let spent = (0..BURST * 2).filter(|_| budget.spend(later(0))).count();
        assert_eq!(spent, BURST as usize);
        // With time.
        let spent = (0..BURST).filter(|_| budget.spend(later(2))).count();
        assert_eq!(spent, 2 * PER_SECOND as usize);
        assert!(!budget.spend(later(2)));
        // With work.
        for _ in 0..100_000 {
            budget.earn();
            assert!((0..PER_FRAME).all(|_| budget.spend(later(2))));
        }
        assert!(!budget.spend(later(2)));
        // And no more than so much of either.
        (0..1_000_000).for_each(|_| budget.earn());
        let spent = (0..1_000_000).filter(|_| budget.spend(later(2))).count();
        assert_eq!(spent, MOST_EARNED as usize);
    }
}
