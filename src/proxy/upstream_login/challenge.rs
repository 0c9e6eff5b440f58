//! What a backend asks for: `WWW-Authenticate` (RFC 9110 section 11.6.1) and `Authentication-Info`,
//! read strictly and within bounds.
//!
//! How a challenge is answered is `digest`'s business.

use super::digest::{Algorithm, Hash};

/// The most bytes of one field. The head they stand in has a bound too.
const MAX_FIELD: usize = 8 << 10;

/// The most challenges, and parameters of each.
const MAX_PARTS: usize = 32;

/// A Digest challenge that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    /// How it is to be answered.
    pub(super) algorithm: Algorithm,
    /// Whether the backend has named the algorithm.
    pub(super) names_algorithm: bool,
    /// Where the password is good.
    pub(super) realm: Vec<u8>,
    /// What makes an answer good for this challenge only.
    pub(super) nonce: Vec<u8>,
    /// What is to be sent back as it is.
    pub(super) opaque: Option<Vec<u8>>,
    /// How the answer is protected.
    pub(super) quality: Quality,
    /// Whether the answer before was right, and only its nonce too old.
    pub(super) is_stale: bool,
    /// Whether the name of the user is to be sent hashed.
    pub(super) hashes_user: bool,
    /// Whether the backend has said that it knows UTF-8.
    pub(super) knows_utf8: bool,
}

/// What an answer to a challenge covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quality {
    /// The request line alone, and nothing is counted (RFC 2069).
    Old,
    /// The request line, with a count of the requests (`qop=auth`).
    Auth,
}

/// Why there is no challenge that can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoChallenge {
    /// What there is cannot be read.
    #[error("its WWW-Authenticate cannot be read")]
    Malformed,
    /// It asks for something else.
    #[error("it does not ask for Digest")]
    OtherScheme,
    /// It asks for Digest in a way that is not known here.
    #[error(
        "it asks for Digest in no way that is known here: MD5, SHA-256 or SHA-512-256, with qop auth"
    )]
    Unknown,
}

impl Challenge {
    /// The strongest of all that stand in these fields; of equals, the first.
    pub(super) fn strongest<'f>(
        fields: impl Iterator<Item = &'f [u8]>,
    ) -> Result<Self, NoChallenge> {
        let mut all = Vec::new();
        for field in fields {
            read(field, &mut all).ok_or(NoChallenge::Malformed)?;
        }
        let is_digest = |it: &Written| it.scheme == "digest";
        if !all.iter().any(is_digest) {
            return Err(NoChallenge::OtherScheme);
        }
        let digests = all.iter().filter(|it| is_digest(it));
        let known = digests.filter_map(Self::of);
        let strongest = known.reduce(|best, next| match next.algorithm > best.algorithm {
            true => next,
            false => best,
        });
        strongest.ok_or(NoChallenge::Unknown)
    }

    fn of(written: &Written) -> Option<Self> {
        let text = |name| written.parameter(name);
        let word = |name| text(name).map(<[u8]>::to_ascii_lowercase);
        let is = |name, expected: &[u8]| word(name).is_some_and(|word| word == expected);
        let algorithm = match word("algorithm") {
            None => Algorithm::default(),
            Some(name) => Algorithm::of(&name)?,
        };
        let quality = match word("qop") {
            // Without a count there is nothing to make a key of the session with.
            None if algorithm.of_session => return None,
            None => Quality::Old,
            Some(list) => {
                let mut offered = list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                offered.any(|it| it == b"auth").then_some(Quality::Auth)?
            }
        };
        Some(Self {
            algorithm,
            names_algorithm: text("algorithm").is_some(),
            realm: text("realm")?.to_vec(),
            nonce: text("nonce").filter(|it| !it.is_empty())?.to_vec(),
            opaque: text("opaque").map(<[u8]>::to_vec),
            quality,
            is_stale: is("stale", b"true"),
            hashes_user: is("userhash", b"true"),
            knows_utf8: is("charset", b"utf-8"),
        })
    }
}

impl Default for Algorithm {
    /// What it is where a challenge does not say.
    fn default() -> Self {
        Self {
            hash: Hash::Md5,
            of_session: false,
        }
    }
}

/// The nonce that `Authentication-Info` gives for the next request (RFC 7616 section 3.5).
pub(super) fn next_nonce(field: &[u8]) -> Option<Vec<u8>> {
    let mut rest = Rest::of(field)?;
    let mut written = Written::new("");
    while rest.next_element() {
        written.add(rest.parameter()?)?;
    }
    let nonce = written.parameter("nextnonce")?;
    (!nonce.is_empty()).then(|| nonce.to_vec())
}

/// A challenge of any scheme as it is written.
struct Written {
    scheme: String,
    parameters: Vec<(String, Vec<u8>)>,
    /// Whether it has a token68, in place of parameters.
    has_token: bool,
}

