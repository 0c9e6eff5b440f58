//! The frames of an HTTP/2 connection, beneath the h2 crate: they are counted by their heads, and what
//! would be too much for h2 at one moment waits. What is in them is h2's business.
//!
//! That crate bounds what it keeps: one PING and one SETTINGS to be acknowledged at a time, streams
//! that were reset, tiny DATA, CONTINUATION. What it does not bound is how many frames a client sends
//! that ask for nothing, each of which costs us time and some of them an answer (CVE-2019-9512, -9514,
//! -9515): those are counted here. And some of its bounds are for the whole connection, on which many
//! requests have a part: what is no abuse must not come near them.

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

/// A DATA frame below this size costs h2 more to keep than what is in it: it takes them out of a
/// budget of the connection, and ends that with all streams where nothing is left.
pub(super) const SMALL: usize = 256;

/// Small DATA frames that are read before the streams get a turn to take theirs.
const AT_ONCE: u32 = 512;

/// A connection whose frames are looked at.
#[derive(Debug)]
pub(super) struct Framed<S, W> {
    io: S,
    watch: W,
    received: Heads,
    /// Small DATA frames since the streams had a turn.
    small: u32,
}

/// What is done about frames.
pub(super) trait Watch: Unpin {
    /// Something has come.
    fn read(&mut self) {}

    /// The head of a frame has come.
    fn received(&mut self, _head: Head) {}

    /// These bytes were sent.
    fn sent(&mut self, _bytes: &[u8]) {}

    /// Whether nothing more is to be read. Whoever finds that out ends the connection.
    fn has_enough(&self) -> bool {
        false
    }
}

impl<S, W: Watch> Framed<S, W> {
    /// Looks at a connection whose peer begins with so many bytes that are no frame.
    pub(super) const fn new(io: S, preface: usize, watch: W) -> Self {
        Self {
            io,
            watch,
            received: Heads::after(preface),
            small: 0,
        }
    }

    fn look_at(&mut self, bytes: &mut [u8]) {
        self.watch.read();
        let mut at = 0;
        while let Some(head) = self.received.next(bytes, &mut at) {
            self.watch.received(head);
            self.small += u32::from(head.is_small_data());
            // Nothing for anybody, and h2 takes a hundred of them in the life of a connection. What
            // it does not know it passes over (RFC 9113 section 5.5). A head that came in two parts
            // is left as it is.
            if head.is_empty_data()
                && let Some(kind) = at
                    .checked_sub(Head::LENGTH - Head::KIND)
                    .and_then(|kind| bytes.get_mut(kind))
            {
                *kind = Head::UNKNOWN;
            }
        }
    }
}

