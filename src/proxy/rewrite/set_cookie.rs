//! The cookies that a backend sets: what they lack is added, and what only makes sense where the
//! backend thinks it is becomes what makes sense here.
//!
//! The gate's own cookies are elsewhere (`cookie`); no backend can set them.

use super::references::Site;
use crate::proxy::client::Scheme;

/// What is changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CookieEdits {
    /// Never sent without TLS. Added only where the client came over TLS: it would throw the
    /// cookie away otherwise.
    pub secure: bool,
    /// Out of reach of scripts.
    pub http_only: bool,
    /// Which requests from other sites carry it, in place of whatever the backend says.
    pub same_site: Option<CookieSameSite>,
    /// The path that every cookie gets. Without, a path gets the prefix that the backend does not
    /// know of, as redirects do.
    pub path: Option<Box<str>>,
    /// What becomes of a domain.
    pub domain: Option<DomainEdit>,
    /// The names of those that stay as they are.
    pub except: Vec<Box<str>>,
}

/// RFC 6265bis section 4.1.2.7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieSameSite {
    /// None.
    Strict,
    /// Links.
    Lax,
    /// All; only with Secure.
    None,
}

/// What becomes of the domain of a cookie that has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DomainEdit {
    /// It is taken out: the cookie is for the host alone.
    Remove,
    /// It is this one.
    Set(Box<str>),
}

impl CookieSameSite {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }
}

impl CookieEdits {
    /// What the client is to get for a backend's `Set-Cookie`, where it is something else.
    #[must_use]
    pub fn edit(&self, site: &Site<'_>, value: &[u8]) -> Option<Vec<u8>> {
        let has_prefix = !site.prefix.is_empty() || !site.path.added().is_empty();
        if *self == Self::default() && !has_prefix {
            return None;
        }
        let mut parts = value.split(|byte| *byte == b';');
        let pair = parts.next().unwrap_or_default();
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        let name = name.trim_ascii();
        if self.except.iter().any(|other| other.as_bytes() == name) {
            return None;
        }
        let mut out = pair.to_vec();
        let mut seen = Seen::default();
        for attribute in parts {
            self.pass(site, name, attribute, &mut out, &mut seen);
        }
        self.add(site, name, &seen, &mut out);
        (out != value).then_some(out)
    }

    fn pass(
        &self,
        site: &Site<'_>,
        name: &[u8],
        attribute: &[u8],
        out: &mut Vec<u8>,
        seen: &mut Seen,
    ) {
        let (key, value) = match attribute.iter().position(|byte| *byte == b'=') {
            Some(at) => (&attribute[..at], attribute[at + 1..].trim_ascii()),
            None => (attribute, &b""[..]),
        };
        let key = key.trim_ascii();
        let is = |known: &[u8]| key.eq_ignore_ascii_case(known);
        let edited = if is(b"secure") {
            seen.secure = true;
            None
        } else if is(b"httponly") {
            seen.http_only = true;
            None
        } else if is(b"samesite") && self.same_site.is_some() {
            // Written anew at the end.
            return;
        } else if is(b"path") && !is_host_bound(name) {
            // The last one counts, and only one is written.
            match &self.path {
                Some(_) => return,
                None => value.starts_with(b"/").then(|| site.published(value)),
            }
        } else if is(b"domain") {
            match &self.domain {
                None => None,
                Some(DomainEdit::Remove) => return,
                Some(DomainEdit::Set(domain)) => Some(domain.as_bytes().to_vec()),
            }
        } else {
            None
        };
        out.push(b';');
        match edited {
            None => out.extend_from_slice(attribute),
            Some(value) => out.extend([b" ", key, b"=", &value].concat()),
        }
    }

    fn add(&self, site: &Site<'_>, name: &[u8], seen: &Seen, out: &mut Vec<u8>) {
        if let Some(path) = self.path.as_ref().filter(|_| !is_host_bound(name)) {
            out.extend_from_slice(b"; Path=");
            out.extend_from_slice(path.as_bytes());
        }
        let none = self.same_site == Some(CookieSameSite::None);
        if (self.secure || none) && !seen.secure && site.scheme == Scheme::Https {
            out.extend_from_slice(b"; Secure");
        }
        if self.http_only && !seen.http_only {
            out.extend_from_slice(b"; HttpOnly");
        }
        if let Some(same_site) = self.same_site {
            out.extend_from_slice(b"; SameSite=");
            out.extend_from_slice(same_site.as_str().as_bytes());
        }
    }
}

