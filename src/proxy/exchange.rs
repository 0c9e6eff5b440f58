//! The two ends of one exchange with a client, whatever version of HTTP it speaks: the body it
//! sends and the answer it gets.
//!
//! They are separate values, so that neither direction can block the other.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use crate::http1::fields::{Fields, Received};
use crate::http1::read::ReadBuffer;

/// Why the rest of a request body does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFailure {
    /// The client went away.
    ClientGone,
    /// Nothing came for too long.
    TooSlow,
    /// The framing is broken.
    Malformed,
    /// More came than the route takes.
    TooLarge,
    /// What was kept of it cannot be read again.
    Lost,
}

/// The client went away, or takes no more of the answer. Nothing can be said to it any more.
#[derive(Debug, PartialEq, Eq)]
pub struct ClientGone;

/// Where a request body comes from.
pub trait BodySource: Send {
    /// Whether there is none, so that nothing need be awaited.
    fn is_empty(&self) -> bool;

    /// The next piece, or `None` at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, BodyFailure>> + Send;

    /// Takes in what comes while something else is waited for: where it would be in the way of others,
    /// and, once the body has ended, where it tells that the client has gone.
    fn take_in(&mut self) -> impl Future<Output = Infallible> + Send {
        std::future::pending()
    }

    /// From now on, a client that has nothing to say for a while is not held to a rate.
    fn be_patient(&mut self) {}

    /// Goes back to its first byte; whether there is a way back. There is none to what a client
    /// has sent and nobody has kept.
    fn begin_again(&mut self) -> bool {
        false
    }

    /// The trailers, once, after the end.
    fn trailers(&mut self) -> impl Future<Output = Result<Option<Fields>, BodyFailure>> + Send {
        async { Ok(None) }
    }
}

/// A client's connection, as whatever takes the place of HTTP on it needs it.
pub trait ClientStream: AsyncRead + AsyncWrite + Unpin + Send {
    /// Has the kernel find out whether a client is still there that says nothing for long.
    fn keep_alive(&self);

    /// Has the client see, when this is dropped, that it was broken off (TCP RST).
    fn break_off(&self);
}

/// A client's connection that has left HTTP.
pub struct ClientEnd<'c> {
    /// The connection.
    pub io: &'c mut dyn ClientStream,
    /// What was read from it behind the head of the request.
    pub buffer: &'c mut ReadBuffer,
}

/// How much of a body that nobody wants is read, so that the connection can go on: less than a
/// new connection with its handshake would cost.
pub const MAX_DISCARD: u64 = 64 << 10;

/// How long that may take.
pub(super) const DISCARD_TIME: Duration = Duration::from_secs(2);

/// Reads a body that nobody wants to its end; whether it ended within bounds.
pub async fn discard(source: &mut impl BodySource) -> bool {
    let mut left = MAX_DISCARD;
    let deadline = Instant::now() + DISCARD_TIME;
    loop {
        match timeout_at(deadline, source.next()).await {
            Ok(Ok(None)) => return true,
            Ok(Ok(Some(piece))) => match left.checked_sub(piece.len() as u64) {
                Some(rest) => left = rest,
                None => return false,
            },
            Ok(Err(_)) | Err(_) => return false,
        }
    }
}

/// How much of an answer's body follows its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerLength {
    /// None can follow (HEAD, 204, 304); the length that GET would have, where it is known.
    NoBody(Option<u64>),
    /// This many bytes.
    Exact(u64),
    /// Until it ends.
    Unknown,
    /// None: it is a 101, and the connection speaks WebSocket behind its head.
    Switched,
    /// None follows, and the backend has not said so in a length: its stream ended with the head.
    Empty,
}

