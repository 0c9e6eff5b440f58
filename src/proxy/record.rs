//! What is written down about a request: one access line, and the counts.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;

use super::Worker;
use super::certificate::{Certified, about_certificate};
use super::client::ClientFacts;
use super::forward::Forwarded;
use super::forward::failure::ForwardFailure;
use super::headers::trace_id;
use super::request_id::RequestId;
use crate::gate::OwnPage;
use crate::gate::ability::Ability;
use crate::gate::authenticate::{Principal, Proof};
use crate::gate::authorize::{Permit, Refusal, RefusalReason, Remedy};
use crate::gate::request::PresentedSession;
use crate::gate::session::{SessionDigest, ShortDigest};
use crate::gate::users::Token;
use crate::http1::head::{HeadError, RequestHead, Version};
use crate::identity::certificate::InvalidCertificate;
use crate::identity::{InvalidIdentity, NoIdentity};
use crate::observe::log::{Level, Line, Logger};
use crate::observe::metrics::method_label;
use crate::observe::tally::{Answered, Exchanged};

/// The label of requests that no route was found for.
const NO_ROUTE: &str = "none";

/// A request being served. Holds nothing that has to be made for it: this is there once a request.
pub struct Record<'r> {
    client: &'r ClientFacts,
    head: &'r RequestHead,
    id: &'r RequestId,
    started: Instant,
    route: Label,
    principal: Option<Principal>,
    token: Option<Arc<Token>>,
    certificate: Result<Arc<Certified>, NoIdentity>,
    looked_up: Option<&'static str>,
    identity: &'static str,
    decision: &'static str,
    reason: Option<&'static str>,
    missing: Option<Ability>,
    /// What in the configuration it comes from that it is refused.
    hint: Option<Box<str>>,
    upstream: Option<Arc<str>>,
    error: Option<&'static str>,
    /// What there is to say of it beside that.
    message: Option<Box<str>>,
    /// Whether the error is the backend's.
    upstream_failed: bool,
    rejected: Option<&'static str>,
    /// How a connection that left HTTP ended.
    upgrade_end: Option<&'static str>,
    /// What it brought from the client.
    upgraded_bytes: u64,
    /// What the exchange with the backend came to.
    pub forwarded: Forwarded,
}

/// The label of what a request is for.
enum Label {
    Ours(&'static str),
    Configured(Arc<str>),
}

impl Label {
    fn as_str(&self) -> &str {
        match self {
            Self::Ours(label) => label,
            Self::Configured(label) => label,
        }
    }
}

impl<'r> Record<'r> {
    /// Begins with what is known when a head has arrived.
    #[must_use]
    pub fn begin(client: &'r ClientFacts, head: &'r RequestHead, id: &'r RequestId) -> Self {
        Self {
            client,
            head,
            id,
            started: Instant::now(),
            route: Label::Ours(NO_ROUTE),
            principal: None,
            token: None,
            certificate: Err(NoIdentity::NotRequested),
            looked_up: None,
            identity: "none",
            decision: "deny",
            reason: None,
            missing: None,
            hint: None,
            upstream: None,
            error: None,
            message: None,
            upstream_failed: false,
            rejected: None,
            upgrade_end: None,
            upgraded_bytes: 0,
            forwarded: Forwarded::default(),
        }
    }

    fn identity(&mut self, identity: Result<&Principal, &NoIdentity>) {
        match identity {
            Ok(principal) => {
                self.principal = Some(principal.clone());
                self.identity = match principal.proof() {
                    Proof::Session(_) => "session",
                    Proof::Token(_) => "token",
                    Proof::Basic => "basic",
                    Proof::Certificate => "client_cert",
                };
            }
            Err(NoIdentity::NotPresented | NoIdentity::NotRequested) => {}
            Err(why) => self.reason = Some(why.as_str()),
        }
    }

    /// What is known of the certificate of its connection.
    pub(super) fn presented(&mut self, certificate: Result<Arc<Certified>, NoIdentity>) {
        self.certificate = certificate;
    }

    /// What looking up its session came to. Where its cookie was none, nobody looked.
    pub(super) fn looked_up(&mut self, session: &Result<PresentedSession, NoIdentity>) {
        self.looked_up = match session {
            Ok(_) | Err(NoIdentity::Invalid(InvalidIdentity::UnknownSession)) => Some("success"),
            Err(NoIdentity::Invalid(InvalidIdentity::StoreUnavailable)) => Some("unavailable"),
            Err(_) => None,
        };
    }

