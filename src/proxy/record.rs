//! What is written down about a request: one access line, and the counts.

use std::time::Instant;

use http::StatusCode;

use super::Shared;
use super::client::ClientFacts;
use super::exchange::BodyFailure;
use super::forward::{ForwardFailure, Forwarded};
use super::headers::trace_id;
use super::request_id::RequestId;
use crate::gate::OwnPage;
use crate::gate::authenticate::Principal;
use crate::gate::authorize::{Permit, Refusal, RefusalReason};
use crate::http1::head::{HeadError, RequestHead, Version};
use crate::identity::NoIdentity;
use crate::observe::log::{Level, Line};
use crate::observe::metrics::{code_class, method_label, observe};

/// The label of requests that no route was found for.
const NO_ROUTE: &str = "none";

/// A request being served.
pub struct Record<'r> {
    client: &'r ClientFacts,
    head: &'r RequestHead,
    id: &'r RequestId,
    started: Instant,
    route: std::sync::Arc<str>,
    user: Option<String>,
    session: Option<String>,
    identity: &'static str,
    decision: &'static str,
    reason: Option<&'static str>,
    missing: Option<String>,
    upstream: Option<std::sync::Arc<str>>,
    error: Option<&'static str>,
    /// Whether the error is the backend's.
    upstream_failed: bool,
    rejected: Option<&'static str>,
    /// What the exchange with the backend came to.
    pub forwarded: Forwarded,
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
            route: NO_ROUTE.into(),
            user: None,
            session: None,
            identity: "none",
            decision: "deny",
            reason: None,
            missing: None,
            upstream: None,
            error: None,
            upstream_failed: false,
            rejected: None,
            forwarded: Forwarded::default(),
        }
    }

    fn identity(&mut self, identity: Result<&Principal, &NoIdentity>) {
        match identity {
            Ok(principal) => {
                self.user = Some(principal.user().name.to_string());
                self.session = Some(principal.session().short());
                self.identity = "session";
            }
            Err(NoIdentity::NotPresented | NoIdentity::NotRequested) => {}
            Err(why) => self.reason = Some(why.as_str()),
        }
    }

    /// It may be forwarded.
    pub fn permitted(&mut self, permit: &Permit) {
        self.route = std::sync::Arc::clone(&permit.route().label);
        self.decision = "allow";
        self.identity(permit.identity());
    }

    /// It is for a page of our own.
    pub fn own(&mut self, page: OwnPage, identity: &Result<Principal, NoIdentity>) {
        self.route = match page {
            OwnPage::Login => "login",
            OwnPage::Logout => "logout",
        }
        .into();
        self.decision = "allow";
        self.identity(identity.as_ref());
    }

    /// It is refused.
    pub fn refused(&mut self, refusal: &Refusal) {
        if let Some(route) = &refusal.route {
            self.route = std::sync::Arc::clone(&route.label);
        }
        self.identity(refusal.identity.as_ref());
        match &refusal.reason {
            RefusalReason::Ambiguous(why) => self.reason = Some(why.as_str()),
            RefusalReason::NoRoute => self.reason = Some("no_route"),
            RefusalReason::MethodNotAllowed(_) => self.reason = Some("method_not_allowed"),
            RefusalReason::LoginNeeded(why) => {
                self.decision = "login";
                self.reason = Some(why.as_str());
            }
            RefusalReason::Forbidden(missing) => {
                self.reason = Some("missing_ability");
                self.missing = Some(missing.to_string());
            }
        }
    }

    /// It goes to this backend.
    pub fn upstream(&mut self, name: &std::sync::Arc<str>) {
        self.upstream = Some(std::sync::Arc::clone(name));
    }

    /// It is refused for its form or size.
    pub fn reject(&mut self, reason: &'static str) {
        self.rejected = Some(reason);
    }

    /// It could not be served to its end.
    pub fn failed(&mut self, failure: &ForwardFailure) {
        self.error = Some(failure.as_str());
        self.upstream_failed = failure.is_upstream();
        if matches!(failure, ForwardFailure::Body(BodyFailure::TooLarge)) {
            self.rejected = Some("body_too_large");
        }
    }

    /// Writes it down. `received` is the length of the request's body.
    pub fn end(self, shared: &Shared, received: u64) {
        self.count(shared, received);
        shared.log.access(self.line(shared, received));
    }

    /// The status for the log: 499 (as nginx has it) where the client did not wait for one.
    fn status(&self) -> u16 {
        self.forwarded.status.map_or(499, |status| status.as_u16())
    }

    fn count(&self, shared: &Shared, received: u64) {
        let metrics = &shared.metrics;
        let (listener, route) = (&*self.client.listener, &*self.route);
        let method = method_label(self.head.method().as_str());
        let status = self.status();
        let code = status.to_string();
        metrics
            .http_requests
            .with_label_values(&[listener, route, method, &code])
            .inc();
        let duration = metrics
            .http_request_duration
            .with_label_values(&[route, code_class(status)]);
        observe(&duration, self.started.elapsed());
        metrics
            .auth_decisions
            .with_label_values(&[route, self.identity, self.decision])
            .inc();
        if let Some(reason) = self.rejected {
            let rejected = &metrics.http_requests_rejected;
            rejected.with_label_values(&[listener, reason]).inc();
        }
        let bytes = &metrics.http_request_body_bytes;
        bytes.with_label_values(&[route]).inc_by(received);
        let bytes = &metrics.http_response_body_bytes;
        bytes
            .with_label_values(&[route])
            .inc_by(self.forwarded.answer_bytes);
        if let Some(upstream) = &self.upstream {
            self.count_upstream(shared, upstream);
        }
    }

    fn count_upstream(&self, shared: &Shared, upstream: &str) {
        let metrics = &shared.metrics;
        let upstream_failed = self.error.filter(|_| self.upstream_failed);
        let result = if upstream_failed.is_some() {
            "error"
        } else {
            "success"
        };
        let requests = &metrics.upstream_requests;
        requests.with_label_values(&[upstream, result]).inc();
        if let Some(reason) = upstream_failed {
            let reason = reason.trim_start_matches("upstream_");
            let errors = &metrics.upstream_errors;
            errors.with_label_values(&[upstream, reason]).inc();
        }
        if let Some(first_byte) = self.forwarded.first_byte {
            let duration = metrics
                .upstream_request_duration
                .with_label_values(&[upstream]);
            observe(&duration, first_byte);
            let reused = if self.forwarded.reused {
                "true"
            } else {
                "false"
            };
            let connections = &metrics.upstream_connections;
            connections.with_label_values(&[upstream, reused]).inc();
        }
    }

    fn line(&self, shared: &Shared, received: u64) -> Line {
        let fields = self.head.fields();
        let agent = fields.get("user-agent").map(String::from_utf8_lossy);
        let level = if self.error.is_some() {
            Level::Warn
        } else {
            Level::Info
        };
        let line = connection(shared.log.line(level, "access"), self.client)
            .text("network.protocol.version", version(self.head.version()))
            .maybe_text("server.address", self.head.authority())
            .text("http.request.method", self.head.method().as_str())
            .text("url.path", self.head.path())
            .text("http.route", &self.route)
            .value("http.request.body.size", received)
            .value("http.response.status_code", self.status())
            .value("http.response.body.size", self.forwarded.answer_bytes)
            .maybe_text("user_agent.original", agent.as_deref())
            .maybe_text("user.name", self.user.as_deref())
            .maybe_text("session.id", self.session.as_deref())
            .text("auth.decision", self.decision)
            .maybe_text("auth.reason", self.reason)
            .maybe_text("auth.missing_ability", self.missing.as_deref())
            .maybe_text("upstream.name", self.upstream.as_deref());
        let line = match self.forwarded.first_byte {
            Some(first_byte) => line.milliseconds("upstream.duration_ms", first_byte),
            None => line,
        };
        line.milliseconds("duration_ms", self.started.elapsed())
            .text("request.id", self.id.as_str())
            .text("trace_id", trace_id(fields).unwrap_or(self.id.as_str()))
            .maybe_text("error.type", self.error)
    }
}

