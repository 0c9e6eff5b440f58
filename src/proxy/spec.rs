//! What the forwarding path is configured to be: upstreams, identity headers, limits, time limits,
//! redirects to https, Strict-Transport-Security.

pub mod balance;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};

use super::cookie::SameSite;
use super::pages::Look;
use super::upstream_login::UpstreamLogin;
use crate::gate::route::PathPattern;
use crate::http1::head::HeadLimits;
use crate::http1::write;
use crate::tls::connector::Connector;
use balance::{Balance, EjectSpec, HealthSpec};

/// A backend: one address, or several that serve the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSpec {
    /// Its name in the configuration, logs and metrics.
    pub name: Arc<str>,
    /// Where it is: at least one place.
    pub servers: Vec<UpstreamServer>,
    /// How connections to it are made secure, if they are.
    pub tls: Option<Arc<Connector>>,
    /// Which address gets which request.
    pub balance: Balance,
    /// How its addresses are looked after, if they are.
    pub health: Option<HealthSpec>,
    /// When one of several addresses gets no requests for what became of others, if ever.
    pub eject: Option<EjectSpec>,
    /// At how many further addresses a request may be tried that has left us and was not answered.
    pub retries: u32,
    /// Whether each connection begins with a PROXY protocol header. It is of one client then, so it
    /// serves one request and is not kept.
    pub proxy_protocol: Option<ProxyProtocolVersion>,
    /// How often names are looked up again.
    pub resolve: Duration,
    /// The longest wait for a connection to one address.
    pub connect_timeout: Duration,
    /// The longest wait for the head of an answer.
    pub header_timeout: Duration,
    /// The longest wait between two pieces of its body.
    pub read_timeout: Duration,
    /// The longest wait for the backend to take more of a request.
    pub write_timeout: Duration,
    /// The longest time from the request to the end of its answer, if there is a limit.
    pub total_timeout: Option<Duration>,
    /// How long an idle connection is kept for the next request.
    pub idle_timeout: Duration,
    /// How long a WebSocket connection may be silent in both directions.
    pub tunnel_timeout: Duration,
    /// Requests that it gets at one time, at all addresses and by all threads together.
    pub max_requests: usize,
    /// The version of HTTP that it is spoken to in.
    pub version: HttpVersion,
    /// Which bodies it gets only when all of them are there.
    pub collected: Collected,
    /// How we log in to it, if we do. With Digest, all bodies are collected: requests may have to be
    /// sent again.
    pub login: Option<Arc<UpstreamLogin>>,
}

/// A version of HTTP as backends speak it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// One request a connection, without chunks and interim answers (RFC 1945).
    Http10,
    /// RFC 9112.
    Http11,
    /// RFC 9113: over TLS where ALPN says so, in the clear with prior knowledge.
    Http2,
}

/// Which request bodies are collected before a backend hears of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collected {
    /// None: they are passed on as they come.
    None,
    /// Those of which nobody has said how long they are: the backend takes no chunks.
    OfUnknownLength,
    /// All, so that slow clients do not keep the backend waiting.
    All,
}

impl UpstreamSpec {
    /// A backend with the default time limits: 5 s to connect (a local backend that takes longer
    /// is down), 60 s to answer or to go on (as nginx has it), 30 s to take data, and 55 s idle
    /// (below the 60 s after which common servers close, so that we are the first to let go). A
    /// WebSocket may be silent for an hour, as HAProxy's `timeout tunnel` usually is. There is no
    /// limit for a whole exchange: uploads and streams take as long as they take. Names are looked up
    /// every 30 s, the lifetime that cluster DNS gives its answers. And 1024 requests at one time, as
    /// Envoy has it: more than a local backend serves, and few enough that one
    /// listener's clients cannot use up the file descriptors of all.
    #[must_use]
    pub fn new(name: &str, servers: Vec<UpstreamServer>) -> Self {
        Self {
            name: name.into(),
            servers,
            tls: None,
            balance: Balance::RoundRobin,
            health: None,
            eject: Some(EjectSpec::default()),
            retries: 1,
            proxy_protocol: None,
            resolve: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(60),
            read_timeout: Duration::from_secs(60),
            total_timeout: None,
            write_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(55),
            tunnel_timeout: Duration::from_secs(3600),
            max_requests: 1024,
            version: HttpVersion::Http11,
            collected: Collected::None,
            login: None,
        }
    }

    /// `host:port` as it is written in a Host field; of the first place, where there are several.
    #[must_use]
    pub fn authority(&self) -> String {
        self.authorities().next().unwrap_or_default()
    }

    /// The same of all places.
    pub fn authorities(&self) -> impl Iterator<Item = String> {
        self.servers.iter().map(|server| server.place.authority())
    }
}

/// How a PROXY protocol header is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocolVersion {
    /// As a line of text.
    V1,
    /// In binary.
    V2,
}

