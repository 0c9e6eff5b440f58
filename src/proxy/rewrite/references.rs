//! References in a backend's answer (`Location`, `Content-Location`, `Refresh`): those that name the
//! backend itself, or the gate's address without TLS, are made to lead to where the client sees it,
//! and paths get the prefix back that the backend does not know of.
//!
//! Everything else is passed on as it came, to other sites above all.

use super::path::PathRewrite;
use crate::proxy::client::Scheme;
use crate::proxy::spec::UpstreamSpec;

/// Where references lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redirects {
    /// Those to the backend lead to the gate.
    Rewritten {
        /// Origins by which the backend calls itself, besides its address.
        also: Vec<Origin>,
    },
    /// Where the backend says.
    AsTheyAre,
}

impl Default for Redirects {
    fn default() -> Self {
        Self::Rewritten { also: Vec::new() }
    }
}

/// As what a client and a backend know each other, in one exchange.
#[derive(Clone, Copy, Debug)]
pub struct Site<'r> {
    /// By what the client came.
    pub scheme: Scheme,
    /// What it asked for, host and perhaps port.
    pub authority: Option<&'r str>,
    /// What was taken off the path.
    pub prefix: &'r str,
    /// What was done to the path.
    pub path: &'r PathRewrite,
    /// The backend.
    pub upstream: &'r UpstreamSpec,
    /// What the backend was told that it is called, where that is not what the client asked for.
    pub host: Option<&'r str>,
}

/// A scheme, a host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: Scheme,
    authority: String,
}

impl Origin {
    /// Reads `http://host` or `https://host:port`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let Reference::Absolute(scheme, authority, b"" | b"/") = Reference::of(text.as_bytes())
        else {
            return None;
        };
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        if authority.is_empty() || !authority.iter().all(|byte| legal(*byte)) {
            return None;
        }
        let authority = String::from_utf8(authority.to_ascii_lowercase()).ok()?;
        Some(Self { scheme, authority })
    }

    fn is(&self, scheme: Scheme, authority: &[u8]) -> bool {
        self.scheme == scheme && are_same(authority, self.authority.as_bytes(), scheme)
    }
}

/// A URI reference, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reference<'v> {
    /// `http://authority` or `https://authority`, and what follows.
    Absolute(Scheme, &'v [u8], &'v [u8]),
    /// `//authority`, and what follows.
    Network(&'v [u8], &'v [u8]),
    /// `/` and what follows.
    Path(&'v [u8]),
    /// Something that means the same wherever the prefix is.
    Other,
}

impl<'v> Reference<'v> {
    fn of(value: &'v [u8]) -> Self {
        let split = |rest: &'v [u8]| {
            let end = rest.iter().position(|byte| b"/?#".contains(byte));
            rest.split_at(end.unwrap_or(rest.len()))
        };
        for (start, scheme) in [
            (&b"http://"[..], Scheme::Http),
            (b"https://", Scheme::Https),
        ] {
            if let Some((found, rest)) = value.split_at_checked(start.len())
                && found.eq_ignore_ascii_case(start)
            {
                let (authority, rest) = split(rest);
                return Self::Absolute(scheme, authority, rest);
            }
        }
        match value {
            [b'/', b'/', rest @ ..] => {
                let (authority, rest) = split(rest);
                Self::Network(authority, rest)
            }
            [b'/', ..] => Self::Path(value),
            _ => Self::Other,
        }
    }
}

impl Redirects {
    /// The reference that the client is to get, where it is another one.
    #[must_use]
    pub fn map(&self, site: &Site<'_>, value: &[u8]) -> Option<Vec<u8>> {
        let Self::Rewritten { also } = self else {
            return None;
        };
        match Reference::of(value) {
            Reference::Absolute(scheme, authority, rest) => {
                let listed = also.iter().any(|origin| origin.is(scheme, authority));
                if listed || site.is_backend(scheme, authority) || site.is_ours(scheme, authority) {
                    return Some(site.absolute(rest)).filter(|mapped| mapped != value);
                }
                None
            }
            Reference::Network(authority, rest) => {
                let ours =
                    site.is_backend(site.scheme, authority) || site.is_ours(site.scheme, authority);
                ours.then(|| site.absolute(rest))
            }
            Reference::Path(path) => {
                let mapped = site.published(path);
                (mapped != path && !leads_elsewhere(&mapped)).then_some(mapped)
            }
            Reference::Other => None,
        }
    }

    /// The same for the reference in a `Refresh` field, as browsers find it there.
    #[must_use]
    pub fn map_refresh(&self, site: &Site<'_>, value: &[u8]) -> Option<Vec<u8>> {
        let at = value
            .windows(3)
            .position(|three| three.eq_ignore_ascii_case(b"url"))?;
        let rest = value[at + 3..].trim_ascii_start().strip_prefix(b"=")?;
        let rest = rest.trim_ascii_start();
        let (quote, rest) = match rest {
            [quote @ (b'"' | b'\''), rest @ ..] => (Some(*quote), rest),
            _ => (None, rest),
        };
        let end = rest.iter().position(|byte| Some(*byte) == quote);
        let (reference, after) = rest.split_at(end.unwrap_or(rest.len()));
        let mapped = self.map(site, reference)?;
        let before = &value[..value.len() - rest.len()];
        Some([before, &mapped, after].concat())
    }
}

