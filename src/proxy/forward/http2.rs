//! One exchange with a backend over HTTP/2: a stream of a connection that others use too.
//!
//! Both directions run beside each other until each has ended, as gRPC needs it. What is said to the
//! client and when somebody is looked at again is the same as over HTTP/1.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, SendStream};
use http::{Method, Request};
use tokio::time::Instant;

use super::failure::ForwardFailure;
use super::receive::{MAX_INTERIM, Receive, binds_connection};
use super::source::{ANSWER_LIMITS, AnswerSource};
use super::{Forwarded, LOOK_AGAIN, Sent, Standing, after_failure, after_no_connection, both_ways};
use crate::http1::body::BodyError;
use crate::http1::fields::Fields;
use crate::http1::read::ReadError;
use crate::http1::response::{ResponseError, ResponseFraming, ResponseHead};
use crate::http1::timer::within;
use crate::http1::write::BodyEncoder;
use crate::proxy::exchange::{AnswerSink, BodyFailure, BodySource, Upload};
use crate::proxy::grpc;
use crate::proxy::headers::UpstreamRequest;
use crate::proxy::headers::http2::trailer_map;
use crate::proxy::intake::Intake;
use crate::proxy::upstream::affinity::Affinity;
use crate::proxy::upstream::endpoint::Upstream;
use crate::proxy::upstream::http2::{Place, Sharing};
use crate::proxy::upstream::{Purpose, UnderWay, UpstreamPool};

/// How often a request is begun at most that backends say they have not looked at.
const MOST_TRIES: usize = 3;

/// As [`super::forward`], to a backend that speaks HTTP/2.
pub(super) async fn forward<B: BodySource, A: AnswerSink>(
    (pool, upstream): (&UpstreamPool, &Upstream),
    request: &UpstreamRequest<'_>,
    standing: &impl Standing,
    body: &mut Upload<'_, B>,
    answer: &mut A,
    report: &mut Forwarded,
) -> Result<(), ForwardFailure> {
    let started = Instant::now();
    let balance = &upstream.spec.balance;
    let affinity = Affinity::of(balance, request.head.fields(), request.client.ip);
    let (mut under_way, _) = pool.enter(upstream, (Purpose::Request, affinity), started)?;
    let head = request.http2_head().ok_or(ForwardFailure::NotHttp2)?;
    let repeatable = request.head.method().is_idempotent();
    let mut waits_for_continue = request.sending.expects_continue;
    // A connection that was announced as one client's is that client's, as is one that a client has
    // authenticated.
    let is_announced = upstream.spec.proxy_protocol.is_some();
    let sharing = match is_announced || binds_connection(request.head.fields()) {
        true => Sharing::Never,
        false => Sharing::Always,
    };
    let mut tries = 0;
    loop {
        report.destination = Some(Arc::clone(under_way.destination()));
        report.moves = under_way.moves();
        let place = tokio::select! {
            place = body.while_taking_in(under_way.place(sharing, request.client.announced())) => place,
            () = answer.gone(Duration::ZERO) => return Err(ForwardFailure::ClientGone),
        };
        let mut place = match place {
            Ok(place) => place,
            Err(failure) => {
                after_no_connection(&mut under_way, failure)?;
                continue;
            }
        };
        tries += 1;
        report.reused = place.reused;
        // It may have been long in coming.
        if started.elapsed() >= LOOK_AGAIN && !standing.stands(false).await {
            return Err(ForwardFailure::NoLongerPermitted);
        }
        if std::mem::take(&mut waits_for_continue) {
            answer.send_continue().await?;
        }
        let on = (&under_way, &mut place);
        let exchange = exchange(on, request, &head, standing, (body, answer), report);
        let Err(failure) = exchange.await else {
            return Ok(());
        };
        let broke = matches!(failure, ForwardFailure::NoAnswer);
        let is_safe = matches!(failure, ForwardFailure::NotProcessed) || (broke && repeatable);
        let again = is_safe && tries < MOST_TRIES && body.begin_again();
        // The backend closed it, or let it run out, while our request was under way, as it may at any
        // time.
        let was_open = place.reused && broke;
        if again && (was_open || matches!(failure, ForwardFailure::NotProcessed)) {
            continue;
        }
        after_failure(&mut under_way, failure, again, was_open)?;
    }
}

