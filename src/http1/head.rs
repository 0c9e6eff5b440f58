//! Request heads: the strict parse, the checks of what the fields say about framing, authority and
//! connection, and the same checks for an HTTP/2 request.
//!
//! What two parsers could read differently is refused, also where RFC 9112 would let a server repair
//! it. Not here: what the path means (decoding, normal form, routes), and any rewriting of fields.

use std::fmt;
use std::net::Ipv6Addr;
use std::ops::Range;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{Method, StatusCode};
use memchr::{memchr, memchr2, memmem};

use super::fields::{
    CRLF, FieldError, Fields, ascii, check_line_ends, end_of_head, is_token, legal_run,
    list_elements,
};

/// How much of a head is read before it is refused.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// The most bytes a head may have, from its first line to the empty line, both included.
    pub bytes: usize,
    /// The most fields a head may have.
    pub fields: usize,
    /// The most bytes the target of a request may have.
    pub target: usize,
}

/// The HTTP version of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

/// How the body of a request is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFraming {
    /// No body, and no field that says so.
    None,
    /// `Content-Length`, which may be 0.
    Length(u64),
    /// `Transfer-Encoding: chunked`
    Chunked,
    /// HTTP/2 DATA frames until `END_STREAM`.
    Stream {
        /// The sum of the frames, where the client declared it.
        length: Option<u64>,
    },
}

/// The checked head of a request.
#[derive(Clone)]
pub struct RequestHead {
    method: Method,
    target: Text,
    path_length: usize,
    version: Version,
    /// From `Host`; without one, from `:authority` or an absolute target.
    authority: Option<Text>,
    fields: Fields,
    framing: RequestFraming,
    keep_alive: bool,
    expects_continue: bool,
    asks_upgrade: bool,
    takes_trailers: bool,
}

/// A part of a head.
#[derive(Clone)]
enum Text {
    /// A place in the block of its fields.
    InBlock(Range<usize>),
    /// Not in the block, or not as it is meant.
    Apart(Bytes),
}

impl Text {
    fn bytes<'h>(&'h self, fields: &'h Fields) -> &'h [u8] {
        match self {
            Self::InBlock(place) => fields.at(place),
            Self::Apart(bytes) => bytes,
        }
    }
}

// === impl RequestHead ===

impl RequestHead {
    /// Tries to take one head from the front of `buffer`; `None` when more bytes are needed.
    ///
    /// A head is consumed to its last byte and no further. A prefix that cannot become a head is
    /// refused at once, however little of it has come.
    ///
    /// # Errors
    ///
    /// When the bytes are not a head this gate accepts. The connection cannot be used any further:
    /// where the next request would begin is not known. The bytes stay: what they begin with says
    /// how that is answered.
    pub fn parse(buffer: &mut BytesMut, limits: &HeadLimits) -> Result<Option<Self>, HeadError> {
        let window = &buffer[..buffer.len().min(limits.bytes)];
        let end = end_of_head(window);
        let window = &window[..end.unwrap_or(window.len())];
        let line = RequestLine::read(window, limits.target)?;
        check_line_ends(window)?;
        match (line, end) {
            (Some(line), Some(end)) => {
                let block = Bytes::copy_from_slice(window);
                let head = Self::from_block(line, block, limits.fields)?;
                buffer.advance(end);
                Ok(Some(head))
            }
            _ if window.len() < limits.bytes => Ok(None),
            (None, _) => Err(HeadError::RequestLineTooLong),
            (Some(_), _) => Err(HeadError::TooLarge),
        }
    }

    fn from_block(line: RequestLine, block: Bytes, most_fields: usize) -> Result<Self, HeadError> {
        let target = line.origin_form(&block);
        let fields = Fields::from_lines(block, line.end, most_fields)?;
        let meaning = Meaning::of(&fields, line.version)?;
        let of_target = line.authority.as_ref().map(|place| fields.at(place));
        check_authority(of_target, meaning.host)?;
        if meaning.host.is_none() && line.version == Version::Http11 {
            return Err(HeadError::MissingHost);
        }
        let framing = meaning.framing(line.version)?;
        let authority = fields.place_of("host").or(line.authority);
        Ok(Self {
            method: line.method,
            path_length: path_length(target.bytes(&fields)),
            target,
            version: line.version,
            authority: authority.map(Text::InBlock),
            framing,
            keep_alive: meaning.connection.keep_alive(line.version),
            expects_continue: meaning.expects_continue()? && has_body(framing),
            asks_upgrade: meaning.asks_upgrade,
            takes_trailers: meaning.takes_trailers,
            fields,
        })
    }

    /// Makes the same checks on an HTTP/2 request. A fragment in `:path` is not seen here: `http`
    /// has cut it off when it built the URI.
    ///
    /// # Errors
    ///
    /// When the request is malformed (RFC 9113, 8.1.1) or one that this gate does not accept. Only
    /// the stream is affected.
    pub fn from_http2(
        parts: http::request::Parts,
        end_of_stream: bool,
        limits: &HeadLimits,
    ) -> Result<Self, HeadError> {
        if parts.method == Method::CONNECT {
            return Err(HeadError::Connect);
        }
        check_http2_size(&parts, limits)?;
        let target = http2_target(&parts)?;
        let target_authority = http2_authority(&parts)?;
        check_http2_fields(&parts.headers)?;
        let fields = parts.headers.iter();
        let fields = fields.map(|(name, value)| (name.as_str(), value.as_bytes()));
        let fields = Fields::from_pairs(fields)?;
        let meaning = Meaning::of(&fields, Version::Http2)?;
        check_authority(target_authority.as_deref(), meaning.host)?;
        if meaning.host.is_none() && target_authority.is_none() {
            return Err(HeadError::MissingHost);
        }
        let framing = meaning.http2_framing(end_of_stream)?;
        let host = fields.place_of("host").map(Text::InBlock);
        Ok(Self {
            method: parts.method,
            path_length: path_length(&target),
            target: Text::Apart(target),
            version: Version::Http2,
            authority: host.or_else(|| target_authority.map(Text::Apart)),
            framing,
            keep_alive: true,
            expects_continue: meaning.expects_continue()? && has_body(framing),
            asks_upgrade: false,
            takes_trailers: meaning.takes_trailers,
            fields,
        })
    }

    /// The method. It is a token, perhaps one that nobody has registered; never CONNECT.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The target in origin form, path and query exactly as sent; `*` only for `OPTIONS *`.
    #[must_use]
    pub fn target(&self) -> &str {
        ascii(self.target.bytes(&self.fields))
    }

    /// The path exactly as sent, without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        ascii(&self.target.bytes(&self.fields)[..self.path_length])
    }

    /// The query exactly as sent, without its `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        let target = self.target.bytes(&self.fields);
        target.get(self.path_length + 1..).map(ascii)
    }

    /// The version of the request.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// `host[:port]` as sent, in `Host`, `:authority` or an absolute target; `None` only in an
    /// HTTP/1.0 request that has none of them.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        let authority = self.authority.as_ref()?;
        Some(ascii(authority.bytes(&self.fields)))
    }

    /// The fields, all of them, as sent.
    #[must_use]
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// How the body is delimited.
    #[must_use]
    pub fn framing(&self) -> RequestFraming {
        self.framing
    }

    /// Whether the connection may serve another request, as far as this head says.
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Whether the client waits for `100 Continue` before it sends a body. Never without a body:
    /// then there is nothing to wait for, whatever the field says.
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// Whether there is an `Upgrade` field that counts: in HTTP/1.0 it says nothing (RFC 9110,
    /// 7.8), in HTTP/2 there is none. To which protocol, and whether that can be, is not looked at.
    #[must_use]
    pub fn asks_upgrade(&self) -> bool {
        self.asks_upgrade
    }

    /// Whether the client says that it takes trailers (`TE: trailers`).
    #[must_use]
    pub fn takes_trailers(&self) -> bool {
        self.takes_trailers
    }
}

impl fmt::Debug for RequestHead {
    /// Without the query and the values of fields, which may be secrets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RequestHead")
            .field("method", &self.method)
            .field("path", &self.path())
            .field("version", &self.version)
            .field("authority", &self.authority())
            .field("fields", &self.fields)
            .field("framing", &self.framing)
            .finish_non_exhaustive()
    }
}

impl Default for HeadLimits {
    /// 32 KiB is what nginx takes (four buffers of 8 KiB, of which the request line may fill one), and
    /// 100 fields are what Apache takes: a client that works with them works here. RFC 9112 section 3
    /// asks for 8000 bytes of request line at the least.
    fn default() -> Self {
        Self {
            bytes: 32 * 1024,
            fields: 100,
            target: 8 * 1024,
        }
    }
}

