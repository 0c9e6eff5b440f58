//! The backend of the corpus: writes down every byte, and reads it with httparse, which is not the
//! gate's parser.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::harness::eventually;

/// A request as this backend reads it.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// All of its bytes.
    pub raw: Vec<u8>,
    /// Method and target.
    pub line: String,
    /// The value of the only `Host`.
    pub host: String,
    pub body: Vec<u8>,
}

pub struct Recorder {
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    requests: Vec<Arrived>,
    /// What came on a connection and was no whole request when it ended.
    left_over: Vec<Vec<u8>>,
    open: usize,
}

impl Recorder {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let recorded = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&recorded);
                seen.lock().unwrap().open += 1;
                std::thread::spawn(move || {
                    let left = serve(stream, &seen);
                    let mut seen = seen.lock().unwrap();
                    seen.open -= 1;
                    if !left.is_empty() {
                        seen.left_over.push(left);
                    }
                });
            }
        });
        Self { address, seen }
    }

    pub fn requests(&self) -> Vec<Arrived> {
        self.seen.lock().unwrap().requests.clone()
    }

    /// Waits until all connections have ended, which they do with the gate.
    pub fn left_over(&self) -> Vec<Vec<u8>> {
        eventually("all connections end", || {
            let seen = self.seen.lock().unwrap();
            (seen.open == 0).then(|| seen.left_over.clone())
        })
    }
}

/// What is left when the connection ends.
fn serve(mut stream: TcpStream, seen: &Mutex<Seen>) -> Vec<u8> {
    let limit = Some(Duration::from_secs(120));
    stream.set_read_timeout(limit).unwrap();
    let mut buffer = Vec::new();
    let mut bytes = [0; 16 << 10];
    loop {
        while let Some(arrived) = take_request(&mut buffer) {
            let content = match arrived.line.starts_with("HEAD ") {
                true => "",
                false => &arrived.line,
            };
            let length = arrived.line.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{content}");
            seen.lock().unwrap().requests.push(arrived);
            if stream.write_all(answer.as_bytes()).is_err() {
                return buffer;
            }
        }
        match stream.read(&mut bytes) {
            Ok(read @ 1..) => buffer.extend_from_slice(&bytes[..read]),
            Ok(0) | Err(_) => return buffer,
        }
    }
}

/// Takes a whole request from the front.
fn take_request(buffer: &mut Vec<u8>) -> Option<Arrived> {
    let mut fields = [httparse::EMPTY_HEADER; 200];
    let mut request = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(head) = request.parse(buffer).ok()? else {
        return None;
    };
    let line = format!("{} {}", request.method?, request.path?);
    let all = |name: &str| {
        let fields = request.headers.iter();
        let named = fields.filter(|it| it.name.eq_ignore_ascii_case(name));
        let values = named.map(|it| String::from_utf8_lossy(it.value).into_owned());
        values.collect::<Vec<_>>()
    };
    let [host] = &all("host")[..] else {
        return None;
    };
    let host = host.clone();
    let (body, end) = match (&all("content-length")[..], &all("transfer-encoding")[..]) {
        ([], []) => (Vec::new(), head),
        ([length], []) => {
            let end = head + length.parse::<usize>().ok()?;
            (buffer.get(head..end)?.to_vec(), end)
        }
        ([], [coding]) if coding == "chunked" => take_chunks(buffer, head)?,
        // Two ways to end it: no request at all to this backend.
        _ => return None,
    };
    let raw = buffer.drain(..end).collect();
    Some(Arrived {
        raw,
        line,
        host,
        body,
    })
}

/// The content of a body in chunks, and where it ends.
fn take_chunks(buffer: &[u8], start: usize) -> Option<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    let mut at = start;
    loop {
        let httparse::Status::Complete((line, size)) =
            httparse::parse_chunk_size(buffer.get(at..)?).ok()?
        else {
            return None;
        };
        at += line;
        let size = usize::try_from(size).ok()?;
        if size == 0 {
            let trailers = buffer.get(at..)?;
            if let Some(rest) = trailers.strip_prefix(b"\r\n") {
                return Some((body, buffer.len() - rest.len()));
            }
            let end = trailers.windows(4).position(|it| it == b"\r\n\r\n")?;
            return Some((body, at + end + 4));
        }
        body.extend_from_slice(buffer.get(at..at + size)?);
        at += size;
        if buffer.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
}