impl Written {
    fn new(scheme: &str) -> Self {
        Self {
            scheme: scheme.to_ascii_lowercase(),
            parameters: Vec::new(),
            has_token: false,
        }
    }

    fn parameter(&self, name: &str) -> Option<&[u8]> {
        let mut named = self.parameters.iter().filter(|(known, _)| known == name);
        named.next().map(|(_, value)| value.as_slice())
    }

    /// `None` where it is there already (which of the two counts?), or too many are.
    fn add(&mut self, (name, value): (String, Vec<u8>)) -> Option<()> {
        let is_new = self.parameter(&name).is_none() && self.parameters.len() < MAX_PARTS;
        (is_new && !self.has_token).then(|| self.parameters.push((name, value)))
    }
}

/// Adds the challenges of one field; `None` where it cannot be read.
///
/// Commas stand between challenges as well as between the parameters of one: what has a `=` behind
/// its first word is a parameter.
fn read(field: &[u8], all: &mut Vec<Written>) -> Option<()> {
    let mut rest = Rest::of(field)?;
    let mut current: Option<Written> = None;
    while rest.next_element() {
        let here = rest.clone();
        if let Some(challenge) = &mut current
            && let Some(parameter) = rest.parameter()
        {
            challenge.add(parameter)?;
            continue;
        }
        rest = here;
        all.extend(current.take());
        if all.len() >= MAX_PARTS {
            return None;
        }
        current = Some(rest.challenge()?);
    }
    all.extend(current);
    Some(())
}

/// What is still to be read of a field.
#[derive(Clone)]
struct Rest<'f>(&'f [u8]);

impl<'f> Rest<'f> {
    fn of(field: &'f [u8]) -> Option<Self> {
        (field.len() <= MAX_FIELD).then_some(Self(field))
    }

    /// Goes to the next element of the list; whether there is one.
    fn next_element(&mut self) -> bool {
        self.skip(|byte| matches!(byte, b',' | b' ' | b'\t'));
        !self.0.is_empty()
    }

    fn skip(&mut self, is_skipped: impl Fn(u8) -> bool) -> &'f [u8] {
        let end = self.0.iter().position(|byte| !is_skipped(*byte));
        let (skipped, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest;
        skipped
    }

    fn spaces(&mut self) -> usize {
        self.skip(|byte| matches!(byte, b' ' | b'\t')).len()
    }

