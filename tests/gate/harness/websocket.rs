//! WebSocket: a raw client that sends what a test likes, and Debian's python3-websockets for what
//! real programs do.

use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use super::backend::Recorded;
use super::client::Connection;
use super::eventually;
use super::process::Process;

/// What clients here send (that of RFC 6455 section 1.2), and what it has to be answered with.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;

/// A handshake for `path` with more fields.
pub fn handshake(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
    )
}

/// A whole frame of a server.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    [head(opcode, payload.len(), 0), payload.to_vec()].concat()
}

/// A whole frame of a client.
pub fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let payload = payload.iter().zip(mask.iter().cycle());
    let payload: Vec<u8> = payload.map(|(byte, mask)| byte ^ mask).collect();
    [head(opcode, payload.len(), 0x80), mask.to_vec(), payload].concat()
}

fn head(opcode: u8, length: usize, masked: u8) -> Vec<u8> {
    match length {
        ..126 => vec![0x80 | opcode, masked | u8::try_from(length).unwrap()],
        126..0x1_0000 => {
            let [high, low] = u16::try_from(length).unwrap().to_be_bytes();
            vec![0x80 | opcode, masked | 126, high, low]
        }
        _ => {
            let digits = (length as u64).to_be_bytes();
            [&[0x80 | opcode, masked | 127][..], &digits].concat()
        }
    }
}

/// What any handshake has to be answered with.
pub fn accepted(request: &Recorded) -> String {
    let key = request.field("sec-websocket-key").unwrap();
    let digest = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    ACCEPTED.replace("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", &STANDARD.encode(digest))
}

/// The opcode and payload of the next frame of a client, a small one; `None` at the end.
pub fn read_small(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 6];
    stream.read_exact(&mut head).ok()?;
    let [first, second, mask @ ..] = head;
    let mut payload = vec![0; usize::from(second & 0x7f)];
    stream.read_exact(&mut payload).ok()?;
    let plain = payload.iter().zip(mask.iter().cycle());
    Some((first & 15, plain.map(|(byte, mask)| byte ^ mask).collect()))
}

/// A client that speaks WebSocket.
pub struct WebSocket {
    pub connection: Connection,
    /// The head of the 101.
    pub head: String,
    buffer: Vec<u8>,
}

impl WebSocket {
    /// Opens one, which has to be accepted.
    #[track_caller]
    pub fn open(mut connection: Connection, path: &str, more: &str) -> Self {
        connection.send(handshake(path, more).as_bytes());
        let mut bytes = Vec::new();
        let end = loop {
            let some = connection.read_some();
            assert!(!some.is_empty(), "{}", String::from_utf8_lossy(&bytes));
            bytes.extend_from_slice(&some);
            if let Some(at) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let buffer = bytes.split_off(end);
        let head = String::from_utf8(bytes).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Self {
            connection,
            head,
            buffer,
        }
    }

    pub fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.connection.send(&masked(opcode, payload));
    }

    /// The next frame: its opcode and payload; `None` at the end.
    #[track_caller]
    pub fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some((opcode, length, whole)) = self.whole_frame() {
                let frame: Vec<u8> = self.buffer.drain(..whole).collect();
                return Some((opcode, frame[whole - length..].to_vec()));
            }
            let some = self.connection.read_some();
            if some.is_empty() {
                assert!(self.buffer.is_empty(), "cut: {:?}", self.buffer);
                return None;
            }
            self.buffer.extend_from_slice(&some);
        }
    }

    fn whole_frame(&self) -> Option<(u8, usize, usize)> {
        let [first, second, rest @ ..] = &self.buffer[..] else {
            return None;
        };
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, it| sum << 8 | usize::from(*it));
        let (head, length) = match second {
            126 => (4, number(rest.get(..2)?)),
            127 => (10, number(rest.get(..8)?)),
            short => (2, usize::from(*short)),
        };
        let whole = head + length;
        (self.buffer.len() >= whole).then_some((first & 15, length, whole))
    }

    /// The next frame as text.
    #[track_caller]
    pub fn text(&mut self) -> String {
        let (opcode, payload) = self.next().expect("a message");
        assert_eq!(opcode, TEXT, "{payload:?}");
        String::from_utf8(payload).unwrap()
    }

    /// Waits for a Close, which has to be the next frame; its code and reason.
    #[track_caller]
    pub fn closed(&mut self) -> (u16, String) {
        let (opcode, payload) = self.next().expect("a Close");
        assert_eq!(opcode, CLOSE, "{payload:?}");
        let code = u16::from_be_bytes([payload[0], payload[1]]);
        (code, String::from_utf8(payload[2..].to_vec()).unwrap())
    }
}

/// A running echo made with python3-websockets; ends with the test.
pub struct Echo {
    process: Process,
    pub address: SocketAddr,
}

impl Echo {
    /// Over TCP in the clear.
    #[track_caller]
    pub fn start() -> Self {
        Self::with(&["tcp"])
    }

    /// The same with arguments of its own.
    #[track_caller]
    pub fn with(args: &[&str]) -> Self {
        let mut command = python("websocket_echo.py");
        command.args(args);
        let mut process = Process::start(command, "");
        let port = eventually("the echo listens", || {
            assert!(process.is_running(), "{}", process.errors());
            let said = process.out();
            let (_, rest) = said.split_once("port ")?;
            rest.split_once('\n')?.0.parse().ok()
        });
        Self {
            process,
            address: ([127, 0, 0, 1], port).into(),
        }
    }

    /// What it has said of its connections.
    pub fn said(&self) -> String {
        self.process.out()
    }

    /// Waits until it has said this.
    #[track_caller]
    pub fn await_words(&self, words: &str) {
        eventually(words, || self.said().contains(words).then_some(()));
    }
}

/// A program in `tests/gate/peers`, run by Debian's Python, which has Debian's modules.
pub fn python(program: &str) -> Command {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.extend(["tests", "gate", "peers", program]);
    let mut command = Command::new("/usr/bin/python3");
    command.arg(path);
    command
}
