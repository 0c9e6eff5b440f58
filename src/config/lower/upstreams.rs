//! The section `upstreams`.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Source;
use crate::config::document::At;
use crate::config::file::UpstreamFile;
use crate::config::scalar::{Entries, Flag, Version};
use crate::gate::route::UpstreamId;
use crate::proxy::spec::{Collected, HttpVersion, ProxyProtocolVersion, UpstreamSpec};
use crate::proxy::upstream_login::{LoginScheme, UpstreamLogin};

use super::upstream_balance::{self as balance, small};
use super::upstream_urls::Scheme;
use super::{DAY, choose, in_range, span_within, upstream_login, upstream_tls, upstream_urls};

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

const PROXY_PROTOCOL: [(&str, Option<Option<ProxyProtocolVersion>>); 3] = [
    ("off", Some(None)),
    ("v1", Some(Some(ProxyProtocolVersion::V1))),
    ("v2", Some(Some(ProxyProtocolVersion::V2))),
];

fn lower_one(
    written: UpstreamFile,
    name: &str,
    source: &Source<'_>,
    at: &At<'_>,
) -> Option<UpstreamSpec> {
    let UpstreamFile {
        url,
        urls,
        tls,
        balance,
        health,
        eject,
        retries,
        resolve,
        proxy_protocol,
        connect_timeout,
        header_timeout,
        read_timeout,
        timeout,
        write_timeout,
        idle_timeout,
        tunnel_timeout,
        max_requests,
        version,
        chunked,
        buffer_requests,
        login,
    } = written;
    let servers = upstream_urls::lower(url, urls, at);
    let scheme = servers.as_ref().map(|(scheme, _)| *scheme);
    let version = lower_version(version, scheme, &at.key("version"));
    let tls_at = at.key("tls");
    let tls = match scheme {
        Some(Scheme::Https) => {
            let tls = tls.unwrap_or_default();
            Some(upstream_tls::lower(tls, version, source, &tls_at))
        }
        Some(Scheme::Http | Scheme::H2c) if tls.is_some() => {
            tls_at.key_problem("not used: the url does not begin with https://");
            None
        }
        _ => None,
    };
    let is_right = servers.is_some();
    let servers = servers.map(|(_, servers)| servers).unwrap_or_default();
    let default = UpstreamSpec::new(name, servers);
    let login = login.and_then(|login| upstream_login::lower(login, source, &at.key("login")));
    let bodies = WrittenBodies {
        repeats: login
            .as_ref()
            .is_some_and(|login| login.scheme == LoginScheme::Digest),
        chunked,
        buffer_requests,
    };
    let within = |span, default: Duration, key| {
        let shortest = Duration::from_millis(1);
        span_within(span, default, shortest..=DAY, &at.key(key))
    };
    let health_at = at.key("health");
    let health = health.and_then(|it| balance::lower_health(it, &default.authority(), &health_at));
    let one_second = Duration::from_secs(1);
    let read_timeout = within(read_timeout, default.read_timeout, "read_timeout");
    let spec = UpstreamSpec {
        tls,
        balance: balance::lower(balance, &default.servers, &at.key("balance")),
        health,
        eject: balance::lower_eject(eject, &at.key("eject")),
        retries: small(retries, default.retries, 0..=10, &at.key("retries")),
        proxy_protocol: choose(
            proxy_protocol.as_deref(),
            None,
            &PROXY_PROTOCOL,
            &at.key("proxy_protocol"),
        ),
        resolve: span_within(
            resolve,
            default.resolve,
            one_second..=DAY,
            &at.key("resolve"),
        ),
        connect_timeout: within(connect_timeout, default.connect_timeout, "connect_timeout"),
        header_timeout: within(header_timeout, read_timeout, "header_timeout"),
        read_timeout,
        total_timeout: timeout.map(|it| within(Some(it), DAY, "timeout")),
        write_timeout: within(write_timeout, default.write_timeout, "write_timeout"),
        idle_timeout: within(idle_timeout, default.idle_timeout, "idle_timeout"),
        tunnel_timeout: within(tunnel_timeout, default.tunnel_timeout, "tunnel_timeout"),
        max_requests: in_range(
            max_requests,
            default.max_requests,
            1..=1_000_000,
            &at.key("max_requests"),
        ),
        version,
        collected: bodies.lower(version, at),
        login: login.map(|login| Arc::new(UpstreamLogin::new(login))),
        ..default
    };
    is_right.then_some(spec)
}

fn lower_version(written: Option<Version>, scheme: Option<Scheme>, at: &At<'_>) -> HttpVersion {
    let default = match scheme {
        Some(Scheme::H2c) => HttpVersion::Http2,
        Some(Scheme::Http | Scheme::Https) | None => HttpVersion::Http11,
    };
    let written = written
        .as_ref()
        .map(|Version(written)| match written.as_str() {
            // What is left of 1.0 without quotes.
            "1" => "1.0",
            "2.0" => "2",
            written => written,
        });
    let versions = [
        ("1.0", Some(HttpVersion::Http10)),
        ("1.1", Some(HttpVersion::Http11)),
        ("2", Some(HttpVersion::Http2)),
    ];
    let version = choose(written, default, &versions, at);
    if scheme == Some(Scheme::H2c) && version != HttpVersion::Http2 {
        at.problem("h2c:// is HTTP/2; write http:// for another version");
    }
    version
}

/// The keys of an upstream that say which bodies are collected.
struct WrittenBodies {
    /// Whether requests may have to be sent again.
    repeats: bool,
    chunked: Option<Flag>,
    buffer_requests: Option<Flag>,
}

impl WrittenBodies {
    fn lower(self, version: HttpVersion, at: &At<'_>) -> Collected {
        let is_old = version == HttpVersion::Http10;
        if is_old && self.chunked == Some(Flag(true)) {
            let message = "HTTP/1.0 has no chunks; take it out, or the version";
            at.key("chunked").key_problem(message);
        }
        if self.repeats && self.buffer_requests == Some(Flag(false)) {
            let message = "with digest, requests may have to be sent again, for which their bodies \
                           are kept; take it out";
            at.key("buffer_requests").key_problem(message);
        }
        match (self.buffer_requests, self.chunked) {
            _ if self.repeats => Collected::All,
            (Some(Flag(true)), _) => Collected::All,
            (_, Some(Flag(false))) => Collected::OfUnknownLength,
            _ if is_old => Collected::OfUnknownLength,
            _ => Collected::None,
        }
    }
}
