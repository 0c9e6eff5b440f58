//! Clients that speak HTTP/2: many requests beside each other on one connection.
//!
//! Frames, flow control and the limits against floods are the h2 crate's, set up with
//! pingora-core's bounded options. Streams are taken from it directly, not through pingora-core's
//! session: that one reads and writes through one `&mut`, so an upload would block its download.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::header::{HeaderMap, HeaderName, HeaderValue, STRICT_TRANSPORT_SECURITY};
use http::{Method, Response, StatusCode};
use parking_lot::Mutex;
use pingora_core::protocols::http::v2::server::default_h2_options;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};

use super::client::ClientFacts;
use super::exchange::{AnswerLength, AnswerSink, BodyFailure, BodySource, ClientGone, Upload};
use super::frames::{ClientFrames, Flood};
use super::intake::Intake;
use super::pace::Pace;
use super::pages::text::Text;
use super::record::{bad_head, flooded};
use super::request_id::RequestId;
use super::respond::{Answer, Audience};
use super::{DrainWatch, FIRST_REQUEST, Request, Snapshot, Worker, drained};
use crate::http1::fields::{Fields, Received};
use crate::http1::head::{HeadError, RequestHead};
use crate::http1::timer::Timer;

/// Bytes a client may send on one stream before we have passed them on, and on all streams of a
/// connection: what a fast link needs, and a bound on what we hold.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// What small DATA frames may cost while nobody takes them, as h2 counts it: those of a client that
/// sends them as fast as it can are taken long before, and 8000 of them take 2 MiB.
const SMALL_FRAMES: usize = 2 << 20;

/// Bytes of an answer held for a stream whose client is slow to take them: with 100 streams, a
/// connection whose client reads nothing holds about 3 MiB of them.
const SEND_BUFFER: usize = 32 << 10;

/// How long a stream is kept after its answer for a client that is still sending.
const LINGER: Duration = Duration::from_secs(2);

/// Requests with unacceptable heads after which a connection is cut off.
const MAX_BAD_HEADS: usize = 32;

/// Requests that a client may give up before it tells by their share: people stop loading pages.
const MAX_GIVEN_UP: usize = 100;

/// Serves a connection until it ends.
pub async fn serve<S>(worker: &Arc<Worker>, client: &Arc<ClientFacts>, io: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let times = worker.shared.snapshot.load().timeouts;
    let mut options = default_h2_options();
    options
        .max_header_list_size(header_limit(worker))
        .max_concurrent_streams(stream_limit(worker))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .data_frame_budget(SMALL_FRAMES)
        .max_send_buffer_size(SEND_BUFFER);
    let (io, flood) = ClientFrames::count(io);
    // The client's preface is a head like any other: it has to come in time.
    let mut draining = worker.draining.clone();
    let connection = tokio::select! {
        biased;
        connection = timeout(times.head, options.handshake(io)) => connection,
        () = drained(&mut draining, FIRST_REQUEST) => return,
    };
    let Ok(Ok(connection)) = connection else {
        return;
    };
    Streams {
        worker,
        client,
        active: Arc::default(),
        conduct: Arc::default(),
        flood,
    }
    .accept(connection, times.idle)
    .await;
}

/// How large a head may be to be looked at. The h2 crate answers larger ones with 431 by itself, and
/// nobody hears of them; what is above the limit and below this is refused by `refuse_head`, which
/// writes it down.
fn header_limit(worker: &Worker) -> u32 {
    let bytes = worker.shared.snapshot.load().limits.head.bytes;
    u32::try_from(bytes.saturating_add(bytes.max(32 << 10))).unwrap_or(u32::MAX)
}

fn stream_limit(worker: &Worker) -> u32 {
    let streams = worker.shared.snapshot.load().limits.http2_streams;
    u32::try_from(streams).unwrap_or(u32::MAX)
}

struct Streams<'w> {
    worker: &'w Arc<Worker>,
    client: &'w Arc<ClientFacts>,
    active: Arc<Active>,
    conduct: Arc<Conduct>,
    flood: Flood,
}

/// How a client behaves on one connection.
#[derive(Default)]
struct Conduct {
    requests: AtomicUsize,
    bad_heads: AtomicUsize,
    /// Requests that the client reset before they were answered, each of which has cost the
    /// backend one (rapid reset, CVE-2023-44487).
    given_up: AtomicUsize,
}

