//! Answers of our own: each refusal mapped to one, in the form that the client can use.
//!
//! A browser gets a page or a redirect to the login, everything else a small JSON problem
//! (RFC 9457), gRPC a status in its own header. The client learns little; the log has the reason.

use http::StatusCode;

use super::client::SessionsAccepted;
use super::exchange::{AnswerLength, AnswerSink, ClientGone};
use super::grpc;
use super::pages::language::Reader;
use super::pages::text::{Said, Text};
use super::pages::{self, Pages, PagesFor, Problem};
use super::request_id::RequestId;
use super::spec::LoginSpec;
use super::upgrade;
use crate::gate::authenticate::{Principal, Proof};
use crate::gate::authorize::{Refusal, RefusalReason};
use crate::gate::route::{CredentialKind, CredentialSet, Route};
use crate::http1::fields::Fields;
use crate::http1::head::RequestHead;
use crate::identity::certificate::InvalidCertificate;
use crate::identity::{InvalidIdentity, NoIdentity};

/// Where our credentials are good: everywhere behind this gate that takes them.
const REALM: &str = "realm=\"Portcullis\"";

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
pub enum Audience<'h> {
    /// A browser that shows the answer as a page, and who reads it.
    Browser(Reader<'h>),
    /// A gRPC client.
    Grpc,
    /// A script, an API client, an image in a page.
    Other,
}

/// What else can be said of a problem.
#[derive(Clone, Copy, Default)]
struct More<'m> {
    /// A word for programs that can do something about it.
    reason: Option<&'static str>,
    /// Where people go instead, with the words for that.
    way_on: Option<(&'m str, Text)>,
}

