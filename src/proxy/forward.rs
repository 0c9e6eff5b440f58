//! One exchange with a backend: the request out, the answer back, both streamed.
//!
//! A request without a body is one write and then the answer. With a body, the two directions run
//! beside each other in one task, so that neither waits for the other: a backend may answer before
//! it has read everything, or echo while it reads.
//!
//! Here over HTTP/1, and what is the same over HTTP/2, whose own part is `http2`.

mod http2;
mod source;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::client::StrictTransport;
use super::exchange::{
    AnswerLength, AnswerSink, BodyFailure, BodySource, ClientGone, DISCARD_TIME, MAX_DISCARD,
    Upload,
};
use super::headers::{UpstreamRequest, answer_fields, answer_trailers};
use super::renewal::Renewal;
use super::rewrite::{Backwards, PrefixMismatch};
use super::spec::HttpVersion;
use super::spool::SpoolError;
use super::upgrade::handshake::Handshake;
use super::upstream::affinity::Affinity;
use super::upstream::connection::{ConnectFailure, UpstreamConnection};
use super::upstream::endpoint::Upstream;
use super::upstream::{Destination, Purpose, UnderWay, UpstreamPool};
use super::upstream_login::{self, LoginRefusal, Turn};
use crate::http1::fields::{Fields, Received, list_elements};
use crate::http1::read::ReadError;
use crate::http1::response::{ResponseFraming, ResponseHead};
use crate::http1::timer::within;
use crate::http1::write::BodyEncoder;
use crate::tls::connector::TlsFault;
use source::{AnswerSource, Http1Source};

/// Interim answers (1xx) that a backend may send before the final one.
const MAX_INTERIM: usize = 16;

/// How often somebody who is being served is looked at again. What ends a session or takes back a
/// right is noticed within half a second at most; with this it counts within a second.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Whether a request that is being forwarded would be let in once more, as it was.
pub trait Standing: Sync {
    /// Looks again. `moved` says whether bytes of its body or its answer have passed since the last
    /// time: such an exchange is in use, as one is that consists of many requests.
    fn stands(&self, moved: bool) -> impl Future<Output = bool> + Send;
}

