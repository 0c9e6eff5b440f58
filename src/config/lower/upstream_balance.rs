//! The keys `balance`, `health` and `eject` of an upstream.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::HeaderName;

use crate::config::document::At;
use crate::config::file::{
    BalanceFile, BalanceKeyFile, EjectFile, EjectSettingsFile, HealthFile, HealthSettingsFile,
};
use crate::config::problem::closest;
use crate::config::scalar::{Number, StatusRange};
use crate::proxy::spec::balance::{Balance, EjectSpec, HealthSpec, Probe};
use crate::proxy::spec::{UpstreamPlace, UpstreamServer};

use super::{DAY, in_range, span_within};

/// Which answers to a probe are good, where nothing is said: a page that has moved is there.
const GOOD: RangeInclusive<u16> = 200..=399;

/// Which address gets which request.
pub(super) fn lower(
    written: Option<BalanceFile>,
    servers: &[UpstreamServer],
    at: &At<'_>,
) -> Balance {
    let Some(written) = written else {
        return Balance::RoundRobin;
    };
    if matches!(servers, [only] if is_one_address(only)) {
        at.warn("there is one address, which gets all");
    }
    let key = match written {
        BalanceFile::Key(key) => key,
        BalanceFile::Word(word) => return lower_word(&word, at),
    };
    match key {
        BalanceKeyFile {
            cookie: Some(name),
            header: None,
        } => lower_name(name, &at.key("cookie"), Balance::Cookie),
        BalanceKeyFile {
            cookie: None,
            header: Some(name),
        } => lower_name(name, &at.key("header"), Balance::Header),
        BalanceKeyFile {
            cookie: Some(_),
            header: Some(_),
        } => {
            at.problem("either a cookie or a header decides; take one of the two out");
            Balance::RoundRobin
        }
        BalanceKeyFile {
            cookie: None,
            header: None,
        } => {
            if !at.key("cookie").is_refused() && !at.key("header").is_refused() {
                at.problem("missing; say which decides, as {cookie: NAME} or {header: NAME}");
            }
            Balance::RoundRobin
        }
    }
}

fn lower_word(word: &str, at: &At<'_>) -> Balance {
    #[derive(Clone, Copy)]
    enum Word {
        RoundRobin,
        LeastConnections,
        Address,
    }
    let words = [
        ("round_robin", Word::RoundRobin),
        ("least_connections", Word::LeastConnections),
        ("address", Word::Address),
    ];
    if words.iter().all(|(known, _)| *known != word) {
        let meant = match closest(word, ["cookie", "header"]) {
            Some(key) => Some(format!("{{{key}: NAME}}")),
            None => closest(word, words.map(|(known, _)| known)).map(|it| format!("{it:?}")),
        };
        let meant = meant.map(|meant| format!("; did you mean {meant}?"));
        at.problem(format!(
            "expected round_robin, least_connections, address, {{cookie: NAME}} or {{header: NAME}}, \
             got {}{}",
            at.quoted(word),
            meant.unwrap_or_default()
        ));
    }
    let known = words.iter().find(|(known, _)| *known == word);
    match known.map_or(Word::RoundRobin, |(_, known)| *known) {
        Word::RoundRobin => Balance::RoundRobin,
        Word::LeastConnections => Balance::LeastConnections,
        Word::Address => Balance::ClientAddress,
    }
}

/// A cookie has a name of the same form as a field (RFC 6265 section 4.1.1).
fn lower_name(name: String, at: &At<'_>, by: fn(String) -> Balance) -> Balance {
    if HeaderName::try_from(&name).is_err() {
        let got = at.quoted(&name);
        at.problem(format!(
            "expected a name without spaces and signs, got {got}"
        ));
    }
    by(name)
}

fn is_one_address(server: &UpstreamServer) -> bool {
    match &server.place {
        UpstreamPlace::Unix(_) => true,
        UpstreamPlace::Tcp { host, .. } => host.parse::<IpAddr>().is_ok(),
    }
}

