//! Answers of our own: each refusal mapped to one, in the form that the client can use.
//!
//! A browser gets a page or a redirect to the login, everything else a small JSON problem
//! (RFC 9457), gRPC a status in its own header. The client learns little; the log has the reason.

use std::borrow::Cow;

use http::{Method, StatusCode};

use super::client::SessionsAccepted;
use super::exchange::{AnswerLength, AnswerSink, ClientGone};
use super::identity_headers::visible;
use super::pages::{self, Pages};
use super::request_id::RequestId;
use super::spec::LoginSpec;
use crate::gate::authenticate::{Principal, Proof};
use crate::gate::authorize::{Refusal, RefusalReason};
use crate::http1::head::{RequestHead, Version};
use crate::identity::certificate::InvalidCertificate;
use crate::identity::{InvalidIdentity, NoIdentity};

/// A whole answer of our own.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Fields beyond those that every answer of ours has.
    pub fields: Vec<(&'static str, String)>,
    /// The media type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

/// What a client can make use of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// A browser that shows the answer as a page.
    Browser,
    /// A gRPC client.
    Grpc,
    /// A script, an API client, an image in a page.
    Other,
}

impl Audience {
    /// By `Sec-Fetch-Mode` where the browser sends it, else by what GET and HEAD accept.
    #[must_use]
    pub fn of(head: &RequestHead) -> Self {
        let fields = head.fields();
        let starts_with = |name, prefix: &[u8]| {
            fields
                .get(name)
                .is_some_and(|value| value.starts_with(prefix))
        };
        // Only what can be gRPC gets its 200: a refusal must look like one to everybody else.
        let may_be_grpc = head.version() == Version::Http2 && head.method() == Method::POST;
        if may_be_grpc && starts_with("content-type", b"application/grpc") {
            return Self::Grpc;
        }
        let browser = match fields.get("sec-fetch-mode") {
            Some(mode) => mode == b"navigate",
            None => {
                let accepts_pages = fields
                    .get("accept")
                    .is_some_and(|accept| accept.windows(9).any(|part| part == b"text/html"));
                matches!(head.method().as_str(), "GET" | "HEAD") && accepts_pages
            }
        };
        if browser { Self::Browser } else { Self::Other }
    }
}

impl Answer {
    /// A page for people.
    #[must_use]
    pub fn page(status: StatusCode, pages: &Pages, body: String) -> Self {
        Self {
            status,
            fields: vec![("Content-Security-Policy", pages.policy().to_owned())],
            content_type: "text/html; charset=utf-8",
            body,
        }
    }

    /// JSON of our own making.
    #[must_use]
    pub fn json(status: StatusCode, body: &serde_json::Value) -> Self {
        Self {
            status,
            fields: Vec::new(),
            content_type: "application/json",
            body: body.to_string(),
        }
    }

    /// Nothing but a way to go on.
    #[must_use]
    pub fn redirect(status: StatusCode, location: String) -> Self {
        Self {
            status,
            fields: vec![("Location", location)],
            content_type: "text/plain; charset=utf-8",
            body: String::new(),
        }
    }

    /// A problem, as the audience can use it. `detail` is shown to the client.
    #[must_use]
    pub fn problem(
        status: StatusCode,
        detail: &str,
        audience: Audience,
        pages: &Pages,
        id: &RequestId,
    ) -> Self {
        Self::problem_because(status, (detail, None), audience, pages, id)
    }

