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
    if policy.idle > policy.lifetime {
        let message = format!(
            "longer than the lifetime, which is {}",
            words(policy.lifetime)
        );
        // A default that is longer than what was written is that one's fault.
        at.key(if idle.is_some() { "idle" } else { "lifetime" })
            .problem(match idle {
                Some(_) => message,
                None => format!(
                    "shorter than the idle time, which is {}",
                    words(policy.idle)
                ),
            });
    }
    let max = in_range(max, DEFAULT_MAX, 1..=10_000_000, &at.key("max"));
    (policy, max)
}
