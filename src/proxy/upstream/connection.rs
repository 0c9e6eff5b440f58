//! One connection to an address of a backend, and how it is made.
//!
//! TCP and Unix sockets are tokio's, TLS is `tls::connector`'s. Not pingora-core's connector: its
//! streams have buffers of their own (64 KiB to read, 1,460 bytes to write) beneath ours, it loads
//! the system's certificates to be made at all, does not say why a certificate is refused, and its
//! pool may mix what was made with other trust.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::endpoint::{Endpoint, EndpointAddress};
use super::transport::Transport;
use crate::http1::read::ReadBuffer;
use crate::proxy::spec::{ProxyProtocolVersion, UpstreamSpec};
use crate::proxy_protocol::Header;
use crate::tls::connector::{Connector, TlsFault, Trust};

/// A connection to a backend.
pub struct UpstreamConnection {
    /// The transport.
    pub io: Transport,
    /// What was read from it and not yet used.
    pub buffer: ReadBuffer,
    /// What it was made secure with.
    trust: Option<Arc<Trust>>,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectFailure {
    /// No name of it has an address.
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
    /// It did not begin as HTTP/2 does.
    #[error("the backend does not speak HTTP/2")]
    NotHttp2,
    /// TLS failed.
    #[error(transparent)]
    Tls(#[from] TlsFault),
}

impl UpstreamConnection {
    /// Makes a new one to `endpoint`, for the client that is `announced` where the backend wants to
    /// know that.
    ///
    /// # Errors
    /// [`ConnectFailure`], within the upstream's connect time.
    pub async fn make(
        upstream: &UpstreamSpec,
        endpoint: &Endpoint,
        announced: Header,
    ) -> Result<Self, ConnectFailure> {
        let connected = async {
            let io = match &endpoint.address {
                EndpointAddress::Unix(path) => {
                    let mut io = connect_to_socket(path).await?;
                    announce(upstream, announced, &mut io.io).await?;
                    return Ok(io);
                }
                EndpointAddress::Tcp(address) => TcpStream::connect(address).await,
                EndpointAddress::Localhost(port) => connect_here(*port).await,
            };
            let mut io = io.map_err(|_| ConnectFailure::Refused)?;
            announce(upstream, announced, &mut io).await?;
            over_tcp(io, &endpoint.host, upstream.tls.as_deref()).await
        };
        let connected = timeout(upstream.connect_timeout, connected).await;
        connected.unwrap_or(Err(ConnectFailure::TimedOut))
    }

    fn new(io: Transport, trust: Option<Arc<Trust>>) -> Self {
        Self {
            io,
            buffer: ReadBuffer::default(),
            trust,
        }
    }

    /// Whether one that is made now would be made with the same trust.
    pub(super) fn is_as_new(&self, upstream: &UpstreamSpec) -> bool {
        is_current(self.trust.as_ref(), upstream)
    }

    /// What it is made of, before anything was read from it.
    pub(super) fn into_transport(self) -> (Transport, Option<Arc<Trust>>) {
        (self.io, self.trust)
    }

    /// Whether an idle one has neither been closed nor sent anything. Costs a system call only when
    /// something has happened on it.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0u8; 1];
        let mut buffer = ReadBuf::new(&mut byte);
        let mut context = Context::from_waker(Waker::noop());
        let read = Pin::new(&mut self.io).poll_read(&mut context, &mut buffer);
        self.buffer.is_empty() && matches!(read, Poll::Pending)
    }
}

/// Whether this is the trust that a connection is made with now: what was let in by a CA that has been
/// taken out since is not used again.
pub(super) fn is_current(then: Option<&Arc<Trust>>, upstream: &UpstreamSpec) -> bool {
    let now = upstream.tls.as_ref().and_then(|tls| tls.trust());
    match (then, &now) {
        (None, None) => true,
        (Some(then), Some(now)) => Arc::ptr_eq(then, now),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// Says who is there, before TLS and everything else.
async fn announce(
    upstream: &UpstreamSpec,
    announced: Header,
    io: &mut (impl AsyncWrite + Unpin),
) -> Result<(), ConnectFailure> {
    let Some(version) = upstream.proxy_protocol else {
        return Ok(());
    };
    let mut header = Vec::new();
    match version {
        ProxyProtocolVersion::V1 => announced.write_v1(&mut header),
        ProxyProtocolVersion::V2 => announced.write_v2(&mut header),
    }
    let written = io.write_all(&header).await;
    written.map_err(|_| ConnectFailure::Refused)
}

async fn over_tcp(
    io: TcpStream,
    host: &str,
    tls: Option<&Connector>,
) -> Result<UpstreamConnection, ConnectFailure> {
    // Requests are written whole: waiting for more would only delay them.
    io.set_nodelay(true).map_err(|_| ConnectFailure::Refused)?;
    let Some(connector) = tls else {
        return Ok(UpstreamConnection::new(Transport::Tcp(io), None));
    };
    // One that was never loaded is one that nobody may use.
    let trust = connector.trust().ok_or(TlsFault::Failed)?;
    let io = connector.connect(&trust, host, io).await?;
    let io = Transport::Tls(Box::new(io));
    Ok(UpstreamConnection::new(io, Some(trust)))
}

async fn connect_here(port: u16) -> io::Result<TcpStream> {
    match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
        Ok(io) => Ok(io),
        Err(_) => TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await,
    }
}

async fn connect_to_socket(path: &Path) -> Result<UpstreamConnection, ConnectFailure> {
    let connected = UnixStream::connect(path).await;
    let io = connected.map_err(|_| ConnectFailure::Refused)?;
    Ok(UpstreamConnection::new(Transport::Unix(io), None))
}