impl<'h> Audience<'h> {
    /// By `Sec-Fetch-Mode` where the browser sends it, else by what GET and HEAD accept.
    #[must_use]
    pub fn of(head: &'h RequestHead) -> Self {
        // A browser shows nothing of an answer to a handshake.
        if upgrade::handshake::is_asked_for(head) {
            return Self::Other;
        }
        let fields = head.fields();
        if grpc::is_call(head) {
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
        match browser {
            true => Self::Browser(Reader::of(fields)),
            false => Self::Other,
        }
    }
}

impl Answer {
    /// A page for people.
    #[must_use]
    pub fn page(status: StatusCode, pages: &PagesFor<'_>, body: String) -> Self {
        Self {
            status,
            fields: pages.fields(),
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

    /// A problem, as the audience can use it. What is said is shown to the client.
    #[must_use]
    pub fn problem<'s>(
        status: StatusCode,
        said: impl Into<Said<'s>>,
        audience: Audience<'_>,
        pages: &Pages,
        id: &RequestId,
    ) -> Self {
        Self::problem_with(status, &said.into(), More::default(), audience, pages, id)
    }

    /// The same with something more.
    fn problem_with(
        status: StatusCode,
        said: &Said<'_>,
        more: More<'_>,
        audience: Audience<'_>,
        pages: &Pages,
        id: &RequestId,
    ) -> Self {
        match audience {
            Audience::Browser(reader) => {
                let pages = pages.read_by(reader);
                let page = pages.problem(&Problem {
                    status,
                    said,
                    way_on: more.way_on,
                    id,
                });
                Self::page(status, &pages, page)
            }
            Audience::Grpc => Self::grpc(status, &said.english()),
            Audience::Other => {
                let mut body = serde_json::json!({
                    "type": "about:blank",
                    "title": pages::reason(status),
                    "status": status.as_u16(),
                    "detail": said.english(),
                    "request_id": id.as_str(),
                });
                if let Some(reason) = more.reason {
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
        Self {
            status: StatusCode::OK,
            fields: vec![
                ("grpc-status", grpc::status_of(status).code().to_owned()),
                ("grpc-message", grpc::message(detail)),
            ],
            content_type: grpc::MEDIA_TYPE,
            body: String::new(),
        }
    }

    /// The code of its gRPC status, where it has one.
    #[must_use]
    pub fn grpc_status(&self) -> Option<u16> {
        self.field("grpc-status")?.parse().ok()
    }

    /// The trailers that say the same to a gRPC client, where it is for one.
    #[must_use]
    pub fn grpc_trailers(&self) -> Option<Fields> {
        let pairs = ["grpc-status", "grpc-message"].map(|name| Some((name, self.field(name)?)));
        let [Some(status), Some(message)] = pairs else {
            return None;
        };
        let pairs = [status, message].map(|(name, value)| (name, value.as_bytes()));
        Fields::from_pairs(pairs).ok()
    }

    fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        let found = fields.find(|(other, _)| *other == name);
        found.map(|(_, value)| value.as_str())
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
        if !self.body.is_empty() || self.content_type == grpc::MEDIA_TYPE {
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
        sink.ready(match self.content_type {
            grpc::MEDIA_TYPE => AnswerLength::Empty,
            _ => AnswerLength::Exact(length),
        });
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
    audience: Audience<'_>,
    pages: &Pages,
    id: &RequestId,
) -> Answer {
    let text = match why {
        NoIdentity::NotPresented => Text::CertificateNotSent,
        NoIdentity::NotRequested => Text::CertificateNotAsked,
        NoIdentity::Invalid(InvalidIdentity::Certificate(why)) => why.into(),
        NoIdentity::Invalid(_) => Text::CertificateNeeded,
    };
    let more = More {
        reason: Some(why.as_str()),
        ..More::default()
    };
    let status = match audience {
        // Whose call it is, is not known. HTTP has a status for that only where it asks for a proof.
        Audience::Grpc => StatusCode::UNAUTHORIZED,
        Audience::Browser(_) | Audience::Other => StatusCode::FORBIDDEN,
    };
    Answer::problem_with(status, &text.into(), more, audience, pages, id)
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

/// What to say to whoever has to wait for so many seconds, because too many passwords were wrong.
#[must_use]
pub(super) fn too_many_wrong(seconds: u64) -> Said<'static> {
    match seconds {
        ..=1 => Text::WaitASecond.into(),
        2..=90 => Text::WaitSeconds.with(seconds.to_string()),
        _ => Text::WaitMinutes.with(seconds.div_ceil(60).to_string()),
    }
}

/// What is needed where nobody is known, by what the route takes.
const fn needed(taken: CredentialSet, sessions: SessionsAccepted) -> Text {
    let [session, basic, token] = [
        taken.contains(CredentialKind::Session),
        taken.contains(CredentialKind::Basic),
        taken.contains(CredentialKind::Token),
    ];
    let (text, over_https) = match (session, basic, token) {
        (false, true, true) => (
            Text::PasswordOrTokenNeeded,
            Text::PasswordOrTokenNeededOverHttps,
        ),
        (false, true, false) => (Text::PasswordNeeded, Text::PasswordNeededOverHttps),
        (false, false, true) => (Text::TokenNeeded, Text::TokenNeededOverHttps),
        (true, _, _) | (false, false, false) => (Text::LoginNeeded, Text::LoginNeededOverHttps),
    };
    match sessions {
        SessionsAccepted::Yes => text,
        SessionsAccepted::OnlyOverTls => over_https,
    }
}

/// What is wrong with what was in the `Authorization` field, where something is.
const fn wrong(why: NoIdentity) -> Option<Text> {
    let NoIdentity::Invalid(why) = why else {
        return None;
    };
    match why {
        InvalidIdentity::WrongPassword => Some(Text::WrongCredentials),
        _ => wrong_token(why),
    }
}

/// What is wrong with a token. Whoever has it may know.
const fn wrong_token(why: InvalidIdentity) -> Option<Text> {
    match why {
        InvalidIdentity::UnknownToken => Some(Text::TokenUnknown),
        InvalidIdentity::TokenExpired => Some(Text::TokenExpired),
        InvalidIdentity::TokenUserGone => Some(Text::TokenUserDisabled),
        _ => None,
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
            RefusalReason::Ambiguous(ambiguity) => self.problem(
                StatusCode::BAD_REQUEST,
                Text::AmbiguousPath.with(ambiguity.why.to_string()),
            ),
            RefusalReason::MalformedAuthorization => {
                self.problem(StatusCode::BAD_REQUEST, Text::AuthorizationUnreadable)
            }
            RefusalReason::NoRoute => self.problem(StatusCode::NOT_FOUND, Text::NothingHere),
            RefusalReason::MethodNotAllowed(allow) => self
                .problem(StatusCode::METHOD_NOT_ALLOWED, Text::OtherMethod)
                .with("Allow", allow),
            RefusalReason::CertificateNeeded(why) => {
                let audience = Audience::of(self.head);
                certificate_needed(*why, audience, self.pages, self.id)
            }
            RefusalReason::NotOwner | RefusalReason::Forbidden(_)
                if self.can_still_log_in(refusal) =>
            {
                self.login_needed(refusal, NoIdentity::NotPresented)
            }
            RefusalReason::NotOwner => self.forbidden(
                refusal,
                (
                    Text::UserNotOwner,
                    Text::TokenNotOwner,
                    Text::DeviceNotOwner,
                ),
            ),
            RefusalReason::Forbidden(_) => self.forbidden(
                refusal,
                (
                    Text::UserForbidden,
                    Text::TokenForbidden,
                    Text::DeviceForbidden,
                ),
            ),
            RefusalReason::Destination => self.problem(
                StatusCode::FORBIDDEN,
                Text::Unacceptable
                    .with("its Destination is none that it may be copied or moved to"),
            ),
            RefusalReason::AddressNotAllowed => {
                self.problem(StatusCode::FORBIDDEN, Text::AddressNotAllowed)
            }
            RefusalReason::LoginNeeded(why) => self
                .undecided(*why)
                .unwrap_or_else(|| self.login_needed(refusal, *why)),
        }
    }

    /// The answer where nobody can say whether whoever it is might be allowed to. A login would not
    /// help.
    fn undecided(&self, why: NoIdentity) -> Option<Answer> {
        const BUSY: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
        let NoIdentity::Invalid(why) = why else {
            return None;
        };
        Some(match why {
            InvalidIdentity::StoreUnavailable => self
                .problem(BUSY, Text::LoginsUnchecked)
                .with("Retry-After", "5"),
            InvalidIdentity::LockedOut(seconds) => self
                .problem(
                    StatusCode::TOO_MANY_REQUESTS,
                    too_many_wrong(seconds.into()),
                )
                .with("Retry-After", seconds.to_string()),
            InvalidIdentity::TooManyLogins => self
                .problem(BUSY, Text::TooManyLogins)
                .with("Retry-After", "2"),
            InvalidIdentity::LoginUnavailable => self.problem(BUSY, Text::CannotLogIn),
            // Asking for the password would not make it another request.
            InvalidIdentity::CrossSite => {
                self.problem(StatusCode::FORBIDDEN, Text::RequestFromElsewhere)
            }
            _ => return None,
        })
    }

    /// The answer to somebody who is known, and not allowed to do it: what is said to a user, of a
    /// token and of a certificate.
    fn forbidden(&self, refusal: &Refusal, (user, token, device): (Text, Text, Text)) -> Answer {
        let principal = refusal.identity.as_ref().ok();
        let proof = principal.map(Principal::proof);
        let said = match (proof, principal) {
            (Some(Proof::Session(_) | Proof::Basic), Some(it)) => {
                user.with(it.user().name.as_str())
            }
            (Some(Proof::Token(_)), _) => token.into(),
            _ => device.into(),
        };
        let page = match (proof, &refusal.route) {
            (Some(Proof::Session(_)), Some(route)) => self.login_page(route),
            _ => None,
        };
        let back = page.map(|page| self.login_to_come_back(page));
        let more = More {
            way_on: back.as_deref().map(|page| (page, Text::LogInAsOther)),
            ..More::default()
        };
        let audience = Audience::of(self.head);
        let status = StatusCode::FORBIDDEN;
        let answer = Answer::problem_with(status, &said, more, audience, self.pages, self.id);
        match proof {
            Some(Proof::Token(_)) if audience != Audience::Grpc => answer.with(
                "WWW-Authenticate",
                format!("Bearer {REALM}, error=\"insufficient_scope\""),
            ),
            _ => answer,
        }
    }

    /// Where people log in for this route, if that is a way to it.
    fn login_page<'p>(&'p self, route: &'p Route) -> Option<&'p str> {
        let own = route.redirect.as_deref();
        let page = own.or_else(|| self.login.map(|login| login.path.as_str()));
        page.filter(|_| route.access.taken().contains(CredentialKind::Session))
    }

    /// The login page that leads back to here, where that is a place to come back to.
    fn login_to_come_back(&self, page: &str) -> String {
        // After anything but a read, GET is the only sensible way on (RFC 9110 section 15.4.4), and
        // the target of a form is no place to come back to.
        match self.head.method().as_str() {
            "GET" | "HEAD" => {
                let join = if page.contains('?') { '&' } else { '?' };
                let rd = pages::encode_query(self.head.target());
                format!("{page}{join}rd={rd}")
            }
            _ => page.to_owned(),
        }
    }

    /// Whether a person sits before a browser that only the device was known by so far.
    fn can_still_log_in(&self, refusal: &Refusal) -> bool {
        let by_certificate = refusal
            .identity
            .as_ref()
            .is_ok_and(|it| *it.proof() == Proof::Certificate);
        let takes_session = refusal
            .route
            .as_ref()
            .is_some_and(|it| it.access.takes_session());
        by_certificate
            && takes_session
            && self.login.is_some()
            && self.sessions == SessionsAccepted::Yes
            && matches!(Audience::of(self.head), Audience::Browser(_))
    }

    fn login_needed(&self, refusal: &Refusal, why: NoIdentity) -> Answer {
        let route = refusal.route.as_ref();
        let taken = route.map_or(CredentialSet::NONE, |route| route.access.taken());
        let page = route.and_then(|route| self.login_page(route));
        match (Audience::of(self.head), page) {
            (Audience::Browser(_), Some(page)) => self.login_redirect(page, has_ended(why)),
            (audience, _) => self.unauthorized(taken, why, audience),
        }
    }

    fn login_redirect(&self, page: &str, has_ended: bool) -> Answer {
        let to = self.login_to_come_back(page);
        match self.head.method().as_str() {
            "GET" | "HEAD" => {
                let ended = if has_ended { "&ended=1" } else { "" };
                Answer::redirect(StatusCode::FOUND, format!("{to}{ended}"))
            }
            _ => Answer::redirect(StatusCode::SEE_OTHER, to),
        }
    }

    fn unauthorized(
        &self,
        taken: CredentialSet,
        why: NoIdentity,
        audience: Audience<'_>,
    ) -> Answer {
        let wrong = wrong(why);
        let text = wrong.unwrap_or_else(|| needed(taken, self.sessions));
        // Its certificate would have been another way in.
        let said = Said::from(text).then(self.certificate.map(Text::from));
        let reason = self.certificate.map(InvalidCertificate::as_str);
        let more = More {
            reason: wrong.map(|_| why.as_str()).or(reason),
            ..More::default()
        };
        let status = StatusCode::UNAUTHORIZED;
        let answer = Answer::problem_with(status, &said, more, audience, self.pages, self.id);
        match audience {
            Audience::Grpc => answer,
            Audience::Browser(_) | Audience::Other => self.challenged(answer, taken, why),
        }
    }

    /// RFC 9110 section 15.5.2 wants a challenge for each way in.
    fn challenged(&self, mut answer: Answer, taken: CredentialSet, why: NoIdentity) -> Answer {
        const NAME: &str = "WWW-Authenticate";
        let over_tls = self.sessions == SessionsAccepted::Yes;
        if over_tls && taken.contains(CredentialKind::Token) {
            let error = match why {
                NoIdentity::Invalid(why) => wrong_token(why),
                NoIdentity::NotRequested | NoIdentity::NotPresented => None,
            };
            let error = error.map(|it| {
                format!(
                    ", error=\"invalid_token\", error_description=\"{}\"",
                    it.english()
                )
            });
            let error = error.unwrap_or_default();
            answer = answer.with(NAME, format!("Bearer {REALM}{error}"));
        }
        if over_tls && taken.contains(CredentialKind::Basic) && !self.would_rather_see_form(taken) {
            answer = answer.with(NAME, format!("Basic {REALM}, charset=\"UTF-8\""));
        }
        // One of our own, that says where the form is.
        match self
            .login
            .filter(|_| taken.contains(CredentialKind::Session))
        {
            Some(login) => answer.with(NAME, format!("Cookie form-action=\"{}\"", login.path)),
            None => answer,
        }
    }

    /// Whether there is a form, and a browser to show it: one that is asked for `Basic` asks for the
    /// password in a window of its own, also for what a script of the page has fetched, and sends it
    /// with everything from then on.
    fn would_rather_see_form(&self, taken: CredentialSet) -> bool {
        let fields = self.head.fields();
        let names = ["sec-fetch-mode", "sec-fetch-site", "x-requested-with"];
        let is_browser = matches!(Audience::of(self.head), Audience::Browser(_))
            || names.iter().any(|name| fields.contains(name));
        is_browser && self.login.is_some() && taken.contains(CredentialKind::Session)
    }

    fn problem<'s>(&self, status: StatusCode, said: impl Into<Said<'s>>) -> Answer {
        let audience = Audience::of(self.head);
        Answer::problem(status, said, audience, self.pages, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::pages::Look;

    fn needed(why: NoIdentity, audience: Audience<'_>) -> Answer {
        certificate_needed(
            why,
            audience,
            &Pages::new(Look::default()),
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
            let page = needed(why, Audience::Browser(Reader::default()));
            assert_eq!(page.status, StatusCode::FORBIDDEN);
            assert!(page.body.contains(words), "{}", page.body);
            let grpc = needed(why, Audience::Grpc);
            assert_eq!(grpc.status, StatusCode::OK);
            assert_eq!(grpc.fields[0], ("grpc-status", "16".to_owned()));
            assert!(grpc.fields[1].1.contains(words), "{grpc:?}");
        }
    }

    #[test]
    fn a_word_for_programs_is_only_there_where_there_is_one() {
        let pages = Pages::new(Look::default());
        let id = RequestId::generate();
        let problem = Answer::problem(
            StatusCode::NOT_FOUND,
            Text::NothingHere,
            Audience::Other,
            &pages,
            &id,
        );
        assert!(!problem.body.contains("reason"), "{}", problem.body);
    }
}
