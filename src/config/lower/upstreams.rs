//! The section `upstreams`.

use std::time::Duration;

use crate::config::Source;
use crate::config::document::At;
use crate::config::file::UpstreamFile;
use crate::config::scalar::Entries;
use crate::gate::route::UpstreamId;
use crate::proxy::spec::{UpstreamPlace, UpstreamSpec};

use super::{DAY, in_range, span_within, upstream_tls};

/// The upstreams as routes refer to them.
pub(super) struct Upstreams {
    /// Those without a problem; all of them, if nothing is wrong.
    pub(super) specs: Vec<UpstreamSpec>,
    /// The names as written, also of those with a problem.
    names: Vec<String>,
    /// Whether a name that is not there may be called unknown.
    complete: bool,
}

impl Upstreams {
    /// The upstream that a route means by `name`, or the only one when it names none. `None` when
    /// there is no such upstream, which is then recorded.
    pub(super) fn find(&self, name: Option<&str>, at: &At<'_>) -> Option<UpstreamId> {
        let Some(name) = name else {
            return self.only(at);
        };
        let found = self.names.iter().position(|known| known == name);
        if found.is_none() && self.complete {
            let named = at.quoted(name);
            let meant = at.suggestion(name, self.names.iter().map(String::as_str));
            at.problem(format!("no upstream is named {named}{meant}"));
        }
        found.map(UpstreamId)
    }

    fn only(&self, at: &At<'_>) -> Option<UpstreamId> {
        match self.names.len() {
            1 => Some(UpstreamId(0)),
            // That there is none was recorded where they should be.
            0 => None,
            _ => {
                if !at.is_refused() {
                    let known = at.suggestion("", self.names.iter().map(String::as_str));
                    at.problem(format!("missing; say which upstream{known}"));
                }
                None
            }
        }
    }

    /// Records the upstreams that no route uses.
    pub(super) fn warn_of_unused(&self, used: impl Fn(UpstreamId) -> bool, at: &At<'_>) {
        for (id, name) in self.names.iter().enumerate() {
            if !used(UpstreamId(id)) {
                at.key("upstreams")
                    .key(name)
                    .warn("no route uses this upstream");
            }
        }
    }
}

/// The upstreams. At least one is required: a gate without a backend forwards nothing.
pub(super) fn lower(
    written: Option<Entries<UpstreamFile>>,
    source: &Source<'_>,
    at: &At<'_>,
) -> Upstreams {
    let hint = "name the backend, as \"app: {url: 'http://127.0.0.1:8080'}\"";
    let complete = written.is_some();
    let written = at.required("upstreams", written, hint).unwrap_or_default();
    let at = at.key("upstreams");
    if complete && written.0.is_empty() {
        at.problem(format!("none; {hint}"));
    }
    let mut upstreams = Upstreams {
        specs: Vec::new(),
        names: Vec::new(),
        complete: complete && !written.0.is_empty(),
    };
    for (at, name, upstream) in at.entries(written) {
        if !is_name(&name) {
            at.key_problem("an upstream name has 1 to 64 characters from A-Z a-z 0-9 . _ -");
        }
        let spec = upstream.and_then(|upstream| lower_one(upstream, &name, source, &at));
        upstreams.specs.extend(spec);
        upstreams.names.push(name);
    }
    upstreams
}

/// The name is a label of metrics.
fn is_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(legal)
}

fn lower_one(
    written: UpstreamFile,
    name: &str,
    source: &Source<'_>,
    at: &At<'_>,
) -> Option<UpstreamSpec> {
    let UpstreamFile {
        url,
        tls,
        connect_timeout,
        read_timeout,
        write_timeout,
        idle_timeout,
        max_requests,
    } = written;
    let url = at.required(
        "url",
        url,
        "write the address of the backend, as http://127.0.0.1:8080",
    );
    let endpoint = url.and_then(|url| lower_url(&url, &at.key("url")));
    let tls_at = at.key("tls");
    let tls = match &endpoint {
        Some((Scheme::Https, UpstreamPlace::Tcp { host, .. })) => {
            let tls = tls.unwrap_or_default();
            Some(upstream_tls::lower(tls, host, source, &tls_at))
        }
        Some(_) if tls.is_some() => {
            tls_at.key_problem("not used: the url does not begin with https://");
            None
        }
        _ => None,
    };
    let stand_in = UpstreamPlace::Unix("/".into());
    let place = endpoint.map(|(_, place)| place);
    let default = UpstreamSpec::new(name, place.clone().unwrap_or(stand_in));
    let within = |span, default: Duration, key| {
        let shortest = Duration::from_millis(1);
        span_within(span, default, shortest..=DAY, &at.key(key))
    };
    let spec = UpstreamSpec {
        tls,
        connect_timeout: within(connect_timeout, default.connect_timeout, "connect_timeout"),
        read_timeout: within(read_timeout, default.read_timeout, "read_timeout"),
        write_timeout: within(write_timeout, default.write_timeout, "write_timeout"),
        idle_timeout: within(idle_timeout, default.idle_timeout, "idle_timeout"),
        max_requests: in_range(
            max_requests,
            default.max_requests,
            1..=1_000_000,
            &at.key("max_requests"),
        ),
        ..default
    };
    place.map(|_| spec)
}