/// Why a request was not forwarded to its end.
#[derive(Debug, thiserror::Error)]
pub enum ForwardFailure {
    /// No connection to the backend.
    #[error(transparent)]
    Connect(#[from] ConnectFailure),
    /// The connection broke before any of the answer came.
    #[error("the backend closed the connection before it answered")]
    NoAnswer,
    /// No answer, or no more of it, in time.
    #[error("the backend took too long")]
    TooSlow,
    /// What the backend sent is not HTTP/1 as we accept it.
    #[error("the backend's answer is not acceptable: {0}")]
    BadAnswer(ReadError),
    /// The backend gave the request up before any of the answer came (RST_STREAM).
    #[error("the backend gave the request up: {0}")]
    Reset(h2::Reason),
    /// The backend has said that it has not looked at the request (RFC 9113 section 8.7).
    #[error("the backend did not take the request")]
    NotProcessed,
    /// What is asked for cannot be written as HTTP/2.
    #[error("the request cannot be written as HTTP/2")]
    NotHttp2,
    /// The answer was cut short.
    #[error("the backend broke off its answer: {0}")]
    CutShort(ReadError),
    /// It switched to another protocol, and not as it was asked to.
    #[error("the backend's answer to a WebSocket handshake is not one")]
    BadUpgrade,
    /// The client's body failed.
    #[error("the request body failed: {0:?}")]
    Body(BodyFailure),
    /// The client went away.
    #[error("the client went away")]
    ClientGone,
    /// It would not be let in any more.
    #[error("what the request was let in for has ended")]
    NoLongerPermitted,
    /// The patience of a drain is at its end.
    #[error("the server ends")]
    CutOff,
    /// Its path does not begin as its route says.
    #[error(transparent)]
    Prefix(#[from] PrefixMismatch),
    /// The backend does not let us in.
    #[error("the backend does not let us in: {0}")]
    LoginRefused(#[from] LoginRefusal),
    /// Its body cannot be kept until it is whole.
    #[error(transparent)]
    NotKept(#[from] SpoolError),
}

impl From<ClientGone> for ForwardFailure {
    fn from(_: ClientGone) -> Self {
        Self::ClientGone
    }
}

impl ForwardFailure {
    /// A stable word for logs (`error.type`) and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Connect(ConnectFailure::Unresolved) => "upstream_unresolved",
            Self::Connect(ConnectFailure::Refused) => "upstream_refused",
            Self::Connect(ConnectFailure::TimedOut) => "upstream_connect_timeout",
            Self::Connect(ConnectFailure::Full) => "upstream_full",
            Self::Connect(ConnectFailure::NotHttp2) => "upstream_http2_not_spoken",
            Self::Connect(ConnectFailure::Tls(fault)) => match fault {
                TlsFault::Untrusted => "upstream_tls_untrusted",
                TlsFault::Expired => "upstream_tls_expired",
                TlsFault::NotYetValid => "upstream_tls_not_yet_valid",
                TlsFault::WrongName => "upstream_tls_wrong_name",
                TlsFault::WrongKey => "upstream_tls_wrong_key",
                TlsFault::Refused => "upstream_tls_refused",
                TlsFault::NotTls => "upstream_tls_not_spoken",
                TlsFault::NotHttp2 => "upstream_http2_not_spoken",
                TlsFault::Failed => "upstream_tls_failed",
            },
            Self::NoAnswer => "upstream_closed",
            Self::TooSlow => "upstream_timeout",
            Self::BadAnswer(_) => "upstream_bad_answer",
            Self::Reset(_) => "upstream_reset",
            Self::NotProcessed => "upstream_refused_stream",
            Self::NotHttp2 => "not_http2",
            Self::BadUpgrade => "upstream_bad_upgrade",
            Self::CutShort(_) => "upstream_cut_short",
            Self::Body(BodyFailure::ClientGone) | Self::ClientGone => "client_gone",
            Self::Body(BodyFailure::TooSlow) => "body_timeout",
            Self::Body(BodyFailure::Malformed) => "body_malformed",
            Self::Body(BodyFailure::TooLarge) => "body_too_large",
            Self::Body(BodyFailure::Lost) | Self::NotKept(SpoolError::Failed(_)) => "buffer_failed",
            Self::NotKept(SpoolError::TooLarge) => "body_too_large",
            Self::NotKept(SpoolError::Full) => "buffer_full",
            Self::NotKept(SpoolError::DiskFull(_)) => "buffer_disk_full",
            Self::NotKept(SpoolError::TooSlow) => "buffer_timeout",
            Self::LoginRefused(_) => "upstream_login_refused",
            Self::NoLongerPermitted => "no_longer_permitted",
            Self::CutOff => "draining",
            Self::Prefix(PrefixMismatch) => "path_prefix",
        }
    }

    /// Whether it is the backend's.
    #[must_use]
    pub const fn is_upstream(&self) -> bool {
        !matches!(
            self,
            Self::Body(_)
                | Self::ClientGone
                | Self::NoLongerPermitted
                | Self::CutOff
                | Self::NotHttp2
                | Self::Prefix(_)
                | Self::NotKept(_)
        )
    }

    /// Whether it says something about the backend's address: there was no answer, or none that is
    /// one. An answer that breaks off may be one that does so always.
    const fn leaves_doubt(&self) -> bool {
        matches!(
            self,
            Self::NotProcessed
                | Self::Reset(_)
                | Self::NoAnswer
                | Self::TooSlow
                | Self::BadAnswer(_)
        )
    }

    /// Whether nobody is left to answer.
    #[must_use]
    pub const fn is_client_gone(&self) -> bool {
        matches!(self, Self::ClientGone | Self::Body(BodyFailure::ClientGone))
    }

    /// What the client is answered, where the answer has not begun.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Connect(ConnectFailure::TimedOut) | Self::TooSlow => StatusCode::GATEWAY_TIMEOUT,
            Self::Connect(ConnectFailure::Full)
            | Self::NotProcessed
            | Self::CutOff
            | Self::Body(BodyFailure::Lost) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Connect(_)
            | Self::NoAnswer
            | Self::BadAnswer(_)
            | Self::BadUpgrade
            | Self::Reset(_)
            | Self::CutShort(_)
            | Self::LoginRefused(_) => StatusCode::BAD_GATEWAY,
            Self::Body(BodyFailure::TooLarge) | Self::NotKept(SpoolError::TooLarge) => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::NotKept(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Body(BodyFailure::TooSlow) => StatusCode::REQUEST_TIMEOUT,
            Self::NoLongerPermitted => StatusCode::FORBIDDEN,
            Self::Body(_) | Self::NotHttp2 | Self::ClientGone | Self::Prefix(_) => {
                StatusCode::BAD_REQUEST
            }
        }
    }
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
                connected = under_way.connect(request.client.announced()) => connected,
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
                // Nothing is wrong with where it was, if that was all.
                if failure.leaves_doubt() && !was_idle {
                    under_way.failed(Instant::now());
                }
                let other = again.then(|| under_way.retry(Instant::now()));
                idle = other.flatten().ok_or(failure)?;
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
    under_way.failed(now);
    let other = match failure {
        ConnectFailure::TimedOut => under_way.retry(now),
        ConnectFailure::Refused | ConnectFailure::NotHttp2 | ConnectFailure::Tls(_) => {
            under_way.pass_on(now)
        }
        ConnectFailure::Unresolved | ConnectFailure::Full => None,
    };
    other.ok_or(ForwardFailure::Connect(failure))
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
    pieces: AtomicU64,
}

/// For requests without a body: everything has left with the head.
static SENT: Sent = Sent {
    whole: AtomicBool::new(true),
    pieces: AtomicU64::new(0),
};

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
        let sent = Sent {
            whole: AtomicBool::new(false),
            pieces: AtomicU64::new(0),
        };
        receive.sent = &sent;
        let (mut read, mut write) = tokio::io::split(io);
        let upload = send_with_body(
            &mut write,
            self.head,
            self.request,
            (body, &sent.pieces),
            self.write_limit,
        );
        let mut source = Http1Source::new(&mut read, buffer);
        let download = receive.run(&mut source, answer);
        both_ways(upload, download, &sent).await
    }
}

