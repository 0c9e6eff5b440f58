//! Routes: which rule a request falls under, by host, path and method.
//!
//! The first route in configured order whose host and path match decides. Among routes with the
//! very same host and path, the method chooses; when none of them takes it, the answer is 405 and
//! no later, laxer route is asked. That is on purpose: `{match: /admin/, methods: [GET], can: edit}`
//! must not let a DELETE fall through to the catch-all.
//!
//! A backend may take a path for another one: ignore its case, a slash or dots at its end, or what
//! follows an encoded `?`. So a path is also looked up folded that way, and where an earlier
//! protected route covers it then that is narrower, or that only a capture has let it pass by, that
//! route has to be satisfied too.
//!
//! A path may have captures, `/files/{name}/`: whole segments that can be anything. What stands in
//! them can decide whose the path is ([`Owner`]).
//!
//! Look-up costs a hash per path segment, not a comparison per route.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt as _};

use super::ability::Ability;
use super::clients::pattern::is_placeholder_name;
use super::clients::template::{self, Piece};
use super::path::DecodedPath;
use super::path::relaxation::Relaxations;
use crate::identity::address::AddressRules;
use crate::identity::host::HostName;

/// Which paths a route covers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// Every path.
    Any,
    /// This path only.
    Exact(String),
    /// The folder and all below it. Held without the trailing slash: `/admin/` also covers
    /// `/admin`, which a backend would answer as the same thing.
    Folder(String),
    /// As one of these, with captures.
    Template(PathTemplate),
}

impl PathPattern {
    /// Reads a `match` value: absent or empty covers all, `/` is exact, a trailing slash is a
    /// folder, anything else exact.
    ///
    /// What means something in the patterns of others is refused, or a rule would cover less than
    /// it seems to, and what it was to protect would fall to a laxer one. Percent-encoded, such a
    /// character stands for itself.
    ///
    /// # Errors
    /// A sentence that says why no request could ever have this path, or what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::Any);
        }
        if text.contains(['?', '#']) {
            return Err("a path has no query or fragment; write the part before it".into());
        }
        let path = DecodedPath::parse(text)
            .map_err(|why| format!("no request can match this path: {why}"))?;
        let decoded = path.as_str();
        refuse_foreign_pattern(text)?;
        if has_needless_escape(text) {
            return Err(format!(
                "write it decoded, as \"{}\": paths are matched after percent-decoding",
                spell(decoded)
            ));
        }
        if text.contains(['{', '}']) {
            return PathTemplate::parse(text, decoded).map(Self::Template);
        }
        Ok(match decoded.strip_suffix('/') {
            Some("") => Self::Exact("/".into()),
            Some(folder) => Self::Folder(folder.into()),
            None => Self::Exact(decoded.into()),
        })
    }

    /// Whether it covers this path.
    #[must_use]
    pub fn matches(&self, path: &DecodedPath<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == path.as_str(),
            Self::Folder(folder) => below(folder, path.as_str()),
            Self::Template(template) => template.matches(path.as_str()),
        }
    }

    /// Whether every path that `other` covers is also covered by `self`.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Any) => false,
            (Self::Exact(a), Self::Exact(b)) => a == b,
            (Self::Exact(_), Self::Folder(_)) => false,
            (Self::Folder(folder), Self::Exact(path) | Self::Folder(path)) => below(folder, path),
            (_, Self::Template(_)) | (Self::Template(_), _) => self.covers_segments(other),
        }
    }

    fn covers_segments(&self, other: &Self) -> bool {
        let (mut own, mut theirs) = (self.segments(), other.segments());
        loop {
            match (own.next(), theirs.next()) {
                (None, None) => return self.is_folder() || !other.is_folder(),
                (None, Some(_)) => return self.is_folder(),
                (Some(_), None) => return false,
                (Some(own), Some(their)) if !own.covers(their) => return false,
                (Some(_), Some(_)) => {}
            }
        }
    }

    fn is_folder(&self) -> bool {
        match self {
            Self::Any | Self::Folder(_) => true,
            Self::Exact(_) => false,
            Self::Template(template) => template.reach == Reach::Folder,
        }
    }

    /// Its segments; none for `/`.
    fn segments(&self) -> impl Iterator<Item = Segment<&str>> {
        let (path, template): (_, &[_]) = match self {
            Self::Any => ("", &[]),
            Self::Exact(path) | Self::Folder(path) => (path.as_str(), &[]),
            Self::Template(template) => ("", &template.segments),
        };
        let literals = path.split('/').filter(|it| !it.is_empty());
        let literals = literals.map(Segment::Literal);
        literals.chain(template.iter().map(Segment::as_ref))
    }

    /// How narrow it is: how deep, and where that is the same, how much of it is fixed. Nothing is
    /// as broad as all paths.
    fn narrowness(&self) -> (usize, usize) {
        match self {
            Self::Any => (0, 0),
            Self::Exact(path) | Self::Folder(path) => {
                let depth = 1 + fold(path).matches('/').count();
                (depth, depth)
            }
            Self::Template(template) => {
                let literals = template.segments.iter().filter(|it| it.literal().is_some());
                (1 + template.segments.len(), 1 + literals.count())
            }
        }
    }

    /// Whether all that it covers is below this folder, which is folded and has no slash at its end.
    fn is_below(&self, folder: &str) -> bool {
        let above = folder.split('/').skip(1).count();
        let mut own = self.segments();
        let mut above_fits = folder.split('/').skip(1).zip(own.by_ref());
        let is_other = |(above, own): (&str, Segment<&str>)| match own {
            Segment::Literal(text) => fold(text) != above,
            Segment::Capture(_) => false,
        };
        !above_fits.any(is_other) && self.segments().count() > above
    }

    /// Whether it is another pattern when it is folded.
    fn folds(&self) -> bool {
        match self {
            Self::Any => false,
            Self::Exact(path) | Self::Folder(path) => fold(path) != *path,
            Self::Template(template) => {
                let mut literals = template.segments.iter().filter_map(Segment::literal);
                literals.any(|it| fold(it) != *it)
            }
        }
    }
}

/// What of a pattern says which of two routes a path is meant for that both cover, one of them only
/// when it is folded.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// See [`PathPattern::narrowness`].
    narrowness: (usize, usize),
    /// Which of its segments are captures, a bit for each, the first the lowest.
    captures: u64,
    is_folder: bool,
}

impl Shape {
    fn of(pattern: &PathPattern) -> Self {
        let segments = pattern.segments().take(PathTemplate::MOST_SEGMENTS);
        let captures = segments.enumerate().map(|(at, segment)| match segment {
            Segment::Capture(_) => 1 << at,
            Segment::Literal(_) => 0,
        });
        Self {
            narrowness: pattern.narrowness(),
            captures: captures.fold(0, |all, bit: u64| all | bit),
            is_folder: pattern.is_folder(),
        }
    }

    fn depth(&self) -> usize {
        self.narrowness.0.saturating_sub(1)
    }

    fn is_narrower_than(&self, chosen: &Self) -> bool {
        self.narrowness > chosen.narrowness
    }

    /// Whether a path that both cover, folded, can be `chosen`'s as written only because a capture
    /// takes everything: a name that is fixed here, spelled otherwise, or something that ends the
    /// path here and not there. However deep `chosen` is, nobody wrote it for such a path.
    fn is_passed_by(&self, chosen: &Self, is_cut: bool) -> bool {
        let depth = u32::try_from(self.depth()).unwrap_or(u32::MAX);
        let within = 1_u64.checked_shl(depth).map_or(u64::MAX, |bit| bit - 1);
        let is_fixed_here = chosen.captures & !self.captures & within != 0;
        let goes_on_there = match self.depth().cmp(&chosen.depth()) {
            Ordering::Less => true,
            Ordering::Equal => is_cut && chosen.is_folder,
            Ordering::Greater => false,
        };
        chosen.captures != 0 && (is_fixed_here || !self.is_folder && goes_on_there)
    }
}

/// A path with captures, by segments.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathTemplate {
    segments: Vec<Segment<String>>,
    reach: Reach,
}

/// A segment of a path with captures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Segment<T> {
    /// This one.
    Literal(T),
    /// Any that is not empty, by this name.
    Capture(T),
}

/// How far a path with captures reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reach {
    /// No further.
    Exact,
    /// To all below.
    Folder,
}

impl Segment<String> {
    fn as_ref(&self) -> Segment<&str> {
        match self {
            Self::Literal(text) => Segment::Literal(text),
            Self::Capture(name) => Segment::Capture(name),
        }
    }

    fn literal(&self) -> Option<&String> {
        match self {
            Self::Literal(text) => Some(text),
            Self::Capture(_) => None,
        }
    }
}

impl Segment<&str> {
    fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::Capture(_), _) => true,
            (Self::Literal(_), Self::Capture(_)) => false,
            (Self::Literal(a), Self::Literal(b)) => a == b,
        }
    }
}

impl PathTemplate {
    /// The most segments. The look-up goes down one by one.
    const MOST_SEGMENTS: usize = 64;