// === Request line ===

/// The request line, as places in the head.
struct RequestLine {
    method: Method,
    /// The authority of an absolute-form target.
    authority: Option<Range<usize>>,
    /// The target in origin form. For an absolute form it may be empty or begin with `?`.
    target: Range<usize>,
    version: Version,
    /// Where the fields begin.
    end: usize,
}

/// More than any method has, registered or not: a longer word is not an attempt at HTTP.
const LONGEST_METHOD: usize = 32;

impl RequestLine {
    /// Reads strictly from left to right, so that a given wrong byte is refused with the same error
    /// as soon as it comes, whatever has come after it. `None` when the line has not ended.
    fn read(head: &[u8], longest_target: usize) -> Result<Option<Self>, HeadError> {
        let Some(method_end) = end_of_method(head)? else {
            return Ok(None);
        };
        let target_start = method_end + 1;
        let Some(target_end) = end_of_target(head, target_start, longest_target)? else {
            return Ok(None);
        };
        let version_start = target_end + 1;
        let Some(version) = read_version(&head[version_start..])? else {
            return Ok(None);
        };
        let method = Method::from_bytes(&head[..method_end]).map_err(|_| HeadError::Method)?;
        let (authority, target) = target_form(&method, head, target_start..target_end)?;
        let end = version_start + VERSION.len() + CRLF.len();
        Ok(Some(Self {
            method,
            authority,
            target,
            version,
            end,
        }))
    }

    fn origin_form(&self, block: &[u8]) -> Text {
        match block.get(self.target.clone()) {
            None | Some([]) => Text::Apart(Bytes::from_static(b"/")),
            Some(target @ [b'?', ..]) => Text::Apart([b"/", target].concat().into()),
            Some(_) => Text::InBlock(self.target.clone()),
        }
    }
}

fn end_of_method(head: &[u8]) -> Result<Option<usize>, HeadError> {
    let window = &head[..head.len().min(LONGEST_METHOD + 1)];
    match window.iter().position(|byte| !is_token(*byte)) {
        _ if has_lower_case(window) => Err(HeadError::MethodCase),
        None if window.len() > LONGEST_METHOD => Err(HeadError::MethodTooLong),
        None => Ok(None),
        Some(0) if head[0] == b'\r' => Err(HeadError::LeadingEmptyLine),
        Some(end) if end > 0 && head[end] == b' ' => Ok(Some(end)),
        Some(end) => Err(misplaced(head[end], HeadError::Method)),
    }
}

/// Whether a lower-case letter stands in the word at the front.
fn has_lower_case(head: &[u8]) -> bool {
    let mut word = head.iter().take_while(|byte| is_token(**byte));
    word.any(u8::is_ascii_lowercase)
}

fn end_of_target(head: &[u8], start: usize, longest: usize) -> Result<Option<usize>, HeadError> {
    let window = &head[start..];
    let window = &window[..window.len().min(longest.saturating_add(1))];
    let length = legal_run(window, b' ', is_target);
    if length > longest {
        return Err(HeadError::RequestLineTooLong);
    }
    match head.get(start + length) {
        None => Ok(None),
        Some(b' ') if length > 0 => Ok(Some(start + length)),
        Some(b' ' | b'\r') => Err(HeadError::RequestLine),
        Some(byte) => Err(misplaced(*byte, HeadError::Target)),
    }
}

const VERSION: &[u8] = b"HTTP/1.1";

/// Reads the version and the end of the line.
fn read_version(rest: &[u8]) -> Result<Option<Version>, HeadError> {
    for (expected, byte) in VERSION.iter().zip(rest) {
        let fits = expected == byte || (expected.is_ascii_digit() && byte.is_ascii_digit());
        if !fits {
            return Err(misplaced(*byte, HeadError::RequestLine));
        }
    }
    let Some((name, line_end)) = rest.split_at_checked(VERSION.len()) else {
        return Ok(None);
    };
    let version = match name {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        _ => return Err(HeadError::Version),
    };
    match line_end {
        [] | [b'\r'] => Ok(None),
        [b'\r', b'\n', ..] => Ok(Some(version)),
        [b'\r', ..] => Err(FieldError::BareCarriageReturn.into()),
        [byte, ..] => Err(misplaced(*byte, HeadError::RequestLine)),
    }
}

/// A bare LF has its own error wherever it stands.
fn misplaced(byte: u8, otherwise: HeadError) -> HeadError {
    if byte == b'\n' {
        FieldError::BareLineFeed.into()
    } else {
        otherwise
    }
}

/// Visible ASCII without what a target never carries unencoded, and without `#`: a fragment is not
/// sent, and parsers differ on whether it belongs to the path.
fn is_target(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'#' | b'<' | b'>' | b'"')
}

/// Where the authority (of an absolute form) and the origin form lie in the target.
fn target_form(
    method: &Method,
    head: &[u8],
    target: Range<usize>,
) -> Result<(Option<Range<usize>>, Range<usize>), HeadError> {
    let bytes = &head[target.clone()];
    if *method == Method::CONNECT {
        return Err(HeadError::Connect);
    }
    if bytes[0] == b'/' || (bytes == b"*" && *method == Method::OPTIONS) {
        return Ok((None, target));
    }
    let scheme = memmem::find(bytes, b"://").ok_or(HeadError::TargetForm)?;
    if !is_web_scheme(&bytes[..scheme]) {
        return Err(HeadError::TargetForm);
    }
    let start = target.start + scheme + b"://".len();
    let rest = &head[start..target.end];
    let length = memchr2(b'/', b'?', rest).unwrap_or(rest.len());
    Ok((Some(start..start + length), start + length..target.end))
}

fn is_web_scheme(scheme: &[u8]) -> bool {
    scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https")
}

fn path_length(target: &[u8]) -> usize {
    memchr(b'?', target).unwrap_or(target.len())
}

// === What the fields mean ===

/// The fields that decide about framing, authority and connection, gathered in one pass.
#[derive(Default)]
struct Meaning<'a> {
    host: Option<&'a [u8]>,
    content_length: Option<&'a [u8]>,
    transfer_encoding: Option<&'a [u8]>,
    expect: Option<&'a [u8]>,
    connection: Connection,
    asks_upgrade: bool,
    takes_trailers: bool,
}

impl<'a> Meaning<'a> {
    fn of(fields: &'a Fields, version: Version) -> Result<Self, HeadError> {
        let mut meaning = Self::default();
        for (name, value) in fields.iter_bytes() {
            meaning.add(name, value, version)?;
        }
        Ok(meaning)
    }

    /// The length of a name tells most fields apart from those that matter here.
    fn add(&mut self, name: &[u8], value: &'a [u8], version: Version) -> Result<(), HeadError> {
        let named = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            2 if named(b"te") => {
                let is_trailers = |coding: &[u8]| coding.eq_ignore_ascii_case(b"trailers");
                self.takes_trailers |= list_elements(value).any(is_trailers);
                Ok(())
            }
            4 if named(b"host") => once(&mut self.host, value, HeadError::DoubledHost),
            6 if named(b"expect") && version != Version::Http10 => {
                once(&mut self.expect, value, HeadError::DoubledExpect)
            }
            7 if named(b"upgrade") => {
                self.asks_upgrade |= version == Version::Http11;
                Ok(())
            }
            10 if named(b"connection") => {
                self.connection.add(value);
                if self.connection.options > MOST_OPTIONS {
                    return Err(HeadError::TooManyOptions);
                }
                Ok(())
            }
            14 if named(b"content-length") => once(
                &mut self.content_length,
                value,
                HeadError::DoubledContentLength,
            ),
            17 if named(b"transfer-encoding") => once(
                &mut self.transfer_encoding,
                value,
                HeadError::DoubledTransferEncoding,
            ),
            14 | 17 if is_framing_alias(name) => Err(HeadError::FramingAlias),
            _ => Ok(()),
        }
    }

    fn framing(&self, version: Version) -> Result<RequestFraming, HeadError> {
        match (self.content_length, self.transfer_encoding) {
            (None, None) => Ok(RequestFraming::None),
            (Some(value), None) => length(value).map(RequestFraming::Length),
            (Some(_), Some(_)) => Err(HeadError::ContentLengthWithTransferEncoding),
            (None, Some(_)) if version == Version::Http10 => {
                Err(HeadError::TransferEncodingInHttp10)
            }
            (None, Some(coding)) => check_coding(coding).map(|()| RequestFraming::Chunked),
        }
    }

    fn http2_framing(&self, end_of_stream: bool) -> Result<RequestFraming, HeadError> {
        let length = self.content_length.map(length).transpose()?;
        match length {
            _ if !end_of_stream => Ok(RequestFraming::Stream { length }),
            None => Ok(RequestFraming::None),
            Some(0) => Ok(RequestFraming::Length(0)),
            Some(_) => Err(HeadError::LengthWithoutBody),
        }
    }

    fn expects_continue(&self) -> Result<bool, HeadError> {
        match self.expect {
            None => Ok(false),
            Some(value) if value.eq_ignore_ascii_case(b"100-continue") => Ok(true),
            Some(_) => Err(HeadError::Expectation),
        }
    }
}