/// Runs both directions of an exchange beside each other.
async fn both_ways(
    upload: impl Future<Output = Result<(), ForwardFailure>>,
    download: impl Future<Output = Result<Reusable, ForwardFailure>>,
    sent: &Sent,
) -> Result<Reusable, ForwardFailure> {
    tokio::pin!(upload, download);
    tokio::select! {
        biased;
        done = &mut upload => match done {
            Ok(()) => {
                sent.whole.store(true, Ordering::Relaxed);
                download.await
            }
            // It may have answered before it took no more: a refusal of the body, most likely.
            Err(ForwardFailure::NoAnswer) => download.await.map(|_| Reusable::No),
            Err(failure) => Err(failure),
        },
        // The whole answer came while the body was still on its way: the rest is not wanted.
        received = &mut download => received.map(|_| Reusable::No),
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
        send(io, &out, limit).await?;
        out.clear();
        send(io, passed, limit).await?;
        pieces.fetch_add(1, Ordering::Relaxed);
    }
    let trailers = body.trailers().await.map_err(ForwardFailure::Body)?;
    let trailers = trailers.map(|trailers| request.trailers(&trailers));
    encoder
        .finish(trailers.as_ref(), &mut out)
        .map_err(malformed)?;
    send(io, &out, limit).await
}

/// The answer's way back.
struct Receive<'e, S> {
    method: &'e Method,
    asked: &'e Fields,
    request_id: &'e str,
    strict_transport: &'e StrictTransport,
    backwards: Backwards<'e>,
    login: Option<&'e Turn>,
    renewal: Option<&'e Renewal<'e>>,
    upgrade: Option<&'e Handshake>,
    expects_continue: bool,
    /// Whether the connection may be kept, as far as the request says.
    keeps: bool,
    header_limit: Duration,
    read_limit: Duration,
    started: Instant,
    sent: &'e Sent,
    under_way: &'e UnderWay<'e>,
    standing: &'e S,
    /// When that was looked at last, and what had passed then.
    looked: Instant,
    moved: u64,
    report: &'e mut Forwarded,
}

