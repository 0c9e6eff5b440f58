//! The `Authorization` field where a route takes it: read in one way or not at all.
//!
//! Elsewhere the field is the backend's and nobody looks at it here. Whether a password is right is
//! found out in `basic`; what a token is good for, the gate says.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::gate::route::{CredentialKind, CredentialSet};
use crate::http1::fields::Fields;
use crate::identity::token::TokenDigest;
use crate::identity::{InvalidIdentity, NoIdentity};
use crate::password::token;

/// The field.
const NAME: &str = "authorization";

/// What a request brings. No `Debug`: it holds the password.
pub(super) enum Authorization {
    Basic(BasicCredentials),
    Token(TokenDigest),
}

/// A name and password as they were typed. No `Debug`.
pub(super) struct BasicCredentials {
    pub(super) user: String,
    pub(super) password: Zeroizing<Vec<u8>>,
}

const MALFORMED: NoIdentity = NoIdentity::Invalid(InvalidIdentity::MalformedAuthorization);

/// Reads what is `taken` of the field. Where two programs could read it differently, it is nobody's:
/// the backend gets the field too where it is not ours.
pub(super) fn read(fields: &Fields, taken: CredentialSet) -> Result<Authorization, NoIdentity> {
    let mut values = fields.get_all(NAME);
    let value = values.next().ok_or(NoIdentity::NotPresented)?;
    let (scheme, rest) = split(value);
    if values.next().is_some() || scheme.is_empty() {
        return Err(MALFORMED);
    }
    match kind_of(scheme).filter(|kind| taken.contains(*kind)) {
        Some(CredentialKind::Basic) => basic(credentials(rest)?).map(Authorization::Basic),
        Some(_) => bearer(credentials(rest)?).map(Authorization::Token),
        None => Err(NoIdentity::NotPresented),
    }
}

/// What kind of credential the field holds, were it looked at: a password, or a token of ours.
pub(super) fn presented(fields: &Fields) -> Option<CredentialKind> {
    let all = CredentialSet::of(&[CredentialKind::Basic, CredentialKind::Token]);
    match read(fields, all).ok()? {
        Authorization::Basic(_) => Some(CredentialKind::Basic),
        Authorization::Token(_) => Some(CredentialKind::Token),
    }
}

/// Whether a value of the field is for us, from whom backends do not get these, whatever it is worth. A
/// token of ours is on any route: it is good on others, and nobody else's. Some take several in one
/// field, though there may be one only.
pub(super) fn is_ours(value: &[u8], withheld: CredentialSet) -> bool {
    let mut parts = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    parts.any(|part| {
        let (scheme, rest) = split(part);
        match kind_of(scheme) {
            Some(CredentialKind::Token) if token::digest_of(rest.trim_ascii()).is_some() => true,
            Some(kind) => withheld.contains(kind),
            None => false,
        }
    })
}

/// The scheme, which is a token and so ends at the first byte that cannot stand in one, and the rest.
fn split(value: &[u8]) -> (&[u8], &[u8]) {
    let in_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let end = value.iter().position(|byte| !in_scheme(byte));
    value.split_at(end.unwrap_or(value.len()))
}

fn kind_of(scheme: &[u8]) -> Option<CredentialKind> {
    if scheme.eq_ignore_ascii_case(b"basic") {
        Some(CredentialKind::Basic)
    } else if scheme.eq_ignore_ascii_case(b"bearer") {
        Some(CredentialKind::Token)
    } else {
        None
    }
}

/// What follows the scheme: spaces, and then one word of `token68` (RFC 9110 section 11.2).
fn credentials(rest: &[u8]) -> Result<&[u8], NoIdentity> {
    let word = rest.trim_ascii_start();
    let spaces = &rest[..rest.len() - word.len()];
    let is_space = !spaces.is_empty() && spaces.iter().all(|byte| *byte == b' ');
    let in_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    match is_space && !word.is_empty() && word.iter().all(in_word) {
        true => Ok(word),
        false => Err(MALFORMED),
    }
}

/// RFC 7617. Neither name nor password may have control characters in it: what stands behind a NUL is
/// not there for some, and a line break is two lines for others. In UTF-8, as we ask for it.
fn basic(word: &[u8]) -> Result<BasicCredentials, NoIdentity> {
    let decoded = STANDARD.decode(word).map_err(|_| MALFORMED)?;
    let decoded = Zeroizing::new(decoded);
    let text = str::from_utf8(&decoded).map_err(|_| MALFORMED)?;
    let (user, password) = text.split_once(':').ok_or(MALFORMED)?;
    if text.chars().any(char::is_control) {
        return Err(MALFORMED);
    }
    Ok(BasicCredentials {
        user: user.to_owned(),
        password: Zeroizing::new(password.as_bytes().to_vec()),
    })
}

