//! One exchange with a backend: the request out, the answer back, both streamed.
//!
//! A request without a body is one write and then the answer. With a body, the two directions run
//! beside each other in one task, so that neither waits for the other: a backend may answer before
//! it has read everything, or echo while it reads.
//!
//! Here over HTTP/1, and what is the same over HTTP/2, whose own part is `http2`.

pub mod failure;
mod http2;
mod receive;
mod source;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::exchange::{AnswerSink, BodyFailure, BodySource, Upload};
use super::headers::UpstreamRequest;
use super::spec::HttpVersion;
use super::upstream::affinity::Affinity;
use super::upstream::connection::{ConnectFailure, UpstreamConnection};
use super::upstream::endpoint::Upstream;
use super::upstream::{Destination, Purpose, UnderWay, UpstreamPool};
use crate::http1::timer::within;
use crate::http1::write::BodyEncoder;
use failure::ForwardFailure;
use receive::Receive;
use source::Http1Source;

/// How often somebody who is being served is looked at again. What ends a session or takes back a
/// right is noticed within half a second at most; with this it counts within a second.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Whether a request that is being forwarded would be let in once more, as it was.
pub trait Standing: Sync {
    /// Looks again. `moved` says whether bytes of its body or its answer have passed since the last
    /// time: such an exchange is in use, as one is that consists of many requests.
    fn stands(&self, moved: bool) -> impl Future<Output = bool> + Send;
}

/// What an exchange came to, for the log.
#[derive(Debug, Default)]
pub struct Forwarded {
    /// The status the client got, once known.
    pub status: Option<StatusCode>,
    /// Bytes of the answer's body that were passed on.
    pub answer_bytes: u64,
    /// Time until the backend's answer began.
    pub first_byte: Option<Duration>,
    /// Whether an idle connection was used.
    pub reused: bool,
    /// Which of the backend's addresses it was at last.
    pub destination: Option<Arc<Destination>>,
    /// How often it went on to another one.
    pub moves: usize,
    /// What gRPC calls the outcome, where the backend has said it.
    pub grpc_status: Option<u16>,
}

impl Forwarded {
    /// The address of the backend that it was at last.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        self.destination.as_ref().map(|it| &*it.address)
    }
}

/// What forwarding a request came to.
pub enum Outcome<'p> {
    /// It was answered.
    Answered,
    /// Its head was answered with 101: both connections speak WebSocket from here on.
    Switched(Box<Switched<'p>>),
}

/// A connection to a backend that has left HTTP. Counts as a request under way while it lasts.
pub struct Switched<'p> {
    /// The connection, perhaps with what the backend has sent behind its 101.
    pub connection: UpstreamConnection,
    _under_way: UnderWay<'p>,
}

/// Forwards one request. `report` is filled as things happen, so that it is right even when the
/// exchange fails in the middle.
///
/// # Errors
/// [`ForwardFailure`]. Whether the answer had begun is for the sink to say.
pub async fn forward<'p, B: BodySource, A: AnswerSink>(
    (pool, upstream): (&'p UpstreamPool, &'p Upstream),
    request: UpstreamRequest<'_>,
    standing: &impl Standing,
    body: &mut Upload<'_, B>,
    answer: &mut A,
    report: &mut Forwarded,
) -> Result<Outcome<'p>, ForwardFailure> {
    if upstream.spec.version == HttpVersion::Http2 {
        let exchange = http2::forward((pool, upstream), &request, standing, body, answer, report);
        return Box::pin(exchange).await.map(|()| Outcome::Answered);
    }
    let started = Instant::now();
    let balance = &upstream.spec.balance;
    let affinity = Affinity::of(balance, request.head.fields(), request.client.ip);
    let purpose = match request.upgrade {
        Some(_) => Purpose::Tunnel,
        None => Purpose::Request,
    };
    let (mut under_way, mut idle) = pool.enter(upstream, (purpose, affinity), started)?;
    let mut head = Vec::with_capacity(1024);
    request.write(&mut head);
    // RFC 9110 section 9.2.2: what is idempotent may be sent again when nobody knows whether it
    // was read; of a body that nobody has kept, part would be gone.
    let repeatable = request.head.method().is_idempotent();
    let mut is_first = true;
    loop {
        report.reused = idle.is_some();
        report.destination = Some(Arc::clone(under_way.destination()));
        report.moves = under_way.moves();
        let connected = match idle.take() {
            Some(connection) => Ok(connection),
            None => tokio::select! {
                connected = body.while_taking_in(under_way.connect(request.client.announced())) => connected,
                () = answer.gone(Duration::ZERO) => return Err(ForwardFailure::ClientGone),
            },
        };
        let is_at_once = is_first && report.reused;
        is_first = false;
        let mut connection = match connected {
            Ok(connection) => connection,
            Err(failure) => {
                idle = after_no_connection(&mut under_way, failure)?;
                continue;
            }
        };
        // It may have been long in coming.
        let is_late = !is_at_once && started.elapsed() >= LOOK_AGAIN;
        if is_late && !Box::pin(standing.stands(false)).await {
            return Err(ForwardFailure::NoLongerPermitted);
        }
        let began = if is_at_once { started } else { Instant::now() };
        let exchange = Exchange::new(&request, standing, &under_way, &head, began, report);
        match exchange.run(&mut connection, body, answer).await {
            Ok(reusable) => return Ok(outcome(reusable, connection, under_way)),
            Err(failure) => {
                let broke = matches!(failure, ForwardFailure::NoAnswer);
                // Only where the connection broke: one that is slow may have too much to do, and does
                // not get the same once more.
                let again = broke && repeatable && body.begin_again();
                // The backend closed it while our request was under way, as it may at any time.
                let was_idle = broke && report.reused;
                if was_idle && again {
                    continue;
                }
                idle = after_failure(&mut under_way, failure, again, was_idle)?;
            }
        }
    }
}