async fn exchange<B: BodySource, A: AnswerSink>(
    (under_way, place): (&UnderWay<'_>, &mut Place),
    request: &UpstreamRequest<'_>,
    head: &Request<()>,
    standing: &impl Standing,
    (body, answer): (&mut Upload<'_, B>, &mut A),
    report: &mut Forwarded,
) -> Result<(), ForwardFailure> {
    let is_whole = body.has_ended();
    let opened = place.open(head.clone(), is_whole).map_err(not_opened);
    let (response, mut stream) = opened?;
    let sent = Sent::so_far(is_whole);
    let conversation = AtomicBool::new(grpc::is_call(request.head));
    let mut source = Http2Source::new(response, &conversation);
    let mut receive = Receive::new(request, standing, under_way, Instant::now(), report);
    receive.sent = &sent;
    // We have said it ourselves.
    receive.expects_continue = false;
    let done = if is_whole {
        receive.run(&mut source, answer).await
    } else {
        let limit = request.upstream.spec.write_timeout;
        let upload = async {
            let sending = (&mut *body, &sent.pieces);
            let done = upload(&mut stream, request, sending, &conversation, limit).await;
            sent.ended(done, body).await
        };
        let download = receive.run(&mut source, answer);
        both_ways(upload, download).await
    };
    place.ended = done.is_ok() && sent.is_whole();
    report.grpc_status = source.grpc_status;
    // A stream that has not ended on both sides is reset when it is dropped here (CANCEL).
    done.map(|_| ())
}

fn not_opened(error: h2::Error) -> ForwardFailure {
    match error.is_io() || error.is_go_away() {
        true => ForwardFailure::NotProcessed,
        false => ForwardFailure::NotHttp2,
    }
}

// === The request's way ===

/// Sends the body and the trailers. In a conversation the client may be silent for as long as it
/// likes: how long both may be is for the other direction to say.
async fn upload<B: BodySource>(
    stream: &mut SendStream<Bytes>,
    request: &UpstreamRequest<'_>,
    (body, pieces): (&mut Upload<'_, B>, &AtomicU64),
    conversation: &AtomicBool,
    limit: Duration,
) -> Result<(), ForwardFailure> {
    let malformed = ForwardFailure::Body(BodyFailure::Malformed);
    let mut left = match BodyEncoder::for_request(request.sending.framing) {
        BodyEncoder::Length(length) => Some(length),
        BodyEncoder::None | BodyEncoder::Chunked | BodyEncoder::UntilClose => None,
    };
    loop {
        let piece = match body.next().await {
            Err(BodyFailure::TooSlow) if conversation.load(Ordering::Relaxed) => {
                // Or it would be too slow again at once, for ever.
                body.be_patient();
                continue;
            }
            piece => piece.map_err(ForwardFailure::Body)?,
        };
        let Some(piece) = piece else { break };
        left = match left.map(|left| left.checked_sub(piece.len() as u64)) {
            Some(None) => return Err(malformed),
            left => left.flatten(),
        };
        body.while_taking_in(send(stream, piece, limit)).await?;
        pieces.fetch_add(1, Ordering::Relaxed);
    }
    if left.is_some_and(|left| left > 0) {
        return Err(malformed);
    }
    let trailers = body.trailers().await.map_err(ForwardFailure::Body)?;
    let trailers = trailers.map(|trailers| request.trailers(&trailers));
    let ended = match trailers.as_ref().map(trailer_map) {
        Some(trailers) if !trailers.is_empty() => stream.send_trailers(trailers),
        _ => stream.send_data(Bytes::new(), true),
    };
    ended.map_err(|_| ForwardFailure::NoAnswer)
}

/// Sends a piece as the backend takes it.
async fn send(
    stream: &mut SendStream<Bytes>,
    mut piece: Bytes,
    limit: Duration,
) -> Result<(), ForwardFailure> {
    while !piece.is_empty() {
        stream.reserve_capacity(piece.len());
        let capacity = within(limit, poll_fn(|cx| poll_room(stream, cx))).await;
        let capacity = capacity.map_err(|_| ForwardFailure::TooSlow)??;
        let part = piece.split_to(capacity.min(piece.len()));
        let sent = stream.send_data(part, false);
        sent.map_err(|_| ForwardFailure::NoAnswer)?;
    }
    Ok(())
}

fn poll_room(
    stream: &mut SendStream<Bytes>,
    cx: &mut Context<'_>,
) -> Poll<Result<usize, ForwardFailure>> {
    loop {
        let room = stream.capacity();
        if room > 0 {
            return Poll::Ready(Ok(room));
        }
        match std::task::ready!(stream.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Poll::Ready(Err(ForwardFailure::NoAnswer)),
        }
    }
}

// === The answer's way ===

/// An answer over HTTP/2.
struct Http2Source<'s> {
    state: Answering,
    conversation: &'s AtomicBool,
    /// Whether its head says that there is no body.
    has_no_body: bool,
    /// Interim answers that have come while the client had not taken the one before.
    interim: VecDeque<ResponseHead>,
    trailers: Option<Fields>,
    grpc_status: Option<u16>,
}

enum Answering {
    Head(ResponseFuture),
    Body(Intake),
    Ended,
}

impl<'s> Http2Source<'s> {
    fn new(response: ResponseFuture, conversation: &'s AtomicBool) -> Self {
        Self {
            state: Answering::Head(response),
            conversation,
            has_no_body: false,
            interim: VecDeque::new(),
            trailers: None,
            grpc_status: None,
        }
    }

    fn poll_head(
        &mut self,
        method: &Method,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, ForwardFailure>> {
        if let Some(head) = self.interim.pop_front() {
            return Poll::Ready(Ok(head));
        }
        if let Poll::Ready(Some(head)) = self.poll_interim(method, cx) {
            return Poll::Ready(head);
        }
        let Answering::Head(response) = &mut self.state else {
            return Poll::Ready(Err(ForwardFailure::NoAnswer));
        };
        let response = std::task::ready!(Pin::new(response).poll(cx));
        let (parts, body) = response.map_err(head_failure)?.into_parts();
        let ended = body.is_end_stream();
        let head = ResponseHead::from_http2(&parts, ended, method, &ANSWER_LIMITS);
        let head = head.map_err(bad_head)?;
        self.state = Answering::Body(Intake::new(body));
        Poll::Ready(Ok(head))
    }

    /// The next interim answer; `None` where the final one has come.
    fn poll_interim(
        &mut self,
        method: &Method,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<ResponseHead, ForwardFailure>>> {
        let Answering::Head(response) = &mut self.state else {
            return Poll::Ready(None);
        };
        let interim = std::task::ready!(response.poll_informational(cx));
        Poll::Ready(interim.map(|interim| {
            let (parts, ()) = interim.map_err(head_failure)?.into_parts();
            ResponseHead::from_http2(&parts, false, method, &ANSWER_LIMITS).map_err(bad_head)
        }))
    }

    /// Takes in what comes. Interim answers are not held back by any window.
    fn poll_take_in(&mut self, method: &Method, cx: &mut Context<'_>) -> Poll<ForwardFailure> {
        if let Answering::Body(body) = &mut self.state {
            body.take_in(cx);
            return Poll::Pending;
        }
        while let Some(head) = std::task::ready!(self.poll_interim(method, cx)) {
            match head {
                Ok(head) if self.interim.len() < MAX_INTERIM => self.interim.push_back(head),
                Ok(_) => return Poll::Ready(ForwardFailure::BadAnswer(ReadError::ClosedInHead)),
                Err(failure) => return Poll::Ready(failure),
            }
        }
        // The final one waits where it is.
        Poll::Pending
    }

    /// The next piece.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ForwardFailure>> {
        let cut_short = |error| ForwardFailure::CutShort(into_io(error).into());
        let Answering::Body(body) = &mut self.state else {
            return Poll::Ready(Ok(None));
        };
        if let Some(piece) = std::task::ready!(body.poll_next(cx)) {
            let piece = piece.map_err(cut_short)?;
            return Poll::Ready(match self.has_no_body && !piece.is_empty() {
                true => Err(ForwardFailure::CutShort(BodyError::TooLong.into())),
                false => Ok(Some(piece)),
            });
        }
        let trailers = std::task::ready!(body.poll_trailers(cx)).map_err(cut_short)?;
        if let Some(trailers) = trailers {
            let trailers = Fields::from_http2_trailers(&trailers, &ANSWER_LIMITS);
            let trailers = trailers.map_err(|error| ForwardFailure::CutShort(error.into()))?;
            self.note_status(&trailers);
            self.trailers = Some(trailers);
        }
        self.state = Answering::Ended;
        Poll::Ready(Ok(None))
    }

    fn note_status(&mut self, fields: &Fields) {
        self.grpc_status = grpc::status(fields).or(self.grpc_status);
    }
}

impl AnswerSource for Http2Source<'_> {
    async fn head(
        &mut self,
        method: &Method,
        limit: Duration,
    ) -> Result<ResponseHead, ForwardFailure> {
        let head = within(limit, poll_fn(|cx| self.poll_head(method, cx)));
        head.await.unwrap_or(Err(ForwardFailure::TooSlow))
    }

    fn begin_body(&mut self, head: &ResponseHead) {
        self.has_no_body = head.framing() == ResponseFraming::None;
        self.note_status(head.fields());
        // From here on, both may speak when they have something to say.
        self.conversation.store(true, Ordering::Relaxed);
    }

    async fn body_now(&mut self) -> Result<Option<Option<Bytes>>, ForwardFailure> {
        poll_fn(|cx| match self.poll_body(cx) {
            Poll::Ready(piece) => Poll::Ready(piece.map(Some)),
            Poll::Pending => Poll::Ready(Ok(None)),
        })
        .await
    }

    async fn body(&mut self, limit: Duration) -> Result<Option<Bytes>, ForwardFailure> {
        let piece = within(limit, poll_fn(|cx| self.poll_body(cx)));
        piece.await.unwrap_or(Err(ForwardFailure::TooSlow))
    }

    async fn take_in(&mut self, method: &Method) -> ForwardFailure {
        poll_fn(|cx| self.poll_take_in(method, cx)).await
    }

    fn trailers(&mut self) -> Option<Fields> {
        self.trailers.take()
    }

    fn is_at_end(&self) -> bool {
        true
    }

    fn is_conversation(&self) -> bool {
        self.conversation.load(Ordering::Relaxed)
    }
}

fn bad_head(error: ResponseError) -> ForwardFailure {
    ForwardFailure::BadAnswer(ReadError::Response(error))
}

fn head_failure(error: h2::Error) -> ForwardFailure {
    match (error.is_remote(), error.reason()) {
        // Above the last stream that it has looked at, or refused before it has looked.
        (true, _) if error.is_go_away() => ForwardFailure::NotProcessed,
        (true, Some(Reason::REFUSED_STREAM)) => ForwardFailure::NotProcessed,
        (true, Some(reason)) => ForwardFailure::Reset(reason),
        _ if error.is_library() => ForwardFailure::BadAnswer(into_io(error).into()),
        _ => ForwardFailure::NoAnswer,
    }
}

fn into_io(error: h2::Error) -> io::Error {
    match error.is_io() {
        true => error
            .into_io()
            .unwrap_or_else(|| io::ErrorKind::Other.into()),
        false => io::Error::other(error),
    }
}
