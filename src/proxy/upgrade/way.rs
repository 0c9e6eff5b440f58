//! One direction of a connection that has left HTTP: what one side sends, on its way to the other.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};

use super::frames::{FrameError, Frames, Side};
use crate::http1::read::ReadBuffer;

/// Reads and writes of one direction before the others have their turn.
const ROUNDS: usize = 16;

/// Why no more passes.
#[derive(Debug)]
pub(super) enum Broken {
    /// Reading from the side that sends.
    Source,
    /// Writing to the other.
    Target,
    /// What was sent is no WebSocket.
    Frame(FrameError),
}

/// One direction. Holds a buffer only while something is in it.
pub(super) struct Way<'w> {
    buffer: &'w mut ReadBuffer,
    frames: Frames,
    state: State,
    /// Whether the other side has not yet been sent all that was written.
    unsent: bool,
    /// Whether the other side has taken a part of what it was offered, or nothing.
    stuck: bool,
    passed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The sender has ended its side; the other is still to be told.
    Ended,
    Done,
}

impl<'w> Way<'w> {
    /// What `side` sends, beginning with what is in `buffer`.
    pub(super) const fn new(side: Side, buffer: &'w mut ReadBuffer) -> Self {
        Self {
            buffer,
            frames: Frames::of(side),
            state: State::Open,
            unsent: false,
            stuck: false,
            passed: 0,
        }
    }

    /// Bytes passed on.
    pub(super) const fn passed(&self) -> u64 {
        self.passed
    }

    /// Where its frames are.
    pub(super) const fn frames(&self) -> &Frames {
        &self.frames
    }

    /// Whether the end of the sender has been passed on, or nobody takes any more.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether a frame of our own may come next.
    pub(super) const fn is_free(&self) -> bool {
        self.frames.is_between() && !self.stuck
    }

    /// Passes on what comes, until the sender ends; its end too.
    pub(super) fn poll_pass(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut (impl AsyncRead + Unpin),
        target: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<Result<(), Broken>> {
        for _ in 0..ROUNDS {
            let length = self.passable().map_err(Broken::Frame)?;
            if length > 0 {
                ready!(self.poll_write(cx, target, length))?;
                continue;
            }
            match self.state {
                State::Open => ready!(self.poll_fill(cx, source, target))?,
                State::Ended => {
                    ready!(Pin::new(&mut *target).poll_shutdown(cx)).map_err(|_| Broken::Target)?;
                    self.state = State::Done;
                }
                State::Done => return Poll::Ready(Ok(())),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Passes on the frame that has begun to pass, and nothing behind it.
    pub(super) fn poll_finish_frame(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut (impl AsyncRead + Unpin),
        target: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<Result<(), Broken>> {
        for _ in 0..ROUNDS {
            if self.frames.is_between() {
                return Poll::Ready(Ok(()));
            }
            match self.frames.rest_of_frame(self.buffer.waiting()) {
                0 if self.state == State::Open => ready!(self.poll_fill(cx, source, target))?,
                // The sender will not end it.
                0 => return Poll::Ready(Err(Broken::Source)),
                length => ready!(self.poll_write(cx, target, length))?,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes what comes and lets it fall, until the sender has said Close, or ends.
    pub(super) fn poll_discard(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut (impl AsyncRead + Unpin),
    ) -> Poll<()> {
        for _ in 0..ROUNDS {
            let waiting = self.buffer.waiting();
            // Where a frame is none, nobody can tell where the next begins: all of it falls, or it
            // would be gathered for as long as the sender goes on.
            let length = match self.frames.passable(waiting) {
                Ok(length) => {
                    self.frames.pass(waiting, length);
                    length
                }
                Err(_) => waiting.len(),
            };
            self.buffer.consume(length);
            if self.frames.is_closed() || self.state != State::Open {
                return Poll::Ready(());
            }
            match ready!(self.buffer.poll_fill(cx, source)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Poll::Ready(()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn passable(&self) -> Result<usize, FrameError> {
        self.frames.passable(self.buffer.waiting())
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        target: &mut (impl AsyncWrite + Unpin),
        length: usize,
    ) -> Poll<Result<(), Broken>> {
        let bytes = self.buffer.waiting();
        self.stuck = true;
        let written = ready!(Pin::new(target).poll_write(cx, &bytes[..length]));
        let Ok(written @ 1..) = written else {
            return Poll::Ready(Err(Broken::Target));
        };
        self.stuck = false;
        self.unsent = true;
        self.frames.pass(bytes, written);
        self.passed += written as u64;
        self.buffer.consume(written);
        Poll::Ready(Ok(()))
    }

    /// Reads what comes next. What was written is sent before that is waited for.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut (impl AsyncRead + Unpin),
        target: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<Result<(), Broken>> {
        let read = match self.buffer.poll_fill(cx, source) {
            Poll::Pending if self.unsent => {
                ready!(Pin::new(target).poll_flush(cx)).map_err(|_| Broken::Target)?;
                self.unsent = false;
                return Poll::Pending;
            }
            read => ready!(read),
        };
        match read {
            Ok(1..) => {}
            Ok(0) => self.state = State::Ended,
            // The end of TCP without that of TLS. Where a message ends, WebSocket says itself.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.state = State::Ended;
            }
            Err(_) => return Poll::Ready(Err(Broken::Source)),
        }
        Poll::Ready(Ok(()))
    }

    /// Nobody takes any more of it.
    pub(super) fn give_up(&mut self) {
        self.state = State::Done;
    }
}