/// What the `Connection` fields of a message say about its connection.
#[derive(Clone, Copy, Default)]
pub(super) struct Connection {
    close: bool,
    keep_alive: bool,
    options: usize,
}

/// More than any client sends. Each is looked for among all fields when they are forwarded.
const MOST_OPTIONS: usize = 32;

impl Connection {
    pub(super) fn add(&mut self, value: &[u8]) {
        for option in list_elements(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            self.options += 1;
        }
    }

    pub(super) fn keep_alive(self, version: Version) -> bool {
        !self.close && (self.keep_alive || version != Version::Http10)
    }
}

fn once<'a>(
    slot: &mut Option<&'a [u8]>,
    value: &'a [u8],
    doubled: HeadError,
) -> Result<(), HeadError> {
    if slot.replace(value).is_some() {
        Err(doubled)
    } else {
        Ok(())
    }
}

/// `Content_Length` or the like: a backend that reads `_` as `-` (CGI does) would frame by it.
/// `Host` has no hyphen, so nothing but itself is its alias.
fn is_framing_alias(name: &[u8]) -> bool {
    let fold = |byte: &u8| match byte {
        b'_' => b'-',
        other => other.to_ascii_lowercase(),
    };
    let folds_to = |known: &[u8]| name.iter().map(fold).eq(known.iter().copied());
    name.contains(&b'_') && (folds_to(b"content-length") || folds_to(b"transfer-encoding"))
}

/// The fields that only a head may carry: in trailers they come too late to be heard by everyone.
pub(super) fn is_framing_field(name: &[u8]) -> bool {
    const FRAMING: [&[u8]; 3] = [b"content-length", b"transfer-encoding", b"host"];
    FRAMING.iter().any(|known| name.eq_ignore_ascii_case(known)) || is_framing_alias(name)
}

fn length(value: &[u8]) -> Result<u64, HeadError> {
    parse_length(value).ok_or(HeadError::ContentLength)
}

/// Decimal digits and nothing else: no sign, no list, no white space.
pub(super) fn parse_length(value: &[u8]) -> Option<u64> {
    if value.iter().all(u8::is_ascii_digit) {
        ascii(value).parse().ok()
    } else {
        None
    }
}

/// Only `chunked` alone is understood. Codings before a final `chunked` are legal and not
/// implemented; anything else leaves the end of the body unknown.
fn check_coding(value: &[u8]) -> Result<(), HeadError> {
    if is_chunked(value) {
        return Ok(());
    }
    let codings: Vec<&[u8]> = list_elements(value).collect();
    match &codings[..] {
        [others @ .., last]
            if !others.is_empty()
                && is_chunked(last)
                && !others.iter().any(|coding| is_chunked(coding)) =>
        {
            Err(HeadError::TransferCoding)
        }
        _ => Err(HeadError::TransferEncoding),
    }
}

pub(super) fn is_chunked(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"chunked")
}

fn has_body(framing: RequestFraming) -> bool {
    !matches!(framing, RequestFraming::None | RequestFraming::Length(0))
}

// === Authority ===

/// The target and `Host` each name a legal authority, and the same one.
fn check_authority(of_target: Option<&[u8]>, host: Option<&[u8]>) -> Result<(), HeadError> {
    if of_target.is_some_and(|authority| !is_authority(authority)) {
        return Err(HeadError::Authority);
    }
    if host.is_some_and(|host| !is_authority(host)) {
        return Err(HeadError::Host);
    }
    match (of_target, host) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            Err(HeadError::AuthorityMismatch)
        }
        _ => Ok(()),
    }
}

/// `host[:port]` with a name, an IPv4 address or a bracketed IPv6 address, and without userinfo.
///
/// Of what RFC 3986 allows in a name, percent-encoding and the comma are refused: one of two parsers
/// would decode the first and split at the second. So is a port of no digits.
fn is_authority(value: &[u8]) -> bool {
    let host_length = match value {
        [b'[', rest @ ..] => match memchr(b']', rest) {
            Some(length) if ascii(&rest[..length]).parse::<Ipv6Addr>().is_ok() => length + 2,
            _ => return false,
        },
        _ => value.iter().take_while(|byte| is_host_name(**byte)).count(),
    };
    match &value[host_length..] {
        _ if host_length == 0 => false,
        [] => true,
        [b':', port @ ..] => is_port(port),
        _ => false,
    }
}

fn is_host_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(&byte)
}

fn is_port(port: &[u8]) -> bool {
    port.len() <= 5 && parse_length(port).is_some_and(|number| u16::try_from(number).is_ok())
}

// === HTTP/2 ===

fn http2_target(parts: &http::request::Parts) -> Result<Bytes, HeadError> {
    let target = parts.uri.path_and_query().ok_or(HeadError::TargetForm)?;
    let target = target.as_str();
    if !target.bytes().all(is_target) {
        return Err(HeadError::Target);
    }
    let asterisk = target == "*" && parts.method == Method::OPTIONS;
    if !target.starts_with('/') && !asterisk {
        return Err(HeadError::TargetForm);
    }
    Ok(Bytes::copy_from_slice(target.as_bytes()))
}

/// The `:authority`. A scheme can be seen only beside one: `h2` drops it otherwise.
fn http2_authority(parts: &http::request::Parts) -> Result<Option<Bytes>, HeadError> {
    let scheme = parts.uri.scheme_str();
    if scheme.is_some_and(|scheme| !is_web_scheme(scheme.as_bytes())) {
        return Err(HeadError::TargetForm);
    }
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    Ok(authority.map(|authority| Bytes::copy_from_slice(authority.as_bytes())))
}

/// The size as RFC 9113, 6.5.2 counts it: 32 bytes for each field beside its name and value.
fn check_http2_size(parts: &http::request::Parts, limits: &HeadLimits) -> Result<(), HeadError> {
    const OVERHEAD: usize = 32;
    let uri = &parts.uri;
    let target = uri.path_and_query().map_or(0, |it| it.as_str().len());
    let authority = uri.authority().map_or(0, |it| it.as_str().len());
    if parts.method.as_str().len() > LONGEST_METHOD {
        return Err(HeadError::MethodTooLong);
    }
    if has_lower_case(parts.method.as_str().as_bytes()) {
        return Err(HeadError::MethodCase);
    }
    if target > limits.target.min(limits.bytes) {
        return Err(HeadError::RequestLineTooLong);
    }
    if parts.headers.len() > limits.fields {
        return Err(FieldError::TooMany.into());
    }
    let fields = parts.headers.iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + OVERHEAD);
    if target + authority + fields.sum::<usize>() > limits.bytes {
        return Err(HeadError::TooLarge);
    }
    Ok(())
}

/// The rules that HTTP/2 adds (RFC 9113, 8.2.1 and 8.2.2).
pub(super) fn check_http2_fields(fields: &http::HeaderMap) -> Result<(), HeadError> {
    const CONNECTION_SPECIFIC: [&str; 5] = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    ];
    let mut forbidden = CONNECTION_SPECIFIC.iter();
    if forbidden.any(|name| fields.contains_key(*name)) {
        return Err(HeadError::ConnectionField);
    }
    let trailers = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"trailers");
    if !fields.get_all("te").iter().all(trailers) {
        return Err(HeadError::Te);
    }
    if fields.values().any(|value| is_padded(value.as_bytes())) {
        return Err(FieldError::Value.into());
    }
    Ok(())
}

fn is_padded(value: &[u8]) -> bool {
    matches!(value, [b' ' | b'\t', ..] | [.., b' ' | b'\t'])
}

// === Errors ===

