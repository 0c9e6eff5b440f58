//! Reading heads and bodies from a connection, with deadlines.
//!
//! What the bytes mean is said by `head`, `response` and `body`; this file only waits for them.
//! A head has one deadline for the whole of it, so that a client cannot hold a connection by
//! sending a byte now and then; a body has one between two pieces.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Method;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

use super::body::{BodyDecoder, BodyError, Decoded};
use super::head::{HeadError, HeadLimits, RequestHead};
use super::response::{ResponseError, ResponseHead};

/// How much is read from a connection at once: a TLS record.
const READ_SIZE: usize = 16 << 10;

/// Pieces of a body below this are joined.
const SMALL: usize = 2 << 10;

/// Bytes that were read from a connection and not yet used.
#[derive(Debug, Default)]
pub struct ReadBuffer(BytesMut);

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
        self.0.is_empty()
    }

    /// Gives the memory back while the connection is idle. Bytes that wait are kept.
    pub fn release(&mut self) {
        if self.0.is_empty() {
            self.0 = BytesMut::new();
        }
    }

    /// Reads more; the number of bytes, 0 at the end.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn fill(&mut self, io: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        self.0.reserve(READ_SIZE);
        io.read_buf(&mut self.0).await
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
        if !self.0.is_empty() {
            return Ok(());
        }
        self.release();
        match timeout_at(Instant::now() + idle, self.fill(io)).await {
            Err(_) => Err(ReadError::Idle),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(0)) => Err(ReadError::Closed),
            Ok(Ok(_)) => Ok(()),
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
        let mut deadline = None;
        loop {
            if let Some(head) = RequestHead::parse(&mut self.0, limits)? {
                return Ok(head);
            }
            // Most heads come whole, and need no timer.
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + whole);
            self.fill_before(io, deadline).await?;
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
        let deadline = Instant::now() + limit;
        loop {
            if let Some(head) = ResponseHead::parse(&mut self.0, method, limits)? {
                return Ok(head);
            }
            self.fill_before(io, deadline).await?;
        }
    }

    async fn fill_before(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        deadline: Instant,
    ) -> Result<(), ReadError> {
        let nothing_yet = self.0.is_empty();
        match timeout_at(deadline, self.fill(io)).await {
            Err(_) => Err(ReadError::TooSlow),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(0)) if nothing_yet => Err(ReadError::Closed),
            Ok(Ok(0)) => Err(ReadError::ClosedInHead),
            Ok(Ok(_)) => Ok(()),
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
        loop {
            if let Some(piece) = self.buffered_body(decoder)? {
                return Ok(piece);
            }
            match timeout_at(Instant::now() + limit, self.fill(io)).await {
                Err(_) => return Err(ReadError::TooSlow),
                Ok(Err(error)) => return Err(error.into()),
                Ok(Ok(0)) => {
                    decoder.end_of_input()?;
                    return Ok(None);
                }
                Ok(Ok(_)) => {}
            }
        }
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
        Ok(match decoder.decode(&mut self.0)? {
            Decoded::Data(piece) => Some(Some(self.gather(decoder, piece))),
            Decoded::End => Some(None),
            Decoded::NeedMore => None,
        })
    }

    /// Joins small pieces that are here already: a body in chunks of a byte each would otherwise
    /// cost a write, and a TLS record, for every one of them.
    fn gather(&mut self, decoder: &mut BodyDecoder, first: Bytes) -> Bytes {
        if first.len() >= SMALL || self.0.is_empty() {
            return first;
        }
        let mut gathered = BytesMut::from(&first[..]);
        while gathered.len() < READ_SIZE {
            // The end, and an error, are found again by the next call.
            match decoder.decode(&mut self.0) {
                Ok(Decoded::Data(piece)) => gathered.extend_from_slice(&piece),
                Ok(Decoded::End | Decoded::NeedMore) | Err(_) => break,
            }
        }
        gathered.freeze()
    }
}
