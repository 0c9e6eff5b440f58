//! The names under which a route lets paths pass that backends read differently, and the words of the
//! log for paths that are refused.

use std::fmt;

/// Why a path was refused. Where a [`Relaxation`] would let it pass, both have one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmbiguousPath {
    /// It does not begin with a slash.
    #[error("does not begin with a slash")]
    NotAbsolute,
    /// `//`: some backends fold it, some read what follows as a host.
    #[error("empty segment (//)")]
    DoubleSlash,
    /// `.` or `..` as a segment, plain or encoded, or with spaces behind it, which Windows drops.
    #[error("dot segment")]
    DotSegment,
    /// `%2f`: some backends decode it into a separator.
    #[error("encoded slash (%2f)")]
    EncodedSlash,
    /// `\`: a separator for some backends.
    #[error("backslash")]
    Backslash,
    /// `%5c`: a separator for some backends.
    #[error("encoded backslash (%5c)")]
    EncodedBackslash,
    /// `;` or `%3b`: some backends cut the segment there.
    #[error("path parameter (;)")]
    Semicolon,
    /// A control character, `%00` to `%1f` or `%7f`.
    #[error("control character")]
    Control,
    /// What was decoded holds `%` and two hex digits again: some backends decode twice.
    #[error("double percent-encoding")]
    DoubleEncoding,
    /// `%` without two hex digits. Some backends read more into it: for IIS, `%u002f` is a slash.
    #[error("broken percent-encoding")]
    BrokenEncoding,
    /// The decoded bytes are not UTF-8.
    #[error("not UTF-8 after decoding")]
    NonUtf8,
    /// An ASCII character in more bytes than it needs: `%c0%af` is a slash for some backends.
    #[error("overlong UTF-8")]
    OverlongUtf8,
    /// So much of all this that it cannot be said what it may mean.
    #[error("it has more readings than are looked at")]
    TooManyReadings,
}

impl AmbiguousPath {
    /// A stable word for the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAbsolute => "not_absolute",
            Self::DotSegment => "dot_segment",
            Self::Control => "control_character",
            Self::BrokenEncoding => "broken_encoding",
            Self::OverlongUtf8 => "overlong_utf8",
            Self::TooManyReadings => "too_many_readings",
            Self::DoubleSlash => Relaxation::DoubleSlash.as_str(),
            Self::EncodedSlash => Relaxation::EncodedSlash.as_str(),
            Self::Backslash => Relaxation::Backslash.as_str(),
            Self::EncodedBackslash => Relaxation::EncodedBackslash.as_str(),
            Self::Semicolon => Relaxation::Semicolon.as_str(),
            Self::DoubleEncoding => Relaxation::DoubleEncoding.as_str(),
            Self::NonUtf8 => Relaxation::NonUtf8.as_str(),
        }
    }
}

/// What a route may let pass.
///
/// There is none for dot segments: clients resolve them before they send a path (RFC 3986 section
/// 5.2.4), so that only an attack has any. Nor for control characters and broken encoding, of which
/// nobody can say what backends make of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Relaxation {
    /// `%2f`, as in names of packages, projects and queues.
    EncodedSlash = 1,
    /// `\` as it is.
    Backslash = 2,
    /// `%5c`.
    EncodedBackslash = 4,
    /// `//`, as in keys of object stores and URLs in paths.
    DoubleSlash = 8,
    /// `;` and `%3b`, as in matrix parameters and session ids of Java.
    Semicolon = 16,
    /// `%25` before two hex digits.
    DoubleEncoding = 32,
    /// Bytes that are not UTF-8, as in names of files in Latin-1.
    NonUtf8 = 64,
}

impl Relaxation {
    /// All there are.
    pub const ALL: [Self; 7] = [
        Self::EncodedSlash,
        Self::Backslash,
        Self::EncodedBackslash,
        Self::DoubleSlash,
        Self::Semicolon,
        Self::DoubleEncoding,
        Self::NonUtf8,
    ];

    /// Its key in `allow` of a route, and the word of the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EncodedSlash => "encoded_slash",
            Self::Backslash => "backslash",
            Self::EncodedBackslash => "encoded_backslash",
            Self::DoubleSlash => "double_slash",
            Self::Semicolon => "semicolon",
            Self::DoubleEncoding => "double_encoding",
            Self::NonUtf8 => "non_utf8",
        }
    }

    /// What a path is refused for without it.
    const fn refusal(self) -> AmbiguousPath {
        match self {
            Self::EncodedSlash => AmbiguousPath::EncodedSlash,
            Self::Backslash => AmbiguousPath::Backslash,
            Self::EncodedBackslash => AmbiguousPath::EncodedBackslash,
            Self::DoubleSlash => AmbiguousPath::DoubleSlash,
            Self::Semicolon => AmbiguousPath::Semicolon,
            Self::DoubleEncoding => AmbiguousPath::DoubleEncoding,
            Self::NonUtf8 => AmbiguousPath::NonUtf8,
        }
    }
}

/// Some of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relaxations(u8);

impl Relaxations {
    /// Not one.
    pub const NONE: Self = Self(0);

    /// These and that one.
    #[must_use]
    pub const fn with(self, relaxation: Relaxation) -> Self {
        Self(self.0 | relaxation as u8)
    }

    /// These and those.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether it is one of them.
    #[must_use]
    pub const fn contains(self, relaxation: Relaxation) -> bool {
        self.0 & relaxation as u8 != 0
    }

    /// These but for those.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// What a path that needs the first of them is refused for; `None` where there is none.
    #[must_use]
    pub fn refusal(self) -> Option<AmbiguousPath> {
        self.iter().next().map(Relaxation::refusal)
    }

    fn iter(self) -> impl Iterator<Item = Relaxation> {
        let all = Relaxation::ALL.into_iter();
        all.filter(move |relaxation| self.contains(*relaxation))
    }
}

impl FromIterator<Relaxation> for Relaxations {
    fn from_iter<I: IntoIterator<Item = Relaxation>>(relaxations: I) -> Self {
        relaxations.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Display for Relaxations {
    /// As it is written in a route.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "{";
        for relaxation in self.iter() {
            write!(f, "{separator}{}: true", relaxation.as_str())?;
            separator = ", ";
        }
        f.write_str("}")
    }
}
