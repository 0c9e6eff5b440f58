//! The path as the gate sees it: percent-decoded once, and refused where two parsers could read
//! it differently.
//!
//! The backend gets the raw bytes, so the decision is only sound if every reasonable backend reads
//! them as the gate did. What some would fold (dot segments, double slashes, encoded slashes,
//! backslashes, path parameters, double encoding) is refused rather than normalised, unless a route
//! lets it pass by name ([`relaxation`]), which then decides about all that it may mean
//! ([`readings`]).

pub mod readings;
pub mod relaxation;

use std::borrow::Cow;

use relaxation::AmbiguousPath;

/// A request path that has exactly one reading, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedPath<'a>(Cow<'a, str>);

impl<'a> DecodedPath<'a> {
    /// Decodes `raw`, the path of a request without its query.
    ///
    /// # Errors
    /// [`AmbiguousPath`] for anything that two parsers could read differently.
    pub fn parse(raw: &'a str) -> Result<Self, AmbiguousPath> {
        if !raw.starts_with('/') {
            return Err(AmbiguousPath::NotAbsolute);
        }
        let decoded = decode(raw)?;
        check_segments(&decoded)?;
        Ok(Self(decoded))
    }

    /// The decoded path. It begins with `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Decodes percent-encoding once. Without any, nothing is copied.
fn decode(raw: &str) -> Result<Cow<'_, str>, AmbiguousPath> {
    let bytes = raw.as_bytes();
    if !bytes.contains(&b'%') {
        bytes.iter().try_for_each(|&byte| check_byte(byte))?;
        return Ok(Cow::Borrowed(raw));
    }
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            check_byte(byte)?;
            decoded.push(byte);
            continue;
        }
        let byte = hex_pair(rest).ok_or(AmbiguousPath::BrokenEncoding)?;
        rest = &rest[2..];
        match byte {
            b'/' => return Err(AmbiguousPath::EncodedSlash),
            b'\\' => return Err(AmbiguousPath::EncodedBackslash),
            _ => check_byte(byte)?,
        }
        decoded.push(byte);
    }
    if has_encoding(&decoded) {
        return Err(AmbiguousPath::DoubleEncoding);
    }
    String::from_utf8(decoded)
        .map(Cow::Owned)
        .map_err(|_| AmbiguousPath::NonUtf8)
}

/// Whether what was decoded could be decoded again, as some backends do.
fn has_encoding(decoded: &[u8]) -> bool {
    decoded
        .iter()
        .enumerate()
        .any(|(at, &byte)| byte == b'%' && hex_pair(&decoded[at + 1..]).is_some())
}

fn hex_pair(bytes: &[u8]) -> Option<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let value = digit(bytes.first()?)? * 16 + digit(bytes.get(1)?)?;
    u8::try_from(value).ok()
}

const fn check_byte(byte: u8) -> Result<(), AmbiguousPath> {
    match byte {
        b'\\' => Err(AmbiguousPath::Backslash),
        b';' => Err(AmbiguousPath::Semicolon),
        0..=0x1f | 0x7f => Err(AmbiguousPath::Control),
        _ => Ok(()),
    }
}

fn check_segments(decoded: &str) -> Result<(), AmbiguousPath> {
    let inner = &decoded[1..];
    let mut segments = inner.split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            _ if is_dot_segment(segment) => return Err(AmbiguousPath::DotSegment),
            // The last segment is empty in "/" and in "/folder/".
            "" if segments.peek().is_some() => return Err(AmbiguousPath::DoubleSlash),
            _ => {}
        }
    }
    Ok(())
}

/// Windows drops spaces at the end of a name, so that `.. ` is `..` there.
fn is_dot_segment(segment: &str) -> bool {
    segment.starts_with('.') && matches!(segment.trim_end_matches(' '), "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(raw: &str, expected: Result<&str, AmbiguousPath>) {
        let found = DecodedPath::parse(raw);
        assert_eq!(
            found.as_ref().map(DecodedPath::as_str).map_err(|e| *e),
            expected,
            "{raw}"
        );
    }

    #[test]
    fn paths_with_one_reading_are_decoded() {
        check("/", Ok("/"));
        check("/admin/", Ok("/admin/"));
        check("/%61dmin/x", Ok("/admin/x"));
        check("/a%20b", Ok("/a b"));
        check("/b%C3%BCro", Ok("/büro"));
        check("/100%25", Ok("/100%"));
        check("/100%25zz", Ok("/100%zz"));
        check("/.well-known/x", Ok("/.well-known/x"));
        check("/a..b/...", Ok("/a..b/..."));
    }

    #[test]
    fn paths_with_two_readings_are_refused() {
        use AmbiguousPath::*;
        check("", Err(NotAbsolute));
        check("admin", Err(NotAbsolute));
        check("*", Err(NotAbsolute));
        check("//admin", Err(DoubleSlash));
        check("/a//b", Err(DoubleSlash));
        check("/a//", Err(DoubleSlash));
        check("/admin/../public/x", Err(DotSegment));
        check("/..", Err(DotSegment));
        check("/./a", Err(DotSegment));
        check("/a/%2e%2E/b", Err(DotSegment));
        check("/a/.%2e/b", Err(DotSegment));
        check("/a/..%20/b", Err(DotSegment));
        check("/public/..%2fadmin/", Err(EncodedSlash));
        check("/a%2Fb", Err(EncodedSlash));
        check("/a\\b", Err(Backslash));
        check("/a%5cb", Err(EncodedBackslash));
        check("/admin;x", Err(Semicolon));
        check("/admin%3bx", Err(Semicolon));
        check("/a%00", Err(Control));
        check("/a%1f", Err(Control));
        check("/a%0d%0ab", Err(Control));
        check("/a%7f", Err(Control));
        check("/a%252fb", Err(DoubleEncoding));
        check("/a%25%32%66", Err(DoubleEncoding));
        check("/a%", Err(BrokenEncoding));
        check("/a%2", Err(BrokenEncoding));
        check("/a%zz", Err(BrokenEncoding));
        check("/a%ff", Err(NonUtf8));
        check("/a%c0%af", Err(NonUtf8));
    }
}
