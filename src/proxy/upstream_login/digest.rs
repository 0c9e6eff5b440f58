//! Digest (RFC 7616, and RFC 2617 and 2069 for the backends of their time): what is sent to prove
//! that a password is known, without sending it.

use std::sync::atomic::{AtomicU32, Ordering};

use md5::Md5;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256, Sha512_256};
use zeroize::Zeroizing;

use super::challenge::{Challenge, Quality};

/// What stays as it is in an extended value (RFC 5987 section 3.2.1).
const EXTENDED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A hash, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hash {
    Md5,
    Sha256,
    Sha512_256,
}

/// How a challenge is answered; the stronger, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Algorithm {
    pub(super) hash: Hash,
    /// Whether the key is made with the first nonce (`-sess`).
    pub(super) of_session: bool,
}

impl Algorithm {
    /// By its name in lower case.
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        let (name, of_session) = match name.strip_suffix(b"-sess") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let hash = match name {
            b"md5" => Hash::Md5,
            b"sha-256" => Hash::Sha256,
            b"sha-512-256" => Hash::Sha512_256,
            _ => return None,
        };
        Some(Self { hash, of_session })
    }

    const fn as_str(self) -> &'static str {
        match (self.hash, self.of_session) {
            (Hash::Md5, false) => "MD5",
            (Hash::Md5, true) => "MD5-sess",
            (Hash::Sha256, false) => "SHA-256",
            (Hash::Sha256, true) => "SHA-256-sess",
            (Hash::Sha512_256, false) => "SHA-512-256",
            (Hash::Sha512_256, true) => "SHA-512-256-sess",
        }
    }

    /// The hash of these parts with colons between them, in hexadecimal.
    fn hash(self, parts: &[&[u8]]) -> Zeroizing<String> {
        fn of<D: Digest>(parts: &[&[u8]]) -> Zeroizing<String> {
            let mut hash = D::new();
            for (at, part) in parts.iter().enumerate() {
                if at > 0 {
                    hash.update(b":");
                }
                hash.update(part);
            }
            Zeroizing::new(base16ct::lower::encode_string(&hash.finalize()))
        }
        match self.hash {
            Hash::Md5 => of::<Md5>(parts),
            Hash::Sha256 => of::<Sha256>(parts),
            Hash::Sha512_256 => of::<Sha512_256>(parts),
        }
    }
}

/// A challenge with all that answers to it are made of. One for all threads: requests are counted,
/// and no count may come twice.
pub(super) struct Session {
    challenge: Challenge,
    /// `username`, or what stands for it.
    user: String,
    /// H(A1).
    key: Zeroizing<String>,
    cnonce: String,
    count: AtomicU32,
}

impl Session {
    /// Answers `challenge` for somebody. `cnonce` is our part of what makes answers unlike.
    pub(super) fn new(challenge: Challenge, user: &str, password: &str, cnonce: &str) -> Self {
        let algorithm = challenge.algorithm;
        let realm = &challenge.realm;
        let mut key = algorithm.hash(&[user.as_bytes(), realm, password.as_bytes()]);
        if algorithm.of_session {
            key = algorithm.hash(&[key.as_bytes(), &challenge.nonce, cnonce.as_bytes()]);
        }
        Self {
            user: user_parameter(user, &challenge),
            challenge,
            key,
            cnonce: cnonce.to_owned(),
            count: AtomicU32::new(0),
        }
    }

    /// The same with the nonce that the backend gives for the next request. The key of a session
    /// stays.
    pub(super) fn with_nonce(&self, nonce: Vec<u8>) -> Self {
        Self {
            challenge: Challenge {
                nonce,
                ..self.challenge.clone()
            },
            user: self.user.clone(),
            key: self.key.clone(),
            cnonce: self.cnonce.clone(),
            count: AtomicU32::new(0),
        }
    }

    /// Which request of it the next one is; `None` when there have been all that can be counted.
    pub(super) fn next_count(&self) -> Option<u32> {
        let next = |count: u32| count.checked_add(1);
        let relaxed = Ordering::Relaxed;
        let before = self.count.fetch_update(relaxed, relaxed, next).ok()?;
        next(before)
    }