/// Why a request head was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// A line of the head is not what RFC 9112 says a line is.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The connection begins with CRLF instead of a request.
    #[error("an empty line before the request line")]
    LeadingEmptyLine,
    /// The first word cannot be a method.
    #[error("the request does not begin with a method: is this HTTP?")]
    Method,
    /// The first word is longer than any method.
    #[error("a method of more than 32 bytes")]
    MethodTooLong,
    /// Methods are told apart by case (RFC 9110, 9.1), but some backends ignore it: `delete` would
    /// pass a rule about DELETE and be one. No method in use has lower-case letters.
    #[error("a method with lower-case letters")]
    MethodCase,
    /// The request line has not three parts with one space between them.
    #[error("the request line is not `method target HTTP/1.1`")]
    RequestLine,
    /// No end of the URL or request line within the limits.
    #[error(
        "the URL is longer than limits.url_bytes, or the request line than limits.header_bytes"
    )]
    RequestLineTooLong,
    /// Another HTTP/1 or HTTP/0 version, or an HTTP/2 preface.
    #[error("an HTTP version other than 1.0 and 1.1")]
    Version,
    /// `#`, `<`, `>`, `"`, a control byte or one outside ASCII, unencoded.
    #[error("the request target contains a byte that has to be percent-encoded")]
    Target,
    /// Neither origin form nor absolute form, nor `*` with OPTIONS.
    #[error("the request target is neither a path nor an http(s) URI")]
    TargetForm,
    /// CONNECT: this gate is no forward proxy.
    #[error("the method is CONNECT")]
    Connect,
    /// No end of the head within the limit.
    #[error("the head is longer than limits.header_bytes")]
    TooLarge,
    /// No `Host` in HTTP/1.1; neither `Host` nor `:authority` in HTTP/2.
    #[error("no Host")]
    MissingHost,
    /// More than one `Host`.
    #[error("more than one Host")]
    DoubledHost,
    /// `Host` is not `host[:port]`.
    #[error("Host is not `host` or `host:port`")]
    Host,
    /// The authority of an absolute target, or `:authority`, is not `host[:port]`.
    #[error("the authority of the request target is not `host` or `host:port`")]
    Authority,
    /// The target names another authority than `Host`.
    #[error("the request target and Host name different authorities")]
    AuthorityMismatch,
    /// Not decimal digits that fit 64 bits.
    #[error("Content-Length is not a number")]
    ContentLength,
    /// More than one `Content-Length`, equal or not.
    #[error("more than one Content-Length")]
    DoubledContentLength,
    /// Both framings at once.
    #[error("Content-Length beside Transfer-Encoding")]
    ContentLengthWithTransferEncoding,
    /// `chunked` is not the final coding, so the body has no end that both sides see.
    #[error("Transfer-Encoding is not `chunked`")]
    TransferEncoding,
    /// More than one `Transfer-Encoding`.
    #[error("more than one Transfer-Encoding")]
    DoubledTransferEncoding,
    /// HTTP/1.0 has no transfer codings.
    #[error("Transfer-Encoding in an HTTP/1.0 request")]
    TransferEncodingInHttp10,
    /// A coding such as gzip before the final `chunked`.
    #[error("a transfer coding other than `chunked`")]
    TransferCoding,
    /// A backend that reads `_` as `-` would frame by this field.
    #[error("Content-Length or Transfer-Encoding spelt with `_`")]
    FramingAlias,
    /// More than one `Expect`.
    #[error("more than one Expect")]
    DoubledExpect,
    /// An expectation that nobody can meet.
    #[error("Expect is not `100-continue`")]
    Expectation,
    /// `Connection` or the like in HTTP/2.
    #[error("a connection-specific field in an HTTP/2 request")]
    ConnectionField,
    /// More names in `Connection` than anybody has use for.
    #[error("more than {MOST_OPTIONS} options in Connection")]
    TooManyOptions,
    /// `te` with anything but `trailers` in HTTP/2.
    #[error("TE is not `trailers` in an HTTP/2 request")]
    Te,
    /// The HTTP/2 stream ended with its head, which promised a body.
    #[error("Content-Length of an HTTP/2 request without a body")]
    LengthWithoutBody,
}

