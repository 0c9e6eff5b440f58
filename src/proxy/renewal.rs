//! The cookie of a remembered session slides: it is given again, for its whole time, once a tenth of
//! that is over and the session is used. How long the session itself lasts is the gate's business.

use std::fmt;
use std::time::Duration;

use http::StatusCode;

use super::cookie::{self, Keep, SameSite};
use super::exchange::AnswerSink;
use crate::gate::request::PresentedSession;
use crate::gate::session::{Session, SessionPolicy, Timestamp};
use crate::http1::fields::{Fields, Received, list_elements};
use crate::store::secret::SessionId;

/// A cookie that the next answer which can carry it is to give again.
pub struct Renewal<'r> {
    session: &'r Session,
    id: SessionId,
    age: Duration,
    same_site: SameSite,
    now: Timestamp,
}

impl fmt::Debug for Renewal<'_> {
    /// Without the id, which is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewal").field("age", &self.age).finish()
    }
}

/// Whether an answer can carry a cookie that is one person's alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carries {
    /// No cache for several people keeps it.
    Yes,
    /// It says nothing of caches, so that one for several people may keep it until it is told.
    OncePrivate,
    /// It may be given to others as well (RFC 9111 section 7.3).
    No,
}

impl<'r> Renewal<'r> {
    /// That of the session which proved who sends `fields`, if it is one.
    #[must_use]
    pub fn due(
        presented: &'r PresentedSession,
        fields: &Fields,
        policy: &SessionPolicy,
        same_site: SameSite,
        now: Timestamp,
    ) -> Option<Self> {
        let session = &*presented.session;
        let age = policy.cookie_age(session, now)?;
        if !session.is_cookie_older(age / 10, now) {
            return None;
        }
        Some(Self {
            session,
            id: cookie::session_id(fields)?,
            age,
            same_site,
            now,
        })
    }

    /// Adds it to a backend's answer with these fields, unless others might get it or another
    /// answer has it already.
    pub fn add_to<'f>(
        &self,
        status: StatusCode,
        fields: impl Iterator<Item = Received<'f>>,
        answer: &mut impl AnswerSink,
    ) {
        let carries = Carries::of(status, fields);
        if carries == Carries::No || !self.session.give_cookie(self.age / 10, self.now) {
            return;
        }
        let keep = Keep {
            same_site: self.same_site,
            age: Some(self.age),
        };
        answer.field("Set-Cookie", cookie::set_session(&self.id, keep).as_bytes());
        if carries == Carries::OncePrivate {
            answer.field("Cache-Control", b"private");
        }
    }
}

impl Carries {
    fn of<'f>(status: StatusCode, fields: impl Iterator<Item = Received<'f>>) -> Self {
        // Its fields become those of the answer that a cache has (RFC 9111 section 4.3.4).
        if status == StatusCode::NOT_MODIFIED {
            return Self::No;
        }
        let mut says_nothing = true;
        let mut is_private = false;
        for field in fields {
            let name = field.name().to_ascii_lowercase();
            match name.as_slice() {
                b"cache-control" => {
                    says_nothing = false;
                    is_private |= list_elements(field.value()).any(keeps_others_out);
                }
                b"expires" | b"pragma" => says_nothing = false,
                // For caches of some kind, which then do not look at the others (RFC 9213).
                b"surrogate-control" | b"x-accel-expires" => return Self::No,
                other if other.ends_with(b"-cache-control") => return Self::No,
                _ => {}
            }
        }
        match (is_private, says_nothing) {
            (true, _) => Self::Yes,
            (false, true) => Self::OncePrivate,
            (false, false) => Self::No,
        }
    }
}

/// Without a list of fields behind it, which not all caches understand.
fn keeps_others_out(directive: &[u8]) -> bool {
    directive.eq_ignore_ascii_case(b"private") || directive.eq_ignore_ascii_case(b"no-store")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_that_is_for_one_person_carries_a_cookie() {
        let carries = |status: StatusCode, fields: &[(&str, &str)]| {
            let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
            Carries::of(status, Fields::from_pairs(fields).unwrap().received())
        };
        let ok = StatusCode::OK;
        assert_eq!(carries(ok, &[("Content-Type", "x")]), Carries::OncePrivate);
        for value in [
            "private",
            "max-age=60, Private",
            "no-store",
            "no-cache,no-store",
        ] {
            let fields = [("Cache-Control", value)];
            assert_eq!(carries(ok, &fields), Carries::Yes, "{value}");
            assert_eq!(carries(StatusCode::NOT_MODIFIED, &fields), Carries::No);
        }
        for fields in [
            &[("Cache-Control", "public")][..],
            &[("Cache-Control", "max-age=60")],
            &[("Cache-Control", "no-cache")],
            &[("Cache-Control", "private=\"x-a\"")],
            &[("Cache-Control", "")],
            &[("Expires", "0")],
            &[
                ("Cache-Control", "private"),
                ("CDN-Cache-Control", "max-age=60"),
            ],
            &[("Surrogate-Control", "max-age=60")],
        ] {
            assert_eq!(carries(ok, fields), Carries::No, "{fields:?}");
        }
        let twice = [
            ("Cache-Control", "max-age=60"),
            ("cache-control", "private"),
        ];
        assert_eq!(carries(ok, &twice), Carries::Yes);
    }
}