    /// The token that it carries, whether or not it is good for anything.
    pub(super) fn token(&mut self, token: Option<&Arc<Token>>) {
        self.token = token.cloned();
    }

    /// Adds what a log line says of the certificate, good or not.
    pub(super) fn describe_certificate(&self, line: Line) -> Line {
        match &self.certificate {
            Ok(certified) => certified.describe(line),
            Err(NoIdentity::Invalid(_)) => {
                let peer = self.client.peer.as_ref();
                about_certificate(line, peer.and_then(|peer| peer.shown()))
            }
            Err(NoIdentity::NotRequested | NoIdentity::NotPresented) => line,
        }
    }

    /// What is wrong with the certificate that was presented, where something is.
    pub(super) fn invalid_certificate(&self) -> Option<InvalidCertificate> {
        let why = match &self.certificate {
            Ok(certified) => certified.presented.client.as_ref().err()?,
            Err(why) => why,
        };
        match why {
            NoIdentity::Invalid(InvalidIdentity::Certificate(why)) => Some(*why),
            _ => None,
        }
    }

    /// The label of its route.
    pub(super) fn route(&self) -> &str {
        self.route.as_str()
    }

    /// Who is asking, where that is known.
    pub(super) fn user_name(&self) -> Option<&str> {
        let user = self.principal.as_ref().map(Principal::user);
        user.map(|user| user.name.as_str())
    }

    /// Who is asking, and by which token. One that proves nothing is named with its owner, who is the
    /// one to do something about it.
    fn user_and_token(&self) -> (Option<&str>, Option<&str>) {
        let proof = self.principal.as_ref().map(Principal::proof);
        let token = match proof {
            None | Some(Proof::Token(_)) => self.token.as_ref(),
            Some(Proof::Session(_) | Proof::Basic | Proof::Certificate) => None,
        };
        let owner = token.map(|token| token.bearer.name.as_str());
        let name = token.map(|token| token.name.as_str());
        (self.user_name().or(owner), name)
    }

    /// It may be forwarded.
    pub fn permitted(&mut self, permit: &Permit) {
        self.route = Label::Configured(Arc::clone(&permit.route().label));
        self.decision = "allow";
        self.identity(permit.identity());
    }

    /// It is for a page of our own.
    pub fn own(&mut self, page: OwnPage, identity: &Result<Principal, NoIdentity>) {
        self.route = Label::Ours(match page {
            OwnPage::Login => "login",
            OwnPage::Logout => "logout",
        });
        self.decision = "allow";
        self.identity(identity.as_ref());
    }

    /// It is refused.
    pub fn refused(&mut self, refusal: &Refusal) {
        if let Some(route) = &refusal.route {
            self.route = Label::Configured(Arc::clone(&route.label));
        }
        self.identity(refusal.identity.as_ref());
        match &refusal.reason {
            RefusalReason::Ambiguous(ambiguity) => {
                self.reason = Some(ambiguity.why.as_str());
                self.hint(ambiguity.remedy.as_ref().map(Remedy::to_string));
            }
            // Why has been said with the identity.
            RefusalReason::MalformedAuthorization => {}
            RefusalReason::NoRoute => self.reason = Some("no_route"),
            RefusalReason::MethodNotAllowed(_) => self.reason = Some("method_not_allowed"),
            RefusalReason::LoginNeeded(why) => {
                self.decision = "login";
                // Of two proofs that could have been there, a bad one says more than a missing one.
                self.reason.get_or_insert(why.as_str());
            }
            RefusalReason::CertificateNeeded(why) => self.reason = Some(why.as_str()),
            RefusalReason::NotOwner => self.reason = Some("not_owner"),
            RefusalReason::Destination => self.reason = Some("destination"),
            RefusalReason::AddressNotAllowed => self.reason = Some("address_not_allowed"),
            RefusalReason::Forbidden(missing) => {
                self.reason = Some("missing_ability");
                self.missing = Some(missing.clone());
            }
        }
    }

    /// What in the configuration it comes from that it is refused, where that is one thing.
    pub(super) fn hint(&mut self, hint: Option<String>) {
        if let Some(hint) = hint {
            self.hint = Some(hint.into());
        }
    }

    /// It is sent to https instead of being decided about.
    pub fn redirected(&mut self) {
        self.decision = "redirect";
    }

    /// It came in the clear and cannot be sent to https either.
    pub fn not_redirected(&mut self, reason: &'static str) {
        self.reason = Some(reason);
        self.reject("bad_request");
    }

