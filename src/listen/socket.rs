//! The client's TCP connection as the engine's TLS wants it.
//!
//! pingora-core's handshake runs over anything that is its `IO`. This one is a TCP stream with
//! the system calls saved that BoringSSL would make; the digests that pingora collects for its own
//! proxy are not needed here.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use crate::http1::buffers;
use crate::proxy::exchange::ClientStream;
use crate::proxy::keep_alive::keep_alive;

/// A connection from a client.
///
/// What TLS reads in two steps (the header of a record, then the rest) is one system call here,
/// and the records it writes are sent together once [`ClientSocket::gather`] was called. Buffers
/// are held only while something is in them.
#[derive(Debug)]
pub struct ClientSocket {
    tcp: TcpStream,
    /// The client's end.
    pub peer: SocketAddr,
    /// Our end, or what the client took for it.
    pub local: SocketAddr,
    /// The proxy that has connected for the client, where one has said so.
    pub through: Option<IpAddr>,
    /// Read from the kernel and not yet asked for.
    ahead: BytesMut,
    /// Written, and not yet sent.
    gathered: BytesMut,
    gathers: bool,
}

/// With less room than this, what is gathered is sent: the largest TLS record (RFC 8446 section
/// 5.2), and an alert behind it.
const RECORD_ROOM: usize = (16 << 10) + 5 + 256 + 64;

impl ClientSocket {
    /// Takes an accepted stream.
    ///
    /// # Errors
    /// When the connection is already gone.
    pub fn new(tcp: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        // Answers are written whole: waiting for more would only delay them.
        tcp.set_nodelay(true)?;
        let local = tcp.local_addr()?;
        Ok(Self {
            tcp,
            peer,
            local,
            through: None,
            ahead: BytesMut::new(),
            gathered: BytesMut::new(),
            gathers: false,
        })
    }

    /// Acknowledges what has arrived at once instead of after the kernel's 40 ms. After a TLS
    /// handshake we have nothing to send, so the acknowledgement of the client's last flight
    /// would wait; a client without `TCP_NODELAY` holds its request back until it comes.
    pub fn acknowledge_now(&self) {
        // Only a matter of speed: a kernel that refuses answers a little later.
        drop(socket2::SockRef::from(&self.tcp).set_tcp_quickack(true));
    }

    /// From now on, what is written waits until it is [sent](Self::poll_send) or much. A flush
    /// does nothing then: it comes from TLS, which cannot wait, and whoever writes sends.
    ///
    /// Not during the handshake, where TLS flushes its own flights.
    pub fn gather(&mut self) {
        self.gathers = true;
    }

    /// Makes room for one more TLS record.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gathered.len() + RECORD_ROOM <= buffers::SIZE {
            return Poll::Ready(Ok(()));
        }
        self.poll_send(cx)
    }

    /// Sends all that is gathered.
    pub fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            match ready!(Pin::new(&mut self.tcp).poll_write(cx, &self.gathered))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.gathered.advance(sent),
            }
        }
        buffers::release(&mut self.gathered);
        Poll::Ready(Ok(()))
    }

    /// Waits until there is something to be read, or the end.
    pub fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            ready!(self.poll_read_ahead(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// It is from this client, as the proxy says that has connected.
    pub(super) fn announce(&mut self, source: SocketAddr, destination: SocketAddr) {
        self.through = Some(self.peer.ip());
        self.peer = source;
        self.local = destination;
    }

    /// What has come so far and nobody has taken.
    pub(super) fn read_ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// Waits for more behind that; how many bytes have come, 0 at the end.
    ///
    /// # Errors
    /// Those of the connection.
    pub(super) async fn read_more(&mut self) -> io::Result<usize> {
        if self.ahead.capacity() == 0 {
            self.ahead = buffers::take();
        }
        self.tcp.read_buf(&mut self.ahead).await
    }

    /// Takes so many bytes of what has come.
    pub(super) fn skip(&mut self, length: usize) {
        self.ahead.advance(length);
        buffers::release(&mut self.ahead);
    }

    /// The first byte of what is to be read, waiting for it; `None` at the end. It stays there: the
    /// next read gets it with what came with it, so that looking costs no system call.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn first_byte(&mut self) -> io::Result<Option<u8>> {
        poll_fn(|cx| self.poll_ahead(cx)).await?;
        Ok(self.ahead.first().copied())
    }

    /// Reads as much as there is into a buffer of our own.
    fn poll_read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.ahead = buffers::take();
        let read = pin!(self.tcp.read_buf(&mut self.ahead)).poll(cx);
        buffers::release(&mut self.ahead);
        read
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            // Whoever has as much room needs no buffer between.
            if buf.remaining() >= buffers::SIZE {
                return Pin::new(&mut self.tcp).poll_read(cx, buf);
            }
            if ready!(self.poll_read_ahead(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        let length = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..length]);
        self.ahead.advance(length);
        buffers::release(&mut self.ahead);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.gathers {
            return Pin::new(&mut self.tcp).poll_write(cx, buf);
        }
        if self.gathered.len() + buf.len() > buffers::SIZE {
            ready!(self.poll_send(cx))?;
        }
        if self.gathered.capacity() == 0 {
            self.gathered = buffers::take();
        }
        let length = buf.len().min(buffers::SIZE - self.gathered.len());
        self.gathered.extend_from_slice(&buf[..length]);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gathers {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

impl ClientStream for ClientSocket {
    fn keep_alive(&self) {
        keep_alive(&self.tcp);
    }

    fn break_off(&self) {
        // Where it cannot be set, the connection just ends.
        drop(self.tcp.set_zero_linger());
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
