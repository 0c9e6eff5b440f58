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
use crate::proxy_protocol::Header;

/// One client connection.
#[derive(Clone, Debug)]
pub struct ClientFacts {
    /// The listener it came to, by name.
    pub listener: Arc<str>,
    /// Its address, an IPv4 address as such.
    pub ip: IpAddr,
    /// Whether its listener lets in by address, so that where it is proves something.
    pub(super) let_in_by_address: bool,
    /// Whether that is who it is from: not where a trusted proxy has said something else of it that
    /// cannot be read.
    pub(super) is_known: bool,
    /// The same as it is written down.
    pub address: String,
    /// The port that it came from, 0 where that is not known.
    pub(super) source_port: u16,
    /// What it connected to.
    pub(super) local: SocketAddr,
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
    /// What was brought by a proxy that is believed.
    pub(super) behind: Option<Box<Behind>>,
    /// What is found out for it once, whichever of its requests asks.
    pub(super) kept: Arc<Kept>,
}

/// What is found out for a connection once, and holds for its next requests.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Its certificate, and whose it is, since its first request.
    pub(super) certified: Memo<Option<Arc<Certified>>>,
    /// What backends are told of its certificate: field lines.
    pub(super) certificate_lines: Memo<Option<CertificateLines>>,
    /// The assertions that backends got.
    pub(super) tokens: Memo<Vec<Token>>,
}

/// What stands between a client and us.
#[derive(Clone, Debug, Default)]
pub(super) struct Behind {
    /// The address that connected to us, as it is written down.
    pub(super) peer: String,
    /// Whether what its requests say of themselves is believed, as their ids.
    pub(super) is_trusted: bool,
    /// The host that the client asked the proxy for, where that says so.
    pub(super) host: Option<Box<str>>,
    /// The path below which the client finds us, where a proxy has cut it off.
    pub(super) prefix: Option<Box<str>>,
    /// Further elements of `Forwarded`, each after a comma.
    pub(super) forwarded: String,
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
        let port = local.port().to_string();
        let forwarding = forwarding_lines(&address, scheme, &port, &address);
        let forwarded = format!("{};proto={}", forwarded_for(ip), scheme.as_str());
        Self {
            listener,
            ip,
            let_in_by_address: false,
            is_known: true,
            address,
            source_port: peer.port(),
            local,
            scheme,
            sessions,
            tls: None,
            peer: None,
            redirect: None,
            strict_transport: StrictTransport::of(scheme, sessions),
            in_flight,
            logged: OnceLock::new(),
            forwarding,
            forwarded: forwarded.into(),
            behind: None,
            kept: Arc::default(),
        }
    }

    /// What a backend is told of it by the PROXY protocol.
    pub(super) const fn announced(&self) -> Header {
        Header::Proxied {
            source: SocketAddr::new(self.ip, self.source_port),
            destination: self.local,
        }
    }

    /// The same where its listener lets in by address.
    #[must_use]
    pub fn let_in_by_address(mut self, is_so: bool) -> Self {
        self.let_in_by_address = is_so;
        self
    }

    /// The same for a client whose connection a proxy has announced (PROXY protocol): it connected
    /// from `peer`.
    #[must_use]
    pub fn through(mut self, peer: IpAddr) -> Self {
        let peer = peer.to_canonical();
        if peer != self.ip {
            self.behind = Some(Box::new(Behind {
                peer: peer.to_string(),
                ..Behind::default()
            }));
        }
        self
    }
}

/// The field lines by which a backend is told where a request comes from: `chain` is the client and
/// what it went through.
pub(super) fn forwarding_lines(
    chain: &str,
    scheme: Scheme,
    port: &str,
    address: &str,
) -> Box<[u8]> {
    let mut lines = Vec::new();
    for (name, value) in [
        ("X-Forwarded-For", chain),
        ("X-Forwarded-Proto", scheme.as_str()),
        ("X-Forwarded-Port", port),
        ("X-Real-IP", address),
    ] {
        write::field(&mut lines, name, value.as_bytes());
    }
    lines.into()
}

/// An address as `Forwarded` has it (RFC 7239 section 6): one of IPv6 is bracketed and quoted.
pub(super) fn forwarded_for(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("for={ip}"),
        IpAddr::V6(ip) => format!("for=\"[{ip}]\""),
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
    /// Where there is no policy of our own.
    pub(super) const fn of(scheme: Scheme, sessions: SessionsAccepted) -> Self {
        match (scheme, sessions) {
            (Scheme::Http, SessionsAccepted::OnlyOverTls) => Self::Never,
            _ => Self::Backends,
        }
    }

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