/// One place of a backend. Behind a name, there may be several addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamServer {
    /// Where it is.
    pub place: UpstreamPlace,
    /// How many requests each of its addresses gets for one that an address of weight 1 gets.
    pub weight: u32,
    /// When it gets any.
    pub role: ServerRole,
}

impl From<UpstreamPlace> for UpstreamServer {
    /// One that is like all others.
    fn from(place: UpstreamPlace) -> Self {
        Self {
            place,
            weight: 1,
            role: ServerRole::Primary,
        }
    }
}

/// When a place gets requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerRole {
    /// Always.
    Primary,
    /// Only while no primary one can be used.
    Backup,
}

/// Where a backend listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamPlace {
    /// At an address.
    Tcp {
        /// Host name or address literal (without brackets).
        host: String,
        /// Port.
        port: u16,
    },
    /// At a Unix socket.
    Unix(PathBuf),
}

impl UpstreamPlace {
    fn authority(&self) -> String {
        match self {
            Self::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port } => format!("{host}:{port}"),
            Self::Unix(_) => "localhost".into(),
        }
    }
}

/// How backends are told who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentitySpec {
    /// Under which names.
    pub headers: Vec<IdentityPreset>,
    /// What a signed assertion says, where [`IdentityPreset::Jwt`] is one of them.
    pub assertion: Option<AssertionSpec>,
}

impl Default for IdentitySpec {
    /// What most backends know.
    fn default() -> Self {
        Self {
            headers: vec![IdentityPreset::XForwardedUser],
            assertion: None,
        }
    }
}

/// A set of header names under which the backend is told who asks. The names themselves are in
/// `identity_headers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IdentityPreset {
    /// The user, as many proxies say it.
    XForwardedUser,
    /// The user, as oauth2-proxy says it to nginx.
    XAuthRequest,
    /// The user, as Authelia says it.
    RemoteUser,
    /// The certificate, as Envoy says it.
    Xfcc,
    /// The certificate and its chain (RFC 9440).
    Rfc9440,
    /// The certificate, as ingress-nginx says it.
    NginxSsl,
    /// The certificate, as HAProxy's documentation has it.
    HaproxySsl,
    /// The subject of the certificate, for WSO2 IoT Server.
    Wso2,
    /// The certificate, for WSO2 API Manager.
    Wso2Apim,
    /// A signed assertion of the user and the certificate.
    Jwt,
}

/// What signed assertions say, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssertionSpec {
    /// Who says it (`iss`).
    pub issuer: String,
    /// For whom it is (`aud`). Without one, the name of the upstream that gets it: a backend can
    /// then not use what it was told at another.
    pub audience: Option<String>,
    /// How long one is good. It is used again for half of that.
    pub lifetime: Duration,
    /// The key that signs. Without one, a random key at each start.
    pub key: Option<AssertionKey>,
}

impl Default for AssertionSpec {
    /// 60 s: longer than a request waits and clocks differ, and too short to be worth stealing.
    fn default() -> Self {
        Self {
            issuer: "portcullis".into(),
            audience: None,
            lifetime: Duration::from_secs(60),
            key: None,
        }
    }
}

/// Where the key is that signs assertions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssertionKey {
    /// PEM.
    pub file: PathBuf,
    /// Where it is configured, for messages.
    pub place: String,
}

/// What a client may send, and how much.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of a request head.
    pub head: HeadLimits,
    /// Bytes of a request body, where the route does not say otherwise.
    pub body: u64,
    /// Fields with an underscore in their name.
    pub underscores: Underscores,
    /// Requests served on one connection.
    pub requests_per_connection: usize,
    /// Requests of one HTTP/2 connection served at one time.
    pub http2_streams: usize,
}

/// What becomes of fields of a client that have an underscore in their name. Those that fold to one
/// that is ours never arrive, whatever this says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Underscores {
    /// The backend gets them.
    #[default]
    Keep,
    /// The backend does not get them: CGI and what comes from it takes them for others with `-`.
    Drop,
    /// The request is refused.
    Reject,
}

impl Default for Limits {
    /// 100 MiB of body: what device firmware and file uploads need, and no more. A new connection
    /// after 10,000 requests costs nobody anything and spreads clients over threads and gates again.
    /// 100 streams are the least that RFC 9113 section 6.5.2 recommends, and what Envoy recommends
    /// at the edge.
    fn default() -> Self {
        Self {
            head: HeadLimits::default(),
            body: 100 << 20,
            underscores: Underscores::default(),
            requests_per_connection: 10_000,
            http2_streams: 100,
        }
    }
}

/// How request bodies are kept until they are whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferingSpec {
    /// Bytes of all of them together.
    pub total: u64,
    /// Where those are kept that are not small.
    pub folder: PathBuf,
    /// Where that is configured, for messages.
    pub place: String,
}

