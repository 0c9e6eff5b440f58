//! Response heads from a backend: the strict parse and how the body that follows is delimited.
//!
//! A backend is trusted more than a client, but a response with two meanings would let one user's
//! answer end in another's, so it is refused all the same. Not here: which fields go on to the
//! client, and what to tell a client when a backend's answer is refused.

mod http2;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};

use super::fields::{
    CRLF, FieldError, Fields, ascii, check_line_ends, end_of_head, is_text_byte, take_head,
};
use super::head::{Connection, HeadLimits, Version, is_chunked, parse_length};

/// How the body of a response is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFraming {
    /// No body: the answer to HEAD, 1xx, 204 and 304.
    None,
    /// `Content-Length`, which may be 0.
    Length(u64),
    /// `Transfer-Encoding: chunked`
    Chunked,
    /// Everything until the backend closes the connection.
    UntilClose,
    /// HTTP/2 DATA frames until `END_STREAM`, of whose sum nothing is said.
    Stream,
}

/// The checked head of a response.
#[derive(Clone)]
pub struct ResponseHead {
    status: StatusCode,
    version: Version,
    /// Where it lies in the block of the fields.
    reason: Range<usize>,
    fields: Fields,
    framing: ResponseFraming,
    keep_alive: bool,
    declared_length: Option<u64>,
}

// === impl ResponseHead ===

impl ResponseHead {
    /// Tries to take one head from the front of `buffer`; `None` when more bytes are needed. The
    /// method of the request decides whether a body follows. It is never CONNECT: no
    /// [`RequestHead`](super::head::RequestHead) has that method.
    ///
    /// An informational (1xx) head is a head like any other: the caller reads on for the final one.
    ///
    /// # Errors
    ///
    /// When the bytes are not a head this gate accepts. The connection cannot be used any further.
    pub fn parse(
        buffer: &mut BytesMut,
        request_method: &Method,
        limits: &HeadLimits,
    ) -> Result<Option<Self>, ResponseError> {
        let window = &buffer[..buffer.len().min(limits.bytes)];
        let end = end_of_head(window);
        let window = &window[..end.unwrap_or(window.len())];
        let line = StatusLine::read(window)?;
        check_line_ends(window)?;
        match (line, end) {
            (Some(line), Some(end)) => {
                let block = take_head(buffer, end);
                Self::from_block(&line, block, request_method, limits.fields).map(Some)
            }
            _ if window.len() < limits.bytes => Ok(None),
            _ => Err(ResponseError::TooLarge),
        }
    }

    fn from_block(
        line: &StatusLine,
        block: Bytes,
        request_method: &Method,
        most_fields: usize,
    ) -> Result<Self, ResponseError> {
        let fields = Fields::from_lines(block, line.end, most_fields)?;
        let meaning = Meaning::of(&fields)?;
        let chunked = meaning.is_chunked(line.version)?;
        let framing = if has_no_body(line.status, request_method) {
            ResponseFraming::None
        } else if chunked {
            ResponseFraming::Chunked
        } else {
            meaning
                .content_length
                .map_or(ResponseFraming::UntilClose, ResponseFraming::Length)
        };
        Ok(Self {
            status: line.status,
            version: line.version,
            reason: line.reason.clone(),
            framing,
            keep_alive: meaning.connection.keep_alive(line.version)
                && framing != ResponseFraming::UntilClose
                && line.status != StatusCode::SWITCHING_PROTOCOLS
                && !meaning.announces_stray_body(line.status),
            declared_length: meaning.content_length,
            fields,
        })
    }

    /// The status, from 100 to 599.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The version of the response.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The reason phrase, perhaps empty; HTTP/2 has none. A byte outside ASCII reads `?`.
    #[must_use]
    pub fn reason(&self) -> Cow<'_, str> {
        let reason = self.fields.at(&self.reason);
        if reason.is_ascii() {
            return ascii(reason).into();
        }
        let safe = |byte: &u8| if byte.is_ascii() { *byte } else { b'?' };
        reason.iter().map(safe).map(char::from).collect()
    }

    /// The fields, all of them, as sent.
    #[must_use]
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// How the body is delimited.
    #[must_use]
    pub fn framing(&self) -> ResponseFraming {
        self.framing
    }

    /// Whether the connection may serve another request, as far as this head says.
    ///
    /// False as well where the head announces a body that its status does not allow: those bytes
    /// would be read as the next response.
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// What `Content-Length` says, also where no body follows (HEAD, 304).
    #[must_use]
    pub fn declared_length(&self) -> Option<u64> {
        self.declared_length
    }
}

