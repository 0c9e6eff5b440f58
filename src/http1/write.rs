//! Writes heads and bodies into a `Vec<u8>`, so that a head and the first bytes of its body leave in
//! one write.
//!
//! Whatever the caller passes, a line stays one line: a byte that could end it is replaced. Not
//! here: which fields are written, and sockets.

use std::io::Write;

use http::{Method, StatusCode};
use memchr::memchr3;

use super::body::BodyError;
use super::fields::{CRLF, Fields, Received, check_name, check_value, is_text, is_token};
use super::head::RequestFraming;

/// Writes the request line of an HTTP/1.1 request.
pub fn request_line(out: &mut Vec<u8>, method: &Method, target: &str) {
    push_request(out, method, target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// Writes the request line of an HTTP/1.0 request.
pub fn request_line_of_http10(out: &mut Vec<u8>, method: &Method, target: &str) {
    push_request(out, method, target);
    out.extend_from_slice(b" HTTP/1.0\r\n");
}

fn push_request(out: &mut Vec<u8>, method: &Method, target: &str) {
    debug_assert!(
        target.bytes().all(|byte| byte.is_ascii_graphic()),
        "illegal target"
    );
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    push_target(out, target);
}

/// Writes the status line of an HTTP/1.1 response, with the usual reason phrase.
pub fn status_line(out: &mut Vec<u8>, status: StatusCode) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(CRLF);
}

/// Writes one field.
pub fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    debug_assert_eq!(check_name(name.as_bytes()), Ok(()), "field name {name:?}");
    debug_assert_eq!(check_value(value), Ok(()), "value of field {name}");
    push_name(out, name);
    out.extend_from_slice(b": ");
    push_value(out, value);
    out.extend_from_slice(CRLF);
}

/// Writes one field whose value comes in parts.
pub fn parts(out: &mut Vec<u8>, name: &str, value: impl IntoIterator<Item = impl AsRef<str>>) {
    push_name(out, name);
    out.extend_from_slice(b": ");
    for part in value {
        push_value(out, part.as_ref().as_bytes());
    }
    out.extend_from_slice(CRLF);
}

/// Writes one field whose value, in parts, is of a kind that cannot hold a control byte: an
/// authority of a head, hex digits, a text of our own.
pub fn checked<const N: usize>(out: &mut Vec<u8>, name: &'static str, value: [&str; N]) {
    debug_assert_eq!(check_name(name.as_bytes()), Ok(()), "field name {name:?}");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    for part in value {
        debug_assert_eq!(
            check_value(part.as_bytes()),
            Ok(()),
            "value of field {name}"
        );
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(CRLF);
}

/// Writes a field that was received.
pub fn received(out: &mut Vec<u8>, field: &Received<'_>) {
    if let Some(line) = field.line() {
        out.extend_from_slice(line);
        return;
    }
    out.extend_from_slice(field.name());
    out.extend_from_slice(b": ");
    out.extend_from_slice(field.value());
    out.extend_from_slice(CRLF);
}

/// Writes the empty line after the last field.
pub fn end_of_head(out: &mut Vec<u8>) {
    out.extend_from_slice(CRLF);
}

fn push_target(out: &mut Vec<u8>, target: &str) {
    let graphic = |all: bool, byte: u8| all & byte.is_ascii_graphic();
    if target.bytes().fold(true, graphic) {
        out.extend_from_slice(target.as_bytes());
        return;
    }
    let safe = |byte: u8| if byte.is_ascii_graphic() { byte } else { b'_' };
    out.extend(target.bytes().map(safe));
}

fn push_name(out: &mut Vec<u8>, name: &str) {
    // All but always; no branch a byte.
    if name.bytes().fold(true, |all, byte| all & is_token(byte)) {
        out.extend_from_slice(name.as_bytes());
        return;
    }
    let safe = |byte| if is_token(byte) { byte } else { b'-' };
    out.extend(name.bytes().map(safe));
}

fn push_value(out: &mut Vec<u8>, value: &[u8]) {
    let start = out.len();
    out.extend_from_slice(value);
    if is_text(value) {
        return;
    }
    let mut rest = &mut out[start..];
    while let Some(at) = memchr3(b'\r', b'\n', b'\0', rest) {
        rest[at] = b' ';
        rest = &mut rest[at + 1..];
    }
}

/// Pieces of a body from this size on are not copied to be sent together with what goes before
/// them.
pub const LARGE: usize = 8 << 10;

/// How the body that follows a head is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEncoder {
    /// Not at all; also what is left of every other kind after [`BodyEncoder::finish`].
    None,
    /// As it is. So many bytes are still to be written.
    Length(u64),
    /// In chunks.
    Chunked,
    /// As it is, until the connection is closed.
    UntilClose,
}

