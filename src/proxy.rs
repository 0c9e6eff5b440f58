//! The life of a request in one straight line: head → gate → headers → upstream → forward → log.
//!
//! [`Request::serve`] is that line, for every version of HTTP; `h1` and `h2` bring requests to it.

pub mod assertion;
mod attempt;
mod authorization;
mod basic;
mod behind;
pub mod certificate;
pub mod client;
mod collect;
pub mod cookie;
mod destination;
pub mod exchange;
pub mod forward;
mod frames;
pub mod grpc;
pub mod h1;
pub mod h2;
pub mod headers;
mod hint;
pub mod identity_headers;
mod intake;
pub mod keep_alive;
pub mod login;
mod memo;
mod origin;
mod pace;
pub mod pages;
pub mod rate;
pub mod record;
pub mod redirect;
pub mod renewal;
pub mod request_id;
pub mod respond;
pub mod rewrite;
mod seldom;
pub mod shares;
pub mod spec;
pub mod spool;
mod standing;
pub mod upgrade;
pub mod upstream;
pub mod upstream_login;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, ArcSwapOption};
use http::StatusCode;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::gate::authorize::{Permit, Refusal, RefusalReason};
use crate::gate::request::{PresentedAuthorization, PresentedSession, RequestView};
use crate::gate::session::{SessionDigest, Timestamp};
use crate::gate::{Decision, Gate};
use crate::http1::head::{RequestFraming, RequestHead};
use crate::http1::timer::{Timer, within};
use crate::http1::write::BodyEncoder;
use crate::identity::address::AddressBlocks;
use crate::identity::certificate::InvalidCertificate;
use crate::identity::{InvalidIdentity, NoIdentity, UserName};
use crate::observe::log::{Level, Line, Logger};
use crate::observe::metrics::Metrics;
use crate::observe::tally::{InFlightRequest, Tally};
use crate::password::credentials::Credentials;
use crate::password::pool::HashPool;
use crate::password::upgrade::Upgrades;
use crate::password::verified::Verified;
use crate::store::attempts::Attempts;
use crate::store::secret::FormKey;
use crate::store::{Kept, SessionStore, Sessions};
use attempt::PasswordAttempts;
use authorization::Authorization;
use certificate::{Certified, Unserved};
use client::{ClientFacts, SessionsAccepted};
use exchange::{AnswerSink, BodyFailure, BodySource, MAX_DISCARD, Upload};
use forward::failure::ForwardFailure;
use forward::{Outcome, forward};
use headers::{Sending, UpstreamRequest};
use identity_headers::IdentityHeaders;
use login::OwnExchange;
use pages::Pages;
use pages::text::{Said, Text};
use rate::{Counted, RateLimits, TooOften};
use record::Record;
use renewal::Renewal;
use request_id::RequestId;
use respond::{Answer, Audience, Refused};
use rewrite::Rewrite;
use shares::Holder;
use spec::{ClientTimeouts, Hsts, Limits, LoginSpec, Underscores};
use spool::{SpoolError, Spools};
use standing::Permitted;
use upgrade::NotUpgraded;
use upgrade::handshake::Handshake;
use upstream::UpstreamPool;
use upstream::connection::ConnectFailure;
use upstream::endpoint::Upstream;

/// What a request is served by. A request sees one snapshot from start to end; a reload swaps it
/// whole.
#[derive(Debug)]
pub struct Snapshot {
    /// The decision.
    pub gate: Gate,
    /// The password hashes.
    pub credentials: Arc<Credentials>,
    /// The backends, in the order of their ids.
    pub upstreams: Vec<Arc<Upstream>>,
    /// What routes change on the way, in the order of their ids.
    pub rewrites: Vec<Rewrite>,
    /// How backends are told who asks.
    pub identity: Arc<IdentityHeaders>,
    /// The login pages, where there is a login.
    pub login: Option<LoginSpec>,
    /// How pages look.
    pub pages: Pages,
    /// How much a client may send.
    pub limits: Limits,
    /// How long it may take.
    pub timeouts: ClientTimeouts,
    /// Who is believed about where requests come from.
    pub trusted_proxies: Arc<AddressBlocks>,
}