/// Goes on to another address where one could not be connected to: nothing of the request has left,
/// so any request may. Who waited for nothing once does not do so at each address.
fn after_no_connection(
    under_way: &mut UnderWay<'_>,
    failure: ConnectFailure,
) -> Result<Option<UpstreamConnection>, ForwardFailure> {
    let now = Instant::now();
    // One that is full is well.
    if failure != ConnectFailure::Full {
        under_way.failed(now);
    }
    let other = match failure {
        ConnectFailure::TimedOut => under_way.retry(now),
        ConnectFailure::Refused
        | ConnectFailure::NotHttp2
        | ConnectFailure::Full
        | ConnectFailure::Tls(_) => under_way.pass_on(now),
        ConnectFailure::Unresolved => None,
    };
    other.ok_or(ForwardFailure::Connect(failure))
}

/// Goes on to another address with a request that failed where it was, if it may be sent `again`. Where
/// all that happened is that a connection in use before was closed, nothing is wrong with the address.
fn after_failure(
    under_way: &mut UnderWay<'_>,
    failure: ForwardFailure,
    again: bool,
    was_closed: bool,
) -> Result<Option<UpstreamConnection>, ForwardFailure> {
    let now = Instant::now();
    if failure.leaves_doubt() && !was_closed {
        under_way.failed(now);
    }
    let other = again.then(|| under_way.retry(now));
    other.flatten().ok_or(failure)
}

fn outcome<'p>(
    reusable: Reusable,
    connection: UpstreamConnection,
    under_way: UnderWay<'p>,
) -> Outcome<'p> {
    match reusable {
        Reusable::Yes(last_used) => under_way.done(connection, last_used),
        Reusable::No => {}
        Reusable::Switched => {
            return Outcome::Switched(Box::new(Switched {
                connection,
                _under_way: under_way,
            }));
        }
    }
    Outcome::Answered
}

/// Whether a connection can serve another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reusable {
    /// Its last answer began then.
    Yes(Instant),
    No,
    /// It never will: it has left HTTP.
    Switched,
}

/// How much of a request has left.
struct Sent {
    whole: AtomicBool,
    /// Whether nothing more of it leaves, be it whole or not.
    over: AtomicBool,
    pieces: AtomicU64,
}

impl Sent {
    /// A request of which nothing has left, or all that there is.
    const fn so_far(whole: bool) -> Self {
        Self {
            whole: AtomicBool::new(whole),
            over: AtomicBool::new(whole),
            pieces: AtomicU64::new(0),
        }
    }

    fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Relaxed)
    }

    /// Nothing more of it leaves from here on, and the client is looked after until there is an
    /// answer. A backend that took no more may have answered before: a refusal of the body, most
    /// likely.
    async fn ended<B: BodySource>(
        &self,
        done: Result<(), ForwardFailure>,
        body: &mut Upload<'_, B>,
    ) -> ForwardFailure {
        self.whole.store(done.is_ok(), Ordering::Relaxed);
        self.over.store(true, Ordering::Relaxed);
        match done {
            Ok(()) | Err(ForwardFailure::NoAnswer) => match body.take_in().await {},
            Err(failure) => failure,
        }
    }
}