    /// Reads a path that could be that of a request, but for its braces: as it is written, and
    /// decoded, which has the same slashes.
    fn parse(text: &str, decoded: &str) -> Result<Self, String> {
        let (inner, reach) = match text[1..].strip_suffix('/') {
            Some(inner) => (inner, Reach::Folder),
            None => (&text[1..], Reach::Exact),
        };
        let segments: Vec<_> = inner
            .split('/')
            .zip(decoded[1..].split('/'))
            .map(|(text, decoded)| read_segment(text, decoded))
            .collect::<Result<_, _>>()?;
        if segments.len() > Self::MOST_SEGMENTS {
            let most = Self::MOST_SEGMENTS;
            return Err(format!("more than {most} segments in a path with {{…}}"));
        }
        let template = Self { segments, reach };
        let mut names = BTreeSet::new();
        if let Some(name) = template.captures().find(|name| !names.insert(*name)) {
            return Err(format!("{{{name}}} is there twice; give each its own name"));
        }
        Ok(template)
    }

    /// The names of its captures.
    pub fn captures(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|it| match it {
            Segment::Literal(_) => None,
            Segment::Capture(name) => Some(name.as_str()),
        })
    }

    fn matches(&self, path: &str) -> bool {
        let mut rest = path;
        for segment in &self.segments {
            let Some((found, below)) = first_segment(rest) else {
                return false;
            };
            let fits = match segment {
                Segment::Literal(text) => text == found,
                Segment::Capture(_) => !found.is_empty(),
            };
            if !fits {
                return false;
            }
            rest = below;
        }
        rest.is_empty() || self.reach == Reach::Folder
    }
}

fn read_segment(text: &str, decoded: &str) -> Result<Segment<String>, String> {
    if !text.contains(['{', '}']) {
        return Ok(Segment::Literal(decoded.into()));
    }
    let name = text.strip_prefix('{').and_then(|it| it.strip_suffix('}'));
    match name {
        Some(name) if is_placeholder_name(name) => Ok(Segment::Capture(name.into())),
        _ => Err(format!(
            "{text:?}: braces stand for a whole segment, like {{name}}, with a name of a-z, 0-9 and _"
        )),
    }
}

/// What stands for many paths in globs, regular expressions and other routers, wherever it is.
const FOREIGN: [char; 7] = ['*', '<', '>', '[', ']', '|', '^'];

/// Where `path` has something that is a pattern elsewhere: one of [`FOREIGN`], `/:id`, `.+`, or a
/// `$` at the end.
fn foreign_pattern(path: &str) -> Option<usize> {
    let begins = |at| path[..at].ends_with('/');
    let repeats = |at| path[..at].ends_with('.');
    path.char_indices().find_map(|(at, c)| match c {
        ':' if begins(at) => Some(at),
        '+' if repeats(at) => Some(at),
        '$' if at + 1 == path.len() && !begins(at) => Some(at),
        c => FOREIGN.contains(&c).then_some(at),
    })
}

fn refuse_foreign_pattern(path: &str) -> Result<(), String> {
    let Some(at) = foreign_pattern(path) else {
        return Ok(());
    };
    let found = char::from(path.as_bytes()[at]);
    let folder = match path[..at].rsplit_once('/') {
        Some((folder, _)) if !folder.is_empty() => format!("write {folder}/ for all below it"),
        _ => "write a folder like /admin/ for all below it".into(),
    };
    Err(format!(
        "\"{found}\" is an ordinary character here; {folder}, {{name}} for one segment, %{:02X} for \
         the character",
        u32::from(found)
    ))
}

/// Whether `path`, which can be decoded, has an encoded character that could stand as it is.
fn has_needless_escape(path: &str) -> bool {
    let escapes = path.match_indices('%');
    let mut bytes =
        escapes.filter_map(|(at, _)| u8::from_str_radix(path.get(at + 1..at + 3)?, 16).ok());
    bytes.any(|byte| !FOREIGN.contains(&byte.into()) && !b":+${}".contains(&byte))
}

/// A decoded path as it is written in a pattern.
fn spell(decoded: &str) -> String {
    let mut spelled = String::from(decoded);
    while let Some(at) = foreign_pattern(&spelled) {
        let escape = format!("%{:02X}", spelled.as_bytes()[at]);
        spelled.replace_range(at..=at, &escape);
    }
    spelled.replace('{', "%7B").replace('}', "%7D")
}

/// The first segment of a path that begins with a slash, and what follows it.
fn first_segment(path: &str) -> Option<(&str, &str)> {
    let inner = path.strip_prefix('/')?;
    Some(inner.split_at(inner.find('/').unwrap_or(inner.len())))
}

/// A path as the most forgiving backend reads it: without what follows an encoded `?` or `#`,
/// without spaces and dots at the end of a segment and the `::$DATA` of a file (Windows), without a
/// slash at the end, and without case (both ways, since some letters only meet there: `ẞ` is `ß` in
/// lower and `SS` in upper case; and the dot that is left of `İ` counts for nothing).
fn fold(path: &str) -> Cow<'_, str> {
    let bytes = path.as_bytes();
    let plain = |(at, byte): (usize, &u8)| match byte {
        b'?' | b'#' => false,
        b':' => bytes.get(at + 1) != Some(&b'$'),
        b'.' | b' ' => !matches!(bytes.get(at + 1), None | Some(b'/')),
        byte => byte.is_ascii() && !byte.is_ascii_uppercase(),
    };
    if bytes.iter().enumerate().all(plain) {
        return path.trim_end_matches('/').into();
    }
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let segments = path.split('/').map(|segment| {
        let named = match segment.contains(":$") {
            true => segment.split(':').next().unwrap_or_default(),
            false => segment,
        };
        named.trim_end_matches([' ', '.'])
    });
    let joined = segments.collect::<Vec<_>>().join("/");
    let joined = joined.trim_end_matches('/');
    let lower = joined.to_lowercase().to_uppercase().to_lowercase();
    lower.replace('\u{307}', "").into()
}

/// Whether `path` is `folder` or lies in it.
fn below(folder: &str, path: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(path) => f.write_str(path),
            Self::Folder(folder) => write!(f, "{folder}/"),
            Self::Template(template) => template.fmt(f),
        }
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Capture(name) => write!(f, "/{{{name}}}")?,
            }
        }
        match self.reach {
            Reach::Exact => Ok(()),
            Reach::Folder => f.write_str("/"),
        }
    }
}

/// What stands behind the first label of a host, with the dot; what a wildcard is found by.
fn after_first_label(host: &HostName) -> Option<&str> {
    let dot = host.as_str().find('.').filter(|dot| *dot > 0)?;
    Some(&host.as_str()[dot..])
}

/// Which hosts a route covers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Every host, and a request that names none.
    #[default]
    Any,
    /// These names, sorted; `*.example.com` covers one label in place of the star.
    Names(Vec<HostName>),
}

impl HostPattern {
    /// From configured names.
    ///
    /// # Errors
    /// A sentence for a name that no Host header can have.
    pub fn parse<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<Self, String> {
        let mut parsed = Vec::new();
        for name in names {
            if name == "*" {
                return Err("leave host out for every host; \"*\" is no name".into());
            }
            let plain = name.strip_prefix("*.").unwrap_or(name);
            let legal = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
            let literal = !plain.contains('[') || name.starts_with('[') && plain.contains(':');
            if plain.is_empty() || plain.starts_with('.') || !literal || !plain.chars().all(legal) {
                return Err(format!(
                    "\"{name}\" is not a host name; expected one like \"ui.example.com\" or \"*.example.com\""
                ));
            }
            parsed.push(HostName::from_authority(name));
        }
        parsed.sort();
        parsed.dedup();
        Ok(Self::Names(parsed))
    }

    /// Whether every host that `other` covers is also covered by `self`.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Names(_), Self::Any) => false,
            (Self::Names(own), Self::Names(theirs)) => theirs
                .iter()
                .all(|host| own.iter().any(|name| name_matches(name, host))),
        }
    }
}

fn name_matches(pattern: &HostName, host: &HostName) -> bool {
    match pattern.as_str().strip_prefix('*') {
        None => pattern == host,
        Some(suffix) => host
            .as_str()
            .strip_suffix(suffix)
            .is_some_and(|label| !label.is_empty() && !label.contains('.') || label == "*"),
    }
}

/// Which methods a route takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Methods {
    /// All but CONNECT and TRACE, which are never forwarded.
    #[default]
    Any,
    /// These. HEAD is included wherever GET is (RFC 9110 section 9.3.2).
    Only(BTreeSet<String>),
}

impl Methods {
    /// Whether a request with this method may pass.
    #[must_use]
    pub fn allow(&self, method: &str) -> bool {
        match self {
            Self::Any => !matches!(method, "CONNECT" | "TRACE"),
            Self::Only(methods) => {
                methods.contains(method) || (method == "HEAD" && methods.contains("GET"))
            }
        }
    }