impl Conduct {
    /// What of it is more than anybody does by mistake, as a label.
    fn abuse(&self) -> Option<&'static str> {
        let given_up = self.given_up.load(Ordering::Relaxed);
        let requests = self.requests.load(Ordering::Relaxed);
        if self.bad_heads.load(Ordering::Relaxed) >= MAX_BAD_HEADS {
            return Some("bad_heads");
        }
        (given_up > MAX_GIVEN_UP && given_up > requests / 2).then_some("resets")
    }
}

/// Counts the streams being served, so that an idle connection can be told from a busy one.
#[derive(Default)]
struct Active {
    streams: AtomicUsize,
    /// The connection's own task, to be told when the last one ends.
    connection: Mutex<Option<Waker>>,
}

struct ActiveStream(Arc<Active>);

impl ActiveStream {
    fn enter(active: &Arc<Active>) -> Self {
        active.streams.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(active))
    }
}

impl Drop for ActiveStream {
    fn drop(&mut self) {
        if self.0.streams.fetch_sub(1, Ordering::Relaxed) == 1
            && let Some(connection) = &*self.0.connection.lock()
        {
            connection.wake_by_ref();
        }
    }
}

/// How long a connection has been without streams.
struct Idle {
    active: Arc<Active>,
    since: Option<Instant>,
    timer: Timer,
}

impl Idle {
    /// Resolves when there has been none for `time`.
    fn poll(&mut self, cx: &mut Context<'_>, time: Duration) -> Poll<()> {
        if self.active.streams.load(Ordering::Relaxed) > 0 {
            self.since = None;
            let connection = &mut *self.active.connection.lock();
            if connection
                .as_ref()
                .is_none_or(|known| !known.will_wake(cx.waker()))
            {
                *connection = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        self.timer.poll(cx, since + time)
    }
}

/// What a connection waits for.
enum Event {
    Request,
    /// The server drains.
    Drain,
    /// No stream for as long as that may be.
    Idle,
    /// More than anybody sends, as a label.
    Flood(&'static str),
    /// It was told to go, and has had its time for it.
    CutOff,
    /// The client closed it, or broke the protocol.
    End,
}

impl Streams<'_> {
    async fn accept<S>(self, mut connection: Connection<S, Bytes>, idle_limit: Duration)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut drain = DrainWatch::new(self.worker, Duration::ZERO);
        let mut idle = Idle {
            active: Arc::clone(&self.active),
            since: None,
            timer: Timer::default(),
        };
        let mut ending = false;
        let mut cut_off = CutOff::default();
        loop {
            let patience = if ending { LAST_WORDS } else { idle_limit };
            let mut accepted = None;
            let event = poll_fn(|cx| {
                if !ending && drain.poll(cx).is_ready() {
                    return Poll::Ready(Event::Drain);
                }
                if cut_off.poll(cx).is_ready() {
                    return Poll::Ready(Event::CutOff);
                }
                let polled = connection.poll_accept(cx);
                if let Some(flood) = self.flood().filter(|_| !cut_off.has_begun()) {
                    return Poll::Ready(Event::Flood(flood));
                }
                match polled {
                    Poll::Ready(Some(Ok(request))) => {
                        accepted = Some(request);
                        Poll::Ready(Event::Request)
                    }
                    Poll::Ready(_) => Poll::Ready(Event::End),
                    Poll::Pending => idle.poll(cx, patience).map(|()| Event::Idle),
                }
            });
            match event.await {
                Event::Flood(why) => {
                    flooded(self.worker, self.client, why);
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    cut_off.begin();
                    ending = true;
                }
                Event::Request => {
                    idle.since = None;
                    if let Some((request, respond)) = accepted {
                        self.serve_stream(request, respond);
                    }
                    if !ending && self.has_served_enough() {
                        connection.graceful_shutdown();
                        ending = true;
                    }
                }
                // A client that does not react to GOAWAY is not waited for.
                Event::Idle if ending => return,
                Event::CutOff => return,
                Event::Drain | Event::Idle => {
                    connection.graceful_shutdown();
                    ending = true;
                    idle.since = None;
                }
                Event::End => return,
            }
        }
    }

    /// Whether the client is at what nobody does by mistake, as a label.
    fn flood(&self) -> Option<&'static str> {
        let frames = self.flood.is_there().then_some("frames");
        frames.or_else(|| self.conduct.abuse())
    }

