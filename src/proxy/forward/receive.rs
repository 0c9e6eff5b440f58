//! The answer's way back, whatever version of HTTP it comes by.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::time::Instant;

use super::failure::ForwardFailure;
use super::source::AnswerSource;
use super::{Forwarded, LOOK_AGAIN, Reusable, SENT, Sent, Standing};
use crate::http1::fields::{Fields, Received, list_elements};
use crate::http1::read::ReadError;
use crate::http1::response::{ResponseFraming, ResponseHead};
use crate::http1::timer::within;
use crate::proxy::client::StrictTransport;
use crate::proxy::exchange::{AnswerLength, AnswerSink, ClientGone, DISCARD_TIME, MAX_DISCARD};
use crate::proxy::headers::{UpstreamRequest, answer_fields, answer_trailers};
use crate::proxy::renewal::Renewal;
use crate::proxy::rewrite::Backwards;
use crate::proxy::spec::HttpVersion;
use crate::proxy::upgrade::handshake::Handshake;
use crate::proxy::upstream::UnderWay;
use crate::proxy::upstream_login::{self, Turn};

/// Interim answers (1xx) that a backend may send before the final one.
pub(super) const MAX_INTERIM: usize = 16;

/// Bytes of their fields that a client gets. Those of one over HTTP/2 are held for it until it takes
/// them, and no flow control counts them.
const INTERIM_BYTES: usize = 16 << 10;

/// The answer's way back.
pub(super) struct Receive<'e, S> {
    method: &'e Method,
    asked: &'e Fields,
    request_id: &'e str,
    strict_transport: &'e StrictTransport,
    backwards: Backwards<'e>,
    login: Option<&'e Turn>,
    renewal: Option<&'e Renewal<'e>>,
    upgrade: Option<&'e Handshake>,
    pub(super) expects_continue: bool,
    /// Whether the connection may be kept, as far as the request says.
    keeps: bool,
    header_limit: Duration,
    read_limit: Duration,
    started: Instant,
    pub(super) sent: &'e Sent,
    under_way: &'e UnderWay<'e>,
    standing: &'e S,
    /// When that was looked at last, and what had passed then.
    looked: Instant,
    moved: u64,
    report: &'e mut Forwarded,
}

impl<'e, S: Standing> Receive<'e, S> {
    /// For a request that has left whole, or leaves as `sent` is set to say.
    pub(super) fn new(
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

    pub(super) async fn run<A: AnswerSink>(
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
            self.while_it_stands(source, answer.flush()).await?;
            return Ok(Reusable::Switched);
        }
        source.begin_body(&head);
        self.pass_body(source, answer).await?;
        let trailers = source.trailers();
        let replaces = |name: &[u8]| self.backwards.replaces(name) || self.is_about_login(name);
        let trailers = trailers.map(|trailers| answer_trailers(&head, &trailers, replaces));
        let finished = answer.finish(trailers.as_ref());
        self.while_it_stands(source, finished).await?;
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
        self.sent.is_whole()
    }

    /// Whether nothing more of the request leaves: then the backend is all that is waited for.
    fn is_over(&self) -> bool {
        self.sent.over.load(Ordering::Relaxed)
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
        let mut left = INTERIM_BYTES;
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
                    let fields = self.passed(&head);
                    let fields = fields.filter(|field| self.backwards.leaves_as_it_is(field));
                    let fields: Vec<_> = fields.collect();
                    let length = |field: &Received<'_>| field.name().len() + field.value().len();
                    let Some(rest) = left.checked_sub(fields.iter().map(length).sum()) else {
                        continue;
                    };
                    left = rest;
                    let sent = answer.send_interim(status, &fields);
                    self.while_it_stands(source, sent).await?;
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
            let (was_over, sent) = (self.is_over(), self.pieces_sent());
            let limit = patience.min(LOOK_AGAIN);
            let head = tokio::select! {
                biased;
                head = source.head(self.method, limit) => head,
                () = answer.gone(self.header_limit.saturating_sub(patience)) => return Err(ForwardFailure::ClientGone),
            };
            match head {
                Err(ForwardFailure::TooSlow) if was_over || self.is_silent(source, sent) => {
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
        source: &mut impl AnswerSource,
        work: impl Future<Output = Result<(), ClientGone>>,
    ) -> Result<(), ForwardFailure> {
        let mut work = pin!(work);
        loop {
            let waiting = async {
                tokio::select! {
                    biased;
                    done = work.as_mut() => Ok(done?),
                    failure = source.take_in(self.method) => Err(failure),
                }
            };
            match within(LOOK_AGAIN, waiting).await {
                Ok(done) => return done,
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

    fn is_about_login(&self, name: &[u8]) -> bool {
        self.login.is_some() && upstream_login::is_ours(name)
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
                    self.while_it_stands(source, answer.flush()).await?;
                    self.next_piece(source, answer).await?
                }
            };
            let Some(piece) = piece else { return Ok(()) };
            self.pass(piece, source, answer).await?;
        }
    }

    async fn next_piece<A: AnswerSink>(
        &mut self,
        source: &mut impl AnswerSource,
        answer: &mut A,
    ) -> Result<Option<Bytes>, ForwardFailure> {
        let mut patience = self.read_limit;
        loop {
            let (was_over, sent) = (self.is_over(), self.pieces_sent());
            let limit = patience.min(LOOK_AGAIN);
            let piece = tokio::select! {
                biased;
                piece = source.body(limit) => piece,
                () = answer.gone(self.read_limit.saturating_sub(patience)) => return Err(ForwardFailure::ClientGone),
            };
            match piece {
                Err(ForwardFailure::TooSlow) if was_over || self.is_silent(source, sent) => {
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
        source: &mut impl AnswerSource,
        answer: &mut A,
    ) -> Result<(), ForwardFailure> {
        // Much of an answer may come without a wait, to a client that is slower than the backend.
        if self.report.answer_bytes > 0 && self.looked.elapsed() >= LOOK_AGAIN {
            self.look().await?;
        }
        let length = piece.len() as u64;
        self.while_it_stands(source, answer.write(piece)).await?;
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
pub(super) fn binds_connection(asked: &Fields) -> bool {
    asked.get_all("authorization").any(binds)
}

fn binds(value: &[u8]) -> bool {
    let scheme = value.split(|byte| !byte.is_ascii_alphanumeric()).next();
    scheme.is_some_and(|scheme| {
        scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
    })
}
