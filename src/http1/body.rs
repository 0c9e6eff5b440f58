//! Message bodies: takes the content out of the bytes of a connection, whichever way it is
//! delimited, and finds exactly where the body ends.
//!
//! Not here: how long a body may be and how long it may take (the proxy counts and times what it
//! gets), and writing bodies (`write`).

use bytes::{Buf, Bytes, BytesMut};

use super::fields::{CRLF, FieldError, Fields, check_line_ends, end_of_head};
use super::head::is_framing_field;

/// As many as 64 bits have; so a size cannot overflow.
const MOST_SIZE_DIGITS: usize = 16;
/// The size line with its extension, without its CRLF. Amazon's signed chunks need 86 bytes.
const LONGEST_SIZE_LINE: usize = 256;
const LONGEST_TRAILERS: usize = 8 * 1024;
const MOST_TRAILERS: usize = 64;

/// Takes one body from a buffer, piece by piece.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    trailers: Option<Fields>,
}

/// What comes next in the buffer.
#[derive(Clone, Copy, Debug)]
enum State {
    /// So many bytes of a body of known length; never 0.
    Length(u64),
    UntilClose,
    ChunkSize,
    /// So many bytes of a chunk; never 0.
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    Done,
    Failed(BodyError),
}

/// What one call of [`BodyDecoder::decode`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The next bytes of the body; never empty.
    Data(Bytes),
    /// Nothing until more bytes are in the buffer.
    NeedMore,
    /// The body is complete. What is still in the buffer belongs to the next message.
    End,
}

// === impl BodyDecoder ===

impl BodyDecoder {
    /// No body.
    #[must_use]
    pub fn empty() -> Self {
        Self::new(State::Done)
    }

    /// A body of so many bytes.
    #[must_use]
    pub fn length(length: u64) -> Self {
        match length {
            0 => Self::empty(),
            _ => Self::new(State::Length(length)),
        }
    }

    /// A body in chunks.
    #[must_use]
    pub fn chunked() -> Self {
        Self::new(State::ChunkSize)
    }

    /// A body that ends where the connection does.
    #[must_use]
    pub fn until_close() -> Self {
        Self::new(State::UntilClose)
    }

    fn new(state: State) -> Self {
        Self {
            state,
            trailers: None,
        }
    }