/// Which attributes a cookie has already.
#[derive(Default)]
struct Seen {
    secure: bool,
    http_only: bool,
}

/// Browsers throw away a cookie of such a name with another path than `/` (RFC 6265bis section
/// 4.1.3.2).
fn is_host_bound(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"__Host-";
    name.get(..PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

#[cfg(test)]
mod tests {
    use super::super::path::PathRewrite;
    use super::*;
    use crate::proxy::spec::{UpstreamPlace, UpstreamSpec};

    #[track_caller]
    fn check(edits: &CookieEdits, (scheme, prefix): (Scheme, &str), from: &str, expected: &str) {
        let upstream = UpstreamSpec::new("a", vec![UpstreamPlace::Unix("/a".into()).into()]);
        let path = PathRewrite::new(prefix, "");
        let site = Site {
            scheme,
            authority: Some("gate"),
            prefix,
            path: &path,
            upstream: &upstream,
            host: None,
        };
        let edited = edits.edit(&site, from.as_bytes());
        let edited = edited.unwrap_or_else(|| from.as_bytes().to_vec());
        assert_eq!(String::from_utf8(edited).unwrap(), expected, "{from}");
    }

    const HTTPS: (Scheme, &str) = (Scheme::Https, "");

    #[test]
    fn a_cookie_gets_what_it_lacks_once() {
        let edits = CookieEdits {
            secure: true,
            http_only: true,
            same_site: Some(CookieSameSite::Lax),
            except: vec!["XSRF".into()],
            ..CookieEdits::default()
        };
        let full = "a=b; Secure; HttpOnly; SameSite=Lax";
        check(&edits, HTTPS, "a=b", full);
        check(&edits, HTTPS, full, full);
        check(
            &edits,
            HTTPS,
            "a=b; samesite=none; secure; HTTPONLY",
            "a=b; secure; HTTPONLY; SameSite=Lax",
        );
        check(
            &edits,
            HTTPS,
            "a=secure; Max-Age=5",
            "a=secure; Max-Age=5; Secure; HttpOnly; SameSite=Lax",
        );
        check(&edits, HTTPS, "XSRF=b; Path=/", "XSRF=b; Path=/");
        check(
            &edits,
            (Scheme::Http, ""),
            "a=b",
            "a=b; HttpOnly; SameSite=Lax",
        );
        let none = CookieEdits {
            same_site: Some(CookieSameSite::None),
            ..CookieEdits::default()
        };
        check(&none, HTTPS, "a=b", "a=b; Secure; SameSite=None");
    }

    #[test]
    fn a_path_is_one_that_the_client_sees() {
        let app = (Scheme::Https, "/app");
        let plain = CookieEdits::default();
        check(&plain, HTTPS, "a=b; Path=/x", "a=b; Path=/x");
        check(
            &plain,
            app,
            "a=b; Path=/x; Secure",
            "a=b; Path=/app/x; Secure",
        );
        check(&plain, app, "a=b; path=/", "a=b; path=/app/");
        check(&plain, app, "a=b; Path=/app/", "a=b; Path=/app/");
        check(&plain, app, "a=b; Path", "a=b; Path");
        check(&plain, app, "a=b", "a=b");
        check(
            &plain,
            app,
            "__Host-a=b; Path=/; Secure",
            "__Host-a=b; Path=/; Secure",
        );
        let fixed = CookieEdits {
            path: Some("/ui/".into()),
            ..CookieEdits::default()
        };
        check(&fixed, HTTPS, "a=b; Path=/x; Path=/y", "a=b; Path=/ui/");
        check(&fixed, HTTPS, "a=b", "a=b; Path=/ui/");
        check(&fixed, HTTPS, "__Host-a=b; Path=/", "__Host-a=b; Path=/");
    }

    #[test]
    fn a_domain_is_taken_out_or_put_right_where_there_is_one() {
        let remove = CookieEdits {
            domain: Some(DomainEdit::Remove),
            ..CookieEdits::default()
        };
        check(
            &remove,
            HTTPS,
            "a=b; Domain=plc.local; Path=/",
            "a=b; Path=/",
        );
        check(&remove, HTTPS, "a=b", "a=b");
        let set = CookieEdits {
            domain: Some(DomainEdit::Set("example.com".into())),
            ..CookieEdits::default()
        };
        check(
            &set,
            HTTPS,
            "a=b; domain=plc.local",
            "a=b; domain=example.com",
        );
        check(&set, HTTPS, "a=b", "a=b");
    }
}
