//! All that backends could make of a path that they read differently.
//!
//! A route that lets such a path pass decides about each of these readings, and only where all lead
//! to it. So what counts here is that no reading of any backend is missing; one too many costs a
//! refusal. A path with a reading in it that nobody can vouch for has none at all.

use super::relaxation::{AmbiguousPath, Relaxation, Relaxations};
use super::{DecodedPath, hex_pair};

/// The most ways in which a path is read. Enough for every two kinds of ambiguity, and for most three.
const MOST_READINGS: usize = 96;

/// The most bytes of all of them together: a client must not be able to ask for more work than its
/// request is worth.
const MOST_BYTES: usize = 32 << 10;

/// The same where it is refused all the same, and only what is said of it in the log depends on it.
const MOST_BYTES_FOR_THE_LOG: usize = 4 << 10;

/// How often a path is decoded at most. What still is encoded then was made to deceive.
const MOST_DECODINGS: usize = 3;

/// A path that backends may read differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readings {
    /// Each once.
    paths: Vec<DecodedPath<'static>>,
    needed: Relaxations,
}

impl Readings {
    /// Reads `raw`, the path of a request without its query, in every way. `allowed` is what routes
    /// let pass at all.
    ///
    /// # Errors
    /// [`AmbiguousPath`] where nothing could let it pass, or nothing does and to find out more would
    /// be too much.
    pub fn of(raw: &str, allowed: Relaxations) -> Result<Self, AmbiguousPath> {
        if !raw.starts_with('/') {
            return Err(AmbiguousPath::NotAbsolute);
        }
        let found = Found::in_path(raw.as_bytes())?;
        let ways = found.ways();
        let refusal = found.needed.without(allowed).refusal();
        let most_bytes = match refusal {
            None => MOST_BYTES,
            Some(_) => MOST_BYTES_FOR_THE_LOG,
        };
        if ways.len() > MOST_READINGS || ways.len() * raw.len() > most_bytes {
            return Err(refusal.unwrap_or(AmbiguousPath::TooManyReadings));
        }
        let mut readings = Self {
            paths: Vec::new(),
            needed: found.needed,
        };
        for way in ways {
            for text in readings.texts(way.decoded(raw.as_bytes()))? {
                readings.add(way.separated(text))?;
            }
        }
        Ok(readings)
    }

    /// What a route has to let pass for this path.
    #[must_use]
    pub const fn needed(&self) -> Relaxations {
        self.needed
    }

    /// What the path may be, decoded; at least one.
    #[must_use]
    pub fn paths(&self) -> &[DecodedPath<'static>] {
        &self.paths
    }

    fn add(&mut self, text: String) -> Result<(), AmbiguousPath> {
        let mut segments = text[1..].split('/').peekable();
        while let Some(segment) = segments.next() {
            if super::is_dot_segment(segment) {
                return Err(AmbiguousPath::DotSegment);
            }
            if segment.is_empty() && segments.peek().is_some() {
                self.needed = self.needed.with(Relaxation::DoubleSlash);
            }
        }
        let path = DecodedPath(text.into());
        if !self.paths.contains(&path) {
            self.paths.push(path);
        }
        Ok(())
    }

    /// As UTF-8. Where it is none, some read it as Latin-1, some replace what is wrong, and some
    /// leave it out.
    fn texts(&mut self, bytes: Vec<u8>) -> Result<Vec<String>, AmbiguousPath> {
        let bytes = match String::from_utf8(bytes) {
            Ok(text) => return Ok(vec![text]),
            Err(error) => error.into_bytes(),
        };
        if has_overlong(&bytes) {
            return Err(AmbiguousPath::OverlongUtf8);
        }
        self.needed = self.needed.with(Relaxation::NonUtf8);
        let left_out = bytes.utf8_chunks().map(|chunk| chunk.valid()).collect();
        let ascii = bytes.iter().filter(|byte| byte.is_ascii());
        Ok(vec![
            bytes.iter().map(|byte| char::from(*byte)).collect(),
            String::from_utf8_lossy(&bytes).into_owned(),
            left_out,
            ascii.map(|byte| char::from(*byte)).collect(),
        ])
    }
}