/// For requests without a body: everything has left with the head.
static SENT: Sent = Sent::so_far(true);

struct Exchange<'e, S> {
    head: &'e [u8],
    request: &'e UpstreamRequest<'e>,
    receive: Receive<'e, S>,
    write_limit: Duration,
}

impl<'e, S: Standing> Exchange<'e, S> {
    fn new(
        request: &'e UpstreamRequest<'e>,
        standing: &'e S,
        under_way: &'e UnderWay<'e>,
        head: &'e [u8],
        started: Instant,
        report: &'e mut Forwarded,
    ) -> Self {
        let spec = &request.upstream.spec;
        Self {
            head,
            request,
            receive: Receive::new(request, standing, under_way, started, report),
            write_limit: spec.write_timeout,
        }
    }

    async fn run<B: BodySource, A: AnswerSink>(
        self,
        connection: &mut UpstreamConnection,
        body: &mut Upload<'_, B>,
        answer: &mut A,
    ) -> Result<Reusable, ForwardFailure> {
        if !body.has_ended() {
            // Few requests have a body, and all would carry the room that its two directions take.
            return Box::pin(self.run_with_body(connection, body, answer)).await;
        }
        let UpstreamConnection { io, buffer, .. } = connection;
        let mut receive = self.receive;
        send(io, self.head, self.write_limit).await?;
        receive.run(&mut Http1Source::new(io, buffer), answer).await
    }

    async fn run_with_body<B: BodySource, A: AnswerSink>(
        self,
        connection: &mut UpstreamConnection,
        body: &mut Upload<'_, B>,
        answer: &mut A,
    ) -> Result<Reusable, ForwardFailure> {
        let UpstreamConnection { io, buffer, .. } = connection;
        let mut receive = self.receive;
        let sent = Sent::so_far(false);
        receive.sent = &sent;
        let (mut read, mut write) = tokio::io::split(io);
        let upload = async {
            let (to, pieces) = (&mut write, &sent.pieces);
            let sending = (&mut *body, pieces);
            let done = send_with_body(to, self.head, self.request, sending, self.write_limit);
            let done = done.await;
            sent.ended(done, body).await
        };
        let mut source = Http1Source::new(&mut read, buffer);
        let download = receive.run(&mut source, answer);
        both_ways(upload, download).await
    }
}

/// Runs both directions of an exchange beside each other, until there is an answer or the request
/// fails.
async fn both_ways(
    upload: impl Future<Output = ForwardFailure>,
    download: impl Future<Output = Result<Reusable, ForwardFailure>>,
) -> Result<Reusable, ForwardFailure> {
    tokio::select! {
        biased;
        failure = upload => Err(failure),
        // Where the body is still on its way, the rest of it is not wanted.
        received = download => received,
    }
}

/// Sends these bytes, if there are any.
async fn send(
    io: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
    limit: Duration,
) -> Result<(), ForwardFailure> {
    if bytes.is_empty() {
        return Ok(());
    }
    match within(limit, io.write_all(bytes)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(ForwardFailure::NoAnswer),
        Err(_) => Err(ForwardFailure::TooSlow),
    }
}

/// Sends a head and the body behind it. The head leaves with the first piece, unless the client
/// waits to be told to send one.
async fn send_with_body<B: BodySource>(
    io: &mut (impl AsyncWrite + Unpin),
    head: &[u8],
    request: &UpstreamRequest<'_>,
    (body, pieces): (&mut Upload<'_, B>, &AtomicU64),
    limit: Duration,
) -> Result<(), ForwardFailure> {
    let mut encoder = BodyEncoder::for_request(request.sending.framing);
    let mut out = head.to_vec();
    if request.sending.expects_continue {
        send(io, &out, limit).await?;
        out.clear();
    }
    let malformed = |_| ForwardFailure::Body(BodyFailure::Malformed);
    while let Some(piece) = body.next().await.map_err(ForwardFailure::Body)? {
        let passed = encoder
            .encode_or_pass(&piece, &mut out)
            .map_err(malformed)?;
        let sending = async {
            send(io, &out, limit).await?;
            send(io, passed, limit).await
        };
        body.while_taking_in(sending).await?;
        out.clear();
        pieces.fetch_add(1, Ordering::Relaxed);
    }
    let trailers = body.trailers().await.map_err(ForwardFailure::Body)?;
    let trailers = trailers.map(|trailers| request.trailers(&trailers));
    encoder
        .finish(trailers.as_ref(), &mut out)
        .map_err(malformed)?;
    send(io, &out, limit).await
}
