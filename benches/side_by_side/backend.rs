//! The backend that all proxies share: a thread with a small HTTP/1.1 server that costs as little
//! as possible, so that it is never what limits them.

use std::net::SocketAddr;

use bytes::{Buf, BytesMut};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::Result;

/// What is written at once of a large body.
const PIECE: usize = 64 << 10;

/// Starts the backend; it ends with the program.
pub fn start() -> Result<SocketAddr> {
    let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let thread = std::thread::Builder::new().name("backend".into());
    thread.spawn(move || runtime.block_on(accept(socket)))?;
    Ok(address)
}

async fn accept(socket: std::net::TcpListener) {
    let socket = TcpListener::from_std(socket).expect("the backend's socket is good");
    loop {
        match socket.accept().await {
            Ok((tcp, _)) => drop(tokio::spawn(serve(tcp))),
            // The proxy will say that it has no backend, and its case fails.
            Err(error) => eprintln!("backend: cannot accept: {error}"),
        }
    }
}

/// A request, as far as it matters.
struct Request {
    path: Box<[u8]>,
    length: usize,
    has_session: bool,
    user: Box<[u8]>,
}

async fn serve(mut tcp: TcpStream) -> std::io::Result<()> {
    tcp.set_nodelay(true)?;
    let small = answer("200 OK", &[b'x'; 128]);
    let piece = vec![b'x'; PIECE];
    let mut buffer = BytesMut::with_capacity(PIECE);
    while let Some(request) = next_request(&mut tcp, &mut buffer).await? {
        skip_body(&mut tcp, &mut buffer, request.length).await?;
        match &*request.path {
            b"/64k" => send_large(&mut tcp, &piece, 1).await?,
            b"/10m" => send_large(&mut tcp, &piece, 160).await?,
            b"/auth" if request.has_session => tcp.write_all(NO_CONTENT).await?,
            b"/auth" => tcp.write_all(&answer("401 Unauthorized", b"")).await?,
            b"/identity" => tcp.write_all(&answer("200 OK", &request.user)).await?,
            _ => tcp.write_all(&small).await?,
        }
    }
    Ok(())
}

const NO_CONTENT: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

fn answer(status: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = head(status, body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn head(status: &str, length: usize) -> String {
    format!(
        "HTTP/1.1 {status}\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nServer: backend\r\n\
         Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}

async fn send_large(tcp: &mut TcpStream, piece: &[u8], pieces: usize) -> std::io::Result<()> {
    tcp.write_all(head("200 OK", pieces * piece.len()).as_bytes())
        .await?;
    for _ in 0..pieces {
        tcp.write_all(piece).await?;
    }
    Ok(())
}

async fn next_request(
    tcp: &mut TcpStream,
    buffer: &mut BytesMut,
) -> std::io::Result<Option<Request>> {
    loop {
        if let Some(end) = memmem::find(buffer, b"\r\n\r\n") {
            let request = parse(&buffer[..end + 2]);
            buffer.advance(end + 4);
            return Ok(request);
        }
        if tcp.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

/// `None` for what no proxy here should send: the connection is closed, and the case fails.
fn parse(head: &[u8]) -> Option<Request> {
    let path = head.split(|&byte| byte == b' ').nth(1)?;
    let is_upload = head.starts_with(b"P");
    let asks_who = path == b"/identity";
    let asks_whether = path == b"/auth";
    let length = match (is_upload, field(head, is_upload, b"content-length")) {
        (true, length) => std::str::from_utf8(length?).ok()?.parse().ok()?,
        (false, _) => 0,
    };
    Some(Request {
        path: path.into(),
        length,
        has_session: asks_whether && field(head, true, b"cookie").is_some(),
        user: field(head, asks_who, b"x-forwarded-user")
            .unwrap_or_default()
            .into(),
    })
}

/// Fields are only looked for where they matter: most requests are for the small answer.
fn field<'h>(head: &'h [u8], wanted: bool, name: &[u8]) -> Option<&'h [u8]> {
    let mut lines = head.split(|&byte| byte == b'\n').filter(|_| wanted);
    lines.find_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        line[..colon]
            .eq_ignore_ascii_case(name)
            .then(|| line[colon + 1..].trim_ascii())
    })
}

async fn skip_body(
    tcp: &mut TcpStream,
    buffer: &mut BytesMut,
    mut length: usize,
) -> std::io::Result<()> {
    loop {
        let here = length.min(buffer.len());
        buffer.advance(here);
        length -= here;
        if length == 0 {
            return Ok(());
        }
        buffer.reserve(PIECE);
        if tcp.read_buf(buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}
