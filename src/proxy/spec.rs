//! What the forwarding path is configured to be: upstreams, identity headers, limits, time limits.

use std::sync::Arc;
use std::time::Duration;

use crate::http1::head::HeadLimits;

/// A backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSpec {
    /// Its name in the configuration, logs and metrics.
    pub name: Arc<str>,
    /// Host name or address literal (without brackets), resolved at each new connection.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The longest wait for a connection, name look-up included.
    pub connect_timeout: Duration,
    /// The longest wait for the head of an answer, and between two pieces of its body.
    pub read_timeout: Duration,
    /// The longest wait for the backend to take more of a request.
    pub write_timeout: Duration,
    /// How long an idle connection is kept for the next request.
    pub idle_timeout: Duration,
    /// Requests that it gets at one time, by all threads together.
    pub max_requests: usize,
}

impl UpstreamSpec {
    /// A backend with the default time limits: 5 s to connect (a local backend that takes longer
    /// is down), 60 s to answer or to go on (as nginx has it), 30 s to take data, and 55 s idle
    /// (below the 60 s after which common servers close, so that we are the first to let go). And
    /// 1024 requests at one time, as Envoy has it: more than a local backend serves, and few enough
    /// that one listener's clients cannot use up the file descriptors of all.
    #[must_use]
    pub fn new(name: &str, host: &str, port: u16) -> Self {
        Self {
            name: name.into(),
            host: host.into(),
            port,
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(55),
            max_requests: 1024,
        }
    }

    /// `host:port` as it is written in a Host field.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// A set of header names under which the backend is told who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IdentityPreset {
    /// `X-Forwarded-User`, `-Email`, `-Groups`, `-Preferred-Username`.
    XForwardedUser,
}

/// How much a client may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of a request head.
    pub head: HeadLimits,
    /// Bytes of a request body, where the route does not say otherwise.
    pub body: u64,
}

impl Default for Limits {
    /// 100 MiB of body: what device firmware and file uploads need, and no more.
    fn default() -> Self {
        Self {
            head: HeadLimits::default(),
            body: 100 << 20,
        }
    }
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
    /// Between two requests on a connection.
    pub idle: Duration,
}

impl Default for ClientTimeouts {
    /// 10 s for handshake and head (a phone on a bad network needs 3), 60 s for the rest.
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            body: Duration::from_secs(60),
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
    /// What the pages call the thing behind the gate.
    pub title: String,
    /// Where a login goes that came from nowhere in particular.
    pub home: String,
}