impl<'e, S: Standing> Receive<'e, S> {
    /// For a request that has left whole, or leaves as `sent` is set to say.
    fn new(
        request: &'e UpstreamRequest<'e>,
        standing: &'e S,
        under_way: &'e UnderWay<'e>,
        started: Instant,
        report: &'e mut Forwarded,
    ) -> Self {
        let spec = &request.upstream.spec;
        Self {
            method: request.head.method(),
            asked: request.head.fields(),
            request_id: request.request_id.as_str(),
            strict_transport: &request.client.strict_transport,
            backwards: request.backwards(),
            login: request.login,
            renewal: request.renewal,
            upgrade: request.upgrade,
            expects_continue: request.sending.expects_continue,
            keeps: spec.version != HttpVersion::Http10,
            header_limit: request.sending.header_timeout,
            read_limit: request.sending.read_timeout,
            started,
            sent: &SENT,
            under_way,
            standing,
            looked: started,
            moved: 0,
            report,
        }
    }

    async fn run<A: AnswerSink>(
        &mut self,
        source: &mut impl AnswerSource,
        answer: &mut A,
    ) -> Result<Reusable, ForwardFailure> {
        let head = self.final_head(source, answer).await?;
        let answered = Instant::now();
        if let Some(login) = self.login {
            if head.status() == StatusCode::UNAUTHORIZED {
                login.challenged(&head)?;
                return Ok(match self.pass_over(source, &head, answer).await? {
                    true => self.reusable(&head, source, answered),
                    false => Reusable::No,
                });
            }
            login.answered(&head);
        }
        self.report.first_byte = Some(answered.saturating_duration_since(self.started));
        self.report.status = Some(head.status());
        self.under_way.answered(head.status().as_u16());
        if !self.is_sent() || self.is_refused_upgrade(&head, answer) {
            answer.close_after();
        }
        self.begin(&head, answer);
        if head.status() == StatusCode::SWITCHING_PROTOCOLS {
            self.while_it_stands(answer.flush()).await?;
            return Ok(Reusable::Switched);
        }
        source.begin_body(&head);
        self.pass_body(source, answer).await?;
        let trailers = source.trailers();
        let replaces = |name: &[u8]| self.backwards.replaces(name);
        let trailers = trailers.map(|trailers| answer_trailers(&trailers, replaces));
        let finished = answer.finish(trailers.as_ref());
        self.while_it_stands(finished).await?;
        Ok(self.reusable(&head, source, answered))
    }

    /// Whether the connection can serve another request, after an answer that ended in order.
    fn reusable(
        &self,
        head: &ResponseHead,
        source: &impl AnswerSource,
        answered: Instant,
    ) -> Reusable {
        let clean = self.keeps
            && head.keep_alive()
            && source.is_at_end()
            && self.is_sent()
            // The backend may go on as if it had accepted (CVE-2024-23326, CVE-2026-58055).
            && self.upgrade.is_none()
            && !is_one_clients(self.asked, head);
        match clean {
            true => Reusable::Yes(answered),
            false => Reusable::No,
        }
    }

    /// Reads an answer that nobody gets, so that its connection can be used again; whether it ended
    /// in order and within bounds.
    async fn pass_over<A: AnswerSink>(
        &mut self,
        source: &mut impl AnswerSource,
        head: &ResponseHead,
        answer: &mut A,
    ) -> Result<bool, ForwardFailure> {
        source.begin_body(head);
        let mut left = MAX_DISCARD;
        let rest = async {
            loop {
                let Some(piece) = self.next_piece(source, answer).await? else {
                    return Ok(true);
                };
                match left.checked_sub(piece.len() as u64) {
                    Some(rest) => left = rest,
                    None => return Ok(false),
                }
            }
        };
        match within(DISCARD_TIME, rest).await {
            Ok(Err(ForwardFailure::CutShort(_) | ForwardFailure::TooSlow)) | Err(_) => Ok(false),
            Ok(ended) => ended,
        }
    }

    fn is_sent(&self) -> bool {
        self.sent.whole.load(Ordering::Relaxed)
    }

    /// Whether the client has sent something behind a handshake that was not accepted. It was meant
    /// as WebSocket and would be read as a request (RFC 9931).
    fn is_refused_upgrade<A: AnswerSink>(&self, head: &ResponseHead, answer: &mut A) -> bool {
        self.upgrade.is_some()
            && head.status() != StatusCode::SWITCHING_PROTOCOLS
            && answer.client().is_none_or(|it| !it.buffer.is_empty())
    }

