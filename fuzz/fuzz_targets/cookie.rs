//! Feeds the cookie parser with arbitrary fields, and holds it to three rules: what the backend gets
//! has none of our cookies, in any spelling, and all others as they were, in order; a session is
//! presented only where exactly one cookie has its name; reading what was written gives the same.
//!
//! Run it from the root of the repository: `scripts/fuzz 600 cookie`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, unused_imports)]
#[path = "../../src"]
mod src {
    pub mod gate;
    pub mod identity;
    pub mod http1 {
        pub mod fields;
    }
    pub mod store {
        pub mod secret;
    }
    pub mod proxy {
        pub mod cookie;
    }
}
use src::{gate, http1, identity, store};

use http1::fields::Fields;
use src::proxy::cookie;

fuzz_target!(|input: &[u8]| {
    // A field a line.
    let values: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    let fields = values.iter().map(|value| ("Cookie", *value));
    let Ok(fields) = Fields::from_pairs(fields) else {
        return;
    };
    let all: Vec<Vec<u8>> = fields.get_all("cookie").flat_map(pairs).collect();
    let others: Vec<Vec<u8>> = all.iter().filter(|pair| !is_ours(pair)).cloned().collect();
    let written = cookie::without_ours(&fields);
    let expected = (!others.is_empty()).then(|| others.join(&b"; "[..]));
    assert_eq!(written, expected);

    if let Some(written) = written {
        let again = Fields::from_pairs([("Cookie", &written[..])]).expect("a field");
        assert_eq!(cookie::without_ours(&again), Some(written));
        assert!(cookie::session(&again).is_err());
        assert!(cookie::login_nonce(&again).is_none());
    }

    let named = |name: &str| {
        all.iter()
            .filter(|pair| *name_of(pair) == *name.as_bytes())
            .count()
    };
    if cookie::session(&fields).is_ok() || cookie::session_id(&fields).is_some() {
        assert_eq!(named(cookie::SESSION), 1);
        assert!(cookie::session(&fields).is_ok() && cookie::session_id(&fields).is_some());
    }
    if cookie::login_nonce(&fields).is_some() {
        assert_eq!(named(cookie::LOGIN), 1);
    }
    // What a browser would keep under one of our names, a backend cannot set.
    for value in values {
        let kept = value.split(|byte| *byte == b';').next().unwrap_or_default();
        let kept = kept.trim_ascii();
        assert!(!is_ours(kept) || cookie::sets_ours(value));
    }
});

/// The pairs of one field, without white space around them.
fn pairs(value: &[u8]) -> Vec<Vec<u8>> {
    let pairs = value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    pairs
        .filter(|pair| !pair.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

fn name_of(pair: &[u8]) -> &[u8] {
    let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
    name.trim_ascii()
}

fn is_ours(pair: &[u8]) -> bool {
    let name = String::from_utf8_lossy(name_of(pair)).to_ascii_lowercase();
    ["__host-portcullis", "__host-portcullis-login"].contains(&name.as_str())
}
