//! Asks the whole gate for arbitrary paths, as somebody whom nobody knows, and holds it to two rules:
//! a path with one reading is that reading in whichever way it is written; and what is forwarded
//! stays where it was let in, whatever a backend makes of it. The backend is a model that does to the
//! path what backends do, in an order and as often as the input says, with code that is not the
//! gate's.
//!
//! Run it from the root of the repository: `scripts/fuzz 600 path`.

#![no_main]

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../src"]
mod src {
    pub mod gate;
    pub mod identity;
}
use src::{gate, identity};

use gate::ability::Ability;
use gate::path::DecodedPath;
use gate::path::relaxation::{Relaxation, Relaxations};
use gate::request::{Destination, RequestView};
use gate::route::{
    Access, HostPattern, Methods, PathPattern, RewriteId, Route, RouteTable, UpstreamId,
};
use gate::session::{SessionPolicy, Timestamp};
use gate::users::Users;
use gate::{Decision, Gate, OwnPaths};
use identity::NoIdentity;
use identity::address::AddressRules;

fuzz_target!(|input: &[u8]| {
    let Some((&steps, rest)) = input.split_first() else {
        return;
    };
    let (steps, rest) = rest.split_at(rest.len().min(usize::from(steps % 12)));
    let path: String = rest.iter().filter_map(|byte| in_target(*byte)).collect();
    let path = format!("/{path}");
    one_reading(&path);
    stays(&path, steps);
});

/// What the head check lets into a path.
fn in_target(byte: u8) -> Option<char> {
    let legal = byte.is_ascii_graphic() && !b"#<>\"?".contains(&byte);
    legal.then_some(char::from(byte))
}

/// Decoding what was decoded, encoded once more, gives the same.
fn one_reading(path: &str) {
    let Ok(decoded) = DecodedPath::parse(path) else {
        return;
    };
    let again: String = decoded.as_str().bytes().map(encoded).collect();
    let again = DecodedPath::parse(&again).expect("it has one reading");
    assert_eq!(again.as_str(), decoded.as_str());
}

fn encoded(byte: u8) -> String {
    match byte {
        b'/' => "/".into(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).into(),
        byte => format!("%{byte:02x}"),
    }
}

// === The gate ===

/// All that is forwarded for nobody, by each relaxation and by all of them; and what is protected.
static GATE: LazyLock<Gate> = LazyLock::new(|| {
    let all: Relaxations = Relaxation::ALL.into_iter().collect();
    let mut routes = vec![
        route("/admin/", false, Relaxations::NONE),
        route("/f/secret/", false, all),
        route("/f/{name}/only", false, all),
        route("/x", false, all),
        route("/f/", true, all),
        route("/s/", true, Relaxations::NONE),
    ];
    for relaxation in Relaxation::ALL {
        let pattern = format!("/{}/", relaxation.as_str());
        routes.push(route(&pattern, true, Relaxations::NONE.with(relaxation)));
    }
    routes.push(route("", true, all));
    Gate {
        routes: Arc::new(RouteTable::new(routes)),
        users: Users::default(),
        clients: Arc::default(),
        sessions: SessionPolicy {
            idle: Duration::from_secs(60),
            lifetime: Duration::from_secs(600),
            remember: None,
        },
        own_pages: Some(OwnPaths {
            login: "/login".into(),
            logout: "/logout".into(),
        }),
    }
});

fn route(pattern: &str, public: bool, allow: Relaxations) -> Route {
    Route {
        label: pattern.into(),
        hosts: HostPattern::Any,
        pattern: PathPattern::parse(pattern).expect("a pattern"),
        methods: Methods::Any,
        access: match public {
            true => Access::Public,
            false => Access::can(vec![Ability::new("edit")]),
        },
        upstream: UpstreamId(0),
        body_limit: None,
        read_timeout: None,
        timeout: None,
        redirect: None,
        pass_authorization: false,
        rewrite: RewriteId::default(),
        addresses: AddressRules::default(),
        rate: None,
        allow,
        origins: Vec::new(),
    }
}

