//! Clients that speak HTTP/1: heads read one after the other, each answered before the next.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::Guard;
use bytes::Bytes;
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout, timeout_at};

use super::client::ClientFacts;
use super::exchange::{
    AnswerLength, AnswerSink, BodyFailure, BodySource, ClientEnd, ClientGone, ClientStream, Upload,
    discard,
};
use super::pace::Pace;
use super::pages::text::{Said, Text};
use super::record::{bad_head, slow_head};
use super::request_id::RequestId;
use super::respond::{Answer, Audience};
use super::{DrainWatch, FIRST_REQUEST, Request, Snapshot, Worker};
use crate::http1::body::{BodyDecoder, BodyError};
use crate::http1::fields::{Fields, Received};
use crate::http1::head::{HeadError, RequestFraming, RequestHead, Version};
use crate::http1::read::{ReadBuffer, ReadError};
use crate::http1::write::{self, BodyEncoder, LARGE};

/// How long a client may take to see our answer and close, after we have closed our side while it
/// was still sending. Without the wait, its unread bytes would make the kernel reset the
/// connection, and the answer would be lost.
const LINGER: Duration = Duration::from_secs(2);

/// How much is read while lingering: a client that is busy sending may look for the answer late.
const MAX_LINGER: usize = 16 << 20;

/// How much is read behind a request while its client is looked after: what it sends further stays
/// with it, and so does the news that it has gone.
const AHEAD: usize = 16 << 10;

/// How long an answer may be silent whose client has ended its side. A client that closes its sending
/// side may still want the answer (`curl` never does, `nc` does), and nothing tells it from one that
/// is gone until something is written.
const HALF_CLOSED: Duration = Duration::from_secs(10);

/// Serves a connection until it ends.
pub async fn serve<S>(worker: &Worker, client: &ClientFacts, mut io: S)
where
    S: ClientStream,
{
    let mut buffer = ReadBuffer::default();
    // Whoever has just connected is about to ask for something.
    let mut drain = DrainWatch::new(worker, FIRST_REQUEST);
    let mut served = 0_usize;
    loop {
        let idle = worker.shared.snapshot.load().timeouts.idle;
        let begun = {
            let mut begin = pin!(buffer.begin(&mut io, idle));
            poll_fn(|cx| match begin.as_mut().poll(cx) {
                Poll::Ready(begun) => Poll::Ready(begun.is_ok()),
                // Nothing has begun: nothing is lost by closing. What has begun is still served.
                Poll::Pending => drain.poll(cx).map(|()| false),
            })
            .await
        };
        if !begun {
            break;
        }
        drain.begun();
        let snapshot = worker.shared.snapshot.load_full();
        let head = match next_head(&snapshot, &mut buffer, &mut io).await {
            Ok(head) => head,
            Err(ReadError::Head(error)) => {
                let refused = (&*snapshot, buffer.asks_for_head());
                refuse_head(worker, client, refused, &error, &mut io).await;
                linger(&mut io).await;
                return;
            }
            Err(ReadError::TooSlow) => {
                let refused = (&*snapshot, buffer.asks_for_head());
                refuse_slow_head(worker, client, refused, &mut io).await;
                break;
            }
            Err(_) => break,
        };
        // A head may take its time. Who was disabled meanwhile must not be let in by having begun.
        let snapshot = newest(worker, snapshot);
        let brought = client.brought_by(&snapshot.trusted_proxies, head.fields());
        let client = brought.as_deref().unwrap_or(client);
        let request = Request::new(worker, client, snapshot, &head);
        // Apart from the connection, which would hold the room for it while it is idle.
        served = served.saturating_add(1);
        let is_last = served >= request.snapshot.limits.requests_per_connection;
        match Box::pin(exchange(request, is_last, &mut buffer, &mut io)).await {
            After::Next => {}
            After::Close => break,
            After::Linger => {
                linger(&mut io).await;
                return;
            }
            // Dropped without the end of TLS, so that the client knows that something is missing.
            After::Abort => return,
        }
    }
    drop(timeout(LINGER, io.shutdown()).await);
}