// === impl BodyEncoder ===

impl BodyEncoder {
    /// For a request forwarded over HTTP/1: what its head says of the body and how the body is
    /// written both come from this, so that they cannot disagree.
    #[must_use]
    pub fn for_request(framing: RequestFraming) -> Self {
        match framing {
            RequestFraming::None => Self::None,
            RequestFraming::Length(length)
            | RequestFraming::Stream {
                length: Some(length),
            } => Self::Length(length),
            RequestFraming::Chunked | RequestFraming::Stream { length: None } => Self::Chunked,
        }
    }

    /// Writes the next bytes of the body. No bytes are no chunk: that would be the last one.
    ///
    /// # Errors
    ///
    /// [`BodyError::TooLong`] when the head has announced fewer bytes. Nothing is written then.
    pub fn encode(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), BodyError> {
        if data.is_empty() {
            return Ok(());
        }
        if self.passes(data.len())? {
            out.extend_from_slice(data);
        } else {
            push_chunk_size(out, data.len());
            out.extend_from_slice(data);
            out.extend_from_slice(CRLF);
        }
        Ok(())
    }

    /// As [`BodyEncoder::encode`], but for many bytes that go out as they are: those are not
    /// copied, and returned to be written next.
    ///
    /// # Errors
    ///
    /// [`BodyError::TooLong`] when the head has announced fewer bytes. Nothing is written then.
    pub fn encode_or_pass<'d>(
        &mut self,
        data: &'d [u8],
        out: &mut Vec<u8>,
    ) -> Result<&'d [u8], BodyError> {
        if data.len() >= LARGE && self.passes(data.len())? {
            return Ok(data);
        }
        self.encode(data, out)?;
        Ok(&[])
    }

    /// Whether the next bytes of the body, so many of them, go out as they are. Then they are
    /// counted as written.
    fn passes(&mut self, length: usize) -> Result<bool, BodyError> {
        match self {
            Self::None => Err(BodyError::TooLong),
            Self::Length(left) => {
                let after = left.checked_sub(length as u64);
                *left = after.ok_or(BodyError::TooLong)?;
                Ok(true)
            }
            Self::Chunked => Ok(false),
            Self::UntilClose => Ok(true),
        }
    }

    /// Ends the body. Trailers are written where the framing has room for them: after chunks.
    ///
    /// # Errors
    ///
    /// [`BodyError::TooShort`] when the head has announced more bytes. The connection has to be
    /// closed then: the peer waits for the rest.
    pub fn finish(
        &mut self,
        trailers: Option<&Fields>,
        out: &mut Vec<u8>,
    ) -> Result<(), BodyError> {
        match std::mem::replace(self, Self::None) {
            Self::Length(1..) => Err(BodyError::TooShort),
            Self::Chunked => {
                out.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.iter().flat_map(|trailers| trailers.iter()) {
                    field(out, name, value);
                }
                end_of_head(out);
                Ok(())
            }
            Self::None | Self::Length(0) | Self::UntilClose => Ok(()),
        }
    }
}

