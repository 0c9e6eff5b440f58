//! Load over HTTP/1: a client that knows just enough to tell a good answer from a bad one.

use std::net::SocketAddr;
use std::sync::Arc;

use memchr::memmem;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::Result;
use crate::measure::Tally;
use crate::tls::{Connector, TlsStream};

/// The fields that browsers send with every request.
pub const TYPICAL_FIELDS: [(&str, &str); 5] = [
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    ),
    (
        "accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    ),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-US,en;q=0.5"),
    ("referer", "https://localhost/some/page"),
];

/// What is read from, or sent of a body, at once.
const PIECE: usize = 64 << 10;

/// What is asked for, again and again.
#[derive(Clone, Debug)]
pub struct Request {
    head: String,
    upload: usize,
}

impl Request {
    /// A request for a path as a browser would send it.
    pub fn get(path: &str, cookie: Option<&str>) -> Self {
        Self::new("GET", path, cookie, "")
    }

    /// An upload of so many bytes.
    pub fn upload(path: &str, cookie: Option<&str>, bytes: usize) -> Self {
        let more = format!("content-type: application/octet-stream\r\ncontent-length: {bytes}\r\n");
        Self {
            upload: bytes,
            ..Self::new("POST", path, cookie, &more)
        }
    }

    /// A login with a name and a password.
    pub fn login(user: &str, password: &str) -> Self {
        let body = format!(r#"{{"username":"{user}","password":"{password}"}}"#);
        let length = body.len();
        let more = format!("content-type: application/json\r\ncontent-length: {length}\r\n");
        let mut request = Self::new("POST", "/auth/login", None, &more);
        request.head.push_str(&body);
        request
    }

    fn new(method: &str, path: &str, cookie: Option<&str>, more: &str) -> Self {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
        for (name, value) in TYPICAL_FIELDS {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(cookie) = cookie {
            head.push_str(&format!("cookie: {cookie}\r\n"));
        }
        head.push_str(more);
        head.push_str("\r\n");
        Self { head, upload: 0 }
    }
}

/// A keep-alive connection.
pub struct Client<S = TlsStream> {
    stream: S,
    buffer: Box<[u8]>,
    filled: usize,
}

/// The head of an answer.
struct Head {
    status: u16,
    body: u64,
    /// Where it ends in the buffer.
    end: usize,
}

impl Client {
    pub async fn connect(connector: &Connector, address: SocketAddr) -> Result<Self> {
        Ok(Self::new(connector.connect(address).await?))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: vec![0; PIECE].into(),
            filled: 0,
        }
    }

    /// Sends a request and reads its answer to the end. `moved` is told of every piece of a body
    /// that has gone either way.
    pub async fn ask(&mut self, request: &Request, mut moved: impl FnMut(usize)) -> Result<u16> {
        self.send(request, &mut moved).await?;
        let head = self.head().await?;
        let mut left = head.body;
        let mut here = self.filled - head.end;
        loop {
            moved(here);
            left = left
                .checked_sub(here as u64)
                .ok_or("more came than the answer's Content-Length")?;
            if left == 0 {
                break;
            }
            here = self.read(0).await?;
        }
        self.filled = 0;
        Ok(head.status)
    }

    /// Sends a request that must be answered with 200.
    pub async fn ask_well(&mut self, request: &Request) -> Result<()> {
        match self.ask(request, |_| ()).await? {
            200 => Ok(()),
            other => Err(format!("answered with {other}").into()),
        }
    }

    /// Sends a request and gives back the status and the whole answer as text, which must be small.
    pub async fn ask_for_text(&mut self, request: &Request) -> Result<(u16, String)> {
        self.send(request, |_| ()).await?;
        let head = self.head().await?;
        let whole = head.end + usize::try_from(head.body)?;
        while self.filled < whole {
            self.filled += self.read(self.filled).await?;
        }
        self.filled = 0;
        let text = String::from_utf8_lossy(&self.buffer[..whole]);
        Ok((head.status, text.into_owned()))
    }

    async fn send(&mut self, request: &Request, mut moved: impl FnMut(usize)) -> Result<()> {
        self.stream.write_all(request.head.as_bytes()).await?;
        let piece = [b'x'; PIECE];
        let mut left = request.upload;
        while left > 0 {
            let next = left.min(PIECE);
            self.stream.write_all(&piece[..next]).await?;
            moved(next);
            left -= next;
        }
        Ok(self.stream.flush().await?)
    }

    async fn head(&mut self) -> Result<Head> {
        loop {
            let filled = &self.buffer[..self.filled];
            if let Some(end) = memmem::find(filled, b"\r\n\r\n") {
                return parse(&filled[..end + 2], end + 4);
            }
            self.filled += self.read(self.filled).await?;
        }
    }

    async fn read(&mut self, from: usize) -> Result<usize> {
        match self.stream.read(&mut self.buffer[from..]).await? {
            0 => Err("the proxy ended the connection".into()),
            read => Ok(read),
        }
    }
}

fn parse(head: &[u8], end: usize) -> Result<Head> {
    let bad = || format!("not an answer: {}", String::from_utf8_lossy(head));
    let status = head.get(9..12).and_then(|it| std::str::from_utf8(it).ok());
    let status: u16 = status.and_then(|it| it.parse().ok()).ok_or_else(bad)?;
    let body = match content_length(head)? {
        Some(length) => length,
        None if status == 204 => 0,
        None => return Err(bad().into()),
    };
    Ok(Head { status, body, end })
}

/// What a head says of its body's length.
pub fn content_length(head: &[u8]) -> Result<Option<u64>> {
    let length = head.split(|&byte| byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked("content-length:".len())?;
        let value = std::str::from_utf8(value).ok()?.trim();
        name.eq_ignore_ascii_case(b"content-length:")
            .then_some(value)
    });
    Ok(length.map(str::parse).transpose()?)
}

/// Asks for the same again and again, each answer after the other, until it is dropped.
pub async fn closed_loop(
    connector: Connector,
    address: SocketAddr,
    requests: Arc<[Request]>,
    first: usize,
    tally: Arc<Tally>,
) -> Result<()> {
    let mut client = Client::connect(&connector, address).await?;
    for request in requests.iter().cycle().skip(first % requests.len()) {
        let status = client.ask(request, |bytes| tally.moved(bytes)).await?;
        if status != 200 {
            return Err(format!("answered with {status}").into());
        }
        tally.answered();
    }
    Ok(())
}