    /// The value of `Authorization` for a request, as it is written to the backend.
    pub(super) fn answer(&self, method: &str, target: &str, count: u32) -> Zeroizing<Vec<u8>> {
        let challenge = &self.challenge;
        let algorithm = challenge.algorithm;
        let asked = algorithm.hash(&[method.as_bytes(), target.as_bytes()]);
        let (key, asked) = (self.key.as_bytes(), asked.as_bytes());
        let nonce = &*challenge.nonce;
        let count = format!("{count:08x}");
        let response = match challenge.quality {
            Quality::Old => algorithm.hash(&[key, nonce, asked]),
            Quality::Auth => algorithm.hash(&[
                key,
                nonce,
                count.as_bytes(),
                self.cnonce.as_bytes(),
                b"auth",
                asked,
            ]),
        };
        let mut value = Zeroizing::new(format!("Digest {}", self.user).into_bytes());
        quote(&mut value, ", realm=", &challenge.realm);
        quote(&mut value, ", nonce=", nonce);
        quote(&mut value, ", uri=", target.as_bytes());
        quote(&mut value, ", response=", response.as_bytes());
        if challenge.names_algorithm {
            let algorithm = format!(", algorithm={}", algorithm.as_str());
            value.extend_from_slice(algorithm.as_bytes());
        }
        if challenge.quality == Quality::Auth {
            let counted = format!(", qop=auth, nc={count}");
            value.extend_from_slice(counted.as_bytes());
            quote(&mut value, ", cnonce=", self.cnonce.as_bytes());
        }
        if let Some(opaque) = &challenge.opaque {
            quote(&mut value, ", opaque=", opaque);
        }
        if challenge.hashes_user {
            value.extend_from_slice(b", userhash=true");
        }
        value
    }
}

/// The name of the user as the challenge wants it. What is not ASCII is only written in the new way
/// for those who know of it; others take the bytes, as browsers send them.
fn user_parameter(user: &str, challenge: &Challenge) -> String {
    if challenge.hashes_user {
        let hashed = challenge
            .algorithm
            .hash(&[user.as_bytes(), &challenge.realm]);
        return format!("username=\"{}\"", *hashed);
    }
    if !user.is_ascii() && challenge.knows_utf8 {
        let encoded = utf8_percent_encode(user, EXTENDED);
        return format!("username*=UTF-8''{encoded}");
    }
    let escaped = user.replace('\\', "\\\\").replace('"', "\\\"");
    format!("username=\"{escaped}\"")
}