    /// The same with a word for programs that can do something about it.
    fn problem_because(
        status: StatusCode,
        (detail, reason): (&str, Option<&'static str>),
        audience: Audience,
        pages: &Pages,
        id: &RequestId,
    ) -> Self {
        match audience {
            Audience::Browser => Self::page(status, pages, pages.problem(status, detail, id)),
            Audience::Grpc => Self::grpc(status, detail),
            Audience::Other => {
                let mut body = serde_json::json!({
                    "type": "about:blank",
                    "title": pages::reason(status),
                    "status": status.as_u16(),
                    "detail": detail,
                    "request_id": id.as_str(),
                });
                if let Some(reason) = reason {
                    body["reason"] = reason.into();
                }
                Self {
                    content_type: "application/problem+json",
                    ..Self::json(status, &body)
                }
            }
        }
    }

    /// A gRPC status in a head without a body (gRPC over HTTP/2, "Trailers-Only").
    fn grpc(status: StatusCode, detail: &str) -> Self {
        // The codes that gRPC's "HTTP to gRPC status code mapping" gives.
        let code = match status.as_u16() {
            401 => 16,
            403 => 7,
            400 | 431 => 13,
            404 | 405 => 12,
            429 | 502 | 503 | 504 => 14,
            _ => 2,
        };
        Self {
            status: StatusCode::OK,
            fields: vec![
                ("grpc-status", code.to_string()),
                ("grpc-message", visible(detail).into_owned()),
            ],
            content_type: "application/grpc",
            body: String::new(),
        }
    }

    /// With one more field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// Sends it; how many bytes of body the client got.
    ///
    /// # Errors
    /// [`ClientGone`] when nobody takes it.
    pub async fn send<A: AnswerSink>(
        self,
        head_only: bool,
        id: &RequestId,
        sink: &mut A,
    ) -> Result<u64, ClientGone> {
        sink.begin(self.status);
        sink.field(
            "Date",
            httpdate::fmt_http_date(std::time::SystemTime::now()).as_bytes(),
        );
        if !self.body.is_empty() || self.content_type == "application/grpc" {
            sink.field("Content-Type", self.content_type.as_bytes());
        }
        sink.field("Cache-Control", b"no-store");
        sink.field("X-Content-Type-Options", b"nosniff");
        sink.field("Referrer-Policy", b"same-origin");
        sink.field("X-Request-Id", id.as_str().as_bytes());
        for (name, value) in &self.fields {
            sink.field(name, value.as_bytes());
        }
        let length = self.body.len() as u64;
        if head_only {
            sink.ready(AnswerLength::NoBody(Some(length)));
            sink.finish(None).await?;
            return Ok(0);
        }
        sink.ready(AnswerLength::Exact(length));
        if length > 0 {
            sink.write(self.body.into()).await?;
        }
        sink.finish(None).await?;
        Ok(length)
    }
}

/// The answer to whom a certificate would let in: which one is missing, or what is wrong with it.
#[must_use]
pub(super) fn certificate_needed(
    why: NoIdentity,
    audience: Audience,
    pages: &Pages,
    id: &RequestId,
) -> Answer {
    let detail = match why {
        NoIdentity::NotPresented => {
            "This address needs a client certificate, and your browser or program sent none."
        }
        NoIdentity::NotRequested => {
            "This address needs a client certificate, and none is asked for where you came in."
        }
        NoIdentity::Invalid(InvalidIdentity::Certificate(why)) => why.explanation(),
        NoIdentity::Invalid(_) => "This address needs a client certificate.",
    };
    let because = (detail, Some(why.as_str()));
    Answer::problem_because(StatusCode::FORBIDDEN, because, audience, pages, id)
}

/// Whether somebody was logged in, and is no more without having done anything about it.
const fn has_ended(why: NoIdentity) -> bool {
    match why {
        NoIdentity::Invalid(why) => matches!(
            why,
            InvalidIdentity::IdleTooLong
                | InvalidIdentity::LifetimeOver
                | InvalidIdentity::UnknownSession
                | InvalidIdentity::PasswordChanged
        ),
        NoIdentity::NotRequested | NoIdentity::NotPresented => false,
    }
}

/// How somebody is known who may still not do what they ask for.
fn known_as(principal: Option<&Principal>) -> Cow<'static, str> {
    match principal.map(|it| (it.proof(), &it.user().name)) {
        Some((Proof::Session(_), name)) => format!("You are logged in as {name}").into(),
        Some((Proof::Certificate, _)) => "Your certificate is known".into(),
        None => "You are known".into(),
    }
}

/// What the answer to a refusal is made from.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'r> {
    /// What the client sent.
    pub head: &'r RequestHead,
    /// Whether it may log in here.
    pub sessions: SessionsAccepted,
    /// What is wrong with the certificate that it has presented, if it has.
    pub certificate: Option<InvalidCertificate>,
    /// Where people log in.
    pub login: Option<&'r LoginSpec>,
    /// How pages look.
    pub pages: &'r Pages,
    /// The request's id.
    pub id: &'r RequestId,
}