/// What all threads share.
pub struct Shared {
    /// The configuration of this moment.
    pub snapshot: ArcSwap<Snapshot>,
    /// Who is logged in.
    pub sessions: Sessions,
    /// The logins that failed.
    pub attempts: Attempts,
    /// How often clients have asked.
    pub rates: RateLimits,
    /// Where passwords are checked.
    pub hashing: HashPool,
    /// Those that came with requests and were right a moment ago.
    pub verified: Verified,
    /// The stored passwords that should be stored better.
    pub upgrades: Upgrades,
    /// Where request bodies are kept until they are whole.
    pub spools: Spools,
    /// The key of our forms' tokens.
    pub form_key: FormKey,
    /// What answers over TLS say of Strict-Transport-Security, for connections that begin now.
    pub hsts: Arc<ArcSwapOption<Hsts>>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What each thread has counted and not yet added to it.
    pub tallies: Vec<Arc<Tally>>,
    /// Where lines go.
    pub log: Logger,
    /// Whether the patience of a drain is at its end: what can end with a word should do so now.
    pub cutting_off: AtomicBool,
}

impl Shared {
    /// Puts on record that a session was ended, and counts it.
    pub fn note_end(&self, log: &Logger, ended: &Kept, reason: &str) {
        let line = log.line(Level::Info, "session.end");
        let line = self.ended(line, &ended.session.user, &ended.digest, reason);
        log.note(line);
    }

    /// Counts the end of a session, and adds to a line what is said of it.
    fn ended(&self, line: Line, user: &UserName, session: &SessionDigest, reason: &str) -> Line {
        self.count_end(reason);
        line.text("user.name", user.as_str())
            .text("session.id", session.short().as_str())
            .text("auth.reason", reason)
    }

    fn count_end(&self, reason: &str) {
        let ended = &self.metrics.auth_sessions_ended;
        ended.with_label_values(&[reason]).inc();
    }

    /// The same for those that the store has ended since it was asked last.
    pub fn note_untold(&self, log: &Logger) {
        for (ended, why) in self.sessions.untold() {
            self.note_end(log, &ended, why.as_str());
        }
    }
}

/// What one forwarding thread works with.
pub struct Worker {
    /// What all threads share.
    pub shared: Arc<Shared>,
    /// This thread's way to the log.
    pub log: Logger,
    /// This thread's counts.
    pub tally: Arc<Tally>,
    /// This thread's connections to backends.
    pub pool: UpstreamPool,
    /// Becomes true when no further request should be taken.
    pub draining: watch::Receiver<bool>,
}

impl Worker {
    /// Whether connections should end with the request they serve.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Whether what still lasts is about to be cut off.
    #[must_use]
    pub fn is_cutting_off(&self) -> bool {
        self.shared.cutting_off.load(Ordering::Relaxed)
    }
}

/// How long a draining server waits for the first request of a new connection.
const FIRST_REQUEST: Duration = Duration::from_millis(500);

/// Resolves when the server drains and `grace` has passed.
pub async fn drained(draining: &mut watch::Receiver<bool>, grace: Duration) {
    // A sender that is gone is a server that has ended.
    drop(draining.wait_for(|draining| *draining).await);
    if !grace.is_zero() {
        tokio::time::sleep(grace).await;
    }
}

/// Tells one connection that the server drains. It listens once, however often the connection
/// waits: all connections of all threads listen to the same signal.
pub struct DrainWatch {
    draining: watch::Receiver<bool>,
    signal: Pin<Box<dyn Future<Output = ()> + Send>>,
    listening: bool,
    grace: Duration,
    grace_over: Timer,
    since: Option<Instant>,
}

impl DrainWatch {
    /// For a connection of `worker`, which has `grace` to begin something.
    #[must_use]
    pub fn new(worker: &Worker, grace: Duration) -> Self {
        let mut draining = worker.draining.clone();
        Self {
            draining: draining.clone(),
            signal: Box::pin(async move { drained(&mut draining, Duration::ZERO).await }),
            listening: false,
            grace,
            grace_over: Timer::default(),
            since: None,
        }
    }

    /// The connection has begun something: there is no grace any more.
    pub fn begun(&mut self) {
        self.grace = Duration::ZERO;
    }

