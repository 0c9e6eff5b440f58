//! Logging in to a backend, on behalf of whoever was let in here: Basic (RFC 7617) and Digest
//! (RFC 7616). What the client sent as `Authorization` never goes there.
//!
//! A Digest backend is asked once without credentials. What it asks for is kept and answered with
//! every later request, by all threads, until it wants something newer. Repeating a request is
//! `collect`'s business.

pub mod challenge;
mod digest;

use std::fmt;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::seldom::Seldom;
use crate::http1::response::ResponseHead;
use crate::http1::write;
use crate::store::secret::random;
use crate::tls::secret::{Secret, SecretError};
use challenge::{Challenge, NoChallenge, next_nonce};
use digest::Session;

/// How often a request is sent again, at most: for a first challenge, or one instead of another that
/// was kept for too long, and for one that grew old meanwhile.
const MOST_REPEATS: u8 = 2;

/// How we log in to a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamLoginSpec {
    /// In which way.
    pub scheme: LoginScheme,
    /// As whom.
    pub user: String,
    /// With what.
    pub password: Secret,
    /// Where the password is configured, for messages.
    pub place: String,
}

/// A way to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginScheme {
    /// The password with each request.
    Basic,
    /// Proof of it with each request.
    Digest,
}

/// Why a password cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamLoginError {
    /// It cannot be had.
    #[error("{place}: {source}")]
    Secret {
        /// Where it is configured.
        place: String,
        /// Why.
        source: SecretError,
    },
    /// Nobody could send it (RFC 7617 section 2).
    #[error("{place}: the password has a control character in it")]
    Control {
        /// Where it is configured.
        place: String,
    },
}

/// Why a backend does not let us in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginRefusal {
    /// It did not take what we sent.
    #[error("it does not take our user name and password")]
    NotTaken,
    /// What it wants instead.
    #[error(transparent)]
    NoChallenge(#[from] NoChallenge),
    /// What it wants, we cannot do at this moment.
    #[error("there is nothing to answer its challenge with")]
    NotReady,
}

/// A login to a backend, as its password was loaded last.
pub struct UpstreamLogin {
    spec: UpstreamLoginSpec,
    /// `None` until it is loaded.
    loaded: ArcSwapOption<Loaded>,
    /// When it was said that it is refused.
    pub(super) said: Seldom,
}

/// A password with all that was made of it.
struct Loaded {
    user: String,
    password: Zeroizing<String>,
    /// What Basic sends.
    basic: Zeroizing<String>,
    /// What Digest answers with.
    session: ArcSwapOption<Session>,
}

/// Says how it is configured, and nothing of the password.
impl fmt::Debug for UpstreamLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UpstreamLogin").field(&self.spec).finish()
    }
}

/// Equal where they are configured alike.
impl PartialEq for UpstreamLogin {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec
    }
}

impl Eq for UpstreamLogin {}

impl UpstreamLogin {
    /// One that is still to be loaded.
    #[must_use]
    pub fn new(spec: UpstreamLoginSpec) -> Self {
        Self {
            spec,
            loaded: ArcSwapOption::empty(),
            said: Seldom::default(),
        }
    }

    /// What it is made of.
    #[must_use]
    pub const fn spec(&self) -> &UpstreamLoginSpec {
        &self.spec
    }

    /// Reads the password. What was kept of challenges is forgotten with the one before.
    ///
    /// # Errors
    /// [`UpstreamLoginError`]; the one before goes on then.
    pub fn load(&self) -> Result<(), UpstreamLoginError> {
        let place = || self.spec.place.clone();
        let read = self.spec.password.read();
        let password = read.map_err(|source| UpstreamLoginError::Secret {
            place: place(),
            source,
        })?;
        if password.contains(char::is_control) {
            return Err(UpstreamLoginError::Control { place: place() });
        }
        let user = &self.spec.user;
        let pair = Zeroizing::new(format!("{user}:{}", *password));
        let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
        self.loaded.store(Some(Arc::new(Loaded {
            user: user.clone(),
            password,
            basic: Zeroizing::new(format!("Basic {}", *encoded)),
            session: ArcSwapOption::empty(),
        })));
        Ok(())
    }

    /// What a request carries that is sent for the first time.
    pub(super) fn begin(&self) -> Result<Turn, LoginRefusal> {
        let loaded = self.loaded.load_full().ok_or(LoginRefusal::NotReady)?;
        let carried = match self.spec.scheme {
            LoginScheme::Basic => Carried::Basic,
            LoginScheme::Digest => match loaded.session.load_full() {
                None => Carried::Nothing,
                Some(session) => Carried::answer_of(session, Age::Kept),
            },
        };
        Ok(Turn {
            loaded,
            carried,
            repeats: MOST_REPEATS,
            challenge: OnceLock::new(),
        })
    }
}

/// What a request carries to log in, each time that it is sent.
pub struct Turn {
    loaded: Arc<Loaded>,
    carried: Carried,
    /// How often the request may be sent again.
    repeats: u8,
    /// What the backend wants instead.
    challenge: OnceLock<Challenge>,
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").finish_non_exhaustive()
    }
}