impl Refused<'_> {
    /// The answer to `refusal`.
    #[must_use]
    pub fn answer(&self, refusal: &Refusal) -> Answer {
        match &refusal.reason {
            RefusalReason::Ambiguous(why) => self.problem(
                StatusCode::BAD_REQUEST,
                &format!("The path of this request can be read in two ways: {why}."),
            ),
            RefusalReason::NoRoute => {
                self.problem(StatusCode::NOT_FOUND, "There is nothing at this address.")
            }
            RefusalReason::MethodNotAllowed(allow) => self
                .problem(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "This address does not take that method.",
                )
                .with("Allow", allow),
            RefusalReason::CertificateNeeded(why) => {
                let audience = Audience::of(self.head);
                certificate_needed(*why, audience, self.pages, self.id)
            }
            RefusalReason::NotOwner | RefusalReason::Forbidden(_)
                if self.can_still_log_in(refusal) =>
            {
                self.login_needed(
                    refusal.route.as_ref().and_then(|r| r.redirect.as_deref()),
                    false,
                )
            }
            RefusalReason::NotOwner => {
                let known = known_as(refusal.identity.as_ref().ok());
                let detail = format!("{known}, but this address belongs to somebody else.");
                self.problem(StatusCode::FORBIDDEN, &detail)
            }
            RefusalReason::Forbidden(_) => {
                let known = known_as(refusal.identity.as_ref().ok());
                let detail = format!("{known}, but you are not allowed to use this address.");
                self.problem(StatusCode::FORBIDDEN, &detail)
            }
            RefusalReason::LoginNeeded(NoIdentity::Invalid(InvalidIdentity::StoreUnavailable)) => {
                self.problem(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Logins cannot be checked at the moment. Try again soon.",
                )
                .with("Retry-After", "5")
            }
            RefusalReason::LoginNeeded(why) => {
                let redirect = refusal.route.as_ref().and_then(|r| r.redirect.as_deref());
                self.login_needed(redirect, has_ended(*why))
            }
        }
    }

    /// Whether a person sits before a browser that only the device was known by so far.
    fn can_still_log_in(&self, refusal: &Refusal) -> bool {
        let by_certificate = refusal
            .identity
            .as_ref()
            .is_ok_and(|it| it.session().is_none());
        let takes_session = refusal
            .route
            .as_ref()
            .is_some_and(|it| it.access.takes_session());
        by_certificate
            && takes_session
            && self.login.is_some()
            && self.sessions == SessionsAccepted::Yes
            && Audience::of(self.head) == Audience::Browser
    }

    fn login_needed(&self, redirect: Option<&str>, has_ended: bool) -> Answer {
        let page = redirect.or_else(|| self.login.map(|login| login.path.as_str()));
        let audience = Audience::of(self.head);
        if let (Audience::Browser, Some(page)) = (audience, page) {
            // After anything but a read, GET is the only sensible way on (RFC 9110 section
            // 15.4.4), and the target of a form is no place to come back to.
            return match self.head.method().as_str() {
                "GET" | "HEAD" => {
                    let join = if page.contains('?') { '&' } else { '?' };
                    let rd = pages::encode_query(self.head.target());
                    let ended = if has_ended { "&ended=1" } else { "" };
                    Answer::redirect(StatusCode::FOUND, format!("{page}{join}rd={rd}{ended}"))
                }
                _ => Answer::redirect(StatusCode::SEE_OTHER, page.to_owned()),
            };
        }
        let detail = match self.sessions {
            SessionsAccepted::Yes => "You have to log in to use this address.",
            SessionsAccepted::OnlyOverTls => {
                "You have to log in to use this address, which is only possible over HTTPS."
            }
        };
        // Its certificate would have been another way in.
        let detail = match self.certificate {
            Some(why) => Cow::from(format!("{detail} {}", why.explanation())),
            None => Cow::from(detail),
        };
        let answer = Answer::problem_because(
            StatusCode::UNAUTHORIZED,
            (&detail, self.certificate.map(InvalidCertificate::as_str)),
            audience,
            self.pages,
            self.id,
        );
        match self.login {
            // RFC 9110 section 15.5.2 wants a challenge. `Basic` would make browsers ask for a
            // password that we do not take; this one says where the form is.
            Some(login) if audience != Audience::Grpc => answer.with(
                "WWW-Authenticate",
                format!("Cookie form-action=\"{}\"", login.path),
            ),
            _ => answer,
        }
    }

    fn problem(&self, status: StatusCode, detail: &str) -> Answer {
        let audience = Audience::of(self.head);
        Answer::problem(status, detail, audience, self.pages, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needed(why: NoIdentity, audience: Audience) -> Answer {
        certificate_needed(
            why,
            audience,
            &Pages::new("Test", None),
            &RequestId::generate(),
        )
    }

    #[test]
    fn who_needs_a_certificate_is_told_what_is_wrong_in_their_own_form() {
        let bad = |why| NoIdentity::Invalid(InvalidIdentity::Certificate(why));
        for (why, word, words) in [
            (NoIdentity::NotPresented, "not_presented", "sent none"),
            (
                NoIdentity::NotRequested,
                "not_requested",
                "none is asked for",
            ),
            (
                bad(InvalidCertificate::Expired),
                "client_cert_expired",
                "has expired",
            ),
            (
                bad(InvalidCertificate::SelfSigned),
                "client_cert_self_signed",
                "is self-signed",
            ),
            (
                bad(InvalidCertificate::NoRule),
                "client_cert_unknown",
                "not known here",
            ),
        ] {
            let problem = needed(why, Audience::Other);
            assert_eq!(problem.status, StatusCode::FORBIDDEN);
            assert_eq!(problem.content_type, "application/problem+json");
            let body: serde_json::Value = serde_json::from_str(&problem.body).unwrap();
            assert_eq!(body["reason"], word);
            assert!(body["detail"].as_str().unwrap().contains(words), "{body}");
            let page = needed(why, Audience::Browser);
            assert_eq!(page.status, StatusCode::FORBIDDEN);
            assert!(page.body.contains(words), "{}", page.body);
            let grpc = needed(why, Audience::Grpc);
            assert_eq!(grpc.status, StatusCode::OK);
            assert_eq!(grpc.fields[0], ("grpc-status", "7".to_owned()));
            assert!(grpc.fields[1].1.contains(words), "{grpc:?}");
        }
    }

    #[test]
    fn a_word_for_programs_is_only_there_where_there_is_one() {
        let pages = Pages::new("Test", None);
        let id = RequestId::generate();
        let problem = Answer::problem(StatusCode::NOT_FOUND, "x", Audience::Other, &pages, &id);
        assert!(!problem.body.contains("reason"), "{}", problem.body);
    }
}
