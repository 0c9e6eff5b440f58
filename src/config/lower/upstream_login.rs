//! The key `login` of an upstream.

use crate::config::Source;
use crate::config::document::At;
use crate::config::file::{UpstreamLoginFile, UserAndPasswordFile};
use crate::proxy::upstream_login::{LoginScheme, UpstreamLoginSpec};

use super::{problem_with, secret};

/// How we log in to a backend.
pub(super) fn lower(
    written: UpstreamLoginFile,
    source: &Source<'_>,
    at: &At<'_>,
) -> Option<UpstreamLoginSpec> {
    let UpstreamLoginFile { basic, digest } = written;
    let (scheme, key, written) = match (basic, digest) {
        (Some(basic), None) => (LoginScheme::Basic, "basic", basic),
        (None, Some(digest)) => (LoginScheme::Digest, "digest", digest),
        _ => {
            let is_refused = |key| at.key(key).is_refused();
            if !at.is_refused() && !is_refused("basic") && !is_refused("digest") {
                at.problem("write one of basic and digest");
            }
            return None;
        }
    };
    let at = at.key(key);
    let UserAndPasswordFile { username, password } = written;
    let user = at.required("username", username, "write as whom to log in");
    let user = user.and_then(|user| lower_user(user, &at.key("username")));
    let hint = "write where it is, as {file: /run/secrets/pass}";
    let password_at = at.key("password");
    let password = at.required("password", password, hint);
    let password = secret::lower(password, source, &password_at);
    Some(UpstreamLoginSpec {
        scheme,
        user: user?,
        password: password?,
        place: password_at.place(),
    })
}

/// A colon ends it, in Basic (RFC 7617 section 2) as in Digest.
fn lower_user(written: String, at: &At<'_>) -> Option<String> {
    if written.is_empty() || written.contains(|c: char| c == ':' || c.is_control()) {
        let message = "a user name is at least one character, and none of them a colon or a \
                       control character";
        problem_with(&written, message, at);
        return None;
    }
    Some(written)
}