impl Default for BufferingSpec {
    /// 1 GiB: ten uploads of the size that clients may send by default. `/var/tmp` is on a disk,
    /// where `/tmp` may be memory (file-hierarchy(7)).
    fn default() -> Self {
        Self {
            total: 1 << 30,
            folder: "/var/tmp".into(),
            place: String::new(),
        }
    }
}

/// How often clients may ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// For anything at all, where that is limited.
    pub all: Option<RatePolicy>,
    /// For routes; a route's `RateId` is a place in this list.
    pub routes: Vec<RatePolicy>,
}

/// How often one client may ask. Each limit counts by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RatePolicy {
    /// From one address.
    pub address: Option<RateLimit>,
    /// As one user.
    pub user: Option<RateLimit>,
}

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// The time for one token.
    pub interval: Duration,
    /// The most tokens in it.
    pub burst: usize,
}

/// How long a client may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientTimeouts {
    /// From the accepted connection to the end of the TLS handshake.
    pub handshake: Duration,
    /// From the first byte of a request head to its last.
    pub head: Duration,
    /// Between two pieces of a request body, and for the client to take more of an answer.
    pub body: Duration,
    /// Bytes a second on an average over the time for which the client was waited for, once that is
    /// longer than `body`; 0 for any.
    pub body_rate: u64,
    /// Between two requests on a connection.
    pub idle: Duration,
}

impl Default for ClientTimeouts {
    /// 10 s for handshake and head (a phone on a bad network needs 3), 60 s for the rest. 512 bytes
    /// a second are less than any network gives that people can work on; Apache's `MinRate` is 500.
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            body: Duration::from_secs(60),
            body_rate: 512,
            idle: Duration::from_secs(60),
        }
    }
}

/// The login and logout pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginSpec {
    /// The path of the login page and form target.
    pub path: String,
    /// The path of the logout page and form target.
    pub logout: String,
    /// How the pages look, these and all others of ours.
    pub look: Look,
    /// Where a login goes that came from nowhere in particular.
    pub home: String,
    /// What other sites can make of the session of a browser.
    pub same_site: SameSite,
}

/// Where requests in the clear are sent instead of being served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 307 or 308. Only the last two keep the method and the body.
    pub status: StatusCode,
    /// The port they are sent to.
    pub port: TargetPort,
    /// Paths that are not sent away: they go through the gate, as on any listener in the clear.
    pub except: Vec<PathPattern>,
}

impl Redirect {
    /// To the same address over TLS, for a port where both are spoken. 307 keeps the method and the
    /// body, which uploads need, and says nothing about tomorrow.
    #[must_use]
    pub const fn same_port() -> Self {
        Self {
            status: StatusCode::TEMPORARY_REDIRECT,
            port: TargetPort::AsAsked,
            except: Vec::new(),
        }
    }
}

/// The port of the URL that a redirect leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// The one that the client wrote, or none where it wrote none.
    AsAsked,
    /// This one, left out of the URL where it is 443.
    Fixed(u16),
}

/// A Strict-Transport-Security policy, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hsts {
    /// Its directives.
    pub(super) value: HeaderValue,
    /// The same as a field line.
    pub(super) line: Box<[u8]>,
}

/// What a Strict-Transport-Security policy is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HstsScope {
    /// The host alone.
    Host,
    /// All its subdomains too.
    Subdomains,
    /// The same, also for browsers that have never been there: the host asks to be on their list.
    Preload,
}

impl Hsts {
    /// The policy that browsers keep for `max_age` (whole seconds count); zero makes them forget.
    #[must_use]
    pub fn new(max_age: Duration, scope: HstsScope) -> Self {
        let scope = match scope {
            HstsScope::Host => "",
            HstsScope::Subdomains => "; includeSubDomains",
            HstsScope::Preload => "; includeSubDomains; preload",
        };
        let text = format!("max-age={}{scope}", max_age.as_secs());
        let mut line = Vec::new();
        write::field(&mut line, "Strict-Transport-Security", text.as_bytes());
        Self {
            value: HeaderValue::try_from(text).expect("digits and words of our own"),
            line: line.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_written_as_rfc_6797_has_it() {
        let day = Duration::from_secs(86_400);
        for (age, scope, expected) in [
            (day, HstsScope::Host, "max-age=86400"),
            (Duration::ZERO, HstsScope::Host, "max-age=0"),
            (
                day,
                HstsScope::Subdomains,
                "max-age=86400; includeSubDomains",
            ),
            (
                365 * day,
                HstsScope::Preload,
                "max-age=31536000; includeSubDomains; preload",
            ),
        ] {
            let hsts = Hsts::new(age, scope);
            assert_eq!(hsts.value, expected);
            let line = format!("Strict-Transport-Security: {expected}\r\n");
            assert_eq!(*hsts.line, *line.as_bytes());
        }
    }
}
