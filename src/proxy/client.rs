//! What is known about a client before it has said anything over HTTP.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, OnceLock};

use super::assertion::Token;
use super::certificate::Certified;
use super::identity_headers::CertificateLines;
use super::memo::Memo;
use super::spec::{Hsts, Redirect};
use crate::http1::write;
use crate::identity::certificate::Peer;

/// One client connection.
#[derive(Clone, Debug)]
pub struct ClientFacts {
    /// The listener it came to, by name.
    pub listener: Arc<str>,
    /// Its address, an IPv4 address as such.
    pub ip: IpAddr,
    /// The same as it is written down.
    pub address: String,
    /// What it reached us by.
    pub scheme: Scheme,
    /// Whether passwords and session cookies are accepted from it.
    pub sessions: SessionsAccepted,
    /// What the TLS handshake settled, where there was one.
    pub tls: Option<TlsSummary>,
    /// The connection as TLS knows it, asked at each request. None where there is no TLS at all.
    pub peer: Option<Arc<dyn Peer>>,
    /// Where its requests are sent instead of being served, where they are.
    pub redirect: Option<Arc<Redirect>>,
    /// What its answers say of `Strict-Transport-Security`.
    pub strict_transport: StrictTransport,
    /// The requests of this listener that this thread is serving.
    pub in_flight: Arc<AtomicI64>,
    /// What every log line says of it, made with the first one.
    pub(super) logged: OnceLock<String>,
    /// What backends are told of it: field lines, made once.
    pub(super) forwarding: Box<[u8]>,
    /// The same as the beginning of a `Forwarded` element (RFC 7239).
    pub(super) forwarded: Box<str>,
    /// Its certificate, and whose it is, since its first request.
    pub(super) certified: Memo<Option<Arc<Certified>>>,
    /// What backends are told of its certificate: field lines.
    pub(super) certificate_lines: Memo<Option<CertificateLines>>,
    /// The assertions that backends got.
    pub(super) tokens: Memo<Vec<Token>>,
}

impl ClientFacts {
    /// A connection from `peer` to `local`, before its TLS handshake.
    #[must_use]
    pub fn new(
        listener: Arc<str>,
        (peer, local): (SocketAddr, SocketAddr),
        scheme: Scheme,
        sessions: SessionsAccepted,
        in_flight: Arc<AtomicI64>,
    ) -> Self {
        let ip = peer.ip().to_canonical();
        let address = ip.to_string();
        let mut forwarding = Vec::new();
        let port = local.port().to_string();
        for (name, value) in [
            ("X-Forwarded-For", address.as_str()),
            ("X-Forwarded-Proto", scheme.as_str()),
            ("X-Forwarded-Port", &port),
            ("X-Real-IP", &address),
        ] {
            write::field(&mut forwarding, name, value.as_bytes());
        }
        let scheme_name = scheme.as_str();
        // RFC 7239 section 6: an IPv6 address is bracketed and quoted.
        let forwarded = match ip {
            IpAddr::V4(ip) => format!("for={ip};proto={scheme_name}"),
            IpAddr::V6(ip) => format!("for=\"[{ip}]\";proto={scheme_name}"),
        };
        Self {
            listener,
            ip,
            address,
            scheme,
            sessions,
            tls: None,
            peer: None,
            redirect: None,
            strict_transport: match (scheme, sessions) {
                (Scheme::Http, SessionsAccepted::OnlyOverTls) => StrictTransport::Never,
                _ => StrictTransport::Backends,
            },
            in_flight,
            logged: OnceLock::new(),
            forwarding: forwarding.into(),
            forwarded: forwarded.into(),
            certified: Memo::default(),
            certificate_lines: Memo::default(),
            tokens: Memo::default(),
        }
    }
}

/// The scheme of the URLs that reach a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Over TLS.
    Https,
    /// In the clear.
    Http,
}

impl Scheme {
    /// As it stands in a URL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
        }
    }
}

/// Whether logins and sessions are accepted on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionsAccepted {
    /// They are.
    Yes,
    /// They are not: the connection is in the clear.
    OnlyOverTls,
}

/// What the answers on a connection say of `Strict-Transport-Security` (RFC 6797).
#[derive(Clone, Debug)]
pub enum StrictTransport {
    /// What the backend says: over TLS without a policy of our own, and in the clear behind
    /// something else that ends TLS, which passes it on over TLS.
    Backends,
    /// Nothing, whatever the backend says: the connection is in the clear (section 7.2).
    Never,
    /// Our policy, in place of whatever the backend says.
    Ours(Arc<Hsts>),
}

impl StrictTransport {
    /// Our policy, where there is one.
    #[must_use]
    pub fn ours(&self) -> Option<&Hsts> {
        match self {
            Self::Ours(hsts) => Some(hsts),
            Self::Backends | Self::Never => None,
        }
    }
}

/// What the log says of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSummary {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// The cipher suite.
    pub cipher: String,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
}