/// Whether an ASCII character may be hidden in several bytes. Sloppy decoders do not look at the two
/// highest bits of the second byte after `C0` and `C1`.
fn has_overlong(bytes: &[u8]) -> bool {
    let pair = |pair: &[u8]| {
        matches!(
            pair,
            [0xe0, 0x80..=0x9f] | [0xf0, 0x80..=0x8f] | [0xf8, 0x80..=0x87] | [0xfc, 0x80..=0x83]
        )
    };
    bytes.iter().any(|byte| matches!(byte, 0xc0 | 0xc1)) || bytes.windows(2).any(pair)
}

/// What is in a path that is read differently.
#[derive(Default)]
struct Found {
    needed: Relaxations,
    decodings: usize,
    has_semicolon: bool,
    has_backslash: bool,
}

impl Found {
    /// Looks at the path as it came and after each decoding.
    fn in_path(raw: &[u8]) -> Result<Self, AmbiguousPath> {
        let mut found = Self::default();
        found.look_for(raw, b'\\', Relaxation::Backslash);
        let mut path = raw.to_vec();
        loop {
            found.look_for(&path, b';', Relaxation::Semicolon);
            if path.iter().any(u8::is_ascii_control) {
                return Err(AmbiguousPath::Control);
            }
            if found.decodings > 0 && !super::has_encoding(&path) {
                break;
            }
            if found.decodings == MOST_DECODINGS {
                return Err(AmbiguousPath::TooManyReadings);
            }
            found.decodings += 1;
            if found.decodings == 1 {
                check_encoding(&path)?;
            } else {
                found.needed = found.needed.with(Relaxation::DoubleEncoding);
            }
            found.look_for_encoded(&path);
            path = decode(&path, Slash::Decoded);
        }
        found.has_semicolon = found.needed.contains(Relaxation::Semicolon);
        found.has_backslash = found.needed.contains(Relaxation::Backslash)
            || found.needed.contains(Relaxation::EncodedBackslash);
        Ok(found)
    }

    fn look_for(&mut self, path: &[u8], byte: u8, relaxation: Relaxation) {
        if path.contains(&byte) {
            self.needed = self.needed.with(relaxation);
        }
    }

    fn look_for_encoded(&mut self, path: &[u8]) {
        for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'%') {
            match hex_pair(&path[at + 1..]) {
                Some(b'/') => self.needed = self.needed.with(Relaxation::EncodedSlash),
                Some(b'\\') => self.needed = self.needed.with(Relaxation::EncodedBackslash),
                _ => {}
            }
        }
    }

    /// Every way to read a path with this in it.
    fn ways(&self) -> Vec<Way> {
        let slashes = match self.needed.contains(Relaxation::EncodedSlash) {
            true => &[Slash::Decoded, Slash::Kept][..],
            false => &[Slash::Decoded],
        };
        let backslashes = match self.has_backslash {
            true => &[When::Never, When::BeforeDecoding, When::AfterDecoding][..],
            false => &[When::Never],
        };
        let parameters = match self.has_semicolon {
            true => &Parameters::ALL[..],
            false => &[Parameters::Kept],
        };
        let mut ways = Vec::new();
        for decodings in 1..=self.decodings {
            for &slash in slashes {
                for &backslash in backslashes {
                    for &parameters in parameters {
                        ways.extend(Leading::ALL.map(|leading| Way {
                            decodings,
                            slash,
                            backslash,
                            parameters,
                            leading,
                        }));
                    }
                }
            }
        }
        ways
    }
}

/// `%` is followed by two hex digits wherever it is.
fn check_encoding(path: &[u8]) -> Result<(), AmbiguousPath> {
    let mut percents = path.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    match percents.all(|(at, _)| hex_pair(&path[at + 1..]).is_some()) {
        true => Ok(()),
        false => Err(AmbiguousPath::BrokenEncoding),
    }
}

/// What becomes of `%2f`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slash {
    Decoded,
    Kept,
}

/// When something is done, if at all.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Never,
    BeforeDecoding,
    AfterDecoding,
}

/// What becomes of `;`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parameters {
    Kept,
    /// It and what follows it are left out, up to the end of the segment.
    EndSegment(When),
    /// It ends the path.
    EndPath(When),
}

impl Parameters {
    const ALL: [Self; 5] = [
        Self::Kept,
        Self::EndSegment(When::BeforeDecoding),
        Self::EndSegment(When::AfterDecoding),
        Self::EndPath(When::BeforeDecoding),
        Self::EndPath(When::AfterDecoding),
    ];
}

/// What becomes of empty segments.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leading {
    Kept,
    Merged,
    /// What follows two slashes at the beginning is a host (RFC 3986 section 4.2).
    Host,
}

