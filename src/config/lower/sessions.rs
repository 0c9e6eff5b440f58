//! The section `sessions`.

use std::time::Duration;

use crate::config::document::At;
use crate::config::file::SessionsFile;
use crate::gate::session::SessionPolicy;

use super::{choose, in_range, span_within, words};

/// Sessions held where nothing is written: at some 200 bytes each, 20 MB at worst.
const DEFAULT_MAX: usize = 100_000;

/// The longest that anything about a session may last.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How long sessions last, and how many there may be.
pub(super) fn lower(written: SessionsFile, at: &At<'_>) -> (SessionPolicy, usize) {
    let SessionsFile {
        store,
        idle,
        lifetime,
        max,
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
    let max = in_range(max, DEFAULT_MAX, 1..=10_000_000, &at.key("max"));
    (policy, max)
}