    /// Takes the next piece from the front of `buffer`, without copying.
    ///
    /// # Errors
    ///
    /// When a chunk or the trailers are malformed. An error is final: the connection cannot be used
    /// any further, and a second call returns it again.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, BodyError> {
        let decoded = self.next(buffer);
        if let Err(error) = decoded {
            self.state = State::Failed(error);
        }
        decoded
    }

    fn next(&mut self, buffer: &mut BytesMut) -> Result<Decoded, BodyError> {
        loop {
            let next = match self.state {
                State::Length(_) | State::UntilClose | State::ChunkData(_) => {
                    return Ok(self.take_data(buffer));
                }
                State::ChunkSize => take_chunk_size(buffer)?,
                State::ChunkEnd => take_chunk_end(buffer)?,
                State::Trailers => self.take_trailers(buffer)?,
                State::Done => return Ok(Decoded::End),
                State::Failed(error) => return Err(error),
            };
            let Some(next) = next else {
                return Ok(Decoded::NeedMore);
            };
            self.state = next;
        }
    }

    /// To be told when the peer has closed its side and all that came has been decoded.
    ///
    /// # Errors
    ///
    /// [`BodyError::Truncated`] when that is not how this body ends.
    pub fn end_of_input(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            State::Failed(error) => Err(error),
            _ => Err(BodyError::Truncated),
        }
    }

    /// Whether the body is complete. One in chunks is so only when `decode` has seen its end.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// How many bytes are still to come, where that is known.
    #[must_use]
    pub fn remaining_hint(&self) -> Option<u64> {
        match self.state {
            State::Done => Some(0),
            State::Length(left) => Some(left),
            _ => None,
        }
    }

    /// The trailers, if any came, once: after [`Decoded::End`] of a body in chunks.
    pub fn trailers(&mut self) -> Option<Fields> {
        self.trailers.take()
    }

    fn take_data(&mut self, buffer: &mut BytesMut) -> Decoded {
        if buffer.is_empty() {
            return Decoded::NeedMore;
        }
        let (State::Length(left) | State::ChunkData(left)) = self.state else {
            return Decoded::Data(buffer.split().freeze());
        };
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let length = most.min(buffer.len());
        let left = left - length as u64;
        self.state = match self.state {
            State::ChunkData(_) if left == 0 => State::ChunkEnd,
            State::ChunkData(_) => State::ChunkData(left),
            _ if left == 0 => State::Done,
            _ => State::Length(left),
        };
        Decoded::Data(buffer.split_to(length).freeze())
    }

    fn take_trailers(&mut self, buffer: &mut BytesMut) -> Result<Option<State>, BodyError> {
        if buffer.starts_with(CRLF) {
            buffer.advance(CRLF.len());
            return Ok(Some(State::Done));
        }
        let window = &buffer[..buffer.len().min(LONGEST_TRAILERS)];
        let end = end_of_head(window);
        check_line_ends(&window[..end.unwrap_or(window.len())])?;
        match end {
            Some(end) => self.keep_trailers(buffer.split_to(end).freeze()),
            None if window.len() < LONGEST_TRAILERS => Ok(None),
            None => Err(BodyError::TrailersTooLarge),
        }
    }

    fn keep_trailers(&mut self, block: Bytes) -> Result<Option<State>, BodyError> {
        let trailers = Fields::from_lines(block, 0, MOST_TRAILERS)?;
        let is_framing = |(name, _): (&[u8], &[u8])| is_framing_field(name);
        if trailers.iter_bytes().any(is_framing) {
            return Err(BodyError::FramingTrailer);
        }
        self.trailers = Some(trailers);
        Ok(Some(State::Done))
    }
}

// === Chunks ===

/// `1*HEXDIG [ chunk-ext ] CRLF`, read strictly from left to right: a given wrong byte is refused
/// with the same error as soon as it comes.
fn take_chunk_size(buffer: &mut BytesMut) -> Result<Option<State>, BodyError> {
    let window = &buffer[..buffer.len().min(LONGEST_SIZE_LINE + 1)];
    let Some((size, digits)) = chunk_size(window)? else {
        return Ok(None);
    };
    let end = match end_of_extension(&window[digits..])? {
        Some(length) => digits + length,
        None if window.len() <= LONGEST_SIZE_LINE => return Ok(None),
        None => return Err(BodyError::SizeLineTooLong),
    };
    let next = match size {
        0 => State::Trailers,
        _ => State::ChunkData(size),
    };
    match buffer.get(end + 1) {
        None => Ok(None),
        Some(b'\n') => {
            buffer.advance(end + CRLF.len());
            Ok(Some(next))
        }
        Some(_) => Err(FieldError::BareCarriageReturn.into()),
    }
}

/// The size and its number of digits, once the byte after it is there.
fn chunk_size(line: &[u8]) -> Result<Option<(u64, usize)>, BodyError> {
    let mut size = 0;
    for (at, byte) in line.iter().enumerate() {
        match char::from(*byte).to_digit(16) {
            Some(_) if at == MOST_SIZE_DIGITS => return Err(BodyError::ChunkSizeTooLarge),
            Some(digit) => size = (size << 4) | u64::from(digit),
            None if at > 0 && matches!(byte, b'\r' | b';') => return Ok(Some((size, at))),
            None if *byte == b'\n' => return Err(FieldError::BareLineFeed.into()),
            None => return Err(BodyError::ChunkSize),
        }
    }
    Ok(None)
}

