//! A backend that writes down every byte it gets, and answers as the test says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::client::{value, values};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The request line and the fields, without the empty line.
    pub head: String,
    pub body: Vec<u8>,
    /// The fields behind a body in chunks, as lines.
    pub trailers: String,
    /// Which connection it came on, counted from 0.
    pub connection: usize,
}

impl Recorded {
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    pub fn path(&self) -> &str {
        self.line().split(' ').nth(1).unwrap()
    }

    /// The values of a field, in any case.
    pub fn all(&self, name: &str) -> Vec<&str> {
        values(&self.head, name)
    }

    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        value(&self.head, name)
    }
}

/// What a backend does with a request: writes an answer, and says whether the connection goes on.
type Handler = dyn Fn(&Recorded, &mut TcpStream) -> bool + Send + Sync;

/// A recording backend; ends with the test process.
pub struct Backend {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Recorded>>>,
}

impl Backend {
    /// Answers every request with 200 and its request line.
    pub fn start() -> Self {
        Self::answering(|request, stream| {
            let body = request.line();
            let head_only = body.starts_with("HEAD ");
            let shown = if head_only { "" } else { body };
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nContent-Type: text/plain\r\n\r\n{shown}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).is_ok()
        })
    }

    /// Answers every request with these bytes, and closes where they say so.
    pub fn saying(answer: &'static str) -> Self {
        Self::answering(move |_, stream| {
            stream.write_all(answer.as_bytes()).is_ok() && !answer.contains("Connection: close")
        })
    }

    /// Answers as `handler` does.
    pub fn answering(
        handler: impl Fn(&Recorded, &mut TcpStream) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::at("127.0.0.1:0", handler)
    }

    /// The same at this address.
    #[track_caller]
    pub fn at(
        address: impl ToSocketAddrs,
        handler: impl Fn(&Recorded, &mut TcpStream) -> bool + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (handler, recorded): (Arc<Handler>, _) = (Arc::new(handler), Arc::clone(&seen));
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().flatten().enumerate() {
                let (handler, recorded) = (Arc::clone(&handler), Arc::clone(&recorded));
                std::thread::spawn(move || serve(connection, stream, &*handler, &recorded));
            }
        });
        Self { address, seen }
    }

    /// Everything that arrived so far.
    pub fn seen(&self) -> Vec<Recorded> {
        self.seen.lock().unwrap().clone()
    }

    /// Forgets what arrived.
    pub fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }

    /// The one request that arrived.
    #[track_caller]
    pub fn only(&self) -> Recorded {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.into_iter().next().unwrap()
    }
}

fn serve(
    connection: usize,
    stream: TcpStream,
    handler: &Handler,
    seen: &Mutex<Vec<Recorded>>,
) -> Option<()> {
    // A backend must never keep a test from ending.
    stream
        .set_read_timeout(Some(Duration::from_secs(120)))
        .ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let head = read_head(&mut reader)?;
        let mut request = Recorded {
            head,
            body: Vec::new(),
            trailers: String::new(),
            connection,
        };
        if request.field("expect").is_some() {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
        }
        (request.body, request.trailers) = read_body(&request, &mut reader)?;
        seen.lock().unwrap().push(request.clone());
        if !handler(&request, &mut stream) {
            return None;
        }
    }
}

fn read_head(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    loop {
        let before = head.len();
        reader.read_line(&mut head).ok().filter(|read| *read > 0)?;
        if &head[before..] == "\r\n" {
            head.truncate(before);
            return Some(head);
        }
    }
}

fn read_body(request: &Recorded, reader: &mut impl BufRead) -> Option<(Vec<u8>, String)> {
    let (mut body, mut trailers) = (Vec::new(), String::new());
    if let Some(length) = request.field("content-length") {
        reader
            .take(length.parse().ok()?)
            .read_to_end(&mut body)
            .ok()?;
    } else if request.field("transfer-encoding").is_some() {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).ok()?;
            let size = u64::from_str_radix(size.trim_end(), 16).ok()?;
            if size == 0 {
                trailers = read_head(reader)?;
                break;
            }
            reader.take(size).read_to_end(&mut body).ok()?;
            let mut end = String::new();
            reader.read_line(&mut end).ok()?;
        }
    }
    Some((body, trailers))
}
