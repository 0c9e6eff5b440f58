//! Reading heads and bodies from a connection, with deadlines.
//!
//! What the bytes mean is said by `head`, `response` and `body`; this file only waits for them.
//! A head has one deadline for the whole of it, so that a client cannot hold a connection by
//! sending a byte now and then; a body has one between two pieces.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::Method;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

use super::body::{BodyDecoder, BodyError, Decoded};
use super::buffers::{self, SIZE};
use super::head::{HeadError, HeadLimits, RequestHead};
use super::response::{ResponseError, ResponseHead};
use super::timer::Timer;

/// The least room to read into: a TLS record.
const ROOM: usize = 16 << 10;

/// Pieces of a body below this are joined.
const SMALL: usize = 2 << 10;

/// Bytes that were read from a connection and not yet used, and the connection's timer.
///
/// Memory is held only while bytes wait in it.
#[derive(Debug, Default)]
pub struct ReadBuffer {
    bytes: BytesMut,
    timer: Timer,
}

/// Why nothing more could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The peer closed the connection where it may: between two messages.
    #[error("the connection was closed")]
    Closed,
    /// The peer closed the connection in the middle of a head.
    #[error("the connection was closed within a head")]
    ClosedInHead,
    /// Nothing began within the idle time.
    #[error("nothing came within the idle time")]
    Idle,
    /// A head or the next piece of a body did not come in time.
    #[error("the peer was too slow")]
    TooSlow,
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The request head is not acceptable.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The response head is not acceptable.
    #[error(transparent)]
    Response(#[from] ResponseError),
    /// The body is not acceptable, or was cut short.
    #[error(transparent)]
    Body(#[from] BodyError),
}

impl ReadBuffer {
    /// Whether bytes are waiting.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes that are waiting.
    #[must_use]
    pub fn waiting(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether they are a request for HEAD, whose answer has no content. A request whose head is
    /// refused is still there.
    #[must_use]
    pub fn asks_for_head(&self) -> bool {
        self.bytes.starts_with(b"HEAD ")
    }

    /// Takes so many of them off the front.
    pub fn consume(&mut self, length: usize) {
        self.bytes.advance(length);
    }

    /// Gives the memory back while the connection is idle. Bytes that wait are kept.
    pub fn release(&mut self) {
        buffers::release(&mut self.bytes);
    }

    /// Reads what is there; the number of bytes, 0 at the end.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut (impl AsyncRead + Unpin),
    ) -> Poll<io::Result<usize>> {
        self.make_room();
        let read = pin!(io.read_buf(&mut self.bytes)).poll(cx);
        if read.is_pending() {
            self.wait_small();
        }
        read
    }

    /// Reads what is there, without waiting for it.
    async fn fill_now(&mut self, io: &mut (impl AsyncRead + Unpin)) -> Poll<io::Result<usize>> {
        poll_fn(|cx| Poll::Ready(self.poll_fill(cx, io))).await
    }

    fn make_room(&mut self) {
        // From its beginning, where nothing points into it any more.
        if self.bytes.is_empty() && self.bytes.try_reclaim(SIZE) {
            return;
        }
        if self.bytes.capacity() - self.bytes.len() >= ROOM {
            return;
        }
        let mut roomy = buffers::take();
        roomy.reserve(self.bytes.len() + ROOM);
        roomy.extend_from_slice(&self.bytes);
        buffers::give(std::mem::replace(&mut self.bytes, roomy));
    }

    /// Waits with no more memory than the bytes that are here need: who sends the first byte of
    /// a head and no more should not hold a buffer for it.
    fn wait_small(&mut self) {
        if self.bytes.is_empty() {
            self.release();
        } else if self.bytes.len() <= SMALL && self.bytes.capacity() > 2 * SMALL {
            let tight = BytesMut::from(&self.bytes[..]);
            buffers::give(std::mem::replace(&mut self.bytes, tight));
        }
    }

    /// Reads what is there, waiting for it until `due`.
    async fn fill_before(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        due: &mut Due,
    ) -> Result<usize, TooLate> {
        poll_fn(|cx| match self.poll_fill(cx, io) {
            Poll::Ready(read) => Poll::Ready(read.map_err(TooLate::Failed)),
            Poll::Pending => {
                ready!(self.timer.poll(cx, due.instant()));
                Poll::Ready(Err(TooLate::Elapsed))
            }
        })
        .await
    }

    /// Waits, at most for `idle`, until something of the next message is here.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::Closed`] is the ordinary end of a connection.
    pub async fn begin(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        idle: Duration,
    ) -> Result<(), ReadError> {
        if !self.bytes.is_empty() {
            return Ok(());
        }
        match self.fill_before(io, &mut Due::After(idle)).await {
            Ok(0) => Err(ReadError::Closed),
            Ok(_) => Ok(()),
            Err(TooLate::Elapsed) => Err(ReadError::Idle),
            Err(TooLate::Failed(error)) => Err(error.into()),
        }
    }

    /// The next request head: its first byte within `idle`, all of it within `whole` after that.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::Closed`] is the ordinary end of a connection.
    pub async fn request_head(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        limits: &HeadLimits,
        idle: Duration,
        whole: Duration,
    ) -> Result<RequestHead, ReadError> {
        self.begin(io, idle).await?;
        let mut due = Due::After(whole);
        loop {
            if let Some(head) = RequestHead::parse(&mut self.bytes, limits)? {
                self.release();
                return Ok(head);
            }
            self.fill_head(io, &mut due).await?;
        }
    }

    /// The next response head, within `limit`.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::Closed`] when the peer closed before the first byte.
    pub async fn response_head(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        method: &Method,
        limits: &HeadLimits,
        limit: Duration,
    ) -> Result<ResponseHead, ReadError> {
        let mut due = Due::After(limit);
        loop {
            if !self.bytes.is_empty()
                && let Some(head) = ResponseHead::parse(&mut self.bytes, method, limits)?
            {
                return Ok(head);
            }
            self.fill_head(io, &mut due).await?;
        }
    }

    async fn fill_head(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        due: &mut Due,
    ) -> Result<(), ReadError> {
        let nothing_yet = self.bytes.is_empty();
        match self.fill_before(io, due).await {
            Ok(0) if nothing_yet => Err(ReadError::Closed),
            Ok(0) => Err(ReadError::ClosedInHead),
            Ok(_) => Ok(()),
            Err(TooLate::Elapsed) => Err(ReadError::TooSlow),
            Err(TooLate::Failed(error)) => Err(error.into()),
        }
    }

    /// As [`ReadBuffer::body`], without waiting: `None` when nothing more has come yet.
    ///
    /// # Errors
    /// [`ReadError`]; a body cut short is a [`ReadError::Body`].
    pub async fn body_now(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        decoder: &mut BodyDecoder,
    ) -> Result<Option<Option<Bytes>>, ReadError> {
        loop {
            if let Some(piece) = self.buffered_body(decoder)? {
                return Ok(Some(piece));
            }
            match self.fill_now(io).await {
                Poll::Pending => return Ok(None),
                Poll::Ready(read) => self.take_in(io, decoder, read?).await?,
            }
        }
    }

    /// The next piece of a body, or `None` at its end. Each piece within `limit`.
    ///
    /// # Errors
    /// [`ReadError`]; a body cut short is a [`ReadError::Body`].
    pub async fn body(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        decoder: &mut BodyDecoder,
        limit: Duration,
    ) -> Result<Option<Bytes>, ReadError> {
        // One for all reads: a piece may be in coming for as long as its framing is.
        let mut due = Due::After(limit);
        loop {
            if let Some(piece) = self.buffered_body(decoder)? {
                return Ok(piece);
            }
            match self.fill_before(io, &mut due).await {
                Ok(read) => self.take_in(io, decoder, read).await?,
                Err(TooLate::Elapsed) => return Err(ReadError::TooSlow),
                Err(TooLate::Failed(error)) => return Err(error.into()),
            }
        }
    }

    /// Goes on after so many bytes of a body were read: the next piece, or its end, is found in
    /// the buffer then.
    async fn take_in(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        decoder: &mut BodyDecoder,
        read: usize,
    ) -> Result<(), ReadError> {
        if read == 0 {
            decoder.end_of_input()?;
        } else {
            self.fill_up(io, read).await?;
        }
        Ok(())
    }

    /// After a large read, takes what else is already there, so that a TLS record a read does not
    /// become a system call a record on the other side.
    async fn fill_up(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        mut read: usize,
    ) -> io::Result<()> {
        while read >= ROOM / 2 && self.bytes.len() + ROOM <= SIZE {
            read = match self.fill_now(io).await {
                Poll::Ready(read) => read?,
                Poll::Pending => 0,
            };
        }
        Ok(())
    }

    /// What is already here of a body: a piece, `Some(None)` at its end, or `None` when more must
    /// be read first.
    ///
    /// # Errors
    /// [`BodyError`] when the framing is broken.
    pub fn buffered_body(
        &mut self,
        decoder: &mut BodyDecoder,
    ) -> Result<Option<Option<Bytes>>, BodyError> {
        Ok(match decoder.decode(&mut self.bytes)? {
            Decoded::Data(piece) => Some(Some(self.gather(decoder, piece))),
            Decoded::End => Some(None),
            Decoded::NeedMore => None,
        })
    }

    /// Joins small pieces that are here already: a body in chunks of a byte each would otherwise
    /// cost a write, and a TLS record, for every one of them.
    fn gather(&mut self, decoder: &mut BodyDecoder, first: Bytes) -> Bytes {
        if first.len() >= SMALL || self.bytes.is_empty() {
            return first;
        }
        let mut gathered = BytesMut::from(&first[..]);
        while gathered.len() < ROOM {
            // The end, and an error, are found again by the next call.
            match decoder.decode(&mut self.bytes) {
                Ok(Decoded::Data(piece)) => gathered.extend_from_slice(&piece),
                Ok(Decoded::End | Decoded::NeedMore) | Err(_) => break,
            }
        }
        gathered.freeze()
    }
}

/// When a wait ends: the clock is only read where there is something to wait for.
#[derive(Clone, Copy, Debug)]
enum Due {
    After(Duration),
    At(Instant),
}

impl Due {
    /// The moment; counted from the first time that somebody asks.
    fn instant(&mut self) -> Instant {
        match *self {
            Self::At(due) => due,
            Self::After(time) => {
                let due = Instant::now() + time;
                *self = Self::At(due);
                due
            }
        }
    }
}

/// Why nothing was read.
enum TooLate {
    Elapsed,
    Failed(io::Error),
}
