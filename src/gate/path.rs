//! The path as the gate sees it: percent-decoded once, and refused where two parsers could read
//! it differently.
//!
//! The backend gets the raw bytes, so the decision is only sound if every reasonable backend reads
//! them as the gate did. What some would fold (dot segments, double slashes, encoded slashes,
//! backslashes, path parameters, double encoding) is refused rather than normalised.

use std::borrow::Cow;

/// A request path that has exactly one reading, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedPath<'a>(Cow<'a, str>);

/// Why a path was refused. The words are those of the log, and of the switch that will relax it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmbiguousPath {
    /// It does not begin with a slash.
    #[error("does not begin with a slash")]
    NotAbsolute,
    /// `//`: some backends fold it, some read what follows as a host.
    #[error("empty segment (//)")]
    EmptySegment,
    /// `.` or `..` as a segment, plain or encoded.
    #[error("dot segment")]
    DotSegment,
    /// `%2f`: some backends decode it into a separator.
    #[error("encoded slash (%2f)")]
    EncodedSlash,
    /// `\` or `%5c`: a separator for some backends.
    #[error("backslash")]
    Backslash,
    /// `;` or `%3b`: some backends cut the segment there.
    #[error("path parameter (;)")]
    PathParameter,
    /// A control character, `%00` to `%1f` or `%7f`.
    #[error("control character")]
    Control,
    /// What was decoded holds `%` and two hex digits again: some backends decode twice.
    #[error("double percent-encoding")]
    DoubleEncoding,
    /// `%` without two hex digits.
    #[error("broken percent-encoding")]
    BrokenEncoding,
    /// The decoded bytes are not UTF-8.
    #[error("not UTF-8 after decoding")]
    NotUtf8,
}

impl AmbiguousPath {
    /// A stable word for the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAbsolute => "not_absolute",
            Self::EmptySegment => "empty_segment",
            Self::DotSegment => "dot_segment",
            Self::EncodedSlash => "encoded_slash",
            Self::Backslash => "backslash",
            Self::PathParameter => "path_parameter",
            Self::Control => "control_character",
            Self::DoubleEncoding => "double_encoding",
            Self::BrokenEncoding => "broken_encoding",
            Self::NotUtf8 => "not_utf8",
        }
    }
}

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
            _ => check_byte(byte)?,
        }
        decoded.push(byte);
    }
    if has_encoding(&decoded) {
        return Err(AmbiguousPath::DoubleEncoding);
    }
    String::from_utf8(decoded)
        .map(Cow::Owned)
        .map_err(|_| AmbiguousPath::NotUtf8)
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
        b';' => Err(AmbiguousPath::PathParameter),
        0..=0x1f | 0x7f => Err(AmbiguousPath::Control),
        _ => Ok(()),
    }
}

fn check_segments(decoded: &str) -> Result<(), AmbiguousPath> {
    let inner = &decoded[1..];
    let mut segments = inner.split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." | ".." => return Err(AmbiguousPath::DotSegment),
            // The last segment is empty in "/" and in "/folder/".
            "" if segments.peek().is_some() => return Err(AmbiguousPath::EmptySegment),
            _ => {}
        }
    }
    Ok(())
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
        check("//admin", Err(EmptySegment));
        check("/a//b", Err(EmptySegment));
        check("/a//", Err(EmptySegment));
        check("/admin/../public/x", Err(DotSegment));
        check("/..", Err(DotSegment));
        check("/./a", Err(DotSegment));
        check("/a/%2e%2E/b", Err(DotSegment));
        check("/a/.%2e/b", Err(DotSegment));
        check("/public/..%2fadmin/", Err(EncodedSlash));
        check("/a%2Fb", Err(EncodedSlash));
        check("/a\\b", Err(Backslash));
        check("/a%5cb", Err(Backslash));
        check("/admin;x", Err(PathParameter));
        check("/admin%3bx", Err(PathParameter));
        check("/a%00", Err(Control));
        check("/a%1f", Err(Control));
        check("/a%0d%0ab", Err(Control));
        check("/a%7f", Err(Control));
        check("/a%252fb", Err(DoubleEncoding));
        check("/a%25%32%66", Err(DoubleEncoding));
        check("/a%", Err(BrokenEncoding));
        check("/a%2", Err(BrokenEncoding));
        check("/a%zz", Err(BrokenEncoding));
        check("/a%ff", Err(NotUtf8));
        check("/a%c0%af", Err(NotUtf8));
    }
}