/// The label of the route that it is forwarded by.
fn forwarded(path: &str) -> Option<Arc<str>> {
    let request = RequestView {
        address: IpAddr::from([192, 0, 2, 7]),
        method: "GET",
        authority: None,
        path,
        destination: Destination::None,
        session: Err(NoIdentity::NotPresented),
        authorization: Err(NoIdentity::NotPresented),
        certificate: Err(NoIdentity::NotRequested),
    };
    match GATE.decide(&request, Timestamp(0)) {
        Decision::Forward(permit) => Some(Arc::clone(&permit.route().label)),
        Decision::Own(..) | Decision::Refuse(_) => None,
    }
}

// === The backend ===

fn stays(path: &str, steps: &[u8]) {
    let Some(label) = forwarded(path) else {
        return;
    };
    let mut served = path.as_bytes().to_vec();
    let mut decodings = 0;
    for step in steps {
        served = after(*step, &served, &mut decodings);
    }
    // Every backend decodes, sooner or later.
    if decodings == 0 {
        served = percent_decoded(&served, true);
    }
    served = resolved(&served);
    let segments: Vec<String> = served
        .split(|byte| *byte == b'/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| String::from_utf8_lossy(trimmed(segment)).to_lowercase())
        .collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let context = || format!("{path} by {label:?} became {segments:?}");
    match &segments[..] {
        ["admin", ..] | ["f", "secret", ..] | ["f", _, "only"] | ["x"] => {
            panic!("protected: {}", context())
        }
        _ => {}
    }
    let folder = label.trim_matches('/');
    assert!(
        folder.is_empty() || segments.first() == Some(&folder),
        "not there: {}",
        context()
    );
}

/// One thing that a backend, or something in front of it, does to a path.
fn after(step: u8, path: &[u8], decodings: &mut u8) -> Vec<u8> {
    match step % 10 {
        // More often than three times is not let pass, and less is what was meant.
        0 | 1 => {
            *decodings += 1;
            percent_decoded(path, step % 10 == 0)
        }
        2 => path
            .iter()
            .map(|byte| if *byte == b'\\' { b'/' } else { *byte })
            .collect(),
        3 => without_parameters(path),
        4 => cut(path, b";"),
        5 => cut(path, b"?#"),
        6 => resolved(path),
        7 => merged(path),
        8 => path
            .utf8_chunks()
            .flat_map(|chunk| chunk.valid().bytes())
            .collect(),
        // Only what cannot be read otherwise.
        _ if std::str::from_utf8(path).is_ok() => path.to_vec(),
        _ => path.iter().copied().filter(u8::is_ascii).collect(),
    }
}

fn percent_decoded(path: &[u8], slashes: bool) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < path.len() {
        let digits = path
            .get(at + 1..at + 3)
            .and_then(|it| std::str::from_utf8(it).ok());
        let digits = digits.filter(|it| path[at] == b'%' && !it.starts_with('+'));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if slashes || byte != b'/' => {
                decoded.push(byte);
                at += 3;
            }
            _ => {
                decoded.push(path[at]);
                at += 1;
            }
        }
    }
    decoded
}

fn joined(segments: &[&[u8]]) -> Vec<u8> {
    segments.join(&b'/')
}

fn without_parameters(path: &[u8]) -> Vec<u8> {
    let segments = path.split(|byte| *byte == b'/');
    let segments = segments.map(|it| it.split(|byte| *byte == b';').next().unwrap_or_default());
    joined(&segments.collect::<Vec<_>>())
}

fn cut(path: &[u8], ends: &[u8]) -> Vec<u8> {
    let end = path.iter().position(|byte| ends.contains(byte));
    path[..end.unwrap_or(path.len())].to_vec()
}

/// As RFC 3986 section 5.2.4 has it, and where there is nothing above, it stays.
fn resolved(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| *byte == b'/') {
        match segment {
            b"." => {}
            b".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let path = joined(&kept);
    match path.first() {
        Some(b'/') => path,
        _ => [b"/", &path[..]].concat(),
    }
}

fn merged(path: &[u8]) -> Vec<u8> {
    let segments: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|it| !it.is_empty())
        .collect();
    [b"/", &joined(&segments)[..]].concat()
}

/// Without spaces and dots at the end, as Windows has names.
fn trimmed(segment: &[u8]) -> &[u8] {
    let end = segment
        .iter()
        .rposition(|byte| !matches!(byte, b' ' | b'.'));
    &segment[..end.map_or(0, |end| end + 1)]
}
