//! Frames and field blocks of HTTP/2 as a test writes them: nothing is checked or made right.

use std::net::SocketAddr;

use super::client::Connection;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

/// What every client says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame that was read.
#[derive(Clone, Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// What the head of a frame says, still without its payload, and how long that is.
pub fn begun(head: [u8; 9]) -> (Frame, usize) {
    let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = head;
    let frame = Frame {
        kind,
        flags,
        stream: u32::from_be_bytes([s0, s1, s2, s3]),
        payload: Vec::new(),
    };
    (frame, u32::from_be_bytes([0, l0, l1, l2]) as usize)
}

/// Takes a whole frame from the front.
pub fn take_frame(unread: &mut Vec<u8>) -> Option<Frame> {
    let (frame, length) = begun(*unread.first_chunk()?);
    let payload = unread.get(9..9 + length)?.to_vec();
    unread.drain(..9 + length);
    Some(Frame { payload, ..frame })
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// Field lines as literals without Huffman coding that nobody is to remember (RFC 7541 section 6.2.3).
pub fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let fields = fields.iter();
    fields
        .flat_map(|(name, value)| field(name, value))
        .collect()
}

/// One of them.
pub fn field(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    let mut field = vec![0x10];
    text(&mut field, name.as_ref());
    text(&mut field, value.as_ref());
    field
}

/// A string of any length (sections 5.1 and 5.2).
fn text(block: &mut Vec<u8>, text: &[u8]) {
    match u8::try_from(text.len()) {
        Ok(length @ 0..127) => block.push(length),
        _ => {
            block.push(127);
            let mut rest = text.len() - 127;
            while rest >= 128 {
                block.push(u8::try_from(rest % 128).unwrap() | 0x80);
                rest /= 128;
            }
            block.push(u8::try_from(rest).unwrap());
        }
    }
    block.extend_from_slice(text);
}

/// A connection to a gate on which a test sends the frames that it likes.
pub struct Frames {
    connection: Connection,
    unread: Vec<u8>,
}

impl Frames {
    /// With preface and settings.
    #[track_caller]
    pub fn open(gate: SocketAddr) -> Self {
        let mut frames = Self::raw(gate);
        frames.send(PREFACE);
        frames.send(&frame(SETTINGS, 0, 0, &[]));
        frames
    }

    /// Without any.
    #[track_caller]
    pub fn raw(gate: SocketAddr) -> Self {
        Self {
            connection: Connection::http2(gate),
            unread: Vec::new(),
        }
    }

    pub fn send(&mut self, frames: &[u8]) {
        self.connection.send(frames);
    }

    /// The next frame; `None` at the end.
    #[track_caller]
    pub fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = take_frame(&mut self.unread) {
                return Some(frame);
            }
            let more = self.connection.read_some();
            if more.is_empty() {
                return None;
            }
            self.unread.extend(more);
        }
    }

    /// Sends `ok` as the body of a POST on stream 1, with these fields in front of it and behind it.
    #[track_caller]
    pub fn post(
        gate: SocketAddr,
        path: &str,
        front: &[(&str, &str)],
        behind: &[(&str, &str)],
    ) -> Self {
        let lower = |fields: &[(&str, &str)]| {
            let fields = fields.iter();
            let fields = fields.map(|(name, value)| (name.to_lowercase(), (*value).to_owned()));
            block(&fields.collect::<Vec<_>>())
        };
        let pseudo = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", path),
        ];
        let head = [block(&pseudo), lower(front)].concat();
        let mut frames = Self::open(gate);
        frames.send(&frame(HEADERS, END_HEADERS, 1, &head));
        frames.send(&frame(DATA, 0, 1, b"ok"));
        let flags = END_HEADERS | END_STREAM;
        frames.send(&frame(HEADERS, flags, 1, &lower(behind)));
        frames
    }

    /// The frames of an answer up to its end, which has to be one in order.
    #[track_caller]
    pub fn end_of(&mut self, stream: u32) -> Vec<Frame> {
        let mut answer = Vec::new();
        loop {
            let frame = self.next().expect("an answer before the end");
            if frame.stream == stream && [HEADERS, DATA, RST_STREAM].contains(&frame.kind) {
                assert_ne!(frame.kind, RST_STREAM, "{answer:?} {frame:?}");
                let ends = frame.flags & END_STREAM != 0;
                answer.push(frame);
                if ends {
                    return answer;
                }
            }
        }
    }
}
