//! The login and logout exchanges: forms for people, JSON for programs, a cookie for both.
//!
//! A form must carry a token that we made for the same browser; JSON needs none, because another
//! site's page cannot send it without a preflight that we never grant. The password goes to the
//! hashing pool and nowhere else.

use std::borrow::Cow;
use std::time::Instant;

use http::StatusCode;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::attempt::{PasswordAttempts, Tried};
use super::client::{ClientFacts, SessionsAccepted};
use super::cookie::{self, Keep};
use super::exchange::{AnswerSink, BodyFailure, BodySource, Upload};
use super::pages::language::Reader;
use super::pages::text::{Said, Text};
use super::pages::{LoginForm, PagesFor, Remember};
use super::request_id::RequestId;
use super::respond::{Answer, Audience, too_many_wrong};
use super::spec::LoginSpec;
use super::{Shared, Snapshot};
use crate::gate::OwnPage;
use crate::gate::authenticate::Principal;
use crate::gate::session::{Session, SessionDigest, SessionKind, Timestamp};
use crate::gate::users::User;
use crate::http1::head::RequestHead;
use crate::identity::{InvalidIdentity, NoIdentity, UserName};
use crate::observe::log::{Level, Logger};
use crate::store::SessionStore;
use crate::store::attempts::Locked;
use crate::store::secret::SessionId;

/// The largest form: a name, a password of 1 KiB percent-encoded, and where to go.
const MAX_FORM: u64 = 16 << 10;

/// How long a form may lie open, in seconds.
const FORM_LIFETIME: u64 = 60 * 60;

/// The longest address to come back to after a login.
const MAX_RD: usize = 2048;

/// One request for a page of our own.
pub struct OwnExchange<'x> {
    /// What the client sent.
    pub head: &'x RequestHead,
    /// Where from.
    pub client: &'x ClientFacts,
    /// What all threads share.
    pub shared: &'x Shared,
    /// Where its lines go.
    pub log: &'x Logger,
    /// The configuration of this moment.
    pub snapshot: &'x Snapshot,
    /// The login pages.
    pub login: &'x LoginSpec,
    /// The request's id.
    pub id: &'x RequestId,
    /// When.
    pub now: Timestamp,
}

/// What a client posted.
#[derive(Default)]
struct Posted {
    username: Option<String>,
    password: Option<Zeroizing<String>>,
    csrf: Option<String>,
    rd: Option<String>,
    remember: bool,
    form: FormKind,
}

impl Posted {
    /// Whether it says who wants to log in, and how that is proved.
    const fn is_login(&self) -> bool {
        self.username.is_some() && self.password.is_some()
    }
}

/// What the form is filled in with when it is shown.
#[derive(Clone, Copy, Default)]
struct Filled<'f> {
    rd: &'f str,
    username: &'f str,
    remember: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum FormKind {
    #[default]
    Form,
    Json,
}

/// What a login attempt came to.
enum Attempted {
    Success(Answer, SessionDigest),
    Failure(&'static str, Answer),
}

/// Who is logged in, and in which session. A certificate is no login: it cannot log out.
fn in_session(identity: &Result<Principal, NoIdentity>) -> Option<(&Principal, &SessionDigest)> {
    let principal = identity.as_ref().ok()?;
    Some((principal, principal.session()?))
}

impl OwnExchange<'_> {
    /// Answers a request for `page`.
    ///
    /// # Errors
    /// [`BodyFailure`] when the posted form does not arrive.
    pub async fn answer<B: BodySource, A: AnswerSink>(
        &self,
        page: OwnPage,
        identity: &Result<Principal, NoIdentity>,
        body: &mut Upload<'_, B>,
        sink: &mut A,
    ) -> Result<Answer, BodyFailure> {
        match (page, self.head.method().as_str()) {
            (OwnPage::Login, "GET" | "HEAD") => Ok(self.show_login()),
            (OwnPage::Logout, "GET" | "HEAD") => Ok(self.show_logout(identity)),
            (_, "POST") => {
                let posted = match self.read_form(page, body, sink).await? {
                    Ok(posted) => posted,
                    Err(refusal) => return Ok(refusal),
                };
                Ok(match page {
                    OwnPage::Login => self.log_in(posted).await,
                    OwnPage::Logout => self.log_out(identity, &posted).await,
                })
            }
            _ => Ok(self
                .problem(StatusCode::METHOD_NOT_ALLOWED, Text::OtherMethod)
                .with("Allow", "GET, HEAD, POST")),
        }
    }

