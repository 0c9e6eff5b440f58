//! The section `sessions`.

use std::time::Duration;

use crate::config::document::At;
use crate::config::file::SessionsFile;
use crate::gate::session::SessionPolicy;
use crate::store::SessionBounds;

use super::{choose, in_range, span_within, words};

/// The longest that anything about a session may last.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How long sessions last, and how many there may be.
pub(super) fn lower(written: SessionsFile, at: &At<'_>) -> (SessionPolicy, SessionBounds) {
    let SessionsFile {
        store,
        idle,
        lifetime,
        max,
        per_user,
    } = written;
    let stores = [("memory", Some(())), ("file", None), ("redis", None)];
    choose(store.as_deref(), (), &stores, &at.key("store"));
    let default = SessionPolicy::default();
    let range = Duration::from_secs(1)..=YEAR;
    let policy = SessionPolicy {
        idle: span_within(idle, default.idle, range.clone(), &at.key("idle")),
        lifetime: span_within(lifetime, default.lifetime, range, &at.key("lifetime")),
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
    let default = SessionBounds::default();
    let bounds = SessionBounds {
        max: in_range(max, default.max, 1..=10_000_000, &at.key("max")),
        per_user: in_range(per_user, default.per_user, 1..=10_000, &at.key("per_user")),
    };
    (policy, bounds)
}