    fn has_served_enough(&self) -> bool {
        let limits = &self.worker.shared.snapshot.load().limits;
        self.conduct.requests.load(Ordering::Relaxed) >= limits.requests_per_connection
    }

    fn serve_stream(&self, request: http::Request<RecvStream>, respond: SendResponse<Bytes>) {
        let worker = Arc::clone(self.worker);
        let client = Arc::clone(self.client);
        let conduct = Arc::clone(&self.conduct);
        conduct.requests.fetch_add(1, Ordering::Relaxed);
        let stream = ActiveStream::enter(&self.active);
        tokio::spawn(async move {
            // Made where it stays: a task is moved when it is spawned.
            Box::pin(serve_request(&worker, &client, request, respond, &conduct)).await;
            drop(stream);
        });
    }
}

/// How long a connection stays after GOAWAY when nothing happens on it, or whatever happens where it
/// was cut off.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The end of a connection that was cut off, whether or not the client reads that it was.
#[derive(Default)]
struct CutOff {
    at: Option<Instant>,
    timer: Timer,
}

impl CutOff {
    fn begin(&mut self) {
        self.at = Some(Instant::now() + LAST_WORDS);
    }

    const fn has_begun(&self) -> bool {
        self.at.is_some()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.at {
            None => Poll::Pending,
            Some(at) => self.timer.poll(cx, at),
        }
    }
}

async fn serve_request(
    worker: &Worker,
    client: &ClientFacts,
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
    conduct: &Conduct,
) {
    let snapshot = worker.shared.snapshot.load_full();
    let timeouts = snapshot.timeouts;
    let (parts, body) = request.into_parts();
    let ended = body.is_end_stream();
    let head_only = parts.method == Method::HEAD;
    let mut sink = Sink::new(client, respond, Pace::new(&timeouts));
    let head = match RequestHead::from_http2(parts, ended, &snapshot.limits.head) {
        Ok(head) => head,
        Err(error) => {
            conduct.bad_heads.fetch_add(1, Ordering::Relaxed);
            refuse_head(worker, client, (&snapshot, head_only), &error, &mut sink).await;
            return;
        }
    };
    let mut source = Source {
        body: Intake::new(body),
        ended,
        given_up: false,
        pace: Pace::new(&timeouts),
    };
    let mut upload = Upload::new(&mut source);
    let brought = client.brought_by(&snapshot.trusted_proxies, head.fields());
    let client = brought.as_deref().unwrap_or(client);
    Request::new(worker, client, snapshot, &head)
        .serve(&mut upload, &mut sink)
        .await;
    let has_ended = upload.has_ended();
    if sink.given_up || source.given_up {
        conduct.given_up.fetch_add(1, Ordering::Relaxed);
    } else if !has_ended {
        linger(&mut source.body).await;
    }
}

/// Waits for the end of a body that nobody wants, or for the client to give it up. A stream that is
/// let go is reset behind its answer, and there are clients (curl 7.88) that lose the answer when
/// the reset comes while they are sending. No more than the stream's window is taken.
async fn linger(body: &mut Intake) {
    // Either way, the stream has had its chance.
    let _in_time = timeout(LINGER, body.pass_over()).await;
}

async fn refuse_head(
    worker: &Worker,
    client: &ClientFacts,
    (snapshot, head_only): (&Snapshot, bool),
    error: &HeadError,
    sink: &mut Sink<'_>,
) {
    let id = RequestId::generate();
    bad_head(worker, client, &id, error);
    let said = Text::Unacceptable.with(error.to_string());
    let pages = &snapshot.pages;
    let answer = Answer::problem(error.status(), said, Audience::Other, pages, &id);
    // A client that is gone already is told nothing.
    let _told = answer.send(head_only, &id, sink).await;
}

// --- The request body ---

struct Source {
    body: Intake,
    ended: bool,
    /// Whether the client reset the stream before its end.
    given_up: bool,
    pace: Pace,
}

impl BodySource for Source {
    fn is_empty(&self) -> bool {
        self.ended
    }

