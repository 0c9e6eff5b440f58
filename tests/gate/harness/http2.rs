//! Backends that speak HTTP/2: one frame by frame, so that it can say what none should, and one that
//! writes down what it gets.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Response;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PING, PREFACE, SETTINGS, begun, frame,
};

/// Settings, by their numbers.
pub const MAX_CONCURRENT_STREAMS: u16 = 3;
pub const INITIAL_WINDOW_SIZE: u16 = 4;

/// `:status: 200`, and `:status: 204`, as HPACK's static table has them.
pub const OK: &[u8] = &[0x88];

/// The backend's side of a connection.
pub struct Peer {
    stream: TcpStream,
    /// Which connection it is, counted from 0.
    pub connection: usize,
}

/// A backend that does with each connection what the test says; ends with the test process.
pub struct FrameBackend {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl FrameBackend {
    /// Sends these settings first, then does as `script` says, until that fails.
    #[track_caller]
    pub fn start(
        settings: &'static [(u16, u32)],
        script: impl Fn(&mut Peer) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (script, counted) = (Arc::new(script), Arc::clone(&connections));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let connection = counted.fetch_add(1, Ordering::SeqCst);
                let script = Arc::clone(&script);
                std::thread::spawn(move || {
                    let limit = Some(Duration::from_secs(60));
                    stream.set_read_timeout(limit)?;
                    let mut peer = Peer { stream, connection };
                    peer.greet(settings)?;
                    script(&mut peer)
                });
            }
        });
        Self {
            address,
            connections,
        }
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Peer {
    fn greet(&mut self, settings: &[(u16, u32)]) -> io::Result<()> {
        let mut preface = [0; PREFACE.len()];
        self.stream.read_exact(&mut preface)?;
        assert_eq!(preface, PREFACE);
        let mut payload = Vec::new();
        for (setting, value) in settings {
            payload.extend(setting.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        self.send(SETTINGS, 0, 0, &payload)
    }

    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.stream.write_all(&frame(kind, flags, stream, payload))
    }

    /// Sends several at once, or what is none.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next frame. Settings and pings are answered on the way.
    pub fn next(&mut self) -> io::Result<Frame> {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head)?;
            let (mut frame, length) = begun(head);
            frame.payload.resize(length, 0);
            self.stream.read_exact(&mut frame.payload)?;
            match frame.kind {
                kind @ (SETTINGS | PING) if frame.flags & ACK == 0 => {
                    let echoed = if kind == PING { &*frame.payload } else { &[] };
                    self.send(kind, ACK, 0, echoed)?;
                }
                SETTINGS | PING => {}
                _ => return Ok(frame),
            }
        }
    }

    /// The next frame of this kind.
    pub fn next_of(&mut self, kind: u8) -> io::Result<Frame> {
        loop {
            let frame = self.next()?;
            if frame.kind == kind {
                return Ok(frame);
            }
        }
    }

    /// The stream of the next request.
    pub fn request(&mut self) -> io::Result<u32> {
        Ok(self.next_of(HEADERS)?.stream)
    }

    /// Answers with 200 and this body.
    pub fn answer(&mut self, stream: u32, body: &[u8]) -> io::Result<()> {
        self.send(HEADERS, END_HEADERS, stream, OK)?;
        self.send(DATA, END_STREAM, stream, body)
    }
}

/// A request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The method, the scheme, the authority and the path.
    pub line: String,
    pub fields: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: HeaderMap,
}

/// A backend that answers everything with 200 and with trailers; ends with the test process.
pub struct RecordingBackend {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl RecordingBackend {
    /// Says the request line, and behind it a checksum and a cookie.
    #[track_caller]
    pub fn start() -> Self {
        Self::saying(None, &[("x-checksum", "right"), ("set-cookie", "a=b")])
    }

    /// Says this, or the request line, and these trailers behind it.
    #[track_caller]
    pub fn saying(body: Option<&'static str>, trailers: &[(&str, &str)]) -> Self {
        let trailers = trailers.iter();
        let trailers: HeaderMap = trailers
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect::<Vec<(HeaderName, HeaderValue)>>()
            .into_iter()
            .collect();
        let said = Arc::new((body, trailers));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, Arc::clone(&said), Arc::clone(&record)));
                }
            });
        });
        Self { address, seen }
    }

    /// The last request that arrived.
    #[track_caller]
    pub fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().cloned().unwrap()
    }
}

async fn serve(
    stream: tokio::net::TcpStream,
    said: Arc<(Option<&'static str>, HeaderMap)>,
    seen: Arc<Mutex<Vec<Seen>>>,
) -> Option<()> {
    let mut connection = h2::server::handshake(stream).await.ok()?;
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let (said, seen) = (Arc::clone(&said), Arc::clone(&seen));
        tokio::spawn(async move {
            let (parts, mut body) = request.into_parts();
            let mut request = Seen {
                line: format!("{} {}", parts.method, parts.uri),
                fields: parts.headers,
                ..Seen::default()
            };
            while let Some(Ok(piece)) = body.data().await {
                drop(body.flow_control().release_capacity(piece.len()));
                request.body.extend(piece);
            }
            request.trailers = body.trailers().await.ok()?.unwrap_or_default();
            let (body, trailers) = &*said;
            let body = body.map_or_else(|| request.line.clone(), str::to_owned);
            seen.lock().unwrap().push(request);
            let mut stream = respond.send_response(Response::new(()), false).ok()?;
            stream.send_data(body.into_bytes().into(), false).ok()?;
            stream.send_trailers(trailers.clone()).ok()
        });
    }
    Some(())
}
