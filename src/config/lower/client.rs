//! The sections `headers`, `limits` and `timeouts`: what a client may send, and how long it may take.

use std::time::Duration;

use crate::config::document::At;
use crate::config::file::{HeadersFile, LimitsFile, TimeoutsFile};
use crate::config::scalar::Size;
use crate::http1::head::HeadLimits;
use crate::proxy::spec::{ClientTimeouts, Limits, Underscores};

use super::{HOUR, choose_word, in_range, span_within};

const UNDERSCORES: [(&str, Option<Underscores>); 3] = [
    ("keep", Some(Underscores::Keep)),
    ("drop", Some(Underscores::Drop)),
    ("reject", Some(Underscores::Reject)),
];

/// What becomes of fields with an underscore in their name.
pub(super) fn lower_underscores(written: HeadersFile, at: &At<'_>) -> Underscores {
    let HeadersFile { underscores } = written;
    let underscores =
        underscores.and_then(|word| choose_word(&word, &UNDERSCORES, &at.key("underscores")));
    underscores.unwrap_or_default()
}

/// How much a client may send.
pub(super) fn lower_limits(written: LimitsFile, at: &At<'_>) -> Limits {
    let LimitsFile {
        header_bytes,
        header_fields,
        body,
    } = written;
    let default = Limits::default();
    Limits {
        head: HeadLimits {
            bytes: lower_header_bytes(header_bytes, default.head.bytes, &at.key("header_bytes")),
            fields: in_range(
                header_fields,
                default.head.fields,
                1..=1000,
                &at.key("header_fields"),
            ),
        },
        body: body.map_or(default.body, |body| body.0),
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

/// How long a client may take.
pub(super) fn lower_timeouts(written: TimeoutsFile, at: &At<'_>) -> ClientTimeouts {
    let TimeoutsFile {
        handshake,
        head,
        body,
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
        idle: within(idle, default.idle, "idle"),
    }
}
