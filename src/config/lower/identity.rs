//! The section `identity`.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::Source;
use crate::config::document::At;
use crate::config::file::{AssertionFile, IdentityFile};
use crate::proxy::spec::{AssertionKey, AssertionSpec, IdentityPreset, IdentitySpec};

use super::{choose_word, input, path, span_within};

const PRESETS: [(&str, Option<IdentityPreset>); 10] = [
    ("x-forwarded-user", Some(IdentityPreset::XForwardedUser)),
    ("x-auth-request", Some(IdentityPreset::XAuthRequest)),
    ("remote-user", Some(IdentityPreset::RemoteUser)),
    ("xfcc", Some(IdentityPreset::Xfcc)),
    ("rfc9440", Some(IdentityPreset::Rfc9440)),
    ("nginx-ssl", Some(IdentityPreset::NginxSsl)),
    ("haproxy-ssl", Some(IdentityPreset::HaproxySsl)),
    ("wso2", Some(IdentityPreset::Wso2)),
    ("wso2-apim", Some(IdentityPreset::Wso2Apim)),
    ("jwt", Some(IdentityPreset::Jwt)),
];

/// Longer than clocks differ, and too short for an assertion to be a session of its own.
const LIFETIMES: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(600);

/// The longest issuer or audience: both go into every assertion.
const MAX_NAME: usize = 256;

/// The sets of identity headers, in the order written, each once, and what assertions say. An empty
/// list means none.
pub(super) fn lower(written: IdentityFile, source: &Source<'_>, at: &At<'_>) -> IdentitySpec {
    let IdentityFile { headers, jwt } = written;
    let default = IdentitySpec::default();
    let headers = headers.map_or(default.headers, |headers| {
        let mut presets = Vec::new();
        for (at, name) in at.key("headers").texts(headers) {
            let preset = choose_word(&name, &PRESETS, &at);
            presets.extend(preset.filter(|preset| !presets.contains(preset)));
        }
        presets
    });
    let is_used = headers.contains(&IdentityPreset::Jwt);
    if jwt.is_some() && !is_used {
        at.key("jwt")
            .warn("not used: headers does not have jwt among its words");
    }
    let assertion = lower_assertion(jwt.unwrap_or_default(), is_used, source, &at.key("jwt"));
    IdentitySpec {
        headers,
        assertion: is_used.then_some(assertion),
    }
}

fn lower_assertion(
    written: AssertionFile,
    is_used: bool,
    source: &Source<'_>,
    at: &At<'_>,
) -> AssertionSpec {
    let AssertionFile {
        issuer,
        audience,
        lifetime,
        key,
    } = written;
    let default = AssertionSpec::default();
    let key = key.and_then(|key| {
        let at = at.key("key");
        let file = match is_used {
            true => input(&key, "signing key", source, &at)?,
            false => path(&key, source, &at)?,
        };
        let place = at.place();
        Some(AssertionKey { file, place })
    });
    let issuer = issuer.and_then(|issuer| lower_name(issuer, &at.key("issuer")));
    AssertionSpec {
        issuer: issuer.unwrap_or(default.issuer),
        audience: audience.and_then(|audience| lower_name(audience, &at.key("audience"))),
        lifetime: span_within(lifetime, default.lifetime, LIFETIMES, &at.key("lifetime")),
        key,
    }
}

/// Backends compare these letter by letter.
fn lower_name(name: String, at: &At<'_>) -> Option<String> {
    let graphic = |c: char| !c.is_control() && !c.is_whitespace();
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(graphic) {
        at.problem(format!(
            "expected a name or a URL of 1 to {MAX_NAME} bytes without spaces"
        ));
        return None;
    }
    Some(name)
}