    fn names(&self) -> Vec<&str> {
        match self {
            Self::Any => vec!["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
            Self::Only(methods) => {
                let head = methods.contains("GET") && !methods.contains("HEAD");
                let own = methods.iter().map(String::as_str);
                own.chain(head.then_some("HEAD")).collect()
            }
        }
    }

    /// Whether every method that `other` takes is also taken by `self`.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Only(_), Self::Any) => false,
            (Self::Only(_), Self::Only(methods)) => methods.iter().all(|m| self.allow(m)),
        }
    }
}

/// Who may use a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody. Somebody has to write `public: true` for this.
    Public,
    /// Whoever has a good certificate.
    Certificate,
    /// Whoever is granted it.
    Can(Grant),
    /// Whoever is granted it and has a good certificate, perhaps without being known by that.
    CertificateAndCan(Grant),
}

impl Access {
    /// For whoever holds all of these, whatever proves who they are.
    #[must_use]
    pub const fn can(abilities: Vec<Ability>) -> Self {
        Self::Can(Grant {
            abilities,
            credentials: Credentials::ANY,
            owner: None,
        })
    }

    /// Whether anybody may.
    #[must_use]
    pub const fn is_public(&self) -> bool {
        matches!(self, Self::Public)
    }

    /// Whether it takes a certificate, whoever is asking.
    #[must_use]
    pub const fn needs_certificate(&self) -> bool {
        matches!(self, Self::Certificate | Self::CertificateAndCan(_))
    }

    /// Whether somebody who has logged in may be the one it is for.
    #[must_use]
    pub fn takes_session(&self) -> bool {
        self.taken().contains(CredentialKind::Session)
    }

    /// What may prove who is asking, by itself or together.
    #[must_use]
    pub const fn taken(&self) -> CredentialSet {
        match self.grant() {
            Some(grant) => grant.credentials.taken(),
            None => CredentialSet::NONE,
        }
    }

    /// What whoever is asking needs.
    #[must_use]
    pub const fn grant(&self) -> Option<&Grant> {
        match self {
            Self::Public | Self::Certificate => None,
            Self::Can(grant) | Self::CertificateAndCan(grant) => Some(grant),
        }
    }
}

/// What somebody needs to be and to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// All of these.
    pub abilities: Vec<Ability>,
    /// What may prove who they are.
    pub credentials: Credentials,
    /// Whose it is, where it is somebody's.
    pub owner: Option<Owner>,
}

/// What can prove who somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CredentialKind {
    /// A session that a login began.
    Session = 1,
    /// A certificate that a rule of `clients` knows.
    Certificate = 2,
    /// A user name and password in the `Authorization` field (RFC 7617).
    Basic = 4,
    /// A token in the `Authorization` field (RFC 6750).
    Token = 8,
}

/// Some kinds of credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialSet(u8);

impl CredentialSet {
    /// Not one.
    pub const NONE: Self = Self(0);

    /// These.
    #[must_use]
    pub const fn of(kinds: &[CredentialKind]) -> Self {
        let (mut set, mut at) = (0, 0);
        while at < kinds.len() {
            set |= kinds[at] as u8;
            at += 1;
        }
        Self(set)
    }

    /// Whether this kind is one of them.
    #[must_use]
    pub const fn contains(self, kind: CredentialKind) -> bool {
        self.0 & kind as u8 != 0
    }

    /// These and those.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// These and this one.
    #[must_use]
    pub const fn and_this(self, kind: CredentialKind) -> Self {
        Self(self.0 | kind as u8)
    }

    /// Whether one of them comes in the `Authorization` field.
    #[must_use]
    pub const fn has_authorization(self) -> bool {
        self.contains(CredentialKind::Basic) || self.contains(CredentialKind::Token)
    }
}

impl fmt::Display for CredentialSet {
    /// As it is written in the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            (CredentialKind::Session, "session"),
            (CredentialKind::Certificate, "certificate"),
            (CredentialKind::Basic, "basic"),
            (CredentialKind::Token, "token"),
        ];
        let words = words.into_iter().filter(|(kind, _)| self.contains(*kind));
        let words: Vec<&str> = words.map(|(_, word)| word).collect();
        write!(f, "[{}]", words.join(", "))
    }
}

/// What has to prove who somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// One of these, whichever is enough by itself.
    OneOf(CredentialSet),
    /// A session and a certificate, each of which has to be enough but for the owner, who may be
    /// known by either.
    All,
}

impl Credentials {
    /// A session or a certificate. No others: elsewhere an `Authorization` field is the backend's,
    /// so that it is only taken where somebody has written so.
    pub const ANY: Self = Self::OneOf(CredentialSet::of(&[
        CredentialKind::Session,
        CredentialKind::Certificate,
    ]));

    /// This kind only.
    #[must_use]
    pub const fn only(kind: CredentialKind) -> Self {
        Self::OneOf(CredentialSet::of(&[kind]))
    }

    /// Those that count.
    #[must_use]
    pub const fn taken(self) -> CredentialSet {
        match self {
            Self::OneOf(set) => set,
            Self::All => CredentialSet::of(&[CredentialKind::Session, CredentialKind::Certificate]),
        }
    }
}

impl Default for Credentials {
    fn default() -> Self {
        Self::ANY
    }
}

/// Whose what is behind a path is, by what stands in the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    parts: Vec<OwnerPart>,
    /// Whoever holds all of these need not be the owner; nobody, where there are none.
    pub or: Vec<Ability>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum OwnerPart {
    /// This text.
    Literal(String),
    /// The segment of the path with this number.
    Segment(usize),
}

/// Why a template names no owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidOwner {
    /// A sentence that says what is right.
    Unreadable(String),
    /// The path has no capture of this name.
    Unknown(String),
}

impl Owner {
    /// Reads a template over the captures of `pattern`.
    ///
    /// # Errors
    /// [`InvalidOwner`].
    pub fn parse(
        text: &str,
        pattern: &PathPattern,
        or: Vec<Ability>,
    ) -> Result<Self, InvalidOwner> {
        let pieces = template::pieces(text).map_err(InvalidOwner::Unreadable)?;
        if pieces.is_empty() {
            let message = "expected a name in braces that is in match, like {name}";
            return Err(InvalidOwner::Unreadable(message.into()));
        }
        let part = |piece| match piece {
            Piece::Literal(text) => Ok(OwnerPart::Literal(text.to_owned())),
            Piece::Name(name) => {
                let is_it = |it| it == Segment::Capture(name);
                let at = pattern.segments().position(is_it);
                let unknown = || InvalidOwner::Unknown(name.to_owned());
                at.map(OwnerPart::Segment).ok_or_else(unknown)
            }
        };
        let parts = pieces.into_iter().map(part).collect::<Result<_, _>>()?;
        Ok(Self { parts, or })
    }

    /// Whether what is at `path` belongs to `name`, byte by byte.
    pub(super) fn is(&self, name: &str, path: &DecodedPath<'_>, reading: Reading) -> bool {
        // A backend that folds may fold some of the path only, so both readings have to agree.
        let as_written = self.names(name, path, |segment| segment.into());
        as_written && (reading == Reading::AsWritten || self.names(name, path, fold))
    }

    fn names(&self, name: &str, path: &DecodedPath<'_>, read: fn(&str) -> Cow<'_, str>) -> bool {
        let mut rest = name;
        for part in &self.parts {
            let after = match part {
                OwnerPart::Literal(text) => rest.strip_prefix(text.as_str()),
                OwnerPart::Segment(at) => {
                    let segment = path.as_str().split('/').nth(at + 1);
                    let segment = segment.filter(|it| !may_be_cut(it));
                    segment.and_then(|it| rest.strip_prefix(&*read(it)))
                }
            };
            let Some(after) = after else { return false };
            rest = after;
        }
        rest.is_empty()
    }
}

/// Whether some backends read only the beginning of a segment: `ada.` and `ada?x` as `ada`, which
/// would be somebody else.
fn may_be_cut(segment: &str) -> bool {
    segment.contains(['?', '#']) || segment.ends_with([' ', '.'])
}

/// How a path is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Reading {
    /// As it is, decoded.
    #[default]
    AsWritten,
    /// As the most forgiving backend does.
    Folded,
}

/// Which upstream a route forwards to: its place in the list of upstreams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamId(pub usize);

/// What a route changes on the way: its place in the list of rewrites. The first of them is what is
/// usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RewriteId(pub usize);
/// Which rate limit a route has: its place in the list of those of routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RateId(pub usize);

/// One rule of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name in logs and metrics: the configured `match`, with the host where there is one.
    pub label: Arc<str>,
    /// The hosts it covers.
    pub hosts: HostPattern,
    /// The paths it covers.
    pub pattern: PathPattern,
    /// The methods it takes.
    pub methods: Methods,
    /// Who may use it.
    pub access: Access,
    /// And from where.
    pub addresses: AddressRules,
    /// How often it may be asked for, where it says so itself.
    pub rate: Option<RateId>,
    /// Where it forwards to.
    pub upstream: UpstreamId,
    /// What is changed on the way.
    pub rewrite: RewriteId,
    /// The largest request body in bytes, where it is not the general limit.
    pub body_limit: Option<u64>,
    /// The longest wait for the head of an answer and between two pieces of its body, where it is
    /// not that of the upstream.
    pub read_timeout: Option<Duration>,
    /// The longest time from the request to the last byte of its answer, where there is one.
    pub timeout: Option<Duration>,
    /// Where a browser without a session is sent, where it is not the login page.
    pub redirect: Option<String>,
    /// Whether the backend gets HTTP Basic though other routes take that.
    pub pass_authorization: bool,
    /// What it lets pass of paths that backends read differently.
    pub allow: Relaxations,
    /// Origins (RFC 6454) whose pages may open a WebSocket as whoever is known here, beside the host
    /// itself.
    pub origins: Vec<String>,
}