/// RFC 6750. What is no token of ours is as unknown as one that was taken back.
fn bearer(word: &[u8]) -> Result<TokenDigest, NoIdentity> {
    let unknown = NoIdentity::Invalid(InvalidIdentity::UnknownToken);
    token::digest_of(word).ok_or(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::password::token::NewToken;

    const BASIC: CredentialSet = CredentialSet::of(&[CredentialKind::Basic]);
    const TOKEN: CredentialSet = CredentialSet::of(&[CredentialKind::Token]);

    /// What is made of these fields, in a word.
    fn said(values: &[&[u8]], taken: CredentialSet) -> String {
        let fields = values.iter().map(|value| ("Authorization", *value));
        let fields = Fields::from_pairs(fields).unwrap();
        match read(&fields, taken) {
            Ok(Authorization::Basic(BasicCredentials { user, password })) => {
                let password = String::from_utf8(password.to_vec()).unwrap();
                format!("{user} / {password}")
            }
            Ok(Authorization::Token(_)) => "token".into(),
            Err(why) => why.as_str().into(),
        }
    }

    #[track_caller]
    fn check(value: &str, taken: CredentialSet, expected: &str) {
        assert_eq!(said(&[value.as_bytes()], taken), expected, "{value}");
    }

    #[track_caller]
    fn check_pair(pair: &[u8], expected: &str) {
        check(&format!("Basic {}", STANDARD.encode(pair)), BASIC, expected);
    }

    #[test]
    fn a_name_and_password_are_read_in_any_case_of_the_scheme() {
        for scheme in ["Basic", "basic", "BASIC", "bAsIc", "Basic  "] {
            check(&format!("{scheme} cmFscGg6eA=="), BASIC, "ralph / x");
        }
        // RFC 7617 section 2.1.
        check("Basic dGVzdDoxMjPCow==", BASIC, "test / 123£");
        check_pair(b"ralph:", "ralph / ");
        check_pair(b":x", " / x");
        check_pair(b"ralph:a:b: c ", "ralph / a:b: c ");
    }

    #[test]
    fn what_can_be_read_in_two_ways_or_none_is_malformed() {
        for value in [
            "Basic",
            "Basic cmFscGg6eA== ",
            "Basic\tcmFscGg6eA==",
            "Basic \tcmFscGg6eA==",
            "Basic=cmFscGg6eA==",
            "Basic,cmFscGg6eA==",
            "Basic cmFscGg6eA==, Basic cmFscGg6eA==",
            "Basic cmFscGg6eA== x",
            "Basic cmFsc Gg6eA==",
            "Basic cmFscGg6eA=",
            "Basic cmFscGg6eA",
            "Basic cmFscGg6eB==",
            "Basic cmFs_Gg-eA==",
            "Basic \"cmFscGg6eA==\"",
            "Basic ====",
            "Basic ralph:x",
            "",
            "\"Basic\" cmFscGg6eA==",
            ", Basic cmFscGg6eA==",
            ":",
        ] {
            // Fields have no space at their ends.
            let expected = match value.trim_end() == value {
                true => "malformed_authorization",
                false => "ralph / x",
            };
            check(value, BASIC, expected);
        }
        for pair in [
            &b"ralph"[..],
            b"",
            b"ralph:x\0",
            b"ral\0ph:x",
            b"ralph:x\r\n",
            b"ral\nph:x",
            b"ralph:\x7f",
            b"\x1bralph:x",
            "ralph:\u{85}".as_bytes(),
            b"r\xe4lph:x",
            b"ralph:\xff\xfe",
            b"ralph:\xc3",
        ] {
            check_pair(pair, "malformed_authorization");
        }
        let long = "x".repeat(10_000);
        check_pair(
            format!("ralph:{long}").as_bytes(),
            &format!("ralph / {long}"),
        );
    }

    #[test]
    fn two_fields_are_one_too_many_whatever_they_are() {
        let both = CredentialSet::of(&[CredentialKind::Basic, CredentialKind::Token]);
        for values in [
            [&b"Basic cmFscGg6eA=="[..], b"Basic cmFscGg6eA=="],
            [b"Basic cmFscGg6eA==", b"Bearer x"],
            [b"Digest x", b"Basic cmFscGg6eA=="],
            [b"Digest x", b""],
        ] {
            for taken in [BASIC, TOKEN, both] {
                assert_eq!(said(&values, taken), "malformed_authorization");
            }
        }
        assert_eq!(said(&[], both), "not_presented");
    }

    #[test]
    fn a_token_is_one_that_we_could_have_made() {
        let token = NewToken::generate().unwrap();
        let token = token.as_str();
        for scheme in ["Bearer", "bearer", "BEARER"] {
            check(&format!("{scheme} {token}"), TOKEN, "token");
        }
        check("Bearer x.y.z", TOKEN, "token_unknown");
        check(&format!("Bearer {token}x"), TOKEN, "token_unknown");
        for malformed in [
            "Bearer",
            "Bearer a b",
            "Bearer a,b",
            "Bearer \"x\"",
            "Bearer\tx",
        ] {
            check(malformed, TOKEN, "malformed_authorization");
        }
    }

    #[test]
    fn only_what_is_taken_is_ours_and_the_rest_is_nobodys_to_read() {
        for (value, ours_where_basic, ours_where_token) in [
            ("Basic cmFscGg6eA==", true, false),
            ("bASIC", true, false),
            ("Basic\tcmFscGg6eA==", true, false),
            ("Bearer x", false, true),
            ("BEARER,x", false, true),
            ("Basically x", false, false),
            ("Digest Basic", false, false),
            ("", false, false),
        ] {
            let value = value.as_bytes();
            assert_eq!(is_ours(value, BASIC), ours_where_basic, "{value:?}");
            assert_eq!(is_ours(value, TOKEN), ours_where_token, "{value:?}");
            assert!(!is_ours(value, CredentialSet::NONE), "{value:?}");
        }
        check("Bearer x y z", BASIC, "not_presented");
        check("Basic ???", TOKEN, "not_presented");
        check("Digest username=\"x\"", BASIC, "not_presented");
    }
}