/// The length of the extension, which nobody reads: all that matters is that no parser can see the
/// end of the line elsewhere. So a quoted string has to be closed before it.
fn end_of_extension(rest: &[u8]) -> Result<Option<usize>, BodyError> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in rest.iter().enumerate() {
        match byte {
            b'\r' if !quoted => return Ok(Some(at)),
            b'\n' => return Err(FieldError::BareLineFeed.into()),
            b' '..=b'~' => {
                let is_quote = *byte == b'"' && !escaped;
                escaped = quoted && !escaped && *byte == b'\\';
                quoted ^= is_quote;
            }
            _ => return Err(BodyError::ChunkExtension),
        }
    }
    Ok(None)
}

fn take_chunk_end(buffer: &mut BytesMut) -> Result<Option<State>, BodyError> {
    match buffer[..] {
        [] | [b'\r'] => Ok(None),
        [b'\r', b'\n', ..] => {
            buffer.advance(CRLF.len());
            Ok(Some(State::ChunkSize))
        }
        _ => Err(BodyError::ChunkEnd),
    }
}

// === Errors ===

/// Why a body was refused, or could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// A line between chunks, or of the trailers, is not what RFC 9112 says a line is.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The peer closed before the end.
    #[error("the body ended before it was complete")]
    Truncated,
    /// No size, or a sign, `0x`, white space or other garbage beside it.
    #[error("a chunk size is not a hexadecimal number")]
    ChunkSize,
    /// More digits than 64 bits have.
    #[error("a chunk size of more than 16 digits")]
    ChunkSizeTooLarge,
    /// A chunk extension with a control byte, one outside ASCII, or an unclosed quote.
    #[error("a malformed chunk extension")]
    ChunkExtension,
    /// Only an extension can be that long.
    #[error("a chunk size line of more than 256 bytes")]
    SizeLineTooLong,
    /// The data of a chunk is longer than its size says, or the CRLF after it is missing.
    #[error("a chunk does not end with CRLF where its size says")]
    ChunkEnd,
    /// More than 8 KiB of trailers.
    #[error("trailers of more than 8 KiB")]
    TrailersTooLarge,
    /// Too late to say how the message is framed or where it goes.
    #[error("Content-Length, Transfer-Encoding or Host in the trailers")]
    FramingTrailer,
    /// To be written: more bytes than announced.
    #[error("the body is longer than its Content-Length")]
    TooLong,
    /// To be written: fewer bytes than announced.
    #[error("the body is shorter than its Content-Length")]
    TooShort,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content, the trailers as `name=value`, and the bytes left over.
    type Outcome = Result<(Vec<u8>, Vec<String>, Vec<u8>), BodyError>;

    /// Feeds pieces of so many bytes, then the end of the input.
    fn decode(mut decoder: BodyDecoder, input: &[u8], piece: usize) -> Outcome {
        let mut buffer = BytesMut::new();
        let mut content = Vec::new();
        let mut pieces = input.chunks(piece);
        loop {
            match decoder.decode(&mut buffer)? {
                Decoded::Data(data) => {
                    assert!(!data.is_empty());
                    content.extend_from_slice(&data);
                }
                Decoded::NeedMore => match pieces.next() {
                    Some(piece) => buffer.extend_from_slice(piece),
                    None => decoder.end_of_input()?,
                },
                Decoded::End => break,
            }
        }
        assert!(decoder.is_done());
        let trailers = decoder.trailers().unwrap_or_default();
        let trailers = trailers
            .iter()
            .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)));
        let rest = [&buffer[..], &pieces.collect::<Vec<_>>().concat()].concat();
        Ok((content, trailers.collect(), rest))
    }

    #[track_caller]
    fn check_trailers(
        decoder: fn() -> BodyDecoder,
        input: impl AsRef<[u8]>,
        expected: Result<(&str, &[&str], &str), BodyError>,
    ) {
        let input = input.as_ref();
        let expected = expected.map(|(content, trailers, rest)| {
            let trailers = trailers.iter().map(ToString::to_string).collect();
            (
                content.as_bytes().to_vec(),
                trailers,
                rest.as_bytes().to_vec(),
            )
        });
        for piece in [input.len().max(1), 1, 2, 3] {
            assert_eq!(
                decode(decoder(), input, piece),
                expected,
                "in pieces of {piece}"
            );
        }
    }

    #[track_caller]
    fn check(
        decoder: fn() -> BodyDecoder,
        input: impl AsRef<[u8]>,
        expected: Result<(&str, &str), BodyError>,
    ) {
        let expected = expected.map(|(content, rest)| (content, &[][..], rest));
        check_trailers(decoder, input, expected);
    }

    #[track_caller]
    fn check_chunked(input: impl AsRef<[u8]>, expected: Result<(&str, &str), BodyError>) {
        check(BodyDecoder::chunked, input, expected);
    }

    #[test]
    fn no_body_takes_nothing() {
        check(BodyDecoder::empty, "GET", Ok(("", "GET")));
        check(BodyDecoder::empty, "", Ok(("", "")));
        check(|| BodyDecoder::length(0), "GET", Ok(("", "GET")));
    }

    #[test]
    fn a_length_takes_just_so_many_bytes() {
        check(|| BodyDecoder::length(3), "abcGET", Ok(("abc", "GET")));
        check(|| BodyDecoder::length(3), "abc", Ok(("abc", "")));
        check(|| BodyDecoder::length(3), "ab", Err(BodyError::Truncated));
        check(
            || BodyDecoder::length(u64::MAX),
            "ab",
            Err(BodyError::Truncated),
        );
    }

    #[test]
    fn until_close_takes_everything() {
        check(BodyDecoder::until_close, "abc", Ok(("abc", "")));
        check(BodyDecoder::until_close, "", Ok(("", "")));
    }

    #[test]
    fn the_end_of_a_length_is_known_with_its_last_byte() {
        let mut decoder = BodyDecoder::length(3);
        assert_eq!(
            (decoder.is_done(), decoder.remaining_hint()),
            (false, Some(3))
        );
        decoder.decode(&mut BytesMut::from("ab")).unwrap();
        assert_eq!(
            (decoder.is_done(), decoder.remaining_hint()),
            (false, Some(1))
        );
        decoder.decode(&mut BytesMut::from("c")).unwrap();
        assert_eq!(
            (decoder.is_done(), decoder.remaining_hint()),
            (true, Some(0))
        );
        assert_eq!(decoder.end_of_input(), Ok(()));
        assert_eq!(BodyDecoder::chunked().remaining_hint(), None);
        assert_eq!(BodyDecoder::until_close().remaining_hint(), None);
    }

    #[test]
    fn data_is_not_copied() {
        for mut decoder in [
            BodyDecoder::length(3),
            BodyDecoder::until_close(),
            BodyDecoder::chunked(),
        ] {
            let mut buffer = BytesMut::from("3\r\nabc\r\n");
            let block = buffer.as_ptr_range();
            let Ok(Decoded::Data(data)) = decoder.decode(&mut buffer) else {
                panic!("no data")
            };
            assert!(block.contains(&data.as_ptr()));
        }
    }

    #[test]
    fn chunks_are_joined_and_what_follows_them_stays() {
        check_chunked("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nGET", Ok(("abcde", "GET")));
        check_chunked("0\r\n\r\n", Ok(("", "")));
        check_chunked("000\r\n\r\n", Ok(("", "")));
        check_chunked("A\r\n0123456789\r\n0\r\n\r\n", Ok(("0123456789", "")));
        check_chunked("0a\r\n0123456789\r\n0\r\n\r\n", Ok(("0123456789", "")));
        check_chunked("2\r\n\r\n\r\n0\r\n\r\n", Ok(("\r\n", "")));
    }

    #[test]
    fn a_chunked_body_without_its_end_is_truncated() {
        let body = "3;x=y\r\nabc\r\n0\r\nA: b\r\n\r\n";
        for length in 0..body.len() {
            check_chunked(&body[..length], Err(BodyError::Truncated));
        }
    }

    #[test]
    fn a_chunk_size_is_hexadecimal_digits_and_nothing_else() {
        for line in [
            "", " ", "0x5", "+5", "-5", "5 ", " 5", "5\t", "5 ;a=b", "5,", "5.0", "g", "\\x35",
            "5\u{b2}", "_5", "5_0", "5\0", "\0", ";a=b", ";",
        ] {
            check_chunked(
                format!("{line}\r\nabcde\r\n0\r\n\r\n"),
                Err(BodyError::ChunkSize),
            );
        }
        check_chunked("5\r\nabcde\r\n0\r\n\r\n", Ok(("abcde", "")));
    }

    #[test]
    fn a_chunk_size_has_16_digits_at_most() {
        check_chunked("0000000000000001\r\na\r\n0\r\n\r\n", Ok(("a", "")));
        check_chunked("ffffffffffffffff\r\na", Err(BodyError::Truncated));
        let too_large = Err(BodyError::ChunkSizeTooLarge);
        check_chunked("00000000000000001\r\na\r\n0\r\n\r\n", too_large);
        check_chunked("10000000000000000\r\na\r\n0\r\n\r\n", too_large);
        check_chunked("ffffffffffffffffffffffff\r\na\r\n0\r\n\r\n", too_large);
        check_chunked("00000000000000000000", too_large);
    }

    #[test]
    fn a_size_line_ends_with_crlf_only() {
        check_chunked("1\r\na\r\n0\r\n\r\n", Ok(("a", "")));
        let bare_line_feed = Err(FieldError::BareLineFeed.into());
        check_chunked("1\na\r\n0\r\n\r\n", bare_line_feed);
        check_chunked("1;a=\nb\r\na\r\n0\r\n\r\n", bare_line_feed);
        check_chunked("1\r\na\r\n0\n\r\n", bare_line_feed);
        check_chunked("1\r\na\r\n0\r\n\n", bare_line_feed);
        check_chunked("\n1\r\na\r\n0\r\n\r\n", bare_line_feed);
        let bare_carriage_return = Err(FieldError::BareCarriageReturn.into());
        check_chunked("1\ra\r\n0\r\n\r\n", bare_carriage_return);
        check_chunked("1\r\r\na\r\n0\r\n\r\n", bare_carriage_return);
        check_chunked("1;a\rb\r\na\r\n0\r\n\r\n", bare_carriage_return);
        check_chunked("0\r\n\rX", bare_carriage_return);
    }

    #[test]
    fn the_data_of_a_chunk_ends_with_crlf_where_its_size_says() {
        for input in [
            "3\r\nabc0\r\n\r\n",
            "3\r\nabc\n0\r\n\r\n",
            "3\r\nabc\r0\r\n\r\n",
            "3\r\nabcd\r\n0\r\n\r\n",
            "3\r\nabc\r\r\n0\r\n\r\n",
        ] {
            check_chunked(input, Err(BodyError::ChunkEnd));
        }
        check_chunked("3\r\nab\r\n0\r\n\r\n", Err(BodyError::ChunkEnd));
    }

    #[test]
    fn a_chunk_extension_is_dropped() {
        for extension in [
            ";",
            ";a",
            ";a=b",
            " ;a",
            ";a = b ; c",
            ";a=\"b;c\"",
            ";a=\"\\\"\"",
            ";a=\"\\\\\"",
            ";chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        ] {
            let expected = match extension {
                " ;a" => Err(BodyError::ChunkSize),
                _ => Ok(("ab", "")),
            };
            check_chunked(
                format!("2{extension}\r\nab\r\n0{extension}\r\n\r\n"),
                expected,
            );
        }
    }

    #[test]
    fn a_chunk_extension_cannot_hide_the_end_of_its_line() {
        for extension in [
            ";a=\"\r\n",
            ";a=\"\r\nb\"",
            ";a=\"b\\\"\r\n",
            ";a\0",
            ";a\tb",
            ";a=\x0b",
            ";\x7f",
            ";a=\u{e9}",
            ";a=\"\0\"",
        ] {
            check_chunked(
                format!("2{extension}\r\nab\r\n0\r\n\r\n"),
                Err(BodyError::ChunkExtension),
            );
        }
    }

    #[test]
    fn a_size_line_has_256_bytes_at_most() {
        let line = |length: usize| format!("1;{}", "x".repeat(length - 2));
        check_chunked(format!("{}\r\na\r\n0\r\n\r\n", line(256)), Ok(("a", "")));
        let too_long = Err(BodyError::SizeLineTooLong);
        check_chunked(format!("{}\r\na\r\n0\r\n\r\n", line(257)), too_long);
        check_chunked(line(257), too_long);
    }

    #[test]
    fn trailers_come_after_the_last_chunk() {
        check_trailers(
            BodyDecoder::chunked,
            "1\r\na\r\n0\r\nX: 1\r\ny:2 \r\n\r\nGET",
            Ok(("a", &["X=1", "y=2"], "GET")),
        );
        let mut decoder = BodyDecoder::chunked();
        assert_eq!(
            decoder.decode(&mut BytesMut::from("0\r\n\r\n")),
            Ok(Decoded::End)
        );
        assert!(decoder.trailers().is_none());
    }

    #[test]
    fn trailers_are_read_as_strictly_as_heads() {
        for (lines, error) in [
            ("X: 1\nY: 2\r\n", FieldError::BareLineFeed),
            ("X: 1\rY: 2\r\n", FieldError::BareCarriageReturn),
            ("X: 1\r\n y\r\n", FieldError::Folded),
            ("X : 1\r\n", FieldError::SpaceInName),
            (": 1\r\n", FieldError::EmptyName),
            ("X: \0\r\n", FieldError::Value),
            ("X\r\n", FieldError::MissingColon),
        ] {
            check_chunked(format!("0\r\n{lines}\r\n"), Err(error.into()));
        }
    }

    #[test]
    fn trailers_cannot_say_how_the_message_is_framed_or_where_it_goes() {
        for name in [
            "Content-Length",
            "transfer-encoding",
            "HOST",
            "Content_Length",
            "Transfer_Encoding",
        ] {
            check_chunked(
                format!("0\r\n{name}: 1\r\n\r\n"),
                Err(BodyError::FramingTrailer),
            );
        }
    }

    #[test]
    fn trailers_have_8_kib_and_64_fields_at_most() {
        let of_length = |length: usize| format!("0\r\nX: {}\r\n\r\n", "y".repeat(length - 7));
        let of_fields = |fields: usize| format!("0\r\n{}\r\n", "X: y\r\n".repeat(fields));
        let count = |input: String| {
            decode(BodyDecoder::chunked(), input.as_bytes(), 100).map(|(_, fields, _)| fields.len())
        };
        assert_eq!(count(of_length(8192)), Ok(1));
        assert_eq!(count(of_length(8193)), Err(BodyError::TrailersTooLarge));
        assert_eq!(count(of_fields(64)), Ok(64));
        assert_eq!(count(of_fields(65)), Err(FieldError::TooMany.into()));
    }

    #[test]
    fn an_error_is_final() {
        let mut decoder = BodyDecoder::chunked();
        assert_eq!(
            decoder.decode(&mut BytesMut::from("x")),
            Err(BodyError::ChunkSize)
        );
        assert_eq!(
            decoder.decode(&mut BytesMut::from("0\r\n\r\n")),
            Err(BodyError::ChunkSize)
        );
        assert_eq!(decoder.end_of_input(), Err(BodyError::ChunkSize));
        assert!(!decoder.is_done());
    }
}
