//! Cases over HTTP/2, frame by frame, and what becomes of them.

use std::net::SocketAddr;

use super::{Arrives, Bytes, Case};
use crate::harness::frames::{
    CONTINUATION, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS,
    block, frame,
};

/// An error code of RFC 9113 section 7.
pub const PROTOCOL_ERROR: u32 = 1;

/// What becomes of the stream 1, or of its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Status(u16),
    /// The stream is reset with this code.
    Reset(u32),
    /// The connection ends. The code is not looked at: the h2 crate says PROTOCOL_ERROR for all.
    Ended,
}

/// The pseudo fields of a GET of the case.
pub const PSEUDO: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "localhost"),
    (":path", "/public/@@@@"),
];

/// A request without a body from these field lines.
pub fn headers<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields))
}

/// The same in as many frames as it takes.
pub fn long_headers<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let block = block(fields);
    let (first, rest) = block.split_at(16 << 10);
    let mut frames = frame(HEADERS, END_STREAM, 1, first);
    let count = rest.chunks(16 << 10).count();
    for (at, part) in rest.chunks(16 << 10).enumerate() {
        let flags = if at + 1 == count { END_HEADERS } else { 0 };
        frames.extend(frame(CONTINUATION, flags, 1, part));
    }
    frames
}

/// The same with a body to come.
pub fn headers_of_body<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, &block(fields))
}

/// The pseudo fields of a GET, and these after them.
pub fn with(fields: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    let all = PSEUDO.iter().chain(fields);
    all.map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
        .collect()
}

/// The pseudo fields of a POST, and these after them.
pub fn post_with(fields: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    let mut all = with(fields);
    all[0].1 = b"POST".to_vec();
    all
}

/// The pseudo fields with one of them replaced, or left out where there is no value.
pub fn replaced(name: &str, value: Option<&str>) -> Vec<(String, Vec<u8>)> {
    let mut all = with(&[]);
    match value {
        Some(value) => {
            let mut fields = all.iter_mut();
            let field = fields.find(|(found, _)| found == name).unwrap();
            field.1 = value.as_bytes().to_vec();
        }
        None => all.retain(|(found, _)| found != name),
    }
    all
}

/// An HTTP/2 case whose expectation follows. `frames` come after preface and settings.
pub struct Http2 {
    name: &'static str,
    source: &'static str,
    frames: Vec<u8>,
}

pub fn case(name: &'static str, source: &'static str, frames: impl AsRef<[u8]>) -> Http2 {
    let frames = [&frame(SETTINGS, 0, 0, &[]), frames.as_ref()].concat();
    raw(name, source, [PREFACE, &frames].concat())
}

/// The same, without preface and settings.
pub fn raw(name: &'static str, source: &'static str, bytes: impl AsRef<[u8]>) -> Http2 {
    Http2 {
        name,
        source,
        frames: bytes.as_ref().to_vec(),
    }
}

impl Http2 {
    pub fn refused(self, status: u16) -> Case {
        self.comes_to(Outcome::Status(status), Arrives::Nothing)
    }

    pub fn reset(self, code: u32) -> Case {
        self.comes_to(Outcome::Reset(code), Arrives::Nothing)
    }

    /// It begins to arrive before it is clear that it may not.
    pub fn cut_by_reset(self, code: u32) -> Case {
        self.comes_to(Outcome::Reset(code), Arrives::Cut)
    }

    /// The whole connection ends, as may be for an error of a stream too (RFC 9113 section 5.4.2).
    pub fn ends(self) -> Case {
        self.comes_to(Outcome::Ended, Arrives::Nothing)
    }

    pub fn granted(self, line: &str) -> Case {
        self.granted_with(line, b"")
    }

    pub fn granted_with(self, line: &str, body: &[u8]) -> Case {
        let arrives = Arrives::Requests(vec![(line.to_owned(), body.to_vec())]);
        self.comes_to(Outcome::Status(200), arrives)
    }

    pub fn comes_to(self, outcome: Outcome, arrives: Arrives) -> Case {
        let Self {
            name,
            source,
            frames,
        } = self;
        Case {
            name,
            source,
            bytes: Bytes::Http2(frames, outcome),
            arrives,
        }
    }
}

/// Sends it all, and waits for what becomes of stream 1.
pub fn outcome_of(gate: SocketAddr, frames: &[u8]) -> Outcome {
    let mut client = Frames::raw(gate);
    client.send(frames);
    while let Some(frame) = client.next() {
        let code = |from: usize| {
            let bytes = frame.payload[from..from + 4].try_into().unwrap();
            u32::from_be_bytes(bytes)
        };
        match (frame.kind, frame.stream) {
            (HEADERS, 1) => return Outcome::Status(status(&frame.payload)),
            (RST_STREAM, 1) => return Outcome::Reset(code(0)),
            (GOAWAY, 0) if code(4) != 0 => return Outcome::Ended,
            _ => {}
        }
    }
    Outcome::Ended
}

/// The status at the front of the first field block of a connection: one of the static table, or a
/// literal of three digits, plain or in Huffman code.
fn status(block: &[u8]) -> u16 {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    // The size of the table may be said first.
    let block = &block[block
        .iter()
        .take_while(|byte| **byte & 0xe0 == 0x20)
        .count()..];
    match block {
        [indexed @ 0x88..=0x8e, ..] => INDEXED[usize::from(*indexed - 0x88)],
        [0x48 | 0x08 | 0x18, 3, digits @ ..] => {
            let digits = std::str::from_utf8(&digits[..3]).unwrap();
            digits.parse().unwrap()
        }
        [0x48 | 0x08 | 0x18, length, digits @ ..] => {
            huffman_digits(&digits[..usize::from(length & 0x7f)])
        }
        _ => panic!("{block:x?}"),
    }
}

/// Three digits (RFC 7541, appendix B): 0 to 2 have five bits, the others six.
fn huffman_digits(bytes: &[u8]) -> u16 {
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let (mut rest, mut number) = (bits.as_str(), 0);
    for _ in 0..3 {
        let five = u16::from_str_radix(&rest[..5], 2).unwrap();
        let (digit, length) = match five {
            0..=2 => (five, 5),
            _ => (
                u16::from_str_radix(&rest[..6], 2).unwrap() - 0b01_1001 + 3,
                6,
            ),
        };
        number = number * 10 + digit;
        rest = &rest[length..];
    }
    number
}
