//! A client connection with TLS ended: whole records, and as few system calls as they take.
//!
//! A write never becomes more records than it needs: what comes in parts (an HTTP/2 frame header
//! and its payload) is put together first. Records are gathered below TLS until somebody flushes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pingora_core::protocols::tls::SslStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::socket::ClientSocket;
use crate::http1::buffers;
use crate::proxy::exchange::ClientStream;

/// The most plaintext of a TLS record (RFC 8446 section 5.1).
const RECORD: usize = 16 << 10;

/// A TLS connection from a client, after the handshake.
#[derive(Debug)]
pub struct TlsClient(SslStream<ClientSocket>);

impl TlsClient {
    /// Takes over from the handshake.
    #[must_use]
    pub fn new(mut stream: SslStream<ClientSocket>) -> Self {
        stream.get_mut().gather();
        Self(stream)
    }

    /// Makes sure that there is room for a record below, so that TLS never has one half written,
    /// which it would insist on being offered again.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.get_mut().poll_room(cx)
    }

    /// Encrypts at most one record. Only where there is room for it.
    fn poll_encrypt(&mut self, cx: &mut Context<'_>, plaintext: &[u8]) -> Poll<io::Result<usize>> {
        let record = &plaintext[..plaintext.len().min(RECORD)];
        Pin::new(&mut self.0).poll_write(cx, record)
    }
}

impl AsyncRead for TlsClient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // TLS asked for nothing that is not there finds that out slowly.
        if self.0.ssl().pending() == 0 {
            ready!(self.0.get_mut().poll_ahead(cx))?;
        }
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsClient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_room(cx))?;
        self.poll_encrypt(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_room(cx))?;
        let mut filled = parts.iter().filter(|part| !part.is_empty());
        let first = filled.next().map_or(&[][..], |part| part);
        if first.len() >= RECORD || filled.next().is_none() {
            return self.poll_encrypt(cx, first);
        }
        let mut record = buffers::take();
        for part in parts {
            let room = RECORD - record.len();
            record.extend_from_slice(&part[..part.len().min(room)]);
        }
        let written = self.poll_encrypt(cx, &record);
        buffers::give(record);
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.get_mut().poll_send(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl ClientStream for TlsClient {
    fn keep_alive(&self) {
        self.0.get_ref().keep_alive();
    }

    fn break_off(&self) {
        self.0.get_ref().break_off();
    }
}