impl Leading {
    const ALL: [Self; 3] = [Self::Kept, Self::Merged, Self::Host];
}

/// One way to read a path.
#[derive(Clone, Copy)]
struct Way {
    decodings: usize,
    slash: Slash,
    backslash: When,
    parameters: Parameters,
    leading: Leading,
}

impl Way {
    fn decoded(self, raw: &[u8]) -> Vec<u8> {
        let mut path = raw.to_vec();
        self.separate(&mut path, When::BeforeDecoding);
        for _ in 0..self.decodings {
            path = decode(&path, self.slash);
        }
        path
    }

    /// The rest, which is done to text.
    fn separated(self, text: String) -> String {
        let mut path = text.into_bytes();
        self.separate(&mut path, When::AfterDecoding);
        let path = match self.leading {
            Leading::Kept => path,
            Leading::Merged => merge(&path),
            Leading::Host => merge(behind_host(&path)),
        };
        // Still text: it was cut at ASCII only.
        String::from_utf8_lossy(&path).into_owned()
    }

    fn separate(self, path: &mut Vec<u8>, now: When) {
        if self.backslash == now {
            for byte in path.iter_mut().filter(|byte| **byte == b'\\') {
                *byte = b'/';
            }
        }
        if self.parameters == Parameters::EndPath(now) {
            let end = path.iter().position(|byte| *byte == b';');
            path.truncate(end.unwrap_or(path.len()));
        }
        if self.parameters == Parameters::EndSegment(now) {
            let mut inside = false;
            path.retain(|byte| {
                inside = *byte != b'/' && (inside || *byte == b';');
                !inside
            });
        }
    }
}

/// Decodes once; what is not encoded stays.
fn decode(path: &[u8], slash: Slash) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        let encoded = hex_pair(tail).filter(|_| byte == b'%');
        match encoded.filter(|byte| *byte != b'/' || slash == Slash::Decoded) {
            Some(byte) => {
                decoded.push(byte);
                rest = &tail[2..];
            }
            None => {
                decoded.push(byte);
                rest = tail;
            }
        }
    }
    decoded
}

fn merge(path: &[u8]) -> Vec<u8> {
    let mut merged = path.to_vec();
    merged.dedup_by(|byte, before| *byte == b'/' && *before == b'/');
    merged
}