    /// Resolves when the server drains and the grace is over. Always to be polled by the same
    /// task: it is woken by the first time. Not to be polled again after that.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.listening && !*self.draining.borrow() {
            return Poll::Pending;
        }
        self.listening = true;
        let since = match self.since {
            Some(since) => since,
            None => {
                ready!(self.signal.as_mut().poll(cx));
                *self.since.insert(Instant::now())
            }
        };
        if self.grace.is_zero() {
            return Poll::Ready(());
        }
        self.grace_over.poll(cx, since + self.grace)
    }
}

/// The time as the gate wants it.
#[must_use]
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since_epoch.map_or(0, |elapsed| elapsed.as_millis());
    Timestamp(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// One request and all that it is served with.
pub struct Request<'r> {
    worker: &'r Worker,
    client: &'r ClientFacts,
    snapshot: Arc<Snapshot>,
    head: &'r RequestHead,
    /// Found out once: a password is not looked at again while an answer lasts, and what it was
    /// right for is compared with the users of each moment.
    authorization: Result<PresentedAuthorization, NoIdentity>,
    id: RequestId,
    now: Timestamp,
}

impl<'r> Request<'r> {
    /// A request whose head has just arrived on `client`'s connection, under the configuration of
    /// this moment.
    #[must_use]
    pub fn new(
        worker: &'r Worker,
        client: &'r ClientFacts,
        snapshot: Arc<Snapshot>,
        head: &'r RequestHead,
    ) -> Self {
        let id = RequestId::generate();
        let id = match &client.behind {
            Some(behind) if behind.is_trusted => id.or_given(head.fields()),
            Some(_) | None => id,
        };
        Self {
            worker,
            client,
            snapshot,
            head,
            authorization: Err(NoIdentity::NotPresented),
            id,
            now: now(),
        }
    }

    /// Serves it: decides, then forwards, answers or refuses, and writes it down.
    pub async fn serve<B: BodySource, A: AnswerSink>(
        mut self,
        body: &mut Upload<'_, B>,
        answer: &mut A,
    ) {
        let _in_flight = InFlightRequest::enter(&self.client.in_flight);
        let mut record = Record::begin(self.client, self.head, &self.id);
        let rates = &self.worker.shared.rates;
        // Before anybody has any work with it.
        if let Err(too_often) = rates.count(Counted::Address(self.client.ip)) {
            Box::pin(self.send_too_often(too_often, body, answer, &mut record)).await;
            return record.end(self.worker, body.received());
        }
        // Before anything is made of what it carries: it came in the clear.
        if let Some(elsewhere) = self.elsewhere() {
            Box::pin(self.send_elsewhere(elsewhere, body, answer, &mut record)).await;
            return record.end(self.worker, body.received());
        }
        let certificate = self.check_names().and_then(|()| self.certificate());
        let certificate = match certificate {
            Ok(certificate) => certificate,
            Err(unserved) => {
                Box::pin(self.send_unserved(unserved, body, answer, &mut record)).await;
                return record.end(self.worker, body.received());
            }
        };
        self.authorization = self.presented_authorization(&mut record).await;
        let view = self.view(&certificate).await;
        record.presented(certificate);
        record.looked_up(&view.session);
        let result = match self.snapshot.gate.decide(&view, self.now) {
            Decision::Forward(permit) => {
                record.permitted(&permit);
                if let Err(too_often) = self.count_permitted(&permit) {
                    Box::pin(self.send_too_often(too_often, body, answer, &mut record)).await;
                    return record.end(self.worker, body.received());
                }
                match self.handshake(&permit) {
                    Ok(upgrade) => {
                        let renewal = self.note_use(&permit, &view);
                        let with = (renewal.as_ref(), upgrade.as_ref());
                        self.forward(&permit, with, body, answer, &mut record).await
                    }
                    Err(why) => {
                        if why == NotUpgraded::CrossSite {
                            record.hint(self.origins(&permit));
                        }
                        Box::pin(self.refuse_upgrade(why, body, answer, &mut record)).await
                    }
                }
            }
            Decision::Own(page, identity) => {
                record.own(page, &identity);
                // Boxed, as is all that few requests need: each carries the room of its largest part.
                Box::pin(self.own(page, &identity, body, answer, &mut record)).await
            }
            Decision::Refuse(refusal) => {
                record.refused(&refusal);
                record.hint(self.not_taken(&refusal));
                Box::pin(self.refuse(&refusal, body, answer, &mut record)).await
            }
        };
        if let Err(failure) = result {
            Box::pin(self.fail(&failure, body, answer, &mut record)).await;
        }
        record.end(self.worker, body.received());
    }

