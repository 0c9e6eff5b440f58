//! Our cookies: found in a request, taken out of what the backend gets, kept from being set by it.
//!
//! The `__Host-` prefix makes browsers insist on Secure, Path=/ and no Domain, so that no sibling
//! host and nothing without TLS can plant one (RFC 6265bis section 4.1.3.2).

use std::time::Duration;

use memchr::{memchr, memchr2};

use crate::gate::session::SessionDigest;
use crate::http1::fields::Fields;
use crate::identity::{InvalidIdentity, NoIdentity};
use crate::store::secret::SessionId;

/// Carries the session id.
pub const SESSION: &str = "__Host-portcullis";

/// Ties a login form to the browser that asked for it. Holds no secret and stores nothing.
pub const LOGIN: &str = "__Host-portcullis-login";

/// The session that a request presents, as the store knows it.
///
/// # Errors
/// Why there is none. Two session cookies are as bad as a broken one: which of them counts would
/// depend on who reads them.
pub fn session(fields: &Fields) -> Result<SessionDigest, NoIdentity> {
    let malformed = NoIdentity::Invalid(InvalidIdentity::MalformedCookie);
    match only_value(fields, SESSION) {
        Ok(None) => Err(NoIdentity::NotPresented),
        Ok(Some(value)) => SessionId::digest_of(value).ok_or(malformed),
        Err(Doubled) => Err(malformed),
    }
}

/// The id in the session cookie, where there is exactly one of the form we issue.
#[must_use]
pub fn session_id(fields: &Fields) -> Option<SessionId> {
    let value = only_value(fields, SESSION).ok().flatten();
    SessionId::parse(value?)
}

/// The value of the login cookie, where there is exactly one of the form we issue.
#[must_use]
pub fn login_nonce(fields: &Fields) -> Option<SessionId> {
    let value = only_value(fields, LOGIN).ok().flatten();
    SessionId::parse(value?)
}

/// The value of the cookie of that name.
///
/// # Errors
/// When there are two. Which of them counts would depend on who reads them.
fn only_value<'f>(fields: &'f Fields, name: &str) -> Result<Option<&'f [u8]>, Doubled> {
    let mut found = None;
    for field in fields.get_all("cookie") {
        for pair in pairs(field).filter(|pair| name_of(pair) == name.as_bytes()) {
            // A pair without `=` has a name and no value.
            let value = pair
                .get(name.len()..)
                .unwrap_or_default()
                .trim_ascii_start();
            let value = value.strip_prefix(b"=").unwrap_or_default();
            if found.replace(value).is_some() {
                return Err(Doubled);
            }
        }
    }
    Ok(found)
}

/// The value of a cookie of a backend; of the first one, where there are several.
pub(super) fn first_value<'f>(fields: &'f Fields, name: &str) -> Option<&'f [u8]> {
    let all = fields.get_all("cookie").flat_map(pairs);
    let mut named = all.filter(|pair| name_of(pair) == name.as_bytes());
    let value = named.next()?.get(name.len()..)?.trim_ascii_start();
    value.strip_prefix(b"=")
}

/// A cookie that came twice.
struct Doubled;

/// All cookies of a request but ours, as one field value; `None` when nothing is left. HTTP/2
/// clients split the field, HTTP/1 backends want one (RFC 9113 section 8.2.3).
#[must_use]
pub fn without_ours(fields: &Fields) -> Option<Vec<u8>> {
    let mut kept: Vec<u8> = Vec::new();
    for field in fields.get_all("cookie") {
        for pair in pairs(field).filter(|pair| !is_ours(name_of(pair))) {
            if !kept.is_empty() {
                kept.extend_from_slice(b"; ");
            }
            kept.extend_from_slice(pair);
        }
    }
    (!kept.is_empty()).then_some(kept)
}

/// Whether a backend's `Set-Cookie` would set one of ours: that would be a session fixed by
/// whoever controls a page of the backend. A cookie without a name counts by its value, which old
/// browsers send back as if it were a whole pair.
#[must_use]
pub fn sets_ours(set_cookie: &[u8]) -> bool {
    let nameless = |byte: &u8| *byte == b'=' || byte.is_ascii_whitespace();
    let start = set_cookie.iter().position(|byte| !nameless(byte));
    is_ours(name_of(&set_cookie[start.unwrap_or(set_cookie.len())..]))
}

fn pairs(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(value);
    let pieces = std::iter::from_fn(move || {
        let value = rest?;
        let Some(end) = memchr(b';', value) else {
            return rest.take();
        };
        rest = Some(&value[end + 1..]);
        Some(&value[..end])
    });
    pieces
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty())
}