impl Route {
    /// Whether it is for everybody, wherever they come from.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.access.is_public() && self.addresses.is_empty()
    }
}

/// What the look-up of a request gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'t> {
    /// The route that decides.
    Route {
        /// Where the request goes, and the first to be satisfied.
        route: &'t Arc<Route>,
        /// Earlier protected routes that cover the path folded, whose abilities are needed too.
        also: Vec<&'t Arc<Route>>,
    },
    /// The path is known, the method is not taken there. The methods that are.
    MethodNotAllowed {
        /// The first route that covers the path.
        route: &'t Arc<Route>,
        /// The value of the `Allow` field.
        allow: String,
    },
    /// No route covers the path.
    Nothing,
}

/// All routes, ready for look-up.
#[derive(Debug, Default)]
pub struct RouteTable {
    routes: Vec<Arc<Route>>,
    as_written: PathIndex,
    folded: PathIndex,
    /// Of each route, all routes with the same host and path, in order, itself included.
    same_place: Vec<Arc<[usize]>>,
    /// Of each route, the shape of its pattern.
    shapes: Vec<Shape>,
    /// Whether some pattern differs from its folded form.
    folds_patterns: bool,
    /// Whether some route is only for some hosts.
    names_hosts: bool,
    /// Whether some route takes what comes in the `Authorization` field.
    takes_authorization: bool,
    /// Whether that is HTTP Basic for some.
    takes_basic: bool,
    /// What some route lets pass of paths that backends read differently.
    allowed: Relaxations,
}

/// Routes by path: indices into the table, ascending.
#[derive(Debug, Default)]
struct PathIndex {
    exact: HashMap<String, ByHost>,
    folders: HashMap<String, ByHost>,
    any: ByHost,
    templates: Node,
    reading: Reading,
    /// The length of the longest folder. Nothing longer is looked up: a path of thousands of
    /// segments would cost the square of its length.
    longest_folder: usize,
}

impl PathIndex {
    fn build(routes: &[Arc<Route>], reading: Reading) -> Self {
        let mut index = Self {
            reading,
            ..Self::default()
        };
        let key = |path: &str| reading.of(path).into_owned();
        for (at, route) in routes.iter().enumerate() {
            let place = match &route.pattern {
                PathPattern::Any => &mut index.any,
                PathPattern::Exact(path) => index.exact.entry(key(path)).or_default(),
                PathPattern::Folder(path) => {
                    let folder = key(path);
                    index.longest_folder = index.longest_folder.max(folder.len());
                    index.folders.entry(folder).or_default()
                }
                PathPattern::Template(template) => index.templates.place_of(template, reading),
            };
            place.add(at, &route.hosts);
        }
        index
    }

    /// The first route that covers `path` on `host` and satisfies `accept`. `key` is the path in
    /// this index's reading.
    fn first(
        &self,
        host: Option<&HostName>,
        path: &str,
        key: &str,
        accept: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let exact = self.exact.get(key);
        let mut best = exact.and_then(|routes| routes.first(host, &accept));
        let mut consider = |routes: &ByHost| {
            best = best.into_iter().chain(routes.first(host, &accept)).min();
        };
        consider(&self.any);
        if !self.folders.is_empty() {
            let cuts = key.match_indices('/').map(|(at, _)| at);
            let ends = cuts.chain([key.len()]);
            for end in ends.take_while(|end| *end <= self.longest_folder) {
                if let Some(routes) = self.folders.get(&key[..end]) {
                    consider(routes);
                }
            }
        }
        if !self.templates.is_empty() {
            self.templates.visit(path, self.reading, &mut consider);
        }
        best
    }
}

impl Reading {
    /// The path, or a segment of it, as it is read.
    fn of(self, path: &str) -> Cow<'_, str> {
        match self {
            Self::AsWritten => path.into(),
            Self::Folded => fold(path),
        }
    }

    /// Whether the path can end before `rest`.
    fn ends_before(self, rest: &str) -> bool {
        rest.is_empty() || self == Self::Folded && fold(rest).is_empty()
    }
}

/// Paths with captures, segment by segment.
#[derive(Debug, Default)]
struct Node {
    literals: HashMap<String, Self>,
    capture: Option<Box<Self>>,
    /// The routes whose path ends here.
    exact: ByHost,
    /// The routes for all from here on.
    folder: ByHost,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.literals.is_empty() && self.capture.is_none()
    }

    fn place_of(&mut self, template: &PathTemplate, reading: Reading) -> &mut ByHost {
        let mut node = self;
        for segment in &template.segments {
            node = match segment {
                Segment::Literal(text) => {
                    let text = reading.of(text).into_owned();
                    node.literals.entry(text).or_default()
                }
                Segment::Capture(_) => node.capture.get_or_insert_default(),
            };
        }
        match template.reach {
            Reach::Exact => &mut node.exact,
            Reach::Folder => &mut node.folder,
        }
    }

    /// Calls `consider` for all routes that cover a path of which `rest` is left, as sent. It is
    /// never deeper than [`PathTemplate::MOST_SEGMENTS`].
    fn visit(&self, rest: &str, reading: Reading, consider: &mut impl FnMut(&ByHost)) {
        consider(&self.folder);
        if reading.ends_before(rest) {
            consider(&self.exact);
        }
        let Some((segment, below)) = first_segment(rest) else {
            return;
        };
        // Some backends end the path here, others go on.
        let cut = reading == Reading::Folded && segment.contains(['?', '#']);
        if let Some(node) = self.capture.as_ref().filter(|_| !segment.is_empty()) {
            node.visit(below, reading, consider);
            if cut {
                node.visit("", reading, consider);
            }
        }
        if let Some(node) = self.literals.get(&*reading.of(segment)) {
            node.visit(if cut { "" } else { below }, reading, consider);
        }
    }
}

/// Routes with one path, by host: indices into the table, ascending.
#[derive(Debug, Default)]
struct ByHost {
    any: Vec<usize>,
    names: HashMap<HostName, Vec<usize>>,
    /// By what follows the star of `*.example.com`.
    suffixes: HashMap<String, Vec<usize>>,
}

impl ByHost {
    fn add(&mut self, at: usize, hosts: &HostPattern) {
        let HostPattern::Names(names) = hosts else {
            self.any.push(at);
            return;
        };
        for name in names {
            match name.as_str().strip_prefix('*') {
                Some(suffix) => self.suffixes.entry(suffix.into()).or_default().push(at),
                None => self.names.entry(name.clone()).or_default().push(at),
            }
        }
    }

    fn first(&self, host: Option<&HostName>, accept: &impl Fn(usize) -> bool) -> Option<usize> {
        let named = host.and_then(|host| self.names.get(host));
        let wild = host.and_then(|host| self.suffixes.get(after_first_label(host)?));
        let lists = [Some(&self.any), named, wild].into_iter().flatten();
        let first_of = |routes: &Vec<usize>| routes.iter().copied().find(|&at| accept(at));
        lists.filter_map(first_of).min()
    }
}

impl RouteTable {
    /// Indexes `routes`, whose order is their precedence.
    #[must_use]
    pub fn new(routes: Vec<Route>) -> Self {
        let routes: Vec<_> = routes.into_iter().map(Arc::new).collect();
        let mut places: HashMap<_, Vec<usize>> = HashMap::new();
        for (at, route) in routes.iter().enumerate() {
            let place = (&route.hosts, &route.pattern);
            places.entry(place).or_default().push(at);
        }
        let places: HashMap<_, Arc<[usize]>> = places
            .into_iter()
            .map(|(place, routes)| (place, routes.into()))
            .collect();
        let same_place = routes
            .iter()
            .map(|route| Arc::clone(&places[&(&route.hosts, &route.pattern)]))
            .collect();
        drop(places);
        Self {
            as_written: PathIndex::build(&routes, Reading::AsWritten),
            folded: PathIndex::build(&routes, Reading::Folded),
            same_place,
            shapes: routes.iter().map(|it| Shape::of(&it.pattern)).collect(),
            folds_patterns: routes.iter().any(|it| it.pattern.folds()),
            names_hosts: routes.iter().any(|route| route.hosts != HostPattern::Any),
            takes_authorization: routes
                .iter()
                .any(|route| route.access.taken().has_authorization()),
            takes_basic: routes
                .iter()
                .any(|route| route.access.taken().contains(CredentialKind::Basic)),
            allowed: routes
                .iter()
                .fold(Relaxations::NONE, |all, route| all.and(route.allow)),
            routes,
        }
    }