    fn problem<'s>(&self, status: StatusCode, said: impl Into<Said<'s>>) -> Answer {
        let audience = Audience::of(self.head);
        Answer::problem(status, said, audience, &self.snapshot.pages, self.id)
    }

    /// The pages as whoever asks reads them.
    fn pages(&self) -> PagesFor<'_> {
        let reader = Reader::of(self.head.fields());
        self.snapshot.pages.read_by(reader)
    }

    fn seconds(&self) -> u64 {
        self.now.0 / 1000
    }

    // --- Showing forms ---

    fn show_login(&self) -> Answer {
        if self.client.sessions == SessionsAccepted::OnlyOverTls {
            return self.problem(StatusCode::FORBIDDEN, Text::OnlyOverHttps);
        }
        let parameter = |wanted: &str| {
            let parameters = form_urlencoded::parse(self.head.query()?.as_bytes());
            let mut values = parameters.filter(|(name, _)| name == wanted);
            values.next().map(|(_, value)| value)
        };
        let rd = parameter("rd");
        let rd = self.safe_target(rd.as_deref());
        let note = parameter("ended").is_some().then_some(Text::SessionEnded);
        let filled = Filled {
            rd: &rd,
            ..Filled::default()
        };
        self.form(StatusCode::OK, filled, (note, None))
    }

    /// The form again, with what was wrong.
    fn login_form(&self, status: StatusCode, filled: Filled<'_>, error: &Said<'_>) -> Answer {
        self.form(status, filled, (None, Some(error)))
    }

    /// The form, tied to this browser by a nonce in a cookie that it gets or already has.
    fn form(
        &self,
        status: StatusCode,
        filled: Filled<'_>,
        (note, error): (Option<Text>, Option<&Said<'_>>),
    ) -> Answer {
        let known = cookie::login_nonce(self.head.fields());
        let is_new = known.is_none();
        let Ok(nonce) = known.map_or_else(SessionId::generate, Ok) else {
            return self.no_randomness();
        };
        let expires = self.seconds() + FORM_LIFETIME;
        let subject = nonce.as_str().as_bytes();
        let token = self.shared.form_key.token("login", subject, expires);
        let remember = match (self.snapshot.gate.sessions.remember, filled.remember) {
            (None, _) => Remember::NotOffered,
            (Some(_), false) => Remember::Offered,
            (Some(_), true) => Remember::Chosen,
        };
        let form = LoginForm {
            token: &token,
            rd: filled.rd,
            username: filled.username,
            remember,
            note,
            error,
        };
        let pages = self.pages();
        let answer = Answer::page(status, &pages, pages.login(self.login, &form));
        if is_new {
            answer.with("Set-Cookie", cookie::set_login_nonce(&nonce))
        } else {
            answer
        }
    }

    fn show_logout(&self, identity: &Result<Principal, NoIdentity>) -> Answer {
        let Some((principal, session)) = in_session(identity) else {
            return Answer::redirect(StatusCode::SEE_OTHER, self.login.path.clone());
        };
        let user = principal.user().name.as_str();
        let token = self.logout_token(session);
        let pages = self.pages();
        let page = pages.logout(self.login, user, &token);
        Answer::page(StatusCode::OK, &pages, page)
    }

    fn logout_token(&self, session: &SessionDigest) -> String {
        let expires = self.seconds() + FORM_LIFETIME;
        self.shared.form_key.token("logout", &session.0, expires)
    }

    fn no_randomness(&self) -> Answer {
        self.problem(StatusCode::SERVICE_UNAVAILABLE, Text::CannotLogIn)
    }

    // --- Reading forms ---

    async fn read_form<B: BodySource, A: AnswerSink>(
        &self,
        page: OwnPage,
        body: &mut Upload<'_, B>,
        sink: &mut A,
    ) -> Result<Result<Posted, Answer>, BodyFailure> {
        if self.client.sessions == SessionsAccepted::OnlyOverTls {
            return Ok(Err(self.problem(StatusCode::FORBIDDEN, Text::OnlyOverHttps)));
        }
        // Fetch Metadata: a browser says so when another site's page sends the request.
        let site = self.head.fields().get("sec-fetch-site");
        if matches!(site, Some(b"cross-site" | b"same-site")) {
            let text = Text::FormFromElsewhere;
            return Ok(Err(self.problem(StatusCode::FORBIDDEN, text)));
        }
        let Some(kind) = self.form_kind() else {
            let text = Text::FormOfOtherType;
            return Ok(Err(self.problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, text)));
        };
        body.allow(MAX_FORM);
        if self.head.expects_continue() && !body.has_ended() {
            sink.send_continue()
                .await
                .map_err(|_| BodyFailure::ClientGone)?;
        }
        // A form is a few hundred bytes: all of it comes within the time of a head, so that
        // nobody holds a connection by sending a byte now and then.
        let limit = self.snapshot.timeouts.head;
        let bytes = timeout(limit, read_whole(body))
            .await
            .unwrap_or(Err(BodyFailure::TooSlow))?;
        // What is no login is refused here, before it could count as a wrong password.
        let (posted, said) = match (kind, page) {
            (FormKind::Form, _) => (parse_form(&bytes), Text::FormUnreadable.into()),
            (FormKind::Json, OwnPage::Login) => (
                parse_json(&bytes).filter(Posted::is_login),
                Text::JsonUnreadable.with(r#"{"username": "...", "password": "..."}"#),
            ),
            (FormKind::Json, OwnPage::Logout) => {
                (parse_json(&bytes), Text::JsonUnreadable.with("{}"))
            }
        };
        Ok(posted.ok_or_else(|| self.problem(StatusCode::BAD_REQUEST, said)))
    }

    fn form_kind(&self) -> Option<FormKind> {
        let value = self.head.fields().get("content-type")?;
        let media_type = value.split(|&byte| byte == b';').next()?.trim_ascii();
        if media_type.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
            Some(FormKind::Form)
        } else if media_type.eq_ignore_ascii_case(b"application/json") {
            Some(FormKind::Json)
        } else {
            None
        }
    }

    // --- Logging in ---

    async fn log_in(&self, posted: Posted) -> Answer {
        let started = Instant::now();
        let typed = posted.username.clone().unwrap_or_default();
        let user = self.attempts().user(&typed);
        let method = match posted.form {
            FormKind::Form => "form",
            FormKind::Json => "json",
        };
        let (result, answer, begun) = match self.attempt(posted, &typed, user).await {
            Attempted::Success(answer, session) => ("success", answer, Some(session)),
            Attempted::Failure(reason, answer) => (reason, answer, None),
        };
        match self.attempts().put_on_record(method, result, user, started) {
            Ok(()) => answer,
            Err(_) => self.not_on_record(begun).await,
        }
    }

    const fn attempts(&self) -> PasswordAttempts<'_> {
        PasswordAttempts {
            client: self.client,
            shared: self.shared,
            log: self.log,
            snapshot: self.snapshot,
            id: self.id,
            now: self.now,
        }
    }

    /// Nobody logs in without a line that says so: the session that was begun ends again.
    async fn not_on_record(&self, begun: Option<SessionDigest>) -> Answer {
        if let Some(session) = begun
            && self.shared.sessions.end(&session).await.is_ok()
        {
            self.shared.count_end("not_logged");
        }
        self.problem(StatusCode::SERVICE_UNAVAILABLE, Text::CannotLogIn)
    }

    async fn attempt(&self, posted: Posted, typed: &str, user: Option<&User>) -> Attempted {
        let rd = self.safe_target(posted.rd.as_deref());
        let filled = Filled {
            rd: &rd,
            username: typed,
            remember: posted.remember,
        };
        if posted.form == FormKind::Form && !self.is_own_form(posted.csrf.as_deref()) {
            let error = Text::LoginFormExpired.into();
            let answer = self.login_form(StatusCode::FORBIDDEN, filled, &error);
            return Attempted::Failure("csrf", answer);
        }
        let password = posted.password.unwrap_or_default();
        let password = Zeroizing::new(password.as_bytes().to_vec());
        let tried = self.attempts().make(typed, password, user).await;
        let answer = match (tried, user) {
            (Tried::Right, Some(user)) => {
                let kind = match self.snapshot.gate.sessions.remember {
                    Some(_) if posted.remember => SessionKind::Remembered,
                    _ => SessionKind::Visit,
                };
                return self.begin_session(posted.form, kind, user, filled).await;
            }
            (Tried::Right | Tried::Wrong, _) => self.wrong_credentials(posted.form, filled),
            (Tried::Locked(locked), _) => self.locked(posted.form, filled, locked),
            (Tried::Busy, _) => {
                let answer = self.problem(StatusCode::SERVICE_UNAVAILABLE, Text::TooManyLogins);
                answer.with("Retry-After", "2")
            }
            (Tried::Failed, _) => self.problem(StatusCode::SERVICE_UNAVAILABLE, Text::CannotLogIn),
        };
        Attempted::Failure(tried.as_str(), answer)
    }

    fn is_own_form(&self, token: Option<&str>) -> bool {
        let nonce = cookie::login_nonce(self.head.fields());
        match (token, nonce) {
            (Some(token), Some(nonce)) => {
                let subject = nonce.as_str().as_bytes();
                let key = &self.shared.form_key;
                key.accepts(token, "login", subject, self.seconds())
            }
            _ => false,
        }
    }

    fn wrong_credentials(&self, form: FormKind, filled: Filled<'_>) -> Answer {
        let error = Text::WrongCredentials;
        let answer = match form {
            FormKind::Form => self.login_form(StatusCode::UNAUTHORIZED, filled, &error.into()),
            FormKind::Json => self.problem(StatusCode::UNAUTHORIZED, error),
        };
        let challenge = format!("Cookie form-action=\"{}\"", self.login.path);
        answer.with("WWW-Authenticate", challenge)
    }

    /// Too many wrong passwords came before. Whether this one is right is not even looked at.
    fn locked(&self, form: FormKind, filled: Filled<'_>, locked: Locked) -> Answer {
        let seconds = locked.seconds();
        let error = too_many_wrong(seconds);
        let answer = match form {
            FormKind::Form => self.login_form(StatusCode::TOO_MANY_REQUESTS, filled, &error),
            FormKind::Json => self.problem(StatusCode::TOO_MANY_REQUESTS, error),
        };
        answer.with("Retry-After", seconds.to_string())
    }

    /// A new id at every login: one that was planted before is worth nothing (session fixation).
    async fn begin_session(
        &self,
        form: FormKind,
        kind: SessionKind,
        user: &User,
        filled: Filled<'_>,
    ) -> Attempted {
        let Ok(id) = SessionId::generate() else {
            return Attempted::Failure("error", self.no_randomness());
        };
        let session = Session::begin(user.name.clone(), user.credential_epoch, self.now);
        let session = session.of_kind(kind);
        let keep = Keep {
            same_site: self.login.same_site,
            age: (self.snapshot.gate.sessions).cookie_age(&session, self.now),
        };
        let sessions = &self.shared.sessions;
        self.end_replaced().await;
        if sessions.begin(id.digest(), session).await.is_err() {
            let answer = self.problem(StatusCode::SERVICE_UNAVAILABLE, Text::CannotLogIn);
            return Attempted::Failure("error", answer);
        }
        // Whoever ends the sessions of users who change may have looked before this one was there.
        if !self.is_still(user) {
            drop(sessions.end(&id.digest()).await);
            let answer = self.wrong_credentials(form, filled);
            return Attempted::Failure("bad_credentials", answer);
        }
        self.shared.note_untold(self.log);
        let metrics = &self.shared.metrics;
        metrics
            .auth_sessions_created
            .with_label_values(&["form"])
            .inc();
        let answer = match form {
            FormKind::Form => Answer::redirect(StatusCode::SEE_OTHER, filled.rd.to_owned()),
            FormKind::Json => Answer::json(
                StatusCode::OK,
                &serde_json::json!({"user": user.name.as_str(), "redirect": filled.rd}),
            ),
        };
        let answer = answer
            .with("Set-Cookie", cookie::set_session(&id, keep))
            .with("Set-Cookie", cookie::clear(cookie::LOGIN));
        Attempted::Success(answer, id.digest())
    }

    /// Whether the user, who was looked up when the request came, can log in with that password now.
    /// The form may have taken seconds to come, and so may the hash.
    fn is_still(&self, user: &User) -> bool {
        let snapshot = self.shared.snapshot.load();
        let now = snapshot.gate.users.active(&user.name);
        now.is_some_and(|now| now.credential_epoch == user.credential_epoch)
    }

    /// Ends the session that the browser had before.
    async fn end_replaced(&self) {
        let sessions = &self.shared.sessions;
        if let Ok(digest) = cookie::session(self.head.fields())
            && let Ok(Some(old)) = sessions.look_up(&digest).await
            && matches!(sessions.end(&digest).await, Ok(true))
        {
            self.note_end(&old.user, &digest, "replaced");
        }
    }

    // --- Logging out ---

    async fn log_out(&self, identity: &Result<Principal, NoIdentity>, posted: &Posted) -> Answer {
        // Nobody can tell whether there is a session: it must not look as if it had ended.
        if let Err(NoIdentity::Invalid(InvalidIdentity::StoreUnavailable)) = identity {
            return self.cannot_log_out();
        }
        let Some((principal, session)) = in_session(identity) else {
            return self.not_in_a_session(posted.form).await;
        };
        let token = posted.csrf.as_deref().unwrap_or_default();
        let subject = &session.0;
        let genuine = posted.form == FormKind::Json
            || self
                .shared
                .form_key
                .accepts(token, "logout", subject, self.seconds());
        if !genuine {
            return self.problem(StatusCode::FORBIDDEN, Text::LogoutFormExpired);
        }
        if self.shared.sessions.end(session).await.is_err() {
            return self.cannot_log_out();
        }
        self.note_end(&principal.user().name, session, "logout");
        self.logged_out(posted.form)
    }

    fn note_end(&self, user: &UserName, session: &SessionDigest, reason: &str) {
        let line = self.attempts().line(Level::Info, "session.end");
        let line = self.shared.ended(line, user, session, reason);
        self.log.note(line);
    }

    /// Whoever logs out once more, because the first answer did not come, hears that it is done when
    /// that will last.
    async fn not_in_a_session(&self, form: FormKind) -> Answer {
        let presents_one = cookie::session(self.head.fields()).is_ok();
        match presents_one && self.shared.sessions.settle().await.is_err() {
            true => self.cannot_log_out(),
            false => self.logged_out(form),
        }
    }

    fn cannot_log_out(&self) -> Answer {
        self.problem(StatusCode::SERVICE_UNAVAILABLE, Text::CannotLogOut)
    }

    fn logged_out(&self, form: FormKind) -> Answer {
        let answer = match form {
            FormKind::Form => {
                let pages = self.pages();
                Answer::page(StatusCode::OK, &pages, pages.logged_out(self.login))
            }
            FormKind::Json => {
                Answer::json(StatusCode::OK, &serde_json::json!({"logged_out": true}))
            }
        };
        // Pages seen while logged in must not come back with the Back button (ASVS 14.3.1).
        answer
            .with("Set-Cookie", cookie::clear(cookie::SESSION))
            .with("Clear-Site-Data", "\"cache\"")
    }

    /// Where to go after a login: on this site, and not straight back here.
    fn safe_target<'t>(&'t self, rd: Option<&'t str>) -> Cow<'t, str> {
        let path = |target: &str| target.split(['?', '#']).next().unwrap_or("").to_owned();
        let own = |target: &str| {
            let path = path(target);
            path == self.login.path || path == self.login.logout
        };
        match rd {
            Some(rd) if is_same_origin(rd) && !own(rd) => rd.into(),
            _ => self.login.home.as_str().into(),
        }
    }
}