fn name_of(pair: &[u8]) -> &[u8] {
    let end = memchr2(b'=', b';', pair).unwrap_or(pair.len());
    pair[..end].trim_ascii()
}

/// Some frameworks ignore the case of cookie names, so ours is taken in any.
fn is_ours(name: &[u8]) -> bool {
    [SESSION, LOGIN]
        .iter()
        .any(|ours| name.eq_ignore_ascii_case(ours.as_bytes()))
}

/// Which requests that begin on another site's page carry the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SameSite {
    /// Those by which somebody follows a link to a page here.
    #[default]
    Lax,
    /// None: who follows a link from elsewhere is asked to log in.
    Strict,
}

/// How a browser is to keep a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// What other sites can make of it.
    pub same_site: SameSite,
    /// For how long; without, until it is closed.
    pub age: Option<Duration>,
}

/// The `Set-Cookie` value that gives a browser a session.
#[must_use]
pub fn set_session(id: &SessionId, keep: Keep) -> String {
    let same_site = match keep.same_site {
        SameSite::Lax => "Lax",
        SameSite::Strict => "Strict",
    };
    let age = keep.age.map(|age| format!("; Max-Age={}", age.as_secs()));
    format!(
        "{SESSION}={}; Path=/; Secure; HttpOnly; SameSite={same_site}{}",
        id.as_str(),
        age.unwrap_or_default()
    )
}

/// The `Set-Cookie` value that gives a browser a login nonce. It proves nothing alone, and with
/// `Strict` whoever comes by a link would have a new one, and no other form could be sent any more.
#[must_use]
pub fn set_login_nonce(id: &SessionId) -> String {
    format!(
        "{LOGIN}={}; Path=/; Secure; HttpOnly; SameSite=Lax",
        id.as_str()
    )
}

/// The `Set-Cookie` value that takes it away.
#[must_use]
pub fn clear(name: &str) -> String {
    format!("{name}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn cookies(values: &[&str]) -> Fields {
        Fields::from_pairs(values.iter().map(|value| ("Cookie", value.as_bytes()))).unwrap()
    }

    #[track_caller]
    fn check_id(values: &[&str], expected: Result<&str, NoIdentity>) {
        let expected = expected.map(|id| SessionId::digest_of(id.as_bytes()).unwrap());
        assert_eq!(session(&cookies(values)), expected, "{values:?}");
    }

    #[test]
    fn one_well_formed_session_cookie_is_presented_and_anything_else_is_not() {
        let malformed = Err(NoIdentity::Invalid(InvalidIdentity::MalformedCookie));
        let ours = format!("{SESSION}={ID}");
        check_id(&[&ours], Ok(ID));
        check_id(&[&format!("a=1; {ours}; b=2")], Ok(ID));
        check_id(&["a=1", &ours], Ok(ID));
        check_id(&[], Err(NoIdentity::NotPresented));
        check_id(&["a=1"], Err(NoIdentity::NotPresented));
        check_id(&[&format!("x{ours}")], Err(NoIdentity::NotPresented));
        check_id(&[&format!("{SESSION}=forged")], malformed);
        check_id(&[SESSION], malformed);
        check_id(&[&format!("{ours}; {ours}")], malformed);
        check_id(&[&ours, &ours], malformed);
    }

    #[test]
    fn the_backend_gets_every_cookie_but_ours() {
        let without = |values: &[&str]| {
            without_ours(&cookies(values)).map(|value| String::from_utf8(value).unwrap())
        };
        let ours = format!("{SESSION}={ID}");
        assert_eq!(without(&[&ours]), None);
        assert_eq!(without(&["a=1; b=2"]), Some("a=1; b=2".into()));
        assert_eq!(without(&["a=1", &ours, "b=2"]), Some("a=1; b=2".into()));
        let mixed = format!(
            "a=1;{}; __HOST-PORTCULLIS-LOGIN=x;b=\"q\"",
            ours.to_uppercase()
        );
        assert_eq!(without(&[&mixed]), Some("a=1; b=\"q\"".into()));
    }

    #[test]
    fn a_backend_cannot_set_ours() {
        assert!(sets_ours(format!("{SESSION}=x; Path=/").as_bytes()));
        assert!(sets_ours(
            format!(" {} =x", LOGIN.to_lowercase()).as_bytes()
        ));
        assert!(sets_ours(format!("={SESSION}=x").as_bytes()));
        assert!(sets_ours(format!(" = {SESSION}=x").as_bytes()));
        assert!(!sets_ours(b"session=x; Path=/"));
        assert!(!sets_ours(b"="));
    }
}
