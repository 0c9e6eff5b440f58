//! What a session is, and when it stops proving an identity.
//!
//! Where sessions are kept is the store's business; the cookie that carries the id is the proxy's.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::identity::{InvalidIdentity, UserName};

/// A point in time, in milliseconds since 1970-01-01T00:00:00Z. The gate never reads a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// How long before `self` the earlier time was; zero if it was not earlier (a clock set back
    /// must not end sessions).
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// The SHA-256 of a session id. The id itself is only in the user's cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionDigest(pub [u8; 32]);

impl SessionDigest {
    /// The first eight hex digits, as the log shows it: enough to follow a session, useless to
    /// take it over.
    #[must_use]
    pub fn short(&self) -> ShortDigest {
        let mut digits = [0; 8];
        let encoded = base16ct::lower::encode(&self.0[..4], &mut digits);
        debug_assert!(encoded.is_ok(), "two digits a byte");
        ShortDigest(digits)
    }
}

/// A digest as the log shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortDigest([u8; 8]);

impl ShortDigest {
    /// Takes eight hex digits, as [`SessionDigest::short`] writes them.
    #[must_use]
    pub fn parse(digits: &str) -> Option<Self> {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let digits: [u8; 8] = digits.as_bytes().try_into().ok()?;
        digits.iter().all(is_digit).then_some(Self(digits))
    }

    /// The last of all digests that begin with these digits.
    #[must_use]
    pub fn last(&self) -> SessionDigest {
        let mut digest = [0xff; 32];
        let decoded = base16ct::lower::decode(self.0, &mut digest[..4]);
        debug_assert!(decoded.is_ok(), "they were checked or encoded here");
        SessionDigest(digest)
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// One login of one user.
#[derive(Debug)]
pub struct Session {
    /// Who logged in.
    pub user: UserName,
    /// When.
    pub created: Timestamp,
    /// The user's credential epoch at that time: another one now means another password.
    pub credential_epoch: u64,
    /// For how long it was meant.
    pub kind: SessionKind,
    /// When its cookie was given to the browser last, in seconds after `created`.
    cookie_given: AtomicU32,
    last_seen: AtomicU64,
}

/// For how long somebody wants to be logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKind {
    /// Until the browser is closed, and no longer than usual.
    Visit,
    /// On this device, for as long as it is used.
    Remembered,
}

impl Session {
    /// A session that begins `now`.
    #[must_use]
    pub const fn begin(user: UserName, credential_epoch: u64, now: Timestamp) -> Self {
        Self::resume(user, credential_epoch, now, now, SessionKind::Visit)
    }

    /// The same for a session of this kind.
    #[must_use]
    pub fn of_kind(self, kind: SessionKind) -> Self {
        Self { kind, ..self }
    }

    /// One that was kept somewhere.
    #[must_use]
    pub const fn resume(
        user: UserName,
        credential_epoch: u64,
        created: Timestamp,
        last_seen: Timestamp,
        kind: SessionKind,
    ) -> Self {
        Self {
            user,
            created,
            credential_epoch,
            kind,
            cookie_given: AtomicU32::new(0),
            last_seen: AtomicU64::new(last_seen.0),
        }
    }

    /// When it was last used.
    pub fn last_seen(&self) -> Timestamp {
        Timestamp(self.last_seen.load(Ordering::Relaxed))
    }

    /// Notes that it is used `now`. Written at most once a second, so that requests in parallel
    /// do not pass one cache line around between the cores.
    pub fn touch(&self, now: Timestamp) {
        if now.since(self.last_seen()) >= Duration::from_secs(1) {
            self.last_seen.store(now.0, Ordering::Relaxed);
        }
    }

    /// Whether its cookie was given to the browser so long ago, or longer.
    pub fn is_cookie_older(&self, age: Duration, now: Timestamp) -> bool {
        let given = self.cookie_given.load(Ordering::Relaxed);
        self.is_older_since(given, age, now)
    }

    /// The same, and from now on it counts as given `now`: of several answers at one time, one is
    /// to give it.
    pub fn give_cookie(&self, age: Duration, now: Timestamp) -> bool {
        let given = self.cookie_given.load(Ordering::Relaxed);
        let seconds = u32::try_from(now.since(self.created).as_secs()).unwrap_or(u32::MAX);
        let order = Ordering::Relaxed;
        self.is_older_since(given, age, now)
            && (self.cookie_given)
                .compare_exchange(given, seconds, order, order)
                .is_ok()
    }

    fn is_older_since(&self, given: u32, age: Duration, now: Timestamp) -> bool {
        let given = Duration::from_secs(given.into());
        now.since(self.created).saturating_sub(given) >= age
    }
}

/// How long a session lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionPolicy {
    /// It ends when unused for this long.
    pub idle: Duration,
    /// It ends this long after the login, however much it is used.
    pub lifetime: Duration,
    /// One that is to be remembered ends when unused for this long instead, and after
    /// [`REMEMBERED_AT_MOST`]; `None` where there is no such thing.
    pub remember: Option<Duration>,
}

/// What a stolen device is worth at most. (Browsers keep no cookie for more than 400 days.)
pub const REMEMBERED_AT_MOST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Default for SessionPolicy {
    /// Half an hour unused, half a day in all: a working day needs one or two logins, and a
    /// cookie stolen overnight is worth nothing (OWASP ASVS 7.3.1, 7.3.2).
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(30 * 60),
            lifetime: Duration::from_secs(12 * 60 * 60),
            remember: None,
        }
    }
}

