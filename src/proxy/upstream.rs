//! Connections to backends: made through pingora-core's connector, kept idle per thread.
//!
//! A connection comes back only when its last exchange ended cleanly, and is tried before it is
//! used again: a backend may have closed it, and one that sent bytes unasked is not trusted to
//! answer the next request.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pingora_core::ErrorType;
use pingora_core::connectors::TransportConnector;
use pingora_core::protocols::Stream;
use pingora_core::upstreams::peer::HttpPeer;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::timeout;

use super::spec::UpstreamSpec;
use crate::http1::read::ReadBuffer;

/// Idle connections kept to one backend by one thread.
const MAX_IDLE: usize = 128;

/// A connection to a backend.
pub struct UpstreamConnection {
    /// The transport.
    pub io: Stream,
    /// What was read from it and not yet used.
    pub buffer: ReadBuffer,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectFailure {
    /// The name has no address.
    #[error("the name of the backend cannot be resolved")]
    Unresolved,
    /// Nobody listens there, or the network is down.
    #[error("the backend refused the connection")]
    Refused,
    /// It took too long.
    #[error("the backend did not take the connection in time")]
    TimedOut,
    /// As many requests as it may get are under way.
    #[error("the backend has as many requests as it may get")]
    Full,
}

/// The idle connections of one thread, and how to make new ones.
pub struct UpstreamPool {
    connector: Arc<TransportConnector>,
    /// Among how many threads the bound on requests is divided.
    threads: usize,
    /// Only its own thread takes this lock, so nobody ever waits for it.
    backends: Mutex<HashMap<Arc<str>, Backend>>,
}

#[derive(Default)]
struct Backend {
    idle: Vec<Idle>,
    /// Requests under way.
    requests: usize,
}

/// A request under way; ends when dropped.
pub struct UnderWay<'p> {
    pool: &'p UpstreamPool,
    upstream: Arc<str>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(backend) = self.pool.backends.lock().get_mut(&self.upstream) {
            backend.requests = backend.requests.saturating_sub(1);
        }
    }
}

struct Idle {
    connection: UpstreamConnection,
    until: Instant,
}

impl UpstreamPool {
    /// An empty pool, one of `threads`.
    #[must_use]
    pub fn new(connector: Arc<TransportConnector>, threads: usize) -> Self {
        Self {
            connector,
            threads: threads.max(1),
            backends: Mutex::default(),
        }
    }

    /// Counts a request in.
    ///
    /// # Errors
    /// [`ConnectFailure::Full`] when this thread's share of what the backend may get is under way.
    pub fn enter(&self, upstream: &UpstreamSpec) -> Result<UnderWay<'_>, ConnectFailure> {
        let share = upstream.max_requests.div_ceil(self.threads).max(1);
        let mut backends = self.backends.lock();
        let backend = backends.entry(Arc::clone(&upstream.name)).or_default();
        if backend.requests >= share {
            return Err(ConnectFailure::Full);
        }
        backend.requests += 1;
        Ok(UnderWay {
            pool: self,
            upstream: Arc::clone(&upstream.name),
        })
    }

    /// An idle connection that still works, the last used first.
    #[must_use]
    pub fn take(&self, upstream: &UpstreamSpec) -> Option<UpstreamConnection> {
        let now = Instant::now();
        let mut backends = self.backends.lock();
        let connections = &mut backends.get_mut(&upstream.name)?.idle;
        while let Some(mut candidate) = connections.pop() {
            if candidate.until > now && is_quiet(&mut candidate.connection) {
                return Some(candidate.connection);
            }
        }
        None
    }

    /// Keeps a connection whose last exchange ended cleanly.
    pub fn put(&self, upstream: &UpstreamSpec, mut connection: UpstreamConnection) {
        connection.buffer.release();
        let mut backends = self.backends.lock();
        let connections = &mut backends.entry(Arc::clone(&upstream.name)).or_default().idle;
        if connections.len() < MAX_IDLE {
            connections.push(Idle {
                connection,
                until: Instant::now() + upstream.idle_timeout,
            });
        }
    }

    /// Closes what has been idle for too long.
    pub fn prune(&self) {
        let now = Instant::now();
        let mut backends = self.backends.lock();
        for backend in backends.values_mut() {
            backend.idle.retain(|kept| kept.until > now);
        }
        backends.retain(|_, backend| backend.requests > 0 || !backend.idle.is_empty());
    }

    /// Makes a new connection.
    ///
    /// # Errors
    /// [`ConnectFailure`], within the upstream's connect time.
    pub async fn connect(
        &self,
        upstream: &UpstreamSpec,
    ) -> Result<UpstreamConnection, ConnectFailure> {
        timeout(upstream.connect_timeout, self.connect_any(upstream))
            .await
            .unwrap_or(Err(ConnectFailure::TimedOut))
    }

    async fn connect_any(
        &self,
        upstream: &UpstreamSpec,
    ) -> Result<UpstreamConnection, ConnectFailure> {
        let mut failure = ConnectFailure::Unresolved;
        for address in resolve(&upstream.host, upstream.port).await? {
            match self.connect_to(address, upstream.connect_timeout).await {
                Ok(connection) => return Ok(connection),
                Err(why) => failure = why,
            }
        }
        Err(failure)
    }

    async fn connect_to(
        &self,
        address: SocketAddr,
        limit: Duration,
    ) -> Result<UpstreamConnection, ConnectFailure> {
        let mut peer = HttpPeer::new(address, false, String::new());
        peer.options.connection_timeout = Some(limit);
        match self.connector.new_stream(&peer).await {
            Ok(io) => Ok(UpstreamConnection {
                io,
                buffer: ReadBuffer::default(),
            }),
            Err(error) if *error.etype() == ErrorType::ConnectTimedout => {
                Err(ConnectFailure::TimedOut)
            }
            Err(_) => Err(ConnectFailure::Refused),
        }
    }
}

/// The addresses of a host. Names are looked up on the runtime's blocking threads, never on one
/// that forwards.
async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectFailure> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    match tokio::net::lookup_host((host, port)).await {
        Ok(addresses) => Ok(addresses.collect()),
        Err(_) => Err(ConnectFailure::Unresolved),
    }
}

/// Whether an idle connection has neither been closed nor sent anything. Costs a system call only
/// when something has happened on it.
fn is_quiet(connection: &mut UpstreamConnection) -> bool {
    let mut byte = [0u8; 1];
    let mut buffer = ReadBuf::new(&mut byte);
    let mut context = Context::from_waker(Waker::noop());
    let read = Pin::new(&mut connection.io).poll_read(&mut context, &mut buffer);
    connection.buffer.is_empty() && matches!(read, Poll::Pending)
}