/// What follows the host of `//host/path`; all of a path that is no such thing.
fn behind_host(path: &[u8]) -> &[u8] {
    let Some(rest) = path.strip_prefix(b"//") else {
        return path;
    };
    match rest.iter().position(|byte| *byte == b'/') {
        Some(end) => &rest[end..],
        None => b"/",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything.
    fn all() -> Relaxations {
        Relaxation::ALL.into_iter().collect()
    }

    #[track_caller]
    fn check(raw: &str, needed: &[Relaxation], paths: &[&str]) {
        let readings = Readings::of(raw, all()).unwrap();
        let needed = needed.iter().copied().collect::<Relaxations>();
        assert_eq!(readings.needed(), needed, "{raw}");
        let mut found: Vec<_> = readings.paths().iter().map(DecodedPath::as_str).collect();
        found.sort_unstable();
        assert_eq!(found, paths, "{raw}");
    }

    #[track_caller]
    fn check_refused(raw: &str, expected: AmbiguousPath) {
        assert_eq!(Readings::of(raw, all()), Err(expected), "{raw}");
    }

    #[test]
    fn a_path_is_read_as_every_backend_may() {
        use Relaxation::*;
        check("/a%2Fb", &[EncodedSlash], &["/a%2Fb", "/a/b"]);
        check("/a\\b", &[Backslash], &["/a/b", "/a\\b"]);
        check("/a%5cb", &[EncodedBackslash], &["/a/b", "/a\\b"]);
        check("/a//b", &[DoubleSlash], &["/a//b", "/a/b"]);
        check("//a/b", &[DoubleSlash], &["//a/b", "/a/b", "/b"]);
        check("//a", &[DoubleSlash], &["/", "//a", "/a"]);
        check("/a;x/b", &[Semicolon], &["/a", "/a/b", "/a;x/b"]);
        check("/a%3bx/b", &[Semicolon], &["/a", "/a/b", "/a;x/b"]);
        check("/a%2541", &[DoubleEncoding], &["/a%41", "/aA"]);
        check(
            "/b%fcro",
            &[NonUtf8],
            &["/bro", "/b\u{fc}ro", "/b\u{fffd}ro"],
        );
    }

    #[test]
    fn what_one_ambiguity_hides_of_another_counts_as_well() {
        use Relaxation::*;
        check(
            "/a%252fb",
            &[EncodedSlash, DoubleEncoding],
            &["/a%2fb", "/a/b"],
        );
        check(
            "/a%2f/b",
            &[EncodedSlash, DoubleSlash],
            &["/a%2f/b", "/a//b", "/a/b"],
        );
        check(
            "/a;x%2fb",
            &[EncodedSlash, Semicolon],
            &["/a", "/a/b", "/a;x%2fb", "/a;x/b"],
        );
        check(
            "/;x/b",
            &[DoubleSlash, Semicolon],
            &["/", "//b", "/;x/b", "/b"],
        );
        check(
            "/a%c3%a9%2f%fc",
            &[EncodedSlash, NonUtf8],
            &[
                "/a%2f",
                "/a/",
                "/a\u{c3}\u{a9}%2f\u{fc}",
                "/a\u{c3}\u{a9}/\u{fc}",
                "/a\u{e9}%2f",
                "/a\u{e9}%2f\u{fffd}",
                "/a\u{e9}/",
                "/a\u{e9}/\u{fffd}",
            ],
        );
    }

    #[test]
    fn no_path_may_lead_up_in_any_reading() {
        for raw in [
            "/a/../b",
            "/a/..%2fb",
            "/a%2f..%2fb",
            "/a\\..\\b",
            "/a%5c..%5cb",
            "/a/..;/b",
            "/a/..;x=1/b",
            "/a/..%3b/b",
            "/a/.;/b",
            "/a/%252e%252e/b",
            "/a/%252e./b",
            "/a/%25252e%25252e/b",
            "/a/..%252fb",
            "/a/.%ff./b",
            "/a/..%ff",
            "/a//..",
            "/a/..%20%2fb",
            "/;/../b",
        ] {
            check_refused(raw, AmbiguousPath::DotSegment);
        }
        check_refused("/a/%c0%ae%c0%ae/b", AmbiguousPath::OverlongUtf8);
        check_refused("/a%c0%afb", AmbiguousPath::OverlongUtf8);
        check_refused("/a%e0%80%afb", AmbiguousPath::OverlongUtf8);
        check_refused("/a%fc%80%80%80%80%afb", AmbiguousPath::OverlongUtf8);
    }

    #[test]
    fn what_nobody_can_vouch_for_has_no_reading() {
        check_refused("a%2fb", AmbiguousPath::NotAbsolute);
        check_refused("*", AmbiguousPath::NotAbsolute);
        check_refused("/a%00", AmbiguousPath::Control);
        check_refused("/a%2500", AmbiguousPath::Control);
        check_refused("/a%0d%0ab", AmbiguousPath::Control);
        check_refused("/a%u002fb", AmbiguousPath::BrokenEncoding);
        check_refused("/a%2", AmbiguousPath::BrokenEncoding);
        check_refused("/a%2525252fb", AmbiguousPath::TooManyReadings);
        check_refused("/a\\b;c%252fd", AmbiguousPath::TooManyReadings);
        let long = format!("/{}%2f", "a".repeat(MOST_BYTES / 6));
        check_refused(&long, AmbiguousPath::TooManyReadings);
    }

    #[test]
    fn what_is_no_longer_encoded_after_the_first_decoding_is_taken_as_it_is() {
        use Relaxation::*;
        check(
            "/100%25zz%2fb",
            &[EncodedSlash],
            &["/100%zz%2fb", "/100%zz/b"],
        );
        let long = format!("/{}%2f", "a".repeat(4 << 10));
        assert!(Readings::of(&long, all()).is_ok());
    }

    #[test]
    fn what_no_route_lets_pass_is_read_only_as_far_as_that_is_cheap() {
        let long = format!("/{}%2f;", "a".repeat(1 << 10));
        let read = |allowed: &[Relaxation]| {
            let allowed = allowed.iter().copied().collect();
            Readings::of(&long, allowed).map(|_| ())
        };
        assert_eq!(read(&[]), Err(AmbiguousPath::EncodedSlash));
        let slash = [Relaxation::EncodedSlash];
        assert_eq!(read(&slash), Err(AmbiguousPath::Semicolon));
        let both = [Relaxation::EncodedSlash, Relaxation::Semicolon];
        assert_eq!(read(&both), Ok(()));
        assert!(Readings::of("/a%2f;", Relaxations::NONE).is_ok());
    }
}