/// Writes down a request whose head was refused.
pub fn bad_head(shared: &Shared, client: &ClientFacts, id: &RequestId, error: &HeadError) {
    let status = error.status();
    let reason = match status.as_u16() {
        414 | 431 => "header_too_large",
        _ if error.is_ambiguous() => "smuggling",
        _ => "bad_request",
    };
    no_head(shared, client, id, (status, reason, &error.to_string()));
}

/// Writes down a request whose head did not arrive in time.
pub fn slow_head(shared: &Shared, client: &ClientFacts, id: &RequestId) {
    let status = StatusCode::REQUEST_TIMEOUT;
    let message = "the head did not arrive in time";
    no_head(shared, client, id, (status, "head_timeout", message));
}

/// There is nothing to say of a request without a head but why.
fn no_head(
    shared: &Shared,
    client: &ClientFacts,
    id: &RequestId,
    (status, reason, message): (StatusCode, &'static str, &str),
) {
    let metrics = &shared.metrics;
    let listener = &*client.listener;
    metrics
        .http_requests
        .with_label_values(&[listener, NO_ROUTE, "_OTHER", status.as_str()])
        .inc();
    let rejected = &metrics.http_requests_rejected;
    rejected.with_label_values(&[listener, reason]).inc();
    let line = connection(shared.log.line(Level::Warn, "access"), client)
        .value("http.response.status_code", status.as_u16())
        .text("auth.decision", "deny")
        .text("auth.reason", reason)
        .text("error.message", message)
        .text("request.id", id.as_str())
        .text("error.type", reason);
    shared.log.access(line);
}

/// What every line about a connection says.
fn connection(line: Line, client: &ClientFacts) -> Line {
    let address = client.peer.ip().to_canonical().to_string();
    let line = line.text("client.address", &address);
    match &client.tls {
        Some(tls) => line
            .text("tls.protocol.version", tls.version)
            .text("tls.cipher", &tls.cipher)
            .value("tls.resumed", tls.resumed),
        None => line,
    }
}

const fn version(version: Version) -> &'static str {
    match version {
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
        Version::Http2 => "2",
    }
}