impl fmt::Debug for ResponseHead {
    /// Without the values of fields, which may be secrets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ResponseHead")
            .field("status", &self.status)
            .field("version", &self.version)
            .field("fields", &self.fields)
            .field("framing", &self.framing)
            .finish_non_exhaustive()
    }
}

fn has_no_body(status: StatusCode, request_method: &Method) -> bool {
    *request_method == Method::HEAD || status == StatusCode::NOT_MODIFIED || forbids_body(status)
}

fn forbids_body(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT
}

// === Status line ===

/// The status line, as places in the head.
struct StatusLine {
    version: Version,
    status: StatusCode,
    reason: Range<usize>,
    /// Where the fields begin.
    end: usize,
}

impl StatusLine {
    /// Reads strictly from left to right, so that a given wrong byte is refused with the same error
    /// as soon as it comes. `None` when the line has not ended.
    ///
    /// The space after the status may be missing when the phrase is: servers do leave it out, and
    /// the line has no second reading.
    fn read(head: &[u8]) -> Result<Option<Self>, ResponseError> {
        const START: &[u8] = b"HTTP/1.1 200";
        if !head
            .iter()
            .take(START.len())
            .enumerate()
            .all(|(at, byte)| fits_status_line(at, *byte))
        {
            return Err(no_status_line(head));
        }
        let Some((start, rest)) = head.split_at_checked(START.len()) else {
            return Ok(None);
        };
        let version = if start[7] == b'0' {
            Version::Http10
        } else {
            Version::Http11
        };
        let status = StatusCode::from_bytes(&start[9..]).map_err(|_| ResponseError::StatusLine)?;
        if !matches!(rest, [] | [b' ' | b'\r', ..]) {
            return Err(ResponseError::StatusLine);
        }
        let Some(length) = rest.iter().position(|byte| !is_text_byte(*byte)) else {
            return Ok(None);
        };
        match rest[length..] {
            [b'\r'] => return Ok(None),
            [b'\r', b'\n', ..] => {}
            [b'\r', ..] => return Err(FieldError::BareCarriageReturn.into()),
            [b'\n', ..] => return Err(FieldError::BareLineFeed.into()),
            _ => return Err(ResponseError::StatusLine),
        }
        let reason_end = START.len() + length;
        let reason = reason_end.min(START.len() + 1)..reason_end;
        Ok(Some(Self {
            version,
            status,
            reason,
            end: reason_end + CRLF.len(),
        }))
    }
}

/// `HTTP/1.0` or `HTTP/1.1`, a space, and a status from 100 to 599.
fn fits_status_line(at: usize, byte: u8) -> bool {
    match at {
        7 => matches!(byte, b'0' | b'1'),
        9 => matches!(byte, b'1'..=b'5'),
        10 | 11 => byte.is_ascii_digit(),
        _ => b"HTTP/1.x ".get(at) == Some(&byte),
    }
}

/// What something that is no answer may be, by the byte that it begins with: the length of a SETTINGS
/// frame, or the type of a TLS alert. No text begins with one of them.
fn no_status_line(head: &[u8]) -> ResponseError {
    match head.first() {
        Some(0) => ResponseError::LikeHttp2,
        Some(0x15) => ResponseError::LikeTls,
        _ => ResponseError::StatusLine,
    }
}

// === What the fields mean ===

/// The fields that decide about framing and connection, gathered in one pass.
#[derive(Default)]
struct Meaning<'a> {
    content_length: Option<u64>,
    transfer_encoding: Option<&'a [u8]>,
    connection: Connection,
}

impl<'a> Meaning<'a> {
    fn of(fields: &'a Fields) -> Result<Self, ResponseError> {
        let mut meaning = Self::default();
        for (name, value) in fields.iter_bytes() {
            meaning.add(name, value)?;
        }
        Ok(meaning)
    }