    /// All routes in order.
    #[must_use]
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// What some route lets pass of paths that backends read differently.
    #[must_use]
    pub fn allowed(&self) -> Relaxations {
        self.allowed
    }

    /// The place of one of its routes, from 0.
    #[must_use]
    pub fn place_of(&self, route: &Arc<Route>) -> Option<usize> {
        let mut routes = self.routes.iter();
        routes.position(|other| Arc::ptr_eq(other, route))
    }

    /// The place of the route whose rate this is, from 0.
    #[must_use]
    pub fn place_of_rate(&self, rate: RateId) -> Option<usize> {
        self.routes
            .iter()
            .position(|route| route.rate == Some(rate))
    }

    /// Whether the host of a request matters to any route.
    #[must_use]
    pub fn names_hosts(&self) -> bool {
        self.names_hosts
    }

    /// Whether something below `path` is another route's than `route`, and not for everybody.
    #[must_use]
    pub(super) fn guards_below(&self, path: &DecodedPath<'_>, route: &Arc<Route>) -> bool {
        let folder = fold(path.as_str());
        self.routes.iter().any(|other| {
            !Arc::ptr_eq(other, route) && !other.is_open() && other.pattern.is_below(&folder)
        })
    }

    /// Whether the `Authorization` field of a request matters to any route.
    #[must_use]
    pub fn takes_authorization(&self) -> bool {
        self.takes_authorization
    }

    /// What a backend does not get of the `Authorization` field of a request for these routes. A client
    /// that has a password for some routes sends it to all of them, unasked (RFC 7617 section 2.2).
    #[must_use]
    pub fn withheld(&self, route: &Route, taken: CredentialSet) -> CredentialSet {
        match self.takes_basic && !route.pass_authorization {
            true => taken.and(CredentialSet::of(&[CredentialKind::Basic])),
            false => taken,
        }
    }

    /// Finds the route for a request.
    #[must_use]
    pub fn find(&self, host: Option<&HostName>, path: &DecodedPath<'_>, method: &str) -> Found<'_> {
        let path = path.as_str();
        let Some(first) = self.as_written.first(host, path, path, |_| true) else {
            // A path that is only known in another case stays unknown: nothing is forwarded.
            return Found::Nothing;
        };
        let place = &self.same_place[first];
        let takes = |at: &&usize| self.routes[**at].methods.allow(method);
        match place.iter().find(takes) {
            Some(&at) => match self.covered_when_folded(host, path, at, method) {
                Ok(also) => Found::Route {
                    route: &self.routes[at],
                    also,
                },
                Err(refusing) => Found::MethodNotAllowed {
                    route: &self.routes[refusing],
                    allow: self.allowed_methods(&self.same_place[refusing]),
                },
            },
            None => Found::MethodNotAllowed {
                route: &self.routes[first],
                allow: self.allowed_methods(place),
            },
        }
    }

    /// The protected routes before `chosen` that count beside it, because they cover the path when
    /// it is folded: the first that is narrower, and the first that only a capture has let it pass
    /// by. Both, because a backend may fold some of the path only, so that either may be the one
    /// that it serves.
    ///
    /// # Errors
    /// A route that covers it then and, with its siblings, does not take the method.
    fn covered_when_folded(
        &self,
        host: Option<&HostName>,
        path: &str,
        chosen: usize,
        method: &str,
    ) -> Result<Vec<&Arc<Route>>, usize> {
        let folded = fold(path);
        if folded == path && !self.folds_patterns {
            return Ok(Vec::new());
        }
        let shape = &self.shapes[chosen];
        let is_cut = path.contains(['?', '#']);
        let narrower = |at: usize| at < chosen && self.shapes[at].is_narrower_than(shape);
        let passed_by = |at: usize| at < chosen && self.shapes[at].is_passed_by(shape, is_cut);
        let mut also: Vec<&Arc<Route>> = Vec::new();
        let mut add = |found: Option<_>| match found {
            Some(route) if !also.contains(&route) => also.push(route),
            _ => {}
        };
        // A backend that ends the path at a `?` and one that goes on can mean different routes.
        let cut = path.split(['?', '#']).next().filter(|_| is_cut);
        for path in std::iter::once(path).chain(cut) {
            add(self.first_when_folded(host, path, &folded, method, narrower)?);
            if shape.captures != 0 {
                add(self.first_when_folded(host, path, &folded, method, passed_by)?);
            }
        }
        Ok(also)
    }

    /// Of the routes that count, the first protected one that covers the path folded.
    ///
    /// # Errors
    /// See [`Self::covered_when_folded`].
    fn first_when_folded(
        &self,
        host: Option<&HostName>,
        path: &str,
        folded: &str,
        method: &str,
        counts: impl Fn(usize) -> bool,
    ) -> Result<Option<&Arc<Route>>, usize> {
        let takes = |place: usize| {
            let siblings = self.same_place[place].iter().copied();
            siblings
                .filter(|&at| self.routes[at].methods.allow(method))
                .map(|at| &self.routes[at])
                .next()
        };
        if let Some(first) = self.folded.first(host, path, folded, &counts)
            && takes(first).is_none()
        {
            return Err(first);
        }
        let protected = |at: usize| counts(at) && !self.routes[at].is_open();
        match self.folded.first(host, path, folded, protected) {
            None => Ok(None),
            Some(at) => takes(at).map(Some).ok_or(at),
        }
    }

    fn allowed_methods(&self, place: &[usize]) -> String {
        let all: BTreeSet<&str> = place
            .iter()
            .flat_map(|&at| self.routes[at].methods.names())
            .collect();
        all.into_iter().collect::<Vec<_>>().join(", ")
    }
}

/// A route for tests of this folder: by pattern and methods, to the first upstream.
#[cfg(test)]
pub(super) fn route(pattern: &str, methods: &[&str], access: Access) -> Route {
    Route {
        label: pattern.into(),
        hosts: HostPattern::Any,
        pattern: PathPattern::parse(pattern).unwrap(),
        methods: if methods.is_empty() {
            Methods::Any
        } else {
            Methods::Only(methods.iter().map(ToString::to_string).collect())
        },
        access,
        addresses: AddressRules::default(),
        rate: None,
        upstream: UpstreamId(0),
        rewrite: RewriteId::default(),
        body_limit: None,
        read_timeout: None,
        timeout: None,
        pass_authorization: false,
        allow: Relaxations::NONE,
        origins: Vec::new(),
        redirect: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn can(ability: &str) -> Access {
        Access::can(vec![Ability::new(ability)])
    }

    /// `expected` is the label of the route, `"404"`, or `"405 <allow>"`; with `+ <label>` for a
    /// route that covers the path in another case.
    #[track_caller]
    fn check(table: &RouteTable, host: Option<&str>, method: &str, path: &str, expected: &str) {
        let host = host.map(HostName::from_authority);
        let path = DecodedPath::parse(path).unwrap();
        let found = match table.find(host.as_ref(), &path, method) {
            Found::Route { route, also } => {
                let labels = [route].into_iter().chain(also).map(|it| &*it.label);
                labels.collect::<Vec<_>>().join(" + ")
            }
            Found::MethodNotAllowed { allow, .. } => format!("405 {allow}"),
            Found::Nothing => "404".into(),
        };
        assert_eq!(found, expected, "{method} {path:?}");
    }

    fn device() -> RouteTable {
        RouteTable::new(vec![
            route("/public/", &[], Access::Public),
            route("/admin/", &["GET", "POST"], can("edit")),
            route("/", &[], Access::Public),
            route("/about", &[], Access::Public),
            route("", &[], can("view")),
        ])
    }

    #[test]
    fn a_pattern_covers_a_path_itself_or_all_below_it() {
        for (pattern, path, expected) in [
            ("", "/x", true),
            ("/", "/", true),
            ("/", "/x", false),
            ("/x", "/x", true),
            ("/x", "/x/", false),
            ("/x", "/x/y", false),
            ("/x/", "/x", true),
            ("/x/", "/x/", true),
            ("/x/", "/%78/y", true),
            ("/x/", "/xy", false),
            ("/x/", "/X/y", false),
        ] {
            let found = PathPattern::parse(pattern).unwrap();
            let path = DecodedPath::parse(path).unwrap();
            assert_eq!(found.matches(&path), expected, "{pattern} {path:?}");
        }
    }

    #[test]
    fn names_wildcards_and_routes_for_all_hosts_are_found_in_configured_order() {
        let on = |hosts: &[&str], pattern| Route {
            hosts: HostPattern::parse(hosts.iter().copied()).unwrap(),
            ..route(pattern, &[], Access::Public)
        };
        let table = RouteTable::new(vec![
            on(&["a.example.com"], "/x/"),
            on(&["*.example.com", "example.org"], ""),
            route("/x/", &[], Access::Public),
            on(&["b.example.com"], "/x/"),
        ]);
        let deep = format!("/x{}", "/y".repeat(10_000));
        for (host, path, expected) in [
            (Some("a.example.com"), "/x/y", Some(0)),
            (Some("A.example.com.:8443"), deep.as_str(), Some(0)),
            (Some("a.example.com"), "/y", Some(1)),
            (Some("b.example.com"), "/x/y", Some(1)),
            (Some("example.org"), "/x/y", Some(1)),
            (Some("a.b.example.com"), deep.as_str(), Some(2)),
            (Some(".example.com"), "/x/y", Some(2)),
            (Some("example.com"), "/y", None),
            (None, "/x/y", Some(2)),
            (None, "/y", None),
        ] {
            let name = host.map(HostName::from_authority);
            let path = DecodedPath::parse(path).unwrap();
            let found = match table.find(name.as_ref(), &path, "GET") {
                Found::Route { route, .. } => Some(route),
                _ => None,
            };
            let expected = expected.map(|at: usize| &table.routes()[at]);
            assert_eq!(found, expected, "{host:?}");
        }
    }

    #[test]
    fn a_capture_stands_for_one_whole_segment() {
        let table = RouteTable::new(vec![
            route("/files/{name}/", &[], can("view")),
            route("/files/{name}", &[], can("view")),
            route("/t/{a}/x/{b}", &[], can("view")),
            route("/t/one/x/{b}/", &[], can("view")),
            route("/{tenant}/admin", &[], can("view")),
        ]);
        for (path, expected) in [
            ("/files/a", "/files/{name}/"),
            ("/files/a/", "/files/{name}/"),
            ("/files/a/b/c", "/files/{name}/"),
            ("/files/b%C3%BCro%20a", "/files/{name}/"),
            ("/files/", "404"),
            ("/files", "404"),
            ("/filesx/a", "404"),
            ("/x/files/a", "404"),
            ("/t/a/x/b", "/t/{a}/x/{b}"),
            ("/t/a/x/b/", "404"),
            ("/t/a/x/", "404"),
            ("/t/a/y/b", "404"),
            ("/t/a/b/x/c", "404"),
            ("/t/one/x/b", "/t/{a}/x/{b}"),
            ("/t/one/x/b/c", "/t/one/x/{b}/"),
            ("/x/admin", "/{tenant}/admin"),
            ("/x/y/admin", "404"),
            ("/admin", "404"),
            ("/", "404"),
        ] {
            check(&table, None, "GET", path, expected);
            let path = DecodedPath::parse(path).unwrap();
            let covering = |it: &&Arc<Route>| it.pattern.matches(&path);
            let by_pattern = table.routes().iter().find(covering);
            let by_pattern = by_pattern.map_or("404", |it| &*it.label);
            assert_eq!(by_pattern, expected, "{path:?}");
        }
    }

    #[test]
    fn paths_with_captures_and_without_are_in_configured_order() {
        let table = RouteTable::new(vec![
            route("/files/public/", &[], Access::Public),
            route("/files/{name}/", &["GET"], can("view")),
            Route {
                label: "write".into(),
                ..route("/files/{name}/", &["PUT"], can("edit"))
            },
            route("/files/", &[], can("view")),
            route("", &[], can("view")),
        ]);
        check(&table, None, "GET", "/files/public/a", "/files/public/");
        check(&table, None, "GET", "/files/a", "/files/{name}/");
        check(&table, None, "PUT", "/files/a", "write");
        check(&table, None, "DELETE", "/files/a", "405 GET, HEAD, PUT");
        check(&table, None, "GET", "/files/", "/files/");
        check(&table, None, "GET", "/x", "");
    }

    #[test]
    fn a_path_with_captures_is_protected_in_every_spelling() {
        let table = RouteTable::new(vec![
            route("/files/{name}/Secret", &["GET"], can("edit")),
            route("/files/bob/", &[], can("edit")),
            route("/files/{name}/", &[], can("view")),
            route("/files/", &[], can("view")),
            route("", &[], can("view")),
        ]);
        for (path, expected) in [
            ("/files/a/Secret", "/files/{name}/Secret"),
            ("/files/a/secret", "/files/{name}/ + /files/{name}/Secret"),
            ("/FILES/a/secret", " + /files/{name}/Secret"),
            ("/FILES/A./SECRET./", " + /files/{name}/Secret"),
            (
                "/files/a/secret%3Fx",
                "/files/{name}/ + /files/{name}/Secret",
            ),
            (
                "/files/a%3F/secret",
                "/files/{name}/ + /files/{name}/Secret",
            ),
            ("/files/.../secret", "/files/{name}/ + /files/{name}/Secret"),
            ("/files/a/secret/x", "/files/{name}/"),
            // Narrower because nothing in it is free.
            ("/files/BOB/x", "/files/{name}/ + /files/bob/"),
            ("/files/bob/x", "/files/bob/"),
            ("/Files/x/y", " + /files/{name}/"),
            ("/Files/", " + /files/"),
            ("/Files/%3Fx", " + /files/{name}/ + /files/"),
        ] {
            check(&table, None, "GET", path, expected);
        }
        let refused = "405 GET, HEAD";
        check(&table, None, "PUT", "/FILES/a/SECRET", refused);
        check(&table, None, "PUT", "/FILES/a/x", " + /files/{name}/");
    }

    #[test]
    fn how_narrow_a_path_is_does_not_depend_on_how_long_its_names_are() {
        let table = RouteTable::new(vec![
            route("/t/{x}/admin/", &[], can("edit")),
            route("/t/a-tenant-with-a-very-long-name/", &[], can("view")),
        ]);
        let long = "/t/a-tenant-with-a-very-long-name/";
        check(&table, None, "GET", &format!("{long}x"), long);
        let both = format!("{long} + /t/{{x}}/admin/");
        check(&table, None, "GET", &format!("{long}ADMIN/x"), &both);
    }

    /// Numbers below a limit, the same in each run.
    fn numbers() -> impl FnMut(usize) -> usize {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        move |limit| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % limit as u64).unwrap()
        }
    }