    async fn next(&mut self) -> Result<Option<Bytes>, BodyFailure> {
        let next = poll_fn(|cx| self.body.poll_next(cx));
        match self.pace.within(next).await {
            Err(_) => Err(BodyFailure::TooSlow),
            Ok(None) => Ok(None),
            Ok(Some(Err(error))) => Err(self.broken_off(&error)),
            Ok(Some(Ok(piece))) => {
                self.pace.moved(piece.len());
                Ok(Some(piece))
            }
        }
    }

    async fn take_in(&mut self) -> Infallible {
        let taking = poll_fn(|cx| {
            self.body.take_in(cx);
            Poll::Pending
        });
        taking.await
    }

    fn be_patient(&mut self) {
        self.pace.any_rate();
    }

    async fn trailers(&mut self) -> Result<Option<Fields>, BodyFailure> {
        let trailers = poll_fn(|cx| self.body.poll_trailers(cx));
        let trailers = match self.pace.within(trailers).await {
            Err(_) => return Err(BodyFailure::TooSlow),
            Ok(Err(error)) => return Err(self.broken_off(&error)),
            Ok(Ok(None)) => return Ok(None),
            Ok(Ok(Some(trailers))) => trailers,
        };
        let pairs = trailers.iter();
        let pairs = pairs.map(|(name, value)| (name.as_str(), value.as_bytes()));
        let trailers = Fields::from_pairs(pairs).map_err(|_| BodyFailure::Malformed)?;
        Ok(Some(trailers))
    }
}

impl Source {
    fn broken_off(&mut self, error: &h2::Error) -> BodyFailure {
        // Reset by the client, or by h2 for what the client has sent (CVE-2025-8671).
        self.given_up |= error.is_reset() && (error.is_remote() || error.is_library());
        BodyFailure::ClientGone
    }
}

// --- The answer ---

struct Sink<'c> {
    client: &'c ClientFacts,
    respond: SendResponse<Bytes>,
    head: Option<Response<()>>,
    stream: Option<SendStream<Bytes>>,
    /// Whether the head is also the end.
    no_body: bool,
    /// How much of the body is still to come, where that is known.
    left: Option<u64>,
    begun: bool,
    /// Whether the client reset the stream before the end of the answer.
    given_up: bool,
    pace: Pace,
}

impl<'c> Sink<'c> {
    const fn new(client: &'c ClientFacts, respond: SendResponse<Bytes>, pace: Pace) -> Self {
        Self {
            client,
            respond,
            head: None,
            stream: None,
            no_body: false,
            left: None,
            begun: false,
            given_up: false,
            pace,
        }
    }

    fn add(&mut self, name: &[u8], value: &[u8]) {
        if let Some(head) = self.head.as_mut() {
            append(head.headers_mut(), name, value);
        }
    }

    fn send_head(&mut self, end: bool) -> Result<(), ClientGone> {
        if let Some(head) = self.head.take() {
            let stream = self.respond.send_response(head, end);
            self.stream = Some(stream.map_err(|_| ClientGone)?);
        }
        Ok(())
    }

    /// Looks whether the client reset the stream, which we have not.
    fn note_reset(&mut self) {
        let cx = &mut Context::from_waker(Waker::noop());
        let reset = self.stream.as_mut().map(|stream| stream.poll_reset(cx));
        self.given_up |= matches!(reset, Some(Poll::Ready(Ok(_))));
    }

    /// Waits for the client to take more, and says how much.
    async fn capacity(stream: &mut SendStream<Bytes>, wanted: usize) -> Result<usize, ClientGone> {
        stream.reserve_capacity(wanted);
        if stream.capacity() > 0 {
            return Ok(stream.capacity());
        }
        match poll_fn(|cx| stream.poll_capacity(cx)).await {
            Some(Ok(capacity)) if capacity > 0 => Ok(capacity),
            _ => Err(ClientGone),
        }
    }

    async fn write_parts(
        stream: &mut SendStream<Bytes>,
        left: &mut Option<u64>,
        mut piece: Bytes,
    ) -> Result<(), ClientGone> {
        while !piece.is_empty() {
            let capacity = Self::capacity(stream, piece.len()).await?;
            let part = piece.split_to(capacity.min(piece.len()));
            // A client told of the end with the last byte needs no frame that says no more.
            *left = left.map(|left| left.saturating_sub(part.len() as u64));
            let end = *left == Some(0);
            stream.send_data(part, end).map_err(|_| ClientGone)?;
        }
        Ok(())
    }
}