/// The configuration of this moment, where that is not the one that is there already. It is looked
/// at before it is taken: all threads count in one place who has it.
fn newest(worker: &Worker, snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
    let now = worker.shared.snapshot.load();
    match Arc::ptr_eq(&now, &snapshot) {
        true => snapshot,
        false => Guard::into_inner(now),
    }
}

async fn next_head(
    snapshot: &Arc<Snapshot>,
    buffer: &mut ReadBuffer,
    io: &mut (impl AsyncRead + Unpin),
) -> Result<RequestHead, ReadError> {
    let times = &snapshot.timeouts;
    buffer
        .request_head(io, &snapshot.limits.head, times.idle, times.head)
        .await
}

/// What becomes of a connection after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// The next request may come.
    Next,
    /// It ends in order.
    Close,
    /// It ends, and the client is still sending.
    Linger,
    /// It breaks off: the answer is not whole.
    Abort,
}

/// Serves one request.
async fn exchange<S>(
    request: Request<'_>,
    is_last: bool,
    buffer: &mut ReadBuffer,
    io: &mut S,
) -> After
where
    S: ClientStream,
{
    let (worker, client, head) = (request.worker, request.client, request.head);
    let timeouts = request.snapshot.timeouts;
    let leaving = Leaving::default();
    let decoder = match head.framing() {
        RequestFraming::Length(length) if length > 0 => BodyDecoder::length(length),
        RequestFraming::Chunked => BodyDecoder::chunked(),
        // HTTP/2 framing does not come from this codec.
        RequestFraming::None | RequestFraming::Length(_) | RequestFraming::Stream { .. } => {
            let whole = Whole { io, buffer };
            let pace = Pace::new(&timeouts);
            let mut sink = Sink::new((worker, client), whole, head, pace, &leaving);
            sink.keep &= !is_last;
            request
                .serve(&mut Upload::new(&mut NoBody), &mut sink)
                .await;
            return match sink.end().await {
                After::Next if leaving.is_over(buffer) => After::Close,
                // It has sent more than its request.
                After::Close if !buffer.is_empty() => After::Linger,
                after => after,
            };
        }
    };
    let (read, write) = tokio::io::split(io);
    let mut source = Source {
        io: read,
        buffer,
        decoder,
        is_whole: false,
        leaving: &leaving,
        pace: Pace::new(&timeouts),
    };
    let pace = Pace::new(&timeouts);
    let mut sink = Sink::new((worker, client), write, head, pace, &leaving);
    sink.keep &= !is_last;
    let mut body = Upload::new(&mut source);
    request.serve(&mut body, &mut sink).await;
    let read_whole = body.has_ended();
    match sink.end().await {
        After::Next if !read_whole && !discard(&mut source).await => After::Linger,
        After::Next if leaving.is_over(buffer) => After::Close,
        After::Close if !read_whole => After::Linger,
        after => after,
    }
}

/// Closes our side and reads on for a while.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(io: &mut S) {
    let deadline = Instant::now() + LINGER;
    drop(timeout_at(deadline, io.shutdown()).await);
    let mut ignored = vec![0; 8 << 10];
    let mut left = MAX_LINGER;
    while let Ok(Ok(read)) = timeout_at(deadline, io.read(&mut ignored)).await {
        left = left.saturating_sub(read);
        if read == 0 || left == 0 {
            return;
        }
    }
}

// --- Heads that are refused ---

async fn refuse_head<S: AsyncWrite + Unpin + Send>(
    worker: &Worker,
    client: &ClientFacts,
    refused: (&Snapshot, bool),
    error: &HeadError,
    io: &mut S,
) {
    let id = RequestId::generate();
    bad_head(worker, client, &id, error);
    let said = Text::Unacceptable.with(error.to_string());
    let problem = (error.status(), said);
    refuse((worker, client), refused, problem, &id, io).await;
}

async fn refuse_slow_head<S: AsyncWrite + Unpin + Send>(
    worker: &Worker,
    client: &ClientFacts,
    refused: (&Snapshot, bool),
    io: &mut S,
) {
    let id = RequestId::generate();
    slow_head(worker, client, &id);
    let problem = (StatusCode::REQUEST_TIMEOUT, Text::HeadTooSlow.into());
    refuse((worker, client), refused, problem, &id, io).await;
}

