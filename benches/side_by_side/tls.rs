//! TLS for the load and for the floor: BoringSSL over two buffers in memory, so that a request and
//! its answer take one write and one read of the socket each.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use boring::ssl::{
    ErrorCode, HandshakeError, Ssl, SslContext, SslFiletype, SslMethod, SslStream, SslVerifyMode,
    SslVersion,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use crate::Result;

/// The same for every proxy, so that all do the same arithmetic.
const GROUPS: &str = "X25519:P-256";
pub const CIPHER: &str = "TLS_AES_128_GCM_SHA256";

/// What is read from the socket at once, and what may wait to be written to it.
const BUFFER: usize = 64 << 10;

/// What the client offers to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// Makes connections that agree on one protocol.
#[derive(Clone)]
pub struct Connector {
    context: SslContext,
}

impl Connector {
    pub fn new(protocol: Protocol) -> Result<Self> {
        let mut context = SslContext::builder(SslMethod::tls())?;
        context.set_verify(SslVerifyMode::NONE);
        context.set_min_proto_version(Some(SslVersion::TLS1_3))?;
        context.set_curves_list(GROUPS)?;
        context.set_alpn_protos(match protocol {
            Protocol::Http1 => b"\x08http/1.1",
            Protocol::Http2 => b"\x02h2",
        })?;
        Ok(Self {
            context: context.build(),
        })
    }

    /// Connects and shakes hands.
    pub async fn connect(&self, address: SocketAddr) -> Result<TlsStream> {
        self.connect_to(address, "localhost").await
    }

    /// The same, and asks for this name.
    pub async fn connect_to(&self, address: SocketAddr, name: &str) -> Result<TlsStream> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let mut ssl = Ssl::new(&self.context)?;
        ssl.set_hostname(name)?;
        TlsStream::handshake(ssl.setup_connect(Buffers::new()).handshake(), tcp)
            .await?
            .checked()
    }
}

/// The other side, for the floor.
#[derive(Clone)]
pub struct Acceptor {
    context: SslContext,
}

impl Acceptor {
    /// With a PEM file that has the certificate and its key.
    pub fn new(both: &Path) -> Result<Self> {
        let mut context = SslContext::builder(SslMethod::tls())?;
        context.set_certificate_chain_file(both)?;
        context.set_private_key_file(both, SslFiletype::PEM)?;
        context.set_curves_list(GROUPS)?;
        Ok(Self {
            context: context.build(),
        })
    }

    pub async fn accept(&self, tcp: TcpStream) -> Result<TlsStream> {
        tcp.set_nodelay(true)?;
        let ssl = Ssl::new(&self.context)?;
        TlsStream::handshake(ssl.setup_accept(Buffers::new()).handshake(), tcp).await
    }
}

/// A TLS connection.
pub struct TlsStream {
    ssl: SslStream<Buffers>,
    tcp: TcpStream,
}

/// A handshake, as far as it could go without the other side.
type Attempt = std::result::Result<SslStream<Buffers>, HandshakeError<Buffers>>;

/// What the TLS library takes for its socket.
struct Buffers {
    incoming: Box<[u8]>,
    start: usize,
    end: usize,
    outgoing: Vec<u8>,
}

impl TlsStream {
    async fn handshake(mut attempt: Attempt, mut tcp: TcpStream) -> Result<Self> {
        loop {
            match attempt {
                Ok(ssl) => {
                    let mut stream = Self { ssl, tcp };
                    stream.flush().await?;
                    return Ok(stream);
                }
                Err(HandshakeError::WouldBlock(mut half)) => {
                    half.get_mut().exchange(&mut tcp).await?;
                    attempt = half.handshake();
                }
                Err(error) => return Err(format!("TLS handshake: {error}").into()),
            }
        }
    }

    /// Peers that agree on different ciphers cannot be compared.
    fn checked(self) -> Result<Self> {
        let cipher = self.ssl.ssl().current_cipher();
        let name = cipher.and_then(|cipher| cipher.standard_name());
        match name {
            Some(CIPHER) => Ok(self),
            other => Err(format!("agreed on {other:?} instead of {CIPHER}").into()),
        }
    }

    /// Says goodbye and waits for the proxy's, which shows that it is done with the handshake, too.
    /// Tickets do not show that: some servers send them only with their first data.
    pub async fn close(mut self) -> Result<()> {
        // Nothing comes back at once; the goodbye itself goes into the buffer.
        self.ssl.shutdown()?;
        AsyncWriteExt::shutdown(&mut self).await?;
        let mut ignored = [0; 1024];
        while self.tcp.read(&mut ignored).await? > 0 {}
        Ok(())
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match this.ssl.ssl_read(into.initialize_unfilled()) {
                Ok(read) => {
                    into.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) => match error.code() {
                    ErrorCode::WANT_READ => {
                        ready!(this.ssl.get_mut().poll_fill(cx, &mut this.tcp))?;
                    }
                    ErrorCode::ZERO_RETURN => return Poll::Ready(Ok(())),
                    _ => return Poll::Ready(Err(io::Error::other(error))),
                },
            }
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.ssl.get_ref().outgoing.len() >= BUFFER {
            ready!(this.ssl.get_mut().poll_send(cx, &mut this.tcp))?;
        }
        let piece = &from[..from.len().min(BUFFER)];
        Poll::Ready(this.ssl.ssl_write(piece).map_err(io::Error::other))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.ssl.get_mut().poll_send(cx, &mut this.tcp)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.ssl.get_mut().poll_send(cx, &mut this.tcp))?;
        Pin::new(&mut this.tcp).poll_shutdown(cx)
    }
}

impl Buffers {
    fn new() -> Self {
        Self {
            incoming: vec![0; BUFFER].into(),
            start: 0,
            end: 0,
            outgoing: Vec::new(),
        }
    }

    /// Sends what is ready and waits for more from the other side.
    async fn exchange(&mut self, tcp: &mut TcpStream) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_send(cx, tcp)).await?;
        std::future::poll_fn(|cx| self.poll_fill(cx, tcp)).await
    }

    /// Reads from the socket. The library asks for more only when it has taken all there was.
    fn poll_fill(&mut self, cx: &mut Context<'_>, tcp: &mut TcpStream) -> Poll<io::Result<()>> {
        let mut free = ReadBuf::new(&mut self.incoming);
        ready!(Pin::new(tcp).poll_read(cx, &mut free))?;
        let read = free.filled().len();
        if read == 0 {
            let message = "the other side closed the connection";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, message)));
        }
        (self.start, self.end) = (0, read);
        Poll::Ready(Ok(()))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, tcp: &mut TcpStream) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let sent = ready!(Pin::new(&mut *tcp).poll_write(cx, &self.outgoing))?;
            self.outgoing.drain(..sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl Read for Buffers {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let ready = &self.incoming[self.start..self.end];
        if ready.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = ready.len().min(into.len());
        into[..count].copy_from_slice(&ready[..count]);
        self.start += count;
        Ok(count)
    }
}

impl Write for Buffers {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.outgoing.extend_from_slice(from);
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
