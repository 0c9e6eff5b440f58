//! Words that the whole program shares for "who is asking": the user's name, and why there is none.
//!
//! How an identity is proved (sessions, certificates) is decided elsewhere; this file only names the
//! results, so that the gate, the headers, the log and the metrics say the same thing.

pub mod address;
pub mod certificate;
pub mod dn;
pub mod host;
pub mod token;

use std::fmt;
use std::sync::Arc;

use certificate::InvalidCertificate;

/// The name a user logs in with, unique among the configured users.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserName(Arc<str>);

impl UserName {
    /// The longest name of a user, in bytes: it is repeated in headers and log lines.
    pub const MAX_BYTES: usize = 64;

    /// The longest name that a certificate gives, in bytes.
    pub const MAX_BYTES_OF_CERTIFICATE: usize = 256;

    /// Takes a name of 1 to 64 bytes from `A-Z a-z 0-9 . _ @ + -`.
    ///
    /// # Errors
    /// [`InvalidUserName`] for anything else: such names could not be written into a header or a
    /// log line without being changed.
    pub fn parse(name: &str) -> Result<Self, InvalidUserName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte);
        if name.is_empty() || name.len() > Self::MAX_BYTES || !name.bytes().all(allowed) {
            return Err(InvalidUserName);
        }
        Ok(Self(name.into()))
    }

    /// Takes a name that a rule made from a certificate: 1 to 256 bytes, no control characters, no
    /// space at either end. Everything else stands in certificates: URIs, names in all scripts.
    ///
    /// # Errors
    /// [`InvalidCertificateName`] for anything else.
    pub fn of_certificate(name: &str) -> Result<Self, InvalidCertificateName> {
        let fits = (1..=Self::MAX_BYTES_OF_CERTIFICATE).contains(&name.len());
        if !fits || name.trim() != name || name.chars().any(char::is_control) {
            return Err(InvalidCertificateName);
        }
        Ok(Self(name.into()))
    }

    /// The name as configured.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A user name with a character outside the accepted set, empty, or too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a user name has 1 to 64 characters from A-Z a-z 0-9 . _ @ + -")]
pub struct InvalidUserName;

/// A name from a certificate that is empty, too long, or has a control character in it or a space
/// at an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a name from a certificate has 1 to 256 bytes, no control characters and no spaces at its ends"
)]
pub struct InvalidCertificateName;

/// Why a request has no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoIdentity {
    /// The listener does not ask: sessions are not accepted over plain HTTP, certificates are not
    /// wanted.
    NotRequested,
    /// Nothing was presented.
    NotPresented,
    /// Something was presented, and it does not prove an identity.
    Invalid(InvalidIdentity),
}

/// What was wrong with the proof of identity that a request carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidIdentity {
    /// The cookie is not of the form that a login issues, or there are two of them.
    MalformedCookie,
    /// No such session: forged, ended by a logout, or from before a restart.
    UnknownSession,
    /// The session was not used for longer than the idle limit.
    IdleTooLong,
    /// The session is older than the absolute limit.
    LifetimeOver,
    /// The user was removed or disabled since the login.
    UserGone,
    /// The user's password was changed since the login.
    PasswordChanged,
    /// The session store did not answer. Protected routes refuse.
    StoreUnavailable,
    /// The client's certificate is not good enough.
    Certificate(InvalidCertificate),
    /// The `Authorization` field can be read in two ways or in none, or there are two of them.
    MalformedAuthorization,
    /// The password is not the user's, or there is no such user.
    WrongPassword,
    /// Nobody looked at the password: there were too many wrong ones, and the next try has to wait
    /// for so many seconds.
    LockedOut(u32),
    /// Nobody looked at the password: too many others are waiting for that.
    TooManyLogins,
    /// The password could not be checked, or not put on record that it was.
    LoginUnavailable,
    /// A browser sent the password of its own accord, with a request that another site made.
    CrossSite,
    /// No such token: forged, or taken back.
    UnknownToken,
    /// The token was good until a time that has passed.
    TokenExpired,
    /// The token's user is disabled.
    TokenUserGone,
}

impl InvalidIdentity {
    /// Whether it says nothing about what was presented: whoever it is might be allowed to.
    #[must_use]
    pub const fn is_undecided(self) -> bool {
        matches!(
            self,
            Self::StoreUnavailable
                | Self::LockedOut(_)
                | Self::TooManyLogins
                | Self::LoginUnavailable
        )
    }
}

impl NoIdentity {
    /// A stable word for logs (`auth.reason`) and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotRequested => "not_requested",
            Self::NotPresented => "not_presented",
            Self::Invalid(why) => match why {
                InvalidIdentity::MalformedCookie => "malformed_cookie",
                InvalidIdentity::UnknownSession => "unknown_session",
                InvalidIdentity::IdleTooLong => "session_idle_too_long",
                InvalidIdentity::LifetimeOver => "session_lifetime_over",
                InvalidIdentity::UserGone => "user_gone",
                InvalidIdentity::PasswordChanged => "password_changed",
                InvalidIdentity::StoreUnavailable => "session_store_unavailable",
                InvalidIdentity::Certificate(why) => why.as_str(),
                InvalidIdentity::MalformedAuthorization => "malformed_authorization",
                InvalidIdentity::WrongPassword => "bad_credentials",
                InvalidIdentity::LockedOut(_) => "locked",
                InvalidIdentity::TooManyLogins => "throttled",
                InvalidIdentity::LoginUnavailable => "login_unavailable",
                InvalidIdentity::CrossSite => "cross_site",
                InvalidIdentity::UnknownToken => "token_unknown",
                InvalidIdentity::TokenExpired => "token_expired",
                InvalidIdentity::TokenUserGone => "token_user_gone",
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fit_a_header_are_accepted_and_others_are_not() {
        for good in ["ralph", "a", "ops@plant-3.example", "x".repeat(64).as_str()] {
            assert!(UserName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a\r\nx: y", "ä", "a,b", "x".repeat(65).as_str()] {
            assert_eq!(UserName::parse(bad), Err(InvalidUserName), "{bad:?}");
        }
    }

    #[test]
    fn each_kind_of_name_says_what_is_right_for_it() {
        let user = UserName::parse("").unwrap_err().to_string();
        let most = UserName::MAX_BYTES;
        assert!(user.contains(&format!("1 to {most} ")), "{user}");
        for bad in ["", " ada", "ada ", "a\r\nx: y", "x".repeat(257).as_str()] {
            let why = UserName::of_certificate(bad).unwrap_err().to_string();
            let most = UserName::MAX_BYTES_OF_CERTIFICATE;
            assert!(why.contains(&format!("1 to {most} ")), "{why}");
        }
        for good in ["Ada Lučić", "spiffe://plant/1", "x".repeat(256).as_str()] {
            assert!(UserName::of_certificate(good).is_ok(), "{good}");
        }
    }
}