fn push_chunk_size(out: &mut Vec<u8>, size: usize) {
    // Writing into a vector cannot fail.
    let _ = write!(out, "{size:x}\r\n");
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::super::body::{BodyDecoder, Decoded};
    use super::*;

    #[track_caller]
    fn check(write: impl FnOnce(&mut Vec<u8>), expected: &str) {
        let mut out = b"|".to_vec();
        write(&mut out);
        assert_eq!(String::from_utf8_lossy(&out), format!("|{expected}"));
    }

    /// Encodes the pieces, then finishes without trailers.
    #[track_caller]
    fn check_body(mut encoder: BodyEncoder, pieces: &[&str], expected: Result<&str, BodyError>) {
        let mut out = Vec::new();
        let mut feed = || {
            for piece in pieces {
                encoder.encode(piece.as_bytes(), &mut out)?;
            }
            encoder.finish(None, &mut out)
        };
        let outcome = feed();
        let written = outcome.map(|()| String::from_utf8_lossy(&out).into_owned());
        assert_eq!(written.as_deref(), expected.as_ref().copied());
    }

    #[test]
    fn many_bytes_are_passed_on_and_few_or_chunked_ones_are_copied() {
        let many = vec![b'x'; LARGE];
        let few = &many[1..];
        let check = |mut encoder: BodyEncoder, data: &[u8], passed: usize, written: usize| {
            let mut out = Vec::new();
            let rest = encoder.encode_or_pass(data, &mut out);
            assert_eq!(rest.map(<[u8]>::len), Ok(passed), "{encoder:?}");
            assert_eq!(out.len(), written, "{encoder:?}");
            encoder
        };
        let length = || BodyEncoder::Length(LARGE as u64);
        assert_eq!(check(length(), &many, LARGE, 0), BodyEncoder::Length(0));
        assert_eq!(check(length(), few, 0, LARGE - 1), BodyEncoder::Length(1));
        check(BodyEncoder::UntilClose, &many, LARGE, 0);
        check(
            BodyEncoder::Chunked,
            &many,
            0,
            b"2000\r\n".len() + LARGE + CRLF.len(),
        );
        let mut short = BodyEncoder::Length(1);
        let mut out = Vec::new();
        let refused = short.encode_or_pass(&many, &mut out);
        assert_eq!((refused, out.len()), (Err(BodyError::TooLong), 0));
    }

    #[test]
    fn heads_are_written_as_rfc_9112_has_them() {
        check(
            |out| request_line(out, &Method::POST, "/a%20b?x=1"),
            "POST /a%20b?x=1 HTTP/1.1\r\n",
        );
        check(
            |out| request_line_of_http10(out, &Method::GET, "/a"),
            "GET /a HTTP/1.0\r\n",
        );
        check(
            |out| status_line(out, StatusCode::NOT_FOUND),
            "HTTP/1.1 404 Not Found\r\n",
        );
        let unnamed = StatusCode::from_u16(299).unwrap();
        check(|out| status_line(out, unnamed), "HTTP/1.1 299 \r\n");
        check(|out| field(out, "X-Y", b"a b"), "X-Y: a b\r\n");
        check(|out| field(out, "x", b""), "x: \r\n");
        check(end_of_head, "\r\n");
    }

    #[test]
    fn nothing_a_caller_passes_can_split_a_head() {
        check(|out| push_value(out, b"a\r\nX: y\0\n"), "a  X: y  ");
        check(|out| push_value(out, b"\r\n"), "  ");
        check(|out| push_value(out, b"a\tb"), "a\tb");
        check(|out| push_name(out, "a: b\r\nc"), "a--b--c");
        check(|out| push_name(out, "X-y_z"), "X-y_z");
        check(
            |out| push_target(out, "/a HTTP/1.1\r\nX:\u{e9}"),
            "/a_HTTP/1.1__X:__",
        );
        check(|out| push_target(out, "/a?b#c"), "/a?b#c");
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "value of field x")]
    fn an_illegal_value_is_found_in_testing() {
        field(&mut Vec::new(), "x", b"a\nb");
    }

    #[test]
    fn a_length_is_written_as_it_is_and_to_the_last_byte() {
        check_body(BodyEncoder::Length(5), &["abc", "", "de"], Ok("abcde"));
        check_body(BodyEncoder::Length(0), &[], Ok(""));
        check_body(BodyEncoder::Length(5), &["abc"], Err(BodyError::TooShort));
        check_body(
            BodyEncoder::Length(5),
            &["abc", "def"],
            Err(BodyError::TooLong),
        );
        check_body(BodyEncoder::Length(0), &["a"], Err(BodyError::TooLong));
    }

    #[test]
    fn a_piece_too_long_is_not_written_at_all() {
        let mut out = Vec::new();
        let mut encoder = BodyEncoder::Length(2);
        assert_eq!(encoder.encode(b"abc", &mut out), Err(BodyError::TooLong));
        assert_eq!((out.len(), encoder), (0, BodyEncoder::Length(2)));
    }

    #[test]
    fn no_body_is_written_where_there_is_none() {
        check_body(BodyEncoder::None, &[""], Ok(""));
        check_body(BodyEncoder::None, &["a"], Err(BodyError::TooLong));
    }

    #[test]
    fn until_close_is_written_as_it_is() {
        check_body(BodyEncoder::UntilClose, &["abc", "de"], Ok("abcde"));
    }

    #[test]
    fn chunks_have_their_size_and_the_last_one_ends_them() {
        check_body(
            BodyEncoder::Chunked,
            &["abc", "d"],
            Ok("3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"),
        );
        check_body(BodyEncoder::Chunked, &["0123456789abcdef"], {
            Ok("10\r\n0123456789abcdef\r\n0\r\n\r\n")
        });
        check_body(BodyEncoder::Chunked, &[], Ok("0\r\n\r\n"));
    }

    #[test]
    fn an_empty_piece_does_not_end_the_chunks() {
        check_body(
            BodyEncoder::Chunked,
            &["", "a", ""],
            Ok("1\r\na\r\n0\r\n\r\n"),
        );
    }

    #[test]
    fn a_body_is_finished_once() {
        let mut out = Vec::new();
        let mut encoder = BodyEncoder::Chunked;
        assert_eq!(encoder.finish(None, &mut out), Ok(()));
        assert_eq!(encoder.finish(None, &mut out), Ok(()));
        assert_eq!(encoder.encode(b"a", &mut out), Err(BodyError::TooLong));
        assert_eq!(out, b"0\r\n\r\n");
    }

    #[test]
    fn trailers_follow_the_last_chunk_and_nothing_else() {
        let trailers = Fields::from_pairs([("X", &b"1"[..]), ("y", b"2")]).unwrap();
        let finish = |mut encoder: BodyEncoder| {
            let mut out = Vec::new();
            encoder.finish(Some(&trailers), &mut out).map(|()| out)
        };
        assert_eq!(
            finish(BodyEncoder::Chunked).unwrap(),
            b"0\r\nX: 1\r\ny: 2\r\n\r\n"
        );
        assert_eq!(finish(BodyEncoder::UntilClose).unwrap(), b"");
        assert_eq!(finish(BodyEncoder::Length(0)).unwrap(), b"");
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same() {
        let content = vec![b'x'; 70_000];
        let mut out = Vec::new();
        let mut encoder = BodyEncoder::Chunked;
        encoder.encode(&content, &mut out).unwrap();
        encoder.finish(None, &mut out).unwrap();
        let mut buffer = BytesMut::from(&out[..]);
        let mut decoder = BodyDecoder::chunked();
        let data = decoder.decode(&mut buffer);
        assert_eq!(data, Ok(Decoded::Data(content.into())));
        assert_eq!(decoder.decode(&mut buffer), Ok(Decoded::End));
        assert!(buffer.is_empty());
    }
}