    /// The head of the final answer, or of the 101 that was asked for. Interim ones are passed on,
    /// as RFC 9110 section 15.2 wants it, but for a 100 that nobody waits for.
    async fn final_head<A: AnswerSink>(
        &mut self,
        source: &mut impl AnswerSource,
        answer: &mut A,
    ) -> Result<ResponseHead, ForwardFailure> {
        for _ in 0..MAX_INTERIM {
            let head = self.next_head(source, answer).await?;
            match head.status() {
                StatusCode::SWITCHING_PROTOCOLS => {
                    return match self.upgrade {
                        Some(handshake) if handshake.is_answered_by(&head) => Ok(head),
                        // Nobody may switch unasked, or to something else.
                        Some(_) | None => Err(ForwardFailure::BadUpgrade),
                    };
                }
                StatusCode::CONTINUE if !self.expects_continue => {}
                status if status.is_informational() => {
                    let fields = answer_fields(&head, self.strict_transport);
                    let fields = fields.filter(|field| self.backwards.leaves_as_it_is(field));
                    let fields: Vec<_> = fields.collect();
                    let sent = answer.send_interim(status, &fields);
                    self.while_it_stands(sent).await?;
                }
                _ => return Ok(head),
            }
        }
        Err(ForwardFailure::BadAnswer(ReadError::ClosedInHead))
    }

    /// A backend may wait for the whole request before it answers, and a large body may take long
    /// to send: its time to answer is counted from the end of the request. (The body has limits of
    /// its own, on both sides.)
    async fn next_head<A: AnswerSink>(
        &mut self,
        source: &mut impl AnswerSource,
        answer: &mut A,
    ) -> Result<ResponseHead, ForwardFailure> {
        let mut patience = self.header_limit;
        loop {
            let (was_sent, sent) = (self.is_sent(), self.pieces_sent());
            let limit = patience.min(LOOK_AGAIN);
            let head = tokio::select! {
                biased;
                head = source.head(self.method, limit) => head,
                () = answer.gone(self.header_limit.saturating_sub(patience)) => return Err(ForwardFailure::ClientGone),
            };
            match head {
                Err(ForwardFailure::TooSlow) if was_sent || self.is_silent(source, sent) => {
                    self.go_on(&mut patience, limit).await?;
                }
                Err(ForwardFailure::TooSlow) => {
                    patience = self.header_limit;
                    self.look().await?;
                }
                head => return head,
            }
        }
    }

    fn pieces_sent(&self) -> u64 {
        self.sent.pieces.load(Ordering::Relaxed)
    }

    /// Whether nobody has said anything in a conversation since so many pieces were sent.
    fn is_silent(&self, source: &impl AnswerSource, sent: u64) -> bool {
        source.is_conversation() && self.pieces_sent() == sent
    }

    /// Nothing came within `waited`, which is a part of `patience`: goes on while there is some
    /// left, and somebody to wait for.
    async fn go_on(
        &mut self,
        patience: &mut Duration,
        waited: Duration,
    ) -> Result<(), ForwardFailure> {
        *patience = patience.saturating_sub(waited);
        if patience.is_zero() {
            return Err(ForwardFailure::TooSlow);
        }
        self.look().await
    }

    /// Looks whether the request would still be let in.
    async fn look(&mut self) -> Result<(), ForwardFailure> {
        let moved = self.report.answer_bytes + self.pieces_sent();
        let has_moved = std::mem::replace(&mut self.moved, moved) != moved;
        self.looked = Instant::now();
        // Boxed: few exchanges last so long, and all would carry the room for it.
        match Box::pin(self.standing.stands(has_moved)).await {
            true => Ok(()),
            false => Err(ForwardFailure::NoLongerPermitted),
        }
    }

    /// Waits for a client that may take nothing for as long as it likes. The other direction goes on
    /// meanwhile, so that an upload would outlive what it was let in for.
    async fn while_it_stands(
        &mut self,
        work: impl Future<Output = Result<(), ClientGone>>,
    ) -> Result<(), ForwardFailure> {
        let mut work = pin!(work);
        loop {
            match within(LOOK_AGAIN, work.as_mut()).await {
                Ok(done) => return Ok(done?),
                Err(_) => self.look().await?,
            }
        }
    }