/// A quoted string (RFC 9110 section 5.6.4).
fn quote(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.push(b'"');
    for byte in value {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(challenge: &str, user: &str, password: &str, cnonce: &str) -> Session {
        let challenge = Challenge::strongest([challenge.as_bytes()].into_iter()).unwrap();
        Session::new(challenge, user, password, cnonce)
    }

    #[track_caller]
    fn check(session: &Session, target: &str, expected: &str) {
        let count = session.next_count().unwrap();
        let answer = session.answer("GET", target, count);
        assert_eq!(str::from_utf8(&answer).unwrap(), expected);
    }

    /// RFC 7616 section 3.9.1.
    #[test]
    fn the_examples_of_the_rfc_come_out_as_they_are_printed() {
        let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
        let opaque = "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS";
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        for (algorithm, response) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            (
                "SHA-256",
                "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
            ),
        ] {
            let challenge = format!(
                "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", \
                 algorithm={algorithm}, nonce=\"{nonce}\", opaque=\"{opaque}\""
            );
            let session = session(&challenge, "Mufasa", "Circle of Life", cnonce);
            let expected = format!(
                "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", nonce=\"{nonce}\", \
                 uri=\"/dir/index.html\", response=\"{response}\", algorithm={algorithm}, qop=auth, \
                 nc=00000001, cnonce=\"{cnonce}\", opaque=\"{opaque}\""
            );
            check(&session, "/dir/index.html", &expected);
        }
    }

    /// RFC 7616 section 3.9.2 with the values that OpenSSL's SHA-512/256 gives: the printed ones are
    /// known to be wrong (erratum 4897).
    #[test]
    fn the_name_of_the_user_is_hashed_where_that_is_asked_for() {
        let nonce = "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK";
        let opaque = "HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS";
        let cnonce = "NTg6RKcb9boFIAS3KrFK9BGeh+niz/sm";
        let challenge = format!(
            "Digest realm=\"api@example.org\", qop=\"auth\", algorithm=SHA-512-256, \
             nonce=\"{nonce}\", opaque=\"{opaque}\", charset=UTF-8, userhash=true"
        );
        let session = session(&challenge, "J\u{e4}s\u{f8}n Doe", "Secret, or not?", cnonce);
        let user = "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b";
        let response = "7a4e1192babbba02e91182d2895bfdbf7adafc6e48d4e517ca301974843d840c";
        let expected = format!(
            "Digest username=\"{user}\", realm=\"api@example.org\", nonce=\"{nonce}\", \
             uri=\"/doe.json\", response=\"{response}\", algorithm=SHA-512-256, qop=auth, \
             nc=00000001, cnonce=\"{cnonce}\", opaque=\"{opaque}\", userhash=true"
        );
        check(&session, "/doe.json", &expected);
    }

    /// RFC 2617 section 3.5 for its password, RFC 2069 for its way.
    #[test]
    fn what_is_older_is_answered_in_its_way() {
        let nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
        let challenge = format!("Digest realm=\"testrealm@host.com\", nonce=\"{nonce}\"");
        let session = session(&challenge, "Mufasa", "CircleOfLife", "unused");
        let response = "1949323746fe6a43ef61f9606e7febea";
        let expected = format!(
            "Digest username=\"Mufasa\", realm=\"testrealm@host.com\", nonce=\"{nonce}\", \
             uri=\"/dir/index.html\", response=\"{response}\""
        );
        check(&session, "/dir/index.html", &expected);
    }

    #[test]
    fn requests_of_a_nonce_are_counted_and_the_next_nonce_begins_anew_with_the_key_of_the_session()
    {
        let challenge = "Digest realm=r, nonce=one, qop=auth, algorithm=MD5-sess";
        let first = session(challenge, "u", "p", "c");
        assert_eq!(
            [(); 3].map(|()| first.next_count()),
            [Some(1), Some(2), Some(3)]
        );
        let second = first.with_nonce(b"two".to_vec());
        assert_eq!(second.key, first.key);
        assert_eq!(second.next_count(), Some(1));
        let answer = second.answer("GET", "/", 0x10);
        let answer = str::from_utf8(&answer).unwrap();
        assert!(answer.contains("nonce=\"two\"") && answer.contains("nc=00000010"));
        first.count.store(u32::MAX, Ordering::Relaxed);
        assert_eq!(first.next_count(), None);
    }

    #[test]
    fn quotes_and_foreign_letters_in_names_arrive_as_they_are() {
        let name = |challenge: &str, user: &str| session(challenge, user, "p", "c").user;
        let old = "Digest realm=r, nonce=n";
        let new = "Digest realm=r, nonce=n, charset=UTF-8";
        assert_eq!(name(old, "a\"b\\c"), "username=\"a\\\"b\\\\c\"");
        assert_eq!(name(old, "J\u{e4}s"), "username=\"J\u{e4}s\"");
        assert_eq!(name(new, "J\u{e4}s n"), "username*=UTF-8''J%C3%A4s%20n");
        assert_eq!(name(new, "Jas"), "username=\"Jas\"");
        let realm = session("Digest realm=\"a\\\"b\", nonce=n", "u", "p", "c");
        let answer = realm.answer("GET", "/", 1);
        assert!(
            str::from_utf8(&answer)
                .unwrap()
                .contains("realm=\"a\\\"b\"")
        );
    }
}