impl Site<'_> {
    /// Whether it is the backend, by its address or by what it was told that it is called. It may
    /// have been told that clients come over TLS, so that either scheme means it.
    fn is_backend(&self, scheme: Scheme, authority: &[u8]) -> bool {
        let told = self
            .host
            .is_some_and(|host| are_same(authority, host.as_bytes(), scheme));
        told || self.upstream.authorities().any(|address| {
            is_at(authority, address.as_bytes(), scheme) || self.is_our_host(authority, &address)
        })
    }

    /// Whether it is the host that the client asked for at the backend's own port, as nginx and others
    /// make it up: the name from Host, the port from where they listen.
    fn is_our_host(&self, authority: &[u8], address: &str) -> bool {
        let (Some(asked), Some((_, port))) = (self.authority, address.rsplit_once(':')) else {
            return false;
        };
        let host = match asked.rsplit_once(':') {
            Some((host, digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => asked,
        };
        let here = format!("{host}:{port}");
        authority.eq_ignore_ascii_case(here.as_bytes())
    }

    /// Whether it is what the client asked for, by its scheme or without TLS: a backend that knows
    /// nothing of TLS can only say `http`.
    fn is_ours(&self, scheme: Scheme, authority: &[u8]) -> bool {
        let Some(asked) = self.authority.map(str::as_bytes) else {
            return false;
        };
        if scheme == self.scheme {
            return are_same(authority, asked, scheme);
        }
        scheme == Scheme::Http && authority.eq_ignore_ascii_case(asked)
    }

    /// What the client sees of what the backend calls `rest` of its own.
    fn absolute(&self, rest: &[u8]) -> Vec<u8> {
        let published = self.published(rest);
        let Some(authority) = self.authority else {
            return published;
        };
        let scheme = self.scheme.as_str().as_bytes();
        [scheme, b"://", authority.as_bytes(), &published].concat()
    }

    /// A path of the backend, and what follows it, as the client has to write it.
    pub(super) fn published(&self, rest: &[u8]) -> Vec<u8> {
        let end = rest.iter().position(|byte| b"?#".contains(byte));
        let (path, after) = rest.split_at(end.unwrap_or(rest.len()));
        let path = if path.is_empty() { b"/" } else { path };
        let added = self.path.added().as_bytes();
        let (prefix, path) = match below(path, added) {
            Some(below) => (self.prefix.as_bytes(), below),
            // Nothing of what is published.
            None => (&b""[..], path),
        };
        // A backend that knows where it is has written it already.
        let has_it = !prefix.is_empty() && below(path, prefix).is_some();
        let prefix = if has_it { b"" } else { prefix };
        [prefix, path, after].concat()
    }
}

/// What of a path is below a folder, which has no slash at its end.
fn below<'p>(path: &'p [u8], folder: &[u8]) -> Option<&'p [u8]> {
    match path.strip_prefix(folder)? {
        b"" => Some(b"/"),
        rest @ [b'/', ..] => Some(rest),
        _ => None,
    }
}

/// Whether what was a path of ours has become one with a host in front: browsers take `\\` for `/`
/// there, and leave out tabs (WHATWG URL).
fn leads_elsewhere(path: &[u8]) -> bool {
    let mut rest = path.iter().skip(1).filter(|byte| **byte != b'\t');
    matches!(rest.next(), Some(b'/' | b'\\'))
}

/// Whether two authorities are the same under this scheme.
fn are_same(one: &[u8], other: &[u8], scheme: Scheme) -> bool {
    without_default(one, scheme).eq_ignore_ascii_case(without_default(other, scheme))
}

/// Whether `authority` is the place `address`, which has a port.
fn is_at(authority: &[u8], address: &[u8], scheme: Scheme) -> bool {
    let common = [Scheme::Http, Scheme::Https].map(|it| without_default(address, it));
    are_same(authority, address, scheme)
        || common
            .iter()
            .any(|short| short.len() < address.len() && authority.eq_ignore_ascii_case(short))
}