/// Where an answer goes. In order: `begin`, `field` for each, `ready`, `write` for each piece,
/// `finish`. What is written may wait for `flush` or `finish`, so that a head leaves together with
/// the first bytes of its body, and small pieces together.
pub trait AnswerSink: Send {
    /// Sends an interim answer (1xx but 101) with these fields, to a client that knows such.
    fn send_interim(
        &mut self,
        status: StatusCode,
        fields: &[Received<'_>],
    ) -> impl Future<Output = Result<(), ClientGone>> + Send;

    /// Tells a client that waits for it to send the body (100 Continue).
    fn send_continue(&mut self) -> impl Future<Output = Result<(), ClientGone>> + Send {
        self.send_interim(StatusCode::CONTINUE, &[])
    }

    /// Begins a final answer.
    fn begin(&mut self, status: StatusCode);

    /// Adds a field. Framing and connection fields are the sink's own.
    fn field(&mut self, name: &str, value: &[u8]);

    /// Adds a field that the backend sent.
    fn pass(&mut self, field: &Received<'_>);

    /// Ends the head and settles how the body is delimited.
    fn ready(&mut self, length: AnswerLength);

    /// Takes a piece of the body, waiting until there is room for it.
    fn write(&mut self, piece: Bytes) -> impl Future<Output = Result<(), ClientGone>> + Send;

    /// Sends what was written.
    fn flush(&mut self) -> impl Future<Output = Result<(), ClientGone>> + Send;

    /// Ends the answer.
    fn finish(
        &mut self,
        trailers: Option<&Fields>,
    ) -> impl Future<Output = Result<(), ClientGone>> + Send;

    /// Breaks the answer off so that the client notices: it must not take it for whole.
    fn abort(&mut self);

    /// Ends an answer that has begun and cannot go on with trailers that say so. Whether there is room
    /// for them; where there is not, nothing has changed.
    fn end_with(&mut self, _trailers: &Fields) -> bool {
        false
    }

    /// Serves no further request on this connection, because what the client is still sending
    /// will not be read. To be called before `ready`.
    fn close_after(&mut self);

    /// The connection itself, where it is this exchange's alone (HTTP/1, no body) and can leave HTTP.
    fn client(&mut self) -> Option<ClientEnd<'_>> {
        None
    }

    /// Whether `begin` was called.
    fn has_begun(&self) -> bool;

    /// Resolves when the client gives the exchange up. May never resolve. `silence` is for how long
    /// nothing has passed: some clients say nothing but that they end, and may still want an answer.
    fn gone(&mut self, silence: Duration) -> impl Future<Output = ()> + Send;
}

/// A request body under a limit, counted.
#[derive(Debug)]
pub struct Upload<'b, B> {
    source: &'b mut B,
    limit: u64,
    received: u64,
    ended: bool,
}

impl<'b, B: BodySource> Upload<'b, B> {
    /// The body of `source`, until its route sets a limit not to be read at all.
    pub fn new(source: &'b mut B) -> Self {
        let ended = source.is_empty();
        Self {
            source,
            limit: 0,
            received: 0,
            ended,
        }
    }

    /// Takes up to `limit` bytes from now on.
    pub fn allow(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Whether all of it has been read (or there was none).
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The bytes read so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// See [`BodySource::be_patient`].
    pub fn be_patient(&mut self) {
        self.source.be_patient();
    }

    /// See [`BodySource::take_in`].
    pub async fn take_in(&mut self) -> Infallible {
        self.source.take_in().await
    }

    /// Waits for `work`, and [takes in](BodySource::take_in) what comes meanwhile.
    pub async fn while_taking_in<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            done = work => done,
            never = self.source.take_in() => match never {},
        }
    }

    /// Goes back to its first byte, where there is a way back; whether all of it is still to come.
    pub fn begin_again(&mut self) -> bool {
        if self.received == 0 && (!self.ended || self.source.is_empty()) {
            return true;
        }
        let is_back = self.source.begin_again();
        if is_back {
            self.received = 0;
            self.ended = self.source.is_empty();
        }
        is_back
    }

    /// The next piece, or `None` at the end.
    ///
    /// # Errors
    /// [`BodyFailure`]; `TooLarge` once the limit is passed.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyFailure> {
        if self.ended {
            return Ok(None);
        }
        let Some(piece) = self.source.next().await? else {
            self.ended = true;
            return Ok(None);
        };
        self.received = self.received.saturating_add(piece.len() as u64);
        if self.received > self.limit {
            return Err(BodyFailure::TooLarge);
        }
        Ok(Some(piece))
    }

    /// The trailers, once, after the end.
    ///
    /// # Errors
    /// [`BodyFailure`].
    pub async fn trailers(&mut self) -> Result<Option<Fields>, BodyFailure> {
        self.source.trailers().await
    }
}