    /// The fields that the client gets. What a backend says of our login there is for us.
    fn passed<'h>(
        &self,
        head: &'h ResponseHead,
    ) -> impl Iterator<Item = Received<'h>> + use<'h, S> {
        let is_logged_in = self.login.is_some();
        let fields = answer_fields(head, self.strict_transport);
        fields.filter(move |field| !(is_logged_in && upstream_login::is_ours(field.name())))
    }

    fn begin<A: AnswerSink>(&self, head: &ResponseHead, answer: &mut A) {
        answer.begin(head.status());
        self.backwards.pass(self.passed(head), answer);
        if let Some(renewal) = self.renewal {
            renewal.add_to(head.status(), self.passed(head), answer);
        }
        if !head.fields().contains("date") {
            // RFC 9110 section 6.6.1 asks this of whoever forwards and has a clock.
            let now = httpdate::fmt_http_date(SystemTime::now());
            answer.field("Date", now.as_bytes());
        }
        answer.field("X-Request-Id", self.request_id.as_bytes());
        answer.ready(match head.framing() {
            _ if head.status() == StatusCode::SWITCHING_PROTOCOLS => AnswerLength::Switched,
            // RFC 9110 section 8.6: a length never stands in a 204.
            ResponseFraming::None if head.status() == StatusCode::NO_CONTENT => {
                AnswerLength::NoBody(None)
            }
            ResponseFraming::None => AnswerLength::NoBody(head.declared_length()),
            ResponseFraming::Length(0) if head.declared_length().is_none() => AnswerLength::Empty,
            ResponseFraming::Length(length) => AnswerLength::Exact(length),
            ResponseFraming::Chunked | ResponseFraming::UntilClose | ResponseFraming::Stream => {
                AnswerLength::Unknown
            }
        });
    }

    async fn pass_body<A: AnswerSink>(
        &mut self,
        source: &mut impl AnswerSource,
        answer: &mut A,
    ) -> Result<(), ForwardFailure> {
        loop {
            let piece = match source.body_now().await? {
                Some(piece) => piece,
                // Nothing more is here yet, and it may be long in coming (a stream of events).
                None => {
                    self.while_it_stands(answer.flush()).await?;
                    self.next_piece(source, answer).await?
                }
            };
            let Some(piece) = piece else { return Ok(()) };
            self.pass(piece, answer).await?;
        }
    }

    async fn next_piece<A: AnswerSink>(
        &mut self,
        source: &mut impl AnswerSource,
        answer: &mut A,
    ) -> Result<Option<Bytes>, ForwardFailure> {
        let mut patience = self.read_limit;
        loop {
            let (was_sent, sent) = (self.is_sent(), self.pieces_sent());
            let limit = patience.min(LOOK_AGAIN);
            let piece = tokio::select! {
                biased;
                piece = source.body(limit) => piece,
                () = answer.gone(self.read_limit.saturating_sub(patience)) => return Err(ForwardFailure::ClientGone),
            };
            match piece {
                Err(ForwardFailure::TooSlow) if was_sent || self.is_silent(source, sent) => {
                    self.go_on(&mut patience, limit).await?;
                }
                Err(ForwardFailure::TooSlow) => {
                    patience = self.read_limit;
                    self.look().await?;
                }
                piece => return piece,
            }
        }
    }

    async fn pass<A: AnswerSink>(
        &mut self,
        piece: Bytes,
        answer: &mut A,
    ) -> Result<(), ForwardFailure> {
        // Much of an answer may come without a wait, to a client that is slower than the backend.
        if self.report.answer_bytes > 0 && self.looked.elapsed() >= LOOK_AGAIN {
            self.look().await?;
        }
        let length = piece.len() as u64;
        self.while_it_stands(answer.write(piece)).await?;
        self.report.answer_bytes += length;
        Ok(())
    }
}

/// Whether a backend may take whoever uses this connection next for whoever has used it now: NTLM and
/// Negotiate (RFC 4559) authenticate connections, not requests.
fn is_one_clients(asked: &Fields, answered: &ResponseHead) -> bool {
    binds_connection(asked)
        || (answered.status() == StatusCode::UNAUTHORIZED
            && answered
                .fields()
                .get_all("www-authenticate")
                .flat_map(list_elements)
                .any(binds))
}

/// Whether what a client sends authenticates the connection that it comes on.
fn binds_connection(asked: &Fields) -> bool {
    asked.get_all("authorization").any(binds)
}

fn binds(value: &[u8]) -> bool {
    let scheme = value.split(|byte| !byte.is_ascii_alphanumeric()).next();
    scheme.is_some_and(|scheme| {
        scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
    })
}