/// Where a URL leads. A user and password in it is never repeated.
fn lower_url(url: &str, at: &At<'_>) -> Option<(Scheme, UpstreamPlace)> {
    match split_url(url) {
        Ok(endpoint) => Some(endpoint),
        Err(UrlError::Unknown) if !url.contains('@') => {
            let got = at.quoted(url);
            at.problem(format!(
                "expected a URL like http://127.0.0.1:8080, got {got}"
            ));
            None
        }
        Err(error) => {
            at.problem(error.to_string());
            None
        }
    }
}

/// How a backend is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum UrlError {
    #[error("h2c upstreams are not available in this version; use http:// or https://")]
    NotAvailable,
    #[error("a user or password in the URL is not sent to the backend; take it out")]
    UserInfo,
    #[error(
        "requests keep their own path; write the URL without path and query, like http://127.0.0.1:8080"
    )]
    Path,
    #[error("the port must be from 1 to 65535")]
    Port,
    #[error("expected the path of a socket from the root on, like unix:/run/app.sock")]
    Socket,
    #[error("expected a URL like http://127.0.0.1:8080")]
    Unknown,
}

fn split_url(url: &str) -> Result<(Scheme, UpstreamPlace), UrlError> {
    if url.starts_with("h2c:") {
        return Err(UrlError::NotAvailable);
    }
    if let Some(path) = url.strip_prefix("unix:") {
        return split_socket(path);
    }
    let (scheme, port, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => (Scheme::Http, 80, rest),
        (_, Some(rest)) => (Scheme::Https, 443, rest),
        (None, None) => return Err(UrlError::Unknown),
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(UrlError::UserInfo);
    }
    // A single slash is no path of its own.
    if !matches!(path, "" | "/") {
        return Err(UrlError::Path);
    }
    let (host, port) = split_authority(authority, port)?;
    Ok((scheme, UpstreamPlace::Tcp { host, port }))
}

/// `unix:/path`, and `unix:///path` as some have it.
fn split_socket(path: &str) -> Result<(Scheme, UpstreamPlace), UrlError> {
    // What the system takes, with the zero at its end.
    const MOST: usize = 107;
    let path = match path.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        _ => path,
    };
    let is_path = path.starts_with('/') && !path.starts_with("//") && !path.contains('\0');
    match is_path && (2..=MOST).contains(&path.len()) {
        true => Ok((Scheme::Http, UpstreamPlace::Unix(path.into()))),
        false => Err(UrlError::Socket),
    }
}

fn split_authority(authority: &str, default: u16) -> Result<(String, u16), UrlError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(UrlError::Unknown)?;
            host.parse::<std::net::Ipv6Addr>()
                .map_err(|_| UrlError::Unknown)?;
            (host, port)
        }
        None => {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            if host.is_empty() || !host.bytes().all(legal) {
                return Err(UrlError::Unknown);
            }
            (host, port)
        }
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default,
        None => return Err(UrlError::Unknown),
        Some(digits) if !digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            return Err(UrlError::Unknown);
        }
        Some(digits) => digits
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or(UrlError::Port)?,
    };
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, expected: Result<(Scheme, &str, u16), UrlError>) {
        let expected = expected.map(|(scheme, host, port)| {
            let host = host.to_owned();
            (scheme, UpstreamPlace::Tcp { host, port })
        });
        assert_eq!(split_url(url), expected, "{url}");
    }

    #[test]
    fn a_url_names_host_and_port() {
        use Scheme::*;
        check("http://127.0.0.1:8080", Ok((Http, "127.0.0.1", 8080)));
        check("http://127.0.0.1:8080/", Ok((Http, "127.0.0.1", 8080)));
        check("http://backend", Ok((Http, "backend", 80)));
        check("http://my_app.local:1", Ok((Http, "my_app.local", 1)));
        check("http://[::1]:81", Ok((Http, "::1", 81)));
        check("http://[fe80::1]", Ok((Http, "fe80::1", 80)));
        check("https://backend", Ok((Https, "backend", 443)));
        check("https://[::1]:81/", Ok((Https, "::1", 81)));
    }

    #[test]
    fn a_url_names_a_socket_by_its_whole_path() {
        for (url, path) in [
            ("unix:/run/app.sock", "/run/app.sock"),
            ("unix:///run/app.sock", "/run/app.sock"),
        ] {
            let place = UpstreamPlace::Unix(path.into());
            assert_eq!(split_url(url), Ok((Scheme::Http, place)));
        }
        let long = format!("unix:/{}", "a".repeat(107));
        for bad in [
            "unix:",
            "unix:/",
            "unix:app.sock",
            "unix://host/a",
            "unix:////a",
            &long,
        ] {
            check(bad, Err(UrlError::Socket));
        }
    }

    #[test]
    fn what_a_backend_would_not_get_is_refused() {
        use UrlError::*;
        check("http://a/app", Err(Path));
        check("https://a?x", Err(Path));
        check("http://a#x", Err(Path));
        check("http://me:secret@a", Err(UserInfo));
        check("https://me:secret@a", Err(UserInfo));
        check("h2c://a", Err(NotAvailable));
        check("http://a:0", Err(Port));
        check("http://a:65536", Err(Port));
        check("http://a:", Err(Port));
        for unknown in [
            "",
            "a",
            "127.0.0.1:8080",
            "http://",
            "http://:80",
            "http://a b",
            "http://a:x",
            "http://[::1",
            "http://[1.2.3.4]",
            "http://[::1]x",
            "http://ä",
            "ftp://a",
            "HTTP://a",
            "https:/a",
            "http://a:+80",
        ] {
            check(unknown, Err(Unknown));
        }
    }
}