    /// The length of a name tells most fields apart from those that matter here.
    fn add(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), ResponseError> {
        let named = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            10 if named(b"connection") => self.connection.add(value),
            14 if named(b"content-length") => self.add_length(value)?,
            17 if named(b"transfer-encoding") => self.add_coding(value)?,
            _ => {}
        }
        Ok(())
    }

    /// Lengths that are all equal count as one, as RFC 9112, 6.3 allows: backends do send two. The
    /// proxy writes the field anew, so a client never sees the second.
    fn add_length(&mut self, value: &[u8]) -> Result<(), ResponseError> {
        for element in value.split(|byte| *byte == b',') {
            let length = parse_length(element.trim_ascii());
            let length = length.ok_or(ResponseError::ContentLength)?;
            if self
                .content_length
                .replace(length)
                .is_some_and(|other| other != length)
            {
                return Err(ResponseError::DifferentContentLengths);
            }
        }
        Ok(())
    }

    fn add_coding(&mut self, value: &'a [u8]) -> Result<(), ResponseError> {
        let doubled = self.transfer_encoding.replace(value).is_some();
        if doubled {
            Err(ResponseError::TransferEncoding)
        } else {
            Ok(())
        }
    }

    fn is_chunked(&self, version: Version) -> Result<bool, ResponseError> {
        match self.transfer_encoding {
            None => Ok(false),
            Some(_) if self.content_length.is_some() => {
                Err(ResponseError::ContentLengthWithTransferEncoding)
            }
            Some(_) if version == Version::Http10 => Err(ResponseError::TransferEncodingInHttp10),
            Some(value) if is_chunked(value) => Ok(true),
            Some(_) => Err(ResponseError::TransferEncoding),
        }
    }

    fn announces_stray_body(&self, status: StatusCode) -> bool {
        let announced = self.transfer_encoding.is_some() || self.content_length > Some(0);
        announced && forbids_body(status)
    }
}

// === Errors ===

