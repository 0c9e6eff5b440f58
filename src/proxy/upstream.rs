//! Connections to backends, kept idle per thread.
//!
//! A connection comes back only when its last exchange ended cleanly, and is tried before it is
//! used again: a backend may have closed it, and one that sent bytes unasked is not trusted to
//! answer the next request.
//!
//! TCP and Unix sockets are tokio's, TLS is `tls::connector`'s. Not pingora-core's connector: its
//! streams have buffers of their own (64 KiB to read, 1,460 bytes to write) beneath ours, it loads
//! the system's certificates to be made at all, does not say why a certificate is refused, and its
//! pool may mix what was made with other trust.

mod transport;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use foldhash::HashMap;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout};

use super::spec::{UpstreamPlace, UpstreamSpec};
use crate::http1::read::ReadBuffer;
use crate::tls::connector::{Connector, TlsFault, Trust};
pub use transport::Transport;

/// A connection to a backend.
pub struct UpstreamConnection {
    /// The transport.
    pub io: Transport,
    /// What was read from it and not yet used.
    pub buffer: ReadBuffer,
    /// What it was made secure with.
    trust: Option<Arc<Trust>>,
}

impl UpstreamConnection {
    fn new(io: Transport, trust: Option<Arc<Trust>>) -> Self {
        Self {
            io,
            buffer: ReadBuffer::default(),
            trust,
        }
    }

    /// Whether one that is made now would be made with the same trust: what was let in by a CA that
    /// has been taken out since is not used again.
    fn is_as_new(&self, upstream: &UpstreamSpec) -> bool {
        let now = upstream.tls.as_ref().and_then(|tls| tls.trust());
        match (&self.trust, &now) {
            (None, None) => true,
            (Some(then), Some(now)) => Arc::ptr_eq(then, now),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }
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
    /// TLS failed.
    #[error(transparent)]
    Tls(#[from] TlsFault),
}

/// The idle connections of one thread, and how to make new ones.
pub struct UpstreamPool {
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
    upstream: &'p UpstreamSpec,
    /// A connection that can serve another request.
    connection: Option<Idle>,
}

impl UnderWay<'_> {
    /// Ends it, and keeps the connection, on which its exchange ended cleanly.
    pub fn done(mut self, mut connection: UpstreamConnection, last_used: Instant) {
        connection.buffer.release();
        self.connection = Some(Idle {
            connection,
            until: last_used + self.upstream.idle_timeout,
        });
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut backends = self.pool.backends.lock();
        let Some(backend) = backends.get_mut(&self.upstream.name) else {
            return;
        };
        backend.requests = backend.requests.saturating_sub(1);
        // As many as were under way at one time, which `enter` bounds.
        backend.idle.extend(self.connection.take());
    }
}

struct Idle {
    connection: UpstreamConnection,
    until: Instant,
}

impl UpstreamPool {
    /// An empty pool, one of `threads`.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self {
            threads: threads.max(1),
            backends: Mutex::default(),
        }
    }

    /// Counts a request in, and gives it an idle connection that still works, if there is one: the
    /// last used first.
    ///
    /// # Errors
    /// [`ConnectFailure::Full`] when this thread's share of what the backend may get is under way.
    pub fn enter<'p>(
        &'p self,
        upstream: &'p UpstreamSpec,
        now: Instant,
    ) -> Result<(UnderWay<'p>, Option<UpstreamConnection>), ConnectFailure> {
        let share = upstream.max_requests.div_ceil(self.threads).max(1);
        let mut backends = self.backends.lock();
        let backend = backends.entry(Arc::clone(&upstream.name)).or_default();
        if backend.requests >= share {
            return Err(ConnectFailure::Full);
        }
        backend.requests += 1;
        let connection = backend.take_idle(upstream, now);
        let under_way = UnderWay {
            pool: self,
            upstream,
            connection: None,
        };
        Ok((under_way, connection))
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
        let (host, port) = match &upstream.place {
            UpstreamPlace::Unix(path) => return connect_to_socket(path).await,
            UpstreamPlace::Tcp { host, port } => (host, *port),
        };
        let mut failure = ConnectFailure::Unresolved;
        for address in resolve(host, port).await? {
            match connect_to(address, upstream.tls.as_deref()).await {
                Ok(connection) => return Ok(connection),
                Err(why) => failure = why,
            }
        }
        Err(failure)
    }
}

impl Backend {
    fn take_idle(&mut self, upstream: &UpstreamSpec, now: Instant) -> Option<UpstreamConnection> {
        while let Some(mut candidate) = self.idle.pop() {
            let connection = &mut candidate.connection;
            if candidate.until > now && connection.is_as_new(upstream) && is_quiet(connection) {
                return Some(candidate.connection);
            }
        }
        None
    }
}

async fn connect_to(
    address: SocketAddr,
    tls: Option<&Connector>,
) -> Result<UpstreamConnection, ConnectFailure> {
    let connected = TcpStream::connect(address).await;
    let io = connected.map_err(|_| ConnectFailure::Refused)?;
    // Requests are written whole: waiting for more would only delay them.
    io.set_nodelay(true).map_err(|_| ConnectFailure::Refused)?;
    let Some(connector) = tls else {
        return Ok(UpstreamConnection::new(Transport::Tcp(io), None));
    };
    // One that was never loaded is one that nobody may use.
    let trust = connector.trust().ok_or(TlsFault::Failed)?;
    let io = connector.connect(&trust, io).await?;
    let io = Transport::Tls(Box::new(io));
    Ok(UpstreamConnection::new(io, Some(trust)))
}

async fn connect_to_socket(path: &Path) -> Result<UpstreamConnection, ConnectFailure> {
    let connected = UnixStream::connect(path).await;
    let io = connected.map_err(|_| ConnectFailure::Refused)?;
    Ok(UpstreamConnection::new(Transport::Unix(io), None))
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
