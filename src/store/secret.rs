//! Random secrets: session ids, and the keyed tokens of our own forms.
//!
//! A session id is 256 random bits in the cookie; the store and the log only know its SHA-256, so
//! that nobody who reads those can take a session over.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use crate::gate::session::SessionDigest;

/// The system gave no random bytes. Nothing that needs a secret may go on.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random bytes: {0}")]
pub struct NoRandomness(#[from] getrandom::Error);

/// `N` random bytes from the system.
///
/// # Errors
/// [`NoRandomness`] where the system has none.
pub fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// A session id as it stands in the cookie: 43 characters of unpadded base64url.
#[derive(Clone)]
pub struct SessionId(String);

impl SessionId {
    /// Its length in the cookie.
    const LENGTH: usize = 43;

    /// A new one.
    ///
    /// # Errors
    /// [`NoRandomness`] where the system has none.
    pub fn generate() -> Result<Self, NoRandomness> {
        Ok(Self(URL_SAFE_NO_PAD.encode(random::<32>()?)))
    }

    /// Takes a cookie value. Only what a login could have issued is an id.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        Self::is_id(value).then(|| Self(String::from_utf8_lossy(value).into_owned()))
    }

    /// What the store knows the id in this cookie value by. Only what a login could have issued is
    /// an id.
    #[must_use]
    pub fn digest_of(value: &[u8]) -> Option<SessionDigest> {
        Self::is_id(value).then(|| SessionDigest(Sha256::digest(value).into()))
    }

    fn is_id(value: &[u8]) -> bool {
        // One more than the 32 that it holds: the decoder wants room for a whole last group.
        let mut decoded = [0; 33];
        value.len() == Self::LENGTH && URL_SAFE_NO_PAD.decode_slice(value, &mut decoded).is_ok()
    }

    /// The cookie value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the store knows it by.
    #[must_use]
    pub fn digest(&self) -> SessionDigest {
        SessionDigest(Sha256::digest(self.0.as_bytes()).into())
    }
}

/// The key of the tokens in our own forms, random at every start.
pub struct FormKey([u8; 32]);

impl FormKey {
    /// A new key.
    ///
    /// # Errors
    /// [`NoRandomness`] where the system has none.
    pub fn generate() -> Result<Self, NoRandomness> {
        random().map(Self)
    }

    /// A token that proves that we made a form: for this `purpose`, for the browser or session
    /// that `subject` names, good until `expires` (seconds since 1970). Nothing is stored.
    #[must_use]
    pub fn token(&self, purpose: &str, subject: &[u8], expires: u64) -> String {
        let mac = self.mac(purpose, subject, expires).finalize().into_bytes();
        format!("{expires:x}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    /// Whether `token` is one that [`FormKey::token`] made for the same purpose and subject, and
    /// has not expired at `now` (seconds since 1970).
    #[must_use]
    pub fn accepts(&self, token: &str, purpose: &str, subject: &[u8], now: u64) -> bool {
        let Some((expires, mac)) = token.split_once('.') else {
            return false;
        };
        let (Ok(expires), Ok(mac)) = (
            u64::from_str_radix(expires, 16),
            URL_SAFE_NO_PAD.decode(mac),
        ) else {
            return false;
        };
        let genuine = self.mac(purpose, subject, expires).verify_slice(&mac);
        genuine.is_ok() && now < expires
    }

    fn mac(&self, purpose: &str, subject: &[u8], expires: u64) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0)
            .expect("HMAC takes keys of any length (RFC 2104 section 2)");
        // The lengths keep purpose and subject apart: no pair of them reads as another.
        mac.update(&(purpose.len() as u64).to_be_bytes());
        mac.update(purpose.as_bytes());
        mac.update(&expires.to_be_bytes());
        mac.update(subject);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_login_issues_is_a_session_id() {
        let id = SessionId::generate().unwrap();
        let parsed = SessionId::parse(id.as_str().as_bytes()).unwrap();
        assert_eq!(parsed.digest(), id.digest());
        assert_eq!(
            SessionId::digest_of(id.as_str().as_bytes()),
            Some(id.digest())
        );
        for bad in [
            "",
            "short",
            "*".repeat(43).as_str(),
            "A".repeat(44).as_str(),
        ] {
            assert!(SessionId::parse(bad.as_bytes()).is_none(), "{bad}");
            assert!(SessionId::digest_of(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_form_token_is_good_for_its_purpose_subject_and_time_only() {
        let key = FormKey::generate().unwrap();
        let token = key.token("login", b"browser", 1000);
        assert!(key.accepts(&token, "login", b"browser", 999));
        assert!(!key.accepts(&token, "login", b"browser", 1000));
        assert!(!key.accepts(&token, "logout", b"browser", 999));
        assert!(!key.accepts(&token, "login", b"other", 999));
        let other = FormKey::generate().unwrap();
        assert!(!other.accepts(&token, "login", b"browser", 999));
        for bad in ["", ".", "3e8.", "zz.AAAA", &token.replace("3e8.", "ffff.")] {
            assert!(!key.accepts(bad, "login", b"browser", 999), "{bad}");
        }
    }
}