impl AnswerSink for Sink<'_> {
    async fn send_interim(
        &mut self,
        status: StatusCode,
        fields: &[Received<'_>],
    ) -> Result<(), ClientGone> {
        let mut interim = Response::new(());
        *interim.status_mut() = status;
        for field in fields {
            append(interim.headers_mut(), field.name(), field.value());
        }
        self.respond
            .send_informational(interim)
            .map_err(|_| ClientGone)
    }

    fn begin(&mut self, status: StatusCode) {
        self.begun = true;
        let mut head = Response::new(());
        *head.status_mut() = status;
        if let Some(hsts) = self.client.strict_transport.ours() {
            let fields = head.headers_mut();
            fields.insert(STRICT_TRANSPORT_SECURITY, hsts.value.clone());
        }
        self.head = Some(head);
    }

    fn field(&mut self, name: &str, value: &[u8]) {
        self.add(name.as_bytes(), value);
    }

    fn pass(&mut self, field: &Received<'_>) {
        self.add(field.name(), field.value());
    }

    fn ready(&mut self, length: AnswerLength) {
        // Nothing switches here: there is no `Upgrade` in HTTP/2.
        self.no_body = match length {
            AnswerLength::NoBody(_)
            | AnswerLength::Exact(0)
            | AnswerLength::Empty
            | AnswerLength::Switched => true,
            AnswerLength::Exact(_) | AnswerLength::Unknown => false,
        };
        if let AnswerLength::NoBody(Some(length)) | AnswerLength::Exact(length) = length {
            self.field(
                "content-length",
                itoa::Buffer::new().format(length).as_bytes(),
            );
        }
        if let AnswerLength::Exact(length) = length {
            self.left = Some(length);
        }
    }

    async fn write(&mut self, piece: Bytes) -> Result<(), ClientGone> {
        self.send_head(false)?;
        // For all of it: a client that takes a byte now and then would never be too slow.
        let (stream, length) = (self.stream.as_mut().ok_or(ClientGone)?, piece.len());
        let parts = Self::write_parts(stream, &mut self.left, piece);
        let written = self.pace.within(parts).await;
        self.pace.moved(length);
        let written = written.unwrap_or(Err(ClientGone));
        if written.is_err() {
            self.note_reset();
        }
        written
    }

    async fn flush(&mut self) -> Result<(), ClientGone> {
        let end = self.no_body;
        self.send_head(end)
    }

    async fn finish(&mut self, trailers: Option<&Fields>) -> Result<(), ClientGone> {
        if self.no_body {
            return self.send_head(true);
        }
        self.send_head(false)?;
        if self.left == Some(0) {
            return Ok(());
        }
        let stream = self.stream.as_mut().ok_or(ClientGone)?;
        let sent = match trailers.map(header_map) {
            Some(trailers) if !trailers.is_empty() => stream.send_trailers(trailers),
            _ => stream.send_data(Bytes::new(), true),
        };
        sent.map_err(|_| ClientGone)
    }

    fn end_with(&mut self, trailers: &Fields) -> bool {
        // Where a length was promised, or nothing was, this would not be an end.
        if self.no_body || self.left.is_some() || self.send_head(false).is_err() {
            return false;
        }
        let sent = self.stream.as_mut();
        sent.is_some_and(|stream| stream.send_trailers(header_map(trailers)).is_ok())
    }

    fn abort(&mut self) {
        match &mut self.stream {
            Some(stream) => stream.send_reset(Reason::INTERNAL_ERROR),
            None => self.respond.send_reset(Reason::INTERNAL_ERROR),
        }
    }

    /// The other streams of the connection go on; this one ends with its answer.
    fn close_after(&mut self) {}

    fn has_begun(&self) -> bool {
        self.begun
    }

    async fn gone(&mut self, _: Duration) {
        let reset = match &mut self.stream {
            Some(stream) => poll_fn(|cx| stream.poll_reset(cx)).await,
            None => poll_fn(|cx| self.respond.poll_reset(cx)).await,
        };
        drop(reset);
        self.given_up = true;
    }
}

/// Both were checked where they came from; what still is not a field is left out.
fn append(fields: &mut HeaderMap, name: &[u8], value: &[u8]) {
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
        fields.append(name, value);
    }
}

fn header_map(fields: &Fields) -> HeaderMap {
    fields
        .iter()
        .filter_map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_bytes(value).ok()?))
        })
        .collect()
}
