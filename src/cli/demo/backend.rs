//! The backend of the demonstration: answers every request with what it was sent.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

use crate::http1::body::BodyDecoder;
use crate::http1::head::{HeadLimits, RequestFraming, RequestHead};
use crate::http1::read::{ReadBuffer, ReadError};
use crate::http1::write;

const LIMIT: Duration = Duration::from_secs(60);

/// Starts it on a thread of its own, on a free port of the loopback interface.
///
/// # Errors
/// When there is no port or no thread.
pub(super) fn start() -> io::Result<SocketAddr> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let address = listener.local_addr()?;
    std::thread::Builder::new()
        .name("demo-backend".into())
        .spawn(move || {
            runtime.block_on(async move {
                while let Ok((tcp, _)) = listener.accept().await {
                    tokio::spawn(serve(tcp));
                }
            });
        })?;
    Ok(address)
}

async fn serve(mut tcp: TcpStream) -> Result<(), ReadError> {
    let mut buffer = ReadBuffer::default();
    loop {
        let limits = HeadLimits::default();
        let head = buffer.request_head(&mut tcp, &limits, LIMIT, LIMIT).await?;
        let received = read_body(&head, &mut buffer, &mut tcp).await?;
        tcp.write_all(&answer(&head, received)).await?;
        if !head.keep_alive() {
            return Ok(());
        }
    }
}

async fn read_body(
    head: &RequestHead,
    buffer: &mut ReadBuffer,
    tcp: &mut TcpStream,
) -> Result<u64, ReadError> {
    let mut decoder = match head.framing() {
        RequestFraming::Length(length) => BodyDecoder::length(length),
        RequestFraming::Chunked => BodyDecoder::chunked(),
        RequestFraming::None | RequestFraming::Stream { .. } => BodyDecoder::empty(),
    };
    let mut received = 0;
    while let Some(piece) = buffer.body(tcp, &mut decoder, LIMIT).await? {
        received += piece.len() as u64;
    }
    Ok(received)
}

fn answer(head: &RequestHead, received: u64) -> Vec<u8> {
    let mut text = format!(
        "This is the backend. It knows nothing of passwords; this is what it was sent:\n\n\
         {} {}\n",
        head.method(),
        head.target()
    );
    for (name, value) in head.fields().iter() {
        text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value)));
    }
    if received > 0 {
        text.push_str(&format!("\n({received} bytes of body)\n"));
    }
    let mut out = Vec::with_capacity(256 + text.len());
    write::status_line(&mut out, http::StatusCode::OK);
    write::field(&mut out, "Content-Type", b"text/plain; charset=utf-8");
    write::field(
        &mut out,
        "Content-Length",
        text.len().to_string().as_bytes(),
    );
    write::end_of_head(&mut out);
    if head.method() != http::Method::HEAD {
        out.extend_from_slice(text.as_bytes());
    }
    out
}