impl SessionPolicy {
    /// Checks that `session` has not ended by time.
    ///
    /// # Errors
    /// Which of the two limits has passed.
    pub fn check(&self, session: &Session, now: Timestamp) -> Result<(), InvalidIdentity> {
        // One that was begun before remembering was switched off is like any other now.
        let (idle, lifetime) = match (session.kind, self.remember) {
            (SessionKind::Remembered, Some(remember)) => (remember, REMEMBERED_AT_MOST),
            (SessionKind::Visit, _) | (_, None) => (self.idle, self.lifetime),
        };
        if now.since(session.created) >= lifetime {
            return Err(InvalidIdentity::LifetimeOver);
        }
        if now.since(session.last_seen()) >= idle {
            return Err(InvalidIdentity::IdleTooLong);
        }
        Ok(())
    }

    /// How long a browser is to keep the cookie of `session`, which is used `now`; `None` where it
    /// is to end with the browser.
    #[must_use]
    pub fn cookie_age(&self, session: &Session, now: Timestamp) -> Option<Duration> {
        let left = REMEMBERED_AT_MOST.saturating_sub(now.since(session.created));
        match session.kind {
            SessionKind::Remembered => self.remember.map(|remember| remember.min(left)),
            SessionKind::Visit => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;

    #[test]
    fn a_session_ends_when_idle_or_old_and_not_before() {
        let policy = SessionPolicy {
            idle: Duration::from_secs(600),
            lifetime: Duration::from_secs(3600),
            remember: Some(Duration::from_secs(86_400)),
        };
        let user = UserName::parse("ralph").unwrap();
        let session = Session::begin(user, 7, Timestamp(0));
        assert_eq!(policy.check(&session, Timestamp(10 * MINUTE - 1)), Ok(()));
        assert_eq!(
            policy.check(&session, Timestamp(10 * MINUTE)),
            Err(InvalidIdentity::IdleTooLong)
        );
        for minute in 1..60 {
            session.touch(Timestamp(minute * MINUTE));
        }
        assert_eq!(policy.check(&session, Timestamp(60 * MINUTE - 1)), Ok(()));
        assert_eq!(
            policy.check(&session, Timestamp(60 * MINUTE)),
            Err(InvalidIdentity::LifetimeOver)
        );
    }

    #[test]
    fn a_remembered_session_ends_when_unused_for_its_own_time_and_after_a_year() {
        const DAY: u64 = 24 * 60 * MINUTE;
        let days = |days: u64| Duration::from_millis(days * DAY);
        let policy = SessionPolicy {
            remember: Some(days(30)),
            ..SessionPolicy::default()
        };
        let begin = || {
            let user = UserName::parse("ralph").unwrap();
            Session::begin(user, 7, Timestamp(0)).of_kind(SessionKind::Remembered)
        };
        let session = begin();
        let (idle, old) = (
            Err(InvalidIdentity::IdleTooLong),
            Err(InvalidIdentity::LifetimeOver),
        );
        assert_eq!(policy.check(&session, Timestamp(30 * DAY - 1)), Ok(()));
        assert_eq!(policy.check(&session, Timestamp(30 * DAY)), idle);
        assert_eq!(policy.cookie_age(&session, Timestamp(0)), Some(days(30)));
        for day in 1..365 {
            session.touch(Timestamp(day * DAY));
        }
        assert_eq!(policy.check(&session, Timestamp(365 * DAY - 1)), Ok(()));
        assert_eq!(policy.check(&session, Timestamp(365 * DAY)), old);
        let last = policy.cookie_age(&session, Timestamp(364 * DAY));
        assert_eq!(last, Some(days(1)));
        // Without remembering, it is one like any other.
        let off = SessionPolicy::default();
        assert_eq!(off.check(&begin(), Timestamp(30 * MINUTE)), idle);
        assert_eq!(off.cookie_age(&begin(), Timestamp(0)), None);
    }

    #[test]
    fn a_cookie_is_given_again_once_it_is_old_and_by_one_of_several() {
        let user = UserName::parse("ralph").unwrap();
        let session = Session::begin(user, 7, Timestamp(0)).of_kind(SessionKind::Remembered);
        let age = Duration::from_secs(60);
        assert!(!session.is_cookie_older(age, Timestamp(MINUTE - 1)));
        assert!(!session.give_cookie(age, Timestamp(MINUTE - 1)));
        assert!(session.is_cookie_older(age, Timestamp(MINUTE)));
        assert!(session.give_cookie(age, Timestamp(MINUTE)));
        assert!(!session.give_cookie(age, Timestamp(MINUTE)));
        assert!(!session.give_cookie(age, Timestamp(2 * MINUTE - 1)));
        assert!(session.give_cookie(age, Timestamp(2 * MINUTE)));
        // Nor does a clock set back give it.
        assert!(!session.give_cookie(age, Timestamp(0)));
    }

    #[test]
    fn a_short_digest_is_eight_lower_case_hex_digits() {
        let short = SessionDigest([0xa7; 32]).short();
        assert_eq!(ShortDigest::parse("a7a7a7a7"), Some(short));
        assert_eq!(short.last().0[..5], [0xa7, 0xa7, 0xa7, 0xa7, 0xff]);
        for bad in [
            "",
            "a7a7a7a",
            "a7a7a7a7a",
            "A7A7A7A7",
            "g7a7a7a7",
            "-7a7a7a7",
        ] {
            assert_eq!(ShortDigest::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_clock_set_back_does_not_end_a_session() {
        let user = UserName::parse("ralph").unwrap();
        let session = Session::begin(user, 0, Timestamp(50 * MINUTE));
        assert_eq!(
            SessionPolicy::default().check(&session, Timestamp(0)),
            Ok(())
        );
    }
}