async fn refuse<S: AsyncWrite + Unpin + Send>(
    (worker, client): (&Worker, &ClientFacts),
    (snapshot, head_only): (&Snapshot, bool),
    (status, said): (StatusCode, Said<'_>),
    id: &RequestId,
    io: &mut S,
) {
    let mut sink = Sink {
        worker,
        client,
        io,
        out: Vec::new(),
        encoder: BodyEncoder::None,
        version: Version::Http11,
        keep: false,
        trailers: false,
        state: State::Nothing,
        pace: Pace::at_most(LINGER),
        leaving: &Leaving::default(),
    };
    let answer = Answer::problem(status, said, Audience::Other, &snapshot.pages, id);
    // A client that is gone already is told nothing.
    let _told = answer.send(head_only, id, &mut sink).await;
}

// --- The request body ---

/// For requests without a body.
struct NoBody;

impl BodySource for NoBody {
    fn is_empty(&self) -> bool {
        true
    }

    async fn next(&mut self) -> Result<Option<Bytes>, BodyFailure> {
        Ok(None)
    }
}

struct Source<'b, R> {
    io: R,
    buffer: &'b mut ReadBuffer,
    decoder: BodyDecoder,
    /// Whether its end has come.
    is_whole: bool,
    leaving: &'b Leaving,
    pace: Pace,
}

impl<R: AsyncRead + Unpin + Send> BodySource for Source<'_, R> {
    fn is_empty(&self) -> bool {
        false
    }

    async fn next(&mut self) -> Result<Option<Bytes>, BodyFailure> {
        let piece = self
            .buffer
            .body(&mut self.io, &mut self.decoder, self.pace.patience());
        let piece = self.pace.time(piece).await;
        let piece = piece.map_err(|error| match error {
            ReadError::TooSlow | ReadError::Idle => BodyFailure::TooSlow,
            ReadError::Body(error) if error != BodyError::Truncated => BodyFailure::Malformed,
            _ => BodyFailure::ClientGone,
        })?;
        self.pace.moved(piece.as_ref().map_or(0, Bytes::len));
        self.is_whole = piece.is_none();
        Ok(piece)
    }

    /// What comes behind the body is the next request, or the news that the client has gone.
    async fn take_in(&mut self) -> Infallible {
        if !self.is_whole {
            return std::future::pending().await;
        }
        let looking = poll_fn(|cx| {
            self.leaving.look(cx, self.buffer, &mut self.io);
            Poll::Pending
        });
        looking.await
    }

    fn be_patient(&mut self) {
        self.pace.any_rate();
    }

    async fn trailers(&mut self) -> Result<Option<Fields>, BodyFailure> {
        Ok(self.decoder.trailers())
    }
}

/// Whether a client is about to go that waits for its answer. Whoever reads from its connection finds
/// out, and whoever writes to it acts on that: the two may be apart.
#[derive(Debug, Default)]
struct Leaving {
    /// It has ended its side.
    ended: AtomicBool,
    /// It has broken off.
    broken: AtomicBool,
}

impl Leaving {
    fn look(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuffer,
        io: &mut (impl AsyncRead + Unpin),
    ) {
        let is_there = || !self.has_ended() && !self.broken.load(Ordering::Relaxed);
        while is_there() && buffer.waiting().len() < AHEAD {
            match buffer.poll_fill(cx, io) {
                Poll::Pending => return,
                Poll::Ready(Ok(0)) => self.ended.store(true, Ordering::Relaxed),
                // The next request, which waits.
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => self.broken.store(true, Ordering::Relaxed),
            }
        }
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Whether it is not there any more, for an answer that has been silent for so long.
    fn is_gone(&self, silence: Duration) -> bool {
        self.broken.load(Ordering::Relaxed) || (self.has_ended() && silence >= HALF_CLOSED)
    }

    /// Whether no further request comes.
    fn is_over(&self, buffer: &ReadBuffer) -> bool {
        self.has_ended() && buffer.is_empty()
    }
}

// --- The answer ---

/// What an answer is written to.
trait Outlet: AsyncWrite + Unpin + Send {
    /// The whole connection, where nobody reads from it meanwhile.
    fn client(&mut self) -> Option<ClientEnd<'_>> {
        None
    }
}