impl<S: AsyncRead + Unpin, W: Watch> AsyncRead for Framed<S, W> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.watch.has_enough() {
            return Poll::Pending;
        }
        if self.small >= AT_ONCE {
            self.small = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.look_at(&mut buf.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin, W: Watch> AsyncWrite for Framed<S, W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        self.watch.sent(&bytes[..written]);
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
            self.watch.sent(&part[..of_part]);
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

/// Counts the frames of a client.
#[derive(Debug)]
pub(super) struct ClientFrames {
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

impl ClientFrames {
    /// Counts from the preface on.
    pub(super) fn count<S>(io: S) -> (Framed<S, Self>, Flood) {
        const PREFACE: usize = 24;
        let flood = Flood::default();
        let counted = Self {
            sent: Heads::after(0),
            budget: Budget::new(Instant::now()),
            flood: flood.clone(),
        };
        (Framed::new(io, PREFACE, counted), flood)
    }
}

impl Watch for ClientFrames {
    fn received(&mut self, head: Head) {
        if !head.is_idle() {
            self.budget.earn();
        } else if !self.budget.spend(Instant::now) {
            self.flood.0.store(true, Ordering::Relaxed);
        }
    }

    fn sent(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while let Some(head) = self.sent.next(bytes, &mut at) {
            if !head.is_idle() {
                self.budget.earn();
            }
        }
    }

    fn has_enough(&self) -> bool {
        self.flood.is_there()
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

    /// The next head that ends in `bytes` from `at` on, which is moved behind it; `None` at the end
    /// of them.
    fn next(&mut self, bytes: &[u8], at: &mut usize) -> Option<Head> {
        let rest = bytes.get(*at..)?;
        let skipped = self.skip.min(rest.len());
        self.skip -= skipped;
        let rest = &rest[skipped..];
        let taken = (Head::LENGTH - self.filled).min(rest.len());
        self.head[self.filled..][..taken].copy_from_slice(&rest[..taken]);
        self.filled += taken;
        *at += skipped + taken;
        if self.filled < Head::LENGTH {
            return None;
        }
        let head = Head(self.head);
        (self.skip, self.filled) = (head.length(), 0);
        Some(head)
    }
}

/// The head of one frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head([u8; Self::LENGTH]);

impl Head {
    const LENGTH: usize = 9;
    /// Where it says what it is.
    const KIND: usize = 3;
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    /// Of those that nobody has a meaning for.
    const UNKNOWN: u8 = 0xFA;
    const END_STREAM: u8 = 1;

    fn length(self) -> usize {
        let [high, middle, low, ..] = self.0;
        usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low)
    }

    /// Whether it brings neither a request nor a part of a body.
    fn is_idle(self) -> bool {
        match self.0[Self::KIND] {
            Self::HEADERS => false,
            Self::DATA => self.is_empty_data(),
            _ => true,
        }
    }

    /// Whether it is DATA that neither brings nor ends anything.
    fn is_empty_data(self) -> bool {
        let [.., kind, flags, _, _, _, _] = self.0;
        kind == Self::DATA && self.length() == 0 && flags & Self::END_STREAM == 0
    }

    fn is_small_data(self) -> bool {
        self.0[Self::KIND] == Self::DATA && self.length() < SMALL
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
                let mut at = 0;
                let heads = std::iter::from_fn(|| heads.next(piece, &mut at));
                found.extend(heads.map(Head::length));
            }
            assert_eq!(found, payloads, "in pieces of {size}");
        }
    }

    #[test]
    fn a_frame_is_idle_unless_it_brings_a_request_or_a_part_of_one() {
        let is_idle = |kind, flags, payload| {
            let head = Heads::after(0).next(&frame(kind, flags, payload), &mut 0);
            head.unwrap().is_idle()
        };
        assert!(!is_idle(0, 0, 1) && !is_idle(0, 1, 0) && !is_idle(1, 4, 30));
        assert!(is_idle(0, 0, 0), "empty DATA");
        for kind in [2, 3, 4, 5, 6, 7, 8, 9, 42] {
            assert!(is_idle(kind, 0, 8), "{kind}");
        }
    }

    struct Nobody;

    impl Watch for Nobody {}

    #[test]
    fn data_that_is_empty_is_made_what_h2_passes_over_and_nothing_else_is_changed() {
        let frames = [
            frame(0, 0, 0),
            frame(0, 1, 0),
            frame(0, 0, 1),
            frame(9, 4, 0),
        ];
        let mut empty_as_unknown = frames[0].clone();
        empty_as_unknown[3] = 0xFA;
        let sent = [&frames[..], &frames[..]].concat().concat();
        let expected = [&[empty_as_unknown][..], &frames[1..]].concat().concat();
        let mut framed = Framed::new((), 0, Nobody);
        let mut seen = sent.clone();
        framed.look_at(&mut seen);
        assert_eq!(seen, [&expected[..], &expected[..]].concat());
        // A head in two parts: whatever of it has gone on cannot be taken back.
        let mut framed = Framed::new((), 0, Nobody);
        let (first, second) = seen.split_at_mut(5);
        first.copy_from_slice(&sent[..5]);
        second.copy_from_slice(&sent[5..]);
        framed.look_at(first);
        framed.look_at(second);
        assert_eq!(seen[..9], frames[0]);
        assert_eq!(seen[9..], [&expected[9..], &expected[..]].concat());
    }

    #[tokio::test]
    async fn after_many_small_frames_others_get_a_turn() {
        let sent = frame(0, 0, 5).repeat(3 * AT_ONCE as usize);
        let mut framed = Framed::new(sent.as_slice(), 0, Nobody);
        let mut context = Context::from_waker(std::task::Waker::noop());
        let (mut pieces, mut turns, mut read) = (0, 0, 0);
        while read < sent.len() {
            let mut room = [0; 1024];
            let mut buf = ReadBuf::new(&mut room);
            match Pin::new(&mut framed).poll_read(&mut context, &mut buf) {
                Poll::Ready(done) => done.unwrap(),
                Poll::Pending => turns += 1,
            }
            read += buf.filled().len();
            pieces += 1;
        }
        assert!((2..=3).contains(&turns), "{turns} in {pieces}");
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