    /// It came on a connection that was made for another host.
    pub(super) fn misdirected(&mut self) {
        self.reason = Some("misdirected");
        self.reject("bad_request");
    }

    /// It has a field with an underscore in its name, and none is wanted.
    pub(super) fn underscore(&mut self) {
        self.reason = Some("underscore_field");
        self.reject("bad_request");
    }

    /// Its client asks too often.
    pub(super) fn too_often(&mut self) {
        self.decision = "deny";
        self.reason = Some("rate_limited");
        self.reject("rate_limited");
    }

    /// Its connection needs a good certificate and has none.
    pub(super) fn refused_for_certificate(&mut self, why: NoIdentity) {
        self.certificate = Err(why);
        self.reason = Some(why.as_str());
    }

    /// Who it is from cannot be put on record.
    pub(super) fn not_on_record(&mut self) {
        self.reason = Some("not_logged");
    }

    /// It goes to this backend.
    pub fn upstream(&mut self, name: &Arc<str>) {
        self.upstream = Some(Arc::clone(name));
    }

    /// The backend that it goes to.
    pub(super) fn upstream_name(&self) -> Option<&str> {
        self.upstream.as_deref()
    }

    /// It is refused for its form or size.
    pub fn reject(&mut self, reason: &'static str) {
        self.rejected = Some(reason);
    }

    /// It could not be served to its end.
    pub fn failed(&mut self, failure: &ForwardFailure) {
        self.error = Some(failure.as_str());
        self.upstream_failed = failure.is_upstream();
        match failure.status() {
            StatusCode::PAYLOAD_TOO_LARGE => self.reject("body_too_large"),
            StatusCode::TOO_MANY_REQUESTS => self.reject("client_share"),
            _ => {}
        }
    }

    /// What became of it at the backend, in a sentence.
    pub(super) fn explain(&mut self, message: String) {
        self.message = Some(message.into());
    }

    /// How long it has been served.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// It is refused after it had been permitted.
    pub(super) fn denied(&mut self, reason: &'static str) {
        self.decision = "deny";
        self.reason = Some(reason);
    }

    /// It left HTTP, and how that ended.
    pub(super) fn upgraded(
        &mut self,
        end: &'static str,
        received: u64,
        error: Option<&'static str>,
        is_upstreams: bool,
    ) {
        self.upgrade_end = Some(end);
        self.upgraded_bytes = received;
        self.error = error;
        self.upstream_failed = is_upstreams;
    }

    /// Writes it down. `received` is the length of the request's body.
    pub fn end(self, worker: &Worker, received: u64) {
        let received = received + self.upgraded_bytes;
        let duration = self.started.elapsed();
        self.count(worker, received, duration);
        worker
            .log
            .access(self.line(&worker.log, received, duration));
    }

    /// The status for the log: 499 (as nginx has it) where the client did not wait for one.
    fn status(&self) -> u16 {
        self.forwarded.status.map_or(499, |status| status.as_u16())
    }

    fn count(&self, worker: &Worker, received: u64, duration: Duration) {
        let answered = Answered {
            listener: &self.client.listener,
            route: self.route.as_str(),
            method: method_label(self.head.method().as_str()),
            status: self.status(),
            duration,
            identity: self.identity,
            decision: self.decision,
            looked_up: self.looked_up,
            received,
            sent: self.forwarded.answer_bytes,
        };
        let exchanged = self.upstream.as_deref().map(|upstream| Exchanged {
            upstream,
            error: self
                .error
                .filter(|_| self.upstream_failed)
                .map(|error| error.trim_start_matches("upstream_")),
            first_byte: self.forwarded.first_byte,
            reused: self.forwarded.reused,
        });
        worker.tally.count(&answered, exchanged.as_ref());
        if let Some(reason) = self.rejected {
            let rejected = &worker.shared.metrics.http_requests_rejected;
            let labels = [&*self.client.listener, reason];
            rejected.with_label_values(&labels).inc();
        }
    }