    /// Whether the names of its fields are wanted.
    fn check_names(&self) -> Result<(), Unserved> {
        let has_underscore = || {
            let mut names = self.head.fields().received().map(|field| field.name());
            names.any(|name| name.contains(&b'_'))
        };
        match self.snapshot.limits.underscores {
            Underscores::Reject if has_underscore() => Err(Unserved::Underscore),
            Underscores::Keep | Underscores::Drop | Underscores::Reject => Ok(()),
        }
    }

    /// Counts a request of which it is known whose it is and for what.
    fn count_permitted(&self, permit: &Permit) -> Result<(), TooOften> {
        let rates = &self.worker.shared.rates;
        let user = permit.identity().ok().map(|it| &it.user().name);
        if let Some(user) = user {
            rates.count(Counted::User(user))?;
        }
        let Some(route) = permit.route().rate else {
            return Ok(());
        };
        rates.count_for(route, Counted::Address(self.client.ip))?;
        user.map_or(Ok(()), |user| rates.count_for(route, Counted::User(user)))
    }

    /// Whom what lasts counts for.
    fn holder(&self, permit: &Permit) -> Holder {
        let user = permit.identity().ok().map(|it| &it.user().name);
        Holder::of(user, self.client.ip, &self.snapshot.trusted_proxies)
    }

    /// Answers somebody who asks too often.
    async fn send_too_often<B: BodySource, A: AnswerSink>(
        &self,
        too_often: TooOften,
        body: &mut Upload<'_, B>,
        answer: &mut A,
        record: &mut Record<'_>,
    ) {
        record.too_often();
        record.hint(Some(self.limit(too_often)));
        let problem = self
            .problem(StatusCode::TOO_MANY_REQUESTS, Text::AskedTooOften)
            .with("Retry-After", too_often.seconds().to_string());
        if let Err(failure) = self.send(problem, body, answer, record).await {
            self.fail(&failure, body, answer, record).await;
        }
    }

