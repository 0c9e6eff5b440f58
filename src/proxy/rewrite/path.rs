//! Prefixes of paths: the one that the backend does not know is taken off, the one that it wants is
//! put on.
//!
//! The gate decides by the decoded path and the backend gets the raw bytes, so what is taken off is
//! found in the raw bytes: segment by segment, each of which has to mean what stands in the
//! configuration. Where it does not, nothing is forwarded.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// What becomes of the path. The query stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathRewrite {
    strip: Vec<Segment>,
    add: String,
}

/// A segment of a prefix that is taken off.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// This one, however it is encoded.
    Literal(String),
    /// Whatever stands there: a capture of the route.
    Any,
}

/// The path of a request does not begin with the prefix, as its bytes have it. Relaxed rules for
/// paths can lead here, where the route was found by another reading of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path does not begin with the prefix that is taken off")]
pub struct PrefixMismatch;

/// What the backend is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'t> {
    /// Path and query.
    pub target: Cow<'t, str>,
    /// What was taken off the path, as the client wrote it; empty, or `/` and more.
    pub prefix: &'t str,
}

impl PathRewrite {
    /// Takes `strip` off and puts `add` on; both are empty, or begin with a slash and end without
    /// one. A segment of `strip` in braces stands for any.
    #[must_use]
    pub fn new(strip: &str, add: &str) -> Self {
        let segment = |text: &str| match text.starts_with('{') {
            true => Segment::Any,
            false => Segment::Literal(text.into()),
        };
        Self {
            strip: strip.split('/').skip(1).map(segment).collect(),
            add: add.into(),
        }
    }

    /// What is put on.
    #[must_use]
    pub fn added(&self) -> &str {
        &self.add
    }

    /// Whether every path stays as it is.
    #[must_use]
    pub const fn changes_nothing(&self) -> bool {
        self.strip.is_empty() && self.add.is_empty()
    }

    /// What the backend is asked for, when a client asks for `target`, whose path has so many bytes.
    ///
    /// # Errors
    /// [`PrefixMismatch`], also where a path would be left that begins with two slashes, or with
    /// what may be taken for two: a backend may take what follows them for a host.
    pub fn target<'t>(
        &self,
        target: &'t str,
        path_length: usize,
    ) -> Result<Target<'t>, PrefixMismatch> {
        if self.changes_nothing() {
            let target = target.into();
            return Ok(Target { target, prefix: "" });
        }
        let (path, query) = target.split_at_checked(path_length).ok_or(PrefixMismatch)?;
        let length = self.prefix_length(path).ok_or(PrefixMismatch)?;
        let (prefix, rest) = path.split_at(length);
        let slash = if rest.is_empty() { "/" } else { "" };
        if rest.get(1..).is_some_and(begins_with_separator) {
            return Err(PrefixMismatch);
        }
        let target = [&self.add, slash, rest, query].concat().into();
        Ok(Target { target, prefix })
    }

    /// How many bytes of a path are the prefix, if it begins with it.
    fn prefix_length(&self, path: &str) -> Option<usize> {
        let mut rest = path;
        for segment in &self.strip {
            let inner = rest.strip_prefix('/')?;
            let (found, after) = inner.split_at(inner.find('/').unwrap_or(inner.len()));
            if !segment.is(found) {
                return None;
            }
            rest = after;
        }
        Some(path.len() - rest.len())
    }
}

/// Whether this is a slash or backslash, however often it was encoded.
fn begins_with_separator(text: &str) -> bool {
    let Some(mut encoded) = text.strip_prefix('%') else {
        return text.starts_with(['/', '\\']);
    };
    while let Some(again) = encoded.strip_prefix("25") {
        encoded = again;
    }
    let pair = encoded.get(..2).unwrap_or_default();
    pair.eq_ignore_ascii_case("2f") || pair.eq_ignore_ascii_case("5c")
}

impl Segment {
    /// Whether a segment as it was sent means this one. An encoded separator in it would make it
    /// two for those who decode before they split.
    fn is(&self, raw: &str) -> bool {
        let decoded: Cow<'_, [u8]> = percent_decode_str(raw).into();
        match self {
            Self::Literal(text) => *decoded == *text.as_bytes(),
            Self::Any => {
                !decoded.is_empty() && !decoded.contains(&b'/') && !decoded.contains(&b'\\')
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(strip: &str, add: &str, target: &str, expected: Option<(&str, &str)>) {
        let length = target.find('?').unwrap_or(target.len());
        let rewritten = PathRewrite::new(strip, add);
        let rewritten = rewritten.target(target, length).ok();
        let rewritten = rewritten.as_ref().map(|it| (&*it.target, it.prefix));
        assert_eq!(rewritten, expected, "{strip} {add} {target}");
    }

    #[test]
    fn a_prefix_is_taken_off_and_another_put_on() {
        check("", "", "/a/b?c", Some(("/a/b?c", "")));
        check("/a", "", "/a/b?/c", Some(("/b?/c", "/a")));
        check("/a", "", "/a/", Some(("/", "/a")));
        check("/a", "", "/a?x", Some(("/?x", "/a")));
        check("/a/b", "", "/a/b/c/", Some(("/c/", "/a/b")));
        check("", "/v1", "/", Some(("/v1/", "")));
        check("", "/v1", "/a?x", Some(("/v1/a?x", "")));
        check("/a", "/v1", "/a/b", Some(("/v1/b", "/a")));
        check("/a/{b}", "", "/a/x%20y/c", Some(("/c", "/a/x%20y")));
    }

    #[test]
    fn a_prefix_is_found_however_it_is_encoded_and_stays_so_where_the_client_sees_it() {
        check("/a b", "", "/a%20b/c%20d", Some(("/c%20d", "/a%20b")));
        check("/app", "", "/%61pp/x", Some(("/x", "/%61pp")));
        check("/ä", "", "/%C3%A4/x", Some(("/x", "/%C3%A4")));
    }

    #[test]
    fn what_does_not_begin_with_the_prefix_goes_nowhere() {
        check("/a", "", "/ab/c", None);
        check("/a", "", "/b", None);
        check("/a", "", "/", None);
        check("/a", "", "/A/b", None);
        check("/a", "", "/a%2fb/c", None);
        check("/a/{b}", "", "/a/x%2fy/c", None);
        check("/a/{b}", "", "/a/x%5Cy/c", None);
        check("/a/{b}", "", "/a//c", None);
        check("/a", "", "/a//evil.example/", None);
        check("/a", "/v", "/a//evil.example/", None);
        for separator in ["\\", "%2f", "%5C", "%252F", "%25255c"] {
            check("/a", "", &format!("/a/{separator}evil.example/"), None);
        }
        check("/a", "", "/a/%25/%2f", Some(("/%25/%2f", "/a")));
    }
}
