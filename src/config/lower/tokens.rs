//! The key `tokens` of a user.

use std::collections::HashMap;

use crate::config::document::At;
use crate::config::file::TokenFile;
use crate::config::moment;
use crate::config::scalar::Entries;
use crate::gate::ability::{Ability, AbilitySet};
use crate::gate::session::Timestamp;
use crate::gate::users::UserToken;
use crate::identity::token::{TokenDigest, TokenName};
use crate::password::token;

use super::problem_with;
use super::roles::KnownRoles;
use super::routes::lower_abilities;

/// The most tokens of one user.
const MAX_TOKENS: usize = 1000;

/// The digests of all tokens, each with the place where it was written first.
pub(super) type KnownDigests = HashMap<TokenDigest, String>;

/// The tokens of a user. Those with a problem are left out.
pub(super) fn lower(
    written: Entries<TokenFile>,
    roles: &KnownRoles,
    known: &mut KnownDigests,
    at: &At<'_>,
) -> Vec<UserToken> {
    if written.0.len() > MAX_TOKENS {
        at.problem(format!("more than {MAX_TOKENS} tokens"));
        return Vec::new();
    }
    let tokens = at.entries(written).filter_map(|(at, name, token)| {
        let name = TokenName::parse(&name);
        let name = name.map_err(|error| at.key_problem(error.to_string()));
        let token = lower_one(token?, roles, known, &at)?;
        let (digest, abilities, expires) = token;
        Some(UserToken {
            name: name.ok()?,
            digest,
            abilities,
            expires,
        })
    });
    tokens.collect()
}

type Lowered = (TokenDigest, AbilitySet, Option<Timestamp>);

fn lower_one(
    written: TokenFile,
    roles: &KnownRoles,
    known: &mut KnownDigests,
    at: &At<'_>,
) -> Option<Lowered> {
    let TokenFile {
        hash,
        abilities,
        created,
        expires,
    } = written;
    let hint = "leave abilities out for all that the user may do";
    let abilities = abilities.map(|it| lower_abilities(it, hint, roles, &at.key("abilities")));
    created.map(|written| lower_time(&written, &at.key("created")));
    let expires = expires.map(|written| lower_time(&written, &at.key("expires")));
    let hint = "make a token with `portcullis token create`";
    let digest = at.required("hash", hash, hint)?;
    let digest = lower_digest(&digest, known, &at.key("hash"))?;
    // What was written and cannot be read must not become "no limit".
    let some = |it: Vec<Ability>| AbilitySet::Some(it.into_iter().collect());
    let abilities = abilities.map_or(Some(AbilitySet::All), |it| it.map(some))?;
    let expires = expires.map_or(Some(None), |it| it.map(Some))?;
    let refused = ["abilities", "expires"].map(|key| at.key(key).is_refused());
    (!refused.contains(&true)).then_some((digest, abilities, expires))
}

fn lower_digest(written: &str, known: &mut KnownDigests, at: &At<'_>) -> Option<TokenDigest> {
    if token::digest_of(written.as_bytes()).is_some() {
        at.problem(
            "this is the token itself, which anybody who reads this file could use; revoke it and \
             keep what `portcullis token create` writes",
        );
        return None;
    }
    let Some(digest) = token::parse_stored(written) else {
        at.problem("expected \"sha256:\" and 64 hexadecimal digits, as `portcullis token create` writes it");
        return None;
    };
    if let Some(first) = known.get(&digest) {
        at.problem(format!("the same token as {first}; each has one place"));
        return None;
    }
    known.insert(digest, at.path().to_string());
    Some(digest)
}

/// A time, or the beginning of a day.
fn lower_time(written: &str, at: &At<'_>) -> Option<Timestamp> {
    let time = moment::parse(written);
    if time.is_none() {
        let why = "expected a time like 2027-01-31T00:00:00Z, or a day like 2027-01-31";
        problem_with(written, why, at);
    }
    time
}