enum Carried {
    /// We wait to be asked.
    Nothing,
    Basic,
    /// An answer to a challenge, with the count of the request.
    Digest(Arc<Session>, u32, Age),
}

impl Carried {
    /// Without an answer where there have been as many as can be counted.
    fn answer_of(session: Arc<Session>, age: Age) -> Self {
        match session.next_count() {
            Some(count) => Self::Digest(session, count, age),
            None => Self::Nothing,
        }
    }
}

/// Since when a challenge is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    /// From an earlier request.
    Kept,
    /// From this one.
    New,
}

impl Turn {
    /// Writes the field that logs in, for a request as it is written.
    pub(super) fn write(&self, out: &mut Vec<u8>, method: &str, target: &str) {
        match &self.carried {
            Carried::Nothing => {}
            Carried::Basic => write::field(out, "Authorization", self.loaded.basic.as_bytes()),
            Carried::Digest(session, count, _) => {
                let answer = session.answer(method, target, *count);
                write::field(out, "Authorization", &answer);
            }
        }
    }

    /// Takes what the backend wants instead, in a 401.
    ///
    /// # Errors
    /// [`LoginRefusal`], where sending the request again would not help.
    pub(super) fn challenged(&self, head: &ResponseHead) -> Result<(), LoginRefusal> {
        let challenges = || Challenge::strongest(head.fields().get_all("www-authenticate"));
        let challenge = match &self.carried {
            Carried::Basic => return Err(LoginRefusal::NotTaken),
            Carried::Nothing | Carried::Digest(_, _, Age::Kept) => challenges()?,
            Carried::Digest(_, _, Age::New) => challenges()
                .ok()
                .filter(|it| it.is_stale)
                .ok_or(LoginRefusal::NotTaken)?,
        };
        if self.repeats == 0 {
            return Err(LoginRefusal::NotTaken);
        }
        // There is one answer to each request, so that nobody has set it before.
        drop(self.challenge.set(challenge));
        Ok(())
    }

    /// Takes what the backend says of later requests, in any other answer.
    pub(super) fn answered(&self, head: &ResponseHead) {
        let Carried::Digest(session, ..) = &self.carried else {
            return;
        };
        let mut infos = head.fields().get_all("authentication-info");
        if let Some(nonce) = infos.next().and_then(next_nonce) {
            let next = Arc::new(session.with_nonce(nonce));
            // Unless another thread has something newer.
            drop(self.loaded.session.compare_and_swap(session, Some(next)));
        }
    }

    /// What the request carries when it is sent again; `None` where it was answered.
    ///
    /// # Errors
    /// [`LoginRefusal::NotReady`], where the system gives no random bytes.
    pub(super) fn next(self) -> Result<Option<Self>, LoginRefusal> {
        let Some(challenge) = self.challenge.into_inner() else {
            return Ok(None);
        };
        let random: [u8; 16] = random().map_err(|_| LoginRefusal::NotReady)?;
        let cnonce = base16ct::lower::encode_string(&random);
        let loaded = self.loaded;
        let session = Session::new(challenge, &loaded.user, &loaded.password, &cnonce);
        let session = Arc::new(session);
        loaded.session.store(Some(Arc::clone(&session)));
        Ok(Some(Self {
            carried: Carried::answer_of(session, Age::New),
            loaded,
            repeats: self.repeats - 1,
            challenge: OnceLock::new(),
        }))
    }

    /// Forgets a challenge whose answer was refused: the next request asks anew.
    pub(super) fn forget(&self) {
        if let Carried::Digest(session, ..) = &self.carried {
            let none: Option<Arc<Session>> = None;
            drop(self.loaded.session.compare_and_swap(session, none));
        }
    }
}

/// Whether a field of an answer is between the backend and us, where we log in.
pub(super) fn is_ours(name: &[u8]) -> bool {
    ["www-authenticate", "authentication-info"]
        .iter()
        .any(|ours| name.eq_ignore_ascii_case(ours.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_basic_sends_is_made_of_utf8_and_shown_nowhere() {
        let login = UpstreamLogin::new(UpstreamLoginSpec {
            scheme: LoginScheme::Basic,
            user: "test".into(),
            password: Secret::Value(Zeroizing::new("123\u{a3}".into())),
            place: "here".into(),
        });
        assert!(matches!(login.begin(), Err(LoginRefusal::NotReady)));
        login.load().unwrap();
        let mut out = Vec::new();
        let turn = login.begin().unwrap();
        turn.write(&mut out, "GET", "/");
        // RFC 7617 section 2.1.
        assert_eq!(out, b"Authorization: Basic dGVzdDoxMjPCow==\r\n");
        let shown = format!("{login:?} {turn:?}");
        assert!(!shown.contains("123") && !shown.contains("dGVz"), "{shown}");
    }

    #[test]
    fn a_password_that_nobody_could_send_is_an_error() {
        let login = UpstreamLogin::new(UpstreamLoginSpec {
            scheme: LoginScheme::Digest,
            user: "u".into(),
            password: Secret::Value(Zeroizing::new("a\tb".into())),
            place: "here".into(),
        });
        let error = login.load().unwrap_err().to_string();
        assert_eq!(error, "here: the password has a control character in it");
    }
}