    /// Four patterns of up to three segments, and one for all.
    fn some_patterns(below: &mut impl FnMut(usize) -> usize) -> Vec<String> {
        let mut patterns: Vec<String> = (0..4)
            .map(|_| {
                let depth = 1 + below(3);
                let segment = |at| match below(7) {
                    0 | 1 => format!("/{{c{at}}}"),
                    2 | 3 => "/a".to_owned(),
                    4 | 5 => "/b".to_owned(),
                    _ => "/A".to_owned(),
                };
                let path: String = (0..depth).map(segment).collect();
                path + if below(2) == 0 { "" } else { "/" }
            })
            .collect();
        patterns.push(String::new());
        patterns
    }

    fn covers_path(pattern: &PathPattern, path: &str) -> bool {
        pattern.matches(&DecodedPath::parse(path).unwrap())
    }

    /// All paths of up to four of three names, with and without a slash at their end.
    fn all_paths() -> Vec<String> {
        let mut paths = vec![String::new()];
        let mut longest = paths.clone();
        for _ in 0..4 {
            let longer = |path: &String| ["/a", "/b", "/x"].map(|it| path.clone() + it);
            longest = longest.iter().flat_map(longer).collect();
            paths.extend(longest.clone());
        }
        let with_slash: Vec<_> = paths.iter().map(|it| format!("{it}/")).collect();
        paths.extend(with_slash);
        paths.retain(|it| !it.is_empty());
        paths
    }

    /// Whether all that `inner` covers is covered by `outer` too, by trying it.
    fn lies_in(inner: &PathPattern, outer: &PathPattern, paths: &[String]) -> bool {
        let covered = paths.iter().filter(|it| covers_path(inner, it));
        covered.into_iter().all(|it| covers_path(outer, it))
    }

    /// Whatever the order of routes: the first whose pattern covers the path, and no other for a
    /// path as people write it.
    #[test]
    fn the_index_finds_what_the_patterns_say() {
        let mut below = numbers();
        let paths = all_paths();
        for _ in 0..500 {
            let mut patterns = some_patterns(&mut below);
            patterns.iter_mut().for_each(|it| it.make_ascii_lowercase());
            let routes = patterns.iter().map(|it| route(it, &[], can("view")));
            let table = RouteTable::new(routes.collect());
            for _ in 0..10 {
                let path = &paths[below(paths.len())];
                let covering = |it: &&Arc<Route>| covers_path(&it.pattern, path);
                let first = table.routes().iter().find(covering).unwrap();
                let decoded = DecodedPath::parse(path).unwrap();
                let Found::Route { route, also } = table.find(None, &decoded, "GET") else {
                    panic!("the last route covers all");
                };
                assert_eq!(route, first, "{patterns:?} {path}");
                if !path.ends_with('/') {
                    assert_eq!(also, Vec::<&Arc<Route>>::new(), "{patterns:?} {path}");
                }
            }
        }
    }

