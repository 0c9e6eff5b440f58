//! The key `tls.hsts`.

use std::time::Duration;

use crate::config::document::At;
use crate::config::file::{HstsFile, HstsSettingsFile};
use crate::config::scalar::{Flag, Span};
use crate::proxy::spec::{Hsts, HstsScope};

use super::{DAY, span_within};

/// What hstspreload.org asks for at least.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The Strict-Transport-Security policy.
pub(super) fn lower(written: &HstsFile, at: &At<'_>) -> Option<Hsts> {
    let HstsSettingsFile {
        max_age,
        include_subdomains,
        preload,
    } = match written {
        HstsFile::Age(age) => return Some(Hsts::new(lower_age(*age, at), HstsScope::Host)),
        HstsFile::Settings(settings) => settings,
    };
    let is_set = |flag: &Option<Flag>| *flag == Some(Flag(true));
    let scope = match (is_set(preload), is_set(include_subdomains)) {
        (true, true) => HstsScope::Preload,
        (false, true) => HstsScope::Subdomains,
        (false, false) => HstsScope::Host,
        (true, false) => {
            at.key("preload")
                .problem("needs include_subdomains: true, as hstspreload.org asks");
            HstsScope::Preload
        }
    };
    let written = at.required("max_age", *max_age, "write max_age: 365d")?;
    let max_age = lower_age(written, &at.key("max_age"));
    if is_set(preload) && max_age < YEAR {
        at.key("preload")
            .problem("needs a max_age of 365d or more, as hstspreload.org asks");
    }
    Some(Hsts::new(max_age, scope))
}

fn lower_age(written: Span, at: &At<'_>) -> Duration {
    if written.0.subsec_millis() > 0 {
        at.problem("expected whole seconds; browsers know no parts of them");
        return written.0;
    }
    span_within(Some(written), YEAR, Duration::ZERO..=3650 * DAY, at)
}