/// How the addresses of an upstream are looked after whose authority this is.
pub(super) fn lower_health(
    written: HealthFile,
    authority: &str,
    at: &At<'_>,
) -> Option<HealthSpec> {
    let settings = match written {
        HealthFile::Settings(settings) => settings,
        HealthFile::Word(word) => {
            only_word(&word, "tcp", "{path: /healthz}", at);
            return Some(HealthSpec::new(Probe::Connect));
        }
    };
    let HealthSettingsFile {
        path,
        host,
        status,
        interval,
        timeout,
        healthy,
        unhealthy,
    } = settings;
    let of_get = [("host", host.is_some()), ("status", status.is_some())];
    for (key, is_there) in of_get {
        if is_there && path.is_none() && !at.key("path").is_refused() {
            at.key(key)
                .key_problem("not used: without path, a connection is all that is asked for");
        }
    }
    let probe = match path {
        None => Probe::Connect,
        Some(path) => Probe::Get {
            path: lower_path(path, &at.key("path")),
            host: match host {
                None => authority.to_owned(),
                Some(host) => lower_host(host, &at.key("host")),
            },
            statuses: status.map_or(GOOD, |it| lower_statuses(it, &at.key("status"))),
        },
    };
    let default = HealthSpec::new(probe);
    let within = |span, default: Duration, key| {
        span_within(span, default, Duration::from_millis(10)..=DAY, &at.key(key))
    };
    let count = |number, default: u32, key| small(number, default, 1..=100, &at.key(key));
    Some(HealthSpec {
        interval: within(interval, default.interval, "interval"),
        timeout: within(timeout, default.timeout, "timeout"),
        healthy: count(healthy, default.healthy, "healthy"),
        unhealthy: count(unhealthy, default.unhealthy, "unhealthy"),
        ..default
    })
}

fn lower_path(path: String, at: &At<'_>) -> String {
    let legal = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    if !path.starts_with('/') || !path.bytes().all(legal) {
        let got = at.quoted(&path);
        at.problem(format!("expected a path like /healthz, got {got}"));
    }
    path
}

fn lower_host(host: String, at: &At<'_>) -> String {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    if host.is_empty() || !host.bytes().all(legal) {
        let got = at.quoted(&host);
        at.problem(format!("expected a host like app.example.com, got {got}"));
    }
    host
}

fn lower_statuses(written: StatusRange, at: &At<'_>) -> RangeInclusive<u16> {
    let StatusRange((first, last)) = written;
    let both = (status(first), status(last));
    match both {
        (Some(first), Some(last)) if first <= last => first..=last,
        _ => {
            at.problem("expected statuses from 200 to 599, the lower one first");
            GOOD
        }
    }
}

/// Interim answers are no answers.
fn status(number: u64) -> Option<u16> {
    let status = u16::try_from(number).ok();
    status.filter(|status| (200..=599).contains(status))
}

/// When one of several addresses is left out.
pub(super) fn lower_eject(written: Option<EjectFile>, at: &At<'_>) -> Option<EjectSpec> {
    let default = EjectSpec::default();
    let settings = match written {
        None => return Some(default),
        Some(EjectFile::Settings(settings)) => settings,
        Some(EjectFile::Word(word)) => {
            only_word(&word, "off", "{failures: 5, for: 10s}", at);
            return None;
        }
    };
    let EjectSettingsFile {
        failures,
        time,
        max_percent,
        statuses,
    } = settings;
    let mut counted = Vec::new();
    for (at, Number(number)) in at.key("statuses").items(statuses.unwrap_or_default()) {
        match status(number) {
            Some(status) => counted.push(status),
            None => at.problem("expected a status from 200 to 599"),
        }
    }
    let range = Duration::from_millis(10)..=DAY;
    Some(EjectSpec {
        failures: small(failures, default.failures, 1..=1000, &at.key("failures")),
        time: span_within(time, default.time, range, &at.key("for")),
        max_percent: small(
            max_percent,
            default.max_percent,
            1..=100,
            &at.key("max_percent"),
        ),
        statuses: counted,
    })
}

/// Records a word that is not the only one that may stand in place of a mapping.
fn only_word(word: &str, only: &str, mapping: &str, at: &At<'_>) {
    if word != only {
        let got = at.quoted(word);
        at.problem(format!(
            "expected {only}, or a mapping like {mapping}, got {got}"
        ));
    }
}

/// Reads a small number within bounds.
pub(super) fn small(
    written: Option<Number>,
    default: u32,
    range: RangeInclusive<u32>,
    at: &At<'_>,
) -> u32 {
    let wide = *range.start() as usize..=*range.end() as usize;
    let number = in_range(written, default as usize, wide, at);
    u32::try_from(number).unwrap_or(default)
}