    /// A backend that reads a path otherwise serves what the first route guards that covers it as
    /// read; so that one has to be satisfied too. It need not where somebody wrote the chosen route
    /// for this spelling: where all that it covers, read so, lies in the other, or where the two
    /// are told apart by the slash at the end.
    #[test]
    fn what_a_backend_may_read_is_guarded_as_if_it_was_sent_so() {
        let mut below = numbers();
        let paths = all_paths();
        let folded = |it: &PathPattern| PathPattern::parse(&fold_text(it)).unwrap();
        let (mut guarded, mut free) = (0, 0);
        for _ in 0..3000 {
            let patterns = some_patterns(&mut below);
            let routes = patterns.iter().map(|it| route(it, &[], can("view")));
            let table = RouteTable::new(routes.collect());
            let path = paths[below(paths.len())].trim_end_matches('/');
            if path.is_empty() {
                continue;
            }
            let end_of_first = path[1..].find('/').map_or(path.len(), |at| at + 1);
            let (first, rest) = path.split_at(end_of_first);
            for (spelling, read) in [
                (path.to_owned(), path),
                (path.to_uppercase(), path),
                (format!("{}{rest}", first.to_uppercase()), path),
                (format!("{path}/"), path),
                (format!("{path}."), path),
                (format!("{first}%20{rest}"), path),
                (format!("{path}%3Fx"), path),
                (format!("{path}%23/x"), path),
                (format!("{first}%3Fx{rest}"), first),
                (format!("{first}%3F{rest}/x/"), first),
                (format!("{first}/%3F{rest}"), first),
            ] {
                let decoded = DecodedPath::parse(&spelling).unwrap();
                let Found::Route { route, also } = table.find(None, &decoded, "GET") else {
                    panic!("the last route covers all");
                };
                let as_read = |it: &Arc<Route>| covers_path(&folded(&it.pattern), read);
                let chosen = table.routes().iter().position(|it| it == route).unwrap();
                let Some(meant) = table.routes()[..chosen].iter().find(|it| as_read(it)) else {
                    continue;
                };
                let (inner, outer) = (folded(&route.pattern), folded(&meant.pattern));
                let (sent, after) = spelling.split_at(spelling.find('%').unwrap_or(spelling.len()));
                let is_of_slash = (after.is_empty() || sent.ends_with('/'))
                    && sent.trim_end_matches('/').len() == read.len()
                    && lies_in(&without_slash(&inner), &outer, &paths);
                if is_of_slash || lies_in(&inner, &outer, &paths) {
                    free += 1;
                    continue;
                }
                guarded += 1;
                assert!(also.contains(&meant), "{patterns:?} {spelling}: {also:?}");
            }
        }
        assert!(guarded > 1000 && free > 100, "{guarded} {free}");
    }

    /// A pattern as text in lower case.
    fn fold_text(pattern: &PathPattern) -> String {
        match pattern {
            PathPattern::Any => String::new(),
            other => other.to_string().to_lowercase(),
        }
    }

    /// What covers the same, but nothing below it.
    fn without_slash(pattern: &PathPattern) -> PathPattern {
        PathPattern::parse(fold_text(pattern).trim_end_matches('/')).unwrap()
    }

    #[test]
    fn a_capture_lets_no_spelling_of_a_protected_name_pass_by() {
        let table = RouteTable::new(vec![
            route("/secret", &[], can("edit")),
            route("/admin/", &["GET"], can("edit")),
            route("/{tenant}", &[], can("edit")),
            route("/{tenant}/reports/", &[], can("view")),
            route("/secret/{id}/reports/", &[], can("view")),
        ]);
        let (reports, admin) = ("/{tenant}/reports/", "/{tenant}/reports/ + /admin/");
        for (path, expected) in [
            ("/admin/reports/x", "/admin/"),
            ("/ADMIN/reports/x", admin),
            ("/admin%3F/reports/", admin),
            ("/admin%23/reports/x", admin),
            ("/admin./reports/x", admin),
            ("/admin%20/reports/x", admin),
            ("/secret%3F/reports/", "/{tenant}/reports/ + /secret"),
            ("/a%3F/reports/", "/{tenant}/reports/ + /{tenant}"),
            ("/secret/%3F/reports/", "/secret/{id}/reports/ + /secret"),
            ("/secret/a/reports/", "/secret/{id}/reports/"),
            // Nothing else is asked of other names, whatever stands behind them.
            ("/secret/reports/", reports),
            ("/a/reports/x", reports),
            ("/Secret/reports/x", reports),
            ("/administrator/reports/ADMIN/", reports),
        ] {
            check(&table, None, "GET", path, expected);
        }
        check(&table, None, "POST", "/ADMIN/reports/x", "405 GET, HEAD");
        check(&table, None, "POST", "/a/reports/x", reports);
    }

    #[test]
    fn a_name_behind_a_capture_is_protected_in_every_spelling_too() {
        let table = RouteTable::new(vec![
            route("/{tenant}/admin/", &[], can("edit")),
            route("/t/{name}/x/", &[], can("view")),
            route("/t/{name}", &[], Access::Public),
        ]);
        let guarded = "/t/{name}/x/ + /{tenant}/admin/";
        check(&table, None, "GET", "/t/ADMIN/x/", guarded);
        check(&table, None, "GET", "/t/Bob/x/", "/t/{name}/x/");
        let guarded = "/t/{name} + /{tenant}/admin/";
        check(&table, None, "GET", "/t/ADMIN", guarded);
        check(&table, None, "GET", "/t/Bob", "/t/{name}");
    }

    #[test]
    fn a_path_that_may_end_early_is_protected_wherever_it_may_end() {
        let table = RouteTable::new(vec![
            route("/{x}/{y}/B", &[], can("view")),
            route("/admin/", &[], can("edit")),
            route("", &[], can("view")),
        ]);
        let both = " + /{x}/{y}/B + /admin/";
        check(&table, None, "GET", "/ADMIN/%3F/b", both);
        check(&table, None, "GET", "/ADMIN/x/b", " + /{x}/{y}/B");
        check(&table, None, "GET", "/x/%3F/a", "");
    }

    #[test]
    fn of_two_routes_that_a_path_passes_by_both_count() {
        let table = RouteTable::new(vec![
            route("/admin/", &[], can("view")),
            route("/{tenant}/reports/secret/", &[], can("edit")),
            route("/{tenant}/reports/", &[], can("view")),
        ]);
        let reports = "/{tenant}/reports/";
        let both = format!("{reports} + {reports}secret/ + /admin/");
        check(&table, None, "GET", "/admin./reports/SECRET/", &both);
        let one = format!("{reports} + {reports}secret/");
        check(&table, None, "GET", "/a/reports/SECRET/", &one);
    }

    #[test]
    fn a_path_of_thousands_of_segments_is_looked_up_as_far_as_routes_go() {
        let deep = "/{a}/{b}".to_owned() + &"/x".repeat(62);
        let table = RouteTable::new(vec![route(&deep, &[], can("view"))]);
        check(&table, None, "GET", &"/x".repeat(10_000), "404");
        check(&table, None, "GET", &"/x".repeat(64), &deep);
        assert!(PathPattern::parse(&(deep + "/x")).is_err());
    }

    #[test]
    fn a_folder_covers_itself_and_all_below_and_nothing_beside_it() {
        let table = device();
        check(&table, None, "GET", "/admin/", "/admin/");
        check(&table, None, "GET", "/admin", "/admin/");
        check(&table, None, "GET", "/admin/a/b", "/admin/");
        check(&table, None, "GET", "/administrator", "");
        check(&table, None, "GET", "/x/admin/", "");
    }

    #[test]
    fn the_root_and_other_paths_without_a_trailing_slash_are_exact() {
        let table = device();
        check(&table, None, "GET", "/", "/");
        check(&table, None, "GET", "/about", "/about");
        check(&table, None, "GET", "/about/us", "");
    }

    #[test]
    fn the_first_match_wins_and_without_a_catch_all_the_rest_is_unknown() {
        let table = RouteTable::new(vec![
            route("/a/b/", &[], can("b")),
            route("/a/", &[], can("a")),
            route("/a/c", &[], can("c")),
        ]);
        check(&table, None, "GET", "/a/b/x", "/a/b/");
        check(&table, None, "GET", "/a/c", "/a/");
        check(&table, None, "GET", "/", "404");
        check(&table, None, "GET", "/ab", "404");
    }

    #[test]
    fn a_method_that_the_place_does_not_take_is_405_and_falls_to_no_later_route() {
        let table = device();
        check(&table, None, "DELETE", "/admin/", "405 GET, HEAD, POST");
        check(&table, None, "HEAD", "/admin/", "/admin/");
        check(&table, None, "DELETE", "/other", "");
        check(
            &table,
            None,
            "TRACE",
            "/other",
            "405 DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT",
        );
    }

    #[test]
    fn routes_for_the_same_place_share_it_by_method() {
        let table = RouteTable::new(vec![
            Route {
                label: "read".into(),
                ..route("/files/", &["GET"], can("view"))
            },
            Route {
                label: "write".into(),
                ..route("/files/", &["PUT"], can("edit"))
            },
        ]);
        check(&table, None, "GET", "/files/a", "read");
        check(&table, None, "PUT", "/files/a", "write");
        check(&table, None, "DELETE", "/files/a", "405 GET, HEAD, PUT");
    }