    /// What the gate decides by.
    async fn view(&self, certificate: &Result<Arc<Certified>, NoIdentity>) -> RequestView<'_> {
        let certificate = certificate.as_ref().map(|it| it.presented.clone());
        RequestView {
            method: self.head.method().as_str(),
            authority: self.head.authority(),
            path: self.head.path(),
            destination: destination::second_path(self.head),
            address: self.client.vouched_for(),
            session: self.presented_session().await,
            authorization: self.authorization.clone(),
            certificate: certificate.map_err(|why| *why),
        }
    }

    /// The session that the request's cookie leads to.
    async fn presented_session(&self) -> Result<PresentedSession, NoIdentity> {
        if self.client.sessions == SessionsAccepted::OnlyOverTls {
            return Err(NoIdentity::NotRequested);
        }
        let digest = cookie::session(self.head.fields())?;
        match self.worker.shared.sessions.look_up(&digest).await {
            Ok(Some(session)) => Ok(PresentedSession { digest, session }),
            Ok(None) => Err(NoIdentity::Invalid(InvalidIdentity::UnknownSession)),
            Err(_) => Err(NoIdentity::Invalid(InvalidIdentity::StoreUnavailable)),
        }
    }

    /// What its `Authorization` field is worth, on a route that takes one. Nobody looks at it on
    /// others, where it is the backend's.
    async fn presented_authorization(
        &self,
        record: &mut Record<'_>,
    ) -> Result<PresentedAuthorization, NoIdentity> {
        let gate = &self.snapshot.gate;
        if !gate.routes.takes_authorization() || !self.head.fields().contains("authorization") {
            return Err(NoIdentity::NotPresented);
        }
        let head = self.head;
        let taken = gate.taken(head.method().as_str(), head.authority(), head.path());
        if !taken.has_authorization() {
            return Err(NoIdentity::NotPresented);
        }
        if self.client.sessions == SessionsAccepted::OnlyOverTls {
            return Err(NoIdentity::NotRequested);
        }
        match authorization::read(head.fields(), taken)? {
            Authorization::Token(digest) => {
                record.token(gate.users.token(&digest));
                Ok(PresentedAuthorization::Token(digest))
            }
            Authorization::Basic(credentials) => {
                let attempts = PasswordAttempts {
                    client: self.client,
                    shared: &self.worker.shared,
                    log: &self.worker.log,
                    snapshot: &self.snapshot,
                    id: &self.id,
                    now: self.now,
                };
                Box::pin(basic::verify(&attempts, head, credentials)).await
            }
        }
    }

    /// A request that its session proved the identity for keeps it from idling out, and its cookie
    /// from expiring. It may have proved nothing, on a public route or beside a certificate: a
    /// session that has ended must not begin again by that.
    fn note_use<'v>(&self, permit: &Permit, view: &'v RequestView<'_>) -> Option<Renewal<'v>> {
        let proved = permit.identity().is_ok_and(|it| it.session().is_some());
        let (true, Ok(presented)) = (proved, &view.session) else {
            return None;
        };
        presented.session.touch(self.now);
        let (fields, policy) = (self.head.fields(), &self.snapshot.gate.sessions);
        let same_site = self.snapshot.login.as_ref()?.same_site;
        Renewal::due(presented, fields, policy, same_site, self.now)
    }

    async fn forward<B: BodySource, A: AnswerSink>(
        &self,
        permit: &Permit,
        (renewal, upgrade): (Option<&Renewal<'_>>, Option<&Handshake>),
        body: &mut Upload<'_, B>,
        answer: &mut A,
        record: &mut Record<'_>,
    ) -> Result<(), ForwardFailure> {
        let route = permit.route();
        let limit = route.body_limit.unwrap_or(self.snapshot.limits.body);
        if declared_length(self.head).is_some_and(|length| length > limit) {
            return Err(ForwardFailure::Body(BodyFailure::TooLarge));
        }
        body.allow(limit);
        let upstream = &self.snapshot.upstreams[route.upstream.0];
        let rewrite = &self.snapshot.rewrites[route.rewrite.0];
        let target = rewrite
            .path
            .target(self.head.target(), self.head.path().len())?;
        record.upstream(&upstream.spec.name);
        let mut request = UpstreamRequest {
            head: self.head,
            permit,
            client: self.client,
            upstream,
            rewrite,
            target: &target,
            destination: None,
            identity: &self.snapshot.identity,
            request_id: &self.id,
            underscores: self.snapshot.limits.underscores,
            now: self.now,
            renewal,
            sending: Sending {
                header_timeout: route.read_timeout.unwrap_or(upstream.spec.header_timeout),
                read_timeout: route.read_timeout.unwrap_or(upstream.spec.read_timeout),
                ..Sending::as_it_came(self.head, &upstream.spec)
            },
            login: None,
            upgrade,
        };
        let destination = destination::for_backend(&request)?;
        request.destination = destination.as_deref();
        // Held until it has ended, be that in hours.
        let _tunnel = match upgrade {
            Some(_) => Some(Box::new(upstream.tunnels.take(self.holder(permit), 1)?)),
            None => None,
        };
        let standing = Permitted {
            request: self,
            permit,
        };
        let limit = route.timeout.or(upstream.spec.total_timeout);
        let outcome = match limit {
            None => {
                self.forward_to(request, &standing, body, answer, record)
                    .await?
            }
            Some(limit) => {
                // Counted from the head, whatever was waited for since.
                let left = limit.saturating_sub(record.elapsed());
                let forwarded = Box::pin(self.forward_to(request, &standing, body, answer, record));
                match within(left, forwarded).await {
                    Ok(forwarded) => forwarded?,
                    Err(_) if !body.has_ended() && upstream.spec.collects(self.head.framing()) => {
                        return Err(ForwardFailure::Body(BodyFailure::TooSlow));
                    }
                    Err(_) => return Err(ForwardFailure::TooSlow),
                }
            }
        };
        match outcome {
            Outcome::Answered => Ok(()),
            Outcome::Switched(switched) => {
                let idle = upstream.spec.tunnel_timeout;
                // Apart: few requests leave HTTP, and all would carry the room for it.
                Box::pin(self.tunnel(switched, idle, &standing, answer, record)).await
            }
        }
    }

    /// Forwards to an upstream of whichever kind.
    async fn forward_to<'f, B: BodySource, A: AnswerSink>(
        &'f self,
        request: UpstreamRequest<'_>,
        standing: &Permitted<'_, '_>,
        body: &mut Upload<'_, B>,
        answer: &mut A,
        record: &mut Record<'_>,
    ) -> Result<Outcome<'f>, ForwardFailure> {
        if request.upstream.spec.is_ordinary() {
            let forwarded = self
                .forward_as(request, standing, body, answer, record)
                .await;
            if record.forwarded.status == Some(StatusCode::LENGTH_REQUIRED) {
                self.say_length_required(&request.upstream.spec);
            }
            return forwarded;
        }
        // Boxed, with all that few backends need.
        Box::pin(self.forward_adapted(request, standing, body, answer, record)).await
    }

    async fn forward_as<'f, B: BodySource, A: AnswerSink>(
        &'f self,
        request: UpstreamRequest<'_>,
        standing: &Permitted<'_, '_>,
        body: &mut Upload<'_, B>,
        answer: &mut A,
        record: &mut Record<'_>,
    ) -> Result<Outcome<'f>, ForwardFailure> {
        // The request may be one of several for this one, and lives as long as it needs to be told.
        let upstream = &*self.snapshot.upstreams[request.upstream.id.0];
        let (to, report) = ((&self.worker.pool, upstream), &mut record.forwarded);
        let forwarded = forward(to, request, standing, body, answer, report).await;
        forwarded.map_err(|failure| match failure {
            ForwardFailure::NoLongerPermitted if self.worker.is_cutting_off() => {
                ForwardFailure::CutOff
            }
            failure => failure,
        })
    }

    async fn own<B: BodySource, A: AnswerSink>(
        &self,
        page: crate::gate::OwnPage,
        identity: &Result<crate::gate::authenticate::Principal, NoIdentity>,
        body: &mut Upload<'_, B>,
        answer: &mut A,
        record: &mut Record<'_>,
    ) -> Result<(), ForwardFailure> {
        // The gate only knows own pages where there is a login.
        let Some(login) = &self.snapshot.login else {
            let problem = self.problem(StatusCode::NOT_FOUND, Text::NothingHere);
            return self.send(problem, body, answer, record).await;
        };
        let exchange = OwnExchange {
            head: self.head,
            client: self.client,
            shared: &self.worker.shared,
            log: &self.worker.log,
            snapshot: &self.snapshot,
            login,
            id: &self.id,
            now: self.now,
        };
        let page = exchange
            .answer(page, identity, body, answer)
            .await
            .map_err(ForwardFailure::Body)?;
        self.send(page, body, answer, record).await
    }

    async fn refuse<B: BodySource, A: AnswerSink>(
        &self,
        refusal: &Refusal,
        body: &mut Upload<'_, B>,
        answer: &mut A,
        record: &mut Record<'_>,
    ) -> Result<(), ForwardFailure> {
        match refusal.reason {
            RefusalReason::Ambiguous(_) | RefusalReason::MalformedAuthorization => {
                record.reject("bad_request");
            }
            RefusalReason::NoRoute => record.reject("no_route"),
            RefusalReason::CertificateNeeded(why) => self.write_certificate_refused(why, record),
            RefusalReason::LoginNeeded(_) => {
                // A login would do as well; that the certificate did not is on record all the same.
                if let Some(why) = record.invalid_certificate() {
                    let why = NoIdentity::Invalid(InvalidIdentity::Certificate(why));
                    self.write_certificate_refused(why, record);
                }
            }
            RefusalReason::MethodNotAllowed(_)
            | RefusalReason::AddressNotAllowed
            | RefusalReason::Forbidden(_)
            | RefusalReason::NotOwner
            | RefusalReason::Destination => {}
        }
        let refused = self.refused(refusal, record.invalid_certificate());
        self.send(refused, body, answer, record).await
    }

    /// The answer to a refusal. `certificate` is what is wrong with the one that was presented.
    fn refused(&self, refusal: &Refusal, certificate: Option<InvalidCertificate>) -> Answer {
        let refused = Refused {
            head: self.head,
            sessions: self.client.sessions,
            certificate,
            login: self.snapshot.login.as_ref(),
            pages: &self.snapshot.pages,
            id: &self.id,
        };
        refused.answer(refusal)
    }

    /// Answers a failure where nothing was answered yet, and breaks off what cannot be finished.
    async fn fail<B: BodySource, A: AnswerSink>(
        &self,
        failure: &ForwardFailure,
        body: &mut Upload<'_, B>,
        answer: &mut A,
        record: &mut Record<'_>,
    ) {
        record.failed(failure);
        self.explain(failure, record);
        if answer.has_begun() || failure.is_client_gone() {
            self.break_off(failure, answer, record).await;
            return;
        }
        if matches!(failure, ForwardFailure::NoLongerPermitted) {
            if self.refuse_after_all(body, answer, record).await.is_err() {
                answer.abort();
            }
            return;
        }
        let mut problem = self.problem(failure.status(), text_of(failure));
        if matches!(
            problem.status,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
        ) {
            problem = problem.with("Retry-After", "1");
        }
        if self.send(problem, body, answer, record).await.is_err() {
            answer.abort();
        }
    }

    fn problem<'s>(&self, status: StatusCode, said: impl Into<Said<'s>>) -> Answer {
        let audience = Audience::of(self.head);
        Answer::problem(status, said, audience, &self.snapshot.pages, &self.id)
    }

    async fn send<B: BodySource, A: AnswerSink>(
        &self,
        page: Answer,
        body: &Upload<'_, B>,
        answer: &mut A,
        record: &mut Record<'_>,
    ) -> Result<(), ForwardFailure> {
        if !body.has_ended() && !is_small(self.head) {
            answer.close_after();
        }
        record.forwarded.status = Some(page.status);
        record.forwarded.grpc_status = page.grpc_status();
        let head_only = self.head.method() == http::Method::HEAD;
        let sent = page.send(head_only, &self.id, answer).await?;
        record.forwarded.answer_bytes = sent;
        Ok(())
    }
}