    fn line(&self, log: &Logger, received: u64, duration: Duration) -> Line {
        let fields = self.head.fields();
        let agent = fields.get("user-agent").map(text);
        let level = if self.error.is_some() {
            Level::Warn
        } else {
            Level::Info
        };
        let session = self.principal.as_ref().and_then(|it| it.session());
        let session = session.map(SessionDigest::short);
        let (user, token) = self.user_and_token();
        let line = connection(log.line(level, "access"), self.client);
        let line = self
            .describe_certificate(line)
            .text("network.protocol.version", version(self.head.version()))
            .maybe_text("server.address", self.head.authority())
            .text("http.request.method", self.head.method().as_str())
            .text("url.path", self.head.path())
            .text("http.route", self.route.as_str())
            .number("http.request.body.size", received)
            .number("http.response.status_code", self.status())
            .number("http.response.body.size", self.forwarded.answer_bytes)
            .maybe_text("user_agent.original", agent.as_deref())
            .maybe_text("user.name", user)
            .maybe_text("auth.token", token)
            .maybe_text("session.id", session.as_ref().map(ShortDigest::as_str))
            .text("auth.decision", self.decision)
            .maybe_text("auth.reason", self.reason)
            .maybe_text(
                "auth.missing_ability",
                self.missing.as_ref().map(Ability::as_str),
            )
            .maybe_text("auth.hint", self.hint.as_deref())
            .maybe_text("upstream.name", self.upstream.as_deref())
            .maybe_text("upstream.address", self.forwarded.address());
        let line = match self.forwarded.moves {
            0 => line,
            moves => line.number("upstream.retries", moves),
        };
        let line = match self.forwarded.first_byte {
            Some(first_byte) => line.milliseconds("upstream.duration_ms", first_byte),
            None => line,
        };
        let line = match self.forwarded.grpc_status {
            Some(status) => line.number("rpc.grpc.status_code", status),
            None => line,
        };
        line.milliseconds("duration_ms", duration)
            .text("request.id", self.id.as_str())
            .text(
                "trace_id",
                trace_id(fields).unwrap_or_else(|| self.id.random()),
            )
            .maybe_text("upgrade.end", self.upgrade_end)
            .maybe_text("error.type", self.error)
            .maybe_text("error.message", self.message.as_deref())
    }
}

/// Writes down a request whose head was refused.
pub fn bad_head(worker: &Worker, client: &ClientFacts, id: &RequestId, error: &HeadError) {
    let status = error.status();
    let reason = match status.as_u16() {
        414 | 431 => "header_too_large",
        _ if error.is_ambiguous() => "smuggling",
        _ => "bad_request",
    };
    no_head(worker, client, id, (status, reason, &error.to_string()));
}

/// Writes down a request whose head did not arrive in time.
pub fn slow_head(worker: &Worker, client: &ClientFacts, id: &RequestId) {
    let status = StatusCode::REQUEST_TIMEOUT;
    let message = "the head did not arrive in time";
    no_head(worker, client, id, (status, "head_timeout", message));
}

/// Writes down that an HTTP/2 connection is cut off for what its client does, and counts it.
pub fn flooded(worker: &Worker, client: &ClientFacts, why: &'static str) {
    let floods = &worker.shared.metrics.http2_floods;
    floods.with_label_values(&[&client.listener, why]).inc();
    let line = worker.log.line(Level::Warn, "http2.flood");
    let line = connection(line, client).text("error.type", why);
    worker.log.access(line);
}

/// There is nothing to say of a request without a head but why.
fn no_head(
    worker: &Worker,
    client: &ClientFacts,
    id: &RequestId,
    (status, reason, message): (StatusCode, &'static str, &str),
) {
    let metrics = &worker.shared.metrics;
    let listener = &*client.listener;
    metrics
        .http_requests
        .with_label_values(&[listener, NO_ROUTE, "_OTHER", status.as_str()])
        .inc();
    let rejected = &metrics.http_requests_rejected;
    rejected.with_label_values(&[listener, reason]).inc();
    let line = connection(worker.log.line(Level::Warn, "access"), client)
        .number("http.response.status_code", status.as_u16())
        .text("auth.decision", "deny")
        .text("auth.reason", reason)
        .text("error.message", message)
        .text("request.id", id.as_str())
        .text("error.type", reason);
    worker.log.access(line);
}

/// What every line about a connection says.
fn connection(line: Line, client: &ClientFacts) -> Line {
    line.fields(&client.logged, |line| {
        let peer = client.behind.as_ref().map(|behind| behind.peer.as_str());
        let line = line
            .text("client.address", &client.address)
            .maybe_text("network.peer.address", peer);
        match &client.tls {
            Some(tls) => line
                .text("tls.protocol.version", tls.version)
                .text("tls.cipher", &tls.cipher)
                .truth("tls.resumed", tls.resumed),
            None => line,
        }
    })
}

/// Text of a field, what is not UTF-8 replaced.
fn text(value: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(value) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(value),
    }
}

const fn version(version: Version) -> &'static str {
    match version {
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
        Version::Http2 => "2",
    }
}
