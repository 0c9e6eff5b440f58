//! The client's TCP connection as the engine's TLS wants it.
//!
//! pingora-core's handshake runs over anything that is its `IO`. This one is a bare TCP stream:
//! the digests that pingora collects for its own proxy are not needed here.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

/// A connection from a client.
#[derive(Debug)]
pub struct ClientSocket {
    tcp: TcpStream,
    /// The client's end.
    pub peer: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
}

impl ClientSocket {
    /// Takes an accepted stream.
    ///
    /// # Errors
    /// When the connection is already gone.
    pub fn new(tcp: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        // Answers are written whole: waiting for more would only delay them.
        tcp.set_nodelay(true)?;
        let local = tcp.local_addr()?;
        Ok(Self { tcp, peer, local })
    }

    /// Acknowledges what has arrived at once instead of after the kernel's 40 ms. After a TLS
    /// handshake we have nothing to send, so the acknowledgement of the client's last flight
    /// would wait; a client without `TCP_NODELAY` holds its request back until it comes.
    pub fn acknowledge_now(&self) {
        // Only a matter of speed: a kernel that refuses answers a little later.
        drop(socket2::SockRef::from(&self.tcp).set_tcp_quickack(true));
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for ClientSocket {
    async fn shutdown(&mut self) {
        drop(AsyncWriteExt::shutdown(&mut self.tcp).await);
    }
}

impl UniqueID for ClientSocket {
    fn id(&self) -> UniqueIDType {
        self.tcp.as_raw_fd()
    }
}

impl Ssl for ClientSocket {}

impl GetTimingDigest for ClientSocket {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for ClientSocket {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for ClientSocket {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl Peek for ClientSocket {}
