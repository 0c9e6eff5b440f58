//! What a connection to a backend runs over. An enum, so that the plain ones cost a match and no
//! allocation.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::proxy::keep_alive::keep_alive;
use crate::tls::connector::UpstreamTlsStream;

/// A connection, whatever it is made of.
#[derive(Debug)]
pub enum Transport {
    /// Plain TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS over TCP.
    Tls(Box<UpstreamTlsStream>),
}

impl Transport {
    /// Has the kernel find out whether a backend is still there that says nothing for long.
    pub fn keep_alive(&self) {
        if let Some(tcp) = self.tcp() {
            keep_alive(tcp);
        }
    }

    /// Has the backend see, when this is dropped, that it was broken off.
    pub fn break_off(&self) {
        if let Some(tcp) = self.tcp() {
            // Where it cannot be set, the connection just ends.
            drop(tcp.set_zero_linger());
        }
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(tcp) => Some(tcp),
            Self::Tls(tls) => Some(tls.get_ref().tcp()),
            // The kernel knows at any time whether its other end is there.
            Self::Unix(_) => None,
        }
    }
}

/// Does the same with each kind.
macro_rules! with {
    ($transport:expr, $io:ident => $done:expr) => {
        match $transport {
            Transport::Tcp($io) => $done,
            Transport::Unix($io) => $done,
            Transport::Tls($io) => $done,
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        with!(self.get_mut(), io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        with!(self.get_mut(), io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        with!(self.get_mut(), io => Pin::new(io).poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        with!(self, io => io.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        with!(self.get_mut(), io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        with!(self.get_mut(), io => Pin::new(io).poll_shutdown(cx))
    }
}
