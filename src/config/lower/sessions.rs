//! The section `sessions`.

use std::path::Path;
use std::time::Duration;

use crate::config::Source;
use crate::config::document::At;
use crate::config::file::SessionsFile;
use crate::config::scalar::Span;
use crate::gate::session::{REMEMBERED_AT_MOST, SessionPolicy};
use crate::proxy::cookie::SameSite;
use crate::store::SessionBounds;
use crate::store::file::SessionFile;

use super::{choose, in_range, span_within, words};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Store {
    Memory,
    File,
}

/// The longest that anything about a session may last.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// All that is said of sessions.
pub(super) struct Lowered {
    /// How long they last.
    pub(super) policy: SessionPolicy,
    /// What other sites can make of them.
    pub(super) same_site: SameSite,
    /// How many there may be.
    pub(super) bounds: SessionBounds,
    /// Where they are kept beside memory.
    pub(super) file: Option<SessionFile>,
}

/// The section, with the defaults for what is not written. `state` is the folder for what is kept
/// between two starts, where one is written.
pub(super) fn lower(
    written: SessionsFile,
    state: Option<&Path>,
    source: &Source<'_>,
    at: &At<'_>,
) -> Lowered {
    let SessionsFile {
        store,
        path,
        idle,
        lifetime,
        remember,
        same_site,
        max,
        per_user,
    } = written;
    let stores = [
        ("memory", Some(Store::Memory)),
        ("file", Some(Store::File)),
        ("redis", None),
    ];
    let store = choose(store.as_deref(), Store::Memory, &stores, &at.key("store"));
    if path.is_some() && store == Store::Memory {
        at.key("path")
            .problem("nothing is kept there without store: file");
    }
    let path = path.and_then(|path| super::path(&path, source, &at.key("path")));
    let path = path.or_else(|| state.map(|folder| folder.join("sessions.redb")));
    let file = (store == Store::File).then(|| SessionFile {
        path,
        place: at.key("store").place(),
    });
    let default = SessionPolicy::default();
    let range = Duration::from_secs(1)..=YEAR;
    let policy = SessionPolicy {
        idle: span_within(idle, default.idle, range.clone(), &at.key("idle")),
        lifetime: span_within(lifetime, default.lifetime, range, &at.key("lifetime")),
        remember: None,
    };
    match idle {
        _ if policy.idle <= policy.lifetime => {}
        Some(_) => {
            let lifetime = words(policy.lifetime);
            at.key("idle")
                .problem(format!("longer than the lifetime, which is {lifetime}"));
        }
        // A default that is too long for what was written is the fault of what was written.
        None => {
            let idle = words(policy.idle);
            at.key("lifetime")
                .problem(format!("shorter than the idle time, which is {idle}"));
        }
    }
    let policy = SessionPolicy {
        remember: remember.and_then(|it| lower_remember(it, policy.lifetime, &at.key("remember"))),
        ..policy
    };
    let choices = [
        ("lax", Some(SameSite::Lax)),
        ("strict", Some(SameSite::Strict)),
    ];
    let same_site = same_site.as_deref();
    let same_site = choose(same_site, SameSite::Lax, &choices, &at.key("same_site"));
    let default = SessionBounds::default();
    let bounds = SessionBounds {
        max: in_range(max, default.max, 1..=10_000_000, &at.key("max")),
        per_user: in_range(per_user, default.per_user, 1..=10_000, &at.key("per_user")),
    };
    Lowered {
        policy,
        same_site,
        bounds,
        file,
    }
}

/// To be remembered means to be logged in for longer than others.
fn lower_remember(written: Span, lifetime: Duration, at: &At<'_>) -> Option<Duration> {
    let Span(remember) = written;
    if remember > REMEMBERED_AT_MOST {
        let most = words(REMEMBERED_AT_MOST);
        at.problem(format!("must be {most} or less"));
    } else if remember < lifetime {
        let lifetime = words(lifetime);
        at.problem(format!("shorter than the lifetime, which is {lifetime}"));
    }
    Some(remember)
}