    fn token(&mut self) -> Option<&'f str> {
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let token = std::str::from_utf8(self.skip(is_token)).ok()?;
        (!token.is_empty()).then_some(token)
    }

    fn take(&mut self, expected: u8) -> Option<()> {
        let (first, rest) = self.0.split_first()?;
        (*first == expected).then(|| self.0 = rest)
    }

    /// Whether an element ends here.
    fn ends(&mut self) -> Option<()> {
        self.spaces();
        matches!(self.0.first(), None | Some(b',')).then_some(())
    }

    /// `name = value`, and nothing behind it.
    fn parameter(&mut self) -> Option<(String, Vec<u8>)> {
        let name = self.token()?.to_ascii_lowercase();
        self.spaces();
        self.take(b'=')?;
        self.spaces();
        let value = match self.0.first()? {
            b'"' => self.quoted()?,
            _ => self.token()?.as_bytes().to_vec(),
        };
        self.ends()?;
        Some((name, value))
    }

    fn quoted(&mut self) -> Option<Vec<u8>> {
        self.take(b'"')?;
        let mut value = Vec::new();
        loop {
            let (first, rest) = self.0.split_first()?;
            self.0 = rest;
            match first {
                b'"' => return Some(value),
                b'\\' => {
                    let (escaped, rest) = self.0.split_first()?;
                    self.0 = rest;
                    value.push(*escaped);
                }
                byte => value.push(*byte),
            }
        }
    }

    /// A scheme with its first parameter, with a token68, or alone.
    fn challenge(&mut self) -> Option<Written> {
        let mut written = Written::new(self.token()?);
        let is_apart = self.spaces() > 0;
        if self.ends().is_some() {
            return Some(written);
        }
        let here = self.clone();
        if let Some(parameter) = self.parameter() {
            written.add(parameter)?;
        } else {
            *self = here;
            written.has_token = true;
            self.skip(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte));
            self.skip(|byte| byte == b'=');
            self.ends()?;
        }
        is_apart.then_some(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strongest(fields: &[&str]) -> Result<Challenge, NoChallenge> {
        Challenge::strongest(fields.iter().map(|field| field.as_bytes()))
    }

    #[track_caller]
    fn check(fields: &[&str], expected: Result<&str, NoChallenge>) {
        let found = strongest(fields);
        let nonce = found.map(|it| String::from_utf8(it.nonce).unwrap());
        assert_eq!(nonce.as_deref(), expected.as_ref().copied(), "{fields:?}");
    }

    #[test]
    fn a_challenge_is_read_to_its_last_parameter() {
        let all = "Digest realm=\"a \\\"b\\\\\", qop=\"auth-int , AUTH\",algorithm = SHA-256-sess , \
                   nonce=\"x,y=\", opaque=\"\", stale=TRUE, userhash=true, charset=UTF-8, other=\"z\"";
        let challenge = strongest(&[all]).unwrap();
        let expected = Challenge {
            algorithm: Algorithm {
                hash: Hash::Sha256,
                of_session: true,
            },
            names_algorithm: true,
            realm: b"a \"b\\".to_vec(),
            nonce: b"x,y=".to_vec(),
            opaque: Some(Vec::new()),
            quality: Quality::Auth,
            is_stale: true,
            hashes_user: true,
            knows_utf8: true,
        };
        assert_eq!(challenge, expected);
        let old = strongest(&["digest realm=here,nonce=\"1\""]).unwrap();
        assert_eq!(
            (old.quality, old.algorithm),
            (Quality::Old, Algorithm::default())
        );
        assert!(!old.is_stale && !old.hashes_user && old.opaque.is_none());
    }

    #[test]
    fn the_strongest_is_taken_wherever_it_stands_and_of_equals_the_first() {
        let md5 = "Digest realm=r, nonce=m, qop=auth";
        let sha = "Digest realm=r, nonce=s, qop=auth, algorithm=SHA-256";
        let long = "Digest realm=r, nonce=l, qop=auth, algorithm=SHA-512-256";
        check(&[md5, sha, long], Ok("l"));
        check(&[long, sha, md5], Ok("l"));
        check(&[&format!("{md5}, {sha}")], Ok("s"));
        check(&[&format!("Basic realm=\"r, Digest\", {md5}")], Ok("m"));
        check(
            &[&format!("Negotiate, NTLM abc+/==, {md5}, Bearer x=y")],
            Ok("m"),
        );
        check(&[&format!(",, {md5} ,,")], Ok("m"));
        check(&[md5, "Digest realm=r, nonce=2, qop=auth"], Ok("m"));
        // What is not known here is passed over.
        check(
            &["Digest realm=r, nonce=x, qop=auth, algorithm=SHA-3", md5],
            Ok("m"),
        );
    }

    #[test]
    fn nothing_is_made_of_what_is_no_digest_challenge() {
        use NoChallenge::{Malformed, OtherScheme, Unknown};
        check(&[], Err(OtherScheme));
        check(&["Basic realm=\"Digest\""], Err(OtherScheme));
        check(&["Digestive realm=r, nonce=n"], Err(OtherScheme));
        for unknown in [
            "Digest",
            "Digest realm=r",
            "Digest nonce=n",
            "Digest realm=r, nonce=\"\"",
            "Digest realm=r, nonce=n, qop=auth-int",
            "Digest realm=r, nonce=n, qop=\"\"",
            "Digest realm=r, nonce=n, algorithm=SHA-1",
            "Digest realm=r, nonce=n, algorithm=MD5-sess",
        ] {
            check(&[unknown], Err(Unknown));
        }
        let many = vec!["a"; MAX_PARTS + 1].join(",");
        let parameters = (0..=MAX_PARTS).map(|at| format!("p{at}=x"));
        let parameters = format!("Digest {}", parameters.collect::<Vec<_>>().join(","));
        let long = format!("Digest realm=\"{}\"", "x".repeat(MAX_FIELD));
        for malformed in [
            "Digest realm=\"r",
            "Digest realm=\"r\\",
            "Digest realm=r nonce=n",
            "Digest realm=r, realm=r, nonce=n",
            "Digest realm=r, REALM=s, nonce=n",
            "Digest realm=, nonce=n",
            "Digest =r",
            "=",
            "Digest \"r\"",
            "Digest realm=r; nonce=n",
            "realm=\"r\", nonce=n",
            "Digest abc def",
            &many,
            &parameters,
            &long,
        ] {
            check(&[malformed], Err(Malformed));
            check(&["Digest realm=r, nonce=n", malformed], Err(Malformed));
        }
    }

    #[test]
    fn the_nonce_for_the_next_request_is_found() {
        let next = |field: &str| next_nonce(field.as_bytes());
        assert_eq!(
            next("nextnonce=\"a=b\", qop=auth, rspauth=\"\", cnonce=\"c\", nc=00000001"),
            Some(b"a=b".to_vec())
        );
        for none in [
            "",
            "qop=auth",
            "nextnonce=\"\"",
            "nextnonce",
            "nextnonce=a, nextnonce=b",
        ] {
            assert_eq!(next(none), None, "{none}");
        }
    }
}