fn without_default(authority: &[u8], scheme: Scheme) -> &[u8] {
    let port: &[u8] = match scheme {
        Scheme::Http => b":80",
        Scheme::Https => b":443",
    };
    authority.strip_suffix(port).unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::spec::UpstreamPlace;

    fn upstream() -> UpstreamSpec {
        let host = "plc.local".into();
        let place = UpstreamPlace::Tcp { host, port: 8080 };
        UpstreamSpec::new("plc", vec![place.into()])
    }

    struct Case<'c> {
        strip: &'c str,
        add: &'c str,
        host: Option<&'c str>,
    }

    const PLAIN: Case<'_> = Case {
        strip: "",
        add: "",
        host: None,
    };

    impl Case<'_> {
        #[track_caller]
        fn check(&self, from: &str, expected: Option<&str>) {
            let (upstream, path) = (upstream(), PathRewrite::new(self.strip, self.add));
            let site = Site {
                scheme: Scheme::Https,
                authority: Some("gate.example:8443"),
                prefix: self.strip,
                path: &path,
                upstream: &upstream,
                host: self.host,
            };
            let also = vec![Origin::parse("http://Boiler").unwrap()];
            let mapped = Redirects::Rewritten { also }.map(&site, from.as_bytes());
            let mapped = mapped.map(|it| String::from_utf8(it).unwrap());
            assert_eq!(mapped.as_deref(), expected, "{from}");
            assert_eq!(Redirects::AsTheyAre.map(&site, from.as_bytes()), None);
        }
    }

    #[test]
    fn what_leads_to_the_backend_leads_to_the_gate() {
        let here = Some("https://gate.example:8443/x?y#z");
        for from in [
            "http://plc.local:8080/x?y#z",
            "https://plc.local:8080/x?y#z",
            "HTTP://PLC.LOCAL:8080/x?y#z",
            "//plc.local:8080/x?y#z",
            "http://boiler/x?y#z",
            "http://boiler:80/x?y#z",
            "http://gate.example:8443/x?y#z",
            "http://gate.example:8080/x?y#z",
        ] {
            PLAIN.check(from, here);
        }
        PLAIN.check("http://plc.local:8080", Some("https://gate.example:8443/"));
        PLAIN.check(
            "http://plc.local:8080?a",
            Some("https://gate.example:8443/?a"),
        );
        let told = Case {
            host: Some("plc.example"),
            ..PLAIN
        };
        told.check("http://plc.example/x?y#z", here);
        told.check("https://plc.example:443/x?y#z", here);
    }

    #[test]
    fn what_leads_elsewhere_is_left_alone() {
        for from in [
            "https://gate.example:8443/x",
            "http://gate.example/x",
            "http://plc.local/x",
            "http://plc.local:80801/x",
            "http://plc.local:8080@evil.example/x",
            "http://evil.example/http://plc.local:8080/",
            "https://boiler/x",
            "//evil.example/x",
            "/x",
            "x",
            "../x",
            "?x",
            "#x",
            "",
            "mailto:a@plc.local:8080",
            "http:/plc.local:8080/",
        ] {
            PLAIN.check(from, None);
        }
    }

    #[test]
    fn a_path_gets_its_prefix_back() {
        let stripped = Case {
            strip: "/app",
            ..PLAIN
        };
        stripped.check("/x?y#z", Some("/app/x?y#z"));
        stripped.check("/", Some("/app/"));
        stripped.check("/apple", Some("/app/apple"));
        stripped.check("/app/x", None);
        stripped.check("/app", None);
        stripped.check("x", None);
        stripped.check("//evil.example/", None);
        let here = Some("https://gate.example:8443/app/x");
        stripped.check("http://plc.local:8080/x", here);
        stripped.check("https://gate.example:8443/x", here);
        stripped.check("//gate.example:8443/x", here);
        stripped.check("https://gate.example:8443/app/x", None);
        let swapped = Case {
            strip: "/app",
            add: "/v1",
            ..PLAIN
        };
        swapped.check("/v1/x", Some("/app/x"));
        swapped.check("/v1", Some("/app/"));
        swapped.check("/v10/x", None);
        swapped.check("/other", None);
        let added = Case {
            add: "/v1",
            ..PLAIN
        };
        added.check("/v1/x", Some("/x"));
        added.check("/v1?x", Some("/?x"));
        for elsewhere in [
            "/v1//evil.example/",
            "/v1/\\evil.example/",
            "/v1/\t/evil.example",
        ] {
            added.check(elsewhere, None);
        }
        swapped.check("/v1//x", Some("/app//x"));
    }

    #[test]
    fn a_refresh_leads_where_a_redirect_would() {
        let (upstream, path) = (upstream(), PathRewrite::default());
        let site = Site {
            scheme: Scheme::Https,
            authority: Some("gate.example"),
            prefix: "",
            path: &path,
            upstream: &upstream,
            host: None,
        };
        let map = |value: &str| {
            let mapped = Redirects::default().map_refresh(&site, value.as_bytes());
            mapped.map(|it| String::from_utf8(it).unwrap())
        };
        let mapped = map("0;url=http://plc.local:8080/x");
        assert_eq!(mapped.as_deref(), Some("0;url=https://gate.example/x"));
        let mapped = map("5; URL = 'http://plc.local:8080/x' ");
        assert_eq!(
            mapped.as_deref(),
            Some("5; URL = 'https://gate.example/x' ")
        );
        for value in ["5", "0;url=/x", "0;url=http://evil.example/", "0;url", ""] {
            assert_eq!(map(value), None, "{value}");
        }
    }

    #[test]
    fn an_origin_is_a_scheme_and_an_authority() {
        for bad in [
            "",
            "plc",
            "ftp://plc",
            "http://",
            "http://plc/x",
            "http://a@b",
            "//plc",
        ] {
            assert_eq!(Origin::parse(bad), None, "{bad}");
        }
        assert!(Origin::parse("https://[::1]:8443/").is_some());
    }
}