impl<S: AsyncWrite + Unpin + Send> Outlet for &mut S {}

impl<S: ClientStream> Outlet for WriteHalf<&mut S> {}

/// The connection of a request without a body.
struct Whole<'c, S> {
    io: &'c mut S,
    buffer: &'c mut ReadBuffer,
}

impl<S: ClientStream> Outlet for Whole<'_, S> {
    fn client(&mut self) -> Option<ClientEnd<'_>> {
        Some(ClientEnd {
            io: self.io,
            buffer: self.buffer,
        })
    }
}

impl<S: ClientStream> AsyncWrite for Whole<'_, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_shutdown(cx)
    }
}

struct Sink<'w, W> {
    worker: &'w Worker,
    client: &'w ClientFacts,
    io: W,
    /// What is ready to be sent.
    out: Vec<u8>,
    encoder: BodyEncoder,
    version: Version,
    keep: bool,
    /// Whether the client asked for trailers.
    trailers: bool,
    state: State,
    leaving: &'w Leaving,
    pace: Pace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Nothing,
    Begun,
    Whole,
    Broken,
}

impl<'w, W> Sink<'w, W> {
    fn new(
        (worker, client): (&'w Worker, &'w ClientFacts),
        io: W,
        head: &RequestHead,
        pace: Pace,
        leaving: &'w Leaving,
    ) -> Self {
        Self {
            worker,
            client,
            io,
            out: Vec::with_capacity(1024),
            encoder: BodyEncoder::None,
            version: head.version(),
            keep: head.keep_alive(),
            trailers: head.takes_trailers(),
            state: State::Nothing,
            leaving,
            pace,
        }
    }
}

impl<W: Outlet> Sink<'_, W> {
    /// What becomes of the connection. Of an answer that is not whole, the client gets what there
    /// is, if it takes it at once.
    async fn end(&mut self) -> After {
        match self.state {
            State::Whole if self.keep => After::Next,
            State::Whole => After::Close,
            State::Nothing | State::Begun | State::Broken => {
                self.pace = Pace::at_most(Duration::ZERO);
                drop(self.send_all().await);
                After::Abort
            }
        }
    }

    async fn send_out(&mut self) -> Result<(), ClientGone> {
        if self.out.is_empty() {
            return Ok(());
        }
        let mut out = std::mem::take(&mut self.out);
        let sent = self.send(&out).await;
        out.clear();
        self.out = out;
        sent
    }

    /// Sends these bytes. Who stops waiting for that leaves a broken answer behind: nobody knows how
    /// many of them have left, and none may be sent twice.
    async fn send(&mut self, piece: &[u8]) -> Result<(), ClientGone> {
        let before = std::mem::replace(&mut self.state, State::Broken);
        let written = self.pace.within(self.io.write_all(piece)).await;
        self.pace.moved(piece.len());
        self.state = before;
        self.check(written)
    }

    /// The end of everything that was written so far is on its way when this is done.
    async fn send_all(&mut self) -> Result<(), ClientGone> {
        self.send_out().await?;
        let flushed = self.pace.within(self.io.flush()).await;
        self.check(flushed)
    }

    fn check(&mut self, written: Result<io::Result<()>, Elapsed>) -> Result<(), ClientGone> {
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                self.state = State::Broken;
                Err(ClientGone)
            }
        }
    }
}

