//! How the requests and answers of a route are changed on their way, for backends that were not made
//! for the place they have behind the gate: prefixes of paths, fields, where redirects lead, cookies.
//!
//! What is always so is elsewhere: hop-by-hop fields, identity and forwarding fields in `headers`.
//! What an operator writes here cannot touch those, which the configuration refuses.

mod fields;
mod path;
mod references;
mod set_cookie;

use super::exchange::AnswerSink;
use crate::http1::fields::Received;
pub use fields::{FieldEdits, InvalidEdit, Side};
pub use path::{PathRewrite, PrefixMismatch, Target};
pub use references::{Origin, Redirects, Site};
pub use set_cookie::{CookieEdits, CookieSameSite, DomainEdit};

/// All that is changed on a route. The default is what is right for most backends: redirects to
/// themselves lead to where the client sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// Of the path that the backend gets.
    pub path: PathRewrite,
    /// Of the request's fields.
    pub request: FieldEdits,
    /// Of the answer's fields.
    pub answer: FieldEdits,
    /// Where the references in an answer lead that name the backend.
    pub redirects: Redirects,
    /// What the backend's cookies are made to be.
    pub cookies: CookieEdits,
}

/// The answers of one exchange on their way back.
#[derive(Clone, Copy, Debug)]
pub struct Backwards<'r> {
    /// What is changed.
    pub rewrite: &'r Rewrite,
    /// As what the client and the backend know each other.
    pub site: Site<'r>,
}

impl Backwards<'_> {
    /// Passes on the fields of a backend's answer, and adds those that are to be added.
    pub fn pass<'f>(
        &self,
        fields: impl Iterator<Item = Received<'f>>,
        answer: &mut impl AnswerSink,
    ) {
        for field in fields {
            self.pass_one(&field, answer);
        }
        for (name, value) in self.rewrite.answer.lines() {
            answer.field(name, value);
        }
    }

    /// Whether what the backend says under this name is not passed on.
    #[must_use]
    pub fn replaces(&self, name: &[u8]) -> bool {
        self.rewrite.answer.replaces(name)
    }

    /// Whether a field of an interim answer is one that its client gets: as it is, or not at all.
    #[must_use]
    pub fn leaves_as_it_is(&self, field: &Received<'_>) -> bool {
        let (name, value) = (field.name(), field.value());
        let is_mapped = match Kind::of(name) {
            Kind::Other => false,
            Kind::Reference => self.rewrite.redirects.map(&self.site, value).is_some(),
            // They belong into the final answer.
            Kind::Refresh | Kind::SetCookie => true,
        };
        !is_mapped && !self.replaces(name)
    }

    fn pass_one(&self, field: &Received<'_>, answer: &mut impl AnswerSink) {
        let name = field.name();
        if self.rewrite.answer.replaces(name) {
            return;
        }
        let value = match Kind::of(name) {
            Kind::Other => None,
            Kind::Reference => self.rewrite.redirects.map(&self.site, field.value()),
            Kind::Refresh => self
                .rewrite
                .redirects
                .map_refresh(&self.site, field.value()),
            Kind::SetCookie => self.rewrite.cookies.edit(&self.site, field.value()),
        };
        match (value, std::str::from_utf8(name)) {
            (Some(value), Ok(name)) => answer.field(name, &value),
            // Names are tokens, which are ASCII.
            _ => answer.pass(field),
        }
    }
}

/// What a field of an answer is, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Other,
    /// The value is a URI reference (RFC 9110 sections 8.7 and 10.2.2).
    Reference,
    /// A number of seconds, and perhaps a reference (HTML, pragma directives).
    Refresh,
    SetCookie,
}

impl Kind {
    /// The length tells most names apart.
    fn of(name: &[u8]) -> Self {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            7 if is(b"refresh") => Self::Refresh,
            8 if is(b"location") => Self::Reference,
            10 if is(b"set-cookie") => Self::SetCookie,
            16 if is(b"content-location") => Self::Reference,
            _ => Self::Other,
        }
    }
}