impl HeadError {
    /// The status that RFC 9110, 9112 and 6585 assign.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Connect => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestLineTooLong => StatusCode::URI_TOO_LONG,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::TooLarge | Self::Field(FieldError::TooMany | FieldError::TooLarge) => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Self::MethodTooLong | Self::MethodCase | Self::TransferCoding => {
                StatusCode::NOT_IMPLEMENTED
            }
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Field(_)
            | Self::LeadingEmptyLine
            | Self::TooManyOptions
            | Self::Method
            | Self::RequestLine
            | Self::Target
            | Self::TargetForm
            | Self::MissingHost
            | Self::DoubledHost
            | Self::Host
            | Self::Authority
            | Self::AuthorityMismatch
            | Self::ContentLength
            | Self::DoubledContentLength
            | Self::ContentLengthWithTransferEncoding
            | Self::TransferEncoding
            | Self::DoubledTransferEncoding
            | Self::TransferEncodingInHttp10
            | Self::FramingAlias
            | Self::DoubledExpect
            | Self::ConnectionField
            | Self::Te
            | Self::LengthWithoutBody => StatusCode::BAD_REQUEST,
        }
    }

    /// Whether two parsers could read these bytes differently, as in request smuggling. False for
    /// what is merely wrong, unsupported or too large, and for bytes that are not HTTP at all.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Field(error) => error.is_ambiguous(),
            Self::LeadingEmptyLine
            | Self::RequestLine
            | Self::Target
            | Self::DoubledHost
            | Self::Host
            | Self::Authority
            | Self::AuthorityMismatch
            | Self::ContentLength
            | Self::DoubledContentLength
            | Self::ContentLengthWithTransferEncoding
            | Self::TransferEncoding
            | Self::DoubledTransferEncoding
            | Self::TransferEncodingInHttp10
            | Self::FramingAlias
            | Self::DoubledExpect
            | Self::ConnectionField
            | Self::LengthWithoutBody => true,
            Self::Method
            | Self::MethodTooLong
            | Self::MethodCase
            | Self::TooManyOptions
            | Self::RequestLineTooLong
            | Self::Version
            | Self::TargetForm
            | Self::Connect
            | Self::TooLarge
            | Self::MissingHost
            | Self::TransferCoding
            | Self::Expectation
            | Self::Te => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Result<RequestFraming, HeadError> = Ok(RequestFraming::None);
    const CHUNKED: Result<RequestFraming, HeadError> = Ok(RequestFraming::Chunked);

    fn parse(bytes: &[u8], limits: &HeadLimits) -> Result<Option<RequestHead>, HeadError> {
        let mut buffer = BytesMut::from(bytes);
        let head = RequestHead::parse(&mut buffer, limits);
        if let Ok(None) = head {
            assert_eq!(buffer, bytes, "an incomplete head must stay in the buffer");
        }
        head
    }

    /// Feeds one byte at a time, up to the first answer.
    fn parse_slowly(bytes: &[u8], limits: &HeadLimits) -> Result<Option<RequestHead>, HeadError> {
        let mut buffer = BytesMut::new();
        for byte in bytes {
            buffer.extend_from_slice(&[*byte]);
            let head = RequestHead::parse(&mut buffer, limits);
            if !matches!(head, Ok(None)) {
                return head;
            }
        }
        Ok(None)
    }

    #[track_caller]
    fn check_within(
        limits: &HeadLimits,
        bytes: impl AsRef<[u8]>,
        expected: Result<RequestFraming, HeadError>,
    ) {
        let bytes = bytes.as_ref();
        let framing = |head: Option<RequestHead>| head.expect("a whole head").framing();
        assert_eq!(parse(bytes, limits).map(framing), expected, "whole");
        assert_eq!(
            parse_slowly(bytes, limits).map(framing),
            expected,
            "byte by byte"
        );
    }

    #[track_caller]
    fn check(bytes: impl AsRef<[u8]>, expected: Result<RequestFraming, HeadError>) {
        check_within(&HeadLimits::default(), bytes, expected);
    }

    /// Of a POST to `Host: a` that has these field lines too, each with its CRLF.
    #[track_caller]
    fn check_fields(lines: &str, expected: Result<RequestFraming, HeadError>) {
        check(
            format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"),
            expected,
        );
    }

    #[track_caller]
    fn check_target(method: &str, target: &str, expected: Result<&str, HeadError>) {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: a:80\r\n\r\n");
        let target = parse(request.as_bytes(), &HeadLimits::default())
            .map(|head| head.expect("a whole head").target().to_owned());
        assert_eq!(target.as_deref(), expected.as_ref().copied());
        check(request, target.map(|_| RequestFraming::None));
    }

    #[track_caller]
    fn check_host(host: &str, expected: Result<(), HeadError>) {
        check(
            format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            expected.map(|()| RequestFraming::None),
        );
    }

    #[track_caller]
    fn check_keep_alive(version: &str, lines: &str, expected: bool) {
        let request = format!("GET / {version}\r\nHost: a\r\n{lines}\r\n");
        assert_eq!(head(&request).keep_alive(), expected);
    }

    #[track_caller]
    fn head(request: &str) -> RequestHead {
        let head = parse(request.as_bytes(), &HeadLimits::default());
        head.expect("a legal head").expect("a whole head")
    }

    // === The whole head ===

    #[test]
    fn a_head_is_taken_and_what_follows_it_stays() {
        let mut buffer = BytesMut::from(
            &b"POST /a%20b?x=1&y HTTP/1.1\r\nHost: Example.com:8080\r\nX: y\r\n\
               Content-Length: 3\r\n\r\nabcGET"[..],
        );
        let head = RequestHead::parse(&mut buffer, &HeadLimits::default())
            .unwrap()
            .unwrap();
        assert_eq!(buffer, &b"abcGET"[..]);
        assert_eq!(head.method(), Method::POST);
        assert_eq!(head.target(), "/a%20b?x=1&y");
        assert_eq!(head.path(), "/a%20b");
        assert_eq!(head.query(), Some("x=1&y"));
        assert_eq!(head.version(), Version::Http11);
        assert_eq!(head.authority(), Some("Example.com:8080"));
        assert_eq!(head.framing(), RequestFraming::Length(3));
        assert_eq!(head.fields().len(), 3);
        assert!(head.keep_alive());
        assert!(!head.expects_continue());
    }

    #[test]
    fn two_heads_in_one_buffer_are_taken_one_by_one() {
        let mut buffer =
            BytesMut::from(&b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.0\r\n\r\n"[..]);
        let mut next = || RequestHead::parse(&mut buffer, &HeadLimits::default()).unwrap();
        assert_eq!(next().unwrap().target(), "/1");
        assert_eq!(next().unwrap().target(), "/2");
        assert!(next().is_none());
    }

    #[test]
    fn a_head_holds_nothing_of_the_read_buffer() {
        let mut buffer = BytesMut::from(&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..]);
        let size = buffer.capacity();
        let head = RequestHead::parse(&mut buffer, &HeadLimits::default());
        assert!(head.is_ok_and(|head| head.is_some()));
        assert!(buffer.is_empty() && buffer.try_reclaim(size));
    }

    #[test]
    fn an_unfinished_head_waits_for_more() {
        let request = b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
        for length in 0..request.len() {
            let head = parse(&request[..length], &HeadLimits::default());
            assert!(matches!(head, Ok(None)), "{length} bytes: {head:?}");
        }
        check(request, NONE);
    }

    #[test]
    fn a_head_of_just_the_limit_passes_and_one_byte_more_does_not() {
        let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let limits = |bytes| HeadLimits {
            bytes,
            ..HeadLimits::default()
        };
        check_within(&limits(request.len()), request, NONE);
        check_within(
            &limits(request.len() - 1),
            request,
            Err(HeadError::TooLarge),
        );
        check_within(&limits(request.len()), format!("{request}body"), NONE);
        check_within(&limits(16), request, Err(HeadError::TooLarge));
        check_within(&limits(15), request, Err(HeadError::RequestLineTooLong));
        check_within(&limits(0), request, Err(HeadError::RequestLineTooLong));
    }

    #[test]
    fn a_request_line_longer_than_the_limit_is_told_from_a_head_longer_than_it() {
        let limits = HeadLimits {
            bytes: 1000,
            ..HeadLimits::default()
        };
        let check = |request: String, expected| check_within(&limits, request, expected);
        let long = "a".repeat(1000);
        let short = "a".repeat(900);
        check(format!("GET /{short} HTTP/1.1\r\nHost: a\r\n\r\n"), NONE);
        check(format!("GET /{long}"), Err(HeadError::RequestLineTooLong));
        check(
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {short}\r\n\r\n"),
            NONE,
        );
        check(
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}"),
            Err(HeadError::TooLarge),
        );
    }

    #[test]
    fn as_many_fields_as_the_limit_pass_and_one_more_does_not() {
        check_fields(&"X: y\r\n".repeat(99), NONE);
        check_fields(&"X: y\r\n".repeat(100), Err(FieldError::TooMany.into()));
    }

    #[test]
    fn a_prefix_that_cannot_become_a_head_is_refused_before_its_end() {
        let refused = |bytes: &[u8]| parse(bytes, &HeadLimits::default()).unwrap_err();
        assert_eq!(refused(b"\x16"), HeadError::Method);
        assert_eq!(refused(b"\0"), HeadError::Method);
        assert_eq!(refused(b" "), HeadError::Method);
        assert_eq!(refused(b"\r"), HeadError::LeadingEmptyLine);
        assert_eq!(refused(b"\n"), FieldError::BareLineFeed.into());
        assert_eq!(refused(b"SSH-2.0-X_9.6\r"), HeadError::Method);
        assert_eq!(refused(b"SSH-2.0-Op"), HeadError::MethodCase);
        assert_eq!(refused(b"GET\n"), FieldError::BareLineFeed.into());
        assert_eq!(refused(b"GET  "), HeadError::RequestLine);
        assert_eq!(refused(b"GET /\r"), HeadError::RequestLine);
        assert_eq!(refused(b"GET /\x80"), HeadError::Target);
        assert_eq!(refused(b"GET / h"), HeadError::RequestLine);
        assert_eq!(refused(b"GET / HTTP/2.0"), HeadError::Version);
        assert_eq!(refused(b"GET x HTTP/1.1\r\n"), HeadError::TargetForm);
        assert_eq!(
            refused(b"GET / HTTP/1.1\r\nX: y\n"),
            FieldError::BareLineFeed.into()
        );
        assert_eq!(
            refused(b"GET / HTTP/1.1\r\nX: y\rz"),
            FieldError::BareCarriageReturn.into()
        );
    }

    // === Lines ===

    #[test]
    fn lines_end_with_crlf_only() {
        check("GET / HTTP/1.1\r\nHost: a\r\n\r\n", NONE);
        for lf in [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n",
            "GET\n / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\n HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP\n/1.1\r\nHost: a\r\n\r\n",
            "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            check(lf, Err(FieldError::BareLineFeed.into()));
        }
        for cr in [
            "GET / HTTP/1.1\rHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: \ry\r\n\r\n",
            "GET / HTTP/1.1\r\n\rHost: a\r\n\r\n",
        ] {
            check(cr, Err(FieldError::BareCarriageReturn.into()));
        }
    }

    #[test]
    fn an_empty_line_before_the_request_line_is_refused() {
        check(
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            Err(HeadError::LeadingEmptyLine),
        );
        check("\r\n\r\n", Err(HeadError::LeadingEmptyLine));
    }

    #[test]
    fn a_folded_field_is_refused() {
        check_fields("X: y\r\nTransfer-Encoding: chunked\r\n", CHUNKED);
        check_fields(
            "X: y\r\n Transfer-Encoding: chunked\r\n",
            Err(FieldError::Folded.into()),
        );
        check_fields(
            "Transfer-Encoding:\r\n chunked\r\n",
            Err(FieldError::Folded.into()),
        );
        check_fields(
            "Transfer-Encoding:\r\n\tchunked\r\n",
            Err(FieldError::Folded.into()),
        );
        check(
            "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
            Err(FieldError::Folded.into()),
        );
    }

    #[test]
    fn a_field_name_is_a_token_right_before_its_colon() {
        check_fields("X-y_z: 1\r\n", NONE);
        check_fields(": 1\r\n", Err(FieldError::EmptyName.into()));
        check_fields(
            "Transfer-Encoding : chunked\r\n",
            Err(FieldError::SpaceInName.into()),
        );
        check_fields(
            "Transfer-Encoding\t: chunked\r\n",
            Err(FieldError::SpaceInName.into()),
        );
        check_fields(
            "Transfer Encoding: chunked\r\n",
            Err(FieldError::SpaceInName.into()),
        );
        check_fields(
            "Transfer-Encoding\x0b: chunked\r\n",
            Err(FieldError::Name.into()),
        );
        check_fields(
            "Transfer-Encoding\0: chunked\r\n",
            Err(FieldError::Name.into()),
        );
        check_fields("\u{feff}Host: b\r\n", Err(FieldError::Name.into()));
        check_fields("\"X\": 1\r\n", Err(FieldError::Name.into()));
        check_fields("nonsense\r\n", Err(FieldError::MissingColon.into()));
    }

    #[test]
    fn a_field_value_has_no_control_byte_but_the_tab() {
        check_fields("X: a\tb\u{e9}\r\n", NONE);
        check_fields("X: a\0b\r\n", Err(FieldError::Value.into()));
        check_fields("X: a\x1bb\r\n", Err(FieldError::Value.into()));
        check_fields("X: a\x7fb\r\n", Err(FieldError::Value.into()));
        check_fields(
            "Transfer-Encoding:\x0bchunked\r\n",
            Err(FieldError::Value.into()),
        );
        check_fields("Content-Length: 5\0\r\n", Err(FieldError::Value.into()));
    }

    // === Request line ===

    #[test]
    fn the_method_is_a_token() {
        check_target("GET", "/", Ok("/"));
        check_target("get", "/", Err(HeadError::MethodCase));
        check_target("DELETe", "/", Err(HeadError::MethodCase));
        check_target("M-SEARCH", "/", Ok("/"));
        check_target("G(T", "/", Err(HeadError::Method));
        check_target("G\0T", "/", Err(HeadError::Method));
        check_target("\u{e9}", "/", Err(HeadError::Method));
        check_target("", "/", Err(HeadError::Method));
        check_target("GET\t", "/", Err(HeadError::Method));
        check_target(&"M".repeat(32), "/", Ok("/"));
        check_target(&"M".repeat(33), "/", Err(HeadError::MethodTooLong));
    }

    #[test]
    fn the_parts_of_the_request_line_have_one_space_between_them() {
        let rest = "\r\nHost: a\r\n\r\n";
        check(format!("GET / HTTP/1.1{rest}"), NONE);
        for line in [
            "GET  / HTTP/1.1",
            "GET /  HTTP/1.1",
            "GET / HTTP/1.1 ",
            "GET / HTTP/1.1\t",
            "GET /a b HTTP/1.1",
            "GET / HTTP/1.1 HTTP/1.1",
            "GET /",
            "GET / ",
            "GET / HTTP",
            "GET / HTTP/1",
            "GET / HTTP/1.",
            "GET / HTTP/1.x",
            "GET / HTTP/1.10",
            "GET / HTTP/11.1",
            "GET / HTTP 1.1",
            "GET / http/1.1",
            "GET / XTTP/1.1",
        ] {
            check(format!("{line}{rest}"), Err(HeadError::RequestLine));
        }
        check(format!("GET\t/\tHTTP/1.1{rest}"), Err(HeadError::Method));
        check(format!("GET /\tHTTP/1.1{rest}"), Err(HeadError::Target));
        check(format!("GET{rest}"), Err(HeadError::Method));
        check(format!(" GET / HTTP/1.1{rest}"), Err(HeadError::Method));
    }

    #[test]
    fn versions_are_1_0_and_1_1() {
        let rest = "\r\nHost: a\r\n\r\n";
        check(format!("GET / HTTP/1.0{rest}"), NONE);
        check(format!("GET / HTTP/1.1{rest}"), NONE);
        for version in ["0.9", "1.2", "1.9", "2.0", "3.0"] {
            check(
                format!("GET / HTTP/{version}{rest}"),
                Err(HeadError::Version),
            );
        }
        check("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Err(HeadError::Version));
    }

    #[test]
    fn a_target_is_visible_ascii_that_needs_no_encoding() {
        check_target("GET", "/a%20b?x=1", Ok("/a%20b?x=1"));
        check_target(
            "GET",
            "/{|}^`\\[]'()*;,=@:!$&~%zz",
            Ok("/{|}^`\\[]'()*;,=@:!$&~%zz"),
        );
        check_target("GET", "/a#b", Err(HeadError::Target));
        check_target("GET", "/?a#b", Err(HeadError::Target));
        check_target("GET", "/<", Err(HeadError::Target));
        check_target("GET", "/>", Err(HeadError::Target));
        check_target("GET", "/\"", Err(HeadError::Target));
        check_target("GET", "/\u{e9}", Err(HeadError::Target));
        check_target("GET", "/\0", Err(HeadError::Target));
        check_target("GET", "/\x7f", Err(HeadError::Target));
        check_target("GET", "/\x0b", Err(HeadError::Target));
    }

    #[test]
    fn a_target_in_origin_form_is_kept_as_sent() {
        check_target("GET", "/", Ok("/"));
        check_target("GET", "//x", Ok("//x"));
        check_target("GET", "/../%2e%2E/./a//b", Ok("/../%2e%2E/./a//b"));
        check_target("GET", "/http://b/", Ok("/http://b/"));
        check_target("GET", "/?", Ok("/?"));
        check_target("GET", "/a?b?c", Ok("/a?b?c"));
    }

    #[test]
    fn path_and_query_part_at_the_first_question_mark() {
        let parts = |target: &str| {
            let head = head(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
            (head.path().to_owned(), head.query().map(str::to_owned))
        };
        assert_eq!(parts("/a"), ("/a".into(), None));
        assert_eq!(parts("/a?"), ("/a".into(), Some(String::new())));
        assert_eq!(parts("/a?b=c?d"), ("/a".into(), Some("b=c?d".into())));
        assert_eq!(parts("http://a?b"), ("/".into(), Some("b".into())));
    }

    #[test]
    fn a_target_in_absolute_form_becomes_origin_form() {
        check_target("GET", "http://a:80/x?y", Ok("/x?y"));
        check_target("GET", "HTTPS://A:80/x", Ok("/x"));
        check_target("GET", "http://a:80", Ok("/"));
        check_target("GET", "http://a:80?x=/", Ok("/?x=/"));
        check_target("GET", "http://a:80//x", Ok("//x"));
    }

    #[test]
    fn an_absolute_target_names_the_same_authority_as_host() {
        check_target("GET", "http://a:80/", Ok("/"));
        check_target("GET", "http://b:80/", Err(HeadError::AuthorityMismatch));
        check_target("GET", "http://a/", Err(HeadError::AuthorityMismatch));
        check_target("GET", "http://a:80@b/", Err(HeadError::Authority));
        check_target("GET", "http://u@a:80/", Err(HeadError::Authority));
        check_target("GET", "http:///", Err(HeadError::Authority));
        check_target("GET", "http://a\\b/", Err(HeadError::Authority));
        check(
            "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
            Err(HeadError::AuthorityMismatch),
        );
        check(
            "GET http://a/ HTTP/1.1\r\n\r\n",
            Err(HeadError::MissingHost),
        );
    }

    #[test]
    fn an_absolute_target_has_a_web_scheme() {
        check_target("GET", "https://a:80/", Ok("/"));
        check_target("GET", "ftp://a:80/", Err(HeadError::TargetForm));
        check_target("GET", "file:///etc/passwd", Err(HeadError::TargetForm));
        check_target("GET", "http:/a:80/", Err(HeadError::TargetForm));
        check_target("GET", "://a:80/", Err(HeadError::TargetForm));
    }

    #[test]
    fn an_asterisk_goes_with_options_only() {
        check_target("OPTIONS", "*", Ok("*"));
        check_target("OPTIONS", "/", Ok("/"));
        check_target("GET", "*", Err(HeadError::TargetForm));
        check_target("OPTIONS", "**", Err(HeadError::TargetForm));
        check_target("OPTIONS", "*?a", Err(HeadError::TargetForm));
    }

    #[test]
    fn connect_and_the_authority_form_are_refused() {
        check_target("CONNECT", "a:80", Err(HeadError::Connect));
        check_target("CONNECT", "/", Err(HeadError::Connect));
        check_target("GET", "a:80", Err(HeadError::TargetForm));
        check_target("GET", "x", Err(HeadError::TargetForm));
        check_target("GET", "?x", Err(HeadError::TargetForm));
    }

    // === Host ===

    #[test]
    fn http_1_1_has_exactly_one_host_and_http_1_0_at_most_one() {
        check("GET / HTTP/1.1\r\nhOST: a\r\n\r\n", NONE);
        check("GET / HTTP/1.1\r\n\r\n", Err(HeadError::MissingHost));
        check(
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            Err(HeadError::DoubledHost),
        );
        check(
            "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
            Err(HeadError::DoubledHost),
        );
        check("GET / HTTP/1.0\r\n\r\n", NONE);
        check("GET / HTTP/1.0\r\nHost: a\r\n\r\n", NONE);
        check(
            "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
            Err(HeadError::DoubledHost),
        );
    }

    #[test]
    fn the_authority_comes_from_host_or_else_from_the_target() {
        let authority = |request: &str| head(request).authority().map(str::to_owned);
        assert_eq!(
            authority("GET / HTTP/1.1\r\nHost: A:1\r\n\r\n"),
            Some("A:1".into())
        );
        assert_eq!(
            authority("GET http://a HTTP/1.1\r\nHost: A\r\n\r\n"),
            Some("A".into())
        );
        assert_eq!(authority("GET http://a HTTP/1.0\r\n\r\n"), Some("a".into()));
        assert_eq!(authority("GET / HTTP/1.0\r\n\r\n"), None);
    }

    #[test]
    fn host_is_a_name_or_an_address_with_perhaps_a_port() {
        for host in [
            "a",
            "A.example",
            "a_b-c.d.",
            "127.0.0.1",
            "127.0.0.1:8080",
            "a:0",
            "a:65535",
            "[::1]",
            "[::1]:443",
            "[::ffff:1.2.3.4]",
            "a~!$&'()*+;=",
        ] {
            check_host(host, Ok(()));
        }
        for host in [
            "",
            "a b",
            "a,b",
            "a, b",
            "u@a",
            "u:p@a",
            "a@b",
            "http://a",
            "a/",
            "a?",
            "a#b",
            "a\\b",
            "a%2eb",
            "a:",
            "a:x",
            "a:-1",
            "a:+1",
            "a:65536",
            "a:000080",
            "a:80:80",
            ":80",
            "::1",
            "[::1",
            "::1]",
            "[]",
            "[a]",
            "[::1]x",
            "[::1]:",
            "[::1%25eth0]",
            "[v1.a]",
            "\"a\"",
            "<a>",
            "a\u{e9}",
            "a\tb",
        ] {
            check_host(host, Err(HeadError::Host));
        }
        check_host("a\0", Err(FieldError::Value.into()));
    }

    // === Framing ===

    #[test]
    fn without_a_framing_field_there_is_no_body() {
        check_fields("", NONE);
        check("POST / HTTP/1.0\r\n\r\n", NONE);
    }

    #[test]
    fn content_length_is_one_number() {
        check_fields("Content-Length: 5\r\n", Ok(RequestFraming::Length(5)));
        check_fields("content-length:0\r\n", Ok(RequestFraming::Length(0)));
        check_fields("Content-Length: \t5 \r\n", Ok(RequestFraming::Length(5)));
        check_fields("Content-Length: 005\r\n", Ok(RequestFraming::Length(5)));
        check_fields(
            "Content-Length: 18446744073709551615\r\n",
            Ok(RequestFraming::Length(u64::MAX)),
        );
        for value in [
            "",
            "+5",
            "-5",
            "5, 5",
            "5,5",
            "5 5",
            "0x10",
            "5a",
            "a",
            "5.0",
            "5;",
            "1e3",
            "\u{665}",
            "18446744073709551616",
            "99999999999999999999999",
        ] {
            check_fields(
                &format!("Content-Length: {value}\r\n"),
                Err(HeadError::ContentLength),
            );
        }
    }

    #[test]
    fn content_length_comes_once() {
        let twice = "Content-Length: 5\r\nContent-Length: 5\r\n";
        check_fields(twice, Err(HeadError::DoubledContentLength));
        let different = "Content-Length: 5\r\nX: y\r\ncontent-length: 6\r\n";
        check_fields(different, Err(HeadError::DoubledContentLength));
    }

    #[test]
    fn transfer_encoding_is_chunked_and_nothing_else() {
        check_fields("Transfer-Encoding: chunked\r\n", CHUNKED);
        check_fields("transfer-encoding:  CHUNKED \r\n", CHUNKED);
        for value in [
            "",
            "xchunked",
            "chunkedx",
            "chunked, chunked",
            "chunked,",
            ",chunked",
            "identity",
            "gzip",
            "chunked, gzip",
            "chunked;q=1",
            "\"chunked\"",
            "'chunked'",
            "chunked chunked",
            "chunked, identity, chunked",
            "x\tchunked",
            "chunk",
        ] {
            let line = format!("Transfer-Encoding: {value}\r\n");
            check_fields(&line, Err(HeadError::TransferEncoding));
        }
        check_fields(
            "Transfer-Encoding: gzip, chunked\r\n",
            Err(HeadError::TransferCoding),
        );
        check_fields(
            "Transfer-Encoding: identity,chunked\r\n",
            Err(HeadError::TransferCoding),
        );
    }

    #[test]
    fn transfer_encoding_comes_once() {
        for second in ["chunked", "identity", "x"] {
            let lines = format!("Transfer-Encoding: chunked\r\nTransfer-Encoding: {second}\r\n");
            check_fields(&lines, Err(HeadError::DoubledTransferEncoding));
        }
    }

    #[test]
    fn content_length_beside_transfer_encoding_is_refused() {
        for lines in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Content-Length: 0\r\nTransfer-Encoding: identity\r\n",
        ] {
            check_fields(lines, Err(HeadError::ContentLengthWithTransferEncoding));
        }
    }

    #[test]
    fn transfer_encoding_does_not_exist_in_http_1_0() {
        check(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            CHUNKED,
        );
        check(
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            Err(HeadError::TransferEncodingInHttp10),
        );
    }

    #[test]
    fn a_field_whose_name_is_only_as_long_decides_nothing() {
        for name in [
            "Date",
            "Cookie",
            "Accept-Charset",
            "accept_charset",
            "If-Modified-Since",
        ] {
            check_fields(&format!("{name}: close\r\n{name}: x\r\n"), NONE);
        }
        check_keep_alive("HTTP/1.1", "User-Agent: close\r\n", true);
    }

    #[test]
    fn a_framing_field_spelt_with_an_underscore_is_refused() {
        check_fields(
            "X_Content_Length: 5\r\nContent_Type: a\r\n_Host: b\r\n",
            NONE,
        );
        for name in [
            "Content_Length",
            "content_length",
            "Transfer_Encoding",
            "TRANSFER_ENCODING",
            "tRANSFER_eNCODING",
        ] {
            check_fields(&format!("{name}: 5\r\n"), Err(HeadError::FramingAlias));
        }
    }

    // === Connection and Expect ===

    #[test]
    fn http_1_1_keeps_the_connection_unless_told_to_close_it() {
        check_keep_alive("HTTP/1.1", "", true);
        check_keep_alive("HTTP/1.1", "Connection: x, keep-alive\r\n", true);
        check_keep_alive("HTTP/1.1", "Connection: closed\r\n", true);
        check_keep_alive("HTTP/1.1", "Connection: close\r\n", false);
        check_keep_alive("HTTP/1.1", "Connection: x ,\tCLOSE,y\r\n", false);
        check_keep_alive(
            "HTTP/1.1",
            "Connection: keep-alive\r\nConnection: close\r\n",
            false,
        );
    }

    #[test]
    fn connection_options_are_few() {
        let head = |options: usize| {
            let options = vec!["a"; options].join(",");
            format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {options}\r\n\r\n")
        };
        let parse = |options| {
            let mut buffer = BytesMut::from(head(options).as_bytes());
            RequestHead::parse(&mut buffer, &HeadLimits::default()).map(|head| head.is_some())
        };
        assert_eq!(parse(32), Ok(true));
        assert_eq!(parse(33), Err(HeadError::TooManyOptions));
    }

    #[test]
    fn http_1_0_closes_the_connection_unless_told_to_keep_it() {
        check_keep_alive("HTTP/1.0", "", false);
        check_keep_alive("HTTP/1.0", "Connection: Keep-Alive\r\n", true);
        check_keep_alive("HTTP/1.0", "Connection: keep-alive, close\r\n", false);
    }

    #[test]
    fn the_only_expectation_is_100_continue() {
        let expects = |lines: &str| {
            head(&format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")).expects_continue()
        };
        assert!(expects("Content-Length: 5\r\nExpect: 100-continue\r\n"));
        assert!(expects(
            "Transfer-Encoding: chunked\r\nexpect: 100-CONTINUE\r\n"
        ));
        assert!(!expects("Content-Length: 5\r\n"));
        for value in [
            "",
            "x",
            "100",
            "100-continue, x",
            "100-continue, 100-continue",
            "y 100-continue",
        ] {
            check_fields(&format!("Expect: {value}\r\n"), Err(HeadError::Expectation));
        }
        check_fields(
            "Expect: 100-continue\r\nExpect: 100-continue\r\n",
            Err(HeadError::DoubledExpect),
        );
    }

    #[test]
    fn nobody_waits_for_100_continue_without_a_body() {
        check_fields("Expect: 100-continue\r\n", NONE);
        let head = |length: &str| {
            head(&format!(
                "POST / HTTP/1.1\r\nHost: a\r\n{length}Expect: 100-continue\r\n\r\n"
            ))
        };
        assert!(!head("").expects_continue());
        assert!(!head("Content-Length: 0\r\n").expects_continue());
        assert!(head("Content-Length: 1\r\n").expects_continue());
    }

    #[test]
    fn http_1_0_has_no_expectations() {
        let head = head("POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
        assert!(!head.expects_continue());
        check("POST / HTTP/1.0\r\nExpect: x\r\nExpect: y\r\n\r\n", NONE);
    }

    // === HTTP/2 ===

    fn http2(request: http::request::Builder) -> http::request::Parts {
        request
            .version(http::Version::HTTP_2)
            .body(())
            .unwrap()
            .into_parts()
            .0
    }

    fn get(uri: &str) -> http::request::Builder {
        http::Request::get(uri)
    }

    #[track_caller]
    fn check_http2(
        request: http::request::Builder,
        end_of_stream: bool,
        expected: Result<RequestFraming, HeadError>,
    ) {
        let head = RequestHead::from_http2(http2(request), end_of_stream, &HeadLimits::default());
        assert_eq!(head.map(|head| head.framing()), expected);
    }

    #[test]
    fn an_http2_request_becomes_the_same_head() {
        let request = http::Request::post("https://A:1/x%20y?z").header("x", "y");
        let limits = HeadLimits::default();
        let head = RequestHead::from_http2(http2(request), false, &limits).unwrap();
        assert_eq!(head.method(), Method::POST);
        assert_eq!(head.target(), "/x%20y?z");
        assert_eq!((head.path(), head.query()), ("/x%20y", Some("z")));
        assert_eq!(head.version(), Version::Http2);
        assert_eq!(head.authority(), Some("A:1"));
        assert_eq!(head.fields().iter().collect::<Vec<_>>(), [("x", &b"y"[..])]);
        assert_eq!(head.framing(), RequestFraming::Stream { length: None });
        assert!(head.keep_alive());
        assert!(!head.expects_continue());
    }

    #[test]
    fn an_http2_body_is_framed_by_its_stream() {
        let sized = |length: &str| get("https://a/").header("content-length", length);
        check_http2(get("https://a/"), true, NONE);
        check_http2(
            get("https://a/"),
            false,
            Ok(RequestFraming::Stream { length: None }),
        );
        check_http2(
            sized("5"),
            false,
            Ok(RequestFraming::Stream { length: Some(5) }),
        );
        check_http2(sized("0"), true, Ok(RequestFraming::Length(0)));
        check_http2(sized("5"), true, Err(HeadError::LengthWithoutBody));
        check_http2(sized("+5"), false, Err(HeadError::ContentLength));
        check_http2(sized("5, 5"), false, Err(HeadError::ContentLength));
        let doubled = sized("5").header("content-length", "5");
        check_http2(doubled, false, Err(HeadError::DoubledContentLength));
    }

    #[test]
    fn an_http2_authority_comes_from_the_pseudo_field_or_host_and_both_agree() {
        let hosted = |uri, host| get(uri).header("host", host);
        check_http2(get("https://a/"), true, NONE);
        check_http2(hosted("/", "a"), true, NONE);
        check_http2(hosted("https://a/", "A"), true, NONE);
        check_http2(
            hosted("https://a/", "b"),
            true,
            Err(HeadError::AuthorityMismatch),
        );
        check_http2(hosted("https://a/", ""), true, Err(HeadError::Host));
        check_http2(hosted("/", "u@a"), true, Err(HeadError::Host));
        check_http2(
            hosted("/", "a").header("host", "a"),
            true,
            Err(HeadError::DoubledHost),
        );
        check_http2(get("https://u@a/"), true, Err(HeadError::Authority));
        check_http2(get("/"), true, Err(HeadError::MissingHost));
    }

    #[test]
    fn an_http2_path_begins_with_a_slash_or_is_an_asterisk() {
        let asterisk = |method| get("*").method(method).header("host", "a");
        check_http2(get("https://a//x"), true, NONE);
        check_http2(asterisk("OPTIONS"), true, NONE);
        check_http2(asterisk("GET"), true, Err(HeadError::TargetForm));
        check_http2(get("a:80"), true, Err(HeadError::TargetForm));
        check_http2(get("ftp://a/"), true, Err(HeadError::TargetForm));
        check_http2(get("https://a/\""), true, Err(HeadError::Target));
        check_http2(get("https://a/\u{e9}"), true, Err(HeadError::Target));
        check_http2(
            get("https://a/").method("CONNECT"),
            true,
            Err(HeadError::Connect),
        );
    }

    #[test]
    fn an_http2_request_has_no_connection_specific_fields() {
        let with = |name: &str, value: &str| get("https://a/").header(name, value);
        check_http2(with("te", "trailers"), true, NONE);
        check_http2(with("te", "Trailers").header("te", "trailers"), true, NONE);
        check_http2(with("te", "trailers, gzip"), true, Err(HeadError::Te));
        check_http2(
            with("te", "trailers").header("te", "gzip"),
            true,
            Err(HeadError::Te),
        );
        for name in [
            "connection",
            "keep-alive",
            "proxy-connection",
            "transfer-encoding",
            "upgrade",
        ] {
            check_http2(with(name, "x"), true, Err(HeadError::ConnectionField));
        }
    }

    #[test]
    fn http2_fields_pass_the_same_checks() {
        let with = |name: &str, value: &str| get("https://a/").header(name, value);
        check_http2(
            with("expect", "100-continue"),
            false,
            Ok(RequestFraming::Stream { length: None }),
        );
        check_http2(with("expect", "x"), false, Err(HeadError::Expectation));
        check_http2(
            with("content_length", "5"),
            false,
            Err(HeadError::FramingAlias),
        );
        check_http2(with("x", "a b"), true, NONE);
        check_http2(with("x", " a"), true, Err(FieldError::Value.into()));
        check_http2(with("x", "a\t"), true, Err(FieldError::Value.into()));
    }

    #[test]
    fn an_http2_head_has_the_same_limits() {
        let parse = |bytes, fields| {
            let request = get("https://a/abc").header("x", "y").header("x", "z");
            let limits = HeadLimits {
                bytes,
                fields,
                ..HeadLimits::default()
            };
            RequestHead::from_http2(http2(request), true, &limits).map(|head| head.fields().len())
        };
        let size = "/abc".len() + "a".len() + 2 * ("xy".len() + 32);
        assert_eq!(parse(size, 2), Ok(2));
        assert_eq!(parse(size - 1, 2), Err(HeadError::TooLarge));
        assert_eq!(parse(size, 1), Err(FieldError::TooMany.into()));
        assert_eq!(parse("/abc".len(), 2), Err(HeadError::TooLarge));
        assert_eq!(parse(3, 2), Err(HeadError::RequestLineTooLong));
        check_http2(get("https://a/").method(&*"M".repeat(32)), true, NONE);
        let too_long = Err(HeadError::MethodTooLong);
        check_http2(get("https://a/").method(&*"M".repeat(33)), true, too_long);
        let lower = Err(HeadError::MethodCase);
        check_http2(get("https://a/").method("delete"), true, lower);
    }

    #[test]
    fn the_default_limits_are_32_kib_and_100_fields() {
        let limits = HeadLimits::default();
        assert_eq!((limits.bytes, limits.fields), (32_768, 100));
    }

    // === Errors and output ===

    #[track_caller]
    fn check_status(error: HeadError, status: u16, ambiguous: bool) {
        assert_eq!(
            (error.status().as_u16(), error.is_ambiguous()),
            (status, ambiguous)
        );
    }

    #[test]
    fn errors_have_the_status_of_the_rfcs_and_say_whether_they_smell_of_smuggling() {
        check_status(HeadError::Method, 400, false);
        check_status(HeadError::RequestLine, 400, true);
        check_status(HeadError::MissingHost, 400, false);
        check_status(HeadError::ContentLengthWithTransferEncoding, 400, true);
        check_status(FieldError::BareLineFeed.into(), 400, true);
        check_status(FieldError::Folded.into(), 400, true);
        check_status(FieldError::MissingColon.into(), 400, false);
        check_status(HeadError::Connect, 405, false);
        check_status(HeadError::RequestLineTooLong, 414, false);
        check_status(HeadError::Expectation, 417, false);
        check_status(HeadError::TooLarge, 431, false);
        check_status(FieldError::TooMany.into(), 431, false);
        check_status(HeadError::TransferCoding, 501, false);
        check_status(HeadError::MethodTooLong, 501, false);
        check_status(HeadError::Version, 505, false);
    }

    #[test]
    fn debug_output_shows_neither_query_nor_values() {
        let head = head("GET /a?token=s3 HTTP/1.1\r\nHost: a\r\nCookie: s3\r\n\r\n");
        let output = format!("{head:?}");
        assert!(
            output.contains("\"/a\"") && output.contains("Cookie"),
            "{output}"
        );
        assert!(!output.contains("s3"), "{output}");
    }
}