    #[test]
    fn a_protected_path_in_another_case_needs_its_abilities_too() {
        let table = device();
        check(&table, None, "GET", "/ADMIN/", " + /admin/");
        check(&table, None, "GET", "/Admin", " + /admin/");
        check(&table, None, "GET", "/ABOUT", "");
        check(&table, None, "GET", "/public/Readme", "/public/");
        let upper = RouteTable::new(vec![
            route("/Admin/", &[], can("edit")),
            route("", &[], Access::Public),
        ]);
        check(&upper, None, "GET", "/admin/x", " + /Admin/");
        check(&upper, None, "GET", "/Admin/x", "/Admin/");
    }

    #[test]
    fn a_protected_path_in_any_spelling_a_backend_may_forgive_needs_its_abilities_too() {
        let table = RouteTable::new(vec![
            route("/settings", &[], can("edit")),
            route("/split/", &["GET"], can("view")),
            Route {
                label: "/split/ w".into(),
                ..route("/split/", &["POST"], can("edit"))
            },
            route("", &[], can("view")),
        ]);
        check(&table, None, "GET", "/settings", "/settings");
        for path in [
            "/settings/",
            "/settings%20",
            "/settings.",
            "/settings%3fx",
            "/settings%23x",
            "/SETTINGS/",
            "/%C5%BFettings",
        ] {
            check(&table, None, "GET", path, " + /settings");
        }
        check(&table, None, "GET", "/settings2", "");
        check(&table, None, "GET", "/settings/x", "");
        check(&table, None, "GET", "/split%20/x", " + /split/");
        check(&table, None, "POST", "/SPLIT/x", " + /split/ w");
        check(&table, None, "DELETE", "/SPLIT/x", "405 GET, HEAD, POST");
        check(&table, None, "DELETE", "/split/x", "405 GET, HEAD, POST");
    }

    #[test]
    fn routes_that_differ_by_case_only_are_each_their_own() {
        let table = RouteTable::new(vec![
            route("/Docs/", &[], can("edit")),
            route("/docs/", &[], can("view")),
            route("/x", &[], can("edit")),
            route("/x/", &[], Access::Public),
        ]);
        check(&table, None, "GET", "/docs/a", "/docs/");
        check(&table, None, "GET", "/Docs/a", "/Docs/");
        check(&table, None, "GET", "/x/", "/x/");
        check(&table, None, "GET", "/x", "/x");
    }

    #[test]
    fn a_route_with_a_host_is_for_that_host_in_any_case_port_or_trailing_dot() {
        let hosted = Route {
            label: "ui".into(),
            hosts: HostPattern::parse(["UI.example.com", "*.plant.example"]).unwrap(),
            ..route("", &[], Access::Public)
        };
        let table = RouteTable::new(vec![hosted, route("", &[], can("view"))]);
        for host in ["ui.example.com", "UI.EXAMPLE.COM.:8443", "a.plant.example"] {
            check(&table, Some(host), "GET", "/", "ui");
        }
        for host in [
            "example.com",
            "x.ui.example.com",
            "a.b.plant.example",
            "[::1]:80",
        ] {
            check(&table, Some(host), "GET", "/", "");
        }
        check(&table, None, "GET", "/", "");
    }

    #[test]
    fn patterns_that_no_request_could_match_are_refused() {
        for good in [
            "",
            "/",
            "/a",
            "/a/",
            "/a b",
            "/büro/",
            "/{x}",
            "/a/{x_1}/b/{_}/",
        ] {
            let written = PathPattern::parse(good).map(|it| it.to_string());
            let expected = if good.is_empty() { "*" } else { good };
            assert_eq!(written.as_deref(), Ok(expected));
        }
        for bad in [
            "admin", "/a//b", "/a/../b", "/a?x=1", "/a%20b", "/a;b", "/%zz", "/a{x}", "/{x}b",
            "/{x}{y}", "/{x}/{x}", "/{", "/}", "/{}", "/{X}", "/{x y}", "/{*}", "/{{x}}", "/{x}//",
        ] {
            assert!(PathPattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[track_caller]
    fn check_foreign(pattern: &str, expected: &str) {
        let said = PathPattern::parse(pattern).map(|it| it.to_string());
        assert_eq!(said.unwrap_err(), expected, "{pattern}");
    }

    #[test]
    fn what_is_a_pattern_elsewhere_is_refused_with_what_to_write() {
        check_foreign(
            "/admin/*",
            "\"*\" is an ordinary character here; write /admin/ for all below it, {name} for one \
             segment, %2A for the character",
        );
        check_foreign(
            "/api/:id/",
            "\":\" is an ordinary character here; write /api/ for all below it, {name} for one \
             segment, %3A for the character",
        );
        check_foreign(
            "/*",
            "\"*\" is an ordinary character here; write a folder like /admin/ for all below it, \
             {name} for one segment, %2A for the character",
        );
        check_foreign(
            "/a%20b*",
            "\"*\" is an ordinary character here; write a folder like /admin/ for all below it, \
             {name} for one segment, %2A for the character",
        );
        for bad in [
            "/admin/**",
            "/admin/.*",
            "/admin/.+",
            "/admin/<id>",
            "/a*/b/",
            "/[id]/",
            "/(a|b)/",
            "/^a",
            "/admin$",
            "/{x}/*",
            "/*.php",
        ] {
            let why = PathPattern::parse(bad).unwrap_err();
            assert!(
                why.contains("is an ordinary character here"),
                "{bad}: {why}"
            );
        }
        for good in [
            "/v1/x:cancel",
            "/$metadata",
            "/$",
            "/a+b",
            "/c++",
            "/(x)/",
            "/~me",
            "/a,b=c@d!",
        ] {
            assert!(PathPattern::parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn such_a_character_itself_is_written_encoded() {
        for (written, path) in [
            ("/a%2A", "/a*"),
            ("/a%2a", "/a*"),
            ("/%3Cid%3E/", "/<id>/"),
            ("/%7Bx%7D/", "/{x}/"),
            ("/%3Aid", "/:id"),
        ] {
            let exact = PathPattern::Exact(path.into());
            let expected = match path.strip_suffix('/') {
                Some(folder) => PathPattern::Folder(folder.into()),
                None => exact,
            };
            assert_eq!(PathPattern::parse(written), Ok(expected), "{written}");
        }
        let template = PathPattern::parse("/{x}/a%2A/").unwrap();
        let covers = |raw| template.matches(&DecodedPath::parse(raw).unwrap());
        assert!(covers("/b/a*/") && covers("/b/a%2A/c") && !covers("/b/ab/"));
        check_foreign(
            "/a%20%2A%7B",
            "write it decoded, as \"/a %2A%7B\": paths are matched after percent-decoding",
        );
    }

    #[test]
    fn a_path_folds_as_the_most_forgiving_backend_reads_it() {
        for (path, expected) in [
            ("/admin/x", "/admin/x"),
            ("/ADMIN./x /", "/admin/x"),
            ("/admin?/x", "/admin"),
            ("/stra\u{1e9e}e", "/strasse"),
            ("/straße", "/strasse"),
            ("/ADM\u{130}N", "/admin"),
            ("/adm\u{131}n", "/admin"),
            ("/\u{212a}ey", "/key"),
            ("/secret.txt::$DATA", "/secret.txt"),
            ("/admin:$i30:$INDEX_ALLOCATION/x", "/admin/x"),
            ("/admin. ::$INDEX_ALLOCATION/x", "/admin/x"),
            ("/v1/things:cancel", "/v1/things:cancel"),
        ] {
            assert_eq!(fold(path), expected, "{path}");
        }
    }

    #[test]
    fn a_pattern_covers_what_it_would_shadow() {
        let covers = |a: &str, b: &str| {
            PathPattern::parse(a)
                .unwrap()
                .covers(&PathPattern::parse(b).unwrap())
        };
        assert!(covers("", "/a/") && covers("/a/", "/a/b/") && covers("/a/", "/a"));
        assert!(!covers("/a/", "/ab") && !covers("/a", "/a/") && !covers("/a/", ""));
        for (a, b) in [
            ("", "/{n}"),
            ("/files/", "/files/{n}/"),
            ("/files/", "/files/{n}"),
            ("/files/{n}/", "/files/a/"),
            ("/files/{n}/", "/files/a"),
            ("/files/{n}/", "/files/a/b/c"),
            ("/files/{n}/", "/files/{m}/x"),
            ("/files/{n}", "/files/a"),
            ("/files/{n}", "/files/{m}"),
            ("/{a}/x", "/b/x"),
        ] {
            assert!(covers(a, b), "{a} {b}");
        }
        for (a, b) in [
            ("/files/{n}/", "/files/"),
            ("/files/{n}/", "/files"),
            ("/files/{n}", "/files/a/"),
            ("/files/{n}", "/files/{n}/"),
            ("/{a}/x", "/{a}/y"),
            ("/{a}/x", "/b/{c}"),
            ("/{a}", "/"),
            ("/", "/{a}"),
            ("/{a}/", ""),
            ("/a", "/{n}"),
        ] {
            assert!(!covers(a, b), "{a} {b}");
        }
    }
}
