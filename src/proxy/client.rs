//! What is known about a client before it has said anything over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;

/// One client connection.
#[derive(Clone, Debug)]
pub struct ClientFacts {
    /// The listener it came to, by name.
    pub listener: Arc<str>,
    /// Its end of the connection.
    pub peer: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
    /// What it reached us by.
    pub scheme: Scheme,
    /// Whether passwords and session cookies are accepted from it.
    pub sessions: SessionsAccepted,
    /// What the TLS handshake settled, where there was one.
    pub tls: Option<TlsSummary>,
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
