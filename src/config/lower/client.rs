//! The sections `headers`, `limits`, `timeouts` and `buffering`: what a client may send, how long it
//! may take, and what is kept of it.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::Source;
use crate::config::document::At;
use crate::config::file::{BufferingFile, LimitsFile, RateFile, TimeoutsFile};
use crate::config::scalar::{Choice, Rate, Size};
use crate::http1::head::HeadLimits;
use crate::proxy::spec::{
    BufferingSpec, ClientTimeouts, Limits, RateLimit, RatePolicy, Rates, Underscores,
};

use super::{HOUR, choose_word, in_range, path, span_within};

const UNDERSCORES: [(&str, Option<Underscores>); 3] = [
    ("keep", Some(Underscores::Keep)),
    ("drop", Some(Underscores::Drop)),
    ("reject", Some(Underscores::Reject)),
];

/// What becomes of fields with an underscore in their name.
pub(super) fn lower_underscores(underscores: Option<Choice>, at: &At<'_>) -> Underscores {
    let underscores =
        underscores.and_then(|word| choose_word(&word, &UNDERSCORES, &at.key("underscores")));
    underscores.unwrap_or_default()
}

/// How much a client may send.
pub(super) fn lower_limits(written: LimitsFile, rates: &mut Rates, at: &At<'_>) -> Limits {
    let LimitsFile {
        header_bytes,
        header_fields,
        url_bytes,
        body,
        requests_per_connection,
        http2_streams,
        rate,
    } = written;
    let default = Limits::default();
    rates.all = rate.and_then(|rate| lower_rate(rate, &at.key("rate")));
    Limits {
        head: HeadLimits {
            bytes: lower_header_bytes(header_bytes, default.head.bytes, &at.key("header_bytes")),
            fields: in_range(
                header_fields,
                default.head.fields,
                1..=1000,
                &at.key("header_fields"),
            ),
            target: lower_url_bytes(url_bytes, default.head.target, &at.key("url_bytes")),
        },
        body: body.map_or(default.body, |body| body.0),
        requests_per_connection: in_range(
            requests_per_connection,
            default.requests_per_connection,
            1..=1_000_000_000,
            &at.key("requests_per_connection"),
        ),
        http2_streams: in_range(
            http2_streams,
            default.http2_streams,
            1..=1000,
            &at.key("http2_streams"),
        ),
        ..default
    }
}

/// Below 1 KiB no browser's head would fit; above 1 MiB each connection could take too much memory.
fn lower_header_bytes(written: Option<Size>, default: usize, at: &At<'_>) -> usize {
    let Some(Size(bytes)) = written else {
        return default;
    };
    match usize::try_from(bytes) {
        Ok(bytes @ 0x400..=0x10_0000) => bytes,
        _ => {
            at.problem("must be from 1KiB to 1MiB");
            default
        }
    }
}

/// How request bodies are kept until they are whole.
pub(super) fn lower_buffering(
    written: BufferingFile,
    source: &Source<'_>,
    at: &At<'_>,
) -> BufferingSpec {
    let BufferingFile { total, folder } = written;
    let place = match folder.is_some() {
        true => at.key("folder").place(),
        false => at.place(),
    };
    let default = BufferingSpec::default();
    let folder = folder.and_then(|folder| path(&folder, source, &at.key("folder")));
    let temporary = || (source.variables)("TMPDIR").filter(|folder| folder.starts_with('/'));
    let folder = folder.or_else(|| temporary().map(PathBuf::from));
    BufferingSpec {
        total: lower_total(total, default.total, &at.key("total")),
        folder: folder.unwrap_or(default.folder),
        place,
    }
}

/// Below what one body has in memory, none of a usual size would be kept.
fn lower_total(written: Option<Size>, default: u64, at: &At<'_>) -> u64 {
    match written {
        None => default,
        Some(Size(total @ 0x1_0000..)) => total,
        Some(Size(_)) => {
            at.problem("must be at least 64KiB");
            default
        }
    }
}

/// Below 256 bytes the paths of many applications would not fit; above 1 MiB no head does.
fn lower_url_bytes(written: Option<Size>, default: usize, at: &At<'_>) -> usize {
    let Some(Size(bytes)) = written else {
        return default;
    };
    match usize::try_from(bytes) {
        Ok(bytes @ 0x100..=0x10_0000) => bytes,
        _ => {
            at.problem("must be from 256 to 1MiB");
            default
        }
    }
}

/// How often somebody may ask; `None` where nothing is limited.
pub(super) fn lower_rate(written: RateFile, at: &At<'_>) -> Option<RatePolicy> {
    const MOST: usize = 1_000_000;
    let RateFile {
        address,
        user,
        burst,
    } = written;
    if address.is_none() && user.is_none() {
        if !["address", "user"]
            .iter()
            .any(|key| at.key(key).is_refused())
        {
            at.problem("limits nobody; write address or user, like {address: 100/s}");
        }
        return None;
    }
    let fastest = Rate {
        count: 1_000_000,
        per: Duration::from_secs(1),
    };
    let burst = burst.map(|burst| in_range(Some(burst), 1, 1..=MOST, &at.key("burst")));
    let limit = |rate: Option<Rate>, key| {
        let Rate { count, per } = rate?;
        if u64::from(count) > u64::from(fastest.count) * per.as_secs() {
            at.key(key).problem("must be at most 1000000/s");
        }
        let in_ten_seconds = u64::from(count) * 10 / per.as_secs();
        let default = usize::try_from(in_ten_seconds)
            .unwrap_or(MOST)
            .clamp(1, MOST);
        Some(RateLimit {
            interval: per / count,
            burst: burst.unwrap_or(default),
        })
    };
    Some(RatePolicy {
        address: limit(address, "address"),
        user: limit(user, "user"),
    })
}

/// How long a client may take.
pub(super) fn lower_timeouts(written: TimeoutsFile, at: &At<'_>) -> ClientTimeouts {
    let TimeoutsFile {
        handshake,
        head,
        body,
        body_rate,
        idle,
    } = written;
    let default = ClientTimeouts::default();
    let within = |span, default, key| {
        span_within(span, default, Duration::from_millis(1)..=HOUR, &at.key(key))
    };
    ClientTimeouts {
        handshake: within(handshake, default.handshake, "handshake"),
        head: within(head, default.head, "head"),
        body: within(body, default.body, "body"),
        body_rate: lower_body_rate(body_rate, default.body_rate, &at.key("body_rate")),
        idle: within(idle, default.idle, "idle"),
    }
}

/// More than 1 MiB/s few clients have, and what is meant is the slowest.
fn lower_body_rate(written: Option<Size>, default: u64, at: &At<'_>) -> u64 {
    const MOST: u64 = 1 << 20;
    match written {
        None => default,
        Some(Size(rate)) if rate <= MOST => rate,
        Some(Size(_)) => {
            at.problem("must be at most 1MiB, which is meant for a second");
            default
        }
    }
}