async fn read_whole<B: BodySource>(
    body: &mut Upload<'_, B>,
) -> Result<Zeroizing<Vec<u8>>, BodyFailure> {
    let mut bytes = Zeroizing::new(Vec::new());
    while let Some(piece) = body.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// Whether a browser would take `target`, in a Location field, for a path of this site. Browsers
/// read `//` and `/\` as the beginning of a host, and drop tabs and line ends before they look.
fn is_same_origin(target: &str) -> bool {
    let bytes = target.as_bytes();
    bytes.first() == Some(&b'/')
        && !matches!(bytes.get(1), Some(b'/' | b'\\'))
        && target.len() <= MAX_RD
        && bytes
            .iter()
            .all(|byte| matches!(byte, 0x21..=0x7e) && *byte != b'\\')
}

/// `None` where a field stands twice: which of them counts would depend on who reads it.
fn parse_form(bytes: &[u8]) -> Option<Posted> {
    let mut posted = Posted::default();
    for (name, value) in form_urlencoded::parse(bytes) {
        let twice = match name.as_ref() {
            "username" => posted.username.replace(value.into_owned()).is_some(),
            "password" => {
                let value = Zeroizing::new(value.into_owned());
                posted.password.replace(value).is_some()
            }
            "csrf" => posted.csrf.replace(value.into_owned()).is_some(),
            "rd" => posted.rd.replace(value.into_owned()).is_some(),
            // A box that is not ticked is not sent.
            "remember" => std::mem::replace(&mut posted.remember, true),
            _ => false,
        };
        if twice {
            return None;
        }
    }
    Some(posted)
}

fn parse_json(bytes: &[u8]) -> Option<Posted> {
    /// serde refuses a field that stands twice.
    #[derive(serde::Deserialize)]
    struct Body {
        username: Option<String>,
        password: Option<Zeroizing<String>>,
        rd: Option<String>,
        #[serde(default)]
        remember: bool,
    }
    if bytes.is_empty() {
        return Some(Posted {
            form: FormKind::Json,
            ..Posted::default()
        });
    }
    let body: Body = serde_json::from_slice(bytes).ok()?;
    Some(Posted {
        username: body.username,
        password: body.password,
        rd: body.rd,
        remember: body.remember,
        csrf: None,
        form: FormKind::Json,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_of_this_site_is_gone_back_to() {
        for good in ["/", "/a", "/a?b=c&d=e", "/a//b", "/%2f%2fevil"] {
            assert!(is_same_origin(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "//evil",
            "/\\evil",
            "https:/evil",
            "https://evil",
            "\\/evil",
            "/\t/evil",
            "/\n/evil",
            "\t//evil",
            " /a",
            "/a b",
            "/a\\b",
            "javascript:x",
            "/é",
        ] {
            assert!(!is_same_origin(bad), "{bad:?}");
        }
        assert!(!is_same_origin(&format!("/{}", "a".repeat(MAX_RD))));
    }

    #[test]
    fn a_form_is_read_and_one_with_a_field_twice_is_not() {
        let posted = parse_form(b"username=ralph&password=a%26b+c&rd=%2Fx&other=1").unwrap();
        assert_eq!(posted.username.as_deref(), Some("ralph"));
        assert_eq!(
            posted.password.as_deref().map(String::as_str),
            Some("a&b c")
        );
        assert_eq!(posted.rd.as_deref(), Some("/x"));
        assert!(parse_form(b"username=a&username=b").is_none());
    }

    #[test]
    fn json_is_read_and_what_is_not_a_login_is_not() {
        let posted = parse_json(br#"{"username":"ralph","password":"x"}"#).unwrap();
        assert_eq!(posted.username.as_deref(), Some("ralph"));
        for bad in [
            "[",
            "[]",
            "{\"username\":1}",
            "{\"username\":\"a\",\"username\":\"b\"}",
        ] {
            assert!(parse_json(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
