//! Lists of addresses and blocks: `trusted_proxies`, and who may connect or use a route by them.

use crate::config::document::At;
use crate::config::file::AddressesFile;
use crate::config::scalar::OneOrMany;
use crate::identity::address::{AddressBlock, AddressBlocks, AddressRules};

use super::problem_with;

/// The most blocks of one list: a client's address is compared with one after the other.
const MOST: usize = 1000;

/// A list. Those with a problem are left out.
pub(super) fn lower(written: OneOrMany, at: &At<'_>) -> AddressBlocks {
    let mut blocks = Vec::new();
    for (at, text) in at.texts(written) {
        match AddressBlock::parse(&text) {
            Ok(block) => blocks.push(block),
            Err(why) => problem_with(&text, why, &at),
        }
    }
    if blocks.len() > MOST {
        at.problem(format!("more than {MOST} addresses and blocks"));
    }
    AddressBlocks::new(blocks)
}

/// The keys `allow` and `deny`.
pub(super) fn lower_rules(
    allow: Option<OneOrMany>,
    deny: Option<OneOrMany>,
    at: &At<'_>,
) -> AddressRules {
    let list = |written: Option<OneOrMany>, key, empty: &str| {
        let (written, at) = (written?, at.key(key));
        if written.is_empty() {
            at.problem(empty);
        }
        Some(lower(written, &at))
    };
    AddressRules {
        allow: list(
            allow,
            "allow",
            "an empty list lets nobody in; leave allow out to let in everybody",
        ),
        deny: list(deny, "deny", "an empty list denies nobody; leave deny out").unwrap_or_default(),
    }
}

/// The key `addresses` of a route.
pub(super) fn lower_of_route(written: Option<AddressesFile>, at: &At<'_>) -> AddressRules {
    let Some(AddressesFile { allow, deny }) = written else {
        return AddressRules::default();
    };
    if allow.is_none()
        && deny.is_none()
        && !["allow", "deny"].iter().any(|key| at.key(key).is_refused())
    {
        at.problem("says nothing; write allow or deny, or leave addresses out");
    }
    lower_rules(allow, deny, at)
}

/// Who is believed about where requests come from.
pub(super) fn lower_trusted(written: Option<OneOrMany>, at: &At<'_>) -> AddressBlocks {
    let Some(written) = written else {
        return AddressBlocks::default();
    };
    let trusted = lower(written, at);
    let anybody = ["0.0.0.0", "255.255.255.255"].map(|it| it.parse().ok());
    if anybody.into_iter().flatten().all(|it| trusted.contains(it)) {
        at.warn(
            "everybody is trusted here, so that any client can say that it is another; \
             write the addresses of the proxies",
        );
    }
    trusted
}