impl<W: Outlet> AnswerSink for Sink<'_, W> {
    async fn send_interim(
        &mut self,
        status: StatusCode,
        fields: &[Received<'_>],
    ) -> Result<(), ClientGone> {
        // HTTP/1.0 knows no interim answers.
        if self.version == Version::Http11 && self.state == State::Nothing {
            write::status_line(&mut self.out, status);
            for field in fields {
                write::received(&mut self.out, field);
            }
            write::end_of_head(&mut self.out);
            self.send_all().await?;
        }
        Ok(())
    }

    fn begin(&mut self, status: StatusCode) {
        self.state = State::Begun;
        write::status_line(&mut self.out, status);
        if let Some(hsts) = self.client.strict_transport.ours() {
            self.out.extend_from_slice(&hsts.line);
        }
    }

    fn field(&mut self, name: &str, value: &[u8]) {
        write::field(&mut self.out, name, value);
    }

    fn pass(&mut self, field: &Received<'_>) {
        write::received(&mut self.out, field);
    }

    fn ready(&mut self, length: AnswerLength) {
        // Here, only a length says it.
        let length = match length {
            AnswerLength::Empty => AnswerLength::Exact(0),
            length => length,
        };
        self.encoder = match length {
            AnswerLength::NoBody(_) | AnswerLength::Switched | AnswerLength::Empty => {
                BodyEncoder::None
            }
            AnswerLength::Exact(length) => BodyEncoder::Length(length),
            AnswerLength::Unknown if self.version == Version::Http11 => BodyEncoder::Chunked,
            AnswerLength::Unknown => BodyEncoder::UntilClose,
        };
        match (length, &self.encoder) {
            (AnswerLength::NoBody(Some(length)) | AnswerLength::Exact(length), _) => {
                write::field(
                    &mut self.out,
                    "Content-Length",
                    itoa::Buffer::new().format(length).as_bytes(),
                );
            }
            (_, BodyEncoder::Chunked) => {
                write::field(&mut self.out, "Transfer-Encoding", b"chunked");
            }
            (_, BodyEncoder::UntilClose) => self.keep = false,
            _ => {}
        }
        if length == AnswerLength::Switched {
            // Whatever comes on this connection now, it is no request.
            self.keep = false;
            write::field(&mut self.out, "Upgrade", b"websocket");
            write::field(&mut self.out, "Connection", b"Upgrade");
            write::end_of_head(&mut self.out);
            return;
        }
        // Asked as late as possible: a client that is not told sends its next request for nothing.
        self.keep &= !self.worker.is_draining();
        match (self.keep, self.version) {
            (false, _) => write::field(&mut self.out, "Connection", b"close"),
            (true, Version::Http10) => write::field(&mut self.out, "Connection", b"keep-alive"),
            (true, _) => {}
        }
        write::end_of_head(&mut self.out);
    }

    async fn write(&mut self, piece: Bytes) -> Result<(), ClientGone> {
        let Ok(passed) = self.encoder.encode_or_pass(&piece, &mut self.out) else {
            // More than was promised: what is sent ends at the promise, and the client sees the
            // break.
            self.state = State::Broken;
            return Err(ClientGone);
        };
        if passed.is_empty() && self.out.len() < LARGE {
            return Ok(());
        }
        self.send_out().await?;
        self.send(passed).await
    }

    async fn flush(&mut self) -> Result<(), ClientGone> {
        self.send_all().await
    }

    async fn finish(&mut self, trailers: Option<&Fields>) -> Result<(), ClientGone> {
        let trailers = trailers.filter(|_| self.trailers);
        if self.encoder.finish(trailers, &mut self.out).is_err() {
            self.state = State::Broken;
            return Err(ClientGone);
        }
        self.send_all().await?;
        self.state = State::Whole;
        Ok(())
    }

    fn abort(&mut self) {
        self.state = State::Broken;
    }

    fn close_after(&mut self) {
        self.keep = false;
    }

    fn client(&mut self) -> Option<ClientEnd<'_>> {
        if self.out.is_empty() {
            // Not to be held for as long as a WebSocket lasts.
            self.out = Vec::new();
        }
        self.io.client()
    }

    fn has_begun(&self) -> bool {
        self.state != State::Nothing
    }

    /// One that is gone shows when it is written to, or, where nothing is to be written for long, by
    /// the end of its side.
    async fn gone(&mut self, silence: Duration) {
        // Not looked for at all where the backend is quick.
        if silence.is_zero() {
            return std::future::pending().await;
        }
        poll_fn(|cx| {
            if let Some(ClientEnd { mut io, buffer }) = self.io.client() {
                self.leaving.look(cx, buffer, &mut io);
            }
            match self.leaving.is_gone(silence) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }
}