/// What a client is told of a failure.
fn text_of(failure: &ForwardFailure) -> Said<'static> {
    match failure {
        ForwardFailure::Prefix(why) => Text::Unacceptable.with(why.to_string()),
        ForwardFailure::NotHttp2 => Text::Unacceptable.with(failure.to_string()),
        ForwardFailure::Body(BodyFailure::TooLarge)
        | ForwardFailure::NotKept(SpoolError::TooLarge) => Text::BodyTooLarge.into(),
        ForwardFailure::Body(BodyFailure::TooSlow) => Text::BodyTooSlow.into(),
        ForwardFailure::TooManyTunnels | ForwardFailure::NotKept(SpoolError::TooMuch) => {
            Text::TooMuchAtOnce.into()
        }
        ForwardFailure::Connect(ConnectFailure::Full)
        | ForwardFailure::NotProcessed
        | ForwardFailure::NotKept(_)
        | ForwardFailure::Body(BodyFailure::Lost) => Text::BackendBusy.into(),
        ForwardFailure::Body(_) | ForwardFailure::ClientGone => Text::BodyUnreadable.into(),
        ForwardFailure::TooSlow => Text::BackendSlow.into(),
        _ => Text::BackendUnreachable.into(),
    }
}

/// What a request says of the length of its body, where it says something.
fn declared_length(head: &RequestHead) -> Option<u64> {
    match BodyEncoder::for_request(head.framing()) {
        BodyEncoder::Length(length) => Some(length),
        BodyEncoder::None | BodyEncoder::Chunked | BodyEncoder::UntilClose => None,
    }
}

/// Whether a body that nobody wants may be read to its end, so that the connection can serve
/// another request. A client that waits for 100 Continue will not send it at all, or will: nobody
/// can tell what comes next on that connection.
fn is_small(head: &RequestHead) -> bool {
    matches!(head.framing(), RequestFraming::Length(length) if length <= MAX_DISCARD)
        && !head.expects_continue()
}