/// Why a response head was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// A line of the head is not what RFC 9112 says a line is.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The first line is not a status line of HTTP/1.0 or 1.1, or the status is not 100 to 599.
    #[error("the response does not begin with `HTTP/1.1` and a status from 100 to 599")]
    StatusLine,
    /// It begins as what a server of HTTP/2 says first.
    #[error("the response begins as HTTP/2 does")]
    LikeHttp2,
    /// It begins as what a server of TLS says to who speaks none.
    #[error("the response begins as TLS does")]
    LikeTls,
    /// No end of the head within the limit.
    #[error("the head of the response is longer than the limit")]
    TooLarge,
    /// Not decimal digits that fit 64 bits.
    #[error("Content-Length of the response is not a number")]
    ContentLength,
    /// Two lengths that differ.
    #[error("different Content-Lengths in one response")]
    DifferentContentLengths,
    /// Both framings at once.
    #[error("Content-Length beside Transfer-Encoding in the response")]
    ContentLengthWithTransferEncoding,
    /// Another coding than `chunked`, or more than one field.
    #[error("Transfer-Encoding of the response is not `chunked`")]
    TransferEncoding,
    /// HTTP/1.0 has no transfer codings.
    #[error("Transfer-Encoding in an HTTP/1.0 response")]
    TransferEncodingInHttp10,
    /// A field of HTTP/1 connections in HTTP/2, or a value with white space at an end.
    #[error("a field that has no place in HTTP/2 in the response")]
    ConnectionField,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 1024,
        fields: 10,
        target: 0,
    };

    fn parse(bytes: &[u8], method: &Method) -> Result<Option<ResponseHead>, ResponseError> {
        ResponseHead::parse(&mut BytesMut::from(bytes), method, &LIMITS)
    }

    /// Feeds one byte at a time, up to the first answer.
    fn parse_slowly(bytes: &[u8], method: &Method) -> Result<Option<ResponseHead>, ResponseError> {
        let mut buffer = BytesMut::new();
        for byte in bytes {
            buffer.extend_from_slice(&[*byte]);
            let head = ResponseHead::parse(&mut buffer, method, &LIMITS);
            if !matches!(head, Ok(None)) {
                return head;
            }
        }
        Ok(None)
    }

    /// The framing, and whether the connection is kept.
    type Outcome = Result<(ResponseFraming, bool), ResponseError>;

    #[track_caller]
    fn check_method(method: &Method, bytes: impl AsRef<[u8]>, expected: Outcome) {
        let bytes = bytes.as_ref();
        let outcome = |head: Option<ResponseHead>| {
            let head = head.expect("a whole head");
            (head.framing(), head.keep_alive())
        };
        assert_eq!(parse(bytes, method).map(outcome), expected, "whole");
        assert_eq!(
            parse_slowly(bytes, method).map(outcome),
            expected,
            "byte by byte"
        );
    }

    #[track_caller]
    fn check(bytes: impl AsRef<[u8]>, expected: Outcome) {
        check_method(&Method::GET, bytes, expected);
    }

    /// Of a 200 of HTTP/1.1 with these field lines, each with its CRLF.
    #[track_caller]
    fn check_fields(lines: &str, expected: Outcome) {
        check(format!("HTTP/1.1 200 OK\r\n{lines}\r\n"), expected);
    }

    #[track_caller]
    fn check_status_line(line: &str, expected: Result<(u16, &str), ResponseError>) {
        let bytes = format!("{line}\r\nContent-Length: 0\r\n\r\n");
        let head = parse(bytes.as_bytes(), &Method::GET).map(|head| head.expect("a whole head"));
        let parts = head
            .as_ref()
            .map(|head| (head.status().as_u16(), head.reason().into_owned()));
        let owned = |(status, reason): &(u16, &str)| (*status, (*reason).to_owned());
        assert_eq!(parts, expected.as_ref().map(owned));
        let slowly = parse_slowly(bytes.as_bytes(), &Method::GET);
        assert_eq!(slowly.map(drop), expected.map(drop), "byte by byte");
    }

    const KEPT: bool = true;
    const CLOSED: bool = false;

    #[test]
    fn a_head_is_taken_and_what_follows_it_stays() {
        let mut buffer = BytesMut::from(
            &b"HTTP/1.1 404 Not Found\r\nX: y\r\nContent-Length: 3\r\n\r\nabcHTTP"[..],
        );
        let head = ResponseHead::parse(&mut buffer, &Method::GET, &LIMITS)
            .unwrap()
            .unwrap();
        assert_eq!(buffer, &b"abcHTTP"[..]);
        assert_eq!(head.status(), StatusCode::NOT_FOUND);
        assert_eq!(head.version(), Version::Http11);
        assert_eq!(head.reason(), "Not Found");
        assert_eq!(head.fields().get("x"), Some(&b"y"[..]));
        assert_eq!(head.framing(), ResponseFraming::Length(3));
        assert_eq!(head.declared_length(), Some(3));
    }

    #[test]
    fn the_final_head_follows_an_informational_one() {
        let mut buffer = BytesMut::from(
            &b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"[..],
        );
        let mut next = || ResponseHead::parse(&mut buffer, &Method::GET, &LIMITS).unwrap();
        assert_eq!(next().unwrap().framing(), ResponseFraming::None);
        assert_eq!(next().unwrap().framing(), ResponseFraming::Length(1));
        assert!(next().is_none());
    }

    #[test]
    fn an_unfinished_head_waits_for_more() {
        let response = b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n";
        for length in 0..response.len() {
            let head = parse(&response[..length], &Method::GET);
            assert!(matches!(head, Ok(None)), "{length} bytes: {head:?}");
        }
    }

    #[test]
    fn the_status_line_is_one_of_http_1_0_or_1_1() {
        check_status_line("HTTP/1.1 200 OK", Ok((200, "OK")));
        check_status_line("HTTP/1.0 404 Not  Found ", Ok((404, "Not  Found ")));
        check_status_line("HTTP/1.1 599 ", Ok((599, "")));
        check_status_line("HTTP/1.1 200", Ok((200, "")));
        check_status_line("HTTP/1.1 299 caf\u{e9}\t!", Ok((299, "caf??\t!")));
        for line in [
            "HTTP/1.2 200 OK",
            "HTTP/2.0 200 OK",
            "HTTP/2 200 OK",
            "HTTP/0.9 200 OK",
            "http/1.1 200 OK",
            "ICY 200 OK",
            "HTTP/1.1  200 OK",
            "HTTP/1.1\t200 OK",
            " HTTP/1.1 200 OK",
            "HTTP/1.1 099 X",
            "HTTP/1.1 600 X",
            "HTTP/1.1 999 X",
            "HTTP/1.1 20 X",
            "HTTP/1.1 2000 X",
            "HTTP/1.1 +20 X",
            "HTTP/1.1 2x0 X",
            "HTTP/1.1",
            "HTTP/1.1 200\tOK",
            "HTTP/1.1 200OK",
            "HTTP/1.1 200 O\0K",
            "HTTP/1.1 200 O\x1bK",
            "",
        ] {
            check_status_line(line, Err(ResponseError::StatusLine));
        }
        let settings = "\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64";
        check_status_line(settings, Err(ResponseError::LikeHttp2));
        let alert = "\x15\x03\x01\0\x02\x02\x46";
        check_status_line(alert, Err(ResponseError::LikeTls));
    }

    #[test]
    fn lines_end_with_crlf_only() {
        for lf in [
            "HTTP/1.1 200 OK\nX: y\r\n\r\n",
            "HTTP/1.1 200\nX: y\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: y\n\r\n",
            "HTTP/1.1 200 OK\r\nX: y\r\n\n",
        ] {
            let error = match lf {
                "HTTP/1.1 200\nX: y\r\n\r\n" => ResponseError::StatusLine,
                _ => FieldError::BareLineFeed.into(),
            };
            check(lf, Err(error));
        }
        check(
            "HTTP/1.1 200 O\rK\r\n\r\n",
            Err(FieldError::BareCarriageReturn.into()),
        );
        check(
            "HTTP/1.1 200 OK\r\nX: \ry\r\n\r\n",
            Err(FieldError::BareCarriageReturn.into()),
        );
    }

    #[test]
    fn field_lines_are_read_as_strictly_as_in_requests() {
        let sized = "Content-Length: 1\r\n";
        check_fields(sized, Ok((ResponseFraming::Length(1), KEPT)));
        check_fields("X: y\r\n z\r\n", Err(FieldError::Folded.into()));
        check_fields("X : y\r\n", Err(FieldError::SpaceInName.into()));
        check_fields(": y\r\n", Err(FieldError::EmptyName.into()));
        check_fields("X: \0\r\n", Err(FieldError::Value.into()));
        check_fields("X\r\n", Err(FieldError::MissingColon.into()));
        check_fields(
            &"X: y\r\n".repeat(10),
            Ok((ResponseFraming::UntilClose, CLOSED)),
        );
        check_fields(&"X: y\r\n".repeat(11), Err(FieldError::TooMany.into()));
    }

    #[test]
    fn a_head_of_just_the_limit_passes_and_one_byte_more_does_not() {
        let frame = "HTTP/1.1 200 OK\r\nX: \r\n\r\n".len();
        let head = |length: usize| {
            format!(
                "HTTP/1.1 200 OK\r\nX: {}\r\n\r\n",
                "y".repeat(length - frame)
            )
        };
        check(
            head(LIMITS.bytes),
            Ok((ResponseFraming::UntilClose, CLOSED)),
        );
        check(head(LIMITS.bytes + 1), Err(ResponseError::TooLarge));
    }

    #[test]
    fn the_body_is_framed_by_length_or_chunks_or_the_end_of_the_connection() {
        check_fields(
            "Content-Length: 5\r\n",
            Ok((ResponseFraming::Length(5), KEPT)),
        );
        check_fields(
            "Content-Length: 0\r\n",
            Ok((ResponseFraming::Length(0), KEPT)),
        );
        check_fields(
            "Transfer-Encoding: Chunked\r\n",
            Ok((ResponseFraming::Chunked, KEPT)),
        );
        check_fields("", Ok((ResponseFraming::UntilClose, CLOSED)));
        check_fields(
            "Connection: keep-alive\r\n",
            Ok((ResponseFraming::UntilClose, CLOSED)),
        );
    }

    #[test]
    fn equal_content_lengths_count_as_one_and_different_ones_are_refused() {
        let five = Ok((ResponseFraming::Length(5), KEPT));
        check_fields("Content-Length: 5\r\nContent-Length: 5\r\n", five);
        check_fields("Content-Length: 5, 5\r\n", five);
        let different = Err(ResponseError::DifferentContentLengths);
        check_fields("Content-Length: 5\r\nContent-Length: 6\r\n", different);
        check_fields("Content-Length: 5, 6\r\n", different);
        for value in [
            "",
            "+5",
            "-1",
            "5,",
            ",5",
            "0x10",
            "5 5",
            "18446744073709551616",
        ] {
            let line = format!("Content-Length: {value}\r\n");
            check_fields(&line, Err(ResponseError::ContentLength));
        }
    }

    #[test]
    fn transfer_encoding_is_chunked_once_and_alone() {
        for lines in [
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked, chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding:\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ] {
            check_fields(lines, Err(ResponseError::TransferEncoding));
        }
        for lines in [
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: identity\r\n",
        ] {
            check_fields(lines, Err(ResponseError::ContentLengthWithTransferEncoding));
        }
        check(
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Err(ResponseError::TransferEncodingInHttp10),
        );
    }

    #[test]
    fn a_field_whose_name_is_only_as_long_decides_nothing() {
        let body = "Content-Length: 5\r\n";
        let outcome = Ok((ResponseFraming::Length(5), KEPT));
        check_fields(&format!("{body}User-Agent: close\r\n"), outcome);
        check_fields(&format!("{body}Accept-Charset: 6\r\n"), outcome);
        check_fields(&format!("{body}If-Modified-Since: chunked\r\n"), outcome);
    }

    #[test]
    fn some_responses_have_no_body_whatever_their_fields_say() {
        let sized = "Content-Length: 5\r\n\r\n";
        check_method(
            &Method::HEAD,
            format!("HTTP/1.1 200 OK\r\n{sized}"),
            Ok((ResponseFraming::None, KEPT)),
        );
        check_method(
            &Method::HEAD,
            "HTTP/1.1 200 OK\r\n\r\n",
            Ok((ResponseFraming::None, KEPT)),
        );
        check(
            format!("HTTP/1.1 304 Not Modified\r\n{sized}"),
            Ok((ResponseFraming::None, KEPT)),
        );
        check(
            "HTTP/1.1 204 No Content\r\n\r\n",
            Ok((ResponseFraming::None, KEPT)),
        );
        check(
            "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
            Ok((ResponseFraming::None, KEPT)),
        );
        check(
            "HTTP/1.1 100 Continue\r\n\r\n",
            Ok((ResponseFraming::None, KEPT)),
        );
        check(
            format!("HTTP/1.1 200 OK\r\n{sized}"),
            Ok((ResponseFraming::Length(5), KEPT)),
        );
    }

    #[test]
    fn a_connection_is_not_kept_after_a_body_that_must_not_be_there() {
        let sized = "Content-Length: 5\r\n\r\n";
        let chunked = "Transfer-Encoding: chunked\r\n\r\n";
        check(
            format!("HTTP/1.1 204 No Content\r\n{sized}"),
            Ok((ResponseFraming::None, CLOSED)),
        );
        check(
            format!("HTTP/1.1 204 No Content\r\n{chunked}"),
            Ok((ResponseFraming::None, CLOSED)),
        );
        check(
            format!("HTTP/1.1 103 Early Hints\r\n{sized}"),
            Ok((ResponseFraming::None, CLOSED)),
        );
    }

    #[test]
    fn a_switched_connection_is_not_kept() {
        let fields = "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        check(
            format!("HTTP/1.1 101 Switching Protocols\r\n{fields}"),
            Ok((ResponseFraming::None, CLOSED)),
        );
    }

    #[test]
    fn the_connection_is_kept_as_version_and_fields_say() {
        let body = "Content-Length: 5\r\n";
        let length = ResponseFraming::Length(5);
        check_fields(
            &format!("{body}Connection: close\r\n"),
            Ok((length, CLOSED)),
        );
        check_fields(
            &format!("{body}Connection: keep-alive, Close\r\n"),
            Ok((length, CLOSED)),
        );
        check(
            format!("HTTP/1.0 200 OK\r\n{body}\r\n"),
            Ok((length, CLOSED)),
        );
        check(
            format!("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n{body}\r\n"),
            Ok((length, KEPT)),
        );
    }

    #[test]
    fn the_declared_length_is_kept_where_no_body_follows() {
        let declared = |bytes: &str| {
            parse(bytes.as_bytes(), &Method::HEAD)
                .unwrap()
                .unwrap()
                .declared_length()
        };
        assert_eq!(
            declared("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
            Some(5)
        );
        assert_eq!(declared("HTTP/1.1 200 OK\r\n\r\n"), None);
    }

    #[test]
    fn debug_output_shows_no_values() {
        let head = parse(b"HTTP/1.1 200 OK\r\nSet-Cookie: s3\r\n\r\n", &Method::GET).unwrap();
        let output = format!("{head:?}");
        assert!(
            output.contains("Set-Cookie") && !output.contains("s3"),
            "{output}"
        );
    }
}
