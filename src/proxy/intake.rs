//! What comes on a stream of HTTP/2, and what of it is taken in before it is wanted.
//!
//! The h2 crate keeps each frame apart and counts the small ones of all streams together; where many
//! wait to be taken it ends the connection, with the requests of everybody on it. So a stream takes in
//! its own while it waits for something else, and joins them. What it may hold is bounded by its
//! window: the peer may send more only when something was passed on.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http::HeaderMap;

use super::frames::SMALL;

/// How much is joined where nobody has to wait for more.
const JOINED: usize = 16 << 10;

/// A stream, and what was taken from it and not passed on.
pub(super) struct Intake {
    stream: RecvStream,
    whole: VecDeque<Bytes>,
    /// Small pieces behind those, joined.
    joined: BytesMut,
    /// Whether there is no more, or why.
    end: Option<Result<(), h2::Error>>,
    /// What was passed on last. The peer may send as much again when more is wanted.
    passed: usize,
}

impl Intake {
    pub(super) fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            whole: VecDeque::new(),
            joined: BytesMut::new(),
            end: None,
            passed: 0,
        }
    }

    /// The next piece, `None` at the end.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, h2::Error>>> {
        let passed = std::mem::take(&mut self.passed);
        if passed > 0 {
            // Fails only for what was never received.
            let _released = self.stream.flow_control().release_capacity(passed);
        }
        // Small ones that are there go on together.
        while self.whole.is_empty() && self.joined.len() < JOINED {
            if self.poll_one(cx).is_pending() {
                break;
            }
        }
        let first = self.whole.pop_front();
        let piece = first.unwrap_or_else(|| self.joined.split().freeze());
        if !piece.is_empty() {
            self.passed = piece.len();
            return Poll::Ready(Some(Ok(piece)));
        }
        match self.end.take() {
            None => Poll::Pending,
            Some(Ok(())) => {
                self.end = Some(Ok(()));
                Poll::Ready(None)
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
        }
    }

    /// Takes in what has come, and wakes the task when there is more.
    pub(super) fn take_in(&mut self, cx: &mut Context<'_>) {
        while self.poll_one(cx).is_ready() {}
    }

    /// Takes in one piece, if it is there.
    fn poll_one(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.end.is_some() {
            return Poll::Pending;
        }
        match ready!(self.stream.poll_data(cx)) {
            Some(Ok(piece)) if piece.len() < SMALL => self.joined.extend_from_slice(&piece),
            Some(Ok(piece)) => {
                if !self.joined.is_empty() {
                    self.whole.push_back(self.joined.split().freeze());
                }
                self.whole.push_back(piece);
            }
            Some(Err(error)) => self.end = Some(Err(error)),
            None => self.end = Some(Ok(())),
        }
        Poll::Ready(())
    }

    /// The trailers, behind the end.
    pub(super) fn poll_trailers(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<HeaderMap>, h2::Error>> {
        self.stream.poll_trailers(cx)
    }

    /// Reads what still comes, within its window, and lets it go. Ends with the stream.
    pub(super) async fn pass_over(&mut self) {
        while let Some(Ok(_)) = self.stream.data().await {}
    }
}
